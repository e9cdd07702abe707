"""The arguments of a comparison, drawn once for all that is compared there, with what the user's function says of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from symbptt.errors import one_line
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.language.user_frames import is_of_code
from symbptt.verification import oracle
from symbptt.verification.objective import Truncation, loss_of
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof.atoms import Atoms, NoRootError
from symbptt.verification.proof.draws import (
    SCARCE,
    TRIES,
    NoDrawError,
    NoNumberError,
    check_numbers,
    drawn,
    in_field,
    regular,
    with_constants,
)
from symbptt.verification.proof.identity import Group, directions, moved, tangent
from symbptt.verification.proof.norms import squares
from symbptt.verification.proof.residues import elements, functions_of, residues
from symbptt.verification.proof.settings import WHOLE, Setting
from symbptt.verification.requests import Asked

SPELLED = "the user's function does not run on elements of a field"
ONES = "named sizes cannot all be 1"
PATIENCE = 2
"""Cases without arguments after which fewer are drawn for others."""


@dataclass(frozen=True)
class Case:
    """A point of random elements, the values there by the user's function, cotangents, and a direction of all arguments."""

    target: Cell | Model
    atoms: Atoms
    point: Point
    wanted: Arrays
    sent: Arrays
    moving: dict[Group, Any]
    free: bool = False
    """A flag for square roots that do not exist in the field, of which nothing is known but their derivatives."""
    seed: int = 0
    """The seed of what is drawn for norms."""
    slopes: dict[Truncation, float] = field(default_factory=dict)
    norms: dict[Truncation, Arrays] = field(default_factory=dict)

    def slope(self, truncation: Truncation) -> float:
        """Return <u, J v> for the direction of the case."""
        if truncation not in self.slopes:
            self.slopes[truncation] = self.along(truncation, self.moving)
        return self.slopes[truncation]

    def squares(self, truncation: Truncation) -> Arrays:
        """Return the squared norms of the cotangents of states after each step, for a cell."""
        if truncation not in self.norms and isinstance(self.target, Cell):
            # The same directions for all truncations, so that steps along them are known.
            random = np.random.default_rng(self.seed)
            self.norms[truncation] = squares(self.target, self.point, self.wanted, self.sent, truncation, random)
        return self.norms[truncation]

    def along(self, truncation: Truncation, moving: dict[Group, Any]) -> float:
        """Return <u, J v> for another direction."""
        return tangent(self.target, self.sent, self.point, truncation, moving)


