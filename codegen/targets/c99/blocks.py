"""Blocks of several steps: the products of a block stay whole, what is elementwise goes into the loop over its steps.

A product of a block has the rows of all its steps, which is what products want; elementwise values want to be made and used at
once, step by step, so that they lie in registers.

Example: `s[0:count] = W x[lo:lo+count]; a[0:count] = s[0:count] + b; loop t: h[t+1] = tanh(a[t-lo] + ...)` becomes
`s[0:count] = W x[lo:lo+count]; loop t: a = s[t-lo] + b; h[t+1] = tanh(a + ...)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import sympy as sp

from symbptt.codegen.loop_ir.nodes import (
    Buffer,
    Contract,
    Function,
    Gather,
    Loop,
    Map,
    Operand,
    Reduce,
    Sharpen,
    Statement,
    View,
    views,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.rewrite import with_parts
from symbptt.codegen.loop_ir.views import point
from symbptt.ir.node import Product
from symbptt.ir.shape import Size, size, symbols

LOCAL = ("block", "temporary")


def has_products(f: Function) -> bool:
    """Answer whether a function has products of blocks of steps."""
    return any(
        isinstance(s, Loop) and s.count is not None and any(isinstance(x, Contract) for x in s.body)
        for s in walk(f.body)
    )


def with_steps_together(f: Function) -> Function:
    """Return a function in whose blocks all that is elementwise before the loop over steps stands in it, as far as it may;
    buffers of which a step needs its own part alone have one step."""
    body = tuple(_statement(s) for s in f.body)
    return _shrunk(replace(f, body=body))


def _statement(s: Statement) -> Statement:
    if not isinstance(s, Loop) or s.count is None:
        return s
    inner = [i for i, x in enumerate(s.body) if isinstance(x, Loop)]
    if not inner:
        return s
    at = inner[0]
    loop = s.body[at]
    assert isinstance(loop, Loop)
    before, inside = list[Statement](), list(loop.body)
    for x in reversed(s.body[:at]):
        own = at_step(x, s.count, size(loop.index - s.index)) if isinstance(x, Map | Sharpen) else None
        if own is not None and _may_go(x, own, before, inside, loop.index):
            inside.insert(0, own)
        else:
            before.insert(0, x)
    return replace(s, body=(*before, replace(loop, body=tuple(inside)), *s.body[at + 1 :]))


def _may_go(
    x: Statement, own: Statement, behind: Sequence[Statement], inside: Sequence[Statement], step: sp.Symbol
) -> bool:
    """Answer whether a statement may go over those behind it into the loop: it shares with these nothing that either writes,
    and with the loop only what is of the same step."""
    if any(_views(x, buffer) and _views(y, buffer) for y in behind for buffer in _written([x, y])):
        return False
    shared = [b for b in _written([own, *inside]) if _views(own, b) and any(_views(y, b) for y in inside)]
    return all(_step_axis([v for y in (own, *inside) for v in _views(y, b)], step) is not None for b in shared)


def _views(s: Statement, buffer: Buffer) -> list[View]:
    return [view for x in walk([s]) for view in views(x) if view.buffer == buffer]


def _written(body: Sequence[Statement]) -> dict[Buffer, None]:
    return dict.fromkeys(view.buffer for s in walk(body) for view in writes(s))


def _step_axis(found: Sequence[View], step: sp.Symbol) -> int | None:
    """Return the axis of a buffer at which views of it have one and the same index, that of the step; None where there is none."""
    first = found[0]
    for axis, index in enumerate(first.start):
        if step in symbols(index) and all(
            v.start[axis] == index and not any(axis in a.of for a in v.axes) for v in found
        ):
            return axis
    return None


def at_step(s: Statement, count: Size, at: Size) -> Statement | None:
    """Return the part of a statement over a block that is one step's; None where it is no such statement."""
    match s:
        case Map() if (axis := _axis(s.out, count)) is not None:
            return replace(s, out=point(s.out, axis, at), args=tuple(_operand(x, axis, at) for x in s.args))
        case Contract() if (axis := _axis(s.out, count)) is not None:
            return _contract_at(s, s.labels.out[axis], at)
        case Reduce(add=False) if (axis := _axis(s.out, count)) is not None:
            kept = [i for i in range(len(s.x.axes)) if i not in s.axes]
            axes = tuple(i - (i > kept[axis]) for i in s.axes)
            return replace(s, out=point(s.out, axis, at), x=point(s.x, kept[axis], at), axes=axes)
        case Gather() if (axis := _axis(s.out, count)) is not None:
            table = axis + (axis >= s.axis)
            return replace(s, out=point(s.out, axis, at), index=point(s.index, axis, at), table=point(s.table, table, at),
                           axis=s.axis - (axis < s.axis))  # fmt: skip
        case Sharpen() if (axis := _axis(s.out, count)) is not None:
            body = [at_step(x, count, at) for x in s.body]
            if any(x is None for x in body):
                return None
            whole = tuple(x for x in body if x is not None)
            return replace(s, out=point(s.out, axis, at), argument=point(s.argument, axis, at), body=whole)
    return None


