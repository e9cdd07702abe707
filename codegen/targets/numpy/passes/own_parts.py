"""Results that are parts of an array which is computed for nothing else are given as these parts, without a copy.

Example: gradients of packed weights are summed in one array dW; `dWi = dW[0:n]; dWf = dW[n:2n]` go, and the caller gets
these two views of dW.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from symbptt.codegen.loop_ir.in_place import apart
from symbptt.codegen.loop_ir.nodes import Buffer, Function, Map, View, reads, walk, writes
from symbptt.codegen.loop_ir.rewrite import with_buffers
from symbptt.ir.scalar import Ref
from symbptt.ir.shape import sign_of, size


def own_parts(f: Function) -> Function:
    """Return a function that gives parts of temporaries as results, where a copy of such a part was the result."""
    # A copy of a gradient is a pass over as many numbers as the weights have, for nothing: the packed array would be
    # let go of at once. As parts of it the gradients share its memory, and none overlaps another.
    copies: dict[Buffer, tuple[Map, View]] = {}
    uses = Counter(view.buffer for x in walk(f.body) for view in (*reads(x), *writes(x)))
    for s in f.body:
        if isinstance(s, Map) and s.body == Ref(0) and isinstance(s.args[0], View) and _is_result(f, s, uses):
            copies[s.out.buffer] = (s, s.args[0])
    given: dict[Buffer, View] = {}
    for buffer, (s, part) in copies.items():
        alone = [view for other, view in given.items() if other != buffer]
        if _may_be_given(f, s, part) and all(apart_in_memory(part, view) for view in alone):
            given[buffer] = part
    body = tuple(s for s in f.body if not any(s is copies[b][0] for b in given))
    results = tuple(replace(p, view=given.get(p.view.buffer, p.view)) for p in f.results)
    lasting = {view.buffer: replace(view.buffer, space="result") for view in given.values()}
    left = replace(f, body=body, results=results, buffers=tuple(b for b in f.buffers if b not in given))
    return with_buffers(left, lasting)


def _is_result(f: Function, s: Map, uses: Counter[Buffer]) -> bool:
    """Answer whether a statement copies something into the whole of a result that nothing else writes or reads."""
    ports = [p for p in f.results if p.view.buffer == s.out.buffer]
    return len(ports) == 1 and ports[0].view == s.out and uses[s.out.buffer] == 1


def _may_be_given(f: Function, s: Map, part: View) -> bool:
    """Answer whether the buffer of a part is an own temporary that nothing writes after the copy, and the part repeats no
    element."""
    own = part.buffer in f.buffers and part.buffer.space == "temporary" and part.buffer.dtype == "float"
    later = f.body[f.body.index(s) + 1 :]
    is_final = not any(view.buffer == part.buffer for x in walk(later) for view in writes(x))
    return own and is_final and all(len(axis.of) == 1 or axis.length == 1 for axis in part.axes)


def apart_in_memory(a: View, b: View) -> bool:
    """Answer whether two parts share no element: spans of one axis that follow each other count too."""
    return apart(a, b) or any(_before(a, b, i) or _before(b, a, i) for i in range(len(a.buffer.shape)))


def _before(a: View, b: View, i: int) -> bool:
    """Answer whether a ends where or before b begins, along an axis of their buffer."""
    steps = [axis for axis in a.axes if i in axis.of]
    if any(axis.step != 1 for axis in (*steps, *(axis for axis in b.axes if i in axis.of))) or len(steps) > 1:
        return False
    length = steps[0].length if steps else 1
    return sign_of(size(b.start[i] - a.start[i] - length)) in (0, 1)
