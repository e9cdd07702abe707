"""Truncation: losses flow back block by block, each through as many steps as it reaches and no further."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import LEAD, STATES, TARGETS, TIMED, Arrays, Gradients, Mask, Sizes
from symbptt.codegen.runtime.chunked import _block_back, _blocks, _first
from symbptt.codegen.runtime.every import _counted
from symbptt.codegen.runtime.losses import _added, _weights
from symbptt.codegen.runtime.masks import _final, _kept
from symbptt.codegen.runtime.parts import _cut, _inputs_of, _part, _sliced, _zeros
from symbptt.codegen.runtime.sweeps import _loss


def _begun(blocks: Iterable[tuple[int, int]], active: Mask) -> list[tuple[int, int]]:
    """Return the blocks in which a sample has a step, or an empty one."""
    return [(lo, hi) for lo, hi in blocks if active is None or active[lo].any()] or [(0, 0)]


def _accumulate(sums: Arrays, found: tuple[Arrays, Arrays], first: int, hi: int, part: Gradients) -> None:
    """Add the gradients of one block; the state that enters it counts only where it is the initial one."""
    params, inputs, state, resets = part
    for k, v in params.items():
        found[0][k] = found[0].get(k, 0) + v
    for k, v in inputs.items():
        sums[k][first:hi] += v
    for k, v in state.items():
        found[1][k] = found[1].get(k, 0) + resets[k] + (v if first == 0 else 0)


def _flowed_back(
    tape: Any,
    full: Arrays,
    last: Arrays,
    flow: Any,
    sizes: Sizes,
    T: int,
    B: int,
    dtype: Any,
    active: Mask,
    reset: Mask,
    ws: Any,
) -> Gradients:
    """Return the truncated gradients of a whole run: parameters, inputs, initial state."""
    at = (np.full(B, T - 1) if active is None else np.maximum(active.sum(0) - 1, 0), np.arange(B))
    alive = np.full(B, T > 0) if active is None else active.any(0)
    full = {k: None if v is None else _kept(active, v) for k, v in full.items()}
    for k in [k for k, v in last.items() if v is not None and T]:
        full[k] = np.zeros((T, *last[k].shape), dtype) if full[k] is None else full[k].copy()
        full[k][at] += _kept(alive, last[k])
    zeros = _zeros([k for k, v in last.items() if v is None], (B,), sizes, dtype)
    idle = {k: zeros[k] if v is None else _kept(~alive, v) for k, v in last.items()}
    sums = _inputs_of(T, B, sizes, dtype)
    found: tuple[Arrays, Arrays] = {}, idle
    for lo, hi in _begun(_blocks(T), active):
        first = _first(lo, hi)
        given = {k: None if v is None else v[lo:hi] for k, v in full.items()}
        masks = _cut(active, first, hi), _cut(reset, first, hi)
        part = _block_back(_sliced(tape, first, hi), first, lo, hi, given, flow, sizes, B, dtype, *masks, ws)
        _accumulate(sums, found, first, hi, part)
    return found[0], sums, found[1], dict.fromkeys(STATES, 0)


def _trained(
    plan: None, a: Arrays, flow: Any, sizes: Sizes, T: int, B: int, dtype: Any, active: Mask, reset: Mask, ws: Any
) -> tuple[Any, Gradients, Arrays]:
    """Return the loss, the truncated gradients of parameters, inputs and states, and the states at the end.

    The steps are run block by block. Behind each its losses flow back, through the tapes of the blocks that they reach.
    """
    counted = _counted(T, B, active)
    weights = _weights(counted, dtype)
    sums = _inputs_of(T, B, sizes, dtype)
    own: Arrays = {}
    found: tuple[Arrays, Arrays] = {}, {}
    held: list[tuple[int, int, Any]] = []
    value, start = dtype.type(0), {k: a[k] for k in STATES}
    for lo, hi in _begun(_blocks(T), active):
        states, outputs, tape = _part(a, start, lo, hi, sizes, B, dtype, active, reset, ws)
        start, first = _final(states, start, _cut(active, lo, hi)), _first(lo, hi)
        sent = _kept(np.arange(lo, hi)[:, None] >= first, weights[lo:hi])
        targets = {k: a[k][lo:hi] if LEAD[k] == 2 else np.broadcast_to(a[k], (hi - lo, *a[k].shape)) for k in TARGETS}
        loss, full, part = _loss(a | targets, states | outputs, sent, sizes, hi - lo, B, dtype)
        value += np.sum(_kept(counted[lo:hi], loss) * weights[lo:hi])
        own = {k: own.get(k, 0) + v for k, v in part.items()}
        held = [(s, e, kept) for s, e, kept in [*held, (lo, hi, tape)] if e > first or s == lo]
        full = dict.fromkeys([*states, *outputs]) | {k: _kept(_cut(active, lo, hi), v) for k, v in full.items()}
        masks = _cut(active, first, hi), _cut(reset, first, hi)
        joined = _joined_tapes(held, first)
        given = _block_back(joined, first, lo, hi, full, flow, sizes, B, dtype, *masks, ws)
        _accumulate(sums, found, first, hi, given)
    return value, (_added(found[0], own), sums, found[1], dict.fromkeys(STATES, 0)), start


def _joined_tapes(held: list[tuple[int, int, Any]], first: int) -> tuple[Any, ...]:
    """Return the tapes of blocks that follow each other as one, from step `first` on."""
    return tuple(
        np.concatenate([tape[i][max(first - lo, 0) :] for lo, _, tape in held]) if timed else held[-1][2][i]
        for i, timed in enumerate(TIMED)
    )
