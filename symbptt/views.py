"""Rearrangements: other shapes, orders of axes, and arrays put together or taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.dim import Dim, private_size
from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.location import cell_error
from symbptt.trace import as_array, axes_of, built, graph_of


def reshape(x: Any, *shape: Any, **kwargs: Any) -> Any:
    """Return x in another shape; one size may be -1."""
    graph = graph_of(x)
    if graph is None:
        return np.reshape(x, *shape, **kwargs)
    x = as_array(graph, x)
    wanted = kwargs.get("shape", shape[0] if len(shape) == 1 else shape)
    wanted = list(wanted) if isinstance(wanted, tuple | list) else [wanted]
    sizes = [None if isinstance(item, int) and item == -1 else private_size(item) for item in wanted]
    if None in sizes:
        known = shapes.prod(item for item in sizes if item is not None)
        try:
            rest = shapes.exact_quotient(shapes.prod(graph.shape(x.id)), known)
        except ShapeError as error:
            raise cell_error(str(error), "reshape keeps the number of elements", ShapeError) from None
        sizes = [rest if item is None else item for item in sizes]
    return built(graph, build.reshape, x.id, tuple(sizes))


def ravel(x: Any) -> Any:
    """Return x as a vector."""
    return reshape(x, (-1,)) if graph_of(x) is None or x.ndim != 1 else x


def transpose(x: Any, *axes: Any) -> Any:
    """Return x with its axes permuted, reversed unless told."""
    if graph_of(x) is None:
        return np.transpose(x, *axes)
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    order = tuple(range(x.ndim)[::-1]) if order is None else axes_of(tuple(order), x.ndim)
    if sorted(order) != list(range(x.ndim)):
        raise cell_error(f"{order} is no permutation of the {x.ndim} axes of {x!r}", kind=ShapeError)
    return built(x.graph, build.transpose, x.id, order)


def swapaxes(x: Any, first: int, second: int) -> Any:
    """Return x with two axes exchanged."""
    if graph_of(x) is None:
        return np.swapaxes(x, first, second)
    order = list(range(x.ndim))
    (i, j) = axes_of((first, second), x.ndim)
    order[i], order[j] = order[j], order[i]
    return transpose(x, order)


def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Return x with axes moved to other positions."""
    if graph_of(x) is None:
        return np.moveaxis(x, source, destination)
    of, to = axes_of(source, x.ndim), axes_of(destination, x.ndim)
    order = [i for i in range(x.ndim) if i not in of]
    for position, axis in sorted(zip(to, of, strict=True)):
        order.insert(position, axis)
    return transpose(x, order)


def broadcast_to(x: Any, shape: Any) -> Any:
    """Return x repeated to a larger shape."""
    graph = graph_of(x, shape)
    if graph is None:
        return np.broadcast_to(x, shape)
    wanted = shape if isinstance(shape, tuple | list) else (shape,)
    return built(graph, build.expand, as_array(graph, x).id, tuple(private_size(item) for item in wanted))


def full_like(x: Any, value: Any) -> Any:
    """Return an array shaped like x that holds one value."""
    return np.full_like(x, value) if graph_of(x) is None else broadcast_to(as_array(x.graph, value), x.shape)


def zeros_like(x: Any) -> Any:
    """Return zeros shaped like x."""
    return full_like(x, 0.0)


def ones_like(x: Any) -> Any:
    """Return ones shaped like x."""
    return full_like(x, 1.0)


def expand_dims(x: Any, axis: Any) -> Any:
    """Return x with axes of size 1 put in."""
    if graph_of(x) is None:
        return np.expand_dims(x, axis)
    places = axis if isinstance(axis, tuple | list) else (axis,)
    at = set(axes_of(tuple(places), x.ndim + len(places)))
    rest = iter(x.shape)
    return reshape(x, tuple(1 if i in at else next(rest) for i in range(x.ndim + len(at))))


def squeeze(x: Any, axis: Any = None) -> Any:
    """Return x without its axes of size 1."""
    if graph_of(x) is None:
        return np.squeeze(x, axis)
    at = [i for i, item in enumerate(x.shape) if item == 1] if axis is None else axes_of(axis, x.ndim)
    return reshape(x, tuple(item for i, item in enumerate(x.shape) if i not in at))


def concatenate(parts: Sequence[Any], axis: int = 0) -> Any:
    """Return arrays joined along an axis."""
    graph = graph_of(*parts)
    if graph is None:
        return np.concatenate(parts, axis)
    arrays = [as_array(graph, part) for part in parts]
    where = axes_of(axis, arrays[0].ndim)[0] if arrays[0].ndim else 0
    if not arrays[0].ndim:
        raise cell_error("scalars cannot be concatenated", "write sb.stack", ShapeError)
    return built(graph, build.concatenate, [array.id for array in arrays], where)


def stack(parts: Sequence[Any], axis: int = 0) -> Any:
    """Return arrays joined along a new axis."""
    graph = graph_of(*parts)
    if graph is None:
        return np.stack(parts, axis)
    return concatenate([expand_dims(as_array(graph, part), axis) for part in parts], axis)


def hstack(parts: Sequence[Any]) -> Any:
    """Return arrays joined along the second axis, vectors along the first."""
    if graph_of(*parts) is None:
        return np.hstack(parts)
    return concatenate(parts, 0 if parts[0].ndim == 1 else 1)


def split(x: Any, parts: Any, axis: int = 0) -> Any:
    """Return the pieces of x: equal ones by their number, or those between given bounds."""
    if graph_of(x) is None:
        return np.split(x, parts, axis)
    at = axes_of(axis, x.ndim)[0]
    length = x.shape[at]
    if isinstance(parts, int):
        step = length // parts if isinstance(length, Dim) or length % parts == 0 else None
        if step is None:
            raise cell_error(f"an axis of size {length} does not split into {parts} equal parts", kind=ShapeError)
        bounds = [i * step for i in range(parts + 1)]
    else:
        bounds = [0, *parts, length]
    whole = (slice(None),) * at
    return [x[(*whole, slice(i, j))] for i, j in pairwise(bounds)]


def flip(x: Any, axis: Any = None) -> Any:
    """Return x in reverse order along axes."""
    if graph_of(x) is None:
        return np.flip(x, axis)
    at = axes_of(axis, x.ndim)
    return x[tuple(slice(None, None, -1) if i in at else slice(None) for i in range(x.ndim))]


def roll(x: Any, shift: int, axis: Any = None) -> Any:
    """Return x rolled along one axis."""
    if graph_of(x) is None:
        return np.roll(x, shift, axis)
    if axis is None and x.ndim != 1:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    at = axes_of(0 if axis is None else axis, x.ndim)[0]
    whole = (slice(None),) * at
    if shift == 0:
        return x
    return concatenate([x[(*whole, slice(-shift, None))], x[(*whole, slice(None, -shift))]], at)
