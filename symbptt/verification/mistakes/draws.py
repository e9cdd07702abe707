"""Draws of data at which a backward pass is wrong: what it gave there, beside the derivation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from symbptt.derivations.derivation import Derivation
from symbptt.equations.page.equations import Equations
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.adjoints.sweep import Group
from symbptt.verification.comparison import Gradients
from symbptt.verification.mistakes.problem import Blocks, Problem, blocks_of
from symbptt.verification.regimes import Regime, Size
from symbptt.verification.regimes import point as draw
from symbptt.verification.requests import Asked

SAME = 1e-8
"""The part of a difference up to which an explanation may be off."""
ROUNDING = 1e-12
"""The part of a block that rounding may move: less than any mistake does, more than sums in another order."""
WRONG = 1e-9
"""The part of a block from which on it is wrong."""


@dataclass(frozen=True)
class Draw:
    """A problem with the gradients that a backward pass gave there, those of the right shape; `misshapen` are the others."""

    problem: Problem
    given: Mapping[Group, Any]
    misshapen: Mapping[Group, Any]

    @cached_property
    def right(self) -> Blocks:
        """The gradients of the derivation by block, of those that came in the right shape."""
        return self.comparable(self.problem.right)

    @cached_property
    def came(self) -> Blocks:
        """The gradients that came, by block."""
        return blocks_of(self.given)

    def comparable(self, found: Mapping[Group, Any]) -> Blocks:
        """Return gradients by block, of those that came in the right shape."""
        return blocks_of({place: found[place] for place in self.given})

    @cached_property
    def _scales(self) -> dict[Any, float]:
        # Cancellation leaves rounding of what cancels: a step's gradient is compared with those of all steps.
        largest: dict[Group, float] = {}
        for (group, name, _), value in self.right.items():
            largest[group, name] = max(largest.get((group, name), 0.0), _top(value))
        return {
            block: max(largest[block[:2]], _top(self.came[block]) if np.all(np.isfinite(self.came[block])) else 0.0)
            for block in self.right
        }

    @cached_property
    def wrong(self) -> frozenset[Any]:
        """The blocks that are wrong."""
        found = self.right
        return frozenset(b for b in found if not _top(self.came[b] - found[b]) <= WRONG * self._scales[b])

    def matched(self, found: Mapping[Group, Any]) -> frozenset[Any]:
        """Return the blocks in which gradients with mistakes are those that came: to rounding, relative to the difference from the
        derivation that they explain."""
        return frozenset(b for b, value in self.comparable(found).items() if self._is_same(b, value))

    def _is_same(self, block: Any, value: Any) -> bool:
        came, right = self.came[block], self.right[block]
        if block not in self.wrong:
            return _top(value - right) <= WRONG * self._scales[block]
        return bool(_top(value - came) <= SAME * _top(came - right) + ROUNDING * self._scales[block])


def _top(array: Any) -> float:
    return float(np.max(np.abs(array), initial=0.0))


@dataclass(frozen=True)
class Asker:
    """What makes draws: the target with its pages, the backward pass, and the request of the caller."""

    target: Cell | Model
    page: Derivation
    loss_page: Equations | None
    gradients: Gradients
    seed: int
    asked: Asked

    def draw(self, regime: Regime, size: Size, shift: int) -> Draw | None:
        """Return a draw of data; none where the target cannot have such sizes."""
        point = draw(self.target, regime, size, self.seed + 97 * shift + 31, self.asked)
        if point is None:
            return None
        sent = oracle.cotangents(self.target, point, self.seed + shift + 2000) if isinstance(self.target, Cell) else {}
        return self.at(Problem(self.target, self.page, self.loss_page, point, sent))

    def at(self, problem: Problem) -> Draw:
        """Return the draw of a problem: the backward pass is called there."""
        with np.errstate(all="ignore"):
            groups = self.gradients(problem.point, problem.sent)
        named = zip(("params", "inputs", "state"), groups, strict=True)
        came = {(group, name): np.asarray(v, float) for group, arrays in named for name, v in arrays.items()}
        given = {
            place: came[place] for place, v in problem.right.items() if place in came and came[place].shape == v.shape
        }
        return Draw(
            problem, given, {place: came[place] for place in problem.right if place in came and place not in given}
        )

    def scaled(self, one: Draw, factor: float) -> Draw:
        """Return a draw with all cotangents times a factor."""
        sent = {k: factor * v for k, v in one.problem.sent.items()}
        return self.at(replace(one.problem, sent=sent))


def is_finite(one: Draw) -> bool:
    """Answer whether all that came is finite, and what the derivation gives too."""
    return all(np.all(np.isfinite(v)) for v in (*one.given.values(), *one.problem.right.values()))


def labels_of(blocks: Iterable[Any]) -> list[str]:
    """Return the names of gradients without steps, in order, each once."""
    found = [f"d{name}_0" if group == "state" else f"d{name}" for group, name, _ in blocks]
    return list(dict.fromkeys(found))


def ordered(blocks: Iterable[Any], like: Mapping[Any, Any]) -> Iterator[Any]:
    """Yield blocks in the order of a mapping."""
    chosen = set(blocks)
    yield from (block for block in like if block in chosen)
