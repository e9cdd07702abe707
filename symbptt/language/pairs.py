"""Complex numbers as pairs of real ones: a cell of complex arguments as one of real arrays with an axis of two in front.

What a user writes in complex numbers runs here on pairs, of whatever arrays: numbers of a complex step, so that derivatives are
told by it, and symbolic arrays, which gives the same cell in real numbers. Nothing of this reads the rules by which complex
values are differentiated.

Example: z = a + b i and w = c + d i are pairs (a, b) and (c, d), and z w is the pair (a c - b d, a d + b c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, CellError
from symbptt.ir.step import Argument
from symbptt.language.array import Array
from symbptt.language.cell import Cell
from symbptt.language.functions import ELEMENTWISE
from symbptt.language.model import Loss, Model


class Pair:
    """Real and imaginary parts; `im` is None of real numbers."""

    __array_priority__ = 2000
    __slots__ = ("im", "re")

    def __init__(self, re: Any, im: Any = None) -> None:
        self.re, self.im = re, im

    def __repr__(self) -> str:
        return f"<pair of shape {np.shape(self.re)}>"

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # A reduction or out= would have to know which part it goes into; no cell of the language needs it.
        if method != "__call__" or kwargs:
            raise CellError(
                f"np.{ufunc.__name__}.{method} of pairs of real numbers is not known\n  write the plain call"
            )
        return of_language(ufunc.__name__, inputs, ufunc)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return of_function(func, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not callable(getattr(np, name, None)):
            raise AttributeError(f"a pair of real numbers has no attribute {name!r}")
        # x.sum() is np.sum(x): one table of functions serves both spellings.
        return lambda *args, **kwargs: of_function(getattr(np, name), (self, *args), kwargs)

    @property
    def elementwise_of_pairs(self) -> Callable[..., Any]:
        """The functions of the language on pairs, by name."""
        return of_language

    @property
    def real(self) -> Pair:
        return Pair(self.re)

    @property
    def imag(self) -> Pair:
        return Pair(_im(self))

    @property
    def T(self) -> Pair:
        found: Pair = self.transpose()
        return found

    @property
    def mT(self) -> Pair:
        return _each(self, lambda x: np.swapaxes(x, -1, -2))

    @property
    def shape(self) -> Any:
        return np.shape(self.re)

    @property
    def ndim(self) -> int:
        return int(np.ndim(self.re))

    @property
    def size(self) -> Any:
        return np.size(self.re)

    def reshape(self, *shape: Any) -> Pair:
        """Return the same numbers in another shape."""
        return _each(self, lambda x: x.reshape(*shape))

    def transpose(self, *axes: Any) -> Pair:
        """Return the same numbers with other axes in front."""
        return _each(self, lambda x: np.transpose(x, axes[0] if len(axes) == 1 else axes or None))

    def astype(self, dtype: Any) -> Pair:
        """Return the numbers as complex ones where those are asked for."""
        return Pair(self.re, _im(self)) if np.dtype(dtype).kind == "c" else Pair(self.re)

    def __getitem__(self, key: Any) -> Pair:
        return _each(self, lambda x: x[_plain_key(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        re, im = parts(value)
        # NumPy drops the imaginary part here with a warning; a gradient would be wrong without one.
        if im is not None and self.im is None:
            raise CellError("complex numbers are written into an array of real ones\n  begin with x * 1j")
        key = _plain_key(key)
        self.re[key] = re
        if self.im is not None:
            self.im[key] = 0.0 if im is None else im

    def __len__(self) -> int:
        return len(self.re)

    def __iter__(self) -> Iterator[Pair]:
        return iter([self[i] for i in range(len(self))])

    def __bool__(self) -> bool:
        return bool(self.re)

    def __index__(self) -> int:
        return int(self.re.__index__())

    def __float__(self) -> float:
        return float(self.re)

    def __matmul__(self, other: Any) -> Any:
        return of_language("matmul", (self, other), np.matmul)

    def __rmatmul__(self, other: Any) -> Any:
        return of_language("matmul", (other, self), np.matmul)


def _operators() -> None:
    both = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power", "lt": "less",
            "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal", "and": "bitwise_and",
            "or": "bitwise_or", "xor": "bitwise_xor", "mod": "mod", "floordiv": "floor_divide"}  # fmt: skip
    for short, name in both.items():
        setattr(Pair, f"__{short}__", lambda a, b, name=name: of_language(name, (a, b)))
        setattr(Pair, f"__r{short}__", lambda a, b, name=name: of_language(name, (b, a)))
    for short, name in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
        setattr(Pair, f"__{short}__", lambda a, name=name: of_language(name, (a,)))


_operators()


def parts(x: Any) -> tuple[Any, Any]:
    """Return the real and the imaginary parts of a value, None for those of a real one."""
    if isinstance(x, Pair):
        return x.re, x.im
    if isinstance(x, Array):
        return x, None
    array = np.asarray(x)
    return (array.real, array.imag) if array.dtype.kind == "c" else (x, None)


def pair(x: Any) -> Pair:
    """Return a value as a pair."""
    return x if isinstance(x, Pair) else Pair(*parts(x))


def _im(x: Pair) -> Any:
    return np.zeros_like(x.re) * 1.0 if x.im is None else x.im


def _each(x: Pair, function: Callable[[Any], Any]) -> Pair:
    return Pair(function(x.re), None if x.im is None else function(x.im))


def _plain_key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_plain_key, key))
    return key.re if isinstance(key, Pair) else key


def of_language(name: str, values: Sequence[Any], ufunc: Any = None) -> Any:
    """Return an elementwise function, by its name in NumPy or in the language, of pairs and plain numbers.

    Raises: CellError where a function of complex numbers is not known here.
    """
    given = [pair(x) for x in values]
    if name == "where":
        return _where(*given)
    # Real numbers take the plain function: theirs has slopes, ties and accurate forms that a pair has not.
    if name in _OF_PAIRS and any(x.im is not None for x in given):
        return _OF_PAIRS[name](*given)
    if name in ("conjugate", "conj", "real", "as_complex"):
        return given[0]
    if any(x.im is not None for x in given):
        raise CellError(f"{name} of complex numbers is not known for pairs of real numbers")
    function = ELEMENTWISE.get(name) if ufunc is None else ufunc
    return Pair((getattr(np, name) if function is None else function)(*(x.re for x in given)))


def _add(a: Pair, b: Pair) -> Pair:
    re = a.re + b.re
    im = b.im if a.im is None else a.im if b.im is None else a.im + b.im
    # The part that one operand has not is zero, and must have the shape of the sum all the same.
    return Pair(re, im if np.shape(im) == np.shape(re) else np.zeros_like(re) + im)


def _negative(a: Pair) -> Pair:
    return _each(a, lambda x: -x)


def _multilinear(function: Callable[..., Any], *operands: Pair) -> Pair:
    """Return a function that is linear in each operand: Π (a_k + i b_k) multiplied out."""
    found: list[Any] = [None, None]
    for choice in product(*([False] if x.im is None else [False, True] for x in operands)):
        term = function(*(x.im if is_im else x.re for x, is_im in zip(operands, choice, strict=True)))
        count = sum(choice)
        # i^k by the number k of imaginary factors: 1, i, -1, -i.
        sign = -1 if count % 4 in (2, 3) else 1
        term = term if sign > 0 else -term
        place = count % 2
        found[place] = term if found[place] is None else found[place] + term
    return Pair(*found)


def _is_imaginary_number(x: Pair) -> bool:
    """Answer whether a pair is a number without a real part, as 1j."""
    return x.im is not None and not isinstance(x.re, Array) and np.ndim(x.re) == 0 and bool(x.re == 0)


def _multiply(a: Pair, b: Pair) -> Pair:
    for one, other in ((a, b), (b, a)):
        if _is_imaginary_number(one) and other.im is None:
            # Zero times a value would stand on pages.
            im = one.im * other.re
            return Pair(np.zeros_like(im), im)
    return _multilinear(lambda x, y: x * y, a, b)


def _matmul(a: Pair, b: Pair) -> Pair:
    return _multilinear(np.matmul, a, b)


def _conj(a: Pair) -> Pair:
    return a if a.im is None else Pair(a.re, -a.im)


def _divide(a: Pair, b: Pair) -> Pair:
    # Division by a real number needs no conjugate, and loses no digits by its square.
    if b.im is None:
        return _each(a, lambda x: x / b.re)
    # a / b = a conj(b) / |b|²: the denominator is real.
    above = _multiply(a, _conj(b))
    return _each(above, lambda x: x / (b.re * b.re + b.im * b.im))


def _power(a: Pair, b: Pair) -> Pair:
    count = int(b)
    found = Pair(1.0)
    # Whole exponents alone: others have a branch, which the language does not take for complex numbers.
    for _ in range(abs(count)):
        found = _multiply(found, a)
    return _divide(Pair(1.0), found) if count < 0 else found


def _tanh(a: Pair) -> Pair:
    # tanh(x + iy) = (sinh 2x + i sin 2y) / (cosh 2x + cos 2y), with one real denominator.
    below = np.cosh(2 * a.re) + np.cos(2 * a.im)
    return Pair(np.sinh(2 * a.re) / below, np.sin(2 * a.im) / below)


_OF_PAIRS: dict[str, Callable[..., Any]] = {
    "add": _add, "subtract": lambda a, b: _add(a, _negative(b)), "multiply": _multiply, "divide": _divide,
    "true_divide": _divide, "matmul": _matmul, "negative": _negative, "positive": lambda a: a, "power": _power,
    "square": lambda a: _multiply(a, a), "reciprocal": lambda a: _divide(Pair(1.0), a),
    "conjugate": _conj, "conj": _conj, "as_complex": lambda a: a,
    "real": lambda a: Pair(a.re), "imag": lambda a: Pair(a.im),
    "absolute": lambda a: Pair(np.hypot(a.re, a.im)), "modulus": lambda a: Pair(np.hypot(a.re, a.im)),
    "angle": lambda a: Pair(np.arctan2(a.im, a.re)),
    "exp": lambda a: Pair(np.exp(a.re) * np.cos(a.im), np.exp(a.re) * np.sin(a.im)),
    "sin": lambda a: Pair(np.sin(a.re) * np.cosh(a.im), np.cos(a.re) * np.sinh(a.im)),
    "cos": lambda a: Pair(np.cos(a.re) * np.cosh(a.im), -np.sin(a.re) * np.sinh(a.im)),
    "sinh": lambda a: Pair(np.sinh(a.re) * np.cos(a.im), np.cosh(a.re) * np.sin(a.im)),
    "cosh": lambda a: Pair(np.cosh(a.re) * np.cos(a.im), np.sinh(a.re) * np.sin(a.im)),
    "tanh": _tanh,
    "vecdot": lambda a, b: _multilinear(lambda x, y: np.sum(x * y, axis=-1), _conj(a), b),
    "vecmat": lambda a, b: _matmul(_conj(a), b), "matvec": _matmul,
}  # fmt: skip
"""Functions of pairs, by name, where one operand is complex."""


def _where(condition: Any, a: Pair, b: Pair) -> Pair:
    # A condition is real: complex numbers have no order.
    test = condition.re
    re = np.where(test, a.re, b.re)
    return Pair(re) if a.im is None and b.im is None else Pair(re, np.where(test, _im(a), _im(b)))


MULTILINEAR = ("dot", "inner", "outer", "tensordot", "kron", "convolve", "cross")
LINEAR = (
    "sum", "mean", "cumsum", "concatenate", "concat", "stack", "vstack", "hstack", "column_stack", "transpose", "permute_dims",
    "reshape", "ravel", "squeeze", "expand_dims", "broadcast_to", "roll", "flip", "swapaxes", "moveaxis", "take", "repeat", "tile",
    "diff", "tril", "triu", "copy", "zeros_like", "split", "array_split", "pad", "trace", "diagonal", "diag", "matrix_transpose",
)  # fmt: skip
"""Functions of NumPy that are linear in all arrays that they are given."""


def of_function(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return a function of NumPy of pairs.

    Raises: CellError where a function of complex numbers is not known here.
    """
    name = func.__name__
    if name in ("shape", "ndim", "size"):
        return func(parts(args[0])[0], *args[1:])
    if name == "iscomplexobj":
        return pair(args[0]).im is not None
    if name in ("real", "imag", "conj", "conjugate", "flatten"):
        x = pair(args[0])
        return {"real": x.real, "imag": x.imag, "flatten": _each(x, np.ravel)}.get(name, _conj(x))
    if name == "angle":
        x, scale = pair(args[0]), 180 / np.pi if (kwargs.get("deg") or (len(args) > 1 and args[1])) else 1.0
        return Pair(np.arctan2(_im(x), x.re) * scale)
    if name == "where" and len(args) == 3:
        return _where(*map(pair, args))
    # The first operand is conjugated, as in NumPy: the product is sesquilinear, and vdot(x, x) is real.
    if name == "vdot":
        return _multilinear(np.dot, _conj(pair(args[0]).ravel()), pair(args[1]).ravel())
    if name == "correlate":
        return _multilinear(lambda x, y: func(x, y, *args[2:], **kwargs), pair(args[0]), _conj(pair(args[1])))
    if name in MULTILINEAR:
        return _multilinear(lambda x, y: func(x, y, *args[2:], **kwargs), pair(args[0]), pair(args[1]))
    if name == "einsum":
        return _multilinear(lambda *x: func(args[0], *x), *map(pair, args[1:]))
    if name == "prod":
        return _folded(pair(args[0]), *args[1:], **kwargs)
    if name in ("ones_like", "full_like"):
        x, (re, im) = pair(args[0]), parts(1.0 if name == "ones_like" else args[1])
        return Pair(
            np.zeros_like(x.re) * 1.0 + re, None if x.im is None else np.zeros_like(x.im) + (0.0 if im is None else im)
        )
    # Without imaginary parts any function is as it is of real numbers.
    if not _has_imaginary((*args, *kwargs.values())):
        return _wrapped(func(*_taken(args, 0), **{k: _taken(v, 0) for k, v in kwargs.items()}))
    if name not in LINEAR:
        raise CellError(f"np.{name} of complex numbers is not known for pairs of real numbers")
    # Linear: f(a + ib) = f(a) + i f(b), part by part.
    re, im = (func(*_taken(args, part), **{k: _taken(v, part) for k, v in kwargs.items()}) for part in (0, 1))
    return [Pair(a, b) for a, b in zip(re, im, strict=True)] if isinstance(re, list | tuple) else Pair(re, im)


