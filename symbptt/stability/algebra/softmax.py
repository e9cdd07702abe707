"""Values that are softmax of others: their Jacobian is diag(y) − y yᵀ, of which no rule for sums and quotients knows how small it is."""

from __future__ import annotations

from itertools import permutations

import sympy as sp

from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.stability.algebra.maximum_gap import axes_of_reduction

A, B = placeholder(0), placeholder(1)


def softmax_of(graph: Graph, node: Node) -> tuple[int, tuple[int, ...]] | None:
    """Return x and the axes where a node is softmax of x along them: exp(x) over its sum, with or without the maximum taken off.

    What is the same along the axes may be taken off x, for softmax does not change with it.
    """
    for e, total in _quotients(graph, node):
        inner = graph[e]
        if node.shape == inner.shape and inner.family == "map" and inner.attrs.expr == sp.exp(A):
            axes = axes_of_reduction(graph, e, total, "sum")
            if axes:
                return _unshifted(graph, inner.args[0], axes), axes
    return None


def _quotients(graph: Graph, node: Node) -> list[tuple[int, int]]:
    """The ways in which a node is a quotient of two others, also as a product with a reciprocal."""
    if node.family != "map" or len(node.args) != 2:
        return []
    expr = node.attrs.expr
    found = [(node.args[i], node.args[j]) for i, j in permutations(range(2)) if expr == placeholder(i) / placeholder(j)]
    for e, inverse in permutations(node.args) if expr == A * B else ():
        other = graph[inverse]
        if other.family == "map" and other.attrs.expr == 1 / A:
            found.append((e, other.args[0]))
    return found


def _unshifted(graph: Graph, u: int, axes: tuple[int, ...]) -> int:
    node = graph[u]
    if node.family == "map" and node.attrs.expr == A - B:
        x, top = node.args
        if graph.shape(x) == node.shape and axes_of_reduction(graph, x, top, "max") == axes:
            return x
    return u
