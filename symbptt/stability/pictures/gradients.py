"""Pictures of gradients: their norm against the lag, the bias of truncation, their distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.drawing.figures import LINES, MARKS
from symbptt.drawing.style import (
    BLUE,
    DARK,
    HUGE,
    ORANGE,
    RED,
    at_edge,
    axes_or_new,
    finish,
    is_spread,
    logarithmic,
    note,
    plural,
    positive,
)
from symbptt.stability.gradients.flow import GradientFlow

PASCANU = (0.5, 10.0)
"""The band of clip thresholds, in means of the norm. Source: Pascanu, Mikolov, Bengio 2013, section 3.2."""
WORDS = {1 / np.e: "1/e"}


def draw_flow(flow: GradientFlow, axes: Any = None, *, name: str = "") -> Any:
    """Draw the norm of ∂ℓ_T/∂s_{T−k} against the lag k, of the whole state and of each, with the horizons; return the axes.

    Zeros are marked at the lower edge, overflow at the upper.
    """
    axes = axes_or_new(axes)
    lags, norms = np.asarray(flow.lags), np.asarray(flow.norms, float)
    style = {"marker": "."} if len(lags) < 30 else {}
    axes.plot(lags, positive(norms), color="black", linewidth=1.8, label="whole state", **style)
    if len(flow.states) > 1:
        for i, (state, values) in enumerate(flow.states.items()):
            axes.plot(
                lags,
                positive(values),
                color=LINES[i % len(LINES)],
                linestyle=MARKS[1 + i % 3],
                linewidth=1.2,
                label=state,
            )
    logarithmic(axes, norms)
    if 0 < norms[0] < HUGE:
        for (threshold, lag), line in zip(flow.horizons.items(), (":", (0, (1, 3))), strict=True):
            _draw_horizon(axes, threshold, norms[0], lag, len(lags) - 1, line)
    at_edge(axes, lags[norms == 0], "zero")
    at_edge(axes, lags[~(norms < HUGE)], "overflow", top=True)
    return finish(
        axes, "gradient against lag", name, "lag k (steps)", r"$\Vert \partial\ell_T / \partial s_{T-k} \Vert_2$"
    )


def _draw_horizon(axes: Any, threshold: float, first: float, lag: int | None, longest: int, line: Any) -> None:
    found = f"not in {plural(longest, 'step')}" if lag is None else plural(lag, "step")
    axes.axhline(threshold * first, color=RED, linestyle=line, linewidth=1.1,
                 label=f"to {WORDS.get(threshold, f'{threshold:g}')}: {found}")  # fmt: skip
    if lag is not None:
        axes.plot([lag], [threshold * first], "o", color=RED, markersize=4, fillstyle="none")


def draw_bias(bounds: Mapping[str, Any], axes: Any = None, *, tolerance: float = 0.01, name: str = "") -> Any:
    """Draw bounds of the relative bias of a truncated gradient against the window; return the axes.

    The legend names the least window from which on each bound stays within the tolerance, or that there is none.

    Shapes: each bound (K,), for windows of 1 to K steps; infinite where there is no bound.
    """
    axes = axes_or_new(axes)
    for i, (kind, given) in enumerate(bounds.items()):
        values, colour = np.asarray(given, float), LINES[i % len(LINES)]
        window = least_window(values, tolerance)
        found = "no window" if window is None else plural(window, "step")
        axes.plot(np.arange(1, len(values) + 1), positive(values), color=colour, linestyle=MARKS[i % len(MARKS)], linewidth=1.5,
                  marker="." if len(values) < 2 else "", label=f"{kind}: {found}")  # fmt: skip
        if window is not None and values[window - 1] > 0:
            axes.plot([window], [values[window - 1]], "osD^v"[i % 5], color=colour, markersize=4.5)
    axes.axhline(tolerance, color=DARK, linestyle=":", linewidth=1.2, label=f"tolerance {tolerance:g}")
    logarithmic(axes, np.concatenate([[tolerance], *(np.ravel(v) for v in bounds.values())]))
    return finish(axes, "bias of truncated gradients", name, "window (steps)", "relative bias, at most")


def least_window(bound: Any, tolerance: float) -> int | None:
    """Return the least window from which on the bound stays within the tolerance; None where there is none.

    Shapes: bound (K,), for windows of 1 to K steps.
    """
    # `not <=` and not `>`: a bound that is NaN is over the tolerance.
    over = np.flatnonzero(~(np.asarray(bound, float) <= tolerance))
    window = int(over[-1]) + 2 if len(over) else 1
    return window if window <= len(bound) else None


def draw_gradient_norms(
    norms: Any, axes: Any = None, *, band: tuple[float, float] | None = None, threshold: float | None = None, name: str = ""
) -> Any:  # fmt: skip
    """Draw a histogram of gradient norms with the band of clip thresholds; return the axes.

    The band is by default 0.5 to 10 times the mean of the finite norms, which is drawn with it; with a band of the caller's
    the median is, which a few large norms do not move.

    Shapes: norms of any shape, one number a gradient.
    """
    axes = axes_or_new(axes)
    given = np.ravel(np.asarray(norms, float))
    # NaN fails both comparisons, and is counted with what overflows.
    values = given[(given >= 0) & (given < HUGE)]
    middle = np.nan if not len(values) else float(values.mean() if band is None else np.median(values))
    low, high = (PASCANU[0] * middle, PASCANU[1] * middle) if band is None else band
    shown, skipped = _draw_histogram(axes, values, is_spread(np.array([*values, low, high]), 10))
    if len(values):
        axes.axvspan(low, high, facecolor="none", edgecolor=ORANGE, hatch="///", linewidth=0, zorder=0,
                     label=f"clip band {low:.3g} to {high:.3g}")  # fmt: skip
        axes.axvline(middle, color=DARK, linestyle="--", linewidth=1.2,
                     label=f"{'mean' if band is None else 'median'} {middle:.3g}")  # fmt: skip
    if threshold is not None:
        axes.axvline(threshold, color=RED, linewidth=1.4, label=f"clip at {threshold:.3g}")
    for count, text in ((skipped, "zero"), (len(given) - len(values), "overflow")):
        if count:
            note(axes, f"{text}: {count}")
    return finish(axes, f"{plural(len(shown), 'gradient norm')}", name, "gradient norm", "gradients per bin")


def _draw_histogram(axes: Any, values: Any, wide: bool) -> tuple[Any, int]:
    """Draw a histogram, on a logarithmic axis where it is wide; return the values shown and the number of zeros left out."""
    shown = values[values > 0] if wide else values
    if len(shown):
        scaled = np.log(shown) if wide else shown
        # Bins of equal width in the logarithm, drawn at their exponentials.
        edges = np.histogram_bin_edges(scaled, int(np.clip(2 * len(shown) ** 0.5, 5, 50)))
        axes.hist(shown, np.exp(edges) if wide else edges, color=BLUE, edgecolor="white", linewidth=0.3)
    if wide:
        axes.set_xscale("log")
    return shown, len(values) - len(shown)
