"""The sweeps that run, how often, and over how many steps: truncation and memory run some of them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from symbptt.language.truncation import Chunked, Window

Run = tuple[str, int]
"""A sweep and its number of steps."""
Actions = Iterable[tuple[int, int, bool]]


def of_all_steps(T: int, trains: bool) -> Counter[Run]:
    """Return the runs where all steps are stored: of training, or of `forward` and `backward`."""
    return Counter([("forward", T), *[("loss", T)] * trains, ("backward", T)])


def of_pieces(T: int, piece: int, actions: Actions, trains: bool, at_every: bool) -> Counter[Run]:
    """Return the runs of a schedule: pieces that run ahead, and pieces that run with their tape, through which the
    adjoints flow back, all but the last from the carries of the next one.

    `forward` of a cell runs all pieces before `backward` runs them again.
    """
    found, handed = Counter[Run](), False
    for lo, hi, is_last in actions:
        if not is_last:
            found.update(("forward", min(piece, hi - at)) for at in range(lo, hi, piece))
            continue
        # The second run of a cell is that of `backward`, which needs the tape.
        found[("forward", hi - lo)] += 1 if trains else 2
        found[("carried" if handed else "backward", hi - lo)] += 1
        handed = True
        found[("loss", hi - lo)] += at_every
    found[("loss", T)] += trains and not at_every
    # A unary plus drops the entries whose count is zero.
    return +found


def of_blocks(T: int, truncation: Window | Chunked, trains: bool) -> Counter[Run]:
    """Return the runs of truncated gradients: of each block of losses, backward through the steps that they reach."""
    size = truncation.k if isinstance(truncation, Window) else truncation.k1
    # A model runs forward block by block, a cell all at once.
    found = Counter[Run]() if trains else Counter([("forward", T)])
    for lo in range(0, max(T, 1), size):
        hi = min(lo + size, T)
        if trains:
            found.update([("forward", hi - lo), ("loss", hi - lo)])
        found.update(_flow_back(lo, hi, truncation))
    return found


def _flow_back(lo: int, hi: int, truncation: Window | Chunked) -> Iterator[Run]:
    """Yield the runs for the losses of steps lo to hi."""
    match truncation:
        case Chunked(_, k2):
            yield "backward", hi - max(hi - k2, 0)
        case Window(k):
            first = max(lo - k + 1, 0)
            at, end = lo - first, hi - first
            yield "backward", end
            # Each pull moves the adjoints of all steps one step back; those that leave the sequence are dropped.
            for _ in range(min(k, end)):
                yield "pull", end - at
                at, end = max(at - 1, 0), end - 1
