"""Reverse-mode autodiff on NumPy arrays: a user's own function runs on it unchanged, and it shares no code with the library.

A `Tape` is an array that remembers what it was made from, with one function for each parent that sends a gradient back. NumPy's
functions reach it through `__array_ufunc__` and `__array_function__`, the functions of symbptt on arrays through these.
It knows one sample and one step at a time, as the function does. Whatever it does not know raises: no gradient is lost in silence.

Conventions at kinks are those of the documentation: |x| has 0 at 0, relu and `maximum(x, constant)` have 0 at the tie, equal
maxima share their gradient.
"""

import itertools
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_count = itertools.count()
Back = Callable[[Any], Any]


class Tape:
    """An array, and how its gradient goes back to each of its parents."""

    __array_priority__ = 1000

    def __init__(self, value: Any, parents: Sequence[tuple["Tape", Back]] = ()) -> None:
        self.value, self.parents, self.number = np.asarray(value), tuple(parents), next(_count)

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    T = property(lambda self: _moved(np.transpose, self))
    mT = property(lambda self: _moved(np.swapaxes, self, -1, -2))

    def __repr__(self) -> str:
        return f"<tape {self.value!r}>"

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:
        return iter([self[i] for i in range(len(self.value))])

    def __getitem__(self, key: Any) -> Any:
        return _moved(lambda v: v[key], self)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("a tape was turned into a plain array, its gradient would be lost")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs:
            raise TypeError(f"the tape does not know {ufunc.__name__}.{method} with {kwargs}")
        return _apply(ufunc, *inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in _MOVES:
            return _moved(func, *args, **kwargs)
        if func in _PLAIN:
            return func(*_plain(args), **_plain(kwargs))
        if func not in _FUNCTIONS:
            raise TypeError(f"the tape does not know {func.__name__}")
        return _FUNCTIONS[func](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(f"the tape has no attribute {name!r}")
        return lambda *args, **kwargs: getattr(np, _METHODS[name])(self, *args, **kwargs)

    def reshape(self, *shape: Any) -> Any:
        return _moved(lambda v: v.reshape(*shape), self)

    def transpose(self, *axes: Any) -> Any:
        return _moved(lambda v: v.transpose(*axes), self)


_METHODS = {name: name for name in (
    "sum", "mean", "max", "min", "dot", "cumsum", "clip", "ravel", "squeeze", "swapaxes", "copy", "conj", "var", "std", "prod",
)} | {"flatten": "ravel", "conjugate": "conj"}  # fmt: skip
_OPERATORS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "pow": np.power, "matmul": np.matmul,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
for _short, _ufunc in _OPERATORS.items():
    setattr(Tape, f"__{_short}__", lambda a, b, f=_ufunc: _apply(f, a, b))
    setattr(Tape, f"__r{_short}__", lambda a, b, f=_ufunc: _apply(f, b, a))
Tape.__neg__ = lambda a: _apply(np.negative, a)
Tape.__pos__ = lambda a: a
Tape.__abs__ = lambda a: _apply(np.absolute, a)
Tape.__hash__ = object.__hash__


def gradients(result: Any, leaves: Sequence[Tape]) -> list[Any]:
    """The derivatives of a scalar with respect to leaves; zeros where it does not depend on one, or is a plain number."""
    found: dict[int, Any] = {}
    if isinstance(result, Tape):
        assert result.ndim == 0
        nodes, open_nodes = {result.number: result}, [result]
        while open_nodes:
            for parent, _ in open_nodes.pop().parents:
                if parent.number not in nodes:
                    nodes[parent.number] = parent
                    open_nodes.append(parent)
        found[result.number] = np.ones_like(result.value)
        for number in sorted(nodes, reverse=True):  # what is made later goes first
            for parent, back in nodes[number].parents:
                found[parent.number] = found.get(parent.number, 0) + back(found[number])
    return [np.zeros_like(leaf.value) + found.get(leaf.number, 0) for leaf in leaves]


def elementwise(value: Callable[..., Any], *slopes: Callable[..., Any]) -> Callable[..., Any]:
    """A function on tapes and arrays by its value and its partial derivatives, functions of plain arrays."""

    def function(*args: Any) -> Any:
        plain = _plain(args)
        return _node(value(*plain), args, [lambda g, d=slope: g * d(*plain) for slope in slopes])

    return function


def _plain(x: Any) -> Any:
    """What an argument holds, without its past."""
    if isinstance(x, Tape):
        return x.value
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    return type(x)(_plain(v) for v in x) if isinstance(x, list | tuple) else x


def _node(value: Any, args: Sequence[Any], backs: Sequence[Back]) -> Any:
    """The result of arguments, each with its own way back; what broadcasting repeated is summed."""
    parents = [
        (a, lambda g, a=a, back=back: _folded(back(g), a.shape))
        for a, back in zip(args, backs, strict=True)
        if isinstance(a, Tape)
    ]
    return Tape(value, parents) if parents else value


def _folded(g: Any, shape: tuple[int, ...]) -> Any:
    """A gradient summed over the axes that broadcasting added."""
    g = np.asarray(g)
    g = g.sum(tuple(range(g.ndim - len(shape))))
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and g.shape[i] != 1)
    return np.broadcast_to(g.sum(axes, keepdims=True), shape)


# Elementwise functions: (gradient, result, arguments) -> the gradient of each argument.

_SLOPES: dict[Any, Callable[..., Any]] = {
    np.negative: lambda y, a: (-1.0,), np.positive: lambda y, a: (1.0,), np.conjugate: lambda y, a: (1.0,),
    np.reciprocal: lambda y, a: (-y * y,), np.square: lambda y, a: (2 * a,), np.sqrt: lambda y, a: (0.5 / y,),
    np.exp: lambda y, a: (y,), np.expm1: lambda y, a: (np.exp(a),), np.log: lambda y, a: (1 / a,),
    np.log1p: lambda y, a: (1 / (1 + a),), np.log2: lambda y, a: (1 / (a * np.log(2)),),
    np.log10: lambda y, a: (1 / (a * np.log(10)),), np.sin: lambda y, a: (np.cos(a),),
    np.cos: lambda y, a: (-np.sin(a),), np.tan: lambda y, a: (1 + y * y,), np.arctan: lambda y, a: (1 / (1 + a * a),),
    np.tanh: lambda y, a: (np.cosh(np.clip(a, -300, 300)) ** -2.0,), np.sinh: lambda y, a: (np.cosh(a),),
    np.cosh: lambda y, a: (np.sinh(a),), np.absolute: lambda y, a: (np.sign(a),), np.fabs: lambda y, a: (np.sign(a),),
    np.add: lambda y, a, b: (1.0, 1.0), np.subtract: lambda y, a, b: (1.0, -1.0),
    np.multiply: lambda y, a, b: (b, a), np.divide: lambda y, a, b: (1 / b, -y / b),
    np.hypot: lambda y, a, b: (np.where(y == 0, 0, a) / np.where(y == 0, 1, y), np.where(y == 0, 0, b) / np.where(y == 0, 1, y)),
    np.arctan2: lambda y, a, b: (b / (a * a + b * b), -a / (a * a + b * b)),
    np.remainder: lambda y, a, b: (1.0, -np.floor(a / b)), np.fmod: lambda y, a, b: (1.0, -np.trunc(a / b)),
    np.logaddexp: lambda y, a, b: (np.exp(a - y), np.exp(b - y)),
}  # fmt: skip
_FLAT = {
    np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal, np.logical_and, np.logical_or,
    np.logical_not, np.bitwise_and, np.bitwise_or, np.invert, np.isnan, np.isfinite, np.isinf, np.sign, np.floor, np.signbit, np.floor_divide,
}  # fmt: skip


def _apply(ufunc: Any, *args: Any) -> Any:
    """A ufunc of tapes and arrays."""
    if any(isinstance(a, list | tuple) for a in args):
        return NotImplemented
    plain = _plain(args)
    if ufunc in _FLAT:
        return ufunc(*plain)
    if ufunc is np.matmul:
        return _matmul(*args)
    if ufunc in (np.power, np.float_power):
        return _power(*args)
    if ufunc in (np.maximum, np.minimum, np.fmax, np.fmin):
        return _extremum(ufunc, *args)
    if ufunc not in _SLOPES:
        raise TypeError(f"the tape does not know {ufunc.__name__}")
    y = ufunc(*plain)
    return _node(y, args, [lambda g, d=slope: g * d for slope in _SLOPES[ufunc](y, *plain)])


def _power(a: Any, b: Any) -> Any:
    base, exponent = _plain((a, b))
    y = np.power(base, exponent)

    def of_base(g: Any) -> Any:
        return g * np.where(exponent == 0, 0.0, exponent * np.power(base, np.where(exponent == 0, 1.0, exponent - 1.0)))

    return _node(y, (a, b), [of_base, lambda g: g * y * np.log(base)])


def _extremum(ufunc: Any, a: Any, b: Any) -> Any:
    x, z = _plain((a, b))
    largest = ufunc in (np.maximum, np.fmax)
    if isinstance(a, Tape) and isinstance(b, Tape):
        first = np.where(x == z, 0.5, (x > z) == largest)
    elif isinstance(a, Tape):
        first = (x > z) if largest else (x <= z)
    else:
        first = ~((z > x) if largest else (z <= x))
    return _node(ufunc(x, z), (a, b), [lambda g: g * first, lambda g: g * (1.0 - first)])


# Products.


def _matmul(a: Any, b: Any) -> Any:
    x, z = np.asarray(_plain(a)), np.asarray(_plain(b))
    row, column = x[None] if x.ndim == 1 else x, z[:, None] if z.ndim == 1 else z

    def whole(g: Any) -> Any:
        g = np.expand_dims(g, -1) if z.ndim == 1 else g
        return np.expand_dims(g, -2) if x.ndim == 1 else g

    def of_a(g: Any) -> Any:
        found = whole(g) @ np.swapaxes(column, -1, -2)
        return found[..., 0, :] if x.ndim == 1 else found

    def of_b(g: Any) -> Any:
        found = np.swapaxes(row, -1, -2) @ whole(g)
        return found[..., :, 0] if z.ndim == 1 else found

    return _node(np.matmul(x, z), (a, b), [of_a, of_b])


def _einsum(text: str, *operands: Any) -> Any:
    shapes = [np.shape(_plain(x)) for x in operands]
    left, arrow, out = text.replace(" ", "").partition("->")
    parts = left.split(",")
    free = [c for c in string.ascii_letters if c not in text]
    hidden = [len(s) - len(p.replace("...", "")) if "..." in p else 0 for p, s in zip(parts, shapes, strict=True)]
    most = "".join(free[: max(hidden)])
    parts = [p.replace("...", most[len(most) - n :]) for p, n in zip(parts, hidden, strict=True)]
    if not arrow:
        every = "".join(parts)
        out = ("..." if most else "") + "".join(sorted(c for c in set(every) - set(most) if every.count(c) == 1))
    out = out.replace("...", most)
    plain = [np.asarray(_plain(x)) for x in operands]

    def back_to(i: int) -> Back:
        others = [j for j in range(len(parts)) if j != i]
        seen = set(out).union(*(parts[j] for j in others))
        kept = "".join(c for c in parts[i] if c in seen)
        names = ",".join([out, *(parts[j] for j in others)])

        def back(g: Any) -> Any:
            found = np.einsum(f"{names}->{kept}", g, *(plain[j] for j in others))
            return np.broadcast_to(
                found.reshape([n if c in seen else 1 for c, n in zip(parts[i], shapes[i], strict=True)]), shapes[i]
            )

        return back

    assert all(len(set(p)) == len(p) for p in parts), "the tape knows no diagonals"
    return _node(np.einsum(",".join(parts) + "->" + out, *plain), operands, [back_to(i) for i in range(len(operands))])


def _outer(a: Any, b: Any) -> Any:
    return _einsum("i,j->ij", np.ravel(a), np.ravel(b))


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    na, nb = np.ndim(_plain(a)), np.ndim(_plain(b))
    of_a, of_b = (range(na - axes, na), range(axes)) if isinstance(axes, int) else map(np.atleast_1d, axes)
    letters = iter(string.ascii_letters)
    la, lb = [next(letters) for _ in range(na)], [next(letters) for _ in range(nb)]
    for i, j in zip(of_a, of_b, strict=True):
        lb[j] = la[i]
    summed = {la[i] for i in of_a}
    return _einsum(f"{''.join(la)},{''.join(lb)}->{''.join(c for c in la + lb if c not in summed)}", a, b)


def _dot(a: Any, b: Any) -> Any:
    na, nb = np.ndim(_plain(a)), np.ndim(_plain(b))
    if not na or not nb:
        return a * b
    return _tensordot(a, b, ((na - 1,), (max(nb - 2, 0),)))


# Reductions.


def _axes(axis: Any, rank: int) -> tuple[int, ...]:
    chosen = range(rank) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(int(i) % rank for i in chosen)


def _sum(x: Tape, axis: Any = None, keepdims: bool = False) -> Any:
    axes = _axes(axis, x.ndim)
    return _node(
        np.sum(x.value, axis=axes, keepdims=keepdims),
        (x,),
        [lambda g: np.broadcast_to(g if keepdims else np.expand_dims(g, axes), x.shape)],
    )


def _mean(x: Tape, axis: Any = None, keepdims: bool = False, where: Any = None) -> Any:
    counted = np.ones(x.shape) if where is None else where
    number = np.sum(counted, axis=axis, keepdims=keepdims)
    return _sum(x * counted, axis, keepdims) / number


def _greatest(sign: float) -> Callable[..., Any]:
    def function(x: Tape, axis: Any = None, keepdims: bool = False) -> Any:
        top = sign * np.max(sign * x.value, axis=axis, keepdims=True)
        return _mean(x, axis, keepdims, where=x.value == top)

    return function


def _cumsum(x: Tape, axis: Any = None) -> Any:
    x = np.ravel(x) if axis is None else x
    at = 0 if axis is None else axis
    return _node(np.cumsum(x.value, at), (x,), [lambda g: np.flip(np.cumsum(np.flip(g, at), at), at)])


def _var(x: Tape, axis: Any = None, keepdims: bool = False) -> Any:
    centred = x - _mean(x, axis, True)
    return _mean(centred * centred, axis, keepdims)


def _root(x: Any) -> Any:
    """The square root of a sum of squares, whose gradient at zero is zero."""
    y = np.sqrt(x.value)
    return _node(y, (x,), [lambda g: np.where(y > 0, g * 0.5 / np.where(y > 0, y, 1.0), 0.0)])


def _norm(x: Tape, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    assert ord in (None, 2, "fro")
    return _root(_sum(x * x, axis, keepdims))


def _where(c: Any, a: Any, b: Any) -> Any:
    chosen = np.asarray(_plain(c)) != 0
    return _node(
        np.where(chosen, _plain(a), _plain(b)),
        (a, b),
        [lambda g: np.where(chosen, g, 0), lambda g: np.where(chosen, 0, g)],
    )


def _clip(x: Any, lo: Any = None, hi: Any = None) -> Any:
    x = x if lo is None else _apply(np.maximum, x, lo)
    return x if hi is None else _apply(np.minimum, x, hi)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.einsum: _einsum, np.outer: _outer, np.dot: _dot, np.tensordot: _tensordot,
    np.inner: lambda a, b: _tensordot(a, b, ((-1,), (-1,))), np.vdot: lambda a, b: _dot(np.ravel(a), np.ravel(b)),
    np.sum: _sum, np.mean: _mean, np.max: _greatest(1.0), np.min: _greatest(-1.0), np.cumsum: _cumsum, np.var: _var,
    np.std: lambda *args, **kwargs: _root(_var(*args, **kwargs)), np.linalg.norm: _norm, np.where: _where, np.clip: _clip,
    np.real: lambda x: x.value,  # what symbptt's functions on arrays compare, and stop the gradient with
    np.shape: lambda x: x.shape, np.ndim: lambda x: x.ndim, np.size: lambda x: x.size,
}  # fmt: skip
_PLAIN = {np.iscomplexobj, np.isrealobj, np.zeros_like, np.ones_like, np.full_like, np.argmax, np.argmin, np.result_type,
          np.array_equal, np.any, np.all}  # fmt: skip
"""Functions through which nothing flows."""

# Rearrangements: where each entry of the result comes from is found by rearranging numbers of places.

_MOVES = {
    np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.broadcast_to, np.expand_dims, np.squeeze,
    np.concatenate, np.stack, np.hstack, np.vstack, np.split, np.flip, np.roll, np.take, np.copy, np.tril, np.triu, np.diag,
    np.diagonal, np.repeat, np.tile, np.array_split, np.pad, np.atleast_1d,
}  # fmt: skip


def _moved(move: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function that only moves entries makes of tapes, alone or in lists."""
    tapes: list[Tape] = []
    value, places = move(*_plain(args), **kwargs), move(*(_numbered(arg, tapes) for arg in args), **kwargs)
    if isinstance(value, list):
        return [_from(v, p, tapes) for v, p in zip(value, places, strict=True)]
    return _from(value, places, tapes)


def _numbered(x: Any, tapes: list[Tape]) -> Any:
    """Arguments with the numbers of their entries in the place of tapes, counted from 1 over all of them; 0 is no entry."""
    if isinstance(x, Tape):
        first = 1 + sum(tape.size for tape in tapes)
        tapes.append(x)
        return np.arange(first, first + x.size).reshape(x.shape)
    if isinstance(x, list | tuple):
        inside = any(isinstance(v, Tape) for v in x)
        return type(x)(
            np.zeros(np.shape(v), int) if inside and not isinstance(v, Tape) else _numbered(v, tapes) for v in x
        )
    return x


def _from(value: Any, places: Any, tapes: Sequence[Tape]) -> Tape:
    starts = np.cumsum([1, *(tape.size for tape in tapes)])

    def back_to(i: int) -> Back:
        lo, hi = starts[i], starts[i + 1]

        def back(g: Any) -> Any:
            found, mine = np.zeros(tapes[i].size, value.dtype), (places >= lo) & (places < hi)
            np.add.at(found, np.asarray(places)[mine] - lo, np.asarray(g)[mine])
            return found.reshape(tapes[i].shape)

        return back

    return Tape(value, [(tape, back_to(i)) for i, tape in enumerate(tapes)])
