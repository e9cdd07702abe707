"""Gradients made smaller where they are too large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.arguments import check_mapping
from symbptt.errors import ArgumentError


def clip_by_norm(gradients: Mapping[str, Any], limit: float) -> dict[str, Any]:
    """Return the gradients, all scaled alike so that their joint Euclidean norm is at most `limit`.

    Raises: ArgumentError for a limit that is not positive.
    Source: Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.
    """
    _check(limit)
    arrays = _arrays(gradients)
    norm = np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in arrays.values()))
    return {k: g * np.asarray(limit / norm, g.dtype) if norm > limit else g for k, g in arrays.items()}


def clip_by_value(gradients: Mapping[str, Any], limit: float) -> dict[str, Any]:
    """Return the gradients with each entry between -limit and limit.

    Raises: ArgumentError for a limit that is not positive.
    """
    _check(limit)
    return {k: np.clip(g, -limit, limit) for k, g in _arrays(gradients).items()}


def _arrays(gradients: Mapping[str, Any]) -> dict[str, Any]:
    check_mapping("gradients", gradients, "sb.clip_by_norm(grads.params, 1.0)")
    arrays = {k: np.asarray(g) for k, g in gradients.items()}
    for k, g in arrays.items():
        if g.dtype.kind != "f":
            raise ArgumentError(f"{k}: an array of floats is expected, got {g.dtype}")
    return arrays


def _check(limit: float) -> None:
    if not isinstance(limit, int | float | np.number) or isinstance(limit, bool) or not limit > 0:
        raise ArgumentError(f"a limit is a positive number, got {limit!r}")
