"""The lines of a page as the code works through them: forward, backward, gradients, and those of a loss."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from symbptt.autodiff.bptt import Recursion
from symbptt.autodiff.labels import LAST, START, Label, letter_of_rounds, of_what_rounds_make
from symbptt.equations.algebra.between_zeros import zeros
from symbptt.equations.algebra.conjugates import as_complex
from symbptt.equations.algebra.entries import free_names
from symbptt.equations.algebra.expressions import (
    ONE,
    ZERO,
    Along,
    Cases,
    Ellipsis,
    Entries,
    Entry,
    Expr,
    Index,
    Outside,
    Over,
    Rows,
    Sum,
    SumOver,
    Symbol,
    Total,
    Word,
    is_zero,
    normal,
    plus,
)  # fmt: skip
from symbptt.equations.algebra.lower import Lowering
from symbptt.equations.algebra.normal import in_normal_form, renamed
from symbptt.equations.algebra.traversal import every, mapped_where
from symbptt.equations.algebra.trees import is_long
from symbptt.equations.notation.signs import Notation
from symbptt.ir.node import Node
from symbptt.ir.rounds import changing, leaves_of, loops_of, next_values
from symbptt.ir.shape import Shape, Size, size_text
from symbptt.ir.shape import size as sized

FORWARD, BACKWARD, ONCE = "t = 1, …, T", "t = T, …, 1", "once"
"""The ranges of steps at which lines hold."""
GRADIENTS = "Gradients of the parameters"


class Line(NamedTuple):
    """One line: `left relation right`, and where it holds; `note` says so on the line itself; `family`: the
    letter that stands for its members; `above`: of what function the value is a gradient, which stands in a row before.

    The relation is `=`, or `+=`, which accumulates into the cotangent received from step t + 1.
    """

    left: Expr
    right: Expr
    where: str
    relation: str = "="
    note: str = ""
    family: tuple[str, tuple[str, ...]] | None = None
    above: Expr | None = None


def with_right(line: Line, right: Expr) -> Line:
    """Return a line with another right side."""
    return (
        line
        if right is line.right
        else Line(line.left, right, line.where, line.relation, line.note, line.family, line.above)
    )


@dataclass(frozen=True)
class Section:
    """Lines under a title, and behind them what is said in words."""

    title: str
    lines: tuple[Line, ...]
    remarks: tuple[str, ...] = ()


Note = tuple[str | Expr | Callable[[Notation], str], ...]
"""A line of words with mathematics between them: expressions, and what a notation has a sign for."""


@dataclass(frozen=True)
class Page:
    """Sections, what explains their signs, and the names of values whose formulas stand in the place of their names."""

    sections: tuple[Section, ...]
    legend: tuple[Note, ...] = ()
    put_in: frozenset[Label] = frozenset()

    @property
    def remarks(self) -> tuple[str, ...]:
        """The remarks in words, behind all lines."""
        return tuple(remark for section in self.sections for remark in section.remarks)


@dataclass(frozen=True)
class Loss:
    """The recursion of a loss; whether it stands at "every" step or the "last", what is made of all, "sum" or "mean", the
    condition under which the loss of a step contributes to gradients, where that is not always so, and the name of the number
    of losses of a mean."""

    recursion: Recursion
    at: str
    reduction: str
    counted: Expr | None = None
    count: str = "N"


@dataclass(frozen=True)
class Lines:
    """The maker of a recursion's lines; `shared`: names of parameters whose gradients a loss has begun, `begun` all of its."""

    recursion: Recursion
    labels: Mapping[int, Label]
    mark: str
    begun: frozenset[str] = frozenset()
    known: dict[int, Expr] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def lowering(self) -> Lowering:
        limits = {a.name: a.limit for a in self.recursion.step.arguments if a.limit is not None}
        return Lowering(self.recursion.graph, {**self.labels, **self._made}, limits)

    @cached_property
    def _made(self) -> dict[int, Label]:
        """What rounds make, without names, by the names of the next values, which are the same under these."""
        return of_what_rounds_make(self.recursion.graph, self.labels)

    @cached_property
    def _named_by(self) -> dict[int, int]:
        """What rounds make by the next values and fixed points: the lines of these have its formula, all others their names."""
        g = self.recursion.graph
        ends = [(new, new) for node in loops_of(g, "repeat") for _, new in next_values(node)]
        ends += [(node.id, [*next_values(node)][node.attrs.out][1]) for node in g if node.family == "point"]
        return {id: arg for id, new in ends for arg in g[new].args if self._made.get(arg, ()) == self.labels.get(id)}

    @cached_property
    def is_complex(self) -> bool:
        """Whether the page has complex numbers, of which ‖v‖² is not vᵀ v."""
        return any(self.recursion.graph.is_complex(node.id) for node in self.recursion.graph)

    def forward(self) -> tuple[Line, ...]:
        """Return the lines of one step."""
        g, read = self.recursion.graph, self.recursion.forward_ids | self.recursion.backward_ids
        ids = [
            id
            for id, label in sorted(self.labels.items())
            if not label.adjoint and id in read and g[id].family != "leaf"
        ]
        ids.sort(key=self._place)
        lines = [self._line(self.labels[id], id, FORWARD if self.labels[id].time is not None else ONCE) for id in ids]
        return (*_starts_first(lines), *self._aliases())

    def spelt(self) -> Iterator[Expr]:
        """Yield the formulas of the values that the user has named in the user's order, before they have their normal form."""
        g = self.recursion.graph
        for id, label in self.labels.items():
            # An argument without a name may be turned: σ(a) stands for 1 / (1 + exp(-a)).
            if label.given and not label.adjoint and g[id].family != "leaf" and not is_long(g, self.labels, id):
                yield self.lowering.formula(id)

    def _aliases(self) -> Iterable[Line]:
        """Yield next states and outputs that are another value under a second name."""
        for name, id in (self.recursion.step.next | self.recursion.step.outputs).items():
            label = self.labels.get(id)
            if label is None or label.name != name or label.time == -1:
                yield self._line(Label(name, 0), id, FORWARD, inside=label is not None)

    def backward(self) -> tuple[Line, ...]:
        """Return the recursion of the adjoints."""
        r = self.recursion
        received = {*r.carry, *r.cotangent}
        # A branch is passed on under its condition: not all are read. What is behind the last round of a loop is, by a line of its own,
        # and what comes to a fixed point from outside, by the equation of its adjoint.
        ends = (r.adjoint[n.id] for n in r.graph if n.family in ("repeat", "point") and n.id in r.adjoint)
        read = {*r.backward_ids, *r.graph.ancestors(ends)}
        lines = []
        for id, label in sorted(self.labels.items()):
            shown = label.adjoint and label.time is not None and (label.round or label.name in received or id in read)
            if shown and r.graph[id].family != "leaf":
                lines.append(self._whole_or_added(id, label))
        # Rounds go from the last to the first: what is behind the last one comes before them.
        for _, behind in self._behind_loops():
            at = _first_of_rounds(lines, {line.left.labels[0].name for line in behind})
            lines[at:at] = behind
        lines = _before_readers(lines, [line for line in self._of_points() if line.where == BACKWARD])
        return (*lines, *(self._to_the_step_before(name) for name in r.carry))

    def _behind_loops(self) -> Iterator[tuple[Node, list[Line]]]:
        """Yield the loops inside a step, each with the adjoints of what it carries behind its last round."""
        g, r = self.recursion.graph, self.recursion
        for node in loops_of(g, "repeat"):
            starts, _, _, following = node.attrs.parts(node.args)
            values = {n.attrs.out: n.id for n in g if n.family == "repeat" and n.args == node.args}
            lines = []
            for i, (start, new) in enumerate(zip(starts, following, strict=True)):
                if new in r.adjoint:
                    label = self.labels[start]._replace(adjoint=True, mark=self.mark, round=size_text(node.attrs.count))
                    bar = r.adjoint.get(values.get(i, -1))
                    right = ZERO if bar is None else self.inside(bar)
                    lines.append(Line(self._symbol(label, g.shape(new)), right, BACKWARD))
            yield node, [*lines, *self._handed_on(node)]

    def of_loop(self, node: Node) -> tuple[list[Line], list[Line]]:
        """Return the lines of what a loop inside the step carries: before the first round and to the next one, and of its adjoints
        behind the last round."""
        starts, _, _, following = node.attrs.parts(node.args)
        carried = [self._line(self.labels[id], id, FORWARD) for id in (*starts, *sorted(following, key=self._place))]
        return carried, next(lines for loop, lines in self._behind_loops() if loop.args == node.args)

    def _place(self, id: int) -> int:
        """Return the place of a value among all: that of a next value is where a round makes it, before what reads it."""
        return self._named_by.get(id, id)

    def _of_points(self) -> Iterator[Line]:
        for node in loops_of(self.recursion.graph, "point"):
            yield from self.of_point(node)

    def of_point(self, node: Node) -> Iterator[Line]:
        """Yield the equations of the adjoints of a fixed point: what comes from outside, and what a round gives back."""
        g, r = self.recursion.graph, self.recursion
        values = {n.attrs.out: n.id for n in g if n.family == "point" and n.args == node.args}
        for i, (leaf, new) in enumerate(next_values(node)):
            if new in r.adjoint:
                label = self.labels[r.adjoint[new]]
                found = (r.adjoint.get(values.get(i, -1)), r.adjoint.get(leaf))
                right = plus([(1, self.inside(bar)) for bar in found if bar is not None])
                where = BACKWARD if label.time is not None else ONCE
                yield Line(self._symbol(label, g.shape(new)), in_normal_form(right), where)

    def _handed_on(self, node: Node) -> Iterator[Line]:
        """Yield the adjoints of carried values that are those of other values, under another name."""
        _, carried, _, _ = node.attrs.parts(node.args)
        for leaf in carried:
            label, bar = self.labels[leaf]._replace(adjoint=True, mark=self.mark), self.recursion.adjoint.get(leaf)
            if bar is not None and self.labels.get(bar) != label:
                left = self._symbol(label, self.recursion.graph.shape(leaf))
                yield Line(left, self.inside(bar), BACKWARD, note=self.rounds_of(label))

    def _whole_or_added(self, id: int, label: Label) -> Line:
        """Return the line of an adjoint; that of a state adds to the cotangent received from the next step."""
        line, leaf = self._from_outside(self._line(label, id, BACKWARD)), self.recursion.carry.get(label.name)
        whole = self.recursion.adjoint.get(self.recursion.step.next.get(label.name, -1))
        if leaf is None or whole != id or leaf not in self.recursion.graph[id].args:
            return line
        # The carry is the first term of the sum: "+=" stands for it.
        return line._replace(right=without(line.right, self.labels[leaf]), relation="+=")

    def _from_outside(self, line: Line) -> Line:
        """Return the line of an output's adjoint with the direct cotangent, which has the name of the whole, told apart."""
        label = line.left.labels[0]
        if label.name not in self.recursion.cotangent or label not in line.right.labels:
            return line

        def given(e: Symbol) -> Expr:
            return Outside(Symbol(Label(label.name, 0), e.of)) if e.label == label else e

        return with_right(line, mapped_where(line.right, given, Symbol))

    def _to_the_step_before(self, name: str) -> Line:
        shape = self.recursion.graph.shape(self.recursion.carry[name])
        id = self.recursion.recurrent.get(name)
        given = Outside(Symbol(Label(name, -1), normal(shape)))
        right = given if id is None else plus([(1, given), (1, self.inside(id))])
        return Line(self._symbol(Label(name, -1, adjoint=True, mark=self.mark), shape), right, BACKWARD)

    def gradients(self, by_rows: bool = True) -> tuple[Line, ...]:
        """Return the gradients of the parameters, and of what is computed from parameters alone, as sums over time; those
        of tables by the rows that the steps have read."""
        r = self.recursion
        inner = [(label, id) for id, label in sorted(self.labels.items()) if label.adjoint and label.time is None]
        own = [(Label(name, None, adjoint=True, mark=self.mark), id) for name, id in r.params.items()]
        lines = [self._line(label, id, ONCE) for label, id in inner]
        lines = _before_readers(lines, [line for line in self._of_points() if line.where == ONCE])
        lines += [self._gradient(label, id, by_rows) for label, id in own]
        return (*lines, *self._without(r.params, "param", None), *self._without(r.params, "context", None))

    @property
    def gradients_title(self) -> str:
        """The title of the gradients that are sums over time."""
        return f"{GRADIENTS} and contexts" if self.recursion.step.of_role("context") else GRADIENTS

    def _gradient(self, label: Label, id: int, by_rows: bool) -> Line:
        row = (self._row_of_a_table(label, id) if by_rows else None) or self._row_of_a_round(label, id)
        line = row or self._line(label, id, ONCE, inside=True)
        return line._replace(relation="+=") if label.name in self.begun else line

    def _row_of_a_table(self, label: Label, id: int) -> Line | None:
        """Return the gradient of a table that is read row by row: the steps that have read a row."""
        g = self.recursion.graph
        node = g[id]
        inner = g[node.args[0]] if node.family == "total" and id not in self.labels else node
        if inner.family != "gather" or inner.attrs.kind != "scatter" or inner.attrs.axis or inner.id in self.labels:
            return None
        x, row = inner.args
        if len(g.shape(x)) > 2 or g.shape(row):
            return None
        v = Index(next(free_names(g, self.labels)), node.shape[0])
        # dE[v] = Σ_{t: i_t = v} x_t: a row of a table gets gradients from the steps that read it.
        right = Total(self.inside(x), (self.inside(row), v))
        return Line(Rows(Symbol(label, node.shape), v, 0, normal(g.shape(x))), in_normal_form(right), ONCE)

    def _row_of_a_round(self, label: Label, id: int) -> Line | None:
        """Return the gradient of an array of which each round of a loop has read a row: that of a row."""
        g = self.recursion.graph
        over = g[id]
        if over.family != "over" or id in self.labels or sized(over.attrs.count - over.shape[0]) != 0:
            return None
        summed = g[over.args[0]]
        inner = g[summed.args[0]] if summed.family == "total" else summed
        if inner.family != "gather" or inner.attrs.kind != "scatter" or inner.attrs.axis:
            return None
        x, row = inner.args
        labelled = {summed.id, inner.id} & self.labels.keys()
        if labelled or len(g.shape(x)) > 2 or getattr(g[row].attrs, "role", "") != "round":
            return None
        letter = letter_of_rounds(g)
        right = Total(self.inside(x)) if summed.family == "total" else self.inside(x)
        left = Rows(Symbol(label, over.shape), Word(letter), 0, normal(g.shape(x)))
        return Line(left, in_normal_form(right), ONCE, note=f"{letter} < {size_text(over.attrs.count)}")

    def _without(self, found: Mapping[str, int], role: str, time: int | None) -> tuple[Line, ...]:
        """Return the gradients of what is only read in conditions, or by functions without a slope."""
        missing = [
            a for a in self.recursion.step.of_role(role)
            if a.name not in found and (role != "param" or a.name not in self.begun)
        ]  # fmt: skip
        where = ONCE if time is None else BACKWARD
        starts = {a.start: Symbol(Label(a.name, START, True, mark=self.mark), normal(a.shape))
                  for a in self.recursion.step.of_role("state") if isinstance(a.start, str)}  # fmt: skip
        # A parameter that a state begins with has the gradient of the initial state, and nothing else.
        return tuple(
            Line(
                self._symbol(Label(a.name, time, adjoint=True, mark=self.mark), a.shape),
                starts.get(a.name, ZERO),
                where,
            )
            for a in missing
        )

    def input_gradients(self) -> tuple[Line, ...]:
        """Return the gradients of the inputs at each step, for layers below."""
        lines = tuple(
            self._from_outside(self._line(Label(name, 0, adjoint=True, mark=self.mark), id, BACKWARD, inside=True))
            for name, id in self.recursion.inputs.items()
        )
        return (*lines, *self._without(self.recursion.inputs, "input", 0))

    def inside(self, id: int) -> Expr:
        """Return a value as it stands inside formulas."""
        if id not in self.known:
            self.known[id] = in_normal_form(self.lowering.value(id)) if id in self.labels else self._formula(id)
        return self.known[id]

    def _formula(self, id: int) -> Expr:
        """Return the formula of a value; an ellipsis where it is too long to be written."""
        if is_long(self.recursion.graph, self.labels, id):
            return Ellipsis()
        found = in_normal_form(self.lowering.formula(self._named_by.get(id, id)))
        return elementwise(renamed(as_complex(found) if self.is_complex else found))

    def page_shape(self, id: int) -> Shape:
        """Return the shape of a value as a page has it."""
        return normal(self.recursion.graph.shape(id))

    def _symbol(self, label: Label, shape: tuple[Size, ...]) -> Symbol:
        return Symbol(label, normal(shape))

    def _line(self, label: Label, id: int, where: str, inside: bool = False) -> Line:
        right = self.inside(id) if inside else self._formula(id)
        if is_zero(right) and not label.adjoint:  # in a join, its shape counts
            right = zeros(shape) if (shape := self.page_shape(id)) else right
        # The same object where formulas read the value: it is compared by identity first.
        left = (
            self.lowering.value(id)
            if self.labels.get(id) is label
            else self._symbol(label, self.recursion.graph.shape(id))
        )
        return indexed(Line(left, right, where, note=self.rounds_of(label)))

    def rounds_of(self, label: Label) -> str:
        """Return the rounds in which the line of a value in a loop inside a step holds."""
        most = self._rounds.get(label.name)
        number = letter_of_rounds(self.recursion.graph) if most is not None else ""
        return f"{number} < {most}" if label.round in (number, f"{number}+1") and most is not None else ""

    @cached_property
    def _rounds(self) -> dict[str, str]:
        """How many rounds the values of loops inside a step go through, by the names on the page."""
        g = self.recursion.graph
        repeats = [node for node in g if node.family == "repeat"]
        if not repeats:
            return {}
        counts = {leaf: size_text(node.attrs.count) for node in repeats for leaf in leaves_of(node)}
        # In the style of the loop a preactivation has no name of its own, but its adjoint has one.
        return {
            self.labels[named].name: counts[min(leaves)]
            for id, leaves in changing(g, self.recursion.forward_ids).items()
            for named in (id, self.recursion.adjoint.get(id, id))
            if leaves and named in self.labels
        }


