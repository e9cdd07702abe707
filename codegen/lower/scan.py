"""Affine recurrences of the steps of a block as one statement, which a target may evaluate for many steps at once.

Example: of h_t = a_t ⊙ h_{t-1} + u_t the coefficient a and the free part u are there for all steps of a block before its
loop, so that the loop over its steps becomes `scan h[lo+1:lo+count+1] from h[lo] by a[lo:lo+count] + u`, with the loop
itself as its body for targets that go step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import sympy as sp

from symbptt.codegen.loop_ir.nodes import Given, Scan, Statement, View
from symbptt.codegen.loop_ir.views import point, repeated, span, whole
from symbptt.codegen.lower.families import aligned, operand, room
from symbptt.codegen.lower.frame import COUNT, FRAMES, LO
from symbptt.codegen.lower.storage import after_steps
from symbptt.codegen.lower.sweep import Sweep
from symbptt.codegen.passes.affine_recurrence import Affine, recursions
from symbptt.codegen.program.regions import BLOCK, LOOP
from symbptt.codegen.program.values import Values
from symbptt.ir.shape import Shape

Value: TypeAlias = int | sp.Expr | None
"""A value of the program, a number, or nothing."""


def recurrences(v: Values) -> tuple[Affine, Affine] | None:
    """Return the affine recurrences of both sweeps, where no other value of each step is stored."""
    found, g = recursions(v.program), v.program.graph
    if found is None or len({g.is_complex(leaf) for leaf in v.program.carry.values()}) > 1:
        return None  # a scan has rooms of one type
    # A scan joins steps to pairs and pairs to fours, and computes states alone. Where something else of each step is
    # stored, a loop would have to follow, which costs what the scan has spared.
    kept = {"forward": {*v.program.next.values()}, "backward": {*found[1].cut}}
    # A scan computes the states of a window and no other value of its steps.
    alone = all(
        id in kept[sweep] or id not in v.stored | v.held
        for sweep in ("forward", "backward")
        for id in v.computed(sweep, LOOP)
    )
    # A gradient of an input that is the carry itself needs the carries of all steps, which only a scan over them
    # computes.
    passed = {leaf for leaf in v.program.carry.values() if leaf in v.program.inputs.values()}
    return found if alone and passed <= {*found[1].cut} else None


def is_fixed(v: Values, a: Affine) -> bool:
    """Answer whether the coefficients of a recurrence are the same at all steps and samples."""
    return not any(isinstance(c, int) and c in v.varying for row in a.rows for c in row)


Body: TypeAlias = tuple[Statement, ...]
"""The loop over the steps of a block."""


def forward_scan(w: Sweep) -> Callable[[Body], Scan] | None:
    """Return the function that makes the scan of the states of a block of the loop over its steps; None where the
    recurrence is not affine, and where masks change the states between steps."""
    found = recurrences(w.module)
    if found is None or w.storage.masks is not None:
        return None

    def write(body: Body) -> Scan:
        p, a = w.module.program, found[0]
        out = tuple(span(after_steps(w.storage.states[name]), 0, LO, COUNT) for name in p.next)
        # The recurrence goes on from the state before the block.
        carry = tuple(point(w.storage.stored[p.leaves[name]].view, 0, LO) for name in p.next)
        return Scan(out, carry, _rows(w, a, out), _values(w, a.free, out), (), False, body)

    return write


def backward_scan(w: Sweep, unless: Sequence[View]) -> Callable[[Body], Scan] | None:
    """Return the same for the adjoints of a block, backward; with flags `unless` step by step."""
    found = recurrences(w.module)
    if found is None or w.storage.masks is not None:
        return None

    def write(body: Body) -> Scan:
        p, a = w.module.program, found[1]
        out = tuple(_adjoints(w, cut, name) for name, cut in zip(p.carry, a.cut, strict=True))
        given: list[tuple[Given, ...]] = []
        for name, extra, x in zip(p.carry, a.given, out, strict=True):
            there = w.storage.there.get(name)
            direct = span(whole(w.storage.direct[name]), 0, LO, COUNT)
            terms = [Given(direct, None if there is None else whole(there))]
            terms += [] if extra is None else [Given(_view(w, extra, x.shape))]
            given.append(tuple(terms))
        carry = tuple(whole(w.storage.carries[name]) for name in p.carry)
        rows, free = _rows(w, a, out), _values(w, a.free, out)
        return Scan(out, carry, rows, free, tuple(given), True, body, tuple(unless))

    return write


def _adjoints(w: Sweep, cut: int, name: str) -> View:
    """Return where the adjoints of a state lie at the steps of a block: in the place of the value that they are, or of
    the carry, else in one of their own, for a recurrence writes them all."""
    stored = w.storage.stored.get(cut)
    if stored is not None and stored.steps != "none":
        return w.lowering.frame.part(stored)
    shape, carry = w.lowering.graph.shape(w.module.program.carry[name]), w.storage.carries[name]
    return room(w.lowering, f"{carry.name}_all", w.lowering.frame.lead, shape, dtype=carry.dtype)


def _rows(w: Sweep, a: Affine, out: Sequence[View]) -> tuple[tuple[View | None, ...], ...]:
    return tuple(tuple(_maybe(w, c, x.shape) for c in row) for row, x in zip(a.rows, out, strict=True))


def _values(w: Sweep, values: Sequence[Value], out: Sequence[View]) -> tuple[View | None, ...]:
    return tuple(_maybe(w, v, x.shape) for v, x in zip(values, out, strict=True))


def _maybe(w: Sweep, found: Value, shape: Shape) -> View | None:
    return None if found is None else _view(w, found, shape)


def _view(w: Sweep, found: int | sp.Expr, shape: Shape) -> View:
    """Return a value at the steps of the block, with the axes of a state, repeated where it does not vary."""
    s = w.lowering
    if not isinstance(found, int):
        value = complex(found)
        kind, number = ("complex", value) if value.imag else ("float", value.real)
        return repeated(whole(s.builder.constant("v", (), number, kind)), shape)
    view = operand(s, found)
    own = shape[len(FRAMES[BLOCK].lead) :]
    return repeated(aligned(view, len(s.lead(found)), own), shape)
