"""The remainders of saturating functions in a program, and the values that only their arguments need."""

from __future__ import annotations

from symbptt import ops
from symbptt.codegen.program.program import Program
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node


def arguments_again(p: Program) -> set[int]:
    """Return the rematerialized values: those that only remainders read, as the argument of the function."""
    g, found = p.graph, set[int]()
    # The second argument of a remainder is evaluated for tiny elements alone. What is needed for that alone has no
    # place of its own; what something else needs too keeps its place.
    needed, stack = set[int](), [*p.needed]
    while stack:
        id = stack.pop()
        if id not in needed:
            needed.add(id)
            stack.extend(g[id].args[:1] if is_remainder(g[id]) else g[id].args)
            # The values of a loop inside a step are computed by the loop, and never again.
            stack.extend(arg for arg in _behind(g, id) if g[arg].family in ("rounds", "settled"))
    for id in g.ancestors(p.needed):
        if id not in needed:
            found.add(id)
    return found


def _behind(g: Graph, id: int) -> list[int]:
    """Return what the argument of a remainder is computed from."""
    return g.ancestors(g[id].args[1:]) if is_remainder(g[id]) else []


def is_remainder(node: Node) -> bool:
    """Answer whether a node is the remainder of a function, of its value and its argument."""
    return node.family == "map" and node.attrs.expr.func.__name__ in ops.REMAINING
