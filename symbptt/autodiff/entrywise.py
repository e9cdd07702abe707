"""Derivatives of values entry by entry: sums of products of entries, over named indices.

What a value v owes to the values that it reads is Σ_w L ∂w, L a product of entries: of weights, of the other operand of a
product, of δ where axes are renamed. Such terms hold for arrays of any rank; a page writes them as matrices where there
are at most two indices.

Example: v = W h, so v_i = Σ_j W_ij h_j. `_contract` yields, with `out0` for i and a summed index j,

    Term(1, (W[i, j], ∂h[j]), sums=(j,))        for the derivative in h
    Term(1, (h[j], ∂W[i, j]), sums=(j,))        for the derivative in W

To differentiate by h alone, ∂h[j] becomes Same(j, own0); `simplified` solves j = own0, drops the sum, and W[i, own0] is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import sympy as sp

from symbptt import ops
from symbptt.autodiff.guard import Guards
from symbptt.autodiff.partials import VALUE, in_decimals, partials
from symbptt.autodiff.subexpressions import formula, values
from symbptt.autodiff.term import (
    Around,
    At,
    Between,
    Bounds,
    Chosen,
    Entry,
    Factor,
    Inner,
    Same,
    Term,
    Terms,
    counted,
    extent_of,
    in_order,
    is_never_negative,
    legs,
    out,
    own,
    parted,
    placed,
    placed_factor,
    renamed_like,
    shifted,
    symbols_of,
    taken,
    without_common_sign,
)  # fmt: skip
from symbptt.autodiff.vjp import Context, contributions, known_functions
from symbptt.errors import ArgumentError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.algebra import corner, eye, inverse
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.shape import Shape, Size, sign_of


@dataclass
class Calculus:
    """The local derivatives of the values of one graph, made as they are asked for.

    `labelled` are the values that have names; entries of other views are entries of what they show. `ranges` has the size
    of each index that is summed over.
    """

    graph: Graph
    roots: tuple[int, ...]
    labelled: frozenset[int]
    held: tuple[str, ...] = ()
    ranges: dict[sp.Symbol, Size] = field(default_factory=dict)
    _local: dict[int, Terms] = field(default_factory=dict)

    @cached_property
    def kept(self) -> set[int]:
        return values(self.graph, self.roots) | (self.labelled & set(self.graph.ancestors(self.roots)))

    @cached_property
    def quotients(self) -> dict[tuple[int, int], int]:
        """The values with a name that are a quotient of two others, by these."""
        found: dict[tuple[int, int], int] = {}
        for id in sorted(self.labelled):
            node = self.graph[id]
            if node.family == "map" and node.attrs.expr == placeholder(0) / placeholder(1):
                above, below = (self.entry(arg, legs(self.graph.shape(arg), out)).id for arg in node.args)
                found[above, below] = id
        return found

    def local(self, id: int) -> Terms:
        """Return the derivative of a value in those of the values that it reads, one of which each term has."""
        if id not in self._local:
            node = self.graph[id]
            terms = (
                () if node.family in ("leaf", "number", *self.held) else LOCAL.get(node.family, _by_adjoint)(self, node)
            )
            self._local[id] = self.collected(terms, self.graph.shape(id))
        return self._local[id]

    def fresh(self, size: Size) -> sp.Symbol:
        """Return an index that is summed over."""
        symbol = sp.Symbol(f"_sum{len(self.ranges)}", integer=True, nonnegative=True)
        self.ranges[symbol] = size
        return symbol

    def entry(self, id: int, at: At, back: int = 0) -> Entry:
        """Return the entry of a value; of a view without a name, that of what it shows."""
        node = self.graph[id]
        if id not in self.labelled and node.family == "view":
            inner = seen_through(self.graph, node, at)
            if inner is not None:
                return self.entry(node.args[0], inner, back)
        return Entry(id, at, back)

    def aligned(self, arg: int, at: At) -> At:
        """Return the place in an argument of what stands at a place of a larger shape, as NumPy broadcasts."""
        shape = self.graph.shape(arg)
        lead = len(at) - len(shape)
        return tuple(sp.S.Zero if size == 1 else at[lead + i] for i, size in enumerate(shape))

    # Rules for the simplification of terms.

    def collected(self, terms: Iterable[Term], shape: Shape) -> Terms:
        """Return a sum with its terms in normal form, like ones joined."""
        found: list[Term] = []
        for term in terms:
            plain = self.simplified(term, shape)
            if plain is None:
                continue
            for i, other in enumerate(found):
                joined = self._joined(other, plain)
                if joined is not None:
                    found[i : i + 1] = [joined] if joined.number != 0 else []
                    break
            else:
                found.append(plain)
        return tuple(found)

    def simplified(self, term: Term, shape: Shape, source: Shape = ()) -> Term | None:
        """Return a term of the derivative of a value of some shape without indices that δ fixes and without conditions that
        always hold; None for zero. `source` is the shape of what derivatives are taken of, where that is known."""
        bounds = self.ranges | {out(i): size for i, size in enumerate(shape)}
        bounds |= {own(i): size for i, size in enumerate(source)}
        factors, sums, number = counted(term.factors), list(term.sums), term.number
        again = True
        while again:
            again = False
            for factor in list(factors):
                if isinstance(factor, Same):
                    fixed = self._solved(factor, sums, bounds)
                    if fixed is None:
                        continue
                    del factors[factor]
                    if fixed is False:
                        return None
                    # Σ_j δ(j, e) f(j) = f(e), valid where e lies within the range of j.
                    if isinstance(fixed, tuple):
                        sums.remove(fixed[0])
                        factors = counted((placed_factor(f, {fixed[0]: fixed[1]}), e) for f, e in factors.items())
                        factors |= dict.fromkeys(self._outside(*fixed, bounds), 1)
                    again = True
                    break
                if isinstance(factor, Between):
                    open_ = self._open(factor, bounds)
                    if open_ == factor:
                        continue
                    if open_ is None:
                        return None
                    factors = counted((open_ if f == factor else f, e) for f, e in factors.items()
                                       if f != factor or (open_.low, open_.high) != (None, None))  # fmt: skip
                    again = True
                    break
        factors = self._parts_named(self._quotients_named(factors), bounds)
        read = {s for f in factors for s in symbols_of(f)}
        # A sum over an index that nothing reads multiplies by the size of its axis.
        for symbol in [s for s in sums if s not in read]:
            number *= self.ranges[symbol]
            sums.remove(symbol)
        if number == 0:
            return None
        return in_order(Term(number, tuple((f, e) for f, e in factors.items() if e), tuple(sums)))

    def _outside(self, index: sp.Symbol, place: sp.Expr, bounds: Bounds) -> list[Factor]:
        """Return the condition that an index of the source lies within the range of another one that it is, of a part of the
        axis; places in a value have their conditions already."""
        extent, high = extent_of(place, bounds), sp.sympify(self.ranges[index])
        of_source = all(str(s).startswith("_own") for s in place.free_symbols - sp.sympify(high).free_symbols)
        if extent is None or not of_source or is_never_negative(high - 1 - extent[1]):
            return []
        low = None if is_never_negative(extent[0]) else sp.S.Zero
        return [Between(place, low, high)]

    def _solved(self, same: Same, sums: Sequence[sp.Symbol], bounds: Bounds) -> tuple[sp.Symbol, sp.Expr] | bool | None:
        """Return what a δ says: an index and what it is, True or False where that is certain, None where it says nothing."""
        difference = sp.expand(same.one - same.other)
        if difference == 0:
            return True
        for one, other in ((same.one, same.other), (same.other, same.one)):
            # Only a summed index can be solved for: the indices of the value and of the source are given.
            if one in sums and one not in other.free_symbols:
                return one, other
            solution = self._turned(one, other, sums) or self._shifted(one, other, sums, bounds)
            if solution is not None:
                return solution
        extent = extent_of(difference, bounds)
        # Indices are integers: a difference that is at least 1, or at most -1, whatever the sizes are, is never zero.
        return False if extent and (is_never_negative(extent[0] - 1) or is_never_negative(-1 - extent[1])) else None

    def _turned(self, one: sp.Expr, other: sp.Expr, sums: Sequence[sp.Symbol]) -> tuple[sp.Symbol, sp.Expr] | None:
        """Return a summed index that a roll moves, and what it is: mod(k - 2, n) = j is k = mod(j + 2, n)."""
        if not isinstance(one, Around):
            return None
        index, shift, size = one.args
        # Only an index of the whole axis takes every place of it.
        is_whole = index in sums and self.ranges[index] == size and index not in other.free_symbols
        return (index, Around(other, -shift, size)) if is_whole else None

    def _shifted(
        self, one: sp.Expr, other: sp.Expr, sums: Sequence[sp.Symbol], bounds: Bounds
    ) -> tuple[sp.Symbol, sp.Expr] | None:
        """Return a summed index that runs backwards, or from another start, and what it is: n - 1 - k = j is k = n - 1 - j, and
        k - n = j is k = n + j."""
        index = next(
            (s for s in sums if abs(one.coeff(s)) == 1 and s not in (one - one.coeff(s) * s).free_symbols), None
        )
        if index is None or index in other.free_symbols:
            return None
        slope = one.coeff(index)
        found = sp.expand(slope * (other - one) + index)
        extent = extent_of(found, bounds)
        # Elsewhere there is no such index, and the term is zero there.
        inside = (
            extent is not None
            and is_never_negative(extent[0])
            and is_never_negative(self.ranges[index] - 1 - extent[1])
        )
        return (index, found) if inside else None

    def _open(self, between: Between, bounds: Bounds) -> Between | None:
        """Return a condition without the bounds that always hold; None where it never holds."""
        above = None if between.low is None else extent_of(between.index - between.low, bounds)
        below = None if between.high is None else extent_of(between.high - 1 - between.index, bounds)
        if any(x is not None and is_never_negative(-1 - x[1]) for x in (above, below)):
            return None
        low = None if above is not None and is_never_negative(above[0]) else between.low
        high = None if below is not None and is_never_negative(below[0]) else between.high
        return Between(between.index, low, high)

    # For softmax written as e / s this turns e_i / s into y_i, as a textbook writes its Jacobian.
    def _quotients_named(self, factors: dict[Factor, int]) -> dict[Factor, int]:
        """Return factors with the value named y in the place of e / s, where y = e / s."""
        for below in [f for f, e in factors.items() if e < 0 and isinstance(f, Entry)]:
            for above in [f for f, e in factors.items() if e > 0 and isinstance(f, Entry)]:
                id = self.quotients.get((above.id, below.id))
                if id is None or factors.get(below, 0) >= 0 or factors.get(above, 0) <= 0 or above.back != below.back:
                    continue
                fits = len(self.graph.shape(id)) == len(above.at)
                if fits and self.graph.shape(id) == self.graph.shape(above.id):
                    node = self.graph[id]
                    if self.entry(node.args[1], self.aligned(node.args[1], above.at)).at == below.at:
                        factors = counted(
                            [*factors.items(), (Entry(id, above.at, above.back), 1), (above, -1), (below, 1)]
                        )
        return factors

    @cached_property
    def parts(self) -> dict[int, list[int]]:
        """The values with a name that are a part of another one, by that."""
        found: dict[int, list[int]] = {}
        for id in sorted(self.labelled):
            node = self.graph[id]
            if (
                node.family == "view"
                and node.attrs.kind == "slice"
                and all(step == 1 for _, _, step in node.attrs.data)
            ):
                found.setdefault(node.args[0], []).append(id)
        return found

    def _parts_named(self, factors: dict[Factor, int], bounds: Bounds) -> dict[Factor, int]:
        """Return factors with entries of a part of a value written by the name of the part."""
        return counted((self._as_part(f, bounds) if isinstance(f, Entry) else f, e) for f, e in factors.items())

    def _as_part(self, entry: Entry, bounds: Bounds) -> Entry:
        wholes = self._wholes(entry.id)
        for part in (part for whole in wholes for part in self.parts[whole]):
            spans = self.graph[part].attrs.data
            places = [sp.expand(x - start) for x, (start, _, _) in zip(entry.at, spans, strict=False)]
            fits = len(spans) == len(entry.at) and all(
                length == 1 or (x.is_Symbol and bounds.get(x) == length)
                for x, (_, length, _) in zip(places, spans, strict=True)
            )
            inner = self._part_of(entry.id, part, {}) if fits else None
            if inner is not None:
                return Entry(
                    inner,
                    tuple(sp.S.Zero if n == 1 else x for x, (_, n, _) in zip(places, spans, strict=True)),
                    entry.back,
                )
        return entry

    def _wholes(self, id: int) -> list[int]:
        """Return the values of which parts have names, that a value is or is made of element by element."""
        found, seen, open_ = list[int](), set[int](), [id]
        # Each value once: the values of inner rounds read each other twice, so that their paths double with every round.
        while open_:
            inner = open_.pop()
            if inner in seen:
                continue
            seen.add(inner)
            node = self.graph[inner]
            if inner in self.parts:
                found.append(inner)
            elif inner not in self.labelled and node.family == "map":
                open_ += [arg for arg in reversed(node.args) if self.graph.shape(arg) == node.shape]
        return found

    def _part_of(self, id: int, part: int, known: dict[int, int | None]) -> int | None:
        """Return the same part of a value that is made element by element of the whole; `known` are those of others."""
        if id not in known:
            known[id] = part if id == self.graph[part].args[0] else self._part_made(id, part, known)
        return known[id]

    def _part_made(self, id: int, part: int, known: dict[int, int | None]) -> int | None:
        inner = self.graph[id]
        if inner.family != "map" or any(self.graph.shape(arg) not in ((), inner.shape) for arg in inner.args):
            return None
        args = [arg if not self.graph.shape(arg) else self._part_of(arg, part, known) for arg in inner.args]
        return None if None in args else build.map_(self.graph, inner.attrs.expr, [x for x in args if x is not None])

    def _joined(self, one: Term, other: Term) -> Term | None:
        """Return the sum of two terms as one where they differ only in entries at the same place, else None."""
        other = renamed_like(other, one)
        apart = parted(one, other, self._is_short)
        # a_i X - b_i X = (a - b)_i X: entries of the same step and place can be subtracted before the product, as one new map.
        if apart is None or set(one.sums) != set(other.sums):
            return None
        common, rests = apart
        if not rests[0] and not rests[1]:
            return replace(one, number=one.number + other.number)
        found = [entry for rest in rests for entry, _ in rest]
        places = {entry.at for entry in found if entry.at}
        shapes_ = {self.graph.shape(entry.id) for entry in found if self.graph.shape(entry.id)}
        is_one = len(places) < 2 and len({entry.back for entry in found}) == 1 and len(shapes_) < 2
        if not is_one or not (one.number.is_number and other.number.is_number):
            return None
        ids = list(dict.fromkeys(entry.id for entry in found))
        products = [sp.Mul(t.number, *(placeholder(ids.index(entry.id)) ** e for entry, e in rest))
                    for t, rest in zip((one, other), rests, strict=True)]  # fmt: skip
        number, total = without_common_sign(in_decimals(sp.Add(*products)))
        if total == 0:
            return Term(sp.S.Zero, ())
        used = [id for i, id in enumerate(ids) if placeholder(i) in total.free_symbols]
        body = total.xreplace({placeholder(ids.index(id)): placeholder(k) for k, id in enumerate(used)})
        weight = build.map_(self.graph, body, used) if used else build.number(self.graph, float(total))
        at = next((entry.at for entry in found if entry.at and entry.id in used), ())
        entry = Entry(weight, at, found[0].back)
        first = next((i for i, (f, _) in enumerate(one.factors) if f not in common), len(one.factors))
        factors = [(f, e) for f, e in one.factors if f in common]
        lead = sum(f in common for f, _ in one.factors[:first])
        return in_order(Term(number, (*factors[:lead], (entry, 1), *factors[lead:]), one.sums))

    def _is_short(self, entry: Entry) -> bool:
        """Answer whether a value has a name, or is made of such alone: it may stand in a formula twice."""
        node = self.graph[entry.id]
        return entry.id in self.labelled or all(arg in self.labelled or not self.graph[arg].args for arg in node.args)


def with_fresh_sums(calculus: Calculus, term: Term) -> Term:
    """Return a term with summed indices that no other term has."""
    names = {s: calculus.fresh(calculus.ranges[s]) for s in term.sums}
    return replace(placed(term, names), sums=tuple(names.values()))


def substituted(calculus: Calculus, term: Term, into: Term) -> Term:
    """Return `into` with `term`, the derivative of a value, in the place of its inner factor."""
    inner = into.inner
    assert inner is not None
    # (Σ_j a_j)(Σ_j b_j) is not Σ_j a_j b_j: summed indices must differ before factors are multiplied.
    term = with_fresh_sums(calculus, term)
    # The term describes the inner value at its own indices `out`; in `into` that value is read at the place `inner.at`.
    moved = placed(term, {out(i): x for i, x in enumerate(inner.at)})
    factors: list[tuple[Factor, int]] = []
    for factor, exponent in into.factors:
        factors += [(shifted(f, inner.back), e) for f, e in moved.factors] if factor == inner else [(factor, exponent)]
    return Term(into.number * moved.number, tuple(factors), (*into.sums, *moved.sums))


# The local derivative of each family.


def _map(c: Calculus, node: Node) -> Iterator[Term]:
    g = c.graph
    f = formula(g, node.id, c.kept)
    at = legs(node.shape, out)
    for arg, partial in zip(f.args, partials(f.expr, len(f.args)), strict=True):
        if partial != 0:
            number, weights = _weights(c, partial, f.args, node.id, at)
            yield Term(number, (*weights, (Inner(arg, c.aligned(arg, at)), 1)))


def _weights(c: Calculus, partial: sp.Expr, args: tuple[int, ...], value: int,
             at: At) -> tuple[sp.Expr, list[tuple[Factor, int]]]:  # fmt: skip
    """Return a partial derivative as a number and entries of its factors."""
    partial, found = known_functions(c.graph, partial, args)
    read = {placeholder(i): arg for i, arg in enumerate(args)} | dict(found) | {VALUE: value}
    number, rest = partial.as_coeff_Mul()
    weights: list[tuple[Factor, int]] = []
    for part in sorted(sp.Mul.make_args(rest), key=lambda x: _first(x, read)) if rest != 1 else []:
        base, power = part.as_base_exp()
        if not power.is_Integer:
            base, power = part, sp.S.One
        ids = [id for symbol, id in read.items() if symbol in base.free_symbols]
        ids = list(dict.fromkeys(ids))
        names = {symbol: placeholder(ids.index(id)) for symbol, id in read.items() if symbol in base.free_symbols}
        id = build.map_(c.graph, base.xreplace(names), ids) if ids else build.number(c.graph, float(base))
        weights.append((c.entry(id, c.aligned(id, at)), int(power)))
    return number, weights


def _first(part: sp.Expr, read: Mapping[sp.Expr, int]) -> tuple[int, int, str]:
    """Return the order of factors: a value before what is made of it, in the user's order."""
    order = list(read)
    places = [order.index(s) for s in part.free_symbols if s in order]
    return min(places, default=-1), int(not part.is_Symbol), str(part)


