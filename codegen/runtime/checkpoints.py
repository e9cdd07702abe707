"""Schedules of checkpoints: which steps are run again, and which states are held."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

Needed: TypeAlias = Callable[[int], int]
"""The bytes that a piece of so many steps takes."""

SLOT: int = 2**9  # bytes of the objects of a state that is held, beside its numbers


def _borders(T: int, piece: int) -> list[int]:
    """Return the borders of pieces of that many steps, the short one first."""
    count = max(-(-T // piece), 1)
    return [max(T - piece * i, 0) for i in range(count, -1, -1)]


def _spanned(T: int, piece: int) -> list[tuple[int, int]]:
    """Return the first step of each piece and that behind it."""
    borders = _borders(T, piece)
    return [(borders[i], borders[i + 1]) for i in range(len(borders) - 1)]


def _reach(slots: int, runs: int) -> int:
    """Return how many pieces can be reversed with so many slots where none is run more often than that.

    Source: Griewank and Walther 2000, "Algorithm 799: revolve", equation (1).
    """
    reach, few, many = int(runs >= 0), min(slots, runs), max(slots, runs)
    for i in range(1, few + 1):
        reach = reach * (many + i) // i
    return reach


def _repeats(pieces: int, slots: int) -> int:
    """Return how often a piece is run again at the most."""
    low, runs = -1, 0
    while _reach(slots, runs) < pieces:
        low, runs = runs, 2 * runs + 1
    while runs - low > 1:
        mid = (low + runs) // 2
        low, runs = (mid, runs) if _reach(slots, mid) < pieces else (low, mid)
    return runs


def _runs(pieces: int, slots: int) -> int:
    """Return the least number of runs of a piece beside the one that each flows back through.

    Source: Griewank and Walther 2000, "Algorithm 799: revolve", proposition 1.
    """
    runs = _repeats(pieces, slots)
    return runs * pieces - _reach(slots + 1, runs - 1)


# The optimum is a binomial one: with s slots and r runs of each piece binomial(s + r, s) pieces can be reversed, of
# which those behind the first held state need one slot less, and those before it one run less.
def _ahead(pieces: int, slots: int) -> int:
    """Return how many pieces to run before a state is held, so that the runs are as few as can be."""
    runs = _repeats(pieces, slots)
    return min(max(_reach(slots, runs - 2), pieces - _reach(slots - 1, runs), 1), pieces - 1)


def _schedule(T: int, piece: int, slots: int) -> Iterator[tuple[int, int, bool]]:
    """Yield what to do in order: (lo, hi, False) runs from the state before step lo to that before step hi and holds
    it; (lo, hi, True) runs those steps with their tape and flows back through them, and lets go of their first state.
    """
    count = max(-(-T // piece), 1)
    todo = [(0, count, slots)]
    while todo:
        lo, hi, free = todo.pop()
        mid = lo + _ahead(hi - lo, free) if hi - lo > 1 else hi
        yield max(T - piece * (count - lo), 0), max(T - piece * (count - mid), 0), hi - lo == 1
        if hi - lo > 1:
            todo += [(lo, mid, free), (mid, hi, free - 1)]


def _root(T: int) -> tuple[int, int]:
    """Return the piece and the slots of about as many pieces as a piece has steps."""
    piece = 1
    while piece * piece < T:
        piece += 1
    return piece, max(-(-T // piece), 1) - 1


def _largest(T: int, limit: int, needed: Needed) -> int:
    """Return the greatest number of steps up to T that need no more bytes than the limit, or 0."""
    lo, hi = 0, T
    while lo < hi:
        mid = (lo + hi + 1) // 2
        lo, hi = (mid, hi) if needed(mid) <= limit else (lo, mid - 1)
    return lo


def _fitting(T: int, limit: int, needed: Needed, state: int) -> tuple[int, int] | None:
    """Return the piece and the slots of the schedule with the fewest steps run again that needs no more bytes than the
    limit, or None; `needed` tells the bytes of a piece, `state` are those of a slot."""
    if T == 0:
        return (1, 0) if needed(0) <= limit else None
    best, piece = None, _largest(T, limit, needed)
    for slots in range(T):
        while piece and needed(piece) + slots * state > limit:
            piece -= 1
        if piece == 0:
            break
        pieces = -(-T // piece)
        if slots >= min(pieces - 1, 1):
            used = min(slots, pieces - 1)
            found = (_steps_again(T, piece, used), used, piece)
            best = found if best is None else min(best, found)
        if slots >= pieces - 1:
            break
    return best and (best[2], best[1])


def _allowed(T: int, limit: int, needed: Needed, state: int, trains: bool) -> tuple[int, int] | None:
    """Return what `_fitting` does; without training the states of all steps are held anyhow, and there are no slots."""
    if trains or T == 0:
        return _fitting(T, limit, needed, state)
    piece = _largest(T, limit, needed)
    return (piece, 0) if piece else None


def _least(T: int, needed: Needed, slot: int) -> int:
    """Return the least number of bytes that is not refused."""
    return needed(min(T, 1)) + slot * (T > 1)


def _refusal(T: int, B: int, needed: Needed, slot: int, limit: int) -> str:
    """Return what to say where a limit cannot be kept: the least that can, the root's, and the steps that each runs again."""
    least, (piece, slots) = _least(T, needed, slot), _root(T)
    again = [_steps_again(T, *found) if slot else T for found in ((1, min(T - 1, 1)), (piece, slots))]
    return (
        f"memory: T = {T} and B = {B} take {least:,} bytes at the least, {limit:,} are allowed\n"
        f"  compile with memory={least}, which runs {again[0]:,} steps again, or with "
        f'memory="sqrt": {needed(piece) + slots * slot:,} bytes, {again[1]:,} steps again'
    )


def _steps_again(T: int, piece: int, slots: int) -> int:
    """Return how many steps the schedule runs again."""
    pieces = max(-(-T // piece), 1)
    first, left = 0, pieces
    while left > 1:
        first, left = first + 1, _ahead(left, slots)
    return _runs(pieces, slots) * piece - first * (piece * pieces - T) if T else 0
