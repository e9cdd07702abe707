"""NumPy for arrays that have a shape and no elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symbptt.codegen.targets.numpy.memory.bare import Bare, array, broadcast, is_same
from symbptt.codegen.targets.numpy.memory.operators import computed, result_type
from symbptt.codegen.targets.numpy.memory.reader import Reader


class Namespace:
    """NumPy for arrays without elements; functions that make no arrays are NumPy's own."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        r, real = self._reader, getattr(np, name)
        if name in FUNCTIONS:
            return lambda *args, **kinds: FUNCTIONS[name](r, *args, **kinds)
        if isinstance(real, np.ufunc):
            return _ufunc_of(r, real)
        assert not callable(real) or isinstance(real, type), f"np.{name} cannot be read"
        return real


def _ufunc_of(r: Reader, real: np.ufunc) -> Any:
    name = real.__name__

    def call(*args: Any, **kinds: Any) -> Any:
        return computed(r, name, *args, **kinds)

    def reduce(x: Any, axis: Any = 0, **kinds: Any) -> Bare:
        return array(r, x).reduced(name, axis, **kinds)

    def at(out: Bare, index: Any, x: Any) -> None:
        r.call(f"{name}.at", array(r, x).size)

    made: Any = call
    made.reduce, made.at = reduce, at
    return made


def _made(r: Reader, shape: Any, dtype: Any = float, **kinds: Any) -> Bare:
    return Bare(r, shape if isinstance(shape, tuple | list) else (shape,), dtype)


def _full(r: Reader, shape: Any, value: Any, dtype: Any = None) -> Bare:
    return _made(r, shape, result_type([value]))


def _like(r: Reader, x: Any, *rest: Any, **kinds: Any) -> Bare:
    x = array(r, x)
    return Bare(r, x.shape, x.dtype)


def _copied(r: Reader, x: Any, dtype: Any = None, **kinds: Any) -> Bare:
    if not isinstance(x, Bare):
        return array(r, x, dtype or result_type([x]))
    r.call("array", x.size)
    return Bare(r, x.shape, dtype or x.dtype)


def _in_order(r: Reader, x: Any, *rest: Any, **kinds: Any) -> Bare:
    x = array(r, x)
    r.call("ascontiguousarray", x.size)
    # `ascontiguousarray` returns a contiguous array itself.
    return x if x.is_in_order else Bare(r, x.shape, x.dtype)


def _broadcast_to(r: Reader, x: Any, shape: Any) -> Bare:
    x = array(r, x)
    lead = len(shape) - x.ndim
    pairs = zip(x.shape, shape[lead:], x.strides, strict=True)
    # A repeated axis has the stride zero.
    return x.view(shape, [0] * lead + [apart if is_same(s, wide) else 0 for s, wide, apart in pairs])


def _concatenate(r: Reader, parts: Sequence[Any], axis: int = 0, **kinds: Any) -> Bare:
    parts = [array(r, part) for part in parts]
    shape = list(parts[0].shape)
    shape[axis] = sum([part.shape[axis] for part in parts[1:]], start=parts[0].shape[axis])
    r.call("concatenate", math.prod(shape, start=1))
    return _laid_as(r, parts, shape)


def _stack(r: Reader, parts: Sequence[Any]) -> Bare:
    parts = [array(r, part) for part in parts]
    shape = (len(parts), *parts[0].shape)
    r.call("stack", math.prod(shape, start=1))
    return _laid_as(r, parts, shape)


def _laid_as(r: Reader, parts: Sequence[Bare], shape: Sequence[Any]) -> Bare:
    """Return the array of concatenated parts, which lies transposed where all of these do."""
    if any(part.is_in_order for part in parts):
        return Bare(r, shape)
    return Bare(r, [*shape[:-2], shape[-1], shape[-2]]).swapaxes(-1, -2)


def _einsum(r: Reader, spec: str, a: Any, b: Any, out: Any = None) -> Bare:
    ins, outs = spec.split("->")
    sizes = dict(zip(ins.replace(",", ""), (*array(r, a).shape, *array(r, b).shape), strict=True))
    r.call("einsum", math.prod(sizes.values(), start=1))
    return Bare(r, [sizes[x] for x in outs]) if out is None else out


