"""All steps at once: one piece, which is run with its tape, and flowed back through."""

from typing import Any

from symbptt.codegen.runtime.arguments import _check_data
from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import Arrays, Gradients
from symbptt.codegen.runtime.every import _Loss, _of_all
from symbptt.codegen.runtime.losses import _added
from symbptt.codegen.runtime.masks import _final, _kept, _stopped
from symbptt.codegen.runtime.sweeps import _backward, _forward


def _prepared(call: _Call, trains: bool) -> Any:
    """Check the data of a call."""
    _check_data(call.a, call.active, call.sizes)


def _ran(call: _Call, plan: Any) -> tuple[Arrays, Arrays, Any]:
    """Return the states and outputs of a run, and its tape."""
    states, outputs, tape = _forward(call.a, call.start, *call.of(0, call.T))
    return _stopped(states, call.start, call.active), {k: _kept(call.active, v) for k, v in outputs.items()}, tape


def _flowed_back(call: _Call, tape: Any, full: Arrays, last: Arrays, flow: Any) -> Gradients:
    """Return the gradients of a run."""
    return _backward(tape, full, last, flow, *call.of(0, call.T))


def _trained(call: _Call, plan: Any, flow: Any) -> tuple[Any, Gradients, Arrays]:
    """Return the loss, its gradients, and the states at the end."""
    loss = _Loss(call)
    states, outputs, tape = _forward(call.a, call.start, *call.of(0, call.T))
    full, last = _of_all(loss, call, states, outputs)
    final = _final(states, call.start, call.active)
    params, inputs, state, resets = _backward(tape, full, last, flow, *call.of(0, call.T))
    call.ws.give(tape[-1])
    return loss.total, (_added(params, loss.own), inputs, state, resets), final
