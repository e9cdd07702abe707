"""Means of correlated series with errors that count the correlation: blocks of steps and Student's t."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

BLOCKS = 20
FEWEST = 8
"""Blocks from which on their correlation is estimated."""
STEADY = 1e-9
"""Errors below this are rounding of a series that does not vary."""
SLOW = 0.5
"""Neighbouring blocks that are more correlated than this are too few to tell an error: the series varies as slowly as the run
is long. Of an autoregressive series as slow as a fifth of the run 20 blocks show more in 19 of 20 runs, of one as slow as a
hundredth in one of 14."""
LEAST = 3.0
"""Independent values that correlated blocks are worth, at least: the fewest whose spread says something."""


def t_quantile(p: float, freedom: Any) -> Any:
    """Return the quantile of Student's t, to 1e-3 for p ≤ 0.999 and 9 degrees of freedom or more, to 1 % for p = 0.975 and 2.

    Source: Abramowitz, Stegun 1964, equation 26.7.5 (the expansion of Cornish and Fisher).
    """
    z, n = NormalDist().inv_cdf(p), freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / n ** (i + 1) for i, term in enumerate(terms))


def blocks_of(sums: Any, counts: Any, blocks: int = BLOCKS) -> Any:
    """Return the means over `blocks` consecutive groups of bins. Shapes: sums (K, ...), counts (K,), the result (blocks, ...)."""
    edges = np.arange(blocks) * len(counts) // blocks
    total = np.add.reduceat(counts, edges)
    return np.add.reduceat(sums, edges, axis=0) / total.reshape(-1, *(1,) * (np.ndim(sums) - 1))


def block_edges(edges: Any, blocks: int) -> Any:
    """Return the first steps of the groups that `blocks_of` makes of bins, and the end. Shapes: edges of bins (K + 1,)."""
    return np.append(edges[np.arange(blocks) * (len(edges) - 1) // blocks], edges[-1])


def standard_error(blocks: Any) -> Any:
    """Return the standard error of the mean of independent blocks, nan for fewer than two. Shapes: (n, ...) to (...)."""
    if len(blocks) < 2:
        return np.full(np.shape(blocks)[1:], np.nan)
    with np.errstate(invalid="ignore"):
        return np.std(blocks, axis=0, ddof=1) / np.sqrt(len(blocks))


def correlation(blocks: Any) -> Any:
    """Return the correlation of neighbouring blocks, 0 to 0.95, corrected for the few blocks that it is estimated from; zero for
    fewer than eight blocks and for series that do not vary. Shapes: (n, ...) to (...).
    """
    n = len(blocks)
    if n < FEWEST:
        return np.zeros(np.shape(blocks)[1:])
    with np.errstate(invalid="ignore"):
        apart = blocks - np.mean(blocks, axis=0)
        varies = standard_error(blocks) > STEADY
        return _correlation(np.sum(apart[1:] * apart[:-1], 0), np.where(varies, np.sum(apart**2, 0), 0.0), n)


def _correlation(product: Any, square: Any, n: int) -> Any:
    """The correlation from sums of products of neighbours and of squares.

    Source: Marriott, Pope 1954, "Bias in the estimation of autocorrelations", equation 4.6, solved for ρ.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        # The mean of n values is estimated from them, which biases their correlation towards negative values, by
        # about (1 + 4 ρ)/n.
        found = (n * product / square + 1) / (n - 4)
    return np.where(np.isfinite(found), np.clip(found, 0.0, 0.95), 0.0)


