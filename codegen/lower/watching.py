"""Monitors and clipping: calls of a runtime that record the norms of the adjoints of a step, or scale them.

`norm` writes the norm of one array into a number. `clip` scales arrays, for each sample, so that their joint norm is at
most a limit; it reads and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.loop_ir.nodes import STEPS, Buffer, If, Map, Port, Runtime, Statement, View
from symbptt.codegen.loop_ir.views import point, whole
from symbptt.codegen.lower.bodies import ZERO
from symbptt.codegen.lower.families import operand
from symbptt.codegen.lower.frame import T
from symbptt.codegen.lower.sweep import Sweep
from symbptt.codegen.program.regions import LOOP
from symbptt.ir.shape import prod, size


def clip(w: Sweep, arrived: dict[str, View], limit: float) -> list[Statement]:
    """Return the statements that clip the adjoints which arrive at a step."""
    views = tuple(arrived.values())
    held = size(sum((prod(view.shape) for view in views), start=0))
    most = whole(w.builder.constant("clip_limit", (), limit))
    return [Runtime("clip", views, (*views, most), held)] if views else []


@dataclass(frozen=True)
class Monitor:
    """The flag by which a caller asks for norms, and the buffers of the norms of each state's adjoint at all steps."""

    flag: Buffer
    flows: dict[str, Buffer]

    @property
    def given(self) -> Port:
        return Port("flag", "monitor", whole(self.flag))

    @property
    def results(self) -> list[Port]:
        return [Port("flow", name, whole(buffer)) for name, buffer in self.flows.items()]

    @property
    def start(self) -> list[Statement]:
        """The statements before the loop."""
        # Where no norms are asked for, the results are zeros.
        return [Map(whole(buffer), ZERO, ()) for buffer in self.flows.values()]


def monitor_of(w: Sweep) -> Monitor:
    """Return the buffers of a monitor."""
    flows = {
        state: w.builder.buffer(f"{carry.name}_flow", (STEPS,), "result") for state, carry in w.storage.carries.items()
    }
    return Monitor(Buffer(w.builder.name("has_monitor"), (), "argument", "bool"), flows)


def watch(w: Sweep, monitor: Monitor) -> list[Statement]:
    """Return the statements that record the norms of the total cotangents at a step, or of the incoming cotangent of a
    state whose total one nothing reads."""
    body: list[Statement] = []
    for name, leaf in w.module.program.carry.items():
        view = total(w, name) or operand(w.lowering, leaf)
        body.append(Runtime("norm", (point(whole(monitor.flows[name]), 0, T),), (view,), prod(view.shape)))
    return [If(whole(monitor.flag), tuple(body))] if body else []


def total(w: Sweep, name: str) -> View | None:
    """Return the total cotangent of a state at a step, or None where nothing reads it."""
    id = w.module.program.whole.get(name)
    there = id is not None and id in w.storage.stored and w.module.place(id) == f"backward {LOOP}"
    return operand(w.lowering, id) if id is not None and there else None
