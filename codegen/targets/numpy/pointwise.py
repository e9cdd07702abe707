"""Functions of one step at all steps at once: no loop, states given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from symbptt.autodiff.labels import Label
from symbptt.autodiff.subexpressions import values
from symbptt.codegen.lower.equations import writer_of
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import AFTER, ONCE, place
from symbptt.codegen.program.values import is_baked
from symbptt.codegen.targets.numpy.embed import embedded
from symbptt.codegen.targets.numpy.names import constants_of, module_of
from symbptt.codegen.targets.numpy.statements import arguments, function, statements
from symbptt.codegen.targets.numpy.text import dict_text, number_text
from symbptt.ir.nesting import Nesting
from symbptt.ir.step import Step


def pointwise(step: Step, roots: Mapping[str, int]) -> str:
    """Return the source of `evaluate(a, sizes, T, B, dtype)`: the values of `roots` by name, at all steps and samples.

    `a` holds the arguments, states before the step among them, with axes (T, B) where they differ between samples. A
    value that is the same for all samples comes without these axes.
    """
    p = _program(step, roots)
    m = module_of(p)
    writer = writer_of(p)
    given = [a for a in p.arguments if not is_baked(a)]
    names = {a.name: m.previous.get(p.leaves[a.name], m.of_argument(a.name)) for a in given}
    lines = arguments(m, {"a": given}, names)
    lines += statements(m, "forward", ONCE, writer) + statements(m, "forward", AFTER, writer)
    results = {name: m.scope(AFTER).text(id) for name, id in roots.items()}
    body = "\n".join(function("def evaluate(a, sizes, T, B, dtype):", m, [*lines, f"return {dict_text(results)}"]))
    baked = [f"{variable} = {number_text(value)}" for variable, value in constants_of(m).items()]
    return "\n\n".join(["import numpy as np\n" + "\n".join(baked), body, embedded(body)[0]])


def evaluator(step: Step, roots: Mapping[str, int]) -> Callable[..., dict[str, Any]]:
    """Return the loaded function that `pointwise` writes.

    Results out of the range of floats are inf or nan, without a warning.
    """
    space: dict[str, Any] = {"np": np}
    exec(compile(pointwise(step, roots), f"<symbptt {step.name} pointwise>", "exec"), space)
    evaluate: Callable[..., dict[str, Any]] = space["evaluate"]
    return np.errstate(all="ignore")(evaluate)


def _program(step: Step, roots: Mapping[str, int]) -> Program:
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
