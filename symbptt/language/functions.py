"""The functions of the language, each on symbolic and on NumPy arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.errors import counted
from symbptt.language.array import apply, axes_of, graph_of, symbolic
from symbptt.language.creation import arange, eye, full, linspace, ones, tril, triu, zeros
from symbptt.language.indexing import getitem, take
from symbptt.language.number_kinds import BITS, own_functions
from symbptt.language.numpy_dispatch import NUMPY_FUNCTIONS
from symbptt.language.numpy_signatures import as_numpy_calls
from symbptt.language.products import dot, einsum, inner, matmul, outer, tensordot
from symbptt.language.reductions import cumsum, max, mean, min, sum
from symbptt.language.user_frames import cell_error, shows_names
from symbptt.language.views import (
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    full_like,
    hstack,
    moveaxis,
    ones_like,
    ravel,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
    zeros_like,
)

__all__ = [
    "ELEMENTWISE", "NUMPY_FUNCTIONS", "arange", "broadcast_to", "concatenate", "copy", "cumsum", "dot", "einsum",
    "expand_dims", "eye", "flip", "full", "full_like", "getitem", "hstack", "inner", "layer_norm", "linspace",
    "log_softmax", "logsumexp", "matmul", "max", "mean", "min", "moveaxis", "norm", "ones", "ones_like", "outer", "ravel",
    "reshape", "roll", "softmax", "split", "squeeze", "stack", "std", "sum", "swapaxes", "take", "tensordot", "transpose",
    "tril", "triu", "var", "zeros", "zeros_like",
]  # fmt: skip


_AT_BOUNDS = " At a tie with a number the slope is 0"
AT_KINKS = {
    "relu": " Its slope at 0 is 0.", "abs": " Its slope at 0 is 0.", "sign": " Its slope is 0 everywhere.",
    "maximum": f"{_AT_BOUNDS}; equal values have one half each.",
    "minimum": f"{_AT_BOUNDS}; equal values have one half each.",
    "clip": f"{_AT_BOUNDS}, at both bounds alike; at bounds that are values, one half.",
    "hard_tanh": " Its slope at -1 and 1 is 0.", "hard_sigmoid": " Its slope at -3 and 3 is 0.",
    "hypot": " Its slopes where both are 0 are 0.", "arctan2": " Its slopes where both are 0 are 0.",
    "mod": " It has the sign of the divisor; its slope by the first argument is 1 everywhere.",
    "fmod": " It has the sign of the first argument; its slope by that is 1 everywhere.",
    "floor_divide": " Its slope is 0 everywhere.",
    "where": " Its slope is that of the branch which is taken.", "leaky_relu": " Its slope at 0 is that of the left side.",
}  # fmt: skip
"""The derivative that a function is given where it has none, for its docstring; `symbptt.ops` states the rule."""


def _elementwise(op: ops.Op) -> Callable[..., Any]:
    most = len(inspect.signature(op.body).parameters) if inspect.isfunction(op.body) else op.arity

    def function(*values: Any) -> Any:
        if not op.arity <= len(values) <= most:
            raise cell_error(f"{op.name} takes {counted(op.arity, 'argument')}, got {len(values)}")
        if graph_of(*values) is not None:
            return apply(op.name, *values)
        if any(isinstance(value, sp.Basic) for value in values):
            return op.body(*values)
        own = next(filter(None, map(own_functions, values)), None)
        if own is not None:
            return np.frompyfunc(partial(own, op.name), len(values), 1)(*values)
        return op.evaluate(*values)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = f"Return {op.name} of arrays, elementwise." + AT_KINKS.get(op.name, "")
    return function


ELEMENTWISE: dict[str, Callable[..., Any]] = {op.name: _elementwise(op) for op in ops.OPS}


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the variance along axes (divided by their number of elements)."""
    centred = x - mean(x, axis, keepdims=True)
    return mean(centred * centred, axis, keepdims)


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the standard deviation along axes; its gradient where all values are equal is zero."""
    return _root(var(x, axis, keepdims))


def _root(squares: Any) -> Any:
    """Return the square root of a sum of squares; where that is zero, so is its gradient."""
    # The inner choice keeps the slope 1 / (2√s) finite; one choice outside alone would give 0 * inf = nan in the adjoint.
    where, positive = ELEMENTWISE["where"], ELEMENTWISE["greater"](squares, 0)
    return where(positive, ELEMENTWISE["sqrt"](where(positive, squares, 1.0)), 0.0)


def _shifted(x: Any, axis: Any) -> tuple[Any, Any]:
    # softmax does not change with a shift of x: the derivative through the maximum cancels, and need not be computed.
    top = ELEMENTWISE["stop_gradient"](max(x, axis, keepdims=True))
    return x - top, top


@shows_names
def softmax(x: Any, axis: Any = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along an axis, the maximum taken off first."""
    shifted = _shifted(x, axis)[0]
    # After the shift the largest exponent is 0: exp cannot overflow, and the sum is at least 1.
    e = ELEMENTWISE["exp"](shifted)
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
    x = x if hasattr(x, "ndim") else np.asarray(x)  # arrays of other kinds stay what they are
    # np.linalg.norm means other norms for other ranks and orders: "fro" is for matrices, 2 of a matrix is its largest singular value.
    several = x.ndim if axis is None else len(axis) if isinstance(axis, tuple | list) else 1
    fits: dict[Any, bool] = {None: several <= 2 or axis is None, 2: several == 1, "fro": several == 2}
    if not fits.get(ord if isinstance(ord, int | float | str | None) else ..., False):
        raise cell_error(
            f"the norm with ord={ord!r} along {several} axes is not the Euclidean one, which is known alone",
            "write np.linalg.norm(x), or np.linalg.norm(x, axis=-1)",
        )
    return _root(sum(x * x, axis, keepdims))


