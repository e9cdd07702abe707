"""The elementwise parts of a step: its values as polynomials, and their derivatives with respect to their arguments.

Between products, sums and views a step is elementwise. There each entry of a value is a polynomial in a few *atoms*:
values such as gates, and slopes such as φ′. That keeps what intervals forget, that z and 1 − z are not both 1.

For example h' = z h + (1 − z) a has the values z and a as atoms and the polynomial z h + (1 − z) a. Its derivative with
respect to h is z plus (1 − z) a' times that of a's argument. For z in [0, 1] a bound on z + (1 − z) q is max(1, q), found
at the ends of z as the polynomial is affine in it; intervals of the factors alone would give 1 + q.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import sympy as sp

from symbptt import ops
from symbptt.autodiff.partials import VALUE, partials
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import NAME_OF, as_sympy
from symbptt.ir.step import Step
from symbptt.stability.algebra.atoms import node_of, symbol
from symbptt.stability.algebra.cuts import LONG, WIDE, place_of_cut
from symbptt.stability.algebra.maximum_gap import Gap, gaps_of
from symbptt.stability.algebra.order import Order, order_of
from symbptt.stability.algebra.scalar_functions import X, body_of
from symbptt.stability.algebra.softmax import softmax_of
from symbptt.stability.algebra.unit_vectors import Scaled, scaled_of

LARGEST = 16
"""Operations in a polynomial at the most; beyond, a value is an atom of its own."""
LONGEST = 60
"""Operations in a function that may be one of the table, at the most."""
COMPOSED = {body_of(op.name): op.name for op in ops.OPS if op.arity == 1 and not op.code}
"""Functions of the table that are made of others, by their body in X."""


@dataclass(frozen=True)
class Atom:
    """A symbol's meaning: an expression over values of nodes (symbols `v<id>`) and atoms made before it, for a slope φ′ of the
    table the name of φ, and for the slope of any other function of one value that slope, in X."""

    expr: sp.Expr
    slope_of: str = ""
    slope: sp.Expr | None = None


@dataclass(frozen=True)
class Softmax:
    """A softmax of the node `x` along `axes`; `slope` is y (1 − y) of its values, half of the row sums of |∂y/∂x|."""

    x: int
    axes: tuple[int, ...]
    slope: sp.Symbol


@dataclass(frozen=True)
class Normed:
    """A value that is scaled by its own length: `slope` is the factor that it is scaled by, `parts` its derivative by those of
    its arguments, as `terms`."""

    known: Scaled
    slope: sp.Symbol
    parts: dict[int, sp.Expr]


@dataclass(frozen=True, eq=False)
class Local:
    """A step's elementwise parts: `atoms` that are no values of nodes, `values` as polynomials; the softmaxes between these, and
    the values that are `scaled` by their own length.

    `alone` has the values that are functions, in X, of one other value, by that; `cut` the elementwise values that are bases of
    their own, with the node behind which they are.
    """

    step: Step
    atoms: dict[sp.Symbol, Atom] = field(default_factory=dict)
    _values: dict[int, sp.Expr] = field(default_factory=dict)
    _terms: dict[int, dict[int, sp.Expr]] = field(default_factory=dict)
    _joined: dict[int, dict[int, sp.Expr]] = field(default_factory=dict)
    alone: dict[int, dict[int, sp.Expr]] = field(default_factory=dict)
    softmaxes: dict[int, Softmax] = field(default_factory=dict)
    scaled: dict[int, Normed] = field(default_factory=dict)
    cut: dict[int, int] = field(default_factory=dict)
    _known: dict[Atom, sp.Symbol] = field(default_factory=dict)
    _lengths: dict[sp.Symbol, int] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return self.step.graph

    @cached_property
    def fixed(self) -> frozenset[int]:
        """The nodes that no input and no state enters."""
        return frozenset(range(len(self.graph))) - self._reached("input", "state", "index")

    @cached_property
    def recurrent(self) -> frozenset[int]:
        """The nodes that a state enters."""
        return self._reached("state")

    @cached_property
    def gaps(self) -> dict[int, Gap]:
        """The values that are functions of x − max x."""
        return gaps_of(self.graph)

    @cached_property
    def order(self) -> Order:
        """The bounds on sums and quotients by the way they are made."""
        return order_of(self.graph)

    @cached_property
    def composed(self) -> dict[int, tuple[int, sp.Expr]]:
        """The values that are functions, made of several, of one other value: its node and the function, in X."""
        found = {id: min(alone.items()) for id, alone in self.alone.items()}
        return {id: (root, expr) for id, (root, expr) in found.items() if root != id and not _is_plain(expr)}

    @cached_property
    def in_values(self) -> frozenset[sp.Symbol]:
        """The atoms that values are made of."""
        found = {s for p in self._values.values() for s in p.free_symbols}
        # Atoms are made of earlier ones only, so that one pass backwards finds all that are needed.
        for s in reversed(self.atoms):
            found |= self.atoms[s].expr.free_symbols if s in found else set()
        return frozenset(found)

    def _reached(self, *roles: str) -> frozenset[int]:
        return frozenset(self.graph.descendants(leaf.id for leaf in self.graph.leaves(*roles)))


def local(step: Step) -> Local:
    """Return the elementwise parts of a step."""
    found = Local(step)
    last = {arg: node.id for node in step.graph for arg in node.args} | dict.fromkeys(
        step.next.values(), len(step.graph)
    )
    before = list[int]()
    begin = id = 0
    while id < len(step.graph):
        node = step.graph[id]
        # A cut returns to an earlier node: later counts of atoms are dropped, and the nodes behind the cut are read
        # again.
        before[id:] = [len(found.atoms)]
        found._values[id] = _value(found, node)
        found._terms[id] = _derivative(found, node)
        if begin < id and _is_long(found, node):
            begin = id = _cut(found, begin, id, last) + 1
            _forget(found, before[id])
        else:
            id += 1
    for id, parts in list(found._terms.items()):
        found._joined[id] = {base: _over_divisors(found, p) for base, p in parts.items()}
    return found


def _is_long(of: Local, node: Node) -> bool:
    """Answer whether a derivative has too many bases, or polynomials that are too long with the atoms that these are made of."""
    parts = of._terms[node.id]
    if node.family != "map" or len(parts) < 2:
        return False
    return len(parts) > WIDE or sum(_length(of, p) for p in parts.values()) > LONG


def _length(of: Local, p: sp.Expr) -> int:
    """The operations of a polynomial with those of its atoms, but for slopes of functions."""
    return int(p.count_ops()) + sum(_length_of_atom(of, s) for s in p.free_symbols if s in of.atoms)


def _length_of_atom(of: Local, s: sp.Symbol) -> int:
    if s not in of._lengths:
        atom = of.atoms[s]
        of._lengths[s] = 0 if atom.slope_of or atom.slope is not None else _length(of, atom.expr)
    return of._lengths[s]


def _cut(of: Local, begin: int, wide: int, last: dict[int, int]) -> int:
    """Cut a step before a node whose derivative is too long, and return the node behind which it is cut."""
    moving = [id for id in sorted(of.recurrent) if id < wide]
    live = {at: [id for id in moving if id <= at < last.get(id, -1)] for at in range(begin, wide)}
    bases = {
        id: len(of._terms[id])
        for id in moving
        if id >= begin and of.graph[id].family == "map" and id not in of.softmaxes
    }
    place = place_of_cut(live, bases)
    of.cut.update((id, place) for id in live[place] if id in bases)
    return place


def _forget(of: Local, count: int) -> None:
    """Drop the atoms of the nodes that are read again behind a cut."""
    for s in list(of.atoms)[count:]:
        del of._known[of.atoms[s]], of.atoms[s]
        of._lengths.pop(s, None)


def value(of: Local, id: int) -> sp.Expr:
    """Return a value as a polynomial in atoms."""
    return of._values[id]


def terms(of: Local, id: int) -> dict[int, sp.Expr]:
    """Return the derivative of a value with respect to the states as Σ diag(p) ∂base/∂states: p by base."""
    return of._joined[id]


def plain_terms(of: Local, id: int) -> dict[int, sp.Expr]:
    """Return the same by the parts of each factor: a numerator stays apart from its divisor, as exact algebra needs it."""
    known = of.scaled.get(id)
    return of._terms[id] if known is None else known.parts


def _seen(of: Local, id: int, reader: Node) -> dict[int, sp.Expr]:
    """The derivative of a value as a later one has it: that of a value that is cut off is a base of its own."""
    return {id: sp.S.One} if of.cut.get(id, reader.id) < reader.id else of._terms[id]


def _value(of: Local, node: Node) -> sp.Expr:
    if node.family == "number" and not node.shape:
        return as_sympy(node.attrs.value)
    if node.family != "map" or node.id in of.fixed or _is_function(node.attrs.expr):
        return symbol(node.id)
    found = _polynomial(of, node, node.attrs.expr)
    return found if found.count_ops() <= LARGEST else symbol(node.id)


def _is_function(expr: sp.Expr) -> bool:
    return bool(expr.is_Function and expr.func is not ops.where)


def _polynomial(of: Local, node: Node, expr: sp.Expr) -> sp.Expr:
    """An expression over a node's placeholders (and VALUE) with all that is no polynomial as atoms."""
    if expr == VALUE:
        return of._values.get(node.id, symbol(node.id))
    if expr.is_Symbol:
        return of._values[node.args[int(expr.name[1:])]]
    if not expr.free_symbols:
        return expr
    if expr.is_Add or expr.is_Mul:
        return expr.func(*[_polynomial(of, node, part) for part in expr.args])
    if expr.is_Pow and expr.exp.is_Integer and expr.exp > 0:
        return _polynomial(of, node, expr.base) ** expr.exp
    if expr.func is ops.where and expr.args[1:] != (1, 0):
        choice = _atom(of, node, ops.where(expr.args[0], 1, 0))
        a, b = (_polynomial(of, node, part) for part in expr.args[1:])
        # The choice is an atom in [0, 1] that both branches share, so that a bound takes the larger branch and not
        # the sum of both.
        return choice * a + (1 - choice) * b
    return _atom(of, node, expr)


