"""What the parts that modules for torch and for JAX have alike ask of a framework; here, by hand, of NumPy.

No module carries this file: it has the functions of its framework under these names.
"""

from typing import Any

import numpy as np


def _data(name: str, value: Any) -> Any:
    """Return an argument as an array; where a framework takes its own arrays alone, it refuses others here."""
    return np.asarray(value)


def _mask(value: Any, given: dict[str, Any]) -> Any:
    """Return lengths or resets as an array, where those are that are given."""
    return np.asarray(value)


def _constant(value: Any, like: Any) -> Any:
    """Return numbers as an array of the type of another one."""
    return np.asarray(value, like.dtype)


def _broadcast(x: Any, shape: tuple[int, ...]) -> Any:
    """Return an array, repeated to a shape."""
    return np.broadcast_to(x, shape)


def _index(x: Any) -> Any:
    """Return integers in a type that may be an index, and holds any length."""
    return x.astype(int)


def _is_float(x: Any) -> bool:
    """Answer whether an array holds floating-point numbers."""
    return bool(x.dtype.kind == "f")


def _is_integer(x: Any) -> bool:
    """Answer whether an array holds integers."""
    return bool(x.dtype.kind in "iu")


def _is_truth(x: Any) -> bool:
    """Answer whether an array holds truth values."""
    return bool(x.dtype == bool)


def _has_values(x: Any) -> bool:
    """Answer whether values can be looked at: a program that is traced, compiled or mapped knows none."""
    return True


def _where(condition: Any, x: Any, other: Any) -> Any:
    """Return elements of one array where a condition is true, elsewhere those of another, or a number."""
    return np.where(condition, x, other)


def _unmoved(x: Any) -> Any:
    """Return an array as a constant, through which no gradient flows."""
    return x.copy()


def _range(n: int, like: Any) -> Any:
    """Return the integers below one, where an array is."""
    return np.arange(n)


def _rows(x: Any, lead: int) -> Any:
    """Return all entries of each sample in one row behind `lead` axes. A framework cannot tell how many these are from the number of
    all: there may be no sample."""
    return x.reshape(*x.shape[:lead], int(np.prod(x.shape[lead:])))


def _greatest(rows: Any) -> Any:
    """Return the greatest magnitude in the rows of some matrices."""
    return np.abs(np.concatenate(rows, -1)).max(-1)


def _joined(parts: Any) -> Any:
    """Return arrays one behind the other along the axis of steps."""
    return np.concatenate(parts)


def _linear(a: Any, b: Any, back: bool) -> Any:
    """Return x_t = a_t x_{t-1} + b_t from zero on along the axis of steps; `back`: x_t = a_t x_{t+1} + b_t from the last on."""
    found, x = [], 0
    for row, more in list(zip(a, b))[:: -1 if back else 1]:
        x = row * x + more
        found.append(x)
    return np.stack(found[:: -1 if back else 1])


def _recurrence(lead: Any, active: Any, reset: Any, index: Any, params: Any, inputs: Any, state: Any) -> Any:
    """Return the states behind all T steps of B samples, and the outputs."""
    (w,), (x,), (h,) = params, inputs, state
    after = []
    for row in x:
        h = w * h + row
        after.append(h)
    return (np.stack(after),), (np.stack(after) ** 2,)


def _losses(lead: Any, params: Any, inputs: Any) -> Any:
    """Return the loss of each step and sample."""
    (h,) = inputs
    return h.sum(2)
