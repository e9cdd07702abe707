"""Compares gradients block by block with derivatives of the user's function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sympy as sp

from symbptt.cell import Cell
from symbptt.model import Model
from symbptt.verify import oracle
from symbptt.verify.oracle import Arrays, Point
from symbptt.verify.regimes import Regime, Size

TOLERANCE = {"complex step": 1e-10, "central differences": 1e-6, "forward": 1e-11}
FLOOR = 1e-280
"""Below this a complex step underflows."""

Gradients = Callable[[Point, Arrays], tuple[Arrays, Arrays, Arrays]]
"""(point, cotangents) -> gradients of parameters, inputs and initial state, by name."""


@dataclass(frozen=True)
class Row:
    """One comparison: the largest error in a block over what it is relative to; `note` where it could not be made."""

    regime: str
    size: str
    block: str
    error: float
    tolerance: float
    method: str
    note: str = ""

    @property
    def passed(self) -> bool:
        return bool(self.note) or self.error <= self.tolerance


@dataclass(frozen=True)
class Report:
    """What a verification found."""

    name: str
    rows: tuple[Row, ...] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every comparison is within its tolerance, and there was one."""
        made = [row for row in self.rows if not row.note and not row.size.startswith("T=0")]
        return all(row.passed for row in self.rows) and any(row.method != "forward" for row in made)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the blocks with an error, without the step."""
        return tuple(dict.fromkeys(row.block.split("[")[0] for row in self.rows if not row.passed))

    @property
    def worst(self) -> Row | None:
        """The comparison nearest to its tolerance, or farthest over it."""
        made = [row for row in self.rows if not row.note]
        return max(made, key=lambda row: row.error / row.tolerance if row.error == row.error else np.inf, default=None)


def gradient_rows(
    cell: Cell | Model, regime: Regime, size: Size, point: Point, cotangents: Arrays, gradients: Gradients
) -> list[Row]:
    """Return a row for each block of gradients at one point; of a model, those of its loss."""
    value = oracle.loss_of(cell) if isinstance(cell, Model) else oracle.objective(cell, cotangents)
    label = f"T={size.steps} B={size.batch}" + (" sizes 1" if size.ones else "")
    with np.errstate(all="ignore"):
        if not np.isfinite(value(point)):
            return [Row(regime.name, label, "all", np.nan, np.nan, "", "the user's function is not finite here")]
        method, slope = _method(value, point, cell)
        both = _pairs(cell, point, cotangents, gradients, value, slope)
        sent = [_top(v) for v in cotangents.values()] or [1.0]  # the adjoint of a loss is one
        largest = max([*(_top(wanted) for wanted, _ in both.values()), *sent])
        scales = {block: max(_top(wanted), regime.floor * largest) for block, (wanted, _) in both.items()}
        errors = {block: relative_error(wanted, given, scales[block]) for block, (wanted, given) in both.items()}
        if any(not error <= TOLERANCE[method] for error in errors.values()):
            noise = rounding(both, lambda near: _pairs(cell, near, cotangents, gradients, value, slope), point)
            errors = {
                block: relative_error(wanted, given, scales[block], noise[block])
                for block, (wanted, given) in both.items()
            }
    notes = {
        k: "" if np.isfinite(s) else "the derivative of the user's function is not finite here"
        for k, s in scales.items()
    }
    return [Row(regime.name, label, k, errors[k], TOLERANCE[method], method, notes[k]) for k in both]


def _pairs(
    cell: Cell | Model, point: Point, cotangents: Arrays, gradients: Gradients, value: Any, slope: Any
) -> dict[str, tuple[Any, Any]]:
    """For each block what the oracle says, and what is checked."""
    found = dict(zip(("params", "inputs", "state"), gradients(point, cotangents), strict=True))
    blocks = oracle.blocks(point, _differentiable(cell)).items()
    return {
        block: (slope(value, point, group, name, index), _part(found[group][name], index))
        for block, (group, (name, index)) in blocks
    }


def _part(array: Any, index: Any) -> Any:
    given = np.asarray(array, dtype=float)
    return given[index] if given.ndim else given


def _top(array: Any) -> float:
    return float(np.max(np.abs(array), initial=0.0))


def rounding(
    both: dict[str, tuple[Any, Any]], at: Callable[[Point], dict[str, tuple[Any, Any]]], point: Point
) -> dict[str, float]:
    """How much both sides move where every argument moves by a few units of rounding: less tells nothing apart."""
    noise = dict.fromkeys(both, 0.0)
    for seed in range(8):
        near = at(_nudged(point, np.random.default_rng(seed)))
        for block, sides in both.items():
            noise[block] = max(
                noise[block],
                *(_top(a - b) for a, b in zip(sides, near[block], strict=True) if np.shape(a) == np.shape(b)),
            )
    return noise


def _nudged(point: Point, random: np.random.Generator) -> Point:
    def nudge(array: Any) -> Any:
        array = np.asarray(array)
        return array if array.dtype.kind in "iu" else array * (1 + 3e-15 * random.standard_normal(array.shape))

    params, inputs, state = (
        {k: nudge(v) for k, v in arrays.items()} for arrays in (point.params, point.inputs, point.state)
    )
    return replace(point, params=params, inputs=inputs, state=state)


def _differentiable(cell: Cell | Model) -> set[str]:
    return {a.name for a in cell.arguments if a.role in ("param", "state", "input")}


def relative_error(reference: Any, given: Any, scale: float, noise: float = 0.0) -> float:
    """The largest difference, less a few times what rounding explains, over the scale of the block."""
    if np.shape(given) != np.shape(reference):
        return float("inf")
    difference = _top(given - reference)
    return 0.0 if difference <= 10 * noise else float(difference / max(scale, FLOOR))


def _method(value: Callable[[Point], Any], point: Point, cell: Cell | Model) -> tuple[str, Callable[..., Any]]:
    """Complex step, unless the user's function has no complex version: seen by comparing both along one direction."""
    return (
        ("complex step", oracle.complex_step)
        if _has_complex_version(value, point, cell)
        else ("central differences", oracle.central)
    )


