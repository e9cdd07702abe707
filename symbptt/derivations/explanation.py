"""The chain rule of a cell step by step, from the last line of the user's to the first, each with its rule."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from itertools import chain

from symbptt.autodiff.bptt import Recursion
from symbptt.autodiff.labels import Label, letter_of_rounds, of_what_rounds_make
from symbptt.autodiff.rules import rule
from symbptt.autodiff.subexpressions import formula
from symbptt.derivations.tables import by_name, constants_of, said, said_in_latex
from symbptt.derivations.under_setting import entering, said_of_the_rule
from symbptt.equations.algebra.expressions import Expr
from symbptt.equations.notation.formula import Writer
from symbptt.equations.notation.mathml import mathml_of
from symbptt.equations.notation.pen import Pen
from symbptt.equations.notation.signs import columns, padded
from symbptt.equations.notation.writing import write
from symbptt.equations.page.equations import Equations
from symbptt.equations.page.legend import settling
from symbptt.equations.page.lines import Line, Note
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.language.cell import Cell
from symbptt.language.model import Loss
from symbptt.language.user_frames import is_user_file


@dataclass(frozen=True)
class Given:
    """One contribution to an adjoint: `target` = or gains `formula`, by a rule, in the `rounds` of a loop inside the step; each as text
    and as LaTeX."""

    target: str
    formula: str
    rule: str
    gains: bool
    latex: str
    rounds: str = ""

    def __str__(self) -> str:
        return f"{self.target} {'gains' if self.gains else '='} {self.formula}{_in_rounds(self.rounds)}"


@dataclass(frozen=True)
class Named:
    """What a name stands for that the formulas read and no line of the user's has: as text and as LaTeX."""

    name: str
    formula: str
    latex: str
    rounds: str = ""

    def __str__(self) -> str:
        return f"with {self.name} = {self.formula}{_in_rounds(self.rounds)}"


def _in_rounds(rounds: str) -> str:
    return f" for {rounds}" if rounds else ""


