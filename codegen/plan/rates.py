"""A model of the time that NumPy's calls take, on which the shares of time of a plan rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.codegen.plan.work import Work


@dataclass(frozen=True)
class Rates:
    """The nanoseconds of a multiply-add in a product, of an element in arithmetic, of one in exp, tanh and the like,
    and of a call."""

    product: float
    element: float
    function: float
    call: float


RATES = {
    np.dtype(np.float32): Rates(product=0.013, element=0.06, function=0.19, call=300),
    np.dtype(np.float64): Rates(product=0.026, element=0.13, function=0.82, call=300),
}
"""Rates measured by `python -m tests.benchmarks.rates` on one thread of an AMD EPYC with NumPy 2.4.6, on arrays that
stay in the cache. Shares change little with the machine; where a sweep leaves the cache, elementwise calls take more
than this."""


def nanoseconds(work: Work, rates: Rates) -> float:
    """Return the time that the model predicts for work whose sizes are numbers."""
    calls, operations, functions = (float(x) for x in (work.calls, work.operations, work.functions))
    if work.is_product:
        return calls * rates.call + operations * rates.product
    # `operations` includes the elements of functions.
    return calls * rates.call + (operations - functions) * rates.element + functions * rates.function


def shares(works: Sequence[Work], dtype: Any) -> list[float]:
    """Return the share of each work in the time that the model predicts for all; they sum to 1 where there are calls."""
    times = [nanoseconds(work, RATES[np.dtype(dtype)]) for work in works]
    # A loop without calls takes no time that could be shared.
    whole = sum(times)
    return [time / whole if whole else 0.0 for time in times]
