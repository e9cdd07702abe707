"""Parts of a run: some of its steps, run and flowed back through by themselves."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import INDICES, INPUTS, TIMED, Arrays, Mask, Sizes, _shapes
from symbptt.codegen.runtime.masks import _held
from symbptt.codegen.runtime.sweeps import _forward


def _cut(mask: Mask, lo: int, hi: int) -> Mask:
    """Return a mask of steps lo to hi, or none."""
    return None if mask is None else mask[lo:hi]


def _data(a: Arrays, names: Iterable[str], lo: int, hi: int, active: Mask) -> Arrays:
    """Return the data of steps lo to hi; behind a sample's end its last step is held."""
    return {k: a[k][lo:hi] if active is None else _held(a[k][lo:hi], active[lo:hi].sum(0)) for k in names}


def _part(
    a: Arrays, start: Arrays, lo: int, hi: int, sizes: Sizes, B: int, dtype: Any, active: Mask, reset: Mask, ws: Any
) -> tuple[Arrays, Arrays, Any]:
    """Run the steps lo to hi from the states before them; return what `_forward` does."""
    here = _data(a, INPUTS, lo, hi, active)
    return _forward(a | here, start, sizes, hi - lo, B, dtype, _cut(active, lo, hi), _cut(reset, lo, hi), ws)


def _sliced(tape: Any, lo: int, hi: int) -> tuple[Any, ...]:
    """Return a tape of the steps lo to hi."""
    return tuple(v[lo:hi] if timed else v for v, timed in zip(tape, TIMED, strict=True))


def _zeros(names: Iterable[str], lead: tuple[int, ...], sizes: Sizes, dtype: Any) -> Arrays:
    """Return zeros of the shapes of some arguments behind sample axes."""
    shapes = _shapes(**sizes)
    return {k: np.zeros((*lead, *shapes[k]), dtype) for k in names}


def _inputs_of(T: int, B: int, sizes: Sizes, dtype: Any) -> Arrays:
    """Return room for the gradients of inputs at all steps."""
    return _zeros([k for k in INPUTS if k not in INDICES], (T, B), sizes, dtype)
