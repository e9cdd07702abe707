"""The lifetime of each buffer of a function.

Statements are numbered in the order of the text. A buffer is live from its first to its last use, and

* through a whole loop, where it is used inside and outside it, or where a round reads what an earlier one wrote, which
  no round of blocks does with a buffer of a block;
* to the end, where it is a result or a residual.

Example: in `loop t: s = U h[t]; h[t+1] = tanh(s)` the temporary s is live in its two statements only, for each round
writes it before it reads it; h is live through the loop, for a round reads what the one before wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from symbptt.codegen.loop_ir.nodes import (
    Buffer,
    Function,
    Loop,
    Sharpen,
    Statement,
    View,
    body_of,
    reads,
    writes,
)
from symbptt.ir.shape import size

LASTING = ("result", "residual")
"""Spaces of buffers that outlive the function."""


@dataclass(frozen=True)
class Live:
    """The first and the last statement that need a buffer."""

    first: int
    last: int


@dataclass(frozen=True)
class _Use:
    """A view that a statement reads or writes, and the number of the statement."""

    at: int
    view: View
    writes: bool


@dataclass(frozen=True)
class _Round:
    """A loop with the numbers of its first and last statement, its index, and whether it goes by blocks."""

    first: int
    last: int
    index: sp.Symbol
    by_blocks: bool


def numbered(body: Sequence[Statement], first: int = 0) -> list[tuple[int, Statement]]:
    """Return all statements with their numbers, a loop before its body, a Sharpen, which reads what its body wrote,
    after it."""
    found: list[tuple[int, Statement]] = []
    for s in body:
        if not isinstance(s, Sharpen):
            found.append((first + len(found), s))
        found += numbered(body_of(s), first + len(found))
        if isinstance(s, Sharpen):
            found.append((first + len(found), s))
    return found


def liveness(f: Function) -> dict[Buffer, Live]:
    """Return the lifetime of each buffer that the function itself allocates."""
    statements = numbered(f.body)
    rounds = [
        _Round(i, i + len(numbered(s.body)), s.index, s.count is not None) for i, s in statements if isinstance(s, Loop)
    ]
    uses: dict[Buffer, list[_Use]] = {buffer: [] for buffer in f.buffers}
    for i, s in statements:
        for view in reads(s):
            _note(uses, _Use(i, view, False))
        for view in writes(s):
            _note(uses, _Use(i, view, True))
    last = len(statements) - 1
    return {buffer: _live(buffer, found, rounds, last) for buffer, found in uses.items() if found}


def _note(uses: Mapping[Buffer, list[_Use]], use: _Use) -> None:
    if use.view.buffer in uses:
        uses[use.view.buffer].append(use)


def _live(buffer: Buffer, uses: Sequence[_Use], rounds: Sequence[_Round], end: int) -> Live:
    # A loop runs its statements again, so that the last use in the text need not be the last in time: a value that
    # goes from round to round must not be written over anywhere in the loop.
    first, last = min(use.at for use in uses), max(use.at for use in uses)
    if buffer.space in LASTING:
        last = end
    # From the innermost loop outwards: a lifetime that was extended to a whole inner loop counts as such in the outer
    # one.
    for around in reversed(rounds):
        inside = [use for use in uses if around.first <= use.at <= around.last]
        # A round of blocks writes a buffer of a block before it reads it, as the law of blocks demands.
        of_block = around.by_blocks and buffer.space == "block"
        outside = first < around.first or last > around.last
        if inside and (outside or (not of_block and _is_carried(inside, around))):
            first, last = min(first, around.first), max(last, around.last)
    return Live(first, last)


def _is_carried(uses: Sequence[_Use], around: _Round) -> bool:
    """Answer whether a round of a loop may read what an earlier round wrote."""
    # Where each read is behind a write of the same element in the same round, nothing comes from an earlier round,
    # and between the last read of a round and the first write of the next the buffer is free.
    return any(not use.writes and not any(_is_before(other, use, around) for other in uses) for use in uses)


def _is_before(write: _Use, read: _Use, around: _Round) -> bool:
    """Answer whether the same round wrote an element before it is read: at the same distance from the index of the
    loop."""
    if not write.writes or write.at >= read.at:
        return False
    # Starts are compared as polynomials: a gap of zero holds in every round, any other may reach into another round.
    gaps = (size(a - b) for a, b in zip(write.view.start, read.view.start, strict=True))
    return not any(around.index in getattr(gap, "free_symbols", ()) or gap != 0 for gap in gaps)
