"""The result of a proof: what was compared on which path, what differs, what could not be compared and why."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.verification.proof.field import P


@dataclass(frozen=True)
class Line:
    """One path: the blocks that are exact there, those that are wrong, and why nothing was compared where that is so."""

    subject: str
    path: str
    sizes: str
    blocks: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    note: str = ""

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
        """The names of the blocks that were compared on no path."""
        seen = {name for line in self.lines for name in line.compared}
        return tuple(name for name in self.blocks if name not in seen)

    def __str__(self) -> str:
        head = f"Proof: <u, J v> = <Jᵀ u, v> exactly, over the residues modulo {P}, J v by dual numbers through the user's own function"
        return "\n".join([head, *self._covered(), *self._open(), *filter(None, (self.symbolic, self.rules))])

    def _covered(self) -> list[str]:
        found = []
        for subject in dict.fromkeys(line.subject for line in self.lines):
            lines = [line for line in self.lines if line.subject == subject]
            exact = [line for line in lines if not line.note and not line.wrong]
            paths = "; ".join(f"{line.path} ({line.sizes})" if line.sizes else line.path for line in exact)
            if exact:
                found.append(f"  exact    {subject}: {paths}")
            found += [
                f"  WRONG    {subject}: {line.path} ({line.sizes}): {', '.join(dict.fromkeys(map(name_of, line.wrong)))}"
                for line in lines
                if line.wrong
            ]
        return found

    def _open(self) -> list[str]:
        notes = dict.fromkeys((line.subject, line.path, line.note) for line in self.lines if line.note)
        found = [f"  not proved  {subject}: {path}: {note}" for subject, path, note in notes]
        return found + ([f"  proved nowhere: {', '.join(self.unproved)}"] if self.unproved else [])
