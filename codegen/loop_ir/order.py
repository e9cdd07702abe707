"""The order in which axes lie in memory: statements and views whose axes are in the order of their buffers.

Example: of y (B, n) over a buffer (n, B) the axes in order are 1, 0; a map into y is the map into the buffer of its arguments
with their axes exchanged, so that nothing transposes what is computed.
"""

from __future__ import annotations

from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import Axis, Map, View
from symbptt.codegen.loop_ir.views import is_whole, permuted


def in_order(view: View) -> list[int]:
    """Return the axes of a view in the order in which they lie in memory, those that repeat first."""
    return sorted(range(len(view.axes)), key=lambda i: (view.axes[i].of, -rank(view.axes[i]), i))


def rank(axis: Axis) -> int:
    """Return 1 for an axis that jumps over elements of its own axis of the buffer, else 0."""
    # Of two axes along one axis of the buffer the one with the longer step comes first; only int and symbol differ.
    return 0 if axis.step in (1, -1) else 1


def ordered(s: Map) -> Map:
    """Return a map whose axes are in the order in which its result lies in memory, so that no view transposes it, without
    those of one element that the buffer lacks."""
    order = [i for i in in_order(s.out) if s.out.axes[i].of]
    args = tuple(permuted(arg, order) if isinstance(arg, View) else arg for arg in s.args)
    return replace(s, out=permuted(s.out, order), args=args)


def covers(view: View) -> bool:
    """Answer whether a view is all elements of its buffer, in any order."""
    return is_whole(permuted(view, in_order(view))) if all(axis.of for axis in view.axes) else False


def is_turned(view: View) -> bool:
    """Answer whether the axes of a view, but for those that repeat, are not in the order in which they lie in memory."""
    own = without_repeated(view)
    return in_order(own) != list(range(len(own.axes)))


def without_repeated(view: View) -> View:
    return replace(view, axes=tuple(axis for axis in view.axes if axis.of))
