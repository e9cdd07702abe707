"""Expressions of a page as data: what is printed, before it has signs and brackets.

Shapes are those of a page: a matrix of one column is a vector, what has one element a number; a matrix of one row is a row.
The builders `plus`, `times`, `matmul`, `over` and `transposed` keep expressions flat: no sum in a sum, no product in a product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, dataclass_transform

import sympy as sp

from symbptt.autodiff.labels import Label
from symbptt.ir.scalar import as_sympy
from symbptt.ir.shape import Shape, Size

T = TypeVar("T")
keep = setattr
"""What keeps a value that is computed once with its object; to write into its dictionary would make it one of its own."""

if TYPE_CHECKING:
    from functools import cached_property as lazy
else:

    class lazy:
        """A property that is computed once; unlike that of functools without a lock, which costs more than what it guards."""

        def __init__(self, compute: Callable[[Any], Any], name: str = "") -> None:
            self.compute, self.name = compute, name or compute.__name__

        def __get__(self, instance: Any, owner: type) -> Any:
            found = self.compute(instance)
            keep(instance, self.name, found)
            return found


def normal(shape: Shape) -> Shape:
    """Return what a shape is on a page: a matrix of one column is a vector, and what has one element a number."""
    if not shape or len(shape) > 2 or not isinstance(shape[-1], int) or shape[-1] != 1:
        return shape
    return normal(shape[:-1])


_BITS = count()


@dataclass_transform(frozen_default=True)
def expression(cls: type[T]) -> type[T]:
    """Make a class of expressions: frozen, compared by what is in it; its hash is computed once. Its `bit` is that of no other
    class."""
    # Frozen for the type checker alone: the check at each field of each new object took 8 % of the time of a page.
    # Each class has one bit, and `kinds` is the union over an expression: whether a class occurs in it is one "and".
    made: Any = dataclass(unsafe_hash="__hash__" not in vars(cls))(cls)
    made.bit = 1 << next(_BITS)
    whole = made.__hash__

    def cached(self: Any) -> int:
        found: int | None = self.own_hash
        if found is None:
            # Without the cache, hashing a deep expression would walk all of it every time.
            found = whole(self)
            keep(self, "own_hash", found)
        return found

    made.__hash__ = cached
    return cast("type[T]", made)


@expression
class Expr:
    """An expression; `shape` is that of its value."""

    bit: ClassVar[int]
    own_size: ClassVar[int] = 0
    own_hash: ClassVar[int | None] = None
    normal_form: ClassVar[Expr | None] = None
    is_normal: ClassVar[bool] = False

    @property
    def shape(self) -> Shape:
        return ()

    @lazy
    def parts(self) -> tuple[Expr, ...]:
        """The expressions that this one is made of, in the order in which they are written."""
        return ()

    @lazy
    def kinds(self) -> int:
        """The bits of its class and of those of all that it is made of."""
        found, size = self.bit, self.own_size
        for part in self.parts:
            found |= part.kinds
            size += part.size
        # Both are asked of nearly all expressions: one walk finds both.
        keep(self, "size", size)
        return found

    @lazy
    def labels(self) -> tuple[Label, ...]:
        """The labels of its symbols, as often as they are written."""
        return tuple(chain.from_iterable([part.labels for part in self.parts]))

    @lazy
    def size(self) -> int:
        """The symbols, numbers and functions that are written."""
        return self.size if self.kinds else 0


class OfInner(Expr):
    """An expression that has the shape of its inner one."""

    inner: Expr

    @property
    def shape(self) -> Shape:
        return self.inner.shape


@expression
class Symbol(Expr):
    """A value by its name; `of` is its shape."""

    label: Label
    of: Shape = ()

    def __hash__(self) -> int:
        # What is equal has equal labels; the hash of a shape costs more than all else.
        return hash(self.label)

    @property
    def shape(self) -> Shape:
        return self.of

    @lazy
    def labels(self) -> tuple[Label, ...]:
        return (self.label,)


@expression
class Outside(Expr):
    """The direct cotangent of a state or an output: the derivative of L by a symbol."""

    symbol: Symbol

    @property
    def shape(self) -> Shape:
        return self.symbol.shape


@expression
class Derivative(Expr):
    """The derivative of a value by another one, both symbols or both entries."""

    over: Expr
    under: Expr

    @lazy
    def shape(self) -> Shape:
        return normal((*(self.over.shape or (1,)), *(self.under.shape or (1,))))


@expression
class Number(Expr):
    """A number without a sign."""

    value: sp.Expr


@expression
class Count(Expr):
    """A size as a number."""

    size_of: Size


@expression
class Word(Expr):
    """A name that stands as it is: that of an identity of some shape, or of an argument without a label."""

    text: str
    is_formula: bool = False
    of: Shape = ()

    @property
    def shape(self) -> Shape:
        return self.of


@expression
class Applied(Expr):
    """A function of the user's by its name, of arguments; behind a semicolon what it reads beside them."""

    name: str
    args: tuple[Expr, ...]
    closed: tuple[Expr, ...] = ()


