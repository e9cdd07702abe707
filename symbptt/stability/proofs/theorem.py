"""The best theorem on a cell with its parameters: the smallest rate of those that can be proven."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.stability.proofs.certified import CertifiedRate, certificates
from symbptt.stability.proofs.vanishing import vanishing_condition
from symbptt.stability.runs.trajectory import Trajectory

ALIKE = 1e-6
"""Rates that differ by less, relative, are as good."""
EDGE = 1e-9
"""A constant differs from 1 by less only by rounding."""
MOST = 64
"""Elements of a whole state whose quadratic metric is looked for."""


@dataclass(frozen=True)
class Theorem:
    """‖∂s_t/∂s_k‖ ≤ constant · rate^(t−k) for the whole state of `dimension` elements, in the norm named, "2" or "max".

    `rate` is None where no finite bound was found. `scaling` is what each state is divided by in the norm in which the rate holds
    without a constant; None where that norm is quadratic, √(sᵀPs), and the bound in the 2-norm has the square root of the condition
    of P for its constant. `hypothesis` is what the bound rests on.
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
    """Return the theorems proven for a cell, the best first: the smallest rate, and of rates that are alike the smallest constant.

    They are the conditions in both norms, and the certificates over the box of the run's data; that of a quadratic metric for at
    most 64 elements of state.
    """
    found = [*_conditions(run), *_certified(run)]
    # Rates within 1e-6 of each other differ by rounding of the proofs; among them a smaller constant is worth more.
    least = min((item.rate for item in found if item.rate is not None), default=np.inf)
    return tuple(sorted(found, key=lambda item: _order(item, least * (1 + ALIKE))))


def _order(item: Theorem, alike: float) -> tuple[float, float]:
    """A rate up to which the constant decides counts as 0."""
    rate = np.inf if item.rate is None else item.rate
    return (0.0, item.euclidean_constant) if rate <= alike else (rate, item.euclidean_constant)


def _theorem(run: Trajectory, rate: float, norm: str, hypothesis: str, scaling: dict[str, float]) -> Theorem:
    constant = max(scaling.values()) / min(scaling.values())
    return Theorem(float(rate) if np.isfinite(rate) else None, norm, hypothesis, constant, scaling, run.dimension)


def _conditions(run: Trajectory) -> Iterator[Theorem]:
    """The conditions of the cell that are met by its initial states."""
    start = run.of.by_name(run.start)
    for norm in ("2", "max"):
        condition = vanishing_condition(run.of.cell, norm=norm)
        # The hypothesis of the theorem; a run that starts elsewhere is not covered by it.
        if all(np.abs(start[name]).max() <= 1 for name in condition.bounded):
            free = {k: np.full(v.shape[2:], np.inf) for k, v in run.inputs.items()}
            free |= {k: np.full(v.shape[1:], 1.0 if k in condition.bounded else np.inf) for k, v in start.items()}
            bounds = {k: (-v, v) for k, v in free.items()}  # arrays: they tell sizes that no parameter has
            rate = condition.rate(run.of.params, bounds)
            yield _theorem(run, rate, norm, "any inputs", dict.fromkeys(start, 1.0))


def _certified(run: Trajectory) -> Iterator[Theorem]:
    known = [a.name for a in run.of.cell.arguments if a.role in ("input", "index", "state")]
    data = {**run.inputs, **{k: v[None] for k, v in run.of.by_name(run.start).items()}}
    box = {name: (data[name].min((0, 1)), data[name].max((0, 1))) for name in known if name in data}
    hypothesis = "inputs and initial states in the range of the run's"
    for found in certificates(run.of.cell, run.of.params, box, MOST):
        if found.norm == "quadratic":
            yield _quadratic(run, found, hypothesis)
        else:
            yield _theorem(run, found.rate, found.norm, hypothesis, found.scaling)


def _quadratic(run: Trajectory, found: CertifiedRate, hypothesis: str) -> Theorem:
    """The bound by a quadratic metric; a constant that is 1 up to rounding is merged into the rate."""
    rounding = found.constant if found.constant <= 1 + EDGE else 1.0
    rate = float(found.rate * rounding) if np.isfinite(found.rate) else None
    return Theorem(rate, "2", hypothesis, found.constant / rounding, None, run.dimension)
