"""NumPy text for the body of an elementwise function: arithmetic and calls over the texts of its arguments."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from symbptt import ops
from symbptt.codegen.targets.numpy.text import ATOM, POWER, PRODUCT, SUM, Written, bracket, number_text
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_python, indices, whole_power

MANY = 64
"""The number of terms or factors in one row: each term is nested one deeper in Python's syntax tree, and its compiler
limits the depth."""

OPERATORS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")


def body_text(tree: Tree, parts: Sequence[Written]) -> Written:
    """Return the text of a tree, with `parts` in place of its references."""
    match tree:
        case Ref(index):
            return parts[index]
        case Num(value):
            return number_text(as_python(value)), ATOM
        case Sum(terms):
            return _sum(terms, parts), SUM
        case Prod(factors, divisors):
            return _product(factors, divisors, parts), PRODUCT
        case Power(base, exponent):
            return _power(base, exponent, parts)
        case Call(name, args):
            return _call(name, args, parts)
    raise AssertionError(tree)


def has_call(tree: Tree) -> bool:
    """Answer whether a tree calls a function or takes a power."""
    match tree:
        case Call() | Power():
            return True
        case Sum(terms):
            return any(has_call(term) for _, term in terms)
        case Prod(factors, divisors):
            return any(map(has_call, factors + divisors))
    return False


def _sum(terms: Sequence[tuple[int, Tree]], parts: Sequence[Written]) -> str:
    if len(terms) > MANY:
        rows = [terms[i : i + MANY] for i in range(0, len(terms), MANY)]
        return " + ".join(f"({_sum(row, parts)})" if i else _sum(row, parts) for i, row in enumerate(rows))
    text = ""
    for i, (sign, term) in enumerate(terms):
        written = bracket(_number(term, parts), SUM if sign > 0 else PRODUCT)
        # a + -b is written a - b: IEEE arithmetic gives the same for both.
        if i and sign > 0 and written.startswith("-"):
            sign, written = -1, written[1:]
        text += ((" - " if sign < 0 else " + ") if i else ("-" if sign < 0 else "")) + written
    return text


def _product(factors: Sequence[Tree], divisors: Sequence[Tree], parts: Sequence[Written]) -> str:
    # Brackets around later factors keep the order: products of floats are not associative.
    above = [bracket(_number(f, parts), PRODUCT if i == 0 else POWER) for i, f in enumerate(factors)]
    below = [bracket(_number(d, parts), POWER) for d in divisors]
    while len(above) > MANY:
        rows = [" * ".join(above[i : i + MANY]) for i in range(0, len(above), MANY)]
        above = [row if i == 0 else f"({row})" for i, row in enumerate(rows)]
    return " * ".join(above) + "".join(f" / {d}" for d in below)


def _power(base: Tree, exponent: Tree, parts: Sequence[Written]) -> Written:
    written, count = _number(base, parts), whole_power(Power(base, exponent))
    # A variable may be read twice; an expression would be computed twice.
    if count in (2, 3) and isinstance(base, Ref) and _is_variable(written[0]):
        return " * ".join([written[0]] * count), PRODUCT
    if count > 2 and count % 2 == 0:  # NumPy knows squares; all other powers take as long as logarithms do
        half = Power(base, Num(sp.Integer(count // 2)))
        return _power(half, Num(sp.Integer(2)), parts)
    # Products of a cheap base are faster than a power, which takes as long as logarithms do.
    if count > 2 and not has_call(base):
        return f"{bracket(written, POWER)} * {_power(base, Num(sp.Integer(count - 1)), parts)[0]}", PRODUCT
    # In Python -2 ** x is -(2 ** x).
    base_text = f"({written[0]})" if written[0].startswith("-") else bracket(written, ATOM)
    return f"{base_text} ** {bracket(body_text(exponent, parts), ATOM)}", POWER


def _number(tree: Tree, parts: Sequence[Written]) -> Written:
    """Return a tree inside arithmetic, where a condition gets the type of the data.

    NumPy negates no bools, and divides them to float64. A condition may be a Python bool, which has no `astype`.
    """
    written = body_text(tree, parts)
    condition = isinstance(tree, Call) and getattr(ops.BY_NAME[tree.name].body, "boolean", False)
    return (f"np.asarray({written[0]}, dtype)", ATOM) if condition else written


def _is_variable(text: str) -> bool:
    return text.replace("_", "").replace("[t]", "").isalnum()


def _call(name: str, args: Sequence[Tree], parts: Sequence[Written]) -> Written:
    inner = [body_text(arg, parts) for arg in args]
    if name == "stop_gradient":
        return inner[0]
    if name == "sigmoid":
        return f"1 / (1 + np.exp({_negated(args[0], inner[0])}))", PRODUCT
    text = ops.BY_NAME[name].code.format(*(bracket(w, PRODUCT if name in OPERATORS else SUM) for w in inner))
    if name == "where" and not any(indices(arg) for arg in args[1:]):
        text += ".astype(dtype)"  # two literals would give float64
    return text, ATOM


def _negated(tree: Tree, written: Written) -> str:
    if isinstance(tree, Sum) and len(tree.terms) == 1 and tree.terms[0][0] < 0:
        # -(-x) is x in IEEE arithmetic.
        return written[0].removeprefix("-")
    return f"-{bracket(written, POWER)}"