def _folded(x: Pair, axis: Any = None) -> Pair:
    x, axis = (x.ravel(), 0) if axis is None else (x, axis)
    rows = list(_each(x, lambda part: np.moveaxis(part, axis, 0)))
    # No product of all of an axis is linear in each of its entries at once, so that it goes entry by entry.
    found = rows[0]
    for row in rows[1:]:
        found = _multiply(found, row)
    return found


def _wrapped(found: Any) -> Any:
    return [Pair(x) for x in found] if isinstance(found, list) else Pair(found)


def _has_imaginary(values: Sequence[Any]) -> bool:
    return any(
        _has_imaginary(x) if isinstance(x, list | tuple) else isinstance(x, Pair) and x.im is not None for x in values
    )


def _taken(value: Any, part: int, beside: bool = False) -> Any:
    """Return an argument with one part of each pair in it; plain numbers beside pairs in a list have parts too."""
    if isinstance(value, list | tuple):
        among = any(isinstance(x, Pair) for x in value) and isinstance(value, list | tuple)
        return type(value)([_taken(x, part, among and not isinstance(x, int | str)) for x in value])
    if isinstance(value, Pair) or (beside and not isinstance(value, type(None))):
        x = pair(value)
        return _im(x) if part else x.re
    return value


class PairedCell(Cell):
    """A cell of complex numbers as one of real arrays, whose first axis has the real and the imaginary parts."""

    def __init__(self, cell: Cell) -> None:
        self.whole, self.shows = cell, cell.shows
        self.function, self.consts, self.options, self.groups = cell.function, cell.consts, cell.options, {}
        self.__name__, self.__module__, self.__qualname__ = cell.name, cell.__module__, cell.__qualname__
        self.arguments = tuple(map(paired_argument, cell.arguments))
        step = cell.looped
        results = {**step.next, **step.outputs}
        self.complex = frozenset(k for k, id in results.items() if step.graph.is_complex(id))

    def called(self, values: Mapping[str, Any]) -> Any:
        """Return what the function returns of real arrays, by name."""
        given = {a.name: as_pair(a, values[a.name]) for a in self.whole.arguments if a.name in values}
        found = self.whole.called(given)
        # A cell may return its states without names, in the order of its arguments.
        states = [a.name for a in self.whole.arguments if a.role == "state"]
        if not isinstance(found, dict):
            found = dict(zip(states, found if isinstance(found, tuple | list) else [found], strict=True))
        return {k: stacked(pair(v)) if k in self.complex else pair(v).re for k, v in found.items()}

    def with_consts(self, consts: Mapping[str, Any]) -> Cell:
        """Return the pairs of the cell with other values of its constants."""
        return PairedCell(self.whole.with_consts(consts))