def _first_of_rounds(lines: Sequence[Line], carried: Container[str]) -> int:
    """Return where the first line stands that is of rounds which carry some values backward, or reads what they carry."""
    read = ([x for x in (*line.left.labels, *line.right.labels) if x.adjoint and x.round] for line in lines)
    return next((i for i, labels in enumerate(read) if any(x.name in carried for x in labels)), len(lines))


def _before_readers(lines: list[Line], more: Sequence[Line]) -> list[Line]:
    """Return lines with more of them, each before the first that reads it."""
    for line in more[::-1]:
        (label,) = line.left.labels
        lines.insert(next((i for i, x in enumerate(lines) if label in x.right.labels), len(lines)), line)
    return lines


def _starts_first(lines: Sequence[Line]) -> list[Line]:
    """Return lines with what goes into a loop inside the step before the lines of its rounds."""
    found = [*lines]
    for line in lines:
        label, own = line.left.labels[0], found.index(line)
        of_rounds = [i for i, x in enumerate(found[:own]) if x.note] if label.round == "0" else []
        defined = [x.left.labels[0] for x in found]
        first = next((i for i in of_rounds if not {*defined[i:own]} & {*line.right.labels}), own)
        found.insert(first, found.pop(own))
    return found


def elementwise(e: Expr) -> Expr:
    """Return an array by its entries without indices where all that it reads are the same entries of arrays of its shape."""
    if not isinstance(e, Entries) or len(e.of) < 3:
        return e
    read = list(every(e.inner, Entry, Index, SumOver, Along, Cases))
    entry_parts = sum(isinstance(i, Index) for x in read if isinstance(x, Entry) for i in x.indices)
    same = all(
        isinstance(x, Index) or (isinstance(x, Entry) and (x.indices, x.array.shape) == (e.indices, e.of)) for x in read
    )
    # Indices that stand elsewhere, as in [i < n], are more than those of the entries.
    if (
        not same
        or not any(isinstance(x, Entry) for x in read)
        or sum(isinstance(x, Index) for x in read) != entry_parts
    ):
        return e
    return mapped_where(e.inner, lambda x: x.array, Entry)