class Cases:
    """The cases of one proof by target and setting; in place of one that cannot be, the reason."""

    def __init__(self, seed: int, asked: Asked) -> None:
        self.seed, self.asked, self.missing = seed, asked, 0
        self.known: dict[tuple[int, Setting, bool], tuple[Any, Case | str]] = {}
        self.rooted: dict[int, Any] = {}
        self.rootless: dict[int, int] = {}
        """How many cases of a target asked for square roots that do not exist."""

    def need_roots(self, target: Cell | Model) -> None:
        """Note that a target is right where its square roots exist, and not where they are anything: other paths of it begin there."""
        self.rooted[id(target)] = target

    def needs_roots(self, target: Cell | Model) -> bool:
        """Answer whether that was noted."""
        return id(target) in self.rooted

    def at(self, target: Cell | Model, setting: Setting, rooted: bool = False) -> Case | str:
        """Return the case of a setting, or in words why there is none; `rooted`: one at which all square roots exist."""
        key = id(target), replace(setting, path="", monitor=False, blocks=WHOLE), rooted
        if key not in self.known:
            # Together with the target, which must live as long as its number tells it from others.
            self.known[key] = target, self._made(target, setting, rooted)
        return self.known[key][1]

    def _made(self, target: Cell | Model, setting: Setting, rooted: bool) -> Case | str:
        seed = self.seed + zlib.crc32(repr(setting).encode()) % 10**6
        point = setting.point(target, seed, self.asked)
        if point is None:
            return ONES
        try:
            return self._drawn(target, setting, point, seed, rooted)
        except (NoDrawError, NoNumberError) as error:
            self.missing += 1
            return str(error)
        except Exception as error:  # whatever the user's function says of elements, it is no reason to stop
            if not is_of_code(error):
                raise
            return f"{SPELLED}: {type(error).__name__}: {one_line(error)}"

    def _drawn(self, target: Cell | Model, setting: Setting, point: Point, seed: int, rooted: bool) -> Case:
        random = np.random.default_rng(seed)
        begun = self._begun(target, setting, point, random, seed, rooted)
        free = begun.free or (not rooted and self.rootless.get(id(target), 0) >= PATIENCE)
        with functions_of(begun.atoms), np.errstate(all="ignore"):
            if not free:
                begun.atoms.strict = True
                try:
                    return _case(target, setting, begun, random)
                except NoNumberError:
                    return self._searched(target, setting, begun, random)
                except NoRootError:
                    self.rootless[id(target)] = self.rootless.get(id(target), 0) + 1
                    if rooted:
                        return self._searched(target, setting, begun, random)
                finally:
                    begun.atoms.strict = False
            return _case(target, setting, replace(begun, free=True), random)

    def _begun(
        self, target: Cell | Model, setting: Setting, point: Point, random: np.random.Generator, seed: int, rooted: bool
    ) -> _Begun:
        """Return random arguments; a model begins with those of its cell, whose steps are then known."""

        def drawn_anew() -> _Begun:
            found = in_field(point, random)
            return _Begun(Atoms(seed), found, directions(found, target, random))

        if not isinstance(target, Model):
            return drawn_anew()
        of_cell = self.at(target.cell, replace(setting, last=False, only=""), rooted)
        if isinstance(of_cell, str):
            return drawn_anew()
        own = of_cell.point
        found = in_field(self._beside(target, setting, own, seed) or point, random)
        found = replace(found, params=found.params | own.params, inputs=own.inputs, state=own.state)
        return _Begun(of_cell.atoms, found, directions(found, target, random) | of_cell.moving, of_cell.free)

    def _searched(self, target: Cell | Model, setting: Setting, begun: _Begun, random: np.random.Generator) -> Case:
        """Return a case where square roots, or numbers, had to be looked for."""
        tries = TRIES if self.missing < PATIENCE else SCARCE
        begun.atoms.strict = True
        try:
            found = regular(begun.point, target, begun.atoms, random, tries)
            return _case(target, setting, replace(begun, point=found), random)
        finally:
            begun.atoms.strict = False

    def _beside(self, model: Model, setting: Setting, own: Point, seed: int) -> Point | None:
        """Return a point of a model whose sizes are those of a point of its cell: with those of its loss, others would be drawn."""
        shapes = {k: np.shape(v) for group in (own.params, own.inputs, own.state) for k, v in group.items()}
        return setting.point(model, seed, replace(self.asked, shapes={**self.asked.shapes, **shapes}))


@dataclass(frozen=True)
class _Begun:
    """What a case begins with: a memory of functions, a point, a direction, and whether roots that do not exist are anything."""

    atoms: Atoms
    point: Point
    moving: dict[Group, Any]
    free: bool = False


def _case(target: Cell | Model, setting: Setting, begun: _Begun, random: np.random.Generator) -> Case:
    point = begun.point
    wanted, sent = _expected(target, setting, begun, random)
    for arrays in (point.params, point.inputs, point.state, point.targets, sent):
        for array in arrays.values():
            # A module that changes its arguments raises an error, and leaves them to the paths behind.
            np.asanyarray(array).flags.writeable = False
    found = Case(target, begun.atoms, point, wanted, sent, begun.moving, begun.free, int(random.integers(2**32)))
    found.slope(None)  # a function that has no tangent says so here
    return found


def _expected(
    target: Cell | Model, setting: Setting, begun: _Begun, random: np.random.Generator
) -> tuple[Arrays, Arrays]:
    """Return the values of the user's function, and random cotangents of those that a setting gives any.

    The values are those of a run with tangents, which is then known where the tangents are asked for.
    """
    full = moved(with_constants(begun.point, target), begun.moving)
    if isinstance(target, Model):
        loss = {"loss": _value(loss_of(target, full))}
        check_numbers(loss)
        return loss, {}
    states, outputs = ({k: _value(v) for k, v in arrays.items()} for arrays in oracle.run(target, full))
    chosen = {k: v for k, v in setting.chosen(states, outputs).items() if k not in target.held}
    sent = {k: drawn(v.shape[1:] if setting.last and k in states else v.shape, random) for k, v in chosen.items()}
    check_numbers(states | outputs)
    return states | outputs, sent


def _value(x: Any) -> Any:
    """Return elements without their tangents."""
    return residues(np.array(np.real(elements(x))))
