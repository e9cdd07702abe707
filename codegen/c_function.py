"""A compiled C function of a cell: what it is called with at some sizes, and where its arrays lie.

What nothing reads behind a call lies in one room, what a sweep backward reads in another, so that a call asks its workspace for two
arrays, whose parts begin at multiples of 64 bytes, as vectors want.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from symbptt.codegen.loop_ir.interpret import evaluated
from symbptt.codegen.loop_ir.nodes import BATCH, BLOCK, STEPS, Buffer, View
from symbptt.codegen.loop_ir.views import is_whole, stride
from symbptt.codegen.targets.c99.flat import Flat, block_of
from symbptt.codegen.targets.c99.matrices import Fault
from symbptt.ir.shape import named_size

Array = NDArray[Any]
Part = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None
KINDS = {"index": np.dtype(np.uintp), "bool": np.dtype(np.bool_)}
"""The types of elements that are no numbers of the data."""
LINE = 64
"""The bytes of which the beginnings of arrays are multiples."""
SIZES = 64
"""The sizes of calls of which a function remembers where its arrays lie."""
GROUPS = {"result": "result", "residual": "kept"}
"""The groups of the arrays that a function makes, by their spaces; others are of the moment."""
MAKES: dict[str, Callable[..., Array]] = {"result": np.empty, "failed": np.zeros}
"""What makes a new array of a call, by its group."""
HEAD = object.__basicsize__
"""The bytes of the head of an object."""


def _first_field(array: Array) -> int:
    """Return the first field of an array behind the head of an object: by the C interface of NumPy where its elements lie."""
    return ctypes.c_void_p.from_address(id(array) + HEAD).value or 0


def _told(array: Array) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


_SAMPLE = np.zeros(3)
# NumPy tells an address by a new dict of six entries, which takes ten times as long.
address = _first_field if _first_field(_SAMPLE) == _told(_SAMPLE) else _told
"""The function that returns where the elements of an array lie."""


class Place(NamedTuple):
    """An array of a function: its name, type and shape at some sizes, the group of what it is ("handed" over by the caller, "result",
    "failed", "kept" for a sweep backward, or of the "moment"), and where it begins in the room of its group."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    group: str
    start: int = 0


def groups_of(flat: Flat) -> Iterator[tuple[Buffer, str]]:
    """Yield the arrays of a function, each with its group."""
    handed = {port.view.buffer: "failed" if port.group == "failed" else "handed" for port in flat.function.arguments}
    for b in flat.arrays:
        yield b, handed.get(b) or GROUPS.get(b.space, "moment")


@dataclass(frozen=True)
class Sized:
    """What a C function is called with at some sizes: these, its arrays, the bytes of the rooms of both groups that have one, and its
    results by group: names, buffers, and where the elements of one lie that is not all of its buffer."""

    numbers: Any
    places: tuple[Place, ...]
    rooms: Mapping[str, int]
    results: Mapping[str, Sequence[tuple[str, str, Part]]]


@dataclass(frozen=True)
class Ran:
    """The arrays of a call by name, None where one counts as zero, without those of the moment; and the rooms, of none or one array
    each, of what a sweep backward reads, and of what nothing reads."""

    arrays: dict[str, Any]
    kept: list[Array]
    moment: list[Array]


