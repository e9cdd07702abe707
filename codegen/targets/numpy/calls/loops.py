"""The statements of a loop as calls, each value in its array, and the reuse of arrays after their last reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from symbptt.codegen.lower.equations import equation
from symbptt.codegen.program.regions import BLOCK, LOOP, NEAR, TAIL
from symbptt.codegen.program.values import size_names
from symbptt.codegen.targets.numpy.calls.families import formula
from symbptt.codegen.targets.numpy.calls.sheet import BLOCK_AXES, LOOP_AXES, Operand, Sheet, bases, number, reads
from symbptt.codegen.targets.numpy.calls.three_address import put
from symbptt.codegen.targets.numpy.names import RESERVED, Module
from symbptt.codegen.targets.numpy.statements import commented, computed
from symbptt.equations.notation.formula import Writer
from symbptt.ir.node import WITHOUT_COPY
from symbptt.ir.shape import Shape

ENDS = ("", "_0", "_prev", "_buffer", "_all", "_in")


def loop_sheet(m: Module, sweep: str, region: str = LOOP, besides: Iterable[str] = ()) -> Sheet:
    """Return an empty sheet for the loop of a sweep, or for the prologue of each block; names `besides` those of the
    module are taken."""
    names = [*m.variables.values(), *m.gradients.values(), *(m.sizes.get(name, name) for name in size_names(m.program))]
    taken = set(RESERVED) | {f"{name}{end}" for name in names for end in ENDS} | set(m.previous.values())
    taken |= {"K", "lo", "hi", *besides}
    lead = BLOCK_AXES if region == BLOCK else LOOP_AXES
    sheet = Sheet(m, lead, lambda id: _operand(sheet, sweep, id), taken)
    return sheet


def _operand(sheet: Sheet, sweep: str, id: int) -> Operand | None:
    """Return the operand of a value that has a variable before it is computed here, or has an array for it."""
    m = sheet.module
    name = m.previous.get(id) or m.variables.get(id)
    if name is None:
        return None
    shape = m.program.graph.shape(id)
    m.used.add(name)
    if id in m.static:
        return number(name)
    if id not in m.varying:
        return Operand(name, name, shape, name, settled=True)
    in_loop = sheet.lead == LOOP_AXES
    if m.is_carry(id):
        if in_loop:
            return Operand(name, name, shape, name, True)
        return sheet.array(m.kept_carry(name), shape, count=m.steps_of_carry(id))
    if m.program.graph[id].family == "leaf":
        # The forward loop writes the states before later steps.
        return sheet.array(name, shape, settled=not (in_loop and id in m.previous and sweep == "forward"))
    here = (LOOP,) if in_loop else (BLOCK, TAIL)
    inside = m.place(id) in [f"{sweep} {region}" for region in here]
    if inside and id not in m.stored and id not in m.held:
        return None
    solid, front = id not in m.aliases, id in m.program.front
    if m.place(id) == f"{sweep} {BLOCK}" and id not in m.stored:
        return None if _is_looked_at(m, id) else _of_a_block(sheet, name, shape, front)
    settled = not inside and (m.place(id).split()[0] != sweep or not m.place(id).endswith(NEAR) or not in_loop)
    count = "K" if id in m.held else "T"
    return sheet.array(name, shape, settled=settled, solid=solid, front=front, base=m.root(id), count=count)


def _is_looked_at(m: Module, id: int) -> bool:
    """Answer whether a value is a view of another that has a variable, which its readers then use."""
    node = m.program.graph[id]
    source = node.args[0] if node.family == "view" and node.attrs.kind in WITHOUT_COPY else None
    return source is not None and (source in m.variables or source in m.previous)


def _of_a_block(sheet: Sheet, name: str, shape: Shape, front: bool) -> Operand:
    """Return the operand of a value that was computed for the steps of the block, gate-major ones after the axis of
    gates."""
    found = sheet.array(name, shape, settled=False, count="K", front=front)
    return sheet.view(found, f"{name}.swapaxes(0, 1)", shape, front=True) if front else found


def write_statements(sheet: Sheet, sweep: str, writer: Writer, roots: Iterable[int], region: str = LOOP) -> None:
    """Write the values of a loop that have a variable, in the order of the graph; `roots` are read after them."""
    m = sheet.module
    ids = computed(m, sweep, region)
    last = _last_readers(m, ids, roots)
    for position, id in enumerate(ids):
        count = len(sheet.calls)
        if id in m.program.joined or (id in m.aliases and m.aliases[id][0] in m.program.front):
            continue  # parts are computed in place, or lie where the whole was written
        # The array of a variable may have several readers: `_clear` gives it back, not the first of them.
        sheet.bound[id] = replace(formula(sheet, id, _target(sheet, id)), room="")
        if len(sheet.calls) > count:
            sheet.calls[-1] = commented(sheet.calls[-1], equation(m, writer, id))
        _clear(sheet, last, position)


def _target(sheet: Sheet, id: int) -> Operand | None:
    """Return the array into which a value is written: its own, the carry that it becomes, or one of the workspace; None
    of a view."""
    m = sheet.module
    name, node = m.variables[id], m.program.graph[id]
    if node.family == "total":
        return Operand(name, name, node.shape, name)
    if id in m.stored or id in m.held:
        solid, front, count = id not in m.aliases, id in m.program.front, "K" if id in m.held else "T"
        return sheet.array(name, node.shape, settled=False, solid=solid, front=front, base=m.root(id), count=count)
    if name in {m.variables[leaf] for leaf in m.program.carry.values()}:
        return Operand(name, name, node.shape, name, True)
    in_loop = sheet.lead == LOOP_AXES
    if node.family == "view" and node.attrs.kind in WITHOUT_COPY and (in_loop or _is_looked_at(m, id)):
        return None
    return sheet.named_room(name, node.shape, front=id in m.program.front)


def _last_readers(m: Module, ids: list[int], roots: Iterable[int]) -> dict[int, int]:
    """Return the position of the last statement that reads each value; values that `roots` need are read after all."""
    last = {}
    for position, id in enumerate(ids):
        for read in reads(m, m.program.graph[id].args):
            last[read] = position
        # A value that nothing reads ends where it is written.
        last.setdefault(id, position)
    return last | dict.fromkeys(reads(m, roots), len(ids))


def _clear(sheet: Sheet, last: Mapping[int, int], position: int) -> None:
    """Give back the arrays whose values nothing reads any more."""
    rooms: dict[str, bool] = {}
    for id, operand in sheet.bound.items():
        if id in last and operand.base in sheet.rooms.made:
            # An array is free when all values that share it have been read.
            rooms[operand.base] = rooms.get(operand.base, True) and last[id] <= position
    for room, is_over in rooms.items():
        # Padding writes its zeros once, so that its array is never given to another value.
        if is_over and room not in sheet.rooms.free and not sheet.rooms.made[room].startswith("zeros"):
            sheet.give(room)


def write_carries(sheet: Sheet, carries: Mapping[str, str], comments: Mapping[str, str]) -> None:
    """Write the outgoing cotangents of a step into the carries, none of which is overwritten while another is still to
    be read."""
    m = sheet.module
    before = m.program.recurrent
    read = {name: bases(sheet, [before[name]]) if name in before else set() for name in carries}
    late: dict[str, Operand] = {}
    left = list(carries)
    while left:
        # A carry that no other state reads may be overwritten now.
        name = next((k for k in left if not any(carries[k] in read[j] for j in left if j != k)), None)
        if name is None:
            name = left[0]
            # Each carry left is read for another one, as where two states change places: one goes to a temporary.
            late[name] = _apart(sheet, before[name])
        else:
            _write_carry(sheet, before.get(name), _carry(m, name), carries[name] in read[name], comments.get(name, ""))
        left.remove(name)
    for name, found in late.items():
        put(sheet, found, _carry(m, name))
        sheet.calls[-1] = commented(sheet.calls[-1], comments[name])


def _carry(m: Module, name: str) -> Operand:
    leaf = m.program.carry[name]
    return Operand(m.variables[leaf], m.variables[leaf], m.program.graph.shape(leaf), m.variables[leaf], True)


def _apart(sheet: Sheet, id: int) -> Operand:
    """Return a value in an array of its own."""
    g = sheet.module.program.graph
    found = sheet.find(id)
    room = sheet.room(g.shape(id))
    return put(sheet, found, room) if found is not None else formula(sheet, id, room)


def _write_carry(sheet: Sheet, id: int | None, out: Operand, own: bool, comment: str) -> None:
    count = len(sheet.calls)
    if id is None:
        # A state that the step forgets has no outgoing cotangent.
        put(sheet, number("0"), out)
    elif (found := sheet.find(id)) is not None:
        put(sheet, found, out)
    # A product cannot overwrite its own operand; an elementwise call can.
    elif own and sheet.module.program.graph[id].family != "map":
        put(sheet, _apart(sheet, id), out)
    else:
        formula(sheet, id, out)
    if len(sheet.calls) > count:
        sheet.calls[-1] = commented(sheet.calls[-1], comment)
