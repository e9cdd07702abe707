"""The points of a branch at which eigenvalues cross the unit circle: folds, flips, Neimark–Sacker points, crossings of branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.polynomial import polynomial

from symbptt.stability.dynamics.continuation import Range, Spot, corrected
from symbptt.stability.dynamics.family import Family

NEAR = 1e-4
"""An eigenvalue this near to 1 or −1 at a located point is real within rounding, also where two of them meet there."""
CROSSES = 1e-6
"""A modulus further from 1 than this at a located point has jumped over the circle."""
CLOSE = 0.05
"""An eigenvalue this near to 1 may be that of a point where branches cross, as near as points can be found to it."""
SAME = 1e-5
ROUNDS = 120
TIGHT = 1e-8
"""A zero is known to this part of the way between two points before a number is said to jump."""
AROUND, NODES = 0.01, 10
"""Distance and number of the points through which the polynomial of a crossing of branches is fitted."""


@dataclass(frozen=True)
class Bifurcation:
    """A point where stability changes.

    `kind` is "fold": an eigenvalue +1 where the branch turns; "branch point": an eigenvalue +1 where branches cross or meet, as at
    a pitchfork; "flip": an eigenvalue −1, from where a cycle of twice the period branches off; "Neimark–Sacker": a complex pair on
    the unit circle, from where a closed curve does; "jump": eigenvalues jump over the circle at a kink of the map.
    `eigenvalue` is the one on the circle. `cycle` has all states of the cycle that the point is of, `state` the first of them:
    one of a fixed point.

    Shapes: state (N,), cycle (k, N).
    """

    kind: str
    value: float
    state: Any
    eigenvalue: complex
    cycle: Any = None

    def __post_init__(self) -> None:
        if self.cycle is None:
            object.__setattr__(self, "cycle", np.asarray(self.state)[None])

    @property
    def angle(self) -> float:
        """The angle of the eigenvalue in radians, from 0 at a fold to π at a flip: 2π over it is the period that is born."""
        return float(abs(np.angle(self.eigenvalue)))


def crossings(of: Family, spots: Sequence[Spot], within: Range) -> list[Bifurcation]:
    """Return the points of a branch where stability changes, in its order, located to rounding."""
    found: list[Bifurcation] = []
    for a, b in pairwise(spots):
        found += _between(of, a, b, within)
    return [replace(point, cycle=_cycle(of, point)) for point in found]


def _cycle(of: Family, point: Bifurcation) -> Any:
    """The states that the steps from a point go through until they come back to it, (k, N)."""
    start = np.asarray(point.state)
    after = of(point.value).orbit(start[None], of.period)[:, 0]
    back = np.abs(after - start).max(-1) <= SAME * (1 + np.abs(start).max())
    # A cycle whose length divides the period is a fixed point of the map of `period` steps as well.
    least = next((k for k in range(1, of.period) if of.period % k == 0 and back[k - 1]), of.period)
    return np.concatenate([start[None], after[: least - 1]])


def _between(of: Family, a: Spot, b: Spot, within: Range) -> list[Bifurcation]:
    length = b.place(a)
    turns = a.tangent[-1] * b.tangent[-1] < 0
    if a.unstable == b.unstable and not turns:
        return []

    def at(part: float) -> Spot | None:
        return a if part == 0 else b if part == length else corrected(of, a, a.tangent, part, within.span)

    found: list[Bifurcation] = []
    # Eigenvalues are sorted by modulus: those that cross the circle between the points are the ranks between both
    # counts.
    for rank in range(min(a.unstable, b.unstable), max(a.unstable, b.unstable)):
        spot, jumps = _root(at, partial(_outside, rank), length)
        if spot is None:
            continue
        point = _named(spot, spot.eigenvalues[rank], turns, jumps)
        crosses = point.kind in ("branch point", "jump") and abs(point.eigenvalue - 1) < CLOSE
        sharper = _crossing(at, spot.place(a), AROUND) if crosses else None  # Newton's method may find the other branch
        _add(found, sharper or point)
    if turns and not any(f.kind in ("fold", "jump") for f in found):
        # an eigenvalue touches 1 and turns back with the branch, as on the outer branch of a pitchfork, or the map has a kink
        middle = length * a.tangent[-1] / (a.tangent[-1] - b.tangent[-1])
        touching = _crossing(at, middle, max(AROUND, length / 2))
        if touching is None:
            spot, _ = _root(at, lambda s: float(s.tangent[-1]), length)
            touching = None if spot is None else _named(spot, spot.eigenvalues[0], turns, True)
        if touching is not None:
            _add(found, touching)
    return found


def _crossing(at: Callable[[float], Spot | None], middle: float, width: float) -> Bifurcation | None:
    """The point near a place where branches cross; None where there is none.

    Near to it the equations are singular, but along its branch state, value and the eigenvalue next to 1 are smooth: it is read
    from the polynomial through points around it. Where the branch turns there, its value has an extremum; else the eigenvalue
    passes 1.
    """
    # Chebyshev nodes: interpolation at them does not oscillate towards the ends, and none of them is the singular
    # middle.
    places = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    spots = [s for s in (at(middle + width * place) for place in places) if s is not None]
    if len(spots) < NODES:
        return None
    nearest = np.array([s.eigenvalues[np.argmin(np.abs(s.eigenvalues - 1))].real - 1 for s in spots])
    wholes = np.array([np.append(s.state, s.value) for s in spots])
    fit = polynomial.polyfit(places, np.column_stack([nearest, wholes]), NODES - 1)
    roots = polynomial.polyroots(fit[:, 0] if nearest[0] * nearest[-1] < 0 else polynomial.polyder(fit[:, -1]))
    roots = roots[(np.abs(roots.imag) < 1e-6) & (np.abs(roots.real) < 0.95)].real
    if not len(roots):
        return None
    away, *whole = polynomial.polyval(roots[np.argmin(np.abs(roots))], fit)
    return Bifurcation("branch point", float(whole[-1]), np.array(whole[:-1]), 1 + 0j) if abs(away) < NEAR else None


def _add(found: list[Bifurcation], new: Bifurcation) -> None:
    """Add a point but once: the two eigenvalues of a pair cross at one."""
    if not is_known(found, new):
        found.append(new)


def is_known(found: Sequence[Bifurcation], new: Bifurcation) -> bool:
    """Return whether a point of this kind is among others, or one of the same cycle."""
    size = SAME * (1 + np.abs(new.state).max())
    return any(
        f.kind == new.kind
        and abs(f.value - new.value) <= SAME * (1 + abs(new.value))
        and np.abs(f.cycle - new.state).max(-1).min() <= size
        for f in found
    )


def _outside(rank: int, spot: Spot) -> float:
    """Return the distance of the eigenvalue of a rank outside the unit circle."""
    return float(np.abs(spot.eigenvalues[rank]) - 1)


def _named(spot: Spot, eigenvalue: complex, turns: bool, jumps: bool) -> Bifurcation:
    exact = abs(abs(eigenvalue) - 1) <= CROSSES
    if abs(eigenvalue - 1) < (NEAR if exact else 0.0 if jumps else CLOSE):
        kind = "fold" if turns else "branch point"
    elif not exact:
        kind = "jump"
    else:
        kind = "flip" if abs(eigenvalue + 1) < NEAR else "Neimark–Sacker"
    # Of a complex pair the one with the positive imaginary part, so that both give the same point.
    upper = complex(eigenvalue.real, abs(eigenvalue.imag))
    return Bifurcation(kind, spot.value, spot.state, upper)


def _root(at: Callable[[float], Spot | None], of: Callable[[Spot], float], length: float) -> tuple[Spot | None, bool]:
    """The point between the ends where a number of it is zero, and whether the number jumps over zero there.

    False position, and halves where that is slow (Illinois); near a crossing of branches some places have no point.

    Source: Dowell, Jarratt 1971, "A modified regula falsi method for computing the root of an equation".
    """
    low, high, ends = 0.0, length, (at(0.0), at(length))
    assert ends[0] is not None and ends[1] is not None
    values = [of(ends[0]), of(ends[1])]
    weighed, side = list(values), 0
    best = ends[0] if abs(values[0]) < abs(values[1]) else ends[1]
    if values[0] * values[1] > 0:
        return (best if abs(of(best)) < CROSSES else None), False
    for i in range(ROUNDS):
        place = (low * weighed[1] - high * weighed[0]) / (weighed[1] - weighed[0])
        place = place if i % 4 < 3 and low < place < high else (low + high) / 2
        spot = next((s for s in map(at, _around(low, place, high)) if s is not None), None)
        if spot is None:
            break
        value = of(spot)
        best = spot if abs(value) < abs(of(best)) else best
        if value == 0:
            break
        place, end = spot.place(ends[0]), 0 if (value > 0) == (values[0] > 0) else 1
        if not low < place < high:
            break
        low, high = (place, high) if end == 0 else (low, place)
        values[end] = weighed[end] = value
        # Illinois: the end that stays twice in a row counts half, or false position would move the other end alone.
        weighed[1 - end] = weighed[1 - end] / 2 if side == end + 1 else values[1 - end]
        side = end + 1
    # An interval that has shrunk to nothing, with numbers at its ends that are not near zero, contains a jump.
    return best, high - low < TIGHT * length and min(map(abs, values)) > CROSSES


def _around(low: float, place: float, high: float) -> tuple[float, ...]:
    """A place, and others near it where that has no point; none where the interval is too small."""
    near = (
        place,
        place + 0.4 * (high - place),
        place - 0.4 * (place - low),
        (3 * low + high) / 4,
        (low + 3 * high) / 4,
    )
    return tuple(p for p in near if low < p < high)
