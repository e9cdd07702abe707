"""The equations of a recursion: forward, backward, gradients, and those of a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Literal

from symbptt.autodiff.bptt import Recursion, per_step
from symbptt.autodiff.labels import Label, labels, mark_of, names_of
from symbptt.equations.notation.ascii import in_ascii
from symbptt.equations.notation.mathml import mathml_of
from symbptt.equations.notation.names import Named, Names, Used, names_of_page, with_others
from symbptt.equations.notation.pen import Pen
from symbptt.equations.notation.signs import TEXT, Notation, columns, conjugate_by_name, digits, latex_of, text_of
from symbptt.equations.notation.writing import write
from symbptt.equations.page.definitions import functions
from symbptt.equations.page.layout import RELATIONS, WIDTHS, behind, display, document, mathml_page, noted
from symbptt.equations.page.legend import legend, mean_of, named_constants, needed, received, settling, unread
from symbptt.equations.page.lines import (
    GRADIENTS,
    Line,
    Lines,
    Loss,
    LossLines,
    Page,
    Section,
    labelled,
    with_arguments,
)
from symbptt.equations.page.masks import PLAIN, Setting, as_set, entering, letters
from symbptt.equations.page.masks import Names as Letters
from symbptt.equations.page.page import names_of_constants, textbook
from symbptt.equations.page.slopes import gradients, with_gradients
from symbptt.equations.page.used import signs_of, sizes_of, used_names
from symbptt.errors import ArgumentError
from symbptt.ir.node import Node

STYLES = ("textbook", "loop")

__all__ = ["Equation", "Equations", "Loss"]


@dataclass(frozen=True)
class Equation:
    """One line: `lhs relation rhs`, and where it holds.

    The relation is `=`, or `+=`, which accumulates into the cotangent received from step t + 1.
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
        self._every_label = labels(recursion, tuple(taken), tuple(beside), on_page=True)
        self.labels = labelled(recursion, self._every_label)
        self.mark = mark_of(beside | {label.name for label in self.labels.values() if not label.adjoint})

    @cached_property
    def head(self) -> _OfLoss | None:
        """The equations of the loss, whose own values have names that those of the cell do not have."""
        if self.loss is None:
            return None
        taken = {label.name for label in (*self.labels.values(), *self.shown_labels.values())}
        # A loss reads states and outputs under the cell's own names.
        taken -= {*self.recursion.step.next, *self.recursion.step.outputs}
        return _OfLoss(self, self.loss, taken, names_of(self.recursion))

    @cached_property
    def names(self) -> Names:
        """The written names of the page, those of the loss among them."""
        whole = (self, self.head) if self.head is not None else (self,)
        used = {u.name: u for each in reversed(whole) for u in used_names(each.recursion, each.shown_labels.values())}
        signs = {sign for each in whole for sign in signs_of(each.recursion, each.mark)}
        signs |= {"L"} if self.head is not None else set()
        return names_of_page(used.values(), signs, {size for each in whole for size in sizes_of(each.recursion)})

    @cached_property
    def in_text(self) -> Notation:
        """The signs of text, with the names of this page."""
        return text_of(self.names.text, made=self.names.made, sizes=self.names.sizes_in_text)

    @cached_property
    def in_latex(self) -> Notation:
        """The signs of LaTeX, with the names of this page."""
        return latex_of(self.names)

    def pen(self, ascii: bool = False) -> Pen:
        """Return what writes text with the names of this page; with `ascii`, in ASCII alone."""
        return _pen(self.all_names, ascii)

    @property
    def latex_pen(self) -> Pen:
        """The pen that writes LaTeX with the names of this page."""
        return Pen(latex_of(self.all_names))

    @cached_property
    def all_names(self) -> Names:
        """The names of the page, and of values that have a name but no line on it, as on routes."""
        whole = (self, self.head) if self.head is not None else (self,)
        graph = self.recursion.step.graph
        moving = per_step(graph, range(len(graph)))
        others = {label.name: "once" if label.time is None else "value"
                  for each in whole for label in each.labels.values()}  # fmt: skip
        others |= {name: "value" if id in moving else "once" for id, name in graph.names.items()}
        others |= dict.fromkeys(self.recursion.step.outputs, "value")
        return with_others(self.names, [Used(name, role) for name, role in others.items()])

    @property
    def symbols(self) -> tuple[Named, ...]:
        """The written arguments and outputs, in text and in LaTeX."""
        found: dict[str, Named] = {}
        for each in (self, self.head) if self.head is not None else (self,):
            step = each.recursion.step
            whens = {a.name: {"state": 0, "input": 0, "index": 0, "target": 0}.get(a.role) for a in step.arguments}
            for name in [*whens, *step.outputs]:
                label = Label(name, whens.get(name, 0))
                found.setdefault(name, Named(name, label, self.in_text.symbol(label), self.in_latex.symbol(label)))
        return tuple(found.values())

    def __repr__(self) -> str:
        counts = f"{len(self.forward)} forward, {len(self.backward)} backward equations"
        return f"<derivation of {self.recursion.step.name}: {counts}>"

    @property
    def lines(self) -> Lines:
        """The maker of the lines of the recursion, in the style of the loop."""
        begun = () if self.loss is None else self.loss.recursion.params
        return Lines(self.recursion, self.labels, self.mark, frozenset(begun))

    @cached_property
    def forward(self) -> tuple[Equation, ...]:
        """The equations of one step, t = 1 to T."""
        return self._equations(self._set(self.lines.forward, "Forward, "))

    @cached_property
    def backward(self) -> tuple[Equation, ...]:
        """The recursion of the adjoints, t = T to 1."""
        return self._equations(self._set(self.lines.backward, "Backward, ", "Backward from each "))

    @cached_property
    def gradients(self) -> tuple[Equation, ...]:
        """The gradients of the parameters, and of what is computed from parameters alone, as sums over time."""
        return self._equations(self._set(self.lines.gradients, GRADIENTS))

    @cached_property
    def input_gradients(self) -> tuple[Equation, ...]:
        """The gradients of the inputs at each step, for layers below."""
        return self._equations(self._set(self.lines.input_gradients, "Gradients of the inputs"))

    def _set(self, lines: Callable[[], tuple[Line, ...]], *titles: str) -> tuple[Line, ...]:
        """Return the lines of a section; those of the page where truncation, lengths or resets change them."""
        if self.setting.is_plain:
            return lines()
        return tuple(
            x for section in self.page("loop").sections if section.title.startswith(titles) for x in section.lines
        )

    def _equations(self, lines: Iterable[Line]) -> tuple[Equation, ...]:
        return tuple(equation(line, self.in_text, self.in_latex) for line in lines)

    def text(self, style: Literal["textbook", "loop"] = "textbook", *, ascii: bool = False) -> str:
        """Return all equations as plain text; with `ascii`, in ASCII alone: sum_t for Σ_t, sigma for σ, (.) for ⊙.

        `style="textbook"` has adjoints with all that they are made of, families of gates as one line, and a legend;
        `style="loop"` has the lines as the generated code works through them, where `+=` accumulates into the cotangent
        received from step t + 1.

        Raises: ArgumentError for another style.
        """
        pen = _pen(self.names, ascii)
        return self._listing(pen.notation, self.page(style), pen.words, self.names.renamed(ascii))

    def as_spelt(self, style: str = "loop") -> str:
        """Return the equations with names as the user spelt them, as the comments of a module have them, which tells of its
        arguments elsewhere; `style` as of `text`."""
        return self._listing(TEXT, self._whole(self._listed) if style == "loop" else self.page(style), str)

    def _listing(self, n: Notation, page: Page, shown: Callable[[str], str],
                 renamed: Mapping[str, str] = MappingProxyType({})) -> str:  # fmt: skip
        parts = ["\n".join(_block(section, n, shown)) for section in page.sections]
        notes = [f"  {shown(noted(note, n))}" for note in page.legend]
        notes += ["  " + "; ".join(f"{x} is the cell's {own}" for x, own in renamed.items())] * bool(renamed)
        legend = ["\n".join(["Legend", *notes])] if notes else []
        return "\n\n".join([*parts, *legend])

    def page(self, style: str = "textbook") -> Page:
        """Return the page as data: sections of lines, whose sides are expressions.

        Raises: ArgumentError for a style that is not known.
        """
        if style not in STYLES:
            raise ArgumentError(f"style is one of {', '.join(map(repr, STYLES))}, got {style!r}")
        return self._whole(self._textbook if style == "textbook" else self._loop)

    def _whole(self, page: Page) -> Page:
        """Return a page with what its setting changes, and with its functions."""
        recursions = [self.recursion] if self.loss is None else [self.recursion, self.loss.recursion]
        enters = letters(page, self.setting, recursions).reset
        if not self.setting.is_plain:
            page = as_set(page, self.setting, self.recursion, self.loss)
        notes = (*page.legend, *received(self.lines, page.sections))
        parts = [self] if self.head is None else [self, self.head]
        named = gradients([(part.recursion, part.shown_labels) for part in parts], page.sections)
        if self.setting.reset:  # the gradient is taken at what enters the step, as the line below it says
            named = named.at(lambda e: entering(e, self.recursion, enters))
        functions = self._functions(page.sections, named.nodes)
        functions = replace(functions, lines=(*named.functions, *functions.lines))
        notes = (*notes, *named.notes)
        sections = (*(with_gradients(section, named.gradients) for section in page.sections), functions)
        return Page(tuple(section for section in sections if section.lines or section.remarks), notes)

    def _functions(self, sections: Iterable[Section], nodes: Iterable[Node]) -> Section:
        """Return the definitions of functions, those of the loss among them, and of functions of which gradients are taken."""
        parts = [self] if self.head is None else [self, self.head]
        names = {label.full for part in parts for label in part.labels.values()}
        return functions([part.recursion for part in parts], names, sections, nodes)

    @cached_property
    def shown_labels(self) -> dict[int, Label]:
        """The labels of all values that a page of some style shows."""
        return with_arguments(self.recursion, self._every_label)

    @cached_property
    def letters(self) -> Letters:
        """The letters of truncation and of resets on this page."""
        recursions = [self.recursion, *([] if self.loss is None else [self.loss.recursion])]
        return letters(self._textbook, self.setting, recursions)

    @cached_property
    def labels_in_textbook(self) -> dict[int, Label]:
        """The labels of values by whose names the textbook page, and what stands beside it, may write: those whose formulas stand
        in the place of their names have none."""
        if all(x.given or x.adjoint for x in self.labels.values()):  # only names that symbptt made give way to formulas
            return self.labels
        put_in = self._textbook.put_in
        return {id: x for id, x in self.labels.items() if x not in put_in}

    @property
    def _listed(self) -> Page:
        """The lines as the code works through them, for where the arguments are told of elsewhere."""
        steps = [self.recursion.step, *([] if self.loss is None else [self.loss.recursion.step])]
        sections = self._sections()
        # Adjoints of what a loss does not read are no argument of a module, and nothing else in it tells of them.
        told = [] if self.head is None else unread(self.lines, self.head.loss_lines(), sections)
        return Page(tuple(sections), (*needed(steps), *mean_of(self.loss), *settling(self.lines), *told))

    @property
    def _loop(self) -> Page:
        sections = self._sections()
        loss = None if self.head is None else self.head.loss_lines()
        sections, constants = named_constants(sections, names_of_constants(self.lines, loss))
        return Page(tuple(sections), (*legend(self.lines, loss, sections), *constants))

    @cached_property
    def _textbook(self) -> Page:
        r = self.recursion
        found = self.shown_labels
        begun = frozenset(() if self.loss is None else self.loss.recursion.params)
        mark = next((label.mark for label in found.values() if label.adjoint), self.mark)
        loss = self.head.loss_lines(inner=True) if self.head is not None else None
        return textbook(Lines(r, found, mark, begun), loss)

    def _sections(self) -> list[Section]:
        lines = self.lines
        loss = [] if self.head is None else self.head._sections()
        return [
            Section("Forward, t = 1, …, T", lines.forward()),
            *loss,
            Section("Backward, t = T, …, 1", lines.backward()),
            Section(lines.gradients_title, lines.gradients()),
            Section("Gradients of the inputs", lines.input_gradients()),
        ]

    def latex(
        self,
        style: Literal["textbook", "loop"] = "textbook",
        *,
        numbered: bool = False,
        width: Literal["single", "double"] = "double",
    ) -> str:
        """Return all equations as LaTeX for a document that loads amsmath: an `align` that may break over pages, its lines
        broken at their signs to the width of a column; `style` as of `text`.

        width: "single" for a column of 252 pt, "double" for one of 345 pt. `numbered`: each line has a number.

        Raises: ArgumentError for another style or width.
        """
        if width not in WIDTHS:
            raise ArgumentError(f"latex has no width {width!r}\n  expected: {', '.join(map(repr, WIDTHS))}")
        return document(self.page(style), self.in_latex, numbered, WIDTHS[width])

    def mathml(self, style: Literal["textbook", "loop"] = "textbook") -> str:
        """Return all equations as presentation MathML, one element `math` that is an XML document by itself; `style` as of
        `text`.

        Raises: ArgumentError for another style.
        """
        return mathml_page(self.page(style), mathml_of(self.names))

    def _repr_latex_(self) -> str:
        return display(self.page(), self.in_latex)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = self._repr_latex_()
        return {"text/plain": self.text(), "text/markdown": shown, "text/latex": shown}

    def _repr_markdown_(self) -> str:
        return self._repr_latex_()


