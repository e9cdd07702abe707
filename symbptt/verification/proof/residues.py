"""Arrays of elements of the field that NumPy's functions take, with or without a tangent: dual numbers a + b ε, ε² = 0.

Elements lie in floats; with a tangent in complex numbers, a in the real part, b in the imaginary one, so that slices,
assignments and reshapes are NumPy's own. What NumPy computes on numbers is computed here modulo P, and by the product rule:
this is forward mode over the user's own function, which knows nothing of the derivation. 1j is ε.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np

from symbptt.dense import SignAndLog, factored
from symbptt.language.array import Array, is_traced
from symbptt.language.numpy_dispatch import COMPOSED, NUMPY_FUNCTIONS, RUNNING, of_method
from symbptt.ops import is_number
from symbptt.verification.complex_step import Kept
from symbptt.verification.oracle import remembering
from symbptt.verification.proof import matrices, points
from symbptt.verification.proof.atoms import SLOPES, VALUES, Atoms, mapped
from symbptt.verification.proof.constants import element
from symbptt.verification.proof.field import P, character, inverse, power, product, reduced, sum_of, times

_ATOMS: ContextVar[Atoms] = ContextVar("atoms")


class UnknownError(TypeError):
    """A function of NumPy that has no version over a field."""


@contextmanager
def generated() -> Iterator[None]:
    """Let floats be those of what is generated, which may be made of the user's."""
    memory = _ATOMS.get()
    memory.generates = True
    try:
        yield
    finally:
        memory.generates = False


def number(value: float) -> float:
    """Return the element of a float."""
    memory = _ATOMS.get(None)
    return element(value) if memory is None else memory.element(value)


@contextmanager
def functions_of(atoms: Atoms) -> Iterator[None]:
    """Let elementwise functions of arrays be those of a memory."""
    token = _ATOMS.set(atoms)
    try:
        with remembering(atoms.calls):
            yield
    finally:
        _ATOMS.reset(token)


