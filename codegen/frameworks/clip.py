"""Adjoints kept under a joint norm, in modules for torch and for JAX."""

from symbptt.codegen.frameworks.arrays import _greatest, _rows, _where
from symbptt.codegen.frameworks.masks import _like


def _clipped(adjoints, most, lead):
    """Return adjoints, scaled so that their joint norm is at most `most` for each sample; `lead` axes tell the samples."""
    rows = [_rows(x, lead) for x in adjoints]
    # What is squared is at most one, so that nothing overflows; of zeros nothing is divided by zero.
    size = _greatest(rows)
    size = size + (size == 0)
    total = sum(((x / size[..., None]) ** 2).sum(-1) for x in rows)
    norm = (total + (total == 0)) ** 0.5
    factor = _where(size > most / norm, most / norm / size, 1)
    return tuple(x * _like(factor, x) for x in adjoints)
