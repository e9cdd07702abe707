"""Rounds of a function on plain arrays until their digits stay the same: the fixed point that a function has there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError

ROUNDING = 32
"""Units in the last place of the largest entry by which rounding alone may change it in a round."""
PATIENCE = 12
"""Rounds without a smaller change after which digits are said to stay the same."""
BEYOND = 100
"""How many times the greatest number of rounds may go on for the last digits."""


_WANTED: ContextVar[tuple[float, float]] = ContextVar("wanted", default=(np.inf, np.inf))
"""The change to which rounds must come at least, whatever tolerance a fixed point has, and in how many of them."""


@contextmanager
def settling_well(change: float, most: int) -> Iterator[None]:
    """Let rounds on plain arrays be said to settle at a change that is no larger than this, within so many rounds."""
    token = _WANTED.set((change, most))
    try:
        yield
    finally:
        _WANTED.reset(token)


class UnsettledError(ArgumentError):
    """The rounds of a fixed point do not settle."""


def settled_plainly(step: Callable[..., Any], z: Any, tolerance: float, most: int) -> Any:
    """Return z = step(z) on plain arrays, after the rounds in which its digits settle, those of a tangent in the imaginary part too.

    Raises: UnsettledError where no `most` rounds come to a change of `tolerance`.
    """
    wanted, rounds = _WANTED.get()
    tolerance, most = min(tolerance, wanted), int(min(most, rounds))
    several = isinstance(z, tuple)
    least, since, is_near = np.inf, 0, False
    for k in range(BEYOND * most):
        new = step(z)
        if not k and (own := _own(new, several)) is not None:
            # Numbers of another kind know by themselves what a fixed point is.
            found = own(step, new if several else (new,), several)
            return tuple(found) if several else found[0]
        before, after = (_parts(x, several) for x in (z, new))
        z = new
        change, top = largest([np.subtract(b, a).real for a, b in zip(before, after, strict=True)]), largest(after)
        is_near = is_near or has_settled(change, tolerance, ROUNDING * _unit(after) * top)
        if not is_near:
            if k + 1 >= most:
                raise UnsettledError(not_settled("the fixed point", most, change, tolerance))
            continue
        left = max(_relative(before, after, np.real), _relative(before, after, np.imag))
        since, least = (0, left) if left < least else (since + 1, least)
        if left <= 4 * _unit(after) or since == PATIENCE:
            break
    return z


def _own(value: Any, several: bool) -> Callable[..., Sequence[Any]] | None:
    """Return the fixed point of arrays of another arithmetic, which their class has."""
    return next((x.fixed_point for x in (value if several else (value,)) if hasattr(x, "fixed_point")), None)


def has_settled(change: float, tolerance: float, rounding: float) -> bool:
    """Answer whether a change counts as none."""
    return change <= tolerance < np.inf or change <= rounding < np.inf


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
