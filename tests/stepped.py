"""Complex arrays on which the functions of NumPy that take no complex numbers are derived by hand, for complex steps."""

from collections.abc import Callable
from typing import Any

import numpy as np


def hypot(a: Any, b: Any) -> Any:
    return np.sqrt(a * a + b * b)


def arctan2(a: Any, b: Any) -> Any:
    slope = (np.imag(a) * np.real(b) - np.real(a) * np.imag(b)) / (np.real(a) ** 2 + np.real(b) ** 2)
    return np.arctan2(np.real(a), np.real(b)) + 1j * slope


def remainder(a: Any, b: Any) -> Any:
    return a - b * np.floor_divide(np.real(a), np.real(b))


def fmod(a: Any, b: Any) -> Any:
    return a - b * np.trunc(np.real(a) / np.real(b))


def floor_divide(a: Any, b: Any) -> Any:
    return np.floor_divide(np.real(a), np.real(b)) + 0j


def absolute(a: Any) -> Any:
    return a * np.sign(np.real(a))


def sign(a: Any) -> Any:
    return np.sign(np.real(a)) + 0j


def maximum(a: Any, b: Any) -> Any:
    return np.where(np.real(a) >= np.real(b), a, b)


def logaddexp(a: Any, b: Any) -> Any:
    top = np.maximum(np.real(a), np.real(b))
    return top + np.log(np.exp(a - top) + np.exp(b - top))


def compared(ufunc: Any) -> Callable[..., Any]:
    """A comparison of values, not of their steps."""
    return lambda a, b: ufunc(np.real(a), np.real(b))


BY_HAND: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (hypot, arctan2, remainder, fmod, floor_divide, absolute, sign, maximum, logaddexp)
} | {f.__name__: compared(f) for f in (np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal)}


class Stepped(np.ndarray):
    """An array that keeps to itself in every operation, so that a step reaches what it goes through."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [_plain(x) for x in inputs]
        kwargs = {k: tuple(map(_plain, v)) if k == "out" else _plain(v) for k, v in kwargs.items()}
        by_hand = BY_HAND.get(ufunc.__name__) if method == "__call__" and any(map(np.iscomplexobj, plain)) else None
        found = getattr(ufunc, method)(*plain, **kwargs) if by_hand is None else by_hand(*plain)
        return np.asarray(found).view(Stepped) if isinstance(found, np.ndarray | np.generic) else found

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _kept(super().__array_function__(func, types, args, kwargs))

    def __getitem__(self, key: Any) -> Any:
        return _kept(super().__getitem__(key))


def _kept(found: Any) -> Any:
    if isinstance(found, list | tuple):
        return type(found)(map(_kept, found))
    return np.asarray(found).view(Stepped) if np.iscomplexobj(found) else found


def _plain(x: Any) -> Any:
    return np.asarray(x) if isinstance(x, Stepped) else x


def stepped(value: Any) -> Any:
    """Return an array as complex numbers that may be stepped."""
    return np.array(value, complex).view(Stepped)
