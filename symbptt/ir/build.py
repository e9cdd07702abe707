"""Builders of nodes, each with the shape that follows from its arguments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import sympy as sp

from symbptt.errors import ShapeError
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import (
    WITHOUT_COPY,
    Body,
    Convolution,
    Cumulation,
    Gather,
    Leaf,
    Node,
    Number,
    Product,
    Reduction,
    Rounds,
    Settled,
    Total,
    View,
    Whole,
    placeholder,
)
from symbptt.ir.shape import Shape, Size


def leaf(g: Graph, role: str, name: str, shape: Shape, is_complex: bool = False) -> int:
    """Return a value from outside."""
    return g.add("leaf", (), shape, Leaf(role, name, is_complex))


def number(g: Graph, value: complex) -> int:
    """Return a scalar literal."""
    return g.add("number", (), (), Number(value))


def literal(g: Graph, values: tuple[complex, ...], shape: Shape) -> int:
    """Return an array literal, its values in C order."""
    return g.add("number", (), shape, Number(values))


def size_of(g: Graph, value: Size) -> int:
    """Return a size as a scalar value."""
    if isinstance(value, int):
        return number(g, value)
    text = shapes.size_text(value)
    if text.startswith("-"):  # no dimension is written so
        return map_(g, -placeholder(0), (size_of(g, shapes.size(-value)),))
    return g.add("leaf", (), (), Leaf("size", text))


def map_(g: Graph, expr: sp.Expr, args: Sequence[int]) -> int:
    """Return the elementwise function `expr` (over placeholders) of the arguments, broadcast."""
    if expr == placeholder(0) and len(args) == 1:
        return args[0]
    return g.add("map", tuple(args), shapes.broadcast(*map(g.shape, args)), Body(expr))


def contract(g: Graph, a: int, b: int, product: Product) -> int:
    """Return a product of two operands, summed over the labels that are not in the result."""
    # Labels in the order of their first use: equal products get equal attributes, and hash-consing finds them.
    order = {label: i for i, label in enumerate(dict.fromkeys(product.a + product.b))}
    normal = Product(*(tuple(order[label] for label in part) for part in (product.a, product.b, product.out)))
    return g.add("contract", (a, b), product_shape(g.shape(a), g.shape(b), normal), normal)


def product_shape(a: Shape, b: Shape, product: Product) -> Shape:
    """Return the shape of a product.

    Raises: ShapeError where an axis has two sizes.
    """
    sizes: dict[int, Size] = {}
    for label, item in zip(product.a + product.b, a + b, strict=True):
        if sizes.setdefault(label, item) != item:
            raise ShapeError(
                f"a product of {shapes.show(a)} and {shapes.show(b)} does not conform: {sizes[label]} is not {item}"
            )
    return tuple(sizes[label] for label in product.out)


def reduce(g: Graph, kind: str, x: int, axes: Sequence[int]) -> int:
    """Return the sum or the maximum along axes, which go."""
    axes = tuple(sorted(axes))
    return g.add("reduce", (x,), shapes.without(g.shape(x), axes), Reduction(kind, axes)) if axes else x


def transpose(g: Graph, x: int, permutation: Sequence[int]) -> int:
    """Return x with its axes permuted."""
    permutation = tuple(permutation)
    # Trivial views are never nodes, so that equal values have one id.
    if permutation == tuple(range(len(permutation))):
        return x
    inner = g[x]
    if inner.family == "view" and inner.attrs.kind == "transpose":
        return transpose(g, inner.args[0], [inner.attrs.data[i] for i in permutation])
    shape = g.shape(x)
    return g.add("view", (x,), tuple(shape[i] for i in permutation), View("transpose", permutation))


def reshape(g: Graph, x: int, shape: Shape) -> int:
    """Return x in another shape of the same number of elements.

    Raises: ShapeError where the numbers of elements differ.
    """
    if shapes.prod(g.shape(x)) != shapes.prod(shape):
        raise ShapeError(f"an array of shape {shapes.show(g.shape(x))} cannot be reshaped to {shapes.show(shape)}")
    if g.shape(x) == shape:
        return x
    inner = g[x]
    if inner.family == "view" and inner.attrs.kind == "reshape":
        return reshape(g, inner.args[0], shape)
    return g.add("view", (x,), shape, View("reshape"))


def expand(g: Graph, x: int, shape: Shape) -> int:
    """Return x repeated to a larger shape, as NumPy broadcasting would."""
    if g.shape(x) == shape:
        return x
    if shapes.broadcast(g.shape(x), shape) != shape:
        raise ShapeError(f"an array of shape {shapes.show(g.shape(x))} does not broadcast to {shapes.show(shape)}")
    return g.add("view", (x,), shape, View("expand"))


def cut(g: Graph, x: int, spans: Sequence[tuple[Size, Size, int]]) -> int:
    """Return a slice: start, length and step for each axis."""
    spans = tuple(spans)
    if all(
        start == 0 and length == whole and step == 1
        for (start, length, step), whole in zip(spans, g.shape(x), strict=True)
    ):
        return x
    lengths = tuple(length for _, length, _ in spans)
    node = g[x]
    if node.family == "number" and node.shape:  # the part of a literal is a literal
        return literal(g, tuple(_entries(node, spans)), lengths)
    if (
        node.family == "view"
        and node.attrs.kind == "expand"
        and g[node.args[0]].family == "number"
        and not g.shape(node.args[0])
    ):
        return expand(g, node.args[0], lengths)
    return g.add("view", (x,), lengths, View("slice", spans))


def _entries(node: Node, spans: Sequence[tuple[Any, Any, int]]) -> Iterator[complex]:
    """Yield the numbers of a slice of a literal, in C order."""
    places = (range(start, start + length * step, step) for start, length, step in spans)
    for place in itertools.product(*places):
        yield node.attrs.value[sum(k * math.prod(node.shape[axis + 1 :]) for axis, k in enumerate(place))]


def pad(g: Graph, x: int, spans: Sequence[tuple[Size, Size, int]], shape: Shape) -> int:
    """Return zeros of `shape` with x in a slice of them."""
    return g.add("view", (x,), shape, View("pad", tuple(spans)))


def concatenate(g: Graph, parts: Sequence[int], axis: int) -> int:
    """Return arrays joined along an axis.

    Raises: ShapeError where other axes differ.
    """
    if len(parts) == 1:
        return parts[0]
    first = g.shape(parts[0])
    for part in parts[1:]:
        other = g.shape(part)
        if len(other) != len(first) or shapes.without(other, (axis,)) != shapes.without(first, (axis,)):
            raise ShapeError(
                f"arrays of shapes {shapes.show(first)} and {shapes.show(other)} cannot be joined along axis {axis}"
            )
    total = shapes.size(sum((g.shape(part)[axis] for part in parts), start=0))
    return g.add("view", tuple(parts), (*first[:axis], total, *first[axis + 1 :]), View("concatenate", (axis,)))


def roll(g: Graph, x: int, axis: int, shift: Size) -> int:
    """Return x with its entries moved on along an axis, the last ones to the front; a roll of a roll is one."""
    inner = g[x]
    if inner.family == "view" and inner.attrs.kind == "roll" and inner.attrs.data[0] == axis:
        return roll(g, inner.args[0], axis, shapes.size(shift + inner.attrs.data[1]))
    length = g.shape(x)[axis]
    shift = shapes.remainder(shift, length)
    if shift == 0:
        return x
    # One normal form for shifts k and k - length, which are the same roll.
    if isinstance(shift, int) and isinstance(length, int) and shift > length // 2:
        shift -= length
    return g.add("view", (x,), g.shape(x), View("roll", (axis, shift)))


def turned(g: Graph, x: int, axis: int, shift: Size) -> int:
    """Return a roll as slices that are joined: a single step at a time where the size of the axis may be less."""
    length = g.shape(x)[axis]
    steps = [shift]
    if isinstance(shift, int) and not isinstance(length, int):
        # Of an axis of unknown size at least 1, only a shift by one is sure to lie within the axis.
        steps = [1 if shift > 0 else -1] * abs(shift)
    elif isinstance(shift, int) and isinstance(length, int):
        steps = [shift % length]
    for step in steps:
        moved = step if not isinstance(step, int) or step > 0 else shapes.size(length + step)
        rest = shapes.size(length - moved)
        parts = [_part(g, x, axis, rest, moved), _part(g, x, axis, 0, rest)]
        x = concatenate(g, parts, axis)
    return x


def _part(g: Graph, x: int, axis: int, start: Size, length: Size) -> int:
    return cut(g, x, [(start, length, 1) if i == axis else (0, size, 1) for i, size in enumerate(g.shape(x))])


def index_of(g: Graph, id: int) -> Node:
    """Return the node that an index is a part of, through views of it."""
    while g[id].family == "view" and _is_free(g, g[id]):
        (id,) = g[id].args
    return g[id]


def _is_free(g: Graph, node: Node) -> bool:
    """Answer whether a view needs no copy wherever its array lies: of those that reshape, where axes of one element come and go."""
    if node.attrs.kind != "reshape":
        return node.attrs.kind in WITHOUT_COPY
    old, new = ([n for n in shape if n != 1] for shape in (g.shape(node.args[0]), node.shape))
    return old == new


def is_index(g: Graph, id: int) -> bool:
    """Answer whether a value is an Index, or some of the integers of one."""
    node = index_of(g, id)
    return node.family == "leaf" and node.attrs.role == "index"


def gather(g: Graph, table: int, index: int, axis: int) -> int:
    """Return the slice of `table` at an integer along an axis, which goes; at an array of integers, its axes take the place of the axis."""
    shape, rank = g.shape(table), len(g.shape(index))
    if rank and axis:  # rows of a table alone are read by arrays of integers
        front = (axis, *(i for i in range(len(shape)) if i != axis))
        found = gather(g, transpose(g, table, front), index, 0)
        return transpose(g, found, (*range(rank, rank + axis), *range(rank), *range(rank + axis, len(g.shape(found)))))
    return g.add("gather", (table, index), (*shape[:axis], *g.shape(index), *shape[axis + 1 :]), Gather("gather", axis))


def scatter(g: Graph, x: int, index: int, axis: int, shape: Shape) -> int:
    """Return zeros of `shape` with x at an integer along an axis; at an array of integers, what has the same integer is added up."""
    rank = len(g.shape(index))
    if rank and axis:
        front = (axis, *(i for i in range(len(shape)) if i != axis))
        count = len(g.shape(x))
        rows = transpose(g, x, (*range(axis, axis + rank), *range(axis), *range(axis + rank, count)))
        found = scatter(g, rows, index, 0, tuple(shape[i] for i in front))
        return transpose(g, found, tuple(front.index(i) for i in range(len(shape))))
    return g.add("gather", (x, index), shape, Gather("scatter", axis))


def cumulate(g: Graph, x: int, axis: int, reverse: bool = False) -> int:
    """Return the running sum along an axis."""
    return g.add("cumulate", (x,), g.shape(x), Cumulation(axis, reverse))


def total(g: Graph, x: int, over: str = "all") -> int:
    """Return the sum of x over all steps and samples, over the "steps" of each sample, or over the "samples" of one step."""
    return g.add("total", (x,), g.shape(x), Total(over))


def whole(g: Graph, name: str, args: Sequence[int], axes: Sequence[int], stays: bool = True) -> int:
    """Return a function of the first argument along axes by its name; the others are its numbers."""
    shape = g.shape(args[0])
    return g.add("whole", tuple(args), shape if stays else shapes.without(shape, axes), Whole(name, tuple(axes), stays))


def convolution(g: Graph, args: Sequence[int], shape: Shape, attrs: Convolution) -> int:
    """Return one of the three functions of a sum over windows; `shape` is that of the value."""
    return g.add("convolution", tuple(args), shape, attrs)


def rounds(g: Graph, args: Sequence[int], attrs: Rounds) -> int:
    """Return the values that a value of the body of a loop has in all rounds."""
    own = attrs.inner.nodes[attrs.out].shape
    rows = shapes.size(attrs.count + 1) if attrs.is_carried() else attrs.count
    return g.add("rounds", tuple(args), (rows, *own), attrs)


def settled(g: Graph, args: Sequence[int], attrs: Settled) -> int:
    """Return a value of the fixed point of a body."""
    return g.add("settled", tuple(args), attrs.inner.nodes[attrs.out].shape, attrs)


def rows(g: Graph, x: int, start: Size, count: Size) -> int:
    """Return so many rows of an array from `start` on."""
    return cut(g, x, [(start, count, 1), *((0, n, 1) for n in g.shape(x)[1:])])


def row(g: Graph, x: int, at: Size) -> int:
    """Return one row of an array, without its axis."""
    return reshape(g, rows(g, x, at, 1), g.shape(x)[1:])


def arange(g: Graph, count: Size) -> int:
    """Return the numbers from 0 to count - 1."""
    if isinstance(count, int):
        return literal(g, tuple(float(i) for i in range(count)), (count,))
    ones = expand(g, number(g, 1.0), (count,))
    return map_(g, placeholder(0) - 1, (cumulate(g, ones, 0),))
