"""Paired measurement: all runners in turns, so that what disturbs one disturbs all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np


def times_in_turns(
    runs: Mapping[str, Callable[[], object]], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Return the seconds of every run in each round, (rounds,), with at least three rounds after one to warm up."""
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        for name, run in runs.items():
            start = clock()
            run()
            found[name].append(clock() - start)
        rounds += 1
    return {name: np.array(values) for name, values in found.items()}


def ratio(times: Mapping[str, np.ndarray], over: str, under: str) -> float:
    """Return the median over the rounds of one run's time over another's in the same round."""
    return float(np.median(times[over] / times[under]))
