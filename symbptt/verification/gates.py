"""Which parameters are biases of gates, told by the graph of a cell: those that are added to the argument of σ, or of tanh."""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from symbptt import ops
from symbptt.ir.graph import Graph
from symbptt.ir.node import placeholder
from symbptt.ir.step import Step

MOVED = ("slice", "reshape", "transpose", "expand", "concatenate")
"""Views by which a bias comes to where it is added."""


def gate_biases(step: Step) -> dict[str, float]:
    """Return the parameters that are added to the arguments of σ, and to nothing else, each with its sign.

    One that is subtracted has the sign -1. Of a product of a parameter nothing follows: that is a weight.
    """
    return dict(_biases(step, ops.sigmoid))


def saturating_biases(step: Step) -> dict[str, float]:
    """Return the biases of gates; of a cell without any those that are added to the arguments of tanh."""
    return gate_biases(step) or dict(_biases(step, sp.tanh))


def saturating(step: Step) -> frozenset[str]:
    """Return the parameters that alone decide where σ or tanh saturates: what is added to their arguments, and to nothing else."""
    return frozenset(name for function in (ops.sigmoid, sp.tanh) for name, _ in _biases(step, function))


def _biases(step: Step, function: sp.Expr) -> Iterator[tuple[str, float]]:
    g = step.graph
    ids = g.ancestors([*step.next.values(), *step.outputs.values()])
    signs: dict[int, set[float]] = {}
    readers: dict[int, set[int]] = {}
    adds: dict[int, set[int]] = {}
    for id in ids:
        for arg in g[id].args:
            readers.setdefault(arg, set()).add(id)
        body = g[id].attrs.expr if g[id].family == "map" else None
        if body is not None and body.func == function:
            for arg, sign in _terms(g, id, body.args[0]):
                _follow(g, arg, sign, id, signs, adds)
    for a in step.of_role("param"):
        id = step.leaves[a.name]
        found = [*signs.get(id, ())]
        if len(found) == 1 and readers.get(id) == adds.get(id):
            yield a.name, found[0]


def _terms(g: Graph, id: int, expr: sp.Expr) -> Iterator[tuple[int, float]]:
    """Yield the arguments of a node that an expression adds or subtracts as they are."""
    for number, arg in enumerate(g[id].args):
        factor = expr.coeff(placeholder(number))
        if abs(factor) == 1 and not (expr - factor * placeholder(number)).has(placeholder(number)):
            yield arg, float(factor)


def _follow(
    g: Graph, id: int, sign: float, reader: int, signs: dict[int, set[float]], adds: dict[int, set[int]]
) -> None:
    """Note each parameter that is a term of a value, with its sign and where it is read."""
    open_ = [(id, sign, reader)]
    while open_:
        id, sign, reader = open_.pop()
        node = g[id]
        if node.family == "leaf" and node.attrs.role == "param":
            signs.setdefault(id, set()).add(sign)
            adds.setdefault(id, set()).add(reader)
        elif node.family == "map":
            open_ += [(arg, sign * factor, id) for arg, factor in _terms(g, id, node.attrs.expr)]
        elif node.family == "view" and node.attrs.kind in MOVED:
            open_ += [(arg, sign, id) for arg in node.args]
        elif node.family == "gather" and node.attrs.kind == "gather":
            # A row of a table that an index reads is a bias of its token.
            open_.append((node.args[0], sign, id))
