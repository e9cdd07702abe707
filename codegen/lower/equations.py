"""The equations of values, as comments beside the lines that compute them: of the program as the page shows it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from symbptt.autodiff.labels import Label
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import Values
from symbptt.equations.algebra.expressions import Entry, Expr, Sum, Symbol, normal
from symbptt.equations.notation.formula import Writer
from symbptt.equations.notation.signs import TEXT
from symbptt.equations.notation.writing import write
from symbptt.equations.page.layout import behind
from symbptt.equations.page.lines import BACKWARD, Line, indexed, without

LONGEST = 500
"""The number of operations up to which a formula stands next to a line."""


def writer_of(p: Program) -> Writer:
    """Return the writer of a program's equations, in the names of the user and of adjoints."""
    return Writer(p.graph, _Labels(p), TEXT, longest=LONGEST)


@dataclass(frozen=True)
class _Labels(Mapping[int, Label]):
    """The labels that equations show: those of the user and of adjoints, and of all values but `own` that are
    `shown` on a line of their own; `outside` is a cotangent that the loss gives. Each is looked up when it is read, for a
    deep step has thousands of both equations and values."""

    p: Program
    shown: Container[int] = ()
    origins: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    own: int = -1
    outside: int = -1

    def __getitem__(self, id: int) -> Label:
        label = self.p.labels[id]
        if id == self.outside:
            return label._replace(mark="dL/d")
        if label.given or label.adjoint or self._is_shown(id):
            return label
        raise KeyError(id)

    def _is_shown(self, id: int) -> bool:
        return any(new != self.own and new in self.shown for new in self.origins.get(id, ()))

    def __iter__(self) -> Iterator[int]:
        return (id for id in self.p.labels if id in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def equation(v: Values, writer: Writer, id: int) -> str:
    """Return the equation of a value, or the formula alone where it has no symbol."""
    p = v.program
    if p.written is not None and id in p.origin:
        before = _before(v, id)
        signs = p.turned.get(id, (False,))
        turned = signs * len(p.origin[id]) if len(signs) == 1 else signs
        found = [_equation(p.written, before, old) for old in (*p.origin[id], *_whole(p, id))]
        found = [_opposite(text) if is_turned else text for text, is_turned in zip_longest(found, turned)]
        # An equation that is part of another one would be told twice.
        whole = [text for text in dict.fromkeys(found) if not any(text != other and text in other for other in found)]
        return "; ".join(whole)
    return _equation(p, writer, id)


def _opposite(text: str) -> str:
    """Return an equation, or a formula alone, of the other sign."""
    return " = ".join(f"-({side})" if " " in side else f"-{side}" for side in text.split(" = "))


def handed(v: Values, writer: Writer, name: str) -> str:
    """Return the equation of the outgoing cotangent of a state."""
    p = v.program.written
    if p is not None:
        writer = _before(v, v.program.recurrent[name])
    id = (p or v.program).recurrent[name]
    return f"{TEXT.symbol(Label(name, -1, True))} = {writer.symbol(id)}"


def _before(v: Values, own: int) -> Writer:
    """Return the writer of the program as equations show it, for the line of a value; values of other variables have
    lines of their own."""
    p = v.program
    assert p.written is not None
    return Writer(p.written.graph, _Labels(p.written, v.own, p.origins, own), TEXT, longest=LONGEST)


def _whole(p: Program, id: int) -> list[int]:
    """Return the gradients of inputs that a value is, in the program as equations show it."""
    assert p.written is not None
    return [p.written.inputs[name] for name, found in p.inputs.items() if found == id]


def _equation(p: Program, writer: Writer, id: int) -> str:
    label = p.labels.get(id) or _gradient(p, id)
    if label is not None and p.graph[id].family == "leaf":
        return TEXT.symbol(label)
    given = p.cotangent.get(label.name, id) if label is not None and label.adjoint else id
    if given != id and isinstance(writer.labels, _Labels):
        # The direct cotangent of an output has the name of the whole, of which it is a part.
        writer = replace(writer, labels=replace(writer.labels, outside=given))
    if label is None:
        return writer.rhs(id)
    line = indexed(Line(Symbol(label, normal(p.graph.shape(id))), writer.lowered(id), BACKWARD))
    if label.adjoint and label.name in p.carry and _adds_to(line.right, label):
        # As on the page: "+=" adds to the cotangent from step t + 1.
        line = line._replace(right=without(line.right, label), relation="+=")
    return f"{write(line.left, TEXT)} {line.relation} {write(line.right, TEXT)}{behind(line, TEXT)}"


def _adds_to(right: Expr, label: Label) -> bool:
    """Answer whether a formula is a sum with the value of its own name, which stands there for what an earlier line has left in it."""
    terms = right.terms if isinstance(right, Sum) else ()
    return any(sign > 0 and isinstance(x := term.array if isinstance(term, Entry) else term, Symbol) and x.label == label
               for sign, term in terms)  # fmt: skip


def _gradient(p: Program, id: int) -> Label | None:
    """Return the label of the gradient that a value is, if it is one: that of the first argument with this gradient."""
    params, inputs = ({id: name for name, id in reversed([*found.items()])} for found in (p.params, p.inputs))
    if id in params:
        return Label(params[id], None, True)
    return Label(inputs[id], 0, True) if id in inputs else None
