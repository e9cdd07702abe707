"""A user's elementwise function of one value as one expression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.node import placeholder
from symbptt.ir.scalar import as_sympy
from symbptt.language.cell import Cell
from symbptt.stability.algebra.scalar_functions import X


def composed(function: Callable[[Any], Any]) -> sp.Expr:
    """Return an elementwise function as an expression in X, found by tracing it on an array.

    Raises: ArgumentError where it is not elementwise; CellError where a cell could not have it.
    """

    def unit(v: Any) -> Any:
        return function(v)

    unit.__annotations__ = {"v": 'State["n"]'}
    step = Cell(unit, {}).step
    (last,) = step.next.values()
    found: dict[int, sp.Expr] = {}
    for id in step.graph.ancestors([last]):
        node = step.graph[id]
        if node.family == "leaf" and node.attrs.role == "state":
            found[id] = X
        elif node.family == "number" and not node.shape:
            found[id] = as_sympy(node.attrs.value)
        elif node.family == "map":
            found[id] = node.attrs.expr.xreplace({placeholder(i): found[arg] for i, arg in enumerate(node.args)})
        else:
            raise ArgumentError(three_lines("an elementwise function of one value is expected, this one mixes elements",
                                            "in the mean field", "write for example lambda v: np.maximum(v, 0.1 * v)"))  # fmt: skip
    return found[last]
