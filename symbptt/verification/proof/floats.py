"""What differs over the field, looked at in floats: a wrong gradient differs there too."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.language.model import Model
from symbptt.verification import oracle
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
    value = value_of(subject.target, sent, point, subject.truncation)
    blocks = oracle.blocks(point, oracle.differentiable(subject.target))

    def close(label: str) -> bool:
        if label in wanted:
            return _is_close(wanted[label], values[label])
        block = blocks[label]
        return _is_close(oracle.complex_step(value, point, block), np.asarray(gradients[block[:2]])[block[2]])

    # Norms of adjoints are made of gradients, of which other blocks tell.
    named = [k for k in differing if k in wanted or k in blocks]
    return bool(named) and all(map(close, named))


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