def indexed(line: Line) -> Line:
    """Return a line whose right side is an array by its entries as one for each entry."""
    right = line.right
    if isinstance(right, Total) and isinstance(right.inner, Entries) and not right.at:
        # Σ_t (Σ_k a_ik b_kj)_ij is Σ_t Σ_k a_ik b_kj for each entry.
        inner = right.inner
        right = Entries(inner.indices, Total(inner.inner), inner.of)
    if not isinstance(right, Entries):
        return line
    return line._replace(left=Entry(line.left, right.indices), right=right.inner)


def without(total: Expr, label: Label) -> Expr:
    """Return a sum without the first term that is a symbol, or an entry of it."""
    assert isinstance(total, Sum)
    terms = list(total.terms)
    for i, (_, term) in enumerate(terms):
        symbol = term.array if isinstance(term, Entry) else term
        if isinstance(symbol, Symbol) and symbol.label == label:
            return plus(terms[:i] + terms[i + 1 :])
    raise AssertionError(f"{label} is not in {total}")


@dataclass(frozen=True)
class LossLines:
    """The lines of a loss: its value, and the direct cotangents of states, outputs and its parameters.

    At the last step its values are those of t = T, and nothing is summed over time.
    """

    lines: Lines
    of: Loss

    @property
    def time(self) -> int:
        return 0 if self.of.at == "every" else LAST

    def value(self) -> tuple[Line, ...]:
        """Return the loss of a step, and L over all steps and samples that count; N of them, where it is their mean."""
        loss: Expr = Symbol(Label("loss", self.time))
        whole = Total(loss) if self.of.at == "every" else loss
        right = whole if self.of.reduction == "sum" else Over(whole, Word(self.of.count))
        return (*self._at(self.lines.forward()), Line(Word("L"), right, ONCE))

    def back(self) -> tuple[Line, ...]:
        """Return the adjoints inside the loss, and what it gives to states and outputs."""
        inner = tuple(line for line in self.lines.backward() if line.relation == "=")
        return self._weight() + self._at(inner) + tuple(self._sent())

    def gradients(self) -> tuple[Line, ...]:
        """Return the gradients of the loss's parameters."""
        return self._at(self.lines.gradients(by_rows=self.of.at == "every"))

    def _at(self, lines: Iterable[Line]) -> tuple[Line, ...]:
        return tuple(lines) if self.of.at == "every" else tuple(map(at_the_end, lines))

    def _weight(self) -> tuple[Line, ...]:
        """Return the adjoint of the loss of a step, where that is not one."""
        if self.of.reduction == "sum" and self.of.counted is None:
            return ()
        label = Label("loss", self.time, adjoint=True, mark=self.lines.mark)
        one = self.of.counted or ONE
        right = one if self.of.reduction == "sum" else Over(one, Word(self.of.count))
        return (Line(Symbol(label), right, "t = t" if self.of.at == "every" else "t = T"),)

    def _sent(self) -> Iterable[Line]:
        """Yield the direct cotangents of states and outputs; of a loss at the last step, zero at the steps before."""
        for name, id in self.lines.recursion.inputs.items():
            shape = self.lines.recursion.graph.shape(id)
            line = Line(Outside(Symbol(Label(name, 0), normal(shape))), self.lines.inside(id), BACKWARD)
            yield indexed(line) if self.of.at == "every" else at_the_end(indexed(line))
            if self.of.at == "last":
                yield Line(Outside(Symbol(Label(name, 0), normal(shape))), ZERO, "t < T", note="t < T")


