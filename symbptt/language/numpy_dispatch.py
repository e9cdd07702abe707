"""The meaning of NumPy's functions on symbolic values, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from symbptt import ops
from symbptt.language.user_frames import cell_error

NUMPY_FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""NumPy's functions of arrays by name; symbptt.language.functions fills it."""
COMPOSED: dict[str, Callable[..., Any]] = {}
"""Those of them that are written over other functions of NumPy, for arrays of any kind that know these; filled there too."""


ELEMENTWISE = "elementwise function can be made with sb.function(name, lambda v: <SymPy expression>)"
LINEAR_ALGEBRA = ("norm", "matmul", "outer", "tensordot", "matrix_transpose", "multi_dot", "vecdot", "cross", "solve", "inv",
                  "det", "slogdet", "cholesky", "matrix_power", "trace", "diagonal")  # fmt: skip
"""Those that np.linalg has of them."""
_MEMORY = ("base", "byteswap", "ctypes", "data", "device", "dump", "dumps", "flags", "getfield", "itemsize", "setfield", "setflags",
           "to_device", "tobytes", "tofile", "view")  # fmt: skip
OTHER_WAYS = {
    "diagflat": "write np.diag(np.ravel(x))",
    **dict.fromkeys(("pinv", "lstsq"), "write np.linalg.solve(A.T @ A, A.T @ b)"),
    **dict.fromkeys(
        ("eig", "eigh", "eigvals", "eigvalsh", "svd", "qr"),
        "of functions of whole matrices solve, inv, det, slogdet, cholesky and sb.expm are known",
    ),
    **dict.fromkeys(("partition", "argpartition"), "write np.sort(x) or np.argsort(x), of which any part may be taken"),
    **dict.fromkeys(("percentile", "quantile"), "write np.sort(x) and the entries that are meant, or np.median(x)"),
    **dict.fromkeys(
        ("nonzero", "argwhere", "flatnonzero", "unique", "extract", "histogram", "bincount", "trim_zeros"),
        "how many there are depends on values: write sb.where(condition, a, b), which keeps the shape",
    ),
    **dict.fromkeys(
        ("searchsorted", "digitize"),
        "write np.sum(edges <= x[..., None], axis=-1), which counts them, as numbers: sb.sum",
    ),
    "remainder": "of a size write a - np.floor(a / b) * b",
    **dict.fromkeys(("copysign", "signbit"), "write np.where(b < 0, -np.abs(a), np.abs(a))"),
    "nan_to_num": "write np.where(np.isnan(x), 0.0, x); the largest number differs between types",
    **dict.fromkeys(
        ("nextafter", "spacing", "frexp", "ldexp"), f"bits of a number are no function of it; any other {ELEMENTWISE}"
    ),
    "unwrap": "write x - 2 * np.pi * np.round(x / (2 * np.pi)), or np.arctan2(np.sin(x), np.cos(x))",
    "i0": f"any other {ELEMENTWISE}",
    **dict.fromkeys(
        ("erfc", "ndtr"),
        "write 1 - sb.erf(x), which keeps no digits where it is tiny; ndtr(x) is (1 + sb.erf(x / 2**0.5)) / 2",
    ),
    **dict.fromkeys(
        ("copyto", "place", "putmask", "resize"),
        "write into a copy of your own, y = h.copy(); y[0] = ..., or np.where and np.concatenate; a parameter stays as it is",
    ),
    **dict.fromkeys(
        ("fft", "ifft", "rfft", "irfft", "fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn"),
        "write F @ x with a constant F = np.fft.fft(np.eye(8)) that is made outside of the function",
    ),
    **dict.fromkeys(("cov", "corrcoef"), "write c = x - np.mean(x, axis=1, keepdims=True), and c @ c.T / (k - 1)"),
    **dict.fromkeys(("isin", "in1d"), "write np.any(x[..., None] == np.array([1, 2]), axis=-1)"),
    **dict.fromkeys(("array_equal", "array_equiv", "allclose"), "write np.all(a == b), or np.all(np.isclose(a, b))"),
    **dict.fromkeys(
        ("nanmean", "nanvar", "nanstd"), "write np.where(np.isnan(x), 0.0, x), and count np.sum(~np.isnan(x))"
    ),
    **dict.fromkeys(
        ("vector_norm", "matrix_norm", "svdvals", "cond"), "write np.linalg.norm(x), which has orders and axes"
    ),
    **dict.fromkeys(("cumulative_sum", "cumulative_prod"), "write np.cumsum(x), or np.cumprod(x)"),
    **dict.fromkeys(
        ("apply_along_axis", "apply_over_axes"),
        "call the function with axis=, or stack what it gives: np.stack([f(row) for row in x])",
    ),
    "unravel_index": "leave the places in the flattened array: np.ravel(x)[np.argmax(x)]",
    **dict.fromkeys(_MEMORY, "it has no memory while the cell is traced"),
    "sort": "write np.sort(x), which gives a new array",
    **dict.fromkeys(("item", "tolist", "nbytes", "strides"), "it has no number while the cell is traced"),
    **dict.fromkeys(("softmax", "log_softmax", "logsumexp"), "write sb.softmax, sb.log_softmax or sb.logsumexp"),
}
"""The functions to write instead of those that are asked for and not known."""