def _atom(of: Local, node: Node, expr: sp.Expr, slope_of: str = "") -> sp.Symbol:
    """The atom of an expression over a node's placeholders, made now or before."""
    return _made(of, Atom(_over_nodes(node, expr), slope_of))


def _made(of: Local, meaning: Atom) -> sp.Symbol:
    if meaning not in of._known:
        made = sp.Symbol(f"a{len(of.atoms)}", real=True)
        of.atoms[made], of._known[meaning] = meaning, made
    return of._known[meaning]


def _over_nodes(node: Node, expr: sp.Expr) -> sp.Expr:
    over = {placeholder(i): symbol(arg) for i, arg in enumerate(node.args)} | {VALUE: symbol(node.id)}
    return _completed(expr).xreplace(over)


def _completed(expr: sp.Expr) -> sp.Expr:
    """A quadratic in the value, as of sigmoid's derivative, as a square and a number, so that intervals are sharp."""
    if expr.free_symbols != {VALUE} or not expr.is_polynomial(VALUE) or sp.degree(expr, VALUE) != 2:
        return expr
    # y (1 − y) reads y twice and is [0, 1] by intervals over [0, 1]; 1/4 − (y − 1/2)² reads it once and is [0, 1/4].
    a, b, c = (sp.Poly(expr, VALUE).coeff_monomial(VALUE**k) for k in (2, 1, 0))
    return a * (VALUE + b / (2 * a)) ** 2 + c - b**2 / (4 * a)


