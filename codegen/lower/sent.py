"""Sweeps and losses of a model that always has the same one loss: states to which it sends nothing have no cotangents.

Example: a loss reads h after the last step. Backward dh begins with what the loss sends there, and no step adds anything; with a loss
at every step it begins with zero, and each step adds the cotangent of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import Buffer, Constant, Function, Map, Port, Reduce, Statement
from symbptt.codegen.loop_ir.rewrite import with_buffers
from symbptt.codegen.loop_ir.step_by_step import without_unread
from symbptt.codegen.loop_ir.views import point, whole
from symbptt.codegen.lower.backward import backward
from symbptt.codegen.lower.bodies import PLUS, ZERO
from symbptt.codegen.lower.cell import Sweeps
from symbptt.codegen.lower.edges import Edges
from symbptt.codegen.lower.families import operand
from symbptt.codegen.lower.forward import forward
from symbptt.codegen.lower.frame import SYMBOLS, T
from symbptt.codegen.lower.loss import lower_loss, lower_told
from symbptt.codegen.lower.storage import storage_of
from symbptt.codegen.lower.sweep import Sweep
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.names import named
from symbptt.codegen.program.program import Program
from symbptt.ir.naming import unique
from symbptt.ir.scalar import Prod, Ref

TOTAL = "total"
"""The output of the functions of a loss that is its sum, or its mean, over all that counts."""


class Sent(Edges):
    """The edges of sweeps that get cotangents of some states alone: of all steps, or of the last one."""

    def __init__(self, states: Collection[str], is_last: bool) -> None:
        super().__init__()
        self.states, self.is_last = states, is_last
        self.ports: list[Port] = []

    @property
    def given(self) -> list[Port]:
        """The cotangents of states after the last step."""
        return self.ports

    def start(self, w: Sweep) -> None:
        carries = w.module.program.carry
        for name, carry in w.storage.carries.items():
            if not (self.is_last and name in self.states):
                w.builder.fill(whole(carry), ZERO, (carries[name],))
                continue
            last = Buffer(w.builder.name(f"{carry.name}_last"), carry.shape, "argument", carry.dtype)
            self.ports.append(Port("carry", name, whole(last)))
            w.builder.copy(whole(carry), whole(last), (carries[name],))

    def arrive(self, w: Sweep) -> None:
        for name, leaf in w.module.program.carry.items():
            carry, found = whole(w.storage.carries[name]), operand(w.lowering, leaf)
            if not self.is_last and name in self.states:
                w.builder.add(Map(found, PLUS, (carry, point(whole(w.storage.direct[name]), 0, T)), (leaf,)))
            elif found != carry:
                w.builder.copy(found, carry, (leaf,))


def lower_sent(p: Program, states: Collection[str], is_last: bool) -> Sweeps:
    """Return the sweeps of a program of which a loss sends cotangents to some states alone, at every step or at the last."""
    n, edges = named(p, SYMBOLS), Sent(states, is_last)
    storage = storage_of(n)
    back, read = backward(n, storage, edges)
    return Sweeps(forward(n, storage, read, edges), back)


def lower_forward(p: Program) -> Function:
    """Return the sweep forward that nothing goes back from: it keeps the states, and the outputs."""
    n = named(p, SYMBOLS)
    f = without_unread(forward(n, storage_of(n), [], Edges()))
    return with_buffers(f, {b: replace(b, space="temporary") for b in f.buffers if b.space == "residual"})


def lower_total(head: Head, weight: float, has_gradients: bool) -> Function:
    """Return the loss as one function whose output "total" is the sum of the losses of all steps and samples that count, times a
    weight; with gradients of that, or without."""
    is_every, told = head.at == "every", head.program.outputs
    f = lower_loss(head.program, is_every) if has_gradients else lower_told(head.program, told, is_every)
    loss = next(port.view for port in f.results if (port.group, port.name) == ("outputs", "loss"))
    sent = [port.view.buffer for port in f.arguments if (port.group, port.name) == ("cotangent", "loss")]
    weights = {b: replace(b, space="constant") for b in sent}
    f = with_buffers(f, weights | {loss.buffer: replace(loss.buffer, space="temporary")})
    loss = replace(loss, buffer=replace(loss.buffer, space="temporary"))
    taken = {b.name for b in (*f.declared, *sent)}
    total, part = Buffer(unique(TOTAL, taken), (), "result"), Buffer(unique("sum", taken), (), "temporary")
    share = Buffer(unique("weight", taken), (), "constant")
    body: list[Statement] = [
        Reduce(whole(part), "sum", loss, tuple(range(len(loss.axes)))),
        Map(whole(total), Prod((Ref(0), Ref(1))), (whole(part), whole(share))),
    ]
    kept = tuple(port for port in f.results if (port.group, port.name) != ("outputs", "loss"))
    constants = (*(Constant(b, weight) for b in weights.values()), Constant(share, weight))
    f = replace(
        f,
        arguments=tuple(port for port in f.arguments if port.group != "cotangent"),
        constants=(*f.constants, *constants),
        buffers=(*f.buffers, total, part),
        body=(*f.body, *body),
        results=(*kept, Port("outputs", TOTAL, whole(total))),
    )
    return without_unread(f)


def with_added(f: Function, shared: Collection[str]) -> Function:
    """Return a sweep backward that adds to the gradients of some parameters what a loss that shares them has of its own."""
    found, body, taken = list(f.arguments), list(f.body), {b.name for b in f.declared}
    for port in f.results:
        if port.group == "params" and port.name in shared:
            own = Buffer(
                unique(f"{port.view.buffer.name}_own", taken), port.view.shape, "argument", port.view.buffer.dtype
            )
            found.append(Port("own", port.name, whole(own)))
            body.append(Map(port.view, PLUS, (port.view, whole(own))))
    return replace(f, arguments=tuple(found), body=tuple(body))
