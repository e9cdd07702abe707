"""One step back for the adjoints of all steps at once, which truncation by windows repeats."""

from __future__ import annotations

from symbptt.codegen.loop_ir.nodes import BATCH, STEPS, Buffer, Function, Port
from symbptt.codegen.loop_ir.views import whole
from symbptt.codegen.lower.backward import given_of, gradients
from symbptt.codegen.lower.frame import FRAMES
from symbptt.codegen.lower.masks import kept_cotangents
from symbptt.codegen.lower.storage import storage_of
from symbptt.codegen.lower.sweep import sweep_of
from symbptt.codegen.program.names import Named
from symbptt.codegen.program.regions import AFTER, ALL, BLOCK, LOOP, ONCE, TAIL


def pull(m: Named, masked: bool, sums: bool, absent: bool = False) -> tuple[Function, list[Buffer]]:
    """Return one step back for all steps, and the buffers of the forward sweep that it reads; `absent`: cotangents of
    outputs need not be given, as after the first step of a window.

    Arguments are the adjoints of all states after each step ("carry") and the cotangents of outputs. Results are the
    adjoints before each step ("carry"); with `sums` instead the total cotangents after it ("carry"), the gradients of
    parameters, summed over all steps, and of inputs.
    """
    p, storage = m.program, storage_of(m, masked, pulled=True, absent=absent)
    w = sweep_of(m, storage, "backward")
    w.builder.statements += kept_cotangents(storage, None)
    w.lowering.frame = FRAMES[AFTER]
    # No adjoint of another step is read, so that the regions of a block need no loop.
    for region in (ONCE, ALL, BLOCK, LOOP, *((TAIL, AFTER) if sums else ())):
        w.write(region, at_once=True)
    results: list[Port] = []
    for name, leaf in p.carry.items():
        id = p.whole.get(name, leaf) if sums else p.recurrent.get(name)
        shape = (STEPS, BATCH, *p.graph.shape(leaf))
        results.append(Port("carry", name, w.result(id, f"{storage.carries[name].name}_pulled", shape, results)))
    if sums:
        gradients(w, results)
    given, read = given_of(w)
    given += [Port("carry", name, whole(buffer)) for name, buffer in storage.carries.items()]
    return w.function(given, results), read
