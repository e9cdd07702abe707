"""Theorems compared with the run that they are about: a bound that the run exceeds is an error, not a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symbptt.errors import TheoremError, three_lines
from symbptt.stability.proofs.theorem import Theorem
from symbptt.stability.spectra.lyapunov import LyapunovSpectrum
from symbptt.stability.spectra.products import ProductSpectrum

ROUNDING = 1e-9
"""Rounding of logarithms of norms, per step, in float64."""


def check_theorems(
    name: str, theorems: Sequence[Theorem], spectrum: LyapunovSpectrum, products: ProductSpectrum, eps: float
) -> None:
    """Hold each theorem against the growth of the worst sample over the measured steps, and against the largest singular value
    of the product at each lag. `eps` is the rounding of the type of the run.

    Raises: TheoremError where one is larger than the bound.
    """
    slack = ROUNDING + 8 * eps
    lags = np.append(products.lags, spectrum.steps)
    # The product over the whole run is known as the sum of its growth, λ₁ times the steps, and is tested like the
    # lags.
    seen = np.append(products.samples[..., 0].max(1), spectrum.samples.max() * spectrum.steps)
    for theorem in theorems:
        # Rounding adds up over the steps of a product, hence the slack for each of them.
        over = np.flatnonzero(seen > theorem.log_bound(lags) + slack * (lags + 1))
        if len(over):
            raise TheoremError(_contradiction(name, theorem, int(lags[over[0]]), float(seen[over[0]])))


def _contradiction(name: str, theorem: Theorem, lag: int, seen: float) -> str:
    return three_lines(
        f"a theorem is contradicted by the run: over {lag} steps a gradient grew by {seen:.6g} nats, "
        f"and at most {float(theorem.log_bound(lag)):.6g} are proven (rate {theorem.rate:.6g}, {theorem.norm}-norm, {theorem.hypothesis})",
        f"in the analysis of {name}",
        "this is a fault of symbptt, not of the cell: please report the cell with its parameters",
    )
