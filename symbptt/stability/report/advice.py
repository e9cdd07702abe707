"""Numbers to train with, each from a measurement or a proof: windows, clipping, ranges of floats, growth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.stability.gradients.flow import GradientFlow
from symbptt.stability.proofs.theorem import Theorem
from symbptt.stability.report.verdict import Verdict
from symbptt.stability.spectra.products import ProductSpectrum

Arrays = Mapping[str, Any]
TOLERANCE = 0.01
"""The part of the sum of all norms of a gradient that a truncation may leave out."""
BAND = 0.5, 10.0
"""Clip thresholds relative to the usual norm. Source: Pascanu, Mikolov, Bengio 2013, section 3.2, which takes the mean."""
UPPER = 0.95
"""The quantile of the norms that a clip threshold lets pass."""
TINY32, HUGE32 = float(np.log(np.finfo(np.float32).smallest_subnormal)), float(np.log(np.finfo(np.float32).max))
"""ln of the smallest and the largest float32: −103.3 and 88.7."""


@dataclass(frozen=True)
class Windows:
    """The least number of steps after which truncated backpropagation leaves out at most `tolerance` of the sum of norms.

    `certified` follows from a proven bound on the 2-norm: C η^k ≤ tolerance, the best of all; `asymptotic` from λ₁: e^(λ₁ k) ≤ tolerance;
    `empirical` is the lag beyond which the measured norms sum to that. None where there is no such window.
    """

    tolerance: float
    certified: int | None
    asymptotic: int | None
    empirical: int | None


def windows(found: Verdict, flow: GradientFlow, proven: Sequence[Theorem]) -> Windows:
    """Return the windows of a cell. Only gradients that vanish, by the run or by proof, have any."""
    certified = min((steps for theorem in proven if (steps := _proven(theorem)) is not None), default=None)
    if found.kind != "vanishing":
        return Windows(TOLERANCE, certified, None, None)
    asymptotic = _steps(found.exponent) if np.isfinite(found.exponent) else None  # λ₁ = −∞ is of one step that ends all
    return Windows(TOLERANCE, certified, asymptotic, _measured(flow))


def _proven(theorem: Theorem) -> int | None:
    if theorem.rate is None or theorem.rate >= 1:
        return None
    return _steps(math.log(theorem.rate), theorem.euclidean_constant) if theorem.rate else 1


def _steps(rate: float, constant: float = 1.0) -> int | None:
    """The steps in which a gradient that is `constant` times larger and grows at this rate falls to the tolerance."""
    return max(1, math.ceil(math.log(TOLERANCE / constant) / rate)) if rate < 0 else None


def _measured(flow: GradientFlow) -> int | None:
    """None where the norms have not fallen by the tolerance within nine tenths of the run: the rest may be more."""
    # Sums from the far end add the small terms first, which rounding harms least.
    tails = np.cumsum(flow.norms[::-1])[::-1]
    under = np.flatnonzero(tails <= TOLERANCE * tails[0])
    return int(under[0]) if len(under) and under[0] <= 0.9 * len(tails) else None


@dataclass(frozen=True)
class Clip:
    """Norms (draws,) of the joint gradient of all parameters, their median, and the threshold for clipping them.

    The threshold is the 95 % quantile of the norms, moved into Pascanu's band of 0.5 to 10 times their median: a mean
    is that of the few largest.
    """

    norms: Any = field(repr=False)
    median: float
    threshold: float

    @property
    def band(self) -> tuple[float, float]:
        return BAND[0] * self.median, BAND[1] * self.median


def clip(norms: Any) -> Clip | None:
    """Return the threshold for a distribution of norms; None where they are not finite, or half of them are zero."""
    if not len(norms) or not np.isfinite(norms).all():
        return None
    median = float(np.median(norms))
    threshold = min(max(float(np.quantile(norms, UPPER)), BAND[0] * median), BAND[1] * median)
    return Clip(norms, median, threshold) if median else None


@dataclass(frozen=True)
class FloatRange:
    """The lag at which products of Jacobians leave float32.

    `steps` is the lag at which the largest singular value does, in the direction `side` ("underflow", "overflow"), by λ₁; None
    where λ₁ is 0. `lost` of `directions` are below the smallest float32 at the longest lag measured, `lag`. Of a batch in which
    the gradients of some samples end at exactly zero, or of samples that differ, these are of the sample with the largest exponent.
    """

    steps: int | None
    side: str
    lost: int
    directions: int
    lag: int


def float_range(found: Verdict, products: ProductSpectrum) -> FloatRange:
    """Return where products leave float32."""
    mixed = found.kind == "mixed"
    steps, side = edge_of(max(s.exponent for s in found.samples) if mixed else found.exponent, found.resolution)
    # A power of time, which an exponent over zero fits for a while, takes no run out of the range.
    steps = None if found.kind == "marginal" else steps
    last = products.log_singular_values[-1] if found.slowest is None else products.samples[-1, found.slowest]
    return FloatRange(steps, side, int((last < TINY32).sum()), len(last), int(products.lags[-1]))


def edge_of(rate: float, resolution: float) -> tuple[int | None, str]:
    """The lag at which what grows at a rate leaves float32, and the side; no lag for a rate that is not told from zero."""
    # The lag at which products leave the range is as uncertain as their exponent.
    side = "underflow" if rate < 0 else "overflow"
    if np.isinf(rate):
        return 1, side
    return (math.ceil((TINY32 if rate < 0 else HUGE32) / rate) if abs(rate) > resolution else None), side


def growth(flow: GradientFlow) -> dict[str, float]:
    """Return, by parameter, the quotient of its gradient over the whole run and the contribution of the last step alone."""
    found = {}
    for name, norms in flow.growth.items():
        # Gradients of zero, as before the loss reaches a parameter, have no ratio.
        alive = norms[norms > 0]
        if len(alive) and np.isfinite(alive[-1]):
            found[name] = float(alive[-1] / alive[0])
    return dict(sorted(found.items(), key=lambda item: -item[1]))
