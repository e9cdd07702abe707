"""The program of values of a step that are computed without a loop and without adjoints."""

from __future__ import annotations

from collections.abc import Mapping

from symbptt.autodiff.labels import Label
from symbptt.autodiff.subexpressions import values
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import place
from symbptt.ir.nesting import Nesting
from symbptt.ir.step import Step


def program_at_once(step: Step, roots: Mapping[str, int]) -> Program:
    """Return the placed program of some values of a step by name, as its outputs."""
    g = step.graph
    kept = values(g, roots.values())
    labels = {id: Label(name, None) for name, id in step.leaves.items()}
    labels |= {id: Label(name, 0) for id, name in g.names.items() if id in kept and id not in labels}
    for number, id in enumerate(Nesting(g, labels).too_long(), 1):
        # A value with a label has a line of its own, which keeps formulas short.
        labels[id] = Label(f"term{number}", 0)
    nothing: dict[str, int] = {}
    program = Program(
        step.name,
        "",
        step.arguments,
        g,
        labels,
        step.leaves,
        nothing,
        dict(roots),
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
        frozenset(kept),
    )
    return place(program)
