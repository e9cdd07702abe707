"""Symbolic arrays: what a cell's arguments are while it is traced."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import networkx
import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.errors import CellError, ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import Product, placeholder
from symbptt.ir.scalar import as_python

_HERE = str(Path(__file__).parent)
_USER_INSIDE = str(Path(__file__).parent / "zoo")
_LIBRARIES = tuple(str(Path(module.__file__).parent) for module in (np, sp, networkx) if module.__file__)


def is_user_file(name: str) -> bool:
    """Answer whether a file holds cells rather than the library."""
    if name.startswith(_USER_INSIDE):
        return True
    return not name.startswith((_HERE, "<frozen", *_LIBRARIES)) and Path(name).parent.name != "codegen"


def user_frame() -> FrameType | None:
    """Return the innermost frame of the user's code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def user_place() -> str:
    """Return `file:line` of the innermost frame of the user's code."""
    frame = user_frame()
    return "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def cell_error(what: str, cure: str = "", kind: type[CellError] = CellError) -> CellError:
    """Return an error that says what, where in the user's file, and what to write instead."""
    frame = user_frame()
    where = "" if frame is None else f"\n  at {frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
    return kind(what + where + (f"\n  {cure}" if cure else ""))


class Dim:
    """A named size as a cell sees it in `.shape`: exact under + - * //, a scalar of the graph under all else."""

    __slots__ = ("expr", "graph")

    def __init__(self, graph: Graph, expr: sp.Expr) -> None:
        self.graph, self.expr = graph, expr

    def __hash__(self) -> int:
        return hash(self.expr)

    def __eq__(self, other: object) -> bool:
        return bool(shapes.size(_size(other)) == self.expr) if isinstance(other, int | Dim) else NotImplemented

    def __repr__(self) -> str:
        return str(self.expr)

    def _exact(self, other: Any, function: Callable[[Any, Any], Any], name: str, swap: bool = False) -> Any:
        if isinstance(other, int | np.integer | Dim):
            pair = (_size(other), self.expr) if swap else (self.expr, _size(other))
            return public_size(self.graph, shapes.size(function(*pair)))
        return apply(name, other, self) if swap else apply(name, self, other)

    def __add__(self, other: Any) -> Any:
        return self._exact(other, lambda a, b: a + b, "add")

    def __radd__(self, other: Any) -> Any:
        return self._exact(other, lambda a, b: a + b, "add", swap=True)

    def __sub__(self, other: Any) -> Any:
        return self._exact(other, lambda a, b: a - b, "subtract")

    def __rsub__(self, other: Any) -> Any:
        return self._exact(other, lambda a, b: a - b, "subtract", swap=True)

    def __mul__(self, other: Any) -> Any:
        return self._exact(other, lambda a, b: a * b, "multiply")

    def __rmul__(self, other: Any) -> Any:
        return self._exact(other, lambda a, b: a * b, "multiply", swap=True)

    def __neg__(self) -> Any:
        return public_size(self.graph, shapes.size(-self.expr))

    def __floordiv__(self, other: Any) -> Any:
        return self._quotient(self.expr, _size(other))

    def __rfloordiv__(self, other: Any) -> Any:
        return self._quotient(_size(other), self.expr)

    def _quotient(self, value: Any, by: Any) -> Any:
        try:
            return public_size(self.graph, shapes.exact_quotient(value, by))
        except ShapeError as error:
            raise cell_error(str(error), "write the size that is meant as a dimension of its own", ShapeError) from None

    def __truediv__(self, other: Any) -> Any:
        return apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return apply("divide", other, self)

    def __pow__(self, other: Any) -> Any:
        return apply("power", self, other)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return call_ufunc(ufunc, method, inputs, kwargs)

    def __index__(self) -> int:
        raise cell_error(f"the size {self.expr} has no number while the cell is traced",
                         'loop over a size of known length, for example Param["3 n"], or write the sum with @ or sb.sum')  # fmt: skip

    __int__ = __float__ = __bool__ = __index__  # type: ignore[assignment]

    def _order(self, other: Any) -> Any:
        sign = shapes.sign_of(shapes.size(self.expr - _size(other)))
        if sign is None:
            self.__index__()
        return sign

    def __lt__(self, other: Any) -> bool:
        return bool(self._order(other) == -1)

    def __ge__(self, other: Any) -> bool:
        return bool(self._order(other) != -1)

    def __gt__(self, other: Any) -> bool:
        return bool(Dim(self.graph, shapes.size(self.expr - 1))._order(other) != -1)

    def __le__(self, other: Any) -> bool:
        return not self > other


