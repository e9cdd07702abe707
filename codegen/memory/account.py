"""The bytes that live at once while a call runs, in symbols: what is taken, what is freed, and the greatest sums of it.

A sum maps products of sizes to factors. Which of two sums is greater depends on the sizes, so that all are kept that no
other one exceeds for all sizes.

Example: of the sums {B n: 3, n²: 1}, {B n: 2, n²: 1} and {B n: 1, B m: 4} the second is dominated by the first, factor by
factor, and dropped; of the first and the third either may be the greatest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BLOCK, STEPS
from symbptt.codegen.runtime.scan import WINDOW
from symbptt.codegen.runtime.workspace import _steps
from symbptt.ir.shape import Shape, Size, prod

ITEM = sp.Symbol("item", integer=True, positive=True)
"""The bytes of a number: of a complex one in all arrays of a module that has any, so that a sum is never less than what lives."""
ITEMS: Mapping[str, Any] = {"float": ITEM, "complex": ITEM, "double": 8, "index": 8, "bool": 1}
"""The bytes of an element, by its type."""

BUFFER = 2**13
"""The number of elements that NumPy passes at once through a buffer."""
LARGE = 2**18
"""The bytes from which on NumPy writes the result of an operator into an operand that nothing else reads."""

Sum: TypeAlias = Mapping[Any, int]
"""A sum of products of sizes, each with its factor."""


@lru_cache(2**14)
def terms(value: Size) -> Sum:
    """Return a size as a sum of products."""
    found = sp.expand(sp.sympify(value)).as_coefficients_dict()
    return {product: int(factor) for product, factor in found.items() if factor}


def added(*sums: Sum) -> Sum:
    """Return several sums as one."""
    found = Counter[Any]()
    for x in sums:
        for product, factor in x.items():
            found[product] += factor
    return {product: factor for product, factor in found.items() if factor}


@dataclass(frozen=True)
class Letters:
    """The meanings of letters: numbers of steps of blocks, by the numbers that choose them; the lesser of a size and
    BUFFER, by that size; how often a scan joins steps, by the steps of a block and the bytes of states."""

    blocks: dict[tuple[sp.Expr, ...], sp.Symbol] = field(default_factory=dict)
    buffers: dict[sp.Expr, sp.Symbol] = field(default_factory=dict)
    levels: dict[tuple[sp.Expr, tuple[sp.Expr, ...]], sp.Symbol] = field(default_factory=dict)


def _letter(known: dict[Any, sp.Symbol], key: Any, name: str) -> sp.Symbol:
    return known.setdefault(key, sp.Symbol(f"{name}_{len(known)}", integer=True, positive=True))


@dataclass(frozen=True)
class Sizes:
    """The sizes of a call: numbers for all of them, or none; then what depends on their comparison gets a letter."""

    letters: Letters = field(default_factory=Letters)
    values: Mapping[sp.Symbol, int] = field(default_factory=dict)

    def of(self, value: Size) -> sp.Expr:
        """Return a size, as a number where the sizes are numbers."""
        return sp.sympify(value).xreplace({symbol: sp.Integer(n) for symbol, n in self.values.items()})

    @property
    def is_double(self) -> bool:
        """True if floats are known to be of double precision."""
        return self.values.get(ITEM) == 8

    def block(self, *numbers: Size) -> sp.Expr:
        """Return the steps of a block, by the numbers that choose them: all steps, samples, the numbers of a step and the
        rows at the least."""
        found = tuple(map(self.of, numbers))
        if self.values:
            return sp.Integer(_steps(*map(int, found)))
        return _letter(self.letters.blocks, found, "K")

    def buffer(self, elements: Size) -> sp.Expr:
        """Return the numbers that NumPy passes through a buffer at once."""
        found = sp.expand(self.of(elements))
        return min(sp.Integer(BUFFER), found) if self.values else _letter(self.letters.buffers, found, "b")

    def levels(self, steps: sp.Expr, block: Size, states: Iterable[Size]) -> sp.Expr:
        """Return how often a scan joins the steps of blocks of a sweep; `states` are the bytes of a step of each."""
        sizes = tuple(dict.fromkeys(self.of(state) for state in states))
        if not self.values:
            return _letter(self.letters.levels, (self.of(block), sizes), "L")
        window = WINDOW // max(1, *map(int, sizes))
        return sp.Integer(
            min(int(self.of(steps)), window).bit_length() * (1 + (int(self.of(block)) < int(self.of(steps))))
        )

    def scans(self, steps: sp.Expr, least: int, states: Iterable[Size]) -> bool:
        """Answer whether numbers of steps and of bytes are those of a scan."""
        sizes = [int(self.of(state)) for state in states]
        return 0 < max(sizes, default=0) <= WINDOW // least and least <= int(self.of(steps))


@dataclass(frozen=True)
class Scale:
    """The meaning of the sizes of a function in a call: the number of its steps, and of the steps of its blocks."""

    sizes: Sizes
    steps: sp.Expr
    block: sp.Expr = BLOCK
    counts: frozenset[sp.Symbol] = frozenset()

    def size(self, value: Size) -> sp.Expr:
        """Return a size of the function as one of the call; a short block counts as a whole one."""
        found = _replaced(value, self.steps, self.block, self.counts)
        return self.sizes.of(found) if self.sizes.values else found

    def bytes(self, shape: Shape, dtype: str = "float") -> Sum:
        """Return the bytes of an array."""
        return terms(self.size(_product(shape, dtype)))


@lru_cache(2**14)
def _replaced(value: Size, steps: sp.Expr, block: sp.Expr, counts: frozenset[sp.Symbol]) -> sp.Expr:
    return sp.sympify(value).xreplace({STEPS: steps, BLOCK: block, **dict.fromkeys(counts, block)})


@lru_cache(2**14)
def _product(shape: Shape, dtype: str) -> sp.Expr:
    return sp.sympify(prod(shape) * ITEMS[dtype])


@dataclass
class Account:
    """The live bytes of a call, and the sums that were live at once.

    `found` has all maxima; those noted with a size in bytes are reached only where that size is less than LARGE: from
    there on NumPy writes the result of an operator into an operand that nothing else reads.
    """

    living: Counter[Any] = field(default_factory=Counter)
    rising: bool = False
    found: dict[Any, dict[frozenset[tuple[Any, int]], None]] = field(default_factory=dict)

    def take(self, amount: Sum) -> Sum:
        """Count bytes that become live, and return them."""
        # Sums of products with whole factors, not SymPy's expressions: thousands of additions are made while a
        # function is walked, and each is a few additions of ints.
        for product, factor in amount.items():
            self.living[product] += factor
        self.rising = self.rising or bool(amount)
        return amount

    def free(self, *amounts: Sum) -> None:
        """Count bytes that are no longer live."""
        self.note()
        for amount in amounts:
            for product, factor in amount.items():
                self.living[product] -= factor

    def briefly(self, *amounts: Sum) -> None:
        """Count bytes that live together for a moment."""
        self.free(*map(self.take, amounts))

    def note(self, where: Any = None) -> None:
        """Record the live bytes if they have grown since the last record; `where` is a size for whose sake they are
        recorded."""
        # A maximum can only be reached after memory was taken, so that frees after frees need no record.
        # In numbers it is known whether a size is large.
        if self.rising and not (where is not None and where.is_number and where >= LARGE):
            where = None if where is not None and where.is_number else where
            now = frozenset((product, factor) for product, factor in self.living.items() if factor)
            self.found.setdefault(where, {})[now] = None
        self.rising = False


def greatest(sums: Iterable[Sum]) -> tuple[Sum, ...]:
    """Return the sums that are not dominated by another one for all sizes."""
    # A module carries these sums as formulas and takes the greatest when it is called with numbers; a hundred of them
    # would be as many lines, so that only those stay which can be the greatest.
    found: list[Sum] = []
    for x in sums:
        if not any(is_less(x, y) for y in found):
            found = [y for y in found if not is_less(y, x)] + [x]
    return tuple(found)


def is_less(x: Sum, y: Sum) -> bool:
    """Answer whether a sum is at most another for all sizes, by its factors."""
    # Sizes are positive, so that a comparison of the factors of each product is enough, though not necessary.
    return all(y.get(product, 0) >= factor for product, factor in x.items())
