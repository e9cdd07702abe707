"""One value of a graph in a notation: lowered, put in normal form, written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from symbptt.autodiff.labels import Label
from symbptt.equations.algebra.conjugates import as_complex
from symbptt.equations.algebra.expressions import Ellipsis, Expr
from symbptt.equations.algebra.lower import Lowering
from symbptt.equations.algebra.normal import in_normal_form
from symbptt.equations.algebra.trees import LONGEST, is_long
from symbptt.equations.notation.signs import Notation
from symbptt.equations.notation.writing import SUM, at, write
from symbptt.ir.graph import Graph
from symbptt.ir.scalar import Tree


@dataclass(frozen=True)
class Writer:
    """A writer of the values of a graph in a notation: those with a label by it, all others by their formula, which has an
    ellipsis in its place where it has more than `longest` operations."""

    graph: Graph
    labels: Mapping[int, Label]
    notation: Notation
    longest: int = LONGEST

    def rhs(self, id: int) -> str:
        """Return the formula of a value, whether it has a label or not."""
        return write(self.lowered(id), self.notation)

    def symbol(self, id: int) -> str:
        """Return a value as it is named inside formulas."""
        return self.rhs(id) if id not in self.labels else self.notation.symbol(self.labels[id])

    def at(self, id: int, least: int) -> str:
        """Return a value for a place that binds at least so tightly."""
        return at(in_normal_form(Lowering(self.graph, self.labels).value(id)), self.notation, least)

    def formula(self, tree: Tree, least: int = SUM) -> str:
        """Return a formula over values of the graph, for a place that binds at least so tightly."""
        return at(in_normal_form(Lowering(self.graph, self.labels).of_tree(tree)), self.notation, least)

    def lowered(self, id: int) -> Expr:
        """Return the formula of a value as an expression."""
        if self.is_long(id):
            return Ellipsis()
        found = in_normal_form(Lowering(self.graph, self.labels).formula(id))
        return as_complex(found) if self.graph.is_complex(id) else found

    def is_long(self, id: int) -> bool:
        """Answer whether the formula of a value has more than `longest` operations, without writing it."""
        return is_long(self.graph, self.labels, id, self.longest)
