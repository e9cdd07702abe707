"""Rounds of a fixed point, which end where no entry changes any more; those that do not are told by step and sample."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import Array
from symbptt.codegen.runtime.errors import ArgumentError, _StepError

MORE: str = "give most= more rounds, a larger tolerance=, or parameters with which the body contracts"
"""What to do where rounds do not settle."""


def _settled(*pairs: tuple[Array, Array], told: tuple[int, int, float, bool, str, int, int]) -> bool:
    """Return True where new values differ from the old ones by no more than the tolerance, or than rounding; they are written over
    these. `told` are the number of the round, the greatest one, the tolerance and whether it is a part of the largest entry, and for an
    error whose rounds they are, how many axes of steps and samples come first, and the first step."""
    k, most, tolerance, relative, *_ = told
    for old, new in pairs:
        np.subtract(new, old, out=old)
    change = _extent([old for old, _ in pairs])
    done = not relative and change <= tolerance
    if not done:
        # What rounding alone changes is no change: in float32 a small tolerance is out of reach.
        unit = 32 * float(np.finfo(pairs[0][1].dtype).eps)
        done = change <= max(unit, tolerance * relative) * _extent([new for _, new in pairs]) < np.inf
    if not done and k + 1 == most:
        raise _unsettled([old for old, _ in pairs], change, told)
    for old, new in pairs:
        np.copyto(old, new)
    return done


def _extent(arrays: list[Array]) -> float:
    """Return the largest absolute value in arrays; not a number where one is none."""
    found = [max(float(x.max(initial=0.0)), -float(x.min(initial=0.0))) for x in arrays]
    return found[0] if len(found) == 1 else float(np.max(found))


def _unsettled(changes: list[Array], change: float, told: tuple[int, int, float, bool, str, int, int]) -> ArgumentError:
    """Return the error that names the sample with the largest change."""
    _, most, tolerance, relative, subject, lead, first = told
    fault = _unfound(subject, change, most, tolerance, relative)
    sizes = [np.abs(x).reshape(*x.shape[:lead], -1).max(-1) for x in changes]
    worst: Any = max(sizes, key=lambda x: float(np.max(np.where(np.isnan(x), np.inf, x))))
    place = np.unravel_index(int(np.argmax(np.where(np.isnan(worst), np.inf, worst))), worst.shape)
    at = [int(i) for i in (place if len(place) != 1 else (0, *place))]
    if at and first >= 0:
        return _StepError(fault, first + at[0], at[1], MORE)
    return ArgumentError(f"{fault} where the cell has no value\n  {MORE}")


def _unfound(subject: str, change: float, most: int, tolerance: float, relative: bool) -> str:
    """Return what is told of rounds of which the last one still changes something."""
    limit = f"{tolerance:g} of its largest entry" if relative else f"{tolerance:g}"
    return f"{subject} is not found in {most} rounds: the last one changed it by {change:.2g}, more than {limit},"
