"""Kernels that tests share: each is compiled once in a session, for whoever calls it and does not change it."""

from functools import cache
from typing import Any

import symbptt as sb
from symbptt.codegen.kernel import Shared, compiled


@cache
def kernel_of(target: sb.Cell | sb.Model, **options: Any) -> sb.Kernel:
    """What `sb.compile` gives. Not where the memory of a call is measured: a kernel keeps arrays for the next."""
    return own_kernel_of(target, **options)


def own_kernel_of(target: sb.Cell | sb.Model, **options: Any) -> sb.Kernel:
    """A new kernel; what those of a cell with its losses and options have alike, program, sweeps and equations, is made once."""
    return compiled(target, _shared(target.cell if isinstance(target, sb.Model) else target), **options)


@cache
def _shared(cell: sb.Cell) -> Shared:
    return Shared()


THRESHOLD = "LEAST[rest.dtype.itemsize]"


def saturating(kernel: sb.Kernel, least: str) -> sb.Kernel:
    """A kernel whose functions count as saturated below another threshold: "np.inf" for all of them, "-1.0" for none."""
    text = kernel.source.replace(f"least = {THRESHOLD}", f"least = {least}")
    assert (text != kernel.source) == ("def _sharpened(" in kernel.source)
    return sb.Kernel(kernel.target, kernel.program, text)
