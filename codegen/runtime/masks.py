"""Samples that end and states that are reset: data, states and adjoints of a sweep that has masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import STATES, Array, Arrays, Mask, Sizes, _shapes
from symbptt.codegen.runtime.types import _type_of


# A choice, never a product with zeros and ones: 0 * inf and 0 * nan are nan, and what lies behind the end of a sample
# may be either.
def _where(mask: Array, a: Any, b: Any) -> Array:
    """Choose between a and b by a mask that may lack their last axes."""
    return np.where(mask.reshape(mask.shape + (1,) * (np.ndim(a) - mask.ndim)), a, b)


def _end(T: int, active: Mask) -> int:
    """Return how many steps the longest sample has."""
    return T if active is None else int(active.any(1).sum())


def _kept(mask: Mask, x: Array) -> Array:
    """Return x where a mask is true, else zero; all of it without a mask."""
    return x if mask is None else _where(mask, x, 0)


def _after_end(active: Array, x: Array) -> Array:
    """Return the sum of x over the steps from the end of each sample on."""
    return np.sum(x, 0, where=~active.reshape(active.shape + (1,) * (x.ndim - 2)))


def _present(lengths: Array) -> Array:
    """Return the number of each sample, or that of the longest where a sample has no step."""
    return np.where(lengths > 0, np.arange(len(lengths)), lengths.argmax() if len(lengths) else 0)


# Behind its end a sample runs on with the last data that it had: a cell that takes logarithms or divides then meets
# no number that the user did not give, such as a zero of padding.
def _held(x: Array, lengths: Array) -> Array:
    """Return data whose steps from a sample's end on repeat its last; an empty sample repeats the longest's first."""
    if not lengths.any():
        return np.zeros_like(x)
    return x[np.minimum(np.arange(len(x))[:, None], np.maximum(lengths - 1, 0)), _present(lengths)]


def _entering(t: int, initial: Array, after: Array, before: Array, active: Mask, reset: Mask) -> Array:
    """Return the state before step t. From its end on a sample repeats its last step: nothing is computed there but
    what was finite before, and what steps backward read of it goes together."""
    x = after[t] if reset is None else _where(reset[t], initial, after[t])
    if active is None:
        return x
    return _where(active[t], x, before[t - 1]) if t else x[_present(active.sum(0))]


def _buffers(start: Array, T: int, masked: bool) -> tuple[Array, Array, Array]:
    """Return a state after each step from the initial one on, before each step and after each: views of the first, but
    where masks change what a step begins with."""
    buffer = np.empty((T + 1, *start.shape), start.dtype)
    buffer[0] = start
    return buffer, np.empty_like(buffer[1:]) if masked else buffer[:-1], buffer[1:]


def _stopped(states: Arrays, initial: Arrays, active: Mask) -> Arrays:
    """Return the states after every step, from each sample's end on those at its end."""
    if active is None:
        return states
    end, empty = np.minimum(np.arange(len(active))[:, None], np.maximum(active.sum(0) - 1, 0)), ~active.any(0)
    states = {k: v[end, np.arange(len(empty))] for k, v in states.items()}
    for k, v in states.items():
        v[:, empty] = initial[k][empty]
    return states


def _adjoints(last: Arrays, sizes: Sizes, B: int, dtype: Any) -> tuple[list[Array], list[Array], list[Array]]:
    """Return the adjoints of the states after the last step, and zeros: for what resets send to the initial states, and for
    the adjoints of samples that have ended."""
    shapes = _shapes(**sizes)
    found = [np.zeros((B, *shapes[k]), _type_of(k, dtype)) if last[k] is None else last[k].copy() for k in STATES]
    return found, [np.zeros_like(d) for d in found], [np.zeros_like(d) for d in found]


def _sent(full: Arrays, adjoints: Sequence[Array], active: Mask) -> list[tuple[Array, Array]]:
    """Return what the loss says of the states of all steps, with the adjoints that it is added to."""
    return [(d, _kept(active, full[k])) for k, d in zip(STATES, adjoints) if full[k] is not None]


def _wait(active: Array, adjoints: Sequence[Array], waiting: Sequence[Array]) -> None:
    """Set the adjoints of samples that have ended aside."""
    for d, aside in zip(adjoints, waiting):
        aside[...] = _kept(~active, d)
        d[...] = _kept(active, d)


def _left(
    t: int, adjoints: Sequence[Array], waiting: Sequence[Array], resets: Sequence[Array], active: Mask, reset: Mask
) -> None:
    """Put those adjoints back behind a step; where a state was reset, its adjoint goes to the initial one."""
    if active is not None:
        for d, aside in zip(adjoints, waiting):
            d += aside
    if reset is not None:
        for d, total in zip(adjoints, resets):
            total += _kept(reset[t], d)
            d[...] = _kept(~reset[t], d)


def _final(states: Arrays, initial: Arrays, active: Mask) -> Arrays:
    """Return the state of each sample after its last step."""
    T, B = np.shape(next(iter(states.values())))[:2]
    count = np.full(B, T) if active is None else active.sum(0)
    at = (np.maximum(count - 1, 0), np.arange(B))
    return {k: _where(count > 0, v[at], initial[k]) if T else np.array(initial[k]) for k, v in states.items()}
