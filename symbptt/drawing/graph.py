"""Drawings, with matplotlib: an unrolled cell with its adjoints, and the norm of the adjoint against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from symbptt.autodiff.labels import Label
from symbptt.drawing.exchange import WRITERS
from symbptt.drawing.figures import LINES, MARKS, new_figure, save
from symbptt.drawing.painting import paint
from symbptt.drawing.picture import picture_of
from symbptt.drawing.svg import svg_of
from symbptt.equations.notation.names import Used, names_of_page
from symbptt.equations.notation.signs import latex_of
from symbptt.errors import ArgumentError
from symbptt.files import write_text

DRAWINGS = (".svg", ".png", ".pdf", ".eps", ".ps", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".pgf")
"""The endings of drawings; SVG needs no other package, the others are written by matplotlib."""


def draw_unrolled(graph: nx.DiGraph, where: Any, *, saved: bool = True, width: str = "double") -> None:
    """Draw a graph of `sb.unroll` on matplotlib axes, or into a file where `where` is a path.

    Time runs to the right; values stand above, and the adjoint of each in its mirror image below. Parameters stand in
    small type under the values that read them, their gradients under the adjoints that they sum. `saved=False` leaves out
    the dashed lines of what is kept for the backward pass; width="single" is for one column of a page: at most 252 points
    wide, without the small type, in type of at least 5 points, with numbers in the boxes where those lines have no room.

    Raises: ArgumentError where the graph has no steps, or more than fit on a page or in a column.
    """
    picture = picture_of(graph, saved=saved, width=width)
    if not isinstance(where, str | Path):
        paint(picture, where)
    elif Path(where).suffix.lower() == ".svg":
        write_text(Path(where), svg_of(picture))
    else:
        figure = new_figure(picture.width / 72, picture.height / 72)
        paint(picture, figure.add_axes((0, 0, 1, 1)))
        save(figure, where, tight=False)


def write_unrolled(graph: nx.DiGraph, path: str | Path, *, saved: bool = True, width: str = "double") -> None:
    """Write a graph of `sb.unroll` into a file, as the drawing or the text that its name's ending says.

    Raises: ArgumentError for another ending; TargetError where the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in WRITERS:
        write_text(path, WRITERS[ending](graph))
    elif ending in DRAWINGS:
        draw_unrolled(graph, path, saved=saved, width=width)
    else:
        known = ", ".join(sorted([*DRAWINGS, *WRITERS]))
        raise ArgumentError(f"no graph can be written as {path.name!r}\n  endings: {known}")


def plot_adjoint_norm(
    flow: Mapping[str, Any], axes: Any, times: Sequence[Any] | None = None, label: str = "step t"
) -> None:
    """Draw the norm of the adjoint of each state against time on a logarithmic axis.

    Shapes: each value of `flow` is (T,), the norm at steps 1 to T; `times` are T numbers or dates to stand for them.
    """
    notation = latex_of(names_of_page(Used(name, "state") for name in flow))
    for i, (name, norms) in enumerate(flow.items()):
        norms = np.asarray(norms, dtype=float)
        # nan leaves a gap in the line; inf would stretch the axis.
        shown = np.where((norms > 0) & (norms < np.inf), norms, np.nan)  # a logarithmic axis has no zero
        at = np.arange(1, len(norms) + 1) if times is None else times
        style = {
            "color": LINES[i % len(LINES)],
            "linestyle": MARKS[i % len(MARKS)],
            "linewidth": 2.2 if i == 0 else 1.6,
        }
        symbol = notation.symbol(Label(name, 0, adjoint=True))
        axes.plot(at, shown, label=rf"$\Vert {symbol} \Vert_2$", marker="." if len(norms) < 30 else "", **style)
    # matplotlib warns of a logarithmic axis without positive values.
    if any(np.any(np.asarray(norms) > 0) for norms in flow.values()):
        axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("norm of the adjoint")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for text in axes.legend(frameon=False, fontsize=11).get_texts():
        text.set_math_fontfamily("cm")


def norm_figure(flow: Mapping[str, Any], title: str, times: Sequence[Any] | None, label: str) -> Any:
    """Return a figure of `plot_adjoint_norm` with a title."""
    figure = new_figure(7.5, 4.2)
    axes = figure.add_subplot()
    plot_adjoint_norm(flow, axes, times, label)
    axes.set_title(title, fontsize=10, loc="left")
    return figure
