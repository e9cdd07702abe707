"""Rows as a table, for terminals, CSV files, Markdown and drawings: the same texts everywhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from symbptt.bench.measure import Row, best_peer
from symbptt.drawing.figures import LINES, MARKS, need_matplotlib

NONE = "-"
MARKERS = "osv^D*PX"


def columns(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the heads of the columns: our time, then our time over each of the others', over the fastest peer."""
    others = dict.fromkeys(name for row in rows for name in row.ratios)
    return ("cell", "dtype", "T, B, sizes", "ours (ms)", *(f"/ {name}" for name in others), "/ fastest peer", "notes")


def texts(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the rows as texts, one for each of the columns."""
    others = list(dict.fromkeys(name for row in rows for name in row.ratios))
    return [
        (
            row.cell,
            row.dtype,
            row.sizes,
            f"{row.milliseconds['ours']:.3g}",
            *(_ratio(row.ratios.get(name)) for name in others),
            _ratio(best_peer(row)),
            "; ".join(row.notes),
        )
        for row in rows
    ]


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def csv_text(rows: Sequence[Row]) -> str:
    """Return the table as CSV."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([columns(rows), *texts(rows)])
    return out.getvalue()


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def ratio_figure(rows: Sequence[Row], title: str) -> Any:
    """Return a figure of the ratio to the floor against the largest size, a line for each cell and type."""
    figure = need_matplotlib().figure.Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    shown = [row for row in rows if "floor" in row.ratios]
    types, cells = (list(dict.fromkeys(values)) for values in ((r.dtype for r in shown), (r.cell for r in shown)))
    for number, cell in enumerate(cells):
        look = {"color": LINES[number % len(LINES)], "marker": MARKERS[number % len(MARKERS)], "ms": 4, "lw": 1.2}
        for style, dtype in zip(MARKS, types, strict=False):
            mine = sorted((r.width, r.ratios["floor"]) for r in shown if (r.cell, r.dtype) == (cell, dtype))
            label = f"{cell}, {dtype}" if len(types) > 1 else cell
            if mine:
                axes.plot(*zip(*mine, strict=True), style, label=label, **look)
    _ratio_axes(axes, [row.width for row in rows], [row.ratios["floor"] for row in shown])
    axes.set_title(title, fontsize=10, loc="left")
    if shown:
        axes.legend(fontsize=7, ncols=2, frameon=False)
    return figure


def _ratio_axes(axes: Any, widths: Sequence[int], ratios: Sequence[float]) -> None:
    """Make both axes logarithmic, labelled with the sizes that were measured."""
    highest, lowest = max(ratios, default=2), min(ratios, default=1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xticks(sorted(set(widths)), [str(width) for width in sorted(set(widths))])
    # Ticks of a logarithmic axis at equal factors, approximately, in numbers that are easy to read.
    ticks = [tick for tick in (1, 1.25, 1.6, 2, 3, 4, 6, 10, 20, 50, 100) if tick <= 1.3 * highest]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(min(0.9, 0.9 * lowest), 1.3 * max(highest, 1.6))
    axes.axhline(1, color="0.6", lw=0.8)
    axes.set_xlabel("n, the largest size of the cell")
    axes.set_ylabel("time over that of the bare matrix products")
