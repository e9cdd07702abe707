"""The picture of a training: exponents and gradients against the call."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.drawing.figures import LINES, MARKS, new_figure
from symbptt.drawing.style import (
    DARK,
    GREY,
    SMALL,
    at_edge,
    chosen,
    finish,
    finite,
    logarithmic,
    positive,
    viridis,
)

MOST = 5
"""Exponents, and lags, that are drawn at the most."""


def draw_watch(history: Any, figure: Any = None, *, name: str = "") -> Any:
    """Draw the exponents of a watch with their standard errors, and its gradients at some lags, against the call; return the figure.

    A dotted line stands where a verdict begins, the verdict beside it; "undecided" is none.
    """
    figure = new_figure(7.6, 3.2, layout="constrained") if figure is None else figure
    left, right = figure.subplots(1, 2)
    _draw_exponents(history, left, name)
    _draw_gradients(history, right, name)
    return figure


def _draw_exponents(h: Any, axes: Any, name: str) -> None:
    axes.axhline(0, color=DARK, linewidth=0.8)
    for i in range(min(MOST, h.exponents.shape[1])):
        values, error = finite(h.exponents[:, i]), finite(h.errors[:, i])
        axes.plot(
            h.calls, values, color=LINES[i], linestyle=MARKS[i % len(MARKS)], marker=".", label=f"$\\lambda_{i + 1}$"
        )
        axes.fill_between(h.calls, values - error, values + error, color=LINES[i], alpha=0.2, linewidth=0)
    at_edge(axes, h.calls[np.isneginf(h.exponents).any(1)], "−∞")
    before = None
    for call, verdict in zip(h.calls, h.verdicts, strict=True):
        if verdict not in ("undecided", before):
            _mark(axes, call, verdict, call > h.calls.mean())
            before = verdict
    finish(axes, "exponents in training", name, "call", "nats per step")


def _mark(axes: Any, call: int, verdict: str, left: bool) -> None:
    """A dotted line where a verdict begins, with the verdict beside it."""
    axes.axvline(call, color=GREY, linestyle=":", linewidth=1.1)
    axes.annotate(
        verdict, (call, 0.97), (-3 if left else 3, 0), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
        ha="right" if left else "left", va="top", fontsize=SMALL, color=DARK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )  # fmt: skip


def _draw_gradients(h: Any, axes: Any, name: str) -> None:
    shown = chosen(len(h.lags), MOST)
    for place, i in enumerate(shown):
        axes.plot(
            h.calls, positive(h.gradients[:, i]), color=viridis(place, len(shown)), marker=".", label=f"lag {h.lags[i]}"
        )
    logarithmic(axes, h.gradients[:, shown])
    finish(axes, "gradient at lags", name, "call", r"$\Vert \partial\ell_T / \partial s_{T-k} \Vert_2$")
