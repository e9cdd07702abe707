"""Rows put together: one line for each cell, size and gain, over all seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from symbptt.comparison.row import Row, order


@dataclass(frozen=True)
class Group:
    """The measured rows of one cell, size and gain; `failed` counts those of its seeds that were not measured."""

    cell: str
    size: int | None
    gain: float | None
    rows: tuple[Row, ...]
    failed: int

    def column(self, name: str) -> Any:
        """Return a column as numbers, nan where it was not measured. Shapes: (rows,)."""
        return np.array([np.nan if getattr(row, name) is None else getattr(row, name) for row in self.rows], float)

    @property
    def verdict(self) -> str:
        """The verdicts of the seeds, the most frequent first, with counts where they differ."""
        counts = Counter(row.verdict for row in self.rows).most_common()
        return ", ".join(word if len(counts) == 1 else f"{count} {word}" for word, count in counts)


def groups(rows: Iterable[Row]) -> tuple[Group, ...]:
    """Return rows by cell, size and gain, sorted."""
    found = []
    for (cell, size, gain), part in groupby(sorted(rows, key=order), lambda row: (row.cell, row.size, row.gain)):
        seeds = list(part)
        sound = tuple(row for row in seeds if not row.failure)
        found.append(Group(cell, size, gain, sound, len(seeds) - len(sound)))
    return tuple(found)


def mean(values: Any) -> float:
    """Return the mean of the values that are there, nan where none is."""
    values = values[~np.isnan(values)]
    with np.errstate(invalid="ignore"):
        return float(np.mean(values)) if len(values) else np.nan


def spread(values: Any) -> float:
    """Return the standard deviation between draws, nan for fewer than two, zero where all are the same infinity."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return np.nan
    with np.errstate(invalid="ignore"):
        # inf - inf is nan: equal infinities have no spread, but np.std would not find that.
        return 0.0 if np.all(values == values[0]) else float(np.std(values, ddof=1))
