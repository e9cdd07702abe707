"""A loss that is taken at every step of each sample."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import STATES, TARGETS, Array, Arrays
from symbptt.codegen.runtime.losses import _added, _weights
from symbptt.codegen.runtime.masks import _kept
from symbptt.codegen.runtime.sweeps import _loss, _loss_size
from symbptt.codegen.runtime.workspace import _loss_steps


def _counted(call: _Call) -> Array:
    """Return the steps and samples whose loss counts."""
    counted = np.ones((call.T, call.B), bool) if call.active is None else call.active
    return counted if call.counts is None else counted & call.counts


def _places(call: _Call) -> tuple[int, ...]:
    """Return the shape of what tells which losses count."""
    return call.T, call.B


def _of_all(loss: Any, call: _Call, states: Arrays, outputs: Arrays) -> tuple[Arrays, Arrays]:
    """Add the loss of all steps, block by block, so that what is as wide as the classes of a softmax is never there of all at once;
    return the cotangents of all steps, and those behind the last."""
    T, steps = call.T, _loss_steps(call.T, call.B, _loss_size(**call.sizes))
    if steps >= T:
        found: tuple[Arrays, Arrays] = loss.of(call, call.a, states, outputs, 0, T)
        return found
    full: Arrays = dict.fromkeys([*states, *outputs])
    for lo in range(0, T, steps):
        hi = min(lo + steps, T)
        here = [{k: v[lo:hi] for k, v in group.items()} for group in (states, outputs)]
        part, last = loss.of(call, call.a | {k: call.a[k][lo:hi] for k in TARGETS}, *here, lo, hi)
        for k, v in part.items():
            if v is not None:
                full[k] = np.empty((T, *v.shape[1:]), v.dtype) if full[k] is None else full[k]
                full[k][lo:hi] = v
    return full, last


class _Loss:
    """The loss of the pieces so far, and the gradients of its own parameters."""

    def __init__(self, call: _Call) -> None:
        self.counted = _counted(call)
        self.weights = _weights(self.counted, call.dtype)
        self.total = call.dtype.type(0)
        self.own: Arrays = {}

    def note(self, values: Arrays, lo: int, hi: int) -> None:
        """Read nothing of steps that are run again."""

    def of(self, call: _Call, a: Arrays, states: Arrays, outputs: Arrays, lo: int, hi: int) -> tuple[Arrays, Arrays]:
        """Add the loss of steps lo to hi; return the cotangents of these steps, and those behind the last."""
        weights = self.weights[lo:hi]
        value, full, own = _loss(a, states | outputs, weights, call.sizes, hi - lo, call.B, call.dtype)
        self.total += np.sum(_kept(self.counted[lo:hi], value) * weights)
        self.own = _added(self.own, own)
        return dict.fromkeys([*states, *outputs]) | full, dict.fromkeys(STATES)
