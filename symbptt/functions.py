"""The functions of the language, each on symbolic and on NumPy arrays."""

from __future__ import annotations

import builtins
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.errors import CellError, ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import Product
from symbptt.trace import NUMPY_FUNCTIONS, Array, Dim, apply, as_array, cell_error, graph_of, private_size, product


def _elementwise(op: ops.Op) -> Callable[..., Any]:
    def function(*values: Any) -> Any:
        if graph_of(*values) is not None:
            return apply(op.name, *values)
        if any(isinstance(value, sp.Basic) for value in values):
            return op.body(*values)
        return op.evaluate(*values)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = f"Return {op.name} of arrays, elementwise."
    return function


ELEMENTWISE: dict[str, Callable[..., Any]] = {op.name: _elementwise(op) for op in ops.OPS}


def _wrap(graph: Graph, make: Callable[..., int], *args: Any) -> Array:
    try:
        return Array(graph, make(graph, *args))
    except ShapeError as error:
        raise cell_error(str(error), "check the shapes of what is put together here", ShapeError) from None


def _axes(axis: Any, rank: int) -> tuple[int, ...]:
    chosen = range(rank) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    try:
        return tuple(shapes.normal_axis(int(i), rank) for i in chosen)
    except ShapeError as error:
        raise cell_error(str(error), "axes count one sample and one step: the body has no batch axis", ShapeError) from None


def _symbolic(x: Any) -> Array:
    graph = graph_of(x)
    assert graph is not None
    return as_array(graph, x)


def _reduce(kind: str, x: Any, axis: Any, keepdims: bool) -> Array:
    x = _symbolic(x)
    g, shape = x.graph, x.graph.shape(x.id)
    axes = _axes(axis, len(shape))
    result = _wrap(g, build.reduce, kind, x.id, axes)
    kept = tuple(1 if i in axes else item for i, item in enumerate(shape))
    return _wrap(g, build.reshape, result.id, kept) if keepdims else result


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the sum along axes, all of them unless told."""
    return np.sum(x, axis=axis, keepdims=keepdims) if graph_of(x) is None else _reduce("sum", x, axis, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean along axes, all of them unless told."""
    if graph_of(x) is None:
        return np.mean(x, axis=axis, keepdims=keepdims)
    x = _symbolic(x)
    shape = x.graph.shape(x.id)
    count = shapes.prod(shape[i] for i in _axes(axis, len(shape)))
    return sum(x, axis, keepdims) / Array(x.graph, build.size_of(x.graph, count))


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the maximum along axes, all of them unless told; equal maxima share the gradient equally."""
    if graph_of(x) is not None:
        return _reduce("max", x, axis, keepdims)
    if not np.iscomplexobj(x):
        return np.max(x, axis=axis, keepdims=keepdims)
    top = np.real(x) == np.max(np.real(x), axis=axis, keepdims=True)
    return np.mean(x, axis=axis, keepdims=keepdims, where=top)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the minimum along axes, all of them unless told; equal minima share the gradient equally."""
    return -max(-x, axis, keepdims)


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the variance along axes (divided by their number of elements)."""
    centred = x - mean(x, axis, keepdims=True)
    return mean(centred * centred, axis, keepdims)


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the standard deviation along axes."""
    return ELEMENTWISE["sqrt"](var(x, axis, keepdims))


def _product(a: Array, b: Array, la: Sequence[Any], lb: Sequence[Any], out: Sequence[Any]) -> Array:
    """A product by labels of any kind; an axis of one operand alone that the result lacks is summed first."""
    a, la = _presum(a, la, set(lb) | set(out))
    b, lb = _presum(b, lb, set(la) | set(out))
    order = {label: i for i, label in enumerate(dict.fromkeys([*la, *lb, *out]))}
    return product(a.graph, a.id, b.id, Product(*(tuple(order[x] for x in part) for part in (la, lb, out))))


def _presum(x: Array, labels: Sequence[Any], kept: set[Any]) -> tuple[Array, list[Any]]:
    alone = [i for i, label in enumerate(labels) if label not in kept]
    return (sum(x, tuple(alone)) if alone else x), [label for label in labels if label in kept]


