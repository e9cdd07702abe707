"""Indexing by lists of places: constant ones, masks of constants, and places that were computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir.build import is_index
from symbptt.ir.graph import Graph
from symbptt.ir.shape import sign_of, size, size_text
from symbptt.language.array import Array, apply, as_array, built, check_kept, graph_of, kind
from symbptt.language.number_kinds import TRUTH
from symbptt.language.products import tensordot
from symbptt.language.reductions import cumsum
from symbptt.language.sizes import Dim, private_size
from symbptt.language.user_frames import cell_error
from symbptt.language.views import broadcast_to, concatenate, expand_dims, moveaxis, ones_like, reshape, stack

Basic = Callable[[Array, list[Any]], Array]
MOST_PIECES = 32
"""Slices that are joined to choose places; of more, a product with a constant of zeros and ones chooses."""


def plain_item(item: Any) -> Any:
    """Return an index with lists as arrays, and constants of the graph as their numbers."""
    if isinstance(item, Array) and item.value is not None:
        return np.asarray(item.value) if item.ndim else int(item.value)
    if isinstance(item, list | range) and graph_of(item) is None:
        found = np.asarray(item)
        return found.astype(int) if not found.size else found
    if isinstance(item, np.ndarray) and not item.ndim and item.dtype.kind in "iu":
        return int(item)
    return item


def is_list(item: Any) -> bool:
    """Answer whether an index holds several places, or one that was computed."""
    return isinstance(item, np.ndarray) or (isinstance(item, Array) and item.value is None and item.limit is not None)


def chosen(x: Array, keys: list[Any], basic: Basic) -> Array:
    """Return what NumPy chooses by lists of places, with slices for the other axes."""
    computed = [item for item in keys if isinstance(item, Array)]
    if computed:
        return _by_computed(x, keys, computed, basic)
    keys = _without_masks(x, keys)
    lists = [i for i, item in enumerate(keys) if _is_place(item)]
    rest = basic(x, [slice(None) if i in lists else item for i, item in enumerate(keys)])
    places = np.broadcast_arrays(*(np.asarray(keys[i]) for i in lists))
    shape, flat = places[0].shape, [p.ravel().tolist() for p in places]
    # NumPy: lists side by side stand where the first one does, others come to the front.
    at = lists[0] if lists == [*range(lists[0], lists[0] + len(lists))] else 0
    is_one = len(lists) == 1
    found = along(rest, flat[0], at, basic) if is_one else _entries(rest, lists, [*zip(*flat, strict=True)], at, basic)
    sizes = found.shape
    return reshape(found, (*sizes[:at], *shape, *sizes[at + 1 :]))


def _is_place(item: Any) -> bool:
    return isinstance(item, np.ndarray | int | np.integer) and not isinstance(item, bool)


def _without_masks(x: Array, keys: list[Any]) -> list[Any]:
    """Return an index in which masks of constants are the places that they choose."""
    found: list[Any] = []
    axis = 0
    for item in keys:
        if isinstance(item, np.ndarray) and item.dtype == bool:
            _check_mask(item.shape, x.shape[axis : axis + item.ndim])
            found += item.nonzero()
            axis += item.ndim
            continue
        if isinstance(item, np.ndarray) and item.dtype.kind not in "iu":
            raise cell_error(f"places are whole numbers, got {item.dtype}", "write them without a point", ShapeError)
        found.append(item)
        axis += item is not None
    # A mask of several axes stands for several indices: the slices that were put behind it for these axes are too many.
    while len([k for k in found if k is not None]) > x.ndim and isinstance(found[-1], slice):
        found.pop()
    return found


def _check_mask(mask: tuple[int, ...], sizes: tuple[Any, ...]) -> None:
    if mask != sizes:
        raise cell_error(
            f"a mask of shape {mask} for axes of sizes {', '.join(map(str, sizes))}",
            "a mask has the shape of what it chooses from, which must be numbers", ShapeError)  # fmt: skip


def along(x: Array, places: list[int], axis: int, basic: Basic) -> Array:
    """Return the entries of an array at places along an axis, as joined slices."""
    length = x.shape[axis]
    if not places:
        raise cell_error("a list of no places chooses nothing", kind=ShapeError)
    if isinstance(length, int):
        outside = [p for p in places if not -length <= p < length]
        if outside:
            raise cell_error(
                f"index {outside[0]} is outside an axis of size {length}",
                "places count from 0, or -1 from the end",
                ShapeError,
            )
        places = [p % length for p in places]
    slices = _runs(places, isinstance(length, int))
    if len(slices) > MOST_PIECES and isinstance(length, int):
        choice = np.eye(length)[places]
        return moveaxis(tensordot(choice, x, ([1], [axis])), 0, axis)
    before: list[Any] = [slice(None)] * axis
    behind: list[Any] = [slice(None)] * (x.ndim - axis - 1)
    pieces = [basic(x, [*before, item, *behind]) for item in slices]
    return concatenate(pieces, axis)


def _runs(places: list[int], is_known: bool) -> list[slice]:
    """Return slices that have the places one after the other: places with equal steps between them are one."""
    runs: list[list[int]] = []
    for p in places:
        run = runs[-1] if runs else []
        step = p - run[-1] if run else 0
        # Along an axis of unknown size -1 and 0 are no neighbours, and only steps by one are certain.
        is_next = step != 0 if is_known else step == 1 and (p < 0) == (run[-1] < 0)
        if is_next and (len(run) == 1 or step == run[1] - run[0]):
            run.append(p)
        else:
            runs.append([p])
    return [*map(_slice, runs)]


def _slice(run: list[int]) -> slice:
    step = run[1] - run[0] if len(run) > 1 else 1
    stop = run[-1] + (1 if step > 0 else -1)
    # A bound of 0 behind places that count from the end, and one of -1 below 0, is no bound.
    return slice(run[0], None if (run[-1] < 0 <= stop) or (stop < 0 and step < 0) else stop, step)


def _entries(x: Array, axes: list[int], places: list[tuple[int, ...]], at: int, basic: Basic) -> Array:
    """Return entries at pairs of places, along one axis at `at`: of axes that are one behind the other, by their common places."""
    sizes = [x.shape[axis] for axis in axes]
    if all(isinstance(n, int) for n in sizes):
        _check_inside(places, sizes)
        numbers = [np.asarray(p) % n for p, n in zip(zip(*places, strict=True), sizes, strict=True)]
        joined = moveaxis(x, axes, [*range(at, at + len(axes))]) if axes != [*range(at, at + len(axes))] else x
        shape = joined.shape
        merged = reshape(joined, (*shape[:at], math.prod(sizes), *shape[at + len(axes) :]))
        return along(merged, np.ravel_multi_index(tuple(numbers), tuple(sizes)).tolist(), at, basic)
    parts = []
    for place in places:
        keys: list[Any] = [slice(None)] * x.ndim
        for axis, p in zip(axes, place, strict=True):
            keys[axis] = p
        parts.append(basic(x, keys))
    return stack(parts, at)


def _check_inside(places: list[tuple[int, ...]], sizes: list[Any]) -> None:
    for place in places:
        for p, n in zip(place, sizes, strict=True):
            if not -n <= p < n:
                raise cell_error(f"index {p} is outside an axis of size {n}", "places count from 0", ShapeError)


def counted_to(n: Any, like: Array) -> Any:
    """Return the numbers from 0 to n - 1, of a named size as a running sum of ones."""
    if isinstance(n, int):
        return np.arange(n)
    axis = [*like.shape].index(n)
    row = basic_row(like, axis)
    return cumsum(ones_like(row)) - 1


def basic_row(x: Array, axis: int) -> Array:
    """Return truth values along one axis of an array."""
    first = x[tuple(slice(None) if k == axis else 0 for k in range(x.ndim))]
    return apply("equal", first, first)


def one_of(x: Array, place: Array, axis: int) -> Array:
    """Return where along an axis of x a place is: truth values behind the axes of the place."""
    at = reshape(place, (*place.shape, 1))
    return apply("equal", at, counted_to(x.shape[axis], x))


def _by_computed(x: Array, keys: list[Any], computed: list[Array], basic: Basic) -> Array:
    """Return entries at places that were computed, as a product with zeros and ones."""
    lists = [i for i, item in enumerate(keys) if not isinstance(item, slice) and item is not None]
    place = computed[0]
    if len(lists) > 1 or kind(place) == TRUTH:
        raise cell_error(
            "places that were computed stand beside other places",
            "choose along one axis after the other, or write np.where",
        )
    (at,) = lists
    rest = basic(x, [slice(None) if i == at else item for i, item in enumerate(keys)])
    check_limit(place, rest, at)
    choice = apply("where", one_of(rest, place, at), 1.0, 0.0)
    found = tensordot(choice, rest, ([place.ndim], [at]))
    return moveaxis(found, [*range(place.ndim)], [*range(at, at + place.ndim)]) if place.ndim else found


def check_limit(place: Array, x: Array, axis: int) -> None:
    """Raises: ShapeError where places that were computed may lie outside an axis."""
    length, limit = private_size(x.shape[axis]), private_size(place.limit)
    if sign_of(size(length - limit)) not in (0, 1):
        raise cell_error(
            f"places of {size_text(limit)} entries choose from an axis of size {size_text(length)}",
            "take the places of an array with the same axis", ShapeError)  # fmt: skip


def written_entries(
    x: Array, keys: list[Any], new: Array, basic: Basic, write: Callable[[Array, list[Any], Array], None]
) -> None:
    """Write values at lists of places, one after the other, or where an Index or a computed place is."""
    lists = [i for i, item in enumerate(keys) if isinstance(item, Array)]
    if lists:
        _write_computed(x, keys, lists, new)
        return
    keys = _without_masks(x, keys)
    at = [i for i, item in enumerate(keys) if _is_place(item)]
    if any(item is None for item in keys) or at != [*range(at[0], at[0] + len(at))]:
        raise cell_error("places are written beside new axes, or with slices between", "write them one after the other")
    places = np.broadcast_arrays(*(np.asarray(keys[i]) for i in at))
    shape, before = places[0].shape, at[0]
    rest = basic(x, [0 if i in at else item for i, item in enumerate(keys)]).shape
    wide = broadcast_to(new, (*rest[:before], *shape, *rest[before:]))
    for place in np.ndindex(*shape):
        one = [int(places[at.index(i)][place]) if i in at else item for i, item in enumerate(keys)]
        write(x, one, as_array(x.graph, wide[(*[slice(None)] * before, *place)]))


def _write_computed(x: Array, keys: list[Any], lists: list[int], new: Array) -> None:
    at, place = lists[0], keys[lists[0]]
    is_row = all(isinstance(item, slice) and item == slice(None) for i, item in enumerate(keys) if i != at)
    if len(lists) > 1 or place.ndim or not is_row:
        raise cell_error(
            "values are written at several places that are no constants",
            "write np.where with a mask; where the places are all that there are in another order, as those of np.argsort, "
            "y[places] = v is y = v[np.argsort(places)]",
        )
    if place.limit is None:
        if not is_index(x.graph, place.id):
            raise cell_error("an array is indexed by a value that is no Index", 'annotate the argument as Index["v"]')
    else:
        check_limit(place, x, at)
    mask = one_of(x, place, at)
    wide = reshape(mask, tuple(n if k == at else 1 for k, n in enumerate(x.shape)))
    found = apply("where", wide, expand_dims(new, at) if new.ndim == x.ndim - 1 and new.ndim else new, x)
    check_kept(x, found)
    x.become(found.id)


def one_hot(place: Any, count: Any) -> Any:
    """Return zeros with a one at a place, an Index or what np.argmax gives; of several places, a row for each.

    Shapes: `place` any, `count` a size; the result has the axes of `place` and one of `count` behind them.
    Example: `sb.one_hot(i, 4)` of i = 2 is (0, 0, 1, 0).
    """
    graph = graph_of(place, count)
    if graph is None:
        return np.where(np.asarray(place)[..., None] == np.arange(count), 1.0, 0.0)
    if isinstance(count, Dim):
        raise cell_error(
            f"one_hot of {count} places, a named size",
            "write np.where(np.cumsum(np.ones_like(x)) - 1 == place, 1.0, 0.0)",
            ShapeError,
        )
    at = as_array(graph, place)
    return apply("where", apply("equal", reshape(at, (*at.shape, 1)), np.arange(count)), 1.0, 0.0)


def added_rows(graph: Graph, values: Any, segments: Array, count: Any) -> Array:
    """Return the sum of the values of each segment, for segments that are an Index."""
    if not is_index(graph, segments.id):
        raise cell_error(
            "segments are values of the cell that are no Index",
            'give them as a constant, a list of whole numbers, or as an argument: segments: Index["count", "edges"]',
        )
    rows, rank = as_array(graph, values), segments.ndim
    if graph.shape(rows.id)[:rank] != graph.shape(segments.id):
        raise cell_error(
            f"{rows!r} has no row for each segment of {segments!r}", "give one value a segment", ShapeError
        )
    return built(graph, build.scatter, rows.id, segments.id, 0, (private_size(count), *graph.shape(rows.id)[rank:]))


def segment_sum(values: Any, segments: Any, count: int) -> Any:
    """Return the sum of the values of each segment: entry s adds up the rows k of `values` for which `segments[k]` is s.

    Shapes: `values` (edges, ...), `segments` (edges,) whole numbers known beforehand, the result (count, ...).
    `segments` may be an Index too, of `count` values: other ends of edges at each step.
    Raises: CellError where `segments` are neither constants nor an Index, or lie outside.
    Example: `sb.segment_sum(np.array([1.0, 2.0, 4.0]), [0, 1, 0], 2)` is (5, 2).
    """
    graph = graph_of(segments)
    if graph is not None:
        return added_rows(graph, values, as_array(graph, segments), count)
    places = np.asarray(segments)
    if places.ndim != 1 or places.dtype.kind not in "iu" or not isinstance(count, int):
        raise cell_error(
            f"segments are a list of whole numbers, got {places.dtype} of shape {places.shape} and a count {count!r}",
            "write sb.segment_sum(values, [0, 1, 0], 2)")  # fmt: skip
    if places.size and not (places.min() >= 0 and places.max() < count):
        raise cell_error(
            f"a segment lies outside 0 to {count - 1}", "give the number of segments as the third argument"
        )
    return np.tensordot(np.eye(count)[places], values, axes=([0], [0]))
