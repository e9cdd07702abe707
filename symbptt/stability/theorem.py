"""What is proven of a cell with its parameters: the smallest rate of the theorems at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.stability.certified import certified_rate
from symbptt.stability.trajectory import Trajectory
from symbptt.stability.vanishing import vanishing_condition


@dataclass(frozen=True)
class Theorem:
    """‖∂s_t/∂s_k‖ ≤ constant · rate^(t−k) for the whole state of `dimension` elements, in the norm named, "2" or "max".

    `rate` is None where no bound is finite. `scaling` is what each state is divided by in the norm in which the rate holds
    without a constant. `hypothesis` is what the bound rests on.
    """

    rate: float | None
    norm: str
    hypothesis: str
    constant: float = 1.0
    scaling: dict[str, float] | None = None
    dimension: int = 1

    @property
    def euclidean_constant(self) -> float:
        """The constant of the bound in the 2-norm, which exceeds the max-norm of a matrix at most √N times."""
        return self.constant * (math.sqrt(self.dimension) if self.norm == "max" else 1.0)

    def log_bound(self, lag: Any) -> Any:
        """Return the logarithm of the bound on the 2-norm of a product of `lag` Jacobians; infinite without a rate."""
        if self.rate is None:
            return np.full(np.shape(lag), np.inf)
        with np.errstate(divide="ignore"):
            return np.log(self.euclidean_constant) + np.asarray(lag) * np.log(self.rate)


def theorems(run: Trajectory) -> tuple[Theorem, ...]:
    """Return what is proven of a cell, the smallest rate first: the conditions in both norms, and over the box of the run's
    data."""
    found = sorted([*_conditions(run), _certified(run)], key=lambda item: np.inf if item.rate is None else item.rate)
    return tuple(found)


def _theorem(run: Trajectory, rate: float, norm: str, hypothesis: str, scaling: dict[str, float]) -> Theorem:
    constant = max(scaling.values()) / min(scaling.values())
    return Theorem(float(rate) if np.isfinite(rate) else None, norm, hypothesis, constant, scaling, run.dimension)


def _conditions(run: Trajectory) -> Iterator[Theorem]:
    """The conditions of the cell that hold for its initial states."""
    start = run.of.by_name(run.start)
    for norm in ("2", "max"):
        condition = vanishing_condition(run.of.cell, norm=norm)
        if all(np.abs(start[name]).max() <= 1 for name in condition.bounded):
            free = {k: np.full(v.shape[1:], 1.0 if k in condition.bounded else np.inf) for k, v in start.items()}
            bounds = {k: (-v, v) for k, v in free.items()}  # arrays: they tell sizes that no parameter has
            rate = condition.rate(run.of.params, bounds)
            yield _theorem(run, rate, norm, "any inputs", dict.fromkeys(start, 1.0))


def _certified(run: Trajectory) -> Theorem:
    known = [a.name for a in run.of.cell.arguments if a.role in ("input", "state")]
    data = {**run.inputs, **{k: v[None] for k, v in run.of.by_name(run.start).items()}}
    box = {name: (data[name].min((0, 1)), data[name].max((0, 1))) for name in known if name in data}
    found = certified_rate(run.of.cell, run.of.params, box)
    return _theorem(run, found.rate, found.norm, "inputs and initial states in the range of the run's", found.scaling)
