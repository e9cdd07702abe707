"""A kernel whose module takes few steps in a block, so that a short run has several, with their borders."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.verification.regimes import LAST_DIGITS, Blocks

TILE = 20
"""Numbers of a fixed coefficient that are repeated, so few that a short run goes through them more than once."""


def unwritten(shape: Any, dtype: Any = float) -> Any:
    """Return an array to write into, filled with NaN or −1: an entry that is read before it is written shows."""
    return np.full(shape, np.nan if np.dtype(dtype).kind in "fc" else -1, dtype)


class Namespace:
    """NumPy, except that new arrays to write into are filled with NaN, of integers with −1."""

    empty = staticmethod(unwritten)

    @staticmethod
    def empty_like(array: Any, dtype: Any = None, shape: Any = None) -> Any:
        """Return an array to write into, of the shape and the type of another."""
        return unwritten(
            np.shape(array) if shape is None else shape, np.asarray(array).dtype if dtype is None else dtype
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class Trusting(Namespace):
    """The same, for whom all numbers are finite: one that was never written shows in a result, where a module that asks would take
    another road."""

    @staticmethod
    def isfinite(value: Any) -> Any:
        """Return true everywhere."""
        return np.ones(np.shape(value), bool)


class Unwritten:
    """A workspace that stores nothing and returns buffers filled with NaN, of integers with −1."""

    nbytes, limit = 0, 0

    def room(self, shape: Any, dtype: Any) -> Any:
        """Return an array to write into."""
        return unwritten(shape, dtype)

    def give(self, rooms: Any) -> None:
        """Take arrays back."""


def _pieces(call: Any, end: int, trains: bool) -> tuple[int, int]:
    """Return pieces of two steps: by the bytes that a caller allows few steps are one piece."""
    return max(min(2, end), 1), 1


def numbers_of_steps(blocks: Blocks) -> dict[str, Any]:
    """Return the functions, by name, that a module asks how many steps a block, the loss of some steps and a window of a scan have."""

    def steps(T: int, B: int, size: int, rows: int = 0) -> int:
        return max(min(T, blocks.steps), 1)

    def window(T: int, states: Any, least: int) -> int:
        return min(blocks.window, 1 << max(T, 1).bit_length() - 1) if T else 0

    return {"_steps": steps, "_loss_steps": steps, "_window": window, "TILE": TILE}


def with_module(kernel: Kernel, module: ModuleType, changed: Mapping[str, Any], **always: Any) -> Kernel:
    """Return the kernel with another module, in which names that it has stand for what is `changed`, and others `always`."""
    vars(module).update({k: v for k, v in changed.items() if hasattr(module, k)}, **always)
    # A copy with another module: all else stays that of the caller's kernel.
    other: Kernel = object.__new__(type(kernel))
    vars(other).update({**vars(kernel), "module": module})
    return other


def to_the_last_digits(kernel: Kernel) -> Kernel:
    """Return the kernel with fixed points that settle as far as digits go, whatever tolerance its text has; another kernel as it is."""
    if not kernel.cell.tolerances:
        return kernel
    module = kernel.loaded(f"<symbptt {kernel.target.name}, to the last digits>")
    return with_module(kernel, module, _settling(module))


def _settling(module: ModuleType) -> dict[str, Any]:
    """Return the test of a module whether rounds have settled, with another tolerance, where it has one."""
    plain: Any = getattr(module, "_settled", None)

    def settled(*pairs: Any, told: tuple[Any, ...]) -> bool:
        k, most, tolerance, *rest = told
        return bool(plain(*pairs, told=(k, most, min(tolerance, LAST_DIGITS), *rest)))

    return {"_settled": settled}


def in_blocks(kernel: Kernel, blocks: Blocks | None) -> Kernel:
    """Return the kernel with its module loaded once more, and other numbers there of steps in a block and a window.

    The text is the same: what these numbers are, a module asks functions of its own.
    """
    if blocks is None:
        return kernel
    # A second load: changing numbers of the caller's module would change the caller's kernel.
    module = kernel.loaded(f"<symbptt {kernel.target.name}, blocks of {blocks.steps}>")

    changed = numbers_of_steps(blocks) | _settling(module)
    if not isinstance(kernel.memory, str):
        changed["_pieces"] = _pieces
    space = Trusting() if blocks.trusting else Namespace()
    return with_module(kernel, module, changed, WORKSPACE=Unwritten(), np=space)
