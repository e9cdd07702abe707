"""The forward sweep of a module: before the loop, in it, and after it."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.affine import Scan, closing, forward_scan, opening, unless_scanned
from symbptt.codegen.calls.block import Block, block_lines
from symbptt.codegen.calls.loop import loop_sheet, write_statements
from symbptt.codegen.calls.scalar import put
from symbptt.codegen.calls.sheet import Sheet, stepping
from symbptt.codegen.calls.values import value
from symbptt.codegen.passes.place import AFTER, LOOP, NEAR, ONCE
from symbptt.codegen.statements import (
    allocations,
    arguments,
    function,
    given_back,
    indented,
    of_each_sample,
    statements,
    writer_of,
)
from symbptt.codegen.text import dict_text, shape_text, tuple_text
from symbptt.codegen.variables import Module, is_baked
from symbptt.ir.shape import Shape
from symbptt.render.expression import Writer

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
    """Return the function of the forward sweep; `tape` are the variables that it hands to the backward sweep."""
    writer, states = writer_of(m.program), _states(m)
    late = statements(m, "forward", AFTER, writer)
    lines = [
        *arguments(m, {"a": [a for a in m.program.arguments if not is_baked(a)]}, {s.name: s.initial for s in states}),
        "# before the loop: what needs no state",
        *statements(m, "forward", ONCE, writer),
        *_buffers(m, states),
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


def _buffers(m: Module, states: list[State]) -> list[str]:
    """One array for a state before and after every step: the two are views of it, unless there are masks."""
    made = [f"{s.now}_buffer = np.empty({shape_text(('T + 1', 'B'), s.shape, m.sizes)}, dtype)" for s in states]
    return made + [
        f'{s.now}_buffer[0], {s.before}, {s.now} = start["{s.name}"], {s.now}_buffer[:-1], {s.now}_buffer[1:]'
        for s in states
    ]


def _loop(m: Module, states: list[State], writer: Writer) -> list[str]:
    scan = forward_scan(m, [f"{s.now}_buffer" for s in states])
    block = block_lines(m, "forward", writer, scan)
    sheet = loop_sheet(m, "forward", besides=block.taken)
    write_statements(sheet, "forward", writer, m.program.next.values())
    _alias_states(sheet)
    lines = [
        "if masked:",
        *(f"    {s.before}[t] = _entering(t, {s.initial}, {s.now}_buffer, {s.before}, active, reset)" for s in states),
        *sheet.calls,
    ]
    return [
        "masked = active is not None or reset is not None",
        "if masked:",
        *(f"    {s.before} = np.empty_like({s.now})" for s in states),
        *opening(m, "forward", [f"{s.now}_buffer[0]" for s in states], "not masked"),
        *(block.before if block.ahead else []),
        *sheet.before(sheet.calls),
        *(_in_blocks(sheet, block, lines, scan) if block.ahead else [stepping(sheet, sheet.calls), *indented(lines)]),
    ]


def _in_blocks(sheet: Sheet, block: Block, lines: list[str], scan: Scan | None) -> list[str]:
    """The loop over the steps of each block, behind what is computed for all of them."""
    loop = [stepping(sheet, sheet.calls, block.arrays), *indented(lines)]
    return [
        "for lo in range(0, T, K):",
        "    hi = min(lo + K, T)",
        *indented([*block.ahead, *unless_scanned(scan, loop), *block.behind]),
        *[f"ws.give({tuple_text(block.rooms)})"] * bool(block.rooms),
        *closing(scan),
    ]


def _alias_states(sheet: Sheet) -> None:
    """States that become a value which is another's already: an argument, a literal, the value of another state."""
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
