"""The norms that `monitor=True` adds, over the field as their squares: what each entry of a state after a step does to the rest of a run.

The other side is the user's function again, as everywhere in the proof. What a step hands back to each entry of a state is guessed by the
loops as derived, and the guess g is held against the user's function along one random direction of every state after every step:
<g_t, v> is what one step behind makes of v, by dual numbers, times the cotangents there. The sum of all differences is one number, which
vanishes for a wrong guess with a probability of 1 / P. Where it does not vanish, the steps behind are run with a copy of each sample
for every entry of the state, which that copy alone moves along. A state that other results of the same step read too has a cotangent
within that step, which no change from outside shows: it is left out here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.language.pairs import PairedCell
from symbptt.verification import oracle
from symbptt.verification.objective import Truncation, cotangents_of_span, spans
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof.draws import drawn, with_constants
from symbptt.verification.proof.field import reduced, times
from symbptt.verification.proof.loops import Lowered, arithmetic, as_derived, run_loops
from symbptt.verification.proof.residues import elements, residues


def label(name: str) -> str:
    """Return the name of a block of norms."""
    return f"norm of d{name}"


def seen_outside(cell: Cell) -> list[str]:
    """Return the states that no other result of the same step reads."""
    # Of pairs the state is put together of its parts, which others read in its place.
    step = cell.whole.looped if isinstance(cell, PairedCell) else cell.looped
    results = [*step.next.items(), *step.outputs.items()]
    return [
        name
        for name, id in step.next.items()
        if id not in step.graph.ancestors([other for k, other in results if k != name])
    ]


def squares(
    cell: Cell,
    point: Point,
    values: Arrays,
    sent: Arrays,
    truncation: Truncation,
    random: np.random.Generator,
) -> Arrays:
    """Return the squared norms of the cotangents of states after each step, (T,), over all samples, by label: of all losses
    that reach the step, as a truncation says; `values` are the states and outputs of the user's function, by name."""
    base, seen = with_constants(point, cell), seen_outside(cell)
    if not seen:
        return {}
    states = {k: values[k] for k in cell.looped.next}
    moved = _moved(cell, base, states, random)
    none = {k: np.zeros(np.shape(v)) for k, v in values.items()}  # cotangents that are not given are zero
    found = spans(truncation, point.steps)
    sums = [
        none | {k: elements(v) for k, v in cotangents_of_span(cell, values, base, sent, span).items()} for span in found
    ]
    total = {k: np.zeros(np.shape(states[k])) for k in seen}
    for span, full, guess in zip(found, sums, _guessed(as_derived(cell), cell, base, moved, sums), strict=True):
        handed = guess if _is_right(guess, moved, full) else _by_copies(cell, base, states, full, seen)
        reached = slice(span.first, span.hi)
        for k in seen:
            total[k][reached] = reduced(total[k][reached] + handed[k][reached] + full[k][reached])
    return {label(k): _squared(total[k], point.active) for k in seen}


def _squared(adjoints: Any, active: Any) -> Any:
    """Return the sums of squares of adjoints, (T, B, ...), over the samples that have not ended, (T,)."""
    rows = adjoints.reshape(*active.shape, -1)
    found = [np.sum(times(row, row)[there]) if there.any() else 0.0 for row, there in zip(rows, active, strict=True)]
    return reduced(np.array(found, float))


@dataclass(frozen=True)
class _Moved:
    """States after steps t of samples b that have another step behind them, (N, ...), a direction of each, and what that step makes
    of it."""

    point: Point
    places: list[tuple[int, int]]
    states: Arrays
    directions: Arrays
    tangents: Arrays

    @property
    def at(self) -> tuple[Any, Any]:
        """The indices of the places."""
        found = np.array(self.places, int).reshape(-1, 2)
        return found[:, 0], found[:, 1]


