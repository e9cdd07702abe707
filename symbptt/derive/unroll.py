"""The unrolled computation as a graph: the values of one step copied for every step, parameters shared."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import networkx as nx

from symbptt.derive.bptt import Recursion
from symbptt.derive.labels import Label
from symbptt.ir.naming import unique
from symbptt.ir.shape import Shape

NOW, BEFORE, CARRIED = "\ue000", "\ue001", "\ue002"
"""What stands in the texts of a template for the number of its step, for the one before, and for what an adjoint is
given by the loss and by the step after."""

Key = tuple[str, int | None]
"""A node: a name and the step, None for what all steps share. In a template the step counts from its own."""


class Pen(Protocol):
    """Writes values, with NOW and BEFORE for the numbers of steps."""

    def formula(self, id: int) -> str:
        """Return the formula of a value."""

    def symbol(self, id: int) -> str:
        """Return a value as other formulas name it."""

    def name(self, label: Label) -> str:
        """Return a name as formulas have it."""

    def latex(self, label: Label) -> str:
        """Return a name in LaTeX."""

    def outside(self, label: Label) -> tuple[str, str]:
        """Return what the loss gives to the adjoint of a value, as text and in LaTeX."""


@dataclass(frozen=True)
class Template:
    """A value to be copied to every step, or one that all steps share: its formula, what that reads, and for an adjoint
    the name of the value whose adjoint it is."""

    name: str
    role: str
    shape: Shape
    text: str
    latex: str
    reads: tuple[Key, ...] = ()
    of: str = ""
    shared: bool = False


@dataclass(frozen=True)
class Carry:
    """The adjoint of a state or an output after a step: `whole` has CARRIED in the place of what the loss and the step
    after give; `text` and `reads` are what the step after gives, written and read one step later."""

    whole: Template
    loss: Template
    text: str
    reads: tuple[Key, ...]


@dataclass(frozen=True)
class Source:
    """What templates are made from: a recursion, the names of its values, and how formulas are written."""

    recursion: Recursion
    labels: dict[int, Label]
    pen: Pen
    adjoints: dict[str, str]

    def name(self, label: Label) -> str:
        """Return the name of a node: that of the value, or of its adjoint."""
        return self.adjoints[label.name] if label.adjoint else label.name

    def keys(self, id: int) -> Iterator[Key]:
        """Yield the named values that a value is, or is computed from where it has no name itself."""
        if id in self.labels:
            yield self.name(self.labels[id]), self.labels[id].time
        else:
            yield from self.reads(id)

    def reads(self, id: int) -> tuple[Key, ...]:
        """Return the named values that the formula of a value reads, each once."""
        return tuple(dict.fromkeys(key for arg in self.recursion.graph[id].args for key in self.keys(arg)))


def unroll(r: Recursion, labels: dict[int, Label], pen: Pen, steps: int, backward: bool) -> nx.DiGraph:
    """Return the graph of `steps` steps, with edges from what is read to what reads it."""
    source = Source(r, labels, pen, _adjoint_names(r, labels))
    graph = nx.DiGraph(name=r.step.name, steps=steps)
    with _collector_paused():
        _add_forward(graph, source, steps)
        if backward:
            _add_backward(graph, source, steps)
    return graph


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without the collector of cycles, which would search the growing graph again and again: half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _adjoint_names(r: Recursion, labels: dict[int, Label]) -> dict[str, str]:
    """The names of adjoints, by value: a d in front, and a number behind where the user has that name."""
    names = [a.name for a in r.step.arguments] + list(r.step.outputs) + [label.name for label in labels.values()]
    used, found = set(names), {}
    for name in dict.fromkeys(names):
        found[name] = unique(f"d{name}", used)
        used.add(found[name])
    return found


def _add_forward(graph: nx.DiGraph, source: Source, steps: int) -> None:
    for template in _arguments(source):
        _copy(graph, template, [0] if template.role == "state" else range(1, steps + 1), steps)
    for template in _values(source):
        _copy(graph, template, range(1, steps + 1), steps)


def _add_backward(graph: nx.DiGraph, source: Source, steps: int) -> None:
    for carry in _carries(source):
        _copy(graph, carry.loss, range(steps, 0, -1), steps)
        first = 0 if carry.whole.of in source.recursion.carry else 1
        for t in range(steps, first - 1, -1):
            _copy(graph, _carried(carry, t, steps), [t], steps)
    for template in [*_adjoints(source), *_gradients(source)]:
        _copy(graph, template, range(steps, 0, -1), steps)


def _copy(graph: nx.DiGraph, template: Template, times: Sequence[int], steps: int) -> None:
    of = {"of": template.of} if template.of else {}
    for t in [None] if template.shared else times:
        text, latex = _filled(template.text, t), _filled(template.latex, t)
        graph.add_node((template.name, t), expression=text, shape=template.shape, role=template.role, latex=latex, **of)
    for read in template.reads:
        graph.add_edges_from(_edges(read, template, times, steps))


def _filled(text: str, t: int | None) -> str:
    if t is None:  # a sum over all steps
        return text.replace(NOW, "t").replace(f",{BEFORE}", ",t-1").replace(BEFORE, "{t-1}")
    return text.replace(NOW, str(t)).replace(BEFORE, str(t - 1))


def _edges(read: Key, template: Template, times: Sequence[int], steps: int) -> list[tuple[Key, Key]]:
    """The edges for one thing that a value reads; a value that all steps share reads what a step has at every step."""
    name, offset = read
    if template.shared:
        sources = [(name, None)] if offset is None else [(name, t + offset) for t in range(1, steps + 1)]
        return [(source, (template.name, None)) for source in sources]
    return [((name, None if offset is None else t + offset), (template.name, t)) for t in times]


def _arguments(source: Source) -> Iterator[Template]:
    for a in source.recursion.step.arguments:
        label = Label(a.name, 0 if a.role in ("input", "index", "state") else None)
        names = source.pen.name(label), source.pen.latex(label)
        yield Template(a.name, a.role, a.shape, *names, shared=label.time is None)


def _values(source: Source) -> Iterator[Template]:
    r = source.recursion
    read = set(r.graph.ancestors([*r.forward_roots, *r.backward_roots]))
    for id, label in sorted(source.labels.items()):
        if not label.adjoint and id in read and r.graph[id].family != "leaf":
            yield _template(source, label, id, _role(r, label))
    for name, id in (r.step.next | r.step.outputs).items():  # what is another value under a second name
        label = Label(name, 0)
        if source.labels.get(id) != label:
            yield _template(source, label, id, _role(r, label), alias=id in source.labels)


def _role(r: Recursion, label: Label) -> str:
    if label.time == 0 and label.name in r.step.next:
        return "state"
    return "output" if label.time == 0 and label.name in r.step.outputs else "value"


def _template(source: Source, label: Label, id: int, role: str, alias: bool = False) -> Template:
    text = source.pen.symbol(id) if alias else source.pen.formula(id)
    reads = tuple(source.keys(id)) if alias else source.reads(id)
    shape, of = source.recursion.graph.shape(id), label.name if label.adjoint else ""
    return Template(source.name(label), role, shape, text, source.pen.latex(label), reads, of, label.time is None)


def _carries(source: Source) -> list[Carry]:
    r = source.recursion
    return [_carry(source, name, leaf, r.recurrent.get(name)) for name, leaf in (r.carry | r.cotangent).items()]


def _carry(source: Source, name: str, leaf: int, later: int | None) -> Carry:
    label = source.labels[leaf]
    id = _whole(source, leaf)
    whole = replace(_template(source, label, id, "adjoint"), text=CARRIED)
    if id != leaf:
        text = source.pen.formula(id).replace(source.pen.symbol(leaf), CARRIED, 1)
        whole = replace(whole, text=text, reads=tuple(key for key in whole.reads if key != (whole.name, 0)))
    text, latex = source.pen.outside(Label(name, 0))
    loss = Template(f"dL/d{name}", "cotangent", whole.shape, text, latex, of=name)
    if later is None:
        return Carry(whole, loss, "", ())
    reads = tuple((read, None if time is None else time + 1) for read, time in source.keys(later))
    return Carry(whole, loss, source.pen.symbol(later), reads)


def _whole(source: Source, leaf: int) -> int:
    """The sum that begins with what is carried in, or that itself where nothing is added."""
    g, label = source.recursion.graph, source.labels[leaf]
    sums = [id for id, other in source.labels.items() if other == label and id != leaf and leaf in g[id].args]
    return sums[0] if sums else leaf


def _carried(carry: Carry, t: int, steps: int) -> Template:
    """The adjoint at step t: the loss gives nothing at step 0, the step after nothing at the last one."""
    whole = carry.whole if t > 0 else replace(carry.whole, text=CARRIED, reads=())
    parts, reads = [], list(whole.reads)
    if t > 0:
        parts.append(carry.loss.text)
        reads.append((carry.loss.name, 0))
    if t < steps and carry.text:
        parts.append(_filled(carry.text, t + 1))
        reads += carry.reads
    given = " + ".join(parts).replace("+ -", "- ") or "0"
    return replace(whole, text=whole.text.replace(CARRIED, given), reads=tuple(dict.fromkeys(reads)))


def _adjoints(source: Source) -> Iterator[Template]:
    r = source.recursion
    carried = {source.labels[leaf] for leaf in [*r.carry.values(), *r.cotangent.values()]}
    for id, label in sorted(source.labels.items()):
        if label.adjoint and label not in carried:
            yield _template(source, label, id, "adjoint")


def _gradients(source: Source) -> Iterator[Template]:
    """The gradients of the parameters, sums over all steps, and those of the inputs at each step."""
    r = source.recursion
    for name, id in (r.params | r.inputs).items():
        label = Label(name, 0 if name in r.inputs else None, adjoint=True)
        yield _template(source, label, id, "gradient", alias=True)
