"""The functions of the language, each on symbolic and on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from symbptt import ops
from symbptt.dispatch import NUMPY_FUNCTIONS
from symbptt.errors import CellError
from symbptt.indexing import getitem, take
from symbptt.location import shows_names
from symbptt.products import dot, einsum, inner, matmul, outer, tensordot
from symbptt.reductions import cumsum, max, mean, min, sum
from symbptt.trace import apply, graph_of
from symbptt.views import (
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
    "ELEMENTWISE", "NUMPY_FUNCTIONS", "broadcast_to", "concatenate", "copy", "cumsum", "dot", "einsum", "expand_dims",
    "flip", "full_like", "getitem", "hstack", "inner", "layer_norm", "log_softmax", "logsumexp", "matmul", "max",
    "mean", "min", "moveaxis", "norm", "ones_like", "outer", "ravel", "reshape", "roll", "softmax", "split", "squeeze",
    "stack", "std", "sum", "swapaxes", "take", "tensordot", "transpose", "var", "zeros_like",
]  # fmt: skip


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


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the variance along axes (divided by their number of elements)."""
    centred = x - mean(x, axis, keepdims=True)
    return mean(centred * centred, axis, keepdims)


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the standard deviation along axes; its gradient where all values are equal is zero."""
    return _root(var(x, axis, keepdims))


def _root(squares: Any) -> Any:
    """The square root of a sum of squares; where that is zero, so is its gradient."""
    where, positive = ELEMENTWISE["where"], ELEMENTWISE["greater"](squares, 0)
    return where(positive, ELEMENTWISE["sqrt"](where(positive, squares, 1.0)), 0.0)


def _shifted(x: Any, axis: Any) -> tuple[Any, Any]:
    top = ELEMENTWISE["stop_gradient"](max(x, axis, keepdims=True))
    return x - top, top


@shows_names
def softmax(x: Any, axis: Any = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along an axis, the maximum taken off first."""
    shifted = _shifted(x, axis)[0]
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
    if ord not in (None, 2, "fro") or (ord == 2 and axis is None and x.ndim != 1):
        raise CellError(f"norm knows the Euclidean norm only, not ord={ord!r}")
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


def _numpy_cumsum(x: Any, axis: Any = None) -> Any:
    return cumsum(ravel(x) if axis is None else x, -1 if axis is None else axis)


_OWN_NAMES = (
    sum, mean, max, min, var, std, matmul, dot, inner, tensordot, outer, einsum, reshape, ravel, transpose, swapaxes,
    moveaxis, broadcast_to, full_like, zeros_like, ones_like, expand_dims, squeeze, concatenate, stack, hstack, split,
    flip, roll, norm, take, copy,
)  # fmt: skip
_OTHER_NAMES = {
    "amax": max, "amin": min, "cumsum": _numpy_cumsum, "getitem": getitem, "flatten": ravel, "permute_dims": transpose,
    "concat": concatenate, "vdot": dot, "real": copy, "conj": copy, "conjugate": copy,
}  # fmt: skip
NUMPY_FUNCTIONS.update(
    {name: ELEMENTWISE[op.name] for name, op in ops.BY_NUMPY.items()}
    | {function.__name__: function for function in _OWN_NAMES}
    | _OTHER_NAMES
)
