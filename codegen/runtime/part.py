"""A part of a run: some of its steps, run by themselves."""

from typing import Any

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import INPUTS, Arrays
from symbptt.codegen.runtime.parts import _data
from symbptt.codegen.runtime.sweeps import _forward


def _part(call: _Call, start: Arrays, lo: int, hi: int) -> tuple[Arrays, Arrays, Any]:
    """Run the steps lo to hi from the states before them; return what `_forward` does."""
    return _forward(call.a | _data(call, INPUTS, lo, hi), start, *call.of(lo, hi))
