"""The text of a plan: tables in a terminal of 100 columns."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

import numpy as np
import sympy as sp

from symbptt.codegen.plan.rates import RATES
from symbptt.codegen.plan.work import STEP, B, T, Work
from symbptt.ir.shape import Shape, Size, prod, show

WIDTH = 99
KINDS = ("products", "others")
HEAD = ("where", "what", "calls", "operations", "time")
UNITS = "kMGT"
SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def formula(expr: Size) -> str:
    """Return a number, or a sum of products of sizes, with steps, samples and blocks first: T B (4 m n + n²) + 2 ⌈T/K⌉."""
    expr = sp.expand(sp.sympify(expr))
    if expr.is_number:
        return number(expr)
    groups: dict[sp.Expr, list[sp.Expr]] = {}
    for term in sorted(sp.Add.make_args(expr), key=_order):
        outer = sp.Mul(*(x for x in sp.Mul.make_args(term) if x in (T, B) or x.has(sp.ceiling)))
        groups.setdefault(outer, []).append(term / outer)
    # A negative term has its sign in its text.
    return " + ".join(_group(outer, terms) for outer, terms in groups.items()).replace("+ -", "- ")


def _group(outer: sp.Expr, terms: list[sp.Expr]) -> str:
    """Return the text of terms that have the same steps, samples and blocks."""
    if outer == 1 or len(terms) == 1:
        return " + ".join(_term(outer * term) for term in terms)
    return f"{_term(outer)} ({' + '.join(map(_term, terms))})"


def number(value: sp.Expr | float) -> str:
    """Return a number, a large one with three digits and k, M, G or T."""
    value = float(value)
    if abs(value) < 10_000:
        return f"{value:.0f}"
    power = min(int(math.log10(abs(value)) / 3 + 0.0002), len(UNITS))  # 999.6 k are 1 M
    value /= 1000**power
    # The limits are the numbers from which rounding gives one digit more.
    return f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f} {UNITS[power - 1]}"


def python_text(size: sp.Expr) -> str:
    """Return the length of a block as a module computes it."""
    if isinstance(size, sp.Max | sp.Min):
        # Sizes are not negative, so that a zero adds nothing to their maximum.
        parts = sorted((python_text(x) for x in size.args if x != 0), key=lambda text: (text.isdigit(), text))
        return f"{type(size).__name__.lower()}({', '.join(parts)})" if len(parts) > 1 else parts[0]
    if isinstance(size, sp.floor):
        above, below = size.args[0].as_numer_denom()
        return f"{python_text(above)} // {python_text(below)}"
    return str(size) if size.is_number else formula(size)


def _order(term: sp.Expr) -> tuple[object, ...]:
    """Return the sorting key of a term: terms of high degree come first, then by their letters; numbers come last."""
    powers = {base: power for base, power in term.as_powers_dict().items() if not base.is_number}
    return (-sum(map(int, powers.values())), term.has(sp.ceiling), _term(term.as_coeff_Mul()[1]))


def _term(term: sp.Expr) -> str:
    coefficient, rest = term.as_coeff_Mul()
    factors = sorted((_factor(x) for x in sp.Mul.make_args(rest)), key=lambda f: (f[0], f[1]))
    texts = [text for _, text in factors if text != "1"]
    return " ".join([*([] if coefficient == 1 and texts else [str(coefficient)]), *texts])


def _factor(x: sp.Expr) -> tuple[int, str]:
    if isinstance(x, sp.ceiling):
        return 0, f"⌈{sp.sstr(x.args[0]).replace(' ', '')}⌉"
    base, power = x.as_base_exp()
    rank = 1 if base == T else 2 if base == B else 3
    if base.is_Symbol and power.is_Integer and power > 0:
        return rank, f"{base}{str(power).translate(SUPERSCRIPT) if power != 1 else ''}"
    return 4, str(x)


@dataclass(frozen=True)
class Stored:
    """A value that is stored for every step and sample: its variable, its formula, its shape without those two axes."""

    name: str
    formula: str
    shape: Shape


def work_table(works: Sequence[Work], shares: Sequence[float]) -> list[str]:
    """Return the lines of a table of work, with a heading for each sweep."""
    rows: list[Sequence[str]] = [HEAD]
    for i, (work, share) in enumerate(zip(works, shares, strict=True)):
        if i == 0 or works[i - 1].sweep != work.sweep:
            rows.append((work.sweep, *[""] * (len(HEAD) - 1)))
        what = work.what if work.is_product else f"elementwise, {formula(work.lines)} call{'s' * (work.lines != 1)}"
        numbers = (formula(work.calls), formula(work.operations), f"{100 * share:.0f} %")
        rows.append((f"  {work.where}", what, *numbers))
    return table(rows, right={2, 3, 4}, most={1: 44, 3: 19})


def calls_table(before: Mapping[str, tuple[int, Any]], works: Sequence[Work]) -> list[str]:
    """Return the lines that compare the calls before and after planning: of a step, and in all."""
    first, last = list[str](), list[str]()
    for kind in KINDS:
        alike = [w for w in works if w.kind == kind]
        first += [formula(before[kind][0]), formula(before[kind][1])]
        last += [formula(sum(w.lines for w in alike if w.where == STEP)), formula(sum(w.calls for w in alike))]
    head = [("calls", "products", "", "others", ""), ("", "a step", "in all", "a step", "in all")]
    return table([*head, ("before planning", *first), ("after", *last)], right=range(1, 5))


def values_table(title: str, values: Sequence[Stored], count: Callable[[Size], Any], unit: str) -> list[str]:
    """Return the lines of values that are stored, or that are not; `count` turns a number of elements into the unit."""
    if not values:
        return []
    rows = [(v.name, show(v.shape), formula(count(prod(v.shape))), v.formula) for v in values]
    whole = formula(count(numbers_of(values)))
    lines = table([("value", "shape", unit, "equation"), *rows], right={2}, most={3: WIDTH})
    return [title, *lines, f"  together {whole} {unit}", ""]


def numbers_of(values: Sequence[Stored]) -> Size:
    """Return how many numbers some values have together."""
    return sum(prod(v.shape) for v in values)


def legend(letters: Mapping[sp.Symbol, sp.Expr], dtype: Any, once: str = "", example: str = "") -> list[str]:
    """Return the lines that explain the columns and the model of time."""
    rates = RATES[np.dtype(dtype)]
    model = (
        f"time: the share that a model predicts for one thread and {np.dtype(dtype).name}: {rates.product} ns a "
        f"multiply-add, {rates.element} an element, {rates.function} one of exp, tanh and the like, {rates.call:g} a "
        f"call{example}."
    )
    blocks = [f"{name}: steps in a block, {python_text(size)}." for name, size in letters.items()]
    first = f"calls, operations: in all, for T steps of B samples{once}; multiply-adds of products, else elements."
    return notes([first, *blocks, model])


def table(
    rows: Sequence[Sequence[str]], right: Collection[int] = (), most: Mapping[int, int] = MappingProxyType({})
) -> list[str]:
    """Return rows as lines, columns under each other.

    Where they are too wide, those with a greatest width are broken into lines; the first of them takes the rest of the
    width.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    if most and sum(widths) + 2 * len(widths) > WIDTH:
        widths = [min(width, most.get(i, width)) for i, width in enumerate(widths)]
        first = next(iter(most))
        widths[first] = max(min(widths[first], WIDTH - sum(widths) + widths[first] - 2 * len(widths)), 20)
    return [line for row in rows for line in _lines(row, widths, right)]


def _lines(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> list[str]:
    broken = [_broken(cell, width) for cell, width in zip(row, widths, strict=True)]
    found = []
    for cells in zip_longest(*broken, fillvalue=""):
        padded = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        found.append(f"  {'  '.join(padded)}".rstrip())
    return found


def _broken(text: str, width: int) -> list[str]:
    """Return a text in lines; a formula is broken between its terms where these are short enough."""
    if len(text) <= width:
        return [text]
    # A no-break space inside a term keeps `textwrap` from breaking there.
    terms = re.sub(r"(?<![;+-]) (?![;+-])", "\N{NO-BREAK SPACE}", text)
    whole = all(len(term) <= width for term in terms.split(" "))
    lines = textwrap.wrap(terms if whole else text, width, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def paragraph(text: str) -> list[str]:
    """Return a text as lines, the later ones indented further than the first."""
    inside = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(text, WIDTH, subsequent_indent=f"{inside}  ", break_on_hyphens=False) or [""]


def notes(lines: Iterable[str]) -> list[str]:
    """Return lines of text, each of several lines where it is long."""
    return [short for line in lines for part in line.split("\n") for short in paragraph(part)]
