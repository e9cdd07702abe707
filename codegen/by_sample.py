"""The samples of a call one by one: what is given for each, and the part that it has in a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, counted
from symbptt.language.model import Model


def check_samples(model: Model, targets: Mapping[str, Any], B: int) -> None:
    """Raises: ArgumentError for a target that is not there for each of the samples."""
    # A loss at the last step has one target a sample, without an axis of steps.
    axis = 1 if model.at == "every" else 0
    for a in model.targets:
        shape = np.shape(targets[a.name]) if a.name in targets else (B, B)
        if a.role == "target" and (len(shape) <= axis or shape[axis] != B):
            lead = "(T, B, ...)" if axis else "(B, ...)"
            raise ArgumentError(f"{a.name}: {lead} of {counted(B, 'sample')} is expected, got shape {shape}")


def sample(
    model: Model,
    b: int,
    inputs: Mapping[str, Any],
    targets: Mapping[str, Any],
    state: Mapping[str, Any],
    lengths: Any,
    reset: Any,
) -> dict[str, Any]:
    """Return the arguments of one sample, as a batch of one."""
    # A slice and no number, so that the axis of samples stays.
    one = slice(b, b + 1)
    at_every = model.at == "every"
    return {
        "inputs": {k: np.asarray(v)[:, one] for k, v in inputs.items()},
        "targets": {k: np.asarray(v)[:, one] if at_every else np.asarray(v)[one] for k, v in targets.items()},
        "state": {k: np.asarray(v)[one] for k, v in state.items()},
        "lengths": None if lengths is None else np.asarray(lengths)[one],
        "reset": None if reset is None else np.asarray(reset)[:, one],
    }


def shares(model: Model, active: Any, T: int, B: int) -> Any:
    """Return by what the gradient of each sample alone is multiplied, (B,), so that all add up to that of the batch: 1 in a sum, in a
    mean the part of the steps that count which are its own."""
    if model.reduction == "sum":
        return np.ones(B)
    steps = np.full(B, T) if active is None else active.sum(0)
    # Of a loss at the last step a sample counts once, if it has a step at all.
    counts = steps if model.at == "every" else np.minimum(steps, 1)
    return counts / max(counts.sum(), 1)
