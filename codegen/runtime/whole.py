"""All steps at once: one piece, which is run with its tape, and flowed back through."""

from typing import Any

from symbptt.codegen.runtime.arguments import _check_data
from symbptt.codegen.runtime.cell import Arrays, Gradients, Mask, Sizes
from symbptt.codegen.runtime.every import _Loss
from symbptt.codegen.runtime.losses import _added
from symbptt.codegen.runtime.masks import _final, _kept, _stopped
from symbptt.codegen.runtime.sweeps import _backward, _forward


def _prepared(a: Arrays, sizes: Sizes, T: int, B: int, dtype: Any, active: Mask, reset: Mask, trains: bool) -> Any:
    """Check the data of a call."""
    _check_data(a, active, sizes)


def _ran(
    plan: None, a: Arrays, sizes: Sizes, T: int, B: int, dtype: Any, active: Mask, reset: Mask, ws: Any
) -> tuple[Arrays, Arrays, Any]:
    """Return the states and outputs of a run, and its tape."""
    states, outputs, tape = _forward(a, a, sizes, T, B, dtype, active, reset, ws)
    return _stopped(states, a, active), {k: _kept(active, v) for k, v in outputs.items()}, tape


def _flowed_back(*run: Any) -> Gradients:
    """Return what `_backward` does."""
    return _backward(*run)


def _trained(
    plan: None, a: Arrays, flow: Any, sizes: Sizes, T: int, B: int, dtype: Any, active: Mask, reset: Mask, ws: Any
) -> tuple[Any, Gradients, Arrays]:
    """Return the loss, the gradients of parameters, inputs and states, and the states at the end."""
    loss = _Loss(T, B, dtype, active)
    states, outputs, tape = _forward(a, a, sizes, T, B, dtype, active, reset, ws)
    full, last = loss.of(a, states, outputs, 0, T, sizes, B, dtype)
    final = _final(states, a, active)
    params, inputs, state, resets = _backward(tape, full, last, flow, sizes, T, B, dtype, active, reset, ws)
    ws.give(tape[-1])
    return loss.value, (_added(params, loss.own), inputs, state, resets), final
