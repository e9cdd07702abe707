"""The table of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from symbptt.compare.row import Row
from symbptt.compare.summary import Group, groups, mean, spread

SHOWN = 5
"""Failures at the most that are told in full."""
COLUMNS = {
    "cell": "left", "size": "right", "gain": "right", "seeds": "right", "λ₁": "right", "± run": "right", "± seeds": "right",
    "horizon": "right", "verdict": "left", "g₁₀": "right", "g₁₀₀": "right", "iso₁₀": "right", "D_KY": "right",
    "entropy": "right", "Σ-defect": "right",
}  # fmt: skip
LEGEND = (
    "λ₁, its standard error within a run and its standard deviation between seeds, and the entropy in nats per step; horizon "
    "−1/λ₁ in steps; g_k: ln of the gradient's norm k steps back; iso_k: largest |ln singular value| of k Jacobians; D_KY: "
    "Kaplan–Yorke dimension. Means over seeds; of the horizon the median, of the defect of the sum rule the largest."
)


def comparison_table(rows: Iterable[Row]) -> Table:
    """Return a line for each cell, size and gain; under it what the columns mean, and what failed."""
    rows = tuple(rows)
    notes = [LEGEND, *_without_gain(rows), *_failures([row for row in rows if row.failure])]
    table = Table(caption=Text("\n".join(notes)), caption_justify="left", caption_style="")
    for name, side in COLUMNS.items():
        table.add_column(name, justify="left" if side == "left" else "right", no_wrap=name != "verdict")
    for group in groups(rows):
        table.add_row(*map(Text, _line(group)))
    return table


def _line(group: Group) -> list[str]:
    first = [
        group.cell,
        _exact(group.size),
        _exact(group.gain),
        str(len(group.rows)) + (f" of {len(group.rows) + group.failed}" if group.failed else ""),
    ]
    if not group.rows:
        return [*first, "", "", "", "", "failed", *[""] * 6]
    exponent, error = group.column("lyapunov"), group.column("error")
    return [
        *first,
        f"{mean(exponent):+.4f}",
        _rounded(float(np.sqrt(mean(error**2)))),
        _rounded(spread(exponent)),
        _rounded(float(np.median(group.column("horizon")))),
        group.verdict,
        *(_rounded(mean(group.column(name))) for name in ("gradient_10", "gradient_100", "isometry_10", "kaplan_yorke", "entropy")),
        _rounded(float(np.max(group.column("sum_rule_defect")))),
    ]  # fmt: skip


def _exact(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _rounded(value: float) -> str:
    return "–" if np.isnan(value) else "∞" if value == np.inf else "−∞" if value == -np.inf else f"{value:.3g}"


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
