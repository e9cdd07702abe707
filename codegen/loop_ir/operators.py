"""The body of a map as a tree of operators on whole arrays, as an array library computes it: each makes one array of its
operands. What is printed, counted and held in memory is this tree.

Example: sigmoid(x) of the body is `divide(1, add(1, exp(negative(x))))`, four operators; `x**3` of a variable x is
`multiply(multiply(x, x), x)`, for a power takes as long as logarithms do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias, TypeVar

import sympy as sp

from symbptt import ops
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, parts_of, whole_power

MANY = 64
"""The number of terms or factors in one row: each is nested one deeper in a syntax tree, whose depth compilers limit."""
AS_NUMBER = "number"
"""The operator that gives truth values the type of the data."""
T = TypeVar("T")


@dataclass(frozen=True)
class Op:
    """An operator, by the name of its function, and its operands."""

    name: str
    args: tuple[Operator, ...]


Operator: TypeAlias = Op | Ref | Num
ONE = Num(sp.S.One)


def is_condition(tree: Tree) -> bool:
    """Answer whether the values of a tree are truths."""
    return isinstance(tree, Call) and bool(getattr(ops.BY_NAME[tree.name].body, "boolean", False))


def operators(tree: Tree, is_variable: Callable[[int], bool] = lambda _: True) -> Operator:
    """Return a tree as operators; a reference that is no variable is an expression, which is not computed twice."""

    def of(part: Tree) -> Operator:
        return operators(part, is_variable)

    def number(part: Tree) -> Operator:
        # NumPy negates no truth values, and divides them in double precision.
        return Op(AS_NUMBER, (of(part),)) if is_condition(part) else of(part)

    match tree:
        # Sums from the left to the right, as Python and C read them: another order would give other digits, and two
        # targets other results.
        case Sum(terms):
            return _sum(_flat(terms), number)
        case Prod(factors, divisors):
            return reduce(lambda x, d: Op("divide", (x, number(d))), divisors, _product(list(map(number, factors))))
        case Power(base, exponent):
            return _power(base, exponent, number, is_variable)
        case Call("stop_gradient", (arg,)):
            return of(arg)
        case Call("sigmoid", (arg,)):
            return of(logistic(arg))
        case Call(name, args):
            return Op(name, tuple(map(of, args)))
        case Ref() | Num():
            return tree
    raise AssertionError(tree)


def logistic(x: Tree) -> Tree:
    """Return sigmoid(x) as a tree of operators that array libraries have, 1 / (1 + exp(-x))."""
    # This form keeps the digits of small values, where (1 + tanh(x/2)) / 2 cancels. -(-x) is x in IEEE arithmetic.
    is_negated = isinstance(x, Sum) and len(x.terms) == 1 and x.terms[0][0] < 0
    inside = x.terms[0][1] if isinstance(x, Sum) and is_negated else Sum(((-1, x),))
    return Prod((ONE,), (Sum(((1, ONE), (1, Call("exp", (inside,))))),))


def _flat(terms: Sequence[tuple[int, Tree]]) -> list[tuple[int, Tree]]:
    """Return the terms of a sum, those of sums that are added to it among them: a + (b - c) is a + b - c, and a + -b is
    a - b."""
    found: list[tuple[int, Tree]] = []
    for sign, term in terms:
        found += _flat(term.terms) if sign > 0 and isinstance(term, Sum) else [(sign, term)]
    return found


def _sum(terms: Sequence[tuple[int, Tree]], number: Callable[[Tree], Operator]) -> Operator:
    if len(terms) > MANY:
        return reduce(lambda x, y: Op("add", (x, y)), (_sum(row, number) for row in _rows(terms)))
    (sign, first), *rest = terms
    found = number(first) if sign > 0 else _negative(number(first))
    for sign, term in rest:
        found = Op("add" if sign > 0 else "subtract", (found, number(term)))
    return found


def _negative(x: Operator) -> Operator:
    # The sign of a product goes to its first factor, which may be a number.
    if isinstance(x, Op) and x.name in ("multiply", "divide"):
        return Op(x.name, (_negative(x.args[0]), *x.args[1:]))
    return Op("negative", (x,))


def _product(factors: Sequence[Operator]) -> Operator:
    # Rows of rows: the depth grows with the logarithm of the number of factors.
    while len(factors) > MANY:
        factors = [_product(row) for row in _rows(factors)]
    return reduce(lambda x, y: Op("multiply", (x, y)), factors)


def _rows(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[i : i + MANY] for i in range(0, len(items), MANY)]


def _power(
    base: Tree, exponent: Tree, number: Callable[[Tree], Operator], is_variable: Callable[[int], bool]
) -> Operator:
    # A variable may be read twice at no cost. An expression would be computed twice, so that its square stays a
    # power, which NumPy knows as a product with itself.
    count = whole_power(Power(base, exponent))
    two = Num(sp.Integer(2))
    if count in (2, 3) and isinstance(base, Ref) and is_variable(base.index):
        return _product([base] * count)
    if count > 2 and count % 2 == 0:  # NumPy knows squares
        return Op("power", (_power(base, Num(sp.Integer(count // 2)), number, is_variable), two))
    if count > 2 and not has_call(base):  # a product of a cheap base is faster than a power
        return Op("multiply", (number(base), _power(base, Num(sp.Integer(count - 1)), number, is_variable)))
    return Op("power", (number(base), operators(exponent, is_variable)))


def has_call(tree: Tree) -> bool:
    """Answer whether a tree calls a function or takes a power."""
    return isinstance(tree, Call | Power) or any(map(has_call, parts_of(tree)))


def reads_nothing(x: Operator) -> bool:
    """Answer whether an operator is a formula of literals."""
    return not isinstance(x, Ref) and (isinstance(x, Num) or all(map(reads_nothing, x.args)))


def tree_operations(tree: Tree) -> int:
    """Return the operations of an elementwise body for one element."""
    parts = parts_of(tree)
    own = len(parts) - 1 if isinstance(tree, Sum | Prod) else len(parts[:1])
    # The sign of the first term of a sum is an operation; the others are those of subtractions.
    signs = isinstance(tree, Sum) and tree.terms[0][0] < 0
    return own + signs + sum(map(tree_operations, parts))
