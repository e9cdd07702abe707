"""The tables that each generated module has of its own cell; here, by hand, of h_t = w ⊙ h_{t-1} + x_t with y_t = h_t², and of a
loss.

No module carries this file: it has its own tables, constants and sizes under these names. With them the runtime is checked
by a type checker, and runs by itself, on the cell whose sweeps are in `sweeps.py`.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

Array: TypeAlias = Any
"""An array, or what stands for one where memory and calls are counted."""
Number: TypeAlias = Any
"""A number of the type of the arrays."""
Arrays: TypeAlias = dict[str, Array]
"""Arrays by name."""
Sizes: TypeAlias = dict[str, int]
"""Named sizes by name."""
Gradients: TypeAlias = tuple[Arrays, Arrays, Arrays, Arrays]
"""Those of parameters, inputs and states at the start, and what resets send to these."""
Mask: TypeAlias = Any
"""Steps and samples, (T, B) bool, or None: all, or none."""

PARAMS: tuple[str, ...] = ("w", "v")
INPUTS: tuple[str, ...] = ("x",)
CONTEXTS: tuple[str, ...] = ()
STATES: tuple[str, ...] = ("h",)
TARGETS: tuple[str, ...] = ("goal",)
ARGUMENTS: tuple[str, ...] = ("x", "h", "w")
LEAD: dict[str, int] = {"x": 2, "h": 1, "goal": 2}
SHAPES: dict[str, str] = {"x": "n", "h": "n", "w": "n", "v": "", "goal": "n"}
INDICES: dict[str, str | None] = {}
COMPLEX: tuple[str, ...] = ()
"""Arguments whose entries are complex numbers."""
STARTS: dict[str, Any] = {}
"""What states begin with where a call omits them: numbers, or the name of a parameter; zero of those that are not here."""
ACCURATE: int = 0
"""The remainders of functions near one that are computed again from their arguments."""
FIRST: dict[str, Any] = {"w": 0.0, "v": 1.0}
"""The first value of each parameter: numbers, or how a matrix is drawn, "orthogonal" or "uniform"."""
FIXED: tuple[str, ...] = ()
"""Arguments without a gradient: constants that a call gives."""
DECLARED: tuple[str, ...] = ()
"""Functions whose derivative is declared, not that of their values."""
SHOWN: tuple[str, ...] = STATES
"""States that none of these reaches in a step."""

HELD: float = 2**28
"""Bytes at most of arrays that are kept for the next call."""
MARK: str = "by hand"
"""Tells runs of this module from those of others."""
REDUCTION: str = "sum"
"""The loss of a call: the "sum" over the steps and samples that count, or their "mean"."""
TIMED: tuple[bool, ...] = (True, True, False, False)
"""True for each value of the tape that has an axis of steps."""
CHUNK: int = 4
"""The number of steps whose losses flow back together."""
REACH: int = 6
"""The number of steps that they flow back through."""
SPAN: int = 3
"""The number of steps that each loss flows back through by itself."""
MEMORY: int = 2**20
"""The bytes that a call may hold beside its arguments."""
PARTS: int = 1
"""The real numbers of a number: two in a module that has complex ones."""
KINDS: tuple[bool, ...] = (True, False)
"""The kinds of calls that hold memory: True for training."""


def _sizes(of: Callable[[str, int], Any]) -> Sizes:
    """Return the named sizes, each read from an argument and an axis."""
    return {"n": of("w", 0)}


def _shapes(n: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every argument of one sample and step."""
    return {"x": (n,), "h": (n,), "w": (n,), "v": (), "goal": (n,)}
