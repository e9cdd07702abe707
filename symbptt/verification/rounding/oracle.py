"""What the user's function is where floats of it overflow: its values and derivatives at 50 digits, whose exponents have no bound.

Example: -log(1 + exp(-x)) at -800 is -∞ in floats and -800 in truth, so that max(-∞, i) is i where it should not be: a number
that looks right, with a derivative that is another function's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from symbptt.language.model import Model
from symbptt.language.user_frames import is_of_code
from symbptt.verification import oracle
from symbptt.verification.objective import Truncation, loss_of, predictions_of
from symbptt.verification.oracle import Arrays, Block, Point
from symbptt.verification.rounding.arrays import top, values_of
from symbptt.verification.rounding.exact import Tape, fifty_digits
from symbptt.verification.rounding.gradients import exact_point, gradients_of
from symbptt.verification.rounding.runs import TYPES

FLOAT64 = TYPES[0]
LOOKS = (1, 3, 8)
"""Runs with each operation off by a unit: more of them where the first do not explain an error."""
STEADY = 1e-6
"""The largest part of its scale by which rounding may move a block; beyond, its value proves nothing."""
SLACK = 10.0
"""The multiple of their movement that rounding explains."""
KINK = "rounding alone decides the result here: a kink, a jump, or chaos"
NO_NUMBER = "the user's function overflows here, and is no number at 50 digits either"

Told = Callable[[Tape], Arrays]
"""A tape -> decimals by block, by the user's function whose operations that tape notes."""


@dataclass(frozen=True)
class Judgement:
    """The error of a block against 50 digits, relative to its scale; `note` where they tell nothing."""

    error: float
    note: str = ""


def overflows(call: Callable[[], Any]) -> bool:
    """Answer whether floats overflow in a call, or are divided by zero: what it returns may be finite and wrong."""
    seen: list[str] = []
    with np.errstate(
        over="call", divide="call", under="ignore", invalid="ignore", call=lambda kind, _: seen.append(kind)
    ):
        call()
    return bool(seen)


def of_gradients(target: Any, point: Point, sent: Arrays, truncation: Truncation, blocks: dict[str, Block]) -> Told:
    """Return what tells the gradients of blocks."""

    def told(tape: Tape) -> Arrays:
        found = gradients_of(target, point, sent, truncation, tape)
        return {label: found[group, name][index] for label, (group, name, index) in blocks.items()}

    return told


def of_values(target: Any, point: Point) -> Told:
    """Return what tells the states and outputs of a cell, or the loss of a model and what that returns beside it."""

    def told(tape: Tape) -> Arrays:
        near = exact_point(oracle.with_constants(point, target), tape)
        if isinstance(target, Model):
            loss = loss_of(target, near)
            beside = predictions_of(target, near) if target.loss.predicted is not None else {}
            return {k: values_of(v) for k, v in {"loss": loss, "value": loss, **beside}.items()}
        states, outputs = oracle.run(target, near)
        return {k: values_of(v) for k, v in (states | outputs).items()}

    return told


def judgements(told: Told, given: Arrays, floor: float, sent: float, tolerance: float) -> dict[str, Judgement] | None:
    """Return the errors of what is given by block; each is relative to its own block, of at least `floor` times the largest of all
    and of what is `sent`. Where rounding may move a block by as much as its error, or decides it, that is no error. None where the
    user's function has no version of 50 digits."""
    with np.errstate(all="ignore"), fifty_digits():
        try:
            wanted = told(Tape())
            runs = _rounded(told)
            return _judged(wanted, runs, given, Decimal(floor), Decimal(sent), tolerance)
        except Exception as error:
            if not is_of_code(error):
                raise
            return None


def _rounded(told: Told) -> Iterator[Arrays]:
    # Rounding is that of float64, its range is not: nothing is flushed to zero.
    for seed in range(LOOKS[-1]):
        yield told(Tape(FLOAT64.unit, seed, FLOAT64.least))


def _judged(
    wanted: Arrays, runs: Iterator[Arrays], given: Arrays, floor: Decimal, sent: Decimal, tolerance: float
) -> dict[str, Judgement]:
    largest = max([sent, *(size for v in wanted.values() if (size := top(v)).is_finite())])
    scales = {label: max(top(wanted[label]), floor * largest, Decimal(FLOAT64.tiny)) for label in given}
    moved: list[Arrays] = []
    found: dict[str, Judgement] = {}
    for count in LOOKS:
        moved += [next(runs) for _ in range(count - len(moved))]
        found |= {
            label: _of_block(wanted[label], [one[label] for one in moved], value, scales[label], tolerance)
            for label, value in given.items()
            if label not in found or found[label].error > tolerance
        }
        if not any(one.error > tolerance for one in found.values()):
            break
    return found


def _of_block(wanted: Any, moved: list[Any], given: Any, scale: Decimal, tolerance: float) -> Judgement:
    noise = top([top(other - wanted) for other in moved])
    if not (scale.is_finite() and noise.is_finite()):
        return Judgement(np.nan, NO_NUMBER)
    if noise > Decimal(STEADY) * scale:
        return Judgement(0.0, KINK)
    if np.shape(given) != np.shape(wanted) or not np.all(np.isfinite(given)):
        return Judgement(np.inf)
    difference = top(values_of(np.asarray(given, float)) - wanted)
    error = float(difference / scale)
    return Judgement(0.0 if tolerance < error and difference <= Decimal(SLACK) * noise else error)