@dataclass
class CFunction:
    """A C function that was compiled for a type of numbers; `fails` gives the error of a call in which something has no value, by what,
    the step, the sample and a change."""

    flat: Flat
    call: Any
    dtype: np.dtype[Any]
    fails: Callable[[Fault, int, int, float], Exception]
    known: dict[Any, Sized] = field(default_factory=dict)

    @cached_property
    def ports(self) -> list[tuple[str, str, str]]:
        """The groups, names and buffers of the arguments that it reads; buffers go by their names, which tell them apart."""
        used = {*self.flat.arrays}
        ports = self.flat.function.arguments
        found = [(port.group, port.name, port.view.buffer.name) for port in ports if port.view.buffer in used]
        return [port for port in found if port[0] != "failed"]

    @cached_property
    def pointers(self) -> Struct:
        """The layout of its argument of pointers."""
        return Struct(f"{len(self.flat.arrays)}P")

    def sized(self, sizes: Mapping[str, int], T: int, B: int) -> Sized:
        """Return what the function is called with at sizes."""
        key = (T, B, *sizes.values())
        found = self.known.get(key)
        if found is None:
            if len(self.known) >= SIZES:
                self.known.clear()
            call = {STEPS: T, BATCH: B, BLOCK: block_of(T, B)}
            found = self.known[key] = self._sized(call | {named_size(k): n for k, n in sizes.items()})
        return found

    def _sized(self, values: Mapping[Any, int]) -> Sized:
        plain = [values[symbol] for symbol in self.flat.sizes]
        places, rooms = self._places(values)
        results: dict[str, list[tuple[str, str, Part]]] = {}
        for port in self.flat.function.results:
            results.setdefault(port.group, []).append((port.name, port.view.buffer.name, _part(port.view, values)))
        return Sized((ctypes.c_size_t * len(plain))(*plain), places, rooms, results)

    def _places(self, values: Mapping[Any, int]) -> tuple[tuple[Place, ...], dict[str, int]]:
        """Return where its arrays lie, and the bytes of the rooms."""
        rooms, places = dict[str, int](), list[Place]()
        for b, group in groups_of(self.flat):
            shape, dtype = tuple(int(evaluated(n, values)) for n in b.shape), KINDS.get(b.dtype, self.dtype)
            places.append(Place(b.name, dtype, shape, group, rooms.get(group, 0)))
            if group in ("kept", "moment"):
                rooms[group] = rooms.get(group, 0) - (-prod(shape) * dtype.itemsize // LINE) * LINE
        return tuple(places), rooms

    def run(self, given: Mapping[str, Any], sized: Sized, room: Any) -> Ran:
        """Call the function with the arrays that are given, and return all; rooms come from `room`."""
        found: dict[str, Any] = {}
        rooms = {group: _room(size, self.dtype, room) for group, size in sized.rooms.items()}
        pointers = []
        for name, dtype, shape, group, start in sized.places:
            if group == "handed":
                value = given[name]
                found[name] = array = None if value is None else np.asarray(value, dtype, order="C")
                pointers.append(0 if array is None else address(array))
            elif group in MAKES:
                found[name] = array = MAKES[group](shape, dtype)
                pointers.append(address(array))
            else:
                whole, first, at = rooms[group]
                pointers.append(at + start)
                if group == "kept":
                    found[name] = np.ndarray(shape, dtype, whole, first + start)
        self.call(sized.numbers, self.pointers.pack(*pointers))
        self.check(found)
        kept, moment = ([rooms[group][0]] if group in rooms else [] for group in ("kept", "moment"))
        return Ran(found, kept, moment)

    def check(self, found: Mapping[str, Any]) -> None:
        """Raises: what `fails` gives where something had no value."""
        if self.flat.faults:
            number, step, sample, change = found[self.failed]
            if number:
                raise self.fails(self.flat.faults[int(number) - 1], int(step), int(sample), float(change))

    @cached_property
    def failed(self) -> str:
        """The name of the array that tells what had no value."""
        return next(port.view.buffer.name for port in self.flat.function.arguments if port.group == "failed")


@dataclass(frozen=True)
class Bound:
    """A function for calls of which most arrays stay: `pointers` has their addresses, and a zero in the `places` of those that each call
    has; `held` keeps the arrays that stay."""

    function: CFunction
    sized: Sized
    pointers: tuple[int, ...]
    places: tuple[tuple[int, Place], ...]
    held: tuple[Array, ...]

    def run(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Call the function, and return what a call has of its own."""
        found, pointers = dict[str, Any](), [*self.pointers]
        rooms = {group: _room(size, self.function.dtype, np.empty) for group, size in self.sized.rooms.items()}
        for at, (name, dtype, shape, group, start) in self.places:
            if group in rooms:
                pointers[at] = rooms[group][2] + start
                continue
            array = np.asarray(given[name], dtype, order="C") if group == "handed" else MAKES[group](shape, dtype)
            found[name], pointers[at] = array, address(array)
        self.function.call(self.sized.numbers, self.function.pointers.pack(*pointers))
        self.function.check(found)
        return found


def bound(function: CFunction, sized: Sized, given: Mapping[str, Any]) -> Bound:
    """Return a function at some sizes with arrays that stay over its calls."""
    held = {
        at: np.asarray(given[place.name], place.dtype, order="C")
        for at, place in enumerate(sized.places)
        if place.group == "handed" and place.name in given
    }
    pointers = tuple(address(held[at]) if at in held else 0 for at in range(len(sized.places)))
    places = tuple((at, place) for at, place in enumerate(sized.places) if at not in held)
    return Bound(function, sized, pointers, places, tuple(held.values()))


def _room(size: int, dtype: np.dtype[Any], room: Any) -> tuple[Array, int, int]:
    """Return a room of so many bytes, the first byte of it that lies at a multiple of 64 bytes, and where that lies."""
    # Of numbers: who fills new arrays with NaN, to see what reads them too early, fills this one.
    whole: Array = room(((size + LINE) // dtype.itemsize,), dtype)
    at = address(whole)
    first = -at % LINE
    return whole, first, at + first


def _part(view: View, values: Mapping[Any, int]) -> Part:
    """Return where the elements of a view begin, its shape, and its strides in elements; None of a whole buffer."""
    if is_whole(view):
        return None
    start, shape, strides = (
        tuple(int(evaluated(n, values)) for n in numbers)
        for numbers in (view.start, view.shape, [stride(view, axis) for axis in view.axes])
    )
    return start, shape, strides


def results_of(group: str, found: Mapping[str, Any], sized: Sized) -> dict[str, Array]:
    """Return the results of a group by name."""
    return {name: _viewed(found[buffer], part) for name, buffer, part in sized.results.get(group, ())}


def _viewed(array: Array, part: Part) -> Array:
    if part is None:
        return array
    start, shape, strides = part
    first = array[tuple(slice(i, None) for i in start)]
    return np.lib.stride_tricks.as_strided(first, shape, tuple(n * array.itemsize for n in strides))
