"""Blocks of one step: what the loop IR computes for the steps of a block becomes part of the loop over steps.

The number of steps of a block is the target's to choose, and results do not depend on it. Plain loops gain nothing from
blocks; with one step a block, buffers of blocks shrink to one step, and what was around a loop joins its body.

Example: `loop lo in 0:T by K, each count steps: [a[0:count] = ..., loop t in lo:lo+count: h[t+1] = a[t-lo] ...]` becomes
`loop lo in 0:T: [a[0:1] = ..., h[lo+1] = a[0] ...]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BLOCK, Axis, Buffer, Extent, Function, Loop, Statement, View
from symbptt.ir.shape import Size, size

Numbers = Mapping[sp.Symbol, Size]


def with_single_steps(f: Function) -> Function:
    """Return a function whose blocks have one step each."""
    numbers: Numbers = {BLOCK: 1}
    buffers = tuple(_buffer(b, numbers) for b in f.buffers)
    results = tuple(replace(port, view=_replaced(port.view, numbers)) for port in f.results)
    return replace(f, buffers=buffers, body=tuple(_body(f.body, numbers)), results=results, block=None)


def _body(body: Sequence[Statement], numbers: Numbers) -> Iterator[Statement]:
    for s in body:
        yield from _statement(s, numbers)


def _statement(s: Statement, numbers: Numbers) -> Iterator[Statement]:
    if not isinstance(s, Loop):
        yield replace(s, **{x.name: _replaced(getattr(s, x.name), numbers) for x in fields(s)})
        return
    start, stop, strip = (_size(n, numbers) for n in (s.start, s.stop, s.strip))
    if size(stop - start) == 1:
        yield from _body(s.body, {**numbers, s.index: start})
        return
    assert strip == 1, f"a loop by strips that are no blocks: {s}"
    inner = numbers if s.count is None else {**numbers, s.count: 1}
    yield Loop(s.index, start, stop, tuple(_body(s.body, inner)), s.reverse, origin=s.origin)


def _replaced(value: Any, numbers: Numbers) -> Any:
    """A field of a statement with numbers in the place of symbols; what holds no sizes stays as it is."""
    match value:
        case View(buffer, start, axes):
            moved = tuple(Axis(_size(a.length, numbers), a.of, _size(a.step, numbers)) for a in axes)
            return View(_buffer(buffer, numbers), tuple(_size(n, numbers) for n in start), moved)
        case Extent(n):
            return Extent(_size(n, numbers))
        case tuple() if any(isinstance(x, Statement) for x in value):
            return tuple(_body(value, numbers))
        case tuple():
            return tuple(_replaced(x, numbers) for x in value)
    return value


def _buffer(buffer: Buffer, numbers: Numbers) -> Buffer:
    return replace(buffer, shape=tuple(_size(n, numbers) for n in buffer.shape))


def _size(value: Size, numbers: Numbers) -> Size:
    return value if isinstance(value, int) else size(value.xreplace({k: sp.sympify(v) for k, v in numbers.items()}))
