"""The form in which a statement is written, as the target chooses it: the memory counts what is written, and decides nothing again.

Example: of `s = W · x; map a = s + b` outside of loops s is folded into the expression of a, which is defined: one array lives
on, and that of the product while the sum reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from symbptt.codegen.loop_ir.nodes import Buffer, Map, Statement

JOIN, SCATTER, SCALAR, ZEROS, DEFINE, FOLD, ASSIGN, CALL = (
    "join", "scatter", "scalar", "zeros", "define", "fold", "assign", "call",
)  # fmt: skip
"""Forms: copies that fill an array part by part; elements added at indices to zeros; a number of Python; an array of zeros; an
expression that gets a name; one that stands where it is read; one that is written into an array; calls that write."""


@dataclass(frozen=True)
class Form:
    """A form, the copies that are joined, and whether what is written is an array that has no name yet."""

    kind: str
    parts: tuple[Map, ...] = ()
    is_new: bool = False


class Chosen(Protocol):
    """The forms of the statements of a function."""

    def of(self, body: Sequence[Statement], begun: set[Buffer], is_top: bool) -> Iterator[tuple[int, Form]]:
        """Yield the places of the statements that are written, each with its form; `is_top`: outside of loops. The buffers that
        have a name by now are `begun`, to which those are added that a form makes."""
