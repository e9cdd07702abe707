"""The public functions of a generated module that holds checkpoints and runs pieces of steps again."""

from __future__ import annotations

from symbptt.codegen import checkpoints
from symbptt.codegen.targets.numpy.text import copied

SHARED = '''def _cut(mask, lo, hi):
    return None if mask is None else mask[lo:hi]


def _end(T, active):
    """Return how many steps the longest sample has."""
    return T if active is None else int(active.any(1).sum())


def _part(a, start, lo, hi, sizes, B, dtype, active, reset, ws):
    """Run the steps lo to hi from the states before them; return what `_forward` does."""
    here = {k: a[k][lo:hi] if active is None else _held(a[k][lo:hi], active[lo:hi].sum(0)) for k in INPUTS}
    return _forward(a | here, start, sizes, hi - lo, B, dtype, _cut(active, lo, hi), _cut(reset, lo, hi), ws)


def _sums(sizes, T, B, dtype):
    """Return room for sums of gradients: of parameters, of inputs, of what resets send to the initial states."""
    shapes = _shapes(**sizes)
    return {}, {k: np.zeros((T, B, *shapes[k]), dtype) for k in INPUTS if k not in INDICES}, {}


def _flow_back(sums, tape, full, carry, flow, lo, hi, sizes, B, dtype, active, reset, ws):
    """Flow back through the steps lo to hi, add up their gradients, and return the adjoints of the states before them."""
    here = None if flow is None else {k: v[lo:hi] for k, v in flow.items()}
    found = _backward(tape, full, carry, here, sizes, hi - lo, B, dtype, _cut(active, lo, hi), _cut(reset, lo, hi), ws)
    params, inputs, carry, resets = found
    for k, v in params.items():
        sums[0][k] = sums[0][k] + v if k in sums[0] else v
    for k, v in inputs.items():
        sums[1][k][lo:hi] = v
    for k, v in resets.items():
        sums[2][k] = sums[2].get(k, 0) + v
    return carry


def _check_parts(a, piece, sizes, T, active):
    """Say what `_check_data` does, of as many steps at once as a piece has, so that what samples hold is not copied."""
    if active is None:
        return _check_data(a, None, sizes)
    borders = _borders(_end(T, active), piece)
    for lo, hi in zip(borders, borders[1:]):
        _check_data({k: v[lo:hi] if LEAD.get(k) == 2 else v for k, v in a.items()}, active[lo:hi], sizes, lo)


'''

PIECES = {
    "sqrt": '''def _pieces(T, B, sizes, dtype, active, reset, trains):
    """Return the steps of a piece and the slots for as many steps of T as the longest sample has."""
    return _root(_end(T, active))
''',
    "bytes": '''def _pieces(T, B, sizes, dtype, active, reset, trains):
    """Return the steps of a piece and the slots for as many steps of T as the longest sample has."""
    end, masks = _end(T, active), 2 if active is not None else int(reset is not None)
    return _within(MEMORY, T, end, B, sizes, dtype.itemsize, trains, masks)


def _within(limit, T, end, B, sizes, item, trains, masks):
    """Return the steps of a piece and the slots that take no more bytes than a limit, where the longest sample of T steps
    ends after `end` of them: results have all steps, pieces those."""
    states = sum(int(np.prod(_shapes(**sizes)[k])) for k in STATES)
    slot = lambda trains: (B * item * states + SLOT) * trains
    needed = lambda trains: lambda steps: _needed(steps, T, B, item, sizes, trains, masks)
    found = _allowed(end, limit, needed(trains), slot(trains), trains)
    if found is None:
        calls = {True: "value_and_grad takes", False: "forward and backward take"}
        others = [f"\\n  {calls[kind]} {_least(end, needed(kind), slot(kind)):,}" for kind in KINDS if kind is not trains]
        raise ArgumentError(_refusal(end, B, needed(trains), slot(trains), limit) + "".join(others))
    return found
''',
}

