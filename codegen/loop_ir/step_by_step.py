"""Elimination of scans: a function goes step by step, without what only its scans read.

Example: `a = sigmoid(...); scan h: a*h + u, or step by step: loop t: h[t+1] = a[t]*h[t] + u[t]` becomes the loop; where the
free part u is `w*x` in the loop and a temporary for the scan, that temporary goes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import (
    Buffer,
    Contract,
    Function,
    If,
    Loop,
    Reduce,
    Scan,
    Scatter,
    Sharpen,
    Statement,
    reads,
    views,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.rewrite import with_parts

LOCAL = ("block", "temporary", "scalar")
"""Spaces of buffers that nobody reads behind the function."""


def without_scans(f: Function) -> Function:
    """Return a function in which the body of each scan stands in its place."""
    if not any(isinstance(s, Scan) for s in walk(f.body)):
        return f
    return without_unread(replace(f, body=_plain(f.body)))


def without_unread(f: Function) -> Function:
    """Return a function without what it computes for nothing that it gives back."""
    # A value that only the scan read has no reader now, and neither have those of which it was made. Each round
    # removes one layer of them; a round that removes nothing ends it.
    body = f.body
    while True:
        read = {view.buffer for s in walk(body) for view in _needs(s)} | {p.view.buffer for p in f.results}
        left = _needed(body, read)
        if left == body:
            break
        body = left  # what only statements read that are gone now goes in the next round
    used = {view.buffer for s in walk(body) for view in views(s)} | {p.view.buffer for p in f.results}
    constants = tuple(c for c in f.constants if c.buffer in used)
    return replace(f, body=body, buffers=tuple(b for b in f.buffers if b in used), constants=constants)


def _plain(body: Sequence[Statement]) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for s in body:
        found += _plain(s.body) if isinstance(s, Scan) else [with_parts(s, lambda x: x, _plain)]
    return tuple(found)


def _needs(s: Statement) -> tuple:
    """Return the views that a statement reads for what it writes elsewhere: what is only added to is not read."""
    own = isinstance(s, Scatter | Sharpen) or (isinstance(s, Contract | Reduce) and s.add)
    return tuple(view for view in reads(s) if not (own and view == writes(s)[0]))


def _needed(body: Sequence[Statement], read: set[Buffer]) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for s in body:
        inner = with_parts(s, lambda x: x, lambda inside: _needed(inside, read))
        out = writes(s)
        dead = bool(out) and all(view.buffer.space in LOCAL and view.buffer not in read for view in out)
        empty = isinstance(inner, Loop | If) and not inner.body and not getattr(inner, "orelse", ())
        found += [] if dead or empty else [inner]
    return tuple(found)
