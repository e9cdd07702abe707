"""Symbolic arrays: what a cell's arguments are while it is traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.dim import Dim, public_shape, public_size
from symbptt.dispatch import NUMPY_FUNCTIONS, call_ufunc, nearest_function
from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import placeholder
from symbptt.ir.outline import node_of
from symbptt.location import cell_error


class Array:
    """A value of the graph that behaves as a NumPy array of its shape.

    `value` is its number where it follows from constants alone, so that a cell may branch and loop on constants.
    """

    __slots__ = ("graph", "id", "value")
    __array_priority__ = 1000

    def __init__(self, graph: Graph, id: int, value: Any = None) -> None:
        self.graph, self.id, self.value = graph, id, value

    @property
    def shape(self) -> tuple[int | Dim, ...]:
        return public_shape(self.graph, self.graph.shape(self.id))

    @property
    def ndim(self) -> int:
        return len(self.graph.shape(self.id))

    @property
    def size(self) -> int | Dim:
        return public_size(self.graph, shapes.prod(self.graph.shape(self.id)))

    @property
    def T(self) -> Array:
        return Array(self.graph, build.transpose(self.graph, self.id, range(self.ndim)[::-1]))

    @property
    def mT(self) -> Array:
        return Array(
            self.graph, build.transpose(self.graph, self.id, (*range(self.ndim - 2), self.ndim - 1, self.ndim - 2))
        )

    @property
    def dtype(self) -> Any:
        raise cell_error(
            "an array has no dtype while the cell is traced", "generated code works in the type of the data"
        )

    def __repr__(self) -> str:
        return f"<{self.graph.names.get(self.id, 'array')} of shape {shapes.show(self.graph.shape(self.id))}>"

    def __len__(self) -> int:
        if not self.ndim:
            raise cell_error("a scalar has no length")
        return int(self.shape[0])

    def __iter__(self) -> Any:
        return iter([self[i] for i in range(len(self))])

    def _number(self, what: str, cure: str) -> Any:
        if self.value is None:
            raise cell_error(f"{what}: it has no number while the cell is traced", cure)
        return self.value

    def __bool__(self) -> bool:
        return bool(self._number("a branch on a value of the cell", "write sb.where(condition, a, b) instead of if"))

    def __index__(self) -> int:
        return int(
            self._number(
                "a value of the cell used as a Python integer", 'make it a Const with a default, or an Index["v"]'
            )
        )

    def __float__(self) -> float:
        return float(
            self._number(
                "a value of the cell used as a Python float", "use the functions of NumPy or symbptt, not of math"
            )
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise cell_error(
            "a value of the cell was turned into a plain NumPy array",
            "put values together with np.stack or np.concatenate",
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = func.__name__ if func is not np.linalg.norm else "norm"
        if name not in NUMPY_FUNCTIONS:
            raise cell_error(
                f"NumPy's function {name} is not known to symbptt",
                nearest_function(name, [*NUMPY_FUNCTIONS, *ops.BY_NUMPY]),
            )
        return NUMPY_FUNCTIONS[name](*args, **kwargs)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise cell_error(
            "an array of the cell cannot be changed in place", "build the new one with sb.where or sb.concatenate"
        )

    def __getitem__(self, key: Any) -> Any:
        return NUMPY_FUNCTIONS["getitem"](self, key)

    def __getattr__(self, name: str) -> Any:
        if name in _METHODS:
            return lambda *args, **kwargs: NUMPY_FUNCTIONS[name](self, *args, **kwargs)
        raise AttributeError(f"a value of a cell has no attribute {name!r}")

    def __matmul__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS["matmul"](other, self)

    def __hash__(self) -> int:
        return hash(self.id)


_METHODS = (
    "sum", "mean", "max", "min", "dot", "reshape", "transpose", "cumsum", "clip", "ravel", "squeeze", "swapaxes",
    "copy", "flatten", "conj", "conjugate", "prod", "var", "std",
)  # fmt: skip
_BOTH_SIDES = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power", "and": "logical_and",
    "or": "logical_or",
}  # fmt: skip
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip
_OF_ONE = {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "logical_not"}


def _operators() -> None:
    for short, name in _BOTH_SIDES.items():
        setattr(Array, f"__{short}__", lambda a, b, name=name: apply(name, a, b))
        setattr(Array, f"__r{short}__", lambda a, b, name=name: apply(name, b, a))
    for short, name in _COMPARISONS.items():
        setattr(Array, f"__{short}__", lambda a, b, name=name: apply(name, a, b))
    for short, name in _OF_ONE.items():
        setattr(Array, f"__{short}__", lambda a, name=name: apply(name, a))


_operators()


def graph_of(*values: Any) -> Graph | None:
    """Return the graph of the first symbolic value, looking into lists and tuples, or None."""
    for value in values:
        if isinstance(value, Array | Dim):
            return value.graph
        if isinstance(value, list | tuple):
            found = graph_of(*value)
            if found is not None:
                return found
    return None


def as_array(graph: Graph, value: Any) -> Array:
    """Return a value that a cell may hold as a symbolic array.

    Raises: CellError for a value of another trace, and for what is no real number or array of numbers.
    """
    if isinstance(value, Array):
        if value.graph is not graph:
            raise cell_error("a value of another cell's trace is used here", "pass values to a cell as its arguments")
        return value
    if isinstance(value, Dim):
        return Array(graph, build.size_of(graph, value.expr))
    if isinstance(value, list | tuple) and graph_of(value) is not None:
        return NUMPY_FUNCTIONS["stack"](list(value))
    return _literal(graph, value)


def _literal(graph: Graph, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise cell_error(f"a cell computes with real numbers, got {type(value).__name__} {value!r}"[:200])
    if np.isnan(array).any():
        raise cell_error("nan is no number to compute with", "leave it out: whatever it meets is lost")
    if array.ndim == 0:
        return Array(graph, build.number(graph, array.item()), array.item())
    return Array(graph, build.literal(graph, tuple(array.ravel().tolist()), array.shape), array)


def apply(name: str, *values: Any) -> Array:
    """Return the elementwise function `name` of values."""
    op = ops.BY_NAME[name]
    graph = graph_of(*values)
    assert graph is not None
    arrays = [as_array(graph, value) for value in values]
    if name == "divide" and graph[arrays[1].id].family == "number" and _has_zero(arrays[1].value):
        raise cell_error("a division by zero", "divide by a number that is not zero, or by a value of the cell")
    expr = op.body(*_arguments(name, graph, arrays))
    result = apply_expr(graph, expr, [array.id for array in arrays])
    known = all(array.value is not None for array in arrays)
    return Array(graph, result, op.evaluate(*[array.value for array in arrays]) if known else None)


def _has_zero(value: Any) -> bool:
    return value is not None and not np.all(value)


def _arguments(name: str, graph: Graph, arrays: Sequence[Array]) -> list[sp.Expr]:
    """Placeholders, but for what must be seen as a number: exponents, and the constant side of maximum and minimum."""
    result: list[sp.Expr] = [placeholder(i) for i in range(len(arrays))]
    literal = [graph[array.id].family == "number" and array.ndim == 0 for array in arrays]
    for i, array in enumerate(arrays):
        if literal[i] and ((name == "power" and i == 1) or name in ("maximum", "minimum", "clip")):
            value = array.value
            result[i] = sp.Integer(int(value)) if float(value).is_integer() else sp.Float(value)
            if name == "power" and value == 0.5:
                result[i] = sp.Rational(1, 2)
    return result


def apply_expr(graph: Graph, expr: sp.Expr, args: Sequence[int]) -> int:
    """Return a SymPy expression over placeholders as nodes: arithmetic in one, each function in one of its own."""
    try:
        return node_of(graph, expr, args)
    except ShapeError as error:
        cure = "give one of them the shape of the other, or an axis of size 1 with [:, None]"
        raise cell_error(str(error), cure, ShapeError) from None


def built(graph: Graph, make: Callable[..., int], *args: Any) -> Array:
    """Return what a builder of nodes makes, with the user's place in errors."""
    try:
        return Array(graph, make(graph, *args))
    except ShapeError as error:
        raise cell_error(str(error), "check the shapes of what is put together here", ShapeError) from None


def axes_of(axis: Any, rank: int) -> tuple[int, ...]:
    """Return axes as an argument names them: all for None, negative ones counted from the end."""
    chosen = range(rank) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    try:
        return tuple(shapes.normal_axis(int(i), rank) for i in chosen)
    except ShapeError as error:
        raise cell_error(
            str(error), "axes count one sample and one step: the body has no batch axis", ShapeError
        ) from None


def symbolic(x: Any) -> Array:
    """Return a value that is symbolic, or holds one, as an array."""
    graph = graph_of(x)
    assert graph is not None
    return as_array(graph, x)
