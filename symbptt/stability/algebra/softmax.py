"""Values that are softmax of others: their Jacobian is diag(y) − y yᵀ, of which no rule for sums and quotients knows how small it is."""

from __future__ import annotations

from itertools import permutations

import sympy as sp

from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rewrite import copy_node
from symbptt.ir.step import Step
from symbptt.language import functions as f
from symbptt.language.array import Array
from symbptt.language.folding import expanded, folded, remade
from symbptt.stability.algebra.maximum_gap import axes_of_reduction

A, B = placeholder(0), placeholder(1)


# softmax(x) = softmax(x − c) for every c, so that the derivative with respect to c is zero and may be left out.
def _held(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """The exponentials of x less its maximum, which counts as constant, and that maximum."""
    top = f.ELEMENTWISE["stop_gradient"](f.max(x, axes, keepdims=True))
    return f.ELEMENTWISE["exp"](x - top), top


def _softmax(x: Array, axes: tuple[int, ...]) -> Array:
    e, _ = _held(x, axes)
    return e / f.sum(e, axes, keepdims=True)


def _logsumexp(x: Array, axes: tuple[int, ...]) -> Array:
    e, top = _held(x, axes)
    return f.ELEMENTWISE["log"](f.sum(e, axes, keepdims=True)) + top


HELD = {"softmax": _softmax, "logsumexp": _logsumexp, "log_softmax": lambda x, axes: x - _logsumexp(x, axes)}


def with_held_maxima(step: Step) -> Step:
    """Return the same step, in which softmax, logsumexp and its logarithm treat the maximum that they take off as constant.

    They do not change with it, but a derivative of a derivative would divide by how many entries are the largest, of which
    intervals know too little.
    """
    whole = folded(step)
    roots = [*whole.leaves.values(), *whole.next.values(), *whole.outputs.values()]

    def make(new: Graph, node: Node, ids: dict[int, int]) -> int:
        args = tuple(ids[arg] for arg in node.args)
        if node.family == "whole" and node.attrs.name in HELD:
            return build.reshape(new, HELD[node.attrs.name](Array(new, args[0]), node.attrs.axes).id, node.shape)
        return copy_node(new, node, args)

    return expanded(remade(whole, whole.graph.ancestors(roots), make))


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
        # Any shift that is constant along the axes may be removed; only the maximum is recognised, as that is the one
        # written in practice.
        if graph.shape(x) == node.shape and axes_of_reduction(graph, x, top, "max") == axes:
            return x
    return u
