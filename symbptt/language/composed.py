"""NumPy's functions that are made of others: each by its definition, written over NumPy itself.

One text serves symbolic arrays, and the arrays of checks that know but few functions: elements of a field, numbers of 50 digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce as folded
from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.language.loops import repeat
from symbptt.language.user_frames import cell_error

MOST_FACTORS = 64
"""Entries along an axis whose products are written out one by one; those of more, or of a named number, are rounds of a loop."""


def ceil(x: Any) -> Any:
    return -np.floor(-x)


def trunc(x: Any) -> Any:
    return np.where(x < 0, -np.floor(-x), np.floor(x))


def rint(x: Any) -> Any:
    """Halves go to the even neighbour, as in NumPy; x - floor(x) is exact."""
    below = np.floor(x)
    rest = x - below
    # Between two whole numbers, the even one is below + (below mod 2).
    nearest_even = below + np.mod(below, 2.0)
    return np.where(rest < 0.5, below, np.where(rest > 0.5, below + 1, nearest_even))


def round_(x: Any, decimals: int = 0) -> Any:
    if decimals == 0:
        return rint(x)
    # As NumPy does: by the power of ten that is a whole number.
    scale = 10.0 ** abs(decimals)
    return rint(x * scale) / scale if decimals > 0 else rint(x / scale) * scale


def modf(x: Any) -> Any:
    return x - trunc(x), trunc(x)


def divmod_(x: Any, y: Any) -> Any:
    return x // y, x % y


def cbrt(x: Any) -> Any:
    # A power of a negative number is NaN; the root of one is not.
    return np.sign(x) * np.abs(x) ** (1 / 3)


def exp2(x: Any) -> Any:
    return 2.0**x


def logaddexp2(x: Any, y: Any) -> Any:
    return np.logaddexp(x * math.log(2), y * math.log(2)) / math.log(2)


def arcsin(x: Any) -> Any:
    # (1 - x)(1 + x) keeps the digits near |x| = 1 that 1 - x² loses.
    return np.arctan2(x, np.sqrt((1 - x) * (1 + x)))


def arccos(x: Any) -> Any:
    return np.arctan2(np.sqrt((1 - x) * (1 + x)), x)


def arcsinh(x: Any) -> Any:
    """Odd, and of a positive number without cancellation: x + sqrt(1 + x²) - 1 = x + x² / (1 + sqrt(1 + x²))."""
    size = np.where(x < 0, -x, x)
    value = np.log1p(size + size * size / (1 + np.sqrt(1 + size * size)))
    return np.where(x < 0, -value, value)


def arccosh(x: Any) -> Any:
    # log1p of what is above one: near x = 1, where the value goes to zero, x + sqrt(x² - 1) would have lost it.
    above = x - 1
    return np.log1p(above + np.sqrt(above * (above + 2)))


def arctanh(x: Any) -> Any:
    # Both logarithms are accurate near zero, where that of the quotient (1 + x) / (1 - x) is not.
    return (np.log1p(x) - np.log1p(-x)) / 2


def sinc(x: Any) -> Any:
    """As NumPy does, a tiny number in the place of zero."""
    angle = math.pi * np.where(x == 0, 1e-20, x)
    return np.sin(angle) / angle


def deg2rad(x: Any) -> Any:
    return x * (math.pi / 180)


def rad2deg(x: Any) -> Any:
    return x * (180 / math.pi)


def heaviside(x: Any, at_zero: Any) -> Any:
    return np.where(x > 0, 1.0, np.where(x == 0, at_zero, 0.0))


def isnan(x: Any) -> Any:
    # NaN is the only number that differs from itself, in symbolic arrays too, whose comparisons are nodes.
    return x != x


def isfinite(x: Any) -> Any:
    return np.abs(x) < math.inf


def isinf(x: Any) -> Any:
    return np.abs(x) == math.inf


def isclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8) -> Any:
    return np.abs(x - y) <= atol + rtol * np.abs(y)


def logical_xor(x: Any, y: Any) -> Any:
    return (x != 0) != (y != 0)


def any_(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.max(x != 0, axis=axis, keepdims=keepdims)


def all_(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.min(x != 0, axis=axis, keepdims=keepdims)


def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.sum(x != 0, axis=axis, keepdims=keepdims)


def select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0.0) -> Any:
    """The first condition that holds decides."""
    _check_pairs("select", conditions, choices)
    # From the last to the first: the one that is put around all others wins.
    pairs = [*zip(conditions, choices, strict=True)]
    return folded(lambda rest, pair: np.where(pair[0], pair[1], rest), reversed(pairs), default)


def piecewise(x: Any, conditions: Sequence[Any], functions: Sequence[Any]) -> Any:
    """The last condition that holds decides; one function more is for where none does."""
    rest, functions = (functions[-1], functions[:-1]) if len(functions) == len(conditions) + 1 else (0.0, functions)
    _check_pairs("piecewise", conditions, functions)
    values = [f(x) if callable(f) else f for f in (rest, *functions)]
    found = values[0] + np.zeros_like(x)
    for condition, value in zip(conditions, values[1:], strict=True):
        found = np.where(condition, value, found)
    return found


def _check_pairs(name: str, conditions: Sequence[Any], choices: Sequence[Any]) -> None:
    if len(conditions) != len(choices):
        raise cell_error(f"np.{name} has {len(conditions)} conditions and {len(choices)} choices", "give one for each")


def interp(x: Any, places: Any, values: Any) -> Any:
    """Straight lines between points, and the first and last value beyond them: each line by what its slope differs from the one before."""
    known = [*zip(np.asarray(places, float).tolist(), values, strict=True)]
    if any(b <= a for (a, _), (b, _) in _neighbours(known)):
        raise cell_error("np.interp needs places that increase", "sort them before")
    found = known[0][1] + np.zeros_like(x)
    for (a, low), (b, high) in _neighbours(known):
        line = low + (high - low) / (b - a) * (x - a)
        # Lines from left to right; beyond the last place the last value stays, as in NumPy.
        found = np.where(x >= b, high + np.zeros_like(x), np.where(x > a, line, found))
    return found


def _neighbours(items: Sequence[Any]) -> list[tuple[Any, Any]]:
    return [*pairwise(items)]


def polyval(coefficients: Any, x: Any) -> Any:
    """Horner's rule, the highest power first."""
    return folded(lambda value, c: value * x + c, list(coefficients), 0.0 * x)


