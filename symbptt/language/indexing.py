"""Indexing: slices, integers, new axes and an integer of the graph, read and written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.language.array import (
    Array,
    Part,
    Recording,
    apply,
    as_array,
    axes_of,
    built,
    check_kept,
    check_writable,
    graph_of,
    kind,
)
from symbptt.language.choosing import chosen, is_list, one_of, plain_item, written_entries
from symbptt.language.number_kinds import TRUTH
from symbptt.language.sizes import Dim, private_size
from symbptt.language.user_frames import cell_error
from symbptt.language.views import broadcast_to, ravel, reshape


def getitem(x: Array, key: Any) -> Array:
    """Return the part of an array that slices, integers, None, `...`, lists of places and integers of the graph choose."""
    given = key if isinstance(key, tuple) else (key,)
    keys = full_key(x, tuple(plain_item(_of_numbers(x, item)) for item in given))
    if any(map(is_list, keys)):
        return chosen(x, keys, basic)
    return basic(x, keys)


def basic(x: Array, keys: list[Any]) -> Array:
    """Return the part that slices, integers, None and an Index choose: a view, unless it is a number."""
    own = [item for item in keys if item is not None]
    _check_places(x, keys)
    gathers = {axis: item for axis, item in enumerate(own) if _is_of_graph(item)}
    sizes = enumerate(x.graph.shape(x.id))
    spans = [(0, size, 1) if axis in gathers else _span(own[axis], size) for axis, size in sizes]
    # All slices are one view; an integer keeps its axis with size 1 here and loses it at the end.
    value = built(x.graph, build.cut, x.id, spans)
    # From the last axis on: removing an axis does not move the ones before it.
    for axis, index in reversed(gathers.items()):
        value = _gather(value, index, axis)
    found = _without_integers(value, [kept for item in keys for kept in _axes_left(item)])
    known: Any = x.value if not gathers else None
    # A constant whose one number fills its axes has that number in every part.
    known = known if known is None or not np.ndim(known) else known[_index_of(keys)]
    result = Array(x.graph, found.id, known, limit=x.limit)
    # What several integers choose is no view, in NumPy as well.
    if result.ndim and not any(index.ndim for index in gathers.values()):
        result.part = _part(x, keys, spans, x.graph.shape(found.id), gathers)
    return result


def _axes_left(item: Any) -> list[Any]:
    """Return an index as what is left where integers of the graph have chosen: their own axes, whole."""
    return [slice(None)] * item.ndim if _is_of_graph(item) else [item]


def _check_places(x: Array, keys: list[Any]) -> None:
    """Raises: CellError where NumPy pairs several integers with others, or puts their axes to the front."""
    if not any(_is_of_graph(item) and item.ndim for item in keys):
        return
    others = [item for item in keys if not (isinstance(item, slice) or item is None)]
    if len(others) > 1:
        raise cell_error(
            f"{x!r} is indexed by an array of integers and by others at once",
            "choose along one axis after the other: x[0][:, tokens]; pairs x[i, j] are entries of x.reshape(-1)",
        )


def _index_of(keys: list[Any]) -> Any:
    return tuple(int(item) if isinstance(item, Array) else item for item in keys)


def _part(x: Array, keys: list[Any], spans: list[Any], shape: shapes.Shape, gathers: dict[int, Array]) -> Part:
    """Return how a slice is read from its array and written into it."""
    g = x.graph
    lengths = tuple(1 if axis in gathers else length for axis, (_, length, _) in enumerate(spans))

    def read(whole: int) -> int:
        value = _seen(g, whole, spans)
        for axis, index in reversed(gathers.items()):
            value = build.gather(g, value, index.id, axis)
        return build.reshape(g, value, shape)

    def written(whole: int, new: int) -> int:
        part = Array(g, build.reshape(g, new, lengths))
        for axis, index in gathers.items():
            rows = Array(g, build.cut(g, whole, spans))
            mask = one_of(rows, index, axis)
            wide = reshape(mask, tuple(n if k == axis else 1 for k, n in enumerate(rows.shape)))
            part = apply("where", wide, part, rows)
        return overwritten(g, whole, spans, part.id)

    return Part(x, read, written, keys)


def is_same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Answer whether two indices choose the same part: equal bounds, the same integer of the graph."""

    def known(item: Any) -> Any:
        return ("node", item.id) if isinstance(item, Array) else repr(item)

    return [*map(known, one)] == [*map(known, other)]


def _seen(g: Any, id: int, spans: list[Any]) -> int:
    """Return a slice of a value, taken of the one part of a concatenation that it lies in."""
    node = g[id]
    cuts = [axis for axis, (span, size) in enumerate(zip(spans, node.shape, strict=True)) if span != (0, size, 1)]
    if node.family != "view" or node.attrs.kind != "concatenate" or cuts != [node.attrs.data[0]]:
        return build.cut(g, id, spans)
    axis, (start, length, step) = cuts[0], spans[cuts[0]]
    at: shapes.Size = 0
    for part in node.args:
        size = g.shape(part)[axis]
        offset, rest = shapes.size(start - at), shapes.size(at + size - start - length)
        if step == 1 and shapes.sign_of(offset) in (0, 1) and shapes.sign_of(rest) in (0, 1):
            whole = ((0, n, 1) for n in g.shape(part))
            return _seen(g, part, [(offset, length, 1) if k == axis else span for k, span in enumerate(whole)])
        at = shapes.size(at + size)
    return build.cut(g, id, spans)


