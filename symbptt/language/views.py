"""Rearrangements: other shapes, orders of axes, and arrays put together or taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.language.array import (
    Array,
    Part,
    apply,
    as_array,
    axes_of,
    built,
    graph_of,
    kind,
    read_only,
    symbolic,
    turned,
)
from symbptt.language.number_kinds import INTEGER, REAL, TRUTH
from symbptt.language.sizes import private_size, public_size
from symbptt.language.user_frames import cell_error

MOST_TURNS = 8
"""A roll of an axis of a named size is so many single steps at the most: any number of them is right for a size of 1 too. A roll
by more is one slice and the rest, for axes that are at least so long."""


def reshape(x: Any, *shape: Any, order: Any = "C", copy: Any = None) -> Any:
    """Return x in another shape, its elements in C order, or with order="F" in that of its transpose; one size may be -1."""
    graph = graph_of(x)
    wanted = shape[0] if len(shape) == 1 else shape
    if graph is None:
        return np.reshape(x, wanted, order=order)
    x = as_array(graph, x)
    wanted = list(wanted) if isinstance(wanted, tuple | list) else [wanted]
    # Also a Const that is -1 stands for the rest.
    wanted = [item if getattr(item, "value", None) is None else private_size(item) for item in wanted]
    if order == "F":
        return transpose(reshape(transpose(x), tuple(wanted[::-1])))
    if order != "C":
        raise cell_error(f"reshape with order={order!r}, the order in memory", 'write order="C" or order="F"')
    sizes = [None if isinstance(item, int) and item == -1 else private_size(item) for item in wanted]
    if None in sizes:
        known = shapes.prod(item for item in sizes if item is not None)
        try:
            rest = shapes.exact_quotient(shapes.prod(graph.shape(x.id)), known)
        except ShapeError as error:
            raise cell_error(str(error), "reshape keeps the number of elements", ShapeError) from None
        sizes = [rest if item is None else item for item in sizes]
    return _in_shape(x, tuple(item for item in sizes if item is not None))


def _in_shape(x: Array, shape: shapes.Shape) -> Array:
    """Return a view in another shape."""
    g, own = x.graph, x.graph.shape(x.id)
    try:
        found = Array(g, build.reshape(g, x.id, shape))
    except ShapeError as error:
        cure = "check the shapes: the number of elements stays; a size that is a product is annotated as one, "
        raise cell_error(str(error), f'{cure}Param["{_product(shape)}"]', ShapeError) from None
    found.part = Part(x, lambda id: build.reshape(g, id, shape), lambda _, new: build.reshape(g, new, own))
    found.limit = x.limit
    return found


def _product(shape: shapes.Shape) -> str:
    return "*".join(f"({text})" if set(text) & set("+-") else text for text in map(shapes.size_text, shape)) or "1"


def ravel(x: Any) -> Any:
    """Return x as a vector."""
    return reshape(x, (-1,)) if graph_of(x) is None or x.ndim != 1 else x


def transpose(x: Any, *axes: Any) -> Any:
    """Return x with its axes permuted, reversed unless told."""
    graph = graph_of(x)
    if graph is None:
        return np.transpose(x, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None)
    x = as_array(graph, x)
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    order = tuple(range(x.ndim)[::-1]) if order is None else axes_of(tuple(order), x.ndim)
    if sorted(order) != list(range(x.ndim)):
        raise cell_error(f"{order} is no permutation of the {x.ndim} axes of {x!r}", kind=ShapeError)
    found = turned(x, order)
    found.limit = x.limit
    return found


def swapaxes(x: Any, first: int, second: int) -> Any:
    """Return x with two axes exchanged."""
    if graph_of(x) is None:
        return np.swapaxes(x, first, second)
    x = symbolic(x)
    order = list(range(x.ndim))
    (i, j) = axes_of((first, second), x.ndim)
    order[i], order[j] = order[j], order[i]
    return transpose(x, order)


def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Return x with axes moved to other positions."""
    if graph_of(x) is None:
        return np.moveaxis(x, source, destination)
    x = symbolic(x)
    of, to = axes_of(source, x.ndim), axes_of(destination, x.ndim)
    if len(of) != len(to):
        raise cell_error(f"moveaxis has {len(of)} axes to move and {len(to)} places for them", kind=ShapeError)
    order = [i for i in range(x.ndim) if i not in of]
    # Inserted from the lowest position on, so that later insertions do not move earlier ones.
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


