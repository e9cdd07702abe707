"""Compares gradients block by block with derivatives of the user's function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.cell import Cell
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
        return all(row.passed for row in self.rows) and any(not row.note for row in self.rows)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the blocks with an error, without the step."""
        return tuple(dict.fromkeys(row.block.split("[")[0] for row in self.rows if not row.passed))

    @property
    def worst(self) -> Row | None:
        """The comparison nearest to its tolerance, or farthest over it."""
        made = [row for row in self.rows if not row.note]
        return max(made, key=lambda row: row.error / row.tolerance if row.error == row.error else np.inf, default=None)


def gradient_rows(cell: Cell, regime: Regime, size: Size, point: Point, cotangents: Arrays, gradients: Gradients) -> list[Row]:
    """Return a row for each block of gradients at one point."""
    value = oracle.objective(cell, cotangents)
    label = f"T={size.steps} B={size.batch}" + (" sizes 1" if size.ones else "")
    with np.errstate(all="ignore"):
        if not np.isfinite(value(point)):
            return [Row(regime.name, label, "all", np.nan, np.nan, "", "the user's function is not finite here")]
        method, slope = _method(value, point, cell)
        found = dict(zip(("params", "inputs", "state"), gradients(point, cotangents), strict=True))
        pairs = []
        for block, (group, (name, index)) in oracle.blocks(point, _differentiable(cell)).items():
            pairs.append((block, slope(value, point, group, name, index), found[group][name], index))
    scales = [np.max(np.abs(reference), initial=0.0) for _, reference, _, _ in pairs]
    largest = max([*scales, *(np.max(np.abs(v), initial=0.0) for v in cotangents.values())])
    rows = []
    for (block, reference, array, index), scale in zip(pairs, scales, strict=True):
        error = _error(reference, array, index, max(scale, regime.floor * largest))
        note = "" if np.isfinite(scale) else "the derivative of the user's function is not finite here"
        rows.append(Row(regime.name, label, block, error, TOLERANCE[method], method, note))
    return rows


def _differentiable(cell: Cell) -> set[str]:
    return {a.name for a in cell.arguments if a.role in ("param", "state", "input")}


def _error(reference: Any, array: Any, index: Any, scale: float) -> float:
    given = np.asarray(array, dtype=float)
    wanted = np.shape(reference)
    part = given[index] if given.ndim or index is ... else given
    if np.shape(part) != wanted:
        return float("inf")
    difference = np.max(np.abs(part - reference), initial=0.0)
    return float(difference / max(scale, FLOOR)) if difference != 0 else 0.0


def _method(value: Callable[[Point], Any], point: Point, cell: Cell) -> tuple[str, Callable[..., Any]]:
    """Complex step, unless the user's function has no complex version: seen by comparing both along one direction."""
    return ("complex step", oracle.complex_step) if _has_complex_version(value, point, cell) else ("central differences", oracle.central)


def _has_complex_version(value: Callable[[Point], Any], point: Point, cell: Cell) -> bool:
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


def _is_rough(value: Callable[[Point], Any], point: Point, group: str, name: str, direction: Any, coarse: Any) -> bool:
    """Answer whether the difference itself is not to be trusted: another step width tells something else."""
    sides = [value(oracle.moved(point, group, name, s * 1e-5 * direction)) for s in (1, -1)]
    other = (sides[0] - sides[1]) / 2e-5
    return bool(abs(other - coarse) > 1e-3 * max(abs(other), abs(coarse), 1e-6))
