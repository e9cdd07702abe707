"""The memory of a call: in numbers its peak, in symbols the sums of which the greatest is the peak."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import sympy as sp

from symbptt.codegen.memory.account import Letters, Sizes, Sum, greatest, is_less
from symbptt.codegen.memory.driver import Driver
from symbptt.codegen.memory.runs import Call, Functions, Runs
from symbptt.codegen.memory.truncated import Truncated
from symbptt.language.truncation import Chunked, Window

OBJECTS = 2**14
"""Bytes of Python's own objects: arrays beside their elements, views, frames, tuples, dicts."""


@dataclass(frozen=True)
class Most:
    """The maximum of the memory of a call: the greatest of some sums, among them `small` ones where a size is less than
    LARGE; `scans` are the least steps of a window and the bytes of a step where steps are scanned."""

    sums: tuple[Sum, ...]
    small: Mapping[sp.Expr, tuple[Sum, ...]]
    scans: tuple[tuple[int, sp.Expr], ...]


def peak(f: Functions, call: Call, values: Mapping[sp.Symbol, int], truncation: Window | Chunked | None = None) -> int:
    """Return the greatest number of bytes that a call takes beside its arguments and beside the states of checkpoints.

    `values` are those of all named sizes, of steps, samples, the steps of a piece, and the bytes of a float.
    """
    sizes = Sizes(values=values)
    driver = Driver(f, call, sizes) if truncation is None else Truncated(f, call, sizes, truncation=truncation)
    driver.run()
    return OBJECTS + max((factor for now in driver.account.found.get(None, ()) for _, factor in now), default=0)


def most(f: Functions, call: Call, letters: Letters, kind: Callable[[Functions, Call, Sizes], Runs] = Runs) -> Most:
    """Return the memory of a call by pieces in symbols, to some of which `letters` are added."""
    driver = Driver(f, call, Sizes(letters), kind=kind)
    driver.run()
    found = {where: [dict(now) for now in sums] for where, sums in driver.account.found.items()}
    sums = greatest(found.pop(None))
    small = {where: _beyond(sums, more) for where, more in found.items()}
    return Most(sums, {where: more for where, more in small.items() if more}, tuple(driver.runs.scanned))


def _beyond(sums: Iterable[Sum], more: Iterable[Sum]) -> tuple[Sum, ...]:
    """Return the sums among some more that may exceed those that are there."""
    return tuple(x for x in greatest(more) if not any(is_less(x, y) for y in sums))