@expression
class Gradient(Expr):
    """The gradient of a function by one of its arguments, called `under`, at the arguments that it is applied to."""

    under: Symbol
    of: Applied

    @property
    def shape(self) -> Shape:
        return self.under.shape


@expression
class Index(Expr):
    """A named index; it runs from 0 over an axis of `of_size`."""

    name: str
    of_size: Size


@expression
class Ellipsis(Expr):
    """A formula that is too long to be written."""


@expression
class Sum(Expr):
    """Terms, each with its sign (1 or -1)."""

    terms: tuple[tuple[int, Expr], ...]

    @lazy
    def shape(self) -> Shape:
        return widest(term for _, term in self.terms)


@expression
class Times(Expr):
    """Numbers and arrays of one shape, multiplied element by element."""

    factors: tuple[Expr, ...]

    @lazy
    def shape(self) -> Shape:
        return widest(self.factors)


@expression
class Over(Expr):
    """A quotient, element by element."""

    above: Expr
    below: Expr

    @lazy
    def shape(self) -> Shape:
        return widest((self.above, self.below))


@expression
class Power(Expr):
    """A base and its exponent, element by element."""

    base: Expr
    exponent: Expr

    @lazy
    def shape(self) -> Shape:
        return widest((self.base, self.exponent))


@expression
class Matmul(Expr):
    """A product of matrices, vectors being columns."""

    factors: tuple[Expr, ...]

    @lazy
    def shape(self) -> Shape:
        wide = [f.shape for f in self.factors if f.shape]
        if not wide:
            return ()
        rows, columns = wide[0][0], wide[-1][1] if len(wide[-1]) == 2 else 1
        return normal((rows, columns))


@expression
class Transposed(Expr):
    """The transpose of a matrix, or a vector laid down as a row."""

    inner: Expr

    @lazy
    def shape(self) -> Shape:
        own = self.inner.shape
        # A vector is a column; its transpose is the row that a matrix of shape (1, n) has.
        return (1, own[0]) if len(own) == 1 else normal(own[::-1])


@expression
class Inverse(OfInner):
    """The inverse of a matrix."""

    inner: Expr


@expression
class Diagonal(Expr):
    """The diagonal matrix of a vector."""

    inner: Expr

    @lazy
    def shape(self) -> Shape:
        return (self.inner.shape * 2)[:2]


@expression
class Ones(Expr):
    """A vector of ones."""

    count: Size

    @property
    def shape(self) -> Shape:
        return (self.count,)


@expression
class Zeros(Expr):
    """An array of zeros."""

    of: Shape

    @property
    def shape(self) -> Shape:
        return self.of


@expression
class Unit(Expr):
    """The vector that is one at the place of a row, and else zero."""

    row: Expr
    count: Size

    @property
    def shape(self) -> Shape:
        return (self.count,)


@expression
class Array(Expr):
    """Numbers of the user's, row by row; where only the first of them are shown, `rest` tells all from others."""

    values: tuple[Expr, ...]
    of: Shape
    rest: str = ""

    @property
    def shape(self) -> Shape:
        return normal(self.of)


@expression
class Call(Expr):
    """A function of its arguments, elementwise or as its name says; `of` is the shape where it is not that of the arguments."""

    name: str
    args: tuple[Expr, ...]
    of: Shape | None = None

    @lazy
    def shape(self) -> Shape:
        return widest(self.args) if self.of is None else self.of


@expression
class Cases(Expr):
    """`then` where a condition holds, and `other` elsewhere; `infinite`: one of both may be ∞, which is no number times 0."""

    condition: Expr
    then: Expr
    other: Expr
    infinite: bool = False

    @lazy
    def shape(self) -> Shape:
        return widest((self.condition, self.then, self.other))


@dataclass(frozen=True)
class Span:
    """A part of an axis: from where, how many, in which steps, of how many; `alone`: one entry without its axis."""

    start: Size
    length: Size
    step: int
    size: Size
    alone: bool = False


@expression
class Slice(Expr):
    """A part of an array."""

    inner: Expr
    spans: tuple[Span, ...]
    of: Shape

    @property
    def shape(self) -> Shape:
        return self.of


