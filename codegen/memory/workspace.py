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
    # Intervals in the order of their begin, each into the first buffer that is free: for buffers of one size that is
    # the least number of them, as for any colouring of intervals.
    buffers = sorted((b for b in live if b.space in SHARED), key=lambda b: (live[b].first, live[b].last, b.name))
    held: list[tuple[Buffer, Live]] = []
    new: dict[Buffer, Buffer] = {}
    for buffer in buffers:
        span = live[buffer]
        fitting = (i for i, (there, lived) in enumerate(held) if lived.last < span.first and _are_alike(there, buffer))
        at = next(fitting, None)
        if at is None:
            held.append((buffer, span))
        else:
            there, lived = held[at]
            new[buffer] = there
            held[at] = (there, Live(lived.first, span.last))
    return with_buffers(f, new)


def _are_alike(a: Buffer, b: Buffer) -> bool:
    return (a.shape, a.dtype, a.space) == (b.shape, b.dtype, b.space)
