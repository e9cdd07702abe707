"""Complex arrays for a complex step: a tangent in the imaginary part, which no function may look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt import ops
from symbptt.dispatch import NUMPY_FUNCTIONS

OWN = ("norm", "max", "amax", "min", "amin", "var", "std", "vdot", "dot", "where", "clip")
"""Functions of arrays that NumPy defines otherwise for complex numbers, by |z|, conj(z) or an order of both parts."""
METHODS = ("max", "min", "var", "std", "dot")
APART = (np.add, np.subtract, np.negative)
"""Functions of numbers that compute the real part as they do without an imaginary one."""


class Analytic(np.ndarray):
    """Complex arrays whose real part is what the plain function computes to the last bit, comparisons included."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain, kwargs = [*map(_plain, inputs)], _plain(kwargs) if kwargs else kwargs
        if ufunc is np.conjugate:
            return analytic(plain[0])
        is_call = method == "__call__" and not kwargs
        if is_call and ufunc in APART:
            return analytic(ufunc(*plain))
        op = ops.BY_NUMPY.get(ufunc.__name__) if is_call else None
        result = (getattr(ufunc, method) if op is None else op.evaluate)(*plain, **kwargs)
        if np.iscomplexobj(result) and "out" not in kwargs:
            result = np.array(result)
            result.real = np.real(getattr(ufunc, method)(*map(_real, plain), **kwargs))
        return analytic(result)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ in OWN:
            return analytic(NUMPY_FUNCTIONS[func.__name__](*_plain(args), **_plain(kwargs)))
        return analytic(super().__array_function__(func, types, args, kwargs))

    def __getitem__(self, key: Any) -> Any:
        return analytic(super().__getitem__(key))


def _method(name: str) -> Any:
    return lambda self, *args, **kwargs: analytic(NUMPY_FUNCTIONS[name](_plain(self), *_plain(args), **kwargs))


for _name in METHODS:
    setattr(Analytic, _name, _method(_name))


def analytic(value: Any) -> Any:
    """Return complex arrays and scalars, looked for in lists too, as such arrays; all else as it is."""
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).view(Analytic) if value.dtype.kind == "c" else value
    return type(value)(map(analytic, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if type(value) is Analytic:  # first what comes most often: deep cells make millions of these calls
        return value.view(np.ndarray)
    if isinstance(value, np.ndarray):
        return value.view(np.ndarray) if isinstance(value, Analytic) else value
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _real(value: Any) -> Any:
    return value.real if isinstance(value, np.ndarray) else np.real(value)
