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


ELEMENTWISE = "elementwise function can be made with sb.function(name, lambda v: <SymPy expression>)"
LINEAR_ALGEBRA = ("norm", "matmul", "outer", "tensordot", "matrix_transpose")
"""Those that np.linalg has of them."""
_NO_SOLVER = "write the steps of an iteration with @, or give the inverse as a Const"
OTHER_WAYS = {
    **dict.fromkeys(("diag", "diagonal", "trace"), 'multiply by a constant identity, eye: Const["n n"], and sum over an axis'),
    **dict.fromkeys(("solve", "inv", "pinv", "lstsq"), _NO_SOLVER),
    **dict.fromkeys(("det", "slogdet", "eig", "eigh", "eigvals", "eigvalsh", "svd", "qr", "cholesky"),
                    "no function of whole matrices is known beside products and norms"),
    "pad": "join zeros with np.concatenate, for example np.concatenate([np.zeros_like(x), x])",
    **dict.fromkeys(("repeat", "tile"), "write np.broadcast_to, or np.concatenate([x, x])"),
    **dict.fromkeys(("vstack", "dstack", "column_stack"), "write np.concatenate or np.stack with an axis"),
    **dict.fromkeys(("vecdot", "matvec", "vecmat", "matrix_power"), "write @, which multiplies the last two axes"),
    "prod": "write the product out, or np.exp(np.sum(np.log(x))) of positive values",
    **dict.fromkeys(("argmax", "argmin", "argsort", "argpartition", "sort", "partition", "nonzero", "unique", "searchsorted",
                     "median", "percentile", "quantile", "choose", "compress"),
                    "orders and places have no derivative: use sb.max, sb.softmax or sb.where"),
    "divmod": "write a // b and a % b",
    "remainder": "of a size write a - np.floor(a / b) * b",
    **dict.fromkeys(("logical_xor", "bitwise_xor"), "write a != b of two conditions"),
    **dict.fromkeys(("rint", "round", "around"), "write np.floor(x + 0.5), where halves go up"),
    "count_nonzero": "write np.sum(x != 0)",
    "any": "write np.sum(condition) > 0",
    "all": "write np.sum(~condition) == 0",
    **dict.fromkeys(("real", "imag"), "leave it out: values of a cell are real"),
    **dict.fromkeys(("fill", "put", "resize"), "nothing is changed in place: build the new value with sb.where or np.concatenate"),
    "flat": "write .reshape(-1)",
    **dict.fromkeys(("base", "byteswap", "ctypes", "data", "device", "dump", "dumps", "flags", "getfield", "itemsize", "setfield",
                     "setflags", "to_device", "tobytes", "tofile", "view"), "it has no memory while the cell is traced"),
    "astype": "leave it out: generated code works in the type of the data",
    **dict.fromkeys(("item", "tolist", "nbytes", "strides"), "it has no number while the cell is traced"),
    "ceil": "write -np.floor(-x)",
}  # fmt: skip
"""The functions to write instead of those that are asked for and not known."""


def call_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a NumPy ufunc means on symbolic arrays.

    Raises: CellError for ufuncs that are not in the table, and for `out=`, `where=` and the like.
    """
    name = ufunc.__name__
    # Other methods, such as np.add.reduce, have functions of their own name here.
    if method != "__call__" or kwargs:
        option = ", ".join(sorted(kwargs)) or method
        raise cell_error(
            f"np.{name} with {option} is not supported in a cell", "write the plain call, and sb.where for a mask"
        )
    if name in ("matmul", "conjugate"):
        return NUMPY_FUNCTIONS[name](*inputs)
    if name not in ops.BY_NUMPY:
        other = other_way(name) if getattr(ufunc, "signature", None) else nearest_function(name, ops.BY_NUMPY)
        own = f"write sb.{name}" if name in ops.BY_NAME else other
        raise cell_error(f"NumPy's function {name} is not known to symbptt", own)
    return NUMPY_FUNCTIONS[name](*inputs)


def call_function(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a NumPy function of arrays means on symbolic ones.

    Raises: CellError for functions that are not in the table.
    """
    name = func.__name__
    # np.linalg.outer and np.outer share a name and differ in meaning: the module decides.
    known = LINEAR_ALGEBRA if func.__module__ == "numpy.linalg" else NUMPY_FUNCTIONS
    if name not in known or func.__module__ not in ("numpy", "numpy.linalg"):
        raise cell_error(f"NumPy's function {name} is not known to symbptt", other_way(name))
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
