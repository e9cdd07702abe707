"""Operators and ufuncs of arrays without elements."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.codegen.targets.numpy.memory.bare import Bare, broadcast, is_same, same_axes
from symbptt.codegen.targets.numpy.memory.extent import Extent, is_whole
from symbptt.codegen.targets.numpy.memory.heap import LARGE
from symbptt.codegen.targets.numpy.memory.reader import Reader

OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power", "matmul": "matmul",
    "floordiv": "floor_divide", "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or",
}  # fmt: skip
COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
SIGNS = {"neg": "negative", "invert": "invert", "abs": "absolute", "pos": "positive"}
REDUCTIONS = {"sum": "add", "max": "maximum", "min": "minimum", "all": "all", "any": "any", "mean": "mean"}
TESTS = (*COMPARISONS.values(), "isfinite", "logical_or", "logical_and", "logical_not")
"""Functions whose results are true or false."""
# Commutative operators may write into either operand.
OVER = dict.fromkeys(("add", "multiply", "bitwise_and", "bitwise_or"), 2)
"""The number of first operands into one of which NumPy writes the result of an operator where nothing else reads it."""
OVER |= dict.fromkeys(("subtract", "divide", "floor_divide", *SIGNS.values()), 1)
"""Of how many operands, the first ones, NumPy writes the result of an operator into one that nothing else reads."""
EASY_POWERS = (-1, 0.5, 1, 2)
"""The exponents of powers for which it does so, too."""


def computed(r: Reader, name: str, *args: Any, out: Any = None, **kinds: Any) -> Any:
    """Return the result of a ufunc, `out` where that is given."""
    if not any(isinstance(x, Bare) for x in (*args, out)):
        return getattr(np, name)(*(float(x) if isinstance(x, Extent) else x for x in args))
    shapes = [_shape(x) for x in args]
    if name == "matmul":
        return _matmul(r, shapes[0], shapes[1], out)
    if name == "vecdot":
        return _vecdot(r, shapes[0], shapes[1], out)
    shape = broadcast(*shapes, *([] if out is None else [out.shape]))
    r.call(name, math.prod(shape, start=1))
    dtype = result_type(args)
    result = Bare(r, shape, bool if name in TESTS else dtype) if out is None else out
    if r.heap is not None:
        # NumPy passes an operand of another type, or with uneven strides, through a buffer of the result's type.
        uneven = [dtype for x in args if isinstance(x, Bare) and not (x.dtype == dtype and _is_one_row(x, shape))]
        even = _is_one_row(result, shape) and (name in TESTS or result.dtype == dtype)
        r.heap.pass_by(uneven + [dtype] * (not even), shape)
    return result


def _is_one_row(x: Bare, shape: Sequence[Any]) -> bool:
    """Answer whether NumPy steps evenly through an array that is broadcast to a shape."""
    if x.is_in_order and (len(x.shape) == 0 or math.prod(x.shape) == 1 or same_axes(x.shape, shape)):
        return True
    apart = [0] * (len(shape) - x.ndim) + [0 if is_same(s, 1) else a for s, a in zip(x.shape, x.strides, strict=True)]
    axes = [(s, a) for s, a in zip(shape, apart, strict=True) if not is_same(s, 1)]
    axes = sorted(axes, key=lambda axis: -axis[1])
    return all(is_same(a, s * b) for (_, a), (s, b) in pairwise(axes))


def result_type(args: Sequence[Any]) -> np.dtype[Any]:
    """Return the type of what is computed from some values."""
    # A size in symbols counts as a Python int, which widens no float type.
    types = (
        x.dtype if isinstance(x, Bare | np.generic | np.ndarray) else 1 if isinstance(x, Extent) else x for x in args
    )
    return np.result_type(*types)


def _shape(x: Any) -> tuple[Any, ...]:
    return x.shape if isinstance(x, Bare) else () if isinstance(x, Extent) else np.shape(x)


def _matmul(r: Reader, a: tuple[Any, ...], b: tuple[Any, ...], out: Bare | None) -> Bare:
    inner, rows, columns = a[-1], a[-2:-1], b[-1:] * (len(b) > 1)
    assert inner == (b[-2] if len(b) > 1 else b[0]), f"a product of {a} and {b}"
    shape = (*broadcast(a[:-2], b[:-2]), *rows, *columns)
    r.call("matmul", math.prod(shape, start=1) * inner)
    return Bare(r, shape) if out is None else out


def _vecdot(r: Reader, a: tuple[Any, ...], b: tuple[Any, ...], out: Bare | None) -> Bare:
    shape = broadcast(a, b)
    r.call("vecdot", math.prod(shape, start=1))
    return Bare(r, shape[:-1]) if out is None else out


def fresh(x: Any) -> Any:
    """Return an operand, marked if it is a temporary: it has memory of its own and nothing else refers to it."""
    # NumPy, too, tells temporaries by their reference count.
    if isinstance(x, Bare) and x.base is None and sys.getrefcount(x) <= ALONE:
        x.is_fresh = True
    return x


def _references(x: object) -> int:
    return sys.getrefcount(x)


ALONE = _references(object())
"""The references to an argument to which nothing else refers."""


def _applied(name: str, *args: Any) -> Any:
    """Return the result of an operator; where it is large, NumPy writes it into an operand that nothing else reads."""
    r = next(x.reader for x in args if isinstance(x, Bare))
    over = None if r.heap is None else _written_over(name, args)
    if r.heap is None or over is None or (is_whole(over.own_bytes) and over.own_bytes < LARGE):
        return computed(r, name, *args)
    if is_whole(over.own_bytes):
        over.release()
        return computed(r, name, *args)
    # Whether a symbolic size is large is not known: the maximum with both arrays counts only where it is not.
    r.heap.note()
    result = computed(r, name, *args)
    r.heap.note(over.own_bytes)
    over.release()
    return result


def _written_over(name: str, args: Sequence[Any]) -> Bare | None:
    """Return the operand into which NumPy writes the result of an operator where that is large."""
    is_easy = name == "power" and type(args[1]) in (int, float) and args[1] in EASY_POWERS
    if not is_easy and name not in OVER:
        return None
    shape = broadcast(*map(_shape, args))
    wide = [x for x in args if isinstance(x, Bare) and x.shape]
    if not all(same_axes(x.shape, shape) for x in wide):
        return None
    dtype = result_type(args)
    if not is_easy and not all(_goes_into(x, dtype) for x in args):
        return None
    free = [x for x in args[: 1 if is_easy else OVER.get(name, 0)] if isinstance(x, Bare) and x.is_fresh]
    return next((x for x in free if x.dtype == dtype), None)


def _goes_into(x: Any, dtype: np.dtype[Any]) -> bool:
    """Answer whether an operand casts safely to the type of the result.

    NumPy asks this of plain numbers as of arrays, as int64 or float64, so that 1 + x of a float32 x is a new array.
    """
    return isinstance(x, Bare) or np.can_cast(np.asarray(0 if isinstance(x, Extent) else x).dtype, dtype, "safe")


def _operator(name: str, turned: bool = False) -> Callable[[Bare, Any], Any]:
    def apply(self: Bare, other: Any) -> Any:
        if not isinstance(other, Bare | np.ndarray | np.generic | int | float | bool | Extent):
            return NotImplemented
        return _applied(name, other, self) if turned else _applied(name, self, other)

    return apply


def _sign(name: str) -> Callable[[Bare], Any]:
    return lambda self: _applied(name, self)


def _in_place(name: str) -> Callable[[Bare, Any], Any]:
    return lambda self, other: computed(self.reader, name, self, other, out=self)


def _reduction(name: str) -> Callable[..., Bare]:
    return lambda self, *axis, **kinds: self.reduced(name, *axis, **kinds)


for _short, _name in OPERATORS.items():
    setattr(Bare, f"__{_short}__", _operator(_name))
    setattr(Bare, f"__r{_short}__", _operator(_name, True))
    setattr(Bare, f"__i{_short}__", _in_place(_name))
for _short, _name in COMPARISONS.items():
    setattr(Bare, f"__{_short}__", _operator(_name))
for _short, _name in SIGNS.items():
    setattr(Bare, f"__{_short}__", _sign(_name))
for _short, _name in REDUCTIONS.items():
    setattr(Bare, _short, _reduction(_name))
