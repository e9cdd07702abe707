"""Indexing: slices, integers, new axes, and an integer of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.language.array import Array, as_array, axes_of, built, graph_of
from symbptt.language.sizes import Dim, private_size
from symbptt.language.user_frames import cell_error
from symbptt.language.views import ravel, reshape


def getitem(x: Array, key: Any) -> Array:
    """Return the part of an array that slices, integers, None, `...` and integers of the graph choose."""
    keys = _full_key(x, key if isinstance(key, tuple) else (key,))
    own = [item for item in keys if item is not None]
    gathers = {axis: item for axis, item in enumerate(own) if _is_of_graph(item)}
    sizes = enumerate(x.graph.shape(x.id))
    spans = [(0, size, 1) if axis in gathers else _span(own[axis], size) for axis, size in sizes]
    # All slices are one view; an integer keeps its axis with size 1 here and loses it at the end.
    value = built(x.graph, build.cut, x.id, spans)
    # From the last axis on: removing an axis does not move the ones before it.
    for axis, index in reversed(gathers.items()):
        value = _gather(value, index, axis)
    return _without_integers(value, [item for item in keys if not _is_of_graph(item)])


def _is_of_graph(item: Any) -> bool:
    return isinstance(item, Array) and item.value is None


def _without_integers(value: Array, keys: list[Any]) -> Array:
    """Return an array without the axes that integers chose from, with an axis of size 1 for each None."""
    if all(isinstance(item, slice) for item in keys):
        return value
    rest = iter(value.shape)
    sizes = [(item, 1 if item is None else next(rest)) for item in keys]
    return reshape(value, tuple(size for item, size in sizes if item is None or isinstance(item, slice)))


def _full_key(x: Array, key: tuple[Any, ...]) -> list[Any]:
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


def _gather(x: Array, index: Array, axis: int) -> Array:
    node = x.graph[index.id]
    if node.family != "leaf" or node.attrs.role != "index":
        raise cell_error("an array is indexed by a value that is no Index", 'annotate the argument as Index["v"]')
    return built(x.graph, build.gather, x.id, index.id, axis)


def take(x: Any, index: Any, axis: Any = None) -> Any:
    """Return the slice of x at an integer along an axis, or of its flattened elements where that is None."""
    graph = graph_of(x, index)
    if graph is None:
        return np.take(x, index, axis)
    x = as_array(graph, x)
    if axis is None:
        return getitem(ravel(x), (index,))
    return getitem(x, (slice(None),) * axes_of(axis, x.ndim)[0] + (index,))
