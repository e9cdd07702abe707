"""The laws of a legal graph; tests check them after every transformation."""

from __future__ import annotations

from symbptt.ir import shape as shapes
from symbptt.ir.algebra import RECORDS
from symbptt.ir.build import product_shape
from symbptt.ir.graph import Graph
from symbptt.ir.node import FAMILIES, Node, placeholder


def check(g: Graph) -> None:
    """Raise AssertionError, with the node, where a law is broken."""
    keys = set()
    for node in g:
        assert isinstance(node.attrs, FAMILIES[node.family]), f"a {node.family} with foreign attributes: {node}"
        assert all(0 <= arg < node.id for arg in node.args), f"an argument that comes later: {node}"
        assert all(isinstance(s, int) or s.free_symbols for s in node.shape), f"a size that is no normal form: {node}"
        # `repr`, because 1 and 1.0 are equal as keys but different as literals; functions of one name are told by what they are.
        key = (node.family, node.args, node.shape, repr(node.attrs), node.attrs)
        assert key not in keys, f"made twice: {node}"
        keys.add(key)
        LAWS.get(node.family, lambda g, node: None)(g, node)
    assert all(0 <= id < len(g) for id in g.names), "a name without a node"
    assert len(set(g.names.values())) == len(g.names), "a name used twice"


def _map(g: Graph, node: Node) -> None:
    allowed = {placeholder(i) for i in range(len(node.args))}
    assert node.attrs.expr.free_symbols <= allowed, f"a body with a free symbol: {node}"
    assert node.shape == shapes.broadcast(*map(g.shape, node.args)), f"a shape that does not follow: {node}"


def _contract(g: Graph, node: Node) -> None:
    product, (a, b) = node.attrs, node.args
    assert node.shape == product_shape(g.shape(a), g.shape(b), product), f"a shape that does not follow: {node}"
    for part in (product.a, product.b, product.out):
        assert len(set(part)) == len(part), f"a label twice in one operand: {node}"
    for mine, other in ((product.a, product.b), (product.b, product.a)):
        # Such a sum belongs into a `reduce`: targets lower a contraction to a matrix product, which has no such axes.
        assert set(mine) <= set(other) | set(product.out), f"an axis summed in one operand alone: {node}"


def _reduce(g: Graph, node: Node) -> None:
    assert node.attrs.axes, f"a reduction of no axis: {node}"
    assert node.shape == shapes.without(g.shape(node.args[0]), node.attrs.axes), f"a shape that does not follow: {node}"


def _view(g: Graph, node: Node) -> None:
    first, view = g.shape(node.args[0]), node.attrs
    if view.kind == "transpose":
        assert node.shape == tuple(first[i] for i in view.data), f"a shape that does not follow: {node}"
    elif view.kind == "reshape":
        assert shapes.prod(first) == shapes.prod(node.shape), f"elements lost: {node}"
    elif view.kind == "expand":
        assert shapes.broadcast(first, node.shape) == node.shape, f"a shape that does not follow: {node}"
    elif view.kind == "slice":
        assert node.shape == tuple(length for _, length, _ in view.data), f"a shape that does not follow: {node}"
    elif view.kind == "pad":
        assert first == tuple(length for _, length, _ in view.data), f"a shape that does not follow: {node}"
    elif view.kind == "roll":
        assert node.shape == first and len(first) > view.data[0], f"a shape that does not follow: {node}"
    elif view.kind == "concatenate":
        (axis,) = view.data
        parts = [g.shape(arg) for arg in node.args]
        joint = shapes.size(sum(part[axis] for part in parts))
        assert node.shape == (*first[:axis], joint, *first[axis + 1 :]), f"a shape that does not follow: {node}"
        assert len({shapes.without(part, (axis,)) for part in parts}) == 1, f"parts that do not join: {node}"


def _gather(g: Graph, node: Node) -> None:
    whole, part = g.shape(node.args[0]), node.shape
    if node.attrs.kind == "scatter":
        whole, part = part, whole
    axis, index = node.attrs.axis, g.shape(node.args[1])
    assert part == (*whole[:axis], *index, *whole[axis + 1 :]), f"a shape that does not follow: {node}"
    assert not (index and axis), f"an array of integers along another axis than the first: {node}"


