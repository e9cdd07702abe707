"""Arrays of numbers of 50 digits that NumPy's functions take, in the user's functions and in the text of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

from symbptt import ops
from symbptt.dense import SignAndLog, factored, of_objects
from symbptt.language.array import Array, is_traced
from symbptt.language.numpy_dispatch import COMPOSED, NUMPY_FUNCTIONS
from symbptt.verification.complex_step import Kept, whole
from symbptt.verification.rounding.exact import DIGITS, ELEMENTWISE, Exact, chosen, exact
from symbptt.verification.rounding.functions import OF_NUMPY, OWN, TRUTHS

NATIVE = ("add", "subtract", "multiply", "negative", "positive", "matmul", "vecdot")
COMPARED = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
EXTREMES = ("maximum", "minimum", "fmax", "fmin", "clip")
LOGICAL = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "invert": "logical_not"}
CALLS = {name: np.frompyfunc(call, count, 1) for name, (count, call) in OF_NUMPY.items()}
ROOTS = ("norm", "std", "argmax", "argmin", "sort", "argsort", "median")
"""Functions whose gradient the language defines where NumPy's has none, or that it makes of comparisons."""


MATRICES = ("solve", "inv", "det", "slogdet", "cholesky")
"""Functions of whole matrices."""
HALVINGS, ORDER = 6, 20
"""A matrix of norm 1 / 64 has a series of this order to 54 digits."""


MIXING = ("where", "concatenate", "stack", "hstack", "vstack", "pad", "full_like", "zeros_like", "ones_like", "append", "insert", "block",
          "select", "choose", "tril", "triu", "diag")  # fmt: skip
"""Functions whose results may have plain numbers beside those of the array."""


class UnknownError(TypeError):
    """A function of NumPy that has no version of 50 digits."""


class ExactArray(Kept):
    """Arrays of objects that are numbers of 50 digits; an element is an array without axes, so that NumPy's functions ask it first."""

    @classmethod
    def of_numbers(cls, array: Any) -> Any:
        """Return an array of numbers that the body makes as one of 50 digits."""
        return constants(array, written=True)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if is_traced(inputs):
            return NotImplemented
        name, plain = ufunc.__name__, [*map(_plain, inputs)]
        kwargs.pop("dtype", None)
        # A function that is made of others is computed by these, so that its derivative is that of its parts.
        if method == "__call__" and name in COMPOSED and name not in CALLS and name not in NATIVE and out is None:
            return exactly(COMPOSED[name](*map(exactly, inputs)))
        if out is not None:
            kwargs["out"] = tuple(map(_plain, out))
        found = _called(name, ufunc, method, plain, _plain(kwargs))
        return exactly(found) if out is None else out[0]

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if Array in types:
            return NotImplemented
        # NumPy computes these by comparisons and roots of floats inside, which no object array survives.
        if func.__name__ in ROOTS or func.__name__ in COMPOSED:
            return exactly(NUMPY_FUNCTIONS[func.__name__](*args, **kwargs))
        if func.__name__ in MATRICES:
            return _of_matrices(func.__name__, *args, **kwargs)
        found = exactly(super().__array_function__(func, types, args, kwargs))
        # Zeros that padding puts in are integers of Python: without a lift the next function would meet two types.
        return _lifted(found) if func.__name__ in MIXING and isinstance(found, ExactArray) else found

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, _lifted(value))

    def __getitem__(self, key: Any) -> Any:
        return exactly(super().__getitem__(key))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def expm(self) -> Any:
        """Return the exponentials of matrices, by scaling and squaring of the series."""
        return exactly(_expm(_plain(self)))

    def erf(self) -> Any:
        """Return the error function, which NumPy has not."""
        return exactly(np.frompyfunc(OWN["erf"], 1, 1)(_plain(self)))


