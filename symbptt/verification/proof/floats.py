"""What differs over the field, looked at in floats: a wrong gradient differs there too."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.language.model import Model
from symbptt.verification import oracle, screen
from symbptt.verification.objective import loss_of, value_of
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof.settings import Setting
from symbptt.verification.proof.subjects import Subject
from symbptt.verification.requests import Asked

CLOSE = 1e-8
"""The relative error of a block in floats under which a difference over the field is one of functions, not of the gradient."""


def agrees_in_floats(subject: Subject, setting: Setting, seed: int, asked: Asked, differing: list[str]) -> bool:
    """Answer whether blocks that differ over the field are the same in floats, in the same setting, by a complex step."""
    point = setting.point(subject.target, seed, asked)
    if point is None:
        return False
    with np.errstate(all="ignore"):
        try:
            return _agrees(subject, setting, point, np.random.default_rng(seed), differing)
        except Exception:  # the numeric levels say what is wrong with floats
            return False


def raises_in_floats(subject: Subject, setting: Setting, seed: int, asked: Asked) -> bool:
    """Answer whether what is generated does not run on floats either, in a setting in which the user's function does."""
    point = setting.point(subject.target, seed, asked)
    if point is None:
        return False
    with np.errstate(all="ignore"):
        try:
            _, sent = _expected(subject, setting, point, np.random.default_rng(seed))
        except Exception:  # the numeric levels say what is wrong with floats
            return False
        try:
            subject.on_floats(setting)(point, sent)
        except Exception:  # whatever it raises, it gives no gradient
            return True
    return False


def _agrees(
    subject: Subject, setting: Setting, point: Point, random: np.random.Generator, differing: list[str]
) -> bool:
    wanted, sent = _expected(subject, setting, point, random)
    values, gradients = subject.on_floats(setting)(point, sent)
    if not all(_is_close(wanted[label], values[label]) for label in differing if label in wanted):
        return False
    blocks = oracle.blocks(point, oracle.differentiable(subject.target))
    # Norms of adjoints are made of gradients, of which other blocks tell.
    named = [label for label in differing if label in wanted or label in blocks]
    places = dict.fromkeys(blocks[label][:2] for label in named if label in blocks)
    given = {place: np.asarray(gradients[place]) for place in places}
    if any(v.shape != np.shape(getattr(point, group)[name]) for (group, name), v in given.items()):
        return False
    value = value_of(subject.target, sent, point, subject.truncation)
    # One direction through all of them, in which each block counts by its own size: a run for each element would take minutes.
    errors = screen.errors(value, point, given, 0.0, True, random, CLOSE)
    return bool(named) and all(error <= CLOSE for error in errors.values())


def _expected(subject: Subject, setting: Setting, point: Point, random: np.random.Generator) -> tuple[Arrays, Arrays]:
    if isinstance(subject.target, Model):
        return {"loss": np.asarray(loss_of(subject.target, point))}, {}
    states, outputs = oracle.run(subject.target, point)
    chosen = setting.chosen(states, outputs)
    shapes = {k: v.shape[1:] if setting.last and k in states else v.shape for k, v in chosen.items()}
    return states | outputs, {k: random.standard_normal(shape) for k, shape in shapes.items()}


def _is_close(wanted: Any, given: Any) -> bool:
    scale = float(np.max(np.abs(wanted), initial=0.0))
    return bool(np.max(np.abs(np.asarray(wanted) - np.asarray(given)), initial=0.0) <= CLOSE * scale)
