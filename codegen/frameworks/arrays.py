"""What checks of arguments ask of a framework; here, by hand, of NumPy.

No module carries this file: it has the functions of its framework under these names.
"""

from typing import Any

import numpy as np


def _data(name: str, value: Any) -> Any:
    """Return an argument as an array; where a framework takes its own arrays alone, it refuses others here."""
    return np.asarray(value)


def _mask(value: Any) -> Any:
    """Return lengths or resets as an array."""
    return np.asarray(value)


def _constant(value: Any, like: Any) -> Any:
    """Return numbers as an array of the type of another one."""
    return np.asarray(value, like.dtype)


def _broadcast(x: Any, shape: tuple[int, ...]) -> Any:
    """Return an array, repeated to a shape."""
    return np.broadcast_to(x, shape)


def _is_integer(x: Any) -> bool:
    """Answer whether an array holds integers."""
    return bool(x.dtype.kind in "iu")


def _is_truth(x: Any) -> bool:
    """Answer whether an array holds truth values."""
    return bool(x.dtype == bool)


def _has_values(x: Any) -> bool:
    """Answer whether values can be looked at: a program that is traced or compiled knows none."""
    return True
