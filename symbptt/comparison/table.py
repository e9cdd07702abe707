"""The table of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from symbptt.comparison.row import Row
from symbptt.comparison.summary import Group, groups, mean, spread

WIDTH = 120
"""Columns of text that the table needs."""
SHOWN = 5
"""Failures at the most that are told in full."""
COLUMNS = (
    "cell", "size", "gain", "seeds", "λ₁", "± run", "± seeds", "horizon", "verdict", "g₁₀", "g₁₀₀", "iso₁₀", "D_KY", "entropy",
)  # fmt: skip
LEGEND = (
    "λ₁, its standard error within a run and its standard deviation between seeds, and the entropy in nats per step; horizon "
    "−1/λ₁ in steps; g_k: ln of the gradient's norm k steps back; iso_k: largest |ln singular value| of k Jacobians; D_KY: "
    "Kaplan–Yorke dimension. Means over seeds; of the horizon the median."
)


def comparison_table(rows: Iterable[Row]) -> Table:
    """Return a line for each cell, size and gain; under it what the columns mean, and what failed."""
    rows = tuple(rows)
    notes = [LEGEND, *_without_gain(rows), *_failures([row for row in rows if row.failure])]
    table = Table(
        caption=Text("\n".join(notes)), caption_justify="left", caption_style="", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("cell", "verdict") else "right", overflow="fold",
                         min_width=11 if name == "verdict" else None)  # fmt: skip
    for group in groups(rows):
        table.add_row(*map(Text, _line(group)))
    return table


def _line(group: Group) -> list[str]:
    seeds = f"{len(group.rows)}/{len(group.rows) + group.failed}" if group.failed else str(len(group.rows))
    first = [group.cell, _exact(group.size), _exact(group.gain), seeds]
    if not group.rows:
        return [*first, "", "", "", "", "failed", *[""] * 5]
    exponent = group.column("lyapunov")
    names = "gradient_10", "gradient_100", "isometry_10", "kaplan_yorke", "entropy"
    return [
        *first,
        f"{mean(exponent):+.4f}" if np.isfinite(mean(exponent)) else _rounded(mean(exponent)),
        # Variances add, standard errors do not: the mean is taken of squares.
        _rounded(float(np.sqrt(mean(group.column("error") ** 2))), 2),
        _rounded(spread(exponent), 2),
        # One infinite horizon would make the mean infinite.
        _rounded(float(np.median(group.column("horizon")))),
        group.verdict,
        *(_rounded(mean(group.column(name))) for name in names),
    ]


def _exact(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _rounded(value: float, digits: int = 3) -> str:
    return "–" if np.isnan(value) else "∞" if value == np.inf else "−∞" if value == -np.inf else f"{value:.{digits}g}"


def _without_gain(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(row.cell for row in rows if row.gain is None)
    return (
        [f"No parameter of {', '.join(names)} multiplies a state: there is nothing for a gain to scale."]
        if names
        else []
    )


def _failures(failed: Sequence[Row]) -> list[str]:
    told = [f"Failed: {row.cell}{_variant(row)}: {row.failure}" for row in failed[:SHOWN]]
    return told + ([f"... and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else [])


def _variant(row: Row) -> str:
    parts = (("size", row.size), ("gain", row.gain), ("seed", row.seed))
    return "".join(f", {name} {value:g}" for name, value in parts if value is not None)
