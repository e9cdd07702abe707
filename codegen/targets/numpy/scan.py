"""The sentence of a plan that tells how a recursion is computed."""

from __future__ import annotations

from symbptt.codegen.lower.equations import writer_of
from symbptt.codegen.lower.scan import is_fixed, recurrences
from symbptt.codegen.memory.runs import LEAST
from symbptt.codegen.passes.affine_recurrence import obstacle
from symbptt.codegen.program.names import Named
from symbptt.codegen.runtime.scan import LARGEST_PRODUCT, WINDOW


def recursion_of(m: Named) -> str:
    """Return the sentence that tells whether the recursion of a program is computed for many steps at once, or why not."""
    p = m.program
    if not p.next:
        return "Recursion: none."
    found = recurrences(m)
    if found is not None:
        least = LEAST[is_fixed(m, found[0])]
        return (
            f"Recursion: affine, element by element, in {', '.join(p.next)}: windows of steps at once. The table counts step by step.\n"
            f"  only where {least} steps of a state of all samples take at most {WINDOW} bytes and no product of "
            f"coefficients over a window is over {LARGEST_PRODUCT}; with lengths, reset, monitor or clip_adjoint step by step"
        )
    before = p if p.written is None else p.written
    culprits = obstacle(before)
    if culprits is None:
        return "Recursion: step by step: the adjoints of its states do not stay apart, element by element."
    name, culprit = culprits
    return f"Recursion: step by step: {name} is not affine, element by element, in the states: {writer_of(before).rhs(culprit)}"
