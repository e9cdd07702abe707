"""Kernels in C: the sweeps are those in NumPy to rounding, whatever drives them; what C lacks is refused by name."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.codegen import c_memory, compiler
from symbptt.codegen.c_rows import CRows
from symbptt.codegen.kernel import Shared, compiled
from symbptt.codegen.loop_ir.laws import check, check_run
from symbptt.codegen.lower.driven import driven, pulled
from symbptt.zoo import CELLS, gru, lstm, rnn, stack_rnn
from tests import brute, oracle, test_contexts, test_peak, test_rows, test_stepping
from tests.ccode import CC
from tests.kernels import kernel_of, own_kernel_of
from tests.properties import checks
from tests.properties.bench import Bench
from tests.properties.cases import case_of
from tests.test_c99 import KINDS, SHAPES, SIZES, TOLERANCE, cast, worst
from tests.test_truncation import MASKS, MODELS, labelled
from tests.test_zoo import sizes_of

pytestmark = pytest.mark.skipif(not CC, reason="no C compiler, cc, on this machine")


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(compiler, "WISHED", ("-O1",))  # a third of the time; other tests have the flags
        yield


@cache
def in_c_of(target: Any, **options: Any) -> sb.Kernel:
    return kernel_of(target, **options, asked="c")


def results(kernel: sb.Kernel, groups: Any, seed: int = 3, monitor: bool = False, **call: Any) -> Any:
    """States and outputs, and all gradients for drawn cotangents."""
    run = kernel.forward(*groups, **call)
    values = {**run.states, **run.outputs}
    random = np.random.default_rng(seed)
    cotangents = {k: random.standard_normal(v.shape).astype(v.dtype) for k, v in values.items()}
    grads = kernel.backward(run, cotangents, monitor=monitor)
    return values, oracle.flat(grads) | grads.contexts, grads.flow or {}


def assert_alike(cell: sb.Cell, groups: Any, kind: str = "d", **call: Any) -> None:
    """A kernel in C gives what the one in NumPy does."""
    (a, da, fa), (b, db, fb) = (results(k, groups, **call) for k in (in_c_of(cell), kernel_of(cell)))
    largest = max([float(np.max(np.abs(v), initial=0)) for v in db.values()])
    # A few units of rounding of the largest gradient, in blocks that cancel.
    floor = (0.1 if kind == "f" else 1e-4) * largest
    assert worst(a, b) < TOLERANCE[kind] and worst(da, db, floor) < TOLERANCE[kind] and worst(fa, fb) < TOLERANCE[kind]
    assert {v.dtype for v in (a | da).values()} == {np.dtype(KINDS[kind])}


def masks_of(T: int, B: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(T)
    lengths, reset = random.integers(0, T + 1, B), random.random((T, B)) < 0.4
    return [{"lengths": lengths}, {"reset": reset}, {"lengths": lengths, "reset": reset, "monitor": True}]


@pytest.mark.thinned(79, 17)
@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
def test_zoo_agrees_with_numpy(cell: sb.Cell) -> None:
    for kind, dtype in KINDS.items():
        sizes = sizes_of(cell, SIZES)
        for named in (sizes, {**dict.fromkeys(sizes, 1), [*sizes][-1]: 3}):
            for T, B in SHAPES:
                groups = cast(oracle.draw(cell, T, B, named), dtype)
                assert_alike(cell, groups, kind, **({} if groups[1] else {"steps": T}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", [gru, stack_rnn, lstm], ids=lambda cell: cell.name)
@pytest.mark.thinned(7, 5)
def test_masks_and_monitors_agree_with_numpy(cell: sb.Cell, kind: str) -> None:
    for T, B in [*SHAPES, (2, 3)]:
        groups = cast(oracle.draw(cell, T, B, sizes_of(cell, SIZES)), KINDS[kind])
        for call in masks_of(T, B):
            assert_alike(cell, groups, kind, **call)


@pytest.mark.parametrize("kind", ["plain", "masked", "turning"])
def test_sweeps_for_a_driver_keep_the_laws(kind: str) -> None:
    p, masked = Shared().neutral(stack_rnn, False, None), kind != "plain"
    pair = driven(p, 1.0, masked, masked, kind == "turning")
    for f in (pair.forward, pair.backward, *pulled(p)):
        check(f)
        for T, B in ((0, 1), (1, 2), (3, 1)):
            check_run(f, {"m": 2, "n": 2, "k": 1, "d": 3}, T, B)
    # Without the driver's rows there is no state to begin with.
    early = replace(pair.forward, arguments=tuple(x for x in pair.forward.arguments if x.group != "rows"))
    with pytest.raises(AssertionError, match="a buffer that is not declared"):
        check(early)


OPTIONS: list[dict[str, Any]] = [
    {}, {"memory": "sqrt"}, {"truncation": sb.Window(3)}, {"truncation": sb.Chunked(2, 5)}, {"truncation": sb.Chunked(3, 2)},
]  # fmt: skip


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("key", MODELS, ids=str)
@pytest.mark.thinned(331, 7)
def test_models_are_explicit_unrolling(key: Any, options: dict[str, Any], masks: str) -> None:
    """Of a cell with states of every rank, an index and an output; by complex steps of the user's functions."""
    model, kernel = MODELS[key], in_c_of(MODELS[key], **options)
    for steps in (6,) if MASKS[masks] else (6, 0, 1, 2):
        data = brute.data_of(model, steps, 2, {"m": 1, "n": 2, "k": 2, "v": 3}, **MASKS[masks])
        value, grads = brute.value_and_grad(kernel, data)
        np.testing.assert_allclose(value, brute.value(model, data), rtol=1e-11, atol=1e-13)
        brute.assert_same(brute.by_group(grads), brute.model_gradients(model, data, options.get("truncation")))
        call = {"steps": steps, **data.masks}
        alone = kernel.value(data.params, data.inputs, data.targets, data.state, **call)
        np.testing.assert_allclose(alone, value, rtol=1e-12, atol=1e-13)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60))
