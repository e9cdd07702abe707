"""Truth values, integers, real and complex numbers apart: NumPy's arithmetic differs between them, though a graph holds numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.language.user_frames import cell_error

TRUTH, INTEGER, REAL, COMPLEX = 0, 1, 2, 3
_KNOWN: WeakKeyDictionary[Graph, dict[int, int]] = WeakKeyDictionary()
_OF_BRANCHES = (
    "where",
    "maximum",
    "minimum",
    "absolute",
    "floor",
    "sign",
    "stop_gradient",
    "mod",
    "fmod",
    "floor_divide",
)
"""Functions whose values are of the kind of their arguments."""


def kind_of(g: Graph, id: int) -> int:
    """Return whether a value is a truth value, an integer, a real or a complex number in NumPy: TRUTH, INTEGER, REAL or COMPLEX."""
    if g.is_complex(id):
        return COMPLEX
    # Weak keys: the kinds of a graph are dropped together with it.
    known = _KNOWN.setdefault(g, {})
    if id not in known:
        todo = [id]
        while todo:
            # An explicit stack: a cell that loops 5,000 times makes a chain deeper than Python's recursion limit.
            lacking = [arg for arg in g[todo[-1]].args if arg not in known]
            if lacking:
                todo += lacking
            else:
                node = g[todo.pop()]
                own = COMPLEX if g.is_complex(node.id) else None
                # What is real of complex numbers, such as their sizes, is no integer.
                known[node.id] = own or min(_kind(node, [known[arg] for arg in node.args]), REAL)
    return known[id]


class DataType:
    """The type of the numbers of an array while a cell is traced: real or complex ones, of a width that the data decide.

    Functions that make arrays take it as their dtype; it is no type of NumPy's, and has no width to ask for.
    """

    def __init__(self, python: type) -> None:
        self.python, self.kind = python, "c" if python is complex else "f"

    def __repr__(self) -> str:
        return f"the type of the data, {self.python.__name__}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DataType):
            return self.python is other.python
        raise cell_error(
            f"the type of an array is compared with {getattr(other, '__name__', other)}: a kernel has that of the data",
            "leave the branch out, or write .dtype.kind, which is 'f' or 'c'",
        )

    def __hash__(self) -> int:
        return hash(self.python)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # NumPy asks for `.dtype` of what it is to take for a type of its own, as np.finfo and np.issubdtype do.
        asked = "is no type of NumPy's" if name == "dtype" else f"has no {name}"
        raise cell_error(
            f"the type of the data {asked} while the cell is traced: a kernel has that of the data",
            "write .dtype.kind, which is 'f' or 'c'; a number that depends on the width, as of np.finfo, is a Const: eps: Const = 1e-12",
        )


def type_of(kind: int) -> Any:
    """Return what `.dtype` is of an array of a kind."""
    return np.dtype(bool if kind == TRUTH else int) if kind < REAL else DataType(complex if kind == COMPLEX else float)


def of_data(dtype: Any) -> Any:
    """Return the type of the data as Python's type, anything else as it is."""
    return dtype.python if isinstance(dtype, DataType) else dtype


def kind_of_value(value: Any) -> int:
    """Return the kind of a number or an array."""
    return {"b": TRUTH, "i": INTEGER, "u": INTEGER, "c": COMPLEX}.get(np.asarray(value).dtype.kind, REAL)


def _kind(node: Node, of: Sequence[int]) -> int:
    match node.family:
        case "leaf":
            return INTEGER if node.attrs.role in ("index", "size", "round") else REAL
        case "number":
            return kind_of_value(node.attrs.value)
        case "map":
            return _of_body(node.attrs.expr, tuple(of))
        case "gather":
            return of[0]
        case "reduce" | "cumulate":
            # NumPy sums truth values as integers, but their maximum is a truth value.
            return of[0] if getattr(node.attrs, "kind", "sum") == "max" else max(of[0], INTEGER)
    return max(of)


@lru_cache(10_000)
def _of_body(expr: sp.Expr, of: tuple[int, ...]) -> int:
    if expr.is_Symbol:
        return next(kind for i, kind in enumerate(of) if expr == placeholder(i))
    if getattr(expr.func, "boolean", False):
        return TRUTH
    if expr.is_Integer:
        return INTEGER
    if expr.func.__name__ in _OF_BRANCHES:
        return max(_of_body(part, of) for part in expr.args[expr.func.__name__ == "where" :])
    # Ring operations of integers stay integers; a negative power is a division, hence real.
    if expr.is_Add or expr.is_Mul or (expr.is_Pow and not expr.exp.could_extract_minus_sign()):
        return max(INTEGER, *(_of_body(part, of) for part in expr.args))
    return REAL


