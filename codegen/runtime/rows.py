"""A ragged batch in rows: runs, the way back, and a loss."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import INPUTS, STATES, Array, Arrays, Gradients, _shapes
from symbptt.codegen.runtime.every import _Loss, _of_all
from symbptt.codegen.runtime.losses import _added
from symbptt.codegen.runtime.masks import _final, _kept, _stopped
from symbptt.codegen.runtime.norms import _norms
from symbptt.codegen.runtime.shared import _Rows, _RowsBack
from symbptt.codegen.runtime.sweeps import _backward, _forward
from symbptt.codegen.runtime.types import _type_of


def _ran(call: _Call, plan: Any) -> tuple[Arrays, Arrays, Any]:
    """Return the states and outputs of a run, and its tape behind how a ragged batch lies in rows."""
    states, outputs, tape = _swept(call)
    states = _stopped(states, call.start, call.active) if tape[0] is None else states
    return states, {k: _kept(call.active, v) for k, v in outputs.items()}, tape


def _swept(call: _Call) -> tuple[Arrays, Arrays, Any]:
    """Return the states and outputs of a sweep, and its tape behind how a ragged batch lies in rows; what lies behind the end of a sample
    is of no meaning, and finite where all of the sample is."""
    if call.active is None or call.reset is not None or not call.active.any():
        states, outputs, tape = _forward(call.a, call.start, *call.of(0, call.T))
        return states, outputs, (None, tape, tape[-1])
    rows = _Rows(call.active)
    a = call.a | {k: rows.laid(call.a[k]) for k in INPUTS}
    start = {k: v[rows.first] for k, v in call.start.items()}
    states, outputs, tape = _forward(a, start, *_of(call, rows, rows))
    states, outputs = rows.stopped(states, call.start), rows.stopped(outputs, {})
    return states, outputs, (rows, tape, tape[-1])


def _of(call: _Call, rows: _Rows, turns: Any) -> Any:
    """Return what a sweep over rows takes beside arrays."""
    return call.sizes, rows.T, rows.rows, call.dtype, None, turns, call.ws


def _flowed_back(call: _Call, tape: Any, full: Arrays, last: Arrays, flow: Any) -> Gradients:
    """Return the gradients of a run."""
    rows, inner, _ = tape
    if rows is None:
        return _backward(inner, full, last, flow, *call.of(0, call.T))
    given = {k: None if v is None else rows.sent(v) for k, v in full.items()}
    behind = {k: None if v is None else rows.behind(v) for k, v in last.items()}
    norms = {k: np.zeros(rows.sources.shape, v.dtype) for k, v in (flow or {}).items()}
    first = _firsts(call, rows, last)
    params, inputs, state, _ = _backward(
        inner, given, behind, norms or None, *_of(call, rows, _RowsBack(rows, last, first))
    )
    del given  # for the memory that it holds
    for k, found in zip(STATES, first):
        found[rows.first] = state[k]
    for k in flow or ():
        flow[k][...] = np.ldexp(*_norms([rows.taken(norms[k])]))
    state = dict(zip(STATES, first))
    return params, {k: rows.taken(v) for k, v in inputs.items()}, state, dict.fromkeys(STATES, 0)


def _firsts(call: _Call, rows: _Rows, last: Arrays) -> list[Array]:
    """Return room for the adjoints of the initial states, with those of samples that have no step."""
    shapes, empty = _shapes(**call.sizes), rows.begin == rows.end
    found = [np.zeros((call.B, *shapes[k]), _type_of(k, call.dtype)) for k in STATES]
    for k, v in zip(STATES, found):
        if last[k] is not None:
            v[empty] = last[k][empty]
    return found


def _trained(call: _Call, plan: Any, flow: Any) -> tuple[Any, Gradients, Arrays]:
    """Return the loss, its gradients, and the states at the end."""
    loss = _Loss(call)
    states, outputs, tape = _swept(call)
    full, last = _of_all(loss, call, states, outputs)
    final = _final(states, call.start, call.active)
    params, inputs, state, resets = _flowed_back(call, tape, full, last, flow)
    call.ws.give(tape[-1])
    return loss.total, (_added(params, loss.own), inputs, state, resets), final
