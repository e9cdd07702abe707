"""A loss with the weight one: what its equations are written for."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import sympy as sp

from symbptt.autodiff.bptt import Recursion
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rewrite import copy_node, rewritten
from symbptt.ir.scalar import as_python, as_sympy
from symbptt.ir.shape import broadcast


def unit_weight(r: Recursion) -> Recursion:
    """Return the recursion of a loss whose adjoint is 1, with that number folded into its formulas."""
    leaf = r.cotangent["loss"]
    forward = set(r.graph.ancestors(r.forward_roots))

    def rewrite(g: Graph, node: Node, args: tuple[int, ...]) -> int:
        if node.id == leaf:
            return build.number(g, 1)
        return _folded(g, node, args) if node.family == "map" and node.id not in forward else copy_node(g, node, args)

    g, new = rewritten(r.graph, range(len(r.graph)), rewrite)
    step = replace(
        r.step,
        graph=g,
        leaves={k: new[v] for k, v in r.step.leaves.items()},
        outputs={k: new[v] for k, v in r.step.outputs.items()},
    )
    groups: dict[str, Any] = {
        f.name: {key: new[id] for key, id in getattr(r, f.name).items()}
        for f in fields(r)
        if f.name in ("carry", "recurrent", "inputs", "params")
    }
    adjoint = {new[v]: new[bar] for v, bar in r.adjoint.items() if g[new[bar]].family != "number"}
    return replace(
        r, step=step, cotangent={}, adjoint=adjoint, kept=frozenset(new[id] for id in r.kept), given=(), **groups
    )


def _folded(g: Graph, node: Node, args: tuple[int, ...]) -> int:
    """Return a map with the numbers among its arguments written into its body."""
    numbers = {i: value for i, arg in enumerate(args) if (value := _number(g, arg)) is not None}
    rest = [arg for i, arg in enumerate(args) if i not in numbers]
    expr = node.attrs.expr.xreplace({placeholder(i): sp.nsimplify(as_sympy(value)) for i, value in numbers.items()})
    if not rest and expr.is_number:
        return build.expand(g, build.number(g, as_python(expr)), node.shape)
    # A repeated number may be the only argument with the full shape: without it the map would shrink.
    if not numbers or broadcast(*map(g.shape, rest)) != node.shape:
        return copy_node(g, node, args)
    order = [i for i in range(len(args)) if i not in numbers]
    return build.map_(g, expr.xreplace({placeholder(i): placeholder(at) for at, i in enumerate(order)}), rest)


def _number(g: Graph, id: int) -> int | float | None:
    """Return the number that a value is, or that it repeats."""
    node = g[id]
    while node.family == "view" and node.attrs.kind in ("expand", "reshape"):
        node = g[node.args[0]]
    return node.attrs.value if node.family == "number" and not node.shape else None
