"""Places and orders of entries: the largest, the sorted ones, where each comes from. Each is made of comparisons, which are flat,
so that a sorted array has the gradient of its entries and a place has none."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.language.array import Array, axes_of, graph_of, symbolic
from symbptt.language.choosing import check_limit, counted_to
from symbptt.language.user_frames import cell_error


def argmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the place of the largest entry along an axis, the first of equal ones."""
    x, at = (np.ravel(x), 0) if axis is None else (x, axes_of(axis, x.ndim)[0])
    top = x == np.max(x, axis=at, keepdims=True)
    first = np.where(np.cumsum(top, axis=at) == 1, top, False)
    numbers = np.reshape(_places(x, at), tuple(-1 if k == at else 1 for k in range(x.ndim)))
    found = np.sum(np.where(first, numbers, 0), axis=at, keepdims=keepdims)
    return _limited(found, x, at)


def argmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the place of the smallest entry along an axis, the first of equal ones."""
    return argmax(-x, axis, keepdims)


def sort(x: Any, axis: Any = -1) -> Any:
    """Return an array in ascending order along an axis; a gradient goes where an entry came from."""
    moved, at = _moved(x, axis)
    # What is not chosen may be infinite: it is left out, and not multiplied by zero.
    found = np.sum(np.where(_order(moved), moved[..., None, :], 0.0), axis=-1)
    return np.moveaxis(found, -1, at)


def argsort(x: Any, axis: Any = -1) -> Any:
    """Return where the entries of a sorted array came from, equal ones in their order."""
    moved, at = _moved(x, axis)
    found = np.sum(np.where(_order(moved), _places(moved, moved.ndim - 1), 0), axis=-1)
    return _limited(np.moveaxis(found, -1, at), moved, moved.ndim - 1)


def _moved(x: Any, axis: Any) -> tuple[Any, int]:
    x, axis = (np.ravel(x), 0) if axis is None else (x, axis)
    at = axes_of(axis, x.ndim)[0]
    return np.moveaxis(x, at, -1), at


def _order(x: Any) -> Any:
    """Return whether entry i has the rank k, with the axes k and i behind the others: how many are smaller, or equal and before it."""
    numbers = _places(x, x.ndim - 1)
    mine, other = x[..., :, None], x[..., None, :]
    before = np.where(other == mine, numbers[None, :] < numbers[:, None], other < mine)
    rank = np.sum(before, axis=-1)
    return rank[..., None, :] == numbers[:, None]


def _places(x: Any, axis: int) -> Any:
    return counted_to(x.shape[axis], x)


def _limited(found: Any, x: Any, axis: int) -> Any:
    """Return places with the number of entries that they choose from."""
    if isinstance(found, Array):
        return Array(found.graph, found.id, found.value, limit=x.shape[axis])
    return found


def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the middle of sorted entries, the mean of the two of an even number."""
    x, at = (np.ravel(x), 0) if axis is None else (x, axes_of(axis, x.ndim)[0])
    count = x.shape[at]
    if not isinstance(count, int):
        raise cell_error(
            f"the median along an axis of size {count}, which may be even or odd",
            "give the axis a number as its size", ShapeError)  # fmt: skip
    ordered = np.moveaxis(sort(x, at), at, 0)
    found = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return np.expand_dims(found, at) if keepdims else found


def take_along_axis(x: Any, places: Any, axis: Any = -1) -> Any:
    """Return entries at places that have one list for each row along an axis."""
    x, at = (np.ravel(x), 0) if axis is None else (symbolic(x), axes_of(axis, x.ndim)[0])
    if graph_of(places) is None:
        grid = np.indices(np.shape(places), sparse=True)
        return x[tuple(np.asarray(places) if k == at else line for k, line in enumerate(grid))]
    if places.limit is None:
        raise cell_error(
            "np.take_along_axis has places that may lie outside",
            "places that are computed are those of np.argsort and np.argmax",
        )
    check_limit(places, x, at)
    rows, where = np.moveaxis(x, at, -1), np.moveaxis(places, at, -1)
    is_there = where[..., :, None] == _places(rows, rows.ndim - 1)
    return np.moveaxis(np.sum(np.where(is_there, rows[..., None, :], 0.0), axis=-1), -1, at)


def compress(condition: Any, x: Any, axis: Any = None) -> Any:
    """Return the entries along an axis where a constant condition holds."""
    x, at = (np.ravel(x), 0) if axis is None else (symbolic(x), axes_of(axis, x.ndim)[0])
    if graph_of(condition) is not None:
        raise cell_error(
            "np.compress by a condition on values has no certain length",
            "write np.where(condition, x, 0.0)",
            ShapeError,
        )
    places = np.flatnonzero(condition).tolist()
    return x[(slice(None),) * at + (places,)]


def choose(index: Any, choices: Any) -> Any:
    """Return the choice that an Index names."""
    if np.ndim(index):
        # NumPy takes entry i of the choice that entry i of the places names: not whole choices, as a row of a stack is.
        raise cell_error(
            "np.choose takes one Index in a cell, not an array of places",
            "write np.take_along_axis(np.stack(choices), places[None], axis=0)[0], or np.where for two choices",
        )
    return np.stack([symbolic_like(index, choice) for choice in choices])[index]


def symbolic_like(index: Any, choice: Any) -> Any:
    """Return a choice as a value of the trace of an index."""
    return choice if graph_of(choice) is not None else index * 0.0 + choice


NAMES = {
    f.__name__: f for f in (argmax, argmin, sort, argsort, median, take_along_axis, compress, choose)
}  # fmt: skip
"""NumPy's functions by name."""