class PairedLoss(Loss):
    """A loss of complex numbers as one of real arrays."""

    def __init__(self, loss: Loss) -> None:
        self.whole, self.inputs = loss, ()
        self.function, self.consts, self.options, self.groups = loss.function, loss.consts, loss.options, {}
        self.__name__, self.__module__, self.__qualname__ = loss.name, loss.__module__, loss.__qualname__
        self.arguments = tuple(map(paired_argument, loss.arguments))

    def called(self, values: Mapping[str, Any]) -> Any:
        """Return the loss of real arrays by name, with what it returns beside its value: of complex numbers their parts."""
        found = self.whole.called({a.name: as_pair(a, values[a.name]) for a in self.whole.arguments})
        if not isinstance(found, Mapping):
            return pair(found).re
        told = self.whole.predicted
        parted = {k for k, id in told.outputs.items() if told.graph.is_complex(id)} if told is not None else ()
        return {k: stacked(pair(v)) if k in parted else pair(v).re for k, v in found.items()}


class PairedModel(Model):
    """A model of complex numbers as one of real arrays."""

    def __init__(self, model: Model) -> None:
        self.whole = model
        super().__init__(PairedCell(model.cell), PairedLoss(model.loss), model.at, model.reduction)


def real_pairs(target: Any) -> Any:
    """Return a cell or a model of complex numbers as one of real arrays, whose first axis has the real and the imaginary parts.

    A state of n complex numbers is one of 2 n real ones, of shape (2, n): in this form it has Jacobians, routes, proofs, analyses and C.

    Example: `sb.analyze(sb.real_pairs(lru), params, ...)` with params["B"] = np.stack([B.real, B.imag]).

    Raises: ArgumentError where `target` is no cell and no model.
    """
    if not isinstance(target, Cell | Model):
        came = type(target).__name__
        raise ArgumentError(f"real_pairs takes a cell or a model, got {came}\n  decorate the function with @sb.cell")
    return PairedCell(target) if isinstance(target, Cell) else PairedModel(target)


