"""Cells lowered to the loop IR, with data at sizes that are pairwise different, run by the interpreter."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import sympy as sp

import symbptt as sb
from symbptt.autodiff.bptt import derive
from symbptt.codegen.loop_ir.arithmetics import floats
from symbptt.codegen.loop_ir.interpret import Arithmetic, run
from symbptt.codegen.lower.cell import Sweeps, lower
from symbptt.codegen.passes import PASSES
from symbptt.codegen.program.program import Program, program_of
from symbptt.ir.shape import Shape
from symbptt.ir.sizes import axes_of, solved

LENGTHS = (3, 4, 5, 7, 2, 6, 8, 9)
"""Numbers for named sizes, in the order of their names."""


@dataclass(frozen=True)
class Data:
    """Sizes, arguments by group and name as the loop IR has them, cotangents of states and outputs by name."""

    sizes: dict[str, int]
    given: dict[tuple[str, str], Any]
    cotangents: dict[str, Any]

    def of(self, *groups: str) -> dict[str, Any]:
        """Return the arguments of some groups by name."""
        return {name: value for (group, name), value in self.given.items() if group in groups}


@cache
def program_with(cell: sb.Cell, passes: tuple[Any, ...] = PASSES) -> Program:
    """The program of a cell behind some passes."""
    p = program_of(derive(cell.step))
    for step in passes:
        p = step(p)
    return p


@cache
def sweeps_of(cell: sb.Cell, passes: tuple[Any, ...] = PASSES, masked: bool = False, **options: Any) -> Sweeps:
    """Both sweeps of a cell, lowered behind some passes, without or with masks."""
    return lower(program_with(cell, passes), masked, **options)


def shape_of(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A shape in numbers."""
    return tuple(int(sp.sympify(n).subs({x: sizes[x.name] for x in sp.sympify(n).free_symbols})) for n in shape)


def data_for(cell: sb.Cell, steps: int, samples: int, dtype: Any = np.float64, **lengths: int) -> Data:
    """Random data of a cell; `lengths` are sizes that are to be something else."""
    p, random = program_with(cell), np.random.default_rng(steps + 10 * samples)
    fixed, free = solved(axes_of(p.arguments)), iter(LENGTHS)
    names = sorted({x.name for a in p.arguments for n in a.shape for x in sp.sympify(n).free_symbols})
    sizes = {name: fixed.get(name) or lengths.get(name) or next(free) for name in names}
    given: dict[tuple[str, str], Any] = {}
    for a in p.arguments:
        lead = {"input": (steps, samples), "index": (steps, samples), "state": (samples,)}.get(a.role, ())
        shape = (*lead, *shape_of(a.shape, sizes))
        if a.role == "index":
            limit = 3 if a.limit is None else shape_of((a.limit,), sizes)[0]
            given[a.role, a.name] = random.integers(0, limit, shape)
        elif a.role != "const" or a.default is None:
            given[a.role, a.name] = (0.6 * random.standard_normal(shape)).astype(dtype)
    g = p.graph
    shapes = {name: (steps, samples, *shape_of(g.shape(id), sizes)) for name, id in {**p.next, **p.outputs}.items()}
    return Data(sizes, given, {name: random.standard_normal(shape).astype(dtype) for name, shape in shapes.items()})


def run_forward(
    s: Sweeps, data: Data, steps: int, samples: int, block: int = 1, arithmetic: Arithmetic | None = None
) -> dict[tuple[str, str], Any]:
    """What the forward sweep gives."""
    return run(s.forward, data.given, data.sizes, steps, samples, arithmetic or floats(), block)


def run_both(
    s: Sweeps, data: Data, steps: int, samples: int, block: int = 1, arithmetic: Arithmetic | None = None
) -> tuple[dict[tuple[str, str], Any], dict[tuple[str, str], Any]]:
    """What both sweeps give."""
    first = run_forward(s, data, steps, samples, block, arithmetic)
    kept = {key: value for key, value in first.items() if key[0] == "residual"}
    cotangents = {("cotangent", name): value for name, value in data.cotangents.items()}
    given = {**data.given, **kept, **cotangents}
    return first, run(s.backward, given, data.sizes, steps, samples, arithmetic or floats(), block)


def with_masks(data: Data, steps: int, samples: int, lengths: Any, reset: Any) -> Data:
    """Data with masks: who is active, who is reset, what samples that have ended hold of inputs and states."""
    none = np.full(samples, steps) if lengths is None else lengths
    active = np.arange(steps)[:, None] < none
    given = dict(data.given)
    rows = np.where(none > 0, np.arange(samples), none.argmax() if samples else 0)
    at = (np.minimum(np.arange(steps)[:, None], np.maximum(none - 1, 0)), rows)
    for (group, name), value in data.given.items():
        if group in ("input", "index"):
            given[group, name] = value[at] if none.any() else np.zeros_like(value)
        elif group == "state":
            given["held", name] = value[rows]
    resets = np.zeros((steps, samples), bool) if reset is None else reset & active
    flags = {("flag", "lengths"): lengths is not None, ("flag", "reset"): reset is not None}
    return replace(data, given={**given, **flags, ("mask", "active"): active, ("mask", "reset"): resets})
