"""The only shape logic: sizes are positive integers or polynomials in named sizes; nothing is guessed about names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import TypeAlias

import sympy as sp

from symbptt.errors import ShapeError
from symbptt.syntax import NAME

Size: TypeAlias = int | sp.Expr
Shape: TypeAlias = tuple[Size, ...]


@cache
def named_size(name: str) -> sp.Symbol:
    """Return the size called `name`, a positive integer."""
    return sp.Symbol(name, integer=True, positive=True)


def size(value: Size) -> Size:
    """Return `value` in its one normal form: an int, or an expanded polynomial."""
    return value if isinstance(value, int) else _expanded(value)


@lru_cache(2**14)
def _expanded(value: sp.Expr) -> Size:
    value = sp.expand(value)
    return int(value) if value.is_Integer else value


def prod(sizes: Iterable[Size]) -> Size:
    """Return the product of sizes."""
    return size(math.prod(sizes, start=1))


def symbols(*sizes: Size) -> frozenset[sp.Symbol]:
    """Return the symbols in some sizes."""
    return frozenset(symbol for n in sizes if not isinstance(n, int) for symbol in n.free_symbols)


def names_in(shape: Shape) -> tuple[str, ...]:
    """Return the names of the sizes in a shape, sorted."""
    found: set[str] = set()
    for item in shape:
        if not isinstance(item, int):
            # Most sizes are names; SymPy's search for symbols costs more than all else here.
            found |= {item.name} if item.is_Symbol else {s.name for s in item.free_symbols}
    return tuple(sorted(found))


def show(shape: Sequence[Size]) -> str:
    """Return a shape as NumPy would print it: `(n, 3)`."""
    inside = ", ".join(map(size_text, shape))
    return f"({inside},)" if len(shape) == 1 else f"({inside})"


@lru_cache(None, typed=True)
def size_text(value: Size | str) -> str:
    """Return a size as text without spaces, products written out."""
    # A half of a size is exact, as what the sizes need says: n/2 is written n//2, which stays an integer in Python.
    text = str(value).replace(" ", "").replace("/", "//")
    return re.sub(rf"({NAME})\*\*(\d+)", lambda match: "*".join([match[1]] * int(match[2])), text)


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape that NumPy broadcasting gives; a named size matches itself and 1 only.

    Raises: ShapeError where two sizes differ.
    """
    rank = max(map(len, shapes), default=0)
    columns = zip(*[(1,) * (rank - len(shape)) + shape for shape in shapes], strict=True)
    return tuple(_broadcast_size(column, shapes) for column in columns)


def _broadcast_size(column: tuple[Size, ...], shapes: tuple[Shape, ...]) -> Size:
    # A named size may be 1 at run time; broadcasting against it would then change shapes, and is never assumed.
    wide = list(dict.fromkeys(item for item in column if item != 1))
    if len(wide) > 1:
        raise ShapeError(
            f"shapes {' and '.join(map(show, dict.fromkeys(shapes)))} do not broadcast: {wide[0]} is not {wide[1]}"
        )
    return wide[0] if wide else 1


def broadcast_axes(small: Shape, large: Shape) -> tuple[int, ...]:
    """Return the axes of `large` along which `small` was repeated."""
    lead = len(large) - len(small)
    return tuple(range(lead)) + tuple(i for i in range(lead, len(large)) if small[i - lead] == 1 and large[i] != 1)


def normal_axis(axis: int, rank: int) -> int:
    """Return `axis` counted from the front.

    Raises: ShapeError where there is no such axis.
    """
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} does not exist in an array of {rank} axes")
    return axis % rank


def without(shape: Shape, axes: Sequence[int]) -> Shape:
    """Return `shape` without some of its axes."""
    return tuple(item for i, item in enumerate(shape) if i not in axes)


def with_ones(shape: Shape, axes: Sequence[int]) -> Shape:
    """Return `shape` with 1 in the place of some of its axes."""
    return tuple(1 if i in axes else item for i, item in enumerate(shape))


