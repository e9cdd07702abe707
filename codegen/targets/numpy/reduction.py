"""A reduction as one call of NumPy: its operand, and the axes that go."""

from __future__ import annotations

from symbptt.codegen.loop_ir.nodes import Reduce
from symbptt.codegen.loop_ir.order import in_order
from symbptt.codegen.loop_ir.views import permuted
from symbptt.codegen.targets.numpy.index import Shown, merges


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
