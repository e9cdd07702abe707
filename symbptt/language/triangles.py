"""Triangles of matrices, np.tril and np.triu, as functions of whole matrices for a page.

The trace makes them as a choice by a running sum over the identity, which has no form in matrices; a page has tril(A), a function
with an adjoint of its own. What np.triu(A, 1) leaves is A - tril(A).
"""

from __future__ import annotations

from dataclasses import dataclass

from symbptt import ops
from symbptt.ir import build
from symbptt.ir.algebra import algebra, is_unit_matrix, turned
from symbptt.ir.graph import Graph
from symbptt.ir.node import placeholder
from symbptt.ir.shape import Size

CHOICE = ops.BY_NAME["where"].body(placeholder(0), placeholder(1), placeholder(2))


@dataclass(frozen=True)
class Triangle:
    """A value that is a part of a square matrix: what lies below its diagonal or above it, without the diagonal where it is strict."""

    of: int
    is_upper: bool
    is_strict: bool

    @property
    def args(self) -> tuple[int, ...]:
        """The values of the step that it reads."""
        return (self.of,)


def triangle(g: Graph, id: int) -> Triangle | None:
    """Return the triangle that a value is; None where it is none, or one of another diagonal than the main one and that beside it."""
    node = g[id]
    if node.family != "map" or node.attrs.expr != CHOICE or len(node.shape) != 2 or node.shape[0] != node.shape[1]:
        return None
    mask, whole, rest = node.args
    if node.shape[0] == 1 or g.shape(whole) != node.shape or mask in g.names or not _is_zero(g, rest):
        return None
    found = _side(g, mask)
    # The diagonal lies on both sides, so that a strict side is what the other one leaves.
    return None if found is None or found[1] not in (0, 1) else Triangle(whole, found[0], found[1] == 1)


def _is_zero(g: Graph, id: int) -> bool:
    return g[id].family == "number" and not g[id].shape and g[id].attrs.value == 0


def _side(g: Graph, id: int) -> tuple[bool, int] | None:
    """Return whether ones lie above a diagonal, and how far it lies on their side of the main one; None of what is no such mask."""
    node = g[id]
    right: Size = 0
    down: Size = 0
    if node.family == "view" and node.attrs.kind == "slice":
        (right, _, by), (down, _, other) = node.attrs.data
        # Every second column of a triangle is no triangle.
        if (by, other) != (1, 1):
            return None
        node = g[node.args[0]]
    if node.family != "cumulate" or node.attrs.reverse or not is_unit_matrix(g, node.args[0]):
        return None
    if not isinstance(right, int) or not isinstance(down, int):
        return None
    is_upper = node.attrs.axis == 1
    return is_upper, right - down if is_upper else down - right


def triangle_of(g: Graph, found: Triangle, whole: int) -> int:
    """Return a triangle of a matrix in another graph."""
    # A strict upper triangle is what the lower one leaves, and the other way round.
    of_upper = found.is_upper != found.is_strict
    side = algebra(g, "tril", turned(g, whole) if of_upper else whole)
    side = turned(g, side) if of_upper else side
    return build.map_(g, placeholder(0) - placeholder(1), [whole, side]) if found.is_strict else side