@expression
class Rows(Expr):
    """The entry of a table at an integer, along an `axis`."""

    table: Expr
    row: Expr
    axis: int
    of: Shape

    @property
    def shape(self) -> Shape:
        return self.of


@expression
class Blocks(Expr):
    """Parts under each other (axis 0) or beside each other (axis 1)."""

    blocks: tuple[Expr, ...]
    axis: int
    of: Shape

    @property
    def shape(self) -> Shape:
        return self.of


@expression
class Total(OfInner):
    """The sum over all steps; with `at`, over those at which an index, its second, is its first."""

    inner: Expr
    at: tuple[Expr, ...] = ()


@expression
class Entry(Expr):
    """One number of an array."""

    array: Expr
    indices: tuple[Expr, ...]


@expression
class SumOver(OfInner):
    """The sum (or `kind`) over named indices, under a condition where there is one."""

    indices: tuple[Index, ...]
    inner: Expr
    kind: str = "sum"
    condition: tuple[Expr, ...] = ()


@expression
class Along(Expr):
    """A function of the numbers that an expression gives as named indices run; with `at`, one entry of what it gives."""

    name: str
    indices: tuple[Index, ...]
    args: tuple[Expr, ...]
    at: tuple[Expr, ...] = ()

    @property
    def shape(self) -> Shape:
        return self.args[0].shape


@expression
class OverFamily(OfInner):
    """The sum over the members of a family of values, which differ in one letter of their names."""

    letter: str
    values: tuple[str, ...]
    inner: Expr


@expression
class Raised(OfInner):
    """A value with a sign in brackets above it, which says of which of several it is."""

    inner: Expr
    sign: str


@expression
class OverWindows(OfInner):
    """The sum over the windows of time that have step t: they are told by their last step, a letter, and have `k` steps; with
    `start`, over those that reach the initial state."""

    letter: str
    k: int
    inner: Expr
    start: bool = False


@expression
class Entries(Expr):
    """The array with these entries at named indices."""

    indices: tuple[Expr, ...]
    inner: Expr
    of: Shape = field(default=())

    @property
    def shape(self) -> Shape:
        return self.of


def number(value: complex) -> Expr:
    """Return a number of the user's as a page has it, its sign apart."""
    return number_of(as_sympy(value))


def number_of(value: sp.Expr) -> Expr:
    """Return a number with its sign apart; a complex one as a + b i."""
    if not value.has(sp.I):
        return plus([(-1, Number(-value))]) if value.is_negative else Number(value)
    above, below = value.as_real_imag()
    part = times([number_of(abs(below)), IMAGINARY]) if abs(below) != 1 else IMAGINARY
    return plus([*([(1, number_of(above))] if above != 0 else []), (-1 if below < 0 else 1, part)])


def called(name: str, args: Sequence[Expr]) -> Expr:
    """Return a function of some arguments; a choice has cases, and a quotient that counts as 0 where it is 0 / 0 is
    written as one."""
    match name:
        case "where":
            return Cases(args[0], args[1], args[2])
        case "where_infinite":
            return Cases(args[0], args[1], args[2], infinite=True)
        case "over":
            return Over(*args)
        case "as_complex":
            return args[0]  # a real number is a complex one
        case "modulus":
            return Call("abs", tuple(args))
    return Call(name, tuple(args))


ONE, ZERO = Number(sp.S.One), Number(sp.S.Zero)
EYE = Word("I")
IMAGINARY = Call("imaginary", (), ())
"""The imaginary unit, i."""


def widest(parts: Iterable[Expr]) -> Shape:
    """Return the shape of what goes together element by element: that of the first part which is no number."""
    # Parts that go together elementwise have one shape, apart from numbers.
    return next((part.shape for part in parts if part.shape), ())


def plus(terms: Iterable[tuple[int, Expr]]) -> Expr:
    """Return a sum without sums in it; one positive term is itself."""
    flat: list[tuple[int, Expr]] = []
    for sign, term in terms:
        flat += [(sign * s, t) for s, t in term.terms] if isinstance(term, Sum) else [(sign, term)]
    return flat[0][1] if len(flat) == 1 and flat[0][0] > 0 else Sum(tuple(flat))


def times(factors: Iterable[Expr]) -> Expr:
    """Return an elementwise product without such products in it; a factor alone is itself."""
    flat: list[Expr] = []
    for factor in factors:
        flat += factor.factors if isinstance(factor, Times) else [factor]
    return flat[0] if len(flat) == 1 else Times(tuple(flat))


