"""The unrolled computation as a graph: the values of one step copied for every step, parameters shared."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import networkx as nx

from symbptt.autodiff.bptt import Recursion
from symbptt.autodiff.implicit import Equation, equations_of_points, implicit
from symbptt.autodiff.labels import LAST, Label, of_what_rounds_make
from symbptt.autodiff.local_derivative import NONE, tangent
from symbptt.autodiff.rule_words import adjoint_rule, rule_of
from symbptt.ir import build
from symbptt.ir.algebra import added
from symbptt.ir.naming import unique
from symbptt.ir.rounds import loops_of, next_values
from symbptt.ir.shape import Shape, show

NOW, BEFORE, CARRIED = "\ue000", "\ue001", "\ue002"
"""Marks in the texts of a template: for the number of its step, for the one before, and for what an adjoint is
given by the loss and by the step after."""
DOT = "□"
"""The mark of the tangent in a local derivative that is no factor in front of it."""
FORWARD = ("input", "index", "target", "state", "param", "const", "value", "output", "loss")
"""Roles of what is computed, or given, forward in time."""

Key = tuple[str, int | None]
"""A node: a name and the step, None for what all steps share. In a template the step counts from its own."""
Read = tuple[str, str]
"""A dependence of a value on one that it reads: the local derivative as text, and its kind."""
ONE: Read = ("1", "identity")


class Pen(Protocol):
    """A writer of values, with NOW and BEFORE for the numbers of steps."""

    def formula(self, id: int) -> str:
        """Return the formula of a value."""

    def symbol(self, id: int) -> str:
        """Return a value as other formulas name it."""

    def local(self, id: int, dot: int) -> str:
        """Return a local derivative, in which `dot` is what changes, as an operator."""

    def whole(self, id: int, dot: int) -> str:
        """Return what a change makes, with the change in it."""

    def name(self, label: Label) -> str:
        """Return a name as formulas have it."""

    def latex(self, label: Label) -> str:
        """Return a name in LaTeX."""

    def outside(self, label: Label) -> tuple[str, str]:
        """Return what the loss gives to the adjoint of a value, as text and in LaTeX."""


@dataclass(frozen=True)
class Template:
    """A value to be copied to every step, or one that all steps share: its formula, what that reads and how it depends on
    it, for an adjoint the name of the value whose adjoint it is; the rule that makes it and the user's line."""

    name: str
    role: str
    shape: Shape
    text: str
    latex: str
    reads: Mapping[Key, Read] = field(default_factory=dict)
    of: str = ""
    shared: bool = False
    rule: str = "given"
    line: str = ""


@dataclass(frozen=True)
class Carry:
    """The adjoint of a state or an output after a step: `whole` has CARRIED in the place of what the loss and the step
    after give; `loss` is what the loss gives, `text` and `reads` what the step after does, written and read one step later.
    """

    whole: Template
    loss: str
    text: str
    reads: Mapping[Key, Read]


