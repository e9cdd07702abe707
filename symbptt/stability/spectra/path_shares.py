"""The paths from state to state by their shares in the gradient that survives: the exponent, divided exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.stability.runs.gates import Carries
from symbptt.stability.runs.trajectory import Trajectory, linearised, linearised_backward

ENDS = 5
"""One part in so many of the run is left out at either end, where the directions are not yet those that grow most."""


@dataclass(frozen=True)
class Share:
    """The part of the largest exponent that one path carries: how much λ₁ changes with the logarithm of a factor on it.

    Paths go from state `of` to state `to` in one step; `elementwise` says whether without a product (through the gate) or
    through products. The shares of all paths sum to 1; one is negative where paths cancel.
    """

    to: str
    of: str
    elementwise: bool
    part: float


def shares(run: Trajectory, factors: Mapping[str, Any]) -> tuple[Share, ...]:
    """Return the shares of all paths, the largest first; none where every direction is lost.

    With the direction r that grows most forward in time and the gradient l that grows most backward, l'Jr is the same at
    every step up to their lengths, and splits into the blocks of J.

    Shapes: factors[state] (T, B, elements), as of `Carries.at`.

    Source: the first-order change of an eigenvalue, l' dJ r / l'r, along a trajectory; Ginelli et al. 2007,
    "Characterizing dynamics with covariant Lyapunov vectors".
    """
    random = np.random.default_rng(0)
    cut = run.steps // ENDS
    right = _forward(run, random.standard_normal(run.start.shape), cut)
    left, names = random.standard_normal(run.start.shape), run.of.names
    keys = [(to, of, False) for to in names for of in names] + [(s, s, True) for s in factors]
    sums, weight = dict.fromkeys(keys, 0.0), 0.0
    for first, jacobians in linearised_backward(run):
        for i in reversed(range(len(jacobians))):
            t = first + i
            if cut <= t < max(run.steps - cut, cut + 1):
                found, cosine = _split(jacobians[i], left, right[t], names, {k: a[t] for k, a in factors.items()})
                weight += float(cosine.sum())
                for key, value in found.items():
                    sums[key] += float(value.sum())
            left = _unit(np.einsum("bij,bi->bj", jacobians[i], left))
            left = _begun(left, t >= run.steps - cut)
    if not weight or not np.isfinite(weight):
        return ()
    parts = [Share(*key, value / weight) for key, value in sums.items() if value]
    return tuple(sorted(parts, key=lambda share: -abs(share.part)))


def _begun(directions: Any, outside: bool) -> Any:
    """Directions, begun anew where all are lost at a step outside of the part of the run that is read."""
    lost = ~np.any(directions, -1) if outside else np.zeros(len(directions), bool)
    random = np.random.default_rng(1).standard_normal(directions.shape)
    return np.where(lost[:, None], random, directions)


def _forward(run: Trajectory, r: Any, cut: int) -> Any:
    """The direction that grows most before each step, (T, B, N)."""
    found = []
    for _, jacobians in linearised(run):
        for jacobian in jacobians:
            found.append(r)
            r = _begun(_unit(np.einsum("bij,bj->bi", jacobian, r)), len(found) <= cut)
    return np.array(found)


def _split(
    jacobian: Any, left: Any, right: Any, names: Mapping[str, slice], factors: Mapping[str, Any]
) -> tuple[dict[Any, Any], Any]:
    """l'Jr by path, each (B,), and its size, for samples where it is more than rounding; scaled by |cos| of l and Jr."""
    after = np.einsum("bij,bj->bi", jacobian, right)
    total, length = np.sum(left * after, -1), np.linalg.norm(after, axis=-1)
    # Where l is orthogonal to J r the first-order change l'dJ r / l'J r has no meaning; such a sample is left out of
    # both sums.
    sound = np.abs(total) > 1e-9 * length
    scale = np.where(sound, np.sign(total) / np.where(length > 0, length, 1), 0)
    found = {}
    for to, i in names.items():
        for of, j in names.items():
            found[to, of, False] = scale * np.einsum("bi,bij,bj->b", left[:, i], jacobian[:, i, j], right[:, j])
    for name, a in factors.items():
        part = names[name]
        through = scale * np.sum(left[:, part] * a * right[:, part], -1)
        # The block ∂s/∂s contains the elementwise factor on its diagonal; it is subtracted, so that the shares still
        # sum to 1.
        found[name, name, True], found[name, name, False] = through, found[name, name, False] - through
    return found, np.abs(total) * np.abs(scale)


def _unit(x: Any) -> Any:
    size = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(size > 0, size, 1)


def factors_along(run: Trajectory, found: Carries) -> dict[str, Any]:
    """Return the elementwise factors at each step of a run, (T, B, elements) by state."""
    states = np.concatenate([run.start[None], run.of.run(run.inputs, run.of.by_name(run.start), run.steps)])
    return found.at(run.of, states[:-1], run.inputs)
