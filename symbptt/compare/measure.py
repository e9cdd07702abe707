"""What is measured of one design: exponents, horizon, gradients at lags, isometry; nothing that depends on time or machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.cell import Cell
from symbptt.compare.row import LAGS
from symbptt.stability.flow import GradientFlow, gradient_flow
from symbptt.stability.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from symbptt.stability.product import product_spectrum

Arrays = Mapping[str, Any]


def measures(cell: Cell, params: Arrays, inputs: Arrays | None, state: Arrays | None, steps: int) -> dict[str, Any]:
    """Return the measured columns of a row, as plain numbers.

    Raises: ArgumentError as `sb.lyapunov_spectrum` does, above all where the states leave the range.
    """
    length = None if inputs else steps
    spectrum = lyapunov_spectrum(cell, params, inputs, state, steps=length)
    flow = gradient_flow(cell, params, inputs, None, state, steps=length)
    lags = [k for k in LAGS if k <= steps]
    products = product_spectrum(cell, params, inputs, state, lags, steps=length)
    isometry, verdict = dict(zip(lags, products.isometry_defect, strict=True)), verdict_of(spectrum)
    return {
        "steps": steps,
        "dimension": len(spectrum.exponents),
        "verdict": verdict,
        "lyapunov": float(spectrum.exponents[0]),
        "error": float(spectrum.error[0]),
        "converged": bool(spectrum.converged),
        "horizon": horizon_of(verdict, float(spectrum.exponents[0])),
        "sum_rule_defect": float(spectrum.sum_rule_defect),
        "kaplan_yorke": float(spectrum.kaplan_yorke),
        "entropy": float(spectrum.entropy),
        **{f"gradient_{k}": _growth(flow, k) for k in lags},
        **{f"isometry_{k}": float(isometry[k]) for k in lags},
    }


def horizon_of(verdict: str, exponent: float) -> float:
    """Return −1/λ₁, the steps in which a gradient falls to 1/e; inf where it is not seen to vanish."""
    return -1 / exponent if verdict == "vanishing" else np.inf


def verdict_of(spectrum: LyapunovSpectrum) -> str:
    """Return in one word what λ₁ with its 95 % interval says; marginal also where the run is too short to see growth."""
    exponent, width = float(spectrum.exponents[0]), float(spectrum.half_width[0])
    if exponent == -np.inf:
        return "vanishing"
    if np.isnan(width):
        return "undecided"
    if abs(exponent) <= max(width, 0.1 / spectrum.steps):
        return "marginal"
    return "exploding" if exponent > 0 else "vanishing"


def _growth(flow: GradientFlow, lag: int) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.log(flow.norms[lag] / flow.norms[0]))
