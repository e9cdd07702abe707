"""The gradient of one scalar of a graph by some of its leaves: the reverse sweep of a step without time.

Example: y = sum(e * e) with e = W k - v. With 1 for the cotangent of y, the sweep gives de = 2 e and dW = 2 e kᵀ, all in the
same graph, so that a later sweep may go through them once more.
"""

from __future__ import annotations

from collections.abc import Collection

from symbptt.autodiff.bptt import reached, sweep
from symbptt.autodiff.guard import Guards
from symbptt.autodiff.subexpressions import values
from symbptt.autodiff.vjp import Context
from symbptt.ir import build
from symbptt.ir.graph import Graph


def gradient_of(g: Graph, value: int, leaves: Collection[int]) -> dict[int, int]:
    """Return the gradient of a scalar by those of the leaves that it depends on with a derivative; the nodes of the sweep are
    added to the graph."""
    forward = g.ancestors([value])
    context = Context(g, values(g, [value]), reached(g, forward, leaves), Guards(g))
    # Without steps every value is one of this step: nothing is summed over time.
    adjoint = sweep(context, forward, set(forward), set(forward), [(value, build.number(g, 1.0))], [])
    return {id: adjoint[id] for id in leaves if id in adjoint}
