"""SymPy expressions as nodes.

Example: _0 * tanh(_1 + 1) becomes three nodes: %2 = _0 + 1 of (%1), %3 = tanh(_0) of (%2), %4 = _0 * _1 of (%0, %3).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import sympy as sp

from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import placeholder
from symbptt.ir.scalar import as_python


def node_of(graph: Graph, expr: sp.Expr, args: Sequence[int]) -> int:
    """Return an expression over placeholders as nodes: each function in one of its own, the rest a body over them."""
    if expr.is_Symbol:
        return args[int(expr.name[1:])]
    body, parts = _split(expr)
    if not parts:
        return build.number(graph, as_python(expr))
    return build.map_(graph, body, [node_of(graph, part, args) for part in parts])


@lru_cache(10_000)
def _split(expr: sp.Expr) -> tuple[sp.Expr, tuple[sp.Expr, ...]]:
    """Return the body of an expression, and the parts that are nodes of their own; none of a number.

    Known from call to call: a cell has few expressions, and a gradient inside a step is traced at each call on numbers.
    """
    if not expr.free_symbols:
        return expr, ()
    # Equal parts share an entry, so that a repeated function becomes one node.
    inner: dict[sp.Expr, int] = {symbol: i for i, symbol in enumerate(sorted(expr.free_symbols, key=_index))}
    leading = _leading(expr, inner) if _is_function(expr) else None
    body = leading if leading is not None else _outline(expr, inner)
    used = sorted(body.free_symbols, key=_index)
    parts = {i: part for part, i in inner.items()}
    renamed = body.xreplace({symbol: placeholder(i) for i, symbol in enumerate(used)})
    return renamed, tuple(parts[_index(symbol)] for symbol in used)


def _index(symbol: sp.Symbol) -> int:
    return int(symbol.name[1:])


def _is_function(expr: sp.Expr) -> bool:
    return bool(expr.is_Function or (expr.is_Pow and not expr.exp.is_Integer))


def _leading(expr: sp.Expr, inner: dict[sp.Expr, int]) -> sp.Expr:
    """Return a function of placeholders and numbers: every other argument becomes a node of its own."""
    return expr.func(*[_held(part, inner) if part.free_symbols else part for part in expr.args])


def _outline(expr: sp.Expr, inner: dict[sp.Expr, int]) -> sp.Expr:
    if expr.free_symbols and (expr.is_Symbol or _is_function(expr)):
        return _held(expr, inner)
    return expr.func(*[_outline(part, inner) for part in expr.args]) if expr.args else expr


def _held(expr: sp.Expr, inner: dict[sp.Expr, int]) -> sp.Symbol:
    return placeholder(inner.setdefault(expr, len(inner)))
