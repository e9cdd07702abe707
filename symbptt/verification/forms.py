"""The forms in which a call of a kernel may be written: what they give besides gradients, and that all give the same numbers.

One sample may come without a batch axis, states may be left out, cotangents be those of the last step alone, `monitor=True`
adds norms of adjoints, a model tells the states at the end. The norms are compared with those of the loops of the program, run
by their interpreter; of a truncated kernel once for the losses of each span of steps, whose adjoints are added up here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.codegen.loop_ir.arithmetics import floats
from symbptt.codegen.lower.cell import lower
from symbptt.ir.shape import named_size, names_in
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.comparison import FLOOR, Verdict, attempt, failed
from symbptt.verification.held import HeldKernel
from symbptt.verification.objective import cotangents_of_loss, cotangents_of_span, spans
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.pairs import PairedKernel
from symbptt.verification.proof.loops import Lowered, adjoints_of_loops
from symbptt.verification.regimes import REGIMES, Size
from symbptt.verification.regimes import point as draw
from symbptt.verification.report import Row
from symbptt.verification.requests import NOTHING, Asked
from symbptt.verification.undefined import is_defined

METHOD = "another form of the call"
SAME, NORMS = 1e-12, 1e-9
"""The part of the largest number of an array by which another form may change it; that by which a norm may be off."""
LEFT = 1e3
"""The multiple of the tolerance of a fixed point by which rounds that stop there may be off, at the end of a few steps."""
SINGLE = np.array([3]), np.array([[0], [1], [0], [0]], bool)
SEVERAL = np.array([4, 2, 0]), np.array([[0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]], bool)
"""Lengths and resets of four steps of one sample, and of three."""
Results = dict[str, dict[str, Any]]
"""Arrays by name, by the group in which they come."""
AXES = {"values": 1, "inputs": 1, "state": 0, "predicted": 1, "predicted at the end": 0}
"""The axis of samples, by group."""
NOWHERE = np.empty((0,) * 9)
"""What stands for an array that did not come: no value has this shape."""
LABELS = {
    "values": "{}",
    "params": "d{}",
    "inputs": "d{}",
    "state": "d{}_0",
    "predicted": "{}",
    "predicted at the end": "{}",
    "norms": "flow of {}",
    "final": "final {}",
    "first values": "first {}",
}


def form_rows(kernel: Kernel, seed: int, asked: Asked = NOTHING, is_complex: bool = True) -> Iterator[Row]:
    """Yield a row for each array that another form of a call changes, or that is not what it should be.

    Norms of a model need the slopes of its loss, which a function that `is_complex` tells to rounding.
    """
    target = kernel.target
    for batch, masks in ((1, None), (1, SINGLE), (3, None), (3, SEVERAL)):
        size = Size(4, batch)
        point = draw(target, REGIMES[0], size, seed, asked)
        if point is None:
            return
        if masks is not None:
            point = replace(point, lengths=masks[0], reset=masks[1])
        if not is_defined(target, point):  # of which rows of values tell: NaN has no other form
            continue
        sent = oracle.cotangents(target, point, seed + 1000) if isinstance(target, Cell) else {}
        yield from _compared(kernel, point, sent, is_complex, size.label + " masked" * (masks is not None))


def settled_rows(kernel: Kernel, to_the_end: Kernel, seed: int, asked: Asked = NOTHING) -> Iterator[Row]:
    """Yield a row for each array of a kernel with fixed points, as its text stands, that is farther from those of rounds `to_the_end`
    than a tolerance of the cell lets them stop."""
    target, size = kernel.target, Size(4, 2)
    tolerance = LEFT * max(kernel.cell.tolerances, default=0.0)
    point = draw(target, REGIMES[0], size, seed, asked) if tolerance else None
    if point is None:
        return
    sent = oracle.cotangents(target, point, seed + 1000) if isinstance(target, Cell) else {}
    words = "rounds that stop at the tolerance of the text"
    with np.errstate(all="ignore"):
        found, failure = attempt(lambda: [_called(one, point, sent) for one in (kernel, to_the_end)])
        verdicts = {"the call": failed(METHOD, f"{words}: {failure}")} if failure is not None else {}
        if failure is None:
            verdicts = _different(found[1], found[0], tolerance, words, 1.0)
    for name, verdict in verdicts.items():
        if not verdict.note:
            yield Row(REGIMES[0].name, size.label, name, verdict.error, tolerance, METHOD, "", verdict.said)


def _compared(kernel: Kernel, point: Point, sent: Arrays, is_complex: bool, label: str) -> Iterator[Row]:
    with np.errstate(all="ignore"):
        base, failure = attempt(lambda: _called(kernel, point, sent))
        if failure is not None:
            verdict = failed(METHOD, failure)
            if not verdict.note:
                yield Row(REGIMES[0].name, label, "the call", verdict.error, SAME, METHOD, "", failure)
            return
        for words, given, wanted, tolerance in _forms(kernel, point, sent, base, is_complex):
            found, failure = attempt(given)
            verdicts = {words: failed(METHOD, f"{words}: {failure}")} if failure is not None else {}
            if failure is None:
                verdicts = _different(wanted(), found, tolerance, words)
            for name, verdict in verdicts.items():
                if not verdict.note:
                    yield Row(REGIMES[0].name, label, name, verdict.error, tolerance, METHOD, "", verdict.said)


Form = tuple[str, Callable[[], Results], Callable[[], Results], float]
"""Its words, what comes of it, what should come, and the tolerance."""


def _forms(kernel: Kernel, point: Point, sent: Arrays, base: Results, is_complex: bool) -> Iterator[Form]:
    run = partial(_called, kernel, point, sent)
    if point.batch == 1:
        yield "without a batch axis", partial(_single, kernel, point, sent), partial(_first, base), SAME
    if _is_told(kernel) and point.inputs:  # which tell the number of samples
        nothing = replace(point, state=_needed(kernel, point))
        yield "without a state", partial(_called, kernel, nothing, sent), partial(_begun, kernel, point, sent), SAME
    if sent:
        last = {k: v[-1] for k, v in sent.items()}
        whole = {k: np.concatenate([np.zeros_like(v[:-1]), v[-1:]]) for k, v in sent.items()}
        yield (
            "cotangents of the last step",
            partial(_called, kernel, point, last),
            partial(_called, kernel, point, whole),
            SAME,
        )
    if isinstance(kernel.target, Model) and hasattr(kernel.module, "_label"):
        parts = {group: base[group] for group in ("values", "params", "inputs", "state")}
        yield "the loss of some steps, and of the others", partial(_added, kernel, point), lambda: parts, NORMS
        labels = [v for v in point.targets.values() if v.dtype.kind in "iu"]
        if labels and all(v.ndim == np.ndim(_places(kernel.target, point)) for v in labels):
            yield "labels that are ignored", partial(_added, kernel, point, ignored=-1), lambda: parts, NORMS
    if isinstance(kernel.target, Model) and is_complex:
        yield "forward and backward", partial(_in_two, kernel, point), partial(_in_one, kernel, point), NORMS
    if not point.masks and hasattr(kernel.module, "stepper"):  # which a module of an older file lacks
        yield "one step at a time", partial(_stepped, kernel, point), partial(_run, kernel, point), NORMS
        if point.batch == 1:
            begun = replace(point, state=_needed(kernel, point)) if _is_told(kernel) and point.inputs else point
            wanted = partial(_run, kernel, begun)
            yield (
                "one step of one sample",
                partial(_stepped, kernel, begun, alone=True),
                lambda: _first(wanted()),
                NORMS,
            )
    if not point.masks and hasattr(kernel.module, "init") and not isinstance(kernel, PairedKernel):
        yield (
            "first values",
            partial(_first_values, kernel.module, point),
            partial(_first_values, kernel.target, point),
            0.0,
        )
    yield "monitor=True", partial(run, monitor=True), lambda: base, SAME
    if isinstance(kernel.target, Cell):
        yield "a second backward pass of a run", partial(run, again=True), lambda: base, SAME
    # The loops of complex numbers have no interpreter of pairs, and those of contexts none of states.
    if not isinstance(kernel, PairedKernel | HeldKernel) and (is_complex or isinstance(kernel.target, Cell)):
        yield "monitor=True", partial(_norms, kernel, point, sent), partial(_norms_of_loops, kernel, point, sent), NORMS
    if isinstance(kernel.target, Model):
        yield "states at the end", partial(_ends, kernel, point), partial(_last_states, kernel.target, point), NORMS


def _needed(kernel: Kernel, point: Point) -> Arrays:
    """Return the states that a call cannot leave out: contexts, which begin with nothing."""
    return {k: v for k, v in point.state.items() if isinstance(kernel, HeldKernel) and k in kernel.held}


def _first_values(of: Any, point: Point) -> Results:
    """Return the parameters with which a module or a cell says that training begins."""
    sizes = {str(size): number for size, number in point.sizes.items()}
    double, single = (of.init(sizes, seed=1, dtype=dtype) for dtype in (np.float64, np.float32))
    found = double | {f"{k} in single precision": v for k, v in single.items()}
    return {"first values": {k: v for k, v in found.items() if k.split()[0] in point.params}}


def _grads(
    kernel: Kernel, point: Point, sent: Arrays, monitor: bool = False, again: bool = False
) -> tuple[Arrays, Any]:
    """Return states and outputs, or the loss, and the gradients of one call, of a second backward pass where it goes back `again`."""
    state, masks = point.state or None, point.masks
    if isinstance(kernel.target, Model):
        common: Any = {"steps": point.steps, "monitor": monitor, **masks}
        value, found = kernel.value_and_grad(point.params, point.inputs, point.targets, state, **common)
        return {"loss": value}, found
    run = kernel.forward(point.params, point.inputs, state, steps=point.steps, **masks)
    if again:
        kernel.backward(run, sent, monitor=monitor)
    return {**run.states, **run.outputs}, kernel.backward(run, sent, monitor=monitor)


def _called(kernel: Kernel, point: Point, sent: Arrays, monitor: bool = False, again: bool = False) -> Results:
    values, found = _grads(kernel, point, sent, monitor, again)
    values = values | _value(kernel, point)
    told = {"values": values, "params": found.params, "inputs": found.inputs, "state": found.state}
    return told | _predicted(kernel, point)


def _value(kernel: Kernel, point: Point) -> Arrays:
    """Return the loss of a model as a call without gradients tells it."""
    if isinstance(kernel.target, Cell):
        return {}
    given = (point.params, point.inputs, point.targets, point.state or None)
    return {"value": kernel.value(*given, steps=point.steps, **point.masks)}


def _predicted(kernel: Kernel, point: Point) -> Results:
    """Return what the loss of a model returns beside its value."""
    if isinstance(kernel.target, Cell) or kernel.target.loss.predicted is None:
        return {}
    group = "predicted" if kernel.target.at == "every" else "predicted at the end"
    given = (point.params, point.inputs, point.state or None)
    return {group: kernel.predict(*given, steps=point.steps, **point.masks)}


def _begun(kernel: Kernel, point: Point, sent: Arrays) -> Results:
    """Return the results of a call with the states that the cell says they begin with; parameters among these have the gradients
    of all samples."""
    begun = {a.name: a.start for a in kernel.target.arguments if a.role == "state"}
    numbers = {k: point.params[start] if isinstance(start, str) else start for k, start in begun.items()}
    state = {k: np.zeros_like(v) + (0 if numbers[k] is None else numbers[k]) for k, v in point.state.items()}
    state |= _needed(kernel, point)
    found = _called(kernel, replace(point, state=state), sent)
    added = {start: found["state"][k].sum(0) for k, start in begun.items() if isinstance(start, str)}
    return {**found, "params": {k: v + added.get(k, 0) for k, v in found["params"].items()}}


def _single(kernel: Kernel, point: Point, sent: Arrays) -> Results:
    """Return the results of a call with one sample, without a batch axis."""
    inputs, targets = _of_one(point.inputs, 1), _of_one(point.targets, int(getattr(kernel.target, "at", "") == "every"))
    reset = None if point.reset is None else point.reset[:, 0]
    one = replace(point, inputs=inputs, targets=targets, state=_of_one(point.state, 0), reset=reset)
    return _called(kernel, one, _of_one(sent, 1))


def _of_one(arrays: Arrays, axis: int) -> Arrays:
    return {k: np.take(v, 0, axis) for k, v in arrays.items()}


def _first(results: Results) -> Results:
    """Return results of one sample without its axis."""
    return {
        group: {k: np.take(v, 0, AXES[group]) if group in AXES and np.ndim(v) else v for k, v in arrays.items()}
        for group, arrays in results.items()
    }


def _is_told(kernel: Kernel) -> bool:
    """Answer whether the sizes of the states stand in shapes of other arguments, so that states may be left out."""
    states = [a.shape for a in kernel.target.arguments if a.role == "state"]
    others = {axis for a in kernel.target.arguments if a.role in ("param", "input") for axis in a.shape}
    return {named_size(name) for shape in states for name in names_in(shape)} <= others


def _norms(kernel: Kernel, point: Point, sent: Arrays) -> Results:
    return {"norms": _grads(kernel, point, sent, True)[1].flow}


def _norms_of_loops(kernel: Kernel, point: Point, sent: Arrays) -> Results:
    """Return the norms of adjoints by the interpreter of the loops: of all losses that reach a state together."""
    target, cell = kernel.target, kernel.cell
    sent = cotangents_of_loss(target, point) if isinstance(target, Model) else sent
    loops = Lowered(kernel.program, lower(kernel.program, True, monitored=True), True)
    near = replace(point, params=oracle.constants(cell, point) | point.params)
    total = {k: np.zeros((point.steps, *np.shape(v))) for k, v in point.state.items()}
    states, outputs = oracle.run(cell, point)
    for span in spans(kernel.truncation, point.steps):
        part = cotangents_of_span(cell, states | outputs, point, sent, span)
        for k, adjoints in adjoints_of_loops(loops, cell, near, part, floats()).items():
            total[k][span.first : span.hi] += adjoints[span.first : span.hi]
    return {"norms": {k: np.sqrt(np.sum(np.square(v), tuple(range(1, v.ndim)))) for k, v in total.items()}}


def _run(kernel: Kernel, point: Point) -> Results:
    """Return states and outputs of all steps by one call, and what a loss predicts by another."""
    run = kernel.forward(point.params, point.inputs, point.state or None, steps=point.steps)
    return {"values": {**run.states, **run.outputs}, **_predicted(kernel, point)}


def _stepped(kernel: Kernel, point: Point, alone: bool = False) -> Results:
    """Return states and outputs of all steps by a stepper, and what a loss predicts there; of one sample `alone` without its axis."""
    start, inputs = point.state, point.inputs
    if alone:
        start, inputs = _of_one(start, 0), _of_one(inputs, 1)
    stepper, state = kernel.stepper(point.params), start or None
    found: list[Arrays] = []
    for t in range(point.steps):
        state, outputs = stepper({k: v[t] for k, v in inputs.items()}, state)
        found.append({**state, **outputs})
    values = {k: np.stack([one[k] for one in found]) for k in found[0]}
    return {"values": values, "predicted": values, "predicted at the end": {k: v[-1] for k, v in values.items()}}


def _places(target: Model, point: Point) -> Any:
    """Return where a loss counts: the steps of each sample, or of one at the last step the samples."""
    return point.active if target.at == "every" else point.active.any(0)


def _added(kernel: Kernel, point: Point, ignored: int | None = None) -> Results:
    """Return the loss and its gradients as the sum of two calls, in each of which some steps count and targets of others are none: by a
    mask, or by the label that is `ignored`."""
    target = cast(Model, kernel.target)
    active = _places(target, point)
    mask, found = np.indices(active.shape).sum(0) % 2 == 0, dict[str, Arrays]()
    for counts in (mask, ~mask):
        targets = {k: _spoilt(v, counts) for k, v in point.targets.items()}
        call: Any = (point.params, point.inputs, targets, point.state or None)
        which: Any = {"mask": counts} if ignored is None else {"ignore_index": ignored}
        options: Any = {"steps": point.steps, **which, **point.masks}
        loss, grads = kernel.value_and_grad(*call, **options)
        values = {"loss": loss, "value": kernel.value(*call, **options)}
        weight = np.sum(counts & active) / max(active.sum(), 1) if target.reduction == "mean" else 1.0
        groups: dict[str, Arrays] = {
            "values": values,
            "params": grads.params,
            "inputs": grads.inputs,
            "state": grads.state,
        }
        for group, arrays in groups.items():
            sums = found.setdefault(group, {})
            sums |= {k: weight * v + sums.get(k, 0) for k, v in arrays.items()}
    return found


def _in_two(kernel: Kernel, point: Point) -> Results:
    """Return states and outputs of a model's cell by one call, and by others the gradients and the norms of what the loss sends there."""
    model = cast(Model, kernel.target)
    run = kernel.forward(point.params, point.inputs, point.state or None, steps=point.steps, **point.masks)
    sent = cotangents_of_loss(model, point)
    found, flow = (
        kernel.backward(run, _told_otherwise(model, point, sent)),
        kernel.backward(run, sent, monitor=True).flow,
    )
    values = {**run.states, **run.outputs}
    return {"values": values, "params": found.params, "inputs": found.inputs, "state": found.state, "norms": flow}


