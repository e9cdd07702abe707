"""Named sizes: what a cell sees in `.shape` while it is traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from symbptt.errors import CellError, ShapeError
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.language.numpy_dispatch import NUMPY_FUNCTIONS, call_ufunc, refuse
from symbptt.language.user_frames import cell_error, user_place


class Dim:
    """A named size as a cell sees it in `.shape`: exact under + - * //, a scalar of the graph under all else."""

    __slots__ = ("expr", "graph")

    def __init__(self, graph: Graph, expr: sp.Expr) -> None:
        self.graph, self.expr = graph, expr

    def __hash__(self) -> int:
        return hash(self.expr)

    def __eq__(self, other: object) -> bool:
        # Both sides are in normal form, so that equal polynomials are equal expressions.
        return bool(shapes.size(_size(other)) == self.expr) if isinstance(other, int | Dim) else NotImplemented

    def __repr__(self) -> str:
        return str(self.expr)

    def _exact(self, other: Any, function: Callable[[Any, Any], Any], name: str, swap: bool = False) -> Any:
        if isinstance(other, int | np.integer | Dim):
            pair = (_size(other), self.expr) if swap else (self.expr, _size(other))
            return public_size(self.graph, shapes.size(function(*pair)))
        return NUMPY_FUNCTIONS[name](other, self) if swap else NUMPY_FUNCTIONS[name](self, other)

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
            found = (
                shapes.rounded_quotient(value, by)
                if isinstance(by, int) and by > 0
                else shapes.exact_quotient(value, by)
            )
            # What is a part of a size must be whole, also where no array has it.
            self.graph.parts.append((found, user_place()))
            return public_size(self.graph, found)
        except ShapeError as error:
            raise cell_error(str(error), "write the size that is meant as a dimension of its own", ShapeError) from None

    def __truediv__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS["divide"](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS["divide"](other, self)

    def __mod__(self, other: Any) -> Any:
        """Return what is left of the size by an integer, as if the rest of it were divisible: 0 of n % 2, a condition on n."""
        by = getattr(other, "value", other)
        if not isinstance(by, int | np.integer) or by < 1:
            return self._remainder(other)
        return self - int(by) * (self // int(by))

    _remainder = __rmod__ = refuse("remainder")
    __divmod__ = __rdivmod__ = refuse("divmod")

    def __pow__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS["power"](self, other)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return call_ufunc(ufunc, method, inputs, kwargs)

    def __index__(self) -> int:
        raise without_number(self.expr)

    __int__ = __bool__ = __index__

    def __float__(self) -> float:
        raise cell_error(
            f"the size {self.expr} has no number while the cell is traced",
            "leave float() out: a size counts as a number",
        )

    def _order(self, other: Any) -> Any:
        sign = shapes.sign_of(shapes.size(self.expr - _size(other)))
        if sign is None:
            # Raises the error that explains why a size has no number.
            self.__index__()
        return sign

    def __lt__(self, other: Any) -> bool:
        return bool(self._order(other) == -1)

    def __ge__(self, other: Any) -> bool:
        return bool(self._order(other) != -1)

    def __gt__(self, other: Any) -> bool:
        # Sizes are integers: n > m is n - 1 >= m, which `sign_of` can decide where n - m may be zero.
        return bool(Dim(self.graph, shapes.size(self.expr - 1))._order(other) != -1)

    def __le__(self, other: Any) -> bool:
        return not self > other


def without_number(size: Any) -> CellError:
    """Return the error of a named size where Python or NumPy needs a number."""
    return cell_error(
        f"the size {size} has no number while the cell is traced",
        'loop over a size of known length, for example Param["3 n"], or write the sum with @ or sb.sum; of arrays made of sizes '
        "write sb.zeros, sb.ones, sb.full, sb.eye, sb.arange or sb.linspace; pass random numbers as an input: "
        'noise: Input["n"]',
    )


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
    # A Const with a default: its number follows the trace, so that it may be a size.
    number = getattr(value, "value", None)
    if isinstance(number, int | np.integer) and not isinstance(number, bool) and not value.ndim:
        return int(number)
    raise cell_error(
        f"a size must be an integer or a size from .shape, got {type(value).__name__}",
        "sizes and shifts are known while the cell is traced: what depends on a value is np.where of an array as long as it may get",
    )
