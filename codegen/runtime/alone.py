"""What masks change between steps where each sample has a row of its own."""

from collections.abc import Iterable, Sequence

from symbptt.codegen.runtime.cell import Array, Mask
from symbptt.codegen.runtime.masks import _entering, _left


def _enter(t: int, states: Iterable[tuple[Array, Array, Array]], active: Mask, reset: Mask) -> None:
    """Write the states before step t; of each: the initial one, those after each step from that on, those before."""
    for initial, after, before in states:
        before[t] = _entering(t, initial, after, before, active, reset)


def _leave(
    t: int, adjoints: Sequence[Array], waiting: Sequence[Array], resets: Sequence[Array], active: Mask, reset: Mask
) -> None:
    """Put the adjoints of samples that have ended back behind a step; where a state was reset, its adjoint goes to the initial one."""
    _left(t, adjoints, waiting, resets, active, reset)
