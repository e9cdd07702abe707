"""One step of a cell alone as two functions: what needs the parameters alone, made once, and a step that reads it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from symbptt.codegen.loop_ir.nodes import BATCH, Buffer, Function, Port, views, walk, writes
from symbptt.codegen.loop_ir.rewrite import with_buffers
from symbptt.codegen.loop_ir.views import whole
from symbptt.codegen.lower.loss import begun_at_once
from symbptt.codegen.program.at_once import NEXT
from symbptt.codegen.program.names import Named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import AFTER, ONCE


@dataclass(frozen=True)
class Stepping:
    """The two functions, and the names of their values. `step` reads as residuals what `once` gives; its results are of the groups
    "states" and "outputs"."""

    named: Named
    once: Function
    step: Function


def lower_stepping(p: Program, reserved: Collection[str] = ()) -> Stepping:
    """Return the functions of the program of one step (`program.at_once.one_step`), for all samples. No buffer has a `reserved` name."""
    w, given = begun_at_once(p, (BATCH,), False, reserved)
    w.write(ONCE)
    count = len(w.builder.statements)
    w.write(AFTER)
    results: list[Port] = []
    for told, id in p.outputs.items():
        kind, name = told.split(" ", 1)
        view = w.result(id, "value", (BATCH, *p.graph.shape(id)), results)
        results.append(Port("states" if kind == NEXT else "outputs", name, view))
    return _apart(w.module, w.function(given, results), count)


def _apart(n: Named, f: Function, count: int) -> Stepping:
    """Return the first statements of a function, so many, and its others, each as a function."""
    made = {view.buffer for s in walk(f.body[:count]) for view in writes(s)}
    read = {view.buffer for s in walk(f.body[count:]) for view in views(s)} | {port.view.buffer for port in f.results}
    # What a step reads of the first function lasts, so that no step may write there. A number stays one.
    lasting = {b: b if b.space == "scalar" else replace(b, space="residual") for b in f.buffers if b in made & read}
    f = with_buffers(f, lasting)
    kept = tuple(Port("residual", b.name, whole(b)) for b in lasting.values())
    arguments = (*f.arguments, *kept)
    first = replace(f, name=f"{f.name}_once", body=f.body[:count], results=kept, buffers=())
    then = replace(f, name=f"{f.name}_step", body=f.body[count:], arguments=arguments, buffers=())
    return Stepping(
        n, _with_own(first, f.buffers), _with_own(then, tuple(b for b in f.buffers if b not in lasting.values()))
    )


def _with_own(f: Function, buffers: tuple[Buffer, ...]) -> Function:
    """Return a function with those buffers and constants that it uses."""
    used = {view.buffer for s in walk(f.body) for view in views(s)} | {port.view.buffer for port in f.results}
    constants = tuple(c for c in f.constants if c.buffer in used)
    return replace(f, buffers=tuple(b for b in buffers if b in used), constants=constants)
