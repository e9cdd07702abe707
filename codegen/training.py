"""The public functions of a generated module: forward, backward and, for a model, value_and_grad."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.checkpointing import checkpointed
from symbptt.codegen.program.program import Program
from symbptt.ir.step import Argument
from symbptt.language.truncation import Chunked, Window


@dataclass(frozen=True)
class Head:
    """A loss beside the program: its own program, without a loop; the arguments it adds; where and how it counts."""

    program: Program
    added: tuple[Argument, ...]
    at: str
    reduction: str


def public_functions(
    head: Head | None, truncation: Window | Chunked | None, clip: float | None, memory: str | int = "all"
) -> list[str]:
    """Return the texts of the functions that a module needs beside its two sweeps."""
    if memory != "all":
        texts = [BACKWARD.replace("PULLBACK", "_again"), *checkpointed(None if head is None else head.at, memory)]
        texts += [CLIPPED] * (clip is not None) + [WEIGHTS] * (head is not None)
        return texts if head is None else [text.replace("REDUCTION", repr(head.reduction)) for text in texts]
    texts = [FORWARD, BACKWARD.replace("PULLBACK", "_backward" if truncation is None else "_truncated")]
    if clip is not None:
        texts.append(CLIPPED)
    if isinstance(truncation, Chunked):
        texts += [CHUNKED.replace("K1", repr(truncation.k1)).replace("K2", repr(truncation.k2)), TRUNCATED]
    if isinstance(truncation, Window):
        texts += [WINDOWED.replace("KW", repr(truncation.k)), TRUNCATED]
    if head is not None:
        text = STREAMED[head.at] if truncation is not None else TRAINING[head.at]
        texts += [text.replace("REDUCTION", repr(head.reduction)), WEIGHTS]
    return texts


FORWARD = '''def forward(params, inputs=None, state=None, *, steps=None, lengths=None, reset=None, workspace=None):
    """Run the cell over time: inputs (T, B, ...) or (T, ...), state (B, ...) or (...), zero where omitted."""
    ws = _workspace(workspace)
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps)
    masks = _masks(lengths, reset, T, B)
    _check_data(a, masks[0], sizes)
    with np.errstate(GUARD):
        states, outputs, tape = _forward(a, a, sizes, T, B, dtype, *masks, ws)
    states, outputs = _stopped(states, a, masks[0]), {k: _kept(masks[0], v) for k, v in outputs.items()}
    tape = (tape, sizes, T, B, dtype, *masks)
    return Run(_frozen(states, batched), _frozen(outputs, batched), tape, batched, dtype, ws, tape[0][-1])
'''

BACKWARD = '''def backward(run, cotangents, *, monitor=False, workspace=None):
    """Return the gradients of sum(cotangent * value) over all states and outputs named; (B, ...) means the last step.

    From the length of a sample on its states are those of its last step, and its outputs are zero.
    """
    _check_monitor(monitor)
    full, last = _cotangents(run, cotangents)
    ws = run.workspace if workspace is None else _workspace(workspace)
    tape, sizes, T, B, dtype, active, reset = run.tape
    flow = {k: np.zeros(T, dtype) for k in STATES} if monitor else None
    with np.errstate(GUARD):
        found = PULLBACK(tape, full, last, flow, sizes, T, B, dtype, active, reset, ws)
    return _grads(*found, flow, run.batched, empty=not T)
'''

CLIPPED = '''def _clip(adjoints, limit):
    """Scale adjoints so that their joint norm is at most `limit` for each sample."""
    number, power = _norms(adjoints)
    over = np.ldexp(number, power) > limit
    scale, shift = np.frexp(np.where(over, limit / np.maximum(number, 1), 1).astype(number.dtype))
    shift = shift - np.where(over, power, 0)
    half = shift // 2  # in two steps: the whole may be less than a float can be
    for factor in np.ldexp(scale, shift - half), np.ldexp(scale.dtype.type(1), half):
        for d in adjoints:
            d *= factor.reshape((-1,) + (1,) * (d.ndim - 1))
'''

TRAINING = {
    "every": '''def value_and_grad(
    params, inputs=None, targets=None, state=None, *, steps=None, lengths=None, reset=None, monitor=False, workspace=None
):
    """Return the loss over all steps and samples, and its gradients; targets (T, B, ...) or (T, ...)."""
    _check_monitor(monitor)
    ws = _workspace(workspace)
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps, {} if targets is None else targets)
    active, reset = _masks(lengths, reset, T, B)
    _check_data(a, active, sizes)
    flow = {k: np.zeros(T, dtype) for k in STATES} if monitor else None
    counted = np.ones((T, B), bool) if active is None else active
    dloss = _weights(counted, REDUCTION, dtype)
    with np.errstate(GUARD):
        states, outputs, tape = _forward(a, a, sizes, T, B, dtype, active, reset, ws)
        value, full, own = _loss(a, states | outputs, dloss, sizes, T, B, dtype)
        full = dict.fromkeys([*states, *outputs]) | full
        final = _final(states, a, active)
        params, *found = _backward(tape, full, dict.fromkeys(states), flow, sizes, T, B, dtype, active, reset, ws)
    ws.give(tape[-1])
    return np.sum(_kept(counted, value) * dloss), _grads(_added(params, own), *found, flow, batched, final, not T)
''',
    "last": '''def value_and_grad(
    params, inputs=None, targets=None, state=None, *, steps=None, lengths=None, reset=None, monitor=False, workspace=None
):
    """Return the loss of the last step over all samples, and its gradients; targets (B, ...) or (...)."""
    _check_monitor(monitor)
    ws = _workspace(workspace)
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps, {} if targets is None else targets)
    active, reset = _masks(lengths, reset, T, B)
    _check_data(a, active, sizes)
    flow = {k: np.zeros(T, dtype) for k in STATES} if monitor else None
    counted = np.full(B, T > 0) if active is None else active.any(0)
    dloss = _weights(counted, REDUCTION, dtype)
    at = (np.full(B, T - 1) if active is None else np.maximum(active.sum(0) - 1, 0), np.arange(B))
    with np.errstate(GUARD):
        states, outputs, tape = _forward(a, a, sizes, T, B, dtype, active, reset, ws)
        read = {k: v[at] if T else np.zeros(v.shape[1:], dtype) for k, v in (states | outputs).items()}
        value, given, own = _loss(a, read, dloss, sizes, T, B, dtype)
        full = dict.fromkeys([*states, *outputs]) | {k: _placed(given[k], v, at) for k, v in outputs.items() if k in given}
        last = {k: given.get(k) for k in states}
        final = _final(states, a, active)
        params, *found = _backward(tape, full, last, flow, sizes, T, B, dtype, active, reset, ws)
    ws.give(tape[-1])
    return np.sum(_kept(counted, value) * dloss), _grads(_added(params, own), *found, flow, batched, final, not T)


def _placed(last, like, at):
    """Return zeros like the values of all steps, with those of each sample's last step put in."""
    full = np.zeros_like(like)
    if len(full):
        full[at] = last
    return full
