"""A loss that is taken at the last step of each sample."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import STATES, Array, Arrays
from symbptt.codegen.runtime.losses import _weights
from symbptt.codegen.runtime.masks import _kept
from symbptt.codegen.runtime.sweeps import _loss


def _counted(call: _Call) -> Array:
    """Return the steps and samples whose loss counts."""
    ends = np.full(call.B, call.T) if call.active is None else call.active.sum(0)
    counted = np.arange(call.T)[:, None] == ends - 1
    return counted if call.counts is None else counted & call.counts


def _places(call: _Call) -> tuple[int, ...]:
    """Return the shape of what tells which losses count."""
    return (call.B,)


def _of_all(loss: Any, call: _Call, states: Arrays, outputs: Arrays) -> tuple[Arrays, Arrays]:
    """Compute the loss; return the cotangents of all steps, and those behind the last."""
    found: tuple[Arrays, Arrays] = loss.of(call, call.a, states, outputs, 0, call.T)
    return found


class _Loss:
    """The loss, and the gradients of its own parameters; what it reads is noted as the steps are run."""

    def __init__(self, call: _Call) -> None:
        T, B, active = call.T, call.B, call.active
        self.counted = np.full(B, T > 0) if active is None else active.any(0)
        self.counted = self.counted if call.counts is None else self.counted & call.counts
        self.at = np.full(B, max(T - 1, 0)) if active is None else np.maximum(active.sum(0) - 1, 0)
        self.weights = _weights(self.counted, call.dtype)
        self.total: Any = None
        self.read: Arrays = {}
        self.given: Arrays = {}
        self.own: Arrays = {}

    def note(self, values: Arrays, lo: int, hi: int) -> None:
        """Read what is the last step of a sample among steps lo to hi."""
        ended, place = self.ends(lo, hi)
        for k, v in values.items():
            self.read.setdefault(k, np.zeros(v.shape[1:], v.dtype))[ended] = v[place]

    def ends(self, lo: int, hi: int) -> tuple[Array, tuple[Array, Array]]:
        """Return the samples whose last step is one of lo to hi, and where that is among these steps."""
        (ended,) = ((lo <= self.at) & (self.at < hi)).nonzero()
        return ended, (self.at[ended] - lo, ended)

    def of(self, call: _Call, a: Arrays, states: Arrays, outputs: Arrays, lo: int, hi: int) -> tuple[Arrays, Arrays]:
        """Compute the loss when its last piece comes, the first that flows back; return the cotangents of steps lo to hi,
        and those behind the last."""
        last: Arrays = dict.fromkeys(STATES)
        if self.total is None:
            self.note(states | outputs, lo, hi)
            value, self.given, self.own = _loss(a, self.read, self.weights, call.sizes, hi - lo, call.B, call.dtype)
            self.total = np.sum(_kept(self.counted, value) * self.weights)
            last = {k: self.given.get(k) for k in STATES}
        full: Arrays = dict.fromkeys([*states, *outputs])
        for k in [k for k in outputs if k in self.given]:
            ended, place = self.ends(lo, hi)
            full[k] = np.zeros_like(outputs[k])
            full[k][place] = self.given[k][ended]
        return full, last
