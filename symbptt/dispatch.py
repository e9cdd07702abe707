"""What NumPy's functions mean on symbolic values, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from symbptt import ops
from symbptt.location import cell_error

NUMPY_FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""NumPy's functions of arrays by name; symbptt.functions fills it."""


def call_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a NumPy ufunc means on symbolic arrays.

    Raises: CellError for ufuncs that are not in the table, and for `out=`, `where=` and the like.
    """
    name = ufunc.__name__
    if method != "__call__" or kwargs:
        option = ", ".join(sorted(kwargs)) or method
        raise cell_error(
            f"np.{name} with {option} is not supported in a cell", "write the plain call, and sb.where for a mask"
        )
    if name == "matmul":
        return NUMPY_FUNCTIONS["matmul"](*inputs)
    if name not in ops.BY_NUMPY:
        own = f"write sb.{name}" if name in ops.BY_NAME else nearest_function(name, ops.BY_NUMPY)
        raise cell_error(f"NumPy's function {name} is not known to symbptt", own)
    return NUMPY_FUNCTIONS[name](*inputs)


def nearest_function(name: str, known: Iterable[str]) -> str:
    """Return a cure for the use of a function that is not known."""
    near = difflib.get_close_matches(name, sorted(set(known)), 1, 0.7)  # inv is not near to sin
    hint = f"the nearest known is {near[0]}; " if near else ""
    return hint + "any other elementwise function can be made with sb.function(name, lambda v: <SymPy expression>)"
