"""What `monitor=True` notes at a step of the sweep back: the norms of the adjoints."""

from collections.abc import Sequence

import numpy as np

from symbptt.codegen.runtime.cell import STATES, Array, Arrays
from symbptt.codegen.runtime.norms import _norm, _norms


def _watch(flow: Arrays, t: int, adjoints: Sequence[Array]) -> None:
    """Note the norms of the adjoints of the states after step t."""
    for k, d in zip(STATES, adjoints):
        # of rows, where samples lie one behind another, for each row
        flow[k][t] = _norm(d) if flow[k].ndim == 1 else np.ldexp(*_norms([d]))