class Residues(Kept):
    """Elements of the field, real, or complex where they have a tangent."""

    @classmethod
    def of_numbers(cls, array: Any) -> Any:
        """Return an array of numbers as elements."""
        return residues(elements(array))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if is_traced(inputs):
            return NotImplemented
        name = ufunc.__name__
        if method == "at":
            np.add.at(inputs[0].view(np.ndarray), inputs[1], elements(inputs[2]))
            inputs[0][...] = _each_part(reduced, inputs[0].view(np.ndarray))
            return None
        is_composed = method == "__call__" and name in COMPOSED and name not in CALLS and name not in PLAIN
        found = COMPOSED[name](*map(residues, inputs)) if is_composed else _ufunc(name, method, inputs, kwargs)
        if out is None:
            return residues(found)
        return _stored(found, out[0], kwargs.get("where", True))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if Array in types:
            return NotImplemented
        name = func.__name__
        if name in FUNCTIONS:
            out = kwargs.pop("out", None)
            kwargs.pop("dtype", None)
            found = FUNCTIONS[name](*args, **kwargs)
            return residues(found) if out is None else _stored(found, out, True)
        if name in COMPOSED or name in ORDERS:
            return residues(NUMPY_FUNCTIONS[name](*args, **kwargs))
        if name not in MOVING:
            raise UnknownError(f"np.{name} has no version over a field")
        return residues(super().__array_function__(func, types, _converted(args), _converted(kwargs)))

    def __getitem__(self, key: Any) -> Any:
        return residues(super().__getitem__(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, elements(value))

    def erf(self) -> Any:
        """Return the error function, which NumPy has not."""
        return residues(_atom("erf", elements(self)))

    def sigmoid(self) -> Any:
        """Return σ by its exponential: no sign of an element is asked for, as a version for floats does."""
        return residues(_atom("sigmoid", elements(self)))

    def softplus(self) -> Any:
        """Return log(1 + exp(x))."""
        return residues(_atom("softplus", elements(self)))

    def expm(self) -> Any:
        """Return the exponential of matrices, which NumPy has not: a polynomial in the place of it."""
        return residues(matrices.expm(elements(self)))

    @staticmethod
    def fixed_point(step: Callable[..., Any], first: Sequence[Any], several: bool) -> Sequence[Any]:
        """Return the fixed point of a step, of which `first` is what a round makes."""
        values = [points.point_of(_ATOMS.get(), elements(x)) for x in first]
        return points.with_tangents(step, values, several, residues, elements)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


def rounds() -> points.Rounds:
    """Return what tells a program over the field of a fixed point."""
    return points.Rounds(_ATOMS.get, elements)


def residues(value: Any) -> Any:
    """Return arrays and numbers of floats, looked for in lists too, as such arrays; all else as it is."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "fc" or type(value) is Residues:
            return value
        return np.asarray(value).view(Residues)
    return type(value)(map(residues, value)) if type(value) in (list, tuple) else value


def elements(value: Any) -> Any:
    """Return a plain array of elements, of what a function of NumPy takes in their place: numbers, truth values."""
    if isinstance(value, Residues):
        return value.view(np.ndarray)
    array = np.asarray(value)
    if array.dtype.kind == "b":
        return array.astype(float)
    if array.dtype.kind in "iu":
        # An integer of few bits has no room for the number of elements.
        return np.mod(array if array.dtype.itemsize == 8 else array.astype(np.int64), P).astype(float)
    if array.dtype.kind == "f":
        # Of single precision too: 0.1 of float32 is no tenth, which its own arithmetic would take it for.
        array = array.astype(float)
        return np.vectorize(number, otypes=[float])(array) if array.size else array
    if array.dtype.kind == "c":
        return _dual(elements(array.real), elements(array.imag))
    if array.dtype.kind == "O" and isinstance(value, list | tuple):
        return elements(np.stack([*value]))
    raise UnknownError(f"{type(value).__name__} of {array.dtype} has no elements of the field")


def has_elements(value: Any) -> bool:
    """Answer whether what a module gives is an array or a number of which there are elements, not None or a list of unequal rows."""
    return isinstance(value, np.ndarray | np.generic | int | float) and np.asarray(value).dtype.kind in "biuf"


def _converted(value: Any) -> Any:
    """Return arguments in which numbers that are no elements yet are."""
    if isinstance(value, Residues):
        return value
    if isinstance(value, list | tuple):
        return type(value)(map(_converted, value))
    if isinstance(value, dict):
        return {k: _converted(v) for k, v in value.items()}
    kind = getattr(value, "dtype", None)
    return residues(elements(value)) if isinstance(value, float) or (kind is not None and kind.kind in "fc") else value


def _stored(found: Any, out: Any, where: Any) -> Any:
    plain = out.view(np.ndarray) if isinstance(out, np.ndarray) else out
    np.copyto(plain, found, casting="unsafe" if plain.dtype.kind != "f" or not np.iscomplexobj(found) else "same_kind",
              where=where)  # fmt: skip
    return out


def _dual(a: Any, b: Any) -> Any:
    a, b = np.broadcast_arrays(a, b)
    found = np.empty(a.shape, complex)
    found.real, found.imag = a, b
    return found


def _ufunc(name: str, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if method == "reduce":
        return _reduced_along(name, *inputs, **kwargs)
    if method == "accumulate" and name == "add":
        axis = kwargs.get("axis", inputs[1] if len(inputs) > 1 else 0)
        return _each_part(lambda x: reduced(np.add.accumulate(x, axis)), elements(inputs[0]))
    if method == "accumulate" and name in RUNNING:
        return elements(of_method(name, method, tuple(map(residues, inputs)), kwargs))
    if method == "outer":
        a, b = map(elements, inputs)
        return _ufunc(name, "__call__", (a.reshape(a.shape + (1,) * b.ndim), b), {})
    if method != "__call__":
        raise UnknownError(f"np.{name}.{method} has no version over a field")
    if name in PLAIN:
        return PLAIN[name](*map(_real, map(elements, inputs)))
    if name in LOGICAL:
        return LOGICAL[name](*(_truth(x) for x in inputs))
    if name == "power":
        return _power(*inputs)
    call, name = CALLS.get(name), ALIASES.get(name, name)
    if call is not None:
        return call(*map(elements, inputs))
    if name not in VALUES:
        raise UnknownError(f"np.{name} has no version over a field")
    if name in ("maximum", "minimum"):
        return _first_of_two(name, *inputs)
    return _atom(name, *map(elements, inputs))


def _real(x: Any) -> Any:
    return x.real if x.dtype.kind == "c" else x


def _truth(x: Any) -> Any:
    x = np.asarray(x)
    return x if x.dtype.kind == "b" else _real(x) != 0


def _each_part(call: Callable[..., Any], *arrays: Any) -> Any:
    """Apply a linear function to values and to tangents; one without a tangent has that of zero."""
    if not any(x.dtype.kind == "c" for x in arrays):
        return call(*arrays)
    return _dual(
        call(*(x.real for x in arrays)), call(*(x.imag if x.dtype.kind == "c" else np.zeros(x.shape) for x in arrays))
    )


def _bilinear(call: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a product of arrays with the product rule."""

    def function(a: Any, b: Any) -> Any:
        value = call(_real(a), _real(b))
        left = call(a.imag, _real(b)) if a.dtype.kind == "c" else None
        right = call(_real(a), b.imag) if b.dtype.kind == "c" else None
        if left is None and right is None:
            return value
        return _dual(value, right if left is None else left if right is None else reduced(left + right))

    return function


def _with_slopes(value: Any, slopes: Sequence[Callable[[], Any]], args: tuple[Any, ...]) -> Any:
    """Return a value with the tangent Σ slope · tangent of the arguments."""
    pairs = [(slope, x.imag) for slope, x in zip(slopes, args, strict=True) if x.dtype.kind == "c"]
    if not pairs:
        return value
    return _dual(value, reduced(sum(times(slope(), tangent) for slope, tangent in pairs)))


def _atom(name: str, *args: Any) -> Any:
    memory, plain = _ATOMS.get(), tuple(map(_real, args))
    value = VALUES[name](memory, *plain)
    slopes = [partial(slope, memory, *plain, value) for slope in SLOPES[name]]
    return _with_slopes(value, slopes, args)


def _first_of_two(name: str, a: Any, b: Any) -> Any:
    """Return the greater or the smaller of two: equal elements share what flows back; to one that equals a number nothing flows."""
    x, y = sorted((a, b), key=is_number)
    if not is_number(y):
        return _atom(name, elements(a), elements(b))
    sign = character(sum_of(_real(elements(x)), -elements(y)))
    return _chosen(sign > 0 if name == "maximum" else sign < 0, x, y)


def _divide(a: Any, b: Any) -> Any:
    below = inverse(_real(b))
    value = times(_real(a), below)
    return _with_slopes(value, [lambda: below, lambda: reduced(-times(value, below))], (a, b))


def _power(base: Any, exponent: Any) -> Any:
    """Return a power; a base or an exponent that is no array of its own is a number, not an element."""
    a = elements(base)
    if isinstance(exponent, Residues) or np.ndim(exponent):
        is_plain = not isinstance(base, Residues) and not np.ndim(base)
        return _power_of_elements(a, elements(exponent), element(float(np.log(base))) if is_plain else None)
    plain = float(exponent)
    if plain == int(plain):
        return _whole_power(a, int(plain))
    doubled = 2 * plain
    if doubled == int(doubled):  # of roots it is known that their square is what they are of
        return _whole_power(_atom("sqrt", a), int(doubled))
    return _power_of_elements(a, elements(plain))


def _whole_power(a: Any, n: int) -> Any:
    return _with_slopes(power(_real(a), n), [lambda: times(n % P, power(_real(a), n - 1))], (a,))


def _power_of_elements(a: Any, q: Any, logarithm: Any = None) -> Any:
    """Return a power of elements; the `logarithm` of a base that is a number is one too."""
    memory = _ATOMS.get()
    base, exponent = np.broadcast_arrays(_real(a), _real(q))
    value = mapped(lambda x, k: _element_power(memory, x, k), base, exponent)
    slopes = [
        lambda: times(exponent, times(value, inverse(base))),
        lambda: times(value, VALUES["log"](memory, base) if logarithm is None else logarithm),
    ]
    return _with_slopes(value, slopes, (a, q))


def _element_power(memory: Atoms, x: int, k: int) -> int:
    whole = k if k < P // 2 else k - P
    if abs(whole) <= 64:
        return pow(x, whole, P) if x or whole >= 0 else 0
    doubled = 2 * k % P
    doubled = doubled if doubled < P // 2 else doubled - P
    if abs(doubled) <= 64:
        return pow(memory.sqrt(x), doubled, P) if x else 0
    return memory.power(x, k)


def _clip(x: Any, low: Any = None, high: Any = None) -> Any:
    x = x if low is None else _first_of_two("maximum", residues(x), low)
    return x if high is None else _first_of_two("minimum", residues(x), high)


def _sum(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Any:
    return _total(elements(x), axis, keepdims, initial, where)


def _total(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Any:
    """Return the sum of an array of elements: what is one already is not read as a number once more, which takes long."""
    found = _each_part(lambda part: reduced(np.sum(part, axis=axis, keepdims=keepdims, where=where)), x)
    return found if _is_absent(initial) else _added(found, elements(initial))


def _is_absent(value: Any) -> bool:
    """Answer whether an argument is not given, as NumPy says it."""
    return value is None or value is np._NoValue


def _added(a: Any, b: Any) -> Any:
    return _each_part(sum_of, a, b)


def _reduced_along(name: str, x: Any, axis: Any = 0, **kwargs: Any) -> Any:
    kwargs = {k: v for k, v in kwargs.items() if k in ("keepdims", "initial", "where")}
    if name == "add":
        return _sum(x, axis, **kwargs)
    if name in ("maximum", "minimum"):
        first = 1 if name == "maximum" else -1
        return _extreme(x, axis, kwargs.get("keepdims", False), first, kwargs.get("initial"))
    if name in ("logical_and", "logical_or"):
        return getattr(np, name).reduce(_truth(x), axis=axis, keepdims=kwargs.get("keepdims", False))
    if name == "multiply":
        return _product_along(elements(x), axis, kwargs.get("keepdims", False))
    raise UnknownError(f"np.{name}.reduce has no version over a field")


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(a % x.ndim for a in axes)


def _extreme(x: Any, axis: Any = None, keepdims: bool = False, sign: int = 1, initial: Any = None) -> Any:
    """Return the element of an array that a random order puts first: the same whatever way it is found.

    Signs of differences are no order of more than two elements; of two, this one agrees with them.
    """
    x = elements(x)
    axes = _axes(x, axis)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    rows = x.transpose(*rest, *axes).reshape(*(x.shape[i] for i in rest), int(np.prod([x.shape[i] for i in axes])))
    if not _is_absent(initial):
        rows = np.concatenate([rows, np.broadcast_to(elements(initial), (*rows.shape[:-1], 1))], -1)
    place = np.expand_dims(_first(_real(rows), sign), -1)
    found = np.take_along_axis(rows, place, -1)[..., 0]
    if rows.dtype.kind == "c":  # equal ones have equal shares
        ties = _real(rows) == _real(found)[..., None]
        tangents = reduced(np.sum(np.where(ties, rows.imag, 0.0), -1))
        found = _dual(found.real, times(tangents, inverse(ties.sum(-1).astype(float))))
    return np.expand_dims(found, axes) if keepdims else found


def _first(rows: Any, sign: int) -> Any:
    if rows.shape[-1] == 2:
        return np.where(sign * character(sum_of(rows[..., 0], -rows[..., 1])) > 0, 0, 1)
    return np.argmax(sign * _rank(rows), -1)


def _rank(x: Any) -> Any:
    """Return numbers that order elements by their sign, and those of one sign in no way that arithmetic knows.

    So -x stands where x stands from the other end, and of absolute values zero is the least.
    """
    if np.isinf(x).any():
        return np.where(np.isinf(x), x, _rank(np.where(np.isinf(x), 0.0, x)))
    size = np.minimum(x, P - x).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    found = ((size ^ (size >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(12)).astype(float)
    return character(x) * found


def _product_along(x: Any, axis: Any, keepdims: bool) -> Any:
    for a in sorted(_axes(x, axis), reverse=True):
        parts = np.moveaxis(x, a, 0)
        found = parts[0] if len(parts) else np.ones(parts.shape[1:])
        for part in parts[1:]:
            found = _bilinear(times)(found, part)
        x = np.expand_dims(found, a) if keepdims else found
    return x


def _mean(x: Any, axis: Any = None, keepdims: bool = False, where: Any = True, **_: Any) -> Any:
    x = elements(x)
    count = np.sum(np.broadcast_to(np.asarray(where), x.shape), axis=axis, keepdims=keepdims)
    return _bilinear(times)(_total(x, axis, keepdims, where=where), inverse(elements(count)))


def _variance(x: Any, axis: Any = None, keepdims: bool = False, ddof: Any = 0, correction: Any = None, **_: Any) -> Any:
    x = elements(x)
    centred = _each_part(lambda a, b: reduced(a - b), x, _mean(x.view(Residues), axis, True))
    found = _mean(_bilinear(times)(centred, centred).view(Residues), axis, keepdims)
    less = ddof if _is_absent(correction) else correction
    count = int(np.prod([x.shape[k] for k in _axes(x, axis)]))
    return found if less == 0 else _bilinear(times)(found, times(elements(count), inverse(elements(count - less))))


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = elements(x)
    if ord in (1, np.inf, -np.inf):
        size = _atom("absolute", x)
        return _total(size, axis, keepdims) if ord == 1 else _extreme(size, axis, keepdims, 1 if ord > 0 else -1)
    return _atom("sqrt", _total(_bilinear(times)(x, x), axis, keepdims))


def _matmul(a: Any, b: Any) -> Any:
    return _bilinear(product)(a, b)


def _vecdot(a: Any, b: Any) -> Any:
    return _total(_bilinear(times)(a, b), -1)


def _dot(a: Any, b: Any) -> Any:
    a, b = elements(a), elements(b)
    return _bilinear(lambda x, y: product(x, y, np.dot))(a, b) if a.ndim and b.ndim else _bilinear(times)(a, b)


def _inner(a: Any, b: Any) -> Any:
    a, b = elements(a), elements(b)
    return _dot(a, np.swapaxes(b, -1, -2) if b.ndim > 1 else b)


def _outer(a: Any, b: Any) -> Any:
    return _bilinear(times)(elements(a).reshape(-1, 1), elements(b).reshape(1, -1))


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = elements(a), elements(b)
    if isinstance(axes, int):
        axes = (range(a.ndim - axes, a.ndim), range(axes))
    left, right = ([k] if isinstance(k, int) else [*k] for k in axes)
    left, right = [k % a.ndim for k in left], [k % b.ndim for k in right]
    labels = [*range(a.ndim)], [a.ndim + k for k in range(b.ndim)]
    for i, j in zip(left, right, strict=True):
        labels[1][j] = i
    out = [k for k in labels[0] if k not in left] + [a.ndim + k for k in range(b.ndim) if k not in right]
    return _contracted([a, b], [*labels], out)


def _einsum(*operands: Any, **_: Any) -> Any:
    if isinstance(operands[0], str):
        text, arrays = operands[0].replace(" ", ""), [elements(x) for x in operands[1:]]
        left, arrow, out = text.partition("->")
        names = left.split(",")
        if "..." in text:
            names, out = _without_dots(names, out, arrow, arrays)
            arrow = "->"
        labels: list[Any] = [[*name] for name in names]
        if len(arrays) == 1 and arrow and {*out} == {*names[0]}:
            # Nothing is summed: NumPy shows the diagonal where it lies, and a module writes through it.
            return np.einsum(text, arrays[0])
        if not arrow:
            letters = [x for part in names for x in part]
            out = "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
        if len(arrays) == 1 and set(out) == set(names[0]):
            return np.einsum(f"{names[0]}->{out}", arrays[0])  # a view, into which a diagonal may be written
        return _contracted(arrays, labels, [*out])
    arrays = [elements(x) for x in operands[:-1:2]] if len(operands) % 2 else [elements(x) for x in operands[::2]]
    given = [list(x) for x in operands[1::2]]
    flat = [x for part in given for x in part]
    last = list(operands[-1]) if len(operands) % 2 else sorted(x for x in set(flat) if flat.count(x) == 1)
    return _contracted(arrays, given, last)


def _without_dots(names: list[str], out: str, arrow: str, arrays: list[Any]) -> tuple[list[str], str]:
    """Return the labels with letters of their own in the place of dots."""
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in "".join(names) + out]
    counts = [
        x.ndim - len(name.replace("...", "")) if "..." in name else 0 for name, x in zip(names, arrays, strict=True)
    ]
    most = max(counts)
    filled = [name.replace("...", "".join(spare[most - k : most])) for name, k in zip(names, counts, strict=True)]
    if not arrow:
        letters = "".join(name.replace("...", "") for name in names)
        out = "..." + "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
    return filled, out.replace("...", "".join(spare[:most]))


def _contracted(arrays: list[Any], labels: list[list[Any]], out: list[Any]) -> Any:
    """Return Σ of the product of arrays over the labels that `out` has not, two arrays at a time."""
    pairs = [_diagonal(x, own) for x, own in zip(arrays, labels, strict=True)]
    x, own = pairs[0]
    for other, (y, more) in enumerate(pairs[1:], 2):
        later = {label for _, rest in pairs[other:] for label in rest}
        order = [*dict.fromkeys([*own, *more])]
        x = _bilinear(times)(_placed(x, own, order), _placed(y, more, order))
        gone = [k for k in order if k not in out and k not in later]
        x, own = _total(x, tuple(order.index(k) for k in gone)), [k for k in order if k not in gone]
    x, own = _total(x, tuple(own.index(k) for k in own if k not in out)), [k for k in own if k in out]
    return x.transpose([own.index(k) for k in out])


def _diagonal(x: Any, labels: list[Any]) -> tuple[Any, list[Any]]:
    """Return an array in which each label stands once."""
    for label in [k for k in dict.fromkeys(labels) if labels.count(k) > 1]:
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            x = np.diagonal(x, axis1=i, axis2=j)
            labels = [k for at, k in enumerate(labels) if at not in (i, j)] + [label]
    return x, labels


def _placed(x: Any, own: list[Any], order: list[Any]) -> Any:
    x = x.transpose([own.index(k) for k in order if k in own])
    return x[tuple(slice(None) if k in own else None for k in order)]


def _cumulated(x: Any, axis: Any = None, **_: Any) -> Any:
    x = elements(x)
    return _each_part(lambda part: reduced(np.cumsum(part, axis)), x)


def _chosen(condition: Any, a: Any = None, b: Any = None) -> Any:
    if a is None:
        return np.where(_truth(condition))
    a, b = elements(a), elements(b)
    if a.dtype != b.dtype:
        a, b = (x.astype(complex) for x in (a, b))
    return np.where(_truth(condition), a, b)


def _kept(x: Any, where: Any, other: Any) -> Any:
    return x if where is True else _chosen(where, x, other)


def _sign_test(call: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a comparison, which the sign of the difference decides."""
    return lambda a, b: call(character(sum_of(a, -b)))


def _cholesky(a: Any, upper: bool) -> Any:
    if upper:
        return np.swapaxes(_cholesky(np.swapaxes(a, -1, -2), False), -1, -2)
    return factored(residues(elements(a)))


def _matrix_power(a: Any, n: int) -> Any:
    a, n = (matrices.inv(a), -n) if n < 0 else (a, n)
    found = np.broadcast_to(np.eye(a.shape[-1]), a.shape)
    for _ in range(n):
        found = _matmul(found, a)
    return found


def _slogdet(a: Any) -> Any:
    value = matrices.det(elements(a))
    return SignAndLog(residues(_atom("sign", value)), residues(_atom("log", _atom("absolute", value))))


ALIASES = {"fabs": "absolute", "fmax": "maximum", "fmin": "minimum", "mod": "remainder"}
PLAIN: dict[str, Callable[..., Any]] = {
    "greater": _sign_test(lambda s: s > 0),
    "less": _sign_test(lambda s: s < 0),
    "greater_equal": _sign_test(lambda s: s >= 0),
    "less_equal": _sign_test(lambda s: s <= 0),
    "equal": np.equal,
    "not_equal": np.not_equal,
    "isfinite": np.isfinite,
    "isnan": np.isnan,
    "isinf": np.isinf,
}
"""Functions whose results are truth values."""
LOGICAL: dict[str, Callable[..., Any]] = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
    "bitwise_and": np.logical_and,
    "bitwise_or": np.logical_or,
    "invert": np.logical_not,
}
CALLS: dict[str, Callable[..., Any]] = {
    "add": _added,
    "subtract": lambda a, b: _each_part(lambda x, y: sum_of(x, -y), a, b),
    "negative": lambda a: _each_part(lambda x: sum_of(-x, 0.0), a),
    "positive": lambda a: a.copy(),
    "conjugate": lambda a: a.copy(),
    "multiply": _bilinear(times),
    "divide": _divide,
    "square": lambda a: _bilinear(times)(a, a),
    "reciprocal": lambda a: _divide(np.ones(a.shape), a),
    "matmul": _matmul,
    "vecdot": _vecdot,
    "clip": _clip,
}
"""Functions of numbers that are arithmetic."""
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": _sum,
    "mean": _mean,
    "var": _variance,
    "std": lambda x, axis=None, keepdims=False, **options: _atom("sqrt", _variance(x, axis, keepdims, **options)),
    "max": lambda x, axis=None, keepdims=False, initial=None, where=True: _extreme(
        _kept(x, where, initial), axis, keepdims, 1, initial
    ),
    "amax": lambda x, axis=None, keepdims=False, initial=None: _extreme(x, axis, keepdims, 1, initial),
    "min": lambda x, axis=None, keepdims=False, initial=None, where=True: _extreme(
        _kept(x, where, initial), axis, keepdims, -1, initial
    ),
    "amin": lambda x, axis=None, keepdims=False, initial=None: _extreme(x, axis, keepdims, -1, initial),
    "prod": lambda x, axis=None, keepdims=False: _product_along(elements(x), axis, keepdims),
    "cumsum": _cumulated,
    "where": _chosen,
    "clip": lambda x, low=None, high=None, **_: _clip(elements(x), low, high),
    "dot": _dot,
    "vdot": lambda a, b: _dot(np.ravel(a), np.ravel(b)),
    "inner": _inner,
    "outer": _outer,
    "tensordot": _tensordot,
    "einsum": _einsum,
    "norm": _norm,
    "matmul": lambda a, b: _matmul(elements(a), elements(b)),
    "vecdot": lambda a, b, axis=-1: _vecdot(elements(a), elements(b)),
    "real": lambda x: _real(np.asarray(x)),
    "imag": lambda x: elements(x).imag,
    "linalg.norm": _norm,
    "solve": lambda a, b: matrices.solve(elements(a), elements(b)),
    "inv": lambda a: matrices.inv(elements(a)),
    "det": lambda a: matrices.det(elements(a)),
    "slogdet": _slogdet,
    "cholesky": lambda a, upper=False: _cholesky(a, upper),
    "trace": lambda a, **_: _sum(np.diagonal(elements(a)), -1),
    "matrix_power": lambda a, n: _matrix_power(elements(a), n),
}
"""Functions of arrays that compute."""
ORDERS = ("argmax", "argmin", "sort", "argsort", "median", "convolve", "correlate")
"""Functions of arrays that the language makes of comparisons and sums."""
MOVING = frozenset((
    "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack", "split", "array_split", "hsplit", "vsplit",
    "reshape", "ravel", "transpose", "swapaxes", "moveaxis", "rollaxis", "roll", "flip", "fliplr", "flipud", "rot90",
    "expand_dims", "squeeze", "broadcast_to", "broadcast_arrays", "atleast_1d", "atleast_2d", "atleast_3d", "take",
    "take_along_axis", "put_along_axis", "copyto", "copy", "zeros_like", "ones_like", "empty_like", "full_like", "shape",
    "ndim", "size", "repeat", "tile", "pad", "diagonal", "diag", "tril", "triu", "delete", "insert", "append", "result_type",
    "can_cast", "shares_memory", "may_share_memory", "iscomplexobj", "isrealobj", "matrix_transpose",
    "permute_dims", "unstack", "array_equal", "sliding_window_view", "block", "meshgrid",
))  # fmt: skip
"""Functions of arrays that move elements and compute nothing."""


def _method(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        kwargs.pop("dtype", None)
        found = FUNCTIONS[name](self, *args, **kwargs)
        return residues(found) if out is None else _stored(found, out, True)

    return method


for _name in ("sum", "mean", "var", "std", "max", "min", "prod", "cumsum", "clip", "dot"):
    setattr(Residues, _name, _method(_name))
