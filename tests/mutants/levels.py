"""The levels of `sb.verify`, each by itself, on a kernel with an edit in its text."""

from collections.abc import Iterator
from functools import cached_property
from unittest import mock

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.verification import checks
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.prove import line_of
from symbptt.verification.proof.subjects import subjects_of
from symbptt.verification.regimes import REGIMES
from symbptt.verification.requests import NOTHING

SATURATED = ("saturated", "extreme inputs")
HEALTHY = tuple(regime.name for regime in REGIMES if regime.name not in SATURATED)


class Levels:
    """The levels on mutants of one kernel; what the user's own function says over the field is asked once for all of them."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    @cached_property
    def cases(self) -> Cases:
        return Cases(0, NOTHING)

    def proof(self, kernel: Kernel) -> str:
        """Return the path on which the exact proof calls a module wrong, or an empty text."""
        for subject, settings in subjects_of(kernel):
            for setting in settings:
                line = line_of(subject, setting, self.cases)
                if line.wrong:
                    return f"{line.path}: {', '.join(line.wrong[:3])}"
        return ""

    def numeric(self, kernel: Kernel, regimes: tuple[str, ...]) -> str:
        """Return the first comparison in floats that fails in some regimes, or an empty text."""
        chosen = tuple(regime for regime in REGIMES if regime.name in regimes)
        with mock.patch.object(checks, "REGIMES", chosen), np.errstate(all="ignore"):
            return next(
                (f"{row.regime}, {row.size}: {row.block} {row.said}" for row in _rows(kernel) if not row.passed), ""
            )


def _rows(kernel: Kernel) -> Iterator[checks.Row]:
    return checks.rows(kernel, 0)


def with_text(kernel: Kernel, text: str) -> Kernel:
    """Return a kernel with another text."""
    return Kernel(kernel.target, kernel.program, text, kernel.truncation, kernel.clip_adjoint, kernel.memory)
