"""The backward sweep of a module, and one step back for the adjoints of all steps at once."""

from __future__ import annotations

from symbptt.codegen.lower.equations import equation, handed, writer_of
from symbptt.codegen.program.regions import AFTER, ALL, BLOCK, LOOP, NEAR, ONCE, TAIL
from symbptt.codegen.program.values import is_baked
from symbptt.codegen.targets.numpy.calls.blocks import block_lines
from symbptt.codegen.targets.numpy.calls.loops import loop_sheet, write_carries, write_statements
from symbptt.codegen.targets.numpy.calls.sheet import Sheet, stepping_back
from symbptt.codegen.targets.numpy.gradients import gradients, results
from symbptt.codegen.targets.numpy.names import Module
from symbptt.codegen.targets.numpy.scan import backward_scan, closing, opening, unless_scanned
from symbptt.codegen.targets.numpy.statements import (
    all_steps,
    allocations,
    commented,
    computed,
    function,
    given_back,
    indented,
    of_each_sample,
    statements,
    unpacked_tape,
)
from symbptt.codegen.targets.numpy.text import dict_text, tuple_text
from symbptt.equations.notation.formula import Writer

FREE = "active is None and reset is None and flow is None"
BACKWARD = "def _backward(tape, full, last, flow, sizes, T, B, dtype, active, reset, ws):"
PULL = "def _pull(tape, carry, full, sums, sizes, T, B, dtype):"

Carries = dict[str, str]
"""The variable of the carry of each state, by the name of the state."""


def backward_lines(m: Module, clip: float | None = None) -> list[str]:
    """Return the lines of the backward sweep, with `clip` as the limit of the joint norm of the adjoints."""
    writer, carries = writer_of(m.program), _carries(m)
    before = _zero_outputs(m, "_kept(active, {})")
    before += statements(m, "backward", ONCE, writer) + statements(m, "backward", ALL, writer)
    # Clipping is not linear in the adjoints, so that their recurrence is no scan.
    scan = backward_scan(m, carries) if clip is None else None
    block = block_lines(m, "backward", writer, scan)
    sheet = loop_sheet(m, "backward", besides=block.taken)
    # Monitors read the total cotangents behind the statements, so that their arrays are not reused before.
    whole = [id for id in m.program.whole.values() if id in m.variables]
    write_statements(sheet, "backward", writer, [*m.program.recurrent.values(), *whole])
    body, sheet.calls = sheet.calls, []
    write_carries(sheet, carries, _handed(m, writer))
    watched = _watched(sheet, carries)
    after = statements(m, "backward", AFTER, writer)
    after += gradients(m, writer, m.program.carry.values(), m.stored - m.aliases.keys())
    kept = {d: sheet.step(f"{d}_all") for d in carries.values() if f"{d}_all" in block.carried}
    body = [*_arriving(kept, clip), *body, *_leaving(watched, sheet.calls)]
    loop = [stepping_back(sheet, body, block.arrays), *indented(body)]
    return [
        "# before the loop: what needs no adjoint of a state",
        *before,
        *_start(m, carries),
        *(opening(m, "backward", carries.values(), FREE) if scan else []),
        *block.before,
        *sheet.before(body),
        # Blocks are counted from the end, so that the short one is the first in time.
        "for hi in range(T, 0, -K):",
        "    lo = max(hi - K, 0)",
        *indented([*block.ahead, *unless_scanned(scan, loop), *block.behind]),
        *["# after the loop: gradients of parameters"] * bool(after),
        *after,
        f"ws.give({tuple_text([*(room for region in NEAR for room in given_back(m, f'backward {region}')), *block.rooms])})",
        *closing(scan),
        f"return {results(m, 'param')}, {results(m, 'input')}, dict(zip(STATES, adjoints)), dict(zip(STATES, resets))",
    ]