def _moved(cell: Cell, point: Point, states: Arrays, random: np.random.Generator) -> _Moved:
    """Return every state that has a step behind it, moved along a random direction through that step alone."""
    active = point.active
    places = [(t, b) for t in range(point.steps - 1) for b in range(point.batch) if active[t + 1, b]]
    found = _Moved(point, places, {}, {}, {})
    t, b = found.at
    before = {k: residues(elements(v)[t, b]) for k, v in states.items()}
    directions = {k: drawn(v.shape, random) for k, v in before.items()}
    part = replace(
        point,
        inputs={k: v[t + 1, b][None] for k, v in point.inputs.items()},
        state={k: v + 1j * directions[k] for k, v in before.items()},
        initial={k: v[b] for k, v in point.state.items()},
        steps=1,
        batch=len(places),
        lengths=None,
        reset=None if point.reset is None else point.reset[t + 1, b][None],
    )
    after, outputs = oracle.run(cell, part)
    tangents = {k: np.imag(elements(v))[0] for k, v in (after | outputs).items()} if places else {}
    return replace(found, states=before, directions=directions, tangents=tangents)


def _guessed(loops: Lowered, cell: Cell, point: Point, moved: _Moved, sums: list[Arrays]) -> list[Arrays]:
    """Return what the steps behind hand back to every state after every step, (T, B, ...), of each sum of cotangents, by the loops as
    derived: each of these states begins a sample for each sum, which ends where its own does, or where that begins anew."""
    t, b = moved.at
    steps, count = max(point.steps - 1, 0), len(sums)
    later = t + 1 + np.arange(steps)[:, None]
    fresh = point.active & (False if point.reset is None else point.reset)
    ends = np.array([_end(point.active[:, j], fresh[:, j], i + 1) for i, j in moved.places], int) - t - 1
    within, at = np.arange(steps)[:, None] < ends, (np.minimum(later, point.steps - 1), b)
    tails = replace(
        point,
        inputs={k: _alike(v[at], count, 1) for k, v in point.inputs.items()},
        state={k: _alike(v, count, 0) for k, v in moved.states.items()},
        steps=steps,
        batch=len(moved.places) * count,
        lengths=np.tile(ends, count),
        reset=None,
    )
    rows = [
        {k: np.where(within.reshape(*within.shape, *(1,) * (v.ndim - 2)), v[at], 0.0) for k, v in full.items()}
        for full in sums
    ]
    sent = {k: residues(np.concatenate([row[k] for row in rows], 1)) for k in rows[0]} if rows else {}
    names = [a.name for a in cell.arguments if a.role == "state"]
    shape = (point.steps, point.batch)
    found = [{k: np.zeros((*shape, *np.shape(moved.states[k])[1:])) for k in names} for _ in sums]
    if moved.places and sums:
        _, gradients = run_loops(loops, cell, tails, sent, 2, arithmetic())
        for k in names:
            for arrays, part in zip(found, np.split(elements(gradients["state", k]), count), strict=True):
                arrays[k][t, b] = part
    return found


def _alike(array: Any, count: int, axis: int) -> Any:
    """Return an array several times behind itself along an axis."""
    return np.concatenate([array] * count, axis) if count else array


def _end(active: Any, fresh: Any, first: int) -> int:
    """Return the step from `first` on before which a sample has ended or begins anew."""
    stops = np.flatnonzero(~active[first:] | fresh[first:])
    return first + int(stops[0]) if len(stops) else len(active)


def _is_right(handed: Arrays, moved: _Moved, full: Arrays) -> bool:
    """Answer whether what is handed back is what the user's function hands back, one step at a time."""
    t, b = moved.at
    total = 0.0
    for k, v in moved.directions.items():
        total = reduced(total + _inner(handed[k][t, b], elements(v)))
    for k, tangent in moved.tangents.items():
        for cotangent in [arrays[k] for arrays in (handed, full) if k in arrays]:
            total = reduced(total - _inner(cotangent[t + 1, b], tangent))
    return bool(total == 0)


def _inner(a: Any, b: Any) -> Any:
    return reduced(np.sum(times(a, b)))


def _by_copies(cell: Cell, point: Point, states: Arrays, full: Arrays, names: list[str]) -> Arrays:
    """Return what the steps behind hand back to some states after every step, entry by entry."""
    found = {k: np.zeros(np.shape(states[k])) for k in names}
    for k in names:
        count = int(np.prod(np.shape(states[k])[2:]))
        for t in range(point.steps - 1 if count else 0):
            behind = _behind(cell, point, states, full, k, t + 1, count)
            found[k][t] = behind.reshape(found[k][t].shape)
    return found


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
