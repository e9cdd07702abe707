"""Gradients keep their digits where gates saturate, by numbers of 120 digits."""

import warnings
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, ops
from symbptt.codegen.kernel import Kernel
from symbptt.zoo import gru, lstm, mgu

Arrays = dict[str, Any]


class Exact:
    """A number of 120 digits, as NumPy's arrays of objects take it."""

    def __init__(self, value: Any) -> None:
        self.value: Any = value.value if isinstance(value, Exact) else mpmath.mpf(value)

    def __add__(self, other: Any) -> "Exact":
        return Exact(self.value + Exact(other).value)

    def __mul__(self, other: Any) -> "Exact":
        return Exact(self.value * Exact(other).value)

    def __sub__(self, other: Any) -> "Exact":
        return Exact(self.value - Exact(other).value)

    def __rsub__(self, other: Any) -> "Exact":
        return Exact(Exact(other).value - self.value)

    def __truediv__(self, other: Any) -> "Exact":
        return Exact(self.value / Exact(other).value)

    def __neg__(self) -> "Exact":
        return Exact(-self.value)

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > Exact(other).value)

    def __rtruediv__(self, other: Any) -> "Exact":
        return Exact(Exact(other).value / self.value)

    def tanh(self) -> "Exact":
        return Exact(mpmath.tanh(self.value))

    def exp(self) -> "Exact":
        return Exact(mpmath.exp(self.value))

    __radd__, __rmul__ = __add__, __mul__


def exact(array: Any) -> Any:
    array = np.asarray(array)
    if array.dtype.kind in "iu":
        return array
    found = np.empty(array.shape, object)
    for place in np.ndindex(array.shape):
        found[place] = Exact(float(array[place]))
    return found


def value(cell: sb.Cell, groups: tuple[Arrays, Arrays, Arrays], cotangents: Arrays, lengths: Any) -> Any:
    """The sum of cotangent * state over samples and steps, by the user's function alone."""
    params, inputs, start = groups
    consts = {a.name: a.default for a in cell.arguments if a.role == "const"}
    names = [a.name for a in cell.arguments if a.role == "state"]
    total = Exact(0)
    for b, end in enumerate(lengths):
        state = {k: v[b] for k, v in start.items()}
        for t in range(end):
            found = cell.function(**params, **consts, **state, **{k: v[t, b] for k, v in inputs.items()})
            state = dict(zip(names, found if isinstance(found, tuple) else (found,), strict=True))
            total = sum((np.sum(cotangents[k][t, b] * state[k]) for k in names), start=total)
        for k in names:  # the state of a sample that has ended stays
            total = total + np.sum(np.sum(cotangents[k][end:, b], 0) * state[k]) if len(cotangents[k]) > end else total
    return total.value


def gradients(cell: sb.Cell, groups: tuple[Arrays, Arrays, Arrays], cotangents: Arrays, lengths: Any) -> list[Arrays]:
    """All gradients, by differences so narrow that 60 digits are right."""
    mpmath.mp.dps = 120
    sent = {k: exact(v) for k, v in cotangents.items()}
    moved: Any = tuple({k: exact(v) for k, v in group.items()} for group in groups)
    width, found = mpmath.mpf(10) ** -40, []
    for group in moved:
        found.append({k: np.zeros(v.shape, object) for k, v in group.items() if v.dtype == object})
        for k, into in found[-1].items():
            for place in np.ndindex(into.shape):
                here = group[k][place]
                sides = []
                for sign in (1, -1):
                    group[k][place] = Exact(here.value + sign * width)
                    sides.append(value(cell, moved, sent, lengths))
                group[k][place] = here
                into[place] = (sides[0] - sides[1]) / (2 * width)
    return found


@sb.cell
def slices(x: Input["m"], h: State["n"], W: Param["2*n m"], U: Param["2*n n"], b: Param["2*n"]):
    """Gates that are slices of one function."""
    n = h.shape[0]
    g = sb.sigmoid(W @ x + U @ h + b)
    return (1 - g[:n]) * h + g[n:] * h * h