def correlated_error(blocks: Any, driven: float = 0.0) -> Any:
    """Return the standard error of the mean of blocks each of which depends on the one before, so wide that two of it cover
    95 % whatever the correlation. Shapes: (n, ...) to (...).

    `driven` is the correlation of neighbouring blocks of what drives the series, 0 for nothing: fast noise in the series hides
    a part that follows it, so that the larger of both correlations counts.

    The variance of the mean is (1 + ρ)/(1 − ρ) times that of independent values. So correlated, n blocks are worth fewer
    independent ones: the error is widened by the quantile of Student's t for those over that for n, and by what skewed values
    need, as those of gates are that saturate: the rare large ones are easily missed.

    Source: Bayley, Hammersley 1946, "The effective number of independent observations in an autocorrelated time series";
    Johnson 1978, "Modified t tests and confidence intervals for asymmetrical populations", equation 2.8, at t = 2.
    """
    n, rho = len(blocks), np.maximum(correlation(blocks), driven)
    if n < FEWEST:
        return standard_error(blocks)
    # Var(mean) = σ²/n · (1 + ρ)/(1 − ρ) for an autoregressive series, as if n (1 − ρ)/(1 + ρ) values were
    # independent.
    worth = np.maximum(n * (1 - rho) / (1 + rho), LEAST)
    wider = t_quantile(0.975, worth - 1) / t_quantile(0.975, n - 1)
    skewed = 1 + 0.75 * np.abs(_skewness(blocks)) / np.sqrt(worth)
    return standard_error(blocks) * np.sqrt((1 + rho) / (1 - rho)) * wider * skewed


def _skewness(blocks: Any) -> Any:
    """The third moment of the blocks in units of their spread; zero for series that do not vary."""
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = blocks - np.mean(blocks, axis=0)
        found = np.mean(apart**3, axis=0) / np.mean(apart**2, axis=0) ** 1.5
        varies = standard_error(blocks) > STEADY
    return np.where(varies & np.isfinite(found), found, 0.0)


def pooled_correlation(blocks: Any) -> float:
    """Return the correlation of neighbouring blocks of several series, all of them taken together, each in units of its own
    spread; 0 for fewer than eight blocks and where no series varies. Shapes: (n, series).
    """
    n = len(blocks)
    varies = standard_error(blocks) > STEADY * (1 + np.abs(blocks).max(0, initial=0.0))
    if n < FEWEST or not varies.any():
        return 0.0
    apart = blocks[:, varies] - blocks[:, varies].mean(0)
    apart = apart / apart.std(0)
    return float(_correlation(np.sum(apart[1:] * apart[:-1]), np.sum(apart**2), n))


def is_slow(samples: Any, driven: float = 0.0) -> bool:
    """Return whether a series varies as slowly as the run is long: neighbouring blocks of its mean over samples are too much
    alike, or those of the samples themselves, all of them taken together, or of what drives it (`driven`, as of
    `correlated_error`). Shapes: (n, B).
    """
    n = len(samples)
    if n < FEWEST or not np.isfinite(samples).all() or not (standard_error(samples) > STEADY).any():
        return False
    apart = samples - samples.mean(0)
    together = _correlation(np.sum(apart[1:] * apart[:-1]), np.sum(apart**2), n)
    return bool(max(correlation(samples.mean(1)), together, driven) > SLOW)


def is_settled(blocks: Any) -> bool:
    """Return whether the means of the first and the second half of the blocks agree, at 1 % for all columns together.

    Shapes: (n, columns). Columns that are -inf throughout agree.
    """
    half = len(blocks) // 2
    if half < 2:
        return False
    first, second = blocks[:half], blocks[half:]
    error = np.hypot(standard_error(first), standard_error(second))
    # Bonferroni: 1 % two-sided is split between all columns. The 1e-9 is for series that do not vary.
    limit = t_quantile(1 - 0.005 / max(1, blocks.shape[1]), len(blocks) - 2) * error + 1e-9
    with np.errstate(invalid="ignore"):
        difference = np.abs(first.mean(0) - second.mean(0))
    # −∞ less −∞ is NaN, which would compare as a disagreement.
    lost = np.isneginf(first.mean(0)) & np.isneginf(second.mean(0))
    return bool(np.all(lost | (difference <= limit)))


def t_probability(x: float, freedom: int) -> float:
    """Return the probability that a Student variable is at most x, to 1e-6.

    Source: the density, integrated by the trapezoidal rule in arctan(x / √freedom), where it is smooth and bounded.
    """
    if np.isinf(x):
        return float(x > 0)
    angles = np.linspace(0, math.atan(x / math.sqrt(freedom)), 2001)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    return float(np.clip(0.5 + scale * np.trapezoid(np.cos(angles) ** (freedom - 1), angles), 0, 1))
