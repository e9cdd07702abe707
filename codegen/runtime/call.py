"""A call of a public function: what all that it calls reads."""

from typing import Any

from symbptt.codegen.runtime.cell import STATES, Arrays, Mask, Sizes


def _cut(mask: Mask, lo: int, hi: int) -> Mask:
    """Return a mask of steps lo to hi, or none."""
    return None if mask is None else mask[lo:hi]


class _Call:
    """Arguments by name, the sizes, steps and samples, the type, who is active, who is reset, and the workspace; the states before
    the first step, where resets go to others than these; which losses count beside those of who is active, None: all."""

    def __init__(self, a: Arrays, sizes: Sizes, T: int, B: int, dtype: Any, active: Mask, reset: Mask, ws: Any) -> None:
        self.a, self.sizes, self.T, self.B, self.dtype = a, sizes, T, B, dtype
        self.active, self.reset, self.ws = active, reset, ws
        self.counts: Mask = None
        self.start: Arrays = {k: a[k] for k in STATES if k in a}

    def of(self, lo: int, hi: int) -> Any:
        """Return what a sweep over steps lo to hi takes beside arrays, without masks that change nothing there."""
        active, reset = _cut(self.active, lo, hi), _cut(self.reset, lo, hi)
        active = None if active is None or active.all() else active
        reset = None if reset is None or not reset.any() else reset
        return self.sizes, hi - lo, self.B, self.dtype, active, reset, self.ws
