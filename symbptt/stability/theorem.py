"""What is proven of a cell with its parameters: the smallest rate of the theorems at hand."""

from __future__ import annotations

from collections.abc import Iterator
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
    """Return the smallest proven rate of a cell: of the conditions in both norms, and over the box of the run's data."""
    found = [*_conditions(run), _certified(run)]
    rate, norm, hypothesis = min(found, key=lambda item: item[0])
    return Theorem(float(rate) if np.isfinite(rate) else None, norm, hypothesis)


def _conditions(run: Trajectory) -> Iterator[tuple[float, str, str]]:
    """The conditions of the cell that hold for its initial states."""
    start = run.of.by_name(run.start)
    for norm in ("2", "max"):
        condition = vanishing_condition(run.of.cell, norm=norm)
        if all(np.abs(start[name]).max() <= 1 for name in condition.bounded):
            free = {k: np.full(v.shape[1:], 1.0 if k in condition.bounded else np.inf) for k, v in start.items()}
            bounds = {k: (-v, v) for k, v in free.items()}  # arrays: they tell sizes that no parameter has
            yield condition.rate(run.of.params, bounds), norm, "any inputs"


def _certified(run: Trajectory) -> tuple[float, str, str]:
    known = [a.name for a in run.of.cell.arguments if a.role in ("input", "state")]
    data = {**run.inputs, **{k: v[None] for k, v in run.of.by_name(run.start).items()}}
    box = {name: (data[name].min((0, 1)), data[name].max((0, 1))) for name in known if name in data}
    found = certified_rate(run.of.cell, run.of.params, box)
    return found.rate, found.norm, "inputs and initial states in the range of the run's"
