"""What a loss reads that is taken at every step of each sample, in modules for torch and for JAX."""

from symbptt.codegen.frameworks.cell import LOSS_INPUTS, TARGETS
from symbptt.codegen.frameworks.masks import _ends, _held, _present


def _read(given, values, lengths, T):
    """Return what the loss reads, by name, the steps and samples that count, or None for all, and the number of steps."""
    if lengths is None:
        return {**given, **values}, None, T
    active, index = _ends(lengths, T)
    ran = {k: v[:, _present(lengths)] for k, v in values.items() if k in LOSS_INPUTS}
    return {**given, **ran, **{k: _held(given[k], lengths, index) for k in TARGETS if k in given}}, active, T


def _shown(x):
    """Return what is predicted at each step."""
    return x
