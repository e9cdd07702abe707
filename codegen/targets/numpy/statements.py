"""The lines of both sweeps and of the loss: one statement for each variable, with its equation as a comment."""

from __future__ import annotations

import re
from collections.abc import Iterable

from symbptt.codegen.lower.equations import equation
from symbptt.codegen.program.regions import LOOP, ONCE
from symbptt.codegen.program.values import is_baked, size_names
from symbptt.codegen.targets.numpy.compact import compact
from symbptt.codegen.targets.numpy.expressions import is_bool, is_turned
from symbptt.codegen.targets.numpy.names import Module
from symbptt.codegen.targets.numpy.text import listed, name_tuple, nested_text, shape_text, size_text
from symbptt.codegen.targets.numpy.wrap import wrapped
from symbptt.equations.notation.formula import Writer
from symbptt.ir.step import Argument
from symbptt.syntax import NAME


def statements(m: Module, sweep: str, region: str, writer: Writer) -> list[str]:
    """Return the lines of a region, in the order of the graph."""
    return [_statement(m, region, writer, id) for id in computed(m, sweep, region)]


def computed(m: Module, sweep: str, region: str) -> list[int]:
    """Return the values that have a variable and are computed in a region, in the order of the graph."""
    graph = m.program.graph
    return [id for id in sorted(m.variables) if m.place(id) == f"{sweep} {region}" and graph[id].family != "leaf"]


def _statement(m: Module, region: str, writer: Writer, id: int) -> str:
    text = m.scope(region).formula(id)[0]
    node = m.program.graph[id]
    if is_bool(node) and id not in m.static:
        # NumPy would compute with an array of bools in another type.
        text = f"({text}).astype(dtype)"
    # A transpose before the loop is made contiguous once, for the products of all steps.
    if region == ONCE and is_turned(m.scope(region), node) and node.attrs.kind != "concatenate":
        text = f"np.ascontiguousarray({text})"  # a concatenation is contiguous already
    target = f"{m.variables[id]}[t]" if region == LOOP and id in m.stored else m.variables[id]
    return commented(f"{target} = {text}", equation(m, writer, id))


def commented(code: str, comment: str) -> str:
    """Return a line of code with a comment; the comments of short lines are aligned."""
    return f"{code:<58}  # {comment}" if comment else code


def indented(lines: Iterable[str]) -> list[str]:
    """Return lines of an inner block."""
    return [f"    {line}" for line in lines]


def function(head: str, m: Module, lines: list[str]) -> list[str]:
    """Return a function: its head, the sizes that it uses, its lines, none of them long."""
    text = "\n".join(line.partition("  # ")[0] for line in lines)
    sizes = {name: m.sizes.get(name, name) for name in size_names(m.program)}
    words = set(re.findall(NAME, text))
    used = {name: variable for name, variable in sizes.items() if variable in words}
    unpacked = unpack(used.values(), used, "sizes")
    body = compact(lines[:1] + unpacked + lines[1:])
    return [head, *(short for line in body for short in wrapped(f"    {line}"))]


def unpack(targets: Iterable[str], keys: Iterable[str], source: str) -> list[str]:
    """Return the line that takes variables out of a dict, or none where there are no keys."""
    keys = list(keys)
    if len(keys) == 1:
        return [f'{", ".join(targets)} = {source}["{keys[0]}"]']
    return [f"{listed(targets)} = ({source}[k] for k in {name_tuple(keys)})"] if keys else []


def arguments(m: Module, roles_from: dict[str, list[Argument]], variable: dict[str, str]) -> list[str]:
    """Return the lines that take arguments out of dicts, and those of constants that are arrays."""
    lines = []
    for source, group in roles_from.items():
        lines += unpack([variable.get(a.name, m.of_argument(a.name)) for a in group], [a.name for a in group], source)
    return lines + baked(m)


def baked(m: Module) -> list[str]:
    """Return the lines of constants that are arrays."""
    constants = [a for a in m.program.arguments if is_baked(a) and a.shape]
    return [f"{m.of_argument(a.name)} = {_baked(a, m.sizes)}" for a in constants]


def _baked(a: Argument, sizes: dict[str, str]) -> str:
    values = nested_text(a.default.tolist() if hasattr(a.default, "tolist") else a.default)
    return f"np.broadcast_to(np.array({values}, dtype), {shape_text((), a.shape, sizes)})"


def unpacked_tape(tape: list[str]) -> list[str]:
    """Return the line that takes the variables of the tape."""
    return [f"{listed([*tape, '_'])} = tape"]


def allocations(m: Module, place: str, besides: Iterable[int] = ()) -> list[str]:
    """Return the lines that allocate the stored values of a region at all steps."""
    ids = [id for id in sorted(m.stored) if m.place(id) == place and id not in besides]
    own = returned(m)
    whole = [
        # A result must not come from the workspace, which the next call would write into.
        f"{m.variables[id]} = {'np.empty' if id in own else 'ws.room'}({all_steps(m, id)}, dtype)"
        for id in ids
        if id not in m.aliases
    ]
    return whole + parts_of(m, ids, place)


def parts_of(m: Module, ids: Iterable[int], place: str) -> list[str]:
    """Return the lines that name those of some values of a region which are parts of another's array."""
    parts = {id: m.aliases[id] for id in sorted(ids) if id in m.aliases and m.place(id) == place}
    return [f"{m.variables[id]} = {m.variables[whole]}{index}" for id, (whole, index) in parts.items()]


def given_back(m: Module, place: str, besides: Iterable[int] = ()) -> list[str]:
    """Return the arrays that `allocations` takes and that nothing reads after the backward sweep."""
    own = {*returned(m), *besides, *m.aliases}
    return [m.variables[id] for id in sorted(m.stored) if m.place(id) == place and id not in own]


def returned(m: Module) -> set[int]:
    """Return the values whose memory the caller gets: results, and all values of which these are views."""
    p = m.program
    found: set[int] = set()
    queue = [*p.forward_roots, *p.backward_roots]
    while queue:
        id = queue.pop()
        if id in found:
            continue
        found.add(id)
        queue += [m.aliases[id][0]] if id in m.aliases else []
        # A view that the caller gets keeps its memory, which no later call may write into.
        queue += p.graph[id].args if p.graph[id].family == "view" else []
    return found


def all_steps(m: Module, id: int, steps: str = "T") -> str:
    """Return the shape of a value at all steps and samples, or at so many steps."""
    shape = m.program.graph.shape(id)
    if id in m.program.front:
        return shape_text((steps, size_text(shape[0], m.sizes), "B"), shape[1:], m.sizes)
    return shape_text((steps, "B"), shape, m.sizes)


def of_each_sample(m: Module, id: int, region: str) -> str:
    """Return the text of a value with the axes of samples, also where its formula has none, in the type of the data."""
    node, text = m.program.graph[id], m.scope(region).text(id)
    lead = ("B",) if region == LOOP else ("T", "B")
    cancels = node.family == "map" and node.attrs.expr.is_number  # its arguments vary, and it does not
    if id in m.varying and not cancels:
        return text
    text = f"np.asarray({text}, dtype)" if cancels or id in m.static else text
    return f"np.broadcast_to({text}, {shape_text(lead, m.program.graph.shape(id), m.sizes)})"
