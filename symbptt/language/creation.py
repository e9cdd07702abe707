"""Arrays that are made of sizes alone: zeros, the identity, counters, triangles.

NumPy asks a size for a number here and looks at no other argument, so that no protocol reaches a named size: np.eye(n) comes to us
by `symbptt.language.namespaces`.

Nothing here is a family of its own. A counter is a running sum of ones, a triangle a running sum over the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.language.array import Array, apply, as_array, graph_of, kind
from symbptt.language.number_kinds import COMPLEX, REAL, TRUTH, kind_of_value, of_data
from symbptt.language.numpy_dispatch import NUMPY_FUNCTIONS
from symbptt.language.sizes import Dim, private_size
from symbptt.language.user_frames import cell_error
from symbptt.language.views import broadcast_to, broadcast_view

MADE: ContextVar[Callable[[Any], Any] | None] = ContextVar("made", default=None)
"""What is made of an array that a function of the user's allocates, so that it holds the elements that a check has in place of floats."""


def held(array: Any) -> Any:
    """Return an array as a check wants it, if one runs the function that allocates it."""
    call = MADE.get()
    return array if call is None else call(array)


def zeros(shape: Any, dtype: Any = float) -> Any:
    """Return an array of zeros.

    Shapes: any; sizes are numbers, or those of `.shape` in a cell.
    """
    shape = numbers(shape)
    return held(np.zeros(shape, of_data(dtype))) if graph_of(shape) is None else full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = float) -> Any:
    """Return an array of ones.

    Shapes: any; sizes are numbers, or those of `.shape` in a cell.
    """
    shape = numbers(shape)
    return held(np.ones(shape, of_data(dtype))) if graph_of(shape) is None else full(shape, 1, dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Return an array that holds one value, or one value a column.

    Shapes: any; sizes are numbers, or those of `.shape` in a cell.
    """
    shape = numbers(shape)
    graph = graph_of(shape, fill_value)
    if graph is None:
        return held(np.full(shape, fill_value, of_data(dtype)))
    return broadcast_to(_typed(as_array(graph, _of_type(fill_value, dtype)), dtype), _as_shape(shape))


def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = float) -> Any:
    """Return ones on a diagonal and zeros elsewhere: of N rows and M columns, the k-th diagonal above the main one.

    Shapes: (N, M).
    """
    N, M, k = numbers((N, M, k))
    graph = graph_of(N, M)
    if graph is None:
        return held(np.eye(N, M, k, of_data(dtype)))
    rows, columns = private_size(N), private_size(N if M is None else M)
    found = _diagonal(graph, rows, columns, _offset("eye", k))
    return _typed(found, dtype)


def identity(n: Any, dtype: Any = None) -> Any:
    """Return the identity matrix.

    Shapes: (n, n).
    """
    return eye(n, dtype=float if dtype is None else dtype)


def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = float) -> Any:
    """Return ones at and below a diagonal and zeros above it: the k-th diagonal above the main one.

    Shapes: (N, M).
    """
    N, M, k = numbers((N, M, k))
    graph = graph_of(N, M)
    if graph is None:
        return np.tri(N, M, k, dtype)
    rows, columns = private_size(N), private_size(N if M is None else M)
    return _typed(_triangle(graph, rows, columns, _offset("tri", k), BELOW), dtype)


def tril(m: Any, k: int = 0) -> Any:
    """Return a matrix with zeros above a diagonal: the k-th one above the main diagonal.

    Shapes: (..., n, m), and the same.
    """
    return np.tril(m, k) if graph_of(m) is None else _kept("tril", m, _offset("tril", k), BELOW)


def triu(m: Any, k: int = 0) -> Any:
    """Return a matrix with zeros below a diagonal: the k-th one above the main diagonal.

    Shapes: (..., n, m), and the same.
    """
    return np.triu(m, k) if graph_of(m) is None else _kept("triu", m, _offset("triu", k), ABOVE)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Any:
    """Return numbers from `start`, 0 if it stands alone, by `step` up to `stop`, which is not among them.

    Shapes: (ceil((stop - start) / step),).
    """
    start, stop, step = numbers((start, stop, step))
    graph = graph_of(start, stop, step)
    if graph is None:
        first, last = (0, start) if stop is None else (start, stop)
        return np.arange(first, last, step, dtype=dtype)
    first, last = (0, start) if stop is None else (start, stop)
    return _typed(_progression(graph, first, step, _count(first, last, step), 1 if dtype is None else 1.0), dtype)


def linspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True) -> Any:
    """Return `num` numbers at equal distances from `start` to `stop`, which is the last unless `endpoint` is False.

    Shapes: (num,), and the shape of `start` and `stop` behind it.
    """
    num = numbers(num)
    graph = graph_of(start, stop, num)
    if graph is None:
        return np.linspace(start, stop, num, endpoint=endpoint)
    first: Any = as_array(graph, start)
    last: Any = as_array(graph, stop)
    # A single number is the start: its distance to the stop, which is then no number, counts zero times.
    parts = apply("maximum", apply("subtract", as_array(graph, num), 1), 1) if endpoint else as_array(graph, num)
    steps = _progression(graph, 0, 1, private_size(num), 1.0)
    rank = max(first.ndim, last.ndim)
    return first + steps[(slice(None), *[None] * rank)] * ((last - first) / parts)


def array(object: Any, dtype: Any = None) -> Any:
    """Return values, alone or nested in lists and tuples, as a new array.

    Shapes: values of one shape, and the lengths of the lists before it.
    """
    return np.copy(asarray(object, dtype), subok=True)


def asarray(a: Any, dtype: Any = None) -> Any:
    """Return values, alone or nested in lists and tuples, as an array; one that is an array already is itself.

    Shapes: values of one shape, and the lengths of the lists before it.
    """
    found = _joined(a)
    if dtype is None or not isinstance(found, Array) or kind_of_value(np.empty(0, of_data(dtype))) == kind(found):
        return found  # a check computes with complex numbers, or others, in the place of floats
    return NUMPY_FUNCTIONS["astype"](found, dtype)


def _joined(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return np.stack([_joined(part) for part in value])
    return as_array(value.graph, value) if isinstance(value, Dim) else value


def numbers(sizes: Any) -> Any:
    """Return sizes, looked for in lists too, with the numbers of constants: a Const with a default may be a size."""
    if isinstance(sizes, tuple | list):
        return tuple(map(numbers, sizes))
    return sizes.value if isinstance(sizes, Array) and sizes.value is not None and not sizes.ndim else sizes


def _as_shape(shape: Any) -> tuple[Any, ...]:
    return tuple(shape) if isinstance(shape, tuple | list) else (shape,)


def _of_type(value: Any, dtype: Any) -> Any:
    return value if dtype is None or graph_of(value) is not None else np.asarray(value, _known(dtype))[()]


def _known(dtype: Any) -> np.dtype[Any]:
    """Return a type of numbers; the width is that of the data, so that only truth values, integers and real numbers differ."""
    found = np.dtype(of_data(dtype))
    if found.kind not in "biufc":
        raise cell_error(f"a cell computes with numbers, got dtype={dtype!r}", "leave it out")
    return found


def _typed(x: Array, dtype: Any) -> Array:
    """Return numbers as those of a type: truth values where they are not zero, whole numbers as real ones."""
    wanted = "" if dtype is None else _known(dtype).kind
    if wanted == "b" and kind(x) != TRUTH:
        return apply("not_equal", x, 0)
    if wanted == "c":
        return x if kind(x) == COMPLEX else apply("as_complex", x)
    if wanted == "f" and kind(x) == COMPLEX:
        raise cell_error("complex numbers as real ones", "write x.real, or np.abs(x)")
    return apply("multiply", x, 1.0) if wanted == "f" and kind(x) != REAL else x


def _offset(name: str, k: Any) -> int:
    k = numbers(k)
    if isinstance(k, int | np.integer):
        return int(k)
    raise cell_error(f"np.{name} takes an integer as its diagonal, got {type(k).__name__}", "write k=0, k=1 or k=-1")


def _identity(graph: Graph, rows: shapes.Size, columns: shapes.Size, k: int) -> tuple[int, Any]:
    """Return an identity matrix, and the slices of it that are the k-th diagonal of a matrix."""
    down, right = max(-k, 0), max(k, 0)
    # i + down and j + right are equal where j - i = down - right, so that places are counted from behind the other way round.
    total = rows if rows == columns else shapes.size(rows + columns)
    size = shapes.size(total + abs(k))
    spans = [(right, rows, 1), (down, columns, 1)]
    if isinstance(size, int):
        return build.literal(graph, tuple(np.eye(size).ravel().tolist()), (size, size)), spans
    return build.leaf(graph, "eye", shapes.size_text(size), (size, size)), spans


def _diagonal(graph: Graph, rows: shapes.Size, columns: shapes.Size, k: int) -> Array:
    whole, spans = _identity(graph, rows, columns, k)
    return Array(graph, build.cut(graph, whole, spans))


BELOW, ABOVE = 0, 1
"""The axes along which a running sum over the identity gives the ones below, and those above, its diagonal."""


def _triangle(graph: Graph, rows: shapes.Size, columns: shapes.Size, k: int, side: int) -> Array:
    """Return ones on one side of a diagonal and on it: in each column of the identity from its one downwards, or in each row to the
    right."""
    whole, spans = _identity(graph, rows, columns, k)
    return Array(graph, build.cut(graph, build.cumulate(graph, whole, side), spans))


def _kept(name: str, m: Any, k: int, side: int) -> Any:
    graph = graph_of(m)
    assert graph is not None
    x = as_array(graph, m)
    if x.ndim < 2:
        raise cell_error(f"np.{name} takes a matrix, got {x!r}", "give it a second axis", ShapeError)
    rows, columns = graph.shape(x.id)[-2:]
    inside = _triangle(graph, rows, columns, k, side)
    # Of a matrix of ones the triangle is what is kept.
    if x.ndim == 2 and _is_one(graph, x.id):
        return apply("not_equal", inside, 0) if kind(x) == TRUTH else inside
    return apply("where", inside, x, 0)


def _is_one(graph: Graph, id: int) -> bool:
    node = graph[id]
    node = graph[node.args[0]] if node.family == "view" and node.attrs.kind == "expand" else node
    return node.family == "number" and not node.shape and node.attrs.value == 1


def _progression(graph: Graph, first: Any, step: Any, count: shapes.Size, one: float) -> Array:
    """Return first, first + step, first + 2 step, ... as a running sum of ones."""
    each = build.expand(graph, build.number(graph, one), (count,))
    counted: Any = apply("subtract", Array(graph, build.cumulate(graph, each, 0)), 1)
    scaled: Any = counted if isinstance(step, int) and step == 1 else step * counted
    found: Array = scaled if isinstance(first, int) and first == 0 else first + scaled
    return found


def _count(first: Any, last: Any, step: Any) -> shapes.Size:
    """Return how many numbers there are from one bound to another."""
    whole = isinstance(step, int | np.integer) and step != 0
    if not whole or not all(isinstance(item, int | np.integer | Dim) for item in (first, last)):
        raise cell_error("np.arange of sizes takes integers and sizes", "write np.arange(n), and scale what it gives")
    way = shapes.size((private_size(last) - private_size(first)) * (1 if step > 0 else -1))
    count = shapes.ceiling(way, abs(int(step)))
    if shapes.sign_of(count) not in (0, 1):
        raise cell_error(
            f"np.arange from {first} to {last} by {step} has no certain length",
            "write np.arange(n), and scale what it gives",
            ShapeError,
        )
    return count


CREATORS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (zeros, ones, full, eye, identity, tri, arange, linspace)
} | {"broadcast_to": broadcast_view, "empty": zeros, "isscalar": lambda element: not np.ndim(element)}
"""NumPy's functions that see sizes alone, by name."""
JOINERS: dict[str, Callable[..., Any]] = {
    "array": array, "asarray": asarray, "asanyarray": asarray, "ascontiguousarray": asarray,
}  # fmt: skip
"""NumPy's functions that look into lists of values and make one array of them, by name."""
