"""Gather the terms of sums in the body of a loop inside a step that are the same in all rounds: they are added once, before it.

Example: of U z + W x + b, with z carried from round to round, W x + b is one value outside of the loop, and a round adds that to U z.
"""

from __future__ import annotations

from dataclasses import replace

from symbptt.codegen.passes.hoist import signs_of, sum_of, terms_of
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.rewrite import copy_node, rewritten
from symbptt.ir.rounds import as_loops, changing, has_rounds, with_closed_bodies
from symbptt.ir.shape import broadcast
from symbptt.ir.step import Step


def in_loops(step: Step) -> Step:
    """Return a step for which a kernel is compiled: its repetitions are loops, each with a body of its own.

    Raises: CellError where a repetition must be written out and has no number of rounds.
    """
    return with_closed_bodies(with_still_sums(as_loops(step))) if has_rounds(step.graph) else step


def with_still_sums(step: Step) -> Step:
    """Return a step with the sums in the bodies of its repetitions regrouped."""
    old = step.graph
    roots = [*step.leaves.values(), *step.next.values(), *step.outputs.values()]
    ids = old.ancestors(roots)
    depends, consumers = changing(old, ids), old.consumers(ids)
    sums = {id: signs for id in ids if depends[id] for signs in [signs_of(old[id])] if signs is not None}
    alone = {id: consumers[id][0] for id in sums if id not in old.names and len(consumers[id]) == 1}
    inner = {id for id, reader in alone.items() if reader in sums and old.shape(reader) == old.shape(id)}
    new: dict[int, int] = {}

    def rewrite(g: Graph, node: Node, args: tuple[int, ...]) -> int:
        new[node.id] = copy_node(g, node, args)
        if node.id in sums and node.id not in inner:
            terms = terms_of(old, sums, inner, node.id)
            still = [(sign, new[id]) for sign, id in terms if not depends[id]]
            moving = [(sign, new[id]) for sign, id in terms if depends[id]]
            # The terms that change must have the shape of the sum by themselves.
            if len(still) > 1 and broadcast(*(g.shape(id) for _, id in moving)) == node.shape:
                new[node.id] = sum_of(g, [*moving, (1, sum_of(g, still))])
        return new[node.id]

    g, found = rewritten(old, roots, rewrite)
    leaves, following, outputs = (
        {name: found[id] for name, id in named.items()} for named in (step.leaves, step.next, step.outputs)
    )
    return replace(step, graph=g, leaves=leaves, next=following, outputs=outputs)
