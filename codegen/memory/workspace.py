"""Lets temporaries share buffers: two of one shape that are never live at once are one.

Example: `s = a b; c = s + d; s_1 = c c; e = s_1 + c` needs one temporary, for s is not read any more when s_1 is written.
"""

from __future__ import annotations

from symbptt.codegen.loop_ir.liveness import Live, liveness
from symbptt.codegen.loop_ir.nodes import Buffer, Function
from symbptt.codegen.loop_ir.rewrite import with_buffers

SHARED = ("temporary", "block")
"""Spaces of buffers that may share memory."""


def shared(f: Function) -> Function:
    """Return a function whose temporaries of one shape and type share a buffer where their lives do not overlap."""
    live = liveness(f)
    ids = sorted((b for b in live if b.space in SHARED), key=lambda b: (live[b].first, live[b].last, b.name))
    held: list[tuple[Buffer, Live]] = []
    new: dict[Buffer, Buffer] = {}
    for buffer in ids:
        span = live[buffer]
        fitting = ((i, first) for i, (first, last) in enumerate(held) if _fits(first, last, buffer, span))
        found = next(fitting, None)
        if found is None:
            held.append((buffer, span))
        else:
            at, first = found
            new[buffer] = first
            held[at] = (first, Live(held[at][1].first, span.last))
    return with_buffers(f, new)


def _fits(there: Buffer, last: Live, buffer: Buffer, span: Live) -> bool:
    return (there.shape, there.dtype, there.space) == (
        buffer.shape,
        buffer.dtype,
        buffer.space,
    ) and last.last < span.first
