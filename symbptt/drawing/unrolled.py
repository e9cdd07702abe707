"""The computation of a cell over several steps as a graph."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import networkx as nx

from symbptt.autodiff.bptt import Recursion
from symbptt.autodiff.labels import Label, of_what_rounds_make
from symbptt.autodiff.unroll import BEFORE, DOT, NOW, Growth, Head, Source, adjoint_names, loss_labels
from symbptt.autodiff.unroll import unroll as unroll_recursion
from symbptt.drawing.names import plain_name
from symbptt.drawing.picture import MOST_STEPS, picture_of
from symbptt.drawing.svg import svg_of
from symbptt.equations.derived import equations_of, looped_equations_of
from symbptt.equations.notation.formula import Writer
from symbptt.equations.notation.signs import Notation
from symbptt.equations.page.equations import Equations
from symbptt.errors import ArgumentError, instead_of_cell
from symbptt.ir.graph import Graph
from symbptt.language.cell import Cell
from symbptt.language.model import Model


class Unrolled(nx.DiGraph):
    """The unrolled computation of a cell or a model: a `networkx.DiGraph` that a notebook shows as a picture."""

    _size: tuple[int, int] | None = None
    _of_steps: Callable[[int, bool], Unrolled] | None = None
    """The same over another number of steps, with a backward pass or without; a copy does not know it."""

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_of_steps"}

    def svg(self, *, saved: bool = True, width: str = "double") -> str:
        """Return the picture as SVG; `saved` and `width` as of `symbptt graph`: lines of what is kept for the backward pass
        or none, a page's width or that of one column, "single".

        Raises: ArgumentError where there are no steps, or more than fit.
        """
        return svg_of(picture_of(self, saved=saved, width=width))

    def _repr_svg_(self) -> str | None:
        """Return the picture, of a graph as `unroll` made it and with as many steps as fit."""
        # A graph that the user has changed, or a subgraph, may lack what the layout relies on.
        whole = self._size == (len(self), self.number_of_edges())
        return self.svg() if whole and 1 <= self.graph["steps"] <= MOST_STEPS else None


def unroll(target: Cell | Model, steps: int, *, backward: bool = False) -> Unrolled:
    """Return the unrolled computation of a cell or a model: nodes (name, t), edges from what is read to what reads it.

    `("h", 0)` is the initial state and `("h", t)` the state after step t; parameters and constants, which all steps
    share, are `(name, None)`, and the loss is `("L", None)`: of a cell it reads each state and output after each step, of
    a model the values of its loss. With `backward`, `("dh", t)` is the adjoint of `("h", t)`, `("dL/dh", t)` what the loss
    gives to it, and `("dW", None)` the gradient of a parameter.

    A node's attributes are texts, so that each format of networkx writes the graph: `expression`, `shape`, `symbol` and
    `latex` (its name), `rule` (what makes it), `line` (the user's, where one makes it) and `role`: "input", "index", "target", "state",
    "param", "const", "value", "output", "loss"; "adjoint", "cotangent", "gradient", and for these three `of`, the name of
    the value to which they belong. An edge has `local`, the derivative of what reads by what is read, as a factor ("f_2 ⊙",
    "Uᵀ", "1") or with □ for the change; `kind`: "identity", "elementwise", "matrix", "linear" or "none"; and `saved`,
    whether a value of the forward pass is kept for the backward pass.

    Raises: ArgumentError where the target is no cell and no model, or the number of steps is no integer of at least 0.
    """
    if not isinstance(target, Cell | Model):
        raise ArgumentError(f"unroll takes a cell or a model, got {type(target).__name__}\n  {instead_of_cell(target)}")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise ArgumentError(f"steps must be an integer of at least 0, got {steps!r}")
    derivation = _equations(target)
    parts = [(_own(derivation.recursion), dict(derivation.labels))]
    if derivation.head is not None:
        parts.append((_own(derivation.head.recursion), loss_labels(derivation.head.labels)))
    names = adjoint_names(*parts)
    text, tex = derivation.in_text, derivation.in_latex
    once = replace(text, sum_over_time="") if isinstance(target, Model) and target.at == "last" else text
    sources = [
        Source(r, labels, _Pen(r.graph, {**of_what_rounds_make(r.graph, labels), **labels}, notation, tex), names)
        for (r, labels), notation in zip(parts, (text, once), strict=False)
    ]
    head = Head(sources[1], target.at, target.reduction) if isinstance(target, Model) else None
    graph = Unrolled(name=target.name, steps=steps)
    unroll_recursion(sources[0], head, steps, backward, Growth(graph, plain_name))
    graph._size = len(graph), graph.number_of_edges()
    graph._of_steps = lambda steps, backward: unroll(target, steps, backward=backward)
    return graph


def _equations(target: Cell | Model) -> Equations:
    """Return the equations of a step with each round written out but those of fixed points, which are values of their equations."""
    cell = target.cell if isinstance(target, Model) else target
    cell.check_real()
    with_points = looped_equations_of(target, points_alone=True) if cell.tolerances else None
    return with_points or equations_of(target)


def _own(r: Recursion) -> Recursion:
    """Return a recursion in a graph of its own, into which local derivatives are written."""
    return replace(r, step=replace(r.step, graph=r.graph.copy()))


@dataclass(frozen=True)
class _Pen:
    """A writer of formulas with marks for the numbers of steps."""

    graph: Graph
    labels: dict[int, Label]
    text: Notation
    tex: Notation

    @cached_property
    def writer(self) -> Writer:
        return Writer(self.graph, self.labels, replace(self.text, symbol=self.name))

    def formula(self, id: int) -> str:
        return self.writer.rhs(id)

    def symbol(self, id: int) -> str:
        return self.writer.symbol(id)

    def local(self, id: int, dot: int) -> str:
        """Return the derivative as a factor: without what changes, where that stands once and at one end."""
        text = self.whole(id, dot)
        if text == DOT:
            return "1"
        if text.count(DOT) > 1:
            return text
        for sign in (self.text.hadamard, self.text.scalar):
            if text.startswith(DOT + sign):
                return text.removeprefix(DOT + sign) + sign.rstrip()
            if text.endswith(sign + DOT):
                return text.removesuffix(DOT).rstrip()
        return text.removesuffix(self.text.matrix + DOT)

    def whole(self, id: int, dot: int) -> str:
        self.labels[dot] = Label(DOT, None)
        return self.writer.symbol(id)

    def name(self, label: Label) -> str:
        return DOT if label.name == DOT else _symbol(self.text, label)

    def latex(self, label: Label) -> str:
        return _symbol(self.tex, label)

    def outside(self, label: Label) -> tuple[str, str]:
        text, tex = (_marked(n.outside(n.symbol(label)), label) for n in (self.text, self.tex))
        return text, tex


def _symbol(notation: Notation, label: Label) -> str:
    return _marked(notation.symbol(label if label.time is None else label.at(0)), label)


def _marked(symbol: str, label: Label) -> str:
    """Return a symbol of step t, which ends with its t, with the mark of the label's step there."""
    if label.time is None:
        return symbol
    # Private-use characters stand for the step: no name of a user's can contain them.
    return re.sub(r"t(\}*'?)$", lambda match: (NOW if label.time == 0 else BEFORE) + match[1], symbol)