@dataclass(frozen=True)
class Source:
    """The material of templates: a recursion, the names of its values, and a pen that writes formulas."""

    recursion: Recursion
    labels: dict[int, Label]
    pen: Pen
    adjoints: Mapping[str, str]

    def name(self, label: Label) -> str:
        """Return the name of a node: that of the value, or of its adjoint."""
        return self.adjoints[label.name] if label.adjoint else label.name

    @cached_property
    def points(self) -> dict[int, Equation]:
        """The equations of fixed points and of their adjoints, by the values that solve them."""
        return equations_of_points(self.recursion)

    @cached_property
    def names_of_values(self) -> dict[int, Label]:
        """The names of values, and of what a round of a fixed point makes, which is the point."""
        return {**of_what_rounds_make(self.recursion.graph, self.labels), **self.labels}

    def formula(self, id: int) -> str:
        """Return the formula of a value; of a fixed point and of its adjoint the right side of the equation."""
        equation = self.points.get(id)
        if equation is None:
            return self.pen.formula(id)
        sides = equation.sides[equation.values.index(id)]
        if equation.turned:
            return " + ".join(map(self.pen.symbol, sides)).replace("+ -", "- ")
        return self.pen.formula(self.recursion.graph[sides[0]].args[0])

    def keys(self, id: int) -> dict[Key, list[int]]:
        """Return the named values that a value is, or is computed from where it has no name itself, by their nodes."""
        if id in self.labels:
            return {(self.name(self.labels[id]), self.labels[id].time): [id]}
        return self.read(id)

    def read(self, id: int) -> dict[Key, list[int]]:
        """Return the named values that the formula of a value reads, by their nodes, in the order of reading."""
        found: dict[Key, list[int]] = {}
        for arg in self.arguments(id):
            label = self.names_of_values[arg]
            found.setdefault((self.name(label), label.time), []).append(arg)
        return found

    def arguments(self, id: int) -> list[int]:
        """Return the values with a name that the formula of a value reads, in the order of reading. What stands between a fixed
        point and itself has no way into it: the point reads what that reads."""
        g, equation = self.recursion.graph, self.points.get(id)
        first, inside = g[id].args, frozenset[int]()
        if equation is not None:
            first = tuple(x for k in equation.reached(g, equation.values.index(id)) for x in equation.sides[k])
            inside = equation.inside
        found, seen, open_ = list[int](), {id, *(equation.leaves if equation else ())}, list(first[::-1])
        while open_:
            arg = open_.pop()
            if arg in seen:
                continue
            seen.add(arg)
            if arg in self.names_of_values and arg not in inside:
                found.append(arg)
            else:
                open_.extend(g[arg].args[::-1])
        return found

    def computed(self, roots: Iterable[int]) -> set[int]:
        """Return all with a name that some values are computed from, and themselves."""
        found, open_ = set(roots), list(roots)
        while open_:
            new = {*self.arguments(open_.pop())} - found
            found |= new
            open_ += new
        return found

    def locals(self, id: int, top: bool = False) -> dict[Key, Read]:
        """Return what a value reads, with its derivative by each; with `top`, a named value reads itself."""
        if top and id in self.labels:
            return dict.fromkeys(self.keys(id), ONE)
        return {key: self._local(id, ids) for key, ids in self.read(id).items()}

    def _local(self, id: int, ids: list[int]) -> Read:
        g = self.recursion.graph
        dot = build.leaf(g, "adjoint", DOT, g.shape(ids[0]))
        if id in self.points:
            return self._implicit(id, ids, dot)
        change = tangent(g, id, ids, dot, self.names_of_values)
        return ("0", "none") if change is NONE else (self.pen.local(change.id, dot), change.kind)

    def _implicit(self, id: int, ids: list[int], dot: int) -> Read:
        """Return the derivative of a fixed point, or of its adjoint, by the implicit function theorem."""
        g, equation = self.recursion.graph, self.points[id]
        reached = equation.reached(g, equation.values.index(id))
        held = self.names_of_values.keys() - equation.inside
        changes = []
        for side in (equation.sides[k] for k in reached):
            # What has a name is an addend itself; what has none is read through.
            parts = [dot for x in side if x in ids]
            parts += [found.id for x in side if x not in held and (found := tangent(g, x, ids, dot, held)) is not NONE]
            changes.append(self.pen.whole(added(g, parts), dot) if parts else "0")
        points = [self.pen.symbol(equation.points[k]) for k in reached]
        is_number = all(not g.shape(equation.points[k]) for k in reached)
        text = implicit(self.pen.symbol(id), points, changes, turned=equation.turned, is_number=is_number)
        return text.removesuffix(f" ({DOT})"), "linear"


