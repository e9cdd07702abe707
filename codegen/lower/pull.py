"""One step back for the adjoints of all steps at once, which truncation by windows repeats."""

from __future__ import annotations

from symbptt.codegen.loop_ir.nodes import STEPS, Buffer, Function, If, Port, Runtime, Statement
from symbptt.codegen.loop_ir.views import whole
from symbptt.codegen.lower.backward import given_of, gradients
from symbptt.codegen.lower.frame import FRAMES
from symbptt.codegen.lower.storage import Storage
from symbptt.codegen.lower.sweep import Sweep, sweep_of
from symbptt.codegen.program.names import Named
from symbptt.codegen.program.regions import AFTER, ALL, BLOCK, LOOP, ONCE, TAIL

SEND = "send"
"""The call of the runtime that gives adjoints to the step before and ends the function."""


def pull(m: Named, storage: Storage) -> tuple[Function, list[Buffer]]:
    """Return one step back for the adjoints of all steps at once, and the buffers of the forward sweep that it reads.

    Arguments are the adjoints of all states after each step ("carry") and the cotangents of outputs. Without the flag `sums`
    it hands on the adjoints before each step and ends; with it the results are the total cotangents after each step
    ("carry"), the gradients of parameters, summed over all steps, and of inputs.
    """
    # A window of k steps sends the losses of all steps back k times. Which step they are at differs between them, but
    # the pull of one step is the same function at all: so it is taken of all steps at once, k times, and not of one
    # step T k times.
    p, w = m.program, sweep_of(m, storage, "backward")
    w.lowering.frame = FRAMES[AFTER]
    # No adjoint of another step is read, so that the regions of a block need no loop.
    for region in (ONCE, ALL, BLOCK, LOOP):
        w.write(region, at_once=True)
    flag, inside = Buffer("sums", (), "argument", "bool"), list[Statement]()
    known = dict(w.lowering.known)
    with w.builder.inside(inside):
        passed = _adjoints(w, {name: p.recurrent.get(name) for name in p.carry}, "pulled")
        w.builder.add(Runtime(SEND, (), tuple(port.view for port in passed)))
    w.lowering.known = known  # temporaries of a branch are not there outside
    w.builder.add(If(whole(flag), (), tuple(inside)))
    for region in (TAIL, AFTER):
        w.write(region, at_once=True)
    results = _adjoints(w, {name: p.whole.get(name, leaf) for name, leaf in p.carry.items()}, "whole")
    gradients(w, results)
    given, read = given_of(w)
    given += [Port("carry", name, whole(buffer)) for name, buffer in storage.carries.items()]
    given += [Port("flag", "sums", whole(flag))]
    return w.function(given, results), read


def _adjoints(w: Sweep, values: dict[str, int | None], ending: str) -> list[Port]:
    """Return the ports of adjoints at all steps, by the names of states."""
    found: list[Port] = []
    for name, id in values.items():
        carry = w.storage.carries[name]
        shape = (STEPS, *carry.shape[1:])
        found.append(Port("carry", name, w.result(id, f"{carry.name}_{ending}", shape, found)))
    return found
