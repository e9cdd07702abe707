"""The body of an elementwise function as the text of a formula: operators and calls over the texts of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from symbptt.codegen.targets.functional.tables import LOGIC, OF_ARRAYS, SIGNS, Table
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_python

COMPARISON, SUM, PRODUCT, POWER, ATOM = range(5)


@dataclass(frozen=True)
class Text:
    """A formula, how tightly it binds, and what it is: an array or a number of Python, a number or a truth."""

    text: str
    binds: int = ATOM
    is_number: bool = False
    is_truth: bool = False

    def at(self, least: int) -> str:
        """Return the formula, in brackets where it binds less tightly."""
        return self.text if self.binds >= least else f"({self.text})"


@dataclass(frozen=True)
class Bodies:
    """How bodies are written in one framework; `refused` is called with the name of a function that it does not have."""

    table: Table
    refused: Callable[[str], Exception]

    def text(self, tree: Tree, parts: Sequence[Text]) -> Text:
        """Return a tree, with `parts` in the place of its references."""
        match tree:
            case Num(value):
                exact = as_python(value)
                assert isinstance(exact, int | float)  # cells of complex numbers are refused before
                return number(exact)
            case Ref(index):
                return parts[index]
            case Sum(terms):
                return _sum([(sign, self.real(term, parts)) for sign, term in terms])
            case Prod(factors, divisors):
                return _product(*([self.real(x, parts) for x in side] for side in (factors, divisors)))
            case Power(base, exponent):
                below, above = self.real(base, parts), self.real(exponent, parts)
                # In Python -2 ** x is -(2 ** x), and so is a negative number's text.
                text = f"({below.text})" if below.text.startswith("-") else below.at(ATOM)
                return Text(f"{text} ** {above.at(ATOM)}", POWER, below.is_number and above.is_number)
            case Call(name, args):
                return self._call(name, args, parts)
        raise AssertionError(tree)

    def real(self, tree: Tree, parts: Sequence[Text]) -> Text:
        """Return a tree as a number, also where it is a truth."""
        return self.as_real(self.text(tree, parts))

    def as_real(self, x: Text) -> Text:
        """Return a truth as a number of the type of the data; other formulas are unchanged."""
        if not x.is_truth:
            return x
        return Text(f"int({x.text})", is_number=True) if x.is_number else Text(self.table.cast.format(x.at(ATOM)))

    def as_array(self, x: Text) -> Text:
        """Return a number as an array of the type of the data."""
        return Text(self.table.array.format(x.text)) if x.is_number else x

    def _truth(self, tree: Tree, parts: Sequence[Text]) -> Text:
        x = self.text(tree, parts)
        return x if x.is_truth else Text(f"({x.at(SUM)} != 0)", is_truth=True, is_number=x.is_number)

    def _call(self, name: str, args: Sequence[Tree], parts: Sequence[Text]) -> Text:
        if name in SIGNS:
            a, b = (self.real(arg, parts) for arg in args)
            return Text(f"({a.at(SUM)} {SIGNS[name]} {b.at(SUM)})", ATOM, a.is_number and b.is_number, True)
        if name not in self.table.functions:
            raise self.refused(name)
        if name in LOGIC:
            return self._written(name, [self._truth(arg, parts) for arg in args], is_truth=True)
        if name == "where":
            return self._where(self._truth(args[0], parts), *(self.real(arg, parts) for arg in args[1:]))
        return self._written(name, [self.real(arg, parts) for arg in args])

    def _where(self, condition: Text, a: Text, b: Text) -> Text:
        if condition.is_number:
            return Text(f"({a.at(SUM)} if {condition.text} else {b.at(SUM)})", is_number=a.is_number and b.is_number)
        # Of two numbers a choice has the type of numbers, not that of the data.
        both = a.is_number and b.is_number
        text = f"{self.table.functions['where']}({condition.text}, {a.text}, {b.text})"
        return Text(self.table.cast.format(text) if both else text)

    def _written(self, name: str, args: Sequence[Text], is_truth: bool = False) -> Text:
        if all(x.is_number for x in args):
            return _of_numbers(name, args, is_truth, self.refused)
        mixed = name in (*OF_ARRAYS, *LOGIC)
        inside = ", ".join((self.as_array(x) if mixed else x).text for x in args)
        return Text(f"{self.table.functions[name]}({inside})", is_truth=is_truth)


OF_NUMBERS = {name: f"math.{name}({{0}})" for name in ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "tanh", "sinh", "cosh",
                                                        "erf", "floor")} | {
    "arctan": "math.atan({0})", "abs": "abs({0})", "maximum": "max({0}, {1})", "minimum": "min({0}, {1})", "relu": "max({0}, 0)",
    "hypot": "math.hypot({0}, {1})", "arctan2": "math.atan2({0}, {1})", "fmod": "math.fmod({0}, {1})", "mod": "({0}) % ({1})",
    "floor_divide": "({0}) // ({1})", "logical_and": "({0} and {1})", "logical_or": "({0} or {1})", "logical_not": "(not {0})",
    "square": "({0}) ** 2", "stop_gradient": "({0})",
}  # fmt: skip
"""Functions of numbers that are known before any array: constants and sizes."""


def _of_numbers(name: str, args: Sequence[Text], is_truth: bool, refused: Callable[[str], Exception]) -> Text:
    if name not in OF_NUMBERS:
        raise refused(f"{name} of constants")
    text = OF_NUMBERS[name].format(*(x.text for x in args))
    return Text(f"({text})" if text.startswith("(") else text, is_number=True, is_truth=is_truth)


def number(value: int | float) -> Text:
    """Return a number of Python."""
    text = repr(value)
    known = {"inf": "math.inf", "-inf": "-math.inf", "nan": "math.nan"}.get(text, text)
    return Text(known, SUM if known.startswith("-") else ATOM, is_number=True)


def _sum(terms: Sequence[tuple[int, Text]]) -> Text:
    (sign, first), *others = terms
    text = first.at(SUM) if sign > 0 else f"-{first.at(POWER)}"
    for sign, x in others:
        text += f" + {x.at(PRODUCT)}" if sign > 0 else f" - {x.at(PRODUCT)}"
    return Text(text, SUM, all(x.is_number for _, x in terms))


def _product(factors: Sequence[Text], divisors: Sequence[Text]) -> Text:
    first, *others = factors
    text = first.at(PRODUCT)
    text += "".join(f" * {x.at(POWER)}" for x in others) + "".join(f" / {x.at(POWER)}" for x in divisors)
    return Text(text, PRODUCT, all(x.is_number for x in (*factors, *divisors)))


def bracketed(x: Text) -> Text:
    """Return a formula that stands where anything may follow it."""
    return replace(x, text=x.at(ATOM), binds=ATOM)
