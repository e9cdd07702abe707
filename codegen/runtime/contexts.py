"""Contexts: arguments that a sequence is given once, (B, ...), or without a batch axis for all samples; their gradients are sums over
the steps, and where one context is that of all samples over these too.

The statements that call these functions are no part of a module without contexts.
"""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import CONTEXTS, LEAD, SHAPES, Arrays
from symbptt.codegen.runtime.results import Grads


def _share(arrays: Arrays) -> None:
    """Give each sample the contexts without a batch axis, as views, where another argument has one."""
    sizes = [a.shape[LEAD[k] - 1] for k, a in arrays.items() if k in LEAD and a.ndim == _rank(k) + LEAD[k]]
    for k in CONTEXTS if sizes else ():
        if arrays[k].ndim == _rank(k):
            arrays[k] = np.broadcast_to(arrays[k], (sizes[0], *arrays[k].shape))


def _rank(name: str) -> int:
    return len(SHAPES[name].split())


def _shared(inputs: Any) -> tuple[str, ...]:
    """Return the contexts of a call that have no batch axis."""
    return tuple(k for k in CONTEXTS if np.ndim(inputs[k]) == _rank(k))


def _note_shared(run: Any, inputs: Any) -> None:
    """Note in a run which contexts all samples share."""
    run.shared = _shared(inputs)


def _part_contexts(grads: Grads, shared: tuple[str, ...], batched: bool) -> None:
    """Take the gradients of contexts out of those of parameters, which are sums over steps too, each of the shape of its argument."""
    for k in [k for k in CONTEXTS if k in grads.params]:
        found = grads.params.pop(k)
        grads.contexts[k] = found if batched and k not in shared else found.sum(0)
