"""Truncation: losses flow back block by block, each through as many steps as it reaches and no further."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from symbptt.codegen.runtime.call import _Call, _cut
from symbptt.codegen.runtime.cell import LEAD, STATES, TARGETS, TIMED, Arrays, Gradients, Mask
from symbptt.codegen.runtime.chunked import _block_back, _blocks, _first
from symbptt.codegen.runtime.every import _counted
from symbptt.codegen.runtime.losses import _added, _weights
from symbptt.codegen.runtime.masks import _final, _kept
from symbptt.codegen.runtime.norms import _norm
from symbptt.codegen.runtime.part import _part
from symbptt.codegen.runtime.parts import _input_sums, _sliced, _zeros
from symbptt.codegen.runtime.sweeps import _loss


def _begun(blocks: Iterable[tuple[int, int]], active: Mask) -> list[tuple[int, int]]:
    """Return the blocks in which a sample has a step, or an empty one."""
    return [(lo, hi) for lo, hi in blocks if active is None or active[lo].any()] or [(0, 0)]


def _accumulate(sums: Arrays, found: tuple[Arrays, Arrays, Arrays], first: int, hi: int, part: Gradients) -> None:
    """Add the gradients of one block; the state that enters it counts only where it is the initial one."""
    params, inputs, state, resets = part
    for k, v in params.items():
        found[0][k] = found[0].get(k, 0) + v
    for k, v in inputs.items():
        sums[k][first:hi] += v
    for k, v in state.items():
        found[1][k] = found[1].get(k, 0) + (v if first == 0 else 0)
        found[2][k] = found[2].get(k, 0) + resets[k]


def _noted(flow: Arrays, here: Any, known: Arrays, first: int, lo: int) -> Arrays:
    """Note the norms of adjoints from step `first` on, and return these. Losses of the blocks before `lo` reach some of those steps
    too: what they leave there is `known`, up to step lo."""
    for k, v in (here or {}).items():
        if lo > first:
            v[: lo - first] += known[k][first - lo :]
        flow[k][first : first + len(v)] = [_norm(adjoint) for adjoint in v]
    return here or {}


def _flowed_back(call: _Call, tape: Any, full: Arrays, last: Arrays, flow: Any) -> Gradients:
    """Return the truncated gradients of a run."""
    T, B, active = call.T, call.B, call.active
    at = (np.full(B, T - 1) if active is None else np.maximum(active.sum(0) - 1, 0), np.arange(B))
    alive = np.full(B, T > 0) if active is None else active.any(0)
    full = {k: None if v is None else _kept(active, v) for k, v in full.items()}
    for k in [k for k, v in last.items() if v is not None and T]:
        full[k] = np.zeros((T, *last[k].shape), last[k].dtype) if full[k] is None else full[k].copy()
        full[k][at] += _kept(alive, last[k])
    zeros = _zeros(call, [k for k, v in last.items() if v is None], B)
    sums, idle = _input_sums(call), {k: zeros[k] if v is None else _kept(~alive, v) for k, v in last.items()}
    found: tuple[Arrays, Arrays, Arrays] = {}, idle, {}
    known: Arrays = {}
    for lo, hi in _begun(_blocks(T), active):
        first = _first(lo, hi)
        given = {k: None if v is None else v[lo:hi] for k, v in full.items()}
        here = _zeros(call, STATES, hi - first, B) if flow is not None else None
        _accumulate(sums, found, first, hi, _block_back(call, _sliced(tape, first, hi), given, here, first, lo, hi))
        known = _noted(flow, here, known, first, lo)
    return found[0], sums, *found[1:]


# Tapes are let go of, not given back to the workspace: new ones are made before the old ones go, so that it would hold twice as
# much between calls, and calls were no faster with it.
def _trained(call: _Call, plan: Any, flow: Any) -> tuple[Any, Gradients, Arrays]:
    """Return the loss, its truncated gradients, and the states at the end.

    The steps are run block by block. Behind each its losses flow back, through the tapes of the blocks that they reach.
    """
    a, counted = call.a, _counted(call)
    weights, sums = _weights(counted, call.dtype), _input_sums(call)
    own: Arrays = {}
    known: Arrays = {}
    found: tuple[Arrays, Arrays, Arrays] = {}, {}, {}
    held: list[tuple[int, int, Any]] = []
    value, start = call.dtype.type(0), call.start
    for lo, hi in _begun(_blocks(call.T), call.active):
        active, first = _cut(call.active, lo, hi), _first(lo, hi)
        states, outputs, tape = _part(call, start, lo, hi)
        start = _final(states, start, active)
        sent = _kept(np.arange(lo, hi)[:, None] >= first, weights[lo:hi])
        targets = {k: a[k][lo:hi] if LEAD[k] == 2 else np.broadcast_to(a[k], (hi - lo, *a[k].shape)) for k in TARGETS}
        loss, full, part = _loss(a | targets, states | outputs, sent, call.sizes, hi - lo, call.B, call.dtype)
        value += np.sum(_kept(counted[lo:hi], loss) * weights[lo:hi])
        own = {k: own.get(k, 0) + v for k, v in part.items()}
        held = [(s, e, kept) for s, e, kept in [*held, (lo, hi, tape)] if e > first or s == lo]
        full = dict.fromkeys([*states, *outputs]) | {k: _kept(active, v) for k, v in full.items()}
        joined = _joined_tapes(held, first)
        here = _zeros(call, STATES, hi - first, call.B) if flow is not None else None
        _accumulate(sums, found, first, hi, _block_back(call, joined, full, here, first, lo, hi))
        known = _noted(flow, here, known, first, lo)
        del states, outputs, tape, loss, full, part, joined  # the next block is made in their place
    return value, (_added(found[0], own), sums, *found[1:]), start


def _joined_tapes(held: list[tuple[int, int, Any]], first: int) -> tuple[Any, ...]:
    """Return the tapes of blocks that follow each other as one, from step `first` on."""
    return tuple(
        np.concatenate([tape[i][max(first - lo, 0) :] for lo, _, tape in held]) if timed else held[-1][2][i]
        for i, timed in enumerate(TIMED)
    )
