"""The statements that compute the steps of a block of an affine recurrence at once, as calls of the runtime.

Example of h_t = a_t h_{t-1} + u_t: `scanned = _scan(plans, ((a,),), (u,), (h_buffer[lo : hi + 1],), window)` stands
before the loop over the steps of the block, which runs `if not scanned`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BATCH, Extent, Operand, Runtime, Statement, View
from symbptt.codegen.loop_ir.views import repeated, whole
from symbptt.codegen.lower.families import aligned, operand, room
from symbptt.codegen.lower.frame import COUNT, Stored
from symbptt.codegen.lower.scan import is_fixed, recurrences
from symbptt.codegen.lower.sweep import Sweep
from symbptt.codegen.passes.affine_recurrence import Affine
from symbptt.codegen.program.names import Named
from symbptt.ir.shape import Shape

Scan: TypeAlias = Callable[[Sweep, View], Statement]
"""A function that returns the statement of a block which scans its steps, and sets a flag to whether that was done."""

SCAN, SCAN_FIXED, SCAN_BACK, SCAN_BACK_FIXED = "scan", "scan_fixed", "scan_back", "scan_back_fixed"
"""The calls of the runtime; coefficients of the fixed ones are the same at all steps.

They write a flag, then an array of the block for each of the p states (the adjoints, and then the carries, backward); they
read p rows of p coefficients, p free terms, and backward p more that are given directly. A size of 0 stands for a zero.
"""
LEAST = {SCAN: 4, SCAN_FIXED: 8, SCAN_BACK: 4, SCAN_BACK_FIXED: 8}
"""The steps of the smallest window that is faster than a loop."""
LEVELS = 6
"""The number of times that steps are joined, at n = 64 and a few samples."""
NONE = Extent(0)

Value: TypeAlias = int | sp.Expr | None
"""A value of the program, a number, or nothing."""


def scans(n: Named) -> tuple[Scan, Scan] | None:
    """Return what scans the steps of both sweeps, where the recurrence is affine and no other value of a step is stored."""
    found = recurrences(n)
    if found is None:
        return None
    ahead, back = found

    def forward(w: Sweep, flag: View) -> Statement:
        shapes = _shapes(n)
        out = tuple(w.lowering.frame.part(Stored(whole(w.storage.states[name]), "all")) for name in n.program.next)
        return Runtime(
            _name(n, ahead, False), (flag, *out), (*_rows(w, ahead, shapes), *_values(w, ahead.free, shapes))
        )

    def backward(w: Sweep, flag: View) -> Statement:
        shapes, carries = _shapes(n), [whole(w.storage.carries[name]) for name in n.program.next]
        out = tuple(_array(w, cut, carry, shape) for cut, carry, shape in zip(back.cut, carries, shapes, strict=True))
        args = (*_rows(w, back, shapes), *_values(w, back.free, shapes), *_values(w, back.given, shapes), *carries)
        return Runtime(_name(n, back, True), (flag, *out, *carries), args)

    return forward, backward


def _name(n: Named, a: Affine, back: bool) -> str:
    return ((SCAN, SCAN_FIXED), (SCAN_BACK, SCAN_BACK_FIXED))[back][is_fixed(n, a)]


def _shapes(n: Named) -> list[Shape]:
    return [n.program.graph.shape(n.program.leaves[name]) for name in n.program.next]


def _array(w: Sweep, cut: int, carry: View, shape: Shape) -> View:
    """Return the array of the adjoints of a block: where they are stored, or one of the workspace."""
    found = operand(w.lowering, cut) if cut in w.storage.stored else carry
    if found != carry:
        return found
    return room(w.lowering, f"{carry.buffer.name}_all", (COUNT, BATCH), shape)


def _rows(w: Sweep, a: Affine, shapes: Sequence[Shape]) -> list[Operand]:
    plain = is_fixed(w.module, a)
    return [_operand(w, c, shape, plain) for row, shape in zip(a.rows, shapes, strict=True) for c in row]


def _values(w: Sweep, values: Sequence[Value], shapes: Sequence[Shape]) -> list[Operand]:
    return [_operand(w, v, shape, False) for v, shape in zip(values, shapes, strict=True)]


def _operand(w: Sweep, found: Value, shape: Shape, plain: bool) -> Operand:
    """Return a value at the steps of the block, in the axes of a state; `plain`: with its own axes alone."""
    if found is None:
        return NONE
    if isinstance(found, int):
        lead = w.lowering.lead(found)
        view = operand(w.lowering, found)
    else:
        lead, view = (), whole(w.builder.constant("v", (), float(found)))
    if plain and not lead:
        return view
    return repeated(aligned(view, len(lead), shape), (COUNT, BATCH, *shape))