def pull_lines(m: Module) -> list[str]:
    """Return the lines of one step back for all steps at once; with `sums`, of the total cotangents and the gradients."""
    p, writer, carries = m.program, writer_of(m.program), _carries(m)
    lines = [f'{d}_all = carry["{name}"]' for name, d in carries.items()]
    lines += _zero_outputs(m, "{}") + statements(m, "backward", ONCE, writer) + statements(m, "backward", ALL, writer)
    # Here all steps are one block.
    lines += statements(m, "backward", BLOCK, writer)
    for id in computed(m, "backward", LOOP):
        code = f"{m.variables[id]} = {m.scope(AFTER).formula(id)[0]}"
        lines.append(commented(code, equation(m, writer, id)))
    pulled = {
        name: of_each_sample(m, p.recurrent[name], AFTER) if name in p.recurrent else f"np.zeros_like({d}_all)"
        for name, d in carries.items()
    }
    lines += [f"carry = {dict_text(pulled)}", "if not sums:", "    return carry, None, None"]
    lines += statements(m, "backward", TAIL, writer) + statements(m, "backward", AFTER, writer) + gradients(m, writer)
    whole = {name: of_each_sample(m, p.whole.get(name, leaf), AFTER) for name, leaf in p.carry.items()}
    return [*lines, f"return {dict_text(whole)}, {results(m, 'param')}, {results(m, 'input')}"]


def after_tape(head: str, m: Module, tape: list[str], lines: list[str]) -> list[str]:
    """Return a function of the backward sweep, which begins by unpacking the tape."""
    return function(head, m, unpacked_tape(tape) + lines)


def tape_of(m: Module) -> list[str]:
    """Return the variables of the forward sweep that the lines of the backward sweep, once written, read."""
    p = m.program
    constants = {p.leaves[a.name] for a in p.arguments if is_baked(a) and not a.shape}
    besides = {*p.carry.values(), *p.cotangent.values(), *constants}
    given = set(p.leaves.values())  # the forward sweep has them, also where only the backward one reads them
    forward = {
        name
        for id, name in m.variables.items()
        if (id in given or not m.place(id).startswith("backward")) and id not in besides
    }
    # Sorted, for the text must not depend on the order of a set.
    return sorted((forward | set(m.previous.values())) & m.used)


def _carries(m: Module) -> Carries:
    return {a.name: m.variables[m.program.carry[a.name]] for a in m.program.of_role("state")}


def _zero_outputs(m: Module, kept: str) -> list[str]:
    """Return the lines of the cotangents of outputs: zeros where none is given, else the text `kept`."""
    p = m.program
    leaves = {f'full["{name}"]': leaf for name, leaf in p.cotangent.items() if leaf in p.places}
    return [
        f"{m.variables[leaf]} = np.zeros({all_steps(m, leaf)}, dtype) if {given} is None else {kept.format(given)}"
        for given, leaf in leaves.items()
    ]


def _start(m: Module, carries: Carries) -> list[str]:
    """Return the lines of the adjoints after the last step, the direct cotangents, and the allocations."""
    lines = ["adjoints, resets, waiting = _adjoints(last, sizes, B, dtype)"]
    names = ", ".join(carries.values()) if len(carries) > 1 else tuple_text(carries.values())
    lines += [f"{names} = adjoints"] * bool(carries)
    lines += ["sent = _sent(full, adjoints, active)"]
    return lines + [line for region in NEAR for line in allocations(m, f"backward {region}")]


def _arriving(kept: dict[str, str], clip: float | None) -> list[str]:
    """Return the lines that prepare the adjoints of the states after a step before they go through it."""
    return [
        # The direct cotangent is added to the one received from step t+1.
        "for adjoint, given in sent:",
        "    np.add(adjoint, given[t], out=adjoint)",
        *([] if clip is None else [f"_clip(adjoints, {float(clip)!r})"]),
        "if active is not None:",
        "    _wait(active[t], adjoints, waiting)",
        *(f"np.copyto({step}, {d})" for d, step in kept.items()),
    ]


def _leaving(watched: list[str], calls: list[str]) -> list[str]:
    """Return the lines for the adjoints of the states before a step: those of ended samples stay, those of a reset go
    to the start."""
    return [
        "if flow is not None:",
        f"    _watch(flow, t, {tuple_text(watched)})",
        *calls,
        "if active is not None or reset is not None:",
        "    _leave(t, adjoints, waiting, resets, active, reset)",
    ]


def _watched(sheet: Sheet, carries: Carries) -> list[str]:
    """Return the total cotangent of each state, or the incoming one where no gradient needs the total."""
    m, found = sheet.module, []
    for name, d in carries.items():
        whole = m.program.whole.get(name)
        known = sheet.bound.get(whole) if whole is not None and m.place(whole) == f"backward {LOOP}" else None
        found.append(d if known is None else known.text)
    return found


def _handed(m: Module, writer: Writer) -> dict[str, str]:
    """Return the equations of the outgoing cotangents, by the name of the state."""
    return {name: handed(m, writer, name) for name in m.program.recurrent}
