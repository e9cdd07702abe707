"""The scalars whose gradients are checked, by the user's functions alone: cotangents times values, and losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.language.truncation import Chunked, Window
from symbptt.verification import oracle
from symbptt.verification.complex_step import analytic, as_like
from symbptt.verification.oracle import Arrays, Point

Truncation = Window | Chunked | None
Value = Callable[[Point], Any]


@dataclass(frozen=True)
class Span:
    """Steps `lo` to `hi` whose losses flow back to step `first`; the state that enters there is constant, but the initial."""

    lo: int
    hi: int
    first: int = 0


def spans(truncation: Truncation, steps: int) -> list[Span]:
    """Return which losses flow back how far, as the truncation is defined; all of them to the first step without one."""
    if isinstance(truncation, Window):
        return [Span(t, t + 1, max(t - truncation.k + 1, 0)) for t in range(steps)]
    if isinstance(truncation, Chunked):
        ends = [(lo, min(lo + truncation.k1, steps)) for lo in range(0, steps, truncation.k1)]
        firsts = [max(hi - truncation.k2, 0) for _, hi in ends]
        # Where k2 < k1, losses before the first step of the window are not differentiated at all.
        return [Span(max(lo, first), hi, first) for (lo, hi), first in zip(ends, firsts, strict=True)]
    return [Span(0, steps)]


def value_of(
    target: Cell | Model,
    cotangents: Arrays,
    base: Point,
    truncation: Truncation = None,
    constant: Callable[[Any], Any] = np.asanyarray,
) -> Value:
    """Return the function point -> scalar whose gradients at the point `base` are checked: a model's loss, or the sum of
    cotangent * value of a cell; with a truncation, states that are constant are those of `base`, made so by `constant`."""
    parts = _parts(target.cell if isinstance(target, Model) else target, base, truncation, constant)
    return _loss(target, parts) if isinstance(target, Model) else _weighed(target, cotangents, parts)


def slopes_of_samples(
    target: Cell | Model, cotangents: Arrays, base: Point, truncation: Truncation = None
) -> Callable[[Point], Any]:
    """Return the function point -> imaginary part of each sample's share of that scalar, (B,): samples run on their own, so that one run
    tells of all of them what a step in each of them does."""
    parts = _parts(target.cell if isinstance(target, Model) else target, base, truncation)
    return _losses(target, parts) if isinstance(target, Model) else _weighed_samples(target, cotangents, parts)


def _weighed_samples(cell: Cell, cotangents: Arrays, parts: Parts) -> Callable[[Point], Any]:
    def slopes(point: Point) -> Any:
        idle = point.active.sum(0) == 0
        total = np.zeros(point.batch)
        for product in _of_starts(cotangents, point):
            total += np.where(idle, np.sum(np.imag(product), tuple(range(1, product.ndim))), 0.0)
        for sent, found, active in _met(cell, cotangents, parts, point):
            product = sent * np.asarray(np.imag(found))
            axes = (0, *range(2, product.ndim))
            total += np.sum(product, axes, where=active.reshape(*active.shape, *(1,) * (product.ndim - 2)))
        return total

    return slopes


def _losses(model: Model, parts: Parts) -> Callable[[Point], Any]:
    def slopes(point: Point) -> Any:
        shared, counted, total = _shared(model, point), _counted(model, point.active.sum(0)), np.zeros(point.batch)
        for (_, b), loss in _losses_at(model, shared, counted, parts, point):
            total[b] += np.imag(loss)
        return total / _divisor(model, counted)

    return slopes


Parts = Callable[[Point], Iterator[tuple[Span, Point]]]
"""point -> the spans of steps that count, each with the point at which its steps are run."""


def _parts(cell: Cell, base: Point, truncation: Truncation, constant: Callable[[Any], Any] = np.asanyarray) -> Parts:
    found = spans(truncation, base.steps)
    if truncation is None:
        return lambda point: iter([(found[0], point)])
    # The states at which a truncation cuts are constants: taken at `base`, they do not move with the point that is
    # differentiated.
    states = {k: constant(v) for k, v in oracle.run(cell, base)[0].items()}

    def parts(point: Point) -> Iterator[tuple[Span, Point]]:
        for span in found:
            yield span, _from(point, span, states, cell.held)

    return parts


def _from(point: Point, span: Span, states: Arrays, held: tuple[str, ...]) -> Point:
    """The steps of a span and those before that it flows back through, as a run of their own; what is held is no constant there."""
    own = {k: point.state[k] for k in held}
    cut = slice(span.first, span.hi)
    steps = span.hi - span.first
    return replace(
        point,
        inputs={k: v[cut] for k, v in point.inputs.items()},
        state={k: v[span.first - 1] for k, v in states.items()} | own if span.first else point.state,
        initial=point.state,
        steps=steps,
        # The span is a run of its own, whose samples end as many steps earlier as it begins later.
        lengths=None if point.lengths is None else np.clip(point.lengths - span.first, 0, steps),
        reset=None if point.reset is None else point.reset[cut],
    )


def _weighed(cell: Cell, cotangents: Arrays, parts: Parts) -> Value:
    def value(point: Point) -> Any:
        total = _idle(cotangents, point)
        for sent, found, active in _met(cell, cotangents, parts, point):
            total = total + np.sum((sent * found)[active])
        return total

    return value


def _met(cell: Cell, cotangents: Arrays, parts: Parts, point: Point) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the cotangents of each value in each span, the value, and which of both count, (T, B, ...)."""
    for span, part in parts(point):
        states, outputs = oracle.run(cell, part)
        active = point.active[span.lo : span.hi]
        for name, found in (states | outputs).items():
            if name in cotangents:
                sent = cotangents_of_steps(cotangents[name], found, point, name in states)
                yield sent[span.lo : span.hi], found[span.lo - span.first :], active


