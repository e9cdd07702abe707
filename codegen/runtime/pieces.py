"""Checkpoints: states are held at the borders of pieces, which are run again before they flow back."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.arguments import _check_data
from symbptt.codegen.runtime.cell import LEAD, STATES, TARGETS, Arrays, Gradients, Mask, Sizes
from symbptt.codegen.runtime.checkpoints import _schedule, _spanned
from symbptt.codegen.runtime.every import _Loss
from symbptt.codegen.runtime.losses import _added
from symbptt.codegen.runtime.masks import _final
from symbptt.codegen.runtime.parts import _cut, _data, _inputs_of, _part, _zeros
from symbptt.codegen.runtime.root import _pieces
from symbptt.codegen.runtime.sweeps import _backward


def _end(T: int, active: Mask) -> int:
    """Return how many steps the longest sample has."""
    return T if active is None else int(active.any(1).sum())


def _prepared(
    a: Arrays, sizes: Sizes, T: int, B: int, dtype: Any, active: Mask, reset: Mask, trains: bool
) -> tuple[int, int]:
    """Return the steps of a piece and the slots, and check the data of a call, of as many steps at once as a piece has:
    what samples hold is copied."""
    end = _end(T, active)
    piece, slots = _pieces(T, end, B, sizes, dtype, active, reset, trains)
    if active is None:
        _check_data(a, None, sizes)
    else:
        for lo, hi in _spanned(end, piece):
            _check_data({k: v[lo:hi] if LEAD.get(k) == 2 else v for k, v in a.items()}, active[lo:hi], sizes, lo)
    return piece, slots


def _ran(
    plan: tuple[int, int], a: Arrays, sizes: Sizes, T: int, B: int, dtype: Any, active: Mask, reset: Mask, ws: Any
) -> tuple[Arrays, Arrays, Any]:
    """Return the states and outputs of a run, piece by piece, and all that is kept of it: its arguments, the states."""
    states, start = _zeros(STATES, (T, B), sizes, dtype), {k: a[k] for k in STATES}
    outputs: Arrays = {}
    for lo, hi in _spanned(_end(T, active), plan[0]):
        found, given, _ = _part(a, start, lo, hi, sizes, B, dtype, active, reset, ws)
        start = _final(found, start, _cut(active, lo, hi))
        for k, v in found.items():
            states[k][lo:hi] = v
        for k, v in given.items():
            outputs.setdefault(k, np.zeros((T, *v.shape[1:]), dtype))[lo:hi] = v
        del found, given, _, v
    _stop(states, outputs, a, active)
    return states, outputs, (a, states, plan[0], ())


def _stop(states: Arrays, outputs: Arrays, initial: Arrays, active: Mask) -> None:
    """Write into the states what they are behind the end of each sample, and zeros into the outputs."""
    for b, end in enumerate(active.sum(0) if active is not None else ()):
        for k, v in states.items():
            v[end:, b] = v[end - 1, b] if end else initial[k][b]
        for v in outputs.values():
            v[end:, b] = 0


def _flowed_back(
    tape: Any,
    full: Arrays,
    last: Arrays,
    flow: Any,
    sizes: Sizes,
    T: int,
    B: int,
    dtype: Any,
    active: Mask,
    reset: Mask,
    ws: Any,
) -> Gradients:
    """Return what `_backward` does for a whole run, whose pieces are run again from the last to the first."""
    a, states, piece, _ = tape
    carry, sums = last, _sums(sizes, T, B, dtype)
    for lo, hi in reversed(_spanned(_end(T, active), piece)):
        start = {k: v[lo - 1] if lo else a[k] for k, v in states.items()}
        given = {k: None if v is None else v[lo:hi] for k, v in full.items()}
        part = _part(a, start, lo, hi, sizes, B, dtype, active, reset, ws)[2]
        carry = _piece_back(sums, part, given, carry, flow, lo, hi, sizes, B, dtype, active, reset, ws)
        del part
    return *sums[:2], carry, sums[2]


def _sums(sizes: Sizes, T: int, B: int, dtype: Any) -> tuple[Arrays, Arrays, Arrays]:
    """Return room for sums of gradients: of parameters, of inputs, of what resets send to the initial states."""
    return {}, _inputs_of(T, B, sizes, dtype), {}


def _piece_back(
    sums: tuple[Arrays, Arrays, Arrays],
    tape: Any,
    full: Arrays,
    carry: Arrays,
    flow: Any,
    lo: int,
    hi: int,
    sizes: Sizes,
    B: int,
    dtype: Any,
    active: Mask,
    reset: Mask,
    ws: Any,
) -> Arrays:
    """Flow back through the steps lo to hi, add up their gradients, and return the adjoints of the states before them."""
    here = None if flow is None else {k: v[lo:hi] for k, v in flow.items()}
    found = _backward(tape, full, carry, here, sizes, hi - lo, B, dtype, _cut(active, lo, hi), _cut(reset, lo, hi), ws)
    params, inputs, carry, resets = found
    for k, v in params.items():
        sums[0][k] = sums[0][k] + v if k in sums[0] else v
    for k, v in inputs.items():
        sums[1][k][lo:hi] = v
    for k, v in resets.items():
        sums[2][k] = sums[2].get(k, 0) + v
    return carry


def _trained(
    plan: tuple[int, int],
    a: Arrays,
    flow: Any,
    sizes: Sizes,
    T: int,
    B: int,
    dtype: Any,
    active: Mask,
    reset: Mask,
    ws: Any,
) -> tuple[Any, Gradients, Arrays]:
    """Return the loss, the gradients of parameters, inputs and states, and the states at the end: a schedule says which
    pieces are run ahead, to hold the states behind them, and which are run with their tape and flow back at once."""
    loss, (piece, slots) = _Loss(T, B, dtype, active), plan
    sums, held = _sums(sizes, T, B, dtype), {0: {k: a[k] for k in STATES}}
    carry: Arrays = {}
    final: Any = None
    for lo, hi, is_last in _schedule(_end(T, active), piece, slots):
        if not is_last:
            held[hi] = _ahead_to(a, held[lo], lo, hi, piece, sizes, B, dtype, active, reset, ws, loss)
            continue
        start = held.pop(lo)
        states, outputs, tape = _part(a, start, lo, hi, sizes, B, dtype, active, reset, ws)
        final = _final(states, start, _cut(active, lo, hi)) if final is None else final
        targets = _data(a, [k for k in TARGETS if LEAD[k] == 2], lo, hi, active)
        full, behind = loss.of(a | targets, states, outputs, lo, hi, sizes, B, dtype)
        del states, outputs, targets
        carry = _piece_back(sums, tape, full, carry or behind, flow, lo, hi, sizes, B, dtype, active, reset, ws)
        ws.give(tape[-1])
        del tape, full
    return loss.value, (_added(sums[0], loss.own), sums[1], carry, sums[2]), final


def _ahead_to(
    a: Arrays,
    start: Arrays,
    lo: int,
    hi: int,
    piece: int,
    sizes: Sizes,
    B: int,
    dtype: Any,
    active: Mask,
    reset: Mask,
    ws: Any,
    loss: Any,
) -> Arrays:
    """Return the states before step `hi`, run piece by piece from those before step `lo`; note what the loss reads."""
    for first in range(lo, hi, piece):
        end = min(first + piece, hi)
        states, outputs, _ = _part(a, start, first, end, sizes, B, dtype, active, reset, ws)
        start = _final(states, start, _cut(active, first, end))
        loss.note(states | outputs, first, end)
        del states, outputs, _
    return start
