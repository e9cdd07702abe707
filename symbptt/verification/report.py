"""The result of a verification: comparisons, those that failed, and the blocks that were compared nowhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from symbptt.verification.proof.results import Proof
from symbptt.verification.rounding.results import Rounding


@dataclass(frozen=True)
class Row:
    """One comparison: the largest error in a block relative to its scale; `note` where it could not be made, `said` for faults
    other than of numbers: a wrong shape, an error that was raised."""

    regime: str
    size: str
    block: str
    error: float
    tolerance: float
    method: str
    note: str = ""
    said: str = ""

    @property
    def passed(self) -> bool:
        return bool(self.note) or self.error <= self.tolerance

    @property
    def name(self) -> str:
        """The block without its step."""
        return self.block.split("[")[0]

    @property
    def share(self) -> float:
        """The error in parts of its tolerance; infinite where it is no number, or where no error is allowed and there is one."""
        if not self.error:
            return 0.0
        # NaN is not equal to itself: an error that is no number counts as the worst.
        return self.error / self.tolerance if self.tolerance and self.error == self.error else np.inf


@dataclass(frozen=True)
class Report:
    """The result of a verification; `remarks` are the findings of further comparisons, `proof` is the exact one over a field,
    `rounding` that against numbers of 50 digits; `settings` are the domains and values that were asked for, and the
    gates that were shut."""

    name: str
    rows: tuple[Row, ...] = field(repr=False)
    remarks: tuple[str, ...] = ()
    proof: Proof | None = field(default=None, repr=False)
    rounding: Rounding | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)
    """The text of the module that was compared; empty where there was none."""
    seed: int = 0
    given: tuple[str, ...] = ()
    """The names of the arguments of which the caller said what they are, or where."""
    settings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Answer whether every comparison is within its tolerance, and there was one of every block: in floats, and where a proof
        was asked for on at least one path of it."""
        return bool(self.rows) and not self.wrong and not (self.proof and self.proof.unproved)

    @property
    def verdict(self) -> str:
        """One word on all of it: what is not wrong and was not compared either is not verified."""
        return "passed" if self.passed else "FAILED" if self.wrong else "NOT VERIFIED"

    @property
    def uncompared(self) -> tuple[str, ...]:
        """The names of the blocks that were compared nowhere, on no step at all left aside."""
        made = {row.name for row in self.rows if not row.note and not row.size.startswith("T=0")}
        return tuple(dict.fromkeys(row.name for row in self.rows if row.name not in made))

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the blocks with an error, without the step, then of those that were compared nowhere."""
        failed = (row.name for row in self.rows if not row.passed)
        further = [*(self.proof.wrong if self.proof else ()), *(self.rounding.wrong if self.rounding else ())]
        return tuple(dict.fromkeys([*failed, *further, *self.uncompared]))

    @property
    def worst(self) -> Row | None:
        """The comparison nearest to its tolerance, or farthest over it."""
        return max((row for row in self.rows if not row.note), key=lambda row: row.share, default=None)
