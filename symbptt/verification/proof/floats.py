"""What differs over the field, looked at in floats: a wrong gradient differs there too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np

from symbptt.language.model import Model
from symbptt.language.user_frames import is_of_code
from symbptt.verification import oracle, screen
from symbptt.verification.objective import loss_of, value_of
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof.identity import Group
from symbptt.verification.proof.residues import has_elements
from symbptt.verification.proof.settings import Setting
from symbptt.verification.proof.subjects import Found, Subject
from symbptt.verification.requests import Asked
from symbptt.verification.undefined import is_defined

CLOSE = 1e-8
"""The relative error of a block in floats under which a difference over the field is one of functions, not of the gradient."""

DRAWS = 8
"""Draws of numbers until the user's function is a number at all of them."""


def agrees_in_floats(subject: Subject, setting: Setting, seed: int, asked: Asked, differing: list[str]) -> bool | None:
    """Answer whether blocks that differ over the field are the same in floats, in the same setting, by a complex step; None where
    the user's function is no number at several draws, which decides nothing."""
    for draw in range(DRAWS):
        point = setting.point(subject.target, seed + draw, asked)
        if point is None:
            return False
        if _by_user(partial(is_defined, subject.target, point)) is not False:
            return _agrees_at(subject, setting, point, seed, differing)
    return None


def _agrees_at(subject: Subject, setting: Setting, point: Point, seed: int, differing: list[str]) -> bool:
    with np.errstate(all="ignore"):
        random = np.random.default_rng(seed)
        expected = _by_user(lambda: _expected(subject, setting, point, random))
        found = expected and _generated(subject, setting, point, expected[1])
        return bool(
            expected and found and _by_user(lambda: _agrees(subject, point, expected, found, random, differing))
        )


def raises_in_floats(subject: Subject, setting: Setting, seed: int, asked: Asked) -> bool:
    """Answer whether what is generated does not run on floats either, in a setting in which the user's function does."""
    point = setting.point(subject.target, seed, asked)
    if point is None:
        return False
    with np.errstate(all="ignore"):
        expected = _by_user(lambda: _expected(subject, setting, point, np.random.default_rng(seed)))
        return expected is not None and _generated(subject, setting, point, expected[1]) is None


T = TypeVar("T")


def _by_user(call: Callable[[], T]) -> T | None:
    """Return what the user's function tells; none where that raises, of which the numeric levels tell. An error of ours is none."""
    try:
        return call()
    except Exception as error:
        if not is_of_code(error):
            raise
        return None


def _generated(subject: Subject, setting: Setting, point: Point, sent: Arrays) -> Found | None:
    """Return what is generated on floats; none where it raises, whatever it is."""
    try:
        # A text that is no Python raises as it is loaded.
        return subject.on_floats(setting)(point, sent)
    except Exception:
        return None


def _agrees(
    subject: Subject,
    point: Point,
    expected: tuple[Arrays, Arrays],
    found: Found,
    random: np.random.Generator,
    differing: list[str],
) -> bool:
    wanted, sent = expected
    values, gradients = found
    if not all(_is_close(wanted[label], values.get(label)) for label in differing if label in wanted):
        return False
    blocks = oracle.blocks(point, oracle.differentiable(subject.target))
    # Norms of adjoints are made of gradients, of which other blocks tell.
    named = [label for label in differing if label in wanted or label in blocks]
    given: dict[Group, Any] = {
        blocks[label][:2]: gradients.get(blocks[label][:2]) for label in named if label in blocks
    }
    shapes = {(group, name): np.shape(getattr(point, group)[name]) for group, name in given}
    if not all(has_elements(v) and np.shape(v) == shapes[place] for place, v in given.items()):
        return False
    value = value_of(subject.target, sent, point, subject.truncation)
    # One direction through all of them, in which each block counts by its own size: a run for each element would take minutes.
    # An element has a share of at least a half in it, so that one that is off by more than CLOSE alone is seen.
    limit = CLOSE / 2
    errors = screen.errors(value, point, {k: np.asarray(v) for k, v in given.items()}, 0.0, True, random, limit)
    return bool(named) and all(error <= limit for error in errors.values())


def _expected(subject: Subject, setting: Setting, point: Point, random: np.random.Generator) -> tuple[Arrays, Arrays]:
    if isinstance(subject.target, Model):
        return {"loss": np.asarray(loss_of(subject.target, point))}, {}
    states, outputs = oracle.run(subject.target, point)
    chosen = setting.chosen(states, outputs)
    shapes = {k: v.shape[1:] if setting.last and k in states else v.shape for k, v in chosen.items()}
    return states | outputs, {k: random.standard_normal(shape) for k, shape in shapes.items()}


def _is_close(wanted: Any, given: Any) -> bool:
    scale = float(np.max(np.abs(wanted), initial=0.0))
    return has_elements(given) and bool(
        np.max(np.abs(np.asarray(wanted) - np.asarray(given)), initial=0.0) <= CLOSE * scale
    )