def _where(r: Reader, test: Any, a: Any, b: Any) -> Any:
    if all(isinstance(x, bool | int | float | np.number | np.bool_) for x in (test, a, b)):
        return np.where(test, a, b)  # of constants, which have a value
    shape = broadcast(*(array(r, x).shape for x in (test, a, b)))
    r.call("where", math.prod(shape, start=1))
    return Bare(r, shape, result_type((a, b)))


def _copyto(r: Reader, out: Bare, x: Any, **kinds: Any) -> None:
    r.call("copyto", out.size)


def _frexp(r: Reader, x: Any) -> tuple[Bare, Bare]:
    r.call("frexp", 2 * array(r, x).size)  # as many results
    return Bare(r, array(r, x).shape), Bare(r, array(r, x).shape, np.int32)


def _along(r: Reader, x: Bare, index: Bare, axis: int) -> Bare:
    shape = [index.shape[i] if i == axis % x.ndim else x.shape[i] for i in range(x.ndim)]
    r.call("take_along_axis", math.prod(shape, start=1))
    return Bare(r, shape, x.dtype)


def _put_along(r: Reader, out: Bare, index: Bare, x: Any, axis: int) -> None:
    r.call("put_along_axis", array(r, x).size)


def _take(r: Reader, x: Bare, index: Bare, axis: int = 0, out: Any = None, **kinds: Any) -> Bare:
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    r.call("take", math.prod(shape, start=1))
    return Bare(r, shape, x.dtype) if out is None else out


def _cumsum(r: Reader, x: Bare, axis: int, out: Any = None) -> Bare:
    r.call("cumsum", x.size)
    return Bare(r, x.shape) if out is None else out


def _moveaxis(r: Reader, x: Bare, start: int, end: int) -> Bare:
    order = [i for i in range(x.ndim) if i != start % x.ndim]
    order.insert(end % x.ndim, start % x.ndim)
    return x.transpose(order)


def _expand_dims(r: Reader, x: Bare, axis: Any) -> Bare:
    axes = axis if isinstance(axis, tuple) else (axis,)
    rank = x.ndim + len(axes)
    new, old = {i % rank for i in axes}, iter(x.shape)
    shape, strides = [1 if i in new else next(old) for i in range(rank)], iter(x.strides)
    return x.view(shape, [0 if i in new else next(strides) for i in range(rank)])


def _reduction(name: str) -> Callable[..., Bare]:
    return lambda r, x, *axis, **kinds: array(r, x).reduced(name, *axis, **kinds)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("empty", "zeros", "ones"), _made),
    **dict.fromkeys(("empty_like", "zeros_like"), _like),
    "full": _full,
    "array": _copied,
    "ascontiguousarray": _in_order,
    **{name: _reduction(name) for name in ("sum", "max", "min", "all", "any")},
    "frexp": _frexp,
    "real": lambda r, x: array(r, x),  # of real numbers it is no copy
    "asarray": lambda r, x, *rest, **kinds: array(r, x),
    "eye": lambda r, n, **kinds: Bare(r, (n, n)),
    "shape": lambda r, x: array(r, x).shape,
    "ndim": lambda r, x: array(r, x).ndim,
    "flip": lambda r, x, axis: x.view(x.shape, x.strides),  # the sign of a stride changes no memory
    "arange": lambda r, start, stop=None: Bare(r, (start if stop is None else stop - start,), np.int64),
    "errstate": lambda r, **kinds: np.errstate(**kinds),
    "geterrcall": lambda r: np.geterrcall(),
    "broadcast_shapes": lambda r, *shapes: broadcast(*shapes),
    "broadcast_to": _broadcast_to,
    "concatenate": _concatenate,
    "stack": _stack,
    "einsum": _einsum,
    "where": _where,
    "copyto": _copyto,
    "take": _take,
    "take_along_axis": _along,
    "put_along_axis": _put_along,
    "cumsum": _cumsum,
    "moveaxis": _moveaxis,
    "expand_dims": _expand_dims,
}
