"""What the sweeps of every generated module call: masks, states before and after steps, adjoints; text below the line is copied."""

import numpy as np

STATES, _shapes = (), None  # a generated module has its own

# ---------------------------------------------------------------------------------------------------------------------


def _where(mask, a, b):
    """Choose between a and b by a mask that may lack their last axes."""
    return np.where(mask.reshape(mask.shape + (1,) * (np.ndim(a) - mask.ndim)), a, b)


def _kept(mask, x):
    """Return x where a mask is true, else zero; all of it without a mask."""
    return x if mask is None else _where(mask, x, 0)


def _after_end(active, x):
    """Return the sum of x over the steps from the end of each sample on."""
    return np.sum(x, 0, where=~active.reshape(active.shape + (1,) * (x.ndim - 2)))


def _present(lengths):
    """Return the number of each sample, or that of the longest where a sample has no step."""
    return np.where(lengths > 0, np.arange(len(lengths)), lengths.argmax() if len(lengths) else 0)


def _held(x, lengths):
    """Return data whose steps from a sample's end on repeat its last; an empty sample repeats the longest's first."""
    if not lengths.any():
        return np.zeros_like(x)
    return x[np.minimum(np.arange(len(x))[:, None], np.maximum(lengths - 1, 0)), _present(lengths)]


def _entering(t, initial, after, before, active, reset):
    """Return the state before step t. From its end on a sample repeats its last step: nothing is computed there but
    what was finite before, and what steps backward read of it goes together."""
    x = after[t] if reset is None else _where(reset[t], initial, after[t])
    if active is None:
        return x
    return _where(active[t], x, before[t - 1]) if t else x[_present(active.sum(0))]


def _enter(t, states, active, reset):
    """Write the states before step t; of each: the initial one, those after each step from that on, those before."""
    for initial, after, before in states:
        before[t] = _entering(t, initial, after, before, active, reset)


def _buffers(start, T, masked):
    """Return a state after each step from the initial one on, before each step and after each: views of the first, but
    where masks change what a step begins with."""
    buffer = np.empty((T + 1, *start.shape), start.dtype)
    buffer[0] = start
    return buffer, np.empty_like(buffer[1:]) if masked else buffer[:-1], buffer[1:]


def _stopped(states, initial, active):
    """Return the states after every step, from each sample's end on those at its end."""
    if active is None:
        return states
    end, empty = np.minimum(np.arange(len(active))[:, None], np.maximum(active.sum(0) - 1, 0)), ~active.any(0)
    states = {k: v[end, np.arange(len(empty))] for k, v in states.items()}
    for k, v in states.items():
        v[:, empty] = initial[k][empty]
    return states


def _adjoints(last, sizes, B, dtype):
    """Return the adjoints of the states after the last step, and zeros: for what resets send to the initial states, and for
    the adjoints of samples that have ended."""
    shapes = _shapes(**sizes)
    found = [np.zeros((B, *shapes[k]), dtype) if last[k] is None else last[k].copy() for k in STATES]
    return found, *([np.zeros_like(d) for d in found] for _ in range(2))


def _sent(full, adjoints, active):
    """Return what the loss says of the states of all steps, with the adjoints that it is added to."""
    return [(d, _kept(active, full[k])) for k, d in zip(STATES, adjoints, strict=True) if full[k] is not None]


def _wait(active, adjoints, waiting):
    """Set the adjoints of samples that have ended aside."""
    for d, aside in zip(adjoints, waiting, strict=True):
        aside[...] = _kept(~active, d)
        d[...] = _kept(active, d)


def _leave(t, adjoints, waiting, resets, active, reset):
    """Put those adjoints back behind a step; where a state was reset, its adjoint goes to the initial one."""
    if active is not None:
        for d, aside in zip(adjoints, waiting, strict=True):
            d += aside
    if reset is not None:
        for d, total in zip(adjoints, resets, strict=True):
            total += _kept(reset[t], d)
            d[...] = _kept(~reset[t], d)


def _watch(flow, t, adjoints):
    """Note the norms of the adjoints of the states after step t."""
    for k, d in zip(STATES, adjoints, strict=True):
        flow[k][t] = _norm(d)


def _norms(arrays):
    """Return the joint norm of arrays for each entry of their first axis, as numbers m and powers p: m * 2**p.

    The power of the greatest magnitude is divided out before anything is squared: no square overflows or vanishes.
    """
    rows = [a.reshape(len(a), a[:1].size) for a in arrays]
    greatest = total = rows[0].dtype.type(0)
    for a in rows:
        greatest = np.maximum(greatest, np.max(np.abs(a), 1, initial=0))
    power = np.frexp(greatest)[1] - 1
    size = np.ldexp(rows[0].dtype.type(1), power)[:, None]
    for a in rows:
        a = a / size  # one array beside those given, as memory is counted
        total = total + np.multiply(a, a, out=a).sum(1)
    return np.sqrt(total), power


def _norm(x):
    """Return the norm of all entries together."""
    return np.ldexp(*_norms([x.reshape(1, -1)]))[0]


def _final(states, initial, active):
    """Return the state of each sample after its last step."""
    T, B = np.shape(next(iter(states.values())))[:2]
    count = np.full(B, T) if active is None else active.sum(0)
    at = (np.maximum(count - 1, 0), np.arange(B))
    return {k: _where(count > 0, v[at], initial[k]) if T else np.array(initial[k]) for k, v in states.items()}
