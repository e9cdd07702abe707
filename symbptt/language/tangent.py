"""The tangents of a cell, a loss and a model: cells, losses and models as others, which no function of the user's defines.

They are made of the traced step by forward mode, and go the same way to equations and modules.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

from symbptt.autodiff.forward_mode import MOVED, dotted, with_tangents
from symbptt.errors import CellError
from symbptt.ir.step import Argument, Step
from symbptt.language.cell import Cell
from symbptt.language.model import Loss, Model


class TangentCell(Cell):
    """A cell whose states and outputs are those of another cell and their tangents."""

    def __init__(self, cell: Cell, dots: Mapping[str, str]) -> None:
        self.function, self.consts, self.groups, self.options = cell.function, cell.consts, {}, {}
        functools.update_wrapper(self, cell.function)
        self.of, self.dots = cell, dots
        self.arguments = self.looped.arguments

    @property
    def name(self) -> str:
        return f"{self.of.name}_dot"

    @functools.cached_property
    def looped(self) -> Step:
        """The step of the cell with its tangents; each round of a repetition has its own."""
        return with_tangents(self.of.step, self.dots)

    @functools.cached_property
    def shown(self) -> Step:
        """The same as pages show it: the tangents of whole functions, as ṗ = p ⊙ (ȧ - pᵀ ȧ) of p = softmax(a)."""
        return with_tangents(self.of.shown, self.dots)


class TangentLoss(Loss):
    """The tangent of a loss: a loss that reads tangents beside values."""

    def __init__(self, loss: Loss, dots: Mapping[str, str]) -> None:
        self.function, self.consts, self.groups, self.options, self.inputs = loss.function, loss.consts, {}, {}, ()
        functools.update_wrapper(self, loss.function)
        self.of, self.dots = loss, dots
        self.arguments = (
            *loss.arguments,
            *(replace(a, name=dots[a.name], default=None) for a in loss.arguments if a.role in MOVED),
        )

    @property
    def name(self) -> str:
        return f"{self.of.name}_dot"

    @functools.cached_property
    def _traced(self) -> tuple[Step, Step | None]:
        step = with_tangents(self.of.step, {**self.dots, "loss": "loss_dot"})
        return replace(step, outputs={"loss": step.outputs["loss_dot"]}), None


def tangent_names(target: Cell | Model) -> dict[str, str]:
    """Return the names of the tangents of arguments and outputs of a cell, and of what the loss of a model adds to them.

    Raises: CellError for a cell of complex numbers, and where rounds cannot be written out.
    """
    cell = target.cell if isinstance(target, Model) else target
    if any(node.family in ("settled", "point") for node in cell.step.graph):
        raise CellError(
            f"{cell.name} has a fixed point, through which no tangent is derived forward yet\n"
            "  write sb.repeat(step, z, times) with a number of rounds"
        )
    # Names that no argument and no output has yet, so that both stand in one module.
    moved = [a.name for a in target.arguments if a.role in MOVED]
    return dotted([*moved, *cell.step.outputs], {*(a.name for a in target.arguments), *cell.step.outputs})


def tangent_of(target: Cell | Model) -> Cell | Model:
    """Return the cell, or the model, of the tangents of another; the loss of the model is the tangent alone.

    Raises: CellError as `tangent_names` does.
    """
    dots = tangent_names(target)
    if not isinstance(target, Model):
        return TangentCell(target, dots)
    return Model(TangentCell(target.cell, dots), TangentLoss(target.loss, dots), target.at, target.reduction)


def moved_arguments(target: Cell | Model) -> dict[str, Argument]:
    """Return the arguments of a cell or a model that have a tangent, by name."""
    return {a.name: a for a in target.arguments if a.role in MOVED}