def _contract(c: Calculus, node: Node) -> Iterator[Term]:
    (a, b), p = node.args, node.attrs
    for arg, other, mine, theirs in ((a, b, p.a, p.b), (b, a, p.b, p.a)):
        sizes = dict(zip((*p.a, *p.b), (*c.graph.shape(a), *c.graph.shape(b)), strict=True))
        where = dict(zip(p.out, legs(node.shape, out), strict=True))
        # A label of size 1 has one place only, index 0: a sum over it would have one term.
        sums = {x: c.fresh(sizes[x]) for x in dict.fromkeys((*mine, *theirs)) if x not in where and sizes[x] != 1}
        index = dict.fromkeys(sizes, sp.S.Zero) | where | sums
        entry = c.entry(other, tuple(index[x] for x in theirs))
        yield Term(sp.S.One, ((entry, 1), (Inner(arg, tuple(index[x] for x in mine)), 1)), tuple(sums.values()))


def _convolution(c: Calculus, node: Node) -> Iterator[Term]:
    """z_i = Σ_k w_k x_{step i + spread k - zeros in front}, of each pair of channels."""
    of, (w, x) = node.attrs, node.args
    assert of.result == "z", f"a convolution of adjoints in a step: {node}"
    lead = int(of.has_channels)
    filters, space, at = c.graph.shape(w), c.graph.shape(x)[lead:], legs(node.shape, out)
    for of_x in (False, True):
        channel = (c.fresh(filters[1]) if filters[1] != 1 else sp.S.Zero,) if lead else ()
        inside, read, conditions = [], [], []
        sums = [i for i in channel if i != 0]
        for axis, (width, size) in enumerate(zip(filters[2 * lead :], space, strict=True)):
            start = sp.expand(of.steps[axis] * at[lead + axis] - of.pads[axis][0])
            if of_x and of.spreads[axis] == 1 and size != 1:
                # The sum goes over the places of x: that of the derivative says which entry of the filter it is given by.
                place = c.fresh(size)
                k = sp.expand(place - start)
                sums.append(place)
                conditions.append((Between(k, sp.S.Zero, sp.sympify(width)), 1))
            else:
                k = c.fresh(width) if width != 1 else sp.S.Zero
                sums += [k] if width != 1 else []
                place = sp.expand(start + of.spreads[axis] * k)
                if of.pads[axis] != (0, 0):
                    conditions.append((Between(place, sp.S.Zero, sp.sympify(size)), 1))
            inside.append(k)
            read.append(sp.S.Zero if size == 1 else place)
        w_at, x_at = (*at[:lead], *channel, *inside), (*channel, *read)
        pair = (c.entry(w, w_at), Inner(x, x_at)) if of_x else (c.entry(x, x_at), Inner(w, w_at))
        yield Term(sp.S.One, (*conditions, *((factor, 1) for factor in pair)), tuple(sums))