def _axis(view: View, count: Size) -> int | None:
    """Return the only axis of a view that has the steps of a block."""
    found = [i for i, axis in enumerate(view.axes) if axis.length == count]
    return found[0] if len(found) == 1 else None


def _operand(x: Operand, axis: int, at: Size) -> Operand:
    return point(x, axis, at) if isinstance(x, View) else x


def _contract_at(s: Contract, label: int, at: Size) -> Contract:
    def part(view: View, labels: tuple[int, ...]) -> tuple[View, tuple[int, ...]]:
        if label not in labels:
            return view, labels
        axis = labels.index(label)
        return point(view, axis, at), (*labels[:axis], *labels[axis + 1 :])

    (a, of_a), (b, of_b), (out, of_out) = part(s.a, s.labels.a), part(s.b, s.labels.b), part(s.out, s.labels.out)
    return replace(s, a=a, b=b, out=out, labels=Product(of_a, of_b, of_out))


def _shrunk(f: Function) -> Function:
    """Return a function in which buffers have one step of which every step accesses its own alone."""
    found = [
        x.index for s in f.body if isinstance(s, Loop) and s.count is not None for x in s.body if isinstance(x, Loop)
    ]
    return with_one_step(f, found)


def with_one_step(f: Function, found: Sequence[sp.Symbol]) -> Function:
    """Return a function in which its own buffers have one step of which every round of a loop accesses its own alone; `found` are the
    indices of loops over steps."""
    # Of two loops with one name for their steps the second may read what the first left of all steps.
    axes = dict(_single(f, [index for index in found if found.count(index) == 1]))

    def view(x: View) -> View:
        axis = axes.get(x.buffer)
        if axis is None:
            return x
        return replace(x, buffer=buffer(x.buffer), start=(*x.start[:axis], 0, *x.start[axis + 1 :]))

    def buffer(x: Buffer) -> Buffer:
        axis = axes.get(x)
        return x if axis is None else replace(x, shape=(*x.shape[:axis], 1, *x.shape[axis + 1 :]))

    def operand(x: Operand) -> Operand:
        return view(x) if isinstance(x, View) else x

    def changed(body: Sequence[Statement]) -> tuple[Statement, ...]:
        return tuple(with_parts(s, operand, changed) for s in body)

    return replace(f, buffers=tuple(map(buffer, f.buffers)), body=changed(f.body))


def _single(f: Function, steps: Sequence[sp.Symbol]) -> Iterator[tuple[Buffer, int]]:
    found: dict[Buffer, list[View]] = {}
    for s in walk(f.body):
        for view in views(s):
            if view.buffer.space in LOCAL:
                found.setdefault(view.buffer, []).append(view)
    for buffer, own in found.items():
        for step in steps:
            axis = _step_axis(own, step)
            if axis is not None:
                yield buffer, axis
                break
