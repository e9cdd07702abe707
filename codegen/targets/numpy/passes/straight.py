"""Copies of operands that matrix products read badly where they lie.

A weight that a product in a loop reads across its rows is transposed once, before the loop: `s = W x` of all samples is
`np.matmul(x, WT)`. Values of a block whose steps and samples are no single axis in memory are copied, so that one product
takes all of them as rows; a stack of small products, or `einsum`, would take longer than the copy.

Example: `for t: contract s = x[t] · W "ab,cb->ac"` becomes `WT = copy of W as (b, c); for t: contract s = x[t] · WT`, in which
each row of WT is read as it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import sympy as sp

from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    BLOCK,
    STEPS,
    Axis,
    Buffer,
    Contract,
    Function,
    If,
    Loop,
    Map,
    Scan,
    Statement,
    View,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.views import whole
from symbptt.codegen.lower.frame import COUNT
from symbptt.codegen.targets.numpy.passes.temporaries import Temporaries
from symbptt.codegen.targets.numpy.product import Call, call_of, is_turned
from symbptt.ir.naming import unique
from symbptt.ir.scalar import Ref
from symbptt.ir.shape import symbols

SAMPLES = {STEPS, BATCH, BLOCK, COUNT}


def straight(f: Function) -> Function:
    """Return a function whose products in loops read matrices as they lie in memory."""
    made, found = Temporaries(f), list[Statement]()
    for s in f.body:
        if isinstance(s, Loop):
            # What no round writes, such as a weight, is copied before the loop, once for all rounds; what a round
            # writes is copied in it.
            bound = frozenset(x.index for x in walk([s]) if isinstance(x, Loop))
            around = _Around(made, frozenset(view.buffer for x in walk([s]) for view in writes(x)), bound)
            loop = replace(s, body=around.body(s.body))
            found += [*around.before, loop]
        else:
            found.append(s)
    return replace(f, body=tuple(found), buffers=made.all)


@dataclass
class _Around:
    """An outermost loop: the buffers that it writes, the indices of all loops, and the copies before it, by what they copy."""

    made: Temporaries
    written: frozenset[Buffer]
    bound: frozenset[sp.Symbol]
    before: list[Statement] = field(default_factory=list)
    known: dict[View, View] = field(default_factory=dict)

    def body(self, body: Sequence[Statement]) -> tuple[Statement, ...]:
        return tuple(new for s in body for new in self.statement(s))

    def statement(self, s: Statement) -> Sequence[Statement]:
        match s:
            case Loop() | Scan():
                return [replace(s, body=self.body(s.body))]
            case If():
                return [replace(s, body=self.body(s.body), orelse=self.body(s.orelse))]
            case Contract():
                *copies, s, after = self._in_rows(s)
                assert isinstance(s, Contract)
                return [*copies, self._weights(s), *([after] if after is not s else [])]
        return [s]

    def _in_rows(self, s: Contract) -> list[Statement]:
        """Return the copies before a product, the product, and what copies its result; the product again where nothing
        does."""
        is_batch = any(x in s.labels.b and x in s.labels.out for x in s.labels.a)
        is_of_block = any(COUNT in view.shape for view in (s.a, s.b, s.out))
        if is_batch or not is_of_block or (count := _cost(call_of(s))) < 3:
            return [s, s]
        best = s
        chosen: tuple[str, ...] = ()
        # The fewest copies first: of two choices that give the same call, that with less copying is found earlier and
        # stays.
        for some in [c for n in (1, 2, 3) for c in combinations(("a", "b", "out"), n)]:
            fresh = _with(s, {side: _contiguous(getattr(s, side)) for side in some})
            if _cost(call_of(fresh)) < count:
                best, count, chosen = fresh, _cost(call_of(fresh)), some
        if not chosen:
            return [s, s]
        new = {side: self.made.like(getattr(best, side), dtype=getattr(s, side).buffer.dtype) for side in chosen}
        product = _with(s, new)
        copies: list[Statement] = [Map(new[side], Ref(0), (getattr(s, side),)) for side in chosen if side != "out"]
        if "out" not in chosen:
            return [*copies, product, product]
        return [*copies, replace(product, origin=()), Map(s.out, Ref(0), (new["out"],), s.origin)]

    def _weights(self, s: Contract) -> Contract:
        if not any(map(self._is_weight, (s.a, s.b))):
            return s
        call = call_of(s)
        if call.function not in ("matmul", "multiply", "vecdot"):
            return s
        for side in ("a", "b"):
            view = getattr(s, side)
            shown = next((o for o in call.operands if _is_same(o.view, view)), None)
            if shown is not None and self._is_weight(view) and is_turned(shown):
                s = _with(s, {side: self._copy(view, shown.view)})
        return s

    def _is_weight(self, view: View) -> bool:
        is_moving = symbols(*view.start, *view.shape) & (SAMPLES | self.bound)
        return view.buffer not in self.written and not is_moving and len(view.axes) > 1

    def _copy(self, view: View, ordered: View) -> View:
        """Return a view of a copy, whose axes lie in memory in the order of another view of the same elements."""
        order = [view.axes.index(axis) for axis in ordered.axes if axis.of]
        source = replace(view, axes=tuple(view.axes[i] for i in order))
        if source not in self.known:
            name = unique(f"{view.buffer.name}T", self.made.taken)
            self.made.taken.add(name)
            buffer = Buffer(name, source.shape, "temporary", source.buffer.dtype)
            self.made.new.append(buffer)
            self.known[source] = whole(buffer)
            self.before.append(Map(whole(buffer), Ref(0), (source,)))
        copy = self.known[source]
        axes = [Axis(axis.length) for axis in view.axes]
        for place, i in enumerate(order):
            axes[i] = Axis(view.axes[i].length, (place,))
        return View(copy.buffer, copy.start, tuple(axes))


def _is_same(a: View, b: View) -> bool:
    """Answer whether two views have the same elements, whatever the order of their axes."""
    moving = (sorted(map(repr, (axis for axis in x.axes if axis.of))) for x in (a, b))
    return a.buffer == b.buffer and a.start == b.start and next(moving) == next(moving)


def _with(s: Contract, new: Mapping[str, View]) -> Contract:
    return replace(s, a=new.get("a", s.a), b=new.get("b", s.b), out=new.get("out", s.out))


def _contiguous(view: View) -> View:
    """Return a view as a copy of it would lie."""
    buffer = Buffer("copy", view.shape, "temporary", view.buffer.dtype)
    return whole(buffer)


def _cost(call: Call) -> int:
    """Return how far a call is from one matrix product."""
    if call.function == "einsum":
        return 4
    stacked = [call.out.view.axes[i].length for group in (call.out.groups or ())[: call.stack] for i in group]
    return 3 if any(n in SAMPLES for n in stacked) and len(stacked) > 0 else 1 if call.stack else 0
