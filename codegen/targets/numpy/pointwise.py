"""Functions of one step at all steps at once: no loop, states given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from symbptt.codegen.lower.loss import lower_values
from symbptt.codegen.program.at_once import program_at_once
from symbptt.codegen.program.names import named
from symbptt.codegen.targets.numpy.cells import constants_of, taken
from symbptt.codegen.targets.numpy.embed import embedded
from symbptt.codegen.targets.numpy.functions import Text, function_text
from symbptt.codegen.targets.numpy.index import Shown, names_of, view_text
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.codegen.targets.numpy.passes import ready
from symbptt.codegen.targets.python.text import dict_text, number_text
from symbptt.ir.step import Step


def pointwise(step: Step, roots: Mapping[str, int]) -> str:
    """Return the source of `evaluate(a, sizes, T, B, dtype)`: the values of `roots` by name, at all steps and samples.

    `a` holds the arguments, states before the step among them, with axes (T, B) where they differ between samples. A
    value that is the same for all samples comes without these axes.
    """
    p = program_at_once(step, roots)
    n = named(p, RESERVED)
    f = ready(lower_values(p, roots, RESERVED))
    text = Text(names_of(n.sizes), lambda _: "", {}, numbers=frozenset(constants_of(f)))
    results = dict_text({port.name: view_text(Shown(port.view), text.names) for port in f.results})
    head, first = "def evaluate(a, sizes, T, B, dtype):", taken("a", f.arguments)
    body = function_text(head, f, text, first, lambda _: [f"return {results}"])
    baked = [f"{variable} = {number_text(value)}" for variable, value in constants_of(f).items()]
    return "\n\n".join(["import numpy as np\n" + "\n".join(baked), body, embedded(body)[0]])


def evaluator(step: Step, roots: Mapping[str, int]) -> Callable[..., dict[str, Any]]:
    """Return the loaded function that `pointwise` writes.

    Results out of the range of floats are inf or nan, without a warning.
    """
    space: dict[str, Any] = {"np": np}
    exec(compile(pointwise(step, roots), f"<symbptt {step.name} pointwise>", "exec"), space)
    evaluate: Callable[..., dict[str, Any]] = space["evaluate"]
    return np.errstate(all="ignore")(evaluate)
