"""Kernels that tests share: each is compiled once in a session, for whoever calls it and does not change it."""

from functools import cache
from typing import Any

import symbptt as sb


@cache
def kernel_of(target: sb.Cell | sb.Model, **options: Any) -> sb.Kernel:
    """What `sb.compile` gives. Not where the memory of a call is measured: a kernel keeps arrays for the next."""
    return sb.compile(target, **options)
