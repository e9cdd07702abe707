"""Expressions that are sums of some symbols times coefficients, where their sums and products alone show it."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp


def linear_form(expr: sp.Expr, movers: Mapping[sp.Symbol, int]) -> dict[int, sp.Expr] | None:
    """Return the coefficient of each value whose symbol is among `movers`, None where the form does not show that an
    expression is linear in them.

    >>> a, b, c = sp.symbols("a b c")
    >>> linear_form(a * c + 2 * b, {a: 0, b: 1})
    {0: c, 1: 2}
    """
    found: dict[int, sp.Expr] = {}
    return found if _collect(expr, sp.S.One, movers, found) else None


def _collect(expr: sp.Expr, factor: sp.Expr, movers: Mapping[sp.Symbol, int], found: dict[int, sp.Expr]) -> bool:
    """Add the coefficients of an expression times a factor, and return False where its form is not linear."""
    if expr in movers:
        id = movers[expr]
        found[id] = found.get(id, sp.S.Zero) + factor
        return True
    if expr.is_Add:
        return all(_collect(term, factor, movers, found) for term in expr.args)
    if expr.is_Mul:
        # Two factors with adjoints would be quadratic by their form; nothing is expanded.
        touched = [part for part in expr.args if not part.free_symbols.isdisjoint(movers)]
        rest = sp.Mul(*(part for part in expr.args if part not in touched))
        return len(touched) == 1 and _collect(touched[0], factor * rest, movers, found)
    return False