def sign_of(value: Size) -> int | None:
    """Return 0 for zero, 1 where a size expression is never negative for named sizes of at least 1, -1 where it is
    always negative, None where that is not certain."""
    value = size(value)
    if isinstance(value, int):
        return (value > 0) - (value < 0)
    terms = value.as_coefficients_dict()
    constant = terms.pop(sp.S.One, 0)
    others = terms.values()
    # With coefficients of one sign the polynomial is monotone in every size, so that its extreme lies at the least sizes, all 1;
    # of a term that is divided the least value is that of a whole number.
    extreme = constant + sum(c if c.is_Integer else sp.sign(c) * max(1, abs(c.p) // c.q) for c in others)
    if all(c > 0 for c in others):
        return 1 if extreme >= 0 else None
    return -1 if all(c < 0 for c in others) and extreme < 0 else None


def slice_bounds(item: slice, length: Size) -> tuple[Size, Size, int]:
    """Return start, length and step of a slice along an axis of `length`, as Python would.

    The length of h[2:] is n - 2: that n is at least 2 is a condition on the sizes, as that of h[1:3] on entries is.

    Raises: ShapeError where named sizes leave the bounds uncertain otherwise.
    """
    step = 1 if item.step is None else int(item.step)
    if all(isinstance(v, int) or v is None for v in (item.start, item.stop)) and isinstance(length, int):
        span = range(length)[item]
        return span.start, len(span), step
    # Going down, the least place is 0 and the bound behind it -1, which no index of the user's can say.
    low, high = (0, length) if step > 0 else (-1, size(length - 1))
    first, last = (low, high) if step > 0 else (high, low)
    start, stop = _bound(item.start, first, length, low, high), _bound(item.stop, last, length, low, high)
    count = ceiling(size(stop - start if step > 0 else start - stop), abs(step))
    # A length as n - 2 is a condition on the size, `needs_of`; one that is never positive, or with a step, says nothing.
    if sign_of(count) not in (0, 1) and not (step == 1 and _grows(count)):
        raise ShapeError(f"the slice {start}:{stop} of an axis of size {length} has no certain length")
    return start, count, step


def _grows(value: Size) -> bool:
    """Answer whether a size is positive where its named sizes are large, as n - 2 is, and 3 - n or m - n are not."""
    return not isinstance(value, int) and all(c > 0 for term, c in value.as_coefficients_dict().items() if term != 1)


def _bound(value: Size | None, default: Size, length: Size, low: Size, high: Size) -> Size:
    if value is None:
        return default
    value = size(value)
    # A negative bound counts from the end, as in Python.
    if sign_of(value) == -1:
        value = size(length + value)
        if sign_of(value) == -1:
            return low
    if value != 0 and sign_of(value) is None and not _grows(value):
        raise ShapeError(f"the bound {value} of a slice has no certain sign")
    if sign_of(size(high - value)) == -1:
        return high
    return value


def ceiling(value: Size, by: int) -> Size:
    """Return value / by, rounded up: 3 of 5 by 2, n of 2*n - 1 by 2; of named sizes as if they were divisible, n/2 of n by 2."""
    return -rounded_quotient(size(-value), by)


def rounded_quotient(value: Size, by: int) -> Size:
    """Return value / by, rounded down: 2 of 5 by 2, n - 1 of 2*n - 1 by 2; of named sizes as if they were divisible: n/2 of n by 2
    and of n + 1 by 2. What has a fraction in it is a condition on the sizes, `divisors`."""
    if isinstance(value, int):
        return value // by
    constant = int(value.as_coefficients_dict()[sp.S.One])
    return size(sp.expand((value - constant) / sp.Integer(by)) + constant // by)


@lru_cache(2**12)
def divisors(value: Size) -> tuple[tuple[Size, int], ...]:
    """Return what must be divisible by which number for a size to be whole: n by 2 of n/2 + m; the same of k*n/2."""
    if isinstance(value, int):
        return ()
    parts = [(c, term) for term, c in value.as_coefficients_dict().items() if not c.is_Integer]
    by = math.lcm(*(int(c.q) for c, _ in parts))
    return ((size(sum(by * c * term for c, term in parts)), by),) if parts else ()


def remainder(value: Size, by: Size) -> Size:
    """Return value less the whole multiple of `by` that it has as a polynomial: 1 of n + 1 by n, -1 of n - 1, n of 3*n by 2*n."""
    if isinstance(by, int):
        return value % by if isinstance(value, int) else value
    quotient = sp.div(sp.sympify(value), by, *_symbols(by))[0]
    whole = sum((sp.floor(c) * term for term, c in sp.expand(quotient).as_coefficients_dict().items()), start=sp.S.Zero)
    rest = size(sp.expand(value - whole * by))
    # Of m by m + n the rest is -n, no shorter than m itself.
    is_within = all(sign_of(size(by + sign * value)) in (0, 1) for sign in (1, -1))
    return value if is_within and not isinstance(rest, int) else rest


def exact_quotient(value: Size, by: Size) -> Size:
    """Return value / by, which must be exact: n*m / n = m is for every n; of n / 2 it is a condition on n.

    Raises: ShapeError where it is not.
    """
    quotient = sp.cancel(sp.sympify(value) / sp.sympify(by))
    found = size(sp.expand(quotient))
    odd = list(sp.Poly(quotient, *_symbols(quotient)).as_dict().items()) if quotient.is_polynomial() else None
    # A constant that is no whole number is none for any sizes.
    if odd is None or any(not c.is_Integer and not any(powers) for powers, c in odd):
        raise ShapeError(f"{value} is not divisible by {by}")
    return found


def _symbols(value: sp.Expr) -> list[sp.Expr]:
    return sorted(value.free_symbols, key=str) or [sp.Symbol("_")]
