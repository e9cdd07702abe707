"""The peak of memory of a call of a module, read by running the module on arrays without elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.codegen.targets.numpy.memory.bare import Bare, is_zero
from symbptt.codegen.targets.numpy.memory.extent import Length
from symbptt.codegen.targets.numpy.memory.heap import Heap
from symbptt.codegen.targets.numpy.memory.reader import Reader
from symbptt.codegen.targets.numpy.memory.reading import functions_of
from symbptt.codegen.targets.numpy.memory.written import Reading, Written, arguments_of, in_numbers

OBJECTS = 2**12
"""Bytes of Python's own objects beside arrays: frames, tuples, dicts."""


@dataclass(frozen=True)
class Call:
    """A kind of call: training, or a run and the way back; with lengths of samples, with resets; with checkpoints the
    borders of the last pieces, the last of them a whole one."""

    trains: bool
    lengths: bool
    reset: bool
    borders: tuple[Any, ...] = ()


def peak(w: Written, call: Call, sizes: Mapping[str, int], T: int, B: int, dtype: Any) -> int:
    """Return the greatest number of bytes that a call takes beside its arguments and beside the states of checkpoints."""
    r = Reader(np.dtype(dtype))
    heap = Heap(r.dtype.itemsize, r.dtype)
    run(w, call, in_numbers(w, r, sizes, T, B), heap, {})
    return OBJECTS + heap.most()


def last_borders(T: int, piece: int) -> tuple[int, ...]:
    """Return the borders of the last pieces, three at the most; no other piece is larger."""
    # Pieces are counted from the end, so that only the first may be short.
    return tuple(map(Length, sorted({max(T - i * piece, 0) for i in range(4)}))) if T else (Length(0), Length(0))


def run(w: Written, call: Call, given: Reading, heap: Heap, others: Mapping[str, Any]) -> None:
    """Run a call of a module and count its memory; `others` are functions that replace those of the module."""
    r = given.reader
    names, a = functions_of(w.text, r), arguments_of(w, given)
    resets = Bare(r, given.lead, bool) if call.reset else None
    names |= _in_pieces(names, call.borders) if call.borders else {}
    names |= {
        "_arguments": lambda *_, **__: (dict(a), given.sizes, *given.lead, r.dtype, True),
        "_masks": lambda *_: _masks(given, call, resets),
        **others,
    }
    r.heap = heap
    results = _trained(names) if call.trains else _run_and_back(names, r)
    # The results are live when the call ends.
    heap.note()
    r.heap = None
    del results


def _trained(names: Mapping[str, Any]) -> Any:
    return names["value_and_grad"](None, workspace=names["Workspace"](names["HELD"]))


def _run_and_back(names: Mapping[str, Any], r: Reader) -> Any:
    ran = names["forward"](None, workspace=names["Workspace"](names["HELD"]))
    heap, r.heap = r.heap, None  # cotangents are the caller's, and not counted
    cotangents = {k: Bare(r, v.shape) for k, v in (ran.states | ran.outputs).items()}
    r.heap = heap
    return ran, names["backward"](ran, cotangents)


def _masks(given: Reading, call: Call, resets: Bare | None) -> tuple[Bare | None, Bare | None]:
    """Return the masks of a call: the caller's own array of resets, unless resets end where samples do."""
    active = Bare(given.reader, given.lead, bool) if call.lengths else None
    return active, resets if active is None or resets is None else Bare(given.reader, given.lead, bool)


def _in_pieces(names: Mapping[str, Any], borders: Sequence[Any]) -> dict[str, Callable[..., Any]]:
    """Return functions that replace the choice of pieces: the last ones run, and the states between them take no
    memory."""
    piece, run_ahead = borders[-1] - borders[-2], names.get("_ahead_to")

    def ahead(a: Any, start: Any, lo: Any, hi: Any, *rest: Any) -> Any:
        assert run_ahead is not None
        # Two pieces are enough, for later ones allocate the same; states at borders are counted as slots.
        found = run_ahead(a, start, max(lo, hi - 2 * piece), hi, *rest)
        for state in found.values():
            state.release()
        return found

    return {
        "_pieces": lambda *_: (piece, len(borders) - 2),
        "_borders": lambda *_: list(borders),
        "_end": lambda T, active: T,
        "_schedule": lambda *_: _backwards(borders),
        "_ahead_to": ahead,
    }


def _backwards(borders: Sequence[Any]) -> list[tuple[Any, Any, bool]]:
    """Return the actions in order, as a schedule of checkpoints.

    With three pieces or more two are run ahead before the way back through the last, twice, for gradients are allocated
    when that happens again; at the end comes the first piece.
    """
    pieces, often = [*pairwise(borders)], min(len(borders) - 2, 2)
    first, last = pieces[0], pieces[-1]
    again = [(0, last[0], False), (*last, True)] * often
    return [*again, *[(0, first[0], False)] * (not is_zero(first[0])), (*first, True)]
