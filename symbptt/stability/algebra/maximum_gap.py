"""Values that are functions of x − max x, as in softmax: that is at most 0, and 0 somewhere. Intervals alone forget both.

For example softmax is exp(x − top) / Σ exp(x − top) with top = max x. Intervals of x and top alone allow x − top up to
hi − lo, so that the sum might be anything from 0 to ∞. As D = x − top is at most 0 and one entry has D = 0, each exponential
is at most 1 and the sum at least 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import sympy as sp

from symbptt import ops
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import as_sympy
from symbptt.ir.shape import Shape, with_ones

D = sp.Symbol("D", real=True)
"""x − max x."""


@dataclass(frozen=True)
class Gap:
    """A value `expr` in D for the nodes `x` and `top`, the maximum of x over `axes`: D ≤ 0, and 0 at one place on them."""

    expr: sp.Expr
    x: int
    top: int
    axes: tuple[int, ...]


def gaps_of(graph: Graph) -> dict[int, Gap]:
    """Return the gaps of a step by node."""
    found: dict[int, Gap] = {}
    for node in graph:
        gap = (_difference(graph, node) or _composed(graph, node, found)) if node.family == "map" else None
        if gap is not None:
            found[node.id] = gap
    return found


def _difference(graph: Graph, node: Node) -> Gap | None:
    """The gap of a node that reads x and max x in their difference alone."""
    for i, j in permutations(range(len(node.args)), 2):
        axes = axes_of_reduction(graph, node.args[i], node.args[j], "max")
        if axes and len(node.args) == 2 and node.shape == graph.shape(node.args[i]):
            # Substituting x = D + top leaves D alone exactly if the expression depends on the difference only; terms
            # in `top` cancel or the test fails.
            expr = node.attrs.expr.xreplace({placeholder(i): D + placeholder(j)})
            if expr.free_symbols == {D}:
                return Gap(expr, node.args[i], node.args[j], axes)
    return None


def _composed(graph: Graph, node: Node, known: dict[int, Gap]) -> Gap | None:
    """The gap of a function of one value that is one, and of numbers."""
    varying = [arg for arg in dict.fromkeys(node.args) if graph[arg].family != "number"]
    inner = known.get(varying[0]) if len(varying) == 1 else None
    if inner is None or any(graph[arg].shape for arg in node.args if arg != varying[0]):
        return None
    parts = {
        placeholder(i): inner.expr if arg == varying[0] else as_sympy(graph[arg].attrs.value)
        for i, arg in enumerate(node.args)
    }
    return Gap(node.attrs.expr.xreplace(parts), inner.x, inner.top, inner.axes)


def axes_of_reduction(graph: Graph, x: int, top: int, kind: str) -> tuple[int, ...]:
    """Return the axes over which `top` is the maximum or the sum of x, aligned with x by broadcasting; an empty tuple
    where it is neither."""
    passed = []
    while _is_passed(graph[top]):
        passed.append(graph[top])
        top = graph[top].args[0]
    node = graph[top]
    if node.family != "reduce" or node.attrs.kind != kind or node.args[0] != x:
        return ()
    whole = graph.shape(x)
    kept = without_ones(with_ones(whole, node.attrs.axes))
    beside = node.shape == kept  # broadcasting aligns last axes, which need not be those that are kept
    for outer in reversed(passed):
        repeated = outer.family == "view" and outer.attrs.kind == "expand"
        if repeated and not (beside and outer.shape == whole):
            return ()
        # A reshape leaves the entries in place if it only adds or drops leading ones, or keeps the whole shape.
        beside = repeated or without_ones(outer.shape) == kept or (beside and outer.shape == whole)
    return node.attrs.axes if beside else ()


def _is_passed(node: Node) -> bool:
    """Answer whether a node passes on the values of its argument unchanged."""
    if node.family == "map":
        return ops.is_held(node.attrs.expr.func) and node.attrs.expr.args == (placeholder(0),)
    return node.family == "view" and node.attrs.kind in ("reshape", "expand")


def without_ones(shape: Shape) -> Shape:
    """Return a shape without its leading ones, which broadcasting adds."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape
