"""Copies that fill a new buffer part by part along one axis: one array made of others, or of their opposites, stacked or
concatenated.

Example: `W[0, :, :] = -Wi; W[1, :, :] = Wf` are one join along axis 0, where W has two entries there.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import takewhile
from typing import TypeGuard

from symbptt.codegen.loop_ir.nodes import Buffer, Map, Statement, View
from symbptt.ir.node import placeholder
from symbptt.ir.scalar import Ref, tree_of
from symbptt.ir.shape import Size, size

OPPOSITE = tree_of(-placeholder(0))


def is_opposite(s: Map) -> bool:
    """Answer whether what a part of a join holds is the opposite of its source."""
    return s.body == OPPOSITE


def _is_copy(s: Statement) -> TypeGuard[Map]:
    if not isinstance(s, Map) or s.body not in (Ref(0), OPPOSITE):
        return False
    return isinstance(s.args[0], View) and s.out.buffer.space != "scalar"


def joined(body: Sequence[Statement], begun: Container[Buffer]) -> tuple[Map, ...]:
    """Return the copies with which a body begins that fill a new buffer part by part along one axis, if there are several."""
    first = body[0]
    if not _is_copy(first) or first.out.buffer in begun:
        return ()
    alike = takewhile(lambda s: _is_copy(s) and s.out.buffer == first.out.buffer, body)
    maps = tuple(s for s in alike if isinstance(s, Map))
    return maps if len(maps) > 1 and joining_axis(maps) is not None else ()


def joining_axis(parts: Sequence[Map]) -> int | None:
    """Return the axis of a buffer along which copies follow each other from its begin to its end, or None."""
    buffer = parts[0].out.buffer
    for axis, length in enumerate(buffer.shape):
        at: Size = 0
        for s in parts:
            if size(s.out.start[axis] - at) != 0 or not _is_slab(s.out, axis):
                break
            at = size(at + next((a.length for a in s.out.axes if axis in a.of), 1))
        else:
            kinds = {any(axis in a.of for a in s.out.axes) for s in parts}
            if size(at - length) == 0 and len(kinds) == 1:
                return axis
    return None


def _is_slab(view: View, axis: int) -> bool:
    """Answer whether a view is a span of a buffer along one axis, or one point of it, and all of it along the others."""
    for i, length in enumerate(view.buffer.shape):
        own = [a for a in view.axes if i in a.of]
        if i == axis:
            if len(own) > 1 or any(a.step != 1 or len(a.of) != 1 for a in own):
                return False
        elif view.start[i] != 0 or [(a.length, a.step, a.of) for a in own] != [(length, 1, (i,))]:
            return False
    return True


def source_of(s: Map) -> View:
    """Return what is copied, without the axes of one element that the copy does not have."""
    (x,) = s.args
    assert isinstance(x, View)
    return View(x.buffer, x.start, tuple(axis for axis, to in zip(x.axes, s.out.axes, strict=True) if to.of))
