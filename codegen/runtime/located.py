"""A part of a run of a cell that may have no value at a step: its errors name the step of the whole run."""

from typing import Any

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import INPUTS, Arrays
from symbptt.codegen.runtime.errors import _StepError
from symbptt.codegen.runtime.parts import _data
from symbptt.codegen.runtime.sweeps import _forward


def _part(call: _Call, start: Arrays, lo: int, hi: int) -> tuple[Arrays, Arrays, Any]:
    """Run the steps lo to hi from the states before them; return what `_forward` does."""
    try:
        return _forward(call.a | _data(call, INPUTS, lo, hi), start, *call.of(lo, hi))
    except _StepError as error:
        raise error.after(lo) from None  # its steps are counted from the first of this part
