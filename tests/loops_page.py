"""Lines of printed pages that hold for each round of a loop inside a step, and lines that define each other, as those of a fixed
point do: in which order they are worked through, and when they have settled.

Like `tests/page.py`, it shares nothing with what prints pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

HOLDS = re.compile(r" for (?P<letter>(?!t\b)[^\W\d]) < (?P<limit>\w[^;]*?)(?=,  |$)")
"""What is said of the rounds of a line: for k < 3."""
MOST_ROUNDS = 2000


@dataclass(frozen=True)
class Run:
    """Lines side by side that hold for the rounds of one loop."""

    letter: str
    limit: str
    lines: tuple[str, ...]

    @property
    def goes_up(self) -> bool:
        """Whether a round reads the one before it: it defines what carries to the next, or reads nothing of the next."""
        ahead = re.compile(rf",\s*{self.letter}\s*\+\s*\d")
        pairs = [line.partition("=")[::2] for line in self.lines]
        return any(ahead.search(left) for left, _ in pairs) or not any(ahead.search(right) for _, right in pairs)


Item = str | Run


def items_of(lines: Sequence[str]) -> list[Item]:
    """Lines in their order, those of the rounds of one loop together."""
    found: list[Item] = []
    for key, own in groupby(lines, _rounds_of):
        if key is None:
            found += own
        else:
            found.append(Run(*key, tuple(HOLDS.sub("", line, count=1) for line in own)))
    return found


def _rounds_of(line: str) -> tuple[str, str] | None:
    match = HOLDS.search(line)
    return None if match is None else (match["letter"], match["limit"])


@dataclass
class Rounds:
    """Which values of a page have rounds, and which round it is."""

    names: set[str] = field(default_factory=set)
    now: dict[str, int] = field(default_factory=dict)
    letters: set[str] = field(default_factory=set)

    def see(self, lines: Sequence[str], members: Callable[[str, str], Sequence[str]]) -> None:
        """Take the names to the left of lines with rounds, a_{z,t,k} is a value a_z of step t and of round k, and of families of these."""
        self.letters |= {match["letter"] for match in map(HOLDS.search, lines) if match is not None}
        for line in sorted(lines, key=lambda line: not HOLDS.search(line)):
            *name, at, _ = ["", "", "", *parts_of(re.sub(r"^\((.*)\)_.*$", r"\1", line.partition("=")[0].strip(" +")))]
            named = "_".join(name).lstrip("_")
            if named and at.startswith(("t", "T")):
                own = members(named, line)
                self.names |= {named, *own} if HOLDS.search(line) or self.names & {*own} else set()

    def split(self, text: str) -> tuple[str, str, str] | None:
        """The name of a value of a round, its time, and which round it is; None of any other value."""
        parts = parts_of(text)
        name = "_".join(parts[:-2])
        return (name, *parts[-2:]) if len(parts) > 2 and name in self.names else None  # type: ignore[return-value]

    def are_read(self, tokens: Iterator[str], letter: str) -> bool:
        """Whether one of the tokens is a value of a round that a letter numbers."""
        parts = (self.split(token) for token in tokens if letter in token)
        return any(found is not None and re.search(rf"\b{letter}\b", found[2]) for found in parts)


def parts_of(text: str) -> list[str]:
    """A name and what stands below it: z̃, t and k + 1 of z̃_{t,k+1}."""
    head, _, below = text.partition("_")
    more = re.split(r"_(?!$)(?![^{]*\})", below)  # a size that is called L ends with the sign in a model, L_
    return [head, *(part for each in more for part in each.strip("{}").split(","))] if below else [head]


STARTS = re.compile(
    r"^\s*(.+?) (?:is the fixed point of its equation|are the fixed points of their equations): rounds from (.+?) end at"
)


def starts_of(notes: Sequence[str]) -> dict[str, str]:
    """What the rounds of fixed points begin with, by how the legend writes their values."""
    found: dict[str, str] = {}
    for match in filter(None, map(STARTS.match, notes)):
        names, starts = (re.split(r", (?![^{(\[]*[})\]])", text) for text in match.groups())
        found |= dict(zip(names, starts, strict=True))
    return found


def settle(work: Callable[[], None], values: Callable[[], list[Any]]) -> None:
    """Work lines that define each other through until their values stay."""
    before: list[Any] = []
    for _ in range(MOST_ROUNDS):
        work()
        now = [np.array(x) for x in values()]
        if [x.shape for x in now] == [x.shape for x in before] and all(map(_stays, now, before)):
            return
        before = now
    raise ValueError("lines that define each other do not settle")


def _stays(now: Any, before: Any) -> bool:
    return bool(np.abs(now - before).max(initial=0) <= 1e-14 * max(1.0, np.abs(now).max(initial=0)))