def _reduce(c: Calculus, node: Node) -> Iterator[Term]:
    g, x, axes = c.graph, node.args[0], node.attrs.axes
    shape = g.shape(x)
    left = iter(legs(node.shape, out))
    at, sums = [], []
    for i, size in enumerate(shape):
        if i not in axes:
            at.append(next(left))
        elif size == 1:
            at.append(sp.S.Zero)
        else:
            sums.append(c.fresh(size))
            at.append(sums[-1])
    if node.attrs.kind == "sum":
        yield Term(sp.S.One, ((Inner(x, tuple(at)), 1),), tuple(sums))
        return
    kept = build.reshape(g, node.id, shapes.with_ones(shape, axes))
    top = build.map_(g, ops.equal(placeholder(0), placeholder(1)), (x, kept))
    count = build.reduce(g, "sum", top, axes)
    # Equal largest entries share the derivative, as in the adjoint rule of vjp.py.
    weights = ((Entry(top, tuple(at)), 1), (Entry(count, legs(node.shape, out)), -1))
    yield Term(sp.S.One, (*weights, (Inner(x, tuple(at)), 1)), tuple(sums))


def _view(c: Calculus, node: Node) -> Iterator[Term]:
    at = legs(node.shape, out)
    if node.attrs.kind == "concatenate":
        yield from _pieces(c, node, at)
        return
    if node.attrs.kind == "roll":
        yield Term(sp.S.One, ((Inner(node.args[0], _turned_back(node, at)), 1),))
        return
    if node.attrs.kind == "pad":
        yield _padded(c, node, at)
        return
    x = node.args[0]
    inner = seen_through(c.graph, node, at)
    if inner is not None:
        yield Term(sp.S.One, ((Inner(x, inner), 1),))
        return
    yield from _reshaped(c, node, at)


