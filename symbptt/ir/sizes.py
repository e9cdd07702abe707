"""Named sizes from the lengths of axes: the one place where equations between sizes are solved.

Example: axes of sizes n + m and n - m, whose lengths are given later. No axis has a single unknown size, so `_joint` seeks
weights of the rows (1, 1) and (-1, 1), in the columns m and n: (1/2, -1/2) gives m, since the multiples of n cancel. With
the denominators cleared, `Told("m", ((1, first), (-1, second)), rest=0, divisor=2)`: lengths 5 and 1 give m = (5 - 1) / 2 = 2.
Then n is the single unknown of the first axis: n = 5 - 2 = 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import sympy as sp

from symbptt.ir.needs import Need
from symbptt.ir.shape import Size, named_size, names_in, size
from symbptt.ir.step import Argument


@dataclass(frozen=True)
class Axis:
    """An axis of an argument, what its length is in named sizes, and its number where that is fixed."""

    argument: str
    number: int
    size: Size
    length: int | None = None


@dataclass(frozen=True)
class Told:
    """A size as (factors times the lengths of axes, added up, less `rest`) / `divisor`, in sizes that were told before."""

    name: str
    lengths: tuple[tuple[int, Axis], ...]
    rest: Size
    divisor: Size


def axes_of(
    arguments: Iterable[Argument],
    shapes: Mapping[str, Sequence[int]] | None = None,
    fixed: Sequence[str] = ("const", "param"),
) -> list[Axis]:
    """Return the axes of arguments; lengths are those of `shapes`, aligned at the last axis, or of arrays that are defaults
    of arguments with the roles `fixed`, or with which states begin."""
    found = []
    for a in arguments:
        default = _default_shape(a.default) if a.role in fixed else _default_shape(a.start)
        lengths = default if shapes is None or a.name not in shapes else tuple(shapes[a.name])
        known = [None] * (len(a.shape) - len(lengths)) + [*lengths[max(len(lengths) - len(a.shape), 0) :]]
        found += [Axis(a.name, i, item, n) for i, (item, n) in enumerate(zip(a.shape, known, strict=True))]
    return found


def axes_of_needs(needs: Iterable[Need]) -> list[Axis]:
    """Return axes that are positive where what slices need is there, for `fits` and `completed`."""
    return [Axis("", 0, need.axis) for need in needs]


def _default_shape(default: Any) -> tuple[int, ...]:
    return () if default is None or isinstance(default, str) else np.shape(default)


def told(axes: Sequence[Axis], last: Sequence[Axis] = ()) -> list[Told]:
    """Return how sizes follow from the lengths of axes, one after the other: the first axis with one unknown size, in which
    it is linear; where every axis has several, those that linear equations between axes determine together. Axes that
    may lack are `last`."""
    found: dict[str, Told] = {}
    # Axes that may lack are used only where the others do not suffice.
    for some in (axes, [*axes, *last]):
        while step := _single(some, found) or _joint(some, found):
            found[step.name] = step
    return [*found.values()]


def _single(axes: Sequence[Axis], known: Mapping[str, Told]) -> Told | None:
    for axis in axes:
        unknown = [name for name in names_in((axis.size,)) if name not in known]
        if len(unknown) != 1 or sp.degree(axis.size, named_size(unknown[0])) != 1:
            continue
        factor = sp.expand(axis.size).coeff(named_size(unknown[0]))
        return _told(unknown[0], [(1, axis)], sp.expand(axis.size - factor * named_size(unknown[0])), factor)
    return None


def _joint(axes: Sequence[Axis], known: Mapping[str, Told]) -> Told | None:
    """Return the first size that equations determine of which each has several unknown sizes, by elimination; products of unknown
    sizes are unknowns of their own: of lengths of a*d and 2*a + 4*a*d the difference that leaves a."""
    rows = [(axis, _monomials(axis.size, known)) for axis in axes]
    rows = [(axis, found) for axis, found in rows if found]
    columns = sorted({*chain.from_iterable(found for _, found in rows)}, key=str)
    names = [name for name in names_in(tuple(columns)) if named_size(name) in columns]
    matrix = sp.Matrix([[found.get(column, 0) for column in columns] for _, found in rows])
    if not rows:
        return None
    for name in names:
        wanted = sp.Matrix([int(column == named_size(name)) for column in columns])
        weights = _combination(matrix.T, wanted)
        if weights is not None:
            # Multiplying by the common denominator keeps the factors integers; the division is done once, at the end, and checked.
            common = sp.ilcm(*[w.q for w in weights])
            used = [(int(w * common), axis) for w, (axis, _) in zip(weights, rows, strict=True) if w]
            total = sp.expand(sum(factor * axis.size for factor, axis in used))
            return _told(name, used, sp.expand(total - common * named_size(name)), sp.Integer(common))
    return None


def _combination(columns: sp.Matrix, wanted: sp.Matrix) -> list[sp.Rational] | None:
    """Return weights of columns that add up to what is wanted, few of them not zero; None where there are none."""
    # Pivot columns are independent, so that the weights are unique and all others are zero.
    _, pivots = columns.rref()
    chosen = columns[:, list(pivots)]
    joint, ends = chosen.row_join(wanted).rref()
    # A pivot in the appended column means that the system has no solution.
    if len(pivots) in ends:
        return None
    weights = [sp.S.Zero] * columns.shape[1]
    for row, pivot in enumerate(pivots):
        weights[pivot] = joint[row, len(pivots)]
    return weights


def _monomials(item: Size, known: Mapping[str, Told]) -> dict[sp.Expr, sp.Rational]:
    """Return the products of unknown sizes of which a size is a sum, with their factors: a and a*d of 2*a + 4*a*d, where neither is
    known; none where factors are sizes themselves."""
    unknown = [named_size(name) for name in names_in((item,)) if name not in known]
    if not unknown:
        return {}
    terms = sp.Poly(item, *unknown).as_dict()
    found = {
        sp.Mul(*(x**n for x, n in zip(unknown, powers, strict=True))): c for powers, c in terms.items() if any(powers)
    }
    return found if all(c.is_Rational for c in found.values()) else {}


def _told(name: str, lengths: Sequence[tuple[int, Axis]], rest: sp.Expr, divisor: sp.Expr) -> Told:
    """Return the rule of a size in whole numbers, with the lengths that are fixed counted among the rest."""
    common = math.lcm(*(int(c.q) for c in _coefficients(rest) + _coefficients(divisor)))
    lengths = [(int(factor * common), axis) for factor, axis in lengths]
    rest, divisor = common * rest, sp.expand(common * divisor)
    fixed = sum(factor * axis.length for factor, axis in lengths if axis.length is not None)
    open_ = tuple((factor, axis) for factor, axis in lengths if axis.length is None)
    return Told(name, open_, size(sp.expand(rest - fixed)), size(divisor))


def _coefficients(item: sp.Expr) -> list[sp.Rational]:
    return [*sp.sympify(item).as_coefficients_dict().values()]


def solved(axes: Sequence[Axis], known: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return the sizes that lengths determine, beside those known; one that would be no positive integer is left out."""
    fixed = [Axis(name, 0, named_size(name), value) for name, value in (known or {}).items()]
    found: dict[str, int] = dict(known or {})
    for step in told([*fixed, *(axis for axis in axes if axis.length is not None)]):
        numbers = {named_size(name): value for name, value in found.items()}
        if any(symbol not in numbers for item in (step.rest, step.divisor) for symbol in _symbols(item)):
            continue
        # Exact: a quotient that is no integer means that the lengths contradict each other.
        value = sp.Rational(-_number(step.rest, numbers), _number(step.divisor, numbers) or 1)
        if value.is_Integer and value > 0:
            found[step.name] = int(value)
    return found


