"""The result of a proof: what was compared on which path, what differs, what could not be compared and why."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from symbptt.verification.proof.field import P

WIDTH = 120
SHOWN = 5
ALONE = "loops behind the pass "
"""How the words of a subject begin that is loops behind one pass."""


@dataclass(frozen=True)
class Line:
    """One path: the blocks that are exact there, those that are wrong, and why nothing was compared where that is so."""

    subject: str
    path: str
    sizes: str
    blocks: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    note: str = ""
    few: bool = False
    """A flag for less than two steps, or sizes that are all 1, where a wrong axis or step need not show."""

    @property
    def compared(self) -> tuple[str, ...]:
        """The names of the blocks, without their steps."""
        return () if self.note else tuple(dict.fromkeys(name_of(block) for block in self.blocks))


def name_of(block: str) -> str:
    """Return a block without its step."""
    return block.split("[")[0]


@dataclass(frozen=True)
class Proof:
    """The lines of a proof, and sentences on what else was proved."""

    blocks: tuple[str, ...]
    lines: tuple[Line, ...]
    chance: str = ""
    symbolic: str = ""
    rules: str = ""
    faults: tuple[str, ...] = ()
    """Functions of the table whose derivatives are wrong."""

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the blocks that differ on some path, then of the scalar rules that are wrong."""
        differing = (name_of(block) for line in self.lines for block in line.wrong)
        return tuple(dict.fromkeys([*differing, *(f"the derivative of {name}" for name in self.faults)]))

    @property
    def unproved(self) -> tuple[str, ...]:
        """The names of the blocks that were compared on no path of the module itself, those of few numbers left aside."""
        module = self.lines[0].subject if self.lines else ""
        seen = {name for line in self.lines if line.subject == module and not line.few for name in line.compared}
        return tuple(name for name in self.blocks if name not in seen)

    def __str__(self) -> str:
        head = f"Proof: <u, J v> = <Jᵀ u, v> exactly, over the residues modulo {P}, J v by dual numbers through the user's own function"
        return "\n".join([head, *self._exact(), *self._open(), *self._more()])

    def _more(self) -> list[str]:
        return [row for text in (self.chance, self.symbolic, self.rules) if text for row in _wrapped("  ", text)]

    def _exact(self) -> list[str]:
        """Tell what is exact on which paths, then what is wrong; what is exact on the same paths stands together."""
        by_paths: dict[str, list[str]] = {}
        for subject in dict.fromkeys(line.subject for line in self.lines):
            exact = [line for line in self.lines if line.subject == subject and not line.note and not line.wrong]
            paths = "; ".join(f"{line.path} ({line.sizes})" for line in exact)
            if paths:
                by_paths.setdefault(paths, []).append(subject)
        found = []
        for paths, subjects in by_paths.items():
            found += [*_wrapped("  exact: ", _joined(subjects)), *_wrapped("    on ", paths)]
        wrong = [line for line in self.lines if line.wrong]
        blocks = [", ".join(dict.fromkeys(map(name_of, line.wrong))) for line in wrong]
        texts = [
            f"{line.subject}, {line.path} ({line.sizes}): {names}" for line, names in zip(wrong, blocks, strict=True)
        ]
        return found + [row for text in texts for row in _wrapped("  WRONG: ", text)]

    def _open(self) -> list[str]:
        notes: dict[str, list[str]] = {}
        for line in self.lines:
            if line.note:
                notes.setdefault(line.note, []).append(f"{line.subject}, {line.path}")
        found = [
            row for note, paths in notes.items() for row in _wrapped("  not proved: ", f"{note}: {'; '.join(paths)}")
        ]
        return found + ([f"  proved nowhere: {', '.join(self.unproved)}"] if self.unproved else [])


def _few(paths: list[str]) -> str:
    """Return the first of many paths, and how many others there are."""
    others = f"; and {len(paths) - SHOWN} other paths" if len(paths) > SHOWN + 1 else ""
    return "; ".join(paths[:SHOWN] if others else paths) + others


def _joined(subjects: list[str]) -> str:
    """Return subjects in one line, loops behind passes by the names of these."""
    passes = [subject.removeprefix(ALONE) for subject in subjects if subject.startswith(ALONE)]
    others = [subject for subject in subjects if not subject.startswith(ALONE)]
    return "; ".join(others + ([f"loops behind each pass alone: {', '.join(passes)}"] if passes else []))


def _wrapped(begin: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=begin, subsequent_indent=" " * len(begin), break_long_words=False)
