"""Samples of different lengths one behind another in rows, so that a ragged batch costs the steps that it contains.

Rows are as long as the longest sample, and all but the last one are full: a sample that does not fit in what is left of a row begins
in the next one, at its first step, and goes on in what was left, which comes later. Where a row turns to another sample, the state
before the step is that one's, and the adjoint behind the step before that of the other; no other step has a mask. Behind the end of
the last row its last step is repeated, and nothing flows back.

Example: lengths 3, 4, 2 are the rows [0 0 0 1], [1 1 1 2], [2 . . .]; the last step of sample 1 lies in the first row.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import STATES, Array, Arrays, Mask
from symbptt.codegen.runtime.masks import _entering, _left


class _Rows:
    """Where the samples of a ragged batch lie. Of all steps and samples, and of all places in rows, in a row each: `used` are those
    of the batch that are any, `places` where they lie; `sources` tells what lies at each place. `begun` and `ended` are the rows
    that turn at a step: which sample begins and where it is continued from, and which one ends and whether it goes on elsewhere."""

    def __init__(self, active: Array) -> None:
        lengths = active.sum(0)
        self.shape, self.T = active.shape, int(lengths.max())
        self.end = np.cumsum(lengths)
        self.begin = self.end - lengths
        self.border = (self.end - 1) // self.T * self.T  # where the row begins in which a sample ends
        self.over = np.where(
            self.border > self.begin, self.end - self.border, 0
        )  # its steps there, where it begins in another
        whole = int(self.end[-1])
        self.rows = -(-whole // self.T)
        self.left = whole - (self.rows - 1) * self.T  # steps of the last row
        step, sample = active.nonzero()
        self.used, self.places = step * self.shape[1] + sample, self.place(step, sample)
        self.sources = np.zeros((self.T, self.rows), np.intp)
        self.sources.reshape(self.T * self.rows)[self.places] = self.used
        self.sources[self.left :, -1] = self.sources[self.left - 1, -1]
        self.first, self.last = self.sources[0] % self.shape[1], self.sources[-1] % self.shape[1]  # samples
        self.begun: dict[int, list[Any]] = {}
        self.ended: dict[int, list[Any]] = {}
        for b, (begin, end, over) in enumerate(zip(self.begin.tolist(), self.end.tolist(), self.over.tolist())):
            row, t = divmod(begin, self.T)
            if t and end > begin:
                self.begun.setdefault(t, []).append((row, b, (over, row + 1) if over else None))
            row, t = divmod(end, self.T)
            if t and end > begin:
                self.ended.setdefault(t, []).append((row, b, over > 0))

    def place(self, step: Array, sample: Array) -> Array:
        """Return the places where steps of samples lie."""
        over = self.over[sample]
        at = np.where(step < over, self.border[sample] + step, self.begin[sample] + step - over)
        return at % self.T * self.rows + at // self.T

    def enter(self, t: int, states: Iterable[tuple[Array, Array, Array]]) -> None:
        """Write the states before step t."""
        for initial, after, before in states:
            before[t] = after[t]
            if t in self.begun:
                for row, b, source in self.begun[t]:
                    before[t, row] = initial[b] if source is None else after[source]
            if t >= self.left:
                before[t, -1] = before[t - 1, -1]

    def laid(self, x: Array) -> Array:
        """Return data of steps and samples in rows."""
        return _flat(x)[self.sources]

    def sent(self, x: Array) -> Array:
        """Return cotangents of steps and samples in rows, zero behind the end of the last one."""
        found = self.laid(x)
        found[self.left :, -1] = 0
        return found

    def behind(self, last: Array) -> Array:
        """Return the adjoints behind the rows: those behind the samples at their end."""
        found = last[self.last]
        if self.left < self.T:
            found[-1] = 0
        return found

    def taken(self, x: Array) -> Array:
        """Return values in rows by steps and samples, zero behind the end of each."""
        found = np.zeros((*self.shape, *x.shape[2:]), x.dtype)
        _flat(found)[self.used] = _flat(x)[self.places]
        return found

    def stopped(self, values: Arrays, initial: Arrays) -> Arrays:
        """Return values in rows by steps and samples, behind the end of each those at its end; of a sample without a step initial ones,
        or, where there are none, others that are there."""
        lengths = self.end - self.begin
        empty = (lengths == 0).nonzero()[0]
        steps = np.minimum(np.arange(self.shape[0])[:, None], np.maximum(lengths - 1, 0))
        at = self.place(steps, np.arange(len(lengths)))
        at[:, empty] = 0
        values = {k: _flat(v)[at] for k, v in values.items()}
        for k in initial:
            values[k][:, empty] = initial[k][empty]
        return values


def _flat(x: Array) -> Array:
    """Return an array whose first two axes are one."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


class _RowsBack:
    """Rows on the way back: the adjoints behind the end of each sample, and those before the first of its steps so far."""

    def __init__(self, rows: _Rows, last: Arrays, first: Sequence[Array]) -> None:
        self.rows, self.last, self.first = rows, last, first

    def leaving(self, t: int, adjoints: Sequence[Array]) -> None:
        """Behind step t take the adjoints of samples that begin there, and put those in their place that end before."""
        if t not in self.rows.ended:
            return
        for k, d, first in zip(STATES, adjoints, self.first):
            for row, b, _ in self.rows.begun.get(t, ()):
                first[b] = d[row]
            for row, b, goes_on in self.rows.ended[t]:
                d[row] = first[b] if goes_on else 0 if self.last[k] is None else self.last[k][b]


def _enter(t: int, states: Iterable[tuple[Array, Array, Array]], active: Mask, reset: Any) -> None:
    """Write the states before step t; of each: the initial one, those after each step from that on, those before."""
    if isinstance(reset, _Rows):
        reset.enter(t, states)
        return
    for initial, after, before in states:
        before[t] = _entering(t, initial, after, before, active, reset)


def _leave(
    t: int, adjoints: Sequence[Array], waiting: Sequence[Array], resets: Sequence[Array], active: Mask, reset: Any
) -> None:
    """Put the adjoints of other samples back behind a step; where a state was reset, its adjoint goes to the initial one."""
    if isinstance(reset, _RowsBack):
        reset.leaving(t, adjoints)
    else:
        _left(t, adjoints, waiting, resets, active, reset)