def call_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a NumPy ufunc means on symbolic arrays.

    Raises: CellError for ufuncs that are not in the table, and for `out=`, `where=` and the like.
    """
    name = ufunc.__name__
    if method != "__call__":
        return of_method(name, method, inputs, kwargs)
    out = kwargs.pop("out", None)
    if kwargs:
        raise cell_error(
            f"np.{name} with {', '.join(sorted(kwargs))} is not supported in a cell",
            "write the plain call, and sb.where for a mask",
        )
    if name not in NUMPY_FUNCTIONS:
        other = other_way(name) if getattr(ufunc, "signature", None) else nearest_function(name, ops.BY_NUMPY)
        own = f"write sb.{name}" if name in ops.BY_NAME else other
        raise cell_error(f"NumPy's function {name} is not known to symbptt", own)
    found = NUMPY_FUNCTIONS[name](*inputs)
    return found if out is None else _stored(name, found, out[0])


def _stored(name: str, found: Any, out: Any) -> Any:
    """Write a result into an array of the trace."""
    if isinstance(out, np.ndarray):
        raise cell_error(
            f"np.{name} writes a value of the cell into a plain NumPy array",
            "write a = a + b instead of a += b; leave out= away",
        )
    NUMPY_FUNCTIONS["setitem"](out, Ellipsis, found)
    return out


REDUCTIONS = {
    "add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "fmax": "max", "fmin": "min", "logical_and": "all",
    "logical_or": "any",
}  # fmt: skip
"""What the method reduce of a ufunc is."""
RUNNING = {"add": "cumsum", "multiply": "cumprod", "maximum": "maximum.accumulate", "minimum": "minimum.accumulate"}
"""What the method accumulate of a ufunc is."""


def of_method(name: str, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a method of a ufunc means: along the first axis unless told."""
    options = {k: v for k, v in kwargs.items() if v is not None and not (k == "keepdims" and v is False)}
    table = {"reduce": REDUCTIONS, "accumulate": RUNNING}.get(method, {})
    if method == "outer" and name in NUMPY_FUNCTIONS and not options:
        first, second = inputs
        return NUMPY_FUNCTIONS[name](np.reshape(first, (*np.shape(first), *(1,) * np.ndim(second))), second)
    if method == "at" and name == "add":
        if isinstance(inputs[0], np.ndarray):
            raise cell_error(
                "np.add.at adds values of the cell to a plain NumPy array",
                "begin with an array of the cell: np.zeros_like(h), or sb.segment_sum(values, places, count)",
            )
        return NUMPY_FUNCTIONS["add.at"](*inputs)
    if name in table and set(options) <= {"axis", "keepdims"} and len(inputs) <= 2:
        axis = kwargs["axis"] if "axis" in kwargs else inputs[1] if len(inputs) > 1 else 0
        return NUMPY_FUNCTIONS[table[name]](inputs[0], axis=axis, **{k: v for k, v in options.items() if k != "axis"})
    if name == "logaddexp" and method in ("reduce", "accumulate"):
        raise cell_error(f"np.logaddexp.{method} is not known to symbptt", "write sb.logsumexp(x, axis=0)")
    if method == "reduceat":
        raise cell_error(f"np.{name}.reduceat is not known to symbptt", "write sb.segment_sum(values, segments, count)")
    given = f" with {', '.join(options)}" if options else ""
    raise cell_error(
        f"np.{name}.{method} is not known to symbptt{given}",
        f"write the plain function; reduce is known of {', '.join(REDUCTIONS)}, accumulate of {', '.join(RUNNING)}, at of add",
    )


def call_function(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a NumPy function of arrays means on symbolic ones.

    Raises: CellError for functions that are not in the table.
    """
    name = func.__name__
    # np.linalg.outer and np.outer share a name and differ in meaning: the module decides.
    known = LINEAR_ALGEBRA if func.__module__ == "numpy.linalg" else NUMPY_FUNCTIONS
    if name not in known or func.__module__ not in ("numpy", "numpy.linalg", "numpy.lib.stride_tricks"):
        raise cell_error(f"NumPy's function {name} is not known to symbptt", other_way(name))
    if func.__module__ == "numpy.linalg" and name in ("trace", "diagonal") and np.ndim(args[0]) != 2:
        raise cell_error(f"np.linalg.{name} takes a matrix in a cell", "take that of each of the stacked matrices")
    if func.__module__ == "numpy.linalg" and name == "outer" and any(np.ndim(arg) != 1 for arg in args):
        raise cell_error("np.linalg.outer takes vectors", "write np.outer, which flattens what it is given")
    return NUMPY_FUNCTIONS[name](*args, **kwargs)


def refuse(name: str) -> Callable[[Any, Any], Any]:
    """Return an operator that has no meaning in a cell, and says what to write instead."""

    def operator(a: Any, b: Any) -> Any:
        raise cell_error(f"np.{name} is not known to symbptt", nearest_function(name, ops.BY_NUMPY))

    return operator


def other_way(name: str) -> str:
    """Return advice for a function of arrays that is not known."""
    way = "write it with @, np.einsum, slices, np.concatenate and sb.where; an " + ELEMENTWISE
    return OTHER_WAYS.get(name) or _hint(name, {*NUMPY_FUNCTIONS} - {"getitem"}) + way


def nearest_function(name: str, known: Iterable[str]) -> str:
    """Return a cure for the use of an elementwise function that is not known."""
    return OTHER_WAYS.get(name) or _hint(name, known) + f"any other {ELEMENTWISE}"


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(set(known)), 1, 0.7)  # inv is not near to sin
    return f"the nearest known is {near[0]}; " if near else ""
