"""Test that what the user wrote is a function: the same arguments give the same values, and are left as they are."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np

from symbptt.errors import CellError, one_line
from symbptt.language.cell import Cell, place_of
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.objective import loss_of
from symbptt.verification.oracle import Arrays, Point


def check_function(target: Cell | Model, point: Point) -> None:
    """Raises: CellError where the functions of a cell or a model raise an error on NumPy arrays, return other values when they
    are called again, or change a parameter."""
    cell = target.cell if isinstance(target, Model) else target
    with np.errstate(all="ignore"):
        one, two = (_values(target, point) for _ in range(2))
        for name, value in one.items():
            if not np.array_equal(value, two[name], equal_nan=True):
                part = target.loss if isinstance(target, Model) and name == "loss" else cell
                raise CellError(
                    f"{part.name} is no function: a second call with the same arguments gives another {name!r}{place_of(part.function)}\n"
                    "  draw nothing at random and read nothing that changes: pass the noise as an Input"
                )
        if point.steps:
            _check_kept(cell, point)


def _values(target: Cell | Model, point: Point) -> Arrays:
    cell = target.cell if isinstance(target, Model) else target
    try:
        states, outputs = oracle.run(cell, point)
        loss = {"loss": np.asarray(loss_of(target, point))} if isinstance(target, Model) else {}
    except CellError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise CellError(
            f"{target.name} raised {type(error).__name__} on NumPy arrays: {one_line(error)}\n"
            f"  at {last.filename}:{last.lineno}, in {last.name}\n"
            f"  its sizes are {', '.join(f'{k} = {v}' for k, v in point.sizes.items()) or 'fixed'}; inputs=, params= and domain= "
            "say where it is defined"
        ) from error
    return states | outputs | loss


def _check_kept(cell: Cell, point: Point) -> None:
    """A parameter that a step changes in place is another one at the next step, which a derivation cannot see."""
    given: Arrays = {k: np.array(v[0, 0]) for k, v in point.inputs.items()} | {
        k: np.array(v[0]) for k, v in point.state.items()
    }
    shared = oracle.constants(cell, point) | point.params
    handed: Any = {k: np.array(v) if isinstance(v, np.ndarray) else v for k, v in shared.items()}
    cell.called({a.name: (given | handed)[a.name] for a in cell.arguments})
    for name, value in shared.items():
        if not np.array_equal(value, handed[name], equal_nan=True):
            raise CellError(
                f"{cell.name} changes {name!r} in place, which is then another one at the next step{place_of(cell.function)}\n"
                f"  write a new array: {name}_new = ..., in place of {name} *= ..."
            )