def broadcast_view(x: Any, shape: Any) -> Any:
    """Return x repeated to a larger shape, as np.broadcast_to: a view, which goes on showing what x becomes."""
    graph = graph_of(x)
    if graph is None:
        return broadcast_to(x, shape)
    x = as_array(graph, x)
    wide = graph.shape(broadcast_to(x, shape).id)
    return read_only("the result of np.broadcast_to", x, lambda id: build.expand(graph, id, wide))


def full_like(x: Any, value: Any) -> Any:
    """Return an array shaped like x that holds one value, which becomes a truth value where x holds those."""
    graph = graph_of(x)
    if graph is None:
        return np.full_like(x, value)
    x = as_array(graph, x)
    # NumPy's full_like takes the type of x: 0 becomes 0.0, or False.
    if kind(x) >= REAL and isinstance(value, int | float):
        value = float(value) if kind(x) == REAL else complex(value)
    filling = as_array(graph, value)
    if kind(x) == INTEGER and kind(filling) == REAL:
        raise cell_error("full_like of integers rounds its value to one", "write np.broadcast_to(value, x.shape)")
    return broadcast_to(
        filling if kind(x) > TRUTH or kind(filling) == TRUTH else apply("not_equal", filling, 0), x.shape
    )


def zeros_like(x: Any) -> Any:
    """Return zeros shaped like x."""
    return full_like(x, 0)


def ones_like(x: Any) -> Any:
    """Return ones shaped like x."""
    return full_like(x, 1)


def expand_dims(x: Any, axis: Any) -> Any:
    """Return x with axes of size 1 put in."""
    if graph_of(x) is None:
        return np.expand_dims(x, axis)
    x = symbolic(x)
    places = axis if isinstance(axis, tuple | list) else (axis,)
    at = set(axes_of(tuple(places), x.ndim + len(places)))
    rest = iter(x.shape)
    return reshape(x, tuple(1 if i in at else next(rest) for i in range(x.ndim + len(at))))


def squeeze(x: Any, axis: Any = None) -> Any:
    """Return x without its axes of size 1."""
    if graph_of(x) is None:
        return np.squeeze(x, axis)
    x = symbolic(x)
    at = [i for i, item in enumerate(x.shape) if item == 1] if axis is None else axes_of(axis, x.ndim)
    return reshape(x, tuple(item for i, item in enumerate(x.shape) if i not in at))


def concatenate(parts: Sequence[Any], axis: Any = 0) -> Any:
    """Return arrays joined along an axis, flattened first where that is None."""
    graph = graph_of(*parts)
    if graph is None:
        return np.concatenate(parts, axis)
    arrays = [as_array(graph, part) for part in parts]
    if axis is None:
        arrays, axis = [ravel(array) for array in arrays], 0
    if not arrays[0].ndim:
        raise cell_error("scalars cannot be concatenated", "write sb.stack", ShapeError)
    where = axes_of(axis, arrays[0].ndim)[0]
    return built(graph, build.concatenate, [array.id for array in arrays], where)


def stack(parts: Sequence[Any], axis: int = 0) -> Any:
    """Return arrays joined along a new axis."""
    graph = graph_of(*parts)
    if graph is None:
        return np.stack(parts, axis)
    return concatenate([expand_dims(as_array(graph, part), axis) for part in parts], axis)


