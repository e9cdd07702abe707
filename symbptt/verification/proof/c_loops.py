"""The loops that a kernel in C is printed from, run on elements of the field by the interpreter: those of calls without masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from symbptt.codegen.loop_ir.arithmetics import floats
from symbptt.codegen.loop_ir.interpret import Arithmetic, run
from symbptt.codegen.loop_ir.nodes import Function
from symbptt.codegen.loop_ir.step_by_step import without_scans
from symbptt.codegen.lower.driven import Pair, driven
from symbptt.codegen.program.program import Program
from symbptt.codegen.targets.c99.module import blocked
from symbptt.language.cell import Cell
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof.loops import GROUPS, UNCLIPPED, arithmetic
from symbptt.verification.proof.residues import elements

Groups = dict[tuple[str, str], Any]


def loops_of_c(p: Program) -> Pair:
    """Return both sweeps of a program as C has them: behind the choice of blocks, before loops are fused and printed."""
    pair = driven(p)
    return Pair(*(blocked(without_scans(f)) for f in (pair.forward, pair.backward)))


def run_over_field(pair: Pair, cell: Cell, point: Point, sent: Arrays, block: int) -> tuple[Arrays, Groups]:
    """Return states and outputs by name, and gradients by group and name, on elements of the field."""
    return _run(pair, cell, point, sent, block, arithmetic(), elements)


def run_in_floats(pair: Pair, cell: Cell, point: Point, sent: Arrays, block: int) -> tuple[Arrays, Groups]:
    """Return the same in floats."""
    return _run(pair, cell, point, sent, block, replace(floats(), runtime=UNCLIPPED), np.asarray)


def _run(
    pair: Pair, cell: Cell, point: Point, sent: Arrays, block: int, kind: Arithmetic, plain: Any
) -> tuple[Arrays, Groups]:
    """Run both sweeps as a driver does that has one range of steps: states lie in rows 0 to T of one array, and the adjoints of the
    states behind the last step, which are zero, are replaced by those before the first."""
    T, states = point.steps, {name: plain(value) for name, value in point.state.items()}
    rows = {k: np.full((T + 1, *np.shape(v)), np.nan) for k, v in states.items()}
    for name, value in states.items():
        rows[name][0] = value
    given: Groups = {
        (a.role, a.name): getattr(point, GROUPS[a.role])[a.name]
        for a in cell.arguments
        if a.name in getattr(point, GROUPS.get(a.role, ""), {})
    }
    given |= {("rows", k): v for k, v in rows.items()}
    first = _called(pair.forward, given, point, block, kind)
    carry = {k: np.zeros(np.shape(v)) for k, v in states.items()}
    given |= {key: value for key, value in first.items() if key[0] == "residual"}
    given |= {("after", k): v[1:] for k, v in rows.items()} | {("before", k): v[:-1] for k, v in rows.items()}
    given |= {("carry", k): v for k, v in carry.items()}
    given |= {(group, k): plain(v) for k, v in sent.items() for group in ("cotangent", "direct")}
    second = _called(pair.backward, given, point, block, kind)
    values = {k: v for (group, k), v in first.items() if group == "outputs"}
    values |= {k: kind.array(v[1:]) for k, v in rows.items()}
    found = {key: v for key, v in second.items() if key[0] in ("params", "inputs")}
    return values, found | {("state", k): kind.array(v) for k, v in carry.items()}


def _called(f: Function, given: Mapping[tuple[str, str], Any], point: Point, block: int, kind: Arithmetic) -> Groups:
    """Return what a sweep gives; cotangents that are not given are zero."""
    sizes = {symbol.name: value for symbol, value in point.sizes.items()}
    zero = {
        (x.group, x.name): np.zeros((point.steps, point.batch, *_own(x.view.buffer.shape, point)))
        for x in f.arguments
        if x.group in ("cotangent", "direct") and (x.group, x.name) not in given
    }
    return run(f, {**given, **zero}, sizes, point.steps, point.batch, kind, block)


def _own(shape: Any, point: Point) -> tuple[int, ...]:
    """Return the axes of an array behind those of steps and samples as numbers."""
    return tuple(int(n if isinstance(n, int) else n.xreplace(point.sizes)) for n in shape[2:])
