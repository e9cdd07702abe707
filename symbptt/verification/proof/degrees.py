"""How sure a comparison over the field is: the degree of what is compared, as a fraction of polynomials in random elements.

A polynomial of degree d that is not zero vanishes at random elements with a probability of at most d / P. The degree is
counted by the interpreter, on loops as they are: an element is a number n + d i, for a numerator of degree n and a
denominator of degree d; of functions each value is a letter.

Source: Schwartz 1980, "Fast probabilistic algorithms for verification of polynomial identities", lemma 1; Zippel 1979.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symbptt import ops
from symbptt.codegen.loop_ir.interpret import Arithmetic
from symbptt.dense import SignAndLog
from symbptt.language.cell import Cell
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof.field import P
from symbptt.verification.proof.loops import UNCLIPPED, Lowered, run_loops
from symbptt.verification.proof.matrices import TERMS
from symbptt.verification.proof.residues import Residues

RATIONAL = {"sin": 2 + 2j, "cos": 2 + 2j, "tan": 2 + 2j, "sinh": 2 + 1j, "cosh": 2 + 1j}
"""Degrees of functions that are fractions of letters; others are letters, or one of their arguments: of a random exp(x) the values
1 / (1 + exp(-x)) and tanh(x) take each element once, so that they are as random themselves."""
USEFUL = 0.01
CHOOSING = ("where", "maximum", "minimum", "relu", "abs", "stop_gradient", "clip")
TRUTHS = frozenset(
    ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_not")
)


class Degrees(np.ndarray):
    """Degrees of numerators and denominators."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        plain = [np.asarray(x) for x in inputs]
        call = CALLS.get((ufunc.__name__, method))
        assert call is not None, (ufunc.__name__, method)
        kwargs = {k: v for k, v in kwargs.items() if k in ("axis", "keepdims")}
        return degrees(call(*plain, **kwargs))

    def expm(self) -> Any:
        """Return the degrees of the polynomial that stands for the exponential of a matrix."""
        return degrees(np.broadcast_to(TERMS * np.sum(np.asarray(self), (-2, -1), keepdims=True), self.shape))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ == "einsum":
            return degrees(_contracted(*args))
        if func.__name__ in ("solve", "det", "slogdet", "cholesky"):
            return _of_matrices(func.__name__, *map(np.asarray, args))
        return degrees(super().__array_function__(func, types, args, kwargs))


def _of_matrices(name: str, a: Any, b: Any = None) -> Any:
    """Return a bound: a determinant, and with it all that is divided by one, has at most the degree of all entries together."""
    whole = np.sum(a.real + a.imag, (-2, -1), keepdims=True)
    if name == "solve":
        top = np.sum(b.real + b.imag, (-2, -1), keepdims=True)
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return degrees(np.broadcast_to(2 * (whole + top) * (1 + 1j), (*lead, *b.shape[-2:])))
    found = degrees(2 * whole * (1 + 1j))
    if name == "cholesky":
        return degrees(np.broadcast_to(2 * found, a.shape))
    return found[..., 0, 0] if name == "det" else SignAndLog(found[..., 0, 0], found[..., 0, 0])


def degrees(value: Any) -> Any:
    """Return an array as degrees."""
    return np.asarray(value).view(Degrees) if np.asarray(value).dtype.kind == "c" else value


def _added(a: Any, b: Any) -> Any:
    """The numerator of a / b + c / d is a d + c b, the denominator b d."""
    a, b = (np.asarray(x, complex) for x in (a, b))
    return np.maximum(a.real + b.imag, b.real + a.imag) + 1j * (a.imag + b.imag)


def _summed(x: Any, axis: Any = 0, keepdims: bool = False) -> Any:
    x = np.asarray(x)
    below = np.sum(x.imag, axis=axis, keepdims=keepdims)
    return below + np.max(x.real - x.imag, axis=axis, keepdims=keepdims, initial=0.0) + 1j * below


def _cumulated(x: Any, axis: Any = 0, *_: Any) -> Any:
    return np.broadcast_to(_summed(x, axis, True), x.shape)


def _divided(a: Any, b: Any) -> Any:
    return a.real + b.imag + 1j * (a.imag + b.real)