def matmul(a: Any, b: Any) -> Any:
    """Return the matrix product, with stacked leading axes as NumPy has them."""
    graph = graph_of(a, b)
    if graph is None:
        return np.matmul(a, b)
    a, b = as_array(graph, a), as_array(graph, b)
    if not a.ndim or not b.ndim:
        raise cell_error("@ takes arrays of at least one axis, not scalars", "write * for a scalar", ShapeError)
    lead_a, lead_b = builtins.max(a.ndim - 2, 0), builtins.max(b.ndim - 2, 0)
    lead = builtins.max(lead_a, lead_b)
    a, la = _stacked(a, lead_a, lead, b, lead_b)
    b, lb = _stacked(b, lead_b, lead, a, lead_a)
    la += ["i", "k"] if a.ndim - len(la) == 2 else ["k"]
    lb += ["k", "j"] if b.ndim - len(lb) == 2 else ["k"]
    batch = sorted({x for x in la + lb if isinstance(x, int)})
    return _product(a, b, la, lb, [*batch, *(["i"] if "i" in la else []), *(["j"] if "j" in lb else [])])


def _stacked(x: Array, own: int, lead: int, other: Array, other_own: int) -> tuple[Array, list[Any]]:
    """Labels of the stacked axes, without those of size 1 that the other operand repeats."""
    shape, beside = x.graph.shape(x.id), other.graph.shape(other.id)
    numbers = list(range(lead - own, lead))
    drop = [i for i, n in enumerate(numbers)
            if shape[i] == 1 and n >= lead - other_own and beside[n - (lead - other_own)] != 1]  # fmt: skip
    kept = tuple(item for i, item in enumerate(shape) if i not in drop)
    return _wrap(x.graph, build.reshape, x.id, kept), [n for i, n in enumerate(numbers) if i not in drop]


def dot(a: Any, b: Any) -> Any:
    """Return NumPy's dot: inner, matrix or scalar product by the number of axes."""
    graph = graph_of(a, b)
    if graph is None:
        return np.dot(a, b)
    a, b = as_array(graph, a), as_array(graph, b)
    if not a.ndim or not b.ndim:
        return a * b
    if b.ndim == 1 or a.ndim == 1 or (a.ndim == b.ndim == 2):
        return matmul(a, b) if b.ndim <= 2 else _dot_axes(a, b)
    return _dot_axes(a, b)


def _dot_axes(a: Array, b: Array) -> Array:
    la, lb = [("a", i) for i in range(a.ndim)], [("b", i) for i in range(b.ndim)]
    lb[-2] = la[-1]
    return _product(a, b, la, lb, [x for x in la[:-1] + lb if x != la[-1]])


def inner(a: Any, b: Any) -> Any:
    """Return the sum of products over the last axes."""
    if graph_of(a, b) is None:
        return np.inner(a, b)
    return tensordot(a, b, axes=(-1, -1))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Return NumPy's tensordot."""
    graph = graph_of(a, b)
    if graph is None:
        return np.tensordot(a, b, axes=axes)
    a, b = as_array(graph, a), as_array(graph, b)
    of_a, of_b = (range(-axes, 0), range(axes)) if isinstance(axes, int) else axes
    of_a, of_b = _axes(tuple(np.atleast_1d(of_a)), a.ndim), _axes(tuple(np.atleast_1d(of_b)), b.ndim)
    la, lb = [("a", i) for i in range(a.ndim)], [("b", i) for i in range(b.ndim)]
    for i, j in zip(of_a, of_b, strict=True):
        lb[j] = la[i]
    summed = {la[i] for i in of_a}
    return _product(a, b, la, lb, [x for x in la + lb if x not in summed])


def outer(a: Any, b: Any) -> Any:
    """Return the outer product of two arrays, flattened first as NumPy does."""
    graph = graph_of(a, b)
    if graph is None:
        return np.outer(a, b)
    return _product(ravel(as_array(graph, a)), ravel(as_array(graph, b)), ["i"], ["j"], ["i", "j"])


