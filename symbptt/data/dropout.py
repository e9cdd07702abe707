"""Masks of dropout, drawn outside of a cell and given to it as an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError


def dropout_mask(
    rng: np.random.Generator, shape: Sequence[int] | int, rate: float = 0.5, dtype: Any = np.float64
) -> Any:
    """Return a mask that is 0 with probability `rate` and else 1 / (1 - rate), so that its mean is 1.

    Shapes: `shape`, for an input keep: Input["n"] (T, B, n); one mask for all steps is np.broadcast_to of (1, B, n).
    Raises: ArgumentError for a rate outside of [0, 1) and for what is no generator of NumPy's.
    Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting", section 10; scaled while
    training.

    >>> dropout_mask(np.random.default_rng(0), (2, 1, 3), 0.5).tolist()
    [[[2.0, 0.0, 0.0]], [[0.0, 2.0, 2.0]]]
    """
    if not isinstance(rng, np.random.Generator):
        raise ArgumentError(
            f"dropout_mask takes a generator, got {type(rng).__name__}\n  write np.random.default_rng(0)"
        )
    if not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ArgumentError(
            f"the rate of dropout lies in [0, 1), got {rate!r}\n  0.1 sets a tenth of the entries to zero"
        )
    return (rng.random(shape) >= rate).astype(dtype) / np.asarray(1 - rate, dtype)
