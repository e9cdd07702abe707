"""The state of reading a module: its calls so far, and the loops around the present line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from symbptt.codegen.targets.numpy.memory.extent import Blocks, Extent, expression
from symbptt.codegen.targets.numpy.memory.heap import Heap

SWEEPS = ("_forward", "_loss", "_backward", "_pull")
"""Functions whose loops are over steps; those of other functions are run as they are where their sizes are known."""
FILE = "<a module that is read>"
BEFORE, BLOCKS, STEPS = "outside the loop", "each block of steps", "each step"


@dataclass(frozen=True)
class Call:
    """Calls of one function of NumPy from one place: the line of the sweep, its place among the loops, how often it is
    called in all, and its operations in all: multiply-adds of a product, elements of everything else."""

    name: str
    line: int
    where: str
    times: Any
    operations: Any

    @property
    def is_product(self) -> bool:
        """True if it is a product of matrices."""
        return self.name in ("matmul", "einsum")


@dataclass(frozen=True)
class Loop:
    """A loop over steps or over blocks of them: how often it runs; where a block has a length in symbols, that, and the
    steps of all blocks together."""

    times: Any
    is_block: bool = False
    length: sp.Symbol | None = None
    steps: sp.Expr = sp.S.Zero


@dataclass
class Reader:
    """The state of reading: calls, the loops around the present line, and the meaning of the letters for lengths of
    blocks."""

    dtype: np.dtype[Any]
    blocks: Blocks = field(default_factory=Blocks)
    calls: list[Call] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    letters: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    heap: Heap | None = None

    def size(self, name: str) -> Extent:
        """Return a symbol for a whole number that is not known."""
        return Extent(sp.Dummy(name, integer=True, positive=True), self.blocks)

    def call(self, name: str, operations: Any) -> None:
        """Record a call, unless it is memory that is counted."""
        if self.heap is not None:
            return
        where, line = self.place()
        self.calls.append(Call(name, line, where, self.all_of(1), self.all_of(operations)))

    def all_of(self, once: Any) -> Any:
        """Return a count of one execution, multiplied by all loops around the present line."""
        once = expression(once) if isinstance(once, Extent) else once
        for loop in reversed(self.loops):
            if loop.length is None:
                once = once * loop.times
            else:
                # A count is linear in the length of a block: the lengths of all blocks add up to the steps, so that the
                # last, shorter one needs no case of its own.
                parts = sp.Poly(once, loop.length)
                assert parts.degree() < 2, f"{once} grows with the square of a block"
                once = parts.coeff_monomial(loop.length) * loop.steps + parts.coeff_monomial(1) * loop.times
        return once if isinstance(once, int) else sp.expand(once)

    def place(self) -> tuple[str, int]:
        """Return the region of the present line, and the line of the sweep."""
        known = [f for f in frames() if f.f_code.co_filename == FILE]
        sweep = next((f for f in known if f.f_code.co_name in SWEEPS), known[-1])
        kinds = [not loop.is_block for loop in self.loops]
        return (STEPS if any(kinds) else BLOCKS if kinds else BEFORE), sweep.f_lineno


def frames() -> Iterator[Any]:
    """Return the frames of the present call, the innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back  # type: ignore[assignment]


def running(r: Reader, loop: Loop, item: Any) -> Iterator[Any]:
    """Yield one item inside a loop."""
    r.loops.append(loop)
    yield item
    assert r.loops.pop() is loop
