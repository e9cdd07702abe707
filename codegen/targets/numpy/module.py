"""Writes a placed program as the source of a NumPy module."""

from __future__ import annotations

import zlib

from symbptt import ops
from symbptt.codegen import prelude, sweeping
from symbptt.codegen.helpers import HELPERS, erf_source
from symbptt.codegen.needed import needed_text
from symbptt.codegen.program.program import Program
from symbptt.codegen.targets.numpy.backward import BACKWARD, PULL, after_tape, backward_lines, pull_lines, tape_of
from symbptt.codegen.targets.numpy.forward import forward
from symbptt.codegen.targets.numpy.header import docstring, tables
from symbptt.codegen.targets.numpy.loss import loss
from symbptt.codegen.targets.numpy.memory.written import Written
from symbptt.codegen.targets.numpy.names import Module, constants_of, module_of
from symbptt.codegen.targets.numpy.text import copied, tuple_text
from symbptt.codegen.training import Head, public_functions
from symbptt.ir.range import NONE, OVERFLOW, SCALE, Hazards, Ranges
from symbptt.language.truncation import Chunked, Window

ALLOWED = ("pieces of about as many steps as there are pieces", "the bytes that a call may hold beside its arguments")


def source(
    p: Program,
    version: str,
    equations: str,
    head: Head | None = None,
    truncation: Window | Chunked | None = None,
    clip: float | None = None,
    memory: str | int = "all",
) -> str:
    """Return the text of the module for a placed program, and for the loss of a model.

    Raises: CellError where no argument tells a size.
    """
    m = module_of(p)
    model = None if head is None else module_of(head.program, _lead(head, truncation))
    texts, tape = _sweeps(m, clip, isinstance(truncation, Window))
    texts += [] if model is None else ["\n".join(loss(model))]
    modules = [m] if model is None else [m, model]
    guard = _guard(modules)
    texts += [text.replace("GUARD", guard) for text in public_functions(head, truncation, clip, memory)]
    texts += [HELPERS[name] for name in sorted(set().union(*(module.helpers for module in modules)))]
    texts += [erf_source()] if any("erf(" in text for text in texts) else []
    constants = {variable: value for module in modules for variable, value in constants_of(module).items()}
    top = [docstring(p, version, equations, head), "import numpy as np", tables(p, head, constants)]
    top += [] if truncation is None else [f"\n{_timed(m, tape)}"]
    top.append(_held(memory))
    texts += [copied(sweeping), copied(prelude)]
    if isinstance(memory, int):
        texts.append(needed_text(Written(_composed(p, top, texts), p, head, truncation, clip, True)))
    top += [] if memory == "all" else [f"MEMORY = {memory!r}  # {ALLOWED[isinstance(memory, int)]}"]
    return _composed(p, top, texts)


def _composed(p: Program, top: list[str], texts: list[str]) -> str:
    """The text of a module, whose mark tells its runs from those of others."""
    body = "\n\n".join(text.strip("\n") + "\n" for text in texts)
    mark = f"{p.name} {zlib.crc32(body.encode('utf-8', 'replace')):08x}"
    return "\n\n".join([*top, f"MARK = {mark!r}"]) + f"\n\n\n{body}"


def _lead(head: Head, truncation: Window | Chunked | None) -> tuple[str, ...]:
    """The sample axes of a loss: a truncated one is taken at every step."""
    return ("T", "B") if head.at == "every" or truncation else ("B",)


def _sweeps(m: Module, clip: float | None, pulled: bool) -> tuple[list[str], list[str]]:
    """The functions of both sweeps, and the variables of the tape, which are known when the backward lines are."""
    backward = backward_lines(m, clip)
    pull = pull_lines(m) if pulled else []
    tape = tape_of(m)
    functions = [forward(m, tape), after_tape(BACKWARD, m, tape, backward)]
    functions += [after_tape(PULL, m, tape, pull)] * pulled
    return ["\n".join(lines) for lines in functions], tape


def _guard(modules: list[Module]) -> str:
    """The sigmoid overflows to its right limit, what a value is divided by may do so, and a branch that is not chosen may
    be anything: no reasons for a warning."""
    absorbed = [_absorbed(m) for m in modules]
    if any(m.program.guarded for m in modules) or NONE.union(*absorbed) - {OVERFLOW, SCALE}:
        return 'divide="ignore", over="ignore", invalid="ignore"'
    maps = [node for m in modules for node in m.program.graph if node.family == "map"]
    overflows = any(node.attrs.expr.has(ops.sigmoid) for node in maps) or any(absorbed)
    return 'over="ignore"' if overflows else ""


def _absorbed(m: Module) -> Hazards:
    """Why a value may be finite that is made of one that is not."""
    ranges = Ranges(m.program.graph)
    return NONE.union(*(ranges.absorbed(node) for node in m.program.graph if node.family == "map"))


def _timed(m: Module, tape: list[str]) -> str:
    timed = {name for id, name in [*m.variables.items(), *m.previous.items()] if id in m.varying}
    flags = tuple_text([*(str(name in timed) for name in tape), "False"])
    return f"TIMED = {flags}  # which values of the tape have an axis of steps"


def _held(memory: str | int) -> str:
    """A module that spares memory holds none of it between calls."""
    return f"HELD = {'2**28' if memory == 'all' else 0}  # bytes at most of arrays that are kept for the next call"
