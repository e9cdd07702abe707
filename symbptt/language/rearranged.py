"""Arrays put together, repeated and padded in NumPy's many ways, each made of slices, shapes and concatenations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.language.array import as_array, axes_of, graph_of, symbolic
from symbptt.language.user_frames import cell_error


def _symbolic_parts(parts: Sequence[Any]) -> list[Any]:
    graph = graph_of(*parts)
    return [*parts] if graph is None else [as_array(graph, part) for part in parts]


def _each(make: Callable[[Any], Any], arrays: Sequence[Any]) -> Any:
    found = [make(x) for x in _symbolic_parts(arrays)]
    return found[0] if len(found) == 1 else tuple(found)


def _row(x: Any) -> Any:
    return np.reshape(x, (1,)) if not x.ndim else x


def _matrix(x: Any) -> Any:
    return np.reshape(x, (1, 1)) if not x.ndim else x[None] if x.ndim == 1 else x


def _block(x: Any) -> Any:
    return (
        np.reshape(x, (1, 1, 1))
        if not x.ndim
        else x[None, :, None]
        if x.ndim == 1
        else x[..., None]
        if x.ndim == 2
        else x
    )


def atleast_1d(*arrays: Any) -> Any:
    """Return arrays of one axis or more."""
    return _each(_row, arrays)


def atleast_2d(*arrays: Any) -> Any:
    """Return arrays of two axes or more, the new ones first."""
    return _each(_matrix, arrays)


def atleast_3d(*arrays: Any) -> Any:
    """Return arrays of three axes or more, a vector in the middle one."""
    return _each(_block, arrays)


def hstack(parts: Sequence[Any]) -> Any:
    """Return arrays joined along the second axis, vectors and scalars along the first."""
    rows = [_row(x) for x in _symbolic_parts(parts)]
    return np.concatenate(rows, axis=0 if rows[0].ndim == 1 else 1)


def vstack(parts: Sequence[Any]) -> Any:
    """Return arrays joined along the first axis, vectors as rows."""
    return np.concatenate([_matrix(x) for x in _symbolic_parts(parts)], axis=0)


def dstack(parts: Sequence[Any]) -> Any:
    """Return arrays joined along the third axis."""
    return np.concatenate([_block(x) for x in _symbolic_parts(parts)], axis=2)


def column_stack(parts: Sequence[Any]) -> Any:
    """Return arrays joined along the second axis, vectors as columns."""
    columns = [_row(x) for x in _symbolic_parts(parts)]
    return np.concatenate([x[:, None] if x.ndim == 1 else x for x in columns], axis=1)


def block(parts: Any) -> Any:
    """Return nested lists of blocks put together: the innermost along the last axis."""
    # A list within a list goes one axis further to the front; blocks of lower rank get axes of one.
    depth, rank = _depth(parts), max(np.ndim(x) for x in _leaves(parts))
    return _joined(parts, depth, max(depth, rank))


def _depth(parts: Any) -> int:
    return 1 + _depth(parts[0]) if isinstance(parts, list) else 0


def _leaves(parts: Any) -> list[Any]:
    return [leaf for part in parts for leaf in _leaves(part)] if isinstance(parts, list) else [parts]


def _joined(parts: Any, depth: int, rank: int) -> Any:
    if not isinstance(parts, list):
        return np.reshape(parts, (1,) * (rank - np.ndim(parts)) + tuple(np.shape(parts)))
    return np.concatenate([_joined(part, depth - 1, rank) for part in parts], axis=-depth)


def append(x: Any, values: Any, axis: Any = None) -> Any:
    """Return an array with values behind it, both flattened where no axis is told."""
    if axis is None:
        return np.concatenate([np.ravel(x), np.ravel(_row(_symbolic_parts([x, values])[1]))])
    return np.concatenate([x, values], axis=axis)


def insert(x: Any, place: Any, values: Any, axis: Any = None) -> Any:
    """Return an array with values before a place."""
    x, at = (np.ravel(x), 0) if axis is None else (x, axis % x.ndim)
    place = _whole_number("insert", place)
    before, behind = x[_along(at, slice(None, place))], x[_along(at, slice(place, None))]
    # A scalar or a row is spread over one entry of the axis: zeros of that shape broadcast it.
    one = np.zeros_like(x[_along(at, slice(0, 1))])
    given = np.expand_dims(values, at) if np.ndim(values) == x.ndim - 1 and np.ndim(values) else values
    middle = values if x.ndim == np.ndim(values) == 1 else one + given
    return np.concatenate([before, middle, behind], axis=at)


def delete(x: Any, place: Any, axis: Any = None) -> Any:
    """Return an array without the part at a place."""
    x, at = (np.ravel(x), 0) if axis is None else (x, axis % x.ndim)
    place = _whole_number("delete", place)
    behind = [x[_along(at, slice(place + 1, None))]] if place != -1 else []
    return np.concatenate([x[_along(at, slice(None, place))], *behind], axis=at)


def _whole_number(name: str, place: Any) -> int:
    if isinstance(place, bool) or not isinstance(place, int | np.integer):
        raise cell_error(
            f"np.{name} takes one place, a whole number, got {place!r}"[:200],
            "write np.concatenate of the slices between",
        )
    return int(place)


def _along(axis: int, item: Any) -> tuple[Any, ...]:
    return (slice(None),) * axis + (item,)


def tile(x: Any, times: Any) -> Any:
    """Return an array put beside itself along each axis."""
    x = symbolic(x)
    counts = list(times) if isinstance(times, tuple | list) else [times]
    rank = max(len(counts), x.ndim)
    counts = [1] * (rank - len(counts)) + counts
    shape = [1] * (rank - x.ndim) + [*x.shape]
    # An axis of one before each axis, repeated as often as asked for and then merged with it, is a tile.
    pairs = np.reshape(x, tuple(n for size in shape for n in (1, size)))
    wide = np.broadcast_to(pairs, tuple(n for count, size in zip(counts, shape, strict=True) for n in (count, size)))
    return np.copy(np.reshape(wide, tuple(count * size for count, size in zip(counts, shape, strict=True))))


def repeat(x: Any, times: Any, axis: Any = None) -> Any:
    """Return an array with each entry along an axis several times, of its flattened elements where none is told."""
    x = symbolic(x)
    x, at = (np.ravel(x), 0) if axis is None else (x, axes_of(axis, x.ndim)[0])
    if isinstance(times, tuple | list | np.ndarray):
        # Counts that differ are a list of places; one count is a view that repeats.
        places = [k for k, count in enumerate(times) for _ in range(count)]
        if x.shape[at] != len(times):
            raise cell_error(f"np.repeat has {len(times)} counts for an axis of size {x.shape[at]}", kind=ShapeError)
        return x[_along(at, places)]
    shape = list(x.shape)
    # Behind the axis and not before it: entries are repeated, not the whole.
    wide = np.broadcast_to(np.expand_dims(x, at + 1), (*shape[: at + 1], times, *shape[at + 1 :]))
    return np.copy(np.reshape(wide, (*shape[:at], shape[at] * times, *shape[at + 1 :])))


def broadcast_arrays(*arrays: Any) -> Any:
    """Return arrays repeated to the shape of all together."""
    parts = _symbolic_parts(arrays)
    # Zeros of all shapes together have the shape that NumPy's broadcasting gives, or its error.
    together = sum(np.zeros_like(x) for x in parts)
    return tuple(np.broadcast_to(x, together.shape) for x in parts)


def array_split(x: Any, parts: Any, axis: int = 0) -> Any:
    """Return pieces of nearly equal lengths, the longer ones first."""
    if not isinstance(parts, int):
        return np.split(x, parts, axis)
    length = x.shape[axis]
    if not isinstance(length, int):
        return np.split(x, parts, axis)
    size, longer = divmod(length, parts)
    # The remainder goes to the first pieces, one entry each.
    bounds = [k * size + min(k, longer) for k in range(parts + 1)]
    return [x[_along(axis % x.ndim, slice(a, b))] for a, b in pairwise(bounds)]


def hsplit(x: Any, parts: Any) -> Any:
    """Return pieces along the second axis, of a vector along its only one."""
    return np.split(x, parts, 1 if x.ndim > 1 else 0)


def vsplit(x: Any, parts: Any) -> Any:
    """Return pieces along the first axis."""
    return np.split(x, parts, 0)


def unstack(x: Any, axis: int = 0) -> Any:
    """Return the parts of an array along an axis of known size."""
    moved = np.moveaxis(x, axis, 0)
    return tuple(moved[k] for k in range(len(moved)))


def fliplr(x: Any) -> Any:
    """Return an array in reverse order along the second axis."""
    return np.flip(x, 1)


def flipud(x: Any) -> Any:
    """Return an array in reverse order along the first axis."""
    return np.flip(x, 0)


def rot90(x: Any, times: int = 1, axes: Any = (0, 1)) -> Any:
    """Return an array turned by right angles, from the first axis to the second."""
    match times % 4:
        case 0:
            return x[...]
        case 1:
            return np.swapaxes(np.flip(x, axes[1]), *axes)
        case 2:
            return np.flip(np.flip(x, axes[0]), axes[1])
    return np.flip(np.swapaxes(x, *axes), axes[1])


def rollaxis(x: Any, axis: int, start: int = 0) -> Any:
    """Return an array with an axis moved before another one."""
    # Taken out first, so that a place behind it has moved by one.
    axis, start = axis % x.ndim, start + x.ndim if start < 0 else start
    return np.moveaxis(x, axis, start - 1 if axis < start else start)


def meshgrid(*arrays: Any, indexing: str = "xy", sparse: bool = False) -> Any:
    """Return coordinates of a grid from those along its axes."""
    if indexing not in ("xy", "ij"):
        raise cell_error(f"np.meshgrid with indexing={indexing!r}", 'write indexing="ij" or "xy"')
    parts = [np.ravel(_row(x)) for x in _symbolic_parts(arrays)]
    rank = len(parts)
    # "xy" has the first coordinate along the second axis, as in a picture.
    order = [1, 0, *range(2, rank)] if indexing == "xy" and rank > 1 else [*range(rank)]
    placed = [np.reshape(x, tuple(-1 if k == order[i] else 1 for k in range(rank))) for i, x in enumerate(parts)]
    # Copies, as NumPy gives: writing into one coordinate must not change the others.
    return [np.copy(x) for x in (placed if sparse or rank == 1 else np.broadcast_arrays(*placed))]


def pad(x: Any, width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    """Return an array with entries before and behind it along its axes."""
    if mode not in PADDINGS:
        raise cell_error(f"np.pad with mode={mode!r} is not known", f"the modes are {', '.join(PADDINGS)}")
    for axis, ((before, behind), numbers) in enumerate(
        zip(_pairs(width, x.ndim), _pairs(constant_values, x.ndim), strict=True)
    ):
        parts = PADDINGS[mode](x, axis, before, behind, numbers)
        x = np.concatenate([part for part in parts if part is not None], axis=axis)
    return x


def _pairs(width: Any, rank: int) -> list[tuple[Any, Any]]:
    """Return a pair for each axis of what is one number, one pair, or a pair an axis."""
    if isinstance(width, np.ndarray):
        width = width.tolist()
    if not isinstance(width, tuple | list):
        return [(width, width)] * rank
    if len(width) == 1 and not isinstance(width[0], tuple | list):
        return [(width[0], width[0])] * rank
    if not isinstance(width[0], tuple | list):
        return [(width[0], width[1])] * rank
    pairs = [(p[0], p[-1]) for p in width]
    return pairs * rank if len(pairs) == 1 else pairs


def _constant(x: Any, axis: int, before: int, behind: int, numbers: tuple[Any, Any]) -> list[Any]:
    first = np.zeros_like(x[_along(axis, slice(0, 1))])
    # Zeros stay zeros, of which a page says no more than how many they are.
    ends = [first if isinstance(n, int | float) and n == 0 else first + n for n in numbers]
    filled = [np.broadcast_to(end, (*x.shape[:axis], k, *x.shape[axis + 1 :])) if _is_some(k) else None
              for k, end in zip((before, behind), ends, strict=True)]  # fmt: skip
    return [filled[0], x, filled[1]]


def _is_some(count: Any) -> bool:
    return not isinstance(count, int) or count != 0


def _edge(x: Any, axis: int, before: int, behind: int, _: Any) -> list[Any]:
    ends = x[_along(axis, slice(0, 1))], x[_along(axis, slice(-1, None))]
    return [*[ends[0]] * before, x, *[ends[1]] * behind]


def _reflect(x: Any, axis: int, before: int, behind: int, _: Any) -> list[Any]:
    low = x[_along(axis, slice(1, before + 1))] if before else None
    high = x[_along(axis, slice(-behind - 1, -1))] if behind else None
    return [None if low is None else np.flip(low, axis), x, None if high is None else np.flip(high, axis)]


def _symmetric(x: Any, axis: int, before: int, behind: int, _: Any) -> list[Any]:
    low = x[_along(axis, slice(0, before))] if before else None
    high = x[_along(axis, slice(-behind, None))] if behind else None
    return [None if low is None else np.flip(low, axis), x, None if high is None else np.flip(high, axis)]


def _wrap(x: Any, axis: int, before: int, behind: int, _: Any) -> list[Any]:
    low = x[_along(axis, slice(-before, None))] if before else None
    return [low, x, x[_along(axis, slice(0, behind))] if behind else None]


PADDINGS: dict[str, Callable[..., list[Any]]] = {
    "constant": _constant, "edge": _edge, "reflect": _reflect, "symmetric": _symmetric, "wrap": _wrap,
}  # fmt: skip


NAMES: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (
        hstack, vstack, dstack, column_stack, append, insert, delete, tile, repeat, array_split, hsplit, vsplit, unstack,
        fliplr, flipud, rot90, rollaxis, pad, block)
}  # fmt: skip
"""NumPy's functions by name; those of any number of arrays stand apart."""
OF_SEVERAL: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (atleast_1d, atleast_2d, atleast_3d, broadcast_arrays, meshgrid)
}
