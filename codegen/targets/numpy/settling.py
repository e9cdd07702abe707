"""The end of a loop whose values settle, as a call of the runtime."""

from __future__ import annotations

from symbptt.codegen.loop_ir.nodes import Settle, View
from symbptt.codegen.loop_ir.order import in_order
from symbptt.codegen.loop_ir.views import permuted
from symbptt.codegen.targets.numpy.operands import Operands
from symbptt.codegen.targets.numpy.views import Scope


def settling(o: Operands, scope: Scope, s: Settle) -> str:
    """Return the call that writes new values over the old ones, and answers whether they have settled."""

    def text(view: View, order: tuple[int, ...]) -> str:
        return o.text(scope, permuted(view, order), tuple((i,) for i in order))

    # The axes of steps and samples stand first, for an error tells where the change is largest.
    orders = [(*range(s.lead), *(i for i in in_order(out) if i >= s.lead)) for out in s.out]
    pairs = [f"({text(a, i)}, {text(b, i)})" for a, b, i in zip(s.out, s.new, orders, strict=True)]
    numbers = [o.part(scope, x)[0] for x in (s.round, s.first)]
    told = f"{numbers[0]}, {s.most}, {s.tolerance!r}, {s.relative}, {s.subject!r}, {s.lead}, {numbers[1]}"
    return f"_settled({', '.join(pairs)}, told=({told}))"