def cotangents_of_steps(sent: Any, found: Any, point: Point, is_state: bool) -> Any:
    """Cotangents of every step, those given of the last step alone too; those of a state from the end of a sample on
    belong to its last step, whose state they see."""
    full = as_like(np.array(sent), sent)
    if np.ndim(sent) < np.ndim(found):
        full = np.concatenate([np.zeros((max(point.steps - 1, 0), *np.shape(sent))), full[None]])[: point.steps]
    ends = point.active.sum(0)
    for b in np.flatnonzero(ends) if is_state else ():
        # Behind its end a sample repeats its last state, so that all cotangents there are cotangents of that one
        # state.
        full[ends[b] - 1, b] += full[ends[b] :, b].sum(0)
    return full


def cotangents_of_span(cell: Cell, values: Arrays, point: Point, sent: Arrays, span: Span) -> Arrays:
    """Return cotangents of every step, (T, B, ...), of which those of a span of losses alone are left; none behind the end of a sample.

    `values` are the states and outputs of the cell at the point, by name.
    """
    steps = np.arange(point.steps)[:, None]
    counts = point.active & (span.lo <= steps) & (steps < span.hi)
    full = {k: cotangents_of_steps(v, values[k], point, k in cell.looped.next) for k, v in sent.items()}
    return {
        k: as_like(np.where(counts.reshape(*counts.shape, *(1,) * (v.ndim - 2)), v, 0.0), v) for k, v in full.items()
    }


def _idle(cotangents: Arrays, point: Point) -> Any:
    """Return the part of the objective from samples without a step, whose states are all the initial one."""
    without = point.active.sum(0) == 0
    total = 0.0
    for product in _of_starts(cotangents, point):
        total = total + np.sum(product[without])
    return total


def _of_starts(cotangents: Arrays, point: Point) -> Iterator[Any]:
    """Yield the cotangents of each state times its initial one, (B, ...), as those of a sample without a step are."""
    for name in [name for name in cotangents if name in point.state]:
        sent, start = cotangents[name], point.state[name]
        yield (sent if np.ndim(sent) == np.ndim(start) else np.sum(sent, 0)) * start


def loss_of(model: Model, point: Point) -> Any:
    """Return the loss of a model at a point, by the user's functions alone."""
    return _loss(model, _parts(model.cell, point, None))(point)


