"""The grid of a comparison: sizes, gains and draws of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, three_lines

STEPS = 1000
"""The length of runs without data."""


@dataclass(frozen=True)
class Grid:
    """The variants of each cell that are compared: every size with every gain and every seed.

    `sizes` are given to each named size of a cell that the data leave open; `gains` multiply its recurrent weights
    (`sb.recurrent_weights`); `seeds` is how many draws of the parameters, seeds 0, 1, ..., or the seeds themselves. Runs
    without data have `steps` steps, 1000 where it is None.

    Raises: ArgumentError for sizes, seeds or steps that are no positive integers, gains that are not finite, an empty axis.
    """

    sizes: Sequence[int] = (32,)
    gains: Sequence[float] = (1.0,)
    seeds: int | Sequence[int] = 3
    steps: int | None = None

    def __post_init__(self) -> None:
        sizes = _axis("sizes", self.sizes, lambda v: _is_integer(v, 1), "integers from 1")
        gains = _axis("gains", self.gains, _is_finite, "finite numbers")
        counted: Any = range(int(self.seeds)) if _is_integer(self.seeds, 1) else self.seeds  # type: ignore[arg-type]
        seeds = _axis("seeds", counted, lambda v: _is_integer(v, 0), "how many, or integers from 0")
        if self.steps is not None:
            _axis("steps", [self.steps], lambda v: _is_integer(v, 1), "an integer from 1")
        object.__setattr__(self, "sizes", tuple(dict.fromkeys(map(int, sizes))))
        # -0.0 == 0.0, but their texts differ and would give different keys; -0.0 + 0.0 is 0.0.
        object.__setattr__(self, "gains", tuple(dict.fromkeys(float(gain) + 0.0 for gain in gains)))  # no -0.0
        object.__setattr__(self, "seeds", tuple(dict.fromkeys(map(int, seeds))))

    def points(self, sized: bool, scaled: bool) -> Iterator[tuple[int | None, float | None, int]]:
        """Yield size, gain and seed of each variant; an axis that a cell does not have is None."""
        assert not isinstance(self.seeds, int)
        for size in self.sizes if sized else (None,):
            for gain in self.gains if scaled else (None,):
                yield from ((size, gain, seed) for seed in self.seeds)


def _axis(name: str, values: Any, fits: Callable[[Any], bool], what: str) -> list[Any]:
    listed = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else []
    if not listed or not all(map(fits, listed)):
        raise ArgumentError(three_lines(f"{name}: {what}, got {values!r}", "in the grid of a comparison",
                                        f"write sb.Grid({name}={'1000' if name == 'steps' else '(1, 2)'})"))  # fmt: skip
    return listed


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