@dataclass(frozen=True)
class Head:
    """A loss of a model: its values, whether it stands at "every" step or the "last", and whether L is a "sum" or "mean"."""

    source: Source
    at: str
    reduction: str

    def times(self, steps: int) -> Sequence[int]:
        """Return the steps at which the loss is computed."""
        return range(1, steps + 1) if self.at == "every" else range(max(steps, 1), steps + 1)


@dataclass(frozen=True)
class Growth:
    """A graph to which nodes are added, and its edges to be: nodes first, so that they stand in the order of computation;
    `plain` makes text of a name in LaTeX."""

    graph: nx.DiGraph
    plain: Callable[[str], str]
    edges: list[tuple[Key, Key, dict[str, Any]]] = field(default_factory=list)


def unroll(source: Source, head: Head | None, steps: int, backward: bool, growth: Growth) -> nx.DiGraph:
    """Return the graph with the nodes of `steps` steps, and edges from what is read to what reads it."""
    with _collector_paused():
        _add_forward(growth, source, steps)
        _add_loss(growth, source, head, steps)
        if backward:
            _add_backward(growth, source, head, steps)
        _add_edges(growth)
    return growth.graph


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the collector of cycles, which would search the growing graph again and again: half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def adjoint_names(*parts: tuple[Recursion, Mapping[int, Label]]) -> dict[str, str]:
    """Return the names of adjoints, by value: a d in front, and a number behind where the user has that name."""
    names = [
        name
        for r, labels in parts
        for name in [
            *(a.name for a in r.step.arguments), *r.step.outputs, *(label.name for label in labels.values())
        ]
    ]  # fmt: skip
    used, found = set(names), {}
    for name in dict.fromkeys(names):
        found[name] = unique(f"d{name}", used)
        used.add(found[name])
    return found


def _add_forward(growth: Growth, source: Source, steps: int) -> None:
    for template in _arguments(source):
        _copy(growth, template, [0] if template.role == "state" else range(1, steps + 1))
    for template in _values(source):
        _copy(growth, template, range(1, steps + 1))


def _add_loss(growth: Growth, source: Source, head: Head | None, steps: int) -> None:
    used = {name for name, _ in growth.graph} | (
        {label.name for label in head.source.labels.values()} if head else set()
    )
    loss = Template(unique("L", used), "loss", (), "", "L", shared=True)
    if head is None:
        _add_loss_of_cell(growth, source.recursion, loss, steps)
    else:
        _add_loss_of_model(growth, head, loss, steps)


def _add_loss_of_cell(growth: Growth, r: Recursion, loss: Template, steps: int) -> None:
    """Add a loss of which nothing is known: it may read each state and output after each step."""
    names = [*r.step.next, *r.step.outputs]
    loss = replace(loss, text=f"a function of {', '.join(names)} at every step")
    _copy(growth, loss, ())
    for name in names:
        _connect(growth, (name, 0), (f"dL/d{name}_{NOW}", "linear"), loss, range(1, steps + 1))


def _add_loss_of_model(growth: Growth, head: Head, loss: Template, steps: int) -> None:
    """Add the values of a loss at the steps where it is computed, and their sum or mean."""
    arguments = [template for template in _arguments(head.source) if template.role not in ("state", "output")]
    values = [replace(v, role="loss") if v.role == "output" else v for v in _values(head.source)]
    for template in [*arguments, *values]:
        _copy(growth, template, head.times(steps))
    whole = f"loss_{steps}" if head.at == "last" else "Σ_t loss_t"
    rule, local = "sum over steps", ONE
    if head.reduction == "mean":
        whole, rule, local = (
            f"({whole}) / N" if head.at == "every" else f"{whole} / N",
            "mean",
            ("1 / N", "elementwise"),
        )
    loss = replace(loss, text=whole if steps else "0", rule=rule)
    _copy(growth, loss, ())
    _connect(growth, ("loss", 0), local, loss, head.times(steps))