def xlogy(x: Any, y: Any) -> Any:
    # The inner choice keeps the logarithm away from zero: 0 · log 0 would make the gradient NaN though it is not
    # chosen.
    return np.where(x == 0, 0.0, x * np.log(np.where(x == 0, 1.0, y)))


def logit(x: Any) -> Any:
    return np.log(x) - np.log1p(-x)


def average(x: Any, axis: Any = None, weights: Any = None, keepdims: bool = False) -> Any:
    if weights is None:
        return np.mean(x, axis=axis, keepdims=keepdims)
    if axis is not None and np.ndim(weights) == 1 and np.ndim(x) > 1:
        weights = np.reshape(weights, tuple(-1 if k == axis % np.ndim(x) else 1 for k in range(np.ndim(x))))
    # Broadcast before the sum, else the sum of weights would count each of them once.
    weights = weights + np.zeros_like(x)
    return np.sum(x * weights, axis=axis, keepdims=keepdims) / np.sum(weights, axis=axis, keepdims=keepdims)


def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.max(x, axis=axis, keepdims=keepdims) - np.min(x, axis=axis, keepdims=keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    # From the last axis: those before keep their numbers when one goes.
    for at in sorted({k % x.ndim for k in axes}, reverse=True):
        x = _product(x, at)
        x = np.expand_dims(x, at) if keepdims else x
    return x


def _product(x: Any, axis: int) -> Any:
    if _is_written_out(x, axis):
        return folded(lambda a, b: a * b, _entries(x, axis))
    # A named or large number of factors is a loop: written out, each would be a node with a rule of its own.
    rows = np.moveaxis(x, axis, 0)
    return repeat(lambda found, k: found * rows[k], np.ones_like(rows[0]) * 1.0, rows.shape[0])


def cumprod(x: Any, axis: Any = None) -> Any:
    x, axis = (np.ravel(x), 0) if axis is None else (x, axis % x.ndim)
    if not _is_written_out(x, axis):
        return np.moveaxis(_products(np.moveaxis(x, axis, 0)), 0, axis)
    return _accumulated(x, axis, lambda a, b: a * b)


def _products(rows: Any) -> Any:
    """Return the products of all rows up to each, by rounds of which there may be a named number."""
    # The number of its row at each place, so that a round can write one row of a symbolic array, which has no
    # assignment.
    places = np.cumsum(np.ones_like(rows), axis=0) - 1

    def with_row(z: Any, k: Any) -> Any:
        value = z[0] * rows[k]
        return value, np.where(places == k, value, z[1])

    return repeat(with_row, (np.ones_like(rows[0]) * 1.0, np.zeros_like(rows)), rows.shape[0])[1]


def accumulated_maximum(x: Any, axis: Any = 0) -> Any:
    return _running("maximum", x, axis, np.maximum)


def accumulated_minimum(x: Any, axis: Any = 0) -> Any:
    return _running("minimum", x, axis, np.minimum)


def _running(name: str, x: Any, axis: Any, operation: Callable[[Any, Any], Any]) -> Any:
    if axis is not None and not _is_written_out(x, axis % x.ndim):
        raise cell_error(
            f"np.{name}.accumulate along an axis of size {x.shape[axis]}, where up to {MOST_FACTORS} entries are written out",
            "give the axis a number as its size",
            ShapeError,
        )
    return _accumulated(x, axis, operation)


def _accumulated(x: Any, axis: Any, operation: Callable[[Any, Any], Any]) -> Any:
    x, axis = (np.ravel(x), 0) if axis is None else (x, axis % x.ndim)
    found: list[Any] = []
    for entry in _entries(x, axis):
        found.append(operation(found[-1], entry) if found else entry)
    return np.stack(found, axis=axis)


def _is_written_out(x: Any, axis: int) -> bool:
    length = x.shape[axis]
    return isinstance(length, int) and length <= MOST_FACTORS


def _entries(x: Any, axis: int) -> list[Any]:
    """Return the parts of an array along an axis, of which there is a known number."""
    return [x[(slice(None),) * axis + (k,)] for k in range(x.shape[axis])]


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    axis = axis % x.ndim
    before = (slice(None),) * axis
    ends = [None if end is None else _as_part(end, x, axis) for end in (prepend, append)]
    if any(end is not None for end in ends):
        x = np.concatenate([part for part in (ends[0], x, ends[1]) if part is not None], axis=axis)
    for _ in range(n):
        x = x[(*before, slice(1, None))] - x[(*before, slice(None, -1))]
    return x


def _as_part(end: Any, x: Any, axis: int) -> Any:
    """Return what is set before or behind an array along an axis, a number as one entry."""
    if np.ndim(end):
        return end
    return end + np.zeros_like(x[(slice(None),) * axis + (slice(0, 1),)])


def ediff1d(x: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    parts = [None if end is None else np.ravel(np.atleast_1d(end)) for end in (to_begin, to_end)]
    between = diff(np.ravel(x))
    joined = [part for part in (parts[0], between, parts[1]) if part is not None]
    return np.concatenate(joined) if len(joined) > 1 else between


def gradient(x: Any, spacing: Any = 1.0, axis: Any = None) -> Any:
    """Central differences, and those to one side at the ends."""
    if axis is None and x.ndim > 1:
        return tuple(gradient(x, spacing, k) for k in range(x.ndim))
    axis = 0 if axis is None else axis % x.ndim
    before = (slice(None),) * axis

    def part(start: int | None, stop: int | None) -> Any:
        return x[(*before, slice(start, stop))]

    inside = (part(2, None) - part(None, -2)) / 2
    ends = part(1, 2) - part(0, 1), part(-1, None) - part(-2, -1)
    return np.concatenate([ends[0], inside, ends[1]], axis=axis) / spacing


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    axis = axis % y.ndim
    before = (slice(None),) * axis
    if x is not None:
        steps = diff(x) if np.ndim(x) == 1 else diff(x, axis=axis)
        dx = np.reshape(steps, (-1, *(1,) * (y.ndim - axis - 1))) if np.ndim(x) == 1 else steps
    return np.sum(dx * (y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]) / 2, axis=axis)


def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.sum(np.where(x != x, 0.0, x), axis=axis, keepdims=keepdims)


def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.max(np.where(x != x, -math.inf, x), axis=axis, keepdims=keepdims)


def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.min(np.where(x != x, math.inf, x), axis=axis, keepdims=keepdims)


def kron(a: Any, b: Any) -> Any:
    """Blocks a_ij b, as pairs of axes that are merged."""
    # Axes alternate, one of a and one of b: merged by twos they are the axes of the blocks.
    rank = max(np.ndim(a), np.ndim(b))
    (a, b) = (x[(None,) * (rank - np.ndim(x)) + (...,)] for x in (a, b))
    pairs = a[tuple(slice(None) if k % 2 == 0 else None for k in range(2 * rank))]
    pairs = pairs * b[tuple(slice(None) if k % 2 else None for k in range(2 * rank))]
    return np.reshape(pairs, tuple(m * n for m, n in zip(np.shape(a), np.shape(b), strict=True)))


def cross(a: Any, b: Any) -> Any:
    """The product of vectors of three entries along the last axis."""
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise cell_error("np.cross takes vectors of 3 entries along the last axis", "write the entries out", ShapeError)
    (a0, a1, a2), (b0, b1, b2) = ([x[..., k] for k in range(3)] for x in (a, b))
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-1)


