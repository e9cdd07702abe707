"""Why a gradient is zero, as the legend of a page says it.

Example: of a mask that is read by np.where(valid > 0, a, b) alone a page has dvalid = 0, and its legend "dvalid = 0: valid stands in
conditions alone".
"""

from __future__ import annotations

from collections.abc import Iterable

from symbptt import ops
from symbptt.autodiff.labels import Label
from symbptt.equations.algebra.expressions import Symbol, is_zero
from symbptt.equations.page.lines import Line, Lines, Note
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder

CONDITIONS = frozenset((
    "greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "where", "logical_and", "logical_or", "logical_not",
    "isfinite", "isnan", "isinf",
))  # fmt: skip
"""Functions whose results are truth values, and the choice that reads one."""


def reasons(lines: Lines, all_lines: Iterable[Line]) -> Iterable[Note]:
    """Yield why gradients of the cell's arguments are zero, where the cell alone tells it."""
    step = lines.recursion.step
    for line in all_lines:
        names = {label.name for label in line.left.labels if label.adjoint} if is_zero(line.right) else ()
        for a in step.arguments:
            if a.name in names and a.name in step.leaves:
                words = _reason(step.graph, step.leaves[a.name], lines.recursion.forward_roots)
                if words:
                    yield (line.left, " = 0: ", Symbol(Label(a.name, None)), words)


def _reason(g: Graph, leaf: int, roots: list[int]) -> str:
    """Return in words why nothing flows from some results back to a leaf; nothing where something does."""
    reached, ends = {leaf}, set[str]()
    for id in g.ancestors(roots):
        node = g[id]
        read = [i for i, arg in enumerate(node.args) if arg in reached]
        if read and _is_end(node, read):
            ends.add(node.attrs.expr.func.__name__)
        elif read:
            reached.add(id)
    if any(root in reached for root in roots):
        return ""
    if not ends:
        return " is read by no state and no output"
    return " stands in conditions alone" if ends <= CONDITIONS else " stands in functions alone whose slope is 0"


def _is_end(node: Node, read: list[int]) -> bool:
    """Answer whether a value does not change, or jumps, where some of its arguments change."""
    if node.family != "map":
        return False
    expr = node.attrs.expr
    is_asked = expr.func is ops.where and expr.args[0] == placeholder(0) and read == [0]
    return is_asked or bool(getattr(expr.func, "flat", False))