def _size(value: Any) -> Any:
    return value.expr if isinstance(value, Dim) else int(value)


def public_size(graph: Graph, value: shapes.Size) -> int | Dim:
    """Return a size as a cell sees it."""
    return value if isinstance(value, int) else Dim(graph, value)


def public_shape(graph: Graph, shape: shapes.Shape) -> tuple[int | Dim, ...]:
    """Return a shape as a cell sees it."""
    return tuple(public_size(graph, item) for item in shape)


def private_size(value: Any) -> shapes.Size:
    """Return a size that a cell gave as one of the shape module."""
    if isinstance(value, Dim | int | np.integer):
        return shapes.size(_size(value))
    raise cell_error(f"a size must be an integer or a size from .shape, got {type(value).__name__}")


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
        return Array(self.graph, build.transpose(self.graph, self.id, (*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)))

    @property
    def dtype(self) -> Any:
        raise cell_error("an array has no dtype while the cell is traced", "generated code works in the type of the data")

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
        return int(self._number("a value of the cell used as a Python integer", 'make it a Const with a default, or an Index["v"]'))

    def __float__(self) -> float:
        return float(self._number("a value of the cell used as a Python float", "use the functions of NumPy or symbptt, not of math"))

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise cell_error("a value of the cell was turned into a plain NumPy array",
                         "put values together with np.stack or np.concatenate")  # fmt: skip

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = func.__name__ if func is not np.linalg.norm else "norm"
        if name not in NUMPY_FUNCTIONS:
            raise cell_error(f"NumPy's function {name} is not known to symbptt", _nearest(name, [*NUMPY_FUNCTIONS, *ops.BY_NUMPY]))
        return NUMPY_FUNCTIONS[name](*args, **kwargs)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise cell_error("an array of the cell cannot be changed in place", "build the new one with sb.where or sb.concatenate")

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


_METHODS = ("sum", "mean", "max", "min", "dot", "reshape", "transpose", "cumsum", "clip", "ravel", "squeeze", "swapaxes",
            "copy", "flatten", "conj", "conjugate", "prod", "var", "std")  # fmt: skip

NUMPY_FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""NumPy's functions of arrays by name; symbptt.functions fills it."""


def _operators() -> None:
    names = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power", "and": "logical_and",
             "or": "logical_or"}  # fmt: skip
    for short, name in names.items():
        setattr(Array, f"__{short}__", lambda a, b, name=name: apply(name, a, b))
        setattr(Array, f"__r{short}__", lambda a, b, name=name: apply(name, b, a))
    for short, name in {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
                        "ne": "not_equal"}.items():  # fmt: skip
        setattr(Array, f"__{short}__", lambda a, b, name=name: apply(name, a, b))
    for short, name in {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "logical_not"}.items():
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
        return NUMPY_FUNCTIONS["stack"](list(value))  # type: ignore[no-any-return]
    return _literal(graph, value)


