"""The text of a generated module, executed on elements of the field.

The module's own lines run. What they ask of NumPy is answered by a namespace that makes arrays of elements; of the runtime
only what decides by the size of a number is replaced: a field knows no large and no small.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.codegen.load import code_of
from symbptt.verification.blocks import numbers_of_steps, with_module
from symbptt.verification.proof.points import Rounds
from symbptt.verification.proof.residues import Residues, elements, residues, rounds
from symbptt.verification.regimes import Blocks


def _of(array: Any, dtype: Any) -> Any:
    """Return an array as elements, where its type is one of floats."""
    is_float = np.dtype(dtype).kind == "f" if dtype is not None else np.asarray(array).dtype.kind == "f"
    if isinstance(array, Residues) or not is_float:
        return np.array(array, dtype, subok=True) if dtype is not None else array
    return residues(elements(array))


def unwritten(shape: Any, dtype: Any = float) -> Any:
    """Return an array to write into, filled with NaN or −1: an entry that is read before it is written shows."""
    found = np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -1, dtype)
    return residues(found)


class Namespace:
    """NumPy for a module over the field: what it makes of floats are elements."""

    empty = staticmethod(unwritten)

    @staticmethod
    def empty_like(array: Any, dtype: Any = None, shape: Any = None) -> Any:
        """Return an array to write into, of the shape and the type of another."""
        return unwritten(np.shape(array) if shape is None else shape, array.dtype if dtype is None else dtype)

    @staticmethod
    def zeros(shape: Any, dtype: Any = float) -> Any:
        """Return an array of zeros."""
        return residues(np.zeros(shape, dtype))

    @staticmethod
    def ones(shape: Any, dtype: Any = float) -> Any:
        """Return an array of ones."""
        return residues(np.ones(shape, dtype))

    @staticmethod
    def full(shape: Any, value: Any, dtype: Any = None) -> Any:
        """Return an array of equal elements."""
        return (
            _of(np.full(shape, value, dtype), dtype)
            if not isinstance(value, Residues)
            else residues(np.full(shape, value))
        )

    @staticmethod
    def array(value: Any, dtype: Any = None, order: str = "K") -> Any:
        """Return a new array; in what order its elements lie changes no number."""
        return np.array(value, dtype, subok=True) if isinstance(value, Residues) else _of(np.array(value, dtype), dtype)

    @staticmethod
    def asarray(value: Any, dtype: Any = None) -> Any:
        """Return an array, the same where it is one."""
        return value if isinstance(value, Residues) else _of(np.asarray(value, dtype), dtype)

    @staticmethod
    def ascontiguousarray(value: Any) -> Any:
        """Return an array without gaps."""
        return residues(np.ascontiguousarray(value))

    @staticmethod
    def isfinite(value: Any) -> Any:
        """Return true everywhere: no element is infinite. One that nobody has written must show in a result, where a module that asks
        would take another road."""
        return np.ones(np.shape(value), bool)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class Unwritten:
    """A workspace that stores nothing."""

    nbytes, limit = 0, 0

    def room(self, shape: Any, dtype: Any) -> Any:
        """Return an array to write into."""
        return unwritten(shape, dtype)

    def give(self, rooms: Any) -> None:
        """Take arrays back."""


def over_field(kernel: Kernel, blocks: Blocks) -> Kernel:
    """Return the kernel with its module loaded once more, on elements of the field, and with other numbers of steps in a block
    and a window of a scan."""
    # Not by `load`: what a pickle holds must not meet a module over a field. The file is the kernel's, whose code is there.
    module = ModuleType("symbptt_over_a_field")
    exec(code_of(kernel.source, f"<symbptt {kernel.target.name}>"), module.__dict__)

    settling = {"_settled": _settling(rounds())}
    return with_module(
        kernel, module, REPLACED | settling | numbers_of_steps(blocks), WORKSPACE=Unwritten(), np=Namespace()
    )


def _settling(found: Rounds) -> Callable[..., bool]:
    def settled(*pairs: tuple[Any, Any], told: tuple[Any, ...]) -> bool:
        k, most, _, is_affine, _, lead, _ = told
        return found.settled(pairs, k, most, is_affine, lead)

    return settled


def sharpened(rest: Any, of: Callable[[Any], Any], argument: Callable[[], Any]) -> Any:
    """Compute what a function leaves of one once more wherever the argument is positive: the formula is meant for large ones,
    and is true of all that are."""
    at = np.broadcast_to(argument(), rest.shape)
    positive = at > 0
    rest[positive] = of(np.exp(-at[positive]))
    return rest


REPLACED: dict[str, Any] = {
    "_sharpened": sharpened,
    # A norm is monitored as its square, which needs no root; clipping decides by its size, and is off where none is over the limit.
    "_norm": lambda x: np.sum(residues(x) * residues(x)),
    "_norms": lambda arrays: (np.zeros(len(arrays[0])), np.zeros(len(arrays[0]), int)),
    "_clip": lambda adjoints, limit: None,
    # A scan is left to the plain loop where its coefficients are large.
    "_is_small": lambda a: True,
    "_wide": lambda dtype: dtype,
    "expm": lambda a: residues(a).expm(),
    "erf": lambda x: residues(elements(x)).erf(),
}
"""The functions of the runtime that look at the size of numbers, with what they mean where there is none."""
