"""What kernels of tangents are given, and what they return: the arguments of a cell, and a tangent beside each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbptt.errors import ArgumentError
from symbptt.ir.step import Argument
from symbptt.language.cell import Cell, nearest
from symbptt.language.model import Model
from symbptt.language.tangent import moved_arguments

GROUPS = {"params": ("param",), "inputs": ("input", "context"), "state": ("state",)}
"""The dicts of a call, and the roles of their arguments that have a tangent."""


@dataclass(frozen=True)
class Values:
    """States and outputs by name after every step, (T, B, ...): those of a run, or their tangents."""

    states: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


def with_tangents(
    target: Cell | Model,
    dots: Mapping[str, str],
    given: Mapping[str, Mapping[str, Any]],
    tangents: Mapping[str, Any],
    like: Mapping[str, NDArray[Any]],
) -> dict[str, dict[str, Any]]:
    """Return the groups of a call with the tangents of their arguments, zero of those that have none; `like` are the arguments as read.

    Raises: ArgumentError for a tangent of what has none, of another shape or type than its argument, or that is not finite.
    """
    moved = moved_arguments(target)
    _check(target, tangents, moved, like)
    found = {group: dict(arrays) for group, arrays in given.items()}
    for group, roles in GROUPS.items():
        for name in [name for name, a in moved.items() if a.role in roles]:
            if name in tangents:
                found[group][dots[name]] = np.asarray(tangents[name], like[name].dtype)
            # What is not given begins as its cell says, and its tangent, which is not given either, is zero.
            elif name in given[group]:
                found[group][dots[name]] = np.zeros_like(like[name])
    return found


# The kernel of tangents would refuse them too, by names of its own.
def _check(
    target: Cell | Model, tangents: Any, moved: Mapping[str, Argument], like: Mapping[str, NDArray[Any]]
) -> None:
    for name, value in tangents.items():
        if name not in moved:
            raise ArgumentError(f"{name!r} of {target.name} has no tangent" + nearest(name, moved))
        wanted, what = like[name], f"the tangent of {name!r} of {target.name}"
        if np.shape(value) != wanted.shape:
            raise ArgumentError(
                f"{what} has shape {np.shape(value)}, {name} has {wanted.shape}\n  give it the shape of its argument"
            )
        came = np.asarray(value).dtype
        if type(value) not in (int, float) and came != wanted.dtype:
            raise ArgumentError(f"{what} is {came}, {name} is {wanted.dtype}\n  write .astype(np.{wanted.dtype})")
        # Behind the end of a sample anything may stand: of inputs the module looks at what is read.
        if moved[name].role != "input" and not np.isfinite(value).all():
            raise ArgumentError(f"{what} is not finite\n  give it finite numbers")


def parted(run: Any, dots: Mapping[str, str]) -> tuple[Values, Values]:
    """Return the values of a run of tangents, and the tangents, by the names of the values."""
    names = {dot: name for name, dot in dots.items()}
    groups = run.states, run.outputs
    plain = ({k: v for k, v in group.items() if k not in names} for group in groups)
    moved = ({names[k]: v for k, v in group.items() if k in names} for group in groups)
    return Values(*plain), Values(*moved)
