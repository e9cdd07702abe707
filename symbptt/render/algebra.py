"""Expressions of a page as data: what is printed, before it has signs and brackets.

Shapes are those of a page: a matrix of one column is a vector, what has one element a number; a matrix of one row is a row.
The builders `plus`, `times`, `matmul`, `over` and `transposed` keep expressions flat: no sum in a sum, no product in a product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import sympy as sp

from symbptt.derive.labels import Label
from symbptt.ir.scalar import as_sympy
from symbptt.ir.shape import Shape, Size


def normal(shape: Shape) -> Shape:
    """Return what a shape is on a page: a matrix of one column is a vector, and what has one element a number."""
    if len(shape) > 2:
        return shape
    if all(item == 1 for item in shape):
        return ()
    return shape[:1] if len(shape) == 2 and shape[1] == 1 else shape


@dataclass(frozen=True)
class Expr:
    """An expression; `shape` is that of its value."""

    @property
    def shape(self) -> Shape:
        return ()


@dataclass(frozen=True)
class Symbol(Expr):
    """A value by its name; `of` is its shape."""

    label: Label
    of: Shape = ()

    @property
    def shape(self) -> Shape:
        return self.of


@dataclass(frozen=True)
class Outside(Expr):
    """What the loss itself gives to a state or an output: the derivative of L by a symbol."""

    symbol: Symbol

    @property
    def shape(self) -> Shape:
        return self.symbol.shape


@dataclass(frozen=True)
class Number(Expr):
    """A number without a sign."""

    value: sp.Expr


@dataclass(frozen=True)
class Count(Expr):
    """A size as a number."""

    size: Size


@dataclass(frozen=True)
class Word(Expr):
    """A name that stands as it is: that of an identity, or of an argument without a label."""

    text: str
    is_formula: bool = False


@dataclass(frozen=True)
class Index(Expr):
    """A named index; it runs from 0 over an axis of `size`."""

    name: str
    size: Size


@dataclass(frozen=True)
class Ellipsis(Expr):
    """A formula that is too long to be written."""


@dataclass(frozen=True)
class Sum(Expr):
    """Terms, each with its sign (1 or -1)."""

    terms: tuple[tuple[int, Expr], ...]

    @cached_property
    def shape(self) -> Shape:
        return widest(term for _, term in self.terms)


@dataclass(frozen=True)
class Times(Expr):
    """Numbers and arrays of one shape, multiplied element by element."""

    factors: tuple[Expr, ...]

    @cached_property
    def shape(self) -> Shape:
        return widest(self.factors)


@dataclass(frozen=True)
class Over(Expr):
    """A quotient, element by element."""

    above: Expr
    below: Expr

    @cached_property
    def shape(self) -> Shape:
        return widest((self.above, self.below))


@dataclass(frozen=True)
class Power(Expr):
    """A base and its exponent, element by element."""

    base: Expr
    exponent: Expr

    @cached_property
    def shape(self) -> Shape:
        return widest((self.base, self.exponent))


@dataclass(frozen=True)
class Matmul(Expr):
    """A product of matrices, vectors being columns."""

    factors: tuple[Expr, ...]

    @cached_property
    def shape(self) -> Shape:
        wide = [f.shape for f in self.factors if f.shape]
        if not wide:
            return ()
        rows, columns = wide[0][0], wide[-1][1] if len(wide[-1]) == 2 else 1
        return normal((rows, columns))


@dataclass(frozen=True)
class Transposed(Expr):
    """The transpose of a matrix, or a vector laid down as a row."""

    inner: Expr

    @cached_property
    def shape(self) -> Shape:
        own = self.inner.shape
        return (1, own[0]) if len(own) == 1 else normal(own[::-1])


@dataclass(frozen=True)
class Diagonal(Expr):
    """The diagonal matrix of a vector."""

    inner: Expr

    @cached_property
    def shape(self) -> Shape:
        return (self.inner.shape * 2)[:2]


@dataclass(frozen=True)
class Ones(Expr):
    """A vector of ones."""

    size: Size

    @property
    def shape(self) -> Shape:
        return (self.size,)


@dataclass(frozen=True)
class Zeros(Expr):
    """A vector or a matrix of zeros."""

    of: Shape

    @property
    def shape(self) -> Shape:
        return self.of


@dataclass(frozen=True)
class Unit(Expr):
    """The vector that is one at the place of a row, and else zero."""

    row: Expr
    size: Size

    @property
    def shape(self) -> Shape:
        return (self.size,)


@dataclass(frozen=True)
class Array(Expr):
    """Numbers of the user's, row by row; with `most`, only so many of them are shown."""

    values: tuple[Expr, ...]
    of: Shape
    cut: bool = False

    @property
    def shape(self) -> Shape:
        return normal(self.of)


@dataclass(frozen=True)
class Call(Expr):
    """A function of its arguments, elementwise or as its name says; `of` is the shape where it is not that of the arguments."""

    name: str
    args: tuple[Expr, ...]
    of: Shape | None = None

    @cached_property
    def shape(self) -> Shape:
        return widest(self.args) if self.of is None else self.of


@dataclass(frozen=True)
class Cases(Expr):
    """`then` where a condition holds, and `other` elsewhere."""

    condition: Expr
    then: Expr
    other: Expr

    @cached_property
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


