"""Gradients of another shape than that of what they belong to, told by what they are: not summed, transposed, summed too much."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from symbptt.verification.adjoints.sweep import Found, Group, gradients_of, swept
from symbptt.verification.adjoints.tape import Tape
from symbptt.verification.mistakes.draws import SAME, Draw
from symbptt.verification.mistakes.problem import Draft

Told = tuple[str, str]
"""(kind, sentence)"""


def misshapen(draws: Sequence[Draw], words: Callable[[Group], str]) -> Iterator[Told]:
    """Yield what gradients of another shape are, where all draws say so."""
    for place, came in draws[0].misshapen.items():
        found = [
            {text: kind for kind, text, value in _readings(one, place) if _is_like(one.misshapen.get(place), value)}
            for one in draws
        ]
        texts = [text for text in found[0] if all(text in other for other in found)]
        wanted = np.shape(draws[0].problem.right[place])
        if texts:
            yield found[0][texts[0]], f"{words(place)} {texts[0]}: shape {wanted} is expected, got {came.shape}"
        else:
            yield "shape", f"{words(place)} has another shape: {wanted} is expected, got {came.shape}"


def _is_like(came: Any, value: Any) -> bool:
    return (
        came is not None
        and np.shape(came) == np.shape(value)
        and bool(np.all(np.abs(came - value) <= SAME * np.max(np.abs(value), initial=0.0)))
    )


def _readings(one: Draw, place: Group) -> Iterator[tuple[str, str, Any]]:
    """Yield (kind, words, value) of what may have come in the place of a gradient."""
    problem = one.problem
    right = np.asarray(problem.right[place])
    group, _ = place
    rank = right.ndim
    for i in range(rank):
        for j in range(i):
            yield "transposed", _exchanged(group, i, j, rank), np.swapaxes(right, i, j)
    if group == "params":
        whole = _by_step_and_sample(problem.tape, problem.cotangents(Draft()), place)
        if whole is not None:
            yield "batch", "is not summed over the batch, nor over the steps", whole
            yield "batch", "is not summed over the batch", whole.sum(0)
            yield "batch", "is not summed over the batch", np.moveaxis(whole.sum(0), 0, -1)
            yield "batch", "is not summed over the steps", whole.sum(1)
    else:
        batch = 1 if group == "inputs" else 0
        yield "summed", "is summed over the batch, where each sample has its own", right.sum(batch)
        yield "summed", "is summed over the batch, where each sample has its own", right.sum(batch, keepdims=True)
        yield "mean", "is a mean over the batch, where each sample has its own", right.mean(batch)
    for i in range(rank + 1):
        yield "shape", "has an axis of length 1 too many, and is right otherwise", np.expand_dims(right, i)
    yield "shape", "has lost its axes, and is right otherwise", right.ravel()


def _exchanged(group: str, i: int, j: int, rank: int) -> str:
    if group == "inputs" and (j, i) == (0, 1):
        return "has samples first, time comes first: (T, B, ...)"
    return "is transposed" if rank == 2 and group == "params" else f"has axes {j} and {i} exchanged"


def _by_step_and_sample(tape: Tape, cotangents: Any, place: Group) -> Any:
    """Return the terms of the gradient of a parameter by step and sample, (T, B, ...): the gradient with all others left out."""
    T, B = tape.steps, tape.batch
    found = swept(tape, cotangents)
    rows = []
    for t in range(T):
        for b in range(B):
            only = {id: array[t : t + 1, b : b + 1] for id, array in found.leaves.items()}
            rows.append(gradients_of(tape, Found(only, found.start, found.entered))[place])
    return np.reshape(np.array(rows), (T, B, *rows[0].shape)) if rows else None