WHOLE = '''def forward(params, inputs=None, state=None, *, steps=None, lengths=None, reset=None, workspace=None):
    """Run the cell over time: inputs (T, B, ...) or (T, ...), state (B, ...) or (...), zero where omitted."""
    ws = _workspace(workspace)
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps)
    masks = _masks(lengths, reset, T, B)
    piece, _ = _pieces(T, B, sizes, dtype, *masks, False)
    _check_parts(a, piece, sizes, T, masks[0])
    with np.errstate(GUARD):
        states, outputs = _whole(a, piece, sizes, T, B, dtype, *masks, ws)
    _stop(states, outputs, a, masks[0])
    tape = ((a, states, piece), sizes, T, B, dtype, *masks)
    return Run(_frozen(states, batched), _frozen(outputs, batched), tape, batched, dtype, ws)


def _whole(a, piece, sizes, T, B, dtype, active, reset, ws):
    """Return the states and outputs of all steps, run piece by piece."""
    states, outputs = ({k: np.zeros((T, B, *_shapes(**sizes)[k]), dtype) for k in STATES}, {})
    start, borders = {k: a[k] for k in STATES}, _borders(_end(T, active), piece)
    for lo, hi in zip(borders, borders[1:]):
        found, given, _ = _part(a, start, lo, hi, sizes, B, dtype, active, reset, ws)
        start = _final(found, start, _cut(active, lo, hi))
        for k, v in found.items():
            states[k][lo:hi] = v
        for k, v in given.items():
            outputs.setdefault(k, np.zeros((T, *v.shape[1:]), dtype))[lo:hi] = v
        del found, given, _, v
    return states, outputs


def _stop(states, outputs, initial, active):
    """Write into the states what they are behind the end of each sample, and zeros into the outputs."""
    for b, end in enumerate(active.sum(0) if active is not None else ()):
        for k, v in states.items():
            v[end:, b] = v[end - 1, b] if end else initial[k][b]
        for v in outputs.values():
            v[end:, b] = 0


def _again(tape, full, last, flow, sizes, T, B, dtype, active, reset, ws):
    """Return what `_backward` does for a whole run, whose pieces are run again from the last to the first."""
    a, states, piece = tape
    carry, sums, borders = last, _sums(sizes, T, B, dtype), _borders(_end(T, active), piece)
    for lo, hi in reversed([*zip(borders, borders[1:])]):
        start = {k: v[lo - 1] if lo else a[k] for k, v in states.items()}
        given = {k: None if v is None else v[lo:hi] for k, v in full.items()}
        part = _part(a, start, lo, hi, sizes, B, dtype, active, reset, ws)[2]
        carry = _flow_back(sums, part, given, carry, flow, lo, hi, sizes, B, dtype, active, reset, ws)
        del part
    return *sums[:2], carry, sums[2]
'''

BODY = """    flow = {k: np.zeros(T, dtype) for k in STATES} if monitor else None
    dloss = _weights(counted, REDUCTION, dtype)
    sums, held = _sums(sizes, T, B, dtype), {0: {k: a[k] for k in STATES}}
    value, own, carry, final = dtype.type(0), {}, dict.fromkeys(STATES), None
    with np.errstate(GUARD):
        for lo, hi, is_last in _schedule(_end(T, active), piece, slots):
            if not is_last:
                held[hi] = _ahead_to(a, held[lo], lo, hi, piece, sizes, B, dtype, active, reset, wsREAD)
                continue
            start = held.pop(lo)
            states, outputs, tape = _part(a, start, lo, hi, sizes, B, dtype, active, reset, ws)
            first = final is None
            final = _final(states, start, _cut(active, lo, hi)) if first else final
LOSS
            del states, outputs
            carry = _flow_back(sums, tape, full, carry, flow, lo, hi, sizes, B, dtype, active, reset, ws)
            ws.give(tape[-1])
            del tape, full
    return value, _grads(_added(sums[0], own), sums[1], carry, sums[2], flow, batched, final, not T)
"""

HEAD = '''def value_and_grad(
    params, inputs=None, targets=None, state=None, *, steps=None, lengths=None, reset=None, monitor=False, workspace=None
):
    """Return the loss WHERE, and its gradients; targets TARGETS_SHAPE."""
    _check_monitor(monitor)
    ws = _workspace(workspace)
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps, {} if targets is None else targets)
    active, reset = _masks(lengths, reset, T, B)
    piece, slots = _pieces(T, B, sizes, dtype, active, reset, True)
    _check_parts(a, piece, sizes, T, active)
'''

