"""Mistakes that are made at one step alone, or at all but one: what another mistake is at all steps, at the last or the first one.

For example a loop whose last step stands before it, written once more by hand, and a slip in that copy alone, or in the loop alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from symbptt.verification.adjoints.sweep import EdgeFault, Plan
from symbptt.verification.adjoints.tape import Tape
from symbptt.verification.mistakes.mistake import Mistake, Reach
from symbptt.verification.mistakes.problem import Draft, Problem

ENDS = ("last", "first")


def at_one_step(mistakes: Iterable[Mistake]) -> Iterator[Mistake]:
    """Yield mistakes, each at the last step alone and at the first."""
    for mistake in mistakes:
        for end in ENDS:
            reach = mistake.reach
            # What goes wrong at the first step is handed to no step before.
            reach = Reach(reach.near, reach.near) if reach is not None and end == "first" else reach
            yield _restricted(mistake, end, f"at the {end} step alone", reach, is_alone=True)


def at_all_but_one(mistakes: Iterable[Mistake]) -> Iterator[Mistake]:
    """Yield mistakes, each at all steps but the last and at all but the first."""
    for mistake in mistakes:
        for end in ENDS:
            yield _restricted(mistake, end, f"at all steps but the {end}", mistake.reach, is_alone=False)


def _restricted(mistake: Mistake, end: str, where: str, reach: Reach | None, is_alone: bool) -> Mistake:
    apply = partial(_at_some, end, is_alone, mistake)
    return replace(mistake, words=lambda: f"{where}, {mistake.words()}", apply=apply, reach=reach)


def _at_some(end: str, is_alone: bool, mistake: Mistake, draft: Draft, problem: Problem) -> Draft | None:
    """Return a backward pass with a mistake at some steps; none where it is not one of single steps, or there is only one."""
    found, steps = mistake.apply(draft, problem), problem.point.steps
    if found is None or steps < 2:
        return None
    on = (np.arange(steps) == (steps - 1 if end == "last" else 0)) == is_alone
    cell = _plan(draft.cell, found.cell, problem.tape, on)
    loss = draft.loss if found.loss is draft.loss else _plan(draft.loss, found.loss, problem.loss_tape, on)
    if cell is None or loss is None or found.posts is not draft.posts:
        return None
    own = problem.cotangents(draft)
    sent = {k: v if k in draft.cotangents else _at(on, v, own[k]) for k, v in found.cotangents.items()}
    return replace(draft, cell=cell, loss=loss, cotangents=sent)


def _plan(before: Plan, after: Plan, tape: Tape | None, on: Any) -> Plan | None:
    """Return a plan with what is new in it at some steps alone; none where that has no step."""
    new = [number for number in after.edges if number not in before.edges]
    # What a mistake leaves alone it hands on as it is; arrays are not compared.
    others = [field.name for field in fields(Plan) if field.name not in ("edges", "carry")]
    is_same = all(getattr(after, name) is getattr(before, name) for name in others)
    if tape is None or tape.steps != len(on) or not is_same:
        return None
    by_number = {edge.number: edge for edge in tape.edges}
    if any(by_number[number].value not in tape.varying for number in new):
        return None
    edges: Mapping[int, EdgeFault] = {k: replace(f, steps=on) if k in new else f for k, f in after.edges.items()}
    carry = {k: v if k in before.carry else np.where(on, v, 1.0) for k, v in after.carry.items()}
    return replace(before, edges=edges, carry=carry)


def _at(on: Any, new: Any, old: Any) -> Any:
    return np.where(on.reshape(-1, *(1,) * (np.ndim(old) - 1)), new, old)
