"""A loss, or what it predicts, without gradients: of the steps that were run nothing is kept but the states behind them."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call, _cut
from symbptt.codegen.runtime.cell import STATES, _shapes
from symbptt.codegen.runtime.checkpoints import _spanned
from symbptt.codegen.runtime.masks import _end, _final
from symbptt.codegen.runtime.part import _part
from symbptt.codegen.runtime.whole import _prepared
from symbptt.codegen.runtime.workspace import _steps


def _evaluated(call: _Call, found: Any) -> Any:
    """Run all steps, piece by piece, of which each fits in the cache; add to `found` what each tells, and return its end."""
    plan, start, shapes = _prepared(call, True), call.start, _shapes(**call.sizes)
    piece = plan[0] if plan else _steps(call.T, call.B, sum(int(np.prod(shapes[k])) for k in STATES), 2**11)
    for lo, hi in _spanned(_end(call.T, call.active), piece):
        states, outputs, tape = _part(call, start, lo, hi)
        found.add(call, states | outputs, lo, hi)
        start = _final(states, start, _cut(call.active, lo, hi))
        call.ws.give(tape[-1])
    return found.end(call)
