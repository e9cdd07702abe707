"""The program of values of a step that are computed without a loop and without adjoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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


NEXT, OUTPUT = "next", "output"
"""What the outputs of a program of one step are called after: the state that follows, and an output of the cell."""


def one_step(p: Program) -> Program:
    """Return the program of one step alone, whose outputs are the states that follow and the outputs of the cell, by pairs of what
    they are and their name. Packed products, and weights that are turned for them, stay as they are in the loop."""
    nothing: dict[str, int] = {}
    told = {f"{NEXT} {name}": id for name, id in p.next.items()} | {
        f"{OUTPUT} {name}": id for name, id in p.outputs.items()
    }
    return place(
        replace(
            p,
            next=nothing,
            outputs=told,
            carry=nothing,
            cotangent=nothing,
            recurrent=nothing,
            inputs=nothing,
            params=nothing,
            whole=nothing,
            places={},
            joined=frozenset(),
        )
    )
