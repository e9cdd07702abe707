"""A module of which a plan tells: its text, and the program and the options from which it was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from symbptt.codegen.memory.runs import Functions
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import parts_of_number, size_names
from symbptt.codegen.targets.numpy.cells import sweeps_of
from symbptt.codegen.targets.numpy.needed import functions_of
from symbptt.language.truncation import Chunked, Window


@dataclass(frozen=True)
class Written:
    """The text of a module, by which modules are compared, and the placed program and the options from which it was
    written."""

    text: str
    program: Program = field(compare=False)
    head: Head | None = field(compare=False, default=None)
    truncation: Window | Chunked | None = field(compare=False, default=None)
    clip: float | None = None
    pieces: bool = False

    @property
    def at_every(self) -> bool:
        """True if there is a loss that is taken at every step; a truncated one is."""
        return self.head is not None and (self.head.at == "every" or self.truncation is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """The named sizes, including those of a loss."""
        programs = [self.program] if self.head is None else [self.program, self.head.program]
        return tuple(sorted({name for p in programs for name in size_names(p)}))

    @property
    def parts(self) -> int:
        """The real numbers of a number: two where a value is complex."""
        return parts_of_number([self.program] if self.head is None else [self.program, self.head.program])

    @cached_property
    def functions(self) -> Functions:
        """The functions of the module as they are printed."""
        pulled = isinstance(self.truncation, Window)
        return functions_of(sweeps_of(self.program, self.clip, pulled), self.head, self.at_every)
