"""The way back of truncated gradients, which modules for JAX carry in the place of that through all steps."""

import jax
import jax.numpy as jnp

from symbptt.codegen.frameworks.cell import CHUNK, REACH
from symbptt.codegen.frameworks.masks import _like


# The step back is the same function at all steps, and linear: all chunks go one step back at once, along an axis before that of samples.
def _scan_back(step, given, direct, *, cotangents, state, reset):
    """Return the gradients of the initial states, and what steps send out, of losses that flow back chunk by chunk. What is `direct`
    comes with the cotangents of a step, and counts in its own chunk alone."""
    T, B = cotangents[0].shape[:2]
    begins = jnp.arange(0, T, CHUNK)
    ends, chunks = jnp.minimum(begins + CHUNK, T), len(begins)

    def one(found, back):
        adjoint, first, sent = found
        at = jnp.maximum(ends - 1 - back, 0)
        own, is_there = ends - 1 - back >= begins, ends > back
        adjoint = tuple(a + _only(own, x[at]) for a, x in zip(adjoint, cotangents))
        rows, beside = tuple(x[at] for x in given), tuple(_only(own, x[at]) for x in direct)
        results = step(adjoint, rows, beside, chunks)
        adjoint, out = (tuple(_only(is_there, x) for x in group) for group in results)
        sent = tuple(total.at[at].add(x) for total, x in zip(sent, out))
        # The initial state takes what comes to the first step, and what comes to a reset.
        stops = jnp.broadcast_to((ends - 1 == back)[:, None], (chunks, B)) | (False if reset is None else reset[at])
        first = tuple(a + _only(stops, x).sum(0) for a, x in zip(first, adjoint))
        return (tuple(_only(~stops, x) for x in adjoint), first, sent), None

    groups = [tuple(jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in group) for group in (given, direct)]
    adjoints = tuple(jax.ShapeDtypeStruct((1, *x.shape), x.dtype) for x in state)
    _, told = jax.eval_shape(lambda *arrays: step(*arrays, 1), adjoints, *groups)
    nothing = tuple(jnp.zeros((chunks, *x.shape), x.dtype) for x in state)
    begin = nothing, tuple(map(jnp.zeros_like, state)), tuple(jnp.zeros((T, *x.shape[1:]), x.dtype) for x in told)
    (_, first, sent), _ = jax.lax.scan(one, begin, jnp.arange(min(REACH, T)))
    return first, sent


def _only(mask, x):
    """Return entries where a mask is true, and zeros elsewhere."""
    return jnp.where(_like(mask, x), x, 0)
