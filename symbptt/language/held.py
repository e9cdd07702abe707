"""A cell with contexts as one without: a context is a state that stays as it is.

What a sequence is given once is what it begins with, if no step changes it; the gradient of that state before the first step is the sum
of what all steps send to it. So the oracles of a cell without contexts are those of one with them, and no rule for contexts is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from symbptt.language.cell import Cell
from symbptt.language.model import Model


class HeldCell(Cell):
    """A cell whose contexts are states that stay."""

    def __init__(self, cell: Cell) -> None:
        self.whole = cell
        self.function, self.consts, self.options, self.groups = cell.function, cell.consts, cell.options, cell.groups
        self.__name__, self.__module__, self.__qualname__ = cell.name, cell.__module__, cell.__qualname__
        self.held, self.shows = contexts_of(cell), cell.shows
        self.arguments = tuple(replace(a, role="state") if a.name in self.held else a for a in cell.arguments)

    def called(self, values: Mapping[str, Any]) -> Any:
        """Return what the function returns of its arguments by name, and its contexts."""
        found = self.whole.called(values)
        states = [a.name for a in self.whole.arguments if a.role == "state"]
        if not isinstance(found, dict):
            found = dict(zip(states, found if isinstance(found, tuple | list) else [found], strict=True))
        return found | {k: values[k] for k in self.held}

    def init(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return first values of the parameters: those of the cell, of whose states the contexts are none."""
        return self.whole.init(*args, **kwargs)

    def with_consts(self, consts: Mapping[str, Any]) -> Cell:
        """Return the same of the cell with other values of its constants."""
        return HeldCell(self.whole.with_consts(consts))


class HeldModel(Model):
    """A model whose contexts are states of its cell."""

    def __init__(self, model: Model) -> None:
        self.whole = model
        super().__init__(HeldCell(model.cell), model.loss, model.at, model.reduction)


def contexts_of(target: Cell | Model) -> tuple[str, ...]:
    """Return the names of the contexts."""
    return tuple(a.name for a in target.arguments if a.role == "context")


def as_states(target: Any) -> Any:
    """Return a cell or a model with contexts as one whose contexts are states that stay."""
    return HeldCell(target) if isinstance(target, Cell) else HeldModel(target)
