"""Arrays that have a shape and no elements, and what operators and ufuncs make of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import numpy as np

from symbptt.codegen.extent import Extent, expression, is_count
from symbptt.codegen.reader import Reader


class Bare:
    """An array without elements: its axes, and which of them do not merely repeat the same."""

    def __init__(self, reader: Reader, shape: Sequence[Any], moving: Sequence[bool] | None = None) -> None:
        self.reader, self.shape = reader, tuple(shape)
        self.moving = tuple(moving) if moving is not None else (True,) * len(self.shape)

    __array_ufunc__ = None
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape, start=1))
    dtype = property(lambda self: self.reader.dtype)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    strides = property(lambda self: tuple(8 * moves for moves in self.moving))
    T = property(lambda self: self.transpose())

    def __repr__(self) -> str:
        return f"Bare{self.shape}"

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Bare]:
        return (self[i] for i in range(int(self.shape[0])))

    def reshape(self, *sizes: Any) -> Bare:
        """Return the array with other axes, one of which may be -1."""
        shape: Sequence[Any] = _unpacked(sizes)
        known = math.prod([s for s in shape if not (isinstance(s, int) and s == -1)], start=1)
        shape = [self.size // known if isinstance(s, int) and s == -1 else s for s in shape]
        same = list(takewhile(lambda pair: pair[0] == pair[1], zip(shape[::-1], self.shape[::-1], strict=False)))
        moving = self.moving[self.ndim - len(same) :]
        return Bare(self.reader, shape, [True] * (len(shape) - len(moving)) + list(moving))

    def transpose(self, *axes: Any) -> Bare:
        """Return the array with its axes in another order."""
        order: Sequence[int] = _unpacked(axes) or range(self.ndim)[::-1]
        return Bare(self.reader, [self.shape[i] for i in order], [self.moving[i] for i in order])

    def swapaxes(self, a: int, b: int) -> Bare:
        """Return the array with two axes swapped."""
        order = list(range(self.ndim))
        order[a], order[b] = order[b], order[a]
        return self.transpose(order)

    def squeeze(self, axis: int | None = None) -> Bare:
        """Return the array without an axis of size 1."""
        axes = [axis % self.ndim] if axis is not None else [i for i, s in enumerate(self.shape) if s == 1]
        kept = [i for i in range(self.ndim) if i not in axes]
        return Bare(self.reader, [self.shape[i] for i in kept], [self.moving[i] for i in kept])

    def copy(self) -> Bare:
        """Return a copy."""
        self.reader.call("copy", self.size)
        return Bare(self.reader, self.shape)

    def astype(self, dtype: Any, copy: bool = True) -> Bare:
        """Return a copy of another type."""
        return self.copy()

    def reduced(self, name: str, axis: Any = None, keepdims: bool = False, **kinds: Any) -> Bare:
        """Return the array with some axes summed, or taken the largest of."""
        self.reader.call(name, self.size)
        axes = range(self.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        gone = {i % self.ndim for i in axes} if self.ndim else set()
        kept = [1 if i in gone else s for i, s in enumerate(self.shape) if keepdims or i not in gone]
        return Bare(self.reader, kept) if kinds.get("out") is None else kinds["out"]

    def __getitem__(self, index: Any) -> Bare:
        index = index if isinstance(index, tuple) else (index,)
        arrays = [i for i in index if isinstance(i, Bare)]
        used = sum(i is not None and i is not Ellipsis for i in index)
        at = next((k for k, i in enumerate(index) if i is Ellipsis), len(index))
        index = (*index[:at], *[slice(None)] * (self.ndim - used), *index[at + 1 :])
        axes, found = iter(zip(self.shape, self.moving, strict=True)), list[tuple[Any, bool]]()
        for i in index:
            if i is None:
                found.append((1, False))
                continue
            size, moves = next(axes)
            if isinstance(i, slice):
                found.append((self._length(i, size), moves))
            elif isinstance(i, Bare):
                found += [(s, True) for s in i.shape]
        shape, moving = zip(*found, strict=True) if found else ((), ())
        if arrays:
            self.reader.call("take", math.prod(shape, start=1))
        return Bare(self.reader, shape, moving)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.reader.call("assign", self[index].size)

    def _length(self, part: slice, size: Any) -> Any:
        """The length of a part of an axis."""
        step = 1 if part.step is None else part.step
        if all(isinstance(x, int) for x in (size, part.start or 0, part.stop or 0)):
            return len(range(*part.indices(size)))
        start, stop = (_border(x, size) for x in (part.start, part.stop))
        start, stop = (0 if start is None else start, size if stop is None else stop)
        if step < 0:
            start, stop = (0 if part.stop is None else stop + 1, size if part.start is None else start + 1)
        length = stop - start
        return length if abs(step) == 1 else -(-length // abs(step))


def _unpacked(arguments: tuple[Any, ...]) -> Sequence[Any]:
    """What a method is given one by one or as a tuple."""
    return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], tuple | list) else arguments


def _border(at: Any, size: Any) -> Any:
    """A border of a part of an axis, counted from its start."""
    return size + at if isinstance(at, int) and at < 0 else at


def _operator(name: str, turned: bool = False) -> Callable[[Bare, Any], Any]:
    def apply(self: Bare, other: Any) -> Any:
        if not isinstance(other, Bare | np.ndarray | np.generic | int | float | bool | Extent):
            return NotImplemented
        return computed(self.reader, name, other, self) if turned else computed(self.reader, name, self, other)

    return apply


OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power", "matmul": "matmul",
    "floordiv": "floor_divide", "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or",
}  # fmt: skip
COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
for _name, _ufunc in OPERATORS.items():
    setattr(Bare, f"__{_name}__", _operator(_ufunc))
    setattr(Bare, f"__r{_name}__", _operator(_ufunc, True))
for _name, _ufunc in COMPARISONS.items():
    setattr(Bare, f"__{_name}__", _operator(_ufunc))
for _name, _ufunc in {"neg": "negative", "invert": "invert", "abs": "absolute", "pos": "positive"}.items():
    setattr(Bare, f"__{_name}__", lambda self, name=_ufunc: computed(self.reader, name, self))
for _name, _ufunc in {
    "sum": "add",
    "max": "maximum",
    "min": "minimum",
    "all": "all",
    "any": "any",
    "mean": "mean",
}.items():
    setattr(Bare, _name, lambda self, *axis, _ufunc=_ufunc, **kinds: self.reduced(_ufunc, *axis, **kinds))


def computed(r: Reader, name: str, *args: Any, out: Any = None, **kinds: Any) -> Any:
    """Return the result of a ufunc, `out` where that is given."""
    if not any(isinstance(x, Bare) for x in (*args, out)):
        return getattr(np, name)(*(float(x) if isinstance(x, Extent) else x for x in args))
    shapes = [array(r, x).shape for x in args]
    if name == "matmul":
        return _matmul(r, shapes[0], shapes[1], out)
    if name == "vecdot":
        return _vecdot(r, shapes[0], shapes[1], out)
    shape = broadcast(*shapes, *([] if out is None else [out.shape]))
    r.call(name, math.prod(shape, start=1))
    return Bare(r, shape) if out is None else out


def _matmul(r: Reader, a: tuple[Any, ...], b: tuple[Any, ...], out: Bare | None) -> Bare:
    inner, rows, columns = a[-1], a[-2:-1], b[-1:] * (len(b) > 1)
    assert inner == (b[-2] if len(b) > 1 else b[0]), f"a product of {a} and {b}"
    shape = (*broadcast(a[:-2], b[:-2]), *rows, *columns)
    r.call("matmul", math.prod(shape, start=1) * inner)
    return Bare(r, shape) if out is None else out


def _vecdot(r: Reader, a: tuple[Any, ...], b: tuple[Any, ...], out: Bare | None) -> Bare:
    shape = broadcast(a, b)
    r.call("vecdot", math.prod(shape, start=1))
    return Bare(r, shape[:-1]) if out is None else out


def broadcast(*shapes: Sequence[Any]) -> tuple[Any, ...]:
    """Return the shape that arrays of some shapes have together."""
    rank = max(map(len, shapes), default=0)
    columns = zip(*[(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes], strict=True)
    return tuple(_together(column, shapes) for column in columns)


def _together(column: Sequence[Any], shapes: Sequence[Any]) -> Any:
    wide = list(dict.fromkeys(s for s in column if not (isinstance(s, int) and s == 1)))
    assert len({expression(s) for s in wide}) < 2, f"shapes {shapes} do not go together"
    return wide[0] if wide else 1


def array(r: Reader, x: Any, dtype: Any = None) -> Bare:
    """Return a value as an array without elements."""
    return x if isinstance(x, Bare) else Bare(r, () if is_count(x) else np.shape(x))