def einsum(subscripts: str, *operands: Any) -> Any:
    """Return NumPy's einsum of any number of operands, taken from left to right."""
    graph = graph_of(*operands)
    if graph is None:
        return np.einsum(subscripts, *operands)
    arrays = [as_array(graph, operand) for operand in operands]
    inputs, out = _subscripts(subscripts, arrays)
    for labels, array in zip(inputs, arrays, strict=True):
        if len(labels) != array.ndim or len(set(labels)) != len(labels):
            raise cell_error(f"einsum {subscripts!r}: {''.join(labels)!r} does not fit an array of {array.ndim} axes",
                             "give each axis a letter of its own")  # fmt: skip
    value, have = arrays[0], inputs[0]
    for i, (labels, array) in enumerate(zip(inputs[1:], arrays[1:], strict=True), start=1):
        later = set(out).union(*inputs[i + 1 :])
        keep = [x for x in dict.fromkeys(have + labels) if x in later]
        value, have = _product(value, array, have, labels, keep), keep
    value, have = _presum(value, have, set(out))
    return transpose(value, [have.index(x) for x in out])


def _subscripts(text: str, arrays: Sequence[Array]) -> tuple[list[list[str]], list[str]]:
    left, arrow, right = text.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(arrays):
        raise cell_error(f"einsum {text!r} names {len(parts)} operands, got {len(arrays)}")
    free = [x for x in string.ascii_letters if x not in text]
    widths = [a.ndim - len(p.replace("...", "")) if "..." in p else 0 for p, a in zip(parts, arrays, strict=True)]
    lead = "".join(free[: builtins.max(widths, default=0)])
    parts = [p.replace("...", lead[len(lead) - w :]) for p, w in zip(parts, widths, strict=True)]
    if not arrow:
        every = "".join(parts)
        right = lead + "".join(x for x in sorted(set(every) - set(lead)) if every.count(x) == 1)
    right = right.replace("...", lead)
    if not set(right) <= set("".join(parts)) or len(set(right)) != len(right):
        raise cell_error(f"einsum {text!r}: the result {right!r} has a letter that no operand has, or one twice")
    return [list(p) for p in parts], list(right)


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
    return _wrap(graph, build.reshape, x.id, tuple(sizes))


def ravel(x: Any) -> Any:
    """Return x as a vector."""
    return reshape(x, (-1,)) if graph_of(x) is None or x.ndim != 1 else x


def transpose(x: Any, *axes: Any) -> Any:
    """Return x with its axes permuted, reversed unless told."""
    if graph_of(x) is None:
        return np.transpose(x, *axes)
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    order = tuple(range(x.ndim)[::-1]) if order is None else _axes(tuple(order), x.ndim)
    if sorted(order) != list(range(x.ndim)):
        raise cell_error(f"{order} is no permutation of the {x.ndim} axes of {x!r}", kind=ShapeError)
    return _wrap(x.graph, build.transpose, x.id, order)


def swapaxes(x: Any, first: int, second: int) -> Any:
    """Return x with two axes exchanged."""
    if graph_of(x) is None:
        return np.swapaxes(x, first, second)
    order = list(range(x.ndim))
    (i, j) = _axes((first, second), x.ndim)
    order[i], order[j] = order[j], order[i]
    return transpose(x, order)