def _of_matrices(name: str, a: Any, *others: Any, **kwargs: Any) -> Any:
    """Return a function of matrices by elimination, with the largest element as pivot."""
    a = _plain(_lifted(a))
    if name == "cholesky":
        a = np.swapaxes(a, -1, -2) if kwargs.get("upper") else a
        found = factored(a.view(ExactArray))
        return np.swapaxes(found, -1, -2) if kwargs.get("upper") else found
    right = [_plain(_lifted(x)) for x in others]
    if name == "inv":
        right = [_plain(_lifted(np.broadcast_to(np.eye(a.shape[-1]), a.shape)))]
    is_vector = name == "solve" and right[0].ndim == 1
    # Elimination takes columns; a vector is one of them.
    right = [right[0][:, None]] if is_vector else right
    found = exactly(of_objects("solve" if right else "det", a, *right, pivot=_largest))
    # With 50 digits and no bound of exponents the determinant itself cannot overflow: LAPACK needs the logarithm,
    # this does not.
    if name == "slogdet":
        return SignAndLog(exactly(np.sign(found)), exactly(np.log(np.abs(found))))
    return found[..., 0] if is_vector else found


def _largest(column: Any) -> int:
    return max(range(len(column)), key=lambda i: abs(column[i].value))


def _expm(a: Any) -> Any:
    """Return exp(A) = exp(A / 2^k)^(2^k), the series of the inner one to 50 digits and some that the squarings lose."""
    n = a.shape[-1]
    one = _plain(_lifted(np.broadcast_to(np.eye(n), a.shape)))
    size = max((sum(abs(x.value) for x in row) for row in a.reshape(-1, n)), default=Decimal(0))
    if not size.is_finite():
        return a * exact(float("nan"))
    # Halved until its norm is below 1/64, where a series of 20 terms has 54 digits; each squaring may lose one bit.
    count = max(0, int(size).bit_length()) + HALVINGS
    a, found = a * exact(0.5**count), one
    # Horner's scheme: from the last term to the first, one product of matrices a term.
    for k in range(ORDER, 0, -1):
        found = one + np.matmul(a, found) / exact(float(k))
    for _ in range(count):
        found = np.matmul(found, found)
    return found


def exactly(value: Any) -> Any:
    """Return arrays and numbers of objects, looked for in lists too, as such arrays; all else as it is."""
    if type(value) is Exact:
        # np.array(value) would ask the number for a float, which it refuses.
        found = np.empty((), object)
        found[()] = value
        return found.view(ExactArray)
    if isinstance(value, np.ndarray):
        return whole(value) if value.dtype != object or type(value) is ExactArray else value.view(ExactArray)
    if isinstance(value, np.generic):
        return whole(value)
    return type(value)(map(exactly, value)) if type(value) in (list, tuple) else value


def _lifted(value: Any) -> Any:
    """Return numbers, some of which may be floats, as numbers of 50 digits, which bring the functions of the language with them."""
    return np.asarray(np.frompyfunc(exact, 1, 1)(np.asarray(value, object)), object).view(ExactArray)


def of_floats(array: Any, make: Callable[[float], Exact] = exact) -> Any:
    """Return floats as an array of numbers of 50 digits, each as it is; integers stay."""
    array = np.asarray(array)
    if array.dtype.kind in "iub":
        return array
    found = np.empty(array.shape, object)
    # frompyfunc makes no array of no elements, so that an empty one is filled with nothing.
    found[...] = np.frompyfunc(lambda x: make(float(x)), 1, 1)(array) if array.size else 0
    return found.view(ExactArray)


def values_of(array: Any) -> Any:
    """Return the numbers of an array as decimals."""
    return np.asarray(np.frompyfunc(lambda x: exact(x).value, 1, 1)(np.asarray(array, object)), object)


def top(array: Any) -> Decimal:
    """Return the largest size of decimals; of a NaN a NaN."""
    found = [abs(x) for x in np.ravel(np.asarray(array, object))]
    return next((x for x in found if x.is_nan()), max(found, default=Decimal(0)))