def _derivative(of: Local, node: Node) -> dict[int, sp.Expr]:
    if node.id not in of.recurrent:
        return {}
    if node.family != "map":
        return {node.id: sp.S.One}
    if known := softmax_of(of.graph, node):
        y = symbol(node.id)
        of.softmaxes[node.id] = Softmax(*known, _made(of, Atom(sp.Rational(1, 4) - (y - sp.Rational(1, 2)) ** 2)))
        return {node.id: sp.S.One}
    # A slope that the table knows as a whole is sharper than one put together from partial derivatives.
    composed = _composed(of, node)
    if composed is not None:
        return composed
    found = _by_partials(of, node)
    # Only derivatives of the parts are found first: `plain_terms` still needs them where the algebra multiplies out
    # JᵀJ.
    if known_length := scaled_of(of.graph, node, of.alone):
        by = symbol(known_length.by)
        slope = _made(of, Atom(1 / by)) if known_length.divides else by
        of.scaled[node.id] = Normed(known_length, slope, found)
        of._values[node.id] = symbol(node.id)  # it has a range of its own, which its factors have not
        return {node.id: sp.S.One}
    return found


def _by_partials(of: Local, node: Node) -> dict[int, sp.Expr]:
    """The derivative of a value by those of its arguments."""
    found: dict[int, sp.Expr] = {}
    for i, (arg, partial) in enumerate(zip(node.args, partials(node.attrs.expr, len(node.args)), strict=True)):
        if arg not in of.recurrent or partial == 0:
            continue
        slope = _slope(of, node, i, partial)
        for base, p in _seen(of, arg, node).items():
            found[base] = found.get(base, sp.S.Zero) + slope * p
    return {base: p if p.count_ops() <= 2 * LARGEST else _made(of, Atom(p)) for base, p in found.items() if p != 0}