def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Return x with axes moved to other positions."""
    if graph_of(x) is None:
        return np.moveaxis(x, source, destination)
    of, to = _axes(source, x.ndim), _axes(destination, x.ndim)
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
    return _wrap(graph, build.expand, as_array(graph, x).id, tuple(private_size(item) for item in wanted))


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
    at = set(_axes(tuple(places), x.ndim + len(places)))
    rest = iter(x.shape)
    return reshape(x, tuple(1 if i in at else next(rest) for i in range(x.ndim + len(at))))


def squeeze(x: Any, axis: Any = None) -> Any:
    """Return x without its axes of size 1."""
    if graph_of(x) is None:
        return np.squeeze(x, axis)
    at = [i for i, item in enumerate(x.shape) if item == 1] if axis is None else _axes(axis, x.ndim)
    return reshape(x, tuple(item for i, item in enumerate(x.shape) if i not in at))


def concatenate(parts: Sequence[Any], axis: int = 0) -> Any:
    """Return arrays joined along an axis."""
    graph = graph_of(*parts)
    if graph is None:
        return np.concatenate(parts, axis)
    arrays = [as_array(graph, part) for part in parts]
    where = _axes(axis, arrays[0].ndim)[0] if arrays[0].ndim else 0
    if not arrays[0].ndim:
        raise cell_error("scalars cannot be concatenated", "write sb.stack", ShapeError)
    return _wrap(graph, build.concatenate, [array.id for array in arrays], where)


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
    at = _axes(axis, x.ndim)[0]
    length = x.shape[at]
    if isinstance(parts, int):
        step = length // parts if isinstance(length, Dim) or length % parts == 0 else None
        if step is None:
            raise cell_error(f"an axis of size {length} does not split into {parts} equal parts", kind=ShapeError)
        bounds = [i * step for i in range(parts + 1)]
    else:
        bounds = [0, *parts, length]
    whole = (slice(None),) * at
    return [x[(*whole, slice(i, j))] for i, j in zip(bounds[:-1], bounds[1:], strict=True)]


def flip(x: Any, axis: Any = None) -> Any:
    """Return x in reverse order along axes."""
    if graph_of(x) is None:
        return np.flip(x, axis)
    at = _axes(axis, x.ndim)
    return x[tuple(slice(None, None, -1) if i in at else slice(None) for i in range(x.ndim))]


def roll(x: Any, shift: int, axis: Any = None) -> Any:
    """Return x rolled along one axis."""
    if graph_of(x) is None:
        return np.roll(x, shift, axis)
    if axis is None and x.ndim != 1:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    at = _axes(0 if axis is None else axis, x.ndim)[0]
    whole = (slice(None),) * at
    if shift == 0:
        return x
    return concatenate([x[(*whole, slice(-shift, None))], x[(*whole, slice(None, -shift))]], at)


def cumsum(x: Any, axis: int = -1) -> Any:
    """Return the running sum along an axis, the last unless told."""
    if graph_of(x) is None:
        return np.cumsum(x, axis)
    return _wrap(x.graph, build.cumulate, x.id, _axes(axis, x.ndim)[0])


def _numpy_cumsum(x: Any, axis: Any = None) -> Any:
    return cumsum(ravel(x) if axis is None else x, -1 if axis is None else axis)


def _shifted(x: Any, axis: Any) -> tuple[Any, Any]:
    top = ELEMENTWISE["stop_gradient"](max(x, axis, keepdims=True))
    return x - top, top


def softmax(x: Any, axis: Any = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along an axis, the maximum taken off first."""
    e = ELEMENTWISE["exp"](_shifted(x, axis)[0])
    return e / sum(e, axis, keepdims=True)


