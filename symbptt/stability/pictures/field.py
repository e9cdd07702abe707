"""Pictures of theory beside simulation: the phase diagram of the mean field, the horizon of a forget gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbptt.drawing.style import (
    BLUE,
    DARK,
    HUGE,
    ORANGE,
    RED,
    at_edge,
    axes_or_new,
    finish,
    finite,
    positive,
)
from symbptt.stability.dynamics.population import Growth

PHASES = {
    "stable": ("o", BLUE, "tied: stable"),
    "chaotic": ("^", RED, "tied: chaotic"),
    "undecided": ("D", ORANGE, "tied: undecided"),
}


def draw_phase_diagram(
    sigma_b: Any, sigma_w: Any, axes: Any = None, *, tied: Sequence[tuple[float, float, Growth]] = (), name: str = ""
) -> Any:
    """Draw the critical line of the mean field and simulations of tied networks beside it; return the axes.

    `sigma_w` is `critical_line(activation, sigma_b=sigma_b)`; `tied` has σ_b, σ_w and the growth λ₁ of each simulation.
    A simulation is stable or chaotic where λ₁ is more than two standard errors from 0.

    Shapes: sigma_b, sigma_w (K,).
    """
    axes = axes_or_new(axes)
    b, w = np.asarray(sigma_b, float), finite(sigma_w)
    axes.plot(b, w, color="black", linewidth=1.8, marker="." if len(b) < 3 else "", label=r"critical line, $\chi = 1$")
    heights = np.concatenate([w[np.isfinite(w)], [point[1] for point in tied]])
    low, high = (0.9 * heights.min(), 1.1 * heights.max()) if len(heights) else (0.0, 1.0)
    axes.fill_between(b, low, w, color=BLUE, alpha=0.10, linewidth=0, label=r"ordered, $\chi < 1$")
    axes.fill_between(b, w, high, facecolor="none", edgecolor=RED, alpha=0.35, hatch="..", linewidth=0,
                      label=r"chaotic, $\chi > 1$")  # fmt: skip
    for phase, (mark, colour, text) in PHASES.items():
        found = np.array([point[:2] for point in tied if phase_of(point[2]) == phase])
        if len(found):
            axes.plot(found[:, 0], found[:, 1], mark, color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.5,
                      label=text)  # fmt: skip
    axes.set_ylim(low, high)
    return finish(axes, "phase diagram", name, r"bias spread $\sigma_b$", r"weight spread $\sigma_w$")


def phase_of(growth: Growth) -> str:
    """Return "stable" or "chaotic" where λ₁ is more than two standard errors from 0, else "undecided"."""
    if not abs(growth.exponent) > 2 * growth.error:
        return "undecided"
    return "chaotic" if growth.exponent > 0 else "stable"


def forget_horizon(bias: Any) -> Any:
    """Return −1/ln σ(b), the steps in which a cell state with the forget gate σ(b) falls to 1/e.

    Source: Tallec, Ollivier 2018, "Can recurrent neural networks warp time?", section 2.
    """
    with np.errstate(divide="ignore", over="ignore"):  # a gate that is 1 within rounding never forgets
        # −ln σ(b) = ln(1 + e^−b), which logaddexp computes without overflow and without losing the digits of a gate
        # near 1.
        return 1 / np.logaddexp(0, -np.asarray(bias, float))


def draw_horizons(bias: Any, horizons: Any, axes: Any = None, *, errors: Any = None, name: str = "") -> Any:
    """Draw measured horizons against the bias of the forget gate over the curve −1/ln σ(b); return the axes.

    Horizons that are not finite, of cells that do not forget, are marked at the upper edge.

    Shapes: bias, horizons, errors (K,); horizons in steps.
    """
    axes = axes_or_new(axes)
    b, measured = np.asarray(bias, float), np.asarray(horizons, float)
    room = 0.05 * (np.ptp(b) if len(b) > 1 else 2.0)
    grid = np.linspace(b.min() - room, b.max() + room, 201) if len(b) else np.linspace(-1, 5, 201)
    axes.plot(grid, positive(forget_horizon(grid)), color=DARK, linewidth=1.5, label=r"$-1/\ln\,\sigma(b)$")
    axes.errorbar(b, positive(measured), None if errors is None else finite(errors), fmt="o", color=RED, markersize=4.5, capsize=2,
                  label="measured")  # fmt: skip
    axes.set_yscale("log")
    at_edge(axes, b[~(measured < HUGE)], "no finite horizon", top=True)
    return finish(axes, "memory horizon", name, "forget bias b", "horizon (steps)")
