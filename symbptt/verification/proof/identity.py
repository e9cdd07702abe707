"""The identity <u, J v> = <Jᵀ u, v> over a field: J v by dual numbers through the user's own function, Jᵀ u as generated.

Both sides are numbers; u are the cotangents, v a direction of all parameters, inputs and initial states together, each
entry a random element of its own. If the gradient of any block is wrong, the difference of both sides is a linear form
in v that is not zero, and vanishes for one v in P: one look at all blocks together is as sharp as one at each. Where
it differs, each block is looked at by itself, so that it can be named.

Source: Schwartz 1980, "Fast probabilistic algorithms for verification of polynomial identities", lemma 1; Zippel 1979.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.objective import Truncation, value_of
from symbptt.verification.oracle import Arrays, Block, Point
from symbptt.verification.proof.draws import drawn, with_constants
from symbptt.verification.proof.residues import Residues, elements, has_elements, residues

Group = tuple[str, str]
GROUPS = ("params", "inputs", "state")


def directions(point: Point, target: Cell | Model, random: np.random.Generator) -> dict[Group, Any]:
    """Return a random direction of every array that has a gradient."""
    names = oracle.differentiable(target)
    arrays = {(group, name): v for group in GROUPS for name, v in getattr(point, group).items() if name in names}
    return {place: drawn(np.shape(v), random) for place, v in arrays.items()}


def tangent(
    target: Cell | Model, sent: Arrays, point: Point, truncation: Truncation, moving: dict[Group, Any]
) -> float:
    """Return <u, J v>: the derivative of Σ u · value along a direction, by the user's functions alone."""
    base = with_constants(point, target)
    found = value_of(target, sent, base, truncation)(moved(base, moving))
    return float(np.imag(elements(found)))


def moved(base: Point, moving: dict[Group, Any]) -> Point:
    """Return a point with a tangent."""
    changed: Any = {group: dict(getattr(base, group)) for group in GROUPS}
    for (group, name), v in moving.items():
        changed[group][name] = changed[group][name] + 1j * v
    return replace(base, **changed)


def inner(gradients: dict[Group, Any], moving: dict[Group, Any]) -> float:
    """Return <Jᵀ u, v>."""
    total: Any = residues(np.zeros(()))
    for place, v in moving.items():
        total = total + np.sum(residues(elements(gradients[place])) * v)
    return float(elements(total))


def parts(moving: dict[Group, Any], block: Block) -> dict[Group, Any]:
    """Return the direction of one block alone."""
    group, name, index = block
    whole: Residues = moving[group, name]
    alone = residues(np.zeros(whole.shape))
    alone[index] = whole[index]
    return {(group, name): alone}


def are_equal(gradients: dict[Group, Any], moving: dict[Group, Any], wanted: float) -> bool:
    """Answer whether both sides are the same in all blocks together; `wanted` is <u, J v>."""
    return all(_is_shaped(gradients, moving, place) for place in moving) and inner(gradients, moving) == wanted


def _is_shaped(gradients: dict[Group, Any], moving: dict[Group, Any], place: Group) -> bool:
    return has_elements(gradients.get(place)) and np.shape(gradients[place]) == moving[place].shape


def wrong_blocks(
    point: Point,
    target: Cell | Model,
    gradients: dict[Group, Any],
    moving: dict[Group, Any],
    along: Callable[..., float],
) -> list[str]:
    """Return the labels of the blocks that differ; `along` tells <u, J v> for a part of the direction."""
    found = []
    for label, block in oracle.blocks(point, oracle.differentiable(target)).items():
        alone = parts(moving, block)
        if not _is_shaped(gradients, moving, block[:2]) or inner(gradients, alone) != along(alone):
            found.append(label)
    return found
