"""The nodes of a step graph, by family, with what each family keeps beside its arguments."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import sympy as sp

from symbptt.ir.shape import Shape, Size


@dataclass(frozen=True)
class Node:
    """One value of a step: its family, arguments (ids, all less than its own), shape, what the family keeps, place."""

    id: int
    family: str
    args: tuple[int, ...]
    shape: Shape
    attrs: Any
    place: str = ""


@dataclass(frozen=True)
class Leaf:
    """A value from outside: a role and a name. The roles "carried" and "round" are those of the body of a repetition: a
    value as a round begins, and the number of the round. `complex`: its entries are complex numbers."""

    role: str
    name: str
    complex: bool = field(default=False, repr=False)  # told beside the role where it is so: texts of real cells stay


@dataclass(frozen=True)
class Number:
    """A literal of the user's: int, float, complex or bool, or a sequence of them with its shape."""

    value: complex | tuple[complex, ...]


@dataclass(frozen=True)
class Body:
    """The scalar SymPy expression of a `map`, over placeholders `_0`, `_1`, ... for its arguments; `again`: what was
    computed before is computed a second time, by a text that tells several such values apart where there are several."""

    expr: sp.Expr
    again: bool | str = False


@dataclass(frozen=True)
class Product:
    """The axes of a `contract`: labels of the first operand, the second and the result; others are summed over."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    out: tuple[int, ...]


PLAIN = Product((0, 1), (1,), (0,))
"""A weight times a vector."""
BACK = Product((0, 1), (0,), (1,))
"""A transposed weight times an adjoint."""
OUTER = Product((0,), (1,), (0, 1))
"""An adjoint times a value: what a step adds to the gradient of a weight."""


@dataclass(frozen=True)
class Reduction:
    """The kind of a `reduce` ("sum" or "max") and its axes."""

    kind: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """Index arithmetic: "transpose" (permutation), "reshape", "expand", "slice" and its adjoint "pad" (a triple of
    start, length, step for each axis), "concatenate" (axis), on pages also "roll" (axis, by how much); `again` as of a body."""

    kind: str
    data: tuple[Hashable, ...] = ()
    again: bool = False


WITHOUT_COPY = ("transpose", "reshape", "expand", "slice")
"""Kinds of views that NumPy shows of an array where it lies."""


@dataclass(frozen=True)
class Gather:
    """Reads along `axis` by an integer: the axis goes; its adjoint ("scatter") writes into zeros. An array of integers reads along the
    first axis alone, in whose place its own axes are; the adjoint adds up what has the same integer."""

    kind: str
    axis: int


@dataclass(frozen=True)
class Cumulation:
    """A running sum along an axis, from the front or from the back."""

    axis: int
    reverse: bool


@dataclass(frozen=True)
class Algebra:
    """A function of whole matrices, the last two axes, by its name in `ir/algebra.py`; axes before them are stacked matrices."""

    name: str


@dataclass(frozen=True)
class Total:
    """The sum over all steps and samples, over the "steps" of each sample, or over the "samples" of what is the same at all steps."""

    over: str = "all"


@dataclass(frozen=True)
class Whole:
    """A function of an array that a page shows by its name, along which axes it goes; they stay, or go from its shape."""

    name: str
    axes: tuple[int, ...]
    stays: bool = True


@dataclass(frozen=True)
class Convolution:
    """One of the three functions of a sum over windows, on pages: of Σ w x z, linear in filters w, what they are applied to, x, and
    what stands in each place of the result, z, the derivative by the one that `result` names.

    `steps`, `spreads` and `pads` are those of each axis of space: from window to window, from entry to entry inside a window,
    and how many zeros stand before and behind x; `number` tells convolutions of one page apart.
    """

    result: str
    has_channels: bool
    steps: tuple[int, ...]
    spreads: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    number: int = 1

    @property
    def rank(self) -> int:
        """How many axes of space there are."""
        return len(self.steps)

    @property
    def reads(self) -> tuple[str, str]:
        """What its arguments are, in their order."""
        return READS[self.result]


READS = {"z": ("w", "x"), "x": ("w", "z"), "w": ("z", "x")}
"""The arguments of each of the three functions of a sum over windows, as a page writes them beside its sign."""


@dataclass(frozen=True)
class Repeat:
    """Value `out` of those that go through `count` rounds of one body, after the last round.

    The arguments are, for each of `carried` values, where it starts; the leaves that stand for them in the body, and the leaf
    of the round's number; and what the body makes of them. The body is what depends on these leaves.
    """

    count: Size
    carried: int
    out: int

    def parts(self, args: Sequence[int]) -> tuple[Sequence[int], Sequence[int], int, Sequence[int]]:
        """Return of the arguments the starts, the leaves of what is carried, the leaf of the round, and the next values."""
        n = self.carried
        return args[:n], args[n : 2 * n], args[2 * n], args[2 * n + 1 :]


@dataclass(frozen=True)
class Settling(Repeat):
    """Value `out` of those that go through rounds of one body until no entry changes by more than `tolerance`, in `count` rounds at
    most: a fixed point of the body. The leaf of the round stands in no formula."""

    tolerance: float


@dataclass(frozen=True)
class Inner:
    """The body of a loop as nodes of its own: its leaves first, for the values that go from round to round, for those that each
    round has of its own, and for those that are the same in all rounds; `following` are the next values of the first."""

    nodes: tuple[Node, ...]
    following: tuple[int, ...]
    names: tuple[tuple[int, str], ...] = ()

    @cached_property
    def _hash(self) -> int:
        return hash((self.nodes, self.following))

    def __hash__(self) -> int:  # a body is hashed with each value of it, and its formulas take long
        return self._hash


@dataclass(frozen=True)
class Rounds:
    """All values that `out`, a node of `inner`, has in `count` rounds, along a first axis of its own.

    The arguments are those of the leaves of `inner`: where the `carried` values start, arrays whose first axis is that of the
    rounds (`each`), and what does not change. Of a carried value there is a row more, for all that it is before and behind each
    round. With `reverse` rounds go from the last to the first: a carried value starts in the last row.
    """

    inner: Inner
    carried: int
    each: int
    count: Size
    reverse: bool
    out: int

    def is_carried(self) -> bool:
        """Answer whether the value is one that goes from round to round."""
        return self.out < self.carried


@dataclass(frozen=True)
class Settled:
    """Value `out` of the fixed point of a body: the `carried` values that `inner` gives back, to a change of `tolerance`, found in
    `most` rounds.

    The arguments are those of the leaves of `inner`: where the carried values start, and what the body reads beside them. The fixed
    point does not depend on the start. `adjoint` is true of the equation of an adjoint.
    """

    inner: Inner
    carried: int
    most: int
    tolerance: float
    out: int
    adjoint: bool = False


@dataclass(frozen=True)
class Point:
    """A value of a fixed point, on a page: the arguments are where each of its `carried` values starts, the leaves that stand for them
    in the body, and what a round makes of them."""

    tolerance: float
    most: int
    out: int
    carried: int

    def parts(self, args: Sequence[int]) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Return of the arguments the starts, the leaves and the next values."""
        n = self.carried
        return args[:n], args[n : 2 * n], args[2 * n :]


