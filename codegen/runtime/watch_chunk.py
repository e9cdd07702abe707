"""What `monitor=True` notes at a step of the sweep back through one chunk: the adjoints, to which those of other chunks are added."""

from collections.abc import Sequence

from symbptt.codegen.runtime.cell import STATES, Array, Arrays


def _watch(flow: Arrays, t: int, adjoints: Sequence[Array]) -> None:
    """Note the adjoints of the states after step t, by the losses of one chunk."""
    for k, d in zip(STATES, adjoints):
        flow[k][t] = d