def paired_argument(a: Argument) -> Argument:
    """Return an argument as one of real arrays."""
    if not a.complex:
        return a
    default = None if a.default is None else in_parts(np.broadcast_to(a.default, np.shape(a.default)))
    start = a.start if a.start is None or isinstance(a.start, str) else in_parts(np.asarray(a.start))
    return replace(a, shape=(2, *a.shape), complex=False, default=default, start=start)


def as_pair(a: Argument, value: Any) -> Any:
    """Return an argument of a cell as the pair that stands for it; an index is itself."""
    if a.role == "index" or a.limit is not None:
        return value
    return Pair(value[0], value[1]) if a.complex else Pair(value)


def stacked(x: Pair) -> Any:
    """Return a pair as one array with both parts in front."""
    return np.stack([x.re, _im(x)])


def in_parts(array: Any, lead: int = 0) -> Any:
    """Return complex numbers as real ones, the parts behind `lead` axes: (T, B, n) as (T, B, 2, n)."""
    return np.stack([array.real, array.imag], lead)


def from_parts(array: Any, lead: int = 0) -> Any:
    """Return real and imaginary parts behind `lead` axes as complex numbers."""
    moved = np.moveaxis(np.asarray(array), lead, 0)
    found = np.empty(moved.shape[1:], np.result_type(moved.dtype, np.complex64))
    found.real, found.imag = moved
    return found


def has_complex(target: Cell | Model | Loss) -> bool:
    """Answer whether a value of a cell, a loss or a model is complex."""
    if isinstance(target, Model):
        return has_complex(target.cell) or has_complex(target.loss)
    graph = target.looped.graph if isinstance(target, Cell) else target.step.graph
    return any(graph.is_complex(node.id) for node in graph)