class _OfLoss(Equations):
    """The equations of a loss: its value, and the direct cotangents of states, outputs and its parameters."""

    def __init__(self, whole: Equations, of: Loss, taken: Iterable[str], beside: Iterable[str]) -> None:
        self.whole, self.of = whole, of
        super().__init__(of.recursion, taken=taken, beside=beside)

    def loss_lines(self, inner: bool = False) -> LossLines:
        """Return what makes the lines of the loss; with `inner`, arguments of its functions have names too."""
        lines = self.lines
        if inner:
            lines = replace(lines, labels=self.shown_labels)
        return LossLines(lines, self.of)

    @property
    def names(self) -> Names:
        """The written names of the page, which the cell and its loss share."""
        return self.whole.names

    def _sections(self) -> list[Section]:
        lines = self.loss_lines()
        steps = "1, …, T" if self.of.at == "every" else "T"
        return [
            Section(f"Loss, t = {steps}", lines.value()),
            Section("Backward from the loss", lines.back()),
            Section("Gradients of the loss's parameters", lines.gradients()),
        ]


def _pen(names: Names, ascii: bool) -> Pen:
    if not ascii:
        return Pen(text_of(names.text, made=names.made, sizes=names.sizes_in_text))
    own = text_of(names.ascii, str, names.made, names.sizes_in_ascii)
    shown = replace(
        own,
        root=lambda inner, is_atom: f"sqrt({inner})",
        number=partial(digits, root="sqrt({})"),
        conjugate=conjugate_by_name(own),
    )
    return Pen(shown, in_ascii)


