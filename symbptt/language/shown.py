"""A cell that shows inputs of its own among its outputs, so that a loss reads them as it reads outputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from symbptt.ir.step import Step
from symbptt.language.cell import Cell


class ShownCell(Cell):
    """A cell with some of its inputs as outputs of the same names."""

    def __init__(self, cell: Cell, inputs: tuple[str, ...]) -> None:
        self.whole, self.shows = cell, inputs
        self.function, self.consts, self.options, self.groups = cell.function, cell.consts, cell.options, cell.groups
        functools.update_wrapper(self, cell.function)
        self.arguments = cell.arguments

    def __reduce__(self) -> Any:
        return ShownCell, (self.whole, self.shows)

    def called(self, values: Mapping[str, Any]) -> Any:
        """Return what the function returns of its arguments by name, and the inputs that are shown."""
        found = self.whole.called(values)
        states = [a.name for a in self.arguments if a.role == "state"]
        if not isinstance(found, dict):
            found = dict(zip(states, found if isinstance(found, tuple | list) else [found], strict=True))
        return found | {k: values[k] for k in self.shows}

    @functools.cached_property
    def looped(self) -> Step:
        """The step of the cell, with leaves as outputs."""
        step = self.whole.looped
        return replace(step, outputs={**step.outputs, **{k: step.leaves[k] for k in self.shows}})

    def with_consts(self, consts: Mapping[str, Any]) -> Cell:
        """Return the same of the cell with other values of its constants."""
        return ShownCell(self.whole.with_consts(consts), self.shows)
