"""The computation of a cell over several steps as a graph."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property

import networkx as nx

from symbptt.cell import Cell
from symbptt.derivation import derive
from symbptt.derive.labels import Label
from symbptt.derive.unroll import BEFORE, NOW
from symbptt.derive.unroll import unroll as unroll_recursion
from symbptt.errors import ArgumentError
from symbptt.ir.graph import Graph
from symbptt.render.expression import Writer
from symbptt.render.notation import LATEX, TEXT, Notation


def unroll(cell: Cell, *, steps: int, backward: bool = False) -> nx.DiGraph:
    """Return the unrolled computation of a cell: nodes (name, t), edges from what is read to what reads it.

    `("h", 0)` is the initial state and `("h", t)` the state after step t; parameters and constants, which all steps
    share, are `(name, None)`. With `backward`, `("dh", t)` is the adjoint of `("h", t)`, `("dL/dh", t)` what the loss
    gives to it, and `("dW", None)` the gradient of a parameter. A node's attributes are `expression` (text), `shape`
    (a tuple), `latex` (its name) and `role`: "input", "index", "state", "param", "const", "value", "output"; "adjoint",
    "cotangent", "gradient", and for these three `of`, the name of the value to which they belong.

    Raises: ArgumentError where the target is no cell, or the number of steps is no integer of at least 0.
    """
    if not isinstance(cell, Cell):
        raise ArgumentError(f"unroll takes a cell, got {type(cell).__name__}\n  decorate the function with @sb.cell")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise ArgumentError(f"steps must be an integer of at least 0, got {steps!r}")
    derivation = derive(cell)
    pen = _Pen(derivation.recursion.graph, derivation.labels)
    return unroll_recursion(derivation.recursion, derivation.labels, pen, steps, backward)


@dataclass(frozen=True)
class _Pen:
    """Writes formulas with marks for the numbers of steps."""

    graph: Graph
    labels: dict[int, Label]

    @cached_property
    def writer(self) -> Writer:
        return Writer(self.graph, self.labels, replace(TEXT, symbol=self.name))

    def formula(self, id: int) -> str:
        return self.writer.rhs(id)

    def symbol(self, id: int) -> str:
        return self.writer.symbol(id)

    def name(self, label: Label) -> str:
        return _symbol(TEXT, label)

    def latex(self, label: Label) -> str:
        return _symbol(LATEX, label)

    def outside(self, label: Label) -> tuple[str, str]:
        return _marked(TEXT.outside(TEXT.symbol(label)), label), _marked(LATEX.outside(LATEX.symbol(label)), label)


def _symbol(notation: Notation, label: Label) -> str:
    return _marked(notation.symbol(label if label.time is None else replace(label, time=0)), label)


def _marked(symbol: str, label: Label) -> str:
    """A symbol of step t, which ends with its t, with the mark of the label's step there."""
    if label.time is None:
        return symbol
    return re.sub(r"t(\}*)$", lambda match: (NOW if label.time == 0 else BEFORE) + match[1], symbol)
