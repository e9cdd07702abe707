"""Arrays that NumPy joins in brackets: `np.r_[x, h]` one behind the other, `np.c_[x, h]` as columns beside each other.

NumPy makes an array of each part before any protocol is asked, so that both come to us by `symbptt.language.namespaces`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symbptt.language import creation
from symbptt.language.array import graph_of
from symbptt.language.number_kinds import of_data
from symbptt.language.user_frames import cell_error


class Brackets:
    """NumPy's `r_` or `c_`, which is ours where one of the parts is a value of a cell or of a check, as `is_ours` says."""

    def __init__(self, name: str, is_ours: Callable[[Any], bool]) -> None:
        self._name, self._is_ours = name, is_ours

    def __getitem__(self, key: Any) -> Any:
        parts = [of_data(part) for part in (key if isinstance(key, tuple) else (key,))]
        if not any(
            self._is_ours([part.start, part.stop, part.step] if isinstance(part, slice) else part) for part in parts
        ):
            return getattr(np, self._name)[key]
        as_columns = self._name == "c_"
        return np.concatenate([_part(part, self._name, as_columns) for part in parts], axis=-1 if as_columns else 0)


def _part(part: Any, name: str, as_columns: bool) -> Any:
    """Return one part as an array with an axis at least, of columns with two."""
    if isinstance(part, str):
        raise cell_error(
            f"np.{name} with the directive {part!r} is not known to symbptt",
            "write np.concatenate, or np.stack, with axis=",
        )
    if isinstance(part, slice):
        part = _counted(part, name)
    elif isinstance(part, list | tuple):
        part = creation.array(part)
    rank = np.ndim(part)
    if not rank:
        part = np.reshape(part, (1,))
    return part[:, None] if as_columns and rank < 2 else part


def _counted(part: slice, name: str) -> Any:
    """Return the numbers of a slice, as of np.arange."""
    if isinstance(part.step, complex):
        raise cell_error(f"a slice with {part.step} in np.{name} is not known to symbptt", "write np.linspace(a, b, n)")
    numbers = (0 if part.start is None else part.start, part.stop, 1 if part.step is None else part.step)
    return creation.arange(*numbers) if graph_of(*numbers) is not None else np.arange(*numbers)