def _over_divisors(of: Local, p: sp.Expr) -> sp.Expr:
    """Return a derivative in which a numerator and a divisor that bounds it are one atom: intervals of the parts would forget
    that these go together, as u and 1/b² do in the slope of u/b, b = √(u² + v²)."""
    if p.is_Add:
        return p.func(*[_over_divisors(of, term) for term in p.args])
    if not p.is_Mul:
        return p
    plain = [f for f in p.args if f in of.atoms and not of.atoms[f].slope_of and of.atoms[f].slope is None]
    rest = [f for f in p.args if f not in plain and node_of(f.as_base_exp()[0]) is None]
    values = [f for f in p.args if f not in plain and f not in rest]
    whole = sp.Mul(*(of.atoms[f].expr for f in plain), *values)
    if not plain or of.order.quotient(whole) is None:
        return p
    return sp.Mul(*rest, _made(of, Atom(whole)))


def _slope(of: Local, node: Node, i: int, partial: sp.Expr) -> sp.Expr:
    expr = node.attrs.expr
    if expr.is_Function and expr.args == (placeholder(0),) and partial.free_symbols:
        return _atom(of, node, partial, NAME_OF.get(expr.func, ""))
    return _polynomial(of, node, partial)


def _composed(of: Local, node: Node) -> dict[int, sp.Expr] | None:
    """The derivative of a function that is composed of others, such as gelu, by the slope that the table knows."""
    alone = _functions_of_one(of, node)
    of.alone[node.id] = {node.id: X} | alone
    for root, expr in alone.items():
        if expr in COMPOSED:
            return _by_slope(of, node, root, sp.diff(expr, X), COMPOSED[expr])
    root, expr = next(iter(alone.items()), (node.id, X))
    return None if _is_plain(expr) else _by_slope(of, node, root, sp.diff(expr, X))


def _by_slope(of: Local, node: Node, root: int, slope: sp.Expr, name: str = "") -> dict[int, sp.Expr]:
    """The derivative of a function of one value, whose slope is one atom: intervals of its parts would forget that these go
    together, as x and σ(x) do in the slope of x σ(x)."""
    if not slope.free_symbols:
        return {base: slope * p for base, p in _seen(of, root, node).items() if slope != 0}
    made = _made(of, Atom(slope.xreplace({X: symbol(root)}), name, None if name else slope))
    return {base: made * p for base, p in _seen(of, root, node).items()}


def _is_plain(expr: sp.Expr) -> bool:
    """Answer whether a function is a polynomial, or one of the table up to factors and terms: intervals bound its slope sharply."""
    if expr.is_polynomial(X):
        return True
    (function, *others) = [f for f in expr.atoms(sp.Function, sp.Pow) if f.has(X)]
    affine = expr.xreplace({function: X})
    return (
        not others
        and bool(function.is_Function)
        and affine.is_polynomial(X)
        and sp.degree(affine, X) == 1
        and _is_affine(function)
    )


def _is_affine(function: sp.Expr) -> bool:
    """Answer whether a function of the table is one of X up to factors and terms."""
    argument = function.args[0]
    known = len(function.args) == 1 and function.func in NAME_OF and not hasattr(function.func, "expansion")
    return known and argument.is_polynomial(X) and sp.degree(argument, X) == 1


def _functions_of_one(of: Local, node: Node) -> dict[int, sp.Expr]:
    """This value as a function of one other, X, by that value."""
    varying = [arg for arg in node.args if of.graph[arg].family != "number"]
    if not varying or any(of.graph[arg].shape for arg in node.args if arg not in varying):
        return {}
    found = {}
    known = [of.alone.get(arg, {arg: X}) for arg in varying]
    for root in set(known[0]).intersection(*known[1:]):
        parts = {
            placeholder(i): of._values[arg] if arg not in varying else of.alone.get(arg, {arg: X})[root]
            for i, arg in enumerate(node.args)
        }
        expr = node.attrs.expr.xreplace(parts)
        if expr.count_ops() <= LONGEST:
            found[root] = expr
    return dict(sorted(found.items()))
