"""Picture of fixed and slow points in the principal components of the state."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.drawing.style import BLUE, GREY, LABEL, ORANGE, RED, SMALL, axes_or_new, finish
from symbptt.stability.dynamics.fixed_points import FixedPoints

KINDS = {"stable": ("o", BLUE, "full"), "marginal": ("D", ORANGE, "full"), "unstable": ("^", RED, "none")}


def draw_fixed_points(found: FixedPoints, axes: Any = None, *, trajectories: Any = None, name: str = "") -> Any:
    """Draw fixed points, slow points and trajectories in principal components, three or on flat axes two; return the axes.

    The components are those of the trajectories, or without them of the points; the axes say what part of the variance each
    holds. A state of fewer dimensions has fewer: the others are zero.

    Shapes: trajectories of whole states (T, N) or (T, B, N).
    """
    axes = axes_or_new(axes, "3d")
    size = 3 if axes.name == "3d" else 2
    runs = _runs(trajectories, found.points.states.shape[1])
    cloud = runs.reshape(-1, runs.shape[-1]) if runs.size else np.concatenate([found.points.states, found.slow.states])
    centre, directions, parts = _components(cloud[np.isfinite(cloud).all(-1)], size)
    for i in range(runs.shape[1]):
        axes.plot(*((runs[:, i] - centre) @ directions).T, color=GREY, linewidth=0.4, alpha=0.5, zorder=2,
                  label="trajectories" if i == 0 else None)  # fmt: skip
    for states, mark, colour, fill, label in _groups(found):
        axes.plot(*((states - centre) @ directions).T, mark, color=colour, fillstyle=fill, markersize=5, linestyle="", zorder=3,
                  label=label)  # fmt: skip
    labels = [f"PC {i + 1} ({part:.0%})" for i, part in enumerate(parts)]
    if size == 3:
        axes.computed_zorder = False  # points stand before trajectories, whatever the distance
        axes.set_zlabel(labels[2], fontsize=LABEL, labelpad=-4)
        axes.tick_params(pad=-3, labelsize=SMALL)
        axes.locator_params(nbins=4)
    done = finish(axes, "fixed points", name, labels[0], labels[1])
    if size == 3:
        axes.xaxis.labelpad = axes.yaxis.labelpad = -6
    return done


def _runs(trajectories: Any, size: int) -> Any:
    if trajectories is None:
        return np.zeros((0, 0, size))
    runs = np.asarray(trajectories, float)
    return runs[:, None] if runs.ndim == 2 else runs


def _groups(found: FixedPoints) -> list[tuple[Any, str, str, Any, str]]:
    """States, marker, colour, fill and label of each kind that there is."""
    kinds = np.array(found.points.stability)
    groups = [
        (found.points.states[kinds == kind], *style, f"{kind}: {(kinds == kind).sum()}")
        for kind, style in KINDS.items()
        if (kinds == kind).any()
    ]
    slow = [(found.slow.states, "x", "black", "full", f"slow: {len(found.slow)}")] if len(found.slow) else []
    return groups + slow


def _components(cloud: Any, size: int) -> tuple[Any, Any, Any]:
    """The mean, the principal directions as columns, and their parts of the variance; zero beyond the dimension.

    Each direction points where its largest entry is positive, so that the picture does not depend on the algorithm.
    """
    n = cloud.shape[-1]
    centre = cloud.mean(0) if len(cloud) else np.zeros(n)
    # The right singular vectors of the centred states are the principal directions; their variances are in proportion
    # to the squares of the singular values.
    _, s, v = np.linalg.svd(cloud - centre, full_matrices=False)
    v = v * np.sign(v[np.arange(len(v)), np.abs(v).argmax(-1)] + 0.0)[:, None] if len(v) else v
    directions, parts = np.zeros((n, size)), np.zeros(size)
    kept = min(size, len(v))
    directions[:, :kept] = v[:kept].T
    parts[:kept] = np.square(s[:kept]) / max(float(np.square(s).sum()), 1e-300)
    return centre, directions, parts
