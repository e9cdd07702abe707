"""What a generated module calls, counted while it computes: arrays that tell of every call of NumPy, by the line of the
module from which it comes. Nothing of the library is used."""

import math
import sys
from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np

FILE = "<a module that is counted>"
SWEEPS = ("_forward", "_loss", "_backward", "_pull")
VIEWS = {
    "broadcast_to",
    "moveaxis",
    "expand_dims",
    "flip",
    "shape",
    "ndim",
    "empty_like",
    "zeros_like",
    "swapaxes",
    "size",
}
OF_MATRICES = {"solve": Fraction(1, 3), "det": Fraction(1, 3), "cholesky": Fraction(1, 6)}
"""The multiples of n³ multiply-adds that factors of a matrix take."""
PRODUCTS = {"matmul", "einsum", *OF_MATRICES}
Counts = dict[tuple[str, int, str], list[int]]
"""Calls and operations, by sweep, line of the module, and function of NumPy."""

counts: Counts = defaultdict(lambda: [0, 0])


def told(name: str, operations: int) -> None:
    """Note a call where a sweep runs."""
    frame: Any = sys._getframe(1)
    found = None
    while frame is not None:
        if frame.f_code.co_filename == FILE and frame.f_code.co_name in SWEEPS:
            found = frame.f_code.co_name[1:], frame.f_lineno
        frame = frame.f_back
    if found is not None:
        entry = counts[(*found, name)]
        entry[0] += 1
        entry[1] += operations


def plain(x: Any) -> Any:
    """The same without telling."""
    if isinstance(x, Telling):
        return x.view(np.ndarray)
    if isinstance(x, tuple | list):
        return type(x)(map(plain, x))
    return {k: plain(v) for k, v in x.items()} if isinstance(x, dict) else x


def telling(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(telling, x))
    return np.asarray(x).view(Telling) if isinstance(x, np.ndarray | np.generic) else x


def multiply_adds(name: str, args: tuple[Any, ...], out: Any) -> int:
    if name == "einsum":
        sizes = dict(
            zip(args[0].split("->")[0].replace(",", ""), (*np.shape(args[1]), *np.shape(args[2])), strict=True)
        )
        return math.prod(sizes.values())
    return int(np.size(out)) * np.shape(args[0])[-1]


def of_matrices(name: str, a: Any, b: Any = None) -> Any:
    """The multiply-adds of the factors of each matrix, and those of each column of a right side."""
    found = OF_MATRICES[name] * math.prod(a.shape) * a.shape[-1]
    columns = 0 if b is None else math.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2])) * b.shape[-1]
    return found + columns * a.shape[-1] ** 2


class Telling(np.ndarray):
    """An array that tells of what is computed with it."""

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kinds: Any) -> Any:
        result = getattr(ufunc, method)(*plain(args), **plain(kinds))
        name = ufunc.__name__
        if name in PRODUCTS:
            told(name, multiply_adds(name, plain(args), result))
        elif method == "at":
            told(name, np.size(args[2]))
        else:
            told(name, int(np.size(args[0] if method == "reduce" or name == "vecdot" else result)))
        return kinds["out"][0] if kinds.get("out") else telling(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kinds: Any) -> Any:
        name = function.__name__
        result = function(*plain(args), **plain(kinds))
        if name == "einsum" and len(args) == 2:
            return telling(result)  # a view of one array, as of its diagonal
        if name == "einsum":
            told(name, multiply_adds(name, plain(args), result))
        elif name in OF_MATRICES:
            told(name, of_matrices(name, *plain(args)))
        elif name == "put_along_axis":
            told(name, np.size(args[2]))
        elif name not in VIEWS:
            told(name, int(np.size(args[0]) if name in ("sum", "copyto", "max", "all") else np.size(result)))
        return kinds["out"] if kinds.get("out") is not None else telling(result)

    def __getitem__(self, index: Any) -> Any:
        result = super().__getitem__(index)
        if any(isinstance(i, np.ndarray) for i in (index if isinstance(index, tuple) else (index,))):
            told("take", np.size(result))
        return telling(result)

    def __setitem__(self, index: Any, value: Any) -> None:
        told("assign", np.size(plain(self)[plain(index)]))
        plain(self)[plain(index)] = plain(value)

    def copy(self, *args: Any, **kinds: Any) -> Any:
        told("copy", self.size)
        return telling(plain(self).copy())

    def astype(self, dtype: Any, *args: Any, **kinds: Any) -> Any:
        told("astype", self.size)
        return telling(plain(self).astype(dtype))


class Numpy:
    """NumPy whose new arrays tell."""

    def __getattr__(self, name: str) -> Any:
        real = getattr(np, name)
        if name in ("array", "ascontiguousarray"):
            return lambda x, *rest, **kinds: self._copied(name, real, x, *rest, **kinds)
        if name in (
            "empty",
            "zeros",
            "ones",
            "full",
            "eye",
            "asarray",
            "broadcast_to",
            "empty_like",
            "zeros_like",
            "arange",
        ):
            return lambda *args, **kinds: telling(real(*plain(args), **kinds))
        return real

    def _copied(self, name: str, real: Any, x: Any, *rest: Any, **kinds: Any) -> Any:
        if isinstance(x, Telling):
            told(name, x.size)
        return telling(real(plain(x), *rest, **kinds))


class Rooms:
    """A workspace that keeps nothing, and whose arrays tell."""

    def room(self, shape: Any, dtype: Any) -> Any:
        return telling(np.empty(shape, dtype))

    def give(self, rooms: Any) -> None:
        pass


def module(source: str) -> dict[str, Any]:
    """The names of a module whose arrays tell."""
    names: dict[str, Any] = {"__name__": "counted"}
    exec(compile(source, FILE, "exec"), names)
    names |= {"np": Numpy(), "WORKSPACE": Rooms()}
    names["_window"] = lambda *_: 0  # the plan counts a recursion step by step
    names["_collected"] = _collected  # and what is collected in a table as one call
    arguments = names["_arguments"]

    def telling_arguments(*args: Any, **kinds: Any) -> Any:
        arrays, *rest = arguments(*args, **kinds)
        return ({k: telling(v) for k, v in arrays.items()}, *rest)

    names["_arguments"] = telling_arguments
    return names


def _collected(x: Any, index: Any, axis: int, shape: tuple[int, ...]) -> Any:
    told("add", x.size)
    return telling(np.zeros(shape))


def counted(run: Any) -> Counts:
    """What is called while `run` runs."""
    counts.clear()
    with np.errstate(all="ignore"):
        run()
    return {key: list(value) for key, value in counts.items()}