def _literal(graph: Graph, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise cell_error(f"a cell computes with real numbers, got {type(value).__name__} {value!r}"[:200])
    if array.ndim == 0:
        return Array(graph, build.number(graph, array.item()), array.item())
    return Array(graph, build.literal(graph, tuple(array.ravel().tolist()), array.shape), array)


def apply(name: str, *values: Any) -> Array:
    """Return the elementwise function `name` of values."""
    op = ops.BY_NAME[name]
    graph = graph_of(*values)
    assert graph is not None
    arrays = [as_array(graph, value) for value in values]
    expr = op.body(*_arguments(name, graph, arrays))
    result = apply_expr(graph, expr, [array.id for array in arrays])
    known = all(array.value is not None for array in arrays)
    return Array(graph, result, op.evaluate(*[array.value for array in arrays]) if known else None)


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
        return _node_of(graph, expr, args)
    except ShapeError as error:
        cure = "give one of them the shape of the other, or an axis of size 1 with [:, None]"
        raise cell_error(str(error), cure, ShapeError) from None


def _node_of(graph: Graph, expr: sp.Expr, args: Sequence[int]) -> int:
    """Outline inner functions, so that each has a node of its own; what remains is a body over them."""
    if expr.is_Symbol:
        return args[int(expr.name[1:])]
    if not expr.free_symbols:
        return build.number(graph, as_python(expr))
    inner: dict[sp.Expr, int] = {symbol: i for i, symbol in enumerate(sorted(expr.free_symbols, key=_index))}
    leading = _leading(expr, inner) if _is_function(expr) else None
    body = leading if leading is not None else _outline(expr, inner)
    used = sorted(body.free_symbols, key=_index)
    parts = {i: part for part, i in inner.items()}
    ids = [_node_of(graph, parts[_index(symbol)], args) for symbol in used]
    return build.map_(graph, body.xreplace({symbol: placeholder(i) for i, symbol in enumerate(used)}), ids)


def _index(symbol: sp.Symbol) -> int:
    return int(symbol.name[1:])


def _is_function(expr: sp.Expr) -> bool:
    return bool(expr.is_Function or (expr.is_Pow and not expr.exp.is_Integer))


def _leading(expr: sp.Expr, inner: dict[sp.Expr, int]) -> sp.Expr:
    """A function of simple arguments: every argument that is neither a placeholder nor a number goes outside."""
    return expr.func(*[_held(part, inner) if part.free_symbols else part for part in expr.args])


def _outline(expr: sp.Expr, inner: dict[sp.Expr, int]) -> sp.Expr:
    if expr.free_symbols and (expr.is_Symbol or _is_function(expr)):
        return _held(expr, inner)
    return expr.func(*[_outline(part, inner) for part in expr.args]) if expr.args else expr


def _held(expr: sp.Expr, inner: dict[sp.Expr, int]) -> sp.Symbol:
    return placeholder(inner.setdefault(expr, len(inner)))


def call_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a NumPy ufunc means on symbolic arrays.

    Raises: CellError for ufuncs that are not in the table, and for `out=`, `where=` and the like.
    """
    name = ufunc.__name__
    if method != "__call__" or kwargs:
        option = ", ".join(sorted(kwargs)) or method
        raise cell_error(f"np.{name} with {option} is not supported in a cell", "write the plain call, and sb.where for a mask")
    if name == "matmul":
        return NUMPY_FUNCTIONS["matmul"](*inputs)
    if name not in ops.BY_NUMPY:
        raise cell_error(f"NumPy's function {name} is not known to symbptt", _nearest(name, ops.BY_NUMPY))
    return apply(ops.BY_NUMPY[name].name, *inputs)


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, sorted(set(known)), 1)
    hint = f"the nearest known is {near[0]}; " if near else ""
    return hint + "any other elementwise function can be made with sb.function(name, lambda v: <SymPy expression>)"


def product(graph: Graph, a: int, b: int, labels: Product) -> Array:
    """Return a product as a symbolic array, with the user's place in errors."""
    try:
        return Array(graph, build.contract(graph, a, b, labels))
    except ShapeError as error:
        raise cell_error(str(error), "check the order of the dimensions in the annotations", ShapeError) from None
