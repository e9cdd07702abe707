"""Chunks of steps that are longer than their losses reach back, in modules for torch and for JAX: the first losses of each flow nowhere.

The statements that call this are no part of other modules.
"""

from symbptt.codegen.frameworks.arrays import _range, _unmoved, _where
from symbptt.codegen.frameworks.cell import CHUNK, REACH
from symbptt.codegen.frameworks.masks import _like


def _hear(values, T):
    """Let what comes of steps whose losses flow nowhere be constant, in the list of values of all steps."""
    for i, x in enumerate(values):
        t = _range(T, x)
        end = (t // CHUNK + 1) * CHUNK
        heard = t >= _where(end < T, end, T) - REACH
        values[i] = _where(_like(heard, x), x, _unmoved(x))
