"""The functions `_once` and `_step` of a module: one step of its cell, and what that needs of the parameters alone."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.loop_ir.nodes import Buffer, Function, views, walk
from symbptt.codegen.lower.stepping import lower_stepping
from symbptt.codegen.program.at_once import one_step
from symbptt.codegen.program.program import Program
from symbptt.codegen.targets.numpy.cells import constants_of, equations_of, taken
from symbptt.codegen.targets.numpy.functions import Text, function_text
from symbptt.codegen.targets.numpy.index import Shown, names_of, view_text
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.codegen.targets.numpy.passes import as_expressions, ready
from symbptt.codegen.targets.python.text import dict_text, listed, tuple_text

ONCE = "def _once(a, sizes, B, dtype):"
STEP = "def _step(tape, given, sizes, B, dtype):"
FIXED, MOVING = ("param", "const", "context"), (("input", "index"), ("state",))
"""The roles of what stays over all steps, and of what each step is given, in order."""


@dataclass(frozen=True)
class Steppings:
    """Both functions as text, and the numbers that they read at the head of the module."""

    texts: tuple[str, ...]
    constants: dict[str, float]


def stepping(p: Program) -> Steppings:
    """Return both functions of the placed program of a cell."""
    found = lower_stepping(one_step(p), RESERVED)
    once, step = ready(found.once), as_expressions(found.step)
    constants = constants_of(once) | constants_of(step)
    text = Text(names_of(found.named.sizes), equations_of(found.named), {}, (), None, frozenset(constants))
    read = _read(step)
    fixed = [q.view.buffer for q in step.arguments if q.group in FIXED and q.view.buffer in read]
    kept = [*fixed, *(q.view.buffer for q in step.arguments if q.group == "residual" and q.view.buffer in read)]
    return Steppings((_once_text(once, fixed, kept, text), _step_text(step, kept, text)), constants)


def _once_text(f: Function, fixed: list[Buffer], kept: list[Buffer], text: Text) -> str:
    read = _read(f).union(fixed)
    first = taken("a", [q for q in f.arguments if q.group in FIXED and q.view.buffer in read])
    # The passes may leave a result as a view of another array.
    made = {p.name: view_text(Shown(p.view), text.names) for p in f.results}
    returned = f"return {tuple_text(made.get(b.name, b.name) for b in kept)}"
    return function_text(ONCE, f, text, first, lambda _: [returned])


def _step_text(f: Function, kept: list[Buffer], text: Text) -> str:
    moving = [q.view.buffer for roles in MOVING for q in f.arguments if q.group in roles]
    first = [
        f"{listed(b.name for b in buffers)} = {name}"
        for buffers, name in ((kept, "tape"), (moving, "given"))
        if buffers
    ]
    states, outputs = (
        dict_text({p.name: view_text(Shown(p.view), text.names) for p in f.results if p.group == group})
        for group in ("states", "outputs")
    )
    return function_text(STEP, f, text, first, lambda _: [f"return {states}, {outputs}"])


def _read(f: Function) -> set[Buffer]:
    return {view.buffer for s in walk(f.body) for view in views(s)} | {port.view.buffer for port in f.results}
