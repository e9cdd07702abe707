"""Derivatives as a page writes them: matrices where there are at most two indices, else entries with named indices.

Example: the term Σ_j f_i W_ij g_j δ_jk is drawn as a graph whose corners are indices. f lies on the corner i, the edge W leads
from i to j, g lies on j, and δ joins j to k, the index of the source. The walk from i to k reads diag(f) W diag(g). A corner
that no path reaches is summed by itself: Σ_j u_j v_j becomes the number uᵀ v in front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import sympy as sp

from symbptt.autodiff.chain import Chain
from symbptt.autodiff.entrywise import Calculus
from symbptt.autodiff.labels import Label
from symbptt.autodiff.partials import in_decimals
from symbptt.autodiff.term import (
    Around,
    At,
    Between,
    Chosen,
    Entry,
    Factor,
    Inner,
    Same,
    Term,
    Terms,
    legs,
    out,
    own,
    placed,
    taken_of,
)
from symbptt.equations.algebra import expressions as algebra
from symbptt.equations.algebra.entries import LETTERS, taken_names
from symbptt.equations.algebra.expressions import (
    ZERO,
    Derivative,
    Diagonal,
    Expr,
    Index,
    Ones,
    Slice,
    Span,
    Symbol,
    is_zero,
    matmul,
    normal,
    plus,
    times,
    transposed,
)  # fmt: skip
from symbptt.equations.algebra.lower import Lowering, entry_of
from symbptt.equations.algebra.normal import in_normal_form
from symbptt.equations.algebra.products import (
    Drawn,
    Product,
    entries_summed,
    joined,
    number_of,
    numbers_in,
    power_of,
    squared,
    sum_of,
    sum_of_entries,
    turned,
    weighted,
    without_numbers,
)  # fmt: skip
from symbptt.equations.algebra.wholes import ALONG
from symbptt.ir.naming import free_letters
from symbptt.ir.shape import Shape, Size


@dataclass(frozen=True)
class Definition:
    """A line: a derivative, or a value that stands in one, and its formula; `note` says in which rounds of a loop inside the step it
    holds."""

    left: Expr
    right: Expr
    note: str = ""


@dataclass(frozen=True)
class Derivatives:
    """The writer of a chain's derivatives; those in `named` (by value) stand under their own name in others.

    `labels` are the names of values, `of` the name of what derivatives are taken of.
    """

    chain: Chain
    labels: Mapping[int, Label]
    of: Label
    named: Mapping[int, Label | None] = field(default_factory=dict)

    @property
    def calculus(self) -> Calculus:
        return self.chain.calculus

    @cached_property
    def lowering(self) -> Lowering:
        return Lowering(self.calculus.graph, self.labels)

    def before(self, back: int) -> Lowering:
        """Return what makes expressions of the values of an earlier step."""
        if not back:
            return self.lowering
        # The same values, read so many steps earlier; parameters have no time.
        times_ = {id: x if x.time is None else x.at(x.time - back) for id, x in self.labels.items()}
        return Lowering(self.calculus.graph, times_)

    def shape(self, id: int) -> Shape:
        return self.calculus.graph.shape(id)

    @cached_property
    def taken(self) -> set[str]:
        """The names that no index may have."""
        return taken_names(self.calculus.graph, self.labels)

    @cached_property
    def own(self) -> Shape:
        return self.shape(self.chain.source)

    def definition(self, id: int, label: Label | None) -> Definition:
        """Return the line of a derivative of a value, whose name may be another one than that of the value."""
        terms = self.chain.of.get(id, ())
        whole = self._whole(id, terms)
        if whole is not None:
            return Definition(self.name(id, label), in_normal_form(whole))
        names = free_letters(LETTERS, self.taken)
        at = [self._named_index(size, names) for size in self.shape(id)]
        inner = [self._named_index(size, names) for size in self.own]
        places = {out(i): x for i, x in enumerate(at)} | {own(i): x for i, x in enumerate(inner)}
        right = _Indexed(self, places, names).sum(terms, self.shape(id))
        return Definition(self.name(id, label, (at, inner)), in_normal_form(right))

    def _named_index(self, size: Size, names: Iterator[str]) -> Expr:
        return ZERO if size == 1 else Index(next(names), size)

    def name(self, id: int, label: Label | None, at: tuple[Sequence[Expr], Sequence[Expr]] | None = None) -> Expr:
        """Return what stands for the derivative of a value: that of its symbol, or a letter of its own; or an entry of it."""
        if label is None or label.given:
            over: Expr = Symbol(label or self.labels[id], normal(self.shape(id)))
            under: Expr = Symbol(self.of, normal(self.own))
            if at is None:
                return Derivative(over, under)
            return Derivative(_entry(over, at[0]), _entry(under, at[1]))
        symbol = Symbol(label, (*normal(self.shape(id)), *normal(self.own)))
        return symbol if at is None else _entry(symbol, [*at[0], *at[1]])

    def _whole(self, id: int, terms: Terms) -> Expr | None:
        """Return a derivative without indices: zero, numbers times the identity, or matrices; None where there is
        no such form."""
        if not terms:
            return ZERO
        outer, inner = legs(self.shape(id), out), legs(self.own, own)
        if all(self._is_scaled_identity(id, term, outer, inner) for term in terms):
            drawn = _drawn(self, terms, self.shape(id), whole=True)
            assert drawn is not None
            return sum_of(drawn)
        return None if len(_axes(outer)) > 1 or len(_axes(inner)) > 1 else self._stacked(id) or self.matrix(id)

    def _stacked(self, id: int) -> Expr | None:
        """Return the derivative of a vector that is put together of others as their derivatives one under the other."""
        node = self.calculus.graph[id]
        is_stack = node.family == "view" and node.attrs.kind == "concatenate" and len(node.shape) == 1
        # Of a value without a chain of its own it is not known what it depends on.
        if not is_stack or len(self.own) != 1 or not all(x in self.calculus.kept for x in node.args):
            return None
        found: list[Expr] = []
        for x in node.args:
            shape = (self.shape(x)[0], self.own[0])
            part = self._whole(x, self.chain.of.get(x, ()))
            part = algebra.Zeros(shape) if part is not None and is_zero(part) else part
            if part is None or part.shape != shape:
                return None
            found.append(part)
        return algebra.Blocks(tuple(found), 0, (node.shape[0], self.own[0]))

    def matrix(self, id: int) -> Expr | None:
        """Return the derivative of a value as matrices; None where it has no such form."""
        drawn = _drawn(self, self.chain.of[id], self.shape(id))
        return None if drawn is None else sum_of(drawn)

    def inside(self, id: int) -> Expr | None:
        """Return the derivative of a value as it stands in that of another one, as matrices."""
        return self.name(id, self.named[id]) if id in self.named else self.matrix(id)

    def length(self, symbol: sp.Symbol, shape: Shape) -> Size:
        """Return how far an index runs in the derivative of a value of some shape."""
        if symbol in self.calculus.ranges:
            return self.calculus.ranges[symbol]
        axes = {out(i): size for i, size in enumerate(shape)} | {own(i): size for i, size in enumerate(self.own)}
        return axes[symbol]

    def _is_scaled_identity(self, id: int, term: Term, outer: At, inner: At) -> bool:
        plain = self.resolved(term, self.shape(id))
        if plain is None or plain.sums or not inner or not _axes(inner):
            return False
        pairs = {Same(a, b) for a, b in zip(_axes(outer), _axes(inner), strict=False)}
        deltas = {f for f, _ in plain.factors if isinstance(f, Same)}
        rest = [f for f, _ in plain.factors if not isinstance(f, Same)]
        return (
            len(_axes(outer)) == len(_axes(inner))
            and deltas == pairs
            and all(isinstance(f, Entry) and not f.at for f in rest)
        )

    def resolved(self, term: Term, shape: Shape) -> Term | None:
        """Return a term of the derivative of a value of some shape with that of the source, the identity, written out."""
        inner = term.inner
        if inner is None or inner.id != self.chain.source:
            return self.calculus.simplified(term, shape)
        # The derivative of the source by itself is the identity: a δ for each axis.
        deltas = [(Same(x, own(i)), 1) for i, x in enumerate(inner.at) if self.own[i] != 1]
        factors = [x for f, e in term.factors for x in (deltas if f == inner else [(f, e)])]
        found = self.calculus.simplified(replace(term, factors=tuple(factors)), shape, self.own)
        return None if found is None else _facing(found)


def _facing(term: Term) -> Term:
    """Return a term with the index of the value first in each δ."""
    turned = []
    for f, e in term.factors:
        if isinstance(f, Same) and str(f.one).startswith("_own"):
            f = Same(f.other, f.one)
        turned.append((f, e))
    return replace(term, factors=tuple(turned))


def _is_running(x: sp.Expr) -> bool:
    """Answer whether a place changes with an index."""
    return any(symbol.name.startswith("_") for symbol in sp.sympify(x).free_symbols)


def _axes(at: At) -> list[sp.Expr]:
    return [x for x in at if x != 0]


def _entry(of: Expr, at: Sequence[Expr]) -> Expr:
    """Return an entry; of a number, the number."""
    axes = [x for x in at if x != ZERO] if len(of.shape) < 3 and len(of.shape) != len(at) else list(at)
    return algebra.Entry(of, tuple(axes)) if of.shape else of


# Matrices.


def _drawn(of: Derivatives, terms: Terms, shape: Shape, whole: bool = False) -> tuple[Drawn, ...] | None:
    """Return terms as products of matrices; with `whole` they are numbers times the identity."""
    found = []
    for term in terms:
        plain = of.resolved(term, shape)
        drawn = None if plain is None else _Drawing(of, plain, None if whole else shape).drawn()
        if plain is not None and drawn is None:
            return None
        found += [drawn] if drawn is not None else []
    return tuple(found)


@dataclass
class _Drawing:
    """One term as a path from the index of the value to that of what it is derived by: matrices are its edges, vectors lie
    on its corners as diagonal matrices. What no path leads to is a factor of its own, a row or a number."""

    of: Derivatives
    term: Term
    shape: Shape | None
    corners: dict[sp.Symbol, list[tuple[Expr, int]]] = field(default_factory=dict)
    edges: list[tuple[sp.Symbol, sp.Symbol, Expr]] = field(default_factory=list)
    numbers: list[tuple[Expr, int]] = field(default_factory=list)
    is_eye: bool = False

    def drawn(self) -> Drawn | None:
        outer = next(iter(_axes(legs(self.shape or (), out))), None)
        inner = next(iter(_axes(legs(self.of.own, own))), None) if self.shape is not None else None
        if not self._lay_out(outer, inner):
            return None
        parts = self._between(outer, None if self.is_eye else inner)
        # Corners that the walk from the value did not reach form factors of their own: numbers.
        while parts is not None and self.corners:
            if not self._number(next(iter(self.corners))):
                return None
        return None if parts is None else self._with_numbers(parts)

    def _between(self, first: sp.Symbol | None, last: sp.Symbol | None) -> list[Expr] | None:
        """Return the matrices from one index to the other; a column times a row where no path joins them."""
        # A number as value has no index to start from: its derivative is a row.
        found = (True, list[Expr]()) if first is None else self._walk(first, last)
        if found is None:
            return None
        reached, parts = found
        if self.is_eye:
            # Value and source share the corner: weights on it are the diagonal.
            return [Diagonal(self._column(parts))] if parts else []
        if last is None or (first is not None and reached):
            return [self._column(parts)] if last is None and parts else parts
        row = self._walk(last, None)
        if row is None:
            return None
        return [*(self._before_row(parts) if first is not None else []), *self._row(row[1])]

    # The picture.

    def _lay_out(self, outer: sp.Symbol | None, inner: sp.Symbol | None) -> bool:
        """Set the corners and edges of the factors; False where a factor is no vector and no matrix."""
        term = self.term
        same = [f for f, _ in term.factors if isinstance(f, Same)]
        self.is_eye = bool(same)
        if self.shape is not None:
            if any((f.one, f.other) != (outer, inner) for f in same):
                return False
            # δ between the indices of value and source makes the block diagonal: both are one corner, and the result is diag(...).
            term = placed(term, {f.other: f.one for f in same})
        corners = [outer, None if self.is_eye else inner, *term.sums]
        self.corners = {s: [] for s in corners if s is not None}
        return all(self._add(f, e) for f, e in term.factors if not isinstance(f, Same))

    def _add(self, factor: Factor, power: int) -> bool:
        if isinstance(factor, Inner):
            return self._add_inner(factor)
        read = self._read(factor) if isinstance(factor, Entry) else None
        if read is None:
            return False
        value, free = read
        if not free:
            self.numbers.append((value, power))
        elif len(free) == 1:
            self.corners.setdefault(free[0], []).append((value, power))
        elif power == 1 and free[0] != free[1]:
            self.edges.append((free[0], free[1], value))
        else:
            return False
        return True

    def _add_inner(self, factor: Inner) -> bool:
        """Add the derivative of a value before, a matrix whose columns are the indices of what is derived by; False where it is none."""
        of = self.of
        shape = of.shape(factor.id)
        rows = [x for x, size in zip(factor.at, shape, strict=True) if size != 1]
        columns = _axes(legs(of.own, own))
        if len(rows) > 1 or len(columns) > 1:
            return False
        value = of.inside(factor.id)
        length = shape[[size != 1 for size in shape].index(True)] if rows else 1
        if value is not None and rows:
            value, ((rows[0], _),) = self._turned(value, [(rows[0], length)])
        span = self._span(rows[0], length) if rows else None
        if value is None or (rows and span is None):
            return False
        if span is not None:
            rows = [span[1]] if span[1] is not None else []
            if span[0] != Span(0, length, 1, length):
                whole = [Span(0, size, 1, size) for size in normal(of.own)]
                value = Slice(value, (span[0], *whole), tuple(x.length for x in (span[0], *whole)))
            if not rows and columns:
                self.corners.setdefault(columns[0], []).append((transposed(value), 1))
                return True
        if rows and columns:
            self.edges.append((rows[0], columns[0], value))
        elif rows:
            self.corners.setdefault(rows[0], []).append((value, 1))
        elif columns:
            self.corners.setdefault(columns[0], []).append((transposed(value), 1))
        else:
            self.numbers.append((value, 1))
        return True

    def _read(self, entry: Entry) -> tuple[Expr, list[sp.Symbol]] | None:
        """Return an entry as a vector or a matrix of its indices; of a part of an array where the indices say so."""
        of = self.of
        node = of.calculus.graph[entry.id]
        value, shape = of.before(entry.back).value(entry.id), node.shape
        # Axes at which one place is read, as the first of W in W[2] @ h, are none of the matrix.
        if len(normal(shape)) > 2 and sum(_is_running(x) for x in entry.at) > 2:
            return None
        sized = [(x, size) for x, size in zip(entry.at, shape, strict=True) if size != 1]
        value, sized = self._turned(value, sized)
        read = [self._span(x, size) for x, size in sized]
        found = [x for x in read if x is not None]
        if len(found) < len(read):
            return None
        spans, free = tuple(span for span, _ in found), [symbol for _, symbol in found if symbol is not None]
        if any(span != Span(0, size, 1, size) for span, (_, size) in zip(spans, sized, strict=True)):
            value = Slice(value, spans, normal(tuple(span.length for span in spans)))
            value = transposed(value) if len(value.shape) == 2 and len(free) == 1 else value  # a row as a vector
        elif len(normal(shape)) == 2 and normal(shape)[0] == 1:
            value = transposed(value)  # a row as a vector
        return value, free

    def _turned(self, value: Expr, at: list[tuple[sp.Expr, Size]]) -> tuple[Expr, list[tuple[sp.Expr, Size]]]:
        """Return an array that is read at the places of a roll as a roll, and the places in that."""
        found = list(at)
        for axis, (x, size) in enumerate(at):
            if (
                isinstance(x, Around)
                and x.args[0].is_Symbol
                and taken_of(x.args[0]) is None
                and self._length(x.args[0]) == size
            ):
                over = f"_{ALONG[(axis,)]}" if len(value.shape) == 2 and value.shape[0] != 1 else ""
                value = algebra.Call(f"roll{over}", (value, number_of(-x.args[1])), value.shape)
                found[axis] = (x.args[0], size)
        return value, found

    def _span(self, x: sp.Expr, size: Size) -> tuple[Span, sp.Symbol | None] | None:
        """Return the part of an axis that an index runs over, and the index; None where it is not one index and a
        start."""
        axes = [s for s in x.free_symbols if s.name.startswith("_")]
        # An index that is data (an Index argument), a sum of two indices or a place in a roll has no slice.
        if any(taken_of(s) for s in axes) or len(axes) > 1 or x.has(Around, Chosen):
            return None
        if not axes:
            return Span(x, 1, 1, size, alone=True), None
        start = sp.expand(x - axes[0])
        if start.free_symbols & set(axes):
            return None
        length = self._length(axes[0])
        return Span(0 if start == 0 else start, length, 1, size), axes[0]

    def _length(self, symbol: sp.Symbol) -> Size:
        return self.of.length(symbol, self.shape or ())

    # Walks.

    def _walk(self, start: sp.Symbol, end: sp.Symbol | None) -> tuple[bool, list[Expr]] | None:
        """Return the matrices and diagonals from a corner on, and whether they lead to `end`; None where paths
        part. A path that ends at another corner ends with a diagonal matrix."""
        parts: list[Expr] = []
        at = start
        while at in self.corners:
            weights = self.corners.pop(at)
            here = [edge for edge in self.edges if at in edge[:2]]
            if weights:
                parts.append(Diagonal(weighted(weights)))
            if not here and not weights and at != end and not (self.is_eye and at == start):
                # A path that ends at a summed index without a weight is a row sum: W times the vector of ones.
                parts.append(Diagonal(Ones(self._length(at))))
            if not here:
                return at == end, parts
            # Three factors that share an index, as in Σ_j A_ij B_jk C_jl, are no chain of matrices.
            if len(here) > 1 or at == end:
                return None
            self.edges.remove(here[0])
            rows, columns, value = here[0]
            parts.append(value if at == rows else transposed(value))
            at = columns if at == rows else rows
        return None

    def _column(self, parts: list[Expr]) -> Expr:
        """Return a product of matrices whose last is a diagonal one as the vector that it makes of ones."""
        *rest, last = parts
        vector: Expr = last.inner if isinstance(last, Diagonal) else last
        for part in reversed(rest):
            # diag(a) v = a ⊙ v.
            vector = times([part.inner, vector]) if isinstance(part, Diagonal) else matmul([part, vector])
        return vector

    def _before_row(self, parts: list[Expr]) -> list[Expr]:
        """Return a column in front of a row: matrices and the vector that they turn, one behind the other."""
        *rest, last = parts
        if isinstance(last, Diagonal) and not any(isinstance(part, Diagonal) for part in rest):
            return [*rest, last.inner]
        return [self._column(parts)]

    def _row(self, parts: list[Expr]) -> list[Expr]:
        """Return the same from the other end: a row times matrices."""
        *rest, last = parts
        vector: Expr = last.inner if isinstance(last, Diagonal) else last
        return [transposed(vector), *(turned(part) for part in reversed(rest))]

    def _number(self, start: sp.Symbol) -> bool:
        """Take a path between two ends that are summed over as a number; False where it has none."""
        ends = self._ends(start)
        if ends is None:
            return False
        found = self._walk(ends, None)
        if found is None:
            return False
        _, parts = found
        first = parts[0] if isinstance(parts[0], Diagonal) else None
        if len(parts) == 1 and first is not None:
            self.numbers.append((entries_summed(first.inner), 1))
            return True
        left = first.inner if first is not None else None
        rest = parts[1:] if first is not None else parts
        vector = self._column(list(rest))
        if left is None:
            self.numbers.append((algebra.Call("sum", (vector,), ()), 1))
        else:
            self.numbers.append((matmul([transposed(left), vector]), 1))
        return True

    def _ends(self, start: sp.Symbol) -> sp.Symbol | None:
        """Return an end of the path that a corner lies on."""
        degree = {s: sum(s in edge[:2] for edge in self.edges) for s in self.corners}
        seen, open_ = set(), [start]
        while open_:
            at = open_.pop()
            if at in seen:
                continue
            seen.add(at)
            if at not in degree:
                return None
            # An end has one edge at most; a corner with two is in the middle, and a cycle, as in a trace, has no end.
            if degree[at] < 2:
                return at
            open_ += [x for edge in self.edges if at in edge[:2] for x in edge[:2]]
        return None

    def _with_numbers(self, parts: list[Expr]) -> Drawn:
        number = in_decimals(sp.sympify(self.term.number))
        coefficient, sizes = number.as_coeff_Mul()
        sign = -1 if coefficient.is_negative else 1
        above, below = (
            sp.fraction(abs(coefficient) * sizes) if coefficient.is_Rational else (abs(coefficient) * sizes, sp.S.One)
        )
        over = [number_of(above)] if above != 1 else []
        under = [number_of(below)] if below != 1 else []
        over += [power_of(value, e) for value, e in self.numbers if e > 0]
        under += [power_of(value, -e) for value, e in self.numbers if e < 0]
        # Numbers inside a matrix, such as 2 W, commute and join the factors in front.
        freed = [x for part in parts for x in numbers_in(part)]
        parts = [without_numbers(part) for part in parts]
        return Drawn(sign, squared([*over, *freed]), tuple(under), tuple(joined(parts)), self.is_eye)


# Entries.


@dataclass(frozen=True)
class _Indexed:
    """A writer of terms entry by entry, with the indices of a line at `places`."""

    of: Derivatives
    places: Mapping[sp.Symbol, Expr]
    names: Iterator[str]

    def sum(self, terms: Terms, shape: Shape) -> Expr:
        return sum_of_entries([self.term(term) for t in terms if (term := self.of.resolved(t, shape)) is not None])

    def term(self, term: Term) -> Product:
        ranges = self.of.calculus.ranges
        indices = {s: Index(next(self.names), ranges[s]) for s in term.sums}
        inner = replace(self, places={**self.places, **indices})
        number = in_decimals(sp.sympify(term.number))
        coefficient, sizes = number.as_coeff_Mul()
        above, below = (
            sp.fraction(abs(coefficient) * sizes) if coefficient.is_Rational else (abs(coefficient) * sizes, sp.S.One)
        )
        deltas = [inner.condition(f) for f, _ in term.factors if isinstance(f, Same | Between)]
        rest = [(inner.factor(f), e) for f, e in term.factors if isinstance(f, Entry | Inner)]
        over = ([number_of(above)] if above != 1 else []) + deltas + [power_of(v, e) for v, e in rest if e > 0]
        under = ([number_of(below)] if below != 1 else []) + [power_of(v, -e) for v, e in rest if e < 0]
        return Product(-1 if coefficient.is_negative else 1, tuple(over), tuple(under), tuple(indices.values()))

    def condition(self, factor: Factor) -> Expr:
        match factor:
            case Same(one, other):
                return delta(self.index(one), self.index(other))
            case Between(index, low, high):
                at = self.index(index)
                tests = [] if low is None else [algebra.Call("greater_equal", (at, self.index(low)))]
                return times([*tests, *([] if high is None else [algebra.Call("less", (at, self.index(high)))])])
        raise AssertionError(factor)

    def factor(self, factor: Factor) -> Expr:
        if isinstance(factor, Entry):
            at = [self.index(x) for x in factor.at]
            return entry_of(self.of.before(factor.back), factor.id, at, self.names)
        assert isinstance(factor, Inner)
        at = [self.index(x) for x in factor.at]
        inner = [self.index(x) for x in legs(self.of.own, own)]
        if factor.id in self.of.named:
            return self.of.name(factor.id, self.of.named[factor.id], (at, inner))
        # The inner derivative is written at the indices at which this term reads it.
        places = {**self.places, **{out(i): x for i, x in enumerate(at)}}
        return replace(self, places=places).sum(self.of.chain.of[factor.id], self.of.shape(factor.id))

    def index(self, x: sp.Expr) -> Expr:
        """Return an index of the line, or a sum of such and of a size."""
        x = sp.sympify(x)
        if x in self.places:
            return self.places[x]
        if isinstance(x, Around):
            return algebra.Call("mod", (self.index(x.args[0] + x.args[1]), number_of(x.args[2])))
        if isinstance(x, Chosen):
            id, back, _, *at = x.args
            return entry_of(self.of.before(int(back)), int(id), [self.index(i) for i in at], self.names)
        turned = {a: sp.Symbol(f"_around{i}") for i, a in enumerate(sorted(x.atoms(Around, Chosen), key=str))}
        if turned:
            places = {**self.places, **{symbol: self.index(a) for a, symbol in turned.items()}}
            return replace(self, places=places).index(x.xreplace(turned))
        axes = sorted((s for s in x.free_symbols if s.name.startswith("_")), key=str)
        terms = [self._step(sp.expand(x).coeff(s), s) for s in axes]
        start = sp.expand(x - sum((sp.expand(x).coeff(s) * s for s in axes), sp.S.Zero))
        if start != 0 or not terms:
            negative = bool(terms) and start.could_extract_minus_sign()
            terms.append((-1 if negative else 1, number_of(-start if negative else start)))
        return plus(terms)

    def _step(self, slope: sp.Expr, symbol: sp.Symbol) -> tuple[int, Expr]:
        sign = -1 if slope.could_extract_minus_sign() else 1
        return sign, times([*([] if slope == sign else [number_of(sign * slope)]), self._axis(symbol)])

    def _axis(self, symbol: sp.Symbol) -> Expr:
        place = taken_of(symbol)
        return self.places[symbol] if place is None else self.of.before(place[1]).value(place[0])


def delta(one: Expr, other: Expr) -> Expr:
    """Return δ: one where two indices are equal."""
    return algebra.Call("delta", (one, other), ())
