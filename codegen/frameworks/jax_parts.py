"""What each module for JAX carries beside the sweeps of its cell: the scans over steps, and the function with its derivative."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from symbptt.codegen.frameworks.cell import _backward, _forward
from symbptt.codegen.frameworks.masks import _at, _like
from symbptt.codegen.frameworks.steps import _called


def run(params, inputs=None, state=None, *, lengths=None, reset=None, steps=None):
    """Return the states after each step and the outputs, dicts of (T, B, ...).

    `params`, `inputs` (T, B, ...) and `state` (B, ...) are dicts by name; a state that is not given is what the cell says, or zero.
    From its length on a sample keeps its state, and its outputs are zero; where `reset` (T, B) is true, the state returns to the
    initial one before that step. A cell without inputs takes `steps`, and B from a state.
    """
    states, outputs, _ = _called(params, inputs, state, lengths, reset, steps)
    return states, outputs


def _data(name, value):
    return jnp.asarray(value)


def _mask(value, given):
    return jnp.asarray(value)


def _constant(value, like):
    return jnp.asarray(value, like.dtype)


def _broadcast(x, shape):
    return jnp.broadcast_to(x, shape)


def _index(x):
    return x.astype(int)


def _is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def _is_integer(x):
    return jnp.issubdtype(x.dtype, jnp.integer)


def _is_truth(x):
    return x.dtype == bool


def _has_values(x):
    """Answer whether values can be looked at: a program that is traced knows none."""
    return not isinstance(x, jax.core.Tracer)


def _where(condition, x, other):
    return jnp.where(condition, x, other)


def _unmoved(x):
    return jax.lax.stop_gradient(x)


def _range(n, like):
    return jnp.arange(n)


def _joined(parts):
    return jnp.concatenate(parts)


def _linear(a, b, back):
    """Return x_t = a_t x_{t-1} + b_t from zero on along the axis of steps; `back`: x_t = a_t x_{t+1} + b_t from the last on.

    On an accelerator all steps are joined at once; on a CPU a loop over steps, which XLA compiles, is faster.
    """

    def at_once(a, b):
        def joined(first, then):
            return then[0] * first[0], then[0] * first[1] + then[1]

        return jax.lax.associative_scan(joined, (a, b), reverse=back)[1]

    def by_steps(a, b):
        def one(x, now):
            x = now[0] * x + now[1]
            return x, x

        return jax.lax.scan(one, jnp.zeros_like(b, shape=b.shape[1:]), (a, b), reverse=back)[1]

    return jax.lax.platform_dependent(a, b, cpu=by_steps, default=at_once) if len(b) else b


def _rows(x, lead):
    return jax.vmap(jnp.ravel)(x) if lead == 1 else jax.vmap(partial(_rows, lead=lead - 1))(x)


def _greatest(rows):
    return jnp.abs(jnp.concatenate(rows, -1)).max(-1)


def _there(lead, active, reset, index, params, inputs, state):
    T, B = lead
    after, outputs, kept = _forward(params, inputs, state, T, B, partial(_scan, active=active, reset=reset))
    return (after, outputs), (reset, index, params, inputs, state, after, outputs, kept)


def _back(lead, saved, cotangents):
    reset, index, params, inputs, state, after, outputs, kept = saved
    before = tuple(_before(x, v, reset, index) for x, v in zip(state, after))
    scan = partial(_scan_back, cotangents=cotangents[0], state=state, reset=reset)
    T, B = lead
    found = _backward(params, inputs, before, after, outputs, kept, cotangents[1], T, B, scan)
    return (None, None, None, *found)


def _with_derivative(there, back):
    """Return a function of JAX whose derivative is the way back. What does not depend on values stands first."""

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def values(lead, *arrays):
        return there(lead, *arrays)[0]

    values.defvjp(there, back)
    return values


_recurrence: Any = _with_derivative(_there, _back)
"""The states behind all steps and the outputs, of T and B, masks and arguments; the way back is the derived one."""


def _before(initial, after, reset, index):
    """Return a state before each step."""
    found = jnp.concatenate((initial[None], after))[: len(after)]
    if reset is not None:
        found = jnp.where(_like(reset, found), initial, found)
    return found if index is None else _at(found, index)


def _scan(step, initial, given, T, *, active, reset):
    """Return the states behind each step and what steps send out."""

    def one(carry, now):
        state, start = carry
        active, reset, given = now
        if reset is not None:
            state = tuple(jnp.where(_like(reset, x), x, v) for x, v in zip(initial, state))
        if active is not None:
            state = tuple(jnp.where(_like(active, v), v, w) for v, w in zip(state, start))
        following, sent = step(state, given)
        return (following, state if active is not None else ()), (following, sent)

    start = initial if active is not None else ()
    return jax.lax.scan(one, (initial, start), (active, reset, given), T)[1]


def _scan_back(step, given, *, cotangents, state, reset):
    """Return the gradients of the initial states, and what steps send out, from the last step to the first."""

    def one(carry, now):
        adjoint, first = carry
        direct, reset, given = now
        adjoint, sent = step(tuple(a + b for a, b in zip(adjoint, direct)), given)
        if reset is not None:
            first = tuple(a + jnp.where(_like(reset, v), v, 0) for a, v in zip(first, adjoint))
            adjoint = tuple(jnp.where(_like(reset, v), 0, v) for v in adjoint)
        return (adjoint, first), sent

    zeros = tuple(jnp.zeros_like(x) for x in state)
    begin = (zeros, zeros if reset is not None else ())
    (adjoint, first), sent = jax.lax.scan(one, begin, (cotangents, reset, given), reverse=True)
    return adjoint if reset is None else tuple(a + b for a, b in zip(adjoint, first)), sent


def _padded(x, spans, shape):
    """Return zeros with an array at places that are so many from a start on with a step, along each of the last axes."""
    lead = x.ndim - len(spans)
    at = tuple(
        (jnp.arange(length) * step + start).reshape(-1, *(1,) * (len(spans) - 1 - axis))
        for axis, (start, length, step) in enumerate(spans)
    )
    return jnp.zeros(shape, x.dtype).at[(slice(None),) * lead + at].set(x)


def _gathered(table, index, axis):
    """Return elements of a table at an index along an axis, which goes."""
    return jnp.take_along_axis(table, jnp.expand_dims(index, axis), axis).squeeze(axis)


def _scattered(x, index, axis, shape):
    """Return zeros with elements added at an index along a new axis."""
    hits = jnp.expand_dims(index, axis) == jnp.arange(shape[axis]).reshape(-1, *(1,) * (x.ndim - axis))
    return jnp.where(hits, jnp.expand_dims(x, axis), 0)


def _collected(x, index, axis, shape):
    """Return one table in which all steps and samples add their elements at an index along an axis."""
    lead = 2
    if index.ndim == lead:
        table = jnp.zeros((shape[axis], *shape[:axis], *shape[axis + 1 :]), x.dtype)
        return jnp.moveaxis(table.at[index.reshape(-1)].add(x.reshape(-1, *x.shape[lead:])), 0, axis)
    return _scattered(x, index, axis + lead, (*x.shape[:lead], *shape)).sum((0, 1))


def _spread(a):
    """Return diagonal matrices of vectors."""
    return a[..., None] * jnp.eye(a.shape[-1], dtype=a.dtype)


def _halved(a):
    """Return the lower triangle of matrices with half its diagonal."""
    return jnp.tril(a) - _spread(jnp.diagonal(a, axis1=-2, axis2=-1)) / 2
