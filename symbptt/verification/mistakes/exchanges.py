"""Two values, or two cotangents, that are taken for each other throughout a step: gates that were unpacked in the wrong order.

For example `f, i = gates` where the forward pass has packed i before f: every term that reads one gate reads the other. No mistake on
one edge is that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import combinations

from symbptt.autodiff.bptt import per_sample
from symbptt.verification.adjoints.sweep import EdgeFault, Group
from symbptt.verification.adjoints.tape import Edge
from symbptt.verification.mistakes.mistake import Mistake, Reach
from symbptt.verification.mistakes.part import Part, faulty
from symbptt.verification.mistakes.problem import CELL, Draft, Problem
from symbptt.verification.mistakes.reads import again, made_of

Read = tuple[Edge, int, int, frozenset[int]]
"""An edge, a value that it reads, a named value that this is or is made of, and the values without a name between them."""


def exchanged_values(part: Part) -> Iterator[Mistake]:
    """Yield two values of one shape that every term reads in each other's place."""
    g, varying = part.recursion.graph, per_sample(part.recursion.graph, part.recursion.forward_ids)
    by_value: dict[int, list[Read]] = {}
    for edge in part.tape.edges:
        own = {node.id for node in edge.nodes} | {edge.bar}
        read = dict.fromkeys(arg for node in edge.nodes for arg in node.args if arg not in own and arg in varying)
        for id, inner, inside in made_of(part, read, varying):
            by_value.setdefault(inner, []).append((edge, id, inner, inside))
    known = sorted(id for id in by_value if id in part.words.page.labels or id in part.recursion.step.leaves.values())
    for one, other in combinations(known, 2):
        is_index = "index" in (getattr(g[id].attrs, "role", "") for id in (one, other))
        if g.shape(one) == g.shape(other) and not is_index:
            reads = tuple(by_value[one] + by_value[other])
            words = partial(_said, part.words.value(one), part.words.value(other))
            apply = partial(_read_for_each_other, part.name, reads, one, other)
            yield Mistake("misread", words, apply, "", 5, _reach(part, (read[0] for read in reads)))


def exchanged_cotangents(part: Part) -> Iterator[Mistake]:
    """Yield two values of one shape of which each hands on the cotangent of the other."""
    g, tape, adjoint = part.recursion.graph, part.tape, part.recursion.adjoint
    values = [id for id in tape.from_value if id in tape.varying]
    leaves, order = set(part.recursion.step.leaves.values()), {id: i for i, id in enumerate(values)}
    # Terms of a sum have one cotangent: the first of them stands for all.
    alike: dict[int, list[int]] = {}
    for id in values:
        alike.setdefault(adjoint.get(id, id), []).append(id)
    for ones, others in combinations(alike.values(), 2):
        takes = {
            edge: taken[0]
            for own, taken in ((ones, others), (others, ones))
            for id in own
            for edge in tape.from_value[id]
            if edge.target not in own
        }
        # What is not a leaf is needed before the cotangents of values that come after.
        is_there = all(e.target in leaves or order.get(e.target, -1) > order[v] for e, v in takes.items())
        if g.shape(ones[0]) == g.shape(others[0]) and is_there:
            words = partial(_said, part.words.bar(ones[0]), part.words.bar(others[0]))
            apply = partial(_faulty, part.name, {edge: EdgeFault(takes=value) for edge, value in takes.items()})
            yield Mistake("misread", words, apply, "", 5, _reach(part, takes))


def _reach(part: Part, edges: Iterable[Edge]) -> Reach | None:
    found = [part.reaches.get(edge.target) for edge in edges]
    known = [reach for reach in found if reach is not None]
    if len(known) < len(found):
        return None
    near, far = (frozenset[Group]().union(*sets) for sets in ([r.near for r in known], [r.far for r in known]))
    return Reach(near, far)


def _said(one: str, other: str) -> str:
    return f"{one} and {other} are exchanged"


def _read_for_each_other(
    name: str, reads: tuple[Read, ...], one: int, other: int, draft: Draft, problem: Problem
) -> Draft | None:
    tape = problem.tape if name == CELL else problem.loss_tape
    assert tape is not None
    turned = {one: tape.primal[other], other: tape.primal[one]}
    found: dict[Edge, dict[int, object]] = {}
    for edge, id, _, inside in reads:
        found.setdefault(edge, {})[id] = again(tape, id, turned, inside)
    return _faulty(name, {edge: EdgeFault(reads=values) for edge, values in found.items()}, draft, problem)


def _faulty(name: str, faults: Mapping[Edge, EdgeFault], draft: Draft, problem: Problem) -> Draft | None:
    found: Draft | None = draft
    for edge, fault in faults.items():
        found = None if found is None else faulty(name, edge, fault, found, problem)
    return found
