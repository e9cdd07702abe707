"""Sweeps that pass over floating-point errors which come to nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import Array

ERRORS: dict[str, str] = {"divide": "divide by zero", "over": "overflow", "invalid": "invalid value"}
"""What NumPy calls each kind of error to a function that is told of it."""


class _Hidden:
    """Notes whether an error of some kinds was hidden; others go to the function or the log that the caller has set."""

    def __init__(self, errors: list[str]) -> None:
        self.errors, self.seen = errors, False
        self.told: Any = np.geterrcall()

    def __call__(self, error: str, flag: int) -> None:
        if error in self.errors:
            self.seen = True
        else:
            self.told(error, flag)

    def write(self, text: str) -> None:
        self.told.write(text)


def _quiet(sweep: Callable[..., Any], *kinds: str) -> Callable[..., Any]:
    """Return a sweep that says nothing of errors of some kinds while all that it returns is finite: a sigmoid overflows to
    its limit, a branch that is not chosen may have any value. Else it is run again, and NumPy says of them what the caller
    has set."""

    errors = [ERRORS[kind] for kind in kinds]
    calls: Any = dict.fromkeys(kinds, "call")

    def quiet(*given: Any) -> Any:
        hidden = _Hidden(errors)
        with np.errstate(call=hidden, **calls):
            found = sweep(*given)
        told: Any = np.geterr() if hidden.seen else {}
        if any(told.get(kind, "ignore") != "ignore" for kind in kinds) and not _are_finite(found):
            del found  # for the memory that it holds
            others: Any = {kind: "ignore" for kind in told if kind not in kinds}
            with np.errstate(**others):
                found = sweep(*given)
        return found

    return quiet


def _are_finite(found: Any) -> bool:
    """Return whether all arrays that a sweep returns are finite; its tape, a tuple, is not what callers get."""
    groups: list[list[Array]] = [[*part.values()] if isinstance(part, dict) else [part] for part in found]
    return all(np.isfinite(v).all() for group in groups for v in group if v is not None and not isinstance(v, tuple))
