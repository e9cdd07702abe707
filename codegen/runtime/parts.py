"""Parts of a run: what some of its steps need to be run by themselves."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import FIXED, INDICES, INPUTS, TIMED, Array, Arrays, _shapes
from symbptt.codegen.runtime.masks import _held
from symbptt.codegen.runtime.types import _type_of


def _data(call: _Call, names: Iterable[str], lo: int, hi: int) -> Arrays:
    """Return the data of steps lo to hi; behind a sample's end its last step is held."""
    a, active = call.a, call.active
    return {k: a[k][lo:hi] if active is None else _held(a[k][lo:hi], active[lo:hi].sum(0)) for k in names}


def _sliced(tape: Any, lo: int, hi: int) -> tuple[Any, ...]:
    """Return a tape of the steps lo to hi."""
    return tuple(v[lo:hi] if timed else v for v, timed in zip(tape, TIMED))


def _behind_zeros(v: Array, count: int) -> Array:
    """Return values of steps behind zeros for so many steps."""
    return np.concatenate([np.zeros((count, *v.shape[1:]), v.dtype), v])


def _zeros(call: _Call, names: Iterable[str], *lead: int) -> Arrays:
    """Return zeros of the shapes of some arguments behind sample axes."""
    shapes = _shapes(**call.sizes)
    return {k: np.zeros((*lead, *shapes[k]), _type_of(k, call.dtype)) for k in names}


def _input_sums(call: _Call) -> Arrays:
    """Return room for the gradients of inputs at all steps."""
    return _zeros(call, [k for k in INPUTS if k not in INDICES and k not in FIXED], call.T, call.B)
