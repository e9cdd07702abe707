"""What goes wrong with a gradient first, going back: a run or a cotangent that is not finite, a norm that leaves its thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from symbptt.errors import counted
from symbptt.verification.adjoints.sweep import pulled
from symbptt.verification.adjoints.tape import Edge
from symbptt.verification.trace_report import Event
from symbptt.verification.trace_run import Look


def events_of(look: Look, norms: Mapping[str, Any], below: float, above: float, unit: float) -> Iterator[Event]:
    """Yield what goes wrong: first what is not finite, in the run and in the cotangents, then the thresholds that are left, going back."""
    yield from _of_forward(look)
    yield from _not_finite(look)
    yield from sorted(_leaving(look, norms, below, above, unit), key=lambda event: -event.step)


def _leaving(look: Look, norms: Mapping[str, Any], below: float, above: float, unit: float) -> Iterator[Event]:
    """Yield the states whose cotangents leave a threshold."""
    if not unit or not np.isfinite(unit):
        return
    for name in look.tape.recursion.step.next:
        for kind, is_beyond, limit in (
            ("below", norms[name] < below * unit, below),
            ("above", norms[name] > above * unit, above),
        ):
            event = _beyond(look, name, kind, is_beyond & np.isfinite(norms[name]), norms[name], limit, unit)
            if event is not None:
                yield event


def _beyond(look: Look, name: str, kind: str, is_beyond: Any, norms: Any, limit: float, unit: float) -> Event | None:
    """Return the first step, going back, at which the norm of a state's cotangent leaves a threshold; before it has reached the state
    it is not below it."""
    reached = np.flatnonzero(norms > 0)
    steps = np.flatnonzero(is_beyond[: reached[-1] + 1] if len(reached) else is_beyond[:0])
    if not len(steps):
        return None
    t = int(steps[-1])
    bar = look.words.result(name, bar=True)
    verb = "falls below" if kind == "below" else "rises above"
    told = f"{bar} {verb} {limit:.0e} of the largest cotangent given at step {t + 1}, going back: its norm is {norms[t]:.2e}"
    return Event(kind, t + 1, name, told + f", {counted(look.tape.steps - 1 - t, 'step')} before the last")


def _of_forward(look: Look) -> Iterator[Event]:
    """Yield the first value of the run that is not finite, if there is one."""
    step, graph = look.tape.recursion.step, look.tape.recursion.graph
    leaves = set(step.leaves.values())
    best: tuple[int, int] | None = None
    for id in sorted(look.tape.varying - leaves):
        array = np.broadcast_to(
            look.tape.primal[id], (look.tape.steps, look.tape.batch, *look.tape.primal[id].shape[2:])
        )
        bad = ~np.isfinite(array).all(tuple(range(2, array.ndim))) & look.masks.active
        steps = np.flatnonzero(bad.any(1))
        if len(steps) and (best is None or steps[0] < best[0]):
            best = int(steps[0]), id
    if best is not None:
        t, id = best
        result = next((k for k, v in (step.next | step.outputs).items() if v == id), look.words.value(id))
        name = graph.names.get(id) or result
        yield Event(
            "forward",
            t + 1,
            name,
            f"the run itself is not finite from step {t + 1} on: {look.words.value(id)} is NaN or infinite",
            look.words.place(id),
        )


def _not_finite(look: Look) -> Iterator[Event]:
    """Yield the first cotangent that is NaN or infinite, going back, with the term that makes it so."""
    T, B = look.tape.steps, look.tape.batch
    worst: list[tuple[int, int, int, Edge]] = []

    def flags(array: Any) -> Any:
        array = look.masked(np.broadcast_to(array, (T, B, *array.shape[2:])))
        return ~np.isfinite(array).all(tuple(range(1, array.ndim)))

    def record(edge: Edge, bar: Any, given: Any) -> None:
        begins = flags(given) & ~flags(bar)
        steps = np.flatnonzero(begins)
        if len(steps):
            # Later steps come first; in a step the edges in the order of the sweep.
            worst.append((-int(steps[-1]), len(worst), edge.target, edge))

    pulled(look.tape, slice(0, T), look.roots(), record=record)
    if not worst:
        return
    t, _, target, edge = min(worst, key=lambda item: item[:2])
    step = -t
    given = _given_at(look, edge, step)
    kind = "NaN" if np.isnan(given).any() else "infinite"
    words, graph = look.words, look.tape.recursion.graph
    leaves = {id: name for name, id in look.tape.recursion.step.leaves.items()}
    variable = leaves.get(target) or graph.names.get(target) or words.value(target)
    text = f"{words.bar(target)} is {kind} at step {step + 1}, going back, by the term {words.term(edge)}{_because(look, edge, step)}"
    yield Event(kind, step + 1, variable, text, words.place(edge.value))


def _given_at(look: Look, edge: Edge, step: int) -> Any:
    found: list[Any] = []
    roots = {id: bar[step : step + 1] for id, bar in look.roots().items()}
    pulled(
        look.tape,
        slice(step, step + 1),
        roots,
        record=lambda e, bar, given: found.append(given) if e.number == edge.number else None,
    )
    return found[0]


def _because(look: Look, edge: Edge, step: int) -> str:
    """Tell of a value that a term reads and that is zero, or not finite, there."""
    own = {node.id for node in edge.nodes} | {edge.bar}
    read = dict.fromkeys(
        arg for node in edge.nodes for arg in node.args if arg not in own and arg in look.tape.recursion.forward_ids
    )
    for id in read:
        array = look.tape.read(id, slice(step, step + 1))
        if not np.all(np.isfinite(array)):
            return f", where {look.words.value(id)} is not finite"
    for id in read:
        array = look.tape.read(id, slice(step, step + 1))
        if np.any(array == 0) and id in look.tape.varying:
            return f", where {look.words.value(id)} is 0"
    return ""