def vecdot(a: Any, b: Any) -> Any:
    return np.sum(np.conj(a) * b, axis=-1)


def matvec(a: Any, x: Any) -> Any:
    return np.sum(a * x[..., None, :], axis=-1) if np.ndim(x) > 1 else a @ x


def vecmat(x: Any, a: Any) -> Any:
    x = np.conj(x)
    return np.sum(x[..., :, None] * a, axis=-2) if np.ndim(x) > 1 else x @ a


def multi_dot(arrays: Sequence[Any]) -> Any:
    return folded(lambda a, b: a @ b, arrays)


def vander(x: Any, count: Any = None, increasing: bool = False) -> Any:
    count = x.shape[0] if count is None else count
    powers = [np.ones_like(x)]
    # By products, each of the one before: x**k for every k would be a power with a logarithm in its slope.
    for _ in range(1, count):
        powers.append(powers[-1] * x)
    return np.stack(powers if increasing else powers[::-1], axis=-1)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "ceil": ceil, "trunc": trunc, "fix": trunc, "rint": rint, "modf": modf, "divmod": divmod_, "cbrt": cbrt, "exp2": exp2,
    "logaddexp2": logaddexp2, "arcsin": arcsin, "asin": arcsin, "arccos": arccos, "acos": arccos, "arcsinh": arcsinh, "asinh": arcsinh,
    "arccosh": arccosh, "acosh": arccosh, "arctanh": arctanh, "atanh": arctanh, "deg2rad": deg2rad, "radians": deg2rad,
    "rad2deg": rad2deg, "degrees": rad2deg, "heaviside": heaviside, "isnan": isnan, "isfinite": isfinite, "isinf": isinf,
    "logical_xor": logical_xor, "vecdot": vecdot, "matvec": matvec, "vecmat": vecmat, "xlogy": xlogy, "logit": logit,
}  # fmt: skip
"""NumPy's and SciPy's ufuncs that are composed."""
OF_ARRAYS: dict[str, Callable[..., Any]] = {
    "round": round_, "around": round_, "sinc": sinc, "isclose": isclose, "any": any_, "all": all_, "count_nonzero": count_nonzero,
    "select": select, "piecewise": piecewise, "interp": interp, "polyval": polyval, "average": average, "ptp": ptp,
    "prod": prod, "cumprod": cumprod, "diff": diff, "ediff1d": ediff1d, "gradient": gradient, "trapezoid": trapezoid, "trapz": trapezoid,
    "nansum": nansum, "nanmax": nanmax, "nanmin": nanmin, "kron": kron, "cross": cross, "multi_dot": multi_dot, "vander": vander,
}  # fmt: skip
"""NumPy's functions of arrays that are composed."""