def at_the_end(line: Line) -> Line:
    """Return a line of step t as that of step T, of which there is one."""

    def late(e: Expr) -> Expr:
        # A loss at the last step is computed once: its sum over steps has one term.
        if isinstance(e, Total):
            return e.inner
        return Symbol(e.label.at(LAST), e.of) if isinstance(e, Symbol) and e.label.time == 0 else e

    left, right = (mapped_where(side, late, Total, Symbol) for side in (line.left, line.right))
    return line._replace(left=left, right=right)


def labelled(r: Recursion, found: Mapping[int, Label]) -> dict[int, Label]:
    """Return of the labels of values those of the values that have lines. The names that symbptt gave to values which no
    adjoint reads are left out: they stand inside the formulas. Of states and outputs that are the same at all steps, that
    of a step has its own line."""
    return _of_steps(r, _visible(r, found))


def _of_steps(r: Recursion, found: Mapping[int, Label]) -> dict[int, Label]:
    # y beside y_t, and their adjoints dy = Σ_t dy_t, would be two values of one name.
    own = {*r.step.next, *r.step.outputs} - {a.name for a in r.step.of_role("param", "const")}
    return {id: x for id, x in found.items() if x.time is not None or x.name not in own}


def with_arguments(r: Recursion, found: Mapping[int, Label]) -> dict[int, Label]:
    """Return of the labels of values those of the values that have lines, arguments of functions among them, but for values
    that symbptt has named and whose adjoint no line has."""
    found = _of_steps(r, found)
    read = r.backward_ids
    return {
        id: label
        for id, label in found.items()
        if label.given or label.adjoint or id in read or r.adjoint.get(id) in read
    }


def _visible(r: Recursion, found: Mapping[int, Label]) -> dict[int, Label]:
    g = r.graph
    read = {arg for id in r.backward_ids - r.forward_ids for arg in g[id].args}
    return {id: label for id, label in found.items() if label.given or label.adjoint or id in read}
