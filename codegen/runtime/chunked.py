"""Chunks of steps, whose losses flow back together through as many steps as they reach."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import CHUNK, REACH, STATES, Arrays, Gradients, Mask, Sizes
from symbptt.codegen.runtime.sweeps import _backward


def _blocks(T: int) -> list[tuple[int, int]]:
    """Return the chunks of steps whose losses flow back together."""
    return [(lo, min(lo + CHUNK, T)) for lo in range(0, T, CHUNK)]


def _first(lo: int, hi: int) -> int:
    """Return the first step that the losses of the chunk lo to hi reach."""
    return max(hi - REACH, 0)


def _block_back(
    tape: Any,
    first: int,
    lo: int,
    hi: int,
    full: Arrays,
    flow: Any,
    sizes: Sizes,
    B: int,
    dtype: Any,
    active: Mask,
    reset: Mask,
    ws: Any,
) -> Gradients:
    """Flow the cotangents of steps lo to hi back to step `first`, where the tape begins; return what `_backward` does."""
    ahead = max(lo - first, 0)
    given = {
        k: None if v is None else np.concatenate([np.zeros((ahead, *v.shape[1:]), dtype), v[max(first - lo, 0) :]])
        for k, v in full.items()
    }
    here: Any = {k: np.zeros(hi - first, dtype) for k in STATES} if flow is not None else None
    found = _backward(tape, given, dict.fromkeys(STATES), here, sizes, hi - first, B, dtype, active, reset, ws)
    for k in flow or ():
        flow[k][max(lo, first) : hi] = here[k][ahead:]
    return found
