"""The loop IR of a cell, run on elements of the field by the interpreter: what every target writes from, before any does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.autodiff.bptt import derive
from symbptt.codegen.loop_ir.interpret import Arithmetic, run
from symbptt.codegen.lower.cell import Sweeps, lower
from symbptt.codegen.passes.still_sums import in_loops
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.program.regions import place
from symbptt.language.cell import Cell
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof import residues as field
from symbptt.verification.proof.constants import fraction
from symbptt.verification.proof.residues import residues, rounds

Pass = Callable[[Program], Program]
GROUPS = {"param": "params", "const": "params", "input": "inputs", "index": "inputs", "state": "state"}


@dataclass(frozen=True)
class Lowered:
    """A cell as loops, behind some passes."""

    program: Program
    sweeps: Sweeps
    masked: bool


def lowered(program: Program, passes: Sequence[Pass], masked: bool) -> Lowered:
    """Return the loops of a program behind some passes."""
    for step in passes:
        program = step(program)
    return Lowered(program, lower(program, masked, limit=1.0, monitored=True), masked)


@functools.lru_cache(maxsize=4)
def as_derived(cell: Cell) -> Lowered:
    """Return the loops of a cell as it is derived, which take lengths and resets."""
    return lowered(program_of(derive(in_loops(cell.looped))), (place,), True)


def number(value: sp.Expr) -> Any:
    """Return the element of a number of a program."""
    if value.is_Rational:
        return residues(np.array(float(fraction(Fraction(int(value.p), int(value.q))))))
    return residues(np.array(field.number(float(value))))


def arithmetic() -> Arithmetic:
    """Return the arithmetic of the field: norms are zero, and no clipping acts."""
    functions = {name: op.evaluate for name, op in ops.BY_NAME.items()}
    return Arithmetic(np.float64, number, functions, runtime=UNCLIPPED, array=residues, settled=rounds().settled)


def _no_norm(out: list[Any], args: list[Any]) -> None:
    for view in out:
        view[...] = 0


def _unclipped(out: list[Any], args: list[Any]) -> None:
    for to, of in zip(out, args, strict=False):
        to[...] = of


def _swept(
    found: Lowered, cell: Cell, point: Point, sent: Arrays, block: int, kind: Arithmetic, monitor: bool = False
) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return what both sweeps give, by group and name."""
    given = _given(found, cell, point, monitor)
    sizes = {symbol.name: value for symbol, value in point.sizes.items()}
    common = (sizes, point.steps, point.batch, kind, block)
    first = run(found.sweeps.forward, given, *common)
    kept = {key: value for key, value in first.items() if key[0] == "residual"}
    cotangents = {("cotangent", name): value for name, value in sent.items()}
    second = run(found.sweeps.backward, {**given, **kept, **cotangents}, *common)
    return first, second


def run_loops(
    found: Lowered, cell: Cell, point: Point, sent: Arrays, block: int, kind: Arithmetic
) -> tuple[Arrays, dict[Any, Any]]:
    """Return states and outputs by name, and gradients by group and name, of both sweeps in an arithmetic."""
    first, second = _swept(found, cell, point, sent, block, kind)
    values = {name: value for (group, name), value in first.items() if group in ("states", "outputs")}
    return values, {key: value for key, value in second.items() if key[0] in ("params", "inputs", "state")}


def adjoints_of_loops(found: Lowered, cell: Cell, point: Point, sent: Arrays, kind: Arithmetic) -> Arrays:
    """Return the adjoints of each state after every step, (T, B, ...), of which the loops take norms."""
    taken: list[Any] = []

    def norm(out: list[Any], args: list[Any]) -> None:
        taken.append(np.array(args[0]))

    # All steps in one block: from the last to the first, at each one state after the other.
    noting = replace(kind, runtime={**kind.runtime, "norm": norm})
    _swept(found, cell, point, sent, max(point.steps, 1), noting, monitor=True)
    names = [*found.program.carry]
    return {name: np.array(taken[i :: len(names)][::-1]) for i, name in enumerate(names)}


def _given(found: Lowered, cell: Cell, point: Point, monitor: bool) -> dict[tuple[str, str], Any]:
    """Return the arguments as the loop IR has them; with masks, samples that have ended hold their last step."""
    given = {
        (a.role, a.name): getattr(point, GROUPS[a.role])[a.name]
        for a in found.program.arguments
        if a.name in getattr(point, GROUPS[a.role])
    }
    given |= {("flag", "monitor"): monitor}
    if not found.masked:
        return given
    lengths = np.full(point.batch, point.steps) if point.lengths is None else point.lengths
    rows = np.where(lengths > 0, np.arange(point.batch), lengths.argmax() if point.batch else 0)
    at = (np.minimum(np.arange(point.steps)[:, None], np.maximum(lengths - 1, 0)), rows)
    for (role, name), value in list(given.items()):
        if role in ("input", "index"):
            given[role, name] = value[at] if lengths.any() else np.zeros_like(value)
        elif role == "state":
            given["held", name] = value[rows]
    reset = np.zeros((point.steps, point.batch), bool) if point.reset is None else point.reset & point.active
    flags = {("flag", "lengths"): point.lengths is not None, ("flag", "reset"): point.reset is not None}
    return given | flags | {("mask", "active"): point.active, ("mask", "reset"): reset}


UNCLIPPED = {"norm": _no_norm, "clip": _unclipped}
"""The functions of a runtime where no norm is over a limit."""
