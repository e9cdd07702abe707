"""What a loss at every step of each sample tells without gradients: its value, and what it predicts."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call, _cut
from symbptt.codegen.runtime.cell import TARGETS, Array, Arrays
from symbptt.codegen.runtime.every import _counted
from symbptt.codegen.runtime.losses import _weights
from symbptt.codegen.runtime.masks import _kept
from symbptt.codegen.runtime.parts import _data
from symbptt.codegen.runtime.sweeps import _loss_size, _loss_value, _predicted
from symbptt.codegen.runtime.workspace import _loss_steps


class _Value:
    """The value of the loss, of the pieces so far."""

    def __init__(self, call: _Call) -> None:
        self.counted = _counted(call)
        self.weights = _weights(self.counted, call.dtype)
        self.total = call.dtype.type(0)

    def add(self, call: _Call, values: Arrays, lo: int, hi: int) -> None:
        """Add the loss of steps lo to hi."""
        steps = _loss_steps(hi - lo, call.B, _loss_size(**call.sizes))
        for s in range(lo, hi, steps):
            e = min(s + steps, hi)
            a, read = call.a | _data(call, TARGETS, s, e), {k: v[s - lo : e - lo] for k, v in values.items()}
            loss = _loss_value(a, read, call.sizes, e - s, call.B, call.dtype)
            self.total += np.sum(_kept(self.counted[s:e], loss) * self.weights[s:e])

    def end(self, call: _Call) -> Any:
        """Return the loss of all steps."""
        return self.total


class _Prediction:
    """What the loss returns beside its value, at the steps so far."""

    def __init__(self, call: _Call) -> None:
        self.found: Arrays = {}

    def add(self, call: _Call, values: Arrays, lo: int, hi: int) -> None:
        """Write what is predicted at steps lo to hi, zeros behind the end of a sample."""
        for k, v in _predicted(call.a, values, call.sizes, hi - lo, call.B, call.dtype).items():
            v = np.broadcast_to(v, (hi - lo, call.B, *v.shape[2:]))
            room = self.found.setdefault(k, np.zeros((call.T, *v.shape[1:]), v.dtype))
            room[lo:hi] = _kept(_cut(call.active, lo, hi), v)

    def end(self, call: _Call) -> Arrays:
        """Return what is predicted at all steps."""
        return self.found


def _alone(v: Array) -> Array:
    """Return what is predicted of the one sample of a call without a batch axis."""
    return v[:, 0]


def _tell(stepper: Any, states: Arrays, outputs: Arrays) -> None:
    """Add to the outputs of a step what the loss predicts there."""
    read, B = {k: v[None] for k, v in (states | outputs).items()}, stepper.B
    for k, v in _predicted(stepper.a, read, stepper.sizes, 1, B, stepper.dtype).items():
        outputs[k] = v[0] if v.shape[:2] == (1, B) else np.broadcast_to(v, (1, B, *v.shape[2:]))[0].copy()
