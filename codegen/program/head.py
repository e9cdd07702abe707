"""The loss of a model beside the program of its cell."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.program.program import Program
from symbptt.ir.step import Argument


@dataclass(frozen=True)
class Head:
    """A loss beside the program: its own program, without a loop; the arguments it adds; where and how it counts."""

    program: Program
    added: tuple[Argument, ...]
    at: str
    reduction: str
