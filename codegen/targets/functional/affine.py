"""Recurrences that are affine element by element, each state by itself, with coefficients between -1 and 1: scans of all steps at once.

Example: of a = sigmoid(A x); h' = a * h + (1 - a) * x the steps are h_t = a_t ⊙ h_{t-1} + u_t, and the adjoints
dh_t = D_t + a_{t+1} ⊙ dh_{t+1}. A scan multiplies coefficients of many steps: where these could be larger than one in magnitude, a
product may overflow where no state does, and the steps stay a loop.
"""

from __future__ import annotations

from symbptt.codegen.passes.affine_recurrence import Affine, recursions
from symbptt.codegen.program.program import Program
from symbptt.ir.range import Ranges


def contractions(p: Program) -> tuple[Affine, Affine] | None:
    """Return the recurrences of both sweeps where both are such, else None."""
    found = recursions(p)
    return found if found is not None and all(_is_contraction(p, a) for a in found) else None


def _is_contraction(p: Program, a: Affine) -> bool:
    """Answer whether each state goes on by itself, with a coefficient that is nowhere larger than one in magnitude."""
    ranges = Ranges(p.graph)
    for i, row in enumerate(a.rows):
        own = row[i]
        if own is None or any(c is not None for j, c in enumerate(row) if j != i):
            return False
        low, high = ranges.bounds(own) if isinstance(own, int) else (float(own), float(own))
        if low < -1 or high > 1:
            return False
    return True
