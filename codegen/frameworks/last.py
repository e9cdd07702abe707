"""What a loss reads that is taken at the last step of each sample, in modules for torch and for JAX."""

from symbptt.codegen.frameworks.cell import TARGETS
from symbptt.codegen.frameworks.masks import _held, _present


def _read(given, values, lengths, T):
    """Return what the loss reads, by name, as one step, the samples that count, or None for all, and the number of steps, which is 0
    where there is no last one."""
    one, targets = min(T, 1), {k: given[k] for k in TARGETS if k in given}
    if lengths is None:
        ends, counted = {k: v[T - one :] for k, v in values.items()}, None
    else:
        index, counted = ((lengths - 1) * (lengths > 0))[None][:one], (lengths > 0)[None][:one]
        ends = {k: _held(v, lengths, index) for k, v in values.items()}
        targets = {k: v[_present(lengths)] for k, v in targets.items()}
    return {**given, **ends, **{k: v[None][:one] for k, v in targets.items()}}, counted, one


def _shown(x):
    """Return what is predicted at the one step, zeros where there is none."""
    return x.sum(0)
