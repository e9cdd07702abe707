"""Windows: each loss flows back by itself, through as many steps as its window has."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call, _cut
from symbptt.codegen.runtime.cell import SPAN, STATES, Arrays, Gradients
from symbptt.codegen.runtime.masks import _kept
from symbptt.codegen.runtime.parts import _behind_zeros, _sliced, _zeros
from symbptt.codegen.runtime.sweeps import _pull


def _blocks(T: int) -> list[tuple[int, int]]:
    """Return the blocks of steps whose losses flow back at once, each through its own window."""
    return [(lo, min(lo + SPAN, T)) for lo in range(0, T, SPAN)]


def _first(lo: int, hi: int) -> int:
    """Return the first step that the losses of the block lo to hi reach."""
    return max(lo - SPAN + 1, 0)


def _reaches(T: int) -> list[tuple[int, int, int]]:
    """Return steps lo to hi whose losses flow back to the same step, and that step."""
    return [(t, t + 1, max(t - SPAN + 1, 0)) for t in range(T)]


def _block_back(call: _Call, tape: Any, full: Arrays, adjoints: Any, first: int, lo: int, hi: int) -> Gradients:
    """Flow the cotangents of steps lo to hi back through a window each; `carry[i]` is the adjoint after step at + i.
    Into `adjoints`, if there are any, those of the states after each step are written."""
    T, dtype, reset = hi - first, call.dtype, _cut(call.reset, first, hi)
    carry = _zeros(call, [k for k in STATES if full[k] is None], hi - lo, call.B)
    carry = {k: carry[k] if full[k] is None else full[k] for k in STATES}
    outputs = {k: v for k, v in full.items() if k not in STATES}
    given = {k: v if v is None else _behind_zeros(v, lo - first) for k, v in outputs.items()}
    total = {k: np.zeros((T, *v.shape[1:]), v.dtype) for k, v in carry.items()}
    initial, resets = ({k: np.zeros(v.shape[1:], v.dtype) for k, v in carry.items()} for _ in range(2))
    at, end = lo - first, T
    for _ in range(min(SPAN, T)):
        for k in STATES:
            total[k][at:end] += carry[k]
        carry, _, _ = _pull(_sliced(tape, at, end), carry, outputs, False, call.sizes, end - at, call.B, dtype)
        outputs = dict.fromkeys(outputs)
        if reset is not None:
            resets = {k: v + _kept(reset[at:end], carry[k]).sum(0) for k, v in resets.items()}
            carry = {k: _kept(~reset[at:end], v) for k, v in carry.items()}
        if at == 0:
            initial = {k: v + carry[k][0] for k, v in initial.items()}
            carry = {k: v[1:] for k, v in carry.items()}
        at, end = max(at - 1, 0), end - 1
    whole, params, inputs = _pull(tape, total, given, True, call.sizes, T, call.B, dtype)
    for k in adjoints or ():
        adjoints[k][...] = whole[k]
    return params, inputs, initial, resets