MOST_ENTRIES = 64
"""Entries that are written one by one."""


def overwritten(g: Any, whole: int, spans: list[Any], new: int) -> int:
    """Return a value in which a slice, a start, a length and a step for each axis, is another one."""
    shape = g.shape(whole)
    axis = next((k for k, (span, size) in enumerate(zip(spans, shape, strict=True)) if span != (0, size, 1)), None)
    if axis is None:
        return new
    start, length, step = spans[axis]

    def at(span: tuple[Any, Any, int], id: int) -> int:
        return build.cut(g, id, [span if k == axis else (0, size, 1) for k, size in enumerate(g.shape(id))])

    def rest(of: int) -> int:
        """Return the axes behind this one written."""
        return overwritten(g, of, [(0, length, 1) if k == axis else span for k, span in enumerate(spans)], new)

    if step != 1 and length != 1:
        if step > 1 and not isinstance(length, int) and shapes.size(length * step) == shape[axis]:
            return _interleaved(g, whole, axis, (start, length, step), rest(at((start, length, step), whole)))
        if not isinstance(length, int) or length > MOST_ENTRIES:
            raise cell_error(
                f"a slice with step {step} and {length} entries is written in place",
                f"write np.where with a mask, or give the axis a size of which at most {MOST_ENTRIES} are written",
            )
        for k in range(length):
            one = [(shapes.size(start + k * step), 1, 1) if i == axis else span for i, span in enumerate(spans)]
            whole = overwritten(g, whole, one, at((k, 1, 1), new))
        return whole
    end = shapes.size(start + length)
    middle = rest(at((start, length, 1), whole))
    before = [at((0, start, 1), whole)] if start != 0 else []
    behind = [at((end, shapes.size(shape[axis] - end), 1), whole)] if end != shape[axis] else []
    return build.concatenate(g, [*before, middle, *behind], axis)


def _interleaved(g: Any, whole: int, axis: int, span: tuple[Any, Any, int], new: int) -> int:
    """Return a value in which every `step`-th entry along an axis, from `start` on, is that of another one: the axis is rows of `step`
    entries, in each of which one is new."""
    start, length, step = span
    shape = g.shape(whole)
    rows = build.reshape(g, whole, (*shape[:axis], length, step, *shape[axis + 1 :]))

    def columns(first: int, count: int) -> list[int]:
        spans = [(first, count, 1) if k == axis + 1 else (0, size, 1) for k, size in enumerate(g.shape(rows))]
        return [build.cut(g, rows, spans)] if count else []

    column = build.reshape(g, new, (*shape[:axis], length, 1, *shape[axis + 1 :]))
    parts = [*columns(0, start), column, *columns(start + 1, step - start - 1)]
    return build.reshape(g, build.concatenate(g, parts, axis + 1), shape)


def setitem(x: Array, key: Any, value: Any) -> None:
    """Write a value into a part of an array that was made in the body, and into the arrays of which it is a view."""
    check_writable(x, owned=True)
    new = as_array(x.graph, value)
    items = tuple(map(plain_item, key if isinstance(key, tuple) else (key,)))
    mask = items[0] if len(items) == 1 and isinstance(items[0], Array) and kind(items[0]) == TRUTH else None
    if mask is not None:
        _write_masked(x, mask, new)
        return
    keys = full_key(x, items)
    if new.part is not None and new.part.whole is x and is_same(new.part.keys, keys):
        return  # of y[1] += 2 the part was changed already, and the array with it
    if any(map(is_list, keys)) or any(map(_is_of_graph, keys)):
        written_entries(x, keys, new, basic, _write)
    else:
        _write(x, keys, new)


def _write(x: Array, keys: list[Any], new: Array) -> None:
    part = basic(x, keys)
    filled = broadcast_to(new, part.shape)
    check_kept(part, _of_kind(part, filled, x))
    spans = [
        _span(item, size) for item, size in zip([k for k in keys if k is not None], x.graph.shape(x.id), strict=True)
    ]
    lengths = tuple(length for _, length, _ in spans)
    x.become(overwritten(x.graph, x.id, spans, built(x.graph, build.reshape, filled.id, lengths).id))


def _of_kind(part: Array, filled: Array, x: Array) -> Array:
    """Return what is written as it is compared with: a whole number may stand in an array of numbers."""
    return filled if kind(filled) > kind(x) else part


