"""Gather the terms of a sum that depend on no state, so that they are computed before the loop, for all steps at once.

Example: U h + W x + b, where W x + b depends on no state, becomes (W x + b) + U h: the first sum is computed for all
steps at once, and one addition remains in each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sympy as sp

from symbptt.codegen.program.program import Program, rebuild
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rewrite import copy_node
from symbptt.ir.shape import broadcast

Terms = list[tuple[int, int]]
"""Pairs of a sign and a value."""


def hoist(p: Program) -> Program:
    """Return the program with each sum of the forward sweep split into terms that depend on states and a sum of the
    others."""
    splits = _splits(p)
    new: dict[int, int] = {}

    def rewrite(graph: Graph, node: Node, args: tuple[int, ...]) -> int:
        if node.id in splits:
            free, bound = ([(sign, new[id]) for sign, id in terms] for terms in splits[node.id])
            # The inner sum is a node of its own, which reads no state and so goes before the loop.
            new[node.id] = sum_of(graph, [(1, sum_of(graph, free)), *bound])
        else:
            new[node.id] = copy_node(graph, node, args)
        return new[node.id]

    return rebuild(p, rewrite)


def _splits(p: Program) -> dict[int, tuple[Terms, Terms]]:
    """Return the sums with several terms that depend on no state: these terms, and the others."""
    g = p.graph
    recurrent = g.descendants(p.leaves[a.name] for a in p.of_role("state"))
    forward = g.ancestors(p.forward_roots)
    sums = {id: signs for id in forward if id in recurrent for signs in [signs_of(g[id])] if signs is not None}
    inner = _inner(p, forward, sums)
    found = {}
    for id in sums.keys() - inner:
        terms = terms_of(g, sums, inner, id)
        # A sum in a loop costs a call for each term and step. Those terms that need no state cost one call for a
        # block of steps, whose overhead is then shared by all its steps.
        free = [(sign, leaf) for sign, leaf in terms if leaf not in recurrent]
        bound = [(sign, leaf) for sign, leaf in terms if leaf in recurrent]
        # The terms with states must have the shape of the sum by themselves.
        if len(free) > 1 and broadcast(*(g.shape(leaf) for _, leaf in bound)) == g.shape(id):
            found[id] = free, bound
    return found


def _inner(p: Program, forward: Iterable[int], sums: Mapping[int, tuple[int, ...]]) -> set[int]:
    """Return the sums that nothing but another sum of their shape reads."""
    g, consumers = p.graph, p.graph.consumers(forward)
    # A sum that is read elsewhere, or that the user named and wants to see, must be computed as it stands; to take it
    # apart would compute it twice.
    alone = {id: consumers[id][0] for id in sums if id not in p.kept and len(consumers[id]) == 1}
    return {id for id, reader in alone.items() if reader in sums and g.shape(reader) == g.shape(id)}


def terms_of(g: Graph, sums: Mapping[int, tuple[int, ...]], inner: set[int], id: int) -> Terms:
    """Return the terms of a sum, including those of the sums inside it."""
    return [
        (sign * below, leaf)
        for sign, arg in zip(sums[id], g[id].args, strict=True)
        for below, leaf in (terms_of(g, sums, inner, arg) if arg in inner else [(1, arg)])
    ]


def signs_of(node: Node) -> tuple[int, ...] | None:
    """Return the signs of the arguments where a value is their sum, else None."""
    if node.family != "map":
        return None
    # Coefficients other than 1 and -1 are not looked at: 2 a is an operation of its own, which would have to move
    # with its term.
    signs = {placeholder(i): 0 for i in range(len(node.args))}
    for term in sp.Add.make_args(node.attrs.expr):
        if term in signs:
            signs[term] += 1
        elif -term in signs:
            signs[-term] -= 1
        else:
            return None
    # An argument that the sum does not contain has the sign 0.
    return tuple(signs.values()) if all(abs(sign) == 1 for sign in signs.values()) and len(signs) > 1 else None


def sum_of(g: Graph, terms: Terms) -> int:
    """Return the sum of terms; those that cancel are not read, but count for its shape."""
    count = {id: sum(sign for sign, other in terms if other == id) for id in dict.fromkeys(id for _, id in terms)}
    ids = [id for id in count if count[id]]
    shape = broadcast(*map(g.shape, count))
    total = (
        build.map_(g, sp.Add(*(count[id] * placeholder(i) for i, id in enumerate(ids))), ids)
        if ids
        else build.number(g, 0)
    )
    return build.expand(g, total, shape)
