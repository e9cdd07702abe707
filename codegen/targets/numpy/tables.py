"""Tables in NumPy: rows that are read by indices, and elements that are added at indices."""

from __future__ import annotations

from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import Gather, Scatter, View
from symbptt.codegen.loop_ir.order import in_order, without_repeated
from symbptt.codegen.loop_ir.views import permuted
from symbptt.codegen.targets.numpy.operands import Operands
from symbptt.codegen.targets.numpy.views import Scope


def gather(o: Operands, scope: Scope, s: Gather) -> str:
    """Return rows of a table as an expression."""
    lead, index = _index_of(s)
    if index is None:
        plain = tuple((i,) for i in range(len(s.table.axes)))
        table, at = o.text(scope, s.table, plain), o.text(scope, s.index, plain[:-1])
        return f"np.take_along_axis({table}, np.expand_dims({at}, {s.axis}), {s.axis}).squeeze({s.axis})"
    if all(not axis.of for axis in s.table.axes[:lead]):
        own = replace(s.table, axes=s.table.axes[lead:])
        axis = s.axis - lead
        own = permuted(own, [axis, *(i for i in range(len(own.axes)) if i != axis)])
        return f"{o.text(scope, own, tuple((i,) for i in range(len(own.axes))))}[{o.text(scope, index)}]"
    plain = tuple((i,) for i in range(len(s.table.axes)))
    return f"_gathered({o.text(scope, s.table, plain)}, {o.text(scope, index)}, {s.axis - lead}, True)"


def gather_call(o: Operands, scope: Scope, s: Gather) -> list[str]:
    lead, index = _index_of(s)
    out = o.text(scope, s.out)
    if index is None or any(axis.of for axis in s.table.axes[:lead]) or in_order(s.out) != list(range(len(s.out.axes))):
        return [f"np.copyto({out}, {gather(o, scope, s)})"]
    own = replace(s.table, axes=s.table.axes[lead:])
    axis = s.axis - lead
    own = permuted(own, [axis, *(i for i in range(len(own.axes)) if i != axis)])
    table = o.text(scope, own, tuple((i,) for i in range(len(own.axes))))
    # With mode "raise" NumPy would write into `out` by way of a buffer.
    return [f'np.take({table}, {o.text(scope, index)}, axis=0, out={out}, mode="clip")']


def scatter(o: Operands, scope: Scope, s: Scatter) -> list[str]:
    """Return the call that adds elements at indices."""
    out = o.text(scope, without_repeated(s.out))
    return [f"np.add({out}, {elements(o, scope, s)}, out={out})"]


def elements(o: Operands, scope: Scope, s: Scatter) -> str:
    """Return zeros with elements added at indices; along axes that repeat all go to the same places."""
    # Where all steps and samples add to one table, rows are added up by `_collected`; where each has a table of its
    # own, elements go to places in it.
    lead = 0
    while lead < len(s.index.axes) and s.index.axes[lead].of:
        lead += 1
    assert not any(axis.of for axis in s.index.axes[lead:]), s
    # What each sample has of its own stands before what is added up in its table: several integers, or its steps.
    order = sorted(range(lead), key=lambda i: not s.out.axes[i].of)
    index = o.text(scope, permuted(replace(s.index, axes=s.index.axes[:lead]), order))
    plain = tuple((i,) for i in range(len(s.x.axes)))
    x, axis = o.text(scope, permuted(s.x, [*order, *range(lead, len(s.x.axes))]), plain), s.axis - lead
    own = sum(bool(a.of) for a in s.out.axes[:lead])
    if lead and not own:
        return f"_collected({x}, {index}, {axis}, {o.names.shape(s.out.shape[lead:])})"
    if own < lead:
        samples, table = [s.out.shape[i] for i in order[:own]], [*s.out.shape[lead:]]
        rows = f"_rows_added({x}, {index}, {o.names.shape((*samples, table.pop(axis), *table))})"
        return f"np.moveaxis({rows}, {own}, {own + axis})" if axis else rows
    return f"_scattered({x}, {index}, {axis}, {o.names.shape(s.out.shape)})"


def _index_of(s: Gather) -> tuple[int, View | None]:
    """Return the number of axes of samples of a gather, and its index with these axes alone; None where rows of one sample
    have indices of their own."""
    lead = 0
    while lead < len(s.index.axes) and s.index.axes[lead].of:
        lead += 1
    own = s.index.axes[lead:]
    if any(axis.of for axis in own) or s.axis < lead:
        return lead, None
    return lead, replace(s.index, axes=s.index.axes[:lead])