''',
}

WEIGHTS = '''def _weights(counted, reduction, dtype):
    """Return the weight of the loss at each step and sample: one, or one over their number, and zero where not counted."""
    return counted.astype(dtype) / (max(int(counted.sum()), 1) if reduction == "mean" else 1)


def _added(params, own):
    """Return the gradients of the cell's and of the loss's parameters; what both have is added."""
    return params | {k: params[k] + v if k in params else v for k, v in own.items()}
'''

CHUNKED = '''def _blocks(T):
    """Return the chunks of steps whose losses flow back together."""
    return [(lo, min(lo + K1, T)) for lo in range(0, T, K1)]


def _reach(lo, hi):
    """Return the first step that the losses of the chunk lo to hi reach."""
    return max(hi - K2, 0)


def _flow_back(tape, first, lo, hi, full, flow, sizes, B, dtype, active, reset, ws):
    """Flow the cotangents of steps lo to hi back to step `first`, where the tape begins; return what `_backward` does."""
    full = {k: None if v is None else np.concatenate([np.zeros((max(lo - first, 0), *v.shape[1:]), dtype), v[max(first - lo, 0) :]])
            for k, v in full.items()}
    here = {k: np.zeros(hi - first, dtype) for k in STATES} if flow is not None else None
    found = _backward(tape, full, dict.fromkeys(STATES), here, sizes, hi - first, B, dtype, active, reset, ws)
    for k in flow or ():
        flow[k][max(lo, first) : hi] = here[k][max(lo - first, 0) :]
    return found
