"""Types of floats, runs of a kernel on them, and points whose numbers a type has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.codegen.results import Grads
from symbptt.language.model import Model
from symbptt.verification.domains import in_single
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.requests import Asked
from symbptt.verification.rounding.gradients import Group


@dataclass(frozen=True)
class Type:
    """A type of floats: a unit of rounding, the limit under which a module takes what is left of one from the argument, the part of
    its scale by which rounding may move a block, the scale from which on a block is compared, and the smallest number with all digits."""

    name: str
    unit: float
    least: float
    steady: float
    tiny: float
    smallest: float


TYPES = (
    Type("float64", 2.0**-52, 8e-6, 1e-4, 1e-290, 2.0**-1022),
    Type("float32", 2.0**-23, 3e-5, 3e-2, 1e-30, 2.0**-126),
)


def single(drawn: Point, asked: Asked) -> Point:
    """Return a point in float32, where no argument has left its domain by that."""
    near = in_type(drawn, np.float32)

    def inside(arrays: Arrays) -> Arrays:
        return {k: in_single(asked.domain.get(k), v) for k, v in arrays.items()}

    groups = (near.params, near.inputs, near.state, near.targets)
    params, inputs, state, targets = map(inside, groups)
    return replace(near, params=params, inputs=inputs, state=state, targets=targets)


def gradients_by(kernel: Kernel, near: Point, sent: Arrays) -> dict[Group, Any]:
    """Return the gradients of a kernel, of a model those of its loss."""
    common: dict[str, Any] = {"steps": near.steps, **near.masks}
    found: Grads
    if isinstance(kernel.target, Model):
        _, found = kernel.value_and_grad(near.params, near.inputs, near.targets, near.state, **common)
    else:
        found = kernel.backward(kernel.forward(near.params, near.inputs, near.state, **common), sent)
    groups = (("params", found.params), ("inputs", found.inputs), ("state", found.state))
    return {(group, name): v for group, arrays in groups for name, v in arrays.items()}


def in_type(near: Point, dtype: Any) -> Point:
    """Return a point in a type of floats."""
    groups = (near.params, near.inputs, near.state, near.targets)
    params, inputs, state, targets = (narrow(arrays, dtype) for arrays in groups)
    return replace(near, params=params, inputs=inputs, state=state, targets=targets)


def narrow(arrays: Arrays, dtype: Any) -> Arrays:
    """Return arrays with what are floats in a type."""
    return {k: np.asarray(v, dtype if np.asarray(v).dtype.kind == "f" else None) for k, v in arrays.items()}
