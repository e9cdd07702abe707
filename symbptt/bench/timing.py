"""Paired measurement: all runners in turns, so that what disturbs one disturbs all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

SEED = 0


def times_in_turns(
    runs: Mapping[str, Callable[[], object]], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Return the seconds of every run in each round, (rounds,), with at least three rounds after one to warm up.

    The order of the runs is drawn anew in each round, from the same seed: no run always comes after the same other one,
    whose data it would find in the cache, or not.
    """
    draw = np.random.default_rng(SEED)
    # The first call allocates, compiles and fills caches.
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        for name in draw.permutation(list(runs)).tolist():
            start = clock()
            runs[name]()
            found[name].append(clock() - start)
        rounds += 1
    return {name: np.array(values) for name, values in found.items()}


def ratio(times: Mapping[str, np.ndarray], over: str, under: str) -> float:
    """Return the median over the rounds of one run's time over another's in the same round."""
    # Ratios within a round first, then their median: drift of the clock rate cancels within a round.
    return float(np.median(times[over] / times[under]))


def times_in_a_row(
    runs: Mapping[str, Callable[[], object]], calls: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Return the seconds of every run in each of so many calls, (calls,), one run after the other, each after one call to
    warm up: as a loop of training calls it, with its own data in the cache."""
    found: dict[str, np.ndarray] = {}
    for name in np.random.default_rng(SEED).permutation(list(runs)).tolist():
        runs[name]()
        # One reading of the clock between calls ends one and begins the next.
        borders = [clock()]
        for _ in range(calls):
            runs[name]()
            borders.append(clock())
        found[name] = np.diff(borders)
    return found
