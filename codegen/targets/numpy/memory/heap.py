"""The memory of arrays without elements: the bytes that are live at once while a module runs on them, and their
maximum."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import sympy as sp

from symbptt.codegen.targets.numpy.memory.extent import Extent, expression

LARGE = 2**18
"""The bytes from which on NumPy writes the result of an operator into an operand that nothing else reads."""
BUFFER = 2**13
"""The number of elements that NumPy passes at once through a buffer."""
OBJECT, AXIS = 96, 16
"""The bytes of an array beside its elements: of itself, and of each axis."""
ITEM = sp.Symbol("item", integer=True, positive=True)
"""The bytes of an element of the arrays, where it is not known."""

Terms: TypeAlias = frozenset[tuple[Any, int]]
"""A sum of products of sizes, each with its factor; of numbers alone the product is 1."""


@dataclass
class Heap:
    """The live bytes, by the product of sizes of which they are a multiple; an element of the type `dtype` has `item`
    bytes.

    `found` has all maxima; those noted with a size in bytes are reached only where that size is less than LARGE.
    `buffers` are letters for the lesser of a size and BUFFER.
    """

    item: Any
    dtype: np.dtype[Any]
    living: Counter[Any] = field(default_factory=Counter)
    rising: bool = False
    found: dict[Any, dict[Terms, None]] = field(default_factory=dict)
    buffers: dict[Any, sp.Symbol] = field(default_factory=dict)

    def bytes(self, size: Any, dtype: np.dtype[Any]) -> Any:
        """Return the bytes of so many numbers."""
        # The bytes of a float may be a symbol; all other types have their own.
        item = self.item if dtype == self.dtype else dtype.itemsize
        return item * expression(size) if isinstance(size, Extent) else item * size

    def take(self, count: Any) -> Any:
        """Count bytes that become live, and return them."""
        for product, factor in terms(count).items():
            self.living[product] += factor
        self.rising = True
        return count

    def free(self, count: Any) -> None:
        """Count bytes that are no longer live."""
        self.note()
        for product, factor in terms(count).items():
            self.living[product] -= factor

    def note(self, where: Any = None) -> None:
        """Record the live bytes if they are new since the last record; `where` is a size for whose sake it is recorded."""
        # A maximum can only be reached after memory was taken, so that frees after frees need no record.
        if self.rising:
            now = frozenset((product, factor) for product, factor in self.living.items() if factor)
            self.found.setdefault(where, {})[now] = None
            self.rising = False

    def pass_by(self, types: Sequence[np.dtype[Any]], shape: Sequence[Any]) -> None:
        """Count the buffers through which NumPy passes numbers of some types: where elements of that shape do not lie
        evenly, or are of another type in the array."""
        if types:
            size = math.prod(shape, start=1)
            size = self._buffer(size) if isinstance(size, Extent) else min(size, BUFFER)
            # All buffers of a call live at once, and end with it.
            counts = [self.take(self.bytes(size, dtype)) for dtype in types]
            for count in counts:
                self.free(count)

    def _buffer(self, size: Extent) -> Extent:
        letter = self.buffers.setdefault(size.expr, sp.Symbol(f"buffer_{len(self.buffers)}", positive=True))
        return Extent(letter, size.blocks)

    def most(self) -> int:
        """Return the greatest number of bytes that were live, in numbers."""
        self.note()
        return max((factor for now in self.found.get(None, ()) for _, factor in now), default=0)


def terms(count: Any) -> Mapping[Any, int]:
    """Return a number or an expression as a sum of products."""
    return {1: count} if isinstance(count, int) else _terms(count)


@lru_cache(2**12)
def _terms(count: sp.Expr) -> Mapping[Any, int]:
    found = sp.expand(count).as_coefficients_dict()
    return {1 if product == 1 else product: int(factor) for product, factor in found.items()}