AHEAD = {
    "every": '''def _ahead_to(a, start, lo, hi, piece, sizes, B, dtype, active, reset, ws):
    """Return the states before step `hi`, run piece by piece from those before step `lo`."""
    for lo in range(lo, hi, piece):
        end = min(lo + piece, hi)
        start = _final(_part(a, start, lo, end, sizes, B, dtype, active, reset, ws)[0], start, _cut(active, lo, end))
    return start
''',
    "last": '''def _ahead_to(a, start, lo, hi, piece, sizes, B, dtype, active, reset, ws, read, at):
    """Return the states before step `hi`, run piece by piece from those before step `lo`; note what the loss reads."""
    for lo in range(lo, hi, piece):
        end = min(lo + piece, hi)
        states, outputs, _ = _part(a, start, lo, end, sizes, B, dtype, active, reset, ws)
        start = _final(states, start, _cut(active, lo, end))
        _note(read, states | outputs, at, lo)
        del states, outputs, _
    return start


def _note(read, values, at, lo):
    """Put the values of the last step of each sample into `read` where that is one of the steps from `lo` on."""
    for k, v in values.items():
        here = (lo <= at) & (at < lo + len(v))
        read.setdefault(k, np.zeros(v.shape[1:], v.dtype))[here] = v[at[here] - lo, here.nonzero()[0]]


def _placed(last, like, at, lo):
    """Return zeros like the values of steps from `lo` on, with those of each sample's last step put in."""
    full, here = np.zeros_like(like), (lo <= at) & (at < lo + len(like))
    full[at[here] - lo, here.nonzero()[0]] = last[here]
    return full
''',
}

TRAINING = {
    "every": HEAD.replace("WHERE", "over all steps and samples").replace("TARGETS_SHAPE", "(T, B, ...) or (T, ...)")
    + "    counted = np.ones((T, B), bool) if active is None else active\n"
    + BODY.replace("READ", "").replace(
        "LOSS",
        """            here = _cut(active, lo, hi)
            targets = {k: a[k][lo:hi] if here is None else _held(a[k][lo:hi], here.sum(0)) for k in TARGETS}
            loss, full, part = _loss(a | targets, states | outputs, dloss[lo:hi], sizes, hi - lo, B, dtype)
            value += np.sum(_kept(counted[lo:hi], loss) * dloss[lo:hi])
            own = {k: own.get(k, 0) + v for k, v in part.items()}
            full = dict.fromkeys([*states, *outputs]) | full
            del targets""",
    ),
    "last": HEAD.replace("WHERE", "of the last step over all samples").replace("TARGETS_SHAPE", "(B, ...) or (...)")
    + """    counted = np.full(B, T > 0) if active is None else active.any(0)
    at = np.full(B, max(T - 1, 0)) if active is None else np.maximum(active.sum(0) - 1, 0)
    read = {}
"""
    + BODY.replace("READ", ", read, at").replace(
        "LOSS",
        """            if first:
                _note(read, states | outputs, at, lo)
                loss, given, own = _loss(a, read, dloss, sizes, T, B, dtype)
                value = np.sum(_kept(counted, loss) * dloss)
                carry = {k: given.get(k) for k in STATES}
            full = {k: _placed(given[k], v, at, lo) if k in given else None for k, v in outputs.items()}
            full = dict.fromkeys(states) | full""",
    ),
}


CHECKPOINTED = [WHOLE, SHARED, *PIECES.values(), *TRAINING.values(), *AHEAD.values()]
"""All texts of such modules."""


def checkpointed(at: str | None, memory: str | int) -> list[str]:
    """Return the texts of `forward` and, for a model whose loss is at the `every` or the `last` step, of training,
    with what both need; `backward` is that of all modules."""
    pieces = PIECES["sqrt" if memory == "sqrt" else "bytes"].replace(
        "KINDS", "(False,)" if at is None else "(True, False)"
    )
    texts = [WHOLE, SHARED, pieces, copied(checkpoints)]
    return texts if at is None else [TRAINING[at], AHEAD[at], *texts]
