"""A loss that is taken at every step of each sample."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import STATES, Array, Arrays, Mask, Sizes
from symbptt.codegen.runtime.losses import _added, _weights
from symbptt.codegen.runtime.masks import _kept
from symbptt.codegen.runtime.sweeps import _loss


def _counted(T: int, B: int, active: Mask) -> Array:
    """Return the steps and samples whose loss counts."""
    return np.ones((T, B), bool) if active is None else active


class _Loss:
    """The loss of the pieces so far, and the gradients of its own parameters."""

    def __init__(self, T: int, B: int, dtype: Any, active: Mask) -> None:
        self.counted = _counted(T, B, active)
        self.weights = _weights(self.counted, dtype)
        self.value = dtype.type(0)
        self.own: Arrays = {}

    def note(self, values: Arrays, lo: int, hi: int) -> None:
        """Read nothing of steps that are run again."""

    def of(
        self, a: Arrays, states: Arrays, outputs: Arrays, lo: int, hi: int, sizes: Sizes, B: int, dtype: Any
    ) -> tuple[Arrays, Arrays]:
        """Add the loss of steps lo to hi; return the cotangents of these steps, and those behind the last."""
        weights = self.weights[lo:hi]
        value, full, own = _loss(a, states | outputs, weights, sizes, hi - lo, B, dtype)
        self.value += np.sum(_kept(self.counted[lo:hi], value) * weights)
        self.own = _added(self.own, own)
        return dict.fromkeys([*states, *outputs]) | full, dict.fromkeys(STATES)