def _same(g: Graph, node: Node) -> None:
    assert node.shape == g.shape(node.args[0]), f"a shape that does not follow: {node}"


def _algebra(g: Graph, node: Node) -> None:
    shape = RECORDS[node.attrs.name].shape(*map(g.shape, node.args))
    assert node.shape == shape, f"a shape that does not follow: {node}"


def _whole(g: Graph, node: Node) -> None:
    first, axes = g.shape(node.args[0]), node.attrs.axes
    assert node.shape == (first if node.attrs.stays else shapes.without(first, axes)), (
        f"a shape that does not follow: {node}"
    )
    assert all(not g.shape(arg) for arg in node.args[1:]), f"an array where a number belongs: {node}"


def _convolution(g: Graph, node: Node) -> None:
    of = dict(zip(node.attrs.reads, map(g.shape, node.args), strict=True)) | {node.attrs.result: node.shape}
    lead = 1 if node.attrs.has_channels else 0
    axes = {"w": 2 * lead, "x": lead, "z": lead}
    assert all(len(of[name]) == lead_axes + node.attrs.rank for name, lead_axes in axes.items()), (
        f"axes that do not fit: {node}"
    )
    assert not lead or of["w"][:2] == (of["z"][0], of["x"][0]), f"channels that do not fit: {node}"


def _repeat(g: Graph, node: Node) -> None:
    starts, carried, _, following = node.attrs.parts(node.args)
    assert len(starts) == len(carried) == len(following), f"values that do not go round: {node}"
    assert node.shape == g.shape(carried[node.attrs.out]), f"a shape that does not follow: {node}"
    for three in zip(starts, carried, following, strict=True):
        assert len({g.shape(id) for id in three}) == 1, f"a shape that changes from round to round: {node}"


def _rounds(g: Graph, node: Node) -> None:
    a = node.attrs
    for i, (arg, leaf) in enumerate(zip(node.args, a.inner.nodes, strict=False)):
        lead = (a.count,) if a.carried <= i < a.carried + a.each else ()
        assert leaf.family == "leaf" and g.shape(arg) == (*lead, *leaf.shape), f"an argument that does not fit: {node}"
    for leaf, new in zip(a.inner.nodes, a.inner.following, strict=False):
        assert leaf.shape == a.inner.nodes[new].shape, f"a shape that changes from round to round: {node}"
    rows = shapes.size(a.count + 1) if a.is_carried() else a.count
    assert node.shape == (rows, *a.inner.nodes[a.out].shape), f"a shape that does not follow: {node}"


def _settled(g: Graph, node: Node) -> None:
    a = node.attrs
    leaves = a.inner.nodes[: len(node.args)]
    assert all(
        leaf.family == "leaf" and g.shape(arg) == leaf.shape for arg, leaf in zip(node.args, leaves, strict=True)
    ), f"an argument that does not fit: {node}"
    for leaf, new in zip(leaves, a.inner.following, strict=False):
        assert leaf.shape == a.inner.nodes[new].shape, f"a shape that changes from round to round: {node}"
    assert a.out < a.carried and node.shape == leaves[a.out].shape, f"a shape that does not follow: {node}"


def _point(g: Graph, node: Node) -> None:
    for three in zip(*node.attrs.parts(node.args), strict=True):
        assert len({g.shape(id) for id in three}) == 1, f"a shape that changes from round to round: {node}"
    assert node.shape == g.shape(node.args[node.attrs.out]), f"a shape that does not follow: {node}"


LAWS = {"map": _map, "contract": _contract, "reduce": _reduce, "view": _view, "gather": _gather, "cumulate": _same,
        "algebra": _algebra, "total": _same, "whole": _whole, "convolution": _convolution,
        "repeat": _repeat, "rounds": _rounds, "settled": _settled, "point": _point}  # fmt: skip
