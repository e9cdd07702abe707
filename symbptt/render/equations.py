"""The equations of a recursion: forward, backward, gradients, and those of a loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from symbptt.derive.bptt import Recursion
from symbptt.derive.labels import Label, labels, mark_of
from symbptt.render.expression import Writer
from symbptt.render.notation import LATEX, TEXT, Notation


@dataclass(frozen=True)
class Equation:
    """One line: `lhs relation rhs`, and where it holds.

    The relation is `=`, or `+=` for what is added to an adjoint that a state brings from the next step.
    """

    lhs: str
    rhs: str
    where: str
    latex: str
    relation: str = "="

    def __str__(self) -> str:
        return f"{self.lhs} {self.relation} {self.rhs}"


class Equations:
    """The equations of a cell forward and backward in time."""

    def __init__(self, recursion: Recursion, head: Equations | None = None, at: str = "every") -> None:
        self.recursion, self.head, self.at = recursion, head, at
        self.labels = _visible(recursion, labels(recursion))
        self.mark = mark_of(self.labels)

    def __repr__(self) -> str:
        counts = f"{len(self.forward)} forward, {len(self.backward)} backward equations"
        return f"<derivation of {self.recursion.step.name}: {counts}>"

    @cached_property
    def forward(self) -> tuple[Equation, ...]:
        """The equations of one step, t = 1 to T."""
        r = self.recursion
        read = set(r.graph.ancestors([*r.forward_roots, *r.backward_roots]))
        ids = [
            id
            for id, label in sorted(self.labels.items())
            if not label.adjoint and id in read and r.graph[id].family != "leaf"
        ]
        lines = [self._equation(self.labels[id], id, _when(self.labels[id], "t = 1, …, T")) for id in ids]
        return tuple(lines) + tuple(self._aliases())

    def _aliases(self) -> Iterable[Equation]:
        """Next states and outputs that are another value under a second name."""
        for name, id in (self.recursion.step.next | self.recursion.step.outputs).items():
            label = self.labels.get(id)
            if label is None or label.name != name or label.time == -1:
                yield self._equation(Label(name, 0), id, "t = 1, …, T", symbol=label is not None)

    @cached_property
    def backward(self) -> tuple[Equation, ...]:
        """The recursion of the adjoints, t = T to 1."""
        r = self.recursion
        read = set(r.graph.ancestors(r.backward_roots))  # a branch is passed on under its condition: not all are
        lines = []
        for id, label in sorted(self.labels.items()):
            shown = label.adjoint and label.time is not None and (label.given or id in read)
            if shown and r.graph[id].family != "leaf":
                lines.append(self._equation(label, id, "t = T, …, 1", added_to=self._brought(id, label)))
        return tuple(lines) + tuple(self._to_the_step_before(name) for name in r.carry)

    def _brought(self, bar: int, label: Label) -> int | None:
        """The leaf with which the sum of an adjoint begins, where a state brings it from the next step."""
        leaf = self.recursion.carry.get(label.name)
        whole = self.recursion.adjoint.get(self.recursion.step.next.get(label.name, -1))
        return leaf if leaf is not None and whole == bar and leaf in self.recursion.graph[bar].args else None

    def _to_the_step_before(self, name: str) -> Equation:
        before = Label(name, -1, adjoint=True, mark=self.mark)
        id = self.recursion.recurrent.get(name)
        texts = []
        for notation in (TEXT, LATEX):
            outside = notation.outside(Label(name, -1))
            texts.append(outside + (notation.plus + self._writer(notation).symbol(id) if id is not None else ""))
        latex = f"{LATEX.symbol(before)} = {texts[1]}".replace("+ -", "- ")
        return Equation(TEXT.symbol(before), texts[0].replace("+ -", "- "), "t = T, …, 1", latex)

    @cached_property
    def gradients(self) -> tuple[Equation, ...]:
        """The gradients of the parameters, and of what is computed from parameters alone, as sums over time."""
        r = self.recursion
        inner = [(label, id) for id, label in sorted(self.labels.items()) if label.adjoint and label.time is None]
        own = [(Label(name, None, adjoint=True, mark=self.mark), id) for name, id in r.params.items()]
        return tuple(
            self._equation(label, id, "once", symbol=i >= len(inner)) for i, (label, id) in enumerate(inner + own)
        )

    @cached_property
    def input_gradients(self) -> tuple[Equation, ...]:
        """The gradients of the inputs at each step, for layers below."""
        labelled = [(Label(name, 0, adjoint=True, mark=self.mark), id) for name, id in self.recursion.inputs.items()]
        return tuple(self._equation(label, id, "t = T, …, 1", symbol=True) for label, id in labelled)

    def _writer(self, notation: Notation, hidden: int | None = None) -> Writer:
        return Writer(self.recursion.graph, self.labels, notation)

    def _equation(
        self, label: Label, id: int, where: str, symbol: bool = False, added_to: int | None = None
    ) -> Equation:
        sides = []
        for notation in (TEXT, LATEX):
            writer = self._writer(notation)
            right = writer.symbol(id) if symbol else writer.rhs(id)
            sides.append(
                (notation.symbol(label), right if added_to is None else _rest(right, writer.symbol(added_to), notation))
            )
        relation, latex_relation = ("=", "=") if added_to is None else ("+=", r"\mathrel{+}=")
        return Equation(sides[0][0], sides[0][1], where, f"{sides[1][0]} {latex_relation} {sides[1][1]}", relation)

    def text(self) -> str:
        """Return all equations as plain text."""
        return "\n\n".join(f"{title}\n{_aligned(lines)}" for title, lines in self._sections())

    def _sections(self) -> list[tuple[str, tuple[Equation, ...]]]:
        loss = [] if self.head is None else self.head._of_loss(self.at)
        sections = [
            ("Forward, t = 1, …, T", self.forward),
            ("Backward, t = T, …, 1", self.backward),
            ("Gradients of the parameters", self.gradients),
            ("Gradients of the inputs", self.input_gradients),
        ]
        return [(title, lines) for title, lines in (*sections[:1], *loss, *sections[1:]) if lines]

    def _of_loss(self, at: str) -> list[tuple[str, tuple[Equation, ...]]]:
        """The equations of a loss: its value, and what it sends back to states, outputs and its parameters."""
        step = "every step" if at == "every" else "the last step"
        sent = tuple(self._sent(name, id) for name, id in self.recursion.inputs.items())
        inner = tuple(line for line in self.backward if line.relation == "=")
        return [
            (f"Loss at {step}, L = Σ loss", self.forward),
            (f"Backward from the loss at {step}", inner + sent),
            ("Gradients of the loss's parameters", self.gradients),
        ]

    def _sent(self, name: str, id: int) -> Equation:
        """What the loss adds to the adjoint of a state or an output."""
        label = Label(name, 0)
        texts = [(n.outside(label), self._writer(n).symbol(id)) for n in (TEXT, LATEX)]
        return Equation(texts[0][0], texts[0][1], "t = T, …, 1", f"{texts[1][0]} = {texts[1][1]}")

    def latex(self) -> str:
        """Return all equations as LaTeX, in aligned environments."""
        blocks = []
        for title, lines in self._sections():
            rows = " \\\\\n".join("  " + _with_ampersand(line) for line in lines)
            heading = title.replace("…", r"$\ldots$")
            blocks.append(f"\\text{{{heading}}} \\\\\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}")
        return "\\begin{gathered}\n" + " \\\\[1ex]\n".join(blocks) + "\n\\end{gathered}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text(), "text/latex": self._repr_latex_()}


def _rest(total: str, first: str, notation: Notation) -> str:
    """A sum without its first term."""
    if total.startswith(first + notation.minus):
        return "-" + total.removeprefix(first + notation.minus)
    return total.removeprefix(first + notation.plus)


def _with_ampersand(line: Equation) -> str:
    return (
        line.latex.replace("=", "&=", 1)
        if line.relation == "="
        else line.latex.replace(r"\mathrel{+}=", r"&\mathrel{+}=", 1)
    )


def _when(label: Label, text: str) -> str:
    return "once" if label.time is None else text


def _aligned(lines: tuple[Equation, ...]) -> str:
    width = max(len(line.lhs) for line in lines)
    relation = max(len(line.relation) for line in lines)
    return "\n".join(f"  {line.lhs:<{width}} {line.relation:>{relation}} {line.rhs}" for line in lines)


def _visible(r: Recursion, found: dict[int, Label]) -> dict[int, Label]:
    """Without the names that symbptt gave to values that no adjoint reads: they stand inside the formulas."""
    g = r.graph
    forward = set(g.ancestors(r.forward_roots))
    backward = [id for id in g.ancestors(r.backward_roots) if id not in forward]
    read = {arg for id in backward for arg in g[id].args}
    return {id: label for id, label in found.items() if label.given or label.adjoint or id in read}
