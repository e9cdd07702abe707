"""Checkpoints: states are held at the borders of pieces, which are run again before they flow back."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.arguments import _check_data
from symbptt.codegen.runtime.call import _Call, _cut
from symbptt.codegen.runtime.cell import LEAD, STATES, TARGETS, Arrays, Gradients, Mask
from symbptt.codegen.runtime.checkpoints import _schedule, _spanned
from symbptt.codegen.runtime.every import _Loss
from symbptt.codegen.runtime.losses import _added
from symbptt.codegen.runtime.masks import _end, _final
from symbptt.codegen.runtime.part import _part
from symbptt.codegen.runtime.parts import _data, _input_sums, _zeros
from symbptt.codegen.runtime.root import _pieces
from symbptt.codegen.runtime.sweeps import _backward


def _prepared(call: _Call, trains: bool) -> tuple[int, int]:
    """Return the steps of a piece and the slots, and check the data of a call, of as many steps at once as a piece has:
    what samples hold is copied."""
    a, active, end = call.a, call.active, _end(call.T, call.active)
    piece, slots = _pieces(call, end, trains)
    for lo, hi in [(0, call.T)] if active is None else _spanned(end, piece):
        here = {k: v[lo:hi] if LEAD.get(k) == 2 else v for k, v in a.items()}
        _check_data(here, _cut(active, lo, hi), call.sizes, lo)
    return piece, slots


def _ran(call: _Call, plan: tuple[int, int]) -> tuple[Arrays, Arrays, Any]:
    """Return the states and outputs of a run, piece by piece, and all that is kept of it: its arguments, the states."""
    states, start = _zeros(call, STATES, call.T, call.B), call.start
    outputs: Arrays = {}
    for lo, hi in _spanned(_end(call.T, call.active), plan[0]):
        found, given, _ = _part(call, start, lo, hi)
        start = _final(found, start, _cut(call.active, lo, hi))
        for k, v in found.items():
            states[k][lo:hi] = v
        for k, v in given.items():
            outputs.setdefault(k, np.zeros((call.T, *v.shape[1:]), v.dtype))[lo:hi] = v
        del found, given, _, v
    _stop(states, outputs, call.start, call.active)
    return states, outputs, (call.a, call.start, states, plan[0], ())


def _stop(states: Arrays, outputs: Arrays, initial: Arrays, active: Mask) -> None:
    """Write into the states what they are behind the end of each sample, and zeros into the outputs."""
    for b, end in enumerate(active.sum(0) if active is not None else ()):
        for k, v in states.items():
            v[end:, b] = v[end - 1, b] if end else initial[k][b]
        for v in outputs.values():
            v[end:, b] = 0


def _flowed_back(call: _Call, tape: Any, full: Arrays, last: Arrays, flow: Any) -> Gradients:
    """Return the gradients of a run, whose pieces are run again from the last to the first."""
    call.a, begun, states, piece, _ = tape
    sums: Any = {}, _input_sums(call), {}
    carry = last
    for lo, hi in reversed(_spanned(_end(call.T, call.active), piece)):
        start = {k: v[lo - 1] if lo else begun[k] for k, v in states.items()}
        given = {k: None if v is None else v[lo:hi] for k, v in full.items()}
        part = _part(call, start, lo, hi)[2]
        carry = _piece_back(call, sums, part, given, carry, flow, lo, hi)
        del part
    return *sums[:2], carry, sums[2]


def _piece_back(call: _Call, sums: Any, tape: Any, full: Arrays, carry: Arrays, flow: Any, lo: int, hi: int) -> Arrays:
    """Flow back through the steps lo to hi, and return the adjoints of the states before them. `sums` are of gradients: of
    parameters, of inputs, of what resets send to the initial states."""
    here = None if flow is None else {k: v[lo:hi] for k, v in flow.items()}
    params, inputs, carry, resets = _backward(tape, full, carry, here, *call.of(lo, hi))
    for k, v in params.items():
        sums[0][k] = sums[0][k] + v if k in sums[0] else v
    for k, v in inputs.items():
        sums[1][k][lo:hi] = v
    for k, v in resets.items():
        sums[2][k] = sums[2].get(k, 0) + v
    return carry


def _trained(call: _Call, plan: tuple[int, int], flow: Any) -> tuple[Any, Gradients, Arrays]:
    """Return the loss, its gradients, and the states at the end: a schedule says which pieces are run ahead, to hold the
    states behind them, and which are run with their tape and flow back at once."""
    loss, (piece, slots) = _Loss(call), plan
    held = {0: call.start}
    sums: Any = {}, _input_sums(call), {}
    carry: Arrays = {}
    final: Any = None
    for lo, hi, is_last in _schedule(_end(call.T, call.active), piece, slots):
        if not is_last:
            held[hi] = _ahead_to(call, held[lo], lo, hi, piece, loss)
            continue
        start = held.pop(lo)
        states, outputs, tape = _part(call, start, lo, hi)
        final = _final(states, start, _cut(call.active, lo, hi)) if final is None else final
        targets = _data(call, [k for k in TARGETS if LEAD[k] == 2], lo, hi)
        full, behind = loss.of(call, call.a | targets, states, outputs, lo, hi)
        del states, outputs, targets
        carry = _piece_back(call, sums, tape, full, carry or behind, flow, lo, hi)
        call.ws.give(tape[-1])
        del tape, full
    return loss.total, (_added(sums[0], loss.own), sums[1], carry, sums[2]), final


def _ahead_to(call: _Call, start: Arrays, lo: int, hi: int, piece: int, loss: Any) -> Arrays:
    """Return the states before step `hi`, run piece by piece from those before step `lo`; note what the loss reads."""
    for first in range(lo, hi, piece):
        end = min(first + piece, hi)
        states, outputs, _ = _part(call, start, first, end)
        start = _final(states, start, _cut(call.active, first, end))
        loss.note(states | outputs, first, end)
        del states, outputs, _
    return start