def _told_otherwise(model: Model, point: Point, sent: Arrays) -> Arrays:
    """Return cotangents of a loss with the same gradients: those of the last step alone, where others are none, or half of those of a
    sample's last state behind its end, where that state is repeated."""
    if point.lengths is None:
        return {k: v[-1] for k, v in sent.items()} if model.at == "last" else sent
    moved = {k: v.copy() for k, v in sent.items()}
    for name, b in [(name, b) for name in point.state for b in np.flatnonzero(point.lengths % point.steps)]:
        end = point.lengths[b]
        moved[name][end - 1, b] /= 2
        moved[name][-1, b] += moved[name][end - 1, b]
    return moved


def _in_one(kernel: Kernel, point: Point) -> Results:
    """Return states and outputs by the user's function, and the same gradients and norms as the loss has them."""
    target = cast(Model, kernel.target)
    states, outputs = oracle.run(target.cell, point)
    found = _grads(kernel, point, {}, monitor=True)[1]
    read = {a.name for a in target.loss.arguments}  # whose gradients have a part of the loss itself
    params = {k: v for k, v in found.params.items() if k not in read}
    return {
        "values": states | outputs, "params": params, "inputs": found.inputs, "state": found.state, "norms": found.flow
    }  # fmt: skip


def _spoilt(v: Any, counts: Any) -> Any:
    """Return targets that are none where they do not count."""
    none: Any = -1 if v.dtype.kind in "iu" else np.nan
    return np.where(counts.reshape(counts.shape + (1,) * (v.ndim - counts.ndim)), v, none).astype(v.dtype)


def _ends(kernel: Kernel, point: Point) -> Results:
    return {"final": _grads(kernel, point, {})[1].final}


def _last_states(model: Model, point: Point) -> Results:
    """Return the states after the last step of each sample, by the user's function."""
    states, _ = oracle.run(model.cell, point)
    return {"final": {k: v[-1] for k, v in states.items()}}


def _different(
    wanted: Results, given: Results, tolerance: float, words: str, least: float = FLOOR
) -> dict[str, Verdict]:
    """Return a verdict for each array that is not as it should be; an error is relative to the largest number, or to the `least`."""
    found = {}
    for group, arrays in wanted.items():
        for name, value in arrays.items():
            label, other = LABELS[group].format(name), given[group].get(name, NOWHERE)
            if np.shape(other) != np.shape(value):
                found[label] = Verdict(
                    np.inf, METHOD, "", f"{words}: shape {np.shape(value)} is expected, got {np.shape(other)}"
                )
                continue
            scale = float(np.max(np.abs(value), initial=0.0))
            error = float(np.max(np.abs(other - value), initial=0.0)) / max(scale, least)
            if np.isfinite(scale) and not error <= tolerance:
                found[label] = Verdict(error, METHOD, "", f"{words}: other numbers")
    return found
