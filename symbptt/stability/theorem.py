"""What is proven of a cell with its parameters: the smallest rate of the theorems at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symbptt.stability.certified import certified_rate
from symbptt.stability.trajectory import Trajectory
from symbptt.stability.vanishing import vanishing_condition


@dataclass(frozen=True)
class Theorem:
    """‖∂s_t/∂s_k‖ ≤ rate^(t−k) in the norm named; `rate` is None where no bound is finite. `hypothesis` is what it rests on."""

    rate: float | None
    norm: str
    hypothesis: str


def theorem(run: Trajectory) -> Theorem:
    """Return the smallest proven rate of a cell: of the conditions in both norms, and over the box of the run's inputs."""
    cell, params = run.of.cell, run.of.params
    found = [(vanishing_condition(cell, norm=norm).rate(params), norm, "any inputs") for norm in ("2", "max")]
    box = {k: (v.min(), v.max()) for k, v in run.inputs.items() if v.dtype.kind == "f"}
    certified = certified_rate(cell, params, box)
    found.append((certified.rate, certified.norm, "inputs within those of the run" if box else "states of the invariant box"))
    rate, norm, hypothesis = min(found, key=lambda item: item[0] if np.isfinite(item[0]) else np.inf)
    return Theorem(float(rate) if np.isfinite(rate) else None, norm, hypothesis)
