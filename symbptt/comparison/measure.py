"""Measurements of one design: exponents, horizon, gradients at lags, isometry; nothing that depends on time or machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.comparison.row import LAGS
from symbptt.language.cell import Cell
from symbptt.stability.gradients.flow import GradientFlow, gradient_flow
from symbptt.stability.report.verdict import Verdict, verdict
from symbptt.stability.runs.setting import setting
from symbptt.stability.spectra.lyapunov import lyapunov_spectrum
from symbptt.stability.spectra.products import product_spectrum

Arrays = Mapping[str, Any]


def measures(cell: Cell, params: Arrays, inputs: Arrays | None, state: Arrays | None, steps: int) -> dict[str, Any]:
    """Return the measured columns of a row, as plain numbers; of a state that leaves its range, those of the steps before.

    Raises: ArgumentError as `sb.analyze` does.
    """
    of = setting(cell, params, inputs, state, None, None if inputs else steps, 0)
    given, start, length = of.run.inputs, of.run.of.by_name(of.run.start), of.run.steps
    spectrum = lyapunov_spectrum(of.cell, of.own, given, start, steps=length)
    flow = gradient_flow(of.cell, of.own, given, None, start, steps=length)
    lags = [k for k in LAGS if k <= length]
    isometry = product_spectrum(of.cell, of.own, given, start, lags, steps=length).isometry_defect
    found = verdict(of.run, spectrum, of.left)
    return {
        "steps": length,
        "dimension": of.run.dimension,
        "verdict": found.kind,
        "confidence": found.confidence,
        "lyapunov": found.exponent,
        "error": found.error,
        "converged": bool(spectrum.converged),
        "horizon": horizon_of(found),
        "sum_rule_defect": float(spectrum.sum_rule_defect),
        "kaplan_yorke": float(spectrum.kaplan_yorke),
        "entropy": float(spectrum.entropy),
        **{f"gradient_{k}": _growth(flow, k) for k in lags},
        **{f"isometry_{k}": float(value) for k, value in zip(lags, isometry, strict=True)},
    }


def horizon_of(found: Verdict) -> float:
    """Return −1/λ₁, the steps in which a gradient falls to 1/e; inf where it is not seen to vanish."""
    return -1 / found.exponent if found.kind == "vanishing" else np.inf


def _growth(flow: GradientFlow, lag: int) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        # A gradient of exactly 0 has the logarithm -inf, which is the answer; of 0 / 0 it is nan.
        return float(np.log(flow.norms[lag] / flow.norms[0]))
