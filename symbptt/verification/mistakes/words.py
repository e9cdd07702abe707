"""The parts of a derivation in the words of its page: values, their cotangents, the terms that they give, the user's lines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from symbptt.autodiff.bptt import Recursion
from symbptt.autodiff.labels import Label
from symbptt.autodiff.partials import VALUE
from symbptt.derivations.explanation import source_line
from symbptt.equations.notation.formula import Writer
from symbptt.equations.page.equations import Equations
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import placeholder
from symbptt.language.cell import Cell
from symbptt.language.model import Loss
from symbptt.verification.adjoints.tape import Edge


@dataclass(frozen=True)
class Words:
    """The names of one graph on its page: that of a cell or of a loss, whose function the lines are looked for in."""

    page: Equations
    owner: Cell | Loss

    @property
    def recursion(self) -> Recursion:
        return self.page.recursion

    @cached_property
    def _writer(self) -> Writer:
        return Writer(self.recursion.graph, self.page.labels, self.page.pen().notation)

    @cached_property
    def _leaves(self) -> dict[int, str]:
        return {id: name for name, id in self.recursion.step.leaves.items()}

    @cached_property
    def _terms(self) -> frozenset[int]:
        """The values without a name that have the whole cotangent of another value."""
        r = self.recursion
        return frozenset(
            arg
            for value, arg, given in r.given
            if given == r.adjoint[arg] == r.adjoint[value] and arg not in self.page.labels
        )

    def argument(self, name: str, bar: bool = False) -> str:
        """Return an argument as it is named, or its cotangent."""
        roles = {a.name: a.role for a in self.recursion.step.arguments}
        # A loss reads states after the step, which have the role of an output there.
        time = {"state": -1, "input": 0, "index": 0, "output": 0, "target": 0}.get(roles.get(name, "state"))
        return self._writer.notation.symbol(Label(name, time, bar, mark=self.page.mark))

    def result(self, name: str, bar: bool = False, time: int | None = 0) -> str:
        """Return a next state or an output as it is named, or its cotangent."""
        return self._writer.notation.symbol(Label(name, time, bar, mark=self.page.mark))

    def gradient(self, name: str) -> str:
        """Return the gradient of a parameter as it is named."""
        return self._writer.notation.symbol(Label(name, None, True, mark=self.page.mark))

    def value(self, id: int) -> str:
        """Return a value as it is named in formulas, or its formula."""
        return self.argument(self._leaves[id]) if id in self._leaves else self._writer.symbol(id)

    def bar(self, id: int) -> str:
        """Return the cotangent of a value as it is named; of a value without a name that of a bracket."""
        if id in self._leaves:
            return self.argument(self._leaves[id], bar=True)
        adjoint = self.recursion.adjoint.get(id)
        # A term of a sum has the cotangent of the sum, and its name with it.
        if adjoint in self.page.labels and id not in self._terms:
            return self._writer.symbol(adjoint)
        return f"{self.page.mark}({self._writer.symbol(id)})"

    def term(self, edge: Edge) -> str:
        """Return a contribution as a formula."""
        return self._writer.symbol(edge.shown) if self._is_whole(edge) else self._writer.rhs(edge.shown)

    def _is_whole(self, edge: Edge) -> bool:
        """Answer whether a contribution is the cotangent of its value under its own name."""
        return edge.shown == self.recursion.adjoint.get(edge.value) and edge.shown in self.page.labels

    def factor(self, body: sp.Expr, args: tuple[int, ...], edge: Edge, graph: Graph) -> str:
        """Return a body over values of an edge, which lie in `graph`, as a formula; no text where it reads what has no name."""
        adjoint = self.recursion.adjoint[edge.value]
        labels = {id: label for id, label in self.page.labels.items() if id in self.recursion.forward_ids}
        labels |= {edge.bar: self.page.labels[adjoint]} if adjoint in self.page.labels else {}
        used = sorted(body.free_symbols - {VALUE}, key=lambda s: int(s.name[1:]))
        ids = [args[int(s.name[1:])] for s in used]
        if not ids:
            return str(body) if body.is_Rational else f"{float(body):.15g}"
        g = graph.copy()
        if any(
            g[id].family == "leaf" and g[id].attrs.role == "adjoint" and id not in labels for id in g.ancestors(ids)
        ):
            return ""
        writer = Writer(g, labels, self.page.pen().notation)
        if body == used[0]:
            return writer.symbol(ids[0])
        return writer.rhs(build.map_(g, body.xreplace({s: placeholder(i) for i, s in enumerate(used)}), ids))

    def place(self, id: int) -> str:
        """Return the user's line that makes a value, with its text."""
        where = self.recursion.graph[id].place
        text = source_line(self.owner, where) if where else ""
        return f"{where}: {text}" if text else where
