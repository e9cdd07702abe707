"""Lay the values of loops inside a step out round by round, so that those of one round and step lie in one row of memory.

A value of all rounds has the axes (steps, samples, rounds, ...) by its meaning. A round writes what it makes for all samples of
one step: behind this pass the axis of rounds lies before that of samples, as that of gates does, and so do values that are
computed of all rounds at once, which meet them element by element.
"""

from __future__ import annotations

from dataclasses import replace

from symbptt.codegen.program.program import Program
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node


def rounds_first(p: Program) -> Program:
    """Return the program with the axis of rounds first in the layout of all values that have one."""
    found: set[int] = set()
    for node in p.graph:
        if node.family == "rounds" or any(
            _keeps_first(p.graph, node, i) for i, arg in enumerate(node.args) if arg in found
        ):
            found.add(node.id)
    results = {*p.next.values(), *p.outputs.values(), *p.inputs.values(), *p.params.values()}
    return replace(p, by_round=frozenset(found - results - p.front))


def _keeps_first(g: Graph, node: Node, i: int) -> bool:
    """Answer whether the first axis of a value is that of its argument i, not repeated."""
    shape = g.shape(node.args[i])
    match node.family:
        case "map":
            return len(shape) == len(node.shape) and shape[0] == node.shape[0]
        case "contract":
            labels = (node.attrs.a, node.attrs.b)[i]
            return bool(node.attrs.out) and node.attrs.out[0] == labels[0]
        case "reduce":
            return 0 not in node.attrs.axes
        case "cumulate":
            return True
        case "view" if node.attrs.kind == "transpose":
            return bool(node.attrs.data[0] == 0)
        case "view" if node.attrs.kind in ("slice", "pad", "expand"):
            return len(shape) == len(node.shape) and node.shape[0] != 1
        case "view" if node.attrs.kind == "reshape":
            return bool(node.shape) and node.shape[0] == shape[0]
    return False
