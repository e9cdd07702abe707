"""The statements at the edges of a sweep and of its steps: where states and adjoints begin, and what masks, given cotangents,
clipping and monitors do to them before a step and behind it.

`Edges` writes them as statements of the loop IR, which any target has. A target whose runtime does the same in calls of its own
has edges of its own; the sweeps put both together in the same way.
"""

from __future__ import annotations

from symbptt.codegen.loop_ir.nodes import If, Map, Port, Statement, View
from symbptt.codegen.loop_ir.views import point, whole
from symbptt.codegen.lower import masks, watching
from symbptt.codegen.lower.bodies import PLUS, ZERO
from symbptt.codegen.lower.families import operand
from symbptt.codegen.lower.frame import T
from symbptt.codegen.lower.sweep import Sweep


class Edges:
    """The edges of both sweeps as statements of the loop IR; `limit` is the greatest joint norm of the adjoints that arrive at a
    step, and where it is `monitored` their norms are recorded."""

    def __init__(self, limit: float | None = None, monitored: bool = False) -> None:
        self.limit, self.monitored = limit, monitored
        self.monitor: watching.Monitor | None = None

    def begin(self, w: Sweep) -> None:
        """Write the states before the first step."""
        storage, leaves = w.storage, w.module.program.leaves
        for name, buffer in storage.states.items():
            w.builder.copy(point(whole(buffer), 0, 0), whole(storage.start[name]), (leaves[name],))
            if storage.masks is not None:
                w.builder.copy(point(whole(storage.masks.before[name]), 0, 0), whole(storage.masks.held[name]))

    def enter(self, w: Sweep) -> None:
        """Write what comes before the statements of a step forward."""
        self._add(w, masks.enter(w.storage, w.storage.masks) if w.storage.masks else [])

    def start(self, w: Sweep) -> None:
        """Write the adjoints behind the last step."""
        storage, carries = w.storage, w.module.program.carry
        for name, carry in storage.carries.items():
            if name in storage.after:
                w.builder.copy(whole(carry), whole(storage.after[name]), (carries[name],))
            else:
                w.builder.fill(whole(carry), ZERO, (carries[name],))
        self._add(w, masks.no_resets(storage.masks) if storage.masks else [])
        self.monitor = watching.monitor_of(w) if self.monitored else None
        self._add(w, self.monitor.start if self.monitor else [])

    def arrive(self, w: Sweep) -> None:
        """Write what comes before the statements of a step backward."""
        # Clipping comes before ended samples are put aside; monitors read total cotangents, which the loop region computes.
        found = arrived(w)
        self._add(w, watching.clip(w, found, self.limit) if self.limit is not None else [])
        self._add(w, masks.wait(w.storage.masks, found) if w.storage.masks else [])

    def watch(self, w: Sweep) -> None:
        """Write what is recorded of a step backward."""
        self._add(w, watching.watch(w, self.monitor) if self.monitor else [])

    def leave(self, w: Sweep) -> None:
        """Write what comes behind the statements of a step backward."""
        self._add(w, masks.leave(w.storage, w.storage.masks) if w.storage.masks else [])

    @property
    def flags(self) -> list[View]:
        """The flags under which something is done at each step backward, so that no scan may pass over it."""
        return [whole(self.monitor.flag)] if self.monitor else []

    @property
    def given(self) -> list[Port]:
        """Arguments of the backward sweep beside those of the program."""
        return [self.monitor.given] if self.monitor else []

    @property
    def results(self) -> list[Port]:
        """Results of the backward sweep beside those of the program."""
        return self.monitor.results if self.monitor else []

    def _add(self, w: Sweep, statements: list[Statement]) -> None:
        w.builder.statements += statements


def arrived(w: Sweep) -> dict[str, View]:
    """Add, for each state, the incoming cotangent of the step after and the direct cotangent of this step."""
    found = {}
    for name, leaf in w.module.program.carry.items():
        carry, direct = whole(w.storage.carries[name]), point(whole(w.storage.direct[name]), 0, T)
        found[name] = operand(w.lowering, leaf)
        added = Map(found[name], PLUS, (carry, direct), (leaf,))
        if name not in w.storage.there:
            w.builder.add(added)
            continue
        other: list[Statement] = []
        with w.builder.inside(other):
            w.builder.copy(found[name], carry, (leaf,))
        w.builder.add(If(whole(w.storage.there[name]), (added,), tuple(other)))
    return found
