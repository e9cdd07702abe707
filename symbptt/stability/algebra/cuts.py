"""Places at which a step of many inner rounds is cut: between rounds, where the fewest values are read later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDE, LONG = 20, 100
"""Bases of a derivative, values that are no elementwise ones, and operations of its polynomials, up to which a step is not cut."""
NARROW = 4
"""Bases that are worth a cut."""


def place_of_cut(live: Mapping[int, Sequence[int]], bases: Mapping[int, int]) -> int:
    """Return the node behind which a step is cut: the first, among those where the fewest values are `live`, read later, that
    has one with 4 `bases` among them; else the last of them, or the last node at all where none of these values is elementwise.

    Each round of a solver adds bases to the derivative of the values that later rounds read, and factors to their polynomials, so that
    rounds of sums over all of them would cost as their square. Where one value alone is read later, all paths go through it, and little is
    lost: the bound of the rounds after it times that of the rounds before.
    """
    cut = {at: [bases[id] for id in ids if id in bases] for at, ids in live.items()}
    places = [at for at in live if cut[at]]
    least = min((len(live[at]) for at in places), default=0)
    fewest = [at for at in places if len(live[at]) == least]
    return next((at for at in fewest if max(cut[at]) >= NARROW), fewest[-1] if fewest else max(live))
