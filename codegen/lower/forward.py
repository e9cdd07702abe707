"""The forward sweep of a cell: states and outputs at all steps, and the residuals of the backward sweep."""

from __future__ import annotations

from collections.abc import Sequence

from symbptt.codegen.loop_ir.nodes import STEPS, Buffer, Function, Port, Statement
from symbptt.codegen.loop_ir.views import point, whole
from symbptt.codegen.lower import masks
from symbptt.codegen.lower.edges import Edges
from symbptt.codegen.lower.families import emit
from symbptt.codegen.lower.frame import FRAMES, T
from symbptt.codegen.lower.scan import forward_scan
from symbptt.codegen.lower.storage import Storage, after_steps
from symbptt.codegen.lower.sweep import Sweep, sweep_of
from symbptt.codegen.program.names import Named
from symbptt.codegen.program.regions import AFTER, LOOP, ONCE


def forward(m: Named, storage: Storage, read: Sequence[Buffer], edges: Edges) -> Function:
    """Return the forward sweep; the buffers `read` are those that the backward sweep reads of it."""
    p, w = m.program, sweep_of(m, storage, "forward")
    w.write(ONCE)
    edges.begin(w)
    # The frame of the body is that of a step in a block where the steps are scanned, for the scan is a statement of
    # the block that stands for the loop over its steps.
    inside: list[Statement] = []
    scan = forward_scan(w)
    with w.lowering.at(FRAMES[LOOP] if scan else w.in_loop, inside):
        edges.enter(w)
        w.write(LOOP)
        _copied_states(w)
    w.loop(inside, False, scan)
    w.builder.statements += masks.stop(storage, storage.masks) if storage.masks else []
    states = storage.masks.stopped if storage.masks else storage.states
    results = [Port("states", name, after_steps(x)) for name, x in states.items()]
    if storage.start != storage.initial:
        # The state with which the next piece begins: of an ended sample the one at its end.
        results += [Port("final", name, point(whole(x), 0, STEPS)) for name, x in states.items()]
    with w.lowering.at(FRAMES[AFTER], w.builder.statements):
        w.write(AFTER)
        for name, id in p.outputs.items():
            # With masks an output that is a residual too gets a copy: setting it to zero after the end would change the
            # residual.
            apart = [Port("residual", buffer.name, whole(buffer)) for buffer in read if storage.masks]
            view = w.result(id, name, storage.cotangents[name].shape, [*results, *apart])
            results.append(Port("outputs", name, view))
            w.builder.statements += [masks.silence(storage.masks, view)] if storage.masks else []
    results += [Port("residual", buffer.name, whole(buffer)) for buffer in read]
    return w.function(_given(w), results)


def _given(w: Sweep) -> list[Port]:
    """Return the arguments of the forward sweep."""
    p, storage = w.module.program, w.storage
    ports = [Port(a.role, a.name, whole(storage.given[a.name])) for a in p.arguments if a.name in storage.given]
    ports += [Port("state", name, whole(buffer)) for name, buffer in storage.initial.items()]
    if storage.start != storage.initial:
        ports += [Port("start", name, whole(buffer)) for name, buffer in storage.start.items()]
    if storage.masks is not None:
        ports += masks.ports(storage.masks)
        ports += [Port("held", name, whole(buffer)) for name, buffer in storage.masks.held.items()]
    return ports


def _copied_states(w: Sweep) -> None:
    """Copy the values of next states that lie elsewhere: an argument, a number, the value of another state."""
    for name, id in w.module.program.next.items():
        stored, after = w.storage.stored.get(id), after_steps(w.storage.states[name])
        # A next state that lies in its buffer already was written by its own statement.
        if stored is None or stored.view != after:
            emit(w.lowering, id, point(after, 0, T))
