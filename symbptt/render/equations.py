"""The equations of a recursion: forward, backward, gradients, and those of a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from symbptt.derive.bptt import Recursion
from symbptt.derive.labels import mark_of, names_of
from symbptt.errors import ArgumentError
from symbptt.render.definitions import functions
from symbptt.render.legend import mean_of
from symbptt.render.lines import Line, Lines, Loss, LossLines, Page, Section, labelled, with_arguments
from symbptt.render.masks import PLAIN, Setting, as_set
from symbptt.render.notation import TEXT, Notation, latex_of
from symbptt.render.page import textbook
from symbptt.render.writing import ranges, write

STYLES = ("textbook", "loop")

__all__ = ["Equation", "Equations", "Loss"]


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

    def __init__(self, recursion: Recursion, loss: Loss | None = None, taken: Iterable[str] = (),
                 beside: Iterable[str] = (), setting: Setting = PLAIN) -> None:  # fmt: skip
        self.recursion, self.loss, self.setting = recursion, loss, setting
        beside = {*beside, *(names_of(loss.recursion) if loss is not None else ())}
        self._around = tuple(taken), tuple(beside)
        self.labels = labelled(recursion, *self._around)
        shown = beside | {label.name for label in self.labels.values() if not label.adjoint}
        self.mark = mark_of(shown)
        self._latex = latex_of(shown | {a.name for a in recursion.step.arguments})

    @cached_property
    def head(self) -> _OfLoss | None:
        """The equations of the loss, whose own values have names that those of the cell do not have."""
        if self.loss is None:
            return None
        taken = {label.name for label in self.labels.values()}
        taken -= {*self.recursion.step.next, *self.recursion.step.outputs}
        return _OfLoss(self.loss, taken, names_of(self.recursion))

    def __repr__(self) -> str:
        counts = f"{len(self.forward)} forward, {len(self.backward)} backward equations"
        return f"<derivation of {self.recursion.step.name}: {counts}>"

    @property
    def _lines(self) -> Lines:
        begun = () if self.loss is None else self.loss.recursion.params
        return Lines(self.recursion, self.labels, self.mark, frozenset(begun))

    @cached_property
    def forward(self) -> tuple[Equation, ...]:
        """The equations of one step, t = 1 to T."""
        return self._equations(self._set(self._lines.forward, "Forward, "))

    @cached_property
    def backward(self) -> tuple[Equation, ...]:
        """The recursion of the adjoints, t = T to 1."""
        return self._equations(self._set(self._lines.backward, "Backward, ", "Backward from each "))

    @cached_property
    def gradients(self) -> tuple[Equation, ...]:
        """The gradients of the parameters, and of what is computed from parameters alone, as sums over time."""
        return self._equations(self._set(self._lines.gradients, "Gradients of the parameters"))

    @cached_property
    def input_gradients(self) -> tuple[Equation, ...]:
        """The gradients of the inputs at each step, for layers below."""
        return self._equations(self._set(self._lines.input_gradients, "Gradients of the inputs"))

    def _set(self, lines: Callable[[], tuple[Line, ...]], *titles: str) -> tuple[Line, ...]:
        """The lines of a section; those of the page where truncation, lengths or resets change them."""
        if self.setting.is_plain:
            return lines()
        return tuple(
            x for section in self.page("loop").sections if section.title.startswith(titles) for x in section.lines
        )

    def _equations(self, lines: Iterable[Line]) -> tuple[Equation, ...]:
        return tuple(equation(line, self._latex) for line in lines)

    def text(self, style: str = "textbook") -> str:
        """Return all equations as plain text.

        `style="textbook"` has adjoints with all that they are made of, families of gates as one line, and a legend;
        `style="loop"` has the lines as the generated code works through them, where `+=` adds to an adjoint that a state
        brings from the next step.

        Raises: ArgumentError for another style.
        """
        page = self.page(style)
        blocks = ["\n".join(_block(section)) for section in page.sections]
        legend = ["\n".join(["Legend", *(f"  {line}" for line in page.legend)])] if page.legend else []
        return "\n\n".join([*blocks, *legend])

    def page(self, style: str = "textbook") -> Page:
        """Return the page as data: sections of lines, whose sides are expressions.

        Raises: ArgumentError for a style that is not known.
        """
        if style not in STYLES:
            raise ArgumentError(f"style is one of {', '.join(map(repr, STYLES))}, got {style!r}")
        page = self._textbook if style == "textbook" else Page(tuple(self._sections()), mean_of(self.loss))
        if not self.setting.is_plain:
            page = as_set(page, self.setting, self.recursion, self.loss)
        sections = (*page.sections, self._functions())
        return replace(page, sections=tuple(section for section in sections if section.lines or section.remarks))

    def _functions(self) -> Section:
        """What functions mean, those of the loss among them."""
        parts = [self] if self.head is None else [self, self.head]
        names = {label.full for part in parts for label in part.labels.values()}
        return functions([part.recursion for part in parts], names)

    @cached_property
    def _textbook(self) -> Page:
        r = self.recursion
        found = with_arguments(r, labelled(r, *self._around, inner=True))
        begun = frozenset(() if self.loss is None else self.loss.recursion.params)
        mark = next((label.mark for label in found.values() if label.adjoint), self.mark)
        return textbook(
            Lines(r, found, mark, begun), self.head.loss_lines(inner=True) if self.head is not None else None
        )

    def sections(self, style: str = "textbook") -> tuple[tuple[str, tuple[Equation, ...]], ...]:
        """Return the titles of the page, each with its equations."""
        page = self.page(style)
        return tuple((section.title, self._equations(section.lines)) for section in page.sections)

    def _sections(self) -> list[Section]:
        lines = self._lines
        loss = [] if self.head is None else self.head._sections()
        return [
            Section("Forward, t = 1, …, T", lines.forward()),
            *loss,
            Section("Backward, t = T, …, 1", lines.backward()),
            Section("Gradients of the parameters", lines.gradients()),
            Section("Gradients of the inputs", lines.input_gradients()),
        ]

    def latex(self, style: str = "textbook") -> str:
        """Return all equations as LaTeX, in aligned environments; `style` as of `text`.

        Raises: ArgumentError for another style.
        """
        blocks = []
        for section in self.page(style).sections:
            written = [_with_ampersand(line) for line in self._equations(section.lines)]
            written += [rf"&\text{{{remark}}}" for remark in section.remarks]
            rows = " \\\\\n".join("  " + row for row in written)
            heading = section.title.replace("…", r"$\ldots$")
            blocks.append(f"\\text{{{heading}}} \\\\\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}")
        return "\\begin{gathered}\n" + " \\\\[1ex]\n".join(blocks) + "\n\\end{gathered}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text(), "text/latex": self._repr_latex_()}


class _OfLoss(Equations):
    """The equations of a loss: its value, and what it sends back to states, outputs and its parameters."""

    def __init__(self, of: Loss, taken: Iterable[str], beside: Iterable[str]) -> None:
        self.of = of
        super().__init__(of.recursion, taken=taken, beside=beside)

    def loss_lines(self, inner: bool = False) -> LossLines:
        """Return what makes the lines of the loss; with `inner`, arguments of its functions have names too."""
        lines = self._lines
        if inner:
            lines = replace(
                lines, labels=with_arguments(self.recursion, labelled(self.recursion, *self._around, inner=True))
            )
        return LossLines(lines, self.of)

    def _sections(self) -> list[Section]:
        lines = self.loss_lines()
        steps = "1, …, T" if self.of.at == "every" else "T"
        return [
            Section(f"Loss, t = {steps}", lines.value()),
            Section("Backward from the loss", lines.back()),
            Section("Gradients of the loss's parameters", lines.gradients()),
        ]


def equation(line: Line, latex: Notation) -> Equation:
    """Return a line in text and in LaTeX."""
    sides = [(write(line.left, n), _right(line, n)) for n in (TEXT, latex)]
    relation = RELATIONS[line.relation]
    return Equation(*sides[0], line.where, f"{sides[1][0]} {relation} {sides[1][1]}", line.relation)


def _with_ampersand(line: Equation) -> str:
    sign = RELATIONS[line.relation]
    return line.latex.replace(f" {sign} ", f" &{sign} ", 1)


RELATIONS = {"=": "=", "+=": r"\mathrel{+}=", "is replaced by": r"\text{ is replaced by }"}
"""Relations in LaTeX."""


def _block(section: Section) -> list[str]:
    """A section as text."""
    return [
        section.title,
        *([_aligned(section.lines)] if section.lines else []),
        *(f"  {remark}" for remark in section.remarks),
    ]


def _aligned(lines: Sequence[Line]) -> str:
    rows = [(write(line.left, TEXT), line.relation, _right(line, TEXT)) for line in lines]
    width = max(len(left) for left, _, _ in rows)
    signs = max((len(sign) for _, sign, _ in rows if "=" in sign), default=0)
    return "\n".join(f"  {left:<{width}} {sign:>{signs}} {right}" for left, sign, right in rows)


def _right(line: Line, n: Notation) -> str:
    """The right side of a line, and where it holds where that is said on the line."""
    among = n.among(line.family[0], ", ".join(line.family[1])) if line.family else ""
    note = n.when(line.note) if line.note else ""
    return write(line.right, n) + ranges(line.left, line.right, n) + among + note
