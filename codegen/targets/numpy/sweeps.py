"""The sweeps of a cell as NumPy runs them: loops over values of the program, and around each step calls of the runtime for
masks, given cotangents, clipping and monitors, which act on the states and adjoints that they are given.

A state has two buffers of all steps: the state after a step, and that before it, which is a view of the other unless
samples end or are reset. The runtime allocates them (`_buffers`).
"""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.loop_ir.nodes import BLOCK as STRIP
from symbptt.codegen.loop_ir.nodes import STEPS, Buffer, Function, If, Loop, Port, Runtime, Statement, View
from symbptt.codegen.loop_ir.views import point, whole
from symbptt.codegen.lower.backward import given_of, gradients, hand_on
from symbptt.codegen.lower.bodies import ZERO
from symbptt.codegen.lower.families import emit, operand
from symbptt.codegen.lower.frame import COUNT, FRAMES, LO, Stored, T
from symbptt.codegen.lower.storage import Storage, storage_of
from symbptt.codegen.lower.sweep import Sweep, sweep_of
from symbptt.codegen.program.names import Named
from symbptt.codegen.program.regions import AFTER, ALL, BLOCK, LOOP, ONCE, TAIL
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.codegen.targets.numpy.scans import Scan
from symbptt.ir.shape import prod, size

BEGIN, ENTER, START, ARRIVE, CLIP, WAIT, WATCH, LEAVE, SEND = (
    "begin", "enter", "start", "arrive", "clip", "wait", "watch", "leave", "send",
)  # fmt: skip
"""The names of calls of the runtime."""


def numpy_storage(n: Named, pulled: bool = False) -> Storage:
    """Return the storage of a program whose states have buffers before and after each step."""
    found = storage_of(n, pulled=pulled)
    found.taken |= RESERVED | {f"{n.of_argument(a.name)}_buffer" for a in n.program.of_role("state")}
    for a in n.program.of_role("state"):
        leaf, old = n.program.leaves[a.name], found.states[a.name]
        shape = (STEPS, *old.shape[1:])
        after, before = Buffer(old.name, shape, "result"), Buffer(n.previous[leaf], shape, "residual")
        for id, stored in found.stored.items():
            if stored.view.buffer == old:
                found.stored[id] = Stored(whole(before if id == leaf else after), "all")
        found.states[a.name] = after
        at = found.forward.index(old)
        found.forward[at : at + 1] = [after, before]
    return found


def _before(w: Sweep) -> tuple[View, ...]:
    """Return the states before each step."""
    n = w.module
    return tuple(w.storage.stored[n.program.leaves[a.name]].view for a in n.program.of_role("state"))


def _carries(w: Sweep) -> tuple[View, ...]:
    return tuple(map(whole, w.storage.carries.values()))


def forward(n: Named, storage: Storage, read: list[Buffer], scan: Scan | None = None) -> Function:
    """Return the forward sweep; the buffers `read` are those that the backward sweep reads of it."""
    p, w = n.program, sweep_of(n, storage, "forward")
    w.write(ONCE)
    initial = tuple(map(whole, storage.initial.values()))
    w.builder.add(Runtime(BEGIN, (), initial))
    inside: list[Statement] = []
    with w.lowering.at(w.in_loop, inside):
        if storage.states:
            inside.append(Runtime(ENTER, tuple(point(view, 0, T) for view in _before(w)), initial))
        w.write(LOOP)
        for name, id in p.next.items():
            stored, out = storage.stored.get(id), whole(storage.states[name])
            if stored is None or stored.view != out:
                emit(w.lowering, id, point(out, 0, T))
    _loop(w, inside, False, scan)
    results = [Port("states", name, whole(buffer)) for name, buffer in storage.states.items()]
    with w.lowering.at(FRAMES[AFTER], w.builder.statements):
        w.write(AFTER)
        for name, id in p.outputs.items():
            results.append(Port("outputs", name, w.result(id, name, storage.cotangents[name].shape, results)))
    results += [Port("residual", buffer.name, whole(buffer)) for buffer in read]
    given = [Port(a.role, a.name, whole(storage.given[a.name])) for a in p.arguments if a.name in storage.given]
    given += [Port("state", name, whole(buffer)) for name, buffer in storage.initial.items()]
    return w.function(given, results)


