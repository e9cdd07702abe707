"""Samples of different lengths one behind another in rows, for sweeps in C: each lies in one row, so that what a row begins anew with
is there before the sweep.

The longest sample comes first; each of the others lies in the row where the least is left behind it. A row that nothing fits into ends
with its last sample. Example: of lengths 4, 3, 2, 1 the rows are [0 0 0 0], [1 1 1 3], [2 2 . .].
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbptt.codegen.runtime.shared import _Rows

Array = NDArray[Any]


class CRows(_Rows):
    """Where the samples of a ragged batch lie: beside what `_Rows` has, `active`, the steps of rows that are those of samples, and
    `turned`, the steps before which a row turns to another one; `later` are the samples with which it does, at
    `turns`, and `ends` those that have a step, with the places of their last ones."""

    def __init__(self, active: Array) -> None:
        lengths = active.sum(0)
        self.shape, self.T = active.shape, int(lengths.max())
        self.end = np.cumsum(lengths)
        self.begin = self.end - lengths
        self.row, self.start, self.rows = _laid(lengths.tolist(), self.T)
        step, sample = active.nonzero()
        self.used, self.places = step * self.shape[1] + sample, self.place(step, sample)
        taken = np.zeros((self.T, self.rows), np.intp)
        taken.reshape(-1)[self.places] = self.used
        ends = np.bincount(self.row[lengths > 0], lengths[lengths > 0], self.rows).astype(np.intp)
        # Behind the end of a row its last step is repeated.
        at = np.minimum(np.arange(self.T)[:, None], ends - 1)
        self.sources, self.first = np.take_along_axis(taken, at, 0), taken[0] % self.shape[1]
        self.active = np.arange(self.T)[:, None] < ends
        self.later = ((lengths > 0) & (self.start > 0)).nonzero()[0]
        self.turns = self.start[self.later], self.row[self.later]
        self.turned = np.zeros((self.T, self.rows), bool)
        self.turned[self.turns] = True
        some = (lengths > 0).nonzero()[0]
        self.ends = some, (self.start[some] + lengths[some] - 1, self.row[some])

    def place(self, step: Array, sample: Array) -> Array:
        """Return the places where steps of samples lie."""
        found: Array = (self.start[sample] + step) * self.rows + self.row[sample]
        return found

    def laid(self, x: Array) -> Array:
        """Return data of steps and samples in rows."""
        return _taken(x, self.sources)

    def stopped(self, values: dict[str, Array], initial: dict[str, Array]) -> dict[str, Array]:
        """Return values in rows by steps and samples, behind the end of each those at its end, as `_Rows` does."""
        lengths = self.end - self.begin
        empty = (lengths == 0).nonzero()[0]
        steps = np.minimum(np.arange(self.shape[0])[:, None], np.maximum(lengths - 1, 0))
        at = self.place(steps, np.arange(len(lengths)))
        at[:, empty] = 0
        found = {k: _taken(v, at) for k, v in values.items()}
        for k in initial:
            found[k][:, empty] = initial[k][empty]
        return found

    def sent(self, x: Array) -> Array:
        """Return cotangents of steps and samples in rows, zero behind the end of each."""
        found: Array = self.laid(x)
        found[~self.active] = 0
        return found

    def behind(self, last: Array) -> Array:
        """Return the adjoints behind the rows: those behind samples are sent at their last steps."""
        return np.zeros((self.rows, *last.shape[1:]), last.dtype)

    def with_last(self, sent: Array | None, last: Array) -> Array:
        """Add to cotangents of a state in rows those behind the samples, each at the last step of its sample, and return them."""
        found = np.zeros((self.T, self.rows, *last.shape[1:]), last.dtype) if sent is None else sent
        samples, places = self.ends
        found[places] += last[samples]
        return found


def _taken(x: Array, at: Array) -> Array:
    """Return an array whose first two axes are one, at places of these."""
    # Rows of numbers are copied whole, which an index by arrays does not do.
    found: Array = np.take(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), at, 0, mode="clip")
    return found


def _laid(lengths: Sequence[int], T: int) -> tuple[Array, Array, int]:
    """Return the row in which each sample lies, the step at which it begins there, and the number of rows.

    Source: Johnson 1974, "Fast algorithms for bin packing", best fit decreasing.
    """
    row, start = np.zeros(len(lengths), np.intp), np.zeros(len(lengths), np.intp)
    left: list[tuple[int, int]] = []
    rows = 0
    for b in sorted(range(len(lengths)), key=lambda b: -lengths[b]):
        if not lengths[b]:
            break
        at = bisect_left(left, (lengths[b], -1))
        if at < len(left):
            free, row[b] = left.pop(at)
        else:
            free, row[b], rows = T, rows, rows + 1
        start[b] = T - free
        insort(left, (free - lengths[b], int(row[b])))
    return row, start, rows
