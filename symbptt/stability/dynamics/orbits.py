"""The states at which runs settle for each value of a knob: the points of an orbit diagram, and the periods of cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.stability.dynamics.family import Family

RUNS, TRIED = 4, 32
"""Runs that are recorded for each value, and random states from which as many are tried."""
BLOCK = 512
"""Steps whose states are in memory at a time."""
SAME = 1e-6
"""States nearer than this, relative to the size of the run, are one point of a cycle."""


@dataclass(frozen=True)
class Orbits:
    """The last states of runs for each value: the points of an orbit diagram; nan where a run left the float range.

    `periods` are the lengths of cycles, 1 for a fixed point, 0 where none is seen and where the run left the range.

    Shapes: values (V,); states (V, runs, kept, N); periods (V, runs).
    """

    values: Any
    states: Any = field(repr=False)
    periods: Any = field(repr=False)


def orbits(of: Family, values: Any, starts: Sequence[Any], settle: int, keep: int) -> Orbits:
    """Return the last `keep` states of runs from each of the `starts` of a value (K, N), behind `settle` steps."""
    found = [_settled(of, float(value), start, settle, keep) for value, start in zip(values, starts, strict=True)]
    states = np.stack(found)
    periods = np.array([[_period(run) for run in runs] for runs in states], int).reshape(states.shape[:2])
    return Orbits(values, states, periods)


def _settled(of: Family, value: float, start: Any, settle: int, keep: int) -> Any:
    """The last states of at most RUNS runs, those that stay in range first. Shapes: (RUNS, keep, N)."""
    at, now, left = of(value), start, settle
    while left and len(now):
        steps = min(left, BLOCK)
        now = at.orbit(now, steps)[-1]
        now, left = now[np.isfinite(now).all(-1)], left - steps
    kept = np.full((RUNS, keep, start.shape[-1]), np.nan)
    if len(now):
        runs = np.swapaxes(at.orbit(now, keep), 0, 1)
        runs = runs[np.isfinite(runs).all((1, 2))][:RUNS]
        kept[: len(runs)] = runs
    return kept


def _period(run: Any) -> int:
    """The length of the cycle that a run (K, N) is on, at most K / 2; 0 for none."""
    if not np.isfinite(run).all():
        return 0
    size = SAME * (1e-3 + np.abs(run).max())
    # The least period comes first; multiples of it fit as well and are not reached.
    for period in range(1, len(run) // 2 + 1):
        if np.abs(run[period:] - run[:-period]).max() <= size:
            return period
    return 0
