"""Gradients of the user's own function at 50 digits, number by number, and how far rounding moves them."""

from __future__ import annotations

import functools
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.objective import Truncation, value_of
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.rounding.arrays import constants, of_floats
from symbptt.verification.rounding.exact import Exact, Tape, exact

Group = tuple[str, str]
"""The place of an array: params, inputs or state, and the name."""


def exact_point(point: Point, tape: Tape | None = None) -> Point:
    """Return a point in numbers of 50 digits, those of parameters, inputs and initial states on a tape if there is one."""

    def leaf(x: float) -> Exact:
        return exact(x) if tape is None else tape.leaf(Decimal(x))

    groups = (point.params, point.inputs, point.state)
    params, inputs, state = ({k: of_floats(v, leaf) for k, v in arrays.items()} for arrays in groups)
    return replace(point, params=params, inputs=inputs, state=state, targets=exact_arrays(point.targets))


def exact_arrays(arrays: Arrays) -> Arrays:
    """Return arrays in numbers of 50 digits."""
    return {k: of_floats(v) for k, v in arrays.items()}


def gradients_of(
    target: Cell | Model, point: Point, sent: Arrays, truncation: Truncation, tape: Tape
) -> dict[Group, Any]:
    """Return the gradients of the user's function at a point by the operations on a tape, which none of ours has derived."""
    whole = oracle.with_constants(point, target)
    taped = exact_point(whole, tape)
    # The states at which a truncation cuts are constants, of a run that rounds as the tape does: what a float run has there is off
    # by the rounding of all steps before.
    base = exact_point(whole, tape if tape.unit else None)
    value = value_of(_with_lossy_loss(target, tape), exact_arrays(sent), base, truncation, constants)(taped)
    bars = tape.pulled(exact(np.asarray(value, object)))
    wanted = oracle.differentiable(target)
    found: dict[Group, Any] = {}
    for group in ("params", "inputs", "state"):
        for name, array in getattr(taped, group).items():
            if name in wanted:
                of_number = np.frompyfunc(lambda x: bars[x.node], 1, 1)
                found[group, name] = np.asarray(of_number(np.asarray(array)), object).reshape(np.shape(array))
    return found


def _with_lossy_loss(target: Cell | Model, tape: Tape) -> Cell | Model:
    """Return a target whose loss tells the tape that slopes are taken from values throughout, as modules take those of losses."""
    if isinstance(target, Cell):
        return target

    @functools.wraps(target.loss.function)
    def function(**given: Any) -> Any:
        least, tape.least = tape.least, Decimal(0)
        try:
            return target.loss.function(**given)
        finally:
            tape.least = least

    # Copies with another function, past the pickling that `copy` would take: all else stays the caller's.
    loss, model = object.__new__(type(target.loss)), object.__new__(type(target))
    vars(loss).update({**vars(target.loss), "function": function})
    vars(model).update({**vars(target), "loss": loss})
    return model
