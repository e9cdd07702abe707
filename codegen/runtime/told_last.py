"""What a loss at the last step of each sample tells without gradients: its value, and what it predicts."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import Array, Arrays
from symbptt.codegen.runtime.last import _Loss
from symbptt.codegen.runtime.masks import _kept
from symbptt.codegen.runtime.sweeps import _loss_value, _predicted


class _Value:
    """The value of the loss; what it reads is noted as the steps are run."""

    def __init__(self, call: _Call) -> None:
        self.loss = _Loss(call)

    def add(self, call: _Call, values: Arrays, lo: int, hi: int) -> None:
        """Note what is the last step of a sample among steps lo to hi."""
        self.loss.note(values, lo, hi)

    def end(self, call: _Call) -> Any:
        """Return the loss."""
        loss = self.loss
        value = _loss_value(call.a, loss.read, call.sizes, call.T, call.B, call.dtype)
        return call.dtype.type(np.sum(_kept(loss.counted, value) * loss.weights))


class _Prediction:
    """What the loss returns beside its value; what it reads is noted as the steps are run."""

    def __init__(self, call: _Call) -> None:
        self.loss = _Loss(call)

    def add(self, call: _Call, values: Arrays, lo: int, hi: int) -> None:
        """Note what is the last step of a sample among steps lo to hi."""
        self.loss.note(values, lo, hi)

    def end(self, call: _Call) -> Arrays:
        """Return what is predicted at the last step of each sample, zeros where it has none."""
        found = _predicted(call.a, self.loss.read, call.sizes, call.T, call.B, call.dtype)
        found = {k: np.broadcast_to(v, (call.B, *v.shape[1:])) for k, v in found.items()}
        return {k: _kept(self.loss.counted, v) for k, v in found.items()}


def _alone(v: Array) -> Array:
    """Return what is predicted of the one sample of a call without a batch axis."""
    return v[0, ...]


def _tell(stepper: Any, states: Arrays, outputs: Arrays) -> None:
    """Add to the outputs of a step what the loss predicts where that is the last one."""
    for k, v in _predicted(stepper.a, states | outputs, stepper.sizes, 1, stepper.B, stepper.dtype).items():
        outputs[k] = v if len(v) == stepper.B else np.broadcast_to(v, (stepper.B, *v.shape[1:])).copy()
