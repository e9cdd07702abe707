"""Elimination of temporaries: a statement writes where its one reader writes.

Example: `s = U h; a = s + b` becomes `a = U h; a = a + b`, without s. Such a reader is a map that reads the temporary
element for element. It must not read its own output otherwise, nor may anything between the two use that output. The
output must lie in rows: a product into scattered places is slow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import (
    Algebra,
    Buffer,
    Contract,
    Cumulate,
    Function,
    Gather,
    Map,
    Reduce,
    Statement,
    View,
    reads,
    views,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.rewrite import with_parts
from symbptt.ir.scalar import Ref
from symbptt.ir.shape import size

SOURCES = (Algebra, Contract, Cumulate, Gather, Map, Reduce)
"""Statements that may write elsewhere."""


def in_place(f: Function) -> Function:
    """Return a function without the temporaries that it can do without."""
    # A temporary costs a pass over memory more, and room in the cache that others need: where the value is made of it
    # element by element at once, NumPy may as well write into the destination twice.
    uses = Counter(view.buffer for s in walk(f.body) for view in views(s))
    body = _body(f.body, uses)
    left = {view.buffer for s in walk(body) for view in views(s)} | {port.view.buffer for port in f.results}
    return replace(f, body=body, buffers=tuple(b for b in f.buffers if b in left))


def _body(body: Sequence[Statement], uses: Counter[Buffer]) -> tuple[Statement, ...]:
    found = [with_parts(s, lambda x: x, lambda inner: _body(inner, uses)) for s in body]
    # From the last to the first, so that a chain of maps ends up where its last one writes.
    for i in reversed(range(len(found))):
        j = _reader(found, i, uses)
        if j is not None:
            first, second = found[i], found[j]
            assert isinstance(first, SOURCES) and isinstance(second, Map)
            args = tuple(second.out if arg == first.out else arg for arg in second.args)
            found[i], found[j] = replace(first, out=second.out), replace(second, args=args)
    # A copy of a view to itself remains where the reader was a copy.
    return tuple(s for s in found if not (isinstance(s, Map) and s.body == Ref(0) and s.args == (s.out,)))


def _reader(body: Sequence[Statement], i: int, uses: Counter[Buffer]) -> int | None:
    """Return the map that alone reads the temporary which a statement writes, where the statement may write its output."""
    s = body[i]
    # Two uses are this write and one read; an output that accumulates has more, for `add` reads it.
    if not isinstance(s, SOURCES) or s.out.buffer.space != "temporary" or uses[s.out.buffer] != 2:
        return None
    for j in range(i + 1, len(body)):
        other = body[j]
        if isinstance(other, Map) and s.out in other.args:
            return j if _may_write(s, other, body[i + 1 : j]) else None
    return None


def _may_write(s: Statement, reader: Map, between: Sequence[Statement]) -> bool:
    out = reader.out
    # Truth values and numbers do not share a buffer.
    if out.buffer.dtype != writes(s)[0].buffer.dtype:
        return False
    # What must be apart from the destination: all that the first statement reads while it writes there, all that the
    # reader reads beside it, and all that statements between them touch.
    others = [arg for arg in reader.args if isinstance(arg, View) and arg != writes(s)[0]]
    own = [view for view in reads(s) if not (isinstance(s, Map) and view == out)]  # a map may: element for element
    looked_at = [*own, *others, *(view for x in walk(between) for view in views(x))]
    return in_rows(out) and all(apart(out, view) for view in looked_at)


def apart(a: View, b: View) -> bool:
    """Answer whether two views certainly share no element: they have other buffers, or differ at a fixed index of an
    axis."""
    if a.buffer != b.buffer:
        return True
    for i, (x, y) in enumerate(zip(a.start, b.start, strict=True)):
        points = not any(i in axis.of for axis in (*a.axes, *b.axes))
        gap = size(x - y)
        # A gap in symbols may be zero for some sizes.
        if points and isinstance(gap, int) and gap != 0:
            return True
    return False


def in_rows(view: View) -> bool:
    """Answer whether the elements of a view lie in rows of its buffer, one behind the other."""
    last = len(view.buffer.shape) - 1
    inner = [axis for axis in view.axes if last in axis.of]
    return last < 0 or (
        len(inner) == 1 and inner[0].step == 1 and all(len(axis.of) == 1 or axis.length == 1 for axis in view.axes)
    )
