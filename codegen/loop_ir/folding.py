"""Temporaries outside of loops that need no buffer: one expression can hold the statement that writes them and the one that
reads them.

Example: of `t = a + b; u = W · t; c = u + d` both t and u are parts of `c = W · (a + b) + d`. Where a statement between writes to
a, neither is: a would be read too late, though u itself reads t and W alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import (
    BLOCK,
    Buffer,
    Function,
    If,
    Loop,
    Map,
    Runtime,
    Sharpen,
    Statement,
    View,
    reads,
    views,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.order import covers


def foldable(f: Function) -> frozenset[Buffer]:
    """Return the temporaries that one statement outside of loops writes and one behind it reads, while nothing writes to what
    their expression reads."""
    # Two uses are the write and one read. A second reader would compute the expression again, and a result is what
    # the caller gets.
    uses = Counter(view.buffer for s in walk(f.body) for view in views(s))
    results = {port.view.buffer for port in f.results}
    once = {b for b in f.buffers if b.space == "temporary" and uses[b] == 2 and b not in results}
    return frozenset(b for body in _bodies(f.body) for b in _foldable(body, once))


def _bodies(body: Sequence[Statement]) -> Iterator[Sequence[Statement]]:
    yield body
    for s in body:
        if isinstance(s, If):
            yield from (part for part in (s.body, s.orelse) if part)


def _foldable(body: Sequence[Statement], once: set[Buffer]) -> Iterator[Buffer]:
    """Yield the temporaries of one body that are folded, in the order in which they are written."""
    sources: dict[Buffer, set[Buffer]] = {}
    for i, s in enumerate(body):
        if isinstance(s, Loop | If | Runtime) or (isinstance(s, Map) and not s.args):
            continue
        out = writes(s)[0].buffer
        if out not in once:
            continue
        # A loop reads it in each round, an If perhaps never, and a call of the runtime takes arrays, so that in front
        # of these the value is computed where it stands.
        at = next((j for j in range(i + 1, len(body)) if any(v.buffer == out for v in views(body[j]))), None)
        if at is None or isinstance(body[at], Loop | If | Runtime):
            continue
        # The expression also reads what those read that are folded into it: all of it is read where the last one stands.
        read = {b for view in reads(s) for b in sources.get(view.buffer, {view.buffer})}
        # Its reader may be several calls of which the first writes: it must not write what the others read.
        written = {view.buffer for x in walk(body[i + 1 : at + 1]) for view in writes(x)}
        if read.isdisjoint(written):
            sources[out] = read
            yield out


def is_one_expression(s: Sharpen) -> bool:
    """Answer whether one expression computes the argument of a Sharpen: each of its statements writes all of an array, or sees an
    axis of it as several, and computes as much. Else each has an array, into which it writes."""
    outs = (writes(x)[0] for x in s.body)
    return all(len(out.axes) > len(out.buffer.shape) or covers(_of_block(out)) for out in outs) and all(
        moves_along_all(x) for x in s.body if isinstance(x, Map)
    )


def moves_along_all(s: Map) -> bool:
    """Answer whether operands of a map move along every axis of its result. The expression of one that lacks an axis is smaller than
    what it stands for: of a copy of one number into (1,) it has no axis at all, nor of one row of a vector that is seen as rows."""
    moving = {
        i
        for arg in s.args
        if isinstance(arg, View)
        for i, axis in enumerate(arg.axes)
        if axis.of and (axis.length != 1 or arg.buffer.shape[axis.of[0]] == 1)
    }
    return moving == {*range(len(s.out.axes))}


def _of_block(view: View) -> View:
    """Return a view of a buffer that is as long as the block at hand, which may be shorter than others."""
    own = {axis.of: axis.length for axis in view.axes}
    shape = tuple(own.get((i,), n) if n == BLOCK else n for i, n in enumerate(view.buffer.shape))
    return replace(view, buffer=replace(view.buffer, shape=shape))
