"""The adjoint of a loop inside a step: another loop, from the last round to the first, and sums over all rounds at once.

Of z^(k+1) = f(z^(k), e^(k), c) the adjoints ζ^(k) of z^(k) go back through the rounds,

    ζ^(K) = dz,    ζ^(k) = (∂f/∂z)ᵀ ζ^(k+1),

each with the derivatives at z^(k), which the loop forward has kept; de^(k) = (∂f/∂e)ᵀ ζ^(k+1) and dc = Σ_k (∂f/∂c)ᵀ ζ^(k+1) are
computed of all rounds at once. f is derived as a step of a recurrence, which it is. Source: Rumelhart, Hinton, Williams 1986,
"Learning representations by back-propagating errors", of the rounds as layers with shared weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sympy as sp

from symbptt.autodiff.guard import FREE, STRENGTH, Flow, Zeros
from symbptt.autodiff.linear_form import linear_form
from symbptt.autodiff.over_rounds import OverRounds
from symbptt.autodiff.vjp import Context, Contributions
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Rounds, Settled, placeholder
from symbptt.ir.range import NONE
from symbptt.ir.rewrite import copy_node
from symbptt.ir.rounds import Body, graph_of, loop_of
from symbptt.ir.step import Argument, Step


def to_rounds(g: Graph, node: Node, started: set[tuple[int, ...]]) -> Contributions:
    """Return what a repetition on a page gives to the values of its body and to its starts: leaves that stand for the adjoints
    behind a round and before the first, once for all its values; lines of their own say how they follow from each other."""
    if node.args in started:
        return []
    started.add(node.args)
    starts, _, _, following = node.attrs.parts(node.args)
    pairs = [("behind", new) for new in following] + [("first", start) for start in starts]
    return [(id, build.leaf(g, "adjoint", f"{what}.{id}", g.shape(id), g.is_complex(id))) for what, id in pairs]


@dataclass
class Loops:
    """The loops of a step while its adjoints are found; `derive` derives the recursion of a step.

    The values of one loop are several nodes, one for each that is read. Their adjoints are collected, and go through the loop
    together when the first of these nodes, the last to be visited, is reached.
    """

    context: Context
    forward: Sequence[int]
    derive: Callable[..., Any]
    bars: dict[tuple[Any, ...], dict[int, int]] = field(default_factory=dict)

    def contributions(self, node: Node, bar: int | None) -> Contributions:
        """Return what the adjoints of the values of a loop add to those of its arguments, at the first of the values."""
        loop = loop_of(node)
        bars = self.bars.setdefault(loop, {})
        if bar is not None:
            bars[node.attrs.out] = self._of_last(node, bar)
        g = self.context.graph
        # A sibling is a reader of the same arguments.
        beside = (g[id] for id in (g.readers(node.args[0]) if node.args else ()) if g[id].family == "rounds")
        earlier = (n.id for n in beside if loop_of(n) == loop and n.id in self.context.kept)
        if min(earlier) < node.id or not bars:
            return []
        found, guarded = adjoint_of_loop(self.context, node, bars, self.derive)
        if guarded:
            self.context.guarded.add(node.id)
        self.context.flows.setdefault(node.id, FREE)
        return found

    def _of_last(self, node: Node, bar: int) -> int:
        """Return the adjoint of a carried value behind the last round, which is all that a step reads of a loop."""
        g = self.context.graph
        view, (first, *rest) = g[bar], node.shape
        spans = ((node.attrs.count, 1, 1), *((0, n, 1) for n in rest))
        assert node.attrs.is_carried(), f"a value inside of a loop is read by a step: {node}"
        assert view.family == "view" and view.attrs.kind == "pad" and view.attrs.data == spans, (
            f"{view} of {first} rows"
        )
        return build.reshape(g, view.args[0], tuple(rest))


def adjoint_of_loop(
    context: Context, node: Node, bars: dict[int, int], derive: Callable[..., Any]
) -> tuple[Contributions, bool]:
    """Return what the adjoints of carried values behind the last round, by their number, give to the arguments of a loop, and
    whether the body has derivatives that may be infinite or no number."""
    g, loop = context.graph, node.attrs
    r = _derived(context, node, derive)
    found = _Reverse(context, node, r)
    found.run(bars)
    given: Contributions = []
    roles = (["state"] * loop.carried + ["input"] * loop.each)[: len(node.args)]
    roles += ["param"] * (len(node.args) - len(roles))
    for i, (arg, role) in enumerate(zip(node.args, roles, strict=True)):
        if arg in context.wanted:
            given += [(arg, build.expand(g, value, g.shape(arg))) for value in found.of_argument(i, role)]
    return given, r.guarded


def _derived(context: Context, node: Node, derive: Callable[..., Any]) -> Any:
    """Return the recursion of the body of a loop, in which a derivative that may be infinite is guarded where nothing flows into the
    last round, or where a round hands nothing on to the one before it."""
    step, ranges = step_of(node.attrs), context.guards.ranges
    leaves = [*step.leaves][: len(node.args)]  # behind them an identity, which a body has of its own
    hazards = {name: ranges.hazards(arg) for name, arg in zip(leaves, node.args, strict=True)}
    hazards |= {name: ranges.hazards(node.id) for name in leaves[: node.attrs.carried]}
    incoming = of_any(_flows_behind(context, node))
    r = derive(step, incoming, hazards)
    # What the body itself does not choose is zero in the rounds before. Without what may be infinite nothing is to be guarded.
    again = of_any([incoming, *r.flows.values()])
    return derive(step, again, hazards) if again.wild and again.zeros != incoming.zeros else r


def _flows_behind(context: Context, node: Node) -> list[Flow]:
    """Return what is known of the adjoints of the carried values of a loop behind its last round: those of the views that show it."""
    g, loop = context.graph, loop_of(node)
    beside = (g[id] for id in (g.readers(node.args[0]) if node.args else ()) if g[id].family == "rounds")
    shown = (view for n in beside if loop_of(n) == loop for view in g.readers(n.id))
    return [context.flows[view] for view in shown if view in context.flows]


def of_any(flows: Sequence[Flow]) -> Flow:
    """Return what is known of values of which each is read by each: a zero of one is followed in all."""
    found = [z.why for flow in flows for z in flow.zeros]
    strongest = max(found, key=STRENGTH.__getitem__, default=None)
    wild = NONE.union(*(flow.wild for flow in flows))
    return Flow((Zeros(strongest),) if strongest else (), wild)


def step_of(loop: Rounds | Settled) -> Step:
    """Return the body of a loop as a step: what is carried are states, what each round has are inputs, all else parameters; all that
    a fixed point reads are inputs."""
    g = graph_of(loop.inner)
    leaves = [node for node in loop.inner.nodes if node.family == "leaf" and node.attrs.role != "size"]
    arguments = tuple(
        Argument(node.attrs.role, node.attrs.name, node.shape, complex=node.attrs.complex) for node in leaves
    )
    states = [node.attrs.name for node in leaves[: loop.carried]]
    following = dict(zip(states, loop.inner.following, strict=True))
    return Step("", "", g, arguments, {node.attrs.name: node.id for node in leaves}, following)


class _Reverse:
    """The loop back through the rounds, and what it computes for all rounds at once."""

    def __init__(self, context: Context, node: Node, r: Any) -> None:
        self.g, self.node, self.loop, self.r = context.graph, node, node.attrs, r
        self.back: Rounds | None = None
        self.args: tuple[int, ...] = ()
        self.new: dict[int, int] = {}
        self.carries = [r.carry[f"state{i}"] for i in range(self.loop.carried)]
        self.recurrent, self.inputs, self.params, self.split = with_coefficients(r, self.carries)
        self.rounds = OverRounds(self.g, r.graph, self.loop.count, self._value)

    def run(self, bars: dict[int, int]) -> None:
        """Make the loop, which begins with the adjoints `bars` behind the last round."""
        g, own = self.g, self.r.graph
        following = [self.recurrent.get(f"state{i}") for i in range(self.loop.carried)]
        moving = own.descendants(self.carries)
        inside = [id for id in own.ancestors([id for id in following if id is not None]) if id in moving]
        read = dict.fromkeys(arg for id in inside for arg in own[id].args if arg not in moving)
        read |= dict.fromkeys(id for id in following if id is not None and id not in moving)
        outside = [
            id
            for id in read
            if own[id].args or (own[id].family == "leaf" and own[id].attrs.role != "size") or own[id].shape
        ]
        values = {id: self.rounds.of(id) for id in outside}
        each = [id for id in outside if values[id][1]]
        closed = [id for id in outside if not values[id][1]]
        starts = [
            bars.get(i, build.expand(g, build.number(g, 0.0), own.shape(leaf))) for i, leaf in enumerate(self.carries)
        ]
        body = [id for id in inside if id not in self.carries]
        inner, self.new = Body(self.carries, each, closed).of(own, body, following)
        inner = replace(inner, names=tuple(self._names().items()))
        self.args = (*starts, *(values[id][0] for id in (*each, *closed)))
        self.back = Rounds(inner, len(starts), len(each), self.loop.count, True, 0)

    def _names(self) -> dict[int, str]:
        """Return names for the values of the loop back: those of adjoints of what has a name."""
        own = dict(self.loop.inner.names)
        bars = {bar: own[id] for id, bar in self.r.adjoint.items() if id in own}
        bars |= {leaf: own.get(i, "z") for i, leaf in enumerate(self.carries)}
        found = {self.split.get(bar, bar): f"d{name}" for bar, name in bars.items()}
        return {self.new[id]: name for id, name in found.items() if id in self.new}

    def of_argument(self, i: int, role: str) -> list[int]:
        """Return the parts of the adjoint of an argument of the loop forward: none where it is zero."""
        assert self.back is not None
        if role == "state":
            return [build.row(self.g, build.rounds(self.g, self.args, replace(self.back, out=i)), 0)]
        number = i - self.loop.carried - (self.loop.each if role == "param" else 0)
        id = (self.inputs if role == "input" else self.params).get(f"{role}{number}")
        if id is None:
            return []
        if role == "param":
            # A value that is read in several places has one product for each.
            return [self.rounds.of(part)[0] for part in terms(self.r.graph, id)]
        value, goes_round = self.rounds.of(id)
        return [value if goes_round else build.expand(self.g, value, (self.loop.count, *self.r.graph.shape(id)))]

    def _value(self, id: int) -> tuple[int, bool] | None:
        """Return where a value of the body, or of its adjoint, is there for all rounds; None where it follows from its arguments."""
        own, loop, g = self.r.graph, self.loop, self.g
        node, forward = own[id], id < len(loop.inner.nodes)
        if forward and node.family == "leaf" and node.attrs.role != "size":
            if id < loop.carried:
                return build.rows(g, self._kept(id), 0, loop.count), True
            return self.node.args[id], id < loop.carried + loop.each
        if forward and node.family != "number" and node.attrs is not None and self._is_of_round(id):
            return self._kept(id), True
        if self.back is not None and id in self.new:
            stack = build.rounds(g, self.args, replace(self.back, out=self.new[id]))
            return (build.rows(g, stack, 1, loop.count) if self.new[id] < loop.carried else stack), True
        return None

    def _kept(self, id: int) -> int:
        """Return a value of the body forward in all rounds, which the loop forward keeps."""
        if id in self.loop.inner.following:
            # It is carried on: all but the first row of what is.
            carried = build.rounds(self.g, self.node.args, replace(self.loop, out=self.loop.inner.following.index(id)))
            return build.rows(self.g, carried, 1, self.loop.count)
        return build.rounds(self.g, self.node.args, replace(self.loop, out=id))

    def _is_of_round(self, id: int) -> bool:
        """Answer whether a value of the body depends on what is carried."""
        own = self.r.graph
        return any(own[arg].family == "leaf" and arg < self.loop.carried for arg in own.ancestors([id]))


def with_coefficients(
    r: Any, carries: Sequence[int]
) -> tuple[dict[str, int], dict[str, int], dict[str, int], dict[int, int]]:
    """Return the adjoints of what is carried, of what each round has and of all else, by name, in which each elementwise step is
    a sum of adjoints times coefficients, and the new values of old ones.

    A coefficient reads no adjoint, so that it is a value of its own, computed of all rounds at once and not in the loop.
    """
    g = r.graph
    named = (r.recurrent, r.inputs, r.params)
    ids = g.ancestors([id for found in named for id in found.values()])
    moving = g.descendants(carries)
    new: dict[int, int] = {}
    for id in ids:
        node = g[id]
        if id not in moving or node.family == "leaf":
            new[id] = id
            continue
        args = tuple(new[arg] for arg in node.args)
        form = None
        if node.family == "map":
            movers = {placeholder(i): arg for i, arg in enumerate(node.args) if arg in moving}
            form = linear_form(node.attrs.expr, movers)
        new[id] = copy_node(g, node, args) if form is None else _summed(g, node, form, new)
    recurrent, inputs, params = ({name: new[id] for name, id in found.items()} for found in named)
    return recurrent, inputs, params, new


def _summed(g: Graph, node: Node, form: dict[int, sp.Expr], new: dict[int, int]) -> int:
    """Return an elementwise value as a sum of adjoints times coefficients."""
    args: list[int] = []
    terms = []
    for mover, factor in form.items():
        args.append(new[mover])
        own = placeholder(len(args) - 1)
        if factor.free_symbols:
            read = [i for i in range(len(node.args)) if placeholder(i) in factor.free_symbols]
            body = factor.xreplace({placeholder(i): placeholder(k) for k, i in enumerate(read)})
            args.append(build.map_(g, body, [new[node.args[i]] for i in read]))
            terms.append(own * placeholder(len(args) - 1))
        else:
            terms.append(factor * own)
    # Two adjoints may have one coefficient, and one adjoint may stand for two values by now.
    ids = list(dict.fromkeys(args))
    body = sp.Add(*terms).xreplace({placeholder(k): placeholder(ids.index(id)) for k, id in enumerate(args)})
    return build.map_(g, body, ids)


def terms(g: Graph, id: int) -> list[int]:
    """Return the values of which a value is the plain sum."""
    node = g[id]
    if node.family == "map" and node.attrs.expr == sp.Add(*(placeholder(i) for i in range(len(node.args)))):
        return [part for arg in node.args for part in terms(g, arg)]
    return [id]
