"""The figure of a comparison: λ₁ of each cell against the gain, the size, or one beside the other."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from symbptt.comparison.row import Row
from symbptt.comparison.summary import Group, groups
from symbptt.drawing.figures import LINES, MARKS, new_figure
from symbptt.drawing.style import DARK, axes_or_new, finish
from symbptt.errors import ArgumentError, three_lines

POINTS = "osD^vPX"
"""Shapes, so that lines are told apart without colour."""
FILLS = ("full", "none", "left", "top")
"""The fills of the marks of a cell's sizes, so that they are told apart in a legend too."""


def comparison_figure(rows: Iterable[Row]) -> Any:
    """Return a figure of λ₁ for each cell.

    Raises: SymbpttError without matplotlib; ArgumentError where no row was measured.
    """
    figure = new_figure(6.0, 4.0, layout="constrained")
    plot_comparison(rows, figure.add_subplot())
    return figure


def plot_comparison(rows: Iterable[Row], axes: Any = None) -> Any:
    """Draw λ₁ against the gain, else the size, else by cell: the mean over seeds as a line, their range as a band.

    A cell has one colour and one mark, its sizes the style of the line and the filling of the mark. A cell without a gain is a
    level line. Rows with λ₁ = −∞ have no place; a line under the axis names them.

    Raises: SymbpttError without matplotlib; ArgumentError where no row was measured.
    """
    rows = list(rows)
    found = [group for group in groups(rows) if np.isfinite(group.column("lyapunov")).any()]
    if not found:
        raise ArgumentError(three_lines("no row has a finite exponent to draw", "in the figure of a comparison"))
    axes = axes_or_new(axes)
    across = _across(found)
    cells = list(dict.fromkeys(group.cell for group in found))
    for (cell, size), part in groupby(found, lambda group: (group.cell, group.size if across == "gain" else None)):
        style = _style(cells.index(cell), _rank(found, size))
        _draw(axes, list(part), across, cells, style, _label(found, cell, size))
    axes.axhline(0, color=DARK, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1)
    names = {"gain": "gain of the recurrent weights", "size": "size", "cell": ""}
    _horizontal(axes, across, found, cells)
    below = "\n".join(text for text in (names[across], _lost(rows)) if text)
    finish(axes, "mean and range over draws of the parameters", "", below, "largest exponent λ₁ (nats per step)")
    return axes


def _lost(rows: Sequence[Row]) -> str:
    """Return the rows that have no place in the figure."""
    measured = [row for row in rows if not row.failure]
    # λ₁ = -∞: products of Jacobians become exactly zero, as for cells that forget in finitely many steps.
    lost = Counter(row.cell for row in measured if row.lyapunov is not None and np.isneginf(row.lyapunov))
    counts = Counter(row.cell for row in measured)
    listed = ", ".join(f"{cell} ({count} of {counts[cell]} rows)" for cell, count in sorted(lost.items()))
    return textwrap.fill(f"not drawn, as λ₁ = −∞: {listed}", 70) if lost else ""


def _across(found: Sequence[Group]) -> str:
    """Return the quantity along the horizontal axis."""
    if len({group.gain for group in found} - {None}) > 1:
        return "gain"
    return "size" if len({group.size for group in found} - {None}) > 1 else "cell"


def _rank(found: Sequence[Group], size: int | None) -> int:
    sizes = sorted({group.size for group in found if group.size is not None})
    return 0 if size is None else sizes.index(size)


def _label(found: Sequence[Group], cell: str, size: int | None) -> str:
    several = len({group.size for group in found} - {None}) > 1
    return f"{cell}, size {size}" if several and size is not None else cell


def _style(cell: int, size: int) -> dict[str, Any]:
    return {
        "color": LINES[cell % len(LINES)],
        "linestyle": MARKS[size % len(MARKS)],
        "marker": POINTS[cell % len(POINTS)],
        "fillstyle": FILLS[size % len(FILLS)],
    }


def _draw(axes: Any, part: list[Group], across: str, cells: Sequence[str], style: dict[str, Any], label: str) -> None:
    values = [group.column("lyapunov") for group in part]
    sound = [v[np.isfinite(v)] for v in values]
    low, middle, high = (np.array([f(v) if len(v) else np.nan for v in sound]) for f in (np.min, np.mean, np.max))
    if across == "gain" and part[0].gain is None:  # one value whatever the gain
        axes.axhspan(low[0], high[0], color=style["color"], alpha=0.18, linewidth=0)
        axes.axhline(middle[0], label=f"{label} (no gain)", linewidth=1.6, **{**style, "marker": ""})
        return
    x = np.array([cells.index(g.cell) if across == "cell" else getattr(g, across) or 0 for g in part], float)
    if len(part) == 1:
        axes.errorbar(
            x,
            middle,
            [middle - low, high - middle],
            capsize=3,
            markersize=5,
            label=label,
            **{**style, "linestyle": ""},
        )
        return
    axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
    axes.plot(x, middle, label=label, linewidth=1.6, markersize=4.5, **style)


def _horizontal(axes: Any, across: str, found: Sequence[Group], cells: Sequence[str]) -> None:
    values = np.array([getattr(group, across) or 0 for group in found if across != "cell"], float)
    if across == "cell":
        axes.set_xticks(range(len(cells)), cells)
        axes.set_xlim(-0.6, len(cells) - 0.4)
    elif np.all(values > 0) and values.max() >= 20 * values.min():
        axes.set_xscale("log")
