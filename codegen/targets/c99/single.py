"""Blocks of one step: what the loop IR computes for the steps of a block becomes part of the loop over steps.

The number of steps of a block is the target's to choose, and results do not depend on it. Plain loops gain nothing from
blocks; with one step a block, buffers of blocks shrink to one step, and what was around a loop joins its body.

Example: `loop lo in 0:T by K, each count steps: [a[0:count] = ..., loop t in lo:lo+count: h[t+1] = a[t-lo] ...]` becomes
`loop lo in 0:T: [a[0:1] = ..., h[lo+1] = a[0] ...]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BLOCK, Axis, Buffer, Extent, Function, Loop, Operand, Statement, View, writes
from symbptt.codegen.loop_ir.rewrite import with_parts
from symbptt.ir.shape import Size, size

Numbers = Mapping[sp.Symbol, Size]


def with_single_steps(f: Function) -> Function:
    """Return a function whose blocks have one step each."""
    return with_numbers(f, {BLOCK: 1})


def with_numbers(f: Function, numbers: Numbers) -> Function:
    """Return a function with numbers in the place of some sizes, that of the steps of a block among them; a loop of one round is
    its body."""
    buffers = tuple(_buffer(b, numbers) for b in f.buffers)
    arguments, results = (
        tuple(replace(port, view=_view(port.view, numbers)) for port in ports) for ports in (f.arguments, f.results)
    )
    constants = tuple(replace(c, buffer=_buffer(c.buffer, numbers)) for c in f.constants)
    return Function(
        f.name,
        tuple(symbol for symbol in f.sizes if symbol not in numbers),
        arguments,
        constants,
        buffers,
        tuple(_body(f.body, numbers)),
        results,
    )


def _body(body: Sequence[Statement], numbers: Numbers) -> Iterator[Statement]:
    for s in body:
        # Statements that write no element would be loops of no round.
        yield from (x for x in _statement(s, numbers) if not any(0 in view.shape for view in writes(x)))


def _statement(s: Statement, numbers: Numbers) -> Iterator[Statement]:
    if not isinstance(s, Loop):
        yield with_parts(s, lambda x: _operand(x, numbers), lambda body: _body(body, numbers))
        return
    start, stop, strip = (_size(n, numbers) for n in (s.start, s.stop, s.strip))
    if size(stop - start) == 1:
        yield from _body(s.body, {**numbers, s.index: start})
        return
    assert strip == 1, f"a loop by strips that are no blocks: {s}"
    inner = numbers if s.count is None else {**numbers, s.count: 1}
    yield Loop(s.index, start, stop, tuple(_body(s.body, inner)), s.reverse, origin=s.origin)


def _operand(x: Operand, numbers: Numbers) -> Operand:
    return Extent(_size(x.size, numbers)) if isinstance(x, Extent) else _view(x, numbers)


def _view(view: View, numbers: Numbers) -> View:
    axes = tuple(Axis(_size(a.length, numbers), a.of, _size(a.step, numbers)) for a in view.axes)
    return View(_buffer(view.buffer, numbers), tuple(_size(n, numbers) for n in view.start), axes)


def _buffer(buffer: Buffer, numbers: Numbers) -> Buffer:
    return replace(buffer, shape=tuple(_size(n, numbers) for n in buffer.shape))


def _size(value: Size, numbers: Numbers) -> Size:
    return value if isinstance(value, int) else size(value.xreplace({k: sp.sympify(v) for k, v in numbers.items()}))
