"""The bytes that a call of a kernel in C holds: what the driver holds between sweeps, as in NumPy, and the arrays of the C functions.

What a function has in a room is a letter of the sums that the walk of the driver gives; its value at some sizes is the sum over the
arrays that lie there. So a schedule asks a thousand pieces for their bytes in the time of one walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sympy as sp

from symbptt.codegen.c_function import LINE, groups_of
from symbptt.codegen.loop_ir.nodes import BATCH, BLOCK, STEPS, Buffer
from symbptt.codegen.memory.account import ITEM, ITEMS, Letters, Scale, Sum
from symbptt.codegen.memory.needed import OBJECTS, most
from symbptt.codegen.memory.runs import PIECE, Call, Functions, Ran, Runs, given_to
from symbptt.codegen.program.head import Head
from symbptt.codegen.targets.c99.flat import Flat, block_of
from symbptt.codegen.targets.numpy.cells import Sweeps
from symbptt.codegen.targets.numpy.needed import MASKS, functions_of
from symbptt.ir.shape import named_size, prod


def held_by_driver(s: Sweeps, head: Head | None) -> Functions:
    """Return what the driver holds of a cell or a model: the shapes of states, outputs, gradients and data, all of which tapes hold."""
    at_every = head is not None and head.at == "every"
    read = frozenset(port.view.buffer for port in s.forward.arguments)
    return replace(functions_of(s, head, at_every), tape=read)


@dataclass(frozen=True)
class Room:
    """The arrays of one group of a C function, and the letter that stands for their bytes."""

    letter: sp.Symbol
    buffers: tuple[Buffer, ...]


@dataclass(frozen=True)
class Rooms:
    """The rooms of the sweeps and the loss of a kernel: what a sweep backward reads, and what each function needs for a moment."""

    kept: Room
    forward: Room
    backward: Room
    loss: Room | None = None

    @property
    def all(self) -> list[Room]:
        found = (self.kept, self.forward, self.backward, self.loss)
        return [room for room in found if room is not None]


def rooms_of(forward: Flat, backward: Flat, loss: Flat | None) -> Rooms:
    """Return the rooms of C functions."""
    return Rooms(
        _room("kept", forward, "kept"),
        _room("forward", forward, "moment"),
        _room("backward", backward, "moment"),
        None if loss is None else _room("loss", loss, "moment"),
    )


def _room(name: str, flat: Flat, group: str) -> Room:
    letter = sp.Symbol(f"{name}_room", integer=True, positive=True)
    return Room(letter, tuple(b for b, of in groups_of(flat) if of == group))


@dataclass
class RoomRuns(Runs):
    """The functions of a kernel in C while the memory of a call is counted."""

    rooms: Rooms = field(kw_only=True)

    def forward(self) -> Ran:
        """`_Calls.forward`, to the states, which lie on the tape, the outputs and the tape."""
        states, scale = self.functions.states.values(), Scale(self.sizes, self.steps)
        tape = [self._take((STEPS + 1, *shape)) for shape in states]
        if self.call.masked:
            tape += [self._take((STEPS + 1, *shape)) for shape in states]
            self.account.briefly(*(scale.bytes(shape) for shape in states))
        # Integers of another type are copied, and arrays that do not lie in one line, as a context does not that is the same for all
        # samples: those of samples that end are new anyway.
        read = given_to(self.functions.forward, "index", "context", *["input"] * (not self.call.lengths))
        tape += [self._take(port.view.shape, port.view.buffer.dtype) for port in read]
        tape.append(self._letter(self.rooms.kept))
        moment = [self._letter(self.rooms.forward), *self._masks()]
        outputs = {name: self._take(shape) for name, shape in self.functions.outputs.items()}
        self.account.free(*moment)
        return Ran({}, outputs, tape)

    def backward(self, given: Iterable[str]) -> dict[str, list[Sum]]:
        """`_Calls.backward`, to the gradients by group, with the adjoints that a monitor is given."""
        f, states = self.functions, self.functions.states
        found = {group: [self._take(shape) for shape in states.values()] for group in ("state", "resets")}
        moment = [self._letter(self.rooms.backward), *self._masks()]
        moment += [self._take((STEPS, *shape)) for shape in states.values()]
        moment += [self._take(shape) for shape in states.values() if self.call.masked]
        sent = {k: (STEPS, *shape) for k, shape in states.items()} | f.outputs
        # Behind the end of a sample nothing is sent; of what a caller sends that is copied which does not lie in one line.
        is_copied = self.call.lengths or not self.call.trains
        moment += [self._take(sent[k]) for k in given if is_copied]
        for group in ("params", "inputs"):
            found[group] = [self._take(port.view.shape) for port in f.back.results if port.group == group]
        self.account.free(*moment)
        return found

    def lost(self) -> dict[str, list[Sum]]:
        """`_Calls.loss`, to the gradients of what it reads and of its own parameters."""
        f = self.functions.loss
        assert f is not None and self.rooms.loss is not None
        groups: dict[str, list[Sum]] = {"outputs": [], "inputs": [], "params": []}
        for port in f.results:
            groups[port.group].append(self._take(port.view.shape))
        room = self._letter(self.rooms.loss)
        self.account.free(room)
        (value,) = groups["outputs"]
        if self.functions.at_every:
            self.account.briefly(value, value)  # chosen, and weighed
        self.account.free(value)
        return groups

    def _masks(self) -> list[Sum]:
        """The masks of steps that are all of them, or none: a masked sweep reads both."""
        return [self._take((STEPS, BATCH), "bool") for _ in range(2 * self.call.masked)]

    def _take(self, shape: Sequence[Any], dtype: str = "float") -> Sum:
        return self.account.take(Scale(self.sizes, self.steps).bytes(tuple(shape), dtype))

    def _letter(self, room: Room) -> Sum:
        return self.account.take({room.letter: 1})


@dataclass(frozen=True)
class Needs:
    """The function `_needed` of a kernel in C; `rooms` are those of calls with and without masks."""

    functions: Functions
    rooms: Callable[[bool], Rooms]
    known: dict[tuple[bool, int], Any] = field(default_factory=dict)

    def needed(self, steps: int, T: int, B: int, item: int, sizes: Mapping[str, int], trains: bool, masks: int) -> int:
        """Return the bytes that a call holds beside its arguments where a piece has so many steps, as `_needed` of a module does."""
        kind = trains, masks
        if kind not in self.known:
            self.known[kind] = self._case(*kind, [*sizes])
        sums, arrays = self.known[kind]
        named = sizes.values()
        own = [_bytes(of(steps, B, block_of(steps, B), item, *named)) for of in arrays]
        return int(OBJECTS + max(sums(steps, T, B, item, *named, *own), default=0))

    def _case(self, trains: bool, masks: int, names: Sequence[str]) -> tuple[Any, list[Any]]:
        """Return the functions of sizes that give the sums of a kind of call, and the bytes of the arrays of each room."""
        rooms, call = self.rooms(masks > 0), Call(trains, *MASKS[masks], pieces=2)
        found = most(self.functions, call, Letters(), lambda *given: RoomRuns(*given, rooms=rooms))
        sizes = [ITEM, *map(named_size, names)]
        sums = [sum((factor * product for product, factor in x.items()), sp.S.Zero) for x in found.sums]
        arrays = [[sp.sympify(prod(b.shape) * ITEMS[b.dtype]) for b in room.buffers] for room in rooms.all]
        letters = [PIECE, STEPS, BATCH, *sizes, *(room.letter for room in rooms.all)]
        return _function(letters, sums), [_function([STEPS, BATCH, BLOCK, *sizes], x) for x in arrays]


def _function(symbols: Sequence[sp.Symbol], values: Sequence[sp.Expr]) -> Any:
    return sp.lambdify(symbols, values, "math", dummify=True)


def _bytes(arrays: Iterable[int]) -> int:
    """Return the bytes of a room with arrays of so many bytes each, none where there is no array."""
    lines = [-(-int(n) // LINE) for n in arrays]
    return (sum(lines) + 1) * LINE if lines else 0