def constants(array: Any, written: bool = False) -> Any:
    """Return the numbers of an array as they are, on no tape; `written` are those of the body."""
    made = partial(Exact, written=written)
    return np.asarray(np.frompyfunc(made, 1, 1)(values_of(array)), object).view(ExactArray)


def _plain(value: Any) -> Any:
    if isinstance(value, ExactArray):
        return value.view(np.ndarray)
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def _called(name: str, ufunc: Any, method: str, plain: list[Any], kwargs: dict[str, Any]) -> Any:
    if name in LOGICAL and any(np.asarray(x).dtype == object for x in plain):
        ufunc, name = getattr(np, LOGICAL[name]), LOGICAL[name]
    if name.startswith("logical"):
        return getattr(ufunc, method)(*map(_truth, plain), **kwargs)
    # A reduction by pairs would give each of three equal numbers another share, (1/4, 1/4, 1/2), by the order of the
    # pairs.
    if name in ("maximum", "minimum") and method == "reduce":
        return _extreme(name, *plain, **kwargs)
    if name in COMPARED and method == "__call__":
        return _truth(ufunc(*plain, **kwargs)) if "out" not in kwargs else ufunc(*plain, **kwargs)
    if name in CALLS and method in ("__call__", "outer", "accumulate", "reduce"):
        kwargs.pop("dtype", None)
        # At a tie between a number of the body and a value the derivative depends on which of both is the number.
        plain = [_valued(x) for x in plain] if name in EXTREMES else plain
        found = getattr(CALLS[name], method)(*plain, **kwargs)
        return _truth(found) if name in TRUTHS and "out" not in kwargs else found
    if name in NATIVE or name.endswith("(vectorized)"):
        return getattr(ufunc, method)(*plain, **kwargs)
    raise UnknownError(f"np.{name} has no version of {DIGITS} digits")


def _valued(x: Any) -> Any:
    """Return a number of the body as it is, of which a tie tells, also one without axes of an array that the body has made; what is none
    with elements of 50 digits."""
    if ops.is_number(x):
        return x
    found = _plain(_lifted(x))
    return found[()].value if not found.ndim and found[()].written else found


def _truth(x: Any) -> Any:
    x = np.asarray(x)
    return x.astype(bool)[()] if x.dtype == object else x


def _extreme(name: str, x: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False,
             initial: Any = None, where: Any = True) -> Any:  # fmt: skip
    """Return the greatest or smallest numbers along axes; equal ones have equal shares of the derivative."""
    x = np.asarray(x)
    axes = (
        tuple(range(x.ndim))
        if axis is None
        else tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))
    )
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    rows = x.transpose(*rest, *axes).reshape(*(x.shape[i] for i in rest), -1)
    found = np.empty(rows.shape[:-1], object)
    known = [] if initial is None or initial is np._NoValue else [initial]
    for place in np.ndindex(*found.shape):
        # All that are greatest share the derivative equally, which is what the language and the modules do.
        found[place] = _first(name, [*map(exact, rows[place]), *known])
    found = np.expand_dims(found, axes) if keepdims else found
    if out is not None:
        out[0][...] = found
    return found[()]


def _first(name: str, values: list[Any]) -> Exact:
    missing = next((exact(x) for x in values if exact(x).value.is_nan()), None)
    if missing is not None:  # of which nothing is the greatest
        return missing
    best = (max if name == "maximum" else min)(exact(x).value for x in values)
    return chosen([x for x in values if exact(x).value == best])


def _of_language(name: str, *args: Any) -> Any:
    """Return a function of the language that is made of NumPy's."""
    found = ops.BY_NAME[name].evaluate(*(exactly(x) for x in args))
    return bool(found) if np.asarray(found).dtype == bool else exact(found)


ELEMENTWISE.update({name: partial(_of_language, name) for name in ops.BY_NAME if name not in OWN})
