"""Pieces that take no more bytes than a call may hold beside its arguments."""

import numpy as np

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import KINDS, MEMORY, PARTS, STATES, Sizes, _shapes
from symbptt.codegen.runtime.checkpoints import SLOT, Needed, _allowed, _least, _refusal
from symbptt.codegen.runtime.errors import ArgumentError
from symbptt.codegen.runtime.labelled import _copied
from symbptt.codegen.runtime.sweeps import _needed


def _pieces(call: _Call, end: int, trains: bool) -> tuple[int, int]:
    """Return the steps of a piece and the slots; the longest sample ends after `end` steps."""
    masks = 2 if call.active is not None else int(call.reset is not None)
    return _within(MEMORY, call.T, end, call.B, call.sizes, call.dtype.itemsize * PARTS, trains, masks, _copied(call))


def _within(
    limit: int, T: int, end: int, B: int, sizes: Sizes, item: int, trains: bool, masks: int, copied: int = 0
) -> tuple[int, int]:
    """Return the steps of a piece and the slots that take no more bytes than a limit, beside what is `copied`: results have all T
    steps, pieces those up to `end`."""
    states = sum(int(np.prod(_shapes(**sizes)[k])) for k in STATES)

    def slot(trains: bool) -> int:
        return (B * item * states + SLOT) * trains

    def needed(trains: bool) -> Needed:
        return lambda steps: copied + _needed(steps, T, B, item, sizes, trains, masks)

    found = _allowed(end, limit, needed(trains), slot(trains), trains)
    if found is None:
        calls = {True: "value_and_grad takes", False: "forward and backward take"}
        others = [
            f"\n  {calls[kind]} {_least(end, needed(kind), slot(kind)):,}" for kind in KINDS if kind is not trains
        ]
        raise ArgumentError(_refusal(end, B, needed(trains), slot(trains), limit) + "".join(others))
    return found
