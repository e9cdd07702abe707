"""Sums of products of matrices as a page writes them: what all terms share stands in front and behind, numbers before matrices.

Example: diag(o) A W + diag(o) B W: all terms begin with diag(o) and end with W, so that the sum is diag(o) (A + B) W. A term
that is cut away entirely leaves the identity I in the brackets, not the number 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import sympy as sp

from symbptt.autodiff.partials import in_decimals
from symbptt.equations.algebra import expressions as algebra
from symbptt.equations.algebra.entries import count
from symbptt.equations.algebra.expressions import (
    EYE,
    ONE,
    ZERO,
    Diagonal,
    Expr,
    Index,
    Matmul,
    Number,
    Over,
    SumOver,
    Times,
    Transposed,
    matmul,
    plus,
    times,
    transposed,
)  # fmt: skip
from symbptt.equations.algebra.traversal import every


@dataclass(frozen=True)
class Drawn:
    """A term as numbers times a product of matrices; `is_eye`: without matrices it is the identity, not the number one."""

    sign: int
    above: tuple[Expr, ...]
    below: tuple[Expr, ...]
    parts: tuple[Expr, ...]
    is_eye: bool = False


def sum_of(drawn: Sequence[Drawn]) -> Expr:
    """Return a sum of products of matrices: numbers that all terms share stand around it, and terms that end alike are one,
    with what they share behind them."""
    above, below, rest = _numbers(drawn)
    return _around(above, below, _grouped(rest))


def _grouped(drawn: Sequence[Drawn]) -> Expr:
    groups: dict[object, list[Drawn]] = {}
    for i, d in enumerate(drawn):
        # `i` as a key keeps a term by itself.
        last = d.parts[-1] if d.parts else None
        ends = last if last is not None and len(last.shape) == 2 and last.shape[0] != 1 else i
        groups.setdefault(ends, []).append(d)
    if len(groups) == 1 or len(groups) == len(drawn):
        return _shared(list(drawn))
    return plus([(1, _shared(group)) for group in groups.values()])


def _shared(drawn: list[Drawn]) -> Expr:
    """Return a sum with what all of its terms share in front and behind."""
    if len(drawn) == 1:
        return _product(drawn[0])
    shared, under, drawn = _numbers(drawn)
    # Matrix products do not commute: only what stands at the same end of all terms can be taken out.
    left = _common([d.parts for d in drawn])
    # Behind the common beginning, so that no matrix is counted at both ends of a short product.
    right = _common([d.parts[len(left) :][::-1] for d in drawn])[::-1]
    cut = [
        replace(d, parts=d.parts[len(left) : len(d.parts) - len(right)], is_eye=d.is_eye or bool(left or right))
        for d in drawn
    ]
    total = plus([(d.sign, _product(replace(d, sign=1))) for d in cut])
    return _around(shared, under, matmul([*left, total, *right]))


def _numbers(drawn: Sequence[Drawn]) -> tuple[list[Expr], list[Expr], list[Drawn]]:
    """Return the numbers that all terms are multiplied by, those that divide all of them, and the terms without these."""
    if len(drawn) < 2:
        return [], [], list(drawn)
    above = _in_all([d.above for d in drawn])
    below = _in_all([d.below for d in drawn])
    return above, below, [replace(d, above=_without(d.above, above), below=_without(d.below, below)) for d in drawn]


def _in_all(products: Sequence[tuple[Expr, ...]]) -> list[Expr]:
    """Return the factors that all products have, each as often as in the one that has it least."""
    first = dict.fromkeys(products[0])
    return [x for x in first for _ in range(min(product.count(x) for product in products))]


def _around(above: Sequence[Expr], below: Sequence[Expr], inner: Expr) -> Expr:
    whole = matmul([*above, inner])
    return Over(whole, times(below)) if below else whole


def _without(parts: tuple[Expr, ...], gone: Sequence[Expr]) -> tuple[Expr, ...]:
    left = list(parts)
    for part in gone:
        left.remove(part)
    return tuple(left)


def _common(chains: Sequence[tuple[Expr, ...]]) -> tuple[Expr, ...]:
    """Return the common beginning of all products; it ends before differing factors, vectors and rows."""
    if len(chains) < 2:
        return ()
    found: list[Expr] = []
    for column in zip(*chains, strict=False):
        if any(part != column[0] for part in column) or len(column[0].shape) < 2 or column[0].shape[0] == 1:
            break
        found.append(column[0])
    return tuple(found)


def _product(d: Drawn) -> Expr:
    """Numbers before matrices, over what divides them; a diagonal matrix of reciprocals takes the numbers in."""
    parts, above = list(d.parts), d.above
    for i, part in enumerate(parts):
        if above and isinstance(part, Diagonal) and isinstance(part.inner, Over) and part.inner.above == ONE:
            # a diag(1 / v) = diag(a / v).
            parts[i], above = Diagonal(Over(times(above), part.inner.below)), ()
    core = parts or ([EYE] if d.is_eye else [])
    product = matmul([*above, *core]) if core else times(above) if above else ONE
    return plus([(d.sign, Over(product, times(d.below)) if d.below else product)])


# Factors.


def squared(numbers: Sequence[Expr]) -> tuple[Expr, ...]:
    """Return numbers that are equal as powers."""
    different = list(dict.fromkeys(numbers))
    return tuple(power_of(x, numbers.count(x)) for x in different)


def numbers_in(part: Expr) -> list[Expr]:
    """Return the numbers that a matrix is multiplied by."""
    return [f for f in part.factors if not f.shape] if isinstance(part, Times | Matmul) and part.shape else []


def without_numbers(part: Expr) -> Expr:
    """Return a matrix without the numbers that it is multiplied by."""
    if not isinstance(part, Times | Matmul) or not numbers_in(part):
        return part
    rest = [f for f in part.factors if f.shape]
    return times(rest) if isinstance(part, Times) else matmul(rest)


def number_of(size: sp.Expr) -> Expr:
    """Return a number, or a size as one."""
    return Number(size) if size.is_number else count(size)


def power_of(value: Expr, exponent: int) -> Expr:
    """Return a value to a whole power."""
    if isinstance(value, Number):
        return Number(in_decimals(value.value**exponent))
    return value if exponent == 1 else algebra.Power(value, Number(sp.Integer(exponent)))


def weighted(weights: Sequence[tuple[Expr, int]]) -> Expr:
    """Return an elementwise product of vectors to whole powers."""
    above = [power_of(value, e) for value, e in weights if e > 0]
    below = [power_of(value, -e) for value, e in weights if e < 0]
    over = times(above) if above else ONE
    return Over(over, times(below)) if below else over


def turned(part: Expr) -> Expr:
    """Return the transpose of a matrix."""
    return part if isinstance(part, Diagonal) else transposed(part)


def entries_summed(vector: Expr) -> Expr:
    """Return the sum of the entries of a vector; of a product, an inner product."""
    if isinstance(vector, Times) and len(vector.factors) > 1 and all(f.shape for f in vector.factors):
        return matmul([Transposed(vector.factors[0]), times(vector.factors[1:])])
    if isinstance(vector, algebra.Power) and vector.exponent == Number(sp.Integer(2)):
        return matmul([Transposed(vector.base), vector.base])
    return algebra.Call("sum", (vector,), ())


def joined(parts: Sequence[Expr]) -> Iterator[Expr]:
    """Yield matrices, diagonal ones side by side as one."""
    last: Expr | None = None
    for part in parts:
        if isinstance(last, Diagonal) and isinstance(part, Diagonal):
            # diag(a) diag(b) = diag(a ⊙ b).
            last = Diagonal(times([last.inner, part.inner]))
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last


# Entries.


@dataclass(frozen=True)
class Product:
    """A term entry by entry: a sign, a product of numbers over another one, and the indices that it is summed over."""

    sign: int
    above: tuple[Expr, ...]
    below: tuple[Expr, ...]
    over: tuple[Index, ...] = ()


def sum_of_entries(terms: Sequence[Product]) -> Expr:
    """Return a sum of products, with the factors that all of them share outside of it."""
    if len(terms) < 2:
        return plus([(t.sign, _summed(t)) for t in terms]) if terms else ZERO
    above = _in_all([tuple(x for x in t.above if _is_free(x, t)) for t in terms])
    below = _in_all([tuple(x for x in t.below if _is_free(x, t)) for t in terms])
    rest = [replace(t, above=_without(t.above, above), below=_without(t.below, below)) for t in terms]
    total = plus([(t.sign, _summed(t)) for t in rest])
    whole = times([*above, total])
    return Over(whole, times(below)) if below else whole


def _summed(t: Product) -> Expr:
    product = times(t.above) if t.above else ONE
    whole = Over(product, times(t.below)) if t.below else product
    return SumOver(t.over, whole) if t.over else whole


def _is_free(factor: Expr, of: Product) -> bool:
    """Answer whether a factor is the same at all indices that a term is summed over."""
    return not any(x in of.over for x in every(factor, Index))
