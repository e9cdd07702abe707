"""The loop IR of a cell computes what its NumPy module does, and exact derivatives over exact numbers."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt.autodiff.bptt import derive
from symbptt.codegen.loop_ir.arithmetics import exact, floats, fractions
from symbptt.codegen.loop_ir.dump import dump
from symbptt.codegen.loop_ir.interpret import run
from symbptt.codegen.loop_ir.laws import check, check_run
from symbptt.codegen.loop_ir.nodes import If, Loop, Map, Statement, walk
from symbptt.codegen.lower.loss import lower_loss
from symbptt.codegen.passes import NEUTRAL, PASSES, SPARING
from symbptt.codegen.program.program import program_of
from symbptt.codegen.program.regions import place
from symbptt.ir.scalar import Prod, Sum
from symbptt.zoo import CELLS
from tests import public_cells, unseen
from tests.kernels import kernel_of
from tests.lowered import Data, data_for, run_both, run_forward, sweeps_of, with_masks
from tests.properties.cases import case_of, functions_of

RUNS = ((0, 2, 1), (1, 2, 3), (2, 3, 1), (5, 1, 2), (7, 2, 3))
"""Steps, samples, steps of a block."""


@sb.cell
def swapped(x: sb.Input["n"], a: sb.State["n"], b: sb.State["n"], w: sb.Param["n"]):
    """Two states change places, so that their adjoints do too."""
    return {"a": b, "b": a + w * x}


@sb.cell
def exchanged(a: sb.State["n"], b: sb.State["n"], c: sb.State["n"], w: sb.Param["n"]):
    """Three states go round, with nothing else; the last one is also read by its neighbour."""
    return {"a": c, "b": a * w, "c": b + c * w}


@sb.cell
def register(x: sb.Input["n"], q: sb.State["2*n"], w: sb.Param["n"]):
    """A shift register: what comes first moves on, what is read moves in."""
    return {"q": np.concatenate([w * x, q[: x.shape[0]]])}


@sb.cell
def forgetful(x: sb.Input["n"], a: sb.State["n"], b: sb.State["n"], c: sb.State["n"]):
    """A state that is read by nothing takes over another one, which goes on itself."""
    return {"a": b, "b": 0.5 * b * np.sin(b) + x, "c": c * x + b}


@sb.cell
def twice(x: sb.Input["n"], h: sb.State["n"], k: sb.State["n"], W: sb.Param["n n"], v: sb.Param["n"]):
    """Two states and an output are one value; a parameter is read by the output alone, another input by nothing."""
    y = np.tanh(W @ h + x)
    return {"h": y, "k": y, "y": y, "z": np.sum(v * v), "same": x}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*never used")
        yield


@sb.cell
def unused(x: sb.Input["n"], u: sb.Input["n"], h: sb.State["n"], k: sb.State["n"], w: sb.Param["n"], p: sb.Param["n"]):
    """An input, a parameter and a state are read by nothing."""
    return {"h": h * w + x, "k": np.ones_like(k)}


@sb.cell
def folded_up(x: sb.Input["3*n"], h: sb.State["n"], W: sb.Param["3*n n"]):
    """Reshapes that make several axes of one, and one of several, of a state and of a product."""
    A = np.reshape(x, (3, h.shape[0]))
    return {"h": np.tanh(np.reshape(W, (3, h.shape[0], h.shape[0]))[0] @ h + np.sum(A * A, axis=0) * np.max(A))}


@sb.cell
def counted(i: sb.Index["v"], h: sb.State["n"], E: sb.Param["v n"], Q: sb.Param["n v"]):
    """A table read by index, along its first and along its last axis, running sums from both ends."""
    return {"h": np.tanh(E[i] + np.cumsum(h)[::-1] * Q[:, i]) * np.eye(2)[0, 0]}


@sb.cell
def clashing(
    x: sb.Input["T"],
    K: sb.State["B"],
    s: sb.State["K"],
    W: sb.Param["B T"],
    U: sb.Param["K B"],
    has_reset: sb.Param["lo"],
):
    """Sizes and values with names that the loop IR has for its own."""
    a = np.tanh(W @ x + K) * np.mean(has_reset)
    return {"K": a, "s": U @ a + s / s.shape[0], "count": np.sum(s) * K}


OWN = (clashing, forgetful, swapped, exchanged, register, twice, unused, folded_up, counted)


def close(found: Any, expected: Any) -> bool:
    """Whether arrays agree to 1e-12 of their greatest element."""
    scale = max(1.0, np.max(np.abs(expected), initial=0))
    return found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=1e-12 * scale)


def agrees(
    cell: sb.Cell,
    passes: tuple[Any, ...],
    steps: int,
    samples: int,
    block: int,
    masks: dict[str, Any] | None = None,
    **lengths: int,
) -> None:
    """Assert that the interpreter gives what the NumPy kernel gives; `masks` are lengths and reset."""
    data, kernel = data_for(cell, steps, samples, **lengths), kernel_of(cell)
    inputs, params = data.of("input", "index"), data.of("param", "const")
    found = kernel.forward(params, inputs or None, data.of("state"), steps=None if inputs else steps, **(masks or {}))
    grads = kernel.backward(found, data.cotangents)
    s = sweeps_of(cell, passes, masks is not None)
    data = data if masks is None else with_masks(data, steps, samples, **masks)
    first, second = run_both(s, data, steps, samples, block)
    wanted = {"states": found.states, "outputs": found.outputs}
    for group, arrays in wanted.items():
        for name, array in arrays.items():
            assert close(first[group, name], array), (group, name)
    for group, arrays in {"params": grads.params, "inputs": grads.inputs, "state": grads.state}.items():
        for name, array in arrays.items():
            assert close(second[group, name], array), (group, name)


def follows_laws(cell: sb.Cell, passes: tuple[Any, ...], masked: bool = False) -> None:
    """Assert that both sweeps are legal, at several sizes, whatever flags say."""
    s = sweeps_of(cell, passes, masked)
    for f in (s.forward, s.backward):
        check(f)
        for steps, samples, block in RUNS:
            for flags in (False, True)[: 1 + masked]:
                check_run(f, data_for(cell, steps, samples).sizes, steps, samples, block, flags)


@pytest.mark.thinned(9, 2)
@pytest.mark.parametrize("name", CELLS)
def test_a_lowered_cell_computes_what_its_module_does(name: str) -> None:
    for at in RUNS:
        agrees(CELLS[name], PASSES, *at)


@pytest.mark.thinned(67, 7)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("passes", [NEUTRAL, SPARING], ids=["neutral", "sparing"])
def test_no_pass_is_needed_for_that(passes: tuple[Any, ...], name: str) -> None:
    for at in RUNS[2:]:
        agrees(CELLS[name], passes, *at)
    follows_laws(CELLS[name], passes)


@pytest.mark.parametrize("cell", OWN, ids=lambda cell: cell.name)
def test_states_that_change_places_and_values_that_nothing_reads(cell: sb.Cell) -> None:
    for passes in (PASSES, NEUTRAL):
        for at in RUNS:
            agrees(cell, passes, *at)
        follows_laws(cell, passes)


@pytest.mark.thinned(9, 2)
@pytest.mark.parametrize("name", CELLS)
def test_a_lowered_cell_follows_the_laws(name: str) -> None:
    follows_laws(CELLS[name], PASSES)


def drawn_masks(steps: int, samples: int, kinds: str) -> dict[str, Any]:
    """Lengths, the first of them whole and the last none, and resets at random."""
    random = np.random.default_rng(steps + samples)
    lengths = random.integers(0, steps + 1, samples)
    lengths[0], lengths[-1] = steps, 0
    reset = random.random((steps, samples)) < 0.4
    return {"lengths": lengths if "l" in kinds else None, "reset": reset if "r" in kinds else None}


@pytest.mark.thinned(197, 29)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("kinds", ["l", "r", "lr", ""])
def test_lengths_and_resets_are_statements(kinds: str, name: str) -> None:
    for steps, samples, block in ((1, 2, 1), (5, 4, 2)):
        agrees(CELLS[name], PASSES, steps, samples, block, drawn_masks(steps, samples, kinds))
    follows_laws(CELLS[name], PASSES, True)


@pytest.mark.parametrize("cell", OWN, ids=lambda cell: cell.name)
def test_masks_of_states_that_change_places(cell: sb.Cell) -> None:
    for passes in (PASSES, NEUTRAL):
        agrees(cell, passes, 5, 4, 2, drawn_masks(5, 4, "lr"))


def test_a_step_backward_reads_the_states_of_its_own_step_where_a_sample_has_none() -> None:
    """The share of a maximum is found by comparing it with the state, which must not be the one that is shown."""
    agrees(unseen.CELLS["echo_of_extremes"], PASSES, 3, 2, 1, drawn_masks(3, 2, "l"))


def test_a_mask_that_lacks_changes_a_gradient() -> None:
    s, data = sweeps_of(CELLS["gru"], PASSES, True), data_for(CELLS["gru"], 5, 4)
    data = with_masks(data, 5, 4, **drawn_masks(5, 4, "lr"))
    _, right = run_both(s, data, 5, 4, 2)
    for flag in [x for x in walk(s.backward.body) if isinstance(x, If)]:
        back = replace(s.backward, body=without(s.backward.body, flag))
        _, wrong = run_both(replace(s, backward=back), data, 5, 4, 2)
        assert any(not np.allclose(wrong[key], right[key]) for key in right)


def without(body: tuple[Statement, ...], gone: If) -> tuple[Statement, ...]:
    """Statements without those of a flag: what stands there where it is not set is in their place."""
    found: list[Statement] = []
    for s in body:
        found += s.orelse if s is gone else [replace(s, body=without(s.body, gone))] if isinstance(s, Loop) else [s]
    return tuple(found)


@sb.loss
def weighed(
    h: sb.State["n"], i: sb.Index["c"], y: sb.Target["n"], V: sb.Param["c n"], u: sb.Param["n"], s: sb.Const = 0.5
):
    """A cross entropy of own logits, a distance in an own metric, and a parameter that nothing reads but a number."""
    a = V @ h
    return sb.logsumexp(a) - a[i] + s * np.sum((h - y) ** 2 * u)


@sb.loss
def plain(h: sb.State["n"]):
    """Nothing but what the cell gives."""
    return np.mean(h**2)


@pytest.mark.parametrize("loss", [weighed, plain], ids=lambda loss: loss.name)
@pytest.mark.parametrize("at", ["every", "last"])
def test_a_loss_is_a_function_between_the_sweeps(at: str, loss: Any) -> None:
    steps, samples, cell, random = 4, 3, CELLS["gru"], np.random.default_rng(1)
    model = sb.model(cell, loss, at=at, reduction="sum")
    every = at == "every"
    f = lower_loss(place(program_of(derive(model.loss.step))), every)
    data, s = data_for(cell, steps, samples), sweeps_of(cell)
    sizes, lead = {**data.sizes, "c": 6}, (steps, samples) if every else (samples,)
    shapes = {"V": (6, sizes["n"]), "u": (sizes["n"],)} if loss is weighed else {}
    own = {name: random.standard_normal(shape) for name, shape in shapes.items()}
    targets = {"i": random.integers(0, 6, lead), "y": random.standard_normal((*lead, sizes["n"]))} if shapes else {}
    kernel = kernel_of(model)
    value, grads = kernel.value_and_grad({**data.of("param"), **own}, data.of("input"), targets, data.of("state"))
    check(f)
    check_run(f, sizes, steps, samples)
    h = run_forward(s, data, steps, samples)["states", "h"]
    given = {("output", "h"): h if every else h[-1], ("cotangent", "loss"): np.ones(lead)}
    given |= {("param", name): v for name, v in own.items()}
    given |= {("index" if name == "i" else "target", name): v for name, v in targets.items()}
    found = run(f, given, sizes, steps, samples, floats())
    sent = np.zeros_like(h)
    sent[slice(None) if every else -1] = found["inputs", "h"]
    _, second = run_both(s, replace(data, cotangents={"h": sent}), steps, samples)
    assert np.isclose(found["outputs", "loss"].sum(), value, rtol=1e-12)
    for name, expected in grads.params.items():
        assert close(found["params", name] if name in own else second["params", name], expected), name
    assert close(second["inputs", "x"], grads.inputs["x"])


@pytest.mark.thinned(29, 7)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("limit", [None, 0.7])
def test_monitors_and_clipping_are_calls_of_a_runtime(limit: float | None, name: str) -> None:
    cell, steps, samples = CELLS[name], 5, 3
    kernel, s = kernel_of(cell, clip_adjoint=limit), sweeps_of(cell, PASSES, limit=limit, monitored=True)
    check(s.backward)
    for flags in (False, True):
        check_run(s.backward, data_for(cell, steps, samples).sizes, steps, samples, 2, flags)
    data = data_for(cell, steps, samples)
    data = replace(data, given={**data.given, ("flag", "monitor"): True})
    inputs = data.of("input", "index")
    found = kernel.forward(data.of("param", "const"), inputs or None, data.of("state"), steps=None if inputs else steps)
    grads = kernel.backward(found, data.cotangents, monitor=True)
    _, second = run_both(s, data, steps, samples, 2)
    for group, arrays in {"params": grads.params, "state": grads.state, "flow": grads.flow}.items():
        for part, expected in arrays.items():
            assert close(second[group, part], expected), (group, part)


@pytest.mark.long
@pytest.mark.parametrize("name", [*unseen.CELLS, *public_cells.CELLS])
@pytest.mark.thinned(1, 23)
def test_cells_from_elsewhere(name: str) -> None:
    cell = {**unseen.CELLS, **public_cells.CELLS}[name]
    for passes in (PASSES, NEUTRAL):
        with np.errstate(all="ignore"):
            for at in RUNS[2:]:
                agrees(cell, passes, *at)
                agrees(cell, passes, *at, drawn_masks(*at[:2], "lr"))
        follows_laws(cell, passes)


@pytest.mark.parametrize("name", ["lstm", "attention", "clockwork"])
def test_sizes_of_one(name: str) -> None:
    agrees(CELLS[name], PASSES, 3, 1, 2, m=1)


def test_single_precision() -> None:
    cell = CELLS["gru"]
    data = data_for(cell, 5, 2, np.float32)
    first, second = run_both(sweeps_of(cell), data, 5, 2, 2, floats(np.float32))
    found = kernel_of(cell).forward(data.of("param"), data.of("input"), data.of("state"))
    grads = kernel_of(cell).backward(found, data.cotangents)
    assert first["states", "h"].dtype == np.float32 == second["params", "Wz"].dtype
    assert np.allclose(first["states", "h"], found.states["h"], atol=1e-6)
    assert np.allclose(second["params", "Wz"], grads.params["Wz"], atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("first", [
    0, *(pytest.param(first, marks=pytest.mark.long if first < 42 else pytest.mark.exhaustive) for first in range(2, 122, 10))
])  # fmt: skip
@pytest.mark.thinned(1, 2)
def test_random_cells(first: int) -> None:
    for seed in range(first, first + (10 if first else 2)):
        cell, _ = functions_of(case_of(seed))
        for passes in (PASSES, NEUTRAL):
            follows_laws(cell, passes, True)
            with np.errstate(all="ignore"):
                for masks in (None, drawn_masks(4, 3, "lr")):
                    agrees(cell, passes, 4, 3, 2, masks)


# Derivatives of the forward sweep, by other means, against the backward sweep. Both are run by the interpreter.


SMOOTH = [name for name in CELLS if name not in ("alif", "lif")]
"""The cells whose backward sweep has the derivatives of their functions, not those of a surrogate."""


@pytest.mark.thinned(9, 2)
@pytest.mark.parametrize("name", SMOOTH)
def test_a_complex_step_through_the_forward_sweep_gives_what_the_backward_sweep_does(name: str) -> None:
    cell, steps, samples, h = CELLS[name], 4, 2, 1e-40
    data, s, random = data_for(cell, steps, samples), sweeps_of(CELLS[name]), np.random.default_rng(0)
    _, second = run_both(s, data, steps, samples, 3)
    moving = {key: random.standard_normal(np.shape(v)) for key, v in data.given.items() if key[0] in GROUP}
    given = {key: v + 1j * h * moving[key] if key in moving else v for key, v in data.given.items()}
    first = run_forward(s, replace(data, given=given), steps, samples, 3, floats(np.complex128))
    slope = sum(
        np.sum(bar * np.imag(first["states" if ("states", name) in first else "outputs", name])) / h
        for name, bar in data.cotangents.items()
    )
    expected = sum(np.sum(second[GROUP[group], name] * v) for (group, name), v in moving.items())
    assert abs(slope - expected) <= 1e-10 * max(1, abs(expected))


GROUP = {"param": "params", "input": "inputs", "state": "state"}
"""The group of the gradient by that of the argument."""


@dataclass(frozen=True)
class Dual:
    """a + b ε with ε² = 0: b is the derivative along a direction, exactly, whatever kind of numbers a and b are."""

    a: Any
    b: Any

    def _with(self, other: Any, function: Callable[["Dual", "Dual"], "Dual"]) -> "Dual":
        return function(self, other if isinstance(other, Dual) else Dual(other, 0 * self.a))

    def __add__(self, other: Any) -> "Dual":
        return self._with(other, lambda x, y: Dual(x.a + y.a, x.b + y.b))

    def __sub__(self, other: Any) -> "Dual":
        return self._with(other, lambda x, y: Dual(x.a - y.a, x.b - y.b))

    def __mul__(self, other: Any) -> "Dual":
        return self._with(other, lambda x, y: Dual(x.a * y.a, x.a * y.b + x.b * y.a))

    def __truediv__(self, other: Any) -> "Dual":
        return self._with(other, lambda x, y: Dual(x.a / y.a, (x.b * y.a - x.a * y.b) / (y.a * y.a)))

    def __neg__(self) -> "Dual":
        return Dual(-self.a, -self.b)

    def __pow__(self, count: int) -> "Dual":
        value = self
        for _ in range(count - 1):
            value = value * self
        return value

    def __gt__(self, other: Any) -> bool:
        return bool(self.a > getattr(other, "a", other))

    __radd__, __rmul__ = __add__, __mul__


P = 2**61 - 1


@dataclass(frozen=True)
class Modular:
    """An element of the field of residues modulo the prime P."""

    n: int

    def __add__(self, other: Any) -> "Modular":
        return Modular((self.n + getattr(other, "n", other)) % P)

    def __sub__(self, other: Any) -> "Modular":
        return Modular((self.n - getattr(other, "n", other)) % P)

    def __mul__(self, other: Any) -> "Modular":
        return Modular(self.n * getattr(other, "n", other) % P)

    def __truediv__(self, other: Any) -> "Modular":
        return Modular(self.n * pow(getattr(other, "n", other), -1, P) % P)

    def __neg__(self) -> "Modular":
        return Modular(-self.n % P)

    def __pow__(self, count: int) -> "Modular":
        return Modular(pow(self.n, count, P))

    __radd__, __rmul__ = __add__, __mul__


def modular(value: sp.Expr) -> Modular:
    fraction = Fraction(str(value)) if value.is_Float else Fraction(int(value.p), int(value.q))
    return Modular(fraction.numerator % P) / Modular(fraction.denominator)


def keyed(name: str, x: Modular) -> Modular:
    """A value of a function nobody knows: the same for the same argument, else anything."""
    return Modular(hash((name, x.n)) % P)


SLOPES: dict[str, Callable[[Any], Any]] = {"tanh": lambda y: y * y * -1 + 1, "sigmoid": lambda y: y - y * y}
"""The derivatives of functions by their values, which are all that a proof knows of them."""


def moved(name: str) -> Callable[[Dual], Dual]:
    """A keyed function of dual numbers, by its derivative."""

    def function(x: Dual) -> Dual:
        y = keyed(name, x.a)
        return Dual(y, SLOPES[name](y) * x.b)

    return function


def slopes_agree(
    cell: sb.Cell, number: Callable[[sp.Expr], Any], functions: dict[str, Any], sweeps: Any = None
) -> bool:
    """Whether the derivative of the forward sweep along a direction is exactly what the backward sweep says."""
    steps, samples, random = 3, 2, np.random.default_rng(3)

    def drawn(shape: tuple[int, ...]) -> Any:
        return np.vectorize(lambda n: number(sp.Rational(int(n), 7)), otypes=[object])(random.integers(-20, 20, shape))

    data, s = data_for(cell, steps, samples, m=2, n=3), sweeps or sweeps_of(cell)
    given = {key: drawn(np.shape(v)) if key[0] in GROUP else v for key, v in data.given.items()}
    data = Data(data.sizes, given, {name: drawn(np.shape(v)) for name, v in data.cotangents.items()})
    _, second = run_both(s, data, steps, samples, 2, exact(number, {name: keyed_of(name) for name in functions}))
    moving = {key: drawn(np.shape(v)) for key, v in given.items() if key[0] in GROUP}
    dual = {
        key: np.vectorize(Dual, otypes=[object])(v, moving[key]) if key in moving else v for key, v in given.items()
    }
    zero = number(sp.S.Zero)
    arithmetic = exact(lambda value: Dual(number(value), zero), {name: moved(name) for name in functions})
    first = run_forward(s, replace(data, given=dual), steps, samples, 2, arithmetic)
    slope = expected = zero
    for name, bar in data.cotangents.items():
        found = first["states" if ("states", name) in first else "outputs", name]
        slope = sum((x * y.b for x, y in zip(bar.flat, found.flat, strict=True)), slope)
    for (group, name), direction in moving.items():
        pairs = zip(second[GROUP[group], name].flat, direction.flat, strict=True)
        expected = sum((x * y for x, y in pairs), expected)
    return bool(slope == expected)


def keyed_of(name: str) -> Callable[[Modular], Modular]:
    return lambda x: keyed(name, x)


@sb.cell
def rational(x: sb.Input["m"], h: sb.State["n"], W: sb.Param["n m"], U: sb.Param["n n"], b: sb.Param["n"]):
    """Sums, products, a quotient and a maximum, nothing that is not exact over fractions."""
    a = W @ x + U @ h + b
    return {"h": a / (1 + a**2) + 0.1 * np.maximum(a, 0)}


def test_derivatives_are_exact_over_fractions() -> None:
    assert slopes_agree(rational, fractions().number, {})


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_peephole", "mgu2", "sru"])
def test_derivatives_are_exact_over_a_finite_field(name: str) -> None:
    assert slopes_agree(CELLS[name], modular, SLOPES)


def test_a_planted_sign_is_no_proof() -> None:
    s, cell = sweeps_of(CELLS["gru"]), CELLS["gru"]
    loops = [x for x in s.backward.body if isinstance(x, Loop)]
    first = next(x for x in loops[0].body if isinstance(x, Map) and isinstance(x.body, Prod))
    wrong = replace(first, body=Sum(((-1, first.body),)))
    body = tuple(wrong if x is first else x for x in loops[0].body)
    back = replace(s.backward, body=tuple(replace(x, body=body) if x is loops[0] else x for x in s.backward.body))
    assert not slopes_agree(cell, modular, SLOPES, replace(s, backward=back))


def test_a_step_over_fractions_is_what_the_function_of_the_user_gives() -> None:
    data = data_for(rational, 3, 1, m=2, n=3)
    given = {key: np.vectorize(Fraction, otypes=[object])(v) for key, v in data.given.items()}
    first = run_forward(sweeps_of(rational), replace(data, given=given), 3, 1, 2, fractions())
    h, params = given["state", "h"][0], {name: v for (group, name), v in given.items() if group == "param"}
    for t in range(3):
        a = params["W"] @ given["input", "x"][t, 0] + params["U"] @ h + params["b"]
        h = a / (1 + a**2) + Fraction(1, 10) * np.maximum(a, 0)
        assert np.array_equal(first["states", "h"][t, 0], h)


def test_the_dump_of_an_lstm(golden: Callable[[str, str], None]) -> None:
    s = sweeps_of(CELLS["lstm"])
    golden("loop_ir/lstm.txt", f"{dump(s.forward)}\n\n{dump(s.backward)}\n")
