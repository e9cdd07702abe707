"""The forward sweep of a module: before the loop, in it, and after it."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.lower.equations import writer_of
from symbptt.codegen.program.regions import AFTER, LOOP, NEAR, ONCE
from symbptt.codegen.program.values import is_baked
from symbptt.codegen.targets.numpy.calls.blocks import Block, block_lines
from symbptt.codegen.targets.numpy.calls.families import value
from symbptt.codegen.targets.numpy.calls.loops import loop_sheet, write_statements
from symbptt.codegen.targets.numpy.calls.sheet import Sheet, stepping
from symbptt.codegen.targets.numpy.calls.three_address import put
from symbptt.codegen.targets.numpy.names import Module
from symbptt.codegen.targets.numpy.scan import Scan, closing, forward_scan, opening, unless_scanned
from symbptt.codegen.targets.numpy.statements import (
    allocations,
    baked,
    function,
    given_back,
    indented,
    of_each_sample,
    statements,
)
from symbptt.codegen.targets.numpy.text import dict_text, listed, tuple_text
from symbptt.equations.notation.formula import Writer
from symbptt.ir.shape import Shape

FORWARD = "def _forward(a, start, sizes, T, B, dtype, active, reset, ws):"


@dataclass(frozen=True)
class State:
    """A state: its name, its variables after and before a step, its shape."""

    name: str
    now: str
    before: str
    shape: Shape

    @property
    def initial(self) -> str:
        """The variable of the state before the first step."""
        return f"{self.name}_0"


def forward(m: Module, tape: list[str]) -> list[str]:
    """Return the function of the forward sweep; `tape` are the variables that the backward sweep reads."""
    writer, states = writer_of(m.program), _states(m)
    late = statements(m, "forward", AFTER, writer)
    lines = [
        *_arguments(m, {s.name: s.initial for s in states}),
        "# before the loop: what needs no state",
        *statements(m, "forward", ONCE, writer),
        *_buffers(states),
        # Next states are written into the buffers of the states.
        *(line for region in NEAR for line in allocations(m, f"forward {region}", m.program.next.values())),
        *_loop(m, states, writer),
        *["# after the loop: what no later step needs"] * bool(late),
        *late,
        _result(m, states, tape),
    ]
    return function(FORWARD, m, lines)


def _states(m: Module) -> list[State]:
    leaves = m.program.leaves
    return [
        State(a.name, m.of_argument(a.name), m.previous[leaves[a.name]], a.shape) for a in m.program.of_role("state")
    ]


def _arguments(m: Module, variable: dict[str, str]) -> list[str]:
    """Return the lines that take the arguments of the cell."""
    given = [a for a in m.program.arguments if not is_baked(a)]
    names = [variable.get(a.name, m.of_argument(a.name)) for a in given]
    return [*[f"{listed(names)} = (a[k] for k in ARGUMENTS)"] * bool(names), *baked(m)]


def _buffers(states: list[State]) -> list[str]:
    """Return the lines of one array for a state before and after every step, of which the two are views, unless there
    are masks."""
    # With masks the state before a step may differ from that after the step before.
    lines = ["masked = active is not None or reset is not None"]
    names = [f"{s.now}_buffer, {s.before}, {s.now}" for s in states]
    if len(states) == 1:
        return [*lines, f'{names[0]} = _buffers(start["{states[0].name}"], T, masked)']
    return lines + [f"({'), ('.join(names)}) = (_buffers(start[k], T, masked) for k in STATES)"] * bool(states)


def _loop(m: Module, states: list[State], writer: Writer) -> list[str]:
    scan = forward_scan(m, [f"{s.now}_buffer" for s in states])
    block = block_lines(m, "forward", writer, scan)
    sheet = loop_sheet(m, "forward", besides=block.taken)
    write_statements(sheet, "forward", writer, m.program.next.values())
    _alias_states(sheet)
    known = tuple_text(f"({s.initial}, {s.now}_buffer, {s.before})" for s in states)
    lines = ["if masked:", f"    _enter(t, {known}, active, reset)", *sheet.calls]
    return [
        *opening(m, "forward", [f"{s.now}_buffer[0]" for s in states], "not masked"),
        # Without a prologue one loop goes over all steps.
        *(block.before if block.ahead else []),
        *sheet.before(sheet.calls),
        *(_in_blocks(sheet, block, lines, scan) if block.ahead else [stepping(sheet, sheet.calls), *indented(lines)]),
    ]


def _in_blocks(sheet: Sheet, block: Block, lines: list[str], scan: Scan | None) -> list[str]:
    """Return the loop over the steps of each block, after the block prologue."""
    loop = [stepping(sheet, sheet.calls, block.arrays), *indented(lines)]
    return [
        "for lo in range(0, T, K):",
        "    hi = min(lo + K, T)",
        *indented([*block.ahead, *unless_scanned(scan, loop), *block.behind]),
        *[f"ws.give({tuple_text(block.rooms)})"] * bool(block.rooms),
        *closing(scan),
    ]


def _alias_states(sheet: Sheet) -> None:
    """Write states that become the value of another variable: an argument, a literal, another state."""
    m = sheet.module
    p = m.program
    for name, id in p.next.items():
        variable = m.of_argument(name)
        if m.variables.get(id) != variable or p.graph[id].family == "leaf" or not m.place(id).endswith(LOOP):
            put(sheet, value(sheet, id), sheet.array(variable, p.graph.shape(id), settled=False))


def _result(m: Module, states: list[State], tape: list[str]) -> str:
    finals = dict_text({s.name: s.now for s in states})
    outputs = {name: of_each_sample(m, id, AFTER) for name, id in m.program.outputs.items()}
    rooms = [room for region in NEAR for room in given_back(m, f"forward {region}", m.program.next.values())]
    return f"return {finals}, {dict_text(outputs)}, {tuple_text([*tape, tuple_text(rooms)])}"
