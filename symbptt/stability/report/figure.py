"""A report as one figure of four pictures."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from symbptt.drawing.figures import new_figure
from symbptt.drawing.style import ROUNDING, number, plural
from symbptt.stability.pictures import draw_exponents, draw_fan, draw_flow, draw_gradient_norms, draw_paths
from symbptt.stability.report.wording import confidence

COLUMNS = 90
"""Characters of the headline that fit the figure."""


def draw_report(r: Any, figure: Any = None) -> Any:
    """Draw the exponents, the fan of singular values, the gradient against the lag and the norms of gradients, the verdict over
    them; return the figure.

    Where the gradients are not finite, the paths between states are drawn instead of their norms.
    """
    figure = new_figure(7.6, 6.4, layout="constrained") if figure is None else figure
    figure.suptitle(headline(r), x=0.01, ha="left", fontsize=10)
    axes = figure.subplots(2, 2)
    draw_exponents(r.spectrum, axes[0, 0])
    draw_fan(r.products, axes[0, 1], spectrum=r.spectrum)
    draw_flow(r.flow, axes[1, 0])
    if r.clip is not None:
        draw_gradient_norms(r.clip.norms, axes[1, 1], band=r.clip.band, threshold=r.clip.threshold)
    else:
        draw_paths(r.products, axes[1, 1])
    return figure


def headline(r: Any) -> str:
    """Return the name, the verdict and λ₁ of a report in one or two lines."""
    v = r.verdict
    sure = "" if v.confidence is None else f" ({confidence(v.confidence)})"
    error = f" ± {v.error:.2g}".replace("-", "−") if v.error > ROUNDING else ""
    exponent = "−∞" if np.isneginf(v.exponent) else f"{_value(v.exponent)}{error} nats per step"
    text = f"{r.name}: {v.kind}{sure}, λ₁ = {exponent}; {plural(r.steps, 'step')} of {plural(r.batch, 'sample')}"
    return textwrap.fill(text, COLUMNS)


def _value(exponent: float) -> str:
    return number(exponent) if abs(exponent) > ROUNDING else "0"
