"""The gradients of a loss, and its score by the sweep forward, for a module that checks itself."""

from typing import Any

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import INPUTS, PARAMS, SHAPES, STATES, TARGETS, Arrays
from symbptt.codegen.runtime.driver import value_and_grad
from symbptt.codegen.runtime.every import _Loss
from symbptt.codegen.runtime.selfcheck import _Draw


def _of_loss(draw: _Draw) -> Any:
    """Return the gradients of the loss, the arguments that have one, and the score of all steps."""
    groups = map(draw.of, (PARAMS, INPUTS, TARGETS, STATES))
    return value_and_grad(*groups, steps=draw.T, monitor=draw.monitor, **draw.masks)[1], SHAPES, _loss_score


def _loss_score(call: _Call, values: Arrays, lo: int, hi: int) -> Any:
    """Return the loss of all steps."""
    loss, states = _Loss(call), {k: values[k] for k in STATES}
    loss.of(call, call.a, states, {k: v for k, v in values.items() if k not in states}, lo, hi)
    return loss.total
