"""Formulas of elementwise values with the formulas of others in them, as flat ordered trees."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from functools import cache

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.equations.algebra.expressions import normal
from symbptt.ir.algebra import is_unit_matrix
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_sympy, indices, parts_of, tree_of, with_parts
from symbptt.ir.shape import Shape


def whole_tree(g: Graph, named: Container[int], id: int) -> Tree:
    """Return the tree of a map with all unnamed maps of its shape, or of numbers, in it; sums of sums and products of
    products flattened."""
    return _expanded(g, named, id, g.shape(id), top=True)


def truth(g: Graph, tree: Tree) -> Tree:
    """Return a tree that chooses between two values as a condition: a number chooses by not being zero."""
    # As NumPy's where reads numbers: all but 0 are true.
    return tree if is_truth(g, tree) else Call("not_equal", (tree, Num(sp.S.Zero)))


def is_truth(g: Graph, tree: Tree) -> bool:
    """Answer whether the values of a tree are true and false."""
    if isinstance(tree, Call) and tree.name in ops.BY_NAME:
        return bool(getattr(ops.BY_NAME[tree.name].body, "boolean", False))
    if not isinstance(tree, Ref):
        return False
    node = g[tree.index]
    while node.family == "view" and node.attrs.kind in ("reshape", "expand", "transpose", "slice"):
        node = g[node.args[0]]
    if node.family == "cumulate":
        # A running sum over the identity is 0 in front of the diagonal and 1 from there on.
        return is_unit_matrix(g, node.args[0])
    return node.family == "map" and bool(getattr(node.attrs.expr.func, "boolean", False))


def with_conditions(g: Graph, node: Node, tree: Tree) -> Tree:
    """Return a tree over the arguments of a value, in which all that chooses between two values is a condition."""
    match tree:
        case Call("where", (Ref(index) as condition, *values)):
            test = condition if is_truth(g, Ref(node.args[index])) else Call("not_equal", (condition, Num(sp.S.Zero)))
            return Call(choice(g, values, node.args), (test, *(with_conditions(g, node, value) for value in values)))
        case Call("where", (condition, *values)):
            new = (truth(g, condition), *(with_conditions(g, node, value) for value in values))
            return Call(choice(g, values, node.args), new)
    return with_parts(tree, (with_conditions(g, node, part) for part in parts_of(tree)))


def choice(g: Graph, values: Iterable[Tree], args: Sequence[int] | None = None) -> str:
    """Return the name of a choice between values, trees over `args` or over ids: of one with ∞ it is another, as its page keeps
    the brace."""
    return "where_infinite" if any(may_be_infinite(g, x, args) for x in values) else "where"


def may_be_infinite(g: Graph, tree: Tree, args: Sequence[int] | None = None) -> bool:
    """Answer whether a value may be ∞ that the user wrote, by way of choices, products, sums and views; a function of ∞, as a
    softmax of what is masked by it, is a number."""
    read, seen = list(_read_plainly(tree, args)), set[int]()
    while read:
        found = read.pop()
        if isinstance(found, Num):
            if found.value.is_infinite:
                return True
            continue
        node = g[found.index]
        if node.family == "number" and np.isinf(node.attrs.value).any():
            return True
        if node.id not in seen:
            seen.add(node.id)
            read += _read_plainly(tree_of(node.attrs.expr), node.args) if node.family == "map" else ()
            read += map(Ref, node.args) if node.family == "view" else ()
    return False


def _read_plainly(tree: Tree, args: Sequence[int] | None) -> Iterator[Num | Ref]:
    """Yield the numbers and the values, by their ids, that are ∞ where a tree is that reads them in no function."""
    match tree:
        case Num():
            yield tree
        case Ref(index):
            yield tree if args is None else Ref(args[index])
        case Sum(terms):
            yield from (x for _, term in terms for x in _read_plainly(term, args))
        case Prod(factors, _):
            yield from (x for factor in factors for x in _read_plainly(factor, args))
        case Call("where", (_, *values)):
            yield from (x for value in values for x in _read_plainly(value, args))


def read_by(node: Node) -> Sequence[int]:
    """Return the arguments of a value, each as often as it stands in its formula."""
    return [node.args[i] for i in _read_in(node.attrs.expr)] if node.family == "map" else node.args


@cache
def _read_in(expr: sp.Expr) -> tuple[int, ...]:
    """Return the arguments that a body reads, each as often as it stands in it."""
    return indices(tree_of(expr))


GUARDED = ops.where(placeholder(0), placeholder(1), 0)
"""A value that is zero where a number is."""
MODULI = (ops.absolute(placeholder(0)), ops.modulus(placeholder(0)))


def multiplied(g: Graph, node: Node) -> tuple[int, int]:
    """Return what a product multiplies, without the tests of code that no infinite entry meets a zero: on a page a product with a
    factor of zero is zero."""
    a, b = node.args
    return _unguarded(g, a, b), _unguarded(g, b, a)


def _unguarded(g: Graph, operand: int, beside: int) -> int:
    """Return an operand of a product itself where it is zero if all entries beside it are that it is multiplied by."""
    node = g[operand]
    if node.family != "map" or node.attrs.expr != GUARDED:
        return operand
    test = g[node.args[0]]
    while test.family == "view" or (test.family == "reduce" and test.attrs.kind == "max"):
        test = g[test.args[0]]
    is_largest = test.family == "map" and test.attrs.expr in MODULI and test.args == (beside,)
    return node.args[1] if is_largest else operand


LONGEST = 10_000
"""Operations of a formula that is still written; values that are read twice stand twice in it."""


def is_long(g: Graph, named: Container[int], id: int, longest: int = LONGEST) -> bool:
    """Answer whether the formula of a value has more than `longest` operations, without writing it."""
    count, open_ = 0, [*read_by(g[id])]
    # Values that are read twice are counted twice, so that the count may be exponential: it stops at the limit.
    while open_ and count <= longest:
        arg = open_.pop()
        count += 1
        if arg not in named:
            open_.extend(read_by(g[arg]))
    return count > longest


def _expanded(g: Graph, named: Container[int], id: int, shape: Shape, top: bool = False) -> Tree:
    node = g[id]
    if node.family == "number" and not node.shape:
        return tree_of(as_sympy(node.attrs.value))
    if (id in named and not top) or node.family not in ("map", "view"):
        return Ref(id)
    fits = normal(node.shape) in ((), normal(shape))
    if node.family == "view" and fits and node.attrs.kind in ("expand", "reshape"):
        inner = g.shape(node.args[0])
        if normal(inner) == () or normal(inner) == normal(node.shape):
            return _expanded(g, named, node.args[0], shape)
    if node.family == "view" and node.attrs.kind == "expand" and node.shape == shape and len(shape) == 2:
        return _expanded(g, named, node.args[0], shape)  # a column or a row is repeated where it is read
    if node.family != "map" or not fits:
        return Ref(id)
    return _substitute(tree_of(node.attrs.expr), [_expanded(g, named, arg, node.shape) for arg in node.args])


def _substitute(tree: Tree, parts: list[Tree]) -> Tree:
    match tree:
        case Ref(index):
            return parts[index]
        case Num():
            return tree
        case Sum(terms):
            return Sum(tuple([pair for sign, term in terms for pair in _terms(sign, _substitute(term, parts))]))
        case Prod(factors, divisors):
            return _flat_product([_substitute(f, parts) for f in factors], [_substitute(d, parts) for d in divisors])
        case Power(base, exponent):
            return Power(_substitute(base, parts), _substitute(exponent, parts))
        case Call(name, args):
            return Call(name, tuple([_substitute(arg, parts) for arg in args]))
    raise AssertionError(tree)


def _terms(sign: int, tree: Tree) -> list[tuple[int, Tree]]:
    if isinstance(tree, Sum):
        return [(sign * inner, term) for inner, term in tree.terms]
    return [(sign, tree)]


def _flat_product(factors: list[Tree], divisors: list[Tree]) -> Tree:
    above: list[Tree] = []
    below = list(divisors)
    sign = 1
    for factor in factors:
        if isinstance(factor, Sum) and len(factor.terms) == 1 and factor.terms[0][0] < 0:
            sign, factor = -sign, factor.terms[0][1]
        if isinstance(factor, Prod):
            above += factor.factors
            below += factor.divisors
        else:
            above.append(factor)
    above = [factor for factor in above if not _is_one(factor)] or above[:1]
    tree: Tree = Prod(tuple(above), tuple(below)) if below or len(above) != 1 else above[0]
    return Sum(((-1, tree),)) if sign < 0 else tree


def _is_one(tree: Tree) -> bool:
    return isinstance(tree, Num) and tree.value is sp.S.One
