"""A cell's program as loops: the entrance of lowering."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.codegen.loop_ir.nodes import Function
from symbptt.codegen.lower.backward import backward
from symbptt.codegen.lower.forward import forward
from symbptt.codegen.lower.storage import storage_of
from symbptt.codegen.program.program import Program
from symbptt.codegen.targets.numpy.names import module_of


@dataclass(frozen=True)
class Sweeps:
    """The forward and the backward sweep of a cell."""

    forward: Function
    backward: Function


def lower(p: Program, masked: bool = False) -> Sweeps:
    """Return a placed program as two functions: all steps are run and kept, without truncation; `masked`: with lengths of
    samples and resets."""
    m = module_of(p)
    storage = storage_of(m, masked)
    back, read = backward(m, storage)
    return Sweeps(forward(m, storage, read), back)