def matmul(factors: Iterable[Expr]) -> Expr:
    """Return a product of matrices without such products in it; a factor alone is itself."""
    flat: list[Expr] = []
    for factor in factors:
        flat += factor.factors if isinstance(factor, Matmul) else [factor]
    return flat[0] if len(flat) == 1 else Matmul(tuple(flat))


def is_zero(e: Expr) -> bool:
    """Answer whether an expression is the number zero, of whatever type."""
    return isinstance(e, Number) and float(e.value) == 0


def is_one(e: Expr) -> bool:
    """Answer whether an expression is the number one, of whatever type."""
    return isinstance(e, Number) and float(e.value) == 1


def is_identity(e: Expr) -> bool:
    """Answer whether an expression is the identity I."""
    return isinstance(e, Word) and e.text == EYE.text and not e.is_formula


def transposed(e: Expr) -> Expr:
    """Return a transpose; that of a transpose is what was turned."""
    # A number is its own transpose, and so is an identity.
    if is_identity(e) or (isinstance(e, Symbol) and e.label.is_identity):
        return e
    return e.inner if isinstance(e, Transposed) else e if not e.shape else Transposed(e)


_PARTS: dict[type, Callable[[Any], tuple[Expr, ...]]] = {
    Outside: lambda e: (e.symbol,), Derivative: lambda e: (e.over, e.under),
    Sum: lambda e: tuple([term for _, term in e.terms]), Times: attrgetter("factors"),
    Matmul: attrgetter("factors"), Over: lambda e: (e.above, e.below), Power: lambda e: (e.base, e.exponent),
    Transposed: lambda e: (e.inner,), Inverse: lambda e: (e.inner,), Diagonal: lambda e: (e.inner,), Slice: lambda e: (e.inner,),
    Entries: lambda e: (e.inner,), OverFamily: lambda e: (e.inner,), Total: lambda e: (e.inner, *e.at),
    SumOver: lambda e: (e.inner, *e.condition), Call: attrgetter("args"), Cases: lambda e: (e.condition, e.then, e.other),
    Blocks: attrgetter("blocks"), Rows: lambda e: (e.table, e.row), Unit: lambda e: (e.row,),
    Entry: lambda e: (e.array, *e.indices), Along: lambda e: (*e.args, *e.at), Raised: lambda e: (e.inner,),
    OverWindows: lambda e: (e.inner,), Applied: lambda e: (*e.args, *e.closed), Gradient: lambda e: (e.under, e.of),
}  # fmt: skip
"""The parts of each class."""

OWN: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    Symbol: lambda e: (e.label.time, e.label.adjoint, e.of), Number: lambda e: (e.value,), Count: lambda e: (e.size_of,),
    Word: lambda e: (e.text, e.of), Index: lambda e: (e.name, e.of_size), Sum: lambda e: tuple([sign for sign, _ in e.terms]),
    Ones: lambda e: (e.count,), Zeros: lambda e: (e.of,), Unit: lambda e: (e.count,), Array: lambda e: (e.values, e.of, e.rest),
    Call: lambda e: (e.name, e.of), Slice: lambda e: (e.spans, e.of), Rows: lambda e: (e.axis, e.of),
    Blocks: lambda e: (e.axis, e.of), SumOver: lambda e: (e.indices, e.kind), Entries: lambda e: (e.indices, e.of),
    Applied: lambda e: (e.name, len(e.args)), Raised: lambda e: (e.sign,), OverWindows: lambda e: (e.letter, e.k, e.start),
    OverFamily: lambda e: (e.letter, e.values), Along: lambda e: (e.name, e.indices, len(e.at)),
}  # fmt: skip
"""The other fields of each class, except names."""


def _set_what_classes_share() -> None:
    """Give each class of expressions its parts; one without parts has what is the same for all of it once, not for each."""
    # Most expressions of a page are symbols and numbers, and what is asked of an expression is asked of all of its parts.
    classes: Any = _PARTS
    for cls, of in classes.items():
        cls.parts = cast(Any, lazy)(of, "parts")
    sized: Any = (Symbol, Number, Call, Along)
    for cls in sized:
        cls.own_size = 1
    leaves: Any = (Symbol, Number, Count, Word, Index, Ellipsis, Ones, Zeros, Array)
    for cls in leaves:
        cls.parts, cls.kinds, cls.size, cls.is_normal = (), cls.bit, cls.own_size, True
    numbers: Any = (Number, Count, Index, Ellipsis)
    for cls in numbers:
        cls.shape = ()
    for cls in (*numbers, Word):
        cls.labels = ()


_set_what_classes_share()
