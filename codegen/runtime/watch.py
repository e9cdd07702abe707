"""What `monitor=True` notes at a step of the sweep back: the norms of the adjoints."""

from collections.abc import Sequence

from symbptt.codegen.runtime.cell import STATES, Array, Arrays
from symbptt.codegen.runtime.norms import _norm


def _watch(flow: Arrays, t: int, adjoints: Sequence[Array]) -> None:
    """Note the norms of the adjoints of the states after step t."""
    for k, d in zip(STATES, adjoints):
        flow[k][t] = _norm(d)