@sb.cell
def table(k: Index["3"], h: State["n"], c: State["n"], E: Param["3 n"], U: Param["n n"], b: Param["n"], s: Const = 0.5):
    """A table, a constant, a function of a state and of one that has been computed in the same step."""
    z = sb.sigmoid(E[k] + b)
    new = z * c + np.tanh(s * (U @ (z * h)) + b)
    return np.tanh(new + b) * z, new


@sb.cell
def plain(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    return np.tanh(W @ x + U @ h + b)


@sb.cell
def of_the_input(x: Input["m"], h: State["n"], W: Param["n m"], b: Param["n"]):
    """A recursion that is affine: there is no loop, but a scan."""
    z = sb.sigmoid(W @ x + b)
    return (1 - z) * h + z * np.tanh(W @ x + b)


@sb.cell
def multiplied_out(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    """Numbers that SymPy multiplies into what is left of one, and a sum of two such rests."""
    z = sb.sigmoid(W @ x + b)
    return 1.7159 * np.tanh(0.666 * (U @ h + b)) + 0.25 * (1 - z) * h + 0.5 * np.tanh(U @ h + b)


OWN = {"slices": slices, "table": table, "plain": plain, "of_the_input": of_the_input,
       "multiplied_out": multiplied_out}  # fmt: skip
ZOO = {"lstm": lstm, "gru": gru, "mgu": mgu}
LOSSES = {np.float64: 1e-10, np.float32: 3e-3}
"""What 1 - y errs by where it is not computed from the argument, with a margin for sums over steps."""


def drawn(
    cell: sb.Cell, bias: float, dtype: Any, T: int, B: int, n: int = 2
) -> tuple[tuple[Arrays, Arrays, Arrays], Arrays]:
    random = np.random.default_rng(3)
    sizes = {"m": 2, "n": n} if any(a.role == "input" for a in cell.arguments) else {"n": n}
    params = {k: 0.3 * random.standard_normal(v.shape) for k, v in cell.init(sizes, seed=0).items()}
    params = {k: v + bias * (v.ndim == 1) for k, v in params.items()}
    inputs: Arrays = (
        {"x": random.standard_normal((T, B, 2))} if "E" not in params else {"k": random.integers(0, 3, (T, B))}
    )
    state = {a.name: 0.3 * random.standard_normal((B, n)) for a in cell.arguments if a.role == "state"}
    sent = {k: random.standard_normal((T, B, n)).astype(dtype) for k in state}
    groups = tuple(
        {k: v if v.dtype.kind == "i" else v.astype(dtype) for k, v in g.items()} for g in (params, inputs, state)
    )
    return groups, sent  # type: ignore[return-value]


def worst(
    cell: sb.Cell, kernel: Any, bias: float, dtype: Any, T: int, B: int, n: int = 2, lengths: Any = None
) -> float:
    """The largest error of a block of gradients, over the largest entry of that block."""
    groups, sent = drawn(cell, bias, dtype, T, B, n)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = kernel.forward(*groups, lengths=lengths)
        found = kernel.backward(run, sent)
    ends = [T] * B if lengths is None else lengths
    wanted = gradients(cell, groups, sent, ends)
    errors = [0.0]
    for exactly, given in zip(wanted, (found.params, found.inputs, found.state), strict=True):
        for k, block in exactly.items():
            top = max(map(abs, block.ravel()), default=0)
            far = max((abs(a - float(b)) for a, b in zip(block.ravel(), given[k].ravel(), strict=True)), default=0)
            errors.append(float(far / top) if top > np.finfo(dtype).tiny / np.finfo(dtype).eps else 0.0)
    return max(errors)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("bias", [5.0, 10.0, 20.0, -20.0, -40.0])
@pytest.mark.parametrize("name", OWN)
@pytest.mark.thinned(41, 7)
def test_gradients_keep_their_digits_where_functions_saturate(name: str, bias: float, dtype: Any) -> None:
    cell = OWN[name]
    assert worst(cell, sb.compile(cell), bias, dtype, 3, 2) < LOSSES[dtype]


@pytest.mark.parametrize(
    ("name", "bias"), [("lstm", 20.0), ("lstm", -20.0), ("gru", 20.0), ("gru", -20.0), ("mgu", 40.0)]
)
@pytest.mark.thinned(3)
def test_gradients_of_known_gates_keep_their_digits(name: str, bias: float) -> None:
    assert worst(ZOO[name], sb.compile(ZOO[name]), bias, np.float64, 2, 1) < LOSSES[np.float64]


@pytest.mark.parametrize(("T", "B", "n"), [(0, 2, 2), (1, 1, 1), (2, 1, 2)])
@pytest.mark.parametrize("name", OWN)
@pytest.mark.thinned(3)
def test_at_edge_sizes(name: str, T: int, B: int, n: int) -> None:
    assert worst(OWN[name], sb.compile(OWN[name]), 20.0, np.float64, T, B, n) < LOSSES[np.float64]


@pytest.mark.parametrize(
    "options", [{"memory": "sqrt"}, {"truncation": sb.Window(9)}, {"truncation": sb.Chunked(9, 9)}, {}]
)
@pytest.mark.parametrize("name", ["plain", "table"])
@pytest.mark.thinned(7)
def test_with_options_and_samples_that_end(name: str, options: dict[str, Any]) -> None:
    lengths = None if options else np.array([3, 1, 2])
    kernel = sb.compile(OWN[name], **options)
    assert worst(OWN[name], kernel, -20.0, np.float64, 3, 3 if not options else 1, lengths=lengths) < LOSSES[np.float64]


def test_in_several_blocks_of_steps() -> None:
    """Gradients of blocks of two steps are those of one block, where no digit of 1 - y² is left."""
    kernel = sb.compile(plain)
    source = kernel.source.replace("K = _steps(", "K = min(2, max(T, 1)) or _steps(")
    assert source != kernel.source
    small = Kernel(plain, kernel.program, source)
    assert worst(plain, small, 20.0, np.float64, 5, 1) < LOSSES[np.float64]


@pytest.mark.parametrize("name", OWN)
def test_without_the_argument_the_digits_are_lost(name: str) -> None:
    """The planted mistake: what is left of one is taken from the value alone."""
    kernel = sb.compile(OWN[name])
    head = "    least = LEAST[rest.dtype.itemsize]"
    assert head in kernel.source
    wrong = Kernel(OWN[name], kernel.program, kernel.source.replace(head, f"    return rest\n{head}"))
    assert worst(OWN[name], wrong, 20.0, np.float64, 3, 2) > 1e-9


@sb.cell
def of_parameters(x: Input["m"], h: State["n"], W: Param["n m"], decay: Param["n"], gain: Param["n"], both: Param["2"]):
    keep = sb.sigmoid(decay)
    return keep * h + np.tanh(gain) * (W @ x) + np.tanh(0.1 * both[1]) * sb.sigmoid(both[0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("bias", [0.0, 5.0, 18.0, 37.0, -20.0])
@pytest.mark.thinned(7, 2)
def test_gates_of_parameters_alone_keep_their_digits(bias: float, dtype: Any) -> None:
    kernel = sb.compile(of_parameters)
    for T, B, n in ((3, 2, 2), (1, 1, 1), (0, 2, 2)):
        assert worst(of_parameters, kernel, bias, dtype, T, B, n) < 40 * np.finfo(dtype).eps


def test_gates_of_parameters_without_their_argument_lose_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: what is left of one is taken from the value alone."""
    for body, (function, remainder) in ops.REMAINDERS.items():
        from_value = replace(remainder, alone=lambda a, body=body, of=remainder.body: of(body(a)))
        monkeypatch.setitem(ops.REMAINDERS, body, (function, from_value))
    wrong = sb.compile(sb.cell(of_parameters.function))
    assert worst(of_parameters, wrong, 18.0, np.float64, 3, 2) > 1e-10
