"""Inputs and states drawn where no data are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbptt.ir.shape import named_size
from symbptt.ir.step import Argument
from symbptt.language.init import concrete


def random_inputs(
    arguments: Sequence[Argument], sizes: Mapping[str, int], lead: tuple[int, ...], seed: int | Sequence[int]
) -> dict[str, Any]:
    """Return inputs and contexts, standard normal, and indices, uniform. Shapes: `lead` and then as annotated, of contexts without its
    first axis, that of steps."""
    random, numbers = np.random.default_rng(seed), {named_size(name): value for name, value in sizes.items()}
    inputs: dict[str, Any] = {}
    for a in arguments:
        shape = (*lead, *concrete(a.shape, numbers))
        if a.role in ("input", "target") and a.limit is None:
            inputs[a.name] = random.standard_normal(shape)
        elif a.role == "context":
            inputs[a.name] = random.standard_normal((*lead[1:], *concrete(a.shape, numbers)))
        elif a.role in ("index", "target"):
            inputs[a.name] = random.integers(0, concrete((a.limit,), numbers)[0], shape)
    return inputs


def random_state(
    arguments: Sequence[Argument], sizes: Mapping[str, int], lead: tuple[int, ...], seed: int, *, stream: int = 1
) -> dict[str, Any]:
    """Return states, standard normal; `stream` keeps them apart from what else is drawn with the seed. Shapes: `lead` and
    then as annotated."""
    random, numbers = np.random.default_rng([seed, stream]), {named_size(name): value for name, value in sizes.items()}
    return {
        a.name: random.standard_normal((*lead, *concrete(a.shape, numbers))) for a in arguments if a.role == "state"
    }
