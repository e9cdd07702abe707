"""Complex arrays for a complex step: a tangent in the imaginary part, which no function may look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from symbptt import ops, special
from symbptt.language.array import Array, is_traced
from symbptt.language.numpy_dispatch import COMPOSED, NUMPY_FUNCTIONS, of_method

OWN = ("norm", "max", "amax", "min", "amin", "var", "std", "vdot", "dot", "where", "clip", "ptp", "argmax", "argmin", "sort", "argsort",
       "median", "any", "all", "round", "around", "interp", "isclose", "nanmax", "nanmin", "fix", "slogdet", "cholesky")  # fmt: skip
"""Functions of arrays that NumPy defines otherwise for complex numbers, by |z|, conj(z) or an order of both parts, or not at all."""
SOLVES = ("solve", "inv", "det")
"""Functions of matrices that NumPy computes of complex numbers by the same arithmetic, with other roundings."""
CONJUGATING = ("vdot", "vecdot", "vecmat")
"""Functions that conjugate their first argument, which of a real program is the identity: they are handed its conjugate."""
METHODS = ("max", "min", "var", "std", "dot")
NOT_COMPLEX = (
    "ceil", "trunc", "rint", "modf", "divmod", "cbrt", "exp2", "logaddexp2", "deg2rad", "radians", "rad2deg", "degrees", "heaviside",
    "expit", "log_expit", "logit", "xlogy", "erf", "arcsin", "arccos", "arcsinh", "arccosh", "arctanh", "isnan", "isinf", "isfinite",
)  # fmt: skip
"""Functions of numbers that NumPy and SciPy do not have for complex ones, or not to the last digit of a tangent."""
EXTREMES = (np.maximum, np.minimum, np.fmax, np.fmin)
APART = (np.add, np.subtract, np.negative)
"""Functions of numbers that compute the real part as they do without an imaginary one."""
EXACT = (np.negative, np.positive, np.absolute, np.maximum, np.minimum, np.fmax, np.fmin, np.sign, np.floor)
"""Functions of numbers that never round."""
UNIT = 2.0**-52
ARRAYS = (np.ndarray, np.generic)
_DRAWS: ContextVar[np.random.Generator | None] = ContextVar("draws", default=None)


@contextmanager
def other_rounding(seed: int) -> Iterator[None]:
    """Let every operation on such arrays round otherwise: its result, with its tangent, is off by a unit in the last
    place or is not, at random.

    Source: Parker 1997, "Monte Carlo Arithmetic", section 3; Vignes 1993, "A stochastic arithmetic for reliable
    scientific computation".
    """
    token = _DRAWS.set(np.random.default_rng(seed))
    try:
        yield
    finally:
        _DRAWS.reset(token)


def _rounded(value: Any) -> Any:
    random = _DRAWS.get()
    if random is None or not np.iscomplexobj(value):
        return value
    # A relative change of one unit at most, for value and tangent alike: what rounding of this operation might have
    # been.
    return value * (1 + UNIT * random.choice((-1, 0, 1), np.shape(value)))


class Kept(np.ndarray):
    """Arrays of a check whose elements are no complex numbers: they stay of their class wherever the user's function goes."""

    @classmethod
    def of_numbers(cls, array: Any) -> Any:
        """Return an array of numbers as one of this class."""
        return array.view(cls)


class Whole(np.ndarray):
    """Truth values and integers that a check hands to the user's function, or that come of its values: one without axes is no number of
    the body, which NumPy's own scalars are, and shares a slope at a tie."""

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        # Arrays of another class say what a function of theirs means, whatever stands first in the call.
        if not all(kind in (Whole, np.ndarray) for kind in types):
            return NotImplemented
        return super().__array_function__(func, types, args, kwargs)


def whole(value: Any) -> Any:
    """Return truth values and integers of NumPy's as such arrays, all else as it is."""
    is_whole = isinstance(value, ARRAYS) and value.dtype.kind in "biu" and not isinstance(value, Whole)
    return np.asarray(value).view(Whole) if is_whole else value


