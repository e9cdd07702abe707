"""The statements of the loop IR, and the buffers and views that they read and write: plain frozen data.

Nothing here depends on a language: no text of NumPy or C, no variable beyond `Buffer.name`. A size is an int or a
polynomial in named sizes, in `STEPS`, `BATCH` and `BLOCK`, and in the indices of the loops around it.

Example of a recurrence h_{t+1} = tanh(U h_t + x_t), as `dump` shows it:

    loop t in 0:T:
      contract s[:, :] = U[:, :] · h[t, :, :]  "bc,ac->ab"
      map h[t+1, :, :] = tanh(s[:, :] + x[t, :, :])
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeAlias, get_args

import sympy as sp

from symbptt.ir.node import Product
from symbptt.ir.scalar import Tree
from symbptt.ir.shape import Shape, Size, prod

STEPS = sp.Symbol("T", integer=True, nonnegative=True)
"""The number of steps of a call. It differs from a user's size that is called T, which is positive."""
BATCH = sp.Symbol("B", integer=True, nonnegative=True)
"""The number of samples of a call."""
BLOCK = sp.Symbol("K", integer=True, nonnegative=True)
"""The number of steps of a block, chosen by the caller: results do not depend on it."""

SPACES = ("argument", "constant", "result", "residual", "shared", "block", "temporary", "scalar")
"""The purposes of buffers.

argument: given by the caller, never written; constant: numbers of the program; result: returned to the caller;
residual: written by the forward sweep, read by the backward sweep; shared: a driver's, which a range of steps reads and
writes; block: values of the steps of one block; temporary: of one step or of the whole sweep; scalar: a number without
axes, the same for all samples, which a target may store in double precision.
"""
DTYPES = ("float", "complex", "index", "bool")
"""The types of elements. float: the type of the data of a call; complex: complex numbers of two of these; index: integers; bool:
truth values."""


def index_symbol(name: str) -> sp.Symbol:
    """Return the symbol of a loop's index, or of the number of steps of a block."""
    return sp.Symbol(name, integer=True, nonnegative=True)


class Hashed:
    """Data that keep their hash: they are keys of many dicts, and a hash of symbols takes long.

    A pickle leaves it out, for texts have other hashes in another process.
    """

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(self.__getstate__().values()))

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Buffer(Hashed):
    """An array in row-major order, without gaps."""

    name: str
    shape: Shape
    space: str
    dtype: str = "float"

    def __hash__(self) -> int:  # not inherited: a dataclass makes one of its own
        return self._hash


@dataclass(frozen=True)
class Axis:
    """An axis of a view: its number of elements, and the move along the buffer that one step along it makes.

    It moves by `step` along each of the buffer's axes `of`: along one as a rule, along two for a diagonal, along none
    where the same element is repeated. Two axes may move along one axis of the buffer: so a vector of n k elements is
    seen as n rows (`step` k) of k elements (`step` 1).
    """

    length: Size
    of: tuple[int, ...] = ()
    step: Size = 1


@dataclass(frozen=True)
class View(Hashed):
    """Elements of a buffer: their start along each of its axes, and their own axes, in any order.

    Element (i, j, ...) of the view is the buffer's element `start` + i steps of the first axis + j of the second ...
    """

    buffer: Buffer
    start: tuple[Size, ...]
    axes: tuple[Axis, ...]

    def __hash__(self) -> int:
        return self._hash

    @property
    def shape(self) -> Shape:
        return tuple(axis.length for axis in self.axes)

    @cached_property
    def symbols(self) -> frozenset[sp.Symbol]:
        """The sizes and indices that say where it lies."""
        sizes = [*self.start, *(size for axis in self.axes for size in (axis.length, axis.step))]
        return frozenset[sp.Symbol]().union(*(size.free_symbols for size in sizes if not isinstance(size, int)))


@dataclass(frozen=True)
class Extent:
    """A size as an operand: the number of elements of an axis, where a formula computes with it."""

    size: Size


Operand: TypeAlias = View | Extent


