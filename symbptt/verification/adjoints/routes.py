"""What each path of one step hands to a state of the step before, at all steps at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.verification.adjoints.sweep import contribution
from symbptt.verification.adjoints.tape import Tape

MOST = 200
"""Paths at the most that are followed one by one; beyond, paths are told by the results and the value that reads the state."""


@dataclass(frozen=True)
class Routed:
    """A path: the result that it begins at, the values on it, the state that it leads to, and what it hands on, (T, B, ...)."""

    result: str
    ids: tuple[int, ...]
    state: str
    given: Any


def routed(tape: Tape, bars: Mapping[str, Any], named: Collection[int]) -> list[Routed]:
    """Return the paths from the results of a step to its states, by the values `named`.

    Shapes: bars of results by name, (T, B, ...).
    """
    step = tape.recursion.step
    states = {step.leaves[a.name]: a.name for a in step.of_role("state")}
    useful = _leading(tape, set(states))
    found: list[Routed] = []
    for result, id in [*step.next.items(), *step.outputs.items()]:
        if result not in bars:
            continue
        open_: list[tuple[tuple[int, ...], Any]] = [((id,), bars[result])]
        while open_ and len(found) + len(open_) <= MOST:
            ids, bar = open_.pop()
            if ids[-1] in states:
                shape = (tape.steps, tape.batch, *bar.shape[2:])
                found.append(Routed(result, ids, states[ids[-1]], np.broadcast_to(bar, shape)))
                continue
            open_ += [
                ((*ids, stop), given) for stop, given in _near(tape, ids[-1], bar, named).items() if stop in useful
            ]
        if open_:
            # Too many: what is left is told by where it stands.
            found += _rest(tape, result, open_, states)
    return found


def _leading(tape: Tape, states: set[int]) -> set[int]:
    """Return the values from which a state is reached, and the states."""
    found = set(states)
    for edge in reversed(tape.edges):
        if edge.target in found:
            found.add(edge.value)
    return found


def _near(tape: Tape, id: int, bar: Any, named: Collection[int]) -> dict[int, Any]:
    """Return what a value gives to the named values next to it, through values without a name."""
    pending = {id: bar}
    for value, edges in tape.from_value.items():
        if value not in pending or (value != id and value in named) or value not in tape.varying:
            continue
        known = {edges[0].bar: pending.pop(value)}
        for edge in edges:
            given = contribution(tape, edge, known, slice(0, tape.steps))
            pending[edge.target] = given if edge.target not in pending else pending[edge.target] + given
    return pending


def _rest(tape: Tape, result: str, open_: list[tuple[tuple[int, ...], Any]], states: Mapping[int, str]) -> list[Routed]:
    """Return what is left of paths, followed together from where they stand to each state."""
    found = []
    for ids, bar in open_:
        if ids[-1] in states:
            found.append(Routed(result, ids, states[ids[-1]], bar))
            continue
        for leaf, given in _near(tape, ids[-1], bar, ()).items():
            if leaf in states:
                found.append(Routed(result, (*ids, leaf), states[leaf], given))
    return [
        Routed(r.result, r.ids, r.state, np.broadcast_to(r.given, (tape.steps, tape.batch, *r.given.shape[2:])))
        for r in found
    ]
