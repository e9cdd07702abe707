"""The gradients of a truncated loss, and the score of some steps by the sweep forward, for a module that checks itself."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.arguments import OUTSIDE
from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import LEAD, PARAMS, SHAPES, STATES, TARGETS, Arrays
from symbptt.codegen.runtime.driver import value_and_grad
from symbptt.codegen.runtime.every import _counted
from symbptt.codegen.runtime.losses import _weights
from symbptt.codegen.runtime.masks import _kept
from symbptt.codegen.runtime.selfcheck import _Draw
from symbptt.codegen.runtime.sweeps import _loss


def _of_loss(draw: _Draw) -> Any:
    """Return the gradients of the loss, the arguments that have one, the score of some steps, and where norms are compared the
    cotangents that the loss sends."""
    groups = map(draw.of, (PARAMS, OUTSIDE, TARGETS, STATES))
    found = value_and_grad(*groups, steps=draw.T, monitor=draw.monitor, **draw.masks)[1]
    return found, SHAPES, _loss_score, _loss_sent(draw) if draw.monitor else {}


def _loss_sent(draw: _Draw) -> Arrays:
    """Return the cotangents of all states and outputs by the loss alone."""
    call, values = draw.call(draw.a, np.dtype(float)), draw.run.states | draw.run.outputs
    sent: Arrays = _loss_of(call, values, 0, draw.T)[1]
    return sent


def _loss_score(call: _Call, values: Arrays, lo: int, hi: int) -> Any:
    """Return the loss of steps lo to hi."""
    counted, weights = (x[lo:hi] for x in (_counted(call), _weights(_counted(call), call.dtype)))
    return np.sum(_kept(counted, _loss_of(call, values, lo, hi)[0]) * weights)


def _loss_of(call: _Call, values: Arrays, lo: int, hi: int) -> Any:
    """Return the loss of each step from lo to hi, the cotangents that it sends, and the gradients of its own parameters."""
    a = call.a
    weights = _weights(_counted(call), call.dtype)[lo:hi]
    targets = {k: a[k][lo:hi] if LEAD[k] == 2 else np.broadcast_to(a[k], (hi - lo, *a[k].shape)) for k in TARGETS}
    return _loss(a | targets, values, weights, call.sizes, hi - lo, call.B, call.dtype)