SAME = {
    "add": "logical_or",
    "multiply": "logical_and",
    "maximum": "logical_or",
    "minimum": "logical_and",
    "abs": "positive",
}
"""The operation that NumPy performs where all arguments are truth values."""
NUMBERS = ("divide", "power", "square", "floor", "stop_gradient", "clip", "where")
"""Operations that NumPy carries out on truth values as on the numbers 0 and 1."""
BITS = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "not_equal", "invert": "logical_not"}
"""The operators & | ^ ~, which are logic for truth values alone."""


def meaning(name: str, kinds: Sequence[int], is_safe: bool = False) -> str:
    """Return the elementwise function that NumPy's function `name` is for arguments of these kinds.

    Raises: CellError where NumPy refuses them, or computes in integers or half precision, which a kernel does not.
    """
    if max(kinds) == COMPLEX:
        return _of_complex(name, kinds)
    if name in BITS:
        if max(kinds) != TRUTH:
            cure = (
                "write a comparison, such as x > 0, on each side of & | ^ ~; of plain numbers the opposite comparison"
            )
            raise cell_error(f"np.{name} is for truth values of arrays", cure)
        return BITS[name]
    if name == "reciprocal" and max(kinds) < REAL:
        raise cell_error("np.reciprocal of integers gives integers, 0 for all from 2 on", "write 1 / x")
    if name == "power" and max(kinds) == INTEGER and not is_safe:
        raise cell_error(
            "an integer to the power of an integer that may be negative, which NumPy refuses", "write 2.0 instead of 2"
        )
    if name in ("mod", "fmod", "floor_divide") and max(kinds) == INTEGER and not is_safe:
        raise cell_error(
            f"np.{name} of an integer by an integer that may be 0, which is 0 in NumPy",
            "divide by a number, such as 2, or by 2.0",
        )
    if max(kinds) != TRUTH or name in NUMBERS or name.startswith(("logical", "greater", "less", "equal", "not_equal")):
        return name
    if name in SAME:
        return SAME[name]
    raise cell_error(
        f"np.{name} of truth values: NumPy refuses it or computes it in half precision",
        "write sb.where(condition, 1.0, 0.0) for a number, ~ for the opposite",
    )


_COMPARED = ("greater", "greater_equal", "less", "less_equal", "maximum", "minimum", "clip", "sign", "equal", "not_equal", "mod", "fmod",
             "floor_divide", "hypot", "arctan2", "floor", *BITS, *BITS.values())  # fmt: skip
"""Functions that need numbers in an order, or truth values."""


def _of_complex(name: str, kinds: Sequence[int]) -> str:
    """Return the elementwise function that NumPy's function `name` is for arguments of which some are complex.

    Raises: CellError for what has no meaning there, and for functions of which no rule of a derivative is proved.
    """
    of_parts = "that is a function of real numbers: apply it to np.abs(z), or to z.real and z.imag"
    if name == "where" and kinds[0] == COMPLEX:
        raise cell_error("a complex number as a condition", "write np.abs(z) > 0, or z.real > 0")
    if name == "power" and kinds[1] == COMPLEX:
        raise cell_error("a power with a complex exponent", "write np.exp(z * np.log(a)) with a real base a")
    if name in ops.HOLOMORPHIC or name in ("real", "imag", "conj", "angle", "as_complex"):
        return name
    if name in ("abs", "modulus"):
        return "modulus"
    if name in _COMPARED:
        raise cell_error(f"np.{name} of complex numbers, which have no order and are no truth values", of_parts)
    raise cell_error(
        f"{name} of complex numbers: no rule for its derivative is proved",
        f"{of_parts}; of complex numbers {', '.join(ops.HOLOMORPHIC)}, abs, angle, conj, .real and .imag are known",
    )


def own_functions(value: Any) -> Any:
    """Return what computes functions of objects that bring their own, as numbers of a symbolic proof do, else None."""
    is_array = isinstance(value, np.ndarray) and value.dtype == object and value.size
    return getattr(value.flat[0] if is_array else value, "elementwise", None)
