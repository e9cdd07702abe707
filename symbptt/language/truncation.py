"""The reach of a gradient back in time, by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symbptt.errors import ArgumentError


@dataclass(frozen=True)
class Window:
    """The loss at every step flows back through at most `k` applications of the cell.

    The state `k` applications back is held constant for that loss, unless it is the initial state of the sequence. With
    k >= T this is full backpropagation through time.
    """

    k: int

    def __post_init__(self) -> None:
        _check(k=self.k)
        # NumPy integers become Python's, so that equal truncations have equal texts in generated code.
        object.__setattr__(self, "k", int(self.k))


@dataclass(frozen=True)
class Chunked:
    """Every `k1` steps, and at the end, the losses since the last time flow back through the last `k2` steps.

    At each multiple e of k1, and at T, the state that enters step e - k2 (steps counted from 0) is held constant,
    unless it is the initial state of the sequence; a loss before that step sends nothing back, neither to the cell nor
    to its own parameters, though it counts in the value.

    Source: Williams and Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories", BPTT(h; h').
    """

    k1: int
    k2: int

    def __post_init__(self) -> None:
        _check(k1=self.k1, k2=self.k2)
        object.__setattr__(self, "k1", int(self.k1))
        object.__setattr__(self, "k2", int(self.k2))


def _check(**numbers: object) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name} counts steps: a positive integer is expected, got {value!r}")


def check_truncation(truncation: object) -> None:
    """Refuse what is no truncation, and not None.

    Raises: ArgumentError.
    """
    if truncation is not None and not isinstance(truncation, Window | Chunked):
        raise ArgumentError(f"truncation is sb.Window(k) or sb.Chunked(k1, k2), got {truncation!r}")