def _has_complex_version(value: Callable[[Point], Any], point: Point, cell: Cell | Model) -> bool:
    if _is_declared(cell):
        return True
    random = np.random.default_rng(0)
    names = _differentiable(cell)
    for group in ("params", "state", "inputs"):
        for name, array in getattr(point, group).items():
            if name not in names or not np.size(array):
                continue
            direction = random.standard_normal(np.shape(array))
            try:
                analytic = np.imag(value(oracle.moved(point, group, name, 1j * oracle.STEP * direction))) / oracle.STEP
            except (TypeError, ValueError):  # NumPy says so of functions without a complex loop
                return False
            sides = [value(oracle.moved(point, group, name, s * 1e-6 * direction)) for s in (1, -1)]
            coarse = (sides[0] - sides[1]) / 2e-6
            slack = 1e-4 * max(abs(coarse), abs(analytic)) + 1e-8 * (1 + abs(sides[0]))
            if not abs(coarse - analytic) <= slack and not _is_rough(value, point, group, name, direction, coarse):
                return False
    return True


def _is_declared(cell: Cell | Model) -> bool:
    """Answer whether a derivative in the cell is declared, not its own: a difference of values would tell another."""
    steps = [cell.cell.step, cell.loss.step] if isinstance(cell, Model) else [cell.step]
    bodies = [node.attrs.expr for step in steps for node in step.graph if node.family == "map"]
    return any(getattr(part.func, "declared", False) for body in bodies for part in body.atoms(sp.Function))


def _is_rough(value: Callable[[Point], Any], point: Point, group: str, name: str, direction: Any, coarse: Any) -> bool:
    """Answer whether the difference itself is not to be trusted: another step width, or another side, tells another."""

    def at(h: float) -> Any:
        return value(oracle.moved(point, group, name, h * direction))

    here, wide = at(0.0), (at(1e-5) - at(-1e-5)) / 2e-5
    sides = (at(1e-6) - here) / 1e-6, (here - at(-1e-6)) / 1e-6
    least = max(abs(wide), abs(coarse), 1e-6)
    return bool(abs(wide - coarse) > 1e-3 * least or abs(sides[0] - sides[1]) > 1e-2 * least)