def _add_backward(growth: Growth, source: Source, head: Head | None, steps: int) -> None:
    every = range(steps, 0, -1)
    sent = _sent(head) if head else {}
    if head is not None:
        for template in [*_weight(head), *_adjoints(head.source)]:
            _copy(growth, template, head.times(steps)[::-1])
    for carry in _carries(source):
        loss, given = _from_loss(source, carry), sent.get(carry.whole.of)
        times = head.times(steps) if head and given else ()
        if head is not None:
            loss = replace(loss, text="0", rule="the loss does not read it")
        _copy(growth, loss, [t for t in every if t not in times])
        if given:
            _copy(growth, given, times[::-1])
        first = 0 if carry.whole.of in source.recursion.carry else 1
        for t in range(steps, first - 1, -1):
            _copy(growth, _carried(carry, t, steps), [t])
    for template in [*_adjoints(source), *_gradients(source)]:
        _copy(growth, template, every)
    if head is not None:
        for template in _gradients(head.source, only=("param",)):
            text = template.text if head.at == "every" else _filled(template.text, steps)
            _add_gradient(growth, replace(template, text=text), head.times(steps), steps)


def _add_gradient(growth: Growth, template: Template, times: Sequence[int], steps: int) -> None:
    """Add the gradient of a parameter of the loss, to which the cell may have contributed already."""
    key = (template.name, None)
    begun = growth.graph.nodes[key]["expression"] if key in growth.graph else ""
    _copy(growth, template, times)
    if begun:
        growth.graph.nodes[key]["expression"] = f"{begun} + {growth.graph.nodes[key]['expression']}"


def _weight(head: Head) -> Iterator[Template]:
    """Yield the adjoint of the loss of a step, where it is a part of a mean."""
    for name, leaf in head.source.recursion.cotangent.items() if head.reduction == "mean" else ():
        label = head.source.labels[leaf]
        yield Template(head.source.name(label), "adjoint", (), "1 / N", head.source.pen.latex(label), of=name,
                       rule="N steps and samples count")  # fmt: skip


def _sent(head: Head) -> dict[str, Template]:
    """Return the direct cotangents of states and outputs, by their names."""
    source, found = head.source, {}
    for name, id in source.recursion.inputs.items():
        _, latex = source.pen.outside(Label(name, 0))
        shape = source.recursion.graph.shape(id)
        reads = source.locals(id, top=True)
        found[name] = Template(f"dL/d{name}", "cotangent", shape, source.pen.symbol(id), latex, reads, name,
                               rule="derivative of the loss")  # fmt: skip
    return found


def _copy(growth: Growth, template: Template, times: Sequence[int]) -> None:
    fixed: dict[str, Any] = {"shape": show(template.shape), "role": template.role, "rule": template.rule}
    fixed |= {"line": template.line} if template.line else {}
    fixed |= {"of": template.of} if template.of else {}
    # a number of one digit is written without the brackets of longer ones
    short, long = (
        growth.plain(template.latex),
        growth.plain(template.latex.replace(NOW, NOW + NOW)).replace(NOW + NOW, NOW),
    )
    for t in [None] if template.shared else times:
        text, latex = _filled(template.text, t), _filled(template.latex, t)
        symbol = _filled(short if t is None or t < 10 else long, t)
        growth.graph.add_node((template.name, t), expression=text, symbol=symbol, latex=latex, **fixed)
    for key, read in template.reads.items():
        _connect(growth, key, read, template, times)


def _filled(text: str, t: int | None) -> str:
    if NOW not in text and BEFORE not in text:
        return text
    if t is None:  # a sum over all steps
        return text.replace(NOW, "t").replace(f",{BEFORE}", ",t-1").replace(BEFORE, "{t-1}")
    return text.replace(NOW, str(t)).replace(BEFORE, str(t - 1))


