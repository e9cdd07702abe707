"""A term of a derivative entry by entry: a number times powers of entries, over named indices, and how terms are compared and moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import sympy as sp

from symbptt.ir import shape as shapes
from symbptt.ir.shape import Shape, Size, sign_of

At = tuple[sp.Expr, ...]
"""The place of an entry: an expression in indices, sizes and integers for each axis; 0 along an axis of size 1."""


class Around(sp.Function):
    """(base + shift) modulo size, of a base from 0 up to size: the place in an array of a place in a roll of it."""

    nargs = 3

    @classmethod
    def eval(cls, base: sp.Expr, shift: sp.Expr, size: sp.Expr) -> sp.Expr | None:
        """Return a place that is moved twice as one that is moved once, and one that is moved by nothing as itself."""
        if isinstance(base, cls) and base.args[2] == size:
            return cls(base.args[0], base.args[1] + shift, size)
        least = _least(sp.expand(shift), size)
        if least == 0:
            return base
        if base.is_Integer and least.is_Integer and size.is_Integer:
            return (base + least) % size
        return None if least == shift else cls(base, least, size)


class Chosen(sp.Function):
    """The integer at a place in an array of integers of the graph, from 0 up to size; `back` steps before this one."""

    @classmethod
    def eval(cls, id: sp.Expr, back: sp.Expr, size: sp.Expr, *at: sp.Expr) -> None:
        """Leave it as it is."""


def _least(shift: sp.Expr, size: sp.Expr) -> sp.Expr:
    """Return a shift without whole turns; of known numbers, the shorter way round."""
    if shift.is_Integer and size.is_Integer:
        left = shift % size
        return left - size if left > size // 2 else left
    turns = shift.coeff(size) if size.is_Symbol else int(shift == size) - int(shift == -size)
    return sp.expand(shift - turns * size) if sp.sympify(turns).is_Integer else shift


@dataclass(frozen=True)
class Entry:
    """An entry of a value of the graph, `back` steps before this one."""

    id: int
    at: At
    back: int = 0


@dataclass(frozen=True)
class Same:
    """1 where two indices are equal, else 0."""

    one: sp.Expr
    other: sp.Expr


@dataclass(frozen=True)
class Between:
    """1 where low ≤ index < high, else 0; a bound that is None always holds."""

    index: sp.Expr
    low: sp.Expr | None
    high: sp.Expr | None = None


@dataclass(frozen=True)
class Inner:
    """An entry of the derivative of a value with respect to what derivatives are taken of."""

    id: int
    at: At
    back: int = 0


Bounds = Mapping[sp.Symbol, Size]
"""The sizes of the axes that indices run over."""

Factor = Entry | Same | Between | Inner


@dataclass(frozen=True)
class Term:
    """A number times powers of factors, summed over indices: those of the value are `out`, those of what derivatives are
    taken of are `own`, all others are summed over."""

    number: sp.Expr
    factors: tuple[tuple[Factor, int], ...]
    sums: tuple[sp.Symbol, ...] = ()

    @property
    def inner(self) -> Inner | None:
        return next((f for f, _ in self.factors if isinstance(f, Inner)), None)


Terms = tuple[Term, ...]


def out(axis: int) -> sp.Symbol:
    """Return the index of an axis of the value that is derived."""
    return sp.Symbol(f"_out{axis}", integer=True, nonnegative=True)


def own(axis: int) -> sp.Symbol:
    """Return the index of an axis of what derivatives are taken of."""
    return sp.Symbol(f"_own{axis}", integer=True, nonnegative=True)


def taken(id: int, back: int = 0) -> sp.Symbol:
    """Return the index that an integer value of the graph is."""
    return sp.Symbol(f"_taken{id}_{back}", integer=True, nonnegative=True)


def taken_of(symbol: sp.Symbol) -> tuple[int, int] | None:
    """Return the value that an index is, and how many steps before this one; None for the index of an axis."""
    if not symbol.name.startswith("_taken"):
        return None
    id, _, back = symbol.name.removeprefix("_taken").partition("_")
    return int(id), int(back)


def legs(shape: Shape, name: Callable[[int], sp.Symbol]) -> At:
    """Return an index for each axis, 0 where there is one place only."""
    return tuple(sp.S.Zero if size == 1 else name(i) for i, size in enumerate(shape))


Rest = list[tuple[Entry, int]]


def parted(one: Term, other: Term, is_short: Callable[[Entry], bool]) -> tuple[set[Factor], tuple[Rest, Rest]] | None:
    """Return what two terms share and the entries in which they differ; None where they differ in anything else.

    Where nothing would be left of one of them, short entries at the same place stay too: f + a f, not (1 + a) f.
    """
    a, b = dict(one.factors), dict(other.factors)
    common = {f for f, e in a.items() if b.get(f) == e}
    rests = _rest(a, common), _rest(b, common)
    if rests[0] is None or rests[1] is None:
        return None
    if bool(rests[0]) != bool(rests[1]):
        at = next((entry.at for rest in rests for entry, _ in rest or [] if entry.at), ())
        common = {f for f in common if not isinstance(f, Entry) or (f.at and f.at != at) or not is_short(f)}
        rests = _rest(a, common), _rest(b, common)
    return common, (rests[0] or [], rests[1] or [])


def _rest(factors: Mapping[Factor, int], common: set[Factor]) -> Rest | None:
    found: Rest = []
    for factor, exponent in factors.items():
        if factor not in common:
            if not isinstance(factor, Entry):
                return None
            found.append((factor, exponent))
    return found


def is_never_negative(value: sp.Expr) -> bool:
    """Answer whether a size is at least 0 whatever the sizes in it are."""
    return sign_of(shapes.size(value)) in (0, 1)


def extent_of(index: sp.Expr, bounds: Bounds) -> tuple[sp.Expr, sp.Expr] | None:
    """Return the least and the largest value of an index; None where what it is made of has no bounds."""
    low = high = sp.expand(index)
    # A place in a roll is any place of its axis.
    turned = {x: sp.Symbol(f"_around{i}") for i, x in enumerate(sorted(low.atoms(Around, Chosen), key=str))}
    low = high = low.xreplace(turned)
    bounds = {**bounds, **{symbol: x.args[2] for x, symbol in turned.items()}}
    axes = [s for s in low.free_symbols if s.name.startswith("_")]
    if not all(s in bounds for s in axes):
        return None
    for symbol in sorted(axes, key=str):
        # An index is affine in each symbol, so that its extremes lie at the ends of the range.
        slope, last = low.coeff(symbol), bounds[symbol] - 1
        if not slope.is_number:
            # A symbolic slope counts only by its sign, which chooses the end of the range.
            slope = sp.S.One if sign_of(shapes.size(slope)) in (0, 1) else sp.nan
        if slope is sp.nan:
            return None
        first, final = (last, 0) if slope < 0 else (0, last)
        low, high = low.xreplace({symbol: sp.sympify(first)}), high.xreplace({symbol: sp.sympify(final)})
    return sp.expand(low), sp.expand(high)


def without_common_sign(total: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Return the sign that all terms of a sum have, and the sum without it."""
    terms = sp.Add.make_args(total)
    # -(a + b) reads better than -a - b where the sum becomes one factor.
    if terms and all(term.as_coeff_Mul()[0].is_negative for term in terms):
        return sp.S.NegativeOne, sp.Add(*(-term for term in terms))
    return sp.S.One, total


