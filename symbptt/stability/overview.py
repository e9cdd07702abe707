"""A report as one figure of four pictures."""

from __future__ import annotations

from typing import Any

from symbptt.figures import new_figure
from symbptt.stability.pictures import draw_exponents, draw_fan, draw_flow, draw_gradient_norms, draw_paths


def draw_report(r: Any, figure: Any = None) -> Any:
    """Draw the exponents, the fan of singular values, the gradient against the lag and the norms of gradients; return the figure.

    Where the gradients are not finite, the paths between states stand in place of their norms.
    """
    figure = new_figure(7.6, 6.4, layout="constrained") if figure is None else figure
    axes = figure.subplots(2, 2)
    draw_exponents(r.spectrum, axes[0, 0], name=r.name)
    draw_fan(r.products, axes[0, 1], spectrum=r.spectrum, name=r.name)
    draw_flow(r.flow, axes[1, 0], name=r.name)
    if r.clip is not None:
        draw_gradient_norms(r.clip.norms, axes[1, 1], band=r.clip.band, threshold=r.clip.threshold, name=r.name)
    else:
        draw_paths(r.products, axes[1, 1], name=r.name)
    return figure
