"""The data that C code and its caller exchange: the fields of the structs of the header, and where each buffer lies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from symbptt.codegen.loop_ir.nodes import BATCH, STEPS, Buffer, Function, Port
from symbptt.codegen.lower.cell import Sweeps
from symbptt.codegen.program.program import Program
from symbptt.codegen.targets.c99.names import FIELDS, RESERVED, c_name, header_names, named
from symbptt.codegen.targets.c99.sizes import Names, size_code
from symbptt.ir.shape import Size, prod, size

GIVEN = ("param", "const", "input", "index", "state")
WORDS = {
    "param": "parameter", "const": "constant", "input": "input", "index": "index", "state": "state before the first step",
    "states": "state: [0] is the one before the first step, [t] the one after t steps", "outputs": "output",
    "cotangent": "dL/d{0} at each step", "params": "dL/d{0}", "inputs": "dL/d{0}",
}  # fmt: skip
NO_LIMITS: Mapping[str, Size] = {}


@dataclass(frozen=True)
class Field:
    """An array of a struct: its name there, the user's name of whose array it is, its buffer, words that say what it is, and
    the number of values of an index."""

    name: str
    of: str
    buffer: Buffer
    words: str
    limit: Size | None = None


@dataclass(frozen=True)
class Interface:
    """The arrays of both sweeps, by struct. `tape` are the buffers that the forward sweep leaves in one array."""

    name: str
    sweeps: Sweeps
    sizes: Names
    given: tuple[Field, ...]
    run: tuple[Field, ...]
    cotangents: tuple[Field, ...]
    gradients: tuple[Field, ...]
    tape: tuple[Buffer, ...]
    optional: frozenset[Buffer]

    @property
    def macro(self) -> str:
        """The beginning of the names of macros and codes of the header."""
        return self.name.upper()

    @cached_property
    def arrays(self) -> tuple[Buffer, ...]:
        """All arrays that a caller has."""
        fields = (*self.given, *self.run, *self.cotangents, *self.gradients)
        return tuple(field.buffer for field in fields)

    def structs(self) -> Iterator[tuple[str, Sequence[Field]]]:
        """Return the structs by name, but for that of the sizes."""
        yield from (
            ("given", self.given),
            ("run", self.run),
            ("cotangents", self.cotangents),
            ("gradients", self.gradients),
        )


def interface_of(p: Program, sweeps: Sweeps) -> Interface:
    """Return the interface of the C code for a program."""
    name = c_name(p.name)
    own = header_names(name)
    sizes = dict.fromkeys((*sweeps.forward.sizes, *sweeps.backward.sizes))
    names = named((symbol.name for symbol in sizes), {*RESERVED, *own, "T", "B", "K"})
    symbols = {STEPS: "T", BATCH: "B", **{symbol: names[symbol.name] for symbol in sizes}}
    limits = {a.name: a.limit for a in p.arguments if a.limit is not None}
    given = _fields((x for x in sweeps.forward.arguments if x.group in GIVEN), own, limits)
    run = _fields((x for x in sweeps.forward.results if x.group in ("states", "outputs")), own)
    known = {field.buffer for field in (*given, *run)}
    tape = tuple(
        x.view.buffer for x in sweeps.backward.arguments if x.group == "residual" and x.view.buffer not in known
    )
    cotangents = _fields((x for x in sweeps.backward.arguments if x.group == "cotangent"), own)
    gradients = _fields(sweeps.backward.results, own)
    initial = {x.view.buffer for x in sweeps.forward.arguments if x.group == "state"}
    optional = frozenset({*initial, *(field.buffer for field in cotangents)})
    return Interface(name, sweeps, symbols, given, run, cotangents, gradients, tape, optional)


def _fields(ports: Iterable[Port], own: Collection[str], limits: Mapping[str, Size] = NO_LIMITS) -> tuple[Field, ...]:
    ports = tuple(ports)
    names = named((port.name for port in ports), {*FIELDS, *own})
    return tuple(Field(names[x.name], x.name, x.view.buffer, _words(x), limits.get(x.name)) for x in ports)


def _words(port: Port) -> str:
    if port.group == "state" and port.view.buffer.space == "result":
        return f"dL/d{port.name} before the first step"
    return WORDS[port.group].format(port.name)


def local_buffers(f: Function, interface: Interface, used: Iterable[Buffer]) -> tuple[Buffer, ...]:
    """Return the buffers of a function that lie in its workspace, of those that it uses as arrays."""
    elsewhere = {*interface.arrays, *interface.tape, *(c.buffer for c in f.constants)}
    return tuple(b for b in dict.fromkeys(used) if b not in elsewhere)


def elements(buffers: Iterable[Buffer]) -> Size:
    """Return how many elements buffers have together."""
    return size(sum((prod(b.shape) for b in buffers), start=0))


def shape_code(buffer: Buffer, interface: Interface) -> str:
    """Return a shape as the header documents it: `(T, B, n)`."""
    return f"({', '.join(size_code(n, interface.sizes) for n in buffer.shape)})" if buffer.shape else "a number"
