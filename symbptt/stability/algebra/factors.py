"""Polynomials in atoms as sums of monomials: their degrees and their factors, without SymPy's factoring where none is needed."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import sympy as sp

MOST = 256
"""Monomials of a factor that is looked into, at the most."""
SEARCHED = 24
"""Monomials of one that SymPy factors, at the most."""

Monomial = tuple[tuple[sp.Expr, int], ...]
Terms = dict[Monomial, sp.Expr]


@lru_cache(4096)
def factors_of(p: sp.Expr) -> tuple[sp.Expr, ...]:
    """Return the factors of a polynomial, with a number where there is one; of a very long one those that it is written in."""
    found: list[sp.Expr] = []
    for part in sp.Mul.make_args(p):
        found += [part] if part.is_number or part.as_base_exp()[0].is_Symbol else _parted(part)
    number = sp.Mul(*(f for f in found if f.is_number))
    kept = tuple(f for f in found if not f.is_number)
    return (number, *kept) if number != 1 or not kept else kept


def is_bent(p: sp.Expr, s: sp.Symbol) -> bool:
    """Return whether a polynomial is not known to be affine in a symbol."""
    return sum(_degree(part, s) for part in sp.Mul.make_args(p) if s in part.free_symbols) > 1


def _degree(part: sp.Expr, s: sp.Symbol) -> int:
    terms = _expanded(part)
    if terms is None:
        return 2
    symbols = [(x, n) for monomial in terms for x, n in monomial if s in x.free_symbols]
    return max((n if x == s else 2 for x, n in symbols), default=0)


def _parted(part: sp.Expr) -> list[sp.Expr]:
    """The factors of a sum, or of a power of one: what all terms have in common, and the rest.

    A polynomial that has no monomial in common, and in which some symbol stands in one term alone, to the power one, is linear in
    it with coefficients that have nothing in common: it has no factors.
    """
    terms = _expanded(part)
    if terms is None or not terms:
        return [part] if terms is None else [sp.S.Zero]
    shared = _common(terms)
    rest = {_without(m, shared): c for m, c in terms.items()}
    # Without the rational content p and 2 p, or p and −p, would be different factors and not cancel.
    content = _content(rest)
    rest = {m: c / content for m, c in rest.items()}
    whole = sp.Add(*(c * _written(m) for m, c in rest.items()))
    alone = [x for x in {x for m in rest for x, _ in m} if sum(any(y == x for y, _ in m) for m in rest) == 1]
    # Factoring is by far the most expensive step; a polynomial that is linear in a symbol of one term is known to
    # have no factors.
    is_known = len(rest) > SEARCHED or any((x, 1) in m for x in alone for m in rest)
    inner = whole if is_known else sp.factor(whole)
    return [content, *(x**n for x, n in shared.items()), *sp.Mul.make_args(inner)]


def _common(terms: Terms) -> dict[sp.Expr, int]:
    """The monomial that divides all terms."""
    first, *others = [dict(m) for m in terms]
    found = {x: min([n, *(m.get(x, 0) for m in others)]) for x, n in first.items()}
    return {x: n for x, n in found.items() if n}


def _without(monomial: Monomial, shared: dict[sp.Expr, int]) -> Monomial:
    return tuple((x, n - shared.get(x, 0)) for x, n in monomial if n > shared.get(x, 0))


def _content(terms: Terms) -> sp.Expr:
    """The number that rational coefficients have in common, with the sign of the first term; of others the sign alone."""
    sign = -1 if terms[min(terms, key=str)].is_negative else 1
    rational = all(c.is_Rational for c in terms.values())
    return sign * (sp.gcd_list(list(terms.values())) if rational else sp.S.One)


def _written(monomial: Monomial) -> sp.Expr:
    return sp.Mul(*(x**n for x, n in monomial))


@lru_cache(4096)
def _expanded(p: sp.Expr) -> Terms | None:
    """A polynomial as its terms, where any part other than a sum, product or whole power is a symbol. None for too many of them."""
    if p.is_number:
        return {(): p} if p != 0 else {}
    if p.is_Add:
        parts = [_expanded(part) for part in p.args]
        return None if None in parts else _added([t for t in parts if t is not None])
    if p.is_Mul:
        return _product([_expanded(part) for part in p.args])
    # Powers are multiplied out only while they are small: (a + b)^n has n + 1 terms, those of more symbols many more.
    if p.is_Pow and p.exp.is_Integer and 0 < p.exp < 8 and not p.base.is_Symbol:
        return _product([_expanded(p.base)] * int(p.exp))
    base, n = p.as_base_exp()
    whole = base.is_Symbol and n.is_Integer and n > 0
    return {((base, int(n)),): sp.S.One} if whole else {((p, 1),): sp.S.One}


def _added(parts: list[Terms]) -> Terms | None:
    found: Terms = {}
    for part in parts:
        for m, c in part.items():
            found[m] = found.get(m, sp.S.Zero) + c
    found = {m: c for m, c in found.items() if c != 0}
    return found if len(found) <= MOST else None


def _product(parts: list[Terms | None]) -> Terms | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or prod(len(part) for part in known) > 4 * MOST:
        return None
    found: Terms | None = {(): sp.S.One}
    for part in known:
        found = found and _added([{_joined(m, n): c * d for n, d in part.items()} for m, c in found.items()])
    return found


def _joined(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(a)
    for x, n in b:
        powers[x] = powers.get(x, 0) + n
    return tuple(sorted(powers.items(), key=lambda item: item[0].sort_key()))
