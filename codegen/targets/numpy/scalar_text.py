"""NumPy text for the body of an elementwise function: operators over the texts of its arguments."""

from __future__ import annotations

from collections.abc import Sequence

from symbptt import ops
from symbptt.codegen.loop_ir.operators import AS_NUMBER, Op, Operator, operators, reads_nothing
from symbptt.codegen.targets.python.text import ATOM, POWER, PRODUCT, SUM, Written, bracket, number_text
from symbptt.ir.scalar import Num, Ref, Tree, as_python

COMPARISONS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
SUMS, PRODUCTS = {"add": "+", "subtract": "-"}, {"multiply": "*", "divide": "/"}


def body_text(tree: Tree, parts: Sequence[Written]) -> Written:
    """Return the text of a tree, with `parts` in place of its references."""
    return operator_text(operators(tree, lambda i: is_variable(parts[i][0])), parts)


def is_variable(text: str) -> bool:
    """Answer whether an operand is a variable, which may be read twice: an expression would be computed twice."""
    return text.replace("_", "").replace("[t]", "").isalnum()


def operator_text(x: Operator, parts: Sequence[Written]) -> Written:
    """Return the text of an operator, and how tightly it binds; what begins with a sign binds as a sum does."""
    match x:
        case Ref(index):
            return parts[index]
        case Num(value):
            return number_text(as_python(value)), ATOM
        case Op("negative", (arg,)):
            return f"-{bracket(operator_text(arg, parts), POWER)}", SUM
        case Op("add" | "subtract" as name, (left, right)):
            return _sum(SUMS[name], operator_text(left, parts)[0], _term(right, name, parts)), SUM
        case Op("multiply" | "divide" as name, (left, right)):
            first, tightness = operator_text(left, parts)
            is_signed = isinstance(left, Op) and left.name in ("negative", *PRODUCTS)  # -a * b is (-a) * b
            first = first if is_signed else bracket((first, tightness), PRODUCT)
            text = f"{first} {PRODUCTS[name]} {bracket(operator_text(right, parts), POWER)}"
            return text, SUM if text.startswith("-") else PRODUCT
        case Op("power", (base, exponent)):
            written = operator_text(base, parts)
            # In Python -2 ** x is -(2 ** x).
            text = f"({written[0]})" if written[0].startswith("-") else bracket(written, ATOM)
            return f"{text} ** {bracket(operator_text(exponent, parts), ATOM)}", POWER
        case Op(name, args):
            return _call(name, args, [operator_text(arg, parts) for arg in args]), ATOM
    raise AssertionError(x)


def _term(x: Operator, name: str, parts: Sequence[Written]) -> str:
    """Return the second term of a sum or a difference."""
    written = operator_text(x, parts)
    # Brackets around a sum keep the order: sums of floats are not associative.
    is_sum = isinstance(x, Op) and x.name in SUMS
    return f"({written[0]})" if is_sum else bracket(written, PRODUCT if name == "subtract" else SUM)


def _sum(sign: str, first: str, second: str) -> str:
    # a + -b is written a - b: IEEE arithmetic gives the same for both.
    return f"{first} - {second[1:]}" if sign == "+" and second.startswith("-") else f"{first} {sign} {second}"


def _call(name: str, args: Sequence[Operator], inner: Sequence[Written]) -> str:
    if name == AS_NUMBER:
        return f"np.asarray({inner[0][0]}, dtype)"  # a condition may be a truth of Python, which has no `astype`
    code = ops.BY_NAME[name].code
    least = PRODUCT if name in COMPARISONS else ATOM if "{0}." in code else SUM
    text = code.format(*(bracket(w, least) for w in inner))
    # Two literals would give float64.
    return f"{text}.astype(dtype)" if name == "where" and all(map(reads_nothing, args[1:])) else text