class Analytic(np.ndarray):
    """Complex arrays whose real part equals the result of the plain function to the last bit, comparisons included."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if is_traced(inputs):
            return NotImplemented
        plain, kwargs = [*map(_plain, inputs)], _plain(kwargs) if kwargs else kwargs
        # conj is not analytic: a real program means the identity by it, and so does the tangent.
        if ufunc is np.conjugate:
            return analytic(plain[0])
        is_call = method == "__call__" and not kwargs
        if ufunc.__name__ in CONJUGATING:
            plain[0] = np.conj(plain[0])
        if is_call and ufunc.__name__ in NOT_COMPLEX:
            return analytic(COMPOSED[ufunc.__name__](*inputs))
        if method in ("reduce", "accumulate") and ufunc in EXTREMES:
            return analytic(of_method(ufunc.__name__, method, tuple(map(analytic, inputs)), kwargs))
        if is_call and ufunc in APART:
            found = ufunc(*plain)
            return analytic(found if ufunc in EXACT else _rounded(found))
        op = ops.BY_NUMPY.get(ufunc.__name__) if is_call else None
        # The table has analytic versions of functions such as |x| and max, which NumPy defines by the modulus for
        # complex numbers, or by an order of both parts.
        result = (getattr(ufunc, method) if op is None else op.evaluate)(*plain, **kwargs)
        if np.iscomplexobj(result) and "out" not in kwargs:
            result = np.array(result)
            # NumPy's complex functions differ from its real ones in the last bits, which would decide comparisons
            # otherwise than the plain function does.
            result.real = np.real(getattr(ufunc, method)(*map(_real, plain), **kwargs))
            result = result if ufunc in EXACT else _rounded(result)
        # A sign is a value too, which is no number of the body at a tie.
        is_flat = "out" not in kwargs and np.asarray(result).dtype.kind == "f" and any(map(np.iscomplexobj, plain))
        return analytic(result + 0j if is_flat else result)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if Array in types:
            return NotImplemented
        if func.__name__ in OWN:
            plain = _plain(args)
            if func.__name__ in CONJUGATING:
                plain = (np.conj(plain[0]), *plain[1:])
            return analytic(NUMPY_FUNCTIONS[func.__name__](*plain, **_plain(kwargs)))
        if func.__name__ in SOLVES and func.__module__ == "numpy.linalg":
            return _solved(func, [_plain(x) for x in args], _plain(kwargs))
        return analytic(super().__array_function__(func, types, args, kwargs))

    def __getitem__(self, key: Any) -> Any:
        return analytic(super().__getitem__(key))

    def erf(self) -> Any:
        """Return the error function, as one operation: on such arrays its series would be a hundred of them."""
        plain = self.view(np.ndarray)
        result = np.array(special.erf(plain))
        result.real = special.erf(plain.real)
        return analytic(_rounded(result))


def _solved(func: Any, args: Any, kwargs: Any) -> Any:
    """Return a function of matrices whose real part is that of the plain function; what rounding does to it is what it does for
    arguments that are off by a unit each."""
    result = np.array(func(*map(_rounded, args), **kwargs))
    if _DRAWS.get() is None and np.iscomplexobj(result):
        result.real = func(*map(_real, args), **kwargs)
    return analytic(result)


def _method(name: str) -> Any:
    return lambda self, *args, **kwargs: analytic(NUMPY_FUNCTIONS[name](_plain(self), *_plain(args), **kwargs))


for _name in METHODS:
    setattr(Analytic, _name, _method(_name))


def analytic(value: Any) -> Any:
    """Return complex arrays and scalars, looked for in lists too, as such arrays; all else as it is."""
    if isinstance(value, ARRAYS):
        is_other = value.dtype.kind != "c" or isinstance(value, Kept)
        return whole(value) if is_other else np.asarray(value).view(Analytic)
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(map(analytic, value))
    return type(value)(map(analytic, value)) if isinstance(value, list | tuple) else value


def as_like(array: Any, like: Any) -> Any:
    """Return an array of the class of another one, where that is to be kept."""
    return array.view(type(like)) if isinstance(like, Kept) else array


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
