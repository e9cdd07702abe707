"""The lines of a module that compute the steps of a block of an affine recurrence at once.

Example of h_t = a_t h_{t-1} + u_t: `scanned = _scan(plans, ((a,),), (u,), (h_buffer[lo : hi + 1],), window)` stands
before the loop over the steps of the block, which runs `if not scanned`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import sympy as sp

from symbptt.codegen.lower.equations import writer_of
from symbptt.codegen.lower.scan import is_fixed, recurrences
from symbptt.codegen.passes.affine_recurrence import Affine, obstacle
from symbptt.codegen.runtime.scan import LARGEST_PRODUCT, WINDOW
from symbptt.codegen.targets.numpy.calls.families import aligned, value
from symbptt.codegen.targets.numpy.calls.sheet import Sheet
from symbptt.codegen.targets.numpy.names import Module
from symbptt.codegen.targets.numpy.statements import indented
from symbptt.codegen.targets.numpy.text import shape_text, tuple_text
from symbptt.ir.shape import Shape

Scan = Callable[[Sheet], list[str]]
"""A function that writes the lines of a block which scan its steps, and set `scanned` to whether they did."""

LEVELS = 6
"""The number of times that steps are joined, at n = 64 and a few samples."""

LEAST = (4, 8)
"""The steps of the smallest window that is faster than a loop: where coefficients are computed for each step, and where
not."""

Value: TypeAlias = int | sp.Expr | None
"""A value of the program, a number, or nothing."""


def forward_scan(m: Module, buffers: Sequence[str]) -> Scan | None:
    """Return the writer of the scan of the states of a block, in their `buffers`; None where the recurrence is not
    affine."""
    found = recurrences(m)
    if found is None:
        return None

    def write(sheet: Sheet) -> list[str]:
        shapes = _shapes(m)
        # Row lo of a buffer is the state before the block, from which the scan goes on.
        x = tuple_text(f"{buffer}[lo : hi + 1]" for buffer in buffers)
        rows, free = _rows(sheet, found[0], shapes), _values(sheet, found[0].free, shapes)
        return [f"scanned = _scan(plans, {rows}, {free}, {x}, window{_fixed(m, found[0])})"]

    return write


def backward_scan(m: Module, carries: Mapping[str, str]) -> Scan | None:
    """Return the writer of the scan of the adjoints of a block; None where the recurrence is not affine."""
    found = recurrences(m)
    if found is None:
        return None

    def write(sheet: Sheet) -> list[str]:
        shapes, a = _shapes(m), found[1]
        given = []
        for name, extra, shape in zip(carries, a.given, shapes, strict=True):
            own = f'None if full["{name}"] is None else full["{name}"][lo:hi]'
            given.append(tuple_text([own] if extra is None else [own, _text(sheet, extra, shape, False)]))
        rows, free = _rows(sheet, a, shapes), _values(sheet, a.free, shapes)
        arrays = tuple_text(_array(m, cut, d) for cut, d in zip(a.cut, carries.values(), strict=True))
        rest = f"{tuple_text(given)}, {tuple_text(carries.values())}, {arrays}, window{_fixed(m, a)}"
        return [f"scanned = _scan_back(plans, {rows}, {free}, {rest})"]

    return write


def _array(m: Module, cut: int, carry: str) -> str:
    """Return the array of the adjoints of a block: a slice of the one of all steps, or one of the workspace."""
    if cut in m.stored:
        return f"{m.variables[cut]}[lo:hi]"
    if cut in m.held:
        return f"{m.variables[cut]}[:K]"
    return f"{m.kept_carry(carry)}[{'lo:hi' if cut in m.collected else ':K'}]"


def opening(m: Module, sweep: str, states: Iterable[str], condition: str) -> list[str]:
    """Return the line before the loop over blocks, where there is a scan."""
    found = recurrences(m)
    if found is None:
        return []
    least = LEAST[is_fixed(m, found[sweep == "backward"])]
    # Masks and monitors act on single steps, so that a call with them takes the loop.
    return [f"window, plans = _window(T, {tuple_text(states)}, {least}) if {condition} else 0, {{0: _Rooms(ws)}}"]


def unless_scanned(scan: Scan | None, loop: list[str]) -> list[str]:
    """Return a loop over the steps of a block that runs where they were not scanned."""
    return loop if scan is None else ["if not scanned:", *indented(loop)]


def closing(scan: Scan | None) -> list[str]:
    """Return the line after all blocks, where there is a scan."""
    return ["ws.give(plans[0].values())"] * (scan is not None)


def _shapes(m: Module) -> list[Shape]:
    return [m.program.graph.shape(m.program.leaves[name]) for name in m.program.next]


def _fixed(m: Module, a: Affine) -> str:
    return ", True" if is_fixed(m, a) else ""


def _rows(sheet: Sheet, a: Affine, shapes: Sequence[Shape]) -> str:
    plain = is_fixed(sheet.module, a)
    return tuple_text(
        tuple_text(_text(sheet, c, shape, plain) for c in row) for row, shape in zip(a.rows, shapes, strict=True)
    )


def _values(sheet: Sheet, values: Sequence[Value], shapes: Sequence[Shape]) -> str:
    return tuple_text(_text(sheet, v, shape, False) for v, shape in zip(values, shapes, strict=True))


def _text(sheet: Sheet, found: Value, shape: Shape, plain: bool) -> str:
    """Return the text of a value at the steps of the block, in the axes of a state; `plain`: without broadcasting."""
    if found is None:
        return "None"
    m = sheet.module
    if isinstance(found, int) and found in m.varying:
        return aligned(sheet, value(sheet, found), shape).text
    text = value(sheet, found).text if isinstance(found, int) else repr(float(found))
    # A coefficient that is the same at all steps and samples needs no axes for these.
    return text if plain else f"np.broadcast_to(np.asarray({text}, dtype), {shape_text(('K', 'B'), shape, m.sizes)})"


def recursion_of(m: Module) -> str:
    """Return the sentence that tells whether the recursion of a program is computed for many steps at once, or why not."""
    p = m.program
    if not p.next:
        return "Recursion: none."
    found = recurrences(m)
    if found is not None:
        return (
            f"Recursion: affine, element by element, in {', '.join(p.next)}: windows of steps at once. The table counts step by step.\n"
            f"  only where {LEAST[is_fixed(m, found[0])]} steps of a state of all samples take at most {WINDOW} bytes and no product of "
            f"coefficients over a window is over {LARGEST_PRODUCT}; with lengths, reset, monitor or clip_adjoint step by step"
        )
    before = p if p.written is None else p.written
    culprits = obstacle(before)
    if culprits is None:
        return "Recursion: step by step: the adjoints of its states do not stay apart, element by element."
    name, culprit = culprits
    return f"Recursion: step by step: {name} is not affine, element by element, in the states: {writer_of(before).rhs(culprit)}"