@dataclass(frozen=True)
class Map:
    """The statement out[i] = body(args[0][i], args[1][i], ...) for all i: one fused elementwise loop.

    All views have the shape of `out`, repeated axes written out. A condition counts as 0 or 1 in arithmetic. `out` may
    be one of the args, element for element; else it shares no memory with them. Without args it fills, with the body
    `Ref(0)` it copies.
    """

    out: View
    body: Tree
    args: tuple[Operand, ...]
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contract:
    """The statement out = Σ a b over the labels that out lacks; `add`: out += Σ a b.

    Each label of an operand stands for one axis of its view; each is in the other operand or in out.
    """

    out: View
    a: View
    b: View
    labels: Product
    add: bool = False
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reduce:
    """The statement out = the sum or the maximum ("sum", "max") of x along axes, which go; `add`: out += the sum."""

    out: View
    kind: str
    x: View
    axes: tuple[int, ...]
    add: bool = False
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Gather:
    """The statement out[i] = table[i with index[i] inserted at `axis`]. `index` has the shape of out, `table` one axis
    more."""

    out: View
    table: View
    index: View
    axis: int
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scatter:
    """The statement out[i with index[i] inserted at `axis`] += x[i], one i after the other, so that equal indices add
    up.

    Axes of out may repeat: all that is written there is summed.
    """

    out: View
    x: View
    index: View
    axis: int
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cumulate:
    """The statement out = the running sum of x along an axis, from the front or from the back."""

    out: View
    x: View
    axis: int
    reverse: bool
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Algebra:
    """The statement out = a function of the last two axes of args, by its `name` in `ir/algebra.py`; axes before them are stacked
    matrices, which broadcast. Where a matrix has no value the target tells the `subject`, and the step: that of the first
    stacked axis, which begins at `first`; none is known where `first` is negative."""

    out: View
    name: str
    args: tuple[View, ...]
    subject: str
    first: Extent
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sharpen:
    """A second computation of those elements of `out` that are so small that the first one had lost their digits.

    `out` has the remainder that `function` names ("tanh_rest": 1 - tanh², "sigmoid_rest": 1 - σ), computed from the
    value of tanh or σ. `body` computes `argument`, their argument; it runs only where an element of `out` is under the
    limit of the arithmetic at hand. Exact arithmetic has no such limit.
    """

    out: View
    function: str
    argument: View
    body: tuple[Statement, ...]
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Loop:
    """The statements `body` for index = start, start + strip, ... below stop; with `reverse` from the last to the
    first.

    With a strip of more than one, `count` is the number of steps of this round, from `index` on: `strip`, or fewer in
    the short round at the end. With `reverse` the rounds are cut off from `stop` backward, so that the short one begins
    at start.
    """

    index: sp.Symbol
    start: Size
    stop: Size
    body: tuple[Statement, ...]
    reverse: bool = False
    strip: Size = 1
    count: sp.Symbol | None = None
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Settle:
    """The statement out = new, the last one of a loop, which ends there where it changed no element by more than `tolerance`, or by
    what rounding alone may change; with `relative` the tolerance is a part of the largest element. Each view of `new` has the shape of
    the one in its place in `out`, and no memory of it.

    `round` is the number of the round. Where the last one still changes more, the target tells the `subject`, and the sample: `lead`
    axes stand before those of the values, and the first of two is that of steps, which begins at `first`; none is known where that
    is negative.
    """

    out: tuple[View, ...]
    new: tuple[View, ...]
    tolerance: float
    round: Extent
    most: int
    subject: str
    lead: int
    first: Extent
    relative: bool = False
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Given:
    """A term that is added to an adjoint, where its flag is true or it has none."""

    view: View
    flag: View | None = None


@dataclass(frozen=True)
class Scan:
    """An affine recurrence, element by element, over the first axis of `out`, of so many steps.

    Forward, at each step t: out[i][t] = Σ_j coefficients[i][j][t] carry[j] + free[i][t], which is then carry[i]; the views
    `carry` have the states before the first step and are not written. With `reverse`, from the last step to the first:
    out[i][t] = carry[i] + Σ given[i][t], and then carry[i] = Σ_j coefficients[i][j][t] out[j][t] + free[i][t]; `carry` is
    written when all is done. None is zero.

    `body` does the same step by step. It runs where one of the flags `unless` is true, for then something else is to be
    done at each step; a target may run it always.
    """

    out: tuple[View, ...]
    carry: tuple[View, ...]
    coefficients: tuple[tuple[View | None, ...], ...]
    free: tuple[View | None, ...]
    given: tuple[tuple[Given, ...], ...]
    reverse: bool
    body: tuple[Statement, ...]
    unless: tuple[View, ...] = ()
    origin: tuple[int, ...] = ()

    @property
    def is_fixed(self) -> bool:
        """True if the coefficients are the same at all steps of all samples."""
        return not any(axis.of for row in self.coefficients for c in row if c is not None for axis in c.axes[:2])


@dataclass(frozen=True)
class If:
    """The statements `body` where `flag`, a truth value without axes, is true, else `orelse`."""

    flag: View
    body: tuple[Statement, ...]
    orelse: tuple[Statement, ...] = ()
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Runtime:
    """A call of the target's runtime, by name: it reads `args`, writes `out`, and needs `elements` numbers of
    workspace."""

    name: str
    out: tuple[View, ...]
    args: tuple[Operand, ...]
    elements: Size = 0
    origin: tuple[int, ...] = ()


Statement: TypeAlias = (
    Map | Contract | Reduce | Gather | Scatter | Cumulate | Algebra | Sharpen | Loop | Settle | Scan | If | Runtime
)
KINDS: frozenset[type[Any]] = frozenset(get_args(Statement))
"""The classes of statements, by which one is told from other values in less time than by `isinstance`."""


@dataclass(frozen=True)
class Constant:
    """A buffer and its numbers, which broadcast to its shape: nested tuples in row-major order."""

    buffer: Buffer
    values: Any


