"""What a loss reads that is taken at the last step of each sample, in modules for torch and for JAX."""

from symbptt.codegen.frameworks.arrays import _at
from symbptt.codegen.frameworks.cell import TARGETS


def _read(given, values, lengths, T):
    """Return what the loss reads, by name, as one step, the samples that count, or None for all, and the number of steps, which is 0
    where there is no last one."""
    one = min(T, 1)
    if lengths is None:
        ends, counted = {k: v[T - one :] for k, v in values.items()}, None
    else:
        index, counted = ((lengths - 1) * (lengths > 0))[None][:one], (lengths > 0)[None][:one]
        ends = {k: _at(v, index) for k, v in values.items()}
    return {**given, **ends, **{k: given[k][None][:one] for k in TARGETS}}, counted, one