def seen_through(g: Graph, node: Node, at: At) -> At | None:
    """Return the place in what a view shows of a place in the view; None where that is no sum of indices."""
    x, data = node.args[0], node.attrs.data
    shape = g.shape(x)
    match node.attrs.kind:
        case "transpose":
            return tuple(at[data.index(i)] for i in range(len(data)))
        case "expand":
            lead = len(at) - len(shape)
            return tuple(sp.S.Zero if size == 1 else at[lead + i] for i, size in enumerate(shape))
        case "slice":
            return tuple(sp.expand(start + step * i) for (start, _, step), i in zip(data, at, strict=True))
        case "reshape":
            return _split(shape, node.shape, at)
    return None


def groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Return which axes of two shapes of the same number of elements hold the same: no fewer than one of each where its
    size is not 1."""
    found: list[tuple[list[int], list[int]]] = []
    a = [i for i, size in enumerate(old) if size != 1]
    b = [i for i, size in enumerate(new) if size != 1]
    while a or b:
        mine, theirs = [a.pop(0)], [b.pop(0)]
        while shapes.prod(old[i] for i in mine) != shapes.prod(new[i] for i in theirs):
            left, right = shapes.prod(old[i] for i in mine), shapes.prod(new[i] for i in theirs)
            is_less = sign_of(shapes.size(right - left)) == 1
            # The shorter side takes one more axis until both products agree, like the split of axes that NumPy's reshape makes.
            if (is_less and a) or not b:
                mine.append(a.pop(0))
            else:
                theirs.append(b.pop(0))
        found.append((mine, theirs))
    return found


def _strides(shape: Shape, axes: Sequence[int]) -> list[Size]:
    return [shapes.prod(shape[k] for k in axes[i + 1 :]) for i in range(len(axes))]


def _split(old: Shape, new: Shape, at: At) -> At | None:
    """Return the place in an array of a place in a reshape of it; None where several axes of the array were merged into one."""
    found: list[sp.Expr] = [sp.S.Zero] * len(old)
    for mine, theirs in groups(old, new):
        if len(mine) > 1:
            return None
        found[mine[0]] = sp.expand(
            sum((at[i] * s for i, s in zip(theirs, _strides(new, theirs), strict=True)), sp.S.Zero)
        )
    return tuple(found)


def _reshaped(c: Calculus, node: Node, at: At) -> Iterator[Term]:
    """Yield the derivative of a reshape that merges axes: δ states which index the merged one is."""
    x = node.args[0]
    old, new = c.graph.shape(x), node.shape
    place: list[sp.Expr] = [sp.S.Zero] * len(old)
    conditions: list[tuple[Factor, int]] = []
    sums: list[sp.Symbol] = []
    for mine, theirs in groups(old, new):
        whole = sp.expand(sum((at[i] * s for i, s in zip(theirs, _strides(new, theirs), strict=True)), sp.S.Zero))
        if len(mine) == 1:
            place[mine[0]] = whole
            continue
        names = [c.fresh(old[i]) for i in mine]
        for i, name in zip(mine, names, strict=True):
            place[i] = name
        laid = sp.expand(sum((n * s for n, s in zip(names, _strides(old, mine), strict=True)), sp.S.Zero))
        # An index of a merged axis has no polynomial inverse (// and %), so that δ states the relation instead of solving it.
        conditions.append((Same(whole, laid), 1))
        sums += names
    yield Term(sp.S.One, (*conditions, (Inner(x, tuple(place)), 1)), tuple(sums))


def _pieces(c: Calculus, node: Node, at: At) -> Iterator[Term]:
    (axis,) = node.attrs.data
    start: Size = 0
    for arg in node.args:
        length = c.graph.shape(arg)[axis]
        low = sp.sympify(start)
        inside: Factor = (
            Same(at[axis], low) if length == 1 else Between(at[axis], low, sp.sympify(shapes.size(start + length)))
        )
        index = sp.S.Zero if length == 1 else sp.expand(at[axis] - low)
        place = tuple(index if i == axis else x for i, x in enumerate(at))
        yield Term(sp.S.One, ((inside, 1), (Inner(arg, place), 1)))
        # Each part owns the half-open range from `start`; the conditions of all parts are disjoint and cover the axis.
        start = shapes.size(start + length)


def _padded(c: Calculus, node: Node, at: At) -> Term:
    """Return the derivative of zeros around a part: that of the part where the part is."""
    place: list[sp.Expr] = []
    conditions: list[tuple[Factor, int]] = []
    sums: list[sp.Symbol] = []
    for (start, length, step), size, x in zip(node.attrs.data, node.shape, at, strict=True):
        low = sp.sympify(start)
        if (start, length, step) == (0, size, 1):
            place.append(x)
        elif length == 1:
            conditions.append((Same(x, low), 1))
            place.append(sp.S.Zero)
        elif step == 1:
            conditions.append((Between(x, low, sp.sympify(shapes.size(start + length))), 1))
            place.append(sp.expand(x - low))
        else:
            # An entry between two of the part has none in it: δ says which one an entry is.
            index = c.fresh(length)
            conditions.append((Same(x, sp.expand(low + step * index)), 1))
            place.append(index)
            sums.append(index)
    return Term(sp.S.One, (*conditions, (Inner(node.args[0], tuple(place)), 1)), tuple(sums))


def _turned_back(node: Node, at: At) -> At:
    """Return the place in what a roll moves of a place in the roll."""
    axis, shift = node.attrs.data
    size = node.shape[axis]
    return tuple(Around(x, -shift, size) if i == axis and size != 1 else x for i, x in enumerate(at))


def _at_several(c: Calculus, node: Node) -> Term:
    """Return the derivative of rows of a table at an array of integers, and of what is added up there."""
    table, index = node.args
    shape, at = c.graph.shape(index), list(legs(node.shape, out))
    if node.attrs.kind == "gather":
        length = c.graph.shape(table)[0]
        row = sp.S.Zero if length == 1 else Chosen(index, 0, length, *at[: len(shape)])
        return Term(sp.S.One, ((Inner(table, (row, *at[len(shape) :])), 1),))
    places = tuple(sp.S.Zero if size == 1 else c.fresh(size) for size in shape)
    sums = tuple(x for x in places if x != 0)
    length = node.shape[0]
    here: list[tuple[Factor, int]] = [] if length == 1 else [(Same(at[0], Chosen(index, 0, length, *places)), 1)]
    return Term(sp.S.One, (*here, (Inner(table, (*places, *at[1:])), 1)), sums)


def _gather(c: Calculus, node: Node) -> Iterator[Term]:
    table, index = node.args
    at = list(legs(node.shape, out))
    if c.graph.shape(index):
        yield _at_several(c, node)
        return
    if node.attrs.kind == "scatter":
        row = at.pop(node.attrs.axis)
        here: list[tuple[Factor, int]] = [] if node.shape[node.attrs.axis] == 1 else [(Same(row, taken(index)), 1)]
        yield Term(sp.S.One, (*here, (Inner(table, tuple(at)), 1)))
        return
    single = c.graph.shape(table)[node.attrs.axis] == 1
    at.insert(node.attrs.axis, sp.S.Zero if single else taken(index))
    yield Term(sp.S.One, ((Inner(table, tuple(at)), 1),))


def _cumulate(c: Calculus, node: Node) -> Iterator[Term]:
    at = list(legs(node.shape, out))
    axis = node.attrs.axis
    if node.shape[axis] == 1:
        yield Term(sp.S.One, ((Inner(node.args[0], tuple(at)), 1),))
        return
    index = c.fresh(node.shape[axis])
    order = Between(index, at[axis]) if node.attrs.reverse else Between(at[axis], index)
    at[axis] = index
    yield Term(sp.S.One, ((order, 1), (Inner(node.args[0], tuple(at)), 1)), (index,))


def _algebra(c: Calculus, node: Node) -> Iterator[Term]:
    """Yield the derivative of a function of matrices, with the entries of an inverse where it has them."""
    g, name, a = c.graph, node.attrs.name, node.args[0]
    if name == "expm":
        yield from _expm(c, node)
        return
    if name == "cholesky":
        yield from _by_adjoint(c, node)
        return
    at, shape = legs(node.shape, out), g.shape(a)
    if name in ("tril", "halved", "diag", "diagonal"):
        lead, own = at[: len(shape) - 2], at[len(shape) - 2 :]
        place = (*at, at[-1]) if name == "diagonal" else at if name in ("tril", "halved") else at[:-1]
        condition: Factor | None = None
        if name == "tril" and shape[-1] != 1:
            condition = Between(own[0], own[1])
        elif name == "diag" and shape[-1] != 1:
            condition = Same(at[-2], at[-1])
        if name == "halved":
            yield from _halved(a, at)
            return
        yield Term(sp.S.One, (*([(condition, 1)] if condition else []), (Inner(a, place), 1)))
        return
    lead = at[: len(shape) - 2]
    i, j = (c.fresh(shape[-1]) if shape[-1] != 1 else sp.S.Zero for _ in range(2))
    sums = tuple(x for x in (i, j) if x != 0)
    back = inverse(g, a)
    if name == "solve":
        row, column = at[-2:]
        yield Term(
            sp.S.One, ((c.entry(back, (*lead, row, i)), 1), (Inner(node.args[1], (*lead, i, column)), 1)), sums[:1]
        )
        weights = ((c.entry(back, (*lead, row, i)), 1), (c.entry(node.id, (*lead, j, column)), 1))
        yield Term(-sp.S.One, (*weights, (Inner(a, (*lead, i, j)), 1)), sums)
    elif name in ("det", "logdet"):
        own_value = ((Entry(node.id, at), 1),) if name == "det" else ()
        yield Term(sp.S.One, (*own_value, (c.entry(back, (*lead, j, i)), 1), (Inner(a, (*lead, i, j)), 1)), sums)


def _expm(c: Calculus, node: Node) -> Iterator[Term]:
    """Yield the derivative of an exponential, with the entries of the derivatives in the direction of each entry of its matrix."""
    g, (a,) = c.graph, node.args
    if len(node.shape) > 2:
        raise ArgumentError(
            "the derivative of expm of stacked matrices is not written entry by entry"
            + (f"\n  at {node.place}" if node.place else "")
            + "\n  J.evaluate(...) has its numbers, d.text() the adjoint in matrix form"
        )
    n = node.shape[0]
    every = (n, n, n, n)
    units = build.reshape(g, eye(g, shapes.prod((n, n))), every)
    found = corner(g, build.expand(g, a, every), units)
    sums = tuple(c.fresh(n) for _ in range(2)) if n != 1 else (sp.S.Zero, sp.S.Zero)
    entry = c.entry(found, (*sums, *legs(node.shape, out)))
    yield Term(sp.S.One, ((entry, 1), (Inner(a, sums), 1)), sums if n != 1 else ())


def _halved(a: int, at: At) -> Iterator[Term]:
    """Yield the lower triangle of a matrix, less half its diagonal."""
    if at[-1] == 0:
        yield Term(sp.Rational(1, 2), ((Inner(a, at), 1),))
        return
    yield Term(sp.S.One, ((Between(at[-2], at[-1]), 1), (Inner(a, at), 1)))
    yield Term(-sp.Rational(1, 2), ((Same(at[-2], at[-1]), 1), (Inner(a, at), 1)))


def _by_adjoint(c: Calculus, node: Node) -> Iterator[Term]:
    """Yield the derivative of a function that a page shows whole, from its adjoint: that is linear in the adjoint
    of its value."""
    g = c.graph
    # The adjoint is linear in `bar`: if dx_j = Σ_i G_ji bar_i, then G is the transposed Jacobian, and ∂v_i = Σ_j G_ji ∂x_j.
    bar = build.leaf(g, "adjoint", f"_adjoint{node.id}", node.shape)
    for arg, given in contributions(Context(g, c.kept, set(node.args), Guards(g)), node, bar):
        inner = Calculus(g, (given,), c.labelled, ranges=c.ranges)
        sums = {out(i): c.fresh(size) for i, size in enumerate(g.shape(arg)) if size != 1}
        place = tuple(sums.get(out(i), sp.S.Zero) for i in range(len(g.shape(arg))))
        for term in _down_to(inner, given, bar):
            read = term.inner
            assert read is not None
            at = [sp.expand(x.xreplace(sums)) for x in read.at]
            here = [(Same(x, out(i)), 1) for i, x in enumerate(at) if node.shape[i] != 1]
            rest = placed(replace(term, factors=tuple(f for f in term.factors if f[0] != read)), sums).factors
            yield Term(term.number, (*here, *rest, (Inner(arg, place), 1)), (*term.sums, *sums.values()))


def _down_to(c: Calculus, id: int, source: int) -> Iterator[Term]:
    """Yield the derivative of a value in that of a leaf, all values between written out; nodes older than the leaf are constant."""
    if id == source:
        yield Term(sp.S.One, ((Inner(id, legs(c.graph.shape(id), out)), 1),))
    # Ids ascend from arguments to values: a node with a smaller id than the leaf cannot depend on it.
    for term in c.local(id) if id > source else ():
        inner = term.inner
        assert inner is not None
        for other in _down_to(c, inner.id, source):
            yield substituted(c, other, term)


def _repeat(c: Calculus, node: Node) -> Iterator[Term]:
    """Yield the derivative of what a loop inside the step carries, behind its last round."""
    last = behind(c.graph, node.args[node.attrs.carried + node.attrs.out])
    yield Term(sp.S.One, ((Inner(last, legs(node.shape, out)), 1),))


def behind(g: Graph, leaf: int) -> int:
    """Return a leaf that stands for what a loop on a page carries, behind its last round; `leaf` is that of all other rounds."""
    return build.leaf(g, "behind", g[leaf].attrs.name, g.shape(leaf))


def _point(c: Calculus, node: Node) -> Iterator[Term]:
    """Yield the derivative of a fixed point: that of the leaf under whose name its equation reads it."""
    leaf = node.args[node.attrs.carried + node.attrs.out]
    yield Term(sp.S.One, ((Inner(leaf, legs(node.shape, out)), 1),))


LOCAL: dict[str, Callable[[Calculus, Node], Iterator[Term]]] = {
    "map": _map,
    "contract": _contract,
    "convolution": _convolution,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "algebra": _algebra,
    "repeat": _repeat,
    "point": _point,
}
