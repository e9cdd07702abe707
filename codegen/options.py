"""The options of `compile`: which values they take, and the memory that there is."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError
from symbptt.language.truncation import Window, check_truncation

LARGE = 1e5
"""Steps times samples from which on it is asked whether their tape fits into memory."""


def check_options(truncation: Any, clip_adjoint: Any) -> None:
    """Raises: ArgumentError where `truncation` or `clip_adjoint` is not what `compile` takes, or they do not go together."""
    check_truncation(truncation)
    number = isinstance(clip_adjoint, int | float | np.integer | np.floating) and not isinstance(clip_adjoint, bool)
    if clip_adjoint is not None and not (number and 0 < clip_adjoint <= sys.float_info.max):
        raise ArgumentError(f"clip_adjoint is a positive number, got {clip_adjoint!r}")
    if clip_adjoint is not None and isinstance(truncation, Window):
        raise ArgumentError(
            "clip_adjoint does not go with Window, where every loss has an adjoint of its own\n"
            "  use sb.Chunked, or sb.clip_by_norm on the gradients"
        )


def check_absent(target: str, cell: str, truncation: Any, clip_adjoint: Any, memory: Any) -> None:
    """Raises: ArgumentError for an option of `compile` that a target which has none of these is given, by its name."""
    given = (("truncation", truncation, None), ("clip_adjoint", clip_adjoint, None), ("memory", memory, "all"))
    for option, value, common in given:
        if value != common:
            raise ArgumentError(
                f"the {target} target does not have {option} yet, got {option}={value!r}\n"
                f"  leave it out, or write sb.compile({cell}, {option}=...) for a NumPy module that has it"
            )


def check_target(target: Any) -> None:
    """Raises: ArgumentError where `target` is not what `compile` takes."""
    if not isinstance(target, str) or target not in ("numpy", "c", "auto"):
        raise ArgumentError(f'target is "numpy", "c" or "auto", got {target!r}')


def check_monitor(monitor: Any) -> None:
    """Raises: ArgumentError where `monitor` is no truth value."""
    check_flag("monitor", monitor)


def check_flag(name: str, value: Any) -> bool:
    """Return a truth value.

    Raises: ArgumentError where it is none.
    """
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{name} is True or False, got {value!r}")
    return bool(value)


def allowed_memory(memory: Any, truncation: Any) -> str | int:
    """Return the option `memory`, a number as an integer.

    Raises: ArgumentError where it is not what `compile` takes, or does not go with `truncation`.
    """
    number = isinstance(memory, int | np.integer) and not isinstance(memory, bool)
    if not (number and memory > 0) and not (isinstance(memory, str) and memory in ("all", "sqrt")):
        raise ArgumentError(f'memory is "all", "sqrt" or a positive number of bytes, got {memory!r}')
    if memory != "all" and truncation is not None:
        raise ArgumentError(
            f"memory={memory!r} does not go with {truncation!r}, which holds the steps of a window alone\n"
            f'  drop one of them: truncated training holds no more steps with memory="all"'
        )
    return int(memory) if number else str(memory)


def bytes_of_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else sys.maxsize
