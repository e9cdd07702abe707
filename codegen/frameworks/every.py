"""What a loss reads that is taken at every step of each sample, in modules for torch and for JAX."""

from symbptt.codegen.frameworks.arrays import _at, _ends
from symbptt.codegen.frameworks.cell import TARGETS


def _read(given, values, lengths, T):
    """Return what the loss reads, by name, the steps and samples that count, or None for all, and the number of steps."""
    if lengths is None:
        return {**given, **values}, None, T
    active, index = _ends(lengths, T)
    # Behind the end of a sample may stand anything: its last step is held.
    return {**given, **values, **{k: _at(given[k], index) for k in TARGETS}}, active, T
