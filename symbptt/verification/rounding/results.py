"""What rounding costs a module: for each regime and each type the error of every block in units of rounding."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

WIDTH = 120


@dataclass(frozen=True)
class Block:
    """The error of a block of gradients in units of rounding of its largest entry, what rounding may explain, and `formula`: how far
    the module's text is off the derivative of the user's function where both are computed with 50 digits; `note` where nothing follows."""

    name: str
    units: float = 0.0
    allowed: float = 0.0
    formula: float = 0.0
    note: str = ""

    @property
    def passed(self) -> bool:
        """Answer whether rounding explains the error."""
        return bool(self.note) or max(self.units, self.formula) <= self.allowed


@dataclass(frozen=True)
class Line:
    """The blocks of a module in one regime and one type; `note` where it could not be measured."""

    regime: str
    dtype: str
    size: str
    blocks: tuple[Block, ...] = ()
    note: str = ""

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the blocks whose error rounding does not explain, without their steps."""
        return tuple(dict.fromkeys(b.name.split("[")[0] for b in self.blocks if not b.passed))

    @property
    def worst(self) -> Block | None:
        """The block with the largest error, of those that rounding does not explain if there are any."""
        compared = [b for b in self.blocks if not b.note]
        over = [b for b in compared if not b.passed]
        return max(over or compared, key=lambda b: max(b.units, b.formula), default=None)

    def __str__(self) -> str:
        notes = sorted({b.note for b in self.blocks if b.note} | ({self.note} if self.note else set()))
        worst = self.worst
        text = f"{self.regime}, {self.size}, {self.dtype}: "
        if worst is not None:
            off = max(worst.units, worst.formula)
            text += f"{_number(off)} units in {worst.name}, {_number(worst.allowed)} allowed"
            text += " WRONG" * bool(self.wrong) + (
                ": the formula, not rounding" if worst.formula > worst.allowed else ""
            )
        return text + (f" ({'; '.join(notes)})" if worst is not None and notes else "; ".join(notes))


@dataclass(frozen=True)
class Rounding:
    """The errors of a module in floats, against its text and the user's function in numbers of 50 digits; `forms` are the accurate forms
    that were measured where each alone decides, `idle` those for which no such arguments were found."""

    lines: tuple[Line, ...]
    forms: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the blocks whose error rounding does not explain."""
        return tuple(dict.fromkeys(name for line in self.lines for name in line.wrong))

    def __str__(self) -> str:
        texts = ["Rounding, against 50 digits: the largest error of a block in units of rounding of its largest entry"]
        for dtype in dict.fromkeys(line.dtype for line in self.lines):
            text = _summed([line for line in self.lines if line.dtype == dtype])
            texts += textwrap.wrap(f"{dtype}: {text}", WIDTH, initial_indent="  ", subsequent_indent="    ")
        texts += [f"  {line}" for line in self.lines if line.wrong or not line.worst]
        count = len(self.forms) + len(self.idle)
        texts += [f"  accurate forms: {len(self.forms)} of {count} measured where each alone decides"] * bool(count)
        texts += [f"    not verified, it decides nowhere that was tried: {name}" for name in self.idle]
        return "\n".join(texts)


def _summed(lines: list[Line]) -> str:
    """Return the worst block of each regime in one line."""
    found = {line.regime: worst for line in lines if (worst := line.worst) is not None}
    return (
        "; ".join(f"{regime} {_number(worst.units)} ({worst.name})" for regime, worst in found.items())
        or "nothing measured"
    )


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}" if value < 1e4 else f"{value:.0e}"
