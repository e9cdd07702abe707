"""Adjoints kept under a joint norm, in modules for torch and for JAX."""

from symbptt.codegen.frameworks.arrays import _greatest, _rows, _where


def _clipped(adjoints, most):
    """Return adjoints, scaled so that their joint norm is at most `most` for each sample."""
    rows = [_rows(x) for x in adjoints]
    # What is squared is at most one, so that nothing overflows; of zeros nothing is divided by zero.
    size = _greatest(rows)
    size = size + (size == 0)
    total = sum(((x / size[:, None]) ** 2).sum(1) for x in rows)
    norm = (total + (total == 0)) ** 0.5
    factor = _where(size > most / norm, most / norm / size, 1)
    return tuple(x * factor.reshape(-1, *(1,) * (x.ndim - 1)) for x in adjoints)
