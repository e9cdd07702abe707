"""Random cells: states and every gradient against the plain function, and against the autodiff of torch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, note, settings

import symbptt as sb
from symbptt.autodiff.bptt import derive
from symbptt.codegen.passes import PASSES
from symbptt.codegen.program.regions import place
from symbptt.ir import laws
from tests import oracle
from tests.properties.cells import Case, cases, cell_of, function_of, torch_scope
from tests.test_codegen import built, results

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")


def drawn(case: Case) -> tuple[sb.Cell, Any, Any]:
    """A cell with arguments and cotangents, all of moderate numbers."""
    cell = cell_of(case.text)
    groups = oracle.draw(cell, case.steps, case.batch, case.sizes, case.seed)
    with np.errstate(all="ignore"):
        kernel_shapes = oracle.run(cell, *groups, case.steps) if case.steps else {}
        assume(all(np.isfinite(v).all() and np.max(np.abs(v), initial=0) < 1e3 for v in kernel_shapes.values()))
    random = np.random.default_rng(case.seed + 100)
    cotangents = {k: random.standard_normal(v.shape) for k, v in kernel_shapes.items()}
    return cell, groups, cotangents


def is_tame(wanted: oracle.Arrays) -> bool:
    return all(np.isfinite(v).all() and np.max(np.abs(v), initial=0) < 1e6 for v in wanted.values())


def assert_matches_plain_function(case: Case) -> None:
    note(repr(case))
    cell, groups, cotangents = drawn(case)
    laws.check(derive(cell.step).graph)
    kernel = sb.compile(cell)
    run = kernel.forward(*groups)
    assert all(v.shape[:2] == (case.steps, case.batch) for v in {**run.states, **run.outputs}.values())
    wanted = oracle.gradients(cell, *groups, cotangents, case.steps)
    assume(is_tame(wanted))
    if case.steps:
        assert_equal_values({**run.states, **run.outputs}, oracle.run(cell, *groups, case.steps))
    assert_near(oracle.flat(kernel.backward(run, cotangents)), wanted, 1e-9)


def assert_equal_values(got: oracle.Arrays, wanted: oracle.Arrays) -> None:
    """Values are of the order of one, or less where terms of that order cancel."""
    assert set(got) == set(wanted)
    for name, reference in wanted.items():
        np.testing.assert_allclose(got[name], reference, rtol=1e-9, atol=1e-9)


def assert_near(got: oracle.Arrays, wanted: oracle.Arrays, tolerance: float) -> None:
    """Each block to `tolerance` of its largest entry; where terms of the order of one cancel, to their rounding."""
    largest = max((np.max(np.abs(v), initial=0.0) for v in wanted.values()), default=0.0)
    assert set(got) == set(wanted)
    for name, reference in wanted.items():
        assert np.shape(got[name]) == np.shape(reference), name
        scale = np.max(np.abs(reference), initial=0.0)
        assert np.max(np.abs(got[name] - reference), initial=0.0) <= tolerance * scale + 1e-13 * max(1.0, largest), name


@given(cases())
def test_gradient_matches_complex_step(case: Case) -> None:
    assert_matches_plain_function(case)


@pytest.mark.long
@given(cases(longest=14))
@settings(max_examples=80)
def test_gradient_of_long_programs_matches_complex_step(case: Case) -> None:
    assert_matches_plain_function(case)


@given(cases())
def test_one_sample_without_a_batch_axis_gives_the_same(case: Case) -> None:
    cell, groups, cotangents = drawn(case)
    kernel = sb.compile(cell)
    first = (groups[0], {k: v[:, :1] for k, v in groups[1].items()}, {k: v[:1] for k, v in groups[2].items()})
    alone = (groups[0], {k: v[:, 0] for k, v in groups[1].items()}, {k: v[0] for k, v in groups[2].items()})
    wanted = oracle.flat(kernel.backward(kernel.forward(*first), {k: v[:, :1] for k, v in cotangents.items()}))
    got = oracle.flat(kernel.backward(kernel.forward(*alone), {k: v[:, 0] for k, v in cotangents.items()}))
    assert all(np.size(got[k]) == np.size(v) for k, v in wanted.items())
    assert_near({k: np.reshape(v, wanted[k].shape) for k, v in got.items()}, wanted, 1e-12)


@given(cases())
@settings(max_examples=settings().max_examples // 4)  # each is built once a pass
def test_passes_keep_the_values_and_the_laws(case: Case) -> None:
    cell, groups, cotangents = drawn(case)
    wanted = results(built(cell, (place,)), groups, cotangents, case.steps)
    for passes in (PASSES, *((step, place) for step in PASSES)):
        assert_near(results(built(cell, passes), groups, cotangents, case.steps), wanted, 1e-9)


@given(cases())
def test_float32_is_near_float64(case: Case) -> None:
    cell, groups, cotangents = drawn(case)
    kernel = sb.compile(cell)
    narrow: Any = tuple({k: v.astype(np.float32) for k, v in group.items()} for group in groups)
    run = kernel.forward(*narrow)
    got = oracle.flat(kernel.backward(run, {k: v.astype(np.float32) for k, v in cotangents.items()}))
    assert {v.dtype for v in [*got.values(), *run.states.values(), *run.outputs.values()]} == {np.dtype(np.float32)}
    wanted = oracle.flat(kernel.backward(kernel.forward(*groups), cotangents))
    assume(is_tame(wanted))
    largest = max((np.max(np.abs(v), initial=0.0) for v in wanted.values()), default=0.0)
    for name, reference in wanted.items():
        assert np.max(np.abs(got[name] - reference), initial=0.0) <= 2e-2 * max(largest, 1e-30), name


@given(cases())
def test_lengths_and_resets_match_loops_over_samples(case: Case) -> None:
    cell, groups, cotangents = drawn(case)
    assume(case.steps > 0)
    random = np.random.default_rng(case.seed)
    masks: Any = {
        "lengths": random.integers(0, case.steps + 1, case.batch),
        "reset": random.random((case.steps, case.batch)) < 0.4,
    }
    assume(masks["lengths"].any())
    kernel = sb.compile(cell)
    wanted = oracle.gradients(cell, *groups, cotangents, case.steps, **masks)
    assume(is_tame(wanted))
    assert_near(oracle.flat(kernel.backward(kernel.forward(*groups, **masks), cotangents)), wanted, 1e-9)


def torch_gradients(case: Case, groups: Any, cotangents: Any) -> tuple[oracle.Arrays, oracle.Arrays]:
    """States and gradients by torch, in float64."""
    torch = pytest.importorskip("torch")
    step = function_of(case.text, torch_scope())
    params, inputs, state = ({k: torch.tensor(np.asarray(v), requires_grad=True) for k, v in g.items()} for g in groups)
    collected: dict[str, Any] = {}
    for b in range(case.batch):
        now = {k: v[b] for k, v in state.items()}
        for t in range(case.steps):
            result = step(**params, **{k: v[t, b] for k, v in inputs.items()}, **now)
            if not isinstance(result, dict):
                result = dict(zip(state, result if isinstance(result, tuple) else [result], strict=True))
            now = {k: result[k] for k in state}
            collected |= {(k, t, b): v for k, v in result.items()}
    loss = sum(((torch.tensor(cotangents[k][t, b]) * v).sum() for (k, t, b), v in collected.items()), torch.zeros(()))
    leaves = params | inputs | state
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True) if collected else [None] * len(leaves)
    grads = {k: np.zeros(v.shape) if g is None else g.numpy() for (k, v), g in zip(leaves.items(), found, strict=True)}
    states = {k: np.zeros(np.shape(v)) for k, v in cotangents.items()}
    for (k, t, b), v in collected.items():
        states[k][t, b] = v.detach().numpy()
    return states, grads


def assert_matches_torch(case: Case) -> None:
    note(repr(case))
    cell, groups, cotangents = drawn(case)
    states, grads = torch_gradients(case, groups, cotangents)
    assume(is_tame(grads))
    kernel = sb.compile(cell)
    run = kernel.forward(*groups)
    if case.steps:
        assert_equal_values({**run.states, **run.outputs}, states)
    assert_near(oracle.flat(kernel.backward(run, cotangents)), grads, 1e-9)


@pytest.mark.peers
@given(cases())
def test_states_and_gradients_match_the_autodiff_of_torch(case: Case) -> None:
    assert_matches_torch(case)


@pytest.mark.peers
@pytest.mark.long
@given(cases(longest=14))
@settings(max_examples=80)
def test_long_programs_match_the_autodiff_of_torch(case: Case) -> None:
    assert_matches_torch(case)
