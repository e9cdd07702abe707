"""What is computed for a block of steps at once, before the loop comes to them."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.calls.loop import loop_sheet, write_statements
from symbptt.codegen.passes.place import BLOCK
from symbptt.codegen.statements import computed
from symbptt.codegen.text import size_text
from symbptt.codegen.variables import Module
from symbptt.ir.shape import Size, prod, size
from symbptt.render.expression import Writer

BLOCK_ROWS = 2**9
"""Rows of the products of a block, at the least, so that these are as fast as of all steps."""


@dataclass(frozen=True)
class Block:
    """What happens before each block of steps: lines before the loop, lines of the block, the arrays that they fill;
    `rooms` are their variables, and `made` their numbers for each sample and step."""

    before: list[str]
    lines: list[str]
    arrays: set[str]
    rooms: list[str]
    taken: set[str]
    made: tuple[Size, ...] = ()


def block_lines(m: Module, sweep: str, writer: Writer) -> Block:
    """Return what is computed for a block of steps at once."""
    ids = computed(m, sweep, BLOCK)
    if not ids:
        return Block(["K = max(T, 1)"], [], set(), [], set())
    sheet = loop_sheet(m, sweep, BLOCK)
    write_statements(sheet, sweep, writer, [id for id in ids if _goes_on(m, id)], BLOCK)
    made = sheet.rooms.made
    rooms = [line.replace("np.empty(", "_room(") for line in sheet.before(sheet.calls)]
    steps = f"K = {steps_text(m, ids)}"
    return Block(
        [f"{steps:<58}  # steps in a block: what it computes stays in the cache", *rooms],
        ["K = hi - lo", *sheet.inside(sheet.calls), *sheet.calls],
        {name for room in made for name in sheet.rooms.names[room]},
        [room for room in made if not made[room].startswith("zeros")],
        sheet.taken,
        tuple(sheet.rooms.sizes[room] for room in made),
    )


def _goes_on(m: Module, id: int) -> bool:
    """Whether a value is read outside its block."""
    p = m.program
    return any(p.places.get(reader, m.place(id)) != m.place(id) for reader in p.graph.network.successors(id))


def steps_text(m: Module, ids: list[int]) -> str:
    """Return the number of steps of a block that computes these values."""
    rows = rows_of(m, ids)
    return f"_steps(T, B, {size_text(held_of(m, ids), m.sizes)}{f', {rows}' * (rows > 0)})"


def held_of(m: Module, ids: list[int]) -> Size:
    """Return the numbers for each sample and step by which a block is measured: one value of each size."""
    found = [prod(m.program.graph.shape(id)) for id in ids]
    return size(sum({size_text(x): x for x in found}.values()))


def rows_of(m: Module, ids: list[int]) -> int:
    """Return how many rows the products of a block have at the least, 0 where it computes none."""
    g, here = m.program.graph, {m.place(id) for id in ids}
    products = (id for id in g.ancestors(ids) if m.place(id) in here and g[id].family == "contract")
    return BLOCK_ROWS if any(products) else 0