@dataclass(frozen=True)
class Port:
    """An argument or a result: its group, its name for the caller, and its view.

    Groups of arguments are "param", "context", "input", "index", "const", "state" (before the first step), "cotangent" (of a state
    or an output, at all steps) and "residual"; of a loss also "target" and "output" (what it reads of the cell). With
    masks also "flag" (whether there are "lengths", a "reset", a "monitor"), "mask" (which samples are "active", and
    which "reset", at each step) and "held" (the states of ended samples before the first step). Where cotangents may be
    absent, "given" are flags that tell which are there. Of a piece of the steps also "start" (the states before it) and
    "carry" (the adjoints of the states behind it); of one step back for all steps at once "carry" are the adjoints of
    states at all steps. Of a sweep that a driver calls also "rows", "after", "before", "direct", "waiting", "resets",
    "watched" and "begun", of which `lower/driven.py` tells; beside a loss that shares parameters with its cell "own", what it has of
    their gradients. Groups of results are "states", "outputs", "params", "inputs", "state"
    (the gradient of the first one), "residual" and "flow" (the norms of adjoints); of a piece "final" (the states behind
    it), "carry" (the adjoints before it) and "resets" (those that resets send to the initial states).
    """

    group: str
    name: str
    view: View


@dataclass(frozen=True)
class Function:
    """One sweep.

    `sizes` are its named sizes; `arguments` include residuals of the other sweep; `constants` are its numbers;
    `buffers` are all that it allocates, including results and residuals. `block` is the measure by which the length of
    a block is chosen: how many numbers it needs for one step of one sample, and how many rows its products should have
    at least (0: it has none). It is None where no loop goes by blocks.
    """

    name: str
    sizes: tuple[sp.Symbol, ...]
    arguments: tuple[Port, ...]
    constants: tuple[Constant, ...]
    buffers: tuple[Buffer, ...]
    body: tuple[Statement, ...]
    results: tuple[Port, ...]
    block: tuple[Size, int] | None = None

    @cached_property
    def declared(self) -> tuple[Buffer, ...]:
        """All buffers of the function."""
        given = (port.view.buffer for port in self.arguments)
        return (*given, *(c.buffer for c in self.constants), *self.buffers)


def reads(s: Statement) -> tuple[View, ...]:
    """Return the views that a statement itself reads, not those of its body; `add` reads what it adds to."""
    match s:
        case Map():
            return tuple(arg for arg in s.args if isinstance(arg, View))
        case Contract():
            return (s.a, s.b, s.out) if s.add else (s.a, s.b)
        case Reduce():
            return (s.x, s.out) if s.add else (s.x,)
        case Gather():
            return (s.table, s.index)
        case Scatter():
            # Scattering adds to what is there, so that it reads its output.
            return (s.x, s.index, s.out)
        case Cumulate():
            return (s.x,)
        case Algebra():
            return s.args
        case Settle():
            return (*s.new, *s.out)
        case Sharpen():
            # It reads the remainders to find the tiny ones.
            return (s.out, s.argument)
        case If():
            return (s.flag,)
        case Runtime():
            return tuple(arg for arg in s.args if isinstance(arg, View))
        case Scan():
            values = (*(c for row in s.coefficients for c in row), *s.free)
            terms = [view for group in s.given for term in group for view in (term.view, term.flag)]
            return tuple(view for view in (*values, *terms, *s.carry, *s.unless) if view is not None)
        case Loop():
            return ()


def writes(s: Statement) -> tuple[View, ...]:
    """Return the views that a statement itself writes, not those of its body."""
    match s:
        case Loop() | If():
            return ()
        case Runtime() | Settle():
            return s.out
        case Scan():
            return (*s.out, *s.carry) if s.reverse else s.out
    return (s.out,)


def views(s: Statement) -> tuple[View, ...]:
    """Return the views that a statement itself reads or writes."""
    return (*reads(s), *writes(s))


WITH_BODY = (Loop, Sharpen, Scan)
"""The statements that have one body."""


def body_of(s: Statement) -> tuple[Statement, ...]:
    """Return the statements inside a statement."""
    if isinstance(s, If):
        return (*s.body, *s.orelse)
    return s.body if isinstance(s, WITH_BODY) else ()


def walk(statements: Iterable[Statement]) -> Iterator[Statement]:
    """Return all statements, each before those inside it."""
    for s in statements:
        yield s
        yield from walk(body_of(s))


def indices(body: Iterable[Statement]) -> set[str]:
    """Return the names of the numbers of all loops: variables as those of buffers are."""
    return {s.index.name for s in walk(body) if isinstance(s, Loop)}


def walked(body: Iterable[Statement]) -> Iterator[Statement]:
    """Return all statements but those that compute the argument of a Sharpen, which are an expression."""
    for s in body:
        yield s
        if not isinstance(s, Sharpen):
            yield from walked(body_of(s))


def used(body: Iterable[Statement]) -> dict[Buffer, None]:
    """Return the buffers that statements read or write, in their order; an expression has none of its own."""
    # What a Sharpen reads of others is written by these.
    found = (writes(s) if isinstance(s, Sharpen) else views(s) for s in walked(body))
    return dict.fromkeys(view.buffer for some in found for view in some)


def elements(view: View) -> Size:
    """Return how many elements a view has."""
    return prod(view.shape)
