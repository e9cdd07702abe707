"""Rows of tables that are read by integers, and the gradients of tables: what is added up at the same integer."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import Array
from symbptt.codegen.runtime.workspace import _steps


def _padded(x: Array, shape: tuple[int, ...], index: Any) -> Array:
    """Return zeros with x at an index."""
    out = np.zeros(shape, x.dtype)
    out[index] = x
    return out


def _gathered(table: Array, index: Array, axis: int, own: bool) -> Array:
    """Return the slice of a table at the integer of each sample; `own`: each sample has a table of its own."""
    table = np.moveaxis(table, axis + index.ndim * own, index.ndim * own)
    if not own:
        return table[index]
    at = index.reshape(index.shape + (1,) * (table.ndim - index.ndim))
    return np.take_along_axis(table, at, index.ndim).squeeze(index.ndim)


def _scattered(x: Array, index: Array, axis: int, shape: tuple[int, ...]) -> Array:
    """Return zeros for each sample with x at its integer along an axis."""
    out = np.zeros(shape, x.dtype)
    at = np.expand_dims(index, tuple(range(index.ndim, len(shape))))
    np.put_along_axis(out, at, np.expand_dims(x, index.ndim + axis), index.ndim + axis)
    return out


def _rows_added(x: Array, index: Array, shape: tuple[int, ...]) -> Array:
    """Return zeros for each sample, (..., rows, columns), with the rows of x added at its integers."""
    own = x.ndim - len(shape) + 1  # the axes of a sample's integers
    lead = index.ndim - own
    rows, count = shape[lead], int(np.prod(shape[lead + 1 :]))
    samples = np.arange(int(np.prod(shape[:lead])), dtype=np.int64).reshape(*shape[:lead], *(1,) * own)
    places = (samples * rows + index).reshape(-1, 1) * count + np.arange(count)
    out = np.zeros(shape, x.dtype)
    # In one axis NumPy adds up far faster than at rows.
    np.add.at(out.reshape(-1), places.reshape(-1), x.reshape(-1))
    return out


def _collected(x: Array, index: Array, axis: int, shape: tuple[int, ...]) -> Array:
    """Return the sum over all samples of zeros with x at the sample's integer along an axis.

    One row may be that of most samples: sums are in double precision, of some columns of the table at once. Where samples are
    fewer than rows, so are the sums: each sample adds to that of the last one with the same integer.
    """
    out = np.zeros(shape, x.dtype)
    if 0 < axis < len(shape) - 1:  # columns of this table are no axis of a view
        for i in range(shape[0]):
            out[i] = _collected(x[(slice(None),) * index.ndim + (i,)], index, axis - 1, shape[1:])
        return out
    rows, is_sparse = shape[axis], index.size < shape[axis]
    at = index = index.astype(np.int64, copy=False)
    table = np.moveaxis(out, axis, 0)
    count = table[0].size
    table = table.reshape(rows, count)
    if is_sparse:
        own = np.empty(rows, np.int64)
        own[index] = np.arange(index.size).reshape(index.shape)
        at, rows = own[index], index.size
    wide = np.result_type(x.dtype, np.float64)  # complex where x is
    some = _steps(count, rows, 1, 8 * rows)
    steps = _steps(len(index), index[:1].size, 4 * some)
    for first in range(0, count, some):
        last = min(first + some, count)
        sums, starts = np.zeros(rows * (last - first), wide), np.arange(last - first) * rows
        for lo in range(0, len(index), steps):
            here = at[lo : lo + steps]
            part = x[lo : lo + steps].reshape(here.size, count)[:, first:last]
            np.add.at(sums, (here.reshape(-1, 1) + starts).reshape(-1), part.astype(wide).reshape(-1))
        sums = sums.reshape(last - first, rows).T
        if is_sparse:
            table[index.reshape(-1), first:last] = sums[at.reshape(-1)]
        else:
            table[:, first:last] = sums
    return out
