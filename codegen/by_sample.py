"""The samples of a call one by one: what is given for each, and the part that it has in a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.language.model import Model


def sample(
    model: Model,
    b: int,
    inputs: Mapping[str, Any],
    targets: Mapping[str, Any],
    state: Mapping[str, Any],
    active: Any,
    reset: Any,
) -> dict[str, Any]:
    """Return the arguments of one sample, as a batch of one; `active` and `reset` (T, B) tell who runs and who begins anew, or are none."""
    # A slice and no number, so that the axis of samples stays.
    one = slice(b, b + 1)
    at_every, known = model.at == "every", {a.name for a in model.targets}
    # A context without an axis of samples is that of each.
    contexts = {a.name: len(a.shape) for a in model.arguments if a.role == "context"}
    once = {k: np.asarray(inputs[k]) for k in contexts}
    # A target that is not known has no axis of samples to take; the module refuses it by name.
    own = {k: np.asarray(v) for k, v in targets.items() if k in known}
    return {
        "inputs": {k: np.asarray(v)[:, one] for k, v in inputs.items() if k not in once}
        | {k: v if v.ndim == contexts[k] else v[one] for k, v in once.items()},
        "targets": {**targets, **{k: v[:, one] if at_every else v[one] for k, v in own.items()}},
        "state": {k: np.asarray(v)[one] for k, v in state.items()},
        "lengths": None if active is None else active[:, one].sum(0),
        "reset": None if reset is None else reset[:, one],
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