def _symbols(item: Size) -> set[sp.Symbol]:
    return set() if isinstance(item, int) else item.free_symbols


def _number(item: Size, numbers: Mapping[sp.Symbol, int]) -> int | sp.Rational:
    """Return a size in numbers: a fraction where a part of a size is not whole."""
    found = item if isinstance(item, int) else item.xreplace(numbers)
    return found if isinstance(found, int) or not found.is_Integer else int(found)


def misfit(axes: Sequence[Axis], sizes: Mapping[str, int]) -> Axis | None:
    """Return the first axis whose length is not what the sizes say."""
    numbers = {named_size(name): value for name, value in sizes.items()}
    for axis in axes:
        if axis.length is not None and _symbols(axis.size) <= {*numbers} and _number(axis.size, numbers) != axis.length:
            return axis
    return None


def fits(axes: Sequence[Axis], sizes: Mapping[str, int]) -> bool:
    """Answer whether lengths are what the sizes say, and all dimensions positive, as far as the sizes are known."""
    numbers = {named_size(name): value for name, value in sizes.items()}
    known = [_number(axis.size, numbers) for axis in axes if _symbols(axis.size) <= {*numbers}]
    return misfit(axes, sizes) is None and all(isinstance(number, int) and number > 0 for number in known)


def completed(axes: Sequence[Axis], names: Sequence[str], wishes: Mapping[str, int]) -> dict[str, int]:
    """Return all sizes: those that lengths determine, the others as wished for or, where a dimension would then not be
    positive or not be what lengths say, the least that are."""
    wishes = {name: wishes[name] for name in names}
    return _filled(axes, solved(axes), wishes) or {**wishes, **solved(axes)}


def _filled(axes: Sequence[Axis], found: dict[str, int], wishes: Mapping[str, int]) -> dict[str, int] | None:
    name = next((name for name in wishes if name not in found), None)
    if not fits(axes, found) or name is None:
        return found if name is None and fits(axes, found) else None
    tries = (
        _filled(axes, solved(axes, found | {name: value}), wishes)
        # Backtracking: a wish first, then small sizes, then the least ones that make an axis positive.
        for value in dict.fromkeys((wishes[name], *range(1, 9), *_least(axes, name)))
    )
    return next((done for done in tries if done is not None), None)


def _least(axes: Sequence[Axis], name: str) -> list[int]:
    """Return the least values that make axes positive, of those in which the size stands alone or beside sizes of 1."""
    found = []
    for axis in axes:
        ones = sp.sympify(axis.size).xreplace({symbol: 1 for symbol in _symbols(axis.size) if symbol.name != name})
        if sp.degree(ones, named_size(name)) == 1:
            factor, constant = sp.Poly(ones, named_size(name)).all_coeffs()
            found += [int(sp.ceiling((1 - constant) / factor))] if factor > 0 else []
    return sorted(value for value in found if value > 8)
