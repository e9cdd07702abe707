"""Complex arrays for a complex step: a tangent in the imaginary part, which no function may look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt import ops
from symbptt.dispatch import NUMPY_FUNCTIONS

OWN = ("norm", "max", "amax", "min", "amin", "var", "std", "vdot", "dot", "where", "clip")
"""Functions of arrays that NumPy defines otherwise for complex numbers, by |z|, conj(z) or an order of both parts."""
METHODS = ("max", "min", "var", "std", "dot")


class Analytic(np.ndarray):
    """Complex arrays whose real part is what the plain function computes to the last bit, comparisons included."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain, kwargs = _plain(inputs), _plain(kwargs)
        if ufunc is np.conjugate:
            return analytic(plain[0])
        op = ops.BY_NUMPY.get(ufunc.__name__)
        direct = method == "__call__" and not kwargs and op is not None
        result = (op.evaluate if direct and op is not None else getattr(ufunc, method))(*plain, **kwargs)
        if np.iscomplexobj(result) and "out" not in kwargs:
            result = np.array(result)
            result.real = np.real(getattr(ufunc, method)(*map(np.real, plain), **kwargs))
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
    if isinstance(value, list | tuple):
        return type(value)(map(analytic, value))
    return np.asarray(value).view(Analytic) if isinstance(value, np.ndarray | np.generic) and _complex(value) else value


def _complex(value: Any) -> bool:
    return bool(value.dtype.kind == "c")


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.view(np.ndarray) if isinstance(value, Analytic) else value
