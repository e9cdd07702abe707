"""The entry point of lowering: the program of a cell as loops."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.loop_ir.nodes import Function
from symbptt.codegen.lower.backward import backward
from symbptt.codegen.lower.edges import Edges
from symbptt.codegen.lower.forward import forward
from symbptt.codegen.lower.frame import SYMBOLS
from symbptt.codegen.lower.storage import storage_of
from symbptt.codegen.program.names import named
from symbptt.codegen.program.program import Program


@dataclass(frozen=True)
class Sweeps:
    """The forward and the backward sweep of a cell."""

    forward: Function
    backward: Function


def lower(
    p: Program,
    masked: bool = False,
    limit: float | None = None,
    monitored: bool = False,
    absent: bool = False,
    in_pieces: bool = False,
) -> Sweeps:
    """Return a placed program as two functions that run and store all steps, without truncation.

    `masked`: samples have lengths and resets; `limit`: the greatest joint norm of the adjoints at each step;
    `monitored`: the norms of the adjoints at each step are results, where a flag asks for them; `absent`: flags tell which
    cotangents are given; `in_pieces`: the steps are some of many, so that a function begins with the states, or with the
    adjoints, that the other steps hand on, and gives back those at its other end.
    """
    m, edges = named(p, SYMBOLS), Edges(limit, monitored)
    storage = storage_of(m, masked, absent=absent, in_pieces=in_pieces)
    back, read = backward(m, storage, edges)
    return Sweeps(forward(m, storage, read, edges), back)
