"""Backpropagation through time as a recursion: one joint reverse sweep over one step.

Example: h_next = tanh(W h + x). With dh for the total cotangent of h_next, the sweep visits values from last to first:

    h_next: dh is the leaf `carry["h"]`
    a:      da = (1 - h_next²) ⊙ dh
    x:      dx = da                 (`inputs`)
    h:      Wᵀ da                   (`recurrent`, added to the carry of the step before)
    W:      total(da hᵀ)            (`params`: shared by all steps, so that its cotangent is a sum over steps)
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from symbptt.autodiff.conjugate import as_complex
from symbptt.autodiff.guard import FREE, Flow, Guards, merged
from symbptt.autodiff.rounds import Loops, to_rounds
from symbptt.autodiff.settled import Points, to_points
from symbptt.autodiff.subexpressions import values
from symbptt.autodiff.vjp import Context, contributions, passed_on, total
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Over
from symbptt.ir.range import Hazards
from symbptt.ir.rounds import changing, leaves_of
from symbptt.ir.step import Step

PER_STEP = ("input", "index", "state", "output", "target", "adjoint", "carried", "solved")
"""Roles of the leaves that differ between steps."""
PER_SAMPLE = (*PER_STEP, "context")
"""Roles of the leaves that differ between samples or steps: a context is given once a sequence."""
NEVER: frozenset[int] = frozenset()
"""The leaves of bodies on which what stands outside of all loops depends."""


@dataclass(frozen=True)
class Recursion:
    """A step with its adjoint, in one graph.

    `carry[s]` is the leaf of the incoming cotangent of the next state s, from the loss and from later steps;
    `cotangent[y]` that of an output; `adjoint[v]` the total cotangent of a value v; `recurrent[s]` the outgoing cotangent
    of the state before the step; `inputs` and `params` the gradients by name (of parameters and contexts: summed over time).
    A name is absent where its cotangent is zero. `guarded`: some branch that is not taken, or some derivative that meets
    a zero cotangent, may be infinite or NaN. `given`: the contributions from the last value to the first, as triples
    (value, argument, contribution to the cotangent of the argument). `flows`: what is known of the outgoing cotangents of states.
    """

    step: Step
    carry: dict[str, int]
    cotangent: dict[str, int]
    adjoint: dict[int, int]
    recurrent: dict[str, int]
    inputs: dict[str, int]
    params: dict[str, int]
    kept: frozenset[int]
    guarded: bool = False
    given: tuple[tuple[int, int, int], ...] = ()
    flows: Mapping[str, Flow] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return self.step.graph

    @property
    def forward_roots(self) -> list[int]:
        return [*self.step.next.values(), *self.step.outputs.values()]

    @property
    def backward_roots(self) -> list[int]:
        return [*self.recurrent.values(), *self.inputs.values(), *self.params.values()]

    @cached_property
    def forward_ids(self) -> frozenset[int]:
        """All that next states and outputs are computed from, and they."""
        return frozenset(self.graph.ancestors(self.forward_roots))

    @cached_property
    def backward_ids(self) -> frozenset[int]:
        """All that the gradients are computed from, and they."""
        return frozenset(self.graph.ancestors(self.backward_roots))


def per_sample(g: Graph, ids: Iterable[int]) -> set[int]:
    """Return which of the nodes (given with all that they are computed from) differ between samples or steps."""
    return _differing(g, ids, PER_SAMPLE, ("all", "samples"))


def per_step(g: Graph, ids: Iterable[int]) -> set[int]:
    """Return which of the nodes (given with all that they are computed from) differ between steps."""
    return _differing(g, ids, PER_STEP, ("all", "samples", "steps"))


def _differing(g: Graph, ids: Iterable[int], roles: tuple[str, ...], ending: tuple[str, ...]) -> set[int]:
    """Return which nodes differ as leaves of some roles do; sums over `ending` do not."""
    ids = sorted(ids)
    # On a page what goes through the rounds of a loop inside a step is said to be of a step, also where it is the same in all.
    repeats = [g[id] for id in ids if g[id].family == "repeat"]
    rounded = {
        id for node in repeats for part in node.attrs.parts(node.args)[::3] for id in part if g[id].family != "leaf"
    }
    found: set[int] = set()
    for id in ids:
        node = g[id]
        if node.family == "leaf":
            varies = node.attrs.role in roles
        else:
            # A total over steps and samples no longer depends on either; a fixed point does not depend on where its rounds begin.
            read = node.args[node.attrs.carried :] if node.family == "point" else node.args
            varies = any(arg in found for arg in read) if node.family != "total" else node.attrs.over not in ending
        if varies or id in rounded:
            found.add(id)
    return found


def derive(step: Step, incoming: Flow = FREE, hazards: Mapping[str, Hazards] | None = None) -> Recursion:
    """Return the step's recursion backward in time; `incoming` is what is known of the cotangents of next states, `hazards` why
    arguments may be infinite or no number, by name."""
    g = step.graph.copy()
    # Nodes of the backward pass come from no line of the user's.
    g.locate = lambda: ""
    step = replace(step, graph=g)
    roots = [*step.next.values(), *step.outputs.values()]
    forward = g.ancestors(roots)
    trained = [step.leaves[a.name] for a in step.of_role("state", "output", "input", "param", "context")]
    # What goes round in a loop inside the step has an adjoint on pages, whatever it starts with.
    trained += [node.id for role in ("carried", "solved", "solved once") for node in g.leaves(role)]
    guards = Guards(g)
    guards.ranges.suppose({step.leaves[name]: found for name, found in (hazards or {}).items()})
    context = Context(g, values(g, roots), reached(g, forward, trained), guards)
    carry, cotangent = (
        {name: build.leaf(g, "adjoint", name, g.shape(id), g.is_complex(id)) for name, id in found.items()}
        for found in (step.next, step.outputs)
    )
    # Two states, or a state and an output, may be one node: seeds are pairs, not a dictionary, so that both carries are added.
    seeds = [(step.next[name], leaf) for name, leaf in carry.items()]
    seeds += [(step.outputs[name], leaf) for name, leaf in cotangent.items()]
    given: list[tuple[int, int, int]] = []
    adjoint = sweep(context, forward, per_sample(g, forward), per_step(g, forward), seeds, given, incoming)
    guarded = bool(context.guarded) or context.guards.has_open_branch(forward)
    leaves = step.leaves
    of = {
        a.name: as_complex(g, adjoint[leaves[a.name]], leaves[a.name])
        for a in step.arguments
        if leaves[a.name] in adjoint
    }
    recurrent, inputs, params = (
        {a.name: of[a.name] for a in step.of_role(*roles) if a.name in of}
        for roles in (("state",), ("input", "output"), ("param", "context"))
    )
    flows = {a.name: context.flows[step.leaves[a.name]] for a in step.of_role("state") if a.name in of}
    return Recursion(
        step,
        carry,
        cotangent,
        adjoint,
        recurrent,
        inputs,
        params,
        frozenset(context.kept),
        guarded,
        tuple(given),
        flows,
    )


def reached(g: Graph, forward: Iterable[int], leaves: Iterable[int]) -> set[int]:
    """Return the values that depend on some leaves, not through functions without derivative alone, and the leaves."""
    wanted = {*leaves}
    for id in forward:
        node = g[id]
        # Functions with slope zero everywhere (comparisons, floor, stop_gradient) end the flow; no adjoint is made above them.
        stops = node.family == "map" and getattr(node.attrs.expr.func, "flat", False)
        if not stops and any(arg in wanted for arg in node.args):
            wanted.add(id)
    return wanted


def _rounds_around(g: Graph, forward: list[int]) -> tuple[dict[int, frozenset[int]], dict[int, Any]]:
    """Return the loops inside the step with which each value changes, told by the leaf of their rounds, and how many rounds they have."""
    repeats = [g[id] for id in forward if g[id].family == "repeat"]
    loop = {leaf: node.attrs.parts(node.args)[2] for node in repeats for leaf in leaves_of(node)}
    count_of = {loop[leaf]: node.attrs.count for node in repeats for leaf in leaves_of(node)}
    found_in = changing(g, forward).items() if repeats else ()
    # A gradient inside of a body may read what changes with the rounds around it: of these loops this graph has no repetition.
    depends = {id: frozenset(loop[leaf] for leaf in leaves if leaf in loop) for id, leaves in found_in}
    for node in repeats:
        _, _, number, following = node.attrs.parts(node.args)
        depends |= {id: depends[id] | {number} for id in following}  # also what is the same in all rounds
    return depends, count_of


def summed(timed: Container[int], varying: Container[int], id: int, arg: int) -> str:
    """Return over what the cotangent of an argument is a sum where a value reads it, "" where over nothing: what is one value for many
    steps or samples is read at each. `timed` are the values that differ between steps, `varying` those that do between either."""
    if id in timed:
        return "" if arg in timed else "steps" if arg in varying else "all"
    return "samples" if id in varying and arg not in varying else ""


def sweep(context: Context, forward: list[int], varying: set[int], timed: set[int], seeds: list[tuple[int, int]],
           record: list[tuple[int, int, int]], incoming: Flow = FREE) -> dict[int, int]:  # fmt: skip
    """Visit values from last to first; contributions are summed in the order in which the values are read, and recorded.
    `incoming` is what is known of the seeds."""
    g = context.graph
    loops, points = Loops(context, forward, derive), Points(context, derive)
    started: set[tuple[int, ...]] = set()
    depends, count_of = _rounds_around(g, forward)
    pending: dict[int, list[int]] = {}
    for target, leaf in seeds:
        # A result that is the same at all steps receives one cotangent a step: its total cotangent is their sum.
        over = summed({leaf}, varying, leaf, target) if target not in timed else ""
        pending.setdefault(target, []).append(build.total(g, leaf, over) if over else leaf)
    adjoint: dict[int, int] = {}
    late: dict[int, list[int]] = {}
    flows: dict[int, list[Flow]] = {target: [incoming] for target in pending}
    # Ids ascend from arguments to values, so that in descending order all readers of a value come before it.
    for id in reversed(forward):
        if id not in context.kept or id not in context.wanted:
            continue
        parts = pending.get(id, []) + late.get(id, [])[::-1]
        if parts:
            adjoint[id] = total(g, parts)
            context.flows[id] = merged(flows[id])
        if g[id].family == "rounds":
            found = loops.contributions(g[id], adjoint.get(id))
        elif g[id].family == "settled":
            found = points.contributions(g[id], adjoint.get(id))
        elif g[id].family == "repeat":
            found = to_rounds(g, g[id], started)
        elif g[id].family == "point":
            found = to_points(g, g[id], started, id in varying)
        elif not parts or g[id].family == "leaf":
            continue
        else:
            found = contributions(context, g[id], adjoint[id])
        # Reversed here and reversed again at [::-1] above: the sum has its terms in the order in which the forward pass reads.
        for arg, given in reversed(found):
            if depends.get(id, NEVER) - depends.get(arg, NEVER) and g[id].family != "repeat":
                given = g.add("over", (given,), g.shape(given), Over(count_of[min(depends[id])]))
            record.append((id, arg, given))
            # A parameter is one value read at every step: its cotangent sums over steps, where conditions of one step mean nothing.
            over = summed(timed, varying, id, arg)
            late.setdefault(arg, []).append(build.total(g, given, over) if over else given)
            flow = passed_on(context, g[id], arg)
            flows.setdefault(arg, []).append(flow.elsewhere() if over else flow)
    return adjoint
