"""First values of parameters, as the tables of modules have them: the rules of `Cell.init`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import sympy as sp

from symbptt.codegen.targets.python.text import dict_text, nested_text
from symbptt.ir.shape import Size
from symbptt.ir.step import Argument


def first_table(given: Sequence[Argument], states: Sequence[Argument]) -> str:
    """Return the line of the first value of each parameter: numbers, or how a matrix is drawn."""
    begun, sizes = {a.start for a in states if isinstance(a.start, str)}, {size for a in states for size in a.shape}
    return f"FIRST = {dict_text({a.name: _first(a, a.name in begun, sizes) for a in given})}"


def _first(a: Argument, begins: bool, states: Collection[Size]) -> str:
    """Return the first value of a parameter; one that a state begins with is zero, as a state is that begins with none."""
    if a.default is not None and not begins:
        return nested_text(np.asarray(a.default, complex if a.complex else float).tolist())
    if len(a.shape) < 2 or begins:
        return "0.0"
    # Orthogonal recurrent weights keep norms.
    is_recurrent = sp.sympify(a.shape[-1] - a.shape[-2]) == 0 and a.shape[-1] in states
    return '"orthogonal"' if is_recurrent else '"uniform"'
