"""Recursions that are affine element by element: proven from the graph, computed for all steps at once, the same as step by step."""

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symbptt as sb
from symbptt import Const, Input, Param, State, zoo
from symbptt.autodiff.bptt import derive
from symbptt.codegen.load import load
from symbptt.codegen.passes.affine_recurrence import recursions
from symbptt.codegen.program.program import program_of
from symbptt.codegen.runtime import scan, workspace
from tests import oracle
from tests.kernels import own_kernel_of
from tests.test_memory import error, peak_of


@sb.cell
def integrator(x: Input["m"], h: State["n"], W: Param["n m"], tau: Param["n"] = 2.0, dt: Const = 0.1):
    """A leaky integrator, as Euler's method writes it."""
    return h + dt * (-h / tau + W @ x)


@sb.cell
def gate(x: Input["m"], h: State["n"], Wz: Param["n m"], Wc: Param["n m"]):
    """A gate that sees the input alone, written as a step towards the candidate; the readout sees the state before."""
    z = sb.sigmoid(Wz @ x)
    step = z * (np.tanh(Wc @ x) - h)
    return {"h": h + step, "y": np.sum(step * h)}


@sb.cell
def oscillator(x: Input["m"], v: State["n"], p: State["n"], W: Param["n m"], k: Param["n"], g: Param["n"] = 0.3):
    """A damped oscillator by a symplectic step: the place moves with the new speed."""
    v = v - 0.1 * (k * k * p + g * v) + W @ x
    p = p + 0.1 * v
    return {"v": v, "p": p, "energy": np.sum(v * v + k * k * p * p)}


@sb.cell
def gated_attention(
    x: Input["m"], S: State["k v"], Wq: Param["k m"], Wk: Param["k m"], Wv: Param["v m"], Wa: Param["k m"]
):
    """A matrix of keys and values whose rows decay as the input says."""
    decay = sb.sigmoid(Wa @ x)
    S = decay[:, None] * S + (Wk @ x)[:, None] * (Wv @ x)[None, :]
    return {"S": S, "y": (Wq @ x) @ S}


@sb.cell
def turning(x: Input["m"], re: State["n"], im: State["n"], Wr: Param["n m"], Wt: Param["n m"], W: Param["n m"]):
    """Complex modes, turned and damped by the input."""
    size, angle = np.exp(-sb.softplus(Wr @ x)), Wt @ x
    a, b = size * np.cos(angle), size * np.sin(angle)
    return {"re": a * re - b * im + W @ x, "im": b * re + a * im}


@sb.cell
def shares(x: Input["m"], c: State["n"], Wf: Param["n m"], Wi: Param["n m"], Wc: Param["n m"]):
    """Forget and input gates that add up to one."""
    f, i = sb.sigmoid(Wf @ x), sb.sigmoid(Wi @ x)
    return f / (f + i) * c + i / (f + i) * (Wc @ x)


@sb.cell
def synapse(x: Input["n"], count: State, old: State["n"], s: State["n"], v: State["n"], beta: Param = 0.8):
    """A count, the last input, a trace of them and what a membrane makes of that: states of several kinds."""
    return count + 1, x, 0.9 * s + old, beta * v + (1 - beta) * s - x


@sb.cell
def coupled(x: Input["n"], a: State["n"], b: State["n"], w: Param["n"]):
    """Two states that change places."""
    return b, w * a + x


@sb.cell
def given_decay(x: Input["n"], decay: Input["n"], h: State["n"]):
    """All that a step does is the recursion."""
    return decay * h + x


AFFINE = {
    c.name: c for c in (integrator, gate, oscillator, gated_attention, turning, shares, synapse, coupled, given_decay)
}
ALSO = {name: getattr(zoo, name) for name in ("lru", "s4d", "min_gru", "selective_ssm", "linear_attention", "retnet")}
SIZES = {"m": 2, "n": 2, "k": 2, "v": 2, "d": 2}


@sb.cell
def mixing(x: Input["n"], h: State["n"], U: Param["n n"]):
    return 0.5 * h + U @ h + x


@sb.cell
def own_gate(x: Input["n"], h: State["n"]):
    z = sb.sigmoid(x + h)
    return (1 - z) * h + z * x


@sb.cell
def square(x: Input["n"], h: State["n"]):
    return h * h + x


