"""Picture of a sweep: branches of fixed points over the states at which runs settle, with marks where stability changes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.drawing.style import BLUE, GREEN, GREY, ORANGE, PINK, RED, axes_or_new, finish, finite
from symbptt.stability.dynamics.sweep import Branch, Sweep

MARKS = {
    "fold": ("o", BLUE), "branch point": ("D", GREEN), "flip": ("^", RED), "Neimark–Sacker": ("s", PINK), "jump": ("x", ORANGE),
}  # fmt: skip
MOST = 20000
"""Points of the orbit diagram at the most: of more, evenly chosen ones are drawn."""
ROOM = 0.08
"""Free space over and under the states at which runs settle and the points that are marked, relative to their range."""


def draw_sweep(found: Sweep, axes: Any = None, *, component: int | None = None, name: str = "") -> Any:
    """Draw one component of the state, by default the one that varies most, against the knob; return the axes.

    Stable parts of branches are solid, the others dashed. A branch that runs away leaves the picture where nothing else is.

    Raises: IndexError for a component that is not there.
    """
    axes = axes_or_new(axes)
    shown = _widest(found) if component is None else component
    _orbit(found, axes, shown)
    labels: dict[str, str] = {}
    for branch in found.branches:
        for part, stable in _parts(branch):
            label = "stable" if stable else "unstable"
            axes.plot(finite(branch.values[part]), branch.states[part, shown], color="black", linewidth=1.4 if stable else 0.9,
                      linestyle="-" if stable else (0, (3, 2)), zorder=3, label=None if label in labels else label)  # fmt: skip
            labels[label] = label
    for point in found.points:
        mark, colour = MARKS[point.kind]
        axes.plot([point.value] * len(point.cycle), point.cycle[:, shown], mark, color=colour, markersize=5, zorder=4,
                  label=None if point.kind in labels else point.kind, linestyle="")  # fmt: skip
        labels[point.kind] = point.kind
    _limit(found, axes, shown)
    title = "fixed points" if found.period == 1 else f"cycles of {found.period} steps"
    return finish(axes, title, name or found.cell_name, found.knob, _label(found, shown))


def _orbit(found: Sweep, axes: Any, shown: int) -> None:
    states = found.orbit.states[..., shown]
    values = np.broadcast_to(found.values[:, None, None], states.shape).ravel()
    every = max(1, -(-states.size // MOST))
    axes.plot(values[::every], states.ravel()[::every], ",", color=GREY, linestyle="", zorder=2)
    if np.isfinite(states).any():
        axes.plot([], [], ".", color=GREY, markersize=3, linestyle="", label="runs")


def _parts(branch: Branch) -> list[tuple[slice, bool]]:
    """Runs of points of one stability, each up to the first point of the next, so that no gap is left."""
    stable = branch.unstable == 0
    edges = [0, *(np.flatnonzero(stable[1:] != stable[:-1]) + 1), len(stable)]
    return [(slice(a, b + 1), bool(stable[a])) for a, b in pairwise(edges)]


def _widest(found: Sweep) -> int:
    """The component with the largest range over all branches and runs."""
    parts = [b.states for b in found.branches] + [found.orbit.states.reshape(-1, found.orbit.states.shape[-1])]
    whole = np.concatenate(parts)
    whole = whole[np.isfinite(whole).all(-1)]
    return int(np.argmax(np.ptp(whole, axis=0))) if len(whole) else 0


def _limit(found: Sweep, axes: Any, shown: int) -> None:
    """Keep a branch that runs away from pressing all else into a line."""
    kept = [found.orbit.states[..., shown].ravel(), *(p.cycle[:, shown] for p in found.points)]
    kept += [b.states[:, shown] for b in found.branches if "away" not in b.ends]
    whole = np.concatenate(kept)
    whole = whole[np.isfinite(whole)]
    if len(whole) and any("away" in b.ends for b in found.branches):
        room = ROOM * max(np.ptp(whole), 1e-3 * (1 + np.abs(whole).max()))
        axes.set_ylim(whole.min() - room, whole.max() + room)


def _label(found: Sweep, shown: int) -> str:
    """The name of a component of the whole state."""
    for name, part in found.names.items():
        if part.start <= shown < part.stop:
            return name if part.stop - part.start == 1 else f"{name}[{shown - part.start}]"
    return f"s[{shown}]"
