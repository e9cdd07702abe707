"""One step of a recurrence as data: what a cell is once it is traced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from symbptt.ir.graph import Graph
from symbptt.ir.needs import Need
from symbptt.ir.shape import Shape


@dataclass(frozen=True)
class Argument:
    """An argument of a cell: its role, name, shape and, for a constant, its default; `limit` bounds an index. `start` is what a
    state begins with where a call omits it, numbers or the name of a parameter; None is zero. `complex`: its entries are such
    numbers; `once`: an input that is the same at all steps."""

    role: str
    name: str
    shape: Shape
    default: Any = None
    limit: Any = None
    start: Any = None
    complex: bool = False
    once: bool = False

    @property
    def time(self) -> int | None:
        """The step of what a step reads: 0 its own, -1 the one before, None that it is the same at all."""
        return None if self.once else {"state": -1, "input": 0, "index": 0}.get(self.role)


@dataclass(frozen=True)
class Step:
    """A traced step: leaves by argument name, the next states and the outputs by name, all as nodes of `graph`;
    what its slices need of sizes; the names of the values that no line of the user has."""

    name: str
    doc: str
    graph: Graph
    arguments: tuple[Argument, ...]
    leaves: dict[str, int]
    next: dict[str, int]
    outputs: dict[str, int] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    parts: frozenset[str] = frozenset()

    def of_role(self, *roles: str) -> tuple[Argument, ...]:
        """Return the arguments of some roles, in the user's order."""
        return tuple(argument for argument in self.arguments if argument.role in roles)
