"""Curved arrows between boxes: the least bend with which an arrow passes the fewest boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

Point = tuple[float, float]
Bounds = tuple[float, float, float, float]
"""Left, top, right, bottom; y grows downward."""

# In ascending size, so that the first bend that passes no box is the least.
BENDS = tuple(sign * size for size in (0.0, 0.08, 0.16, 0.26, 0.4, 0.55, 0.7, 0.85, 1.0) for sign in (1, -1))
"""The largest deviations of an arrow from the straight line, relative to its length."""
SAMPLES = np.linspace(0, 1, 49)[:, None]


def control_of(source: Point, target: Point, bend: float) -> Point:
    """Return the middle point of a quadratic Bézier curve that leaves the straight line by a bend."""
    (x0, y0), (x1, y1) = source, target
    return (x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0)


def points_of(source: Point, control: Point, target: Point) -> Any:
    """Return points along a quadratic Bézier curve.

    Shapes: (49, 2).
    """
    s = SAMPLES
    return (1 - s) ** 2 * np.array(source) + 2 * s * (1 - s) * np.array(control) + s**2 * np.array(target)


def passed(curve: Any, boxes: Any, margin: float) -> int:
    """Return how many boxes a curve comes nearer to than a margin.

    Shapes: curve (n, 2); boxes (k, 4).
    """
    if not len(boxes):
        return 0
    x, y = curve[:, :1], curve[:, 1:]
    # All points against all boxes at once: (n, 1) against (k,) broadcasts to (n, k).
    inside = (x > boxes[:, 0] - margin) & (x < boxes[:, 2] + margin)
    inside &= (y > boxes[:, 1] - margin) & (y < boxes[:, 3] + margin)
    return int(inside.any(axis=0).sum())


def bend_of(source: Point, target: Point, boxes: Any, margin: float = 2.0) -> float:
    """Return the least bend of an arrow with which it passes the fewest boxes.

    Shapes: boxes (k, 4), those that are neither at its beginning nor at its end.
    """
    best, least = 0.0, np.inf
    for bend in BENDS:
        count = passed(points_of(source, control_of(source, target, bend), target), boxes, margin)
        if count < least:
            best, least = bend, count
        if not least:
            break
    return best


def clipped(
    source: Point, control: Point, target: Point, a: Bounds, b: Bounds, gap: float
) -> tuple[Point, Point, Point]:
    """Return the part of a curve from the edge of the box `a`, in which it begins, to a gap before the box `b`."""
    wide = (b[0] - gap, b[1] - gap, b[2] + gap, b[3] + gap)
    start = _last(lambda s: _inside(_at(source, control, target, s), a), 0.0, 1.0)
    end = 1 - _last(lambda s: _inside(_at(source, control, target, 1 - s), wide), 0.0, 1.0)
    return _part(source, control, target, start, max(end, start))


def _at(source: Point, control: Point, target: Point, s: float) -> Point:
    u = 1 - s
    return (
        u * u * source[0] + 2 * u * s * control[0] + s * s * target[0],
        u * u * source[1] + 2 * u * s * control[1] + s * s * target[1],
    )


def _inside(p: Point, b: Bounds) -> bool:
    return b[0] <= p[0] <= b[2] and b[1] <= p[1] <= b[3]


def _last(holds: Any, low: float, high: float) -> float:
    """Return the end of the first stretch on which something holds, which it does at the beginning."""
    # A coarse scan first: a curve may leave a box and enter it again, and bisection alone could find the later border.
    step = next((s for s in np.linspace(low, high, 65)[1:] if not holds(s)), high)
    low = step - 1 / 64
    # 12 halvings of 1/64 give the border within 4e-6 of the curve's parameter.
    for _ in range(12):
        middle = (low + step) / 2
        low, step = (middle, step) if holds(middle) else (low, middle)
    return float(step)


def _part(p0: Point, p1: Point, p2: Point, start: float, end: float) -> tuple[Point, Point, Point]:
    """Return a piece of a quadratic Bézier curve, which is a quadratic Bézier curve too."""

    def blossom(s: float, t: float) -> Point:
        return (
            (1 - s) * ((1 - t) * p0[0] + t * p1[0]) + s * ((1 - t) * p1[0] + t * p2[0]),
            (1 - s) * ((1 - t) * p0[1] + t * p1[1]) + s * ((1 - t) * p1[1] + t * p2[1]),
        )

    # The blossom of a quadratic Bézier curve at (s, s), (s, t), (t, t) gives the control points of its piece from s to t.
    return blossom(start, start), blossom(start, end), blossom(end, end)
