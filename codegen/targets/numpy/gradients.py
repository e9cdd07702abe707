"""The lines of gradients of parameters and inputs, after the loop."""

from __future__ import annotations

from collections.abc import Collection

from symbptt.autodiff.labels import Label
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import AFTER, ALL
from symbptt.codegen.targets.numpy.names import Module
from symbptt.codegen.targets.numpy.statements import commented, of_each_sample
from symbptt.codegen.targets.numpy.text import dict_text
from symbptt.equations.notation.formula import Writer
from symbptt.equations.notation.signs import TEXT


def gradients(m: Module, writer: Writer, there: Collection[int] = (), own: Collection[int] = ()) -> list[str]:
    """Return one line for each gradient but those of inputs that are `there`.

    Where two names mean one array, one is a copy; values that are `own` were written into arrays of their own.
    """
    p = m.program
    lines, seen = [], set()
    for role, group in (("param", p.params), ("input", p.inputs)):
        for name, id in sorted(group.items(), key=lambda item: _array(p, item[1])):  # parts of one array together
            if role == "input" and id in there:
                continue
            label = Label(name, None if role == "param" else 0, True)
            text = m.scope(AFTER).text(id) if role == "param" else of_each_sample(m, id, AFTER)
            if id in seen or not (id in own or _is_own(p, id)):
                # A caller may change a gradient in place, which must change no other result and no argument.
                text = f"np.array({text})"
            seen.add(id)
            equation = f"{TEXT.symbol(label)} = {writer.symbol(id)}"
            # A gradient that was accumulated under this name needs no line.
            if text != gradient_variable(m, name):
                lines.append(commented(f"{gradient_variable(m, name)} = {text}", equation))
    return lines


def _array(p: Program, id: int) -> int:
    """Return the value of which a gradient is a part, or the gradient itself."""
    node = p.graph[id]
    return node.args[0] if node.family == "view" and node.attrs.kind == "slice" else id


def _is_own(p: Program, id: int) -> bool:
    """Answer whether a gradient is an array of its own, or its own part of one that was computed for it."""
    node = p.graph[id]
    return node.family != "view" or (node.attrs.kind == "slice" and p.graph[node.args[0]].family == "total")


def gradient_variable(m: Module, name: str) -> str:
    """Return the variable of the gradient of an argument."""
    return m.gradients[name]


def results(m: Module, role: str) -> str:
    """Return the dict of the gradients of all arguments of a role, zeros where the cell does not use one."""
    p = m.program
    found = p.params if role == "param" else p.inputs
    entries = {}
    for a in p.of_role(role):
        zeros = f"np.zeros_like({m.refer(p.leaves[a.name], ALL)})" if a.name not in found else ""
        entries[a.name] = zeros or gradient_variable(m, a.name)
    return dict_text(entries)
