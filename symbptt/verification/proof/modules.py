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
from symbptt.verification.pairs import PairedKernel
from symbptt.verification.proof.extension import gaussian, of_numbers, size_squared
from symbptt.verification.proof.points import Rounds
from symbptt.verification.proof.residues import Residues, elements, residues, rounds
from symbptt.verification.regimes import Blocks


def _of(array: Any, dtype: Any, of_numbers: Callable[[Any], Any]) -> Any:
    """Return an array as elements, where its type is one of floats."""
    is_float = np.dtype(dtype).kind in "fc" if dtype is not None else np.asarray(array).dtype.kind in "fc"
    if isinstance(array, Residues) or not is_float:
        return np.array(array, dtype, subok=True) if dtype is not None else array
    return of_numbers(array)


def _unwritten(shape: Any, dtype: Any) -> Any:
    """Return an array to write into, filled with NaN or −1: an entry that is read before it is written shows."""
    return np.full(shape, np.nan if np.dtype(dtype).kind in "fc" else -1, dtype)


class Namespace:
    """NumPy for a module over the field: what it makes of floats are elements, in arrays of the class that `wrap` gives them; numbers
    become elements by `of_numbers`."""

    def __init__(self, wrap: Callable[[Any], Any] = residues, of_numbers: Callable[[Any], Any] | None = None) -> None:
        self._wrap, self._of_numbers = wrap, of_numbers or (lambda array: wrap(elements(array)))

    def empty(self, shape: Any, dtype: Any = float) -> Any:
        """Return an array to write into."""
        return self._wrap(_unwritten(shape, dtype))

    def empty_like(self, array: Any, dtype: Any = None, shape: Any = None) -> Any:
        """Return an array to write into, of the shape and the type of another."""
        return self.empty(np.shape(array) if shape is None else shape, array.dtype if dtype is None else dtype)

    def zeros(self, shape: Any, dtype: Any = float) -> Any:
        """Return an array of zeros."""
        return self._wrap(np.zeros(shape, dtype))

    def ones(self, shape: Any, dtype: Any = float) -> Any:
        """Return an array of ones."""
        return self._wrap(np.ones(shape, dtype))

    def full(self, shape: Any, value: Any, dtype: Any = None) -> Any:
        """Return an array of equal elements."""
        if isinstance(value, Residues):
            return self._wrap(np.full(shape, value))
        return _of(np.full(shape, value, dtype), dtype, self._of_numbers)

    def array(self, value: Any, dtype: Any = None, order: str = "K") -> Any:
        """Return a new array; in what order its elements lie changes no number."""
        is_element = isinstance(value, Residues)
        found = (
            np.array(value, dtype, subok=True) if is_element else _of(np.array(value, dtype), dtype, self._of_numbers)
        )
        return self._wrap(found)

    def asarray(self, value: Any, dtype: Any = None) -> Any:
        """Return an array, the same where it is one; a whole number stays one: what a module makes of sizes alone, as cos(2 π i / n),
        it makes in floats, as the user's function does, and it is an element only where it meets one."""
        if isinstance(value, int):
            return np.asarray(value, dtype)
        found = value if isinstance(value, Residues) else _of(np.asarray(value, dtype), dtype, self._of_numbers)
        return self._wrap(found)

    def ascontiguousarray(self, value: Any) -> Any:
        """Return an array without gaps."""
        return self._wrap(np.ascontiguousarray(value))

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

    def __init__(self, space: Namespace) -> None:
        self._space = space

    def room(self, shape: Any, dtype: Any) -> Any:
        """Return an array to write into."""
        return self._space.empty(shape, dtype)

    def give(self, rooms: Any) -> None:
        """Take arrays back."""


class _OverField(PairedKernel):
    """A kernel of complex numbers that takes and gives their parts, its module on elements a + b i."""

    def __init__(self, kernel: PairedKernel) -> None:
        vars(self).update(vars(kernel))

    def whole(self, arrays: Any) -> Any:
        """Return arrays with complex elements in the place of their parts."""
        found = super().whole(arrays)
        return found and {k: gaussian(v) for k, v in found.items()}


def over_field(kernel: Kernel, blocks: Blocks) -> Kernel:
    """Return the kernel with its module loaded once more, on elements of the field, and with other numbers of steps in a block
    and a window of a scan."""
    # Not by `load`: what a pickle holds must not meet a module over a field. The file is the kernel's, whose code is there.
    module = ModuleType("symbptt_over_a_field")
    exec(code_of(kernel.source, f"<symbptt {kernel.target.name}>"), module.__dict__)

    changed = REPLACED | {"_settled": _settling(rounds())} | numbers_of_steps(blocks)
    is_complex = isinstance(kernel, PairedKernel)
    space = Namespace(gaussian, of_numbers) if is_complex else Namespace()
    whole = _OverField(kernel) if isinstance(kernel, PairedKernel) else kernel
    changed |= {"_norm": size_squared} if is_complex else {}
    return with_module(whole, module, changed, WORKSPACE=Unwritten(space), np=space)


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
