"""The adjoint of a fixed point, by the implicit function theorem: another fixed point, and what one round gives of it.

Of z = f(z, c) the differential is dz = (I - ∂f/∂z)⁻¹ ∂f/∂c dc, so that of an adjoint v of z

    λ = v + (∂f/∂z)ᵀ λ,    dc = (∂f/∂c)ᵀ λ,

both with the derivatives at z. The first is a fixed point of its own; the second, and the coefficients of the first, are values of
the step around: one round of f and of its adjoint, from z and λ on. Source: Pineda 1987, "Generalization of back-propagation to
recurrent neural networks", equation 10; Bai, Kolter, Koltun 2019, "Deep equilibrium models", theorem 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from symbptt.autodiff.guard import FREE
from symbptt.autodiff.rounds import of_any, step_of, with_coefficients
from symbptt.autodiff.vjp import Context, Contributions
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Inner, Node, Settled, placeholder
from symbptt.ir.rewrite import copy_node
from symbptt.ir.rounds import is_number, loop_of


def to_points(g: Graph, node: Node, started: set[tuple[int, ...]], varies: bool) -> Contributions:
    """Return what a fixed point on a page gives to what a round makes of it: leaves that stand for λ, once for all its values; lines of
    their own say what equations these solve. `varies`: they differ between samples or steps."""
    if node.args in started:
        return []
    started.add(node.args)
    _, _, following = node.attrs.parts(node.args)
    role = "adjoint" if varies else "solved once"
    return [(id, build.leaf(g, role, f"solved.{id}", g.shape(id))) for id in following]


@dataclass
class Points:
    """The fixed points of a step while its adjoints are found; `derive` derives the recursion of a step.

    The values of one fixed point are several nodes, one for each that is read. Their adjoints are collected, and go back together when
    the first of these nodes, the last to be visited, is reached.
    """

    context: Context
    derive: Callable[..., Any]
    bars: dict[tuple[Any, ...], dict[int, int]] = field(default_factory=dict)

    def contributions(self, node: Node, bar: int | None) -> Contributions:
        """Return what the adjoints of the values of a fixed point add to those of its arguments, at the first of the values."""
        g, point = self.context.graph, loop_of(node)
        bars = self.bars.setdefault(point, {})
        if bar is not None:
            bars[node.attrs.out] = bar
        beside = (g[id] for id in g.readers(node.args[0]) if g[id].family == "settled")
        earlier = (n.id for n in beside if loop_of(n) == point and n.id in self.context.kept)
        if min(earlier) < node.id or not bars:
            return []
        found, guarded = _adjoint(self.context, node, bars, self.derive)
        if guarded:
            self.context.guarded.add(node.id)
        self.context.flows.setdefault(node.id, FREE)
        return found


def _adjoint(
    context: Context, node: Node, bars: dict[int, int], derive: Callable[..., Any]
) -> tuple[Contributions, bool]:
    """Return what the adjoints of the values of a fixed point, by their number, give to what its body reads, and whether the body has
    derivatives that may be infinite or no number."""
    r = _derived(context, node, derive)
    back = _Back(context.graph, node, r)
    back.run(bars)
    found: Contributions = []
    for i, arg in enumerate(node.args[node.attrs.carried :]):
        id = r.inputs.get(f"input{i}")
        if id is not None and arg in context.wanted:
            given = back.around(back.inputs[f"input{i}"])
            found.append((arg, build.expand(context.graph, given, context.graph.shape(arg))))
    return found, r.guarded


def _derived(context: Context, node: Node, derive: Callable[..., Any]) -> Any:
    """Return the recursion of the body, in which a derivative that may be infinite is guarded where nothing flows into the point."""
    g, step, ranges = context.graph, step_of(node.attrs), context.guards.ranges
    hazards = {name: ranges.hazards(arg) for name, arg in zip(step.leaves, node.args, strict=False)}
    beside = (id for id in g.readers(node.args[0]) if g[id].family == "settled" and loop_of(g[id]) == loop_of(node))
    incoming = of_any([context.flows[id].elsewhere() for id in beside if id in context.flows])
    return derive(step, incoming, hazards)


class _Back:
    """The fixed point of the adjoints of a fixed point, and what one round gives of it, as values of the graph `g` around."""

    def __init__(self, g: Graph, node: Node, r: Any) -> None:
        self.g, self.node, self.own = g, node, r.graph
        self.point: Settled = node.attrs
        self.carries = [r.carry[f"state{i}"] for i in range(self.point.carried)]
        self.recurrent, self.inputs, _, self.split = with_coefficients(r, self.carries)
        self.names = dict(self.point.inner.names)
        self.adjoint = r.adjoint
        self.values: dict[int, int] = dict(enumerate(node.args))
        for i in range(self.point.carried):
            self.values[i] = build.settled(g, node.args, replace(self.point, out=i))

    def run(self, bars: dict[int, int]) -> None:
        """Make the fixed point of the adjoints, of the adjoints `bars` of the values."""
        g, own, count = self.g, self.own, self.point.carried
        given = [
            bars.get(i, build.expand(g, build.number(g, 0.0), own.shape(leaf))) for i, leaf in enumerate(self.carries)
        ]
        moving = own.descendants(self.carries)
        following = [self.recurrent.get(f"state{i}") for i in range(count)]
        needed = own.ancestors([id for id in following if id is not None])
        inside = [id for id in needed if id in moving and id not in self.carries]
        read = dict.fromkeys(arg for id in inside for arg in own[id].args if arg not in moving)
        read |= dict.fromkeys(id for id in following if id is not None and id not in moving)
        closed = [id for id in read if not is_number(own[id])]
        body, new = Graph(), dict[int, int]()
        for i, leaf in enumerate(self.carries):
            new[leaf] = build.leaf(body, "state", f"state{i}", own.shape(leaf))
        seeds = [build.leaf(body, "input", f"input{i}", own.shape(leaf)) for i, leaf in enumerate(self.carries)]
        for i, id in enumerate(closed):
            new[id] = build.leaf(body, "input", f"input{count + i}", own.shape(id))
        for id in [*(id for id in read if id not in new), *inside]:
            new[id] = copy_node(body, own[id], tuple(new[arg] for arg in own[id].args))
        last = [
            seed if id is None else build.map_(body, placeholder(0) + placeholder(1), (seed, new[id]))
            for seed, id in zip(seeds, following, strict=True)
        ]
        inner = Inner(tuple(body), tuple(last), tuple(self._names(new).items()))
        args = (*given, *given, *(self.around(id) for id in closed))
        back = replace(self.point, inner=inner, adjoint=True)
        for i, leaf in enumerate(self.carries):
            self.values[leaf] = build.settled(g, args, replace(back, out=i))

    def around(self, id: int) -> int:
        """Return a value of the body, or of its adjoint, in the graph around: at the fixed point."""
        for at in self.own.ancestors([id]):
            if at not in self.values:
                node = self.own[at]
                # The body's own derivation adds up over steps what is the same in all samples: here it is one value.
                self.values[at] = (
                    self.values[node.args[0]]
                    if node.family == "total"
                    else copy_node(self.g, node, tuple(self.values[arg] for arg in node.args))
                )
        return self.values[id]

    def _names(self, new: dict[int, int]) -> dict[int, str]:
        """Return names for the values of a round of adjoints: those of adjoints of what has a name."""
        bars = {bar: self.names[id] for id, bar in self.adjoint.items() if id in self.names}
        bars |= {leaf: self.names.get(i, "z") for i, leaf in enumerate(self.carries)}
        found = {self.split.get(bar, bar): f"d{name}" for bar, name in bars.items()}
        return {new[id]: name for id, name in found.items() if id in new}