'''

WINDOWED = '''def _blocks(T):
    """Return the blocks of steps whose losses flow back at once, each through its own window."""
    return [(lo, min(lo + KW, T)) for lo in range(0, T, KW)]


def _reach(lo, hi):
    """Return the first step that the losses of the block lo to hi reach."""
    return max(lo - KW + 1, 0)


def _flow_back(tape, first, lo, hi, full, flow, sizes, B, dtype, active, reset, ws):
    """Flow the cotangents of steps lo to hi back through KW steps each; `carry[i]` is the adjoint after step at + i."""
    T = hi - first
    shapes = _shapes(**sizes)
    carry = {k: np.zeros((hi - lo, B, *shapes[k]), dtype) if full[k] is None else full[k] for k in STATES}
    outputs = {k: v for k, v in full.items() if k not in STATES}
    given = {k: None if v is None else np.concatenate([np.zeros((lo - first, *v.shape[1:]), dtype), v]) for k, v in outputs.items()}
    total = {k: np.zeros((T, B, *shapes[k]), dtype) for k in STATES}
    initial, resets = ({k: np.zeros((B, *shapes[k]), dtype) for k in STATES} for _ in range(2))
    at, end = lo - first, T
    for lag in range(min(KW, T)):
        for k in STATES:
            total[k][at:end] += carry[k]
        carry, _, _ = _pull(_sliced(tape, at, end), carry, outputs, False, sizes, end - at, B, dtype)
        outputs = dict.fromkeys(outputs)
        if reset is not None:
            resets = {k: v + _kept(reset[at:end], carry[k]).sum(0) for k, v in resets.items()}
            carry = {k: _kept(~reset[at:end], v) for k, v in carry.items()}
        if at == 0:
            initial = {k: v + carry[k][0] for k, v in initial.items()}
            carry = {k: v[1:] for k, v in carry.items()}
        at, end = max(at - 1, 0), end - 1
    whole, params, inputs = _pull(tape, total, given, True, sizes, T, B, dtype)
    for k in flow or ():
        flow[k][lo:hi] = np.ldexp(*_norms([whole[k][lo - first :]]))
    return params, inputs, initial, resets
'''

TRUNCATED = '''def _sliced(tape, lo, hi):
    """Return a tape of the steps lo to hi."""
    return tuple(v[lo:hi] if timed else v for v, timed in zip(tape, TIMED))


def _cut(mask, lo, hi):
    return None if mask is None else mask[lo:hi]


def _begun(blocks, active):
    """Return the blocks in which a sample has a step, or an empty one."""
    return [(lo, hi) for lo, hi in blocks if active is None or active[lo].any()] or [(0, 0)]


def _accumulate(sums, found, first, hi, part):
    """Add the gradients of one block; the state that enters it counts only where it is the initial one."""
    params, inputs, state, resets = part
    for k, v in params.items():
        found[0][k] = found[0].get(k, 0) + v
    for k, v in inputs.items():
        sums[k][first:hi] += v
    for k, v in state.items():
        found[1][k] = found[1].get(k, 0) + resets[k] + (v if first == 0 else 0)


def _truncated(tape, full, last, flow, sizes, T, B, dtype, active, reset, ws):
    """Return the truncated gradients of a whole run: parameters, inputs, initial state."""
    shapes = _shapes(**sizes)
    at = (np.full(B, T - 1) if active is None else np.maximum(active.sum(0) - 1, 0), np.arange(B))
    alive = np.full(B, T > 0) if active is None else active.any(0)
    full = {k: None if v is None else _kept(active, v) for k, v in full.items()}
    for k in [k for k, v in last.items() if v is not None and T]:
        full[k] = np.zeros((T, B, *shapes[k]), dtype) if full[k] is None else full[k].copy()
        full[k][at] += _kept(alive, last[k])
    idle = {k: np.zeros((B, *shapes[k]), dtype) if v is None else _kept(~alive, v) for k, v in last.items()}
    sums = {k: np.zeros((T, B, *shapes[k]), dtype) for k in INPUTS if k not in INDICES}
    found = ({}, idle)
    for lo, hi in _begun(_blocks(T), active):
        first = _reach(lo, hi)
        given = {k: None if v is None else v[lo:hi] for k, v in full.items()}
        part = _flow_back(_sliced(tape, first, hi), first, lo, hi, given, flow, sizes, B, dtype, _cut(active, first, hi), _cut(reset, first, hi), ws)
        _accumulate(sums, found, first, hi, part)
    return found[0], sums, found[1], {k: 0 for k in STATES}