@sb.cell
def mean_field(x: Input["n"], h: State["n"]):
    return 0.5 * h + 0.1 * np.mean(h) + x


@sb.cell
def shifted(x: Input["n"], h: State["n"]):
    return x + np.concatenate([h[1:], h[:1]])


@sb.cell
def one_of_two(x: Input["n"], a: State["n"], b: State["n"]):
    return 0.5 * a + x, 0.5 * b * a


OTHERS = {c.name: c for c in (mixing, own_gate, square, mean_field, shifted, one_of_two)}
kernel_of = cache(lambda name: own_kernel_of({**AFFINE, **ALSO}[name]))


def stepwise(kernel: Any) -> Any:
    """The same module with the scan off."""
    module = load(kernel.source, "step by step")
    module._window = lambda *_: 0  # type: ignore[attr-defined]
    return module


def scans(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the scans of a kernel answer from now on."""
    answers: list[bool] = []
    true = kernel.module._scan

    def heard(*args: Any, **more: Any) -> bool:
        answers.append(true(*args, **more))
        return answers[-1]

    monkeypatch.setattr(kernel.module, "_scan", heard)
    return answers


def double(values: Any) -> Any:
    """Values in double precision; those at the lower end of single precision are zero."""
    return {k: np.where(np.abs(v) < 1e-30, 0, v.astype("f8")) if v.dtype == "f4" else v for k, v in values.items()}


def groups_of(cell: sb.Cell, steps: int, batch: int, seed: int) -> Any:
    """Random arguments with which no state grows."""
    params, *others = oracle.draw(cell, steps, batch, SIZES, seed=seed)
    stable = {"tau": lambda v: 1 + v * v, "beta": np.tanh, "w": np.tanh, "g": np.square}
    return {k: np.asarray(stable.get(k, np.copy)(v)) for k, v in params.items()}, *others


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("name", [*AFFINE, *ALSO])
@pytest.mark.thinned(5, 2)
def test_structure_is_proven_from_the_graph_and_told_by_the_plan(name: str) -> None:
    assert recursions(kernel_of(name).program) is not None
    assert "Recursion: affine" in kernel_of(name).plan.recursion


@pytest.mark.parametrize(
    ("name", "why"),
    [("mixing", "h is not affine, element by element, in the states: U h_{t-1}"), ("own_gate", "σ(x_t + h_{t-1})"),
     ("square", "h_{t-1}²"), ("mean_field", "sum(h_{t-1})"), ("shifted", "h_{t-1}[1:n]"), ("one_of_two", ": b is not")],
)  # fmt: skip
def test_plan_names_the_state_and_the_term_that_is_not_affine(name: str, why: str) -> None:
    kernel = sb.compile(OTHERS[name])
    assert recursions(program_of(derive(OTHERS[name].step))) is None and "_scan" not in kernel.source
    assert "Recursion: step by step" in kernel.plan.recursion and why in kernel.plan.recursion


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("steps", [0, 1, 2, 63, 64, 65, 66, 101])
@pytest.mark.thinned(13, 5)
def test_states_are_those_of_the_plain_function(name: str, steps: int) -> None:
    groups = oracle.draw(AFFINE[name], steps, 2, SIZES, seed=steps)
    run = kernel_of(name).forward(*groups)
    if steps:
        oracle.assert_blocks_close(run.states | run.outputs, oracle.run(AFFINE[name], *groups, steps), 1e-12)


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.thinned(5)
def test_gradients_agree_with_complex_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 67
    groups = groups_of(AFFINE[name], steps, 1, seed=3)
    answers = scans(kernel_of(name), monkeypatch)
    run = kernel_of(name).forward(*groups)
    cotangents = oracle.cotangents_of(AFFINE[name], groups, steps)
    found = oracle.flat(kernel_of(name).backward(run, cotangents))
    assert answers == [True, True]
    oracle.assert_blocks_close(found, oracle.gradients(AFFINE[name], *groups, cotangents, steps), 1e-11)


@pytest.mark.parametrize("name", [*AFFINE, *ALSO])
@pytest.mark.parametrize(
    ("steps", "batch", "dtype"), [(0, 2, "f8"), (1, 1, "f8"), (2, 3, "f8"), (200, 3, "f8"), (333, 1, "f4")]
)
@pytest.mark.thinned(13, 5)
def test_scan_and_steps_give_the_same(name: str, steps: int, batch: int, dtype: str) -> None:
    cell, kernel = {**AFFINE, **ALSO}[name], kernel_of(name)
    groups = [{k: v.astype(dtype) for k, v in g.items()} for g in groups_of(cell, steps, batch, seed=5)]
    one, other = kernel.forward(*groups), (plain := stepwise(kernel)).forward(*groups)
    tolerance = 1e-10 if dtype == "f8" else 1e-3
    oracle.assert_blocks_close(double(one.states | one.outputs), double(other.states | other.outputs), tolerance)
    random = np.random.default_rng(0)
    for shape in (lambda v: v.shape, lambda v: v.shape[1:]):  # all steps, the last
        cotangents = {k: random.standard_normal(shape(v)).astype(dtype) for k, v in one.states.items()}
        found = oracle.flat(kernel.backward(one, cotangents))
        wanted = oracle.flat(plain.backward(other, cotangents))
        oracle.assert_blocks_close(double(found), double(wanted), tolerance)
        assert all(v.dtype == dtype for v in found.values())


@pytest.mark.parametrize("name", ["gate", "oscillator", "synapse"])
def test_masks_and_watching_are_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, cell, kernel = 68, AFFINE[name], kernel_of(name)
    groups = oracle.draw(cell, steps, 2, SIZES, seed=7)
    answers = scans(kernel, monkeypatch)
    masks = {"lengths": np.array([68, 40]), "reset": np.random.default_rng(0).random((steps, 2)) < 0.05}
    run = kernel.forward(*groups, **masks)
    assert not any(answers)
    oracle.assert_blocks_close(run.states | run.outputs, oracle.run(cell, *groups, steps, **masks), 1e-12)
    free = kernel.forward(*groups)
    cotangents = {k: np.ones_like(v) for k, v in free.states.items()}
    watched, plain = kernel.backward(free, cotangents, monitor=True), kernel.backward(free, cotangents)
    oracle.assert_blocks_close(oracle.flat(watched), oracle.flat(plain), 1e-11)
    assert all(np.all(v > 0) for v in watched.flow.values())


def test_clipping_inside_the_recursion_is_step_by_step() -> None:
    kernel = own_kernel_of(gate, clip_adjoint=0.5)
    groups = oracle.draw(gate, 80, 2, SIZES, seed=1)
    run = kernel.forward(*groups)
    cotangents = {"h": np.ones_like(run.states["h"])}
    flow = kernel.backward(run, cotangents, monitor=True).flow["h"]
    assert np.all(flow <= 0.5 * np.sqrt(2) + 1e-12)
    again = stepwise(kernel)
    oracle.assert_blocks_close(
        oracle.flat(kernel.backward(run, cotangents)),
        oracle.flat(again.backward(again.forward(*groups), cotangents)),
        1e-12,
    )


@sb.loss
def squared(h: State["n"]):
    return sb.sum(h * h) / 2


@pytest.mark.parametrize(
    "truncation", [sb.Chunked(70, 70), sb.Chunked(70, 90), sb.Chunked(300, 300), sb.Window(70), sb.Window(300)]
)
@pytest.mark.thinned(3)
def test_truncated_gradients_are_those_of_steps(truncation: Any) -> None:
    kernel = own_kernel_of(sb.model(gate, squared), truncation=truncation)
    params, inputs, state = oracle.draw(gate, 200, 2, SIZES, seed=2)
    value, found = kernel.value_and_grad(params, inputs, None, state)
    wanted, others = stepwise(kernel).value_and_grad(params, inputs, None, state)
    assert abs(value - wanted) <= 1e-12 * abs(wanted)
    oracle.assert_blocks_close(oracle.flat(found), oracle.flat(others), 1e-11)
    if 300 in vars(truncation).values():
        full = own_kernel_of(sb.model(gate, squared)).value_and_grad(params, inputs, None, state)[1]
        oracle.assert_blocks_close(oracle.flat(found), oracle.flat(full), 1e-10)


@pytest.mark.parametrize("memory", ["sqrt", 300_000])
def test_memory_modes_give_the_same(memory: Any) -> None:
    model, groups = sb.model(gate, squared), oracle.draw(gate, 900, 2, SIZES, seed=2)
    params, inputs, state = groups
    value, found = own_kernel_of(model, memory=memory).value_and_grad(params, inputs, None, state)
    wanted, others = own_kernel_of(model).value_and_grad(params, inputs, None, state)
    assert abs(value - wanted) <= 1e-12 * abs(wanted)
    oracle.assert_blocks_close(oracle.flat(found), oracle.flat(others), 1e-11)


@pytest.mark.parametrize(("steps", "batch"), [(600, 8), (600, 1), (5000, 1)])
@pytest.mark.parametrize("memory", ["all", "sqrt"])
@pytest.mark.thinned(11)
def test_peak_is_as_predicted(steps: int, batch: int, memory: str) -> None:
    sizes = {"m": 8, "n": 64}
    kernel = sb.compile(sb.model(zoo.min_gru, error), memory=memory)
    predicted, measured = kernel.plan.peak(steps, batch, **sizes), peak_of(kernel, steps, batch, sizes)
    assert 0.8 <= predicted / measured <= 1.35  # rooms of a scan are counted where steps are too large for one, too


@sb.cell
def readouts(x: Input["n"], u: Input["n"], h: State["n"], W: Param["n n"], s: Param = 0.7):
    """Outputs before and behind the step, one that is saved for backward, two inputs with one gradient, a shared weight."""
    new = sb.sigmoid(s) * h + W @ (x + u)
    return {"h": new, "y": np.tanh(W @ new) * h, "z": np.exp(-np.sum(new * new)), "w": s * x}


def test_outputs_and_gradients_of_blocks_are_those_of_the_plain_function() -> None:
    steps, kernel = 70, sb.compile(readouts)
    groups = oracle.draw(readouts, steps, 1, SIZES, seed=3)
    run = kernel.forward(*groups)
    oracle.assert_blocks_close(run.states | run.outputs, oracle.run(readouts, *groups, steps), 1e-12)
    cotangents = oracle.cotangents_of(readouts, groups, steps)
    grads = kernel.backward(run, cotangents)
    oracle.assert_blocks_close(oracle.flat(grads), oracle.gradients(readouts, *groups, cotangents, steps), 1e-11)
    assert grads.inputs["x"] is not grads.inputs["u"]
    before = {k: v.copy() for k, v in (grads.params | grads.inputs).items()}
    again = kernel.backward(run, cotangents)
    kernel.backward(kernel.forward(*groups), {k: -v for k, v in cotangents.items()})  # rooms are used again
    for k, v in before.items():
        np.testing.assert_array_equal((again.params | again.inputs)[k], v)
        np.testing.assert_array_equal((grads.params | grads.inputs)[k], v)


# The scan alone, against the plain recursion.


def plain(a: Any, b: Any, start: Any) -> Any:
    """x[i] after every step, in the type of the data."""
    x = [np.array([v]) for v in start]
    for t in range(len(b[0])):
        now = [v[-1] for v in x]
        step = [sum((c[t] * v for c, v in zip(row, now, strict=True)), start=b[i][t]) for i, row in enumerate(a)]
        x = [np.concatenate([v, [s]]) for v, s in zip(x, step, strict=True)]
    return x


def solved(a: Any, b: Any, start: Any, window: int, *, back: bool = False, fixed: bool = False) -> tuple[bool, Any]:
    x = [np.full((len(b[0]) + 1, *v.shape), np.nan, v.dtype) for v in start]
    for v, s in zip(x, start, strict=True):
        v[-1 if back else 0] = s
    plans: dict[int, Any] = {0: scan._Rooms(workspace.Workspace())}
    done = scan._scan(plans, a, b, x, window, fixed, back)
    again = [v.copy() for v in x]
    assert scan._scan(plans, a, b, again, window, fixed, back) == done  # the plan is used again
    assert all(np.array_equal(v, w, equal_nan=True) for v, w in zip(x, again, strict=True))
    return done, x


SCALES = st.sampled_from(["gates", "signs", "growth", "zeros", "tiny", "mixed", "ones"])


def coefficients(kind: str, random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    uniform = random.uniform(-1, 1, shape)
    return {
        "gates": random.uniform(0, 1, shape),
        "signs": np.sign(uniform),
        "growth": uniform * 1.3,
        "zeros": uniform * (uniform > 0),
        "tiny": uniform * 1e-300,
        "mixed": uniform * random.choice([1e-300, 1.0, 1e3, 0.0], shape),
        "ones": np.ones(shape),
    }[kind]


@settings(deadline=None, max_examples=120)
@given(
    SCALES, st.integers(1, 2), st.integers(2, 300), st.integers(1, 3), st.sampled_from([4, 8, 32, 256]),
    st.booleans(), st.booleans(), st.integers(0, 2**31),
)  # fmt: skip
def test_scan_is_the_plain_recursion_or_is_not_done(
    kind: str, states: int, steps: int, width: int, window: int, back: bool, fixed: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    shape = (1, width) if fixed else (steps, 1, width)
    a = [[coefficients(kind, random, shape) / states for _ in range(states)] for _ in range(states)]
    b = [random.standard_normal((steps, 1, width)) for _ in range(states)]
    start = [random.standard_normal((1, width)) for _ in range(states)]
    done, x = solved(a, b, start, window, back=back, fixed=fixed)
    order = slice(None, None, -1 if back else 1)
    every = [[np.broadcast_to(c, (steps, 1, width))[order] for c in row] for row in a]
    wanted = plain(every, [v[order] for v in b], start)
    assert done or kind in ("growth", "mixed")
    for got, value in zip(x, wanted, strict=True):
        if done:
            scale = np.maximum.accumulate(np.abs(value), axis=0)
            assert np.all(np.abs(got[order] - value) <= 1e-11 * scale)


@pytest.mark.parametrize(
    ("least", "most", "dtype"), [(0.0, 1.0, "f8"), (0.9, 1.0, "f4"), (0.999999, 1.0, "f8"), (0.7, 1.2, "f4")]
)
@pytest.mark.thinned(7)
def test_long_sequences_neither_overflow_nor_drift(
    least: float, most: float, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gates near 0, near 1, 1 itself and above it, against the plain recursion in double precision."""
    random = np.random.default_rng(0)
    x = random.standard_normal((10**5, 1, 3)).astype(dtype)
    decay = (least + (most - least) * random.random((10**5, 1, 3))).astype(dtype)
    decay[:, :, 1], decay[:, :, 2] = 1.0, np.where(decay[:, :, 2] < 0.5, 1e-30, 1.0)
    kernel = kernel_of("given_decay")
    answers = scans(kernel, monkeypatch)
    run = kernel.forward({}, {"x": x, "decay": decay})
    grads = kernel.backward(run, {"h": x})
    assert len(answers) > 10 and (all(answers) or most > 1)
    h = d = np.zeros((1, 3))
    reached = [h]
    for t in range(len(x)):
        h = decay[t].astype("f8") * h + x[t]
        reached.append(h)
    values, scale = np.array(reached[1:]), np.maximum.accumulate(np.abs(reached[1:]), axis=0)
    eps = 200 * np.finfo(dtype).eps
    assert np.all(np.abs(run.states["h"] - values) <= eps * np.maximum(scale, np.abs(x).max()) * (1 + np.sqrt(len(x))))
    for t in reversed(range(len(x))):
        d = d + x[t]
        assert t % 9973 or np.allclose(grads.inputs["x"][t], d, rtol=eps * 300, atol=eps * 300 * np.abs(values).max())
        d = decay[t].astype("f8") * d


@sb.cell
def plane(x: Input["n"], p: State["n"], q: State["n"], a: Param["n"], b: Param["n"]):
    """A turn in the plane, the same at every step."""
    return a * p - b * q + x, b * p + a * q - x


@sb.cell
def trace(x: Input["n"], h: State["n"], a: Param["n"]):
    return a * h + x


@pytest.mark.parametrize(("steps", "batch", "width"), [(1000, 1, 1), (20_000, 1, 1), (10_000, 4, 64)])
@pytest.mark.parametrize(
    ("cell", "params"),
    [(plane, (np.cos(0.3), np.sin(0.3))), (trace, (0.9999,)), (trace, (1 - 2e-6,)), (trace, (0.9,))],
    ids=["turn", "slow", "slower", "fast"],
)
@pytest.mark.thinned(3, 5)
def test_powers_of_fixed_coefficients_are_no_worse_than_steps(
    cell: sb.Cell, params: tuple[float, ...], steps: int, batch: int, width: int
) -> None:
    """Windows and steps in single precision, against steps in double precision."""
    kernel, random = sb.compile(cell), np.random.default_rng(0)
    given = {k: np.full(width, v, "f4") for k, v in zip("ab", params, strict=False)}
    x = 1 + random.standard_normal((steps, batch, width)).astype("f4")
    sent = {k: 1 + random.standard_normal(x.shape).astype("f4") for k in cell.step.next}

    def found(module: Any, dtype: str) -> list[Any]:
        run = module.forward({k: v.astype(dtype) for k, v in given.items()}, {"x": x.astype(dtype)})
        grads = module.backward(run, {k: v.astype(dtype) for k, v in sent.items()})
        return [*run.states.values(), grads.inputs["x"]]

    for got, loop, true in zip(
        found(kernel, "f4"), found(stepwise(kernel), "f4"), found(stepwise(kernel), "f8"), strict=True
    ):
        error, usual = (np.abs(v - true).max() / np.abs(true).max() for v in (got, loop))
        assert error <= 3 * usual


@pytest.mark.parametrize("factor", [2.0, 1e10, -3.0])
def test_unstable_balance_is_kept_as_the_plain_recursion_keeps_it(factor: float) -> None:
    """h = 1 is a fixed point of h' = a h + (1 - a), exactly so in floating point where products are not mixed."""

    @sb.cell
    def balance(x: Input["n"], h: State["n"], a: Param):
        return a * h + x

    x = np.full((400, 1, 3), 1 - factor)
    run = sb.compile(balance).forward({"a": np.float64(factor)}, {"x": x}, {"h": np.ones((1, 3))})
    assert np.all(run.states["h"] == 1.0)


def test_overflow_goes_where_the_plain_recursion_has_it() -> None:
    b = np.zeros((1000, 1, 2))
    assert not solved([[np.full((1000, 1, 2), 1e30)]], [b], [np.zeros((1, 2))], 64)[0]
    b[500:] = 1e308
    assert not solved([[np.ones((1000, 1, 2))]], [b], [np.zeros((1, 2))], 64)[0]
    kernel = kernel_of("given_decay")
    x, decay = b.copy(), np.full_like(b, 0.5)
    x[:500], x[500:], decay[700:] = 1.0, 0.0, 0.0
    decay[400:600] = 1e30
    with np.errstate(all="ignore"):
        run, other = (k.forward({}, {"x": x, "decay": decay}) for k in (kernel, stepwise(kernel)))
    np.testing.assert_array_equal(run.states["h"], other.states["h"])
    assert np.isinf(run.states["h"]).any()


@pytest.mark.parametrize(
    ("steps", "shape", "window"),
    [
        (3, (1, 2), 0),
        (4, (1, 2), 4),
        (4096, (1, 64), 16),
        (4096, (4, 64), 4),
        (4096, (8, 64), 0),
        (4096, (0, 2), 0),
        (0, (1, 2), 0),
    ],
)
def test_windows_are_taken_where_steps_are_small(steps: int, shape: tuple[int, ...], window: int) -> None:
    assert scan._window(steps, [np.ones(shape)], 4) == window


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("slice(s, m), slice(0, m - s)", "slice(s, m), slice(1, m - s + 1)"),
     ("c[1:] for c in row]", "c[:-1] for c in row]"), ("own[-1]", "own[0]"), ("own[:-1]", "own[1:]"), ("below[j][of]", "below[j][to]"),
     ("(c if fixed else c[0], v[0])", "(c if fixed else c[-1], v[0])"), ("(np.add, v[to], add[to], room[to])", "(np.add, v[to], add[of], room[to])")],
)  # fmt: skip
def test_planted_mistake_is_caught(right: str, wrong: str) -> None:
    kernel = kernel_of("gate")
    assert kernel.source.count(right) == 1
    module = load(kernel.source.replace(right, wrong), "planted")
    with pytest.raises((AssertionError, ValueError)):
        groups = oracle.draw(gate, 150, 2, SIZES, seed=9)
        one, other = module.forward(*groups), (steps := stepwise(kernel)).forward(*groups)
        oracle.assert_blocks_close(one.states, other.states, 1e-10)
        cotangents = {k: np.random.default_rng(1).standard_normal(v.shape) for k, v in one.states.items()}
        found = oracle.flat(module.backward(one, cotangents))
        oracle.assert_blocks_close(found, oracle.flat(steps.backward(other, cotangents)), 1e-10)
