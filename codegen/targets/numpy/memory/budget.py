"""The memory of a call of a module with checkpoints: sums of products of sizes, of which the greatest counts.

Example: of the sums {B n: 3, n²: 1}, {B n: 2, n²: 1} and {B n: 1, B m: 4} the second is dominated by the first, factor
by factor, and dropped; of the first and the third either may be the greatest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import sympy as sp

from symbptt.codegen.runtime.scan import TILE
from symbptt.codegen.targets.numpy.memory.bare import Bare
from symbptt.codegen.targets.numpy.memory.extent import Extent, expression
from symbptt.codegen.targets.numpy.memory.heap import ITEM, Heap
from symbptt.codegen.targets.numpy.memory.peak import Call, run
from symbptt.codegen.targets.numpy.memory.reader import Reader
from symbptt.codegen.targets.numpy.memory.written import Written, in_symbols

STEPS = sp.Symbol("steps", integer=True, positive=True)
"""The steps of a piece."""
VIEWS, CALLS = 3, 3 * 2**9
"""The number of views of the windows of a scan that take a byte for each number of a state, and the bytes of the calls
that join steps once."""

Sum = Mapping[Any, int]
"""A sum of products of sizes, each with its factor."""


@dataclass(frozen=True)
class Letters:
    """The meanings of letters: numbers of steps of blocks, by the arguments of `_steps`; the lesser of a size and
    BUFFER, by that size; how often a scan joins steps, by the steps of a block and the bytes of states."""

    blocks: dict[tuple[sp.Expr, ...], sp.Symbol] = field(default_factory=dict)
    buffers: dict[sp.Expr, sp.Symbol] = field(default_factory=dict)
    levels: dict[tuple[sp.Expr, tuple[sp.Expr, ...]], sp.Symbol] = field(default_factory=dict)


@dataclass(frozen=True)
class Most:
    """The maximum of the memory of a call: bytes of objects, and the greatest of some sums, among them `small` ones
    where a size is less than LARGE; `scans` are the least steps of a window and the bytes of a step where steps are
    scanned."""

    objects: int
    sums: tuple[Sum, ...]
    small: Mapping[sp.Expr, tuple[Sum, ...]]
    scans: tuple[tuple[int, sp.Expr], ...]


@dataclass
class Symbols:
    """Functions that replace those of a module where sizes are symbols, and their recorded arguments."""

    reader: Reader
    letters: Letters
    scan: bool
    scans: list[tuple[int, sp.Expr]] = field(default_factory=list)
    states: tuple[sp.Expr, ...] = ()

    def steps(self, *numbers: Any) -> Extent:
        """Return a letter for the steps of a block."""
        whole = {symbol: length for length, symbol in self.reader.blocks.lengths.values()}
        return self._letter(self.letters.blocks, tuple(expression(x).xreplace(whole) for x in numbers), "K")

    def window(self, T: Any, states: Sequence[Bare], least: int) -> int:
        """Return the answer whether steps are scanned."""
        self.states = tuple(dict.fromkeys(expression(v.size) * ITEM for v in states))
        self.scans += [(least, size) for size in self.states]
        return int(self.scan)

    def scanned(self, plans: Any, a: Any, b: Any, x: Sequence[Bare], window: Any, fixed: bool = False) -> bool:
        """Allocate the arrays of a scan."""
        zeros = [v.size for v, c in zip(x, b, strict=True) if c is None]
        return bool(window) and self._made(plans, a, x, zeros, x[0].shape[0] - 1, fixed)

    def scanned_back(
        self, plans: Any, a: Any, b: Any, given: Any, carry: Any, x: Sequence[Bare], window: Any, fixed: bool = False
    ) -> bool:
        """Allocate the arrays of a scan back, and the sums of direct cotangents at its steps."""
        terms = [sum(v is not None for v in group) for group in given]
        counts = [(n > 1) + ((c is not None) == (n > 0)) for c, n in zip(b, terms, strict=True)]
        sums = [v.size for v, count in zip(x, counts, strict=True) for _ in range(count)]
        return bool(window) and self._made(plans, a, x, sums, x[0].shape[0], fixed)

    def _made(self, plans: Any, a: Any, x: Sequence[Bare], more: Sequence[Any], steps: Any, fixed: bool) -> bool:
        """Allocate the arrays in which a scan joins steps, for its coefficients, and its objects: views of windows,
        calls."""
        whole = {symbol: length for length, symbol in self.reader.blocks.lengths.values()}
        levels = self._letter(self.letters.levels, (expression(steps).xreplace(whole), self.states), "L")
        entries = [v.size for row, v in zip(a, x, strict=True) for c in row if c is not None]
        sums = [v.size for v in x for _ in range(2)] + [x[0].size] * (len(x) > 1)
        coefficients = [levels * TILE for _ in entries] if fixed else entries * 2
        views = -(-(len(entries) + 4 * len(x) + 1) // VIEWS)
        rooms = [Bare(self.reader, (size,)) for size in (*sums, *more, *coefficients)]
        objects = Bare(self.reader, (x[0].size * views + levels * (CALLS * len(entries)),), bool)
        plans[0].update(enumerate([*rooms, objects]))
        return True

    def _letter(self, known: dict[Any, sp.Symbol], key: Any, name: str) -> Any:
        letter = known.setdefault(key, sp.Symbol(f"{name}_{len(known)}", integer=True, positive=True))
        return Extent(letter, self.reader.blocks)


def most(w: Written, call: Call, letters: Letters, scan: bool = False) -> Most:
    """Return the memory of a call, in symbols, to some of which `letters` are added; `scan`: where steps are scanned."""
    r, heap = Reader(np.dtype(np.float32)), Heap(ITEM, np.dtype(np.float32))  # float64 takes 8 bytes in both
    s, piece = Symbols(r, letters, scan), cast(Any, Extent(STEPS, r.blocks))
    stands = {"_steps": s.steps, "_window": s.window, "_scan": s.scanned, "_scan_back": s.scanned_back}
    # Three pieces have all kinds of pieces: a first one, a last one, and one between them.
    run(w, replace(call, borders=(0, piece, 2 * piece, 3 * piece)), in_symbols(w, r), heap, stands)
    whole = {symbol: length for length, symbol in r.blocks.lengths.values()}
    whole |= {sp.Max(STEPS, 1, evaluate=False): STEPS}
    for size, letter in heap.buffers.items():
        known = sp.Symbol(f"b_{len(letters.buffers)}", positive=True)
        whole[letter] = letters.buffers.setdefault(size.xreplace(whole), known)
    found = {where: [_replaced(dict(now), whole) for now in sums] for where, sums in heap.found.items()}
    # The greatest constant is added to all sums: an upper bound that saves a comparison.
    objects = max(x.pop(1, 0) for sums in found.values() for x in sums)
    sums = greatest(found.pop(None))
    small = {where.xreplace(whole): _beyond(sums, more) for where, more in found.items()}
    return Most(objects, sums, {where: more for where, more in small.items() if more}, tuple(s.scans))


def _replaced(found: Sum, by: Mapping[Any, sp.Expr]) -> dict[Any, int]:
    """Return a sum in which lengths of blocks that have fewer steps are replaced by those of whole ones."""
    new = dict[Any, int]()
    for product, factor in found.items():
        product = product if product == 1 else product.xreplace(by)
        new[product] = new.get(product, 0) + factor
    return new


def _beyond(sums: Iterable[Sum], more: Iterable[Sum]) -> tuple[Sum, ...]:
    """Return the sums among some more that may exceed those that are there."""
    return tuple(x for x in greatest(more) if not any(is_less(x, y) for y in sums))


def greatest(sums: Iterable[Sum]) -> tuple[Sum, ...]:
    """Return the sums that are not dominated by another one for all sizes."""
    found: list[Sum] = []
    for x in sums:
        if not any(is_less(x, y) for y in found):
            found = [y for y in found if not is_less(y, x)] + [x]
    return tuple(found)


def is_less(x: Sum, y: Sum) -> bool:
    """Answer whether a sum is at most another for all sizes, by its factors."""
    # Sizes are positive, so that a comparison of the factors of each product is enough, though not necessary.
    return all(y.get(product, 0) >= factor for product, factor in x.items())