def _write_masked(x: Array, mask: Array, new: Array) -> None:
    if mask.shape != x.shape[: mask.ndim] or new.ndim > max(x.ndim - mask.ndim, 0):
        raise cell_error(
            f"what {mask!r} chooses of {x!r} has no certain length",
            "write np.where(mask, a, b) with arrays of one shape",
            ShapeError,
        )
    wide = reshape(mask, (*mask.shape, *(1,) * (x.ndim - mask.ndim)))
    found = apply("where", wide, new, x)
    check_kept(x, found)
    x.become(found.id)


def _of_numbers(x: Array, item: Any) -> Any:
    """Return an integer of the data, where a function is traced on numbers, as the index that it is in the trace of a cell."""
    graph = x.graph
    if not isinstance(graph, Recording) or not isinstance(item, np.ndarray) or item.ndim or item.dtype.kind not in "iu":
        return item
    return Array(graph, graph.leaf_of(item, "index"))


def _is_of_graph(item: Any) -> bool:
    return isinstance(item, Array) and item.value is None


def _without_integers(value: Array, keys: list[Any]) -> Array:
    """Return an array without the axes that integers chose from, with an axis of size 1 for each None."""
    if all(isinstance(item, slice) for item in keys):
        return value
    rest = iter(value.shape)
    sizes = [(item, 1 if item is None else next(rest)) for item in keys]
    return reshape(value, tuple(size for item, size in sizes if item is None or isinstance(item, slice)))


def full_key(x: Array, key: tuple[Any, ...]) -> list[Any]:
    used = sum(item is not None and item is not Ellipsis for item in key)
    if used > x.ndim:
        raise cell_error(f"{used} indices for {x!r}", "the body has no batch axis: index one sample", ShapeError)
    # `==` on arrays is elementwise: identity is asked for.
    dots = [i for i, item in enumerate(key) if item is Ellipsis]
    at = dots[0] if dots else len(key)
    return [*key[:at], *[slice(None)] * (x.ndim - used), *key[at + 1 :]]


def _span(item: Any, length: shapes.Size) -> tuple[shapes.Size, shapes.Size, int]:
    """Start, length and step of what a slice or an integer chooses."""
    try:
        if isinstance(item, slice):
            _check_bounds(item)
            start, stop = (None if v is None else private_size(v) for v in (item.start, item.stop))
            return shapes.slice_bounds(slice(start, stop, item.step), length)
        if isinstance(item, int | np.integer | Dim | Array) and not isinstance(item, bool):
            at = private_size(item if isinstance(item, Dim) else int(item))
            # A negative index counts from the end, also of an axis whose size is a name: n - 1 for -1.
            at = shapes.size(length + at) if shapes.sign_of(at) == -1 else at
            if isinstance(at, int) and isinstance(length, int) and not 0 <= at < length:
                raise ShapeError(f"index {item} is outside an axis of size {length}")
            return at, 1, 1
    except ShapeError as error:
        cure = "its length is certain for bounds such as [1:3], [1:], [:-1] or sizes from .shape; else give the axis a number as its size"
        raise cell_error(str(error), cure, ShapeError) from None
    raise cell_error(
        f"an array of a cell cannot be indexed by {type(item).__name__}",
        'use integers, slices, None, ..., or an argument annotated Index["v"]',
    )


def _check_bounds(item: slice) -> None:
    """Raises: CellError where a slice begins or ends at a value, so that its length or its place is not known."""
    if any(isinstance(bound, Array) and bound.value is None for bound in (item.start, item.stop, item.step)):
        raise cell_error(
            "a slice begins or ends at a value of the cell, which has no number while it is traced",
            "write np.where((np.arange(n) >= i) & (np.arange(n) < i + 2), x, 0.0), which keeps the shape; "
            'or give the places as Index["n", "k"]',
        )


def _gather(x: Array, index: Array, axis: int) -> Array:
    node = x.graph[index.id]
    if kind(index) == TRUTH:
        raise cell_error(
            "what a condition chooses of an array has no certain length",
            "write sb.where(condition, a, b), which keeps the shape",
        )
    if not build.is_index(x.graph, index.id) and (node.family != "leaf" or node.attrs.role != "round"):
        raise cell_error(
            "an array is indexed by a value that is no Index",
            'annotate the argument as Index["v"], or Index["v", "k"] for k of them; what stands beside a place is at it in a rolled array: '
            "np.roll(x, -1)[i] is x[(i + 1) % n]; places that are computed are those of np.argmax and "
            "np.argsort; at the number of a round take rows[k] of rows = table[tokens]",
        )
    return built(x.graph, build.gather, x.id, index.id, axis)


def take(x: Any, index: Any, axis: Any = None) -> Any:
    """Return the slice of x at an integer along an axis, or of its flattened elements where that is None."""
    graph = graph_of(x, index)
    if graph is None:
        return np.take(x, index, axis)
    x = as_array(graph, x)
    if axis is None:
        return fresh(getitem(ravel(x), (index,)))
    return fresh(getitem(x, (slice(None),) * axes_of(axis, x.ndim)[0] + (index,)))


def fresh(x: Any) -> Any:
    """Return an array of its own with the same values."""
    return Array(x.graph, x.id, x.value, limit=x.limit) if isinstance(x, Array) else np.copy(x)
