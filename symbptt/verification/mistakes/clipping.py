"""Limits inside the recursion: what a step hands to the step before is clipped, which a backward pass tells by not being linear.

A backward pass is linear in the cotangents. One that is right for small ones and wrong for large ones has a limit somewhere; the
largest factor s for which it is still right times the largest number at the place of the limit is the limit. Where two draws of data
tell the same limit at one place, it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from symbptt.verification.adjoints.sweep import Clip
from symbptt.verification.mistakes.draws import Asker, Draw
from symbptt.verification.mistakes.mistake import Mistake
from symbptt.verification.mistakes.problem import Draft, Problem
from symbptt.verification.mistakes.words import Words

SMALL = 1e-6
HALVINGS = 46
AGREE = 1e-5
"""The relative difference of a limit between two draws: near it a backward pass is hardly wrong, so that it is found to few digits."""

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Limit:
    """A way to limit the cotangents of some states at one step: `size` is what the limit is compared with, `apply` applies it."""

    text: str
    size: Callable[[Arrays], float]
    apply: Callable[[float, Arrays], Arrays]


def _value_size(names: Sequence[str], arrays: Arrays) -> float:
    return max(float(np.max(np.abs(arrays[k]), initial=0.0)) for k in names)


def _clipped(names: Sequence[str], limit: float, arrays: Arrays) -> Arrays:
    return {k: np.clip(v, -limit, limit) if k in names else v for k, v in arrays.items()}


def _norms(names: Sequence[str], by_sample: bool, arrays: Arrays) -> Any:
    squares: Any = 0.0
    for k in names:
        # Axes 0 and 1 are steps and samples, as in all values of a sweep; a norm by sample goes over those behind.
        axes = tuple(range(2, arrays[k].ndim)) if by_sample else None
        squares = squares + np.sum(arrays[k] ** 2, axis=axes)
    return np.sqrt(squares)


def _norm_size(names: Sequence[str], by_sample: bool, arrays: Arrays) -> float:
    return float(np.max(_norms(names, by_sample, arrays), initial=0.0))


def _scaled(names: Sequence[str], by_sample: bool, limit: float, arrays: Arrays) -> Arrays:
    norms = _norms(names, by_sample, arrays)
    # Where the norm is 0 there is nothing to scale; any factor but NaN will do.
    factor = np.minimum(1.0, limit / np.where(norms == 0, 1.0, norms))
    return {k: v * (np.reshape(factor, (*np.shape(factor), *(1,) * (v.ndim - 2))) if by_sample else factor) if k in names else v
            for k, v in arrays.items()}  # fmt: skip


def _limits(states: Sequence[str]) -> Iterator[Limit]:
    # One state or all of them: other groups are too many to try.
    groups = [(name,) for name in states] + ([tuple(states)] if len(states) > 1 else [])
    for names in groups:
        what = " and ".join(names)
        yield Limit(
            f"{{}} is clipped in {what} to ±{{:.6g}}, entry by entry",
            partial(_value_size, names),
            partial(_clipped, names),
        )
        yield Limit(
            f"{{}} is, in {what}, scaled down to a norm of {{:.6g}} for each sample",
            partial(_norm_size, names, True),
            partial(_scaled, names, True),
        )
        yield Limit(
            f"{{}} is, in {what}, scaled down to a norm of {{:.6g}} over the batch",
            partial(_norm_size, names, False),
            partial(_scaled, names, False),
        )


PLACES: dict[str, tuple[str, bool]] = {
    "what a step hands to the step before, and the gradient of the initial state,": ("clip", True),
    "what a step hands to the step before": ("clip", False),
    "the sum of what later steps and the loss give": ("clip_all", False),
}
"""Where a limit on states may be, by words: the field of a plan, and whether initial states are limited too."""


def recursion_limits(asker: Asker, draws: Sequence[Draw], words: Words) -> Iterator[Mistake]:
    """Yield the limits inside the recursion that may explain where a backward pass stops being linear; none where it is linear."""
    borders = [_border(asker, one) for one in draws]
    found = [border for border in borders if border is not None]
    # A pass that is linear on some data and not on other has no limit: something else is wrong.
    if len(found) < len(draws):
        return
    states = [a.name for a in draws[0].problem.cell.step.of_role("state")]
    for told, (field, starts) in PLACES.items():
        for way in _limits(states):
            limit = _limit(draws, found, way, partial(_on_states, field, starts))
            if limit is not None:
                text = way.text.format(told, limit)
                yield Mistake(
                    "clipped", partial(str, text), partial(_on_states, field, starts, partial(way.apply, limit))
                )
    labels = words.page.labels
    for id in draws[0].problem.tape.from_value:
        if id in labels or words.recursion.adjoint.get(id) in labels:
            for way in _limits([VALUE]):
                limit = _limit(draws, found, way, partial(_on_value, id))
                if limit is not None:
                    text = (
                        way.text.replace(f" in {VALUE}", "").replace(f", in {VALUE},", "").format(words.bar(id), limit)
                    )
                    yield Mistake(
                        "clipped",
                        partial(str, text),
                        partial(_on_value, id, partial(way.apply, limit)),
                        words.place(id),
                    )


VALUE = "value"
"""The name of a single value in the place of states."""
At = Callable[[Clip, Draft, Problem], Draft | None]


def _limit(draws: Sequence[Draw], borders: Sequence[float], way: Limit, at: At) -> float | None:
    """Return the limit at a place of which all draws tell the same."""
    # The border is a factor of the cotangents; times the largest number there it is a number of the cell, the same
    # for all data.
    first, *others = [border * _largest(one.problem, at, way) for border, one in zip(borders, draws, strict=True)]
    is_same = first > 0 and all(abs(other - first) <= AGREE * first for other in others)
    # A limit that a person wrote has few digits; those behind are the error of the search.
    return float(f"{first:.4g}") if is_same else None


def _on_states(field: str, starts: bool, clip: Clip, draft: Draft, _: Problem) -> Draft | None:
    if getattr(draft.cell, field) is not None:
        return None
    limited: dict[str, Any] = {field: clip, "clip_start": starts}
    return replace(draft, cell=replace(draft.cell, **limited))


def _on_value(id: int, clip: Clip, draft: Draft, _: Problem) -> Draft | None:
    if id in draft.cell.limits:
        return None
    limits = {**draft.cell.limits, id: lambda bar: clip({VALUE: bar})[VALUE]}
    return replace(draft, cell=replace(draft.cell, limits=limits))


def _largest(problem: Problem, at: At, way: Limit) -> float:
    """Return the largest number that a limit is compared with, over all steps, where nothing is limited."""
    seen = [0.0]

    def look(arrays: Arrays) -> Arrays:
        seen.append(way.size(arrays))
        return arrays

    problem.gradients(at(look, Draft(), problem))
    return max(seen)


def _border(asker: Asker, one: Draw) -> float | None:
    """Return the largest factor of the cotangents for which a backward pass is right, at most 1; none where there is no such
    border."""
    low, high = SMALL, 1.0
    # Wrong for the smallest cotangents too: then it is no limit. Right for the largest: then there is none.
    if not one.problem.sent or asker.scaled(one, low).wrong or not asker.scaled(one, high).wrong:
        return None
    for _ in range(HALVINGS):
        # Halved in the logarithm: the border may lie anywhere over six powers of ten.
        middle = float(np.sqrt(low * high))
        if asker.scaled(one, middle).wrong:
            high = middle
        else:
            low = middle
    return low