'''

STREAMED_BODY = """    flow = {k: np.zeros(T, dtype) for k in STATES} if monitor else None
    dloss = _weights(counted, REDUCTION, dtype)
    shapes = _shapes(**sizes)
    sums = {k: np.zeros((T, B, *shapes[k]), dtype) for k in INPUTS if k not in INDICES}
    found, own, value = ({}, {}), {}, dtype.type(0)
    start, held, since = {k: a[k] for k in STATES}, [], 0
    with np.errstate(GUARD):
        for lo, hi in _begun(_blocks(T), active):
            here = {k: a[k][lo:hi] if active is None else _held(a[k][lo:hi], active[lo:hi].sum(0)) for k in INPUTS}
            states, outputs, tape = _forward(a | here, start, sizes, hi - lo, B, dtype, _cut(active, lo, hi), _cut(reset, lo, hi), ws)
            start = _final(states, start, _cut(active, lo, hi))
            first = _reach(lo, hi)
            sent = _kept(np.arange(lo, hi)[:, None] >= first, dloss[lo:hi])
            loss, full, part = _loss(a | TARGET_PART, states | outputs, sent, sizes, hi - lo, B, dtype)
            value += np.sum(_kept(counted[lo:hi], loss) * dloss[lo:hi])
            own = {k: own.get(k, 0) + v for k, v in part.items()}
            held = [(s, e, kept) for s, e, kept in [*held, (lo, hi, tape)] if e > first or s == lo]
            joined = tuple(np.concatenate([kept[i][max(first - s, 0) :] for s, e, kept in held]) if timed else tape[i]
                           for i, timed in enumerate(TIMED))
            full = dict.fromkeys([*states, *outputs]) | {k: _kept(_cut(active, lo, hi), v) for k, v in full.items()}
            given = _flow_back(joined, first, lo, hi, full, flow, sizes, B, dtype, _cut(active, first, hi), _cut(reset, first, hi), ws)
            _accumulate(sums, found, first, hi, given)
    return value, _grads(_added(found[0], own), sums, found[1], {k: 0 for k in STATES}, flow, batched, start, not T)
"""

STREAMED = {
    "every": '''def value_and_grad(
    params, inputs=None, targets=None, state=None, *, steps=None, lengths=None, reset=None, monitor=False, workspace=None
):
    """Return the loss over all steps and samples, and its truncated gradients; targets (T, B, ...) or (T, ...)."""
    _check_monitor(monitor)
    ws = _workspace(workspace)
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps, {} if targets is None else targets)
    active, reset = _masks(lengths, reset, T, B)
    _check_data(a, active, sizes)
    counted = np.ones((T, B), bool) if active is None else active
'''
    + STREAMED_BODY.replace("TARGET_PART", "{k: a[k][lo:hi] for k in TARGETS}"),
    "last": '''def value_and_grad(
    params, inputs=None, targets=None, state=None, *, steps=None, lengths=None, reset=None, monitor=False, workspace=None
):
    """Return the loss of the last step over all samples, and its truncated gradients; targets (B, ...) or (...)."""
    _check_monitor(monitor)
    ws = _workspace(workspace)
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps, {} if targets is None else targets)
    active, reset = _masks(lengths, reset, T, B)
    _check_data(a, active, sizes)
    final = np.full(B, T) if active is None else active.sum(0)
    counted = np.arange(T)[:, None] == final - 1
'''
    + STREAMED_BODY.replace("TARGET_PART", "{k: np.broadcast_to(a[k], (hi - lo, *a[k].shape)) for k in TARGETS}"),
}
