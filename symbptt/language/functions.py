"""The functions of the language, each on symbolic and on NumPy arrays."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.errors import counted
from symbptt.ir.node import placeholder
from symbptt.language import composed, orders, rearranged
from symbptt.language.algebra import (
    cholesky,
    det,
    diag,
    diagonal,
    expm,
    inv,
    matrix_power,
    slogdet,
    solve,
    solve_triangular,
    trace,
)
from symbptt.language.array import Array, apply, apply_expr, as_array, axes_of, check_writable, graph_of, kind, symbolic
from symbptt.language.choosing import added_rows, one_hot, segment_sum
from symbptt.language.creation import arange, eye, full, linspace, ones, tril, triu, zeros
from symbptt.language.indexing import fresh, getitem, setitem, take
from symbptt.language.number_kinds import BITS, COMPLEX, REAL, TRUTH, own_functions
from symbptt.language.numpy_dispatch import COMPOSED, NUMPY_FUNCTIONS
from symbptt.language.numpy_signatures import FLOATS, as_numpy_calls
from symbptt.language.products import dot, einsum, inner, matmul, outer, tensordot
from symbptt.language.reductions import cumsum, max, mean, min, sum
from symbptt.language.user_frames import cell_error, shows_names
from symbptt.language.views import (
    broadcast_to,
    broadcast_view,
    concatenate,
    expand_dims,
    flip,
    full_like,
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
from symbptt.language.windows import conv, convolve, correlate, sliding_window_view

__all__ = [
    "ELEMENTWISE", "NUMPY_FUNCTIONS", "arange", "broadcast_to", "cholesky", "concatenate", "conv", "copy", "cumsum", "det",
    "diag", "diagonal", "dot", "einsum", "expand_dims", "expm", "eye", "flip", "full", "full_like", "getitem",
    "inner", "inv", "layer_norm", "linspace", "log_softmax", "logsumexp", "matmul", "matrix_power", "max", "mean", "min",
    "moveaxis", "norm", "one_hot", "ones", "ones_like", "outer", "ravel", "reshape", "roll", "segment_sum", "slogdet",
    "softmax", "solve", "solve_triangular", "split", "squeeze", "stack", "std", "sum", "swapaxes", "take", "tensordot", "trace",
    "transpose", "tril", "triu", "var", "zeros", "zeros_like",
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
            if op.name == "abs":
                _check_real(
                    "sb.abs", values[0], "write np.abs(z): of plain complex arrays sb.abs is that of a complex step"
                )
            return apply(op.name, *values)
        if any(isinstance(value, sp.Basic) for value in values):
            return op.body(*values)
        paired = next((v for v in values if hasattr(v, "elementwise_of_pairs")), None)
        if paired is not None:
            return paired.elementwise_of_pairs(op.name, values)
        own = next(filter(None, map(own_functions, values)), None)
        if own is not None:
            return np.frompyfunc(partial(own, op.name), len(values), 1)(*values)
        return op.evaluate(*values)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = f"Return {op.name} of arrays, elementwise." + AT_KINKS.get(op.name, "")
    return function


ELEMENTWISE: dict[str, Callable[..., Any]] = {op.name: _elementwise(op) for op in ops.OPS + ops.COMPLEX_OPS}


def _check_real(name: str, x: Any, cure: str) -> None:
    """Raises: CellError for complex numbers, of which NumPy and a complex step mean different things."""
    if graph_of(x) is not None and kind(symbolic(x)) == COMPLEX:
        raise cell_error(f"{name} of complex numbers", cure)


def var(x: Any, axis: Any = None, ddof: Any = 0, keepdims: bool = False, correction: Any = None) -> Any:
    """Return the variance along axes, divided by their number of elements less `ddof`."""
    _check_real("a variance", x, "write np.mean(np.abs(z - np.mean(z)) ** 2)")
    centred = x - mean(x, axis, keepdims=True)
    found = mean(centred * centred, axis, keepdims)
    less = ddof if correction in (None, np._NoValue) else correction
    if isinstance(less, int) and not less:
        return found
    sizes = np.shape(x)
    count = math.prod(sizes[k] for k in axes_of(axis, len(sizes)))
    return found * (count / (count - less))


def std(x: Any, axis: Any = None, ddof: Any = 0, keepdims: bool = False, correction: Any = None) -> Any:
    """Return the standard deviation along axes; its gradient where all values are equal is zero."""
    return _root(var(x, axis, ddof, keepdims, correction))


def _root(squares: Any) -> Any:
    """Return the square root of a sum of squares; where that is zero, so is its gradient."""
    # The inner choice keeps the slope 1 / (2√s) finite; one choice outside alone would give 0 * inf = nan in the adjoint.
    where, positive = ELEMENTWISE["where"], ELEMENTWISE["greater"](squares, 0)
    return where(positive, ELEMENTWISE["sqrt"](where(positive, squares, 1.0)), 0.0)


def _shifted(x: Any, axis: Any) -> tuple[Any, Any]:
    # softmax does not change with a shift of x: the derivative through the maximum cancels, and need not be computed.
    top = max(x, axis, keepdims=True)
    graph = graph_of(top)
    if graph is None:
        held = ELEMENTWISE["stop_gradient"](top)
    else:
        held = Array(graph, apply_expr(graph, ops.shift(placeholder(0)), [top.id]), top.value)
    return x - held, held


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
    _check_real("a norm", x, "write np.sqrt(np.sum(np.abs(z) ** 2))")
    x = x if hasattr(x, "ndim") else np.asarray(x)  # arrays of other kinds stay what they are
    # np.linalg.norm means other norms for other ranks and orders: "fro" is for matrices, 2 of a matrix is its largest singular value.
    several = x.ndim if axis is None else len(axis) if isinstance(axis, tuple | list) else 1
    if several == 2 and isinstance(ord, int | float) and abs(ord) in (1, math.inf):
        return _norm_of_matrix(ELEMENTWISE["abs"](x), ord, (0, 1) if axis is None else axes_of(axis, x.ndim), keepdims)
    fits: dict[Any, bool] = {None: several <= 2 or axis is None, 2: several == 1, "fro": several == 2}
    if fits.get(ord if isinstance(ord, int | float | str | None) else ..., False):
        return _root(sum(x * x, axis, keepdims))
    if several == 1 and isinstance(ord, int | float) and ord:
        other = OTHER_NORMS.get(ord, partial(_power_norm, ord))
        return other(ELEMENTWISE["abs"](x), axis, keepdims)
    raise cell_error(
        f"the norm with ord={ord!r} along {several} axes is not known; of matrices the Frobenius norm is, and those with ord 1 and inf",
        "write np.linalg.norm(x), or np.linalg.norm(x, axis=-1); the largest singular value is np.linalg.norm(A @ v) after rounds of "
        "v = A.T @ (A @ v), v = v / np.linalg.norm(v)",
    )


def _power_norm(ord: float, size: Any, axis: Any, keepdims: bool) -> Any:
    return sum(size**ord, axis, keepdims) ** (1 / ord)


def _norm_of_matrix(size: Any, ord: float, axes: Sequence[int], keepdims: bool) -> Any:
    """Return the greatest, or with a negative ord the smallest, sum of a column, or with an infinite one of a row."""
    added = axes[0] if abs(ord) == 1 else axes[1]
    found = (max if ord > 0 else min)(sum(size, added, True), axes[1] if abs(ord) == 1 else axes[0], True)
    return found if keepdims else squeeze(found, tuple(axes))


OTHER_NORMS: dict[Any, Callable[..., Any]] = {1: sum, math.inf: max, -math.inf: min}
"""Norms of vectors beside the Euclidean one, of the absolute values of their entries."""


@shows_names
def layer_norm(x: Any, gain: Any = None, bias: Any = None, *, axis: Any = -1, eps: float = 1e-5) -> Any:
    """Return (x - mean) / sqrt(variance + eps) along an axis, times `gain` plus `bias` where given."""
    _check_real("layer_norm", x, "normalise np.abs(z), or z.real and z.imag")
    mu = mean(x, axis, keepdims=True)
    centred = x - mu
    deviation = ELEMENTWISE["sqrt"](mean(centred * centred, axis, keepdims=True) + eps)
    return _affine(centred / deviation, gain, bias)


def _affine(value: Any, gain: Any, bias: Any) -> Any:
    value = value if gain is None else gain * value
    return value if bias is None else value + bias


def copy(x: Any) -> Any:
    """Return an array of its own with the values of x."""
    return fresh(x)


def _flatten(x: Any, order: str = "C") -> Any:
    return fresh(_ravel(x, order))


def _ravel(x: Any, order: str = "C") -> Any:
    return ravel(transpose(x) if _is_fortran("ravel", order) else x)


def _is_fortran(name: str, order: str) -> bool:
    if order not in ("C", "F"):
        raise cell_error(f"np.{name} with order={order!r}, the order in memory", 'write order="C" or order="F"')
    return order == "F"


def astype(x: Any, dtype: Any) -> Any:
    """Return x as numbers, or as truth values; of numbers with a point no others are made."""
    x = symbolic(x)
    if dtype in FLOATS:
        _check_real("astype(float)", x, "write z.real, or np.abs(z)")
        return fresh(as_numbers(x))
    if dtype in (complex, np.complex128, "complex"):
        return fresh(x) if kind(x) == COMPLEX else apply("as_complex", x)
    if dtype in (bool, np.bool_, "bool"):
        return fresh(x) if kind(x) == TRUTH else apply("not_equal", x, 0)
    if dtype in (int, np.int64, "int") and kind(x) < REAL:
        return apply("where", x, 1, 0) if kind(x) == TRUTH else fresh(x)
    raise cell_error(
        f"an array becomes one of {getattr(dtype, '__name__', dtype)}",
        "leave it out: generated code works in the type of the data; whole numbers are np.floor(x), np.rint(x) or np.trunc(x)",
    )


def as_numbers(x: Any) -> Any:
    """Return truth values and whole numbers as numbers with a point, all else as it is."""
    if graph_of(x) is None:
        return np.asarray(x, float)
    x = symbolic(x)
    return x if kind(x) >= REAL else apply("where", x, 1.0, 0.0) if kind(x) == TRUTH else apply("multiply", x, 1.0)


def _is_complex(x: Any) -> bool:
    return kind(symbolic(x)) == COMPLEX


def _real(val: Any) -> Any:
    """Return the real parts; a real array is its own."""
    return apply("real", val) if _is_complex(val) else val if isinstance(val, Array) else copy(val)


def _imag(val: Any) -> Any:
    """Return the imaginary parts, zero of real numbers."""
    return apply("imag", val) if _is_complex(val) else zeros_like(as_numbers(val))


def conj(x: Any) -> Any:
    """Return the complex conjugates; those of real numbers are they."""
    return apply("conj", x) if _is_complex(x) else copy(x)


def _angle(z: Any, deg: bool = False) -> Any:
    found: Any = apply("angle", z) if _is_complex(z) else apply("where", apply("less", z, 0), math.pi, 0.0)
    return found * (180 / math.pi) if deg else found


def _fill(x: Array, value: Any) -> None:
    setitem(x, Ellipsis, value)


def _fill_diagonal(x: Array, value: Any) -> None:
    check_writable(x, owned=True)
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise cell_error(f"np.fill_diagonal takes a square matrix in a cell, got {x!r}", "write np.where")
    setitem(x, Ellipsis, ELEMENTWISE["where"](eye(x.shape[0]) == 1, value, x))


def _put(x: Array, places: Any, values: Any) -> None:
    check_writable(x, owned=True)
    setitem(ravel(x), places, values)


def _add_at(x: Array, places: Any, values: Any) -> None:
    """Add values at places along the first axis, again for each time that a place stands there."""
    check_writable(x, owned=True)
    rows = as_array(x.graph, values)
    if isinstance(places, list | tuple | np.ndarray) and graph_of(places) is None:
        wide = broadcast_to(rows, (len(places), *x.shape[1:]))
        for k, place in enumerate(np.asarray(places).tolist() if not isinstance(x.shape[0], int) else ()):
            setitem(x, place, apply("add", getitem(x, place), wide[k]))
        if isinstance(x.shape[0], int):
            added = segment_sum(wide, _from_front(places, x.shape[0]), x.shape[0])
            setitem(x, Ellipsis, apply("add", x, added))
    elif isinstance(places, Array) and places.ndim and places.limit is None:
        wide = broadcast_to(rows, (*places.shape, *x.shape[1:]))
        setitem(x, Ellipsis, apply("add", x, added_rows(x.graph, wide, places, x.shape[0])))
    else:
        setitem(x, places, apply("add", getitem(x, places), rows))


def _from_front(places: Any, length: int) -> Any:
    found = np.asarray(places)
    return np.where(found < 0, found + length, found)


def vdot(a: Any, b: Any) -> Any:
    """Return the sum of products of all elements, in C order; of complex numbers the first are conjugated."""
    graph = graph_of(a, b)
    return dot(ravel(np.conj(a) if graph is None else conj(as_array(graph, a))), ravel(b))


def _cumsum(x: Any, axis: Any = None) -> Any:
    return cumsum(ravel(x) if axis is None else x, -1 if axis is None else axis)


def _reshape(x: Any, shape: Any, order: str = "C") -> Any:
    return reshape(x, shape, order=order)


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


def _sum(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Any:
    found = sum(_kept("sum", x, where, 0), axis, keepdims)
    return found if initial is None else found + initial


def _mean(x: Any, axis: Any = None, keepdims: bool = False, where: Any = True) -> Any:
    if where is True:
        return mean(x, axis, keepdims)
    counted = ELEMENTWISE["where"](where, ones_like(as_numbers(x)), 0.0)
    return sum(_kept("mean", x, where, 0.0), axis, keepdims) / sum(counted, axis, keepdims)


def _max(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Any:
    return _extreme(max, ELEMENTWISE["maximum"], x, axis, keepdims, initial, where)


def _min(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Any:
    return _extreme(min, ELEMENTWISE["minimum"], x, axis, keepdims, initial, where)


def _extreme(reduced: Any, larger: Any, x: Any, axis: Any, keepdims: bool, initial: Any, where: Any) -> Any:
    if where is not True and initial is None:
        raise cell_error("np.max and np.min with where= need initial=", "write initial=-np.inf, or np.inf for np.min")
    found = reduced(_kept("max", x, where, initial), axis, keepdims)
    return found if initial is None else larger(found, initial)


def _kept(name: str, x: Any, where: Any, other: Any) -> Any:
    """Return what counts, with another number in the place of what does not."""
    return x if where is True else ELEMENTWISE["where"](where, x, other)


def _full_like(x: Any, value: Any, dtype: Any = None) -> Any:
    if dtype is not None and dtype not in FLOATS:
        raise cell_error(
            f"np.full_like with dtype={dtype!r}", "leave it out: generated code works in the type of the data"
        )
    return full_like(x if dtype is None else as_numbers(x), value)


_AS_NUMPY: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (
        var, std, matmul, dot, inner, vdot, tensordot, outer, ravel, swapaxes, moveaxis,
        zeros_like, ones_like, expand_dims, squeeze, concatenate, stack, split, flip,
        roll, norm, take, copy, full, linspace, tril, triu, convolve, correlate, sliding_window_view, astype,
        cholesky, det, diag, diagonal, inv, matrix_power, slogdet, solve, trace)},
    "sum": _sum, "mean": _mean, "max": _max, "amax": _max, "min": _min, "amin": _min, "full_like": _full_like,
    "cumsum": _cumsum, "flatten": _flatten, "ravel": _ravel, "fill": _fill, "put": _put,
    "fill_diagonal": _fill_diagonal, "empty_like": zeros_like, "broadcast_to": broadcast_view,
    "transpose": _transpose, "permute_dims": _transpose,
    "matrix_transpose": _matrix_transpose, "reshape": _reshape, "concat": concatenate, "conj": conj,
    "conjugate": conj, "real": _real, "imag": _imag, "angle": _angle, "iscomplexobj": _is_complex,
    "where": _where, "clip": _clip, "ndim": _ndim, "shape": _shape, "size": _size, **rearranged.NAMES,
    **orders.NAMES,
}  # fmt: skip
SCIPY: dict[str, Callable[..., Any]] = {
    "expit": ELEMENTWISE["sigmoid"], "log_expit": lambda x: -ELEMENTWISE["softplus"](-x), "erf": ELEMENTWISE["erf"],
}  # fmt: skip
"""Ufuncs of SciPy by what the language has for them."""
COMPOSED.update(
    {"maximum.accumulate": composed.accumulated_maximum, "minimum.accumulate": composed.accumulated_minimum}
)
COMPOSED.update(
    composed.ELEMENTWISE
    | SCIPY
    | {name: as_numpy_calls(name, function, as_numbers) for name, function in composed.OF_ARRAYS.items()}
)
NUMPY_FUNCTIONS.update(
    {name: ELEMENTWISE[op.name] for name, op in ops.BY_NUMPY.items()}
    | {name: partial(apply, "abs") for name in ops.BY_NAME["abs"].numpy}
    | {name: partial(apply, name) for name in BITS}
    | {name: as_numpy_calls(name, function, as_numbers) for name, function in _AS_NUMPY.items()}
    | COMPOSED
    | rearranged.OF_SEVERAL
    | {
        "getitem": getitem,
        "setitem": setitem,
        "add.at": _add_at,
        "einsum": _sum_of_products,
        "reshape()": reshape,
        "transpose()": transpose,
    }
)
