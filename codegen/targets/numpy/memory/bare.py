"""Arrays that have a shape and no elements."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from symbptt.codegen.targets.numpy.memory.extent import Extent, expression, is_count, is_whole
from symbptt.codegen.targets.numpy.memory.heap import AXIS, OBJECT
from symbptt.codegen.targets.numpy.memory.reader import Reader


class Bare:
    """An array without elements: its axes, the strides of its elements, and the array whose memory it shares, if it
    does."""

    flags = SimpleNamespace()

    def __init__(
        self,
        reader: Reader,
        shape: Sequence[Any],
        dtype: Any = None,
        *,
        base: Bare | None = None,
        strides: Sequence[Any] | None = None,
    ) -> None:
        self.reader, self.shape, self.base = reader, tuple(shape), base
        self.dtype = reader.dtype if dtype is None else np.dtype(dtype)
        self.is_fresh, self._strides = False, strides
        self.own_bytes = self._held = 0
        if reader.heap is not None:
            # A view has an object and no elements of its own.
            self.own_bytes = 0 if base is not None else reader.heap.bytes(self.size, self.dtype)
            self._held = reader.heap.take(self.own_bytes + OBJECT + AXIS * self.ndim)

    def __del__(self) -> None:
        # Python drops an array with its last reference, so that memory is counted to the same moment.
        self.release()

    def release(self) -> None:
        """Release its memory."""
        if self.reader.heap is not None and not is_zero(self._held):
            self.reader.heap.free(self._held)
            self._held = 0

    # NumPy's own numbers then leave operators to this class.
    __array_ufunc__ = None
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape, start=1))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    T = property(lambda self: self.transpose())

    @property
    def strides(self) -> tuple[Any, ...]:
        """The distance of the elements along each axis, in elements; 0 where an axis repeats one element."""
        if self._strides is None:
            found: list[Any] = [1]
            # In row-major order the last axis moves fastest.
            for s in self.shape[:0:-1]:
                found.append(found[-1] * s)
            self._strides = tuple(found[: self.ndim][::-1])
        return tuple(self._strides)

    @property
    def is_in_order(self) -> bool:
        """True if it is contiguous."""
        return self._strides is None or strides_as(self.shape, self.strides, (self.size,)) == [1]

    def view(self, shape: Sequence[Any], strides: Sequence[Any] | None) -> Bare:
        """Return an array that has the same memory; without strides it is contiguous."""
        # As in NumPy, a view of a view refers to the owner of the memory.
        return Bare(self.reader, shape, self.dtype, base=self if self.base is None else self.base, strides=strides)

    def __repr__(self) -> str:
        return f"Bare{self.shape}"

    def __bool__(self) -> bool:
        return True

    def __int__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Bare]:
        return (self[i] for i in range(int(self.shape[0]) if is_whole(self.shape[0]) else 1))

    def reshape(self, *sizes: Any) -> Bare:
        """Return the array with other axes, one of which may be -1: a copy where its elements do not lie so."""
        shape: Sequence[Any] = _unpacked(sizes)
        known = math.prod([s for s in shape if not (isinstance(s, int) and s == -1)], start=1)
        shape = [self.size // known if isinstance(s, int) and s == -1 else s for s in shape]
        if self._strides is None:
            return self.view(shape, None)
        strides = strides_as(self.shape, self.strides, shape)
        return Bare(self.reader, shape, self.dtype) if strides is None else self.view(shape, strides)

    def transpose(self, *axes: Any) -> Bare:
        """Return the array with its axes in another order."""
        order: Sequence[int] = _unpacked(axes) or range(self.ndim)[::-1]
        return self.view([self.shape[i] for i in order], [self.strides[i] for i in order])

    def swapaxes(self, a: int, b: int) -> Bare:
        """Return the array with two axes swapped."""
        order = list(range(self.ndim))
        order[a], order[b] = order[b], order[a]
        return self.transpose(order)

    def squeeze(self, axis: int | None = None) -> Bare:
        """Return the array without an axis of size 1."""
        axes = [axis % self.ndim] if axis is not None else [i for i, s in enumerate(self.shape) if s == 1]
        kept = [i for i in range(self.ndim) if i not in axes]
        return self.view([self.shape[i] for i in kept], [self.strides[i] for i in kept])

    def copy(self) -> Bare:
        """Return a copy."""
        self.reader.call("copy", self.size)
        return Bare(self.reader, self.shape, self.dtype)

    def astype(self, dtype: Any, copy: bool = True) -> Bare:
        """Return a copy of another type."""
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        self.reader.call("copy", self.size)
        return Bare(self.reader, self.shape, dtype)

    def argmax(self) -> Bare:
        """Return the index of the largest element."""
        return self.reduced("argmax")

    def nonzero(self) -> tuple[Bare, ...]:
        """Return indices of elements that are not zero: as many as there are elements."""
        return tuple(Bare(self.reader, (self.size,), np.int64) for _ in self.shape)

    def reduced(self, name: str, axis: Any = None, keepdims: bool = False, **kinds: Any) -> Bare:
        """Return the array with some axes summed, or replaced by their largest element."""
        self.reader.call(name, self.size)
        axes = range(self.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        gone = {i % self.ndim for i in axes} if self.ndim else set()
        kept = [1 if i in gone else s for i, s in enumerate(self.shape) if keepdims or i not in gone]
        # NumPy counts bools in int64.
        dtype = REDUCED.get(name) or (np.int64 if name == "add" and self.dtype == bool else self.dtype)
        return Bare(self.reader, kept, dtype) if kinds.get("out") is None else kinds["out"]

    def __getitem__(self, index: Any) -> Bare:
        shape, strides, arrays = self._part(index)
        if not arrays:
            return self.view(shape, strides)
        self.reader.call("take", math.prod(shape, start=1))
        return Bare(self.reader, shape, self.dtype)

    def _part(self, index: Any) -> tuple[list[Any], list[Any] | None, list[Bare]]:
        """Return the axes of a part, their strides, and the arrays of its index; the axes of these come together."""
        index = index if isinstance(index, tuple) else (index,)
        arrays = [i for i in index if isinstance(i, Bare)]
        # A mask takes as many axes as it has.
        used = sum(i.ndim if _is_mask(i) else i is not None and i is not Ellipsis for i in index)
        at = next((k for k, i in enumerate(index) if i is Ellipsis), len(index))
        in_order = self._strides is None and used <= 1 and (at == len(index)) and not _steps_over(index[0])
        index = (*index[:at], *[slice(None)] * (self.ndim - used), *index[at + 1 :])
        far: Sequence[Any] = (0,) * self.ndim if arrays or in_order else self.strides
        axes, found = iter(zip(self.shape, far, strict=True)), list[tuple[Any, Any]]()
        wide = broadcast(*((i.size,) if _is_mask(i) else i.shape for i in arrays))
        for i in index:
            if i is None:
                found.append((1, 0))
                continue
            size, apart = next(axes)
            if isinstance(i, slice):
                found.append((self._length(i, size), apart * (1 if i.step is None else i.step)))
            elif isinstance(i, Bare):
                found += [(s, 0) for s in wide] if i is arrays[0] else []
                for _ in range(i.ndim - 1 if _is_mask(i) else 0):
                    next(axes)
        return [s for s, _ in found], None if in_order else [apart for _, apart in found], arrays

    def __setitem__(self, index: Any, value: Any) -> None:
        self.reader.call("assign", math.prod(self._part(index)[0], start=1))

    def _length(self, part: slice, size: Any) -> Any:
        """Return the length of a part of an axis."""
        step = 1 if part.step is None else part.step
        if all(isinstance(x, int) for x in (size, part.start or 0, part.stop or 0)):
            return len(range(*part.indices(size)))
        start, stop = (_border(x, size) for x in (part.start, part.stop))
        start, stop = (0 if start is None else start, size if stop is None else stop)
        if step < 0:
            start, stop = (0 if part.stop is None else stop + 1, size if part.start is None else start + 1)
        length = stop - start
        return length if abs(step) == 1 else -(-length // abs(step))


REDUCED = {"any": bool, "all": bool, "argmax": np.int64}
"""The types of some reductions, whatever they reduce."""


def _is_mask(index: Any) -> bool:
    return isinstance(index, Bare) and index.dtype == bool


def _steps_over(index: Any) -> bool:
    """Answer whether a part of an axis is not contiguous, or is of no axis."""
    return index is None or (isinstance(index, slice) and index.step not in (None, 1))


def is_zero(value: Any) -> bool:
    """Answer whether a number or a size is the number 0."""
    return is_whole(value) and value == 0


def is_same(a: Any, b: Any) -> bool:
    """Answer whether two sizes are equal for all values of their symbols."""
    return bool(expression(a) == expression(b)) if isinstance(a, Extent) or isinstance(b, Extent) else a == b


def same_axes(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Answer whether two shapes are equal for all values of their symbols."""
    return len(a) == len(b) and all(map(is_same, a, b))