def _connect(growth: Growth, key: Key, read: Read, template: Template, times: Sequence[int]) -> None:
    """Add the edges for one thing that a value reads; a value that all steps share reads what a step has at every step."""
    (name, offset), (local, kind) = key, read
    shared, target, changes = template.shared, template.name, NOW in local or BEFORE in local
    for t in [None] if shared and offset is None else times:
        source = (name, None if t is None or offset is None else t + offset)
        attributes = {"local": _filled(local, t) if changes else local, "kind": kind}
        growth.edges.append((source, (target, None if shared else t), attributes))


def _add_edges(growth: Growth) -> None:
    """Add the edges once all nodes are there, and say of each whether a value of the forward pass is read backward."""
    forward = {node: role in FORWARD for node, role in growth.graph.nodes(data="role")}
    for source, target, attributes in growth.edges:
        attributes["saved"] = forward[source] and not forward[target]
    # All nodes come first: add_edges_from would append a missing node without attributes.
    growth.graph.add_edges_from(growth.edges)


def _arguments(source: Source) -> Iterator[Template]:
    for a in source.recursion.step.arguments:
        label = Label(a.name, 0 if a.role in ("input", "index", "state", "target", "output") else None)
        names = source.pen.name(label), source.pen.latex(label)
        yield Template(a.name, a.role, a.shape, *names, shared=label.time is None)


def _values(source: Source) -> Iterator[Template]:
    r = source.recursion
    read = source.computed([*r.forward_roots, *r.backward_roots])
    for id, label in sorted(source.labels.items()):
        # Of values that settle together, one that only the others and the backward pass read is a leaf, and computed all the same.
        is_point = id in source.points and not source.points[id].turned
        if not label.adjoint and id in read and (r.graph[id].family != "leaf" or is_point):
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
    text = source.pen.symbol(id) if alias else source.formula(id)
    shape, of = source.recursion.graph.shape(id), label.name if label.adjoint else ""
    rule, line = _origin(source, label, id, alias)
    return Template(source.name(label), role, shape, text, source.pen.latex(label), source.locals(id, top=alias), of,
                    label.time is None, rule, line)  # fmt: skip


def _origin(source: Source, label: Label, id: int, alias: bool) -> tuple[str, str]:
    """Return the rule that makes a value, and the user's line: of an adjoint, those of the value to which it
    belongs."""
    r = source.recursion
    if not label.adjoint:
        rule = "fixed point" if id in source.points else rule_of(r.graph[id])
        return ("another name" if alias else rule), r.graph[id].place
    results = r.step.next | r.step.outputs
    own = [value for value, bar in r.adjoint.items() if bar == id]  # the addends of a value have its adjoint
    value = results[label.name] if label.time == 0 and label.name in results else max(own, default=None)
    readers = [] if value is None else _readers(r, value, label.name)
    return adjoint_rule(r.graph, readers), "" if value is None else r.graph[value].place


def _readers(r: Recursion, value: int, name: str) -> list[int]:
    """Return the readers of a value, of a state those at the next step too."""
    consumers = r.graph.consumers(r.graph.ancestors(r.forward_roots))
    later = r.step.leaves[name] if r.step.next.get(name) == value else value
    # A fixed point does not depend on where its rounds begin.
    return [
        reader
        for id in dict.fromkeys([value, later])
        for reader in consumers.get(id, [])
        if r.graph[reader].family != "point"
    ]


def _carries(source: Source) -> list[Carry]:
    r = source.recursion
    return [_carry(source, name, leaf, r.recurrent.get(name)) for name, leaf in (r.carry | r.cotangent).items()]


def _carry(source: Source, name: str, leaf: int, later: int | None) -> Carry:
    label = source.labels[leaf]
    id = _whole(source, leaf)
    whole = replace(_template(source, label, id, "adjoint"), text=CARRIED)
    if id != leaf:
        text = source.pen.formula(id).replace(source.pen.symbol(leaf), CARRIED, 1)
        whole = replace(whole, text=text, reads={k: v for k, v in whole.reads.items() if k != (whole.name, 0)})
    outside = source.pen.outside(Label(name, 0))[0]
    if later is None:
        return Carry(whole, outside, "", {})
    reads = source.locals(later, top=True)
    # The contribution is computed at step t + 1 and read at step t, so that every offset grows by one.
    moved = {(read, None if time is None else time + 1): local for (read, time), local in reads.items()}
    return Carry(whole, outside, source.pen.symbol(later), moved)


