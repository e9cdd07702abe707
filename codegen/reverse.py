"""Runs that take the steps of a sequence from the last to the first.

The same module runs on data in the other order; what it gives is put back, so that a value stands at its own step. Of a sample that
ends earlier its own steps alone are turned. Example of a sample with 3 of 5 steps: x_1 x_2 x_3 · · is run as x_3 x_2 x_1 · ·.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Order:
    """The steps of each sample from the last to the first; `lengths` (B,) where some end earlier, `lead` the axes of steps and samples
    that arrays have: (T, B), or (T,)."""

    lengths: Any
    lead: tuple[int, ...]

    def turned(self, x: Any) -> Any:
        """Return an array with its steps, the first axis, in the other order; turned twice it is as it was."""
        x = np.asarray(x)
        # An array of other steps or samples is left as it is, which the module refuses: an index would take of it what fits.
        if x.shape[: len(self.lead)] != self.lead:
            return x
        if self.lengths is None:
            return np.ascontiguousarray(x[::-1])
        t = np.arange(len(x))[:, None]
        # What lies behind the end of a sample stays there, where nothing reads it.
        at = np.where(t < self.lengths, self.lengths - 1 - t, t)
        return x[at, np.arange(len(self.lengths))] if len(self.lead) > 1 else x[at[:, 0]]

    def of(self, arrays: Arrays | None, names: Collection[str]) -> dict[str, Any]:
        """Return arrays by name, those of some names turned."""
        return {k: self.turned(v) if k in names else v for k, v in (arrays or {}).items()}

    def own_steps(self, grads: Any) -> Any:
        """Return gradients of a run in this order, those of inputs at their own steps."""
        grads.inputs = self.of(grads.inputs, grads.inputs)
        return grads

    def resets(self, reset: Any) -> Any:
        """Return the resets of a run in this order: where a sequence begins on the way forward, another one ends on the way back."""
        if reset is None:
            return None
        # A sequence that begins at step t ends the one before at t - 1, which is where the way back enters it.
        ends = np.concatenate([reset[1:], np.zeros_like(reset[:1])])
        return self.turned(ends if len(self.lead) > 1 else ends[:, 0])


class ReversedRun:
    """What forward with `reverse=True` returns: `.states` and `.outputs` by name, each value at its own step, and `.final`, the states
    behind the step that is taken last."""

    def __init__(self, inner: Any, order: Order) -> None:
        self.inner, self.order = inner, order
        self.states = order.of(inner.states, inner.states)
        self.outputs = order.of(inner.outputs, inner.outputs)

    def __repr__(self) -> str:
        return f"<reversed {repr(self.inner)[1:-1]}>"

    @property
    def final(self) -> dict[str, Any]:
        """The states behind the step that is taken last: at the first step of each sample.

        Raises: ArgumentError where there is no step.
        """
        return final_of(self.inner)

    def cotangents(self, given: Arrays) -> dict[str, Any]:
        """Return arrays of cotangents by name in the order in which the steps were taken; those of one step are of the one taken last."""
        # One axis less is a cotangent of one step, and belongs to the step that the run takes last.
        ranks = {k: np.ndim(v) for k, v in {**self.states, **self.outputs}.items()}
        return self.order.of(given, [k for k, v in given.items() if np.ndim(v) == ranks.get(k)])


def final_of(run: Any) -> dict[str, Any]:
    """Return the states of a run behind its last step, of each sample behind its own last one.

    Raises: ArgumentError where there is no step.
    """
    if any(not len(v) for v in run.states.values()):
        raise ArgumentError("a run of no steps (T = 0) has no last state\n  take the state that it began with")
    # From the length of a sample on its states are those of its last step.
    return {k: v[-1] for k, v in run.states.items()}
