"""Gradients that a user's function takes inside a step, beside derivatives of the functions themselves.

The user's function is the oracle of all other comparisons, and takes such a gradient by the rules by which the module was derived. So
it is compared here with a derivative of what the user wrote, along one random direction: a complex step, which knows no rule, or
central differences where that is not the slope of the values.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.language.gradient import Call, calls_recorded
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.comparison import NO_SLOPE, TOLERANCE, attempt
from symbptt.verification.complex_step import analytic
from symbptt.verification.finite_differences import slope
from symbptt.verification.objective import loss_of
from symbptt.verification.oracle import Point
from symbptt.verification.regimes import REGIMES, sizes_of
from symbptt.verification.regimes import point as draw
from symbptt.verification.report import Row
from symbptt.verification.requests import Asked

MOST = 8
"""Calls of one run that are compared."""
SLACK = 10.0
"""The multiple of what differences may be off within which a slope agrees with them."""
FLAT = 1e-6
"""The part of a function's value below which its slope along a direction counts as none."""


def inner_rows(target: Cell | Model, seed: int, asked: Asked) -> Iterator[Row]:
    """Yield the comparisons of the gradients that the functions of a cell or a model take, the worst of each function in each
    regime."""
    random = np.random.default_rng(seed)
    for number, regime in enumerate(REGIMES):
        size = sizes_of(regime)[0]
        point = draw(target, regime, size, seed + number, asked)
        if point is None:
            continue
        with calls_recorded() as calls, np.errstate(all="ignore"):
            attempt(partial(_run, target, point))
        worst: dict[str, tuple[float, str]] = {}
        for call in calls[:MOST]:
            with np.errstate(all="ignore"):
                found = _error(call, random)
            if found is not None and (call.name not in worst or found[0] > worst[call.name][0]):
                worst[call.name] = found
        for name in dict.fromkeys(call.name for call in calls):
            error, method = worst.get(name, (np.nan, "complex step"))
            block = f"∇{'ℓ' if name.startswith('<') else name}"
            note = "" if name in worst else NO_SLOPE
            yield Row(regime.name, size.label, block, error, TOLERANCE[method], method, note)


def _run(target: Cell | Model, point: Point) -> Any:
    return loss_of(target, point) if isinstance(target, Model) else oracle.run(target, point)


def _error(call: Call, random: np.random.Generator) -> tuple[float, str] | None:
    """Return how far a gradient is from a derivative along a direction, relative to its size, and the method; None where the
    function has no finite derivative."""
    directions = [random.standard_normal(np.shape(x)) for x in call.given]
    found = sum(np.sum(g * d) for g, d in zip(call.gradients, directions, strict=True))

    def line(s: complex) -> Any:
        moved = [analytic(x + s * d) for x, d in zip(call.given, directions, strict=True)]
        with oracle.holding(call.function, moved):
            return call.along(moved)

    plain, _ = attempt(lambda: float(np.real(line(0.0))))
    moved, failed = attempt(lambda: float(np.imag(line(1j * oracle.STEP))) / oracle.STEP)
    size = sum(np.sum(np.abs(g * d)) for g, d in zip(call.gradients, directions, strict=True))
    # Where a function is flat, its slope has no digits: an error that is nothing beside the value counts as nothing.
    scale = max(float(size) if np.isfinite(size) else 0.0, FLAT * abs(plain or 0.0), 1e-200)
    if plain is None or not np.isfinite(plain) or (not failed and not np.isfinite(moved)):
        return None
    error = np.inf if failed or not np.isfinite(found) else abs(moved - found) / scale
    if error <= TOLERANCE["complex step"] or not np.isfinite(found):
        return error, "complex step"
    # A function without a complex version has values all the same, whose differences know how far they may be off.
    known, off = slope(line)
    distance = abs(known - found) / scale
    if distance <= max(TOLERANCE["central differences"], SLACK * off / scale):
        return min(distance, TOLERANCE["central differences"]), "central differences"
    return error, "complex step"
