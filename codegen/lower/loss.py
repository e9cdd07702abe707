"""The loss of a model as one function: its value for each sample, and the cotangents of what it reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from symbptt.codegen.loop_ir.nodes import BATCH, STEPS, Buffer, Constant, Function, Port
from symbptt.codegen.loop_ir.views import whole
from symbptt.codegen.lower.frame import FRAMES, SYMBOLS, Frame, Stored
from symbptt.codegen.lower.storage import Storage, arranged, is_looked_at, names_of, type_of_argument, type_of_value
from symbptt.codegen.lower.sweep import Sweep, sweep_of
from symbptt.codegen.program.names import Named, named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import AFTER, ONCE
from symbptt.codegen.program.values import is_baked
from symbptt.ir.shape import Shape
from symbptt.ir.step import Argument


def lower_loss(p: Program, of_all_steps: bool, reserved: Collection[str] = ()) -> Function:
    """Return the program of a loss as a function of what it reads of the cell, of targets and its own parameters.

    A further argument is the weight of each loss, as the cotangent of "loss". Results are the outputs "loss", the
    gradients of "params", and as "inputs" the cotangents of what it reads. `of_all_steps`: values have axes of steps
    and samples, else of samples only. No buffer has a `reserved` name.
    """
    lead: Shape = (STEPS, BATCH) if of_all_steps else (BATCH,)
    # The last step is another one for each sample with lengths, and no loop tells it.
    w, given = written_at_once(p, lead, of_all_steps, reserved)
    m = w.module
    # One function computes both sweeps: without a loop nothing needs to be stored between them.
    back = Sweep("backward", m, w.storage, w.lowering)
    back.write(ONCE)
    back.write(AFTER)
    results: list[Port] = []
    results.append(Port("outputs", "loss", w.result(p.outputs["loss"], "loss", lead, results)))
    for group, roles, ids in (("inputs", ("input", "output"), p.inputs), ("params", ("param",), p.params)):
        for a in p.of_role(*roles):
            # A caller gets a gradient of every parameter; a cotangent that is zero need not be sent.
            if a.name in ids or (group == "params" and p.wants(a.name)):
                name = m.gradients.get(a.name, f"d{a.name}")
                view = w.result(ids.get(a.name), name, _shape(m, a, lead), results)
                results.append(Port(group, a.name, view))
    return w.function(given, results)


def _shape(m: Named, a: Argument, lead: Shape) -> Shape:
    return (*_lead(m, m.program.leaves[a.name], lead), *a.shape)


def _lead(m: Named, id: int, lead: Shape) -> Shape:
    """Return the axes of steps and samples that a value has where others have `lead`."""
    return lead if id in m.timed else lead[-1:] if id in m.varying else ()


def lower_values(p: Program, values: Mapping[str, int], reserved: Collection[str] = ()) -> Function:
    """Return a function of the arguments of a step at all steps, states before each step among them, whose results are some
    values by name; one that is the same for all samples comes without their axes. No buffer has a `reserved` name."""
    lead: Shape = (STEPS, BATCH)
    w, given = written_at_once(p, lead, False, reserved)
    results: list[Port] = []
    for name, id in values.items():
        shape = (*_lead(w.module, id, lead), *p.graph.shape(id))
        results.append(Port("outputs", name, w.result(id, "value", shape, results)))
    return w.function(given, results)


def written_at_once(p: Program, lead: Shape, tells_steps: bool, reserved: Collection[str]) -> tuple[Sweep, list[Port]]:
    """Return the sweep forward of a program without a loop for values with axes of samples, and its arguments."""
    w, given = begun_at_once(p, lead, tells_steps, reserved)
    w.write(ONCE)
    w.write(AFTER)
    return w, given


def begun_at_once(p: Program, lead: Shape, tells_steps: bool, reserved: Collection[str]) -> tuple[Sweep, list[Port]]:
    """Return such a sweep before its statements are written, and its arguments."""
    m = named(p, {*SYMBOLS, *reserved})
    storage, given = storage_at_once(m, lead)
    storage.taken |= {*reserved}
    w = sweep_of(m, storage, "forward")
    w.lowering.frame = Frame(lead, FRAMES[AFTER].part)
    w.lowering.tells_steps = tells_steps
    return w, given


def lower_told(p: Program, values: Mapping[str, int], of_all_steps: bool, reserved: Collection[str] = ()) -> Function:
    """Return a function of what a loss reads whose results are some of its values by name, of all steps and samples, or of all
    samples. No buffer has a `reserved` name."""
    lead: Shape = (STEPS, BATCH) if of_all_steps else (BATCH,)
    w, given = written_at_once(p, lead, of_all_steps, reserved)
    results: list[Port] = []
    for name, id in values.items():
        results.append(Port("outputs", name, w.result(id, "value", (*lead, *p.graph.shape(id)), results)))
    return w.function(given, results)


def storage_at_once(m: Named, lead: Shape) -> tuple[Storage, list[Port]]:
    """Return the storage of values that are computed for all samples at once, and the arguments."""
    p, found, given = m.program, Storage(names_of(m)), list[Port]()
    for a in p.arguments:
        leaf, name = p.leaves[a.name], m.of_argument(a.name)
        if is_baked(a):
            buffer = Buffer(name, a.shape, "constant", type_of_argument(a))
            found.constants.append(Constant(buffer, a.default))
        else:
            buffer = Buffer(name, _shape(m, a, lead), "argument", type_of_argument(a))
            given.append(Port(a.role, a.name, whole(buffer)))
        found.stored[leaf] = Stored(whole(buffer), "none")
    for name, leaf in p.cotangent.items():
        buffer = Buffer(m.variables[leaf], lead, "argument", type_of_value(m, leaf))
        given.append(Port("cotangent", name, whole(buffer)))
        found.stored[leaf] = Stored(whole(buffer), "none")
    own = {*p.outputs.values(), *p.inputs.values(), *p.params.values()}
    for id in sorted(m.variables):
        if id in p.places and p.graph[id].family != "leaf" and not is_looked_at(m, id):
            space = "result" if id in own else "temporary"
            view = arranged(
                m.variables[id],
                _lead(m, id, lead),
                p.graph.shape(id),
                id in p.front,
                space,
                dtype=type_of_value(m, id),
            )
            found.forward.append(view.buffer)
            found.stored[id] = Stored(view, "none")
    return found, given
