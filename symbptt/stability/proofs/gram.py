"""Norms of Jacobians that rotate or mirror, by inputs and states: JᵀJ in exact algebra, with cos² + sin² = 1 and q/q = 1.

Intervals forget that the cosine and the sine of a rotation are of one angle, and cost it √2. The entries of the Jacobian are
polynomials in the values of single elements; JᵀJ of a rotation reduces to the identity, whatever the angle.

For example J = [c −s; s c] with c = cos φ, s = sin φ: JᵀJ = [c² + s², 0; 0, c² + s²]. The identity s² → 1 − c² turns its
diagonal into 1, so that ‖J‖₂ = 1 is proven for every φ. Intervals of c and s are [−1, 1] each, and would allow
c² + s² = 2, a growth of √2 a step. For a mirror I − 2 q qᵀ/(qᵀq) the identity is that of a reciprocal, r qᵀq = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from operator import add
from typing import Any

import networkx as nx
import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.ir.node import Node
from symbptt.stability.algebra.atoms import node_of, symbol
from symbptt.stability.algebra.exact_polynomials import (
    ONE,
    ZERO,
    Identity,
    Polynomial,
    identity,
    number,
    reduced,
    variable,
)
from symbptt.stability.algebra.factors import factors_of
from symbptt.stability.algebra.interval import Interval, between, evaluate, exactly, multiply
from symbptt.stability.algebra.interval import add as plus
from symbptt.stability.algebra.polynomials import Local, plain_terms, value
from symbptt.stability.algebra.scalar_functions import X
from symbptt.stability.proofs.enclosure import EPS, Enclosure, einsum_of, extent, is_unbounded, rearranged
from symbptt.stability.proofs.jacobian_entries import COLUMN
from symbptt.stability.proofs.quadratic_metric import norm_of

MOST = 64
"""Elements of the whole state, at the most."""
LARGEST = float(np.finfo(np.float64).max)
LONGEST = 40
"""Monomials of a value, at the most; a longer one is a variable of its own."""
BUDGET = 150_000
"""Monomials of the whole Jacobian, and replacements in an entry of JᵀJ, at the most."""
RANGED = 10
"""The interval of a monomial takes as long as so many products of monomials."""


@dataclass(frozen=True)
class Turns:
    """Bounds on the 2-norms of the blocks of a Jacobian between groups of elements that enter each other.

    Shapes: norms (K, K), groups: K lists of elements.
    """

    norms: Any
    groups: tuple[tuple[int, ...], ...]


class _TooLong(Exception):
    """The algebra is longer than its budget."""


def turns(of: Local, within: Enclosure) -> Turns | None:
    """Return the norms of the groups of elements of a Jacobian; None where no identity is known, or the algebra is too long."""
    sizes = [int(np.prod(within.shape(of.graph.shape(id)))) for id in of.step.next.values()]
    if sum(sizes) > MOST or not _has_identities(of):
        return None
    algebra = _Algebra(of, within, sum(sizes))
    try:
        factors, rows = algebra.rows()
        return _turns(algebra, factors, rows)
    except _TooLong:
        return None


def _has_identities(of: Local) -> bool:
    """Answer whether a step reads a cosine and a sine of one value, or a quotient by a value that depends on inputs or states."""
    read = of.graph.ancestors(of.step.next.values())
    parts = [
        (node.args, part)
        for node in (of.graph[id] for id in read)
        if node.family == "map"
        for part in sp.preorder_traversal(node.attrs.expr)
    ]
    cosines, sines = ({args for args, part in parts if isinstance(part, f)} for f in (sp.cos, sp.sin))
    moving = any(
        isinstance(part, sp.Pow) and part.exp.is_negative and any(arg not in of.fixed for arg in args)
        for args, part in parts
    )
    return bool(cosines & sines) or moving


@dataclass
class _Algebra:
    """Values as arrays of polynomials in variables, each of which has an interval; the identities of the variables."""

    of: Local
    within: Enclosure
    total: int
    intervals: list[tuple[float, float]] = field(default_factory=list)
    identities: dict[int, tuple[Identity, ...]] = field(default_factory=dict)
    values: dict[sp.Symbol, Any] = field(default_factory=dict)
    meanings: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    choices: set[int] = field(default_factory=set)
    spent: int = 0

    def rows(self) -> tuple[Any, Any]:
        """The factors (N,) that multiply the rows at the end of a step and read states, at their largest, and the rows (N, N)."""
        g, of = self.of.graph, self.of
        offsets, found = 0, {}
        for name in of.step.next:
            shape = self.within.shape(g.shape(of.step.leaves[name]))
            count = int(np.prod(shape))
            rows = _identity(self.total)[offsets : offsets + count]
            found[of.step.leaves[name]] = rows.reshape(*shape, self.total)
            offsets += count
        for id in g.ancestors(of.step.next.values()):
            if id in of.recurrent and id not in found:
                found[id] = self._derivative(g[id], found)
        ends = [self._end(id, found) for id in of.step.next.values()]
        return np.concatenate([f for f, _ in ends]), np.concatenate([rows for _, rows in ends])

    def _end(self, id: int, found: dict[int, Any]) -> tuple[Any, Any]:
        shape = self.within.shape(self.of.graph.shape(id))
        count = int(np.prod(shape))
        if id not in self.of.recurrent:
            return np.ones(count), np.full((count, self.total), ZERO, object)
        if self.of.graph[id].family != "map":
            return np.ones(count), found[id].reshape(count, self.total)
        parts = plain_terms(self.of, id)
        each = [list(factors_of(p)) for p in parts.values()]
        # A factor of whole rows need not be exact: ‖diag(d) M‖ ≤ ‖diag(d_max) M‖ for all |d| ≤ d_max.
        common = (
            [f for f in dict.fromkeys(each[0]) if self._reads_states(f) and all(f in others for others in each)]
            if each
            else []
        )
        for f in common:
            for others in each:
                others.remove(f)
        size = extent(sp.Mul(*common), self.within.atoms).size
        rests = {base: sp.Mul(*others) for base, others in zip(parts, each, strict=True)}
        return np.broadcast_to(size, shape).reshape(count), self._sum(rests, shape, found).reshape(count, self.total)

    def _reads_states(self, expr: sp.Expr) -> bool:
        return any(self._is_moved(s) for s in expr.free_symbols)

    def _is_moved(self, s: sp.Symbol) -> bool:
        id = node_of(s)
        return id in self.of.recurrent if id is not None else self._reads_states(self.of.atoms[s].expr)

    def _derivative(self, node: Node, found: dict[int, Any]) -> Any:
        of, shape = self.of, self.within.shape(node.shape)
        # The derivatives of a softmax, of a choice by an index and of a maximum are no polynomials in these
        # variables.
        if node.id in of.softmaxes or node.family == "gather" or getattr(node.attrs, "kind", "sum") == "max":
            raise _TooLong
        if node.family == "algebra" or is_unbounded(node):
            raise _TooLong
        if node.family == "map":
            return self._sum(plain_terms(of, node.id), shape, found)
        if node.family == "contract":
            p, (a, b) = node.attrs, node.args
            sides = ((a, b, p.a, p.b), (b, a, p.b, p.a))
            parts = [
                self._product(
                    einsum_of((*mine, COLUMN), theirs, (*p.out, COLUMN)), found[arg], self.value(symbol(other))
                )
                for arg, other, mine, theirs in sides
                if arg in of.recurrent
            ]
            return self._spend(reduce(add, parts))
        zero = np.full((1,) * self.total, ZERO, object)
        parts = [
            found[arg]
            if arg in of.recurrent
            else np.broadcast_to(zero.reshape(-1)[0], (*self.within.nodes[arg].lo.shape, self.total))
            for arg in node.args
        ]
        columns = [rearranged(node, [part[..., j] for part in parts], self.within.sizes) for j in range(self.total)]
        return self._spend(np.stack(columns, -1))

    def _sum(self, parts: dict[int, sp.Expr], shape: tuple[int, ...], found: dict[int, Any]) -> Any:
        whole = np.full((*shape, self.total), ZERO, object)
        for base, p in parts.items():
            inner = found[base]
            inner = inner.reshape(*(1,) * (len(shape) + 1 - inner.ndim), *inner.shape)
            factors = np.asarray(self.evaluate(p), object)[..., None]
            self.pay(_cost(factors, inner))
            whole = whole + factors * inner
        return self._spend(whole)

    def _spend(self, array: Any) -> Any:
        array = np.asarray(array, object)
        self.pay(sum(len(p.terms) for p in array.ravel()))
        return array

    def value(self, s: sp.Symbol) -> Any:
        """The array of polynomials that an atom is."""
        if s not in self.values:
            self.values[s] = self._value(s)
        return self.values[s]

    def _value(self, s: sp.Symbol) -> Any:
        id = node_of(s)
        if id is None:
            return self._of_atom(s, self.of.atoms[s].expr)
        node, known = self.of.graph[id], self.within.nodes[id]
        if node.family in ("leaf", "number"):
            return _exact(known) if known.is_exact else self._made(known)
        if node.family == "map" and value(self.of, id) != s:
            found = np.asarray(self.evaluate(value(self.of, id)), object)
        elif node.family == "map":
            return self._of_atom(s, node.attrs.expr.xreplace(_over(node)))
        elif node.family == "contract":
            p = node.attrs
            found = self._product(einsum_of(p.a, p.b, p.out), *(self.value(symbol(arg)) for arg in node.args))
        elif node.family in ("gather", "algebra") or is_unbounded(node) or getattr(node.attrs, "kind", "sum") == "max":
            return self._made(known)
        else:
            found = rearranged(node, [self.value(symbol(arg)) for arg in node.args], self.within.sizes)
        return self._kept(np.asarray(found, object), known)

    def _of_atom(self, s: sp.Symbol, expr: sp.Expr) -> Any:
        known = self.within.atoms[s]
        if expr.is_polynomial(*expr.free_symbols):
            return self._kept(np.asarray(self.evaluate(expr), object), known)
        kind, inner = _kind(expr)
        if known.is_exact and kind != "reciprocal":
            return _exact(known)
        # q · (1/q) = 1 holds only where q ≠ 0; a `where` may select another branch there, and the identity must not
        # be used.
        if kind is None or (kind == "reciprocal" and self._is_chosen(inner)):
            return self._made(known)
        key = kind, inner
        if key not in self.meanings:
            self.meanings[key] = self._related(kind, self.evaluate(inner), known)
        return self.meanings[key]

    def _related(self, kind: str, inner: Any, known: Interval) -> Any:
        """Variables for cosines, sines, roots or reciprocals of `inner`, with their identities."""
        inner = np.broadcast_to(np.asarray(inner, object), known.lo.shape)
        ends = np.broadcast_arrays(known.lo, known.hi)
        found = [self._one(kind, *item) for item in zip(inner.ravel(), ends[0].ravel(), ends[1].ravel(), strict=True)]
        return _objects(found, known.lo.shape)

    def _one(self, kind: str, p: Polynomial, lo: float, hi: float) -> Polynomial:
        key = kind, frozenset(p.terms.items())
        if key in self.meanings:
            return self.meanings[key]
        if kind == "reciprocal" and p.is_constant:
            return number(1 / p.constant) if p.constant else self._variable(lo, hi)
        found = self.meanings[key] = self._variable(lo, hi)
        (v,) = next(iter(found.terms))
        if kind in ("cos", "sin"):
            other = self.meanings.get(("sin" if kind == "cos" else "cos", key[1]))
            if other is not None:
                self._known(identity(found * found + other * other + number(-1)))
        elif kind == "root":
            self._known(Identity((v, v), p))
        elif kind == "choice":
            # A choice is 0 or 1, so that its square is itself.
            self._known(Identity((v, v), found))
            self.choices.add(v)
        else:
            self._invert(found, p)
        return found

    def _invert(self, found: Polynomial, p: Polynomial) -> None:
        """Add the identities of 1/p: where it is finite, no factor of p is zero, and a choice among them is 1."""
        self._known(identity(found * p + number(-1)))
        if len(p.terms) == 1:
            for v in self.choices & {*next(iter(p.terms))}:
                self._known(Identity((v,), ONE))
            square = self.reduced(p * p)
            if square.terms:
                self._known(identity(found * found * square + number(-1)))

    def _is_chosen(self, divisor: sp.Expr) -> bool:
        """Answer whether a choice depends on a divisor, so that a quotient by zero may not be selected."""
        g = self.of.graph
        roots = [id for s in divisor.free_symbols if (id := node_of(s)) is not None]
        later = set(g.descendants(roots)) - set(roots)
        chosen = any(g[id].family == "map" and g[id].attrs.expr.has(ops.where) for id in later)
        return chosen or len(roots) < len(divisor.free_symbols)

    def reduced(self, p: Polynomial) -> Polynomial:
        """A polynomial with all identities used."""
        found, count = reduced(p, self.identities, BUDGET - self.spent)
        self.pay(count)
        if found is None:
            raise _TooLong
        return found

    def pay(self, count: int) -> None:
        """Count monomials.

        Raises: _TooLong where they are more than the budget.
        """
        self.spent += count
        if self.spent > BUDGET:
            raise _TooLong

    def _known(self, found: Identity) -> None:
        for v in dict.fromkeys(found.monomial):
            self.identities[v] = (*self.identities.get(v, ()), found)

    def _kept(self, array: Any, known: Interval) -> Any:
        """An array of polynomials; sums of several variables and long ones are variables of their own."""
        ends = [np.broadcast_to(end, array.shape).ravel() for end in (known.lo, known.hi)]
        found = [self._short(*item) for item in zip(array.ravel(), *ends, strict=True)]
        return _objects(found, array.shape)

    def _short(self, p: Polynomial, lo: float, hi: float) -> Polynomial:
        if len(p.terms) <= LONGEST and (p.degree > 1 or len(p.terms) <= 1 or p.is_constant):
            return p
        # A linear sum of several variables is one variable for all that follows: identities act on products, and sums
        # multiplied out would exceed the budget.
        key = "sum", frozenset(p.terms.items())
        if key not in self.meanings:
            self.meanings[key] = self._variable(lo, hi)
        return self.meanings[key]

    def _made(self, known: Interval) -> Any:
        found = [self._variable(lo, hi) for lo, hi in zip(known.lo.ravel(), known.hi.ravel(), strict=True)]
        return _objects(found, known.lo.shape)

    def _variable(self, lo: float, hi: float) -> Polynomial:
        self.intervals.append((float(lo), float(hi)))
        return variable(len(self.intervals) - 1)

    def evaluate(self, expr: sp.Expr) -> Any:
        """A polynomial in atoms over their arrays."""
        if expr.is_Symbol:
            return self.value(expr)
        if expr.is_number:
            return number(Fraction(int(expr.p), int(expr.q)) if expr.is_Rational else float(expr))
        if expr.is_Add:
            return reduce(add, [np.asarray(self.evaluate(part), object) for part in expr.args])
        if expr.is_Mul:
            return reduce(self._times, [np.asarray(self.evaluate(part), object) for part in expr.args])
        if expr.is_Pow and expr.exp.is_Integer and expr.exp > 0:
            base = np.asarray(self.evaluate(expr.base), object)
            return reduce(self._times, [base] * int(expr.exp))
        raise _TooLong

    def _product(self, spec: str, a: Any, b: Any) -> Any:
        counts = [np.reshape([len(p.terms) for p in x.ravel()], x.shape) for x in (a, b)]
        self.pay(int(np.einsum(spec, *counts).sum()))
        return np.einsum(spec, a, b)

    def _times(self, a: Any, b: Any) -> Any:
        a, b = np.asarray(a, object), np.asarray(b, object)
        self.pay(_cost(a, b))
        return a * b


def _turns(algebra: _Algebra, factors: Any, rows: Any) -> Turns | None:
    if not np.isfinite(factors).all():
        return None
    scaled = rows * _objects([number(float(f)) for f in factors], (len(factors), 1))
    entries = np.array([bool(p.terms) for p in scaled.ravel()]).reshape(scaled.shape)
    # Groups that do not enter each other make the Jacobian block triangular, so that each diagonal block is bounded
    # by its own identities.
    graph = nx.from_numpy_array(entries.T, create_using=nx.DiGraph)
    groups = tuple(tuple(sorted(group)) for group in nx.strongly_connected_components(graph))
    norms = np.zeros((len(groups), len(groups)))
    for i, to in enumerate(groups):
        for j, of in enumerate(groups):
            block = scaled[np.ix_(to, of)]
            if entries[np.ix_(to, of)].any():
                # Identities reduce MᵀM of a block that turns; between groups intervals of the entries are enough.
                norms[i, j] = _gram_norm(algebra, block) if i == j else norm_of(_ranges(algebra, block))
    return Turns(norms, groups) if np.isfinite(norms).all() else None


def _gram_norm(algebra: _Algebra, block: Any) -> float:
    """A bound on the 2-norm of a matrix by that of MᵀM, all identities used."""
    count = len(block)
    if count == 1:
        return float(_ranges(algebra, block).size[0, 0])
    gram = np.full((count, count), ZERO, object)
    for i in range(count):
        for j in range(i + 1):
            algebra.pay(_cost(block[:, i], block[:, j]))
            inside = reduce(add, [a * b for a, b in zip(block[:, i], block[:, j], strict=True)], ZERO)
            gram[i, j] = gram[j, i] = algebra.reduced(inside)
    size = norm_of(_ranges(algebra, block))
    squares = [norm_of(_ranges(algebra, gram)), size * size]  # ** would raise an error where it leaves the range
    # I − MᵀM = c u uᵀ with c ≥ 0 is positive semidefinite, so that ‖M‖ ≤ 1.
    squares += [1.0] if min(squares) > 1 and _is_under_one(algebra, gram) else []
    return float(np.sqrt(min(squares)) * (1 + 4 * EPS))


def _is_under_one(algebra: _Algebra, gram: Any) -> bool:
    """Answer whether I − MᵀM is a square c u uᵀ, as of a mirror whose vector has nearly the length one: all its minors with some
    element of its diagonal that is never negative vanish."""
    count, below = len(gram), gram * number(-1) + _identity(len(gram))
    p = next((i for i in range(len(gram)) if below[i, i].terms and _is_square(below[i, i])), None)
    if p is None:
        return False
    algebra.pay(count * _cost(below[:, p], below[p]))
    # G_ij G_pp = G_ip G_pj for all i, j, with G_pp not zero, says that G has rank one.
    minors = below * below[p, p] + below[:, p, None] * below[None, p, :] * number(-1)
    return not any(algebra.reduced(minor).terms for minor in minors.ravel())


def _is_square(p: Polynomial) -> bool:
    """Answer whether a polynomial is a sum of squares term by term."""
    return all(c > 0 and all(m.count(v) % 2 == 0 for v in m) for m, c in p.terms.items())


def _identity(count: int) -> Any:
    found = np.full((count, count), ZERO, object)
    found[np.arange(count), np.arange(count)] = ONE
    return found


def _ranges(algebra: _Algebra, block: Any) -> Interval:
    """The values of polynomials over the intervals of their variables.

    Raises: _TooLong before intervals of more monomials than the budget has left are computed.
    """
    algebra.pay(RANGED * sum(len(p.terms) for p in block.ravel()))
    powers: dict[tuple[int, int], Interval] = {}
    found = [_range(algebra, p, powers) for p in block.ravel()]
    ends = [np.reshape([getattr(f, end) for f in found], block.shape) for end in ("lo", "hi")]
    return Interval(*ends)


def _range(algebra: _Algebra, p: Polynomial, powers: dict[tuple[int, int], Interval]) -> Interval:
    """The values of a polynomial over the intervals of its variables; `powers` of these are stored for the next one."""
    if p.is_constant:
        return constant(p.constant)

    def power(v: int, exponent: int) -> Interval:
        if (v, exponent) not in powers:
            powers[v, exponent] = evaluate(X**exponent, {X: between(*algebra.intervals[v])})
        return powers[v, exponent]

    parts = [
        reduce(multiply, [power(v, monomial.count(v)) for v in dict.fromkeys(monomial)], constant(coefficient))
        for monomial, coefficient in p.terms.items()
    ]
    return reduce(plus, parts)


def constant(value: Fraction) -> Interval:
    """Return the interval that contains a rational number; one with an infinite end where no float is so large."""
    if abs(value) > LARGEST:
        return Interval(LARGEST, np.inf) if value > 0 else Interval(-np.inf, -LARGEST)
    near = float(value)
    return (
        exactly(near) if Fraction(near) == value else Interval(np.nextafter(near, -np.inf), np.nextafter(near, np.inf))
    )


def _cost(a: Any, b: Any) -> int:
    """Count the products of monomials that a product of arrays takes."""
    counts = [np.reshape([len(p.terms) for p in x.ravel()], x.shape) for x in (a, b)]
    return int(np.sum(counts[0] * counts[1]))


def _over(node: Node) -> dict[sp.Symbol, sp.Symbol]:
    return {sp.Symbol(f"_{i}", real=True): symbol(arg) for i, arg in enumerate(node.args)}


def _kind(expr: sp.Expr) -> tuple[str | None, sp.Expr]:
    """Return the relation of a function to its argument, where an identity is known for it."""
    for kind, function in (("cos", sp.cos), ("sin", sp.sin)):
        if isinstance(expr, function):
            return kind, expr.args[0]
    if expr.func is ops.where and expr.args[1:] == (1, 0):
        return "choice", expr.args[0]
    if isinstance(expr, sp.Pow) and expr.exp == sp.Rational(1, 2):
        return "root", expr.base
    if isinstance(expr, sp.Pow) and expr.exp == -1:
        return "reciprocal", expr.base
    return None, expr


def _exact(known: Interval) -> Any:
    return _objects([number(float(v)) for v in np.ravel(known.lo)], np.shape(known.lo))


def _objects(items: list[Polynomial], shape: tuple[int, ...]) -> Any:
    found = np.empty(len(items), object)
    found[:] = items
    return found.reshape(shape)