def equation(line: Line, text: Notation, latex: Notation) -> Equation:
    """Return a line in text and in LaTeX."""
    sides = [(write(line.left, n), write(line.right, n) + behind(line, n)) for n in (text, latex)]
    relation = RELATIONS[line.relation]
    return Equation(*sides[0], line.where, f"{sides[1][0]} {relation} {sides[1][1]}", line.relation)


def _block(section: Section, n: Notation, shown: Callable[[str], str]) -> list[str]:
    """Return a section as text."""
    return [
        shown(section.title),
        *([_aligned(section.lines, n, shown)] if section.lines else []),
        *(f"  {shown(remark)}" for remark in section.remarks),
    ]


def _aligned(lines: Sequence[Line], n: Notation, shown: Callable[[str], str]) -> str:
    rows: list[tuple[str, str, str]] = []
    for line in lines:
        left, right = shown(write(line.left, n)), shown(write(line.right, n) + behind(line, n))
        if line.above is not None:
            rows.append((left, line.relation, shown(write(line.above, n))))
        rows.append((left if line.above is None else "", line.relation, right))
    widths = [columns(left) for left, _, _ in rows]
    room, signs = max(widths), max([len(sign) for _, sign, _ in rows if "=" in sign], default=0)
    return "\n".join(
        f"  {left}{' ' * (room - width)} {sign:>{signs}} {right}"
        for (left, sign, right), width in zip(rows, widths, strict=True)
    )
