"""Arrays with zeros around them, and sums of them as one array: [a; 0] + [0; b] is [a; b].

Adjoints of the parts that a cell takes of an array are such sums. Those of every second entry, x[0::2] and x[1::2], are columns
of a matrix whose rows stand one after another: vec([a, b]).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from symbptt.autodiff.labels import NEXT
from symbptt.equations.algebra.expressions import (
    Blocks,
    Call,
    Expr,
    Slice,
    Span,
    Transposed,
    Zeros,
    is_zero,
    normal,
    plus,
    transposed,
)
from symbptt.ir.shape import Shape, Size, sign_of
from symbptt.ir.shape import size as sized


def zeros(shape: Shape) -> Expr:
    """Return zeros of a shape; a row is a column turned."""
    if len(normal(shape)) < 2:
        return Zeros((shape[0],))
    return transposed(Zeros((shape[1],))) if shape[0] == 1 else Zeros(shape)


@dataclass(frozen=True)
class _Part:
    """A part of an array that is not zero: from where to where along its axis, and its terms."""

    start: Size
    end: Size
    value: Expr


@dataclass(frozen=True)
class _Array:
    """An array as the parts that are not zero, along an axis; `is_flat`: its rows stand one after another; `is_next`: it is of step
    t + 1, so that it is zero as a whole at the last step."""

    parts: tuple[_Part, ...]
    axis: int
    of: Shape
    is_flat: bool
    is_next: bool


def with_joined(terms: Sequence[tuple[int, Expr]]) -> list[tuple[int, Expr]]:
    """Return the terms of a sum, arrays that are zero where others are not as one array, in the place of the first."""
    found: list[tuple[int, Expr]] = []
    arrays: dict[int, _Array] = {}
    for sign, term in terms:
        own = _array(sign, term)
        place = None if own is None else next((i for i, other in arrays.items() if _are_apart(other, own)), None)
        if own is None or place is None:
            if own is not None:
                arrays[len(found)] = own
            found.append((sign, term))
        else:
            arrays[place] = replace(own, parts=(*arrays[place].parts, *own.parts))
            found[place] = (1, _written(arrays[place]))
    return found


def _array(sign: int, term: Expr) -> _Array | None:
    """Return an array with zeros around it by its parts; None of what is none."""
    is_flat = isinstance(term, Call) and term.name == "vec"
    e = term.args[0] if isinstance(term, Call) and is_flat else term
    if not isinstance(e, Blocks) or not any(map(_is_zeros, e.blocks)):
        return None
    at: Size = 0
    parts = []
    for block in e.blocks:
        end = sized(at + _length(block, e))
        if not _is_zeros(block):
            parts.append(_Part(at, end, plus([(sign, block)])))
        at = end
    return _Array(tuple(parts), e.axis, e.of, is_flat, any(x.time == NEXT for x in e.labels))


def _is_zeros(e: Expr) -> bool:
    return is_zero(e) or isinstance(e.inner if isinstance(e, Transposed) else e, Zeros)


def _length(block: Expr, e: Blocks) -> Size:
    """Return how long a block is along the axis in which blocks follow each other; a vector is a column."""
    return block.shape[e.axis] if len(block.shape) > e.axis else 1


def _are_apart(a: _Array, b: _Array) -> bool:
    """Answer whether of two arrays one is surely zero wherever the other is not."""
    if replace(a, parts=()) != replace(b, parts=()):
        return False
    return all(_is_before(x, y) or _is_before(y, x) for x in a.parts for y in b.parts)


def _is_before(x: _Part, y: _Part) -> bool:
    return sign_of(sized(y.start - x.end)) in (0, 1)


def _written(a: _Array) -> Expr:
    """Return an array with its parts in their order, and zeros between them."""
    # All parts are apart, so that how many lie before one says its place.
    parts = sorted(a.parts, key=lambda part: sum(_is_before(other, part) for other in a.parts))
    blocks: list[Expr] = []
    at: Size = 0
    for start, end, value in (*((p.start, p.end, p.value) for p in parts), (a.of[a.axis], a.of[a.axis], None)):
        gap = sized(start - at)
        if gap != 0:
            blocks.append(zeros(tuple(gap if i == a.axis else size for i, size in enumerate(a.of))))
        if value is not None:
            blocks.append(value)
        at = end
    whole = Blocks(tuple(blocks), a.axis, a.of)
    return Call("vec", (whole,), (sized(a.of[0] * a.of[1]),)) if a.is_flat else whole


def between(value: Expr, span: tuple[Size, Size, int], whole: Size) -> Expr | None:
    """Return a vector whose entries are those of another at every n-th place, between zeros; None where nobody knows how many zeros lie
    behind the last of them, and of places that are counted from the end."""
    start, length, step = span
    if step < 2:
        return None
    if isinstance(start, int) and start < step and sized(step * length - whole) == 0:
        return _interleaved(value, start, step, length)
    rest = sized(whole - start - step * length)
    side = sign_of(rest)
    if side is None:
        return None
    found = _interleaved(value, 0, step, length)
    if side < 0:  # of the last zeros not all are there
        found = Slice(found, (Span(0, sized(whole - start), 1, sized(step * length)),), (sized(whole - start),))
    before, behind = ([Zeros((size,))] if size != 0 else [] for size in (start, rest if side > 0 else 0))
    return Blocks((*before, found, *behind), 0, (whole,)) if before or behind else found


def _interleaved(value: Expr, start: int, step: int, length: Size) -> Expr:
    """Return a vector behind zeros, before and behind each of its entries: the rows of a matrix with one column that is not zero."""
    columns = [value if i == start else zeros((length,)) for i in range(step)]
    return Call("vec", (Blocks(tuple(columns), 1, (length, step)),), (sized(step * length),))
