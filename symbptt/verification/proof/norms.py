"""The norms that `monitor=True` adds, over the field as their squares: what each entry of a state after a step does to the rest of a run.

The other side is the user's function again, as everywhere in the proof: the steps behind are run once more with a copy of each sample
for every entry of the state, which that copy alone moves along. A state that other results of the same step read too has a cotangent
within that step, which no change from outside shows: it is left out here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.verification import oracle
from symbptt.verification.objective import Span, Truncation, cotangents_of_span, spans
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof.draws import with_constants
from symbptt.verification.proof.field import reduced, times
from symbptt.verification.proof.residues import elements, residues


def label(name: str) -> str:
    """Return the name of a block of norms."""
    return f"norm of d{name}"


def seen_outside(cell: Cell) -> list[str]:
    """Return the states that no other result of the same step reads."""
    step = cell.looped
    results = [*step.next.items(), *step.outputs.items()]
    return [
        name
        for name, id in step.next.items()
        if id not in step.graph.ancestors([other for k, other in results if k != name])
    ]


def squares(cell: Cell, point: Point, states: Arrays, sent: Arrays, truncation: Truncation) -> Arrays:
    """Return the squared norms of the cotangents of states after each step, (T,), over all samples, by label: of all losses
    that reach the step, as a truncation says."""
    base = with_constants(point, cell)
    parts = [(span, cotangents_of_span(cell, base, sent, span)) for span in spans(truncation, point.steps)]
    parts = [(span, {k: elements(v) for k, v in full.items()}) for span, full in parts]
    return {
        label(k): np.array([_square(cell, base, states, parts, k, t) for t in range(point.steps)])
        for k in seen_outside(cell)
    }


def _square(cell: Cell, point: Point, states: Arrays, parts: list[tuple[Span, Arrays]], name: str, t: int) -> float:
    """Return the square for one state after one step."""
    count = int(np.prod(np.shape(states[name])[2:]))
    adjoint = np.zeros((point.batch, count))
    for full in [full for span, full in parts if span.first <= t < span.hi]:
        if name in full:
            adjoint = reduced(adjoint + full[name][t].reshape(point.batch, count))
        if t + 1 < point.steps and count:
            adjoint = reduced(adjoint + _behind(cell, point, states, full, name, t + 1, count))
    adjoint = np.where(point.active[t][:, None], adjoint, 0.0)
    return float(reduced(np.sum(times(adjoint, adjoint))))


def _behind(cell: Cell, point: Point, states: Arrays, full: Arrays, name: str, t: int, count: int) -> Any:
    """Return what the steps from t on, with the cotangents there, send back to each entry of a state before them."""
    copies = np.repeat(np.arange(point.batch), count)
    begin = {k: v[t - 1][copies] for k, v in states.items()}
    unit = np.tile(np.eye(count), (point.batch, 1)).reshape(begin[name].shape)
    begin[name] = begin[name] + 1j * residues(unit)
    active = point.active[t:]
    part = replace(
        point,
        inputs={k: v[t:][:, copies] for k, v in point.inputs.items()},
        state=begin,
        initial={k: v[copies] for k, v in point.state.items()},
        steps=point.steps - t,
        batch=len(copies),
        lengths=active.sum(0)[copies],
        reset=None if point.reset is None else point.reset[t:][:, copies],
    )
    found, given = oracle.run(cell, part)
    total = np.zeros(len(copies))
    for k in [k for k in full if k in found | given]:
        moved = full[k][t:][:, copies]
        tangents = np.imag(elements((found | given)[k]))
        for step in reduced(times(moved, tangents)).reshape(part.steps, len(copies), -1):
            total = reduced(total + np.sum(step, -1))
    return total.reshape(point.batch, count)
