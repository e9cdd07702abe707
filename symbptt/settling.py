"""Rounds of a function on plain arrays until their digits stay the same: the fixed point that a function has there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError

ROUNDING = 32
"""Units in the last place of the largest entry by which rounding alone may change it in a round."""
PATIENCE = 12
"""Rounds without a smaller change after which digits are said to stay the same."""
BEYOND = 100
"""How many times the greatest number of rounds may go on for the last digits."""


def settled_plainly(step: Callable[..., Any], z: Any, tolerance: float, most: int) -> Any:
    """Return z = step(z) on plain arrays, after the rounds in which its digits settle, those of a tangent in the imaginary part too.

    Raises: ArgumentError where no `most` rounds come to a change of `tolerance`.
    """
    several = isinstance(z, tuple)
    least, since, is_near = np.inf, 0, False
    for k in range(BEYOND * most):
        new = step(z)
        before, after = (_parts(x, several) for x in (z, new))
        z = new
        change, top = largest([np.subtract(b, a).real for a, b in zip(before, after, strict=True)]), largest(after)
        is_near = is_near or has_settled(change, tolerance, ROUNDING * _unit(after) * top)
        if not is_near:
            if k + 1 >= most:
                raise ArgumentError(not_settled("the fixed point", most, change, tolerance))
            continue
        left = max(_relative(before, after, np.real), _relative(before, after, np.imag))
        since, least = (0, left) if left < least else (since + 1, least)
        if left <= 4 * _unit(after) or since == PATIENCE:
            break
    return z


def has_settled(change: float, tolerance: float, rounding: float) -> bool:
    """Answer whether a change counts as none."""
    return change <= tolerance or change <= rounding < np.inf


def not_settled(subject: str, most: int, change: float, tolerance: float, where: str = "") -> str:
    """Return the words of an error where rounds do not settle."""
    return (
        f"{subject} is not found in {most} rounds{where}: the last one changed it by {change:.2g}, more than the tolerance "
        f"{tolerance:g}\n  give most= more rounds, a larger tolerance=, or parameters with which the body contracts"
    )


def _parts(z: Any, several: bool) -> list[Any]:
    return [np.asarray(part) for part in (z if several else (z,))]


def largest(arrays: Sequence[Any]) -> float:
    """Return the largest absolute value in arrays; not a number where one is none."""
    return float(np.max([np.max(np.abs(np.real(x)), initial=0.0) for x in arrays]))


def _relative(before: Sequence[Any], after: Sequence[Any], part: Callable[[Any], Any]) -> float:
    """Return the change of one part of complex numbers by the size of that part."""
    top = largest([part(x) for x in after])
    return largest([part(np.subtract(b, a)) for a, b in zip(before, after, strict=True)]) / top if top else 0.0


def _unit(arrays: Sequence[Any]) -> float:
    return max(float(np.finfo(x.dtype).eps) if x.dtype.kind in "fc" else 2.0**-52 for x in arrays)
