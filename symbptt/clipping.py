"""Gradients made smaller where they are too large."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from symbptt.checks import check_mapping
from symbptt.errors import ArgumentError


def clip_by_norm(gradients: Mapping[str, Any], limit: float) -> dict[str, Any]:
    """Return the gradients, all scaled alike so that their joint Euclidean norm is at most `limit`.

    Raises: ArgumentError for a limit that is not positive.
    Source: Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.
    """
    _check(limit)
    arrays = _arrays(gradients)
    number, power = _norm(arrays.values())
    if not _float(number, power) > limit:
        return arrays
    scale, shift = math.frexp(float(limit) / number)
    return {k: np.ldexp(g * np.asarray(scale, g.dtype), shift - power) for k, g in arrays.items()}


def clip_by_value(gradients: Mapping[str, Any], limit: float) -> dict[str, Any]:
    """Return the gradients with each entry between -limit and limit.

    Raises: ArgumentError for a limit that is not positive.
    """
    _check(limit)
    return {k: np.clip(g, -limit, limit) for k, g in _arrays(gradients).items()}


def joint_norm(arrays: Iterable[Any]) -> float:
    """Return the Euclidean norm of all arrays together; no square overflows or vanishes on the way."""
    return _float(*_norm(arrays))


def _float(number: float, power: int) -> float:
    with np.errstate(over="ignore"):  # beyond the range it is infinite
        return float(np.ldexp(number, power))


def _norm(arrays: Iterable[Any]) -> tuple[float, int]:
    """The joint norm as a number m and a power p: m * 2**p."""
    wide = [np.asarray(a, np.float64) for a in arrays]
    power = int(np.frexp(np.max([np.max(np.abs(a), initial=0) for a in wide], initial=0))[1]) - 1
    size = np.ldexp(1.0, power)
    return float(np.sqrt(sum(np.sum(np.square(a / size)) for a in wide))), power


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
