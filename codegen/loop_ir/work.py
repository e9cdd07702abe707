"""The number of scalar operations of statements, as a size in named sizes, steps, samples and the steps of a block."""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp

from symbptt.codegen.loop_ir.nodes import Contract, Cumulate, If, Loop, Map, Reduce, Scan, Scatter, Statement, elements
from symbptt.ir.scalar import Call, Power, Prod, Sum, Tree
from symbptt.ir.shape import Size, prod, size


def operations(s: Statement) -> Size:
    """Return the operations of a statement: each call of a function, sum, product, quotient and change of sign is one.

    A loop takes those of its body in all rounds, a condition those where it is true, a scan those step by step. The second
    computation of tiny elements is not counted, nor are copies.
    """
    match s:
        case Map():
            return size(elements(s.out) * tree_operations(s.body))
        case Contract():
            lengths = dict(zip(s.labels.a + s.labels.b, s.a.shape + s.b.shape, strict=True))
            return size(2 * prod(lengths.values()))  # a multiplication and an addition for each combination of labels
        case Reduce():
            return elements(s.x)
        case Scatter() | Cumulate():
            return elements(s.x)
        case Loop():
            return _in_rounds(s, work(s.body))
        case If() | Scan():
            return work(s.body)
    return 0


def work(body: Iterable[Statement]) -> Size:
    """Return the operations of all statements."""
    return size(sum((operations(s) for s in body), start=0))


def _in_rounds(s: Loop, inside: Size) -> Size:
    """Return the operations of all rounds of a loop.

    Operations of a round of blocks are linear in its number of steps: those that occur once are multiplied by the
    number of rounds, those that occur for each step by the number of all steps.
    """
    steps = size(s.stop - s.start)
    if s.count is None:
        return size(steps * inside)
    # inside = each * count + once
    each, once = sp.Poly(inside, s.count).all_coeffs()[-2:] if sp.sympify(inside).has(s.count) else (0, inside)
    # A ceiling is no polynomial, and is left out where nothing occurs once a round.
    rounds = sp.ceiling(sp.sympify(steps) / s.strip) if once != 0 else 0
    return size(each * steps + once * rounds)


def tree_operations(tree: Tree) -> int:
    """Return the operations of an elementwise body for one element."""
    match tree:
        case Sum(terms):
            # The sign of the first term is an operation; the others are those of subtractions.
            signs = terms[0][0] < 0
            return len(terms) - 1 + signs + sum(tree_operations(term) for _, term in terms)
        case Prod(factors, divisors):
            return len(factors) + len(divisors) - 1 + sum(map(tree_operations, factors + divisors))
        case Power(base, exponent):
            return 1 + tree_operations(base) + tree_operations(exponent)
        case Call(_, args):
            return 1 + sum(map(tree_operations, args))
    return 0