def strides_as(shape: Sequence[Any], strides: Sequence[Any], wanted: Sequence[Any]) -> list[Any] | None:
    """Return the strides of an array that is seen with other axes, or None where it must be copied."""
    old = [(s, apart) for s, apart in zip(shape, strides, strict=True) if not is_same(s, 1)]
    found, rest = list[Any](), list(wanted)
    while rest:
        if is_same(rest[0], 1):
            found.append(0)
            rest.pop(0)
            continue
        if not old:
            return None
        (size, apart), new = old.pop(0), [rest.pop(0)]
        while not is_same(size, math.prod(new)):
            if math.prod(new) < size:
                if not rest:
                    return None
                new.append(rest.pop(0))
            else:
                # Two axes can be merged only where a step of the outer one is a whole round of the inner one.
                if not old or not is_same(apart, old[0][0] * old[0][1]):
                    return None
                size, apart = size * old[0][0], old.pop(0)[1]
        found += [apart * math.prod(new[k + 1 :], start=1) for k in range(len(new))]
    return found


def _unpacked(arguments: tuple[Any, ...]) -> Sequence[Any]:
    """Return the arguments of a method, given one by one or as a tuple."""
    return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], tuple | list) else arguments


def _border(at: Any, size: Any) -> Any:
    """Return a border of a part of an axis, counted from its start."""
    return size + at if isinstance(at, int) and at < 0 else at


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
    return x if isinstance(x, Bare) else Bare(r, () if is_count(x) else np.shape(x), dtype)
