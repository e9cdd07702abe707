"""A mistake as data: where it is made, in which words it is told, and how it changes a backward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from symbptt.verification.adjoints.sweep import Group
from symbptt.verification.mistakes.problem import Draft, Problem

Apply = Callable[[Draft, Problem], Draft | None]
"""(a backward pass, the point) -> the same with the mistake in it; None where it cannot be made there."""


@dataclass(frozen=True)
class Reach:
    """The gradients that a mistake may change: through one step alone, and through all steps before it too."""

    near: frozenset[Group]
    far: frozenset[Group]


@dataclass(frozen=True)
class Mistake:
    """A mistake of one kind; `words` tells it in a sentence, `place` is the user's line where there is one.

    `reach` are the gradients that it may change, in one step alone and through time; none where that is not known. `kind` is one of the
    kinds that the reports name: missing, doubled, sign, factor, shifted, transposed, summed, truncated, clipped, ...
    Of mistakes that give the same gradients the one with the lower `rank` is told first.
    """

    kind: str
    words: Callable[[], str] = field(repr=False)
    apply: Apply = field(repr=False, compare=False)
    place: str = ""
    rank: int = 0
    reach: Reach | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.words()


def together(mistakes: tuple[Mistake, ...]) -> Apply:
    """Return what makes several mistakes at once."""

    def apply(draft: Draft, problem: Problem) -> Draft | None:
        found: Draft | None = draft
        for mistake in mistakes:
            found = None if found is None else mistake.apply(found, problem)
        return found

    return apply