def _from_loss(source: Source, carry: Carry) -> Template:
    """Return the direct cotangent of a state or an output, as a name."""
    name = carry.whole.of
    text, latex = source.pen.outside(Label(name, 0))
    return Template(f"dL/d{name}", "cotangent", carry.whole.shape, text, latex, of=name, rule="given by the loss")


def _whole(source: Source, leaf: int) -> int:
    """Return the sum that begins with what is carried in, or that itself where nothing is added."""
    g, label = source.recursion.graph, source.labels[leaf]
    sums = [id for id, other in source.labels.items() if other == label and id != leaf and leaf in g[id].args]
    return sums[0] if sums else leaf


def _carried(carry: Carry, t: int, steps: int) -> Template:
    """Return the adjoint at step t: the loss gives nothing at step 0, the step after nothing at the last one."""
    whole = carry.whole if t > 0 else replace(carry.whole, text=CARRIED, reads={})
    parts, reads = [], dict(whole.reads)
    if t > 0:
        parts.append(carry.loss)
        reads = {(f"dL/d{whole.of}", 0): ONE, **reads}
    if t < steps and carry.text:
        # The recurrent part is written at the step after: its own "now" is t + 1.
        parts.append(_filled(carry.text, t + 1))
        for key, (local, kind) in carry.reads.items():
            added = (_filled(local, t + 1), kind)
            reads[key] = added if key not in reads else (f"{reads[key][0]} + {added[0]}", "linear")
    given = " + ".join(parts).replace("+ -", "- ") or "0"
    return replace(whole, text=whole.text.replace(CARRIED, given), reads=reads)


def _adjoints(source: Source) -> Iterator[Template]:
    r = source.recursion
    carried = {source.labels[leaf] for leaf in [*r.carry.values(), *r.cotangent.values()] if leaf in source.labels}
    for id, label in sorted(source.labels.items()):
        if label.adjoint and label not in carried:
            yield _template(source, label, id, "adjoint")
    for id, equation in source.points.items():
        if equation.turned:
            yield _of_equation(source, id)


def _of_equation(source: Source, id: int) -> Template:
    """Return the adjoint that comes to the equation of a fixed point."""
    g, label = source.recursion.graph, source.labels[id]
    point = next(leaf for node in loops_of(g, "point") for leaf, new in next_values(node)
                 if source.recursion.adjoint.get(new) == id)  # fmt: skip
    found = _template(source, label, id, "adjoint")
    return replace(found, rule="implicit function theorem", of=source.labels[point].name, line=g[point].place)


def _gradients(source: Source, only: Sequence[str] = ("param", "input")) -> Iterator[Template]:
    """Yield the gradients of the parameters, sums over all steps, and those of the inputs at each step."""
    r = source.recursion
    for role, found in (("param", r.params), ("input", r.inputs)):
        for name, id in found.items() if role in only else ():
            label = Label(name, 0 if role == "input" else None, adjoint=True)
            template = _template(source, label, id, "gradient", alias=True)
            readers = _readers(r, r.step.leaves[name], name)
            summed = "sum over steps, " if role == "param" else ""
            yield replace(
                template,
                rule=summed + adjoint_rule(r.graph, readers),
                line=r.graph[readers[0]].place if readers else "",
            )


def loss_labels(labels: Mapping[int, Label]) -> dict[int, Label]:
    """Return labels whose times count from the step of the loss, where that is the last one as well."""
    return {id: label.at(0) if label.time == LAST else label for id, label in labels.items()}
