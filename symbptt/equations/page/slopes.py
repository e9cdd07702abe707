"""Gradients inside a step on a page: of what a value is the gradient, and what the function is.

Example: G_t = ∇_M ℓ(M_{t-1}; k_t, v_t), in the next row = 2 (M_{t-1} k_t - v_t) k_tᵀ, and among the functions of the page
ℓ(M; k, v) = ‖M k - v‖².
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from symbptt import ops
from symbptt.autodiff.bptt import Recursion
from symbptt.autodiff.labels import Label
from symbptt.equations.algebra.expressions import Applied, Entry, Expr, Gradient, Symbol, normal
from symbptt.equations.algebra.lower import Lowering
from symbptt.equations.algebra.normal import in_normal_form
from symbptt.equations.page.lines import ONCE, Line, Note, Section
from symbptt.ir.graph import Graph
from symbptt.ir.naming import free_letters
from symbptt.ir.node import Node, Slope
from symbptt.ir.step import Step
from symbptt.language.folding import TAKEN, folded

NAMELESS = "ℓ"
"""The name of a function that has none: papers call an inner loss so."""
LETTERS = "zuwysrqp"
"""Names of arguments in the place of those that other values on the page have."""


@dataclass(frozen=True)
class Named:
    """The gradients of a page by the value that they are, the definitions of their functions, what the legend says, and the values in
    these definitions."""

    gradients: Mapping[Label, Gradient]
    functions: tuple[Line, ...]
    notes: tuple[Note, ...]
    nodes: tuple[Node, ...] = ()

    def at(self, f: Callable[[Expr], Expr]) -> Named:
        """Return them with the gradients taken at what `f` makes of the arguments."""

        def taken(e: Gradient) -> Gradient:
            return Gradient(e.under, Applied(e.of.name, tuple(map(f, e.of.args)), tuple(map(f, e.of.closed))))

        return replace(self, gradients={label: taken(e) for label, e in self.gradients.items()})


def gradients(parts: Sequence[tuple[Recursion, Mapping[int, Label]]], sections: Iterable[Section]) -> Named:
    """Return the gradients inside the steps of some recursions whose values stand on the left of a line of a page."""
    shown = {line.left.labels[0] for section in sections for line in section.lines if _is_value(line.left)}
    found, functions, nodes = dict[Label, Gradient](), dict[Line, None](), list[Node]()
    known: dict[tuple[str, Expr], str] = {}
    for recursion, every in parts:
        g = recursion.graph
        # A value without a line of its own stands in its formulas, here too.
        labels = {id: label for id, label in every.items() if label in shown or g[id].family == "leaf"}
        for id, slope in sorted(g.slopes.items()):
            label = labels.get(id)
            if label is not None and label in shown and not label.adjoint and label not in found:
                step = _whole(slope, labels)
                found[label], function = _gradient(g, labels, slope, step, known)
                if function not in functions:
                    nodes += [step.graph[id] for id in step.graph.ancestors([step.outputs[""]])]
                functions.setdefault(function)
    first = next(iter(found.values()), None)
    return Named(found, tuple(functions), () if first is None else (_note(first),), tuple(nodes))


def with_gradients(section: Section, found: Mapping[Label, Gradient]) -> Section:
    """Return a section whose lines say of what their values are the gradient, before what it is made of."""
    return replace(section, lines=tuple(_with_gradient(line, found) for line in section.lines))


def _with_gradient(line: Line, found: Mapping[Label, Gradient]) -> Line:
    whole = found.get(line.left.labels[0]) if _is_value(line.left) and line.relation == "=" else None
    if whole is None:
        return line
    return line._replace(above=Entry(whole, line.left.indices) if isinstance(line.left, Entry) else whole)


def _is_value(left: Expr) -> bool:
    symbol = left.array if isinstance(left, Entry) else left
    return isinstance(symbol, Symbol) and not symbol.label.adjoint


def _note(e: Gradient) -> Note:
    return (e, ": the gradient by ", e.under, ", all behind the semicolon held fixed" if e.of.closed else "")


def _gradient(
    g: Graph, labels: Mapping[int, Label], slope: Slope, whole: Step, known: dict[tuple[str, Expr], str]
) -> tuple[Gradient, Line]:
    """Return a gradient, and the line of its function; `known` are the functions so far with the names that they have."""
    links = {inner: labels[outer] for inner, outer in slope.links if outer in labels}
    plain = _without_times(links, slope)
    names = _arguments(slope, {label.full for label in plain.values()} | {label.name for label in plain.values()})
    own = {leaf: Label(name, None) for leaf, name in zip(slope.leaves, names, strict=True)}
    shown = {whole.leaves[str(id)]: label for id, label in (plain | own).items()}
    body = in_normal_form(Lowering(whole.graph, shown).value(whole.outputs[""]))
    timed = {plain[inner]: label for inner, label in links.items()}
    args = tuple(Symbol(own[leaf], normal(slope.body.shape(leaf))) for leaf in slope.leaves)
    read = {symbol.label: symbol for symbol in _symbols(body) if symbol.label in timed}
    name = _name(slope, body, known)
    lowering = Lowering(g, labels)
    at = tuple(in_normal_form(lowering.value(arg)) for arg in slope.args)
    closed = tuple(Symbol(timed[label], symbol.of) for label, symbol in read.items())
    gradient = Gradient(args[slope.number], Applied(name, at, closed))
    return gradient, Line(Applied(name, args, tuple(read.values())), body, ONCE)


def _whole(slope: Slope, labels: Mapping[int, Label]) -> Step:
    """Return a function by itself, the functions in it whole; what it reads by its number in the function."""
    read = (*slope.leaves, *(inner for inner, outer in slope.links if outer in labels))
    return folded(Step("", "", slope.body, (), {str(id): id for id in read}, {}, {"": slope.value}))


def _symbols(e: Expr) -> Iterable[Symbol]:
    if isinstance(e, Symbol):
        yield e
    for part in e.parts:
        yield from _symbols(part)


def _without_times(links: Mapping[int, Label], slope: Slope) -> dict[int, Label]:
    """Return the labels of values in a function without their steps, where that leaves them apart."""
    count = Counter(label.at(None) for label in set(links.values()))
    return {
        id: label if count[label.at(None)] > 1 or label.name in slope.names else label.at(None)
        for id, label in links.items()
    }


def _arguments(slope: Slope, taken: set[str]) -> list[str]:
    """Return the names of a function's arguments, others for those that are names of what it reads beside them."""
    free = free_letters(LETTERS, taken | {*slope.names})
    return [name if name not in taken else next(free) for name in slope.names]


def _name(slope: Slope, body: Expr, known: dict[tuple[str, Expr], str]) -> str:
    """Return the name of a function on its page: that of the user's, with a number where another one has it."""
    base = slope.name or NAMELESS
    base = f"own_{base}" if base in TAKEN or base in ops.BY_NAME else base
    if (base, body) not in known:
        count = len({other for head, other in known if head == base})
        known[base, body] = f"{base}_{count}" if count else base
    return known[base, body]
