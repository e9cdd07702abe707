"""The text of a generated module, executed on numbers of 50 digits."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.codegen.load import code_of
from symbptt.verification.blocks import with_module
from symbptt.verification.rounding.arrays import ExactArray, exactly
from symbptt.verification.rounding.exact import exact

NEAR = 1e-3
"""What is left of one under which a module of 50 digits takes it from the argument."""


def _array(value: Any, dtype: Any = None, *_: Any, **__: Any) -> Any:
    if isinstance(value, ExactArray):
        return value.copy()
    return exactly(np.array(value, dtype))


def _as_array(value: Any, dtype: Any = None) -> Any:
    return value if isinstance(value, ExactArray) else exactly(np.asarray(value, dtype))


class Namespace:
    """NumPy for a module of 50 digits: what it makes of objects are such numbers."""

    float64 = object
    """The type in which a module of float32 sums: here it is that of all numbers."""
    array = staticmethod(_array)
    asarray = staticmethod(_as_array)

    @staticmethod
    def empty(shape: Any, dtype: Any = float) -> Any:
        """Return an array to write into."""
        return exactly(np.empty(shape, dtype))

    @staticmethod
    def ndarray(shape: Any, dtype: Any, buffer: Any) -> Any:
        """Return an array to write into, in the memory of another where that has the same type."""
        if buffer.dtype != dtype:
            return exactly(np.empty(shape, dtype))
        return exactly(buffer.reshape(-1)[: int(np.prod(shape))].reshape(shape))

    @staticmethod
    def empty_like(array: Any, dtype: Any = None, shape: Any = None) -> Any:
        """Return an array to write into, of the shape and the type of another."""
        return exactly(np.empty(np.shape(array) if shape is None else shape, array.dtype if dtype is None else dtype))

    @staticmethod
    def zeros(shape: Any, dtype: Any = object) -> Any:
        """Return an array of zeros."""
        return exactly(np.zeros(shape, dtype))

    @staticmethod
    def ones(shape: Any, dtype: Any = float) -> Any:
        """Return an array of ones."""
        return exactly(np.ones(shape, dtype))

    @staticmethod
    def full(shape: Any, value: Any, dtype: Any = None) -> Any:
        """Return an array of equal numbers."""
        return exactly(np.full(shape, value, dtype))

    @staticmethod
    def ascontiguousarray(value: Any) -> Any:
        """Return an array without gaps."""
        return exactly(np.ascontiguousarray(value))

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _given(name: str, value: Any, rank: int, lead: int) -> Any:
    """Take an argument, of which the caller has seen that it goes with the module."""
    return value


def _sharpened(rest: Any, of: Callable[[Any], Any], argument: Callable[[], Any]) -> Any:
    """Compute what a function leaves of one from its argument where little is left."""
    tiny = np.asarray(rest < NEAR)
    if tiny.any():
        rest[tiny] = of(np.exp(-abs(np.broadcast_to(argument(), rest.shape)[tiny])))
    return rest


REPLACED: dict[str, Any] = {
    "_array": _given,
    "_check_finite": lambda *_: None,
    "_sharpened": _sharpened,
    # A scan is left to the plain loop where its coefficients are large; there is no wider type to multiply them in.
    "_is_small": lambda a: True,
    "_wide": lambda dtype: dtype,
    "expm": lambda a: exactly(a).expm(),
    "erf": lambda x: exactly(x if np.ndim(x) else exact(x)).erf(),
}
"""The functions of the runtime that ask for floats, or are true of floats alone."""


def of_fifty_digits(kernel: Kernel) -> Kernel:
    """Return the kernel with its module loaded once more, on numbers of 50 digits."""
    module = ModuleType("symbptt_of_fifty_digits")
    exec(code_of(kernel.source, f"<symbptt {kernel.target.name}>"), module.__dict__)
    return with_module(kernel, module, REPLACED, np=Namespace())
