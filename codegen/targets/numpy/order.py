"""Statements whose axes are in the order in which their results lie in memory, so that no view transposes them."""

from __future__ import annotations

from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import Map, Reduce, View
from symbptt.codegen.loop_ir.views import is_whole, permuted
from symbptt.codegen.targets.numpy.index import Shown, in_order, merges


def ordered(s: Map) -> Map:
    """Return a map whose axes are in the order in which its result lies in memory, so that no view transposes it, without
    those of one element that the buffer lacks."""
    order = [i for i in in_order(s.out) if s.out.axes[i].of]
    args = tuple(permuted(arg, order) if isinstance(arg, View) else arg for arg in s.args)
    return replace(s, out=permuted(s.out, order), args=args)


def ordered_reduction(s: Reduce) -> tuple[Shown, str]:
    """Return the operand of a reduction, its kept axes in the order of the result and those that go merged where they are
    one axis in memory, and the axes that go, as text."""
    kept = [i for i in range(len(s.x.axes)) if i not in s.axes]
    order = list(range(len(s.x.axes)))
    for place, i in zip(kept, (kept[k] for k in in_order(s.out)), strict=True):
        order[place] = i
    x, groups = permuted(s.x, order), list[tuple[int, ...]]()
    for i in range(len(order)):
        before = groups[-1] if groups else ()
        if before and i in s.axes and before[-1] in s.axes and merges(x, (before[-1], i)):
            groups[-1] = (*before, i)
        else:
            groups.append((i,))
    axes = [k for k, group in enumerate(groups) if group[0] in s.axes]
    return Shown(x, tuple(groups)), str(axes[0]) if len(axes) == 1 else str(tuple(axes))


def covers(view: View) -> bool:
    """Answer whether a view is all elements of its buffer, in any order."""
    return is_whole(permuted(view, in_order(view))) if all(axis.of for axis in view.axes) else False


def is_turned(view: View) -> bool:
    """Answer whether the axes of a view, but for those that repeat, are not in the order in which they lie in memory."""
    own = without_repeated(view)
    return in_order(own) != list(range(len(own.axes)))


def without_repeated(view: View) -> View:
    return replace(view, axes=tuple(axis for axis in view.axes if axis.of))
