"""The function of a model's loss in its module: the value for each sample, and the cotangents of what it reads."""

from __future__ import annotations

from symbptt.codegen.lower.equations import writer_of
from symbptt.codegen.program.regions import AFTER, ONCE
from symbptt.codegen.program.values import is_baked
from symbptt.codegen.targets.numpy.gradients import gradient_variable, gradients, results
from symbptt.codegen.targets.numpy.names import Module
from symbptt.codegen.targets.numpy.statements import arguments, function, statements
from symbptt.codegen.targets.numpy.text import dict_text

LOSS = "def _loss(a, read, dloss, sizes, T, B, dtype):"


def loss(m: Module) -> list[str]:
    """Return the function of the loss; `read` are the states and outputs of the cell."""
    p, writer = m.program, writer_of(m.program)
    read = list(p.of_role("output"))
    lines = arguments(m, {"a": [a for a in p.arguments if a.role != "output" and not is_baked(a)], "read": read}, {})
    for sweep in ("forward", "backward"):
        lines += statements(m, sweep, ONCE, writer) + statements(m, sweep, AFTER, writer)
    value = m.scope(AFTER).text(p.outputs["loss"])
    # A caller gets a loss for each sample, also where it is the same for all.
    value = value if p.outputs["loss"] in m.varying else f"np.broadcast_to(np.asarray({value}, dtype), dloss.shape)"
    lines += gradients(m, writer)
    sent = dict_text({a.name: gradient_variable(m, a.name) for a in read if a.name in p.inputs})
    return function(LOSS, m, [*lines, f"return {value}, {sent}, {results(m, 'param')}"])