@dataclass(frozen=True)
class Reason:
    """A step of an explanation: the user's line (file:line and its text), the values that it makes, and what it gives.

    `named` says what names stand for that no line of the user's has. `complete` are the adjoints of states to which from here on nothing
    is added, each with the steps that gave to it.
    """

    number: int
    place: str
    source: str
    values: tuple[str, ...]
    given: tuple[Given, ...]
    complete: tuple[tuple[str, tuple[int, ...]], ...] = ()
    named: tuple[Named, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """The derivation of a cell's gradients by the chain rule: numbered steps, from the last line to the first.

    `shared` are the parameters, whose gradients are sums over all steps, `carried` the adjoints that go to the step before.
    """

    cell: Cell
    page: Equations = field(repr=False, compare=False)
    reasons: tuple[Reason, ...]
    shared: tuple[str, ...]
    carried: tuple[str, ...]
    reset: str = ""

    @property
    def name(self) -> str:
        """The name of the cell."""
        return self.cell.name

    def text(self, *, ascii: bool = False) -> str:
        """Return the steps as plain text; with `ascii` in ASCII alone."""
        if ascii:
            pen = self.page.pen(ascii)
            return pen.words(_explained(self.cell, self.page, pen).text())
        width = max((len(r.source) for r in self.reasons), default=0) + 4
        lines = [line for reason in self.reasons for line in _lines(reason, width)]
        closing = [*self._closing(str), *said(self._notes(), self.page.pen())]
        last = len(self.reasons) + 1
        return "\n".join([*lines, *(f"{last + i:>3}  {note}" for i, note in enumerate(closing))])

    def _notes(self) -> Iterator[Note]:
        yield from said_of_the_rule(self.page)
        yield from settling(self.page.lines)
        yield from constants_of(self.page)

    def _closing(self, written: Callable[[str], str]) -> Iterator[str]:
        """Yield what is said behind the steps, of what is carried and of parameters, with names as they are written."""
        if self.carried:
            is_reset = self.page.setting.reset
            reset = written(self.reset)
            given = f"given, with the factor 1 - {reset}" if is_reset else "given"
            start = f"; the initial state is given {reset} times it" if is_reset else ""
            names = ", ".join(map(written, self.carried))
            yield f"{names}: what the step before is {given}, to which its own loss is added{start}"
        if any(x.rounds for reason in self.reasons for x in reason.given):
            yield "what holds for rounds of a loop is worked through from the last round to the first"
        if self.shared:
            are = "is" if len(self.shared) == 1 else "are"
            sums = "its gradient is the sum" if len(self.shared) == 1 else "their gradients are the sums"
            beside = "; where a line has Σ_t, it is that sum already" if self._has_sums else ""
            names = ", ".join(map(written, self.shared))
            yield f"{names} {are} the same at every step: {sums} over t of what is given{beside}"

    def _repr_html_(self) -> str:
        """Return the steps for a notebook: the user's lines, under each what it gives as mathematics, and the rule."""
        found = _explained(self.cell, self.page, Pen(mathml_of(self.page.all_names)))
        notes = said(self._notes(), self.page.pen())
        rows = [row for reason in found.reasons for row in _rows(reason)]
        rows += [_row(len(found.reasons) + 1 + i, words) for i, words in enumerate((*found._closing(_math), *notes))]
        return f"<table>{''.join(rows)}</table>"

    @property
    def _has_sums(self) -> bool:
        """Answer whether a formula has the sum over steps in it already, as where a value that no step changes is given something."""
        return any("Σ_t" in x.formula for reason in self.reasons for x in reason.given)

    def latex(self) -> str:
        """Return what the steps give as LaTeX, one line each."""
        latex = [
            (x, r.number) for r in self.reasons for x in (*(n.latex for n in r.named), *(g.latex for g in r.given))
        ]
        lines = [f"  {x} && \\text{{{number}}}" for x, number in latex]
        notes = said_in_latex(self._notes(), self.page.latex_pen)
        lines += [f"  \\rlap{{{note}}}" for note in notes]
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def __str__(self) -> str:
        return self.text()

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


def _lines(reason: Reason, width: int) -> Iterator[str]:
    yield f"{reason.number:>3}  {reason.source:<{width}}{reason.place}".rstrip()
    for name, by in reason.complete:
        yield f"       {_complete(name, by)}"
    yield from (f"       {named}" for named in reason.named)
    shown = [str(given) for given in reason.given]
    # A single very long formula should not move all rules to the right.
    column = max((columns(x) for x in shown if columns(x) <= 72), default=0) + 4
    said = ""
    for given, text in zip(reason.given, shown, strict=True):
        note = "" if given.rule == said else given.rule
        said = given.rule
        yield f"       {padded(text, max(column, columns(text) + 4))}{note}".rstrip()


LEFT = ' style="text-align:left"'
"""Notebooks set cells of tables to the right."""


def _math(name: str) -> str:
    return f"<math>{name}</math>"


def _row(number: int, words: str) -> str:
    return f"<tr><td>{number}</td><td colspan=2{LEFT}>{words}</td></tr>"


def _rows(reason: Reason) -> Iterator[str]:
    yield _row(reason.number, f"<code>{escape(reason.source)}</code> <small>{escape(reason.place)}</small>")
    for name, by in reason.complete:
        yield f"<tr><td></td><td colspan=2{LEFT}>{_complete(_math(name), by)}</td></tr>"
    for named in reason.named:
        formula = f"<math>{named.name}<mo>=</mo>{named.formula}</math>{escape(_in_rounds(named.rounds))}"
        yield f"<tr><td></td><td colspan=2{LEFT}>with {formula}</td></tr>"
    for given in reason.given:
        sign = "+=" if given.gains else "="
        formula = f"<math>{given.target}<mo>{sign}</mo>{given.formula}</math>{escape(_in_rounds(given.rounds))}"
        yield f"<tr><td></td><td{LEFT}>{formula}</td><td{LEFT}>{escape(given.rule)}</td></tr>"


def _complete(name: str, by: Sequence[int]) -> str:
    parts = ["what the loss gives", "what step t + 1 brings"]
    parts += [f"what {'line' if len(by) == 1 else 'lines'} {' and '.join(map(str, by))} gave" for _ in by[:1]]
    return f"{name} is complete here: {', '.join(parts[:-1])} and {parts[-1]}"


def explain(cell: Cell, page: Equations) -> Explanation:
    """Return the explanation of a cell in the names of its page."""
    return _explained(cell, page, page.pen())


def _explained(cell: Cell, page: Equations, pen: Pen) -> Explanation:
    r, labels = page.recursion, page.labels
    read = {**labels, **of_what_rounds_make(r.graph, labels)}
    text, latex = (Writer(r.graph, read, p.notation) for p in (pen, page.latex_pen))
    made = _Made(r, labels, page.mark, text, latex, page)
    reasons: list[Reason] = []
    for place, ids in _by_place(r):
        given = tuple(x for id in ids for x in made.given(id))
        source = source_line(cell, place)
        named = tuple(dict.fromkeys(x for id in ids for x in made.named(id, source)))
        # The sweep visits a value after all its readers: when a next state's own line comes, its cotangent is complete.
        complete = tuple((bar, _givers(reasons, bar)) for name, id in r.step.next.items() if id in ids
                         for bar in [made.adjoint(name)])  # fmt: skip
        values = tuple(made.label(id) for id in reversed(ids) if id in labels)
        if given:
            reasons.append(Reason(len(reasons) + 1, place, source or ", ".join(values), values, given, complete, named))
    carried = tuple(pen.symbol(Label(name, -1, True, mark=page.mark)) for name in r.recurrent)
    reset = pen.symbol(Label(page.letters.reset, 0)) if page.setting.reset else ""
    return Explanation(cell, page, tuple(reasons), tuple(map(pen.name, r.params)), carried, reset)


def _givers(reasons: Iterable[Reason], bar: str) -> tuple[int, ...]:
    """Return the steps that give to an adjoint."""
    return tuple(reason.number for reason in reasons if any(x.target == bar for x in reason.given))


def _by_place(r: Recursion) -> Iterator[tuple[str, list[int]]]:
    """Yield the values that give something, from the last to the first, by the user's line that makes them."""
    # `given` runs from the last value to the first; a dictionary keeps the order of the first occurrence.
    order = list(dict.fromkeys(_one_of_loop(r.graph, value) for value, _, _ in r.given))
    places: dict[str, list[int]] = {}
    for id in order:
        places.setdefault(r.graph[id].place, []).append(id)
    yield from places.items()


def _one_of_loop(g: Graph, id: int) -> int:
    """Return a value; of those of one loop inside the step, or of one fixed point, the first."""
    node = g[id]
    if node.family not in ("repeat", "point"):
        return id
    return min(x.id for x in g if x.family == node.family and x.args == node.args)


@dataclass(frozen=True)
class _Made:
    recursion: Recursion
    labels: Mapping[int, Label]
    mark: str
    text: Writer
    latex: Writer
    page: Equations

    def label(self, id: int) -> str:
        return self.text.notation.symbol(self.labels[id])

    @cached_property
    def _names(self) -> frozenset[str]:
        """The names that values have themselves, not only their adjoints."""
        return frozenset(label.name for label in self.labels.values() if not label.adjoint)

    def adjoint(self, name: str) -> str:
        return self.text.notation.symbol(Label(name, 0, True, mark=self.mark))

    def given(self, id: int) -> Iterable[Given]:
        """Yield the contributions of a value to adjoints that have a name; others stand inside later contributions."""
        r = self.recursion
        if r.graph[id].family == "repeat":
            yield from self._behind_last_rounds(r.graph[id])
            return
        if r.graph[id].family == "point":
            for line in self.page.lines.of_point(r.graph[id]):
                (text, latex) = self._sides(line)
                yield Given(*text, IMPLICIT, False, " &= ".join(latex))
            return
        leaves = {leaf: name for name, leaf in r.step.leaves.items()}
        by = rule(r.graph[id], formula(r.graph, id, set(r.kept)).expr if r.graph[id].family == "map" else None, r.graph)
        for arg, given in [(arg, given) for value, arg, given in reversed(r.given) if value == id]:
            bar = r.adjoint[arg]
            if given == r.adjoint[id] == bar and arg not in leaves:
                continue  # the whole adjoint, under its own name
            label = self._bar_label(arg, bar, leaves)
            if label is None:
                continue
            # One contribution is the whole adjoint: "=", not "+=".
            alone = bar == given and arg not in leaves
            inner = given in self.labels and not alone
            sides = [(w.notation.symbol(label), self._given(w, given, inner)) for w in (self.text, self.latex)]
            sign, rounds = "=" if alone else r"\mathrel{+}=", self.page.lines.rounds_of(label)
            yield Given(*sides[0], by, not alone, _with_rounds(f"{sides[1][0]} &{sign} {sides[1][1]}", rounds), rounds)

    def _behind_last_rounds(self, node: Node) -> Iterator[Given]:
        """Yield what the adjoints of what a loop carries are behind its last round."""
        for line in self.page.lines.of_loop(node)[1]:
            (text, latex), by = self._sides(line), HANDED_ON if line.note else BEHIND
            yield Given(*text, by, False, _with_rounds(" &= ".join(latex), line.note), line.note)

    def named(self, id: int, source: str) -> Iterator[Named]:
        """Yield what names stand for that the user's line does not have: of a value and of what it reads, and of what a loop carries."""
        r = self.recursion
        if r.graph[id].family == "repeat":
            for line in self.page.lines.of_loop(r.graph[id])[0]:
                (name, formula), latex = self._sides(line)
                yield Named(name, formula, _with_rounds(" &= ".join(latex), line.note), line.note)
            return
        mine = self.labels.get(id)
        carried = mine is not None and mine.round in ("0", f"{letter_of_rounds(r.graph)}+1")
        if mine is not None and not carried and r.graph[id].family != "leaf" and mine.name not in words_of(source):
            yield self._named(mine, id)
        for arg in [arg for value, arg, _ in reversed(r.given) if value == id]:
            label = self.labels.get(r.adjoint[arg])
            # What is given the whole adjoint is a part of the value that the name stands for; and of values that have one adjoint, as v
            # and v - u, the name is that of another.
            is_named = label is not None and r.adjoint[arg] != r.adjoint[id] and label.name not in self._names
            if label is not None and is_named and r.graph[arg].family != "leaf":
                yield self._named(label._replace(adjoint=False), arg)

    def _named(self, label: Label, id: int) -> Named:
        rounds = self.page.lines.rounds_of(label)
        text, latex = ((w.notation.symbol(label), self._written(w, w.lowered(id))) for w in (self.text, self.latex))
        return Named(*text, _with_rounds(" &= ".join(latex), rounds), rounds)

    def _sides(self, line: Line) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return both sides of a line as text and as LaTeX."""
        text, latex = ((self._written(w, line.left), self._written(w, line.right)) for w in (self.text, self.latex))
        return text, latex

    def _given(self, w: Writer, given: int, inner: bool) -> str:
        """Return a contribution as text; with resets, in the states that enter the step."""
        if inner:
            return w.symbol(given)
        return self._written(w, w.lowered(given))

    def _written(self, w: Writer, e: Expr) -> str:
        formula = by_name(e, self.page)
        return write(entering(formula, self.page) if self.page.setting.reset else formula, w.notation)

    def _bar_label(self, arg: int, bar: int, leaves: Mapping[int, str]) -> Label | None:
        if arg in leaves:
            roles = {a.name: a.role for a in self.recursion.step.arguments}
            time = {"state": -1, "input": 0}.get(roles[leaves[arg]])
            return None if roles[leaves[arg]] == "const" else Label(leaves[arg], time, True, mark=self.mark)
        if bar in self.labels:
            return self.labels[bar]
        return None


IMPLICIT = "implicit function theorem, at z = f(z): λ = dz + (∂f/∂z)ᵀ λ, and what f reads is given what λ gives"
BEHIND = "behind the last round: what the loop gives is what it carries there"
HANDED_ON = "the same value, carried on under another name: it is given the whole adjoint"


def _with_rounds(latex: str, rounds: str) -> str:
    return rf"{latex} \quad ({rounds})" if rounds else latex


def words_of(source: str) -> set[str]:
    """Return the names in a line of Python."""
    return {
        x for x in "".join(c if c.isidentifier() or c.isdigit() else " " for c in source).split() if x.isidentifier()
    }


def source_line(cell: Cell | Loss, place: str) -> str:
    """Return the text of a user's line, `file:line`; nothing where its file cannot be told or read."""
    name, _, number = place.rpartition(":")
    # Places hold the base name of a file: the cell's own file first, then other loaded ones, in a fixed order.
    for file in chain([cell.function.__code__.co_filename], _loaded_files()):
        if file.replace("\\", "/").rpartition("/")[2] == name and is_user_file(file):
            return linecache.getline(file, int(number)).strip()
    return ""


def _loaded_files() -> Iterator[str]:
    """Yield the files of loaded modules in a fixed order; nothing is looked at before the first is asked for."""
    loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    yield from sorted({file for file in loaded if isinstance(file, str)})
