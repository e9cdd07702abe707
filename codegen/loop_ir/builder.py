"""A collector of the buffers and the statements of a function during lowering."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from symbptt.codegen.loop_ir.nodes import Buffer, Constant, Map, Operand, Statement, View
from symbptt.codegen.loop_ir.views import repeated, whole
from symbptt.ir.naming import unique
from symbptt.ir.scalar import Ref, Tree
from symbptt.ir.shape import Shape


@dataclass
class Builder:
    """A function under construction: names that are taken, buffers, constants, the statements of the innermost body."""

    taken: set[str]
    buffers: list[Buffer] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)

    def buffer(self, name: str, shape: Shape, space: str, dtype: str = "float") -> Buffer:
        """Return a new buffer, called `name` where that is free."""
        buffer = Buffer(self.name(name), shape, space, dtype)
        self.buffers.append(buffer)
        return buffer

    def temporary(self, name: str, shape: Shape) -> View:
        """Return all of a new buffer of floats that one step needs for a moment."""
        return whole(self.buffer(name, shape, "temporary"))

    def constant(self, name: str, shape: Shape, values: Any, dtype: str = "float") -> Buffer:
        """Return a buffer of numbers of the program."""
        buffer = Buffer(self.name(name), shape, "constant", dtype)
        self.constants.append(Constant(buffer, values))
        return buffer

    def name(self, wish: str) -> str:
        """Return a name that is not taken, and take it."""
        name = unique(wish.replace(".", "_"), self.taken)  # a field of a group has a dot in its name
        self.taken.add(name)
        return name

    def add(self, statement: Statement) -> None:
        """Add a statement to the innermost body."""
        self.statements.append(statement)

    def fill(self, out: View, number: Tree, origin: tuple[int, ...] = ()) -> None:
        """Fill a view with a number."""
        self.add(Map(out, number, (), origin))

    def copy(self, out: View, x: Operand, origin: tuple[int, ...] = ()) -> None:
        """Copy a view, broadcast to the shape of its destination, unless it lies there already."""
        x = repeated(x, out.shape) if isinstance(x, View) else x
        # A value that was computed in place needs no copy.
        if x != out:
            self.add(Map(out, Ref(0), (x,), origin))

    @contextmanager
    def inside(self, body: list[Statement]) -> Iterator[None]:
        """Add statements to `body` in the meantime."""
        outer, self.statements = self.statements, body
        try:
            yield
        finally:
            self.statements = outer
