"""Random elements of the field as arguments of a cell or a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.objective import loss_of
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof.atoms import Atoms, NoRootError
from symbptt.verification.proof.field import P
from symbptt.verification.proof.residues import elements, residues

NO_DRAW = "no arguments were found for which all square roots exist"
NO_NUMBER = "no arguments were found for which the user's function is a number"
TRIES = (400, 400)
"""Draws of arguments for one case, and for each step of each sample, until all square roots exist: of k roots one in 2**k."""
SCARCE = (100, 20)
"""The same once none were found in several cases."""
UNKNOWN = 60
"""Draws at which the user's function is no number, and none at which it is one, after which no more are looked for."""
NOTHING_FAILS = -1
"""What stands for the argument of a root where none is missed, and a value is no number."""
LOOKS = 20
"""Draws without all roots after which it is asked whether so many draws are left as are needed."""


class NoDrawError(ArithmeticError):
    """No arguments were found for which all square roots exist, or the user's function is a number."""


class NoNumberError(ArithmeticError):
    """The user's function is no number, as a softmax is none in which all is masked by -inf: there it says nothing."""

    def __init__(self) -> None:
        super().__init__(NO_NUMBER)


def drawn(shape: Any, random: np.random.Generator) -> Any:
    """Return random elements other than zero."""
    return residues(random.integers(1, P, shape).astype(float))


def in_field(point: Point, random: np.random.Generator) -> Point:
    """Return a point whose numbers are random elements; integers and masks stay."""

    def of(arrays: Mapping[str, Any]) -> Arrays:
        return {k: v if np.asarray(v).dtype.kind in "iu" else drawn(np.shape(v), random) for k, v in arrays.items()}

    return replace(
        point, params=of(point.params), inputs=of(point.inputs), state=of(point.state), targets=of(point.targets)
    )


def check_numbers(values: Mapping[str, Any]) -> None:
    """Raises: NoNumberError where some of the values that the user's function gives are no elements."""
    if not all(np.isfinite(elements(v)).all() for v in values.values()):
        raise NoNumberError


def with_constants(point: Point, target: Cell | Model) -> Point:
    """Return the point with the constants that have a default, as elements, among the parameters."""
    # A whole number is an element as it stands, and may be a number of rounds of a loop.
    changed = {
        k: v if isinstance(v, int) or k in point.params else residues(elements(v))
        for k, v in oracle.with_constants(point, target).params.items()
    }
    return replace(point, params=changed)


def regular(
    point: Point, target: Cell | Model, atoms: Atoms, random: np.random.Generator, tries: tuple[int, int] = TRIES
) -> Point:
    """Return random arguments at which every square root exists that the user's functions ask for, and these are numbers.

    Parameters are drawn with the first step of the first sample; then steps one after the other, those before stay as
    they are.

    Raises: NoDrawError where none are found.
    """
    steps = point.steps * point.batch
    search = _Search(target, atoms, random, tries[0] + tries[1] * steps, steps)
    found = search.begun(point)
    for b in range(point.batch):
        search.drawn_on(found, b)
    if search.run(found) is None:
        raise NoDrawError(NO_DRAW)
    return found


class _Search:
    """The draws of one case, each of which is tried on the user's functions."""

    def __init__(self, target: Cell | Model, atoms: Atoms, random: np.random.Generator, left: int, steps: int) -> None:
        self.target, self.atoms, self.random, self.left, self.steps = target, atoms, random, left, steps
        self.cell = target.cell if isinstance(target, Model) else target
        self.failing = self.found = self.unknown = 0
        self.missed: list[int] = []
        self.words = NO_DRAW

    def run(self, point: Point) -> Arrays | None:
        """Return the states of the user's function, or None where a square root does not exist, or one of them is no number."""
        self.left -= 1
        if self.left < 0:
            raise NoDrawError(self.words)
        before, full = self.atoms.lengths(), with_constants(point, self.target)
        try:
            states, outputs = oracle.run(self.cell, full)
            check_numbers(states | outputs)
            if isinstance(self.target, Model):
                check_numbers({"loss": loss_of(self.target, full)})
        except NoNumberError:
            self.atoms.forget(before)
            self.failing, self.words = NOTHING_FAILS, NO_NUMBER
            self.unknown += 1
            if self.unknown >= UNKNOWN and not self.found:
                raise NoDrawError(NO_NUMBER) from None
            return None
        except NoRootError as error:
            self.atoms.forget(before)
            self.failing = error.value
            self.missed.append(error.count)
            if self._is_hopeless():
                raise NoDrawError(NO_DRAW) from None
            return None
        self.found += 1
        return states

    def _is_hopeless(self) -> bool:
        """Answer whether more draws are needed than are left, by how many roots were missed at a time: half of all that there are."""
        looks = len(self.missed)
        return looks >= LOOKS and self.steps * 4.0 ** (sum(self.missed) / looks) > self.left

    def begun(self, point: Point) -> Point:
        """Return random arguments at which the roots of the first step of the first sample exist."""
        found = point
        while True:
            if not point.steps or not point.batch or self.run(_step(found, self.target, 0, 0, None)) is not None:
                return found
            found = in_field(point, self.random)

    def drawn_on(self, point: Point, b: int) -> None:
        """Draw the arguments of the steps of a sample until all roots exist.

        A root that fails twice with the same argument is one of the state alone: the step before is drawn again.
        """
        failed: set[int] = set()
        before: list[Arrays | None] = [None]
        while (t := len(before) - 1) < point.steps:
            states = self.run(_step(point, self.target, b, t, before[t]))
            if states is not None:
                before.append({k: v[-1] for k, v in states.items()})
                failed.clear()
                continue
            if self.failing in failed and t:
                before.pop()
                failed.clear()
            failed.add(self.failing)
            _redraw(point, b, len(before) - 1, self.random, _is_timed(self.target))


def _is_timed(target: Cell | Model) -> bool:
    """Answer whether targets have an axis of steps."""
    return isinstance(target, Model) and target.at == "every"


def _step(point: Point, target: Cell | Model, b: int, t: int, state: Arrays | None) -> Point:
    """Return one step of one sample, from a state or from the initial one."""
    initial = {k: v[b : b + 1] for k, v in point.state.items()}
    step, one = slice(t, t + 1), slice(b, b + 1)
    return replace(
        point,
        inputs={k: v[step, one] for k, v in point.inputs.items()},
        state=initial if state is None else state,
        initial=initial,
        targets={k: v[step, one] if _is_timed(target) else v[one] for k, v in point.targets.items()},
        steps=1,
        batch=1,
        lengths=None if point.lengths is None else np.clip(point.lengths[one] - t, 0, 1),
        reset=None if point.reset is None else point.reset[step, one],
    )


def _redraw(point: Point, b: int, t: int, random: np.random.Generator, cut: bool) -> None:
    """Draw the arguments of a step of a sample again; of the first step, or without inputs, the initial states too."""
    numbers: list[Any] = [v[t, b : b + 1] for v in point.inputs.values() if v.dtype.kind == "f"]
    numbers += [v[t, b : b + 1] if cut else v[b : b + 1] for v in point.targets.values() if v.dtype.kind == "f"]
    if t == 0 or not numbers:
        numbers += [v[b : b + 1] for v in point.state.values()]
    for array in numbers:
        array[...] = drawn(array.shape, random)
