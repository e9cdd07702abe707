"""Elementwise bodies as C expressions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sympy as sp

from symbptt.codegen.targets.c99.functions import LOGIC, SIGNS, macro
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, parts_of, whole_power

LARGEST = 2**24
"""Up to here a float holds all integers."""


@dataclass(frozen=True)
class Text:
    """An expression, how tightly it binds (1 sum, 2 product, 3 cast, 4 atom), and its type: "real", "int" or "truth"."""

    text: str
    binds: int
    type: str = "real"

    def at(self, least: int) -> str:
        """The text, in brackets where it binds less tightly."""
        return self.text if self.binds >= least else f"({self.text})"

    def real(self) -> Text:
        """The expression as a real number."""
        return self if self.type == "real" else Text(f"(real){self.at(3)}", 3)

    def arithmetic(self) -> Text:
        """The expression where C computes with it: truths count as 0 or 1."""
        return self.real() if self.type == "truth" else self

    def truth(self) -> str:
        """The expression as a condition."""
        return self.at(4) if self.type == "truth" else f"({self.at(2)} != 0)"


def expression(tree: Tree, parts: Sequence[str]) -> str:
    """Return a body as the text of a C expression of type real; `parts` stand for its references."""
    found = _text(tree, parts)
    return found.text if found.type == "int" else found.real().text


def functions_of(tree: Tree) -> Iterator[str]:
    """Return the names of the functions that the text of a body calls."""
    if isinstance(tree, Power):
        yield "square" if whole_power(tree) == 2 else "power"
    elif isinstance(tree, Call):
        yield tree.name
    for part in parts_of(tree):
        yield from functions_of(part)


def _text(tree: Tree, parts: Sequence[str]) -> Text:
    match tree:
        case Ref(index):
            return Text(parts[index], 4)
        case Num(value):
            return number(value)
        case Sum(terms):
            return _sum([(sign, _text(term, parts).arithmetic()) for sign, term in terms])
        case Prod(factors, divisors):
            above, below = ([_text(x, parts).arithmetic() for x in side] for side in (factors, divisors))
            return _product(above, below)
        case Power(base, exponent):
            inside = _text(base, parts).arithmetic().text
            if whole_power(tree) == 2:
                return Text(f"SQUARE({inside})", 4)
            return Text(f"POWER({inside}, {_text(exponent, parts).arithmetic().text})", 4)
        case Call(name, args):
            return _call(name, [_text(arg, parts) for arg in args])
    raise AssertionError(tree)


def _sum(terms: Sequence[tuple[int, Text]]) -> Text:
    text = "".join((" - " if sign < 0 else " + ") + term.at(1 + (sign < 0)) for sign, term in terms)
    text = text[3:] if text.startswith(" + ") else f"-{text[3:]}"
    return Text(text, 1, "int" if all(term.type == "int" for _, term in terms) else "real")


def _product(factors: Sequence[Text], divisors: Sequence[Text]) -> Text:
    """From the left to the right; two integers are never divided by each other."""
    first, *others = factors
    following = (*others, *divisors)
    if first.type == "int" and following and following[0].type == "int":
        first = first.real()
    text = first.at(2) + "".join(f"*{x.at(3)}" for x in others) + "".join(f"/{x.at(3)}" for x in divisors)
    return Text(text, 2)


def _call(name: str, args: Sequence[Text]) -> Text:
    if name in SIGNS:
        a, b = (x.arithmetic() for x in args)
        return Text(f"({a.at(1)} {SIGNS[name]} {b.at(1)})", 4, "truth")
    if name in LOGIC:
        return Text(f"({f' {LOGIC[name]} '.join(x.truth() for x in args)})", 4, "truth")
    if name == "logical_not":
        return Text(f"(!{args[0].truth()})", 4, "truth")
    if name == "where":
        condition, a, b = args
        return Text(f"({condition.truth()} ? {a.real().text} : {b.real().text})", 4)
    if name == "stop_gradient":
        return args[0]
    return Text(f"{macro(name)}({', '.join(x.arithmetic().text for x in args)})", 4)


def number(value: sp.Expr) -> Text:
    """Return a number without a sign as a literal that reads back as the same number."""
    if value.is_Integer and value <= LARGEST:
        return Text(str(value), 4, "int")
    if value in (sp.oo, sp.nan, sp.zoo):
        return Text("INFINITY" if value == sp.oo else "NAN", 4)
    text = repr(float(value))
    return Text({"inf": "INFINITY", "nan": "NAN"}.get(text, f"(real){text}"), 3)
