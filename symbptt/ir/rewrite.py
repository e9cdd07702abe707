"""Making a graph anew, node by node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Slope

Rewrite = Callable[[Graph, Node, tuple[int, ...]], int]
"""(new graph, old node, its new arguments) -> the new node."""


def rewritten(old: Graph, needed: Iterable[int], rewrite: Rewrite) -> tuple[Graph, dict[int, int]]:
    """Return a graph with `needed` and all they are computed from made by `rewrite`, and new ids by old ones."""
    g, new = Graph(), dict[int, int]()
    for id in old.ancestors(needed):
        node = old[id]
        g.locate = lambda place=node.place: place  # type: ignore[misc]
        new[id] = rewrite(g, node, tuple(new[arg] for arg in node.args))
    g.locate = lambda: ""
    for id, name in old.names.items():
        # Two old nodes may become one new node: the name of the first stays.
        if id in new and new[id] not in g.names:
            g.names[new[id]] = name
    for id, mark in old.marks.items():
        if id in new and all(arg in new for arg in mark.args):
            g.marks.setdefault(new[id], replace(mark, args=tuple(new[arg] for arg in mark.args)))
    g.slopes.update(moved_slopes(old, new))
    return g, new


def moved_slopes(old: Graph, new: Mapping[int, int]) -> dict[int, Slope]:
    """Return what is known of gradients, in another graph that has some values of this one; `new` ids by old ones."""
    found: dict[int, Slope] = {}
    for id, slope in old.slopes.items():
        if id in new and all(arg in new for arg in slope.args):
            links = tuple((inner, new[outer]) for inner, outer in slope.links if outer in new)
            found.setdefault(new[id], replace(slope, args=tuple(new[arg] for arg in slope.args), links=links))
    return found


def copy_node(g: Graph, node: Node, args: tuple[int, ...]) -> int:
    """Return the same node in another graph."""
    return g.add(node.family, args, node.shape, node.attrs)
