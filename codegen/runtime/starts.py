"""States that begin with something else than zero where a call omits them: with numbers, or with a parameter, which has their gradient.

The statements that call these functions are no part of a module whose states all begin with zero.
"""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import STARTS, STATES, Array, Arrays
from symbptt.codegen.runtime.errors import ArgumentError
from symbptt.codegen.runtime.results import Grads
from symbptt.codegen.runtime.types import _type_of


def _begin(arrays: Arrays, shapes: dict[str, tuple[int, ...]], B: int, dtype: Any) -> None:
    """Add the states that begin with something and are not given, the same for every sample."""
    for k in [k for k in STARTS if k not in arrays]:
        value, shape = STARTS[k], shapes[k]
        value = np.asarray(arrays[value] if isinstance(value, str) else value, _type_of(k, dtype))
        if value.shape not in ((), shape):
            raise ArgumentError(f"{k}: it begins with an array of shape {value.shape}, {shape} is expected")
        arrays[k] = np.empty((B, *shape), value.dtype)
        arrays[k][...] = value


def _spare_start(bad: Array, name: str, array: Array) -> None:
    """Mark no entry of a state as bad that it begins with: an infinity that a state begins with may be given."""
    start = STARTS.get(name)
    if start is not None and not isinstance(start, str):
        bad &= array != np.asarray(start, array.dtype)


def _by_param(state: Any) -> tuple[str, ...]:
    """Return the states that begin with a parameter, of those that a call does not give."""
    return tuple(k for k in STATES if isinstance(STARTS.get(k), str) and k not in (state or {}))


def _note_start(run: Any, state: Any) -> None:
    """Note in a run which states begin with a parameter."""
    run.begun = _by_param(state)


def _add_starts(grads: Grads, begun: tuple[str, ...], batched: bool) -> None:
    """Add to parameters the gradients of the states that begin with them, of all samples."""
    for k in [k for k in begun if STARTS[k] in grads.params]:
        state = grads.state[k]
        grads.params[STARTS[k]] = np.asarray(grads.params[STARTS[k]] + (state.sum(0) if batched else state))


def _add_resets(params: Arrays, resets: Arrays) -> None:
    """Add to parameters what resets send to the states that begin with them."""
    for k, start in STARTS.items():
        if isinstance(start, str) and start in params:
            params[start] = params[start] + resets[k].sum(0)
