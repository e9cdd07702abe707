"""The arrays of a file for one set of sizes: structs of parameters and of all else, in one arena, and where each array begins.

Example: the input x of shape (50, 1, 3) of a cell called lstm is the member `x` of the struct `inputs`, begins at `lstm_arena.inputs.x`,
and is declared as `lstm_real x[50][1][3];`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from symbptt.codegen.loop_ir.nodes import Buffer
from symbptt.codegen.targets.c99.printer import kept_axes
from symbptt.ir.shape import prod

INDEX = "uint32_t"
"""The type of indices, which is the same on all machines."""
BYTES_OF_INDEX = 4


@dataclass(frozen=True)
class Member:
    """An array of a struct: its name there, its shape, its type of elements, and words that say what it is."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float"
    words: str = ""

    @property
    def count(self) -> int:
        """Its number of elements; C has no arrays of none."""
        return max(int(prod(self.shape)), 1)

    def unit(self, real: int) -> int:
        """The bytes of an element where a real has so many; arrays begin at multiples of them."""
        return BYTES_OF_INDEX if self.dtype == "index" else real

    def bytes(self, real: int) -> int:
        """Its bytes."""
        return self.count * self.unit(real)


@dataclass(frozen=True)
class Struct:
    """A struct, or a union, of members: its name, its type where that has one, and words that say what it holds."""

    name: str
    members: tuple[Member | Struct, ...]
    words: str = ""
    type: str = ""
    is_union: bool = False

    def unit(self, real: int) -> int:
        """The greatest unit of its members."""
        return max((x.unit(real) for x in self.members), default=1)

    def bytes(self, real: int) -> int:
        """Its bytes, as C lays members out: each at a multiple of its unit, and a multiple of the greatest one in all."""
        end = 0
        for x in self.members:
            start = 0 if self.is_union else _up(end, x.unit(real))
            end = max(end, start + x.bytes(real))
        return _up(end, self.unit(real))


def _up(n: int, unit: int) -> int:
    return -(-n // unit) * unit


@dataclass
class Arena:
    """The members of the structs in an arena: `known` those that a caller writes or reads, `asked` the others, in the order in which
    functions asked for them. A struct inside of another is named with it: "gradients.start"."""

    name: str
    known: Mapping[str, tuple[Member, ...]]
    asked: dict[str, dict[str, Member]] = field(default_factory=dict)

    def find(self, structs: tuple[str, ...], name: str) -> tuple[str, Member]:
        """Return the first of some structs that has a member of a name, and the member."""
        return next((x, m) for x in structs for m in self.known[x] if m.name == name)

    def path(self, struct: str, member: Member, row: int = 0) -> str:
        """Return the pointer at which a member begins, or its row of so many."""
        return source(f"{self.name}.{struct}.", member, row)

    def ask(self, struct: str, name: str, b: Buffer) -> str:
        """Return the pointer at which a buffer begins that lies in a struct of its own kind."""
        member = Member(name, tuple(int(b.shape[axis]) for axis in kept_axes(b)), b.dtype)
        return self.path(struct, self.asked.setdefault(struct, {}).setdefault(name, member))


def source(path: str, member: Member, row: int = 0) -> str:
    """Return the pointer at which a member behind a path begins, or its row of so many."""
    if not member.shape:
        return f"&{path}{member.name}"
    return f"{path}{member.name}[{row}]" if row else f"{path}{member.name}"
