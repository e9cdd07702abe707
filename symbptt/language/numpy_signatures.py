"""The signatures of NumPy's functions of arrays: the options that a cell may use, and those that it must leave out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from symbptt.language.number_kinds import of_data
from symbptt.language.user_frames import cell_error

SIGNATURES: dict[str, str] = {
    "sum": "a axis -dtype -out keepdims initial where",
    "mean": "a axis -dtype -out keepdims where",
    **dict.fromkeys(("max", "min", "amax", "amin"), "a axis -out keepdims initial where"),
    **dict.fromkeys(("var", "std"), "a axis -dtype -out ddof keepdims -where -mean correction"),
    "cumsum": "a axis -dtype -out",
    "norm": "x ord axis keepdims",
    "cholesky": "a upper",
    **dict.fromkeys(("det", "inv", "slogdet"), "a"),
    "diag": "v -k",
    "diagonal": "a -offset -axis1 -axis2",
    "matrix_power": "a n",
    "solve": "a b",
    "trace": "a -offset -axis1 -axis2 -dtype -out",
    "matmul": "x1 x2 -out",
    **dict.fromkeys(("dot", "outer"), "a b -out"),
    **dict.fromkeys(("inner", "vdot"), "a b"),
    "tensordot": "a b axes",
    "reshape": "a shape order ?copy",
    **dict.fromkeys(("ravel", "flatten"), "a order"),
    **dict.fromkeys(("transpose", "permute_dims"), "a axes"),
    "matrix_transpose": "x",
    "swapaxes": "a axis1 axis2",
    "moveaxis": "a source destination",
    "broadcast_to": "array shape ?subok",
    "full_like": "a fill_value dtype ?order ?subok -shape ?device",
    **dict.fromkeys(("zeros_like", "ones_like"), "a -dtype ?order ?subok -shape ?device"),
    "empty_like": "prototype -dtype ?order ?subok -shape ?device",
    "expand_dims": "a axis",
    "squeeze": "a axis",
    **dict.fromkeys(("concatenate", "concat", "stack"), "arrays axis -out -dtype -casting"),
    "hstack": "tup -dtype -casting",
    "split": "ary indices_or_sections axis",
    "flip": "m axis",
    "roll": "a shift axis",
    "take": "a indices axis -out -mode",
    "copy": "a ?order ?subok",
    **dict.fromkeys(("conj", "conjugate", "iscomplexobj"), "x"),
    **dict.fromkeys(("real", "imag"), "val"),
    "angle": "z deg",
    "where": "condition x y",
    "clip": "a a_min a_max -out min max",
    **dict.fromkeys(("ndim", "shape"), "a"),
    "size": "a axis",
    "array": "object dtype ?copy ?order ?subok -ndmin ?like",
    **dict.fromkeys(("asarray", "asanyarray"), "a dtype ?order ?device ?copy ?like"),
    "ascontiguousarray": "a dtype ?like",
    **dict.fromkeys(("zeros", "ones", "empty"), "shape dtype ?order ?device ?like"),
    "full": "shape fill_value dtype ?order ?device ?like",
    "eye": "N M k dtype ?order ?device ?like",
    "identity": "n dtype ?like",
    "tri": "N M k dtype ?like",
    **dict.fromkeys(("tril", "triu"), "m k"),
    "arange": "start stop step dtype ?device ?like",
    "linspace": "start stop num endpoint -retstep -dtype -axis ?device",
    **dict.fromkeys(("round", "around"), "a decimals -out"),
    "sinc": "x",
    "isclose": "a b rtol atol -equal_nan",
    **dict.fromkeys(("any", "all"), "a axis -out keepdims -where"),
    "count_nonzero": "a axis keepdims",
    "select": "condlist choicelist default",
    "piecewise": "x condlist funclist",
    "interp": "x xp fp -left -right -period",
    "polyval": "p x",
    "average": "a axis weights -returned keepdims",
    "ptp": "a axis -out keepdims",
    "prod": "a axis -dtype -out keepdims -initial -where",
    "cumprod": "a axis -dtype -out",
    "diff": "a n axis prepend append",
    "ediff1d": "ary to_end to_begin",
    "gradient": "f varargs axis -edge_order",
    **dict.fromkeys(("trapezoid", "trapz"), "y x dx axis"),
    "nansum": "a axis -dtype -out keepdims -initial -where",
    **dict.fromkeys(("nanmax", "nanmin"), "a axis -out keepdims -initial -where"),
    "kron": "a b",
    "cross": "a b -axisa -axisb -axisc -axis",
    "multi_dot": "arrays -out",
    "vander": "x N increasing",
    "vstack": "tup -dtype -casting",
    **dict.fromkeys(("dstack", "column_stack"), "tup"),
    "block": "arrays",
    "append": "arr values axis",
    "insert": "arr obj values axis",
    "delete": "arr obj axis",
    "tile": "A reps",
    "repeat": "a repeats axis",
    "array_split": "ary indices_or_sections axis",
    **dict.fromkeys(("hsplit", "vsplit"), "ary indices_or_sections"),
    "unstack": "x axis",
    **dict.fromkeys(("fliplr", "flipud"), "m"),
    "rot90": "m k axes",
    "rollaxis": "a axis start",
    "pad": "array pad_width mode constant_values",
    **dict.fromkeys(("argmax", "argmin"), "a axis -out keepdims"),
    **dict.fromkeys(("sort", "argsort"), "a axis ?kind -order ?stable"),
    "median": "a axis -out ?overwrite_input keepdims",
    "take_along_axis": "arr indices axis",
    "compress": "condition a axis -out",
    "choose": "a choices -out -mode",
    "convolve": "a v mode",
    "correlate": "a v mode",
    "sliding_window_view": "x window_shape axis ?subok ?writeable",
    "astype": "a dtype -order -casting ?subok ?copy",
    "fill": "a value",
    "put": "a ind v -mode",
    "fill_diagonal": "a val ?wrap",
    "isscalar": "element",
}
"""Parameters in NumPy's order; -name must have its default, ?name makes no difference to values.