def predictions_of(model: Model, point: Point) -> Arrays:
    """Return what the loss of a model returns beside its value, by the user's functions alone.

    Shapes: (T, B, ...) of a loss at every step, (B, ...) of one at the last; zeros where none counts.
    """
    states, outputs = oracle.run(model.cell, point)
    shared, batch = _shared(model, point), len(point.active.T)
    lead = (point.steps, batch) if model.at == "every" else (batch,)
    found: Arrays = {}
    for t, b in _counted(model, point.active.sum(0)):
        returned = _returned_at(model, shared, states | outputs, point, (t, b), t)
        for name in [name for name in returned if name != "loss"]:
            value = np.asarray(returned[name])
            room = found.setdefault(name, np.zeros((*lead, *value.shape), value.dtype))
            room[(t, b) if model.at == "every" else b] = value
    return found


def cotangents_of_loss(model: Model, point: Point) -> Arrays:
    """Return the derivatives of the loss by all states and outputs of every step, (T, B, ...), by complex steps."""
    states, outputs = oracle.run(model.cell, point)
    values, near = states | outputs, replace(point, params=oracle.as_complex(point.params))
    read = [a.name for a in model.loss.arguments if a.role in ("state", "output")]
    sent = {name: np.zeros(v.shape) for name, v in values.items()}
    counted = _counted(model, point.active.sum(0))
    for name in read:
        for t, b in counted:
            for place in np.ndindex(values[name].shape[2:]):
                moved = {k: np.asarray(v, complex) for k, v in values.items()}
                moved[name][(t, b, *place)] += 1j * oracle.STEP
                sent[name][(t, b, *place)] = (
                    np.imag(_loss_at(model, _shared(model, near), moved, near, (t, b), t)) / oracle.STEP
                )
    return {k: v / _divisor(model, counted) for k, v in sent.items()}


def _shared(model: Model, point: Point) -> Arrays:
    """Return what the loss of every step is given: its constants and the parameters."""
    consts = {a.name: a.default for a in model.loss.arguments if a.role == "const" and a.default is not None}
    return oracle.prepared(consts | point.params, point)


def _divisor(model: Model, counted: list[tuple[int, int]]) -> int:
    # The mean is over the losses that count, not over all steps of a padded batch.
    return max(len(counted), 1) if model.reduction == "mean" else 1


def _loss(model: Model, parts: Parts) -> Value:
    def value(point: Point) -> Any:
        shared, counted, total = _shared(model, point), _counted(model, point.active.sum(0)), 0.0
        for _, loss in _losses_at(model, shared, counted, parts, point):
            total = total + loss
        return total / _divisor(model, counted)

    return value


def _losses_at(
    model: Model, shared: Arrays, counted: list[tuple[int, int]], parts: Parts, point: Point
) -> Iterator[tuple[tuple[int, int], Any]]:
    """Yield the steps and samples that count, each with its loss."""
    for span, part in parts(point):
        here = [(t, b) for t, b in counted if span.lo <= t < span.hi]
        states, outputs = oracle.run(model.cell, part) if here else ({}, {})
        for t, b in here:
            yield (t, b), _loss_at(model, shared, states | outputs, point, (t, b), t - span.first)


def _counted(model: Model, ends: Any) -> list[tuple[int, int]]:
    """The steps and samples at which a loss counts."""
    if model.at == "last":
        return [(end - 1, b) for b, end in enumerate(ends) if end]
    return [(t, b) for b, end in enumerate(ends) for t in range(end)]


def _loss_at(model: Model, shared: Arrays, values: Arrays, point: Point, place: tuple[int, int], step: int) -> Any:
    returned = _returned_at(model, shared, values, point, place, step)
    return returned["loss"] if isinstance(returned, Mapping) else returned


def _returned_at(model: Model, shared: Arrays, values: Arrays, point: Point, place: tuple[int, int], step: int) -> Any:
    """Return what the user's loss returns at a step and a sample, whose values are those of `step`."""
    whole = oracle.prepared(point.targets, point)
    targets = {k: v[place if model.at == "every" else place[1:]] for k, v in whole.items()}
    read = {
        a.name: analytic(values[a.name][step, place[1]]) for a in model.loss.arguments if a.role in ("state", "output")
    }
    with oracle.holding(model.loss.function, oracle.arrays_of(point)):
        return oracle.called(model.loss, {**shared, **targets, **read}, *place)
