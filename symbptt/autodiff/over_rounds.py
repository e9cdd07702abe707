"""Values of the body of a loop for all its rounds at once: the same operations with one axis more, the first."""

from __future__ import annotations

from collections.abc import Callable

from symbptt.ir import build
from symbptt.ir.algebra import algebra
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Product, placeholder
from symbptt.ir.rewrite import copy_node
from symbptt.ir.shape import Size

Value = tuple[int, bool]
"""A value of the outer graph, and whether its first axis is that of the rounds: where not, it is the same in all."""


class OverRounds:
    """The values of the graph `own` of a body in the graph `g` around it, for `count` rounds at once; `known` tells where a value
    is there already."""

    def __init__(self, g: Graph, own: Graph, count: Size, known: Callable[[int], Value | None]) -> None:
        self.g, self.own, self.count, self.known = g, own, count, known
        self.values: dict[int, Value] = {}

    def of(self, id: int) -> Value:
        """Return a value for all rounds."""
        todo = [id]
        # An explicit stack, for a body may be a chain of many values.
        while todo:
            if todo[-1] in self.values:
                todo.pop()
                continue
            there = self.known(todo[-1])
            if there is not None:
                self.values[todo.pop()] = there
                continue
            lacking = [arg for arg in self._read(self.own[todo[-1]]) if arg not in self.values]
            if lacking:
                todo += lacking
            else:
                node = self.own[todo.pop()]
                self.values[node.id] = self._made(node)
        return self.values[id]

    def _read(self, node: Node) -> tuple[int, ...]:
        """Return what is read of a value's arguments: of a sum of products their factors, for it is one product."""
        inner = self.own[node.args[0]] if node.family == "total" else node
        if inner is not node and inner.family == "contract" and self.known(inner.id) is None:
            return inner.args
        return node.args

    def _made(self, node: Node) -> Value:
        if node.family == "total":
            return self._summed(node), False
        args = [self.values[arg] for arg in node.args]
        if not any(goes for _, goes in args):
            return copy_node(self.g, node, tuple(id for id, _ in args)), False
        return RULES[node.family](self, node, args), True

    def _summed(self, node: Node) -> int:
        """Return the sum of a value over all rounds."""
        g, inner = self.g, self.own[node.args[0]]
        read = self._read(node)
        if read == node.args:
            value, goes = self.values[node.args[0]]
            if goes:
                return build.reduce(g, "sum", value, (0,))
            return build.map_(g, placeholder(0) * placeholder(1), (value, build.size_of(g, self.count)))
        (a, a_goes), (b, b_goes) = (self.values[arg] for arg in read)
        labels: Product = inner.attrs
        if a_goes and b_goes:
            over = 1 + max((*labels.a, *labels.b), default=-1)
            return build.contract(g, a, b, Product((over, *labels.a), (over, *labels.b), labels.out))
        # What is the same in all rounds stands before the sum.
        if a_goes or b_goes:
            a = build.reduce(g, "sum", a, (0,)) if a_goes else a
            b = build.reduce(g, "sum", b, (0,)) if b_goes else b
            return build.contract(g, a, b, labels)
        product = build.contract(g, a, b, labels)
        return build.map_(g, placeholder(0) * placeholder(1), (product, build.size_of(g, self.count)))

    def wide(self, value: Value, rank: int) -> int:
        """Return a value with so many axes behind that of the rounds, where it has one."""
        id, goes = value
        shape = self.g.shape(id)
        return build.reshape(self.g, id, (shape[0], *(1,) * (rank - len(shape) + 1), *shape[1:])) if goes else id

    def all(self, value: Value) -> int:
        """Return a value with the axis of the rounds, repeated where it is the same in all."""
        id, goes = value
        return id if goes else build.expand(self.g, id, (self.count, *self.g.shape(id)))


def _map(s: OverRounds, node: Node, args: list[Value]) -> int:
    return s.g.add("map", tuple(s.wide(arg, len(node.shape)) for arg in args), (s.count, *node.shape), node.attrs)


def _contract(s: OverRounds, node: Node, args: list[Value]) -> int:
    labels: Product = node.attrs
    over = 1 + max((*labels.a, *labels.b), default=-1)
    (a, a_goes), (b, b_goes) = args
    one, two = ((over, *labels.a) if a_goes else labels.a), ((over, *labels.b) if b_goes else labels.b)
    return build.contract(s.g, a, b, Product(one, two, (over, *labels.out)))


def _reduce(s: OverRounds, node: Node, args: list[Value]) -> int:
    return build.reduce(s.g, node.attrs.kind, args[0][0], [axis + 1 for axis in node.attrs.axes])


def _view(s: OverRounds, node: Node, args: list[Value]) -> int:
    g, data, x, shape = s.g, node.attrs.data, args[0][0], (s.count, *node.shape)
    rounds = (0, s.count, 1)
    match node.attrs.kind:
        case "transpose":
            return build.transpose(g, x, [0, *(axis + 1 for axis in data)])
        case "reshape":
            return build.reshape(g, x, shape)
        case "expand":
            return build.expand(g, s.wide(args[0], len(node.shape)), shape)
        case "slice":
            return build.cut(g, x, [rounds, *data])
        case "pad":
            return build.pad(g, x, [rounds, *data], shape)
        case "roll":
            return build.roll(g, x, data[0] + 1, data[1])
    assert node.attrs.kind == "concatenate", f"no rule for {node}"
    return build.concatenate(g, [s.all(arg) for arg in args], data[0] + 1)


def _gather(s: OverRounds, node: Node, args: list[Value]) -> int:
    (x, goes), (index, _) = args
    assert goes, f"an index that changes from round to round: {node}"
    if node.attrs.kind == "gather":
        return build.gather(s.g, x, index, node.attrs.axis + 1)
    return build.scatter(s.g, x, index, node.attrs.axis + 1, (s.count, *node.shape))


def _cumulate(s: OverRounds, node: Node, args: list[Value]) -> int:
    return build.cumulate(s.g, args[0][0], node.attrs.axis + 1, node.attrs.reverse)


def _algebra(s: OverRounds, node: Node, args: list[Value]) -> int:
    # The rounds are one more axis of stacked matrices, which all arguments have.
    return algebra(s.g, node.attrs.name, *map(s.all, args))


RULES: dict[str, Callable[[OverRounds, Node, list[Value]], int]] = {
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "algebra": _algebra,
}
