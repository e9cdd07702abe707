"""Chunks of steps, whose losses flow back together through as many steps as they reach."""

from typing import Any

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import CHUNK, REACH, STATES, Arrays, Gradients
from symbptt.codegen.runtime.parts import _behind_zeros
from symbptt.codegen.runtime.sweeps import _backward


def _blocks(T: int) -> list[tuple[int, int]]:
    """Return the chunks of steps whose losses flow back together."""
    return [(lo, min(lo + CHUNK, T)) for lo in range(0, T, CHUNK)]


def _first(lo: int, hi: int) -> int:
    """Return the first step that the losses of the chunk lo to hi reach."""
    return max(hi - REACH, 0)


def _reaches(T: int) -> list[tuple[int, int, int]]:
    """Return steps lo to hi whose losses flow back to the same step, and that step; losses before it flow nowhere."""
    return [(max(lo, _first(lo, hi)), hi, _first(lo, hi)) for lo, hi in _blocks(T)]


def _block_back(call: _Call, tape: Any, full: Arrays, adjoints: Any, first: int, lo: int, hi: int) -> Gradients:
    """Flow the cotangents of steps lo to hi back to step `first`, where the tape begins; return what `_backward` does.
    Into `adjoints`, if there are any, those of the states after each step are written."""
    ahead = max(lo - first, 0)
    given = {k: v if v is None else _behind_zeros(v[max(first - lo, 0) :], ahead) for k, v in full.items()}
    return _backward(tape, given, dict.fromkeys(STATES), adjoints, *call.of(first, hi))
