"""A branch of fixed points carried on along a knob, by arclength, so that it is followed around its folds.

For example p = s − s³ at its fold, ds/dp = ∞: Newton's method at a fixed p has a singular matrix there and finds no next point.
The unknowns are therefore (s, p) together, with one equation more: the point lies on the plane across the tangent at a given
distance. The bordered matrix is regular at folds, and singular only where branches cross.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.stability.dynamics.family import Family

LONGEST, SHORTEST, FIRST = 0.1, 1e-8, 0.01
"""Steps along a branch, in units of 1 + max |s| for the state and of the range of values for the knob."""
CORRECTIONS = 12
FIXED = 1e-10
"""A corrected point moves less than this, relative to 1 + its size."""
TURN = 0.95
"""The least cosine of the angle between tangents of neighbouring points: a sharper turn is taken in smaller steps."""
ASIDE = 0.25
"""A point lies at most this part of a step away from the tangent: one that is further away may be of another branch."""
JUMP = 0.3
"""Moduli of eigenvalues between 1/2 and 2 change by less than this between neighbouring points, but for kinks of the map."""
KINK = 1e-4
"""Steps so short may meet a kink of the map, where tangent and eigenvalues jump."""
POINTS = 2000
"""Points in each direction at the most."""
HUGE = 1e8
"""A branch whose states are this large has run away."""
DEGENERATE = 1e-7
"""A point where two directions lead on, or all do, is no place to start from: the second smallest singular value is under this."""


@dataclass(frozen=True)
class Spot:
    """A point of a branch: state (N,), value of the knob, tangent (N + 1,) in scaled units, eigenvalues (N,), largest first."""

    state: Any
    value: float
    tangent: Any = field(repr=False)
    scale: Any = field(repr=False)
    eigenvalues: Any

    @property
    def whole(self) -> Any:
        """State and value in the units of this point, (N + 1,)."""
        return np.append(self.state, self.value) / self.scale

    def place(self, base: Spot) -> float:
        """Return how far it is along the tangent of another point, in its units."""
        return float(base.tangent @ (np.append(self.state, self.value) / base.scale - base.whole))

    @property
    def unstable(self) -> int:
        """The number of eigenvalues outside the unit circle."""
        return int((np.abs(self.eigenvalues) > 1).sum())


@dataclass(frozen=True)
class Range:
    """The values between which a branch is followed."""

    low: float
    high: float

    @property
    def span(self) -> float:
        return self.high - self.low

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def eigenvalues(jacobian: Any) -> Any:
    """Return the eigenvalues of a matrix (N, N), the largest first."""
    found = np.linalg.eigvals(jacobian).astype(complex)
    return found[np.argsort(-np.abs(found), kind="stable")]


def first_spot(of: Family, state: Any, value: float, span: float) -> Spot | None:
    """Return a fixed point as the start of a branch; None where no single direction leads on."""
    scale = _scale(state, span)
    jacobian = of(value).jacobian(state[None])[0]
    rows = _rows(of, state, value, scale, span, jacobian)
    if not np.isfinite(rows).all():
        return None
    _, sizes, directions = np.linalg.svd(rows)
    # N equations for N + 1 unknowns have a curve of solutions where their rank is N; with a lower rank no single
    # direction leads on.
    if sizes[-1] < DEGENERATE * max(1.0, sizes[0]):
        return None
    # N equations in N + 1 unknowns: the last right singular vector spans their kernel.
    tangent = directions[-1]
    turned = tangent if tangent[-1] > 0 or (tangent[-1] == 0 and tangent[0] > 0) else -tangent
    return Spot(state, value, turned, scale, eigenvalues(jacobian))


def carried(of: Family, start: Spot, sign: int, within: Range) -> tuple[list[Spot], str]:
    """Return the points of a branch from `start` on, and in words how it ends."""
    spots = [Spot(start.state, start.value, sign * start.tangent, start.scale, start.eigenvalues)]
    length = FIRST
    while len(spots) < POINTS:
        last = spots[-1]
        new = corrected(of, last, last.tangent, length, within.span)
        ends = new is not None and not within.holds(new.value)
        if new is not None and ends:
            new = _landed(of, last, new, within)
        if new is None or _is_far(last, new, length):
            length /= 2
            if length < SHORTEST:
                return spots, "stopped"
            continue
        if new is last:
            return spots, "range"
        spots.append(new)
        if ends:
            return spots, "range"
        if len(spots) > 4 and _passes(last, new, spots[0]):
            return [*spots[:-1], spots[0]], "closed"
        if np.abs(new.state).max() > HUGE:
            return spots, "away"
        # Steps grow slower than they shrink: a refused point costs its Newton iterations for nothing.
        length = min(1.5 * length, LONGEST)
    return spots, "long"


def corrected(of: Family, base: Spot, normal: Any, length: float, span: float) -> Spot | None:
    """Return the fixed point on the plane across `normal` at a distance from `base`, by Newton's method from there; None where
    it finds none."""
    unknown, moved = base.whole + length * normal, np.inf
    for _ in range(CORRECTIONS):
        step = _step(of, base, normal, length, unknown, span)
        # A step over twice the last one diverges; at the level of rounding steps may grow without harm.
        if step is None or (np.abs(step).max() > 2 * moved and moved > FIXED):
            return None
        unknown, before, moved = unknown + step, moved, float(np.abs(step).max())
        # Converged, or stagnating at the level of rounding.
        if moved < 1e-15 * (1 + np.abs(unknown).max()) or (moved >= before and moved < FIXED):
            break
    state, value = (unknown * base.scale)[:-1], float((unknown * base.scale)[-1])
    return _spot(of, state, value, normal, span) if moved < FIXED * (1 + np.abs(unknown).max()) else None


def _step(of: Family, base: Spot, normal: Any, length: float, unknown: Any, span: float) -> Any:
    state, value = (unknown * base.scale)[:-1], float((unknown * base.scale)[-1])
    at = of(value)
    residual = at(state[None])[0] - state
    rows = _rows(of, state, value, base.scale, span, at.jacobian(state[None])[0])
    lack = np.append(residual, normal @ (unknown - base.whole) - length)
    return _solved(np.vstack([rows, normal]), -lack)


def _solved(matrix: Any, right: Any) -> Any:
    """The solution of a linear system; None where it has none, or no finite one."""
    if not (np.isfinite(matrix).all() and np.isfinite(right).all()):
        return None
    try:
        found = np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:  # exactly singular, as at a point where branches cross: the shortest of many steps
        found = np.linalg.lstsq(matrix, right)[0]
    return found if np.isfinite(found).all() else None


def _rows(of: Family, state: Any, value: float, scale: Any, span: float, jacobian: Any) -> Any:
    """The derivative (N, N + 1) of F(s, p) − s by state and value in scaled units."""
    slope = of.slope(state, value, span)
    return np.column_stack([jacobian - np.eye(len(state)), slope]) * scale


def _scale(state: Any, span: float) -> Any:
    return np.append(np.full(len(state), 1 + np.abs(state).max()), span)


def _spot(of: Family, state: Any, value: float, before: Any, span: float) -> Spot | None:
    """A fixed point with its tangent, in the direction `before`."""
    jacobian, scale = of(value).jacobian(state[None])[0], _scale(state, span)
    rows = _rows(of, state, value, scale, span, jacobian)
    # The last row asks for a positive product with the direction before, so that the branch never turns back on
    # itself.
    tangent = _solved(np.vstack([rows, before]), np.append(np.zeros(len(state)), 1.0))
    if tangent is None or not np.any(tangent):
        return None
    return Spot(state, value, tangent / np.linalg.norm(tangent), scale, eigenvalues(jacobian))


def _is_far(last: Spot, new: Spot, length: float) -> bool:
    """Answer whether neighbouring points are too far apart to be sure that nothing lies between them, or that they are of one branch."""
    a, b = np.abs(last.eigenvalues), np.abs(new.eigenvalues)
    # Moduli far from 1 may change fast: they cross no circle on the way.
    near = (np.maximum(a, b) > 0.5) & (np.minimum(a, b) < 2)
    jumps = bool((np.abs(a - b)[near] > JUMP).any()) and length > KINK
    way = np.append(new.state, new.value) / last.scale - last.whole
    along = float(last.tangent @ way)
    strays = np.linalg.norm(way - along * last.tangent) > ASIDE * along + 1e-12
    turns = bool(last.tangent @ new.tangent < TURN) or bool(strays)
    return jumps or (turns and length > KINK)


def _landed(of: Family, last: Spot, new: Spot, within: Range) -> Spot | None:
    """The point of the branch at the end of the range that lies between two points."""
    value = within.low if new.value < within.low else within.high
    if last.value == value:
        return last
    part = (value - last.value) / (new.value - last.value)
    state = at_value(of, value, last.state + part * (new.state - last.state))
    return None if state is None else _spot(of, state, value, last.tangent, within.span)


def at_value(of: Family, value: float, state: Any) -> Any:
    """Return the fixed point at a value that Newton's method leads to from a state; None where it leads to none."""
    at, moved = of(value), np.inf
    for _ in range(CORRECTIONS):
        step = _solved(at.jacobian(state[None])[0] - np.eye(len(state)), state - at(state[None])[0])
        if step is None:
            return None
        state, before, moved = state + step, moved, float(np.abs(step).max() / (1 + np.abs(state).max()))
        if moved < 1e-15 or (moved >= before and moved < FIXED):
            break
    return state if moved < FIXED else None


def _passes(last: Spot, new: Spot, start: Spot) -> bool:
    """Answer whether the way from one point to the next passes the start of the branch."""
    way = np.append(new.state, new.value) / last.scale - last.whole
    back = np.append(start.state, start.value) / last.scale - last.whole
    length = np.linalg.norm(way)
    along = back @ way / length
    off = np.linalg.norm(back - along * way / length)
    return bool(0 < along <= length and off < 0.2 * length and last.tangent @ start.tangent > TURN)
