"""The zero parameters that keep a state from passing its steps: those that have no other start than zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel, kernel_of
from symbptt.language.cell import Cell

Arrays = Mapping[str, Any]
STEPS = 2
"""Two steps: a state may reach another one, and that one itself."""


def silent(cell: Cell, params: Arrays, inputs: Arrays, state: Arrays) -> tuple[str, ...]:
    """Return the parameters, zero in all entries, with which a step passes no gradient of the states, while it does with ones in
    place of one of them; none where gradients pass, or where no single parameter keeps them.

    Shapes: inputs (T, B, ...), state (B, ...).
    """
    kernel = kernel_of(cell)
    if _passes(kernel, params, inputs, state):
        return ()
    zero = [a.name for a in cell.arguments if a.role == "param" and not np.any(params[a.name])]
    return tuple(k for k in zero if _passes(kernel, {**params, k: np.ones_like(params[k])}, inputs, state))


def advice_of(names: tuple[str, ...]) -> str:
    """Return the cause and the cure in words; nothing where there is none."""
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    return f"{', '.join(names)} {verb} zero: write = 1.0 behind the annotation, or init(..., {names[0]}=1.0)"


def _passes(kernel: Kernel, params: Arrays, inputs: Arrays, state: Arrays) -> bool:
    """Answer whether a gradient of the last states arrives at the first ones."""
    random = np.random.default_rng(0)
    first = {k: np.asarray(v)[:STEPS] for k, v in inputs.items()}
    with np.errstate(all="ignore"):
        run = kernel.forward(params, first, state, steps=None if first else STEPS)
        sent = {k: random.standard_normal(v[-1].shape).astype(v.dtype) for k, v in run.states.items()}
        # A random cotangent: exact zeros everywhere then mean that no path exists, not that two paths cancel.
        found = kernel.backward(run, sent)
    return any(np.any(v) for v in found.state.values())
