"""The equations of a recursion: forward, backward, gradients, and those of a loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from symbptt.derive.bptt import Recursion
from symbptt.derive.labels import LAST, Label, labels, mark_of, names_of
from symbptt.render.expression import Writer
from symbptt.render.notation import TEXT, Notation, latex_of


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


@dataclass(frozen=True)
class Loss:
    """The recursion of a loss; whether it stands at "every" step or the "last", and what is made of all, "sum" or "mean"."""

    recursion: Recursion
    at: str
    reduction: str


class Equations:
    """The equations of a cell forward and backward in time."""

    def __init__(self, recursion: Recursion, loss: Loss | None = None, taken: Iterable[str] = (),
                 beside: Iterable[str] = ()) -> None:  # fmt: skip
        self.recursion, self.loss = recursion, loss
        beside = {*beside, *(names_of(loss.recursion) if loss is not None else ())}
        self.labels = _timed(recursion, _visible(recursion, labels(recursion, taken, beside)))
        shown = beside | {label.name for label in self.labels.values() if not label.adjoint}
        self.mark = mark_of(shown)
        self._latex = latex_of(shown | {a.name for a in recursion.step.arguments})

    @cached_property
    def head(self) -> Equations | None:
        """The equations of the loss, whose own values have names that those of the cell do not have."""
        if self.loss is None:
            return None
        taken = {label.name for id, label in self.labels.items() if self.recursion.graph[id].family != "leaf"}
        taken -= {*self.recursion.step.next, *self.recursion.step.outputs}
        return _OfLoss(self.loss, taken, names_of(self.recursion))

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
        for notation in (TEXT, self._latex):
            outside = notation.outside(notation.symbol(Label(name, -1)))
            texts.append(outside + (notation.plus + self._writer(notation).symbol(id) if id is not None else ""))
        latex = f"{self._latex.symbol(before)} = {texts[1]}".replace("+ -", "- ")
        return Equation(TEXT.symbol(before), texts[0].replace("+ -", "- "), "t = T, …, 1", latex)

    @cached_property
    def gradients(self) -> tuple[Equation, ...]:
        """The gradients of the parameters, and of what is computed from parameters alone, as sums over time."""
        r = self.recursion
        inner = [(label, id) for id, label in sorted(self.labels.items()) if label.adjoint and label.time is None]
        own = [(Label(name, None, adjoint=True, mark=self.mark), id) for name, id in r.params.items()]
        lines = [self._equation(label, id, "once", symbol=i >= len(inner)) for i, (label, id) in enumerate(inner + own)]
        shared = {
            TEXT.symbol(label) for label, _ in own if self.loss is not None and label.name in self.loss.recursion.params
        }
        return tuple(_more(x) if x.lhs in shared else x for x in lines) + self._without(r.params, "param", None)

    def _without(self, found: Mapping[str, int], role: str, time: int | None) -> tuple[Equation, ...]:
        """The gradients of what is only read in conditions, or by functions without a slope."""
        begun = () if self.loss is None else self.loss.recursion.params
        names = [a.name for a in self.recursion.step.of_role(role) if a.name not in found and a.name not in begun]
        labels = [Label(name, time, adjoint=True, mark=self.mark) for name in names]
        when = "once" if time is None else "t = T, …, 1"
        return tuple(Equation(TEXT.symbol(x), "0", when, f"{self._latex.symbol(x)} = 0") for x in labels)

    @cached_property
    def input_gradients(self) -> tuple[Equation, ...]:
        """The gradients of the inputs at each step, for layers below."""
        labelled = [(Label(name, 0, adjoint=True, mark=self.mark), id) for name, id in self.recursion.inputs.items()]
        lines = tuple(self._equation(label, id, "t = T, …, 1", symbol=True) for label, id in labelled)
        return lines + self._without(self.recursion.inputs, "input", 0)

    def _writer(self, notation: Notation) -> Writer:
        return Writer(self.recursion.graph, self.labels, notation)

    def _equation(
        self, label: Label, id: int, where: str, symbol: bool = False, added_to: int | None = None
    ) -> Equation:
        sides = []
        for notation in (TEXT, self._latex):
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
        loss = [] if self.head is None else self.head._sections()
        sections = [
            ("Forward, t = 1, …, T", self.forward),
            ("Backward, t = T, …, 1", self.backward),
            ("Gradients of the parameters", self.gradients),
            ("Gradients of the inputs", self.input_gradients),
        ]
        return [(title, lines) for title, lines in (*sections[:1], *loss, *sections[1:]) if lines]

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


class _OfLoss(Equations):
    """The equations of a loss: its value, and what it sends back to states, outputs and its parameters.

    At the last step its values are those of t = T, and nothing is summed over time.
    """

    def __init__(self, of: Loss, taken: Iterable[str], beside: Iterable[str]) -> None:
        self.of = of
        super().__init__(of.recursion, taken=taken, beside=beside)
        if of.at == "last":
            self.labels = {id: replace(x, time=LAST) if x.time == 0 else x for id, x in self.labels.items()}

    def _writer(self, notation: Notation) -> Writer:
        return super()._writer(replace(notation, sum_over_time="") if self.of.at == "last" else notation)

    def _sections(self) -> list[tuple[str, tuple[Equation, ...]]]:
        t = "t" if self.of.at == "every" else "T"
        inner = tuple(line for line in self.backward if line.relation == "=")
        return [
            (f"Loss, t = {'1, …, T' if t == 't' else 'T'}", (*self.forward, self._whole(t))),
            ("Backward from the loss", self._weight(t) + inner + self._sent()),
            ("Gradients of the loss's parameters", self.gradients),
        ]

    def _whole(self, t: str) -> Equation:
        """L over all steps and samples that count; N of them, where it is their mean."""
        label = Label("loss", 0 if t == "t" else LAST)
        found = []
        for n in (TEXT, self._latex):
            total = ("" if t == "T" else n.sum_over_time) + n.symbol(label)
            found.append(
                total
                if self.of.reduction == "sum"
                else n.quotient(n.brackets(total) if n is TEXT and t == "t" else total, "N")
            )
        return Equation("L", found[0], "once", f"L = {found[1]}")

    def _weight(self, t: str) -> tuple[Equation, ...]:
        """The adjoint of the loss of a step, where that is not one."""
        if self.of.reduction == "sum":
            return ()
        label = Label("loss", 0 if t == "t" else LAST, adjoint=True, mark=self.mark)
        sides = [(n.symbol(label), n.quotient("1", "N")) for n in (TEXT, self._latex)]
        return (Equation(*sides[0], f"t = {t}", " = ".join(sides[1])),)

    def _sent(self) -> tuple[Equation, ...]:
        """What the loss adds to the adjoint of a state or an output; of steps before the last, nothing."""
        lines = []
        for name, id in self.recursion.inputs.items():
            label = Label(name, 0 if self.of.at == "every" else LAST)
            sides = [(n.outside(n.symbol(label)), self._writer(n).symbol(id)) for n in (TEXT, self._latex)]
            lines.append(Equation(*sides[0], "t = T, …, 1", " = ".join(sides[1])))
            if self.of.at == "last":
                before = [n.outside(n.symbol(Label(name, 0))) for n in (TEXT, self._latex)]
                lines.append(Equation(before[0], "0 for t < T", "t < T", rf"{before[1]} = 0 \quad (t < T)"))
        return tuple(lines)


def _timed(r: Recursion, found: dict[int, Label]) -> dict[int, Label]:
    """Without the names of states whose next value is the same at all steps: the state of a step has its own line."""
    return {id: x for id, x in found.items() if x.time is not None or x.name not in r.step.next}


def _more(line: Equation) -> Equation:
    """What is added to a gradient that the loss has begun."""
    return replace(line, relation="+=", latex=line.latex.replace(" = ", r" \mathrel{+}= ", 1))


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
