"""The prologue and the epilogue of a block of steps: calls for all of its steps at once.

Example of a forward sweep, whose block prologue computes x_in for K steps in one product:

    for lo in range(0, T, K):
        hi = min(lo + K, T)
        (prologue: x_in = W x + b of steps lo to hi)
        for t, ... in zip(range(lo, hi), ...): (one step)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from symbptt.codegen.program.blocks import least_rows, numbers_of_step
from symbptt.codegen.program.regions import BLOCK, LOOP, TAIL
from symbptt.codegen.targets.numpy.calls.families import value
from symbptt.codegen.targets.numpy.calls.loops import loop_sheet, write_statements
from symbptt.codegen.targets.numpy.calls.sheet import Sheet
from symbptt.codegen.targets.numpy.calls.three_address import put
from symbptt.codegen.targets.numpy.names import Module
from symbptt.codegen.targets.numpy.statements import all_steps, computed, parts_of
from symbptt.codegen.targets.numpy.text import shape_text, size_text
from symbptt.equations.notation.formula import Writer


@dataclass(frozen=True)
class Block:
    """The lines before the loop, the prologue and the epilogue of a block of steps, and the arrays that have only the
    steps of a block; `carried` are those of adjoints from the step after, `rooms` the variables of workspace arrays to
    give back, `taken` the variables in use."""

    before: list[str]
    ahead: list[str]
    behind: list[str]
    arrays: set[str]
    carried: set[str]
    rooms: list[str]
    taken: set[str]


def block_lines(m: Module, sweep: str, writer: Writer, scan: Callable[[Sheet], list[str]] | None = None) -> Block:
    """Return the calls for a block of steps at once, with `scan` before its steps; one block has all steps where there
    are none."""
    ahead, behind = (computed(m, sweep, region) for region in (BLOCK, TAIL))
    if not ahead and not behind and not scan and not (sweep == "backward" and _passed_on(m)):
        carried = _carried(m, sweep)
        return Block(["K = max(T, 1)", *_rooms(m, carried)], [], [], set(), set(carried), [*carried], set())
    sheet = loop_sheet(m, sweep, BLOCK)
    write_statements(sheet, sweep, writer, [id for id in ahead if _goes_on(m, id)], BLOCK)
    sheet.calls += scan(sheet) if scan else []
    first, sheet.calls = sheet.calls, []
    write_statements(sheet, sweep, writer, [], TAIL)
    passed = _passed_on(m) if sweep == "backward" else {}
    for name, id in passed.items():
        put(sheet, value(sheet, id), sheet.array(name, m.program.graph.shape(id)))
    last, views = sheet.calls, sheet.inside(first)
    made, carried = sheet.rooms.made, _carried(m, sweep)
    held = _held(m, sweep) | carried
    steps = f"K = {steps_text(m, [*ahead, *behind] or list(m.program.next.values()))}"
    return Block(
        [
            f"{steps:<58}  # steps in a block: what it computes stays in the cache",
            *_rooms(m, held),
            *parts_of(m, m.held, f"{sweep} {LOOP}"),
            *sheet.before([*first, *last], "ws.room"),
            # Each block adds to the sums, so that they start at zero before the first.
            *_sums(m, behind),
            *(f"{name} = np.empty({all_steps(m, id)}, dtype)" for name, id in passed.items()),
        ],
        # Slices that the prologue takes serve the epilogue too.
        ["K = hi - lo", *views, *first],
        [*(line for line in sheet.inside(last) if line not in views), *last],
        {name for room in made for name in sheet.rooms.names[room]}
        | {name for name, id in held.items() if _steps_of(m, id) == "K"}
        | {m.variables[id] for id in m.held},
        set(carried),
        [*(room for room in made if not made[room].startswith("zeros")), *held],
        sheet.taken,
    )


def _rooms(m: Module, held: Mapping[str, int]) -> list[str]:
    """Return the lines that take arrays of the workspace for some values at the steps of a block, or at all steps."""
    return [f"{name} = ws.room({all_steps(m, id, _steps_of(m, id))}, dtype)" for name, id in held.items()]


def _steps_of(m: Module, id: int) -> str:
    return m.steps_of_carry(id) if m.is_carry(id) else "K"


def _passed_on(m: Module) -> dict[str, int]:
    """Return the gradients of inputs that are the incoming cotangent, by variable."""
    return {m.gradients[name]: id for name, id in m.program.inputs.items() if m.is_carry(id)}


def _held(m: Module, sweep: str) -> dict[str, int]:
    """Return the arrays of values of the loop at the steps of a block."""
    return {m.variables[id]: id for id in sorted(m.held) if m.place(id) == f"{sweep} {LOOP}" and id not in m.aliases}


def _carried(m: Module, sweep: str) -> dict[str, int]:
    """Return the arrays of carries: those that the block prologue or epilogue uses, and those that are read after the
    loop."""
    carried = {f"{m.variables[id]}_all": id for id in m.program.carry.values()} if sweep == "backward" else {}
    return {name: id for name, id in carried.items() if name in m.used or id in m.collected}


def _sums(m: Module, ids: Iterable[int]) -> list[str]:
    """Return the lines that allocate the sums over steps, with zeros."""
    totals = [id for id in ids if m.program.graph[id].family == "total"]
    return [
        f"{m.variables[id]} = np.zeros({shape_text((), m.program.graph.shape(id), m.sizes)}, dtype)" for id in totals
    ]


def _goes_on(m: Module, id: int) -> bool:
    """Answer whether a value is read outside its block."""
    p = m.program
    return any(p.places.get(reader, m.place(id)) != m.place(id) for reader in p.graph.readers(id))


def steps_text(m: Module, ids: list[int]) -> str:
    """Return the number of steps of a block that computes these values."""
    rows = least_rows(m, ids)
    return f"_steps(T, B, {size_text(numbers_of_step(m, ids), m.sizes)}{f', {rows}' * (rows > 0)})"
