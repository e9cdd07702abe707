"""A cell with contexts as one whose contexts are inputs: of one step of one sample they are the same.

What is evaluated at each step by itself, as Jacobians along a run are, or at one step alone, knows inputs that differ between steps and
needs no rule for those that do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.language.model import Model

Kind = TypeVar("Kind", bound=Cell | Model)


class CellOfInputs(Cell):
    """A cell whose contexts are inputs."""

    def __init__(self, cell: Cell) -> None:
        vars(self).update(vars(Cell(cell.function, cell.consts)))
        self.whole, self.shows = cell, cell.shows
        self.__name__, self.__module__, self.__qualname__ = cell.name, cell.__module__, cell.__qualname__
        self.arguments = tuple(
            replace(a, role="input", once=True) if a.role == "context" else a for a in cell.arguments
        )

    def __reduce__(self) -> Any:
        return CellOfInputs, (self.whole,)

    def with_consts(self, consts: Mapping[str, Any]) -> Cell:
        """Return the same of the cell with other values of its constants."""
        return CellOfInputs(self.whole.with_consts(consts))


def with_inputs(target: Kind) -> Kind:
    """Return a cell or a model with contexts as one whose contexts are inputs, and others as they are."""
    return _with_inputs(target) if any(a.role == "context" for a in target.arguments) else target


@lru_cache(16)  # one for each cell, so that its kernel is compiled once
def _with_inputs(target: Any) -> Any:
    if isinstance(target, Cell):
        return CellOfInputs(target)
    return Model(CellOfInputs(target.cell), target.loss, target.at, target.reduction)


def given_each_step(
    target: Kind, inputs: Mapping[str, Any] | None, state: Mapping[str, Any] | None = None, steps: int | None = None
) -> tuple[Kind, Mapping[str, Any] | None, int | None]:
    """Return `with_inputs` of a cell or a model, its inputs with contexts given at each step, as views, and the number of steps where
    these do not tell it.

    Shapes: inputs (T, B, ...) or (T, ...), contexts (B, ...) or as annotated.

    Raises: ArgumentError where nothing tells how many steps there are.
    """
    contexts = {a.name: len(a.shape) for a in target.arguments if a.role == "context"}
    if not contexts or not isinstance(inputs, Mapping) or contexts.keys().isdisjoint(inputs):
        return with_inputs(target), inputs, steps
    needed = {a.name for a in target.arguments if a.role in ("input", "index")}
    if not needed <= inputs.keys() or not (state is None or isinstance(state, Mapping)):
        return with_inputs(target), inputs, steps  # a kernel tells what is wrong
    arrays = {k: v if k in needed else np.asarray(v) for k, v in inputs.items()}
    lead = _lead(target, {**arrays, **(state or {})}, steps)
    found = {k: _repeated(target, k, v, contexts[k], lead) if k in contexts else v for k, v in arrays.items()}
    return with_inputs(target), found, steps


def _lead(target: Cell | Model, arrays: Mapping[str, Any], steps: int | None) -> tuple[int, ...]:
    """Return the axes of steps and samples of the inputs, or of so many steps and of the samples of what else has them."""
    shapes = {a.name: (a.role, np.shape(arrays[a.name]), len(a.shape)) for a in target.arguments if a.name in arrays}
    for role, shape, rank in shapes.values():
        if role in ("input", "index") and len(shape) >= rank:
            return shape[: len(shape) - rank]
    if steps is None:
        raise ArgumentError(
            three_lines("a cell without inputs takes steps=", f"in what is asked of {target.name}", "write steps=200")
        )
    batches = (shape[: len(shape) - rank] for _, shape, rank in shapes.values() if len(shape) > rank)
    return (steps, *next(batches, ()))


def _repeated(target: Cell | Model, name: str, value: Any, rank: int, lead: tuple[int, ...]) -> Any:
    """Return a context at each step.

    Raises: ArgumentError where it has another axis of samples than the inputs have.
    """
    own, batch = value.shape[max(value.ndim - rank, 0) :], value.shape[: max(value.ndim - rank, 0)]
    if batch not in ((), lead[1:]):
        samples = f"an axis of {lead[1]} samples, or none," if len(lead) > 1 else "no axis of samples"
        raise ArgumentError(
            three_lines(
                f"{name}: {samples} before its {rank} own is expected, got shape {value.shape}",
                f"in what is asked of {target.name}",
                "give it once a sequence, (B, ...), or without an axis of samples for all",
            )
        )
    return np.broadcast_to(value, (*lead, *own))
