"""About as many pieces as a piece has steps."""

from typing import Any

from symbptt.codegen.runtime.cell import Mask, Sizes
from symbptt.codegen.runtime.checkpoints import _root


def _pieces(
    T: int, end: int, B: int, sizes: Sizes, dtype: Any, active: Mask, reset: Mask, trains: bool
) -> tuple[int, int]:
    """Return the steps of a piece and the slots; the longest sample ends after `end` steps of T."""
    return _root(end)