def split(x: Any, parts: Any, axis: int = 0) -> Any:
    """Return the pieces of x: equal ones by their number, or those between given bounds."""
    if graph_of(x) is None:
        return np.split(x, parts, axis)
    x = symbolic(x)
    at = axes_of(axis, x.ndim)[0]
    length = x.shape[at]
    if isinstance(parts, Array) and parts.value is not None:
        parts = parts.value if parts.ndim else private_size(parts)
    if isinstance(parts, int):
        try:
            step = public_size(x.graph, shapes.exact_quotient(private_size(length), parts))
        except ShapeError as error:
            cure = f"an axis splits into {parts} equal parts, or by bounds; or write the size that is meant as a dimension of its own"
            raise cell_error(str(error), cure, ShapeError) from None
        bounds = [i * step for i in range(parts + 1)]
    else:
        bounds = [0, *parts, length]
    whole = (slice(None),) * at
    return [x[(*whole, slice(i, j))] for i, j in pairwise(bounds)]


def flip(x: Any, axis: Any = None) -> Any:
    """Return x in reverse order along axes."""
    if graph_of(x) is None:
        return np.flip(x, axis)
    x = symbolic(x)
    at = axes_of(axis, x.ndim)
    return x[tuple(slice(None, None, -1) if i in at else slice(None) for i in range(x.ndim))]


def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """Return x rolled along axes, or along its flattened elements; by more than a size, from the beginning again."""
    graph = graph_of(x)
    if graph is None:
        return np.roll(x, shift, axis)
    x = as_array(graph, x)
    x = Array(graph, x.id, x.value)  # an array of its own, also where nothing moves
    if axis is None:
        return reshape(_rolled(ravel(x), _total(shift), 0), x.shape)
    pairs = np.broadcast(np.asarray(shift, object), np.asarray(axis, object))
    if pairs.ndim > 1:
        raise cell_error("roll takes one shift and one axis, or a tuple of each", "write np.roll(x, (1, 2), (0, 1))")
    for step, at in pairs:
        x = _rolled(x, step, axes_of(at, x.ndim)[0])
    return x


def _total(shift: Any) -> Any:
    return sum(shift, start=0) if isinstance(shift, tuple | list) else shift


def _rolled(x: Array, shift: Any, axis: int) -> Array:
    """Return x rolled along one axis: in a slice and the rest where they are certain, else a single step at a time."""
    length = x.graph.shape(x.id)[axis]
    # A slice that reaches over the axis is cut there, and would be no roll.
    shift = shapes.remainder(private_size(shift), length)
    if shift == 0:
        return x
    if not isinstance(shift, int) and -1 in (shapes.sign_of(shapes.size(length + by)) for by in (-shift, shift)):
        raise cell_error(f"a roll by {shift} of an axis of size {length}", "roll by no more than the size of the axis")
    if not isinstance(shift, int) or isinstance(length, int) or abs(shift) == 1:
        return _turned(x, shift, axis)
    # An axis of unknown size may be shorter than the shift; rolls by one compose to any shift, whatever the size is.
    steps = [1 if shift > 0 else -1] * abs(shift) if abs(shift) <= MOST_TURNS else [shift]
    for step in steps:
        x = (
            _turned(x, step, axis)
            if abs(step) == 1
            else _moved(x, step if step > 0 else shapes.size(length + step), axis)
        )
    return x


def _moved(x: Array, by: shapes.Size, axis: int) -> Array:
    """Return x rolled by no more than the size of the axis, as the needs of its slices then say."""
    graph, shape = x.graph, x.graph.shape(x.id)
    rest = shapes.size(shape[axis] - by)
    spans = [[(0, size, 1) for size in shape] for _ in range(2)]
    spans[0][axis], spans[1][axis] = (rest, by, 1), (0, rest, 1)
    return built(graph, build.concatenate, [build.cut(graph, x.id, span) for span in spans], axis)


def _turned(x: Array, shift: Any, axis: int) -> Array:
    """Return x rolled by no more than the size of the axis, which a slice of another length would tell."""
    whole = (slice(None),) * axis
    shift = public_size(x.graph, shift)
    return concatenate([x[(*whole, slice(-shift, None))], x[(*whole, slice(None, -shift))]], axis)
