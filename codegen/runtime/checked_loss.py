"""The gradients of a loss, and its score by the sweep forward, for a module that checks itself."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.arguments import OUTSIDE
from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import PARAMS, SHAPES, STATES, TARGETS, Arrays
from symbptt.codegen.runtime.driver import value_and_grad
from symbptt.codegen.runtime.every import _Loss
from symbptt.codegen.runtime.selfcheck import _Draw


def _of_loss(draw: _Draw) -> Any:
    """Return the gradients of the loss, the arguments that have one, the score of all steps, and where norms are compared the
    cotangents that the loss sends."""
    groups = map(draw.of, (PARAMS, OUTSIDE, TARGETS, STATES))
    found = value_and_grad(*groups, steps=draw.T, monitor=draw.monitor, **draw.masks)[1]
    return found, SHAPES, _loss_score, _loss_sent(draw) if draw.monitor else {}


def _loss_sent(draw: _Draw) -> Arrays:
    """Return the cotangents of all states and outputs by the loss alone."""
    call = draw.call(draw.a, np.dtype(float))
    full, last = _Loss(call).of(call, call.a, draw.run.states, draw.run.outputs, 0, draw.T)
    return {k: v for part in (full, last) for k, v in part.items() if v is not None}


def _loss_score(call: _Call, values: Arrays, lo: int, hi: int) -> Any:
    """Return the loss of all steps."""
    loss, states = _Loss(call), {k: values[k] for k in STATES}
    loss.of(call, call.a, states, {k: v for k, v in values.items() if k not in states}, lo, hi)
    return loss.total