Example: np.sum(x, 0, None, None, True) reads "a axis -dtype -out keepdims ..." from left to right: axis=0 and keepdims=True
go to our function, dtype and out may only be None.
"""
DEFAULTS: dict[str, Any] = {
    "order": "C", "casting": "same_kind", "mode": "raise", "where": True, "ddof": 0, "equal_nan": False, "returned": False,
    "edge_order": 1, "axis": -1, "axisa": -1, "axisb": -1, "axisc": -1, "k": 0, "offset": 0, "axis1": 0, "axis2": 1, "ndmin": 0,
}  # fmt: skip
"""The values that an option otherwise refused may have all the same, beside None."""


FLOATS = (float, "float", "float64", np.float64)
"""The types that mean numbers with a point in the user's function; a kernel has that of the data."""


def as_numpy_calls(name: str, function: Callable[..., Any], as_numbers: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return a function of ours as NumPy's `name` is called; its parameters are those that NumPy's may use, in this order.

    `as_numbers` makes of a result what the option `dtype=float` asks for.

    Raises: CellError for an option that is not supported.
    """
    words = SIGNATURES[name].split()
    taken = [word for word in words if word[0] not in "-?"]
    ours = dict(zip(taken, inspect.signature(function).parameters, strict=True))
    order = [word.lstrip("-?") for word in words]
    refused = [word[1:] for word in words if word[0] == "-"]

    def call(*args: Any, **kwargs: Any) -> Any:
        given = {key: of_data(value) for key, value in _named(name, order, args, kwargs).items()}
        is_float = "dtype" in refused and any(
            given.get("dtype") is known or given.get("dtype") == known for known in FLOATS
        )
        if is_float:
            del given["dtype"]
        for option in refused:
            if option in given and not _is_default(option, given[option]):
                raise cell_error(
                    f"np.{name} with {option}={given[option]!r} is not supported in a cell", _cure(name, option)
                )
        # np._NoValue is NumPy's mark for "not given", which methods pass on.
        kept = {ours[key]: value for key, value in given.items() if key in ours and value is not np._NoValue}
        return as_numbers(function(**kept)) if is_float else function(**kept)

    call.__name__ = call.__qualname__ = name
    return call


def _named(name: str, order: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments by NumPy's names."""
    unknown = [key for key in kwargs if key not in order]
    if len(args) > len(order) or unknown:
        what = f"the option {unknown[0]}" if unknown else f"{len(args)} arguments"
        raise cell_error(f"np.{name} with {what} is not supported in a cell", f"it takes {', '.join(order)}")
    return {**dict(zip(order, args, strict=False)), **kwargs}


def _is_default(option: str, value: Any) -> bool:
    return value is None or value is np._NoValue or (option in DEFAULTS and _equals(option, value))


def _equals(option: str, value: Any) -> bool:
    # The type is compared first: an array would compare elementwise, and True == 1.
    return type(value) is type(DEFAULTS[option]) and bool(value == DEFAULTS[option])


def _cure(name: str, option: str) -> str:
    cures = {
        "dtype": "leave it out: generated code works in the type of the data",
        "out": "leave it out: every value of a cell is a new one",
        "order": "leave it out: values of a cell have no order in memory",
        "where": "write sb.where inside: sb.sum(sb.where(mask, x, 0.0))",
        "initial": "take it together with the result",
        "shape": "write np.broadcast_to(value, shape)",
        "mode": "leave it out: an Index lies inside its table",
        "k": "write np.eye(n, k=1) * x for a diagonal beside the main one, np.diag(A[:-1, 1:]) for the entries on it",
        "offset": "cut the matrix before: A[:-1, 1:] has the first diagonal above as its own",
        **dict.fromkeys(("axis1", "axis2"), 'name the axes: np.einsum("iij->j", x), or np.einsum("iij->ij", x)'),
    }
    return cures.get(option, f"write np.{name} without it")