@dataclass(frozen=True)
class Slice(Expr):
    """A part of an array."""

    inner: Expr
    spans: tuple[Span, ...]
    of: Shape

    @property
    def shape(self) -> Shape:
        return self.of


@dataclass(frozen=True)
class Rows(Expr):
    """What stands in a table at an integer; `axis`: along which."""

    table: Expr
    row: Expr
    axis: int
    of: Shape

    @property
    def shape(self) -> Shape:
        return self.of


@dataclass(frozen=True)
class Blocks(Expr):
    """Parts under each other (axis 0) or beside each other (axis 1)."""

    parts: tuple[Expr, ...]
    axis: int
    of: Shape

    @property
    def shape(self) -> Shape:
        return self.of


@dataclass(frozen=True)
class Total(Expr):
    """The sum over all steps; with `at`, over those at which an index, its second, is its first."""

    inner: Expr
    at: tuple[Expr, ...] = ()

    @property
    def shape(self) -> Shape:
        return self.inner.shape


@dataclass(frozen=True)
class Entry(Expr):
    """One number of an array."""

    array: Expr
    indices: tuple[Expr, ...]


@dataclass(frozen=True)
class SumOver(Expr):
    """The sum (or `kind`) over named indices, under a condition where there is one."""

    indices: tuple[Index, ...]
    inner: Expr
    kind: str = "sum"
    condition: tuple[Expr, ...] = ()

    @property
    def shape(self) -> Shape:
        return self.inner.shape


@dataclass(frozen=True)
class Entries(Expr):
    """The array with these entries at named indices."""

    indices: tuple[Expr, ...]
    inner: Expr
    of: Shape = field(default=())

    @property
    def shape(self) -> Shape:
        return self.of


def number(value: int | float) -> Expr:
    """Return a number of the user's as a page has it, its sign apart."""
    found = as_sympy(value)
    return plus([(-1, Number(-found))]) if found.is_negative else Number(found)


def called(name: str, args: Sequence[Expr]) -> Expr:
    """Return a function of some arguments; a choice has cases."""
    return Cases(*args) if name == "where" else Call(name, tuple(args))


ONE, ZERO = Number(sp.S.One), Number(sp.S.Zero)
EYE = Word("I")


def widest(parts: Iterable[Expr]) -> Shape:
    """Return the shape of what goes together element by element: that of the first part which is no number."""
    return next((part.shape for part in parts if part.shape), ())


def parts(e: Expr) -> tuple[Expr, ...]:
    """Return the expressions that an expression is made of, in the order in which they are written."""
    match e:
        case Sum():
            return tuple(term for _, term in e.terms)
        case Times() | Matmul():
            return e.factors
        case Over():
            return (e.above, e.below)
        case Power():
            return (e.base, e.exponent)
        case Transposed() | Diagonal() | Slice() | Entries():
            return (e.inner,)
        case Total():
            return (e.inner, *e.at)
        case SumOver():
            return (e.inner, *e.condition)
        case Call():
            return e.args
        case Cases():
            return (e.condition, e.then, e.other)
        case Blocks():
            return e.parts
        case Rows():
            return (e.table, e.row)
        case Unit():
            return (e.row,)
        case Entry():
            return (e.array, *e.indices)
        case Outside():
            return (e.symbol,)
    return ()


def with_parts(e: Expr, new: Sequence[Expr]) -> Expr:
    """Return an expression with others in the place of its parts, as flat as before."""
    match e:
        case Sum():
            return plus([(sign, part) for (sign, _), part in zip(e.terms, new, strict=True)])
        case Times():
            return times(new)
        case Matmul():
            return matmul(new)
        case Over():
            return Over(*new)
        case Power():
            return Power(*new)
        case Transposed():
            return transposed(new[0])
        case Diagonal():
            return Diagonal(new[0])
        case Slice():
            return Slice(new[0], e.spans, e.of)
        case Entries():
            return Entries(e.indices, new[0], e.of)
        case Total():
            return Total(new[0], tuple(new[1:]))
        case SumOver():
            return SumOver(e.indices, new[0], e.kind, tuple(new[1:]))
        case Call():
            return Call(e.name, tuple(new), e.of)
        case Cases():
            return Cases(*new)
        case Blocks():
            return Blocks(tuple(new), e.axis, e.of)
        case Rows():
            return Rows(new[0], new[1], e.axis, e.of)
        case Unit():
            return Unit(new[0], e.size)
        case Entry():
            return Entry(new[0], tuple(new[1:]))
        case Outside():
            return Outside(new[0]) if isinstance(new[0], Symbol) else e
    return e


def mapped(e: Expr, f: Callable[[Expr], Expr]) -> Expr:
    """Return an expression with `f` applied to each part of it, innermost first."""
    old = parts(e)
    new = [mapped(part, f) for part in old]
    same = all(a is b for a, b in zip(old, new, strict=True))
    return f(e if same else with_parts(e, new))


def walk(e: Expr) -> Iterator[Expr]:
    """Yield an expression and all that it is made of, in the order in which they are written."""
    yield e
    for part in parts(e):
        yield from walk(part)


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


def transposed(e: Expr) -> Expr:
    """Return a transpose; that of a transpose is what was turned."""
    return e.inner if isinstance(e, Transposed) else e if not e.shape else Transposed(e)


def symbols(e: Expr) -> Iterator[Label]:
    """Yield the labels of the symbols of an expression, as often as they are written."""
    return (part.label for part in walk(e) if isinstance(part, Symbol))
