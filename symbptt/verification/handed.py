"""A backward pass of the caller's: it is given copies, and its result is read, or refused in words."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from symbptt.checks import named
from symbptt.errors import one_line
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.comparison import Gradients, Refusal
from symbptt.verification.oracle import Arrays, Point


def gradients_of(target: Cell | Model, backward: Callable[..., Any]) -> Gradients:
    """Return what calls a backward pass; of a model the last argument is what its loss is given, in place of cotangents."""
    wanted = oracle.differentiable(target)
    order = [a.name for a in target.arguments if a.name in wanted]

    def gradients(point: Point, cotangents: Arrays) -> tuple[Arrays, Arrays, Arrays]:
        last = point.targets if isinstance(target, Model) else cotangents
        groups = [_copies(group) for group in (point.params, point.inputs, point.state, last)]
        found = _checked(_called(backward, groups, point), order)
        by_group = [{k: _array(k, found[k], v) for k, v in group.items() if k in wanted}
                    for group in (point.params, point.inputs, point.state)]  # fmt: skip
        return by_group[0], by_group[1], by_group[2]

    return gradients


def _copies(arrays: Arrays) -> Arrays:
    return {k: np.array(v) for k, v in arrays.items()}


def _called(backward: Callable[..., Any], groups: list[Arrays], point: Point) -> Any:
    try:
        return backward(*groups)
    except Exception as error:
        # The innermost frame: the line of the caller's code, or of what it called, that failed.
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise Refusal(
            f"the backward pass raised {type(error).__name__}: {one_line(error)}\n  at {last.filename}:{last.lineno}, in {last.name}\n"
            f"  it was called with T = {point.steps}, B = {point.batch}; arrays of inputs are (T, B, ...), of states (B, ...)"
        ) from error


def _checked(found: Any, order: list[str]) -> Mapping[str, Any]:
    cure = f"\n  return one dict with {', '.join(order)}"
    if not isinstance(found, Mapping):
        raise Refusal(f"the backward pass returned {type(found).__name__}{cure}")
    found = named(found)
    missing = [name for name in order if name not in found or found[name] is None]
    if missing:
        others = [str(name) for name in found if name not in order]
        came = f", but {', '.join(others)}" if others else ""
        raise Refusal(f"the backward pass returned no gradient of {', '.join(missing)}{came}{cure}")
    return found


def _array(name: str, value: Any, like: Any) -> Any:
    """Return one gradient as an array; a list has one array a step."""
    try:
        array = np.array(value)
    except ValueError:
        raise Refusal(
            f"the gradient of {name} is no array: its parts have different shapes\n  return shape {np.shape(like)}"
        ) from None
    if array.dtype.kind not in "iuf":
        raise Refusal(
            f"the gradient of {name} is no array of real numbers, but of {array.dtype}\n  return shape {np.shape(like)} in float64"
        )
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        raise Refusal(
            f"the gradient of {name} is {array.dtype}, the arguments are float64\n"
            f"  compute in the type of the arguments: {array.dtype} keeps too few digits to tell a small mistake from rounding"
        )
    is_empty = isinstance(value, list | tuple) and not value and not np.size(like)
    return np.zeros(np.shape(like)) if is_empty else array