@shows_names
def layer_norm(x: Any, gain: Any = None, bias: Any = None, *, axis: Any = -1, eps: float = 1e-5) -> Any:
    """Return (x - mean) / sqrt(variance + eps) along an axis, times `gain` plus `bias` where given."""
    mu = mean(x, axis, keepdims=True)
    centred = x - mu
    deviation = ELEMENTWISE["sqrt"](mean(centred * centred, axis, keepdims=True) + eps)
    return _affine(centred / deviation, gain, bias)


def _affine(value: Any, gain: Any, bias: Any) -> Any:
    value = value if gain is None else gain * value
    return value if bias is None else value + bias


def copy(x: Any) -> Any:
    """Return x."""
    return x


def vdot(a: Any, b: Any) -> Any:
    """Return the sum of products of all elements, in C order."""
    return dot(ravel(a), ravel(b))


def _cumsum(x: Any, axis: Any = None) -> Any:
    return cumsum(ravel(x) if axis is None else x, -1 if axis is None else axis)


def _reshape(x: Any, shape: Any) -> Any:
    return reshape(x, shape)


def _transpose(x: Any, axes: Any = None) -> Any:
    return transpose(x, axes)


def _matrix_transpose(x: Any) -> Any:
    return swapaxes(x, -1, -2)


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None or y is None:
        raise cell_error("np.where(condition) gives places, which depend on values", "write np.where(condition, a, b)")
    return ELEMENTWISE["where"](condition, x, y)


def _clip(x: Any, low: Any = None, high: Any = None, min: Any = None, max: Any = None) -> Any:
    low, high = min if low is None else low, max if high is None else high
    if low is None or high is None:
        x = x if low is None else ELEMENTWISE["maximum"](x, low)
        return x if high is None else ELEMENTWISE["minimum"](x, high)
    return ELEMENTWISE["clip"](x, low, high)


def _sum_of_products(*operands: Any, optimize: Any = False, **options: Any) -> Any:
    for option in [name for name, value in options.items() if value is not None]:
        raise cell_error(f"np.einsum with {option} is not supported in a cell", f"write np.einsum without {option}")
    return einsum(*operands)


def _ndim(x: Any) -> int:
    return int(symbolic(x).ndim)


def _shape(x: Any) -> Any:
    return symbolic(x).shape


def _size(x: Any, axis: Any = None) -> Any:
    return symbolic(x).size if axis is None else symbolic(x).shape[axes_of(axis, symbolic(x).ndim)[0]]


_AS_NUMPY: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (
        sum, mean, max, min, var, std, matmul, dot, inner, vdot, tensordot, outer, ravel, swapaxes, moveaxis,
        broadcast_to, full_like, zeros_like, ones_like, expand_dims, squeeze, concatenate, stack, hstack, split, flip,
        roll, norm, take, copy, full, linspace, tril, triu)},
    "amax": max, "amin": min, "cumsum": _cumsum, "flatten": ravel, "transpose": _transpose, "permute_dims": _transpose,
    "matrix_transpose": _matrix_transpose, "reshape": _reshape, "concat": concatenate, "real": copy, "conj": copy,
    "conjugate": copy, "where": _where, "clip": _clip, "ndim": _ndim, "shape": _shape, "size": _size,
}  # fmt: skip
NUMPY_FUNCTIONS.update(
    {name: ELEMENTWISE[op.name] for name, op in ops.BY_NUMPY.items()}
    | {name: partial(apply, name) for name in BITS}
    | {name: as_numpy_calls(name, function) for name, function in _AS_NUMPY.items()}
    | {"getitem": getitem, "einsum": _sum_of_products, "reshape()": reshape, "transpose()": transpose}
)
