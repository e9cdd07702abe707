"""The parts of lowering that both sweeps share: the statements of a region, the loops around them, and the function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from symbptt.codegen.loop_ir.builder import Builder
from symbptt.codegen.loop_ir.nodes import BLOCK, STEPS, Function, Loop, Port, Scan, Statement, View, views, walk
from symbptt.codegen.loop_ir.views import is_whole, whole
from symbptt.codegen.lower.bodies import ZERO
from symbptt.codegen.lower.families import FAMILIES, Lowering, emit, total
from symbptt.codegen.lower.frame import COUNT, FRAMES, LO, PLAIN_LOOP, Frame, T
from symbptt.codegen.lower.rounds import write_loop
from symbptt.codegen.lower.settled import write_point
from symbptt.codegen.lower.storage import Storage
from symbptt.codegen.program.blocks import least_rows, numbers_of_step
from symbptt.codegen.program.names import Named
from symbptt.codegen.program.regions import BLOCK as BLOCK_REGION
from symbptt.codegen.program.regions import LOOP, ONCE, TAIL
from symbptt.codegen.program.values import size_names
from symbptt.ir.rounds import loop_of
from symbptt.ir.shape import Shape, Size, named_size, size

LOOPS = {"rounds": write_loop, "settled": write_point}
"""The families whose values are those of one loop."""


@dataclass
class Sweep:
    """A sweep, "forward" or "backward", during lowering: its values, their storage, and the builder of its statements."""

    name: str
    module: Named
    storage: Storage
    lowering: Lowering

    @property
    def builder(self) -> Builder:
        return self.lowering.builder

    @property
    def in_loop(self) -> Frame:
        """The frame of the statements of one step."""
        return FRAMES[LOOP] if self.goes_by_blocks else PLAIN_LOOP

    @property
    def goes_by_blocks(self) -> bool:
        """True if something is computed or stored for the steps of a block at once."""
        # A loop over blocks pays where something is computed or read for several steps at once; else it would only be
        # a second loop around the first.
        held = any(stored.steps == "block" for stored in self.storage.stored.values())
        return any(self.ids(region) for region in (BLOCK_REGION, TAIL)) or (held and self.name == "backward")

    def ids(self, region: str) -> list[int]:
        """Return the values that have statements of their own in a region, in the order of the graph."""
        p = self.module.program
        where = f"{self.name} {region}"
        here = (id for id in sorted(self.storage.stored) if p.places.get(id) == where)
        return [id for id in here if id not in p.joined and p.graph[id].family != "leaf"]

    def write(self, region: str, at_once: bool = False) -> None:
        """Write the values of a region; sums over the steps of a block are accumulated, unless all steps are there
        `at_once`."""
        g, ids = self.module.program.graph, self.ids(region)
        loops = dict[Any, list[int]]()
        for id in ids:
            if g[id].family in LOOPS:
                loops.setdefault(loop_of(g[id]), []).append(id)
        for id in ids:
            out = self.lowering.frame.part(self.storage.stored[id])
            if g[id].family in LOOPS:
                # All values of a loop are written by it, at the first of them.
                together = loops.pop(loop_of(g[id]), [])
                if together:
                    values = [(g[i], self.lowering.frame.part(self.storage.stored[i])) for i in together]
                    LOOPS[g[id].family](self.lowering, values)
            elif g[id].family == "total":
                total(self.lowering, g[id], out, region == TAIL and not at_once)
            else:
                FAMILIES[g[id].family](self.lowering, g[id], out)
                self._name_last(id)

    def _name_last(self, id: int) -> None:
        """Let the last statement stand for a value, also where what it writes is a view of another value."""
        last = self.builder.statements[-1]
        if id not in last.origin:
            self.builder.statements[-1] = replace(last, origin=(id, *last.origin))

    def loop(
        self, inside: list[Statement], reverse: bool, scan: Callable[[tuple[Statement, ...]], Scan] | None = None
    ) -> None:
        """Write the loop over steps around statements, and around each block of steps its prologue and epilogue; `scan`
        makes one statement of the loop over the steps of a block."""
        if not self.goes_by_blocks and scan is None:
            self.builder.add(Loop(T, 0, STEPS, tuple(inside), reverse))
            return
        for id in self.ids(TAIL):
            if self.module.program.graph[id].family == "total":
                # Sums that grow from block to block start at zero.
                self.builder.fill(self.storage.stored[id].view, ZERO, (id,))
        # What the prologue makes is read by the loop, and what the loop makes by the epilogue, while it is in the
        # cache: a block is chosen so long that its calls are worth their overhead and so short that it fits.
        block: list[Statement] = []
        with self.lowering.at(FRAMES[BLOCK_REGION], block):
            self.write(BLOCK_REGION)
            steps = Loop(T, LO, size(LO + COUNT), tuple(inside), reverse)
            block.append(steps if scan is None else scan((steps,)))
        with self.lowering.at(FRAMES[TAIL], block):
            self.write(TAIL)
        self.builder.add(Loop(LO, 0, STEPS, tuple(block), reverse, BLOCK, COUNT))

    def result(self, id: int | None, name: str, shape: Shape, others: Iterable[Port]) -> View:
        """Return where a caller gets a value: its buffer, if that is a result and no other result has it, else a copy;
        zeros where there is no value."""
        stored = None if id is None else self.storage.stored.get(id)
        taken = {port.view.buffer for port in others}
        if stored is not None and _is_own(stored.view, shape) and stored.view.buffer not in taken:
            return stored.view
        kind = "float" if id is None else self.lowering.type_of(id)
        out = whole(self.builder.buffer(name, shape, "result", kind))
        if id is None:
            self.builder.fill(out, ZERO)
        else:
            emit(self.lowering, id, out)
        return out

    def function(self, given: list[Port], results: list[Port]) -> Function:
        """Return the function, with the buffers and constants that it uses."""
        body = tuple(self.builder.statements)
        # Storage is planned before the statements are known, so that some buffers have no use.
        used = {view.buffer for s in walk(body) for view in views(s)} | {port.view.buffer for port in results}
        own = self.storage.forward if self.name == "forward" else self.storage.backward
        constants = (c for c in (*self.storage.constants, *self.builder.constants) if c.buffer in used)
        return Function(
            f"{self.module.program.name}_{self.name}",
            tuple(self.lowering.symbols.values()),
            tuple(given),
            tuple(constants),
            tuple(buffer for buffer in (*own, *self.builder.buffers) if buffer in used),
            body,
            tuple(results),
            self._measure(),
        )

    def _measure(self) -> tuple[Size, int] | None:
        """Return the numbers by which the length of a block is chosen, where a loop goes by blocks."""
        if not any(isinstance(s, Loop) and s.strip == BLOCK for s in walk(self.builder.statements)):
            return None
        # Without a prologue and an epilogue the next states are the measure.
        ids = [*self.ids(BLOCK_REGION), *self.ids(TAIL)] or list(self.module.program.next.values())
        return numbers_of_step(self.module, ids), least_rows(self.module, ids)


def sweep_of(m: Named, storage: Storage, name: str) -> Sweep:
    """Return a sweep without statements."""
    p = m.program
    parts = frozenset(arg for id in p.joined for arg in p.graph[id].args)
    symbols = {text: named_size(text) for text in size_names(p)}
    builder = Builder(set(storage.taken))
    lowering = Lowering(
        p.graph, frozenset(m.varying), frozenset(m.timed), frozenset(m.static), symbols, builder, FRAMES[ONCE], storage.stored, {}, parts,
        p.front, name == "forward", p.by_round,
    )  # fmt: skip
    return Sweep(name, m, storage, lowering)


def _is_own(view: View, shape: Shape) -> bool:
    """Answer whether a value lies in a buffer that is a result, in the order that a caller expects."""
    return view.buffer.space == "result" and is_whole(view) and view.shape == shape