def backward(
    n: Named, storage: Storage, limit: float | None, scan: Scan | None = None
) -> tuple[Function, list[Buffer]]:
    """Return the backward sweep, and the buffers of the forward sweep that it reads; adjoints are clipped to a joint norm of
    `limit`."""
    p, w = n.program, sweep_of(n, storage, "backward")
    w.write(ONCE)
    with w.lowering.at(FRAMES[ALL], w.builder.statements):
        w.write(ALL)
    carries = _carries(w)
    w.builder.add(Runtime(START, carries, ()))
    inside: list[Statement] = []
    with w.lowering.at(w.in_loop, inside):
        inside.append(Runtime(ARRIVE, carries, carries))
        if limit is not None:
            held = size(sum((prod(view.shape) for view in carries), start=0))
            inside.append(Runtime(CLIP, carries, carries, held))
        inside.append(Runtime(WAIT, carries, carries))
        for name, leaf in p.carry.items():
            w.builder.copy(operand(w.lowering, leaf), whole(storage.carries[name]))
        w.write(LOOP)
        watched = tuple(_watched(w, name) for name in p.carry)
        inside.append(Runtime(WATCH, (), watched))
        hand_on(w)
        inside.append(Runtime(LEAVE, carries, carries))
    _loop(w, inside, True, scan)
    results: list[Port] = []
    with w.lowering.at(FRAMES[AFTER], w.builder.statements):
        w.write(AFTER)
        gradients(w, results)
    results += [Port("state", name, view) for name, view in zip(storage.carries, carries, strict=True)]
    given, read = given_of(w)
    return w.function(given, results), read


def _watched(w: Sweep, name: str) -> View:
    """Return the total cotangent of a state at a step, or the incoming one where nothing reads the total one."""
    id = w.module.program.whole.get(name)
    if id is not None and id in w.storage.stored and w.module.place(id) == f"backward {LOOP}":
        return operand(w.lowering, id)
    return whole(w.storage.carries[name])


def _loop(w: Sweep, inside: list[Statement], reverse: bool, scan: Scan | None) -> None:
    """Write the loop over steps; those of a block that can be scanned are, and the loop runs where that was not done."""
    if scan is None:
        w.loop(inside, reverse)
        return
    flag = Buffer("scanned", (), "scalar", "bool")
    w.builder.buffers.append(flag)
    for id in w.ids(TAIL):
        if w.module.program.graph[id].family == "total":
            w.builder.fill(w.storage.stored[id].view, ZERO, (id,))
    block: list[Statement] = []
    with w.lowering.at(FRAMES[BLOCK], block):
        w.write(BLOCK)
        block.append(scan(w, whole(flag)))
    block.append(If(whole(flag), (), (Loop(T, LO, size(LO + COUNT), tuple(inside), reverse),)))
    with w.lowering.at(FRAMES[TAIL], block):
        w.write(TAIL)
    w.builder.add(Loop(LO, 0, STEPS, tuple(block), reverse, STRIP, COUNT))


def pull(n: Named, storage: Storage) -> tuple[Function, list[Buffer]]:
    """Return one step back for the adjoints of all steps at once, and the buffers of the forward sweep that it reads.

    Without `sums` it hands on the adjoints before each step and ends; with it the results are the total cotangents, and
    the gradients.
    """
    p, w = n.program, sweep_of(n, storage, "backward")
    w.lowering.frame = FRAMES[AFTER]
    for region in (ONCE, ALL, BLOCK, LOOP):
        w.write(region, at_once=True)
    flag = Buffer("sums", (), "argument", "bool")
    inside: list[Statement] = []
    known = dict(w.lowering.known)
    with w.builder.inside(inside):
        passed: list[Port] = []
        for name, leaf in p.carry.items():
            shape = (STEPS, *storage.carries[name].shape[1:])
            view = w.result(p.recurrent.get(name), f"{n.variables[leaf]}_pulled", shape, passed)
            passed.append(Port("carry", name, view))
        w.builder.add(Runtime(SEND, (), tuple(port.view for port in passed)))
    w.lowering.known = known  # temporaries of a branch are not there outside
    w.builder.add(If(whole(flag), (), tuple(inside)))
    for region in (TAIL, AFTER):
        w.write(region, at_once=True)
    results: list[Port] = []
    for name, leaf in p.carry.items():
        shape = (STEPS, *storage.carries[name].shape[1:])
        view = w.result(p.whole.get(name, leaf), f"{n.variables[leaf]}_whole", shape, results)
        results.append(Port("carry", name, view))
    gradients(w, results)
    given, read = given_of(w)
    given += [Port("carry", name, whole(buffer)) for name, buffer in storage.carries.items()]
    given += [Port("flag", "sums", whole(flag))]
    return w.function(given, results), read


@dataclass(frozen=True)
class Sweeps:
    """Both sweeps of a cell before the passes, the names and the storage of their values; `back` is the backward sweep, or
    one step of it for all steps at once."""

    named: Named
    storage: Storage
    forward: Function
    back: Function
    pulled: bool
