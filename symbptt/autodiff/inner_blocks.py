"""The derivatives of what loops inside a step make: of all their rounds, and of a fixed point.

Of z^(k+1) = f(z^(k), c) the derivative in a source s goes through the rounds beside z,

    D^(k+1) = (∂f/∂z) D^(k) + ∂f/∂s,    D^(0) = ∂z^(0)/∂s,

so it is a loop of its own, of a body with twice the carried values, and its size has nothing to do with the number of rounds. Of a
fixed point z = f(z, c) it is the solution of one linear system, by the implicit function theorem: (I - ∂f/∂z) D = ∂f/∂s, both
derivatives at z. Source: Bai, Kolter, Koltun 2019, "Deep equilibrium models", theorem 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    given = {i for i, arg in enumerate(node.args) if s.blocks.get(arg, ZERO).kind != "zero"}
    # What is carried depends on the source from some round on, where something that it is made of does.
    moving = given
    while (wider := moving | _reached(s, node, moving)) != moving:
        moving = wider
    body = _Body.of(loop, s.own, moving)
    sweep = body.sweep(s)
    is_moving = [i for i in range(loop.carried) if i in moving]
    following = [
        *(body.new[id] for id in loop.inner.following),
        *(sweep.whole(body.new[loop.inner.following[i]]) for i in is_moving),
    ]
    if loop.is_carried():
        if loop.out not in moving:
            return ZERO
        out = body.tangents[loop.out]
    else:
        out = sweep.whole(body.new[loop.out])
    inner = Inner(tuple(replace(n, place="") for n in body.g), tuple(following), tuple(body.g.names.items()))
    args = [id for group in _groups(node) for id in (*_values(node, group), *_tangents(s, node, group, moving))]
    each = loop.each + sum(loop.carried <= i < loop.carried + loop.each for i in moving)
    attrs = Rounds(inner, loop.carried + len(is_moving), each, loop.count, loop.reverse, out)
    return Block("dense", build.rounds(s.g, args, attrs))


def _reached(s: Sweep, node: Node, moving: set[int]) -> set[int]:
    """Return the carried values of which a round makes something that depends on the source, where the leaves `moving` do."""
    body = _Body.of(node.attrs, s.own, moving)
    sweep = body.sweep(s)
    next_ = (body.new[id] for id in node.attrs.inner.following)
    return {i for i, id in enumerate(next_) if sweep.blocks.get(id, ZERO).kind != "zero"}


def _groups(node: Node) -> tuple[range, range, range]:
    """Return which arguments of a loop are carried, read row by row, and the same in all rounds."""
    loop: Rounds = node.attrs
    behind = loop.carried + loop.each
    return range(loop.carried), range(loop.carried, behind), range(behind, len(node.args))


def _values(node: Node, group: range) -> list[int]:
    return [node.args[i] for i in group]


def _tangents(s: Sweep, node: Node, group: range, moving: Iterable[int]) -> list[int]:
    """Return the derivatives of the arguments of a group that enter the loop beside them."""
    return [s.whole(node.args[i]) for i in group if i in moving]


@dataclass(frozen=True)
class _Body:
    """The body of a loop with leaves for the derivatives of those that are moving: `new` are the values by their ids in the loop's own
    body, `tangents` these leaves by what they are the derivative of."""

    g: Graph
    own: Shape
    new: dict[int, int]
    tangents: dict[int, int]
    following: tuple[int, ...]

    @staticmethod
    def of(loop: Rounds, own: Shape, moving: Iterable[int]) -> _Body:
        g, new, tangents = Graph(), dict[int, int](), dict[int, int]()
        nodes = loop.inner.nodes
        behind = loop.carried + loop.each
        leaves = [n.id for n in nodes if n.family == "leaf" and n.attrs.role in ("state", "input", "param")]
        groups = (leaves[: loop.carried], leaves[loop.carried : behind], leaves[behind:])
        for role, group in zip(("state", "input", "param"), groups, strict=True):
            for id in group:
                new[id] = build.leaf(g, role, nodes[id].attrs.name, nodes[id].shape)
            for n, id in enumerate((id for id in group if id in moving), len(group)):
                tangents[id] = build.leaf(g, role, f"{role}{n}", (*nodes[id].shape, *own))
        for node in nodes:
            if node.id not in new:
                new[node.id] = copy_node(g, node, tuple(new[arg] for arg in node.args))
        g.names.update({new[id]: name for id, name in loop.inner.names})
        return _Body(g, own, new, tangents, loop.inner.following)

    def sweep(self, s: Sweep) -> Sweep:
        """Return a sweep through one round, from the derivatives of what enters it."""
        blocks = {self.new[id]: Block("dense", tangent) for id, tangent in self.tangents.items()}
        return s.within(self.g, self.own, blocks, [self.new[id] for id in self.following])


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
