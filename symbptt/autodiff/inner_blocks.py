"""The derivatives of what loops inside a step make: of all their rounds, and of a fixed point.

Of z^(k+1) = f(z^(k), c) the derivative in a source s goes through the rounds beside z,

    D^(k+1) = (∂f/∂z) D^(k) + ∂f/∂s,    D^(0) = ∂z^(0)/∂s,

so it is a loop of its own, of a body with twice the carried values, and its size has nothing to do with the number of rounds. Of a
fixed point z = f(z, c) it is the solution of one linear system, by the implicit function theorem: (I - ∂f/∂z) D = ∂f/∂s, both
derivatives at z. Source: Bai, Kolter, Koltun 2019, "Deep equilibrium models", theorem 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Protocol

from symbptt.autodiff.block import IDENTITY, ZERO, Block
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.algebra import algebra, eye
from symbptt.ir.graph import Graph
from symbptt.ir.node import Inner, Node, Rounds, Settled, placeholder
from symbptt.ir.rewrite import copy_node
from symbptt.ir.shape import Shape


class Sweep(Protocol):
    """A sweep forward through a graph: the blocks of its values in one source, of the shape `own`."""

    g: Graph
    own: Shape
    blocks: dict[int, Block]

    def whole(self, id: int) -> int:
        """Return the block of a value as an array of shape value.shape + own."""

    def within(self, g: Graph, own: Shape, blocks: Mapping[int, Block], following: Sequence[int]) -> Sweep:
        """Return a sweep to some values of a graph, from those whose blocks are given."""


# Rounds.


def of_rounds(s: Sweep, node: Node) -> Block:
    """Return the derivative of what a value of a loop is in all rounds: a loop that makes it beside the values themselves."""
    loop: Rounds = node.attrs
    moving = {i for i, arg in enumerate(node.args) if s.blocks.get(arg, ZERO).kind != "zero"}
    while True:
        body = _Body.of(loop, {i: (*loop.inner.nodes[i].shape, *s.own) for i in moving})
        sweep = body.sweep(s, "dense")
        # What is carried depends on the source from some round on, where something that it is made of does.
        wider = moving | body.reached(sweep)
        if wider == moving:
            break
        moving = wider
    if loop.is_carried() and loop.out not in moving:
        return ZERO
    out = body.tangents[loop.out] if loop.is_carried() else sweep.whole(body.new[loop.out])
    following = [sweep.whole(id) for id in body.next_of(moving)]
    return Block("dense", body.loop(s.g, node, following, {i: s.whole(node.args[i]) for i in moving}, out))


def of_row(s: Sweep, node: Node) -> Block | None:
    """Return the derivative of a row of the values of a loop where each entry depends on its own entry alone, through all rounds; None
    of a view that is no such row."""
    g, part = s.g, s.g[node.args[0]]
    if part.family != "view" or part.attrs.kind != "slice":
        return None
    rows, (at, count, _) = g[part.args[0]], part.attrs.data[0]
    if (
        rows.family != "rounds"
        or not rows.attrs.is_carried()
        or count != 1
        or not node.shape == rows.shape[1:] == s.own
    ):
        return None
    given = {i: s.blocks.get(arg, ZERO) for i, arg in enumerate(rows.args)}
    found = _entries_alone(s, rows.attrs, given)
    if found is None:
        return None
    body, sweep = found
    if rows.attrs.out not in body.tangents:
        return ZERO
    following = [_weight(body.g, sweep.blocks.get(id, ZERO), s.own) for id in body.next_of(body.tangents.keys())]
    tangents = {i: _weight(g, given[i], body.g.shape(id)) for i, id in body.tangents.items()}
    row = build.row(g, body.loop(g, rows, following, tangents, body.tangents[rows.attrs.out]), at)
    return Block("diagonal" if s.own else "scalar", row)


def _entries_alone(s: Sweep, loop: Rounds, given: Mapping[int, Block]) -> tuple[_Body, Sweep] | None:
    """Return a body with weights for the derivatives of its leaves, and a sweep through it, where each entry depends on its own entry
    alone; None of another one. `given` are the blocks of the arguments of the loop."""
    moving = {i for i, block in given.items() if block.kind != "zero"}
    is_each = any(loop.carried <= i < loop.carried + loop.each for i in moving)
    if is_each or any(block.kind == "dense" for block in given.values()):
        return None
    while all(i >= loop.carried or loop.inner.nodes[i].shape == s.own for i in moving):
        # What is the same in all rounds may have one number for all entries.
        shapes_ = {i: s.own if i < loop.carried or given[i].kind == "diagonal" else () for i in moving}
        body = _Body.of(loop, shapes_)
        sweep = body.sweep(s, "diagonal" if s.own else "scalar")
        if any(sweep.blocks.get(body.new[id], ZERO).kind == "dense" for id in loop.inner.following):
            return None
        wider = moving | body.reached(sweep)
        if wider == moving:
            return body, sweep
        moving = wider
    return None


def _weight(g: Graph, block: Block, shape: Shape) -> int:
    """Return the weights of a block that is no dense one, repeated to a shape."""
    id = block.id if block.kind in ("scalar", "diagonal") else build.number(g, float(block.kind == "identity"))
    return build.expand(g, id, shape) if shape else id


def _groups(loop: Rounds, count: int) -> tuple[range, range, range]:
    """Return which of so many arguments of a loop are carried, read row by row, and the same in all rounds."""
    behind = loop.carried + loop.each
    return range(loop.carried), range(loop.carried, behind), range(behind, count)


@dataclass(frozen=True)
class _Body:
    """The body of a loop with leaves for the derivatives of some of its leaves: `new` are the values by their ids in the loop's own
    body, in which the leaves are the first, `tangents` these leaves by what they are the derivative of."""

    of_loop: Rounds
    g: Graph
    new: dict[int, int]
    tangents: dict[int, int]

    @staticmethod
    def of(loop: Rounds, shapes_: Mapping[int, Shape]) -> _Body:
        g, new, tangents = Graph(), dict[int, int](), dict[int, int]()
        nodes = loop.inner.nodes
        count = sum(n.family == "leaf" and n.attrs.role in ROLES for n in nodes)
        for role, group in zip(ROLES, _groups(loop, count), strict=True):
            for i in group:
                new[i] = build.leaf(g, role, nodes[i].attrs.name, nodes[i].shape)
            for n, i in enumerate((i for i in group if i in shapes_), len(group)):
                tangents[i] = build.leaf(g, role, f"{role}{n}", shapes_[i])
        for node in nodes:
            if node.id not in new:
                new[node.id] = copy_node(g, node, tuple(new[arg] for arg in node.args))
        g.names.update({new[id]: name for id, name in loop.inner.names})
        return _Body(loop, g, new, tangents)

    def sweep(self, s: Sweep, kind: str) -> Sweep:
        """Return a sweep through one round, from the derivatives of what enters it."""
        blocks = {
            self.new[i]: Block(kind if self.g.shape(id) or kind == "dense" else "scalar", id)
            for i, id in self.tangents.items()
        }
        return s.within(self.g, s.own, blocks, [self.new[id] for id in self.of_loop.inner.following])

    def reached(self, sweep: Sweep) -> set[int]:
        """Return the carried values of which a round makes something that depends on the source."""
        following = enumerate(self.new[id] for id in self.of_loop.inner.following)
        return {i for i, id in following if sweep.blocks.get(id, ZERO).kind != "zero"}

    def next_of(self, moving: Set[int]) -> list[int]:
        """Return the next values of the carried ones among some leaves."""
        return [self.new[self.of_loop.inner.following[i]] for i in range(self.of_loop.carried) if i in moving]

    def loop(self, g: Graph, node: Node, following: Sequence[int], tangents: Mapping[int, int], out: int) -> int:
        """Return all that `out` is in the rounds; `following` are the derivatives of the next values, `tangents` those of arguments."""
        loop = self.of_loop
        nodes = tuple(replace(n, place="") for n in self.g)
        inner = Inner(nodes, (*(self.new[id] for id in loop.inner.following), *following), tuple(self.g.names.items()))
        groups = _groups(loop, len(node.args))
        args = [id for group in groups
                for id in (*(node.args[i] for i in group), *(tangents[i] for i in group if i in tangents))]  # fmt: skip
        each = loop.each + sum(i in tangents for i in groups[1])
        attrs = Rounds(inner, loop.carried + len(following), each, loop.count, loop.reverse, out)
        return build.rounds(g, args, attrs)


ROLES = ("state", "input", "param")
"""The roles of the leaves of a body: of what is carried, read row by row, and the same in all rounds."""


# Fixed points.


def of_point(s: Sweep, node: Node) -> Block:
    """Return the derivative of a value of a fixed point, as the solution of a linear system."""
    g, point = s.g, node.attrs
    points = [build.settled(g, node.args, replace(point, out=i)) for i in range(point.carried)]
    following = _round_at(g, node, points)
    beside = {arg: s.blocks.get(arg, ZERO) for arg in node.args[point.carried :]}
    still = dict.fromkeys(points, ZERO)
    outer = s.within(g, s.own, beside | still, following)
    if all(outer.blocks.get(id, ZERO).kind == "zero" for id in following):
        return ZERO
    fixed = dict.fromkeys(beside, ZERO) | still
    inner = [s.within(g, g.shape(z), fixed | {z: IDENTITY}, following) for z in points]
    if len(points) == 1 and g.shape(points[0]) == s.own:
        parts = [sweep.blocks.get(following[0], ZERO) for sweep in (outer, inner[0])]
        if all(part.kind != "dense" for part in parts):
            return _elementwise(g, *parts)
    sizes = [shapes.prod(g.shape(z)) for z in points]
    rows = [
        build.concatenate(g, [build.reshape(g, x.whole(id), (n, m)) for x, m in zip(inner, sizes, strict=True)], 1)
        for id, n in zip(following, sizes, strict=True)
    ]
    width = shapes.prod(s.own)
    right = [build.reshape(g, outer.whole(id), (n, width)) for id, n in zip(following, sizes, strict=True)]
    total = shapes.size(sum(sizes))
    system = build.map_(g, placeholder(0) - placeholder(1), (eye(g, total), build.concatenate(g, rows, 0)))
    solution = algebra(g, "solve", system, build.concatenate(g, right, 0))
    start = shapes.size(sum(sizes[: point.out]))
    part = build.rows(g, solution, start, sizes[point.out])
    return Block("dense", build.reshape(g, part, (*node.shape, *s.own)))


def _round_at(g: Graph, node: Node, points: Sequence[int]) -> list[int]:
    """Return what one round makes of a fixed point, as values of the graph around."""
    point: Settled = node.attrs
    leaves = [n.id for n in point.inner.nodes if n.family == "leaf" and n.attrs.role != "size"]
    known = dict(zip(leaves, (*points, *node.args[point.carried :]), strict=True))
    for n in point.inner.nodes:
        if n.id not in known:
            known[n.id] = copy_node(g, n, tuple(known[arg] for arg in n.args))
    return [known[id] for id in point.inner.following]


def _elementwise(g: Graph, outer: Block, inner: Block) -> Block:
    """Return the derivative where each entry of a fixed point depends on its own entry alone: b / (1 - a)."""
    one = build.number(g, 1)
    above, below = (
        one if x.kind == "identity" else build.number(g, 0) if x.kind == "zero" else x.id for x in (outer, inner)
    )
    found = build.map_(g, placeholder(0) / (1 - placeholder(1)), (above, below))
    return Block("diagonal" if g.shape(found) else "scalar", found)
