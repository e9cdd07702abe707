"""The accurate forms of a module that checks itself: that each is there, and that they act where digits are lost."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import ACCURATE
from symbptt.codegen.runtime.saturation import _sharpened

LOST: dict[type, float] = {np.float32: 3e-5, np.float64: 8e-6}
"""By type the remainders that have lost their digits, all of which an accurate form computes again."""


def _forms_in(lines: Sequence[str]) -> int:
    """Return how many remainders are computed again from the argument in some lines."""
    return sum(line.lstrip().startswith("_sharpened(") for line in lines)


def _check_forms(rows: dict[str, list[tuple[float, str]]], lines: Sequence[str]) -> None:
    """Add what is wrong with the accurate forms to the rows of a check: at usual data no gradient shows that one is missing."""
    there = _forms_in(lines)
    wrong = [f"{there} of {ACCURATE} are there"] * (there != ACCURATE)
    for kind, least in LOST.items():
        a: Any = np.array([-30, 3, 20, -2, 11, -14], kind)
        wanted = np.exp(-np.abs(a))
        found: Any = _sharpened(np.where(wanted < least, kind(1.001), kind(1)) * wanted, lambda e: e, a.copy)
        wrong += [f"digits are lost in {kind.__name__}"] * (not np.allclose(found, wanted, 1e-5, 0))
    rows |= {"accurate forms": [(np.inf, words) for words in wrong]} if wrong else {}