def counted(factors: Iterable[tuple[Factor, int]]) -> dict[Factor, int]:
    """Return factors with their exponents added up; a condition holds once or twice alike."""
    found: dict[Factor, int] = {}
    for factor, exponent in factors:
        found[factor] = found.get(factor, 0) + exponent
        if isinstance(factor, Same | Between):
            # δ² = δ: an indicator is idempotent.
            found[factor] = 1
    return {f: e for f, e in found.items() if e}


def placed_factor(factor: Factor, at: Mapping[sp.Symbol, sp.Expr]) -> Factor:
    """Return a factor with other indices."""
    match factor:
        case Entry() | Inner():
            return replace(factor, at=tuple(sp.expand(x.xreplace(at)) for x in factor.at))
        case Same(one, other):
            return Same(sp.expand(one.xreplace(at)), sp.expand(other.xreplace(at)))
        case Between(index, low, high):
            return Between(
                sp.expand(index.xreplace(at)), *(None if x is None else sp.expand(x.xreplace(at)) for x in (low, high))
            )
    raise AssertionError(factor)


def placed(term: Term, at: Mapping[sp.Symbol, sp.Expr]) -> Term:
    """Return a term with other indices."""
    return replace(term, factors=tuple((placed_factor(f, at), e) for f, e in term.factors))


def symbols_of(factor: Factor) -> set[sp.Symbol]:
    """Return the indices and sizes in a factor."""
    return {s for x in places_of(factor) for s in x.free_symbols}


def in_order(term: Term) -> Term:
    """Return a term with its sums in the order in which the factors have their indices."""
    order = [s for f, _ in term.factors for s in sorted(symbols_of(f), key=str) if s in term.sums]
    return replace(term, sums=tuple(dict.fromkeys(order)))


def renamed_like(term: Term, like: Term) -> Term:
    """Return a term with the summed indices of another one, in the order of the factors."""
    if len(term.sums) != len(like.sums) or term.sums == like.sums:
        return term
    names = dict(zip(term.sums, like.sums, strict=True))
    return replace(placed(term, names), sums=like.sums)


def _chosen_before(factor: Factor, back: int) -> Factor:
    """Return a factor with what arrays of integers choose so many steps before."""
    found = {c: Chosen(c.args[0], c.args[1] + back, *c.args[2:]) for x in places_of(factor) for c in x.atoms(Chosen)}
    return placed_factor(factor, found) if found else factor


def places_of(factor: Factor) -> tuple[sp.Expr, ...]:
    """Return the places and indices in a factor."""
    match factor:
        case Entry(_, at) | Inner(_, at):
            return at
        case Same(one, other):
            return one, other
        case Between(index, low, high):
            return tuple(x for x in (index, low, high) if x is not None)
    raise AssertionError(factor)


def shifted(factor: Factor, back: int) -> Factor:
    """Return a factor so many steps before this one."""
    if not back:
        return factor
    factor = _chosen_before(factor, back)
    if isinstance(factor, Entry | Inner):
        at = {s: taken(t[0], t[1] + back) for x in factor.at for s in x.free_symbols if (t := taken_of(s))}
        return replace(factor, at=tuple(x.xreplace(at) for x in factor.at), back=factor.back + back)
    at = {s: taken(t[0], t[1] + back) for s in symbols_of(factor) if (t := taken_of(s))}
    return placed_factor(factor, at)
