"""Which nodes are values of their own, and which are only arithmetic inside the formula of another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import as_sympy


@dataclass(frozen=True)
class Formula:
    """A map as one expression over the values that it reads: `expr` over placeholders, `args` the values."""

    expr: sp.Expr
    args: tuple[int, ...]


def is_function(node: Node) -> bool:
    """Answer whether a node applies a function, rather than arithmetic, to its arguments."""
    return node.family == "map" and bool(
        node.attrs.expr.is_Function or (node.attrs.expr.is_Pow and not node.attrs.expr.exp.is_Integer)
    )


def values(g: Graph, roots: Iterable[int]) -> set[int]:
    """Return the nodes that are values: named, read more than once, functions of others, all that is no arithmetic."""
    roots = list(roots)
    ids = g.ancestors(roots)
    consumers = g.consumers(ids)
    return {id for id in ids if id in roots or not _is_inside(g, id, consumers[id])}


def _is_inside(g: Graph, id: int, consumers: list[int]) -> bool:
    node = g[id]
    if id in g.names or node.family != "map" or is_function(node) or len(consumers) != 1:
        return False
    reader = g[consumers[0]]
    return reader.family == "map" and not is_function(reader) and reader.shape == node.shape


def formula(g: Graph, id: int, kept: set[int]) -> Formula:
    """Return the formula of a map over values, its arguments in the user's order."""
    args: dict[int, int] = {}
    expr = _expression(g, id, kept, args, top=True)
    return Formula(expr, tuple(args))


def _expression(g: Graph, id: int, kept: set[int], args: dict[int, int], top: bool = False) -> sp.Expr:
    node = g[id]
    if node.family == "number" and not node.shape:
        return as_sympy(node.attrs.value)
    if id in kept and not top:
        return placeholder(args.setdefault(id, len(args)))
    parts = {placeholder(i): _expression(g, arg, kept, args) for i, arg in enumerate(node.args)}
    return node.attrs.expr.xreplace(parts)
