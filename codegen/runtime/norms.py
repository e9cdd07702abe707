"""Norms that neither overflow nor vanish before they must, and adjoints kept under one."""

from collections.abc import Sequence

import numpy as np

from symbptt.codegen.runtime.cell import Array


def _reals(rows: Array) -> Array:
    """Return rows of complex numbers as rows of their real and imaginary parts, others as they are."""
    return np.ascontiguousarray(rows).view(rows.real.dtype) if rows.dtype.kind == "c" else rows


# Powers of two change no digit: the division rounds nothing but what becomes too small to count beside the greatest
# entry.
def _norms(arrays: Sequence[Array]) -> tuple[Array, Array]:
    """Return the joint norm of arrays for each entry of their first axis, as numbers m and powers p: m * 2**p.

    The power of the greatest magnitude is divided out before anything is squared: no square overflows or vanishes.
    """
    rows = [_reals(a.reshape(len(a), a[:1].size)) for a in arrays]
    greatest = total = rows[0].dtype.type(0)
    for a in rows:
        greatest = np.maximum(greatest, np.max(np.abs(a), 1, initial=0))
    power = np.frexp(greatest)[1] - 1
    size = np.ldexp(rows[0].dtype.type(1), power)[:, None]
    for a in rows:
        a = a / size  # one array beside those given, as memory is counted
        total = total + np.multiply(a, a, out=a).sum(1)
    return np.sqrt(total), power


def _norm(x: Array) -> Array:
    """Return the norm of all entries together."""
    return np.ldexp(*_norms([x.reshape(1, -1)]))[0]


def _clip(adjoints: Sequence[Array], limit: float) -> None:
    """Scale adjoints so that their joint norm is at most `limit` for each sample."""
    number, power = _norms(adjoints)
    over = np.ldexp(number, power) > limit
    scale, shift = np.frexp(np.where(over, limit / np.maximum(number, 1), 1).astype(number.dtype))
    shift = shift - np.where(over, power, 0)
    half = shift // 2  # in two steps: the whole may be less than a float can be
    for factor in np.ldexp(scale, shift - half), np.ldexp(scale.dtype.type(1), half):
        for d in adjoints:
            d *= factor.reshape((-1,) + (1,) * (d.ndim - 1))