def logsumexp(x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    """Return log(sum(exp(x))) along an axis, the maximum taken off first."""
    shifted, top = _shifted(x, axis)
    value = ELEMENTWISE["log"](sum(ELEMENTWISE["exp"](shifted), axis, keepdims=True)) + top
    return value if keepdims else squeeze(value, axis)


def log_softmax(x: Any, axis: Any = -1) -> Any:
    """Return log(softmax(x)) along an axis, without a logarithm of zero."""
    shifted, _ = _shifted(x, axis)
    return shifted - ELEMENTWISE["log"](sum(ELEMENTWISE["exp"](shifted), axis, keepdims=True))


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the Euclidean norm along axes, all of them unless told; its gradient at zero is zero."""
    if ord not in (None, 2, "fro") or (ord == 2 and axis is None and x.ndim != 1):
        raise CellError(f"norm knows the Euclidean norm only, not ord={ord!r}")
    squares = sum(x * x, axis, keepdims)
    where, positive = ELEMENTWISE["where"], ELEMENTWISE["greater"](squares, 0)
    return where(positive, ELEMENTWISE["sqrt"](where(positive, squares, 1.0)), 0.0)


def layer_norm(x: Any, gain: Any = None, bias: Any = None, *, axis: Any = -1, eps: float = 1e-5) -> Any:
    """Return (x - mean) / sqrt(variance + eps) along an axis, times `gain` plus `bias` where given."""
    centred = x - mean(x, axis, keepdims=True)
    value = centred / ELEMENTWISE["sqrt"](mean(centred * centred, axis, keepdims=True) + eps)
    value = value if gain is None else gain * value
    return value if bias is None else value + bias


def _getitem(x: Array, key: Any) -> Array:
    """Basic indexing, and one integer of the graph an axis."""
    keys = _full_key(x, key if isinstance(key, tuple) else (key,))
    axis, spans, dropped, gathers, new = 0, [], [], [], []
    g, shape = x.graph, x.graph.shape(x.id)
    for item in keys:
        if item is None:
            new.append(axis - len(dropped) - len(gathers) + len(new))
            continue
        if isinstance(item, Array) and item.value is None:
            gathers.append((axis, item))
            spans.append((0, shape[axis], 1))
        else:
            span, drop = _span(item, shape[axis])
            spans.append(span)
            dropped += [axis] * drop
        axis += 1
    value = _wrap(g, build.cut, x.id, spans)
    for axis, index in reversed(gathers):
        value = _gather(value, index, axis)
    gone = [axis - builtins.sum(at < axis for at, _ in gathers) for axis in dropped]
    sizes = [item for i, item in enumerate(value.shape) if i not in gone]
    for at in new:
        sizes.insert(at, 1)
    return reshape(value, tuple(sizes)) if gone or new else value


def _full_key(x: Array, key: tuple[Any, ...]) -> list[Any]:
    used = builtins.sum(item is not None and item is not Ellipsis for item in key)
    if used > x.ndim:
        raise cell_error(f"{used} indices for {x!r}", "the body has no batch axis: index one sample", ShapeError)
    dots = [i for i, item in enumerate(key) if item is Ellipsis]
    at = dots[0] if dots else len(key)
    return [*key[:at], *[slice(None)] * (x.ndim - used), *key[at + 1 :]]


def _span(item: Any, length: shapes.Size) -> tuple[tuple[Any, Any, int], bool]:
    try:
        if isinstance(item, slice):
            parts = [None if v is None else private_size(v) for v in (item.start, item.stop)]
            return shapes.slice_bounds(slice(*parts, item.step), length), False
        if isinstance(item, int | np.integer | Dim | Array) and not isinstance(item, bool):
            start = private_size(item if isinstance(item, Dim) else int(item))
            start = shapes.size(length + start) if shapes.sign_of(start) == -1 else start
            if isinstance(start, int) and isinstance(length, int) and not 0 <= start < length:
                raise ShapeError(f"index {item} is outside an axis of size {length}")
            return (start, 1, 1), True
    except ShapeError as error:
        raise cell_error(str(error), "bounds that are integers, or sums of sizes from .shape, are certain", ShapeError) from None
    raise cell_error(f"an array of a cell cannot be indexed by {type(item).__name__}",
                     'use integers, slices, None, ..., or an argument annotated Index["v"]')  # fmt: skip


def _gather(x: Array, index: Array, axis: int) -> Array:
    node = x.graph[index.id]
    if node.family != "leaf" or node.attrs.role != "index":
        raise cell_error("an array is indexed by a value that is no Index", 'annotate the argument as Index["v"]')
    return _wrap(x.graph, build.gather, x.id, index.id, axis)


def take(x: Any, index: Any, axis: Any = None) -> Any:
    """Return the slice of x at an integer along an axis."""
    if graph_of(x, index) is None:
        return np.take(x, index, axis)
    return _getitem(x, (slice(None),) * (0 if axis is None else _axes(axis, x.ndim)[0]) + (index,))


def copy(x: Any) -> Any:
    """Return x."""
    return x


NUMPY_FUNCTIONS.update(
    {f.__name__: f for f in (sum, mean, max, min, var, std, matmul, dot, inner, tensordot, outer, einsum, reshape, ravel,
                             transpose, swapaxes, moveaxis, broadcast_to, full_like, zeros_like, ones_like, expand_dims,
                             squeeze, concatenate, stack, hstack, split, flip, roll, norm, take, copy)}
)  # fmt: skip
NUMPY_FUNCTIONS |= {"amax": max, "amin": min, "cumsum": _numpy_cumsum, "getitem": _getitem, "flatten": ravel,
                    "permute_dims": transpose, "concat": concatenate, "vdot": dot, "real": copy, "conj": copy,
                    "conjugate": copy}  # fmt: skip
NUMPY_FUNCTIONS |= {name: ELEMENTWISE[op.name] for name, op in ops.BY_NUMPY.items() if name not in NUMPY_FUNCTIONS}