@pytest.mark.thinned(1, 29)
def test_random_cells_are_those_of_the_tape(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole language and under random options, against oracles that share no code with the derivation."""
    monkeypatch.setattr(
        Bench, "compiled", lambda self, target, **options: compiled(target, self.shared, asked="c", **options)
    )
    monkeypatch.setattr(checks, "short", lambda kernel, options: kernel)  # C chooses its own blocks
    case = case_of(seed)
    if case.options.memory in ("least", "more"):
        case = replace(case, options=replace(case.options, memory="sqrt"))
    # Of a few cells numbers are too large to compare.
    assert checks.assert_case(case, ["tape", "model", ("alone", "float32")[seed % 2]]) or seed in (42,)


@pytest.mark.parametrize("truncation", [None, sb.Chunked(2, 3)], ids=str)
@pytest.mark.thinned(2)
def test_clipped_adjoints_agree_with_numpy(truncation: Any) -> None:
    options, call = {"clip_adjoint": 0.5, "truncation": truncation}, masks_of(5, 3)[2]
    groups = oracle.draw(lstm, 5, 3, SIZES, scale=0.9)
    c, numpy = (results(of(lstm, **options), groups, **call) for of in (in_c_of, kernel_of))
    assert all(worst(found, wanted) < TOLERANCE["d"] for found, wanted in zip(c, numpy, strict=True))
    assert worst(results(kernel_of(lstm), groups, **call)[1], numpy[1]) > 1e-3  # the limit is one


BUDGETS = [("lstm", "every", "whole", np.float64), ("min_gru", "last", "both", np.float64),
           ("lstm", "cell", "lengths", np.float32), ("embedding_cell", "every", "resets", np.float32)]  # fmt: skip


def test_a_budget_holds_with_one_context_for_all_samples() -> None:
    T, B, sizes = 40, 64, {"m": 2, "n": 4, "k": 4, "s": 500}
    kernel = own_kernel_of(test_contexts.attend, memory=2**30, asked="c")
    budget = kernel.module._needed(6, T, B, 8, sizes, False, 0)
    kernel, random = own_kernel_of(test_contexts.attend, memory=budget, asked="c"), np.random.default_rng(0)
    params = test_contexts.attend.init(sizes, seed=0)
    inputs = {"x": random.standard_normal((T, B, 2)), "memory": random.standard_normal((500, 4))}
    sent = {"h": np.ones((B, 4))}
    assert test_peak.taken(kernel.module, lambda: kernel.backward(kernel.forward(params, inputs), sent)) <= budget


def held(name: str, kind: str, masks: str, dtype: Any, share: float = 1.0) -> tuple[int, int]:
    """A budget in bytes for pieces of 15 steps, or a share of it, and what a call takes at the most."""
    target = test_peak.CELLS[name] if kind == "cell" else test_peak.error_of(test_peak.CELLS[name], kind)
    T, B, sizes = test_peak.STEPS, 32, test_peak.sizes_of(name)
    needed, number = kernel_of(target, memory=2**30, asked="c").module._needed, {"whole": 0, "resets": 1}.get(masks, 2)
    budget = needed(15, T, B, np.dtype(dtype).itemsize, sizes, kind != "cell", number)
    kernel = own_kernel_of(target, memory=int(share * budget), asked="c")
    return budget, test_peak.measured(kernel, T, B, sizes, dtype, test_peak.masks_of(masks, T, B))


@pytest.mark.long
@pytest.mark.parametrize("case", BUDGETS, ids=str)
@pytest.mark.thinned(1, 3)
def test_budgets_in_bytes_are_kept_and_used(case: Any) -> None:
    budget, most = held(*case)
    assert 0.75 * budget < most <= budget


def test_a_budget_leaves_results_as_they_are_and_one_that_is_too_small_is_refused() -> None:
    model, groups = labels_of()
    least = in_c_of(model, memory=2**30).module._needed(2, 5, 3, 8, {"m": 2, "n": 3, "k": 4}, True, 0)
    kernel = own_kernel_of(model, memory=least + 2048, asked="c")
    (value, grads), (wanted, other) = (k.value_and_grad(*groups) for k in (kernel, kernel_of(model)))
    np.testing.assert_allclose(value, wanted, rtol=1e-13)
    assert worst(oracle.flat(grads), oracle.flat(other)) < 1e-11
    with pytest.raises(
        sb.ArgumentError, match=r"memory: T = 5 and B = 3 take [\d,]+ bytes at the least, 1,000 are allowed"
    ):
        own_kernel_of(model, memory=1000, asked="c").value_and_grad(*groups)


@pytest.mark.long
def test_arrays_that_are_not_counted_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_memory, "_bytes", lambda arrays: 0)
    budget, most = held(*BUDGETS[0])
    assert most > budget


@sb.loss
def told(h: sb.State["n"], label: sb.Index["k"], V: sb.Param["k n"]) -> Any:
    z = V @ h
    return {"loss": -sb.log_softmax(z)[label], "logits": z}


def labels_of() -> Any:
    model, random = sb.model(rnn, told, reduction="mean"), np.random.default_rng(0)
    params = model.init({"m": 2, "n": 3, "k": 4})
    return model, (params, {"x": random.standard_normal((5, 3, 2))}, {"label": random.integers(0, 4, (5, 3))})


def test_predictions_labels_and_reversed_calls_agree_with_numpy() -> None:
    model, groups = labels_of()
    c, numpy, label, lengths = in_c_of(model), kernel_of(model), groups[2]["label"], np.array([5, 0, 2])
    for call in ({}, {"mask": label != 1}, {"ignore_index": 2}, {"reverse": True}, {"lengths": lengths}):
        (value, grads), (wanted, other) = (k.value_and_grad(*groups, **call) for k in (c, numpy))
        np.testing.assert_allclose(value, wanted, rtol=1e-13)
        assert worst(oracle.flat(grads), oracle.flat(other)) < 1e-11
    for call in ({}, {"lengths": lengths}):
        assert worst(*(k.predict(*groups[:2], **call) for k in (c, numpy))) < 1e-12


@pytest.mark.long
def test_products_with_hessians_are_computed_in_c_too() -> None:
    model, groups = labels_of()
    direction = {"U": np.random.default_rng(1).standard_normal((3, 3))}
    c, numpy = in_c_of(model), kernel_of(model)
    assert worst(*(k.hvp(*groups, direction=direction) for k in (c, numpy))) < 1e-11 and c._tangent.backend == "c"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", [test_stepping.odd, CELLS["mesa_net"], lstm], ids=lambda cell: cell.name)
@pytest.mark.thinned(17)
def test_single_steps_are_those_of_the_function(cell: sb.Cell, kind: str) -> None:
    several = {**test_stepping.SIZES, "d": 2}
    for B, sizes in ((2, several), (1, dict.fromkeys(several, 1))):
        params, inputs, state = test_stepping.drawn(cell, B, KINDS[kind], sizes)
        stepper = in_c_of(cell).stepper(params)
        for _ in range(3):
            wanted = test_stepping.by_function(cell, params, inputs, state)
            state, outputs = stepper(inputs, state)
            assert worst(state | outputs, wanted) < TOLERANCE[kind]
            # No step reads what the first one was given: vectors of inputs are packed as weights are.
            inputs = {k: v if v.dtype.kind == "i" else -v for k, v in inputs.items()}
            assert {v.dtype for v in (state | outputs).values()} == {np.dtype(KINDS[kind])}


@pytest.mark.long
def test_single_steps_read_contexts_and_tell_what_a_loss_predicts() -> None:
    params, inputs, state = test_contexts.data_of(test_contexts.attend, 3, 2)
    memory, model = {"memory": inputs.pop("memory")}, labels_of()
    steppers = [of(test_contexts.attend).stepper(params, memory) for of in (in_c_of, kernel_of)]
    (a, told), (b, wanted) = (stepper({"x": inputs["x"][0]}, state) for stepper in steppers)
    assert worst(a | told, b | wanted) < TOLERANCE["d"]
    c, numpy = (of(model[0]).stepper(model[1][0])({"x": model[1][1]["x"][0]}) for of in (in_c_of, kernel_of))
    assert worst(c[1], numpy[1]) < TOLERANCE["d"] and {*c[1]} == {"logits"}


def test_a_step_that_packs_another_weight_is_seen() -> None:
    kernel = sb.compile(rnn, target="c")
    assert kernel.in_c is not None
    text = kernel.in_c.stepping.text
    vars(kernel.in_c)["stepping"] = replace(kernel.in_c.stepping, text=text.replace("n, U[0], 1, n,", "n, U[0], n, 1,"))
    assert kernel.in_c.stepping.text != text
    params, inputs, state = test_stepping.drawn(rnn, 2)
    found, wanted = (of.stepper(params)(inputs, state)[0] for of in (kernel, kernel_of(rnn)))
    assert worst(found, wanted) > 1e-3


@sb.cell
def matrices(h: sb.State["n"], x: sb.Input["n"], A: sb.Param["n n"], U: sb.Param["n n"]) -> Any:
    """All functions of matrices that C has, of matrices that differ between samples and of one, and a fixed point."""
    S = A @ A.T + np.eye(h.shape[0]) + np.outer(h, x)
    P = S @ S.T + np.eye(h.shape[0])
    d = np.linalg.det(S) + np.linalg.slogdet(P)[1]
    z = np.linalg.solve(S, x) + np.linalg.solve(A + 3 * np.eye(h.shape[0]), h)
    point = sb.fixed_point(lambda z: 0.3 * np.tanh(U @ z + x) + h, h)
    return {
        "h": np.tanh(np.linalg.cholesky(P) @ z) + point,
        "d": d,
        "i": np.diagonal(np.linalg.inv(S)) @ np.diag(x),
        "t": np.tril(S) @ h,
    }


CASES = (("d", 0, 2, 3), ("d", 1, 1, 1), ("d", 4, 2, 3), ("d", 5, 3, 3), ("f", 3, 2, 4))


@sb.cell
def flows(h: sb.State["n"], x: sb.Input["n"], A: sb.Param["n n"], w: sb.Param["n"]) -> Any:
    """Exponentials of matrices that differ between steps, and of one; the gradient has a number that stays zero."""
    return {"h": np.tanh(sb.expm(A * x[0] + np.outer(w, x)) @ h), "y": sb.expm(4 * A) @ x}


@pytest.mark.parametrize("masked", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("cell", [pytest.param(matrices, marks=pytest.mark.long), flows], ids=lambda cell: cell.name)
@pytest.mark.thinned(1, 3)
def test_matrices_and_fixed_points_agree_with_numpy(cell: sb.Cell, masked: bool) -> None:
    for kind, T, B, n in CASES[3:] if masked else CASES[:3]:
        call = masks_of(T, B)[2] if masked else {}
        assert_alike(cell, cast(oracle.draw(cell, T, B, {"n": n}), KINDS[kind]), kind, **call)


@sb.cell
def failing(h: sb.State["n"], A: sb.Input["n n"], r: sb.Input["n"], P: sb.Param["n n"]) -> Any:
    L = np.linalg.cholesky(A + 2 * np.eye(h.shape[0]))
    z = np.linalg.solve(A, h) + np.linalg.solve(P, h)
    return {"h": np.tanh(L @ z) + sb.fixed_point(lambda z: r * z + 1, h, most=8, tolerance=1e-3)}


@pytest.mark.parametrize("memory", ["all", "sqrt"])
@pytest.mark.thinned(5)
def test_what_has_no_value_is_told_as_numpy_tells_it(memory: Any) -> None:
    """By the same words, with the step and the sample of the whole run."""
    places: list[tuple[str, Any, float, str]] = [
        ("A", (3, 1), -3.0, "is not positive definite at step 3 of sample 1"), ("A", (2, 2), 0.0, "A is singular at step 2 of sample 2"),
        ("r", (4, 0), 3.0, "in 8 rounds: the last one changed it by .* at step 4 of sample 0"), ("P", (), 0.0, "P is singular, where"),
    ]  # fmt: skip
    for name, place, value, words in places:
        groups = {
            "P": np.eye(2),
            "A": np.broadcast_to(2 * np.eye(2), (5, 3, 2, 2)).copy(),
            "r": np.full((5, 3, 2), 0.1),
        }
        groups[name][place] = value * (np.eye(2) if name == "A" else 1)
        told = []
        for kernel in (in_c_of(failing, memory=memory), kernel_of(failing, memory=memory)):
            with pytest.raises(sb.ArgumentError, match=words) as error:
                kernel.forward({"P": groups["P"]}, {k: groups[k] for k in "Ar"}, {"h": np.full((3, 2), 0.1)})
            told.append(str(error.value))
        assert told[0] == told[1]
    few = {"P": np.eye(2) + 0.1}, {"A": np.eye(2) + np.full((2, 3, 2, 2), 0.2), "r": np.full((2, 3, 2), 0.1)}
    assert_alike(failing, (*few, {"h": np.full((3, 2), 0.1)}))


@pytest.mark.long
def test_a_mistake_in_the_factors_of_a_matrix_is_seen() -> None:
    kernel, groups = sb.compile(matrices, target="c"), oracle.draw(matrices, 3, 2, {"n": 3})
    assert kernel.in_c is not None
    plain = kernel.in_c.plain
    vars(kernel.in_c)["plain"] = replace(plain, text=plain.text.replace("-= l*F[k*n + j]", "+= l*F[k*n + j]"))
    assert kernel.in_c.plain.text != plain.text
    assert worst(results(kernel, groups)[0], results(kernel_of(matrices), groups)[0]) > 1e-3


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.long)])
def test_samples_in_rows_have_what_they_have_by_themselves(dtype: Any) -> None:
    for lengths in test_rows.LENGTHS.values():
        test_rows.check_alone(in_c_of(test_rows.gated), lengths, dtype)


@sb.loss
def apart(h: sb.State["n"], c: sb.State["n"], goal: sb.Target["n"]) -> Any:
    error = h - goal * c
    return {"loss": sb.sum(np.log(error * error + 1)), "h": 2 * h}


@pytest.mark.long
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(1, 2)
def test_padding_of_inputs_and_targets_may_be_anything(at: Any) -> None:
    model = sb.model(test_rows.gated, apart, at=at, reduction="mean")
    for lengths in ([4, 1, 3], [0, 5, 0, 1, 3, 0], [6, 2]):
        params, inputs, state, _ = test_rows.drawn(lengths, np.float64)
        goal = np.where(np.isnan(inputs["x"][..., :1]), np.nan, np.full((6, len(lengths), 3), 0.3))
        groups = params, inputs, {"goal": goal if at == "every" else np.full((len(lengths), 3), 0.3)}, state
        found = []
        for kernel in (in_c_of(model), kernel_of(model)):
            loss, grads = kernel.value_and_grad(*groups, lengths=lengths, monitor=True)
            alone = {"value": kernel.value(*groups, lengths=lengths), "loss": loss}
            told = kernel.predict(params, inputs, state, lengths=lengths)
            found.append((alone | told, oracle.flat(grads), grads.final, grads.flow))
        assert all(worst(a, b) < TOLERANCE["d"] for a, b in zip(*found, strict=True))
        assert all(np.isfinite(v).all() for group in found[0] for v in group.values())


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("batch", [1, 2, 33])
def test_rows_have_each_step_of_each_sample_once_and_none_is_in_two(batch: int, steps: int) -> None:
    lengths = np.random.default_rng(batch + steps).integers(0, steps + 1, batch)
    lengths[-1] = max(lengths[-1], 1)
    rows = CRows(np.arange(steps)[:, None] < lengths)
    slot, row = np.divmod(rows.places, rows.rows)
    sample = rows.used % batch
    assert len({*rows.places.tolist()}) == lengths.sum() == rows.active.sum()
    assert rows.active[slot, row].all() and np.array_equal(rows.sources[slot, row], rows.used)
    for b, n in enumerate(lengths):
        own = sample == b
        assert len({*row[own].tolist()}) == min(n, 1) and np.array_equal(slot[own] - slot[own][:1], np.arange(n))
    # Best fit decreasing: at most 11/9 of the least number of rows, and 4.
    assert rows.T == lengths.max() and rows.rows <= 11 / 9 * -(-lengths.sum() // rows.T) + 4


def test_a_row_that_does_not_turn_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = in_c_of(test_rows.gated)
    made = CRows.__init__

    def begun(self: CRows, active: Any) -> None:
        made(self, active)
        self.turned[:] = False

    monkeypatch.setattr(CRows, "__init__", begun)
    with pytest.raises(AssertionError):
        test_rows.check_alone(kernel, test_rows.LENGTHS["two in a row"], np.float64)


CONTEXTS = [(test_contexts.attend, {}), (test_contexts.looked_up, {}), (test_contexts.attend, {"memory": "sqrt"})]


@pytest.mark.parametrize(("cell", "options"), CONTEXTS, ids=str)
@pytest.mark.thinned(3, 3)
def test_contexts_are_those_of_the_complex_step(cell: sb.Cell, options: Any) -> None:
    kernel, reset = in_c_of(cell, **options), np.random.default_rng(0).random((5, 3)) < 0.4
    for T, B in ((0, 2), (1, 1), (5, 2)):
        test_contexts.check(cell, kernel, T, B)
    test_contexts.check(cell, kernel, 5, 3, lengths=np.array([5, 0, 2]), reset=reset)


@pytest.mark.long
@pytest.mark.parametrize("truncation", [sb.Window(2), sb.Chunked(2, 3)], ids=str)
def test_truncated_gradients_of_contexts_agree_with_numpy(truncation: Any) -> None:
    groups = test_contexts.data_of(test_contexts.attend, 5, 2)
    found, wanted = (results(of(test_contexts.attend, truncation=truncation), groups) for of in (in_c_of, kernel_of))
    assert all(worst(a, b) < TOLERANCE["d"] for a, b in zip(found, wanted, strict=True)) and "memory" in found[1]


@sb.cell
def spoken(h: sb.State["n"], x: sb.Input["n"], word: sb.Index["k"], E: sb.Param["k n"], U: sb.Param["n n"]) -> Any:
    return {"h": np.tanh(U @ h + x + E[word])}


CHANGES: dict[str, Any] = {
    "nan": lambda g: g[1]["x"].__setitem__((2, 1, 0), np.nan), "infinity": lambda g: g[0]["U"].__setitem__((1, 0), np.inf),
    "strided": lambda g: g[1].update(x=np.full((4, 4, 3), np.nan)[:, ::2]), "index": lambda g: g[1]["word"].__setitem__((3, 0), 7),
    "type": lambda g: g[0].update(U=g[0]["U"].astype(np.float32)), "axes": lambda g: g[1].update(x=g[1]["x"][:, :1]),
    "lacks": lambda g: g[0].pop("E"), "unknown": lambda g: g[2].update(c=g[2]["h"]), "list": lambda g: g[1].update(x=[[0.0]]),
    "group": lambda g: g.__setitem__(0, g[0]["U"]), "steps": lambda g: g.append(5),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_call_like_one_before_is_checked_as_that_was(change: str) -> None:
    """What is wrong with a call is told in the words of the NumPy kernel, though names and shapes are known from the call before."""
    random, told = np.random.default_rng(0), []
    for kernel in (in_c_of(spoken), kernel_of(spoken)):
        params = {"E": random.standard_normal((5, 3)), "U": np.eye(3)}
        inputs = {"x": random.standard_normal((4, 2, 3)), "word": random.integers(0, 5, (4, 2))}
        groups: Any = [params, inputs, {"h": random.standard_normal((2, 3))}]
        kernel.forward(*groups)
        kernel.forward(*groups)  # by the form of the first one
        CHANGES[change](groups)
        with pytest.raises(sb.ArgumentError) as error:
            kernel.forward(*groups[:3], steps=(groups[3:] or [None])[0])
        told.append(str(error.value))
    assert told[0] == told[1]


def test_calls_in_a_known_form_have_the_axes_of_the_first_one() -> None:
    """Without an axis of samples, and with states that begin as the cell says; results are those of a fresh kernel."""
    groups = oracle.draw(gru, 3, 1, SIZES)
    alone = [groups[0], {k: v[:, 0] for k, v in groups[1].items()}, {}]
    c, fresh = sb.compile(gru, target="c"), in_c_of(gru)
    for call in ([groups[0], groups[1], {}], alone, groups, alone):
        for _ in range(2):
            found, wanted = (results(kernel, call) for kernel in (c, fresh))
            assert all(worst(a, b) == 0 for a, b in zip(found, wanted, strict=True))
            assert found[0]["h"].ndim == 3 - (call is alone)
    moved = [{k: 2 * v for k, v in groups[0].items()}, *groups[1:]]
    assert worst(results(c, moved)[0], results(kernel_of(gru), moved)[0]) < TOLERANCE["d"]
    sent = {"h": np.full_like(c.forward(*groups).states["h"], np.nan)}
    with pytest.raises(sb.ArgumentError, match=r"h: nan at step 0, sample 0"):
        c.backward(c.forward(*groups), sent)


def test_arrays_of_any_layout_are_read() -> None:
    """Strided, turned and read-only arrays, and integers of any type."""
    model = MODELS[labelled.name, "every"]
    data = brute.data_of(model, 4, 3, {"m": 2, "n": 2, "k": 2, "v": 3})
    turned = {k: np.array(v, order="F") for k, v in data.params.items()}
    inputs = {k: np.repeat(v, 2, 1)[:, ::2] for k, v in data.inputs.items()}
    inputs["i"] = inputs["i"].astype(np.int8)
    for v in turned.values():
        v.flags.writeable = False
    c, numpy = (of(model).value_and_grad(turned, inputs, data.targets, data.state) for of in (in_c_of, kernel_of))
    np.testing.assert_allclose(c[0], numpy[0], rtol=1e-13)
    assert worst(oracle.flat(c[1]), oracle.flat(numpy[1])) < 1e-11


@pytest.fixture
def wrong() -> sb.Kernel:
    """A kernel in whose text a sign is wrong, for calls without masks and monitors."""
    kernel = sb.compile(rnn, target="c")
    assert kernel.in_c is not None
    plain = kernel.in_c.plain
    text = plain.text.replace("1 - SQUARE(", "1 + SQUARE(")
    assert text != plain.text
    vars(kernel.in_c)["plain"] = replace(plain, text=text)
    return kernel


def test_a_mistake_in_the_text_is_seen(wrong: sb.Kernel) -> None:
    groups = oracle.draw(rnn, 4, 2, SIZES)
    (a, da, _), (b, db, _) = results(wrong, groups), results(kernel_of(rnn), groups)
    assert worst(a, b) < 1e-11 and worst(da, db) > 0.1


@pytest.mark.long
def test_verify_compares_a_kernel_in_c_with_the_users_function(wrong: sb.Kernel) -> None:
    report, found = sb.verify(in_c_of(rnn), proof=False), sb.verify(wrong, proof=False)
    assert report.passed and any("those of the kernel in C" in remark for remark in report.remarks)
    assert not found.passed and "dU" in found.wrong and "h" not in found.wrong
    with pytest.raises(sb.ArgumentError, match="a kernel in C, has no certificate"):
        _ = report.certificate


def test_a_kernel_in_c_is_no_module_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(sb.TargetError, match=r"is computed in C(.|\n)*sb.compile\(gru\).save"):
        in_c_of(gru).save(tmp_path / "gru.py")


def test_runs_of_the_two_are_told_apart_and_pickled() -> None:
    groups, c, numpy = oracle.draw(gru, 3, 2, SIZES), in_c_of(gru), kernel_of(gru)
    runs = c.forward(*groups), numpy.forward(*groups)
    cotangents = {"h": np.ones_like(runs[0].states["h"])}
    for kernel, run in zip((numpy, c), runs, strict=True):
        with pytest.raises(sb.ArgumentError, match="the run of another module"):
            kernel.backward(run, cotangents)
    again, run = pickle.loads(pickle.dumps((c, runs[0])))
    assert again.backend == "c"
    assert worst(oracle.flat(again.backward(run, cotangents)), oracle.flat(c.backward(runs[0], cotangents))) == 0


def test_a_kernel_says_what_computes_it() -> None:
    c, numpy = in_c_of(gru), kernel_of(gru)
    assert (c.backend, numpy.backend, sb.compile(gru, target="auto").backend) == ("c", "numpy", "c")
    assert repr(c) == f"<kernel of gru in C: {len(c.c_source.splitlines())} lines>"
    assert "// h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}" in c.c_source
    with pytest.raises(sb.ArgumentError, match=r'one in NumPy(.|\n)*sb.compile\(gru, target="c"\)'):
        _ = numpy.c_source
    with pytest.raises(sb.ArgumentError, match=r'target is "numpy", "c" or "auto", got \'fortran\''):
        sb.compile(gru, target="fortran")  # type: ignore[arg-type]


def test_without_a_compiler_auto_is_numpy_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    with pytest.raises(sb.TargetError, match=r"ziglang(.|\n)*\.\[c\]"):
        sb.compile(gru, target="c")
    kernel = sb.compile(gru, target="auto")
    assert kernel.backend == "numpy" and "needs a C compiler" in kernel.reason
    assert kernel.reason in " ".join(str(kernel.plan).split())


def test_a_compiler_that_does_not_work_is_told_when_a_kernel_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is there may lack the headers of C: auto then takes NumPy, and no first call fails."""
    monkeypatch.setenv("CC", "false")
    with pytest.raises(sb.TargetError, match="the compiler false ended with status 1"):
        sb.compile(gru, target="c")
    kernel = sb.compile(gru, target="auto")
    assert kernel.backend == "numpy" and "the compiler false ended with status 1" in kernel.reason


def test_what_c_lacks_is_refused_by_name_and_auto_takes_numpy() -> None:
    @sb.cell
    def turns(z: sb.State["n", complex], w: sb.Param["n", complex]) -> Any:
        return {"z": w * z}

    with pytest.raises(sb.CellError, match="turns has complex numbers"):
        sb.compile(turns, target="c")
    assert "complex numbers" in sb.compile(turns, target="auto").reason
