"""The gradients of a truncated loss, and the score of some steps by the sweep forward, for a module that checks itself."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import INPUTS, LEAD, PARAMS, SHAPES, STATES, TARGETS, Arrays
from symbptt.codegen.runtime.driver import value_and_grad
from symbptt.codegen.runtime.every import _counted
from symbptt.codegen.runtime.losses import _weights
from symbptt.codegen.runtime.masks import _kept
from symbptt.codegen.runtime.selfcheck import _Draw
from symbptt.codegen.runtime.sweeps import _loss


def _of_loss(draw: _Draw) -> Any:
    """Return the gradients of the loss, the arguments that have one, and the score of some steps."""
    groups = map(draw.of, (PARAMS, INPUTS, TARGETS, STATES))
    return value_and_grad(*groups, steps=draw.T, monitor=draw.monitor, **draw.masks)[1], SHAPES, _loss_score


def _loss_score(call: _Call, values: Arrays, lo: int, hi: int) -> Any:
    """Return the loss of steps lo to hi."""
    a, counted = call.a, _counted(call)[lo:hi]
    weights = _weights(_counted(call), call.dtype)[lo:hi]
    targets = {k: a[k][lo:hi] if LEAD[k] == 2 else np.broadcast_to(a[k], (hi - lo, *a[k].shape)) for k in TARGETS}
    loss, _, _ = _loss(a | targets, values, weights, call.sizes, hi - lo, call.B, call.dtype)
    return np.sum(_kept(counted, loss) * weights)
