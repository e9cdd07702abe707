"""The backward sweep of a cell: from cotangents of states and outputs at all steps to the gradients."""

from __future__ import annotations

from symbptt.codegen.loop_ir.nodes import Buffer, Function, Port, Statement, View, views, walk
from symbptt.codegen.loop_ir.views import whole
from symbptt.codegen.lower import masks
from symbptt.codegen.lower.bodies import ZERO
from symbptt.codegen.lower.edges import Edges
from symbptt.codegen.lower.families import emit, formula, operand, room
from symbptt.codegen.lower.frame import FRAMES
from symbptt.codegen.lower.scan import backward_scan
from symbptt.codegen.lower.storage import Storage
from symbptt.codegen.lower.sweep import Sweep, sweep_of
from symbptt.codegen.program.names import Named
from symbptt.codegen.program.regions import AFTER, ALL, LOOP, ONCE
from symbptt.codegen.program.remainders import is_remainder


def backward(m: Named, storage: Storage, edges: Edges) -> tuple[Function, list[Buffer]]:
    """Return the backward sweep, and the buffers of the forward sweep that it reads."""
    # First what needs no adjoint, then the steps from the last to the first, then what needs all adjoints.
    w = sweep_of(m, storage, "backward")
    w.builder.statements += masks.kept_cotangents(storage, storage.masks)
    w.write(ONCE)
    with w.lowering.at(FRAMES[ALL], w.builder.statements):
        w.write(ALL)
    edges.start(w)
    results, inside = edges.results, list[Statement]()
    # Clipping is not linear in the adjoints, so that their recurrence is no scan, and monitors look at each step.
    scan = backward_scan(w, edges.flags) if edges.limit is None else None
    with w.lowering.at(FRAMES[LOOP] if scan else w.in_loop, inside):
        edges.arrive(w)
        w.write(LOOP)
        edges.watch(w)
        hand_on(w)
        edges.leave(w)
    w.loop(inside, True, scan)
    with w.lowering.at(FRAMES[AFTER], w.builder.statements):
        w.write(AFTER)
        gradients(w, results)
    if storage.after:
        # What resets send to the initial states passes by the steps before this piece.
        resets = storage.masks.resets if storage.masks else {}
        results += [Port("resets", name, whole(buffer)) for name, buffer in resets.items()]
    else:
        w.builder.statements += masks.add_resets(storage, storage.masks) if storage.masks else []
    group = "carry" if storage.after else "state"
    results += [Port(group, name, whole(carry)) for name, carry in storage.carries.items()]
    given, read = given_of(w)
    given += masks.ports(storage.masks) if storage.masks else []
    given += [Port("carry", name, whole(buffer)) for name, buffer in storage.after.items()]
    return w.function([*given, *edges.given], results), read


def hand_on(w: Sweep) -> None:
    """Write the outgoing cotangent of each state into the carry, once nothing reads the incoming one any more.

    States whose carry no other state reads go first; where each is read by another, as when two states change places,
    one is written to a temporary.
    """
    p = w.module.program
    # It is a parallel assignment written one after the other: (dh, dc) = (f(dh, dc), g(dh, dc)) must not let g read
    # the new dh.
    waiting = dict(p.recurrent)
    read = {name: _carries_read(w, id) for name, id in waiting.items()}
    aside: dict[str, View] = {}
    while waiting:
        name = next(
            (name for name in waiting if not any(name in read[other] for other in waiting if other != name)), ""
        )
        if not name:
            # A cycle: a temporary for one of its states breaks it.
            name = next(name for name in waiting if name not in aside)
            aside[name], read[name] = _aside(w, waiting[name]), frozenset()
            continue
        id, out = waiting.pop(name), whole(w.storage.carries[name])
        if name in aside:
            w.builder.copy(out, aside[name], (id,))
        # A product or a reduction reads elements of its own carry after others were written, so that it needs a
        # temporary.
        elif name in read[name] and not _fits_in_place(w, id, out):
            w.builder.copy(out, _aside(w, id), (id,))
        else:
            emit(w.lowering, id, out)
    for name, carry in w.storage.carries.items():
        # Such a state has no outgoing cotangent.
        if name not in p.recurrent:  # last: others may have read the incoming one
            w.builder.fill(whole(carry), ZERO, (p.carry[name],))


def _carries_read(w: Sweep, id: int) -> frozenset[str]:
    """Return the states from whose carries a value is computed."""
    names = {carry: name for name, carry in w.storage.carries.items()}
    found, seen, queue = set[str](), set[int](), [id]
    while queue:
        value = queue.pop()
        if value in seen:
            continue
        seen.add(value)
        stored = w.storage.stored.get(value)
        # What is stored is not computed again, so that only the buffer in which it lies counts.
        if stored is None:
            queue += w.lowering.graph[value].args
        elif stored.view.buffer in names:
            found.add(names[stored.view.buffer])
    return frozenset(found)


def _fits_in_place(w: Sweep, id: int, out: View) -> bool:
    """Answer whether a value can be written where one of its arguments lies, element by element."""
    if id in w.storage.stored:
        return operand(w.lowering, id) == out
    node = w.lowering.graph[id]
    # A remainder takes two statements, of which the second would read what the first has overwritten.
    if node.family != "map" or is_remainder(node):
        return False
    _, args = formula(w.lowering, node, out)
    return all(arg == out for arg in args if isinstance(arg, View) and arg.buffer == out.buffer)


def _aside(w: Sweep, id: int) -> View:
    """Write a value into a temporary of its own and return it."""
    out = room(w.lowering, "s", w.lowering.frame.lead, w.lowering.graph.shape(id), dtype=w.lowering.type_of(id))
    emit(w.lowering, id, out)
    return out


def gradients(w: Sweep, results: list[Port]) -> None:
    """Write the gradients of parameters, contexts and inputs, zero for those that the cell does not use, and add them to results."""
    p = w.module.program
    # That of a context is a sum over steps as that of a parameter is, of each sample by itself.
    for group, roles, ids in (("params", ("param", "context"), p.params), ("inputs", ("input",), p.inputs)):
        for a in filter(lambda a: p.wants(a.name), p.of_role(*roles)):
            shape, name = w.storage.given[a.name].shape, w.module.gradients.get(a.name, f"d{a.name}")
            results.append(Port(group, a.name, w.result(ids.get(a.name), name, shape, results)))


def given_of(w: Sweep) -> tuple[list[Port], list[Buffer]]:
    """Return the arguments of the backward sweep, and those of them that the forward sweep wrote."""
    # What the backward sweep reads is known when its statements are written, and only then: the residuals are these
    # buffers and no others, so that no list of them could be wrong.
    used = dict.fromkeys(view.buffer for s in walk(w.builder.statements) for view in views(s))
    of = {w.storage.given[a.name]: a for a in w.module.program.arguments if a.name in w.storage.given}
    ports = [Port(of[b].role, of[b].name, whole(b)) for b in used if b in of]
    cotangents = {**w.storage.direct, **w.storage.cotangents}
    ports += [Port("cotangent", name, whole(b)) for name, b in cotangents.items()]
    ports += [Port("given", name, whole(b)) for name, b in w.storage.there.items()]
    read = [b for b in used if b in w.storage.forward]
    return ports + [Port("residual", b.name, whole(b)) for b in read], read
