"""Scalar expressions in their stable form: spelled step by step as in the body of a cell, so that the same idioms are seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import sympy as sp

from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import placeholder
from symbptt.ir.scalar import as_python, as_sympy
from symbptt.language.stable_forms import stable_value

A, B = placeholder(0), placeholder(1)


def stable_expression(expr: sp.Expr) -> sp.Expr:
    """Return an expression over placeholders with the spellings that overflow in their stable form."""
    g = Graph()
    leaves = {symbol: build.leaf(g, "input", symbol.name, ()) for symbol in sorted(expr.free_symbols, key=str)}
    if not leaves:
        return expr
    found = _expression(*stable_value(g, _spelled(g, expr, leaves)))
    # Without a new function nothing was recognised: the user's own form stays, not the one that was taken apart.
    return found if _functions(found) != _functions(expr) else expr


def _functions(expr: sp.Expr) -> set[object]:
    return {part.func for part in expr.atoms(sp.Function)}


def _spelled(g: Graph, expr: sp.Expr, leaves: dict[sp.Symbol, int]) -> int:
    """Return an expression as nodes of one operation each, as NumPy's operators give them."""
    if expr.is_Symbol:
        return leaves[expr]
    if expr.is_number:
        return build.number(g, as_python(expr))
    if expr.is_Add:
        return _sum(g, expr, leaves)
    if expr.is_Mul or (expr.is_Pow and _is_below(expr)):
        return _product(g, expr, leaves)
    if expr.is_Pow and expr.exp.is_number:
        return build.map_(g, A**expr.exp, (_spelled(g, expr.base, leaves),))
    args = [_spelled(g, arg, leaves) for arg in expr.args]
    return build.map_(g, expr.func(*(placeholder(i) for i in range(len(args)))), args)


def _sum(g: Graph, expr: sp.Expr, leaves: dict[sp.Symbol, int]) -> int:
    signed = [(term.as_coeff_Mul()[0].is_negative, term) for term in expr.args]
    # A positive term first, so that exp(u) - exp(v) becomes A - B, the form that the rules look for.
    first, *rest = sorted(signed, key=lambda item: bool(item[0]))
    value = _spelled(g, first[1], leaves)
    for negative, term in rest:
        other = _spelled(g, -term if negative else term, leaves)
        value = build.map_(g, A - B if negative else A + B, (value, other))
    return value


def _is_below(factor: sp.Expr) -> bool:
    return bool(factor.is_Pow and factor.exp.is_Integer and factor.exp < 0)


def _product(g: Graph, expr: sp.Expr, leaves: dict[sp.Symbol, int]) -> int:
    """Return a quotient of products, its number in front: 25 * exp(u) / (1 + exp(u))**2 is 25 * (exp(u) / (1 +
    exp(u))**2)."""
    number, rest = expr.as_coeff_Mul()
    factors = sp.Mul.make_args(rest)
    above = [_spelled(g, factor, leaves) for factor in factors if not _is_below(factor)]
    below = [_spelled(g, 1 / factor, leaves) for factor in factors if _is_below(factor)]
    value = _times(g, above) if above else build.number(g, 1)
    for part in below:  # one after the other, so that each is seen beside what it divides
        value = build.map_(g, A / B, (value, part))
    return value if number == 1 else build.map_(g, number * A, (value,))


def _times(g: Graph, parts: Sequence[int]) -> int:
    join: Callable[[int, int], int] = lambda a, b: build.map_(g, A * B, (a, b))  # noqa: E731
    return reduce(join, parts)


def _expression(g: Graph, id: int) -> sp.Expr:
    """Return the nodes that a value is computed from as one expression."""
    known: dict[int, sp.Expr] = {}
    for value in g.ancestors([id]):
        node = g[value]
        if node.family == "leaf":
            known[value] = sp.Symbol(node.attrs.name, real=True)
        elif node.family == "number":
            known[value] = as_sympy(node.attrs.value)
        else:
            known[value] = node.attrs.expr.xreplace({placeholder(i): known[arg] for i, arg in enumerate(node.args)})
    return known[id]
