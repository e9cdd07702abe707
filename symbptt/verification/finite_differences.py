"""Derivatives by central differences that know how far they may be off, and whether a complex step tells the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.objective import value_of
from symbptt.verification.oracle import Point
from symbptt.verification.regimes import REGIMES, Size
from symbptt.verification.regimes import point as draw
from symbptt.verification.requests import Asked

WIDTHS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6)
SIXTH = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
"""Weights of central differences of the sixth order."""
PROBES = tuple((regime, Size(2, 1)) for regime in REGIMES if regime.name in ("healthy", "contractive"))

Line = Callable[[complex], Any]
"""The value along one direction, by the distance from the point."""


def has_complex_version(target: Cell | Model, seed: int, asked: Asked) -> bool:
    """Answer whether a complex step gives the derivative of the user's functions.

    Seen at several points along a random direction of each array, wherever differences can tell. A derivative that is
    declared cannot be seen in differences of values: there the complex step carries it.
    """
    if is_declared(target):
        return True
    drawn = [draw(target, regime, size, seed + shift, asked) for regime, size in PROBES for shift in (0, 1)]
    points = [point for point in drawn if point is not None]
    try:
        with np.errstate(all="ignore"):
            return not any(_refuted(target, point, seed) for point in points)
    except (TypeError, ValueError):  # NumPy says so of functions without a complex loop
        return False


def is_declared(target: Cell | Model) -> bool:
    """Answer whether a derivative in the cell is declared, not its own: a difference of values would tell another."""
    steps = [target.cell.looped, target.loss.step] if isinstance(target, Model) else [target.looped]
    bodies = [node.attrs.expr for step in steps for node in step.graph if node.family == "map"]
    return any(getattr(part.func, "declared", False) for body in bodies for part in body.atoms(sp.Function))


def _refuted(target: Cell | Model, point: Point, seed: int) -> bool:
    """Answer whether a complex step along some direction is plainly not the slope of the values."""
    random = np.random.default_rng(seed)
    cotangents = oracle.cotangents(target, point, seed) if isinstance(target, Cell) else {}
    value = value_of(target, cotangents, point)
    names = oracle.differentiable(target)
    arrays = {(group, k): v for group in ("params", "state", "inputs") for k, v in getattr(point, group).items()}
    looks = {
        place: random.standard_normal(np.shape(v)) for place, v in arrays.items() if place[1] in names and np.size(v)
    }
    # Errors of several arrays do not cancel along a random direction: where it agrees for all together, it does for each.
    return not _agrees(_line(value, point, looks)) and any(
        _disagrees(_line(value, point, {place: direction})) for place, direction in looks.items()
    )


def _agrees(line: Line) -> bool:
    """Answer whether both derivatives along a line agree to eight digits: two of unlike methods that do are right."""
    step = _stepped(line)
    return bool(abs(step - _central(line, 1e-3)) <= 1e-8 * abs(step))


def _disagrees(line: Line) -> bool:
    if _agrees(line):
        return False
    step, (difference, error) = _stepped(line), slope(line)
    size = max(abs(step), abs(difference))
    return bool(error <= 1e-4 * size and abs(step - difference) > 10 * max(error, 1e-8 * size))


def _stepped(line: Line) -> Any:
    return np.imag(line(1j * oracle.STEP)) / oracle.STEP


def _line(value: Callable[[Point], Any], point: Point, directions: Mapping[tuple[str, str], Any]) -> Line:
    """Return the values along one direction of several arrays."""

    def at(s: complex) -> Any:
        near = point
        for (group, name), direction in directions.items():
            near = oracle.moved(near, group, name, s * direction)
        return value(near)

    return at


def along(value: Callable[[Point], Any], point: Point, group: str, name: str, direction: Any) -> Line:
    """Return the values along one direction of one array."""
    return _line(value, point, {(group, name): direction})


def slope(line: Line) -> tuple[float, float]:
    """Return the derivative at 0 by the two widths that agree best, and how far it may be off; inf where none does.

    A kink is seen in second differences over the width, which stay as large where the width shrinks.
    """
    found = [(_central(line, h), _bend(line, h), h) for h in WIDTHS]
    rounding = 1e-15 * abs(line(0.0))
    best = (np.nan, np.inf)
    for (wide, bend_wide, _), (narrow, bend, h) in pairwise(found):
        # f(h) − 2 f(0) + f(−h) is of order h² for a smooth f and of order h at a kink: over h it shrinks with h, or
        # it does not.
        kink = bend if bend > 0.6 * bend_wide else 0.0
        # Truncation falls with h and rounding grows: the estimate is least where they meet.
        error = abs(wide - narrow) + kink + rounding / h
        if error < best[1]:
            best = float(narrow), float(error)
    return best


def _central(line: Line, h: float) -> Any:
    # The three distances cancel the terms in h² and h⁴ of the error, so that h may be wide and rounding does not
    # count.
    return sum(w * (line(k * h) - line(-k * h)) for k, w in SIXTH.items()) / h


def _bend(line: Line, h: float) -> Any:
    return abs(line(h) - 2 * line(0.0) + line(-h)) / h


def slope_at(line: Line) -> Any:
    """Return the derivative at 0 by central differences of the sixth order, of one width."""
    return _central(line, 3e-3)


def central(value: Callable[[Point], Any], point: Point, block: oracle.Block) -> Any:
    """Return the derivative with respect to one block by central differences of the sixth order, of one width."""
    group, name, index = block
    found = [slope_at(along(value, point, group, name, unit)) for unit in oracle.units(point, block)]
    return np.reshape(np.array(found, float), np.shape(getattr(point, group)[name][index]))


def slopes(value: Callable[[Point], Any], point: Point, block: oracle.Block, chosen: Any) -> tuple[Any, Any]:
    """Return derivatives with respect to the chosen elements of one block, and how far each may be off."""
    group, name, _ = block
    units = zip(oracle.units(point, block), np.ravel(chosen), strict=True)
    found = [slope(along(value, point, group, name, unit)) for unit, is_chosen in units if is_chosen]
    return np.array([s for s, _ in found]), np.array([error for _, error in found])
