"""Measures the constants of the time model in symbptt/codegen/rates.py: `python -m tests.benchmarks.rates`.

One thread, on arrays as a step of 32 samples with 128 numbers has; medians of many runs. Nanoseconds.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from symbptt.bench.threads import one_thread
from symbptt.codegen.plan.rates import Rates

SAMPLES, SIZE, RUNS = 32, 128, 400


def nanoseconds(run: Callable[[], Any], calls: int = 50) -> float:
    """The median time of one call."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter_ns()
        for _ in range(calls):
            run()
        times.append((time.perf_counter_ns() - start) / calls)
    return statistics.median(times)


def measured(dtype: Any) -> Rates:
    """The constants for a type of numbers."""
    random = np.random.default_rng(0)
    one, other = (np.ones(1, dtype) for _ in range(2))
    x, out = (random.standard_normal((SAMPLES, SIZE)).astype(dtype) for _ in range(2))
    w, wide = random.standard_normal((SIZE, 4 * SIZE)).astype(dtype), np.empty((SAMPLES, 4 * SIZE), dtype)
    call = nanoseconds(lambda: np.add(one, one, out=other))
    product = nanoseconds(lambda: np.matmul(x, w, out=wide))
    plain = nanoseconds(lambda: np.multiply(x, x, out=out))
    function = nanoseconds(lambda: np.tanh(x, out=out))
    return Rates(
        product=(product - call) / (x.size * 4 * SIZE),
        element=(plain - call) / x.size,
        function=(function - call) / x.size,
        call=call,
    )


if __name__ == "__main__":
    with one_thread():
        for kind in (np.float32, np.float64):
            print(kind.__name__, measured(kind))
