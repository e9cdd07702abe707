"""Forward mode on a step: the step whose states and outputs are those of another and their tangents.

Example: h_next = tanh(a), a = W h + x. With a tangent for each argument, ḣ, ẋ and Ẇ, values are visited from first to last:

    a:      ȧ = Ẇ h + W ḣ + ẋ
    h_next: ḣ_next = (1 - h_next²) ⊙ ȧ

The result is a step as others are: a state ḣ is carried beside h, so that the derivation, the pages and the code generator go on from
there. Its gradient with respect to W, where ḣ is weighted by the cotangents of a loss, is the Hessian of the loss times Ẇ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from symbptt.autodiff.guard import FREE, Flow, Guards, guarded, merged, within
from symbptt.autodiff.local_derivative import NONE, RULES, Tangent
from symbptt.autodiff.partials import partials
from symbptt.autodiff.subexpressions import formula, values
from symbptt.autodiff.vjp import total, weighted
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.naming import unique
from symbptt.ir.node import Node
from symbptt.ir.step import Argument, Step

MOVED = ("input", "state", "context", "param", "output")
"""The roles of arguments that have a tangent: constants, indices and targets have none."""


@dataclass(frozen=True)
class _Sweep:
    """The tangents found so far, and what is known of them, by the value."""

    graph: Graph
    kept: set[int]
    guards: Guards
    tangents: dict[int, Tangent] = field(default_factory=dict)
    flows: dict[int, Flow] = field(default_factory=dict)


def dotted(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Return a name for the tangent of each name, as a dot over its letter is written: h_dot for h, W_dot_f for W_f."""
    found: dict[str, str] = {}
    for name in names:
        head, _, rest = name.partition("_")
        wanted = f"{head}_dot_{rest}" if head and rest else f"{name}_dot"
        found[name] = unique(wanted, {*taken, *found.values()})
    return found


def with_tangents(step: Step, dots: Mapping[str, str]) -> Step:
    """Return a step with the tangent of each next state and output beside it, by `dots`, the names of tangents; of the arguments those
    that have a tangent are there once more, each with its own."""
    g = step.graph.copy()
    # Tangents come from no line of the user's.
    g.locate = lambda: ""
    moved = [a for a in step.arguments if a.role in MOVED]
    leaves = {dots[a.name]: build.leaf(g, a.role, dots[a.name], a.shape) for a in moved}
    given = {step.leaves[a.name]: leaves[dots[a.name]] for a in moved}
    roots = [*step.next.values(), *step.outputs.values()]
    found = _tangents(g, roots, given)
    _name(g, found, step, dots, leaves)
    after, outputs = (
        {dots[k]: _whole(g, id, found.get(id)) for k, id in ends.items()} for ends in (step.next, step.outputs)
    )
    return replace(
        step,
        name=f"{step.name}_dot",
        graph=g,
        arguments=(*step.arguments, *(_dotted(a, dots) for a in moved)),
        leaves={**step.leaves, **leaves},
        next={**step.next, **after},
        outputs={**step.outputs, **outputs},
    )


def _dotted(a: Argument, dots: Mapping[str, str]) -> Argument:
    """Return the argument that is the tangent of another; a state that begins with a parameter has a tangent that begins with its."""
    return replace(a, name=dots[a.name], default=None, start=dots[a.start] if isinstance(a.start, str) else None)


def _whole(g: Graph, id: int, tangent: int | None) -> int:
    """Return the tangent of a value, zeros where it has none."""
    return build.expand(g, build.number(g, 0), g.shape(id)) if tangent is None else tangent


def _name(g: Graph, found: Mapping[int, int], step: Step, dots: Mapping[str, str], leaves: Mapping[str, int]) -> None:
    """Give tangents of named values their names: those of arguments, and for others a dot over the value's."""
    taken = {*g.names.values(), *dots.values(), *(a.name for a in step.arguments)}
    g.names |= {id: name for name, id in leaves.items()}
    inner = {id: name for id, name in g.names.items() if id in found and g[id].family != "leaf"}
    names = dotted(inner.values(), taken)
    for id, name in inner.items():
        if found[id] not in g.names and g[found[id]].family not in ("leaf", "number"):
            g.names[found[id]] = names[name]


def _tangents(g: Graph, roots: Iterable[int], given: Mapping[int, int]) -> dict[int, int]:
    """Return the tangent of each value that has one, where some leaves have the `given` tangents."""
    roots = [*roots]
    sweep = _Sweep(g, values(g, roots), Guards(g, forward=True))
    sweep.tangents.update({leaf: Tangent(dot, "identity") for leaf, dot in given.items()})
    # Arguments come before values. What a formula holds inside has no tangent of its own.
    for id in g.ancestors(roots):
        node = g[id]
        if id not in sweep.kept or node.family == "leaf":
            continue
        if node.family == "map":
            _map(sweep, node)
        elif any(arg in sweep.tangents for arg in node.args):
            _other(sweep, node, RULES[node.family])
    return {id: tangent.id for id, tangent in sweep.tangents.items()}


def _map(s: _Sweep, node: Node) -> None:
    """Note the tangent of an elementwise value: the sum of the tangents that it reads times the partial derivatives."""
    g, f = s.graph, formula(s.graph, node.id, s.kept)
    parts, flows = [], []
    for arg, partial in zip(f.args, partials(f.expr, len(f.args)), strict=True):
        if arg not in s.tangents or partial == 0:
            continue
        dot = s.tangents[arg].id
        guard, flow = s.guards.factor(node, f, arg, partial, s.flows.get(arg, FREE))
        product = weighted(g, within(g, guard, dot), partial, f.args, node.id)
        parts.append(build.expand(g, guarded(g, guard, dot, product), node.shape))
        flows.append(flow)
    if parts:
        s.tangents[node.id], s.flows[node.id] = Tangent(total(g, parts), "linear"), merged(flows)


def _other(s: _Sweep, node: Node, rule: Callable[[Graph, Node, dict[int, Tangent]], Tangent]) -> None:
    """Note the tangent of a value of another family; conditions of what it reads no longer fit its shape."""
    found = rule(s.graph, node, s.tangents)
    if found is NONE:
        return
    flow = merged([s.flows.get(arg, FREE) for arg in node.args if arg in s.tangents]).elsewhere()
    s.tangents[node.id] = found
    s.flows[node.id] = replace(flow, wild=flow.wild | s.guards.ranges.hazards(node.id))