def _power(a: Any, b: Any) -> Any:
    """A positive whole exponent comes as an int; of any other number the sign is not known here."""
    if np.asarray(b).dtype.kind in "iu":
        return np.asarray(a, complex) * b
    return 3 * (np.real(a) + np.imag(a)) * (1 + 1j)


def _contracted(a: Any, left: Any, b: Any, right: Any, out: Any) -> Any:
    order = [*out, *(k for k in dict.fromkeys([*left, *right]) if k not in out)]
    total = _spread(np.asarray(a), left, order) + _spread(np.asarray(b), right, order)
    return _summed(total, tuple(range(len(out), len(order)))) if len(order) > len(out) else total


def _spread(x: Any, labels: Any, order: Any) -> Any:
    x = x.transpose([list(labels).index(k) for k in order if k in labels])
    return x[tuple(slice(None) if k in labels else None for k in order)]


def _greatest(*args: Any) -> Any:
    numbers = np.broadcast_arrays(*(np.asarray(x, complex) for x in args))
    return np.max([x.real for x in numbers], 0) + 1j * np.max([x.imag for x in numbers], 0)


CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("add", "__call__"): _added,
    ("add", "reduce"): _summed,
    ("add", "accumulate"): _cumulated,
    ("subtract", "__call__"): _added,
    ("multiply", "__call__"): lambda a, b: np.asarray(a, complex) + np.asarray(b, complex),
    ("divide", "__call__"): lambda a, b: _divided(np.asarray(a, complex), np.asarray(b, complex)),
    ("negative", "__call__"): lambda a: a,
    ("power", "__call__"): _power,
    ("maximum", "reduce"): lambda x, axis=0: np.max(x.real, axis) + 1j * np.max(x.imag, axis),
}


def _function(name: str) -> Callable[..., Any]:
    """Return what degrees a function makes of those of its arguments."""

    def of(*args: Any) -> Any:
        shape = np.broadcast_shapes(*map(np.shape, args))
        if name in TRUTHS:
            return np.ones(shape, bool)
        if name in CHOOSING:
            return degrees(_greatest(*args[name == "where" :]))
        return degrees(np.full(shape, RATIONAL.get(name, 1 + 0j)))

    return of


def degree(found: Lowered, cell: Cell, point: Point, sent: Arrays) -> int:
    """Return the degree of <Jᵀ u, v>, numerator and denominator together, in one setting."""
    kind = Arithmetic(
        np.complex128, lambda _: degrees(np.zeros((), complex)), {op.name: _function(op.name) for op in ops.OPS},
        runtime=UNCLIPPED, array=degrees,
    )  # fmt: skip

    def ones(arrays: Arrays) -> Arrays:
        return {k: np.ones(np.shape(v), complex) if isinstance(v, Residues) else v for k, v in arrays.items()}

    letters = Point(
        ones(point.params), ones(point.inputs), ones(point.state), point.steps, point.batch, {}, point.lengths, point.reset, point.sizes
    )  # fmt: skip
    held = {
        k: np.ones((point.steps, *np.shape(point.state[k])), complex) for k in cell.held
    }  # the loops take those of all states
    with np.errstate(all="ignore"):
        _, gradients = run_loops(found, cell, letters, ones(sent) | held, point.steps, kind)
    parts = np.concatenate([np.ravel(np.asarray(v)) + 1 for v in gradients.values()])
    total = _summed(parts)
    return int(total.real + total.imag)


def chance_of(count: int) -> str:
    """Return in words how likely a mistake is missed."""
    drawn = f"a gradient that is wrong at the elements drawn passes with a probability of 1 / {P}"
    # Letters of exponentials are squares, of which there are (P - 1) / 2; both sides have the degree.
    chance = 4 * count / (P - 1)
    if chance > USEFUL:
        return f"Chance: {drawn}; the degree, {2 * count:.0e}, is no bound on those that happen to be right there"
    there = f"that it is right there, and wrong elsewhere, has one of at most {chance:.0e} (degree {2 * count:,})"
    return f"Chance: {drawn}; {there}; each path is drawn anew"
