"""Pieces of Python text: how tightly they bind, sizes, shapes, tuples and dicts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from symbptt.ir.shape import Shape, Size
from symbptt.ir.shape import size_text as plain_size_text
from symbptt.syntax import NAME, expression

SUM, PRODUCT, POWER, ATOM = range(1, 5)
Written = tuple[str, int]
"""The text of an expression, and how tightly it binds."""

NOTHING: Mapping[str, str] = MappingProxyType({})


def bracket(written: Written, least: int) -> str:
    """Return an expression, in brackets where it binds less tightly than `least`."""
    text, tightness = written
    return text if tightness >= least else f"({text})"


def listed(items: Iterable[str]) -> str:
    """Return items with commas between them, and one behind an item that is alone: the inside of a tuple."""
    items = list(items)
    return ", ".join(items) + "," * (len(items) == 1)


def tuple_text(items: Iterable[str]) -> str:
    """Return the text of a tuple of expressions."""
    return f"({listed(items)})"


def name_tuple(names: Iterable[str]) -> str:
    """Return the text of a tuple of strings."""
    return tuple_text(f'"{name}"' for name in names)


def dict_text(entries: Mapping[str, str]) -> str:
    """Return the text of a dict from strings to expressions."""
    inside = ", ".join(f'"{key}": {value}' for key, value in entries.items())
    return f"{{{inside}}}"


@lru_cache(2**12)
def tightness(text: str) -> int:
    """Return how tightly a Python expression binds, by Python's own grammar; one that has a sign in front is a sum."""
    match expression(text):
        case ast.Name() | ast.Constant() | ast.Call() | ast.Subscript() | ast.Attribute():
            return ATOM
        case ast.BinOp(op=ast.Pow()):
            return POWER
        case ast.BinOp(op=ast.Mult() | ast.Div() | ast.FloorDiv() | ast.MatMult() | ast.Mod()):
            return PRODUCT
    # A sign in front is bracketed like a sum: -b ** 2 is -(b ** 2).
    return SUM


def size_written(value: Size | str, renamed: Mapping[str, str] = NOTHING) -> Written:
    """Return a size as Python text and how tightly that binds.

    `renamed` has the variables of sizes whose name is taken. Every size next to an operator is written by this function
    and `bracket`, or by `size_text`.
    """
    text = plain_size_text(value)
    # Whole words only: n must not be replaced inside another name.
    text = re.sub(NAME, lambda match: renamed.get(match[0], match[0]), text) if renamed else text
    return text, tightness(text)


def size_text(value: Size | str, renamed: Mapping[str, str] = NOTHING, least: int = SUM) -> str:
    """Return a size as Python text, in brackets where it binds less tightly than `least`, the place that it stands at."""
    return bracket(size_written(value, renamed), least)


def shape_text(lead: Sequence[str], shape: Shape, renamed: Mapping[str, str] = NOTHING) -> str:
    """Return a shape as Python text, the sample axes first."""
    return tuple_text([*lead, *(size_text(item, renamed) for item in shape)])


def number_text(value: complex) -> str:
    """Return a number as Python text; infinities and NaN by NumPy's names."""
    if isinstance(value, complex) and not value.real:  # without the 0 and the brackets that `repr` may write
        return f"{value.imag:g}j" if value.imag == float(f"{value.imag:g}") else f"{value.imag!r}j"
    # `repr` is the shortest text that reads back as the same float.
    text = repr(value)
    return f"np.{text}" if text in ("inf", "nan") else "-np.inf" if text == "-inf" else text


def nested_text(values: object) -> str:
    """Return numbers in nested lists as Python text."""
    if isinstance(values, list):
        return f"[{', '.join(map(nested_text, values))}]"
    assert isinstance(values, int | float | complex)
    return number_text(values)


def unpack(targets: Iterable[str], keys: Iterable[str], source: str) -> list[str]:
    """Return the line that takes variables out of a dict, or none where there are no keys."""
    keys = list(keys)
    if len(keys) == 1:
        return [f'{", ".join(targets)} = {source}["{keys[0]}"]']
    return [f"{listed(targets)} = ({source}[k] for k in {name_tuple(keys)})"] if keys else []
