"""Complex numbers over a field: arrays of a + b i, a and b residues modulo P, on which the module of a complex cell runs.

-1 is no square modulo P, so that these are the elements of the field of P² ones; the conjugate is a - b i, which is the power P of an
element. They lie in complex arrays of NumPy's, so that real and imaginary parts, slices and assignments are its own; what NumPy computes
is computed on pairs of residues (`language/pairs.py`), so that a function of a complex number is made of those of its parts, as exp(a)
(cos(b) + i sin(b)) is. The other side, the user's function on pairs with tangents, is real throughout: its Jacobian is that of
real and imaginary parts, of which the gradients of a complex module are said to be the parts (Wirtinger's derivatives are not asked).

Example: of y = |z|² a module has dz = 2 dy z, whose parts are 2 dy a and 2 dy b.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.language.array import Array, is_traced
from symbptt.language.pairs import Pair, of_function, of_language
from symbptt.verification.complex_step import Kept
from symbptt.verification.proof.field import reduced
from symbptt.verification.proof.residues import FUNCTIONS, MOVING, Residues, UnknownError, elements, residues

SUMS = ("add", "subtract")
"""Functions of two that are linear: along an axis they are those of the parts."""
EQUAL = {"equal": np.equal, "not_equal": np.not_equal, "isfinite": np.isfinite, "isnan": np.isnan}


class Gaussian(Residues):
    """Elements a + b i in complex arrays, real elements in arrays of floats; none has a tangent."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if is_traced(inputs):
            return NotImplemented
        # Added in place, element after element: integers below 2⁵³ are exact in floats, and the residue is taken once
        # at the end.
        if method == "at":
            np.add.at(inputs[0].view(np.ndarray), inputs[1], _plain(inputs[2]))
            inputs[0][...] = _each(reduced, inputs[0].view(np.ndarray))
            return None
        found = _ufunc(ufunc, method, inputs, kwargs)
        return found if out is None else _stored(found, out[0], kwargs.get("where", True))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if Array in types:
            return NotImplemented
        kwargs = {k: v for k, v in kwargs.items() if k not in ("dtype", "optimize")}
        out = kwargs.pop("out", None)
        found = _function(self, func, types, args, kwargs)
        return found if out is None else _stored(found, out, True)

    def __getitem__(self, key: Any) -> Any:
        return gaussian(Kept.__getitem__(self, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        Kept.__setitem__(self, key, _plain(value))


def gaussian(value: Any) -> Any:
    """Return arrays of elements, looked for in lists too, as such arrays; all else as it is."""
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).view(Gaussian) if value.dtype.kind in "fc" else value
    return type(value)(map(gaussian, value)) if type(value) in (list, tuple) else value


def size_squared(array: Any) -> Any:
    """Return the sum of the squares of all parts, an element that is real."""
    plain = _plain(array)
    # The parts of a number are two real ones, each of which is differentiated by itself.
    parts = [residues(part) for part in ((plain.real, plain.imag) if plain.dtype.kind == "c" else (plain,))]
    return gaussian(sum(np.sum(part * part) for part in parts))


def of_numbers(array: Any) -> Any:
    """Return an array of numbers as elements."""
    return gaussian(_plain(array))


def _plain(value: Any) -> Any:
    """Return a plain array of elements, of what a function of NumPy takes in their place."""
    if isinstance(value, Residues):
        return value.view(np.ndarray)
    array = np.asarray(value)
    return _joined(elements(array.real), elements(array.imag)) if array.dtype.kind == "c" else elements(value)


def _joined(re: Any, im: Any) -> Any:
    re, im = np.broadcast_arrays(re, im)
    # re + 1j * im would multiply infinities and NaN, which no residue is, and copies twice.
    found = np.empty(re.shape, complex)
    found.real, found.imag = re, im
    return found


def _pair(value: Any) -> Any:
    """Return an argument as a pair of real elements; numbers of Python's that are real stay, as exponents are."""
    if isinstance(value, list | tuple):
        return type(value)(map(_pair, value))
    # An exponent, an axis or the text of an einsum: no element of the field.
    if isinstance(value, int | float | str) or value is None:
        return value
    plain = _plain(value)
    if plain.dtype.kind == "c":
        return Pair(residues(plain.real), residues(plain.imag))
    is_whole = not isinstance(value, Residues) and np.asarray(value).dtype.kind in "biu"
    return Pair(value if is_whole else residues(plain))


def _of_pair(found: Any) -> Any:
    if isinstance(found, list | tuple):
        return type(found)(map(_of_pair, found))
    if not isinstance(found, Pair):
        return gaussian(found)
    return gaussian(found.re if found.im is None else _joined(_plain(found.re), _plain(found.im)))


def _each(call: Any, plain: Any) -> Any:
    """Apply a function that is linear to the parts of plain arrays."""
    return _joined(call(plain.real), call(plain.imag)) if plain.dtype.kind == "c" else call(plain)


def _stored(found: Any, out: Any, where: Any) -> Any:
    plain = out.view(np.ndarray) if isinstance(out, np.ndarray) else out
    np.copyto(plain, _plain(found) if plain.dtype.kind in "fc" else np.asarray(found), where=where)
    return out


def _ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = ufunc.__name__
    # Equal numbers are equal residues, and nothing else is compared of complex ones.
    if method == "__call__" and name in EQUAL:
        return EQUAL[name](*map(_plain, inputs))
    if method == "__call__":
        return _of_pair(of_language(name, [_pair(x) for x in inputs], ufunc))
    if method == "outer":
        a, b = (np.asarray(x) for x in inputs)
        return _ufunc(ufunc, "__call__", (gaussian(a.reshape(a.shape + (1,) * b.ndim)), gaussian(b)), {})
    # A sum along an axis is one of each part; a product is not.
    first = _plain(inputs[0])
    if first.dtype.kind != "c" or name in SUMS:
        rest = {k: v for k, v in kwargs.items() if k != "dtype"}
        return gaussian(_each(lambda x: elements(getattr(ufunc, method)(residues(x), *inputs[1:], **rest)), first))
    raise UnknownError(f"np.{name}.{method} of complex numbers has no version over a field")


def _function(array: Gaussian, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    name = func.__name__
    is_view = name == "einsum" and len(args) == 2 and _is_view(args[0])
    if name in MOVING or is_view:
        return gaussian(Kept.__array_function__(array, func, types, _moved(args), _moved(kwargs)))
    if name not in FUNCTIONS:
        raise UnknownError(f"np.{name} has no version over a field")
    return _of_pair(of_function(func, [_pair(x) for x in args], kwargs))


def _is_view(text: str) -> bool:
    """Answer whether a sum of products moves elements of one array: nothing is summed."""
    names, arrow, out = text.replace(" ", "").partition("->")
    return bool(arrow) and {*out} == {*names}


def _moved(value: Any) -> Any:
    """Return arguments in which numbers that are no elements yet are."""
    if isinstance(value, list | tuple):
        return type(value)(map(_moved, value))
    if isinstance(value, dict):
        return {k: _moved(v) for k, v in value.items()}
    kind = getattr(value, "dtype", None)
    is_number = isinstance(value, float | complex) or (kind is not None and kind.kind in "fc")
    return gaussian(_plain(value)) if is_number and not isinstance(value, np.dtype) else value


def _method(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(np, name)(self, *args, **kwargs)

    return method


for _name in ("sum", "mean", "cumsum", "dot"):
    setattr(Gaussian, _name, _method(_name))
