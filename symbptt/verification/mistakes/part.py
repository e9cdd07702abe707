"""One of the two graphs of a derivation in which mistakes are made: that of a cell or of its loss, and what its values reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from symbptt.autodiff.bptt import Recursion
from symbptt.verification.adjoints.sweep import EdgeFault, Group
from symbptt.verification.adjoints.tape import Edge, Tape
from symbptt.verification.mistakes.mistake import Mistake, Reach
from symbptt.verification.mistakes.problem import CELL, Draft, Problem
from symbptt.verification.mistakes.words import Words


@dataclass(frozen=True)
class Part:
    """One of the two graphs of a derivation: that of the cell or of its loss, with its words, and its tape at a point."""

    name: str
    words: Words
    tape: Tape
    reaches: Mapping[int, Reach] = field(default_factory=dict)

    @property
    def recursion(self) -> Recursion:
        return self.words.recursion


def reaches_of(cell: Tape) -> dict[int, Reach]:
    """Return what a mistake in the cotangent of each value of a cell may change."""
    step = cell.recursion.step
    roles = {step.leaves[a.name]: a for a in step.arguments}
    groups = {"param": "params", "input": "inputs", "state": "state"}
    near: dict[int, frozenset[Group]] = {
        id: frozenset({(groups[a.role], a.name)} if a.role in groups else ()) for id, a in roles.items()
    }
    # Edges come from the last value to the first, so that in the other order all that a value reaches is known before it.
    for edge in reversed(cell.edges):
        near[edge.value] = near.get(edge.value, frozenset()) | near.get(edge.target, frozenset())
    results = {name: near.get(id, frozenset()) for name, id in step.next.items()}
    through = dict(results)
    for _ in results:
        through = {name: _through(of, through) for name, of in through.items()}
    return {id: Reach(of, _through(of, through)) for id, of in near.items()}


def _through(near: frozenset[Group], through: Mapping[str, frozenset[Group]]) -> frozenset[Group]:
    """Return what is reached where states that are reached go on to the steps before."""
    return near.union(*(through[name] for group, name in near if group == "state" and name in through))


def reaches_of_loss(loss: Tape, cell: Tape, of_cell: Mapping[int, Reach]) -> dict[int, Reach]:
    """Return what a mistake in the cotangent of each value of a loss may change."""
    step, results = loss.recursion.step, cell.recursion.step.next | cell.recursion.step.outputs
    nothing = Reach(frozenset(), frozenset())
    found: dict[int, Reach] = {}
    for a in step.arguments:
        own = frozenset[Group]({("params", a.name)} if a.role == "param" else ())
        behind = of_cell.get(results[a.name], nothing) if a.name in results else nothing
        found[step.leaves[a.name]] = Reach(own | behind.near, own | behind.far)
    for edge in reversed(loss.edges):
        one, other = found.get(edge.value, nothing), found.get(edge.target, nothing)
        found[edge.value] = Reach(one.near | other.near, one.far | other.far)
    return found


def faulty(part_name: str, edge: Edge, fault: EdgeFault, draft: Draft, _: Problem) -> Draft | None:
    """Return a backward pass with a mistake on an edge, which has none so far."""
    plan = draft.cell if part_name == CELL else draft.loss
    if edge.number in plan.edges:
        return None
    plan = replace(plan, edges={**plan.edges, edge.number: fault})
    return replace(draft, cell=plan) if part_name == CELL else replace(draft, loss=plan)


def made(part: Part, edge: Edge, kind: str, words: Any, fault: EdgeFault, rank: int = 0) -> Mistake:
    """Return a mistake on an edge."""
    # A line of the user's makes the value that the contribution comes from.
    return Mistake(
        kind,
        words,
        partial(faulty, part.name, edge, fault),
        part.words.place(edge.value),
        rank,
        part.reaches.get(edge.target),
    )


def said(part: Part, edge: Edge, text: str) -> str:
    """Return a text with the names of what an edge leads to and of the term that it gives."""
    return text.format(bar=part.words.bar(edge.target), term=part.words.term(edge))


def depending(edge: Edge) -> set[int]:
    """Return the nodes of an edge that depend on the cotangent it begins with."""
    found = {edge.bar}
    for node in edge.nodes:
        if any(arg in found for arg in node.args):
            found.add(node.id)
    return found
