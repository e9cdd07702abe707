"""Gathers the terms of a sum that need no state, to be computed before the loop, for all steps at once."""

from __future__ import annotations

import sympy as sp

from symbptt.codegen.program import Program, rebuild
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rewrite import copy_node
from symbptt.ir.shape import broadcast


def hoist(p: Program) -> Program:
    """Return the program with each sum of the forward sweep split into what depends on states and what does not."""
    g = p.graph
    forward = set(g.ancestors(p.forward_roots))
    recurrent = _depends_on_states(p)
    consumers = g.consumers(forward)

    def is_sum(id: int) -> bool:
        return g[id].family == "map" and id in recurrent and id in forward and _signs(g[id]) is not None

    def is_inner(id: int) -> bool:
        reader = consumers[id]
        return (
            is_sum(id)
            and id not in p.kept
            and len(reader) == 1
            and is_sum(reader[0])
            and g.shape(reader[0]) == g.shape(id)
        )

    def terms(id: int) -> list[tuple[int, int]]:
        signs = _signs(g[id]) or ()
        return [
            (sign * inner, leaf)
            for sign, arg in zip(signs, g[id].args, strict=True)
            for inner, leaf in (terms(arg) if is_inner(arg) else [(1, arg)])
        ]

    new: dict[int, int] = {}

    def rewrite(graph: Graph, node: Node, args: tuple[int, ...]) -> int:
        free = (
            [pair for pair in terms(node.id) if pair[1] not in recurrent]
            if is_sum(node.id) and not is_inner(node.id)
            else []
        )
        bound = [pair for pair in terms(node.id) if pair[1] in recurrent] if free else []
        if len(free) > 1 and broadcast(*(g.shape(id) for _, id in bound)) == node.shape:
            hoisted = _sum(graph, [(sign, new[id]) for sign, id in free])
            result = _sum(graph, [(1, hoisted), *((sign, new[id]) for sign, id in bound)])
        else:
            result = copy_node(graph, node, args)
        new[node.id] = result
        return result

    return rebuild(p, rewrite)


def _depends_on_states(p: Program) -> set[int]:
    found = {p.leaves[a.name] for a in p.of_role("state")}
    for node in p.graph:
        if any(arg in found for arg in node.args):
            found.add(node.id)
    return found


def _signs(node: Node) -> tuple[int, ...] | None:
    """The signs of the arguments where a map is their sum, else None."""
    signs = {placeholder(i): 0 for i in range(len(node.args))}
    for term in sp.Add.make_args(node.attrs.expr):
        if term in signs:
            signs[term] += 1
        elif -term in signs:
            signs[-term] -= 1
        else:
            return None
    return tuple(signs.values()) if all(abs(sign) == 1 for sign in signs.values()) and len(signs) > 1 else None


def _sum(g: Graph, terms: list[tuple[int, int]]) -> int:
    if len(terms) == 1 and terms[0][0] == 1:
        return terms[0][1]
    ids = list(dict.fromkeys(id for _, id in terms))
    return build.map_(g, sp.Add(*(sign * placeholder(ids.index(id)) for sign, id in terms)), ids)
