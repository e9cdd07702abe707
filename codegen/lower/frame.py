"""Frames of statements: before the loops, for all steps, for the steps of a block, or in the loop over steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BATCH, STEPS, View, index_symbol
from symbptt.codegen.loop_ir.nodes import BLOCK as BLOCK_STEPS
from symbptt.codegen.loop_ir.views import point, span
from symbptt.codegen.program.regions import AFTER, ALL, BLOCK, LOOP, ONCE, TAIL
from symbptt.ir.shape import Shape, size

T = index_symbol("t")
"""The index of the loop over steps."""
LO, COUNT = index_symbol("lo"), index_symbol("count")
"""The first step of a block, and the number of its steps."""
SYMBOLS = frozenset(str(symbol) for symbol in (STEPS, BATCH, BLOCK_STEPS, T, LO, COUNT))
"""The names of the symbols that lowered functions use, which no buffer has."""


@dataclass(frozen=True)
class Stored:
    """The buffer view of a value, whose first axes are those of steps and samples.

    `steps` says what its axis of steps has: "all" steps, those of one "block", or that there is "none".
    """

    view: View
    steps: str


@dataclass(frozen=True)
class Frame:
    """A place of statements: the axes of steps and samples that values have there, and the part of a stored value
    there."""

    lead: Shape
    part: Callable[[Stored], View]


def _of_step(first: sp.Expr) -> Callable[[Stored], View]:
    def part(stored: Stored) -> View:
        if stored.steps == "none":
            return stored.view
        # Of a buffer of the steps of one block, step t has row t - lo.
        return point(stored.view, 0, T if stored.steps == "all" else size(T - first))

    return part


def _of_block(stored: Stored) -> View:
    if stored.steps == "none":
        return stored.view
    return span(stored.view, 0, LO if stored.steps == "all" else 0, COUNT)


def _of_all(stored: Stored) -> View:
    return stored.view


PLAIN_LOOP = Frame((BATCH,), _of_step(sp.S.Zero))
FRAMES = {
    ONCE: Frame((STEPS, BATCH), _of_all),
    ALL: Frame((STEPS, BATCH), _of_all),
    AFTER: Frame((STEPS, BATCH), _of_all),
    BLOCK: Frame((COUNT, BATCH), _of_block),
    TAIL: Frame((COUNT, BATCH), _of_block),
    LOOP: Frame((BATCH,), _of_step(LO)),
}