@dataclass(frozen=True)
class Over:
    """The sum over the rounds of a loop inside a step, on a page."""

    count: Size


@dataclass(frozen=True)
class Mark:
    """A second reading of a value: a function of the user's, `body` over placeholders, of some values."""

    name: str
    args: tuple[int, ...]
    body: sp.Expr


@dataclass(frozen=True)
class Windowed:
    """A second reading of a value: a convolution of filters with an array."""

    args: tuple[int, ...]
    convolution: Convolution


@dataclass(frozen=True)
class Slope:
    """A second reading of a value: the gradient, by its argument `number`, of a function that the user has given to `sb.grad`.

    `name` is that of the function, "" of one without, `args` are the values that it was called with. `body` is the graph of the
    function, in which `value` is what it returns and `leaves` are its arguments, called `names`; `links` are pairs of a value there and
    the same value of the step, of all that the function reads beside its arguments.
    """

    name: str
    number: int
    args: tuple[int, ...]
    names: tuple[str, ...]
    body: Any
    value: int
    leaves: tuple[int, ...]
    links: tuple[tuple[int, int], ...]


FAMILIES: dict[str, type] = {
    "leaf": Leaf,
    "number": Number,
    "map": Body,
    "contract": Product,
    "reduce": Reduction,
    "view": View,
    "gather": Gather,
    "cumulate": Cumulation,
    "algebra": Algebra,
    "total": Total,
    "whole": Whole,
    "convolution": Convolution,
    "repeat": Repeat,
    "rounds": Rounds,
    "settled": Settled,
    "over": Over,
    "point": Point,
}


@cache
def placeholder(index: int) -> sp.Symbol:
    """Return the real scalar that stands for argument `index` of a map."""
    return sp.Symbol(f"_{index}", real=True)
