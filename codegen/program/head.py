"""The loss of a model next to the program of its cell."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.program.program import Program
from symbptt.ir.step import Argument


@dataclass(frozen=True)
class Head:
    """A loss next to the program: its own program, which has no loop, that of what it returns beside its value, the arguments
    it adds, and where and how it counts."""

    program: Program
    predicted: Program | None
    added: tuple[Argument, ...]
    at: str
    reduction: str
