"""Where resets go: to the states that a call begins with, or to what the cell begins with, also where others are handed over."""

from typing import Any

from symbptt.codegen.runtime.arguments import _check_finite, _fill
from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import STATES, Gradients, _shapes
from symbptt.codegen.runtime.errors import ArgumentError
from symbptt.codegen.runtime.starts import _add_resets


def _check_reset_to(reset_to: Any) -> None:
    if reset_to not in ("initial", "start"):
        raise ArgumentError(
            f"reset_to: 'initial', the states of the call, or 'start', what the cell begins with, is expected, got {reset_to!r}"
        )


def _aim(call: _Call, reset_to: str) -> None:
    """Let resets go to what the cell begins with, zero as a rule, where that is asked for."""
    if reset_to == "start":
        for k in STATES:
            _check_finite(k, call.a[k], 1)
        call.a = {k: v for k, v in call.a.items() if k not in STATES}
        _fill(call.a, _shapes(**call.sizes), call.B, call.dtype)


def _aimed(found: Gradients, reset_to: str) -> Gradients:
    """Return gradients with what resets send to the initial states; that of resets to the start is one of the parameters in which
    states begin."""
    params, inputs, state, resets = found
    if reset_to == "start":
        _add_resets(params, resets)
        return params, inputs, state, dict.fromkeys(STATES, 0)
    return found
