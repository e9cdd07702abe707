"""Bounds as formulas, in plain text and in LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy as sp

from symbptt.derive.labels import Label
from symbptt.ir.scalar import tree_of
from symbptt.ir.shape import size_text
from symbptt.render.expression import Writer
from symbptt.render.notation import LATEX, TEXT, Notation
from symbptt.stability.bounds import Count, Factor, Greatest, One, Plus, Sup, Times, Tree
from symbptt.stability.enclosure import Enclosure, corners, largest
from symbptt.stability.hypotheses import TRIED, general, sizes_in
from symbptt.stability.interval import Interval
from symbptt.stability.local import Local, node_of


@dataclass(frozen=True)
class Signs:
    """How norms and suprema are written."""

    notation: Notation
    sigma: str
    norm_max: str
    norm_two: str
    norm_one: str
    size: str
    sup: str
    greatest: str
    root: str
    times: str
    maximum: str


TEXT_SIGNS = Signs(TEXT, "σ_max({0})", "‖{0}‖∞", "‖{0}‖₂", "‖{0}‖₁", "|{0}|", "sup {0}", "max {0}", "√{0}", " ", "max({0})")
LATEX_SIGNS = Signs(
    LATEX, r"\sigma_{{\max}}({0})", r"\|{0}\|_\infty", r"\|{0}\|_2", r"\|{0}\|_1", r"|{0}|", r"\sup {0}", r"\max {0}",
    r"\sqrt{{{0}}}", r"\, ", r"\max({0})",
)  # fmt: skip


@dataclass(frozen=True)
class Formulas:
    """Writes the bounds of one theorem; `general` encloses all values for any parameters, at two sizes."""

    of: Local
    norm: str
    general: tuple[Enclosure, ...]
    signs: Signs

    @property
    def writer(self) -> Writer:
        return Writer(self.of.graph, labels_of(self.of), self.signs.notation, matrices=True)


def formulas(of: Local, norm: str, bounded: tuple[str, ...], signs: Signs) -> Formulas:
    """Return the writer of a theorem's bounds."""
    return Formulas(of, norm, tuple(general(of, bounded, sizes_in(of, size)) for size in TRIED), signs)


def labels_of(of: Local) -> dict[int, Label]:
    """Return the names of a cell's values with their times."""
    step, g = of.step, of.graph
    times = {a.name: {"state": -1, "input": 0, "index": 0}.get(a.role) for a in step.arguments}
    found = {id: Label(name, times[name]) for name, id in step.leaves.items()}
    for name, id in (step.next | step.outputs).items():
        found.setdefault(id, Label(name, 0))
    taken = {label.name for label in found.values()}
    for id, name in g.names.items():
        if id not in found and name not in taken:
            found[id] = Label(name, None if id in of.fixed else 0)
    return found


SUM, PRODUCT = 0, 1


def written(f: Formulas, tree: Tree, least: int = SUM) -> str:
    """Return a bound as a formula; in brackets where it is a sum and `least` is PRODUCT."""
    match tree:
        case One():
            return "1"
        case Factor():
            return _factor(f, tree)
        case Count(size, power):
            text = size_text(size) if f.signs is TEXT_SIGNS else sp.latex(size)
            return f.signs.root.format(text) if power == sp.Rational(1, 2) else text
        case Times(parts):
            return f.signs.times.join(written(f, part, PRODUCT) for part in parts)
        case Greatest(parts):
            return f.signs.maximum.format(", ".join(written(f, part) for part in parts))
        case Plus(parts):
            return _bracketed(f, [written(f, part) for part in parts] or ["0"], least)
    return _bracketed(f, [_part(f, p, part, shared(f, tree)) for p, part in tree.parts], least)


def _bracketed(f: Formulas, terms: list[str], least: int) -> str:
    text = " + ".join(dict.fromkeys(terms)) if len(set(terms)) == len(terms) else " + ".join(_counted(f, terms))
    return f.signs.notation.brackets(text) if least == PRODUCT and len(terms) > 1 else text


def _counted(f: Formulas, terms: list[str]) -> list[str]:
    counts = {term: terms.count(term) for term in terms}
    return [term if n == 1 else f"{n}{f.signs.times}{term}" for term, n in counts.items()]


def shared(f: Formulas, tree: Sup) -> tuple[sp.Symbol, ...]:
    """Return the atoms that stay in the formula: values, not slopes, that several terms of it read in the max-norm."""
    if f.norm == "2":
        return ()
    found = corners(tuple(p for p, _ in tree.parts))
    return tuple(s for s in found if node_of(s) is not None and _reads_apart(s, [p for p, _ in tree.parts]))


def _reads_apart(s: sp.Symbol, parts: list[sp.Expr]) -> bool:
    """Whether terms differ in how they read an atom, as z and 1 − z do; a common factor is taken at its largest."""
    kinds = {tuple(str(q) for q in _factors(p) if s in q.free_symbols) for p in parts}
    return len(kinds - {()}) > 1


def _factors(p: sp.Expr) -> list[sp.Expr]:
    return list(sp.Mul.make_args(sp.factor(p)))


def _part(f: Formulas, p: sp.Expr, tree: Tree, kept: tuple[sp.Symbol, ...]) -> str:
    """One term |p| bound: its number, what stays in the formula, what has a supremum, and its bound."""
    number, gates, others = Fraction(1), [], []
    approximate = 1.0
    for factor in _factors(p):
        if factor.free_symbols & set(kept):
            gates.append(_gate(f, factor))
            continue
        size = certain_size(f, factor)
        if size is None:
            others.append(_supremum(f, factor))
        elif (exact := Fraction(size).limit_denominator(64)) and abs(float(exact) - size) < 1e-12 * max(size, 1):
            number *= exact
        else:
            approximate *= size
    inner = [] if tree == One() else [written(f, tree, PRODUCT)]
    return _product(f, number, approximate, [*gates, *others, *inner])


def _product(f: Formulas, number: Fraction, approximate: float, parts: list[str]) -> str:
    value = float(number) * approximate
    if approximate != 1.0:
        head = f"{_upwards(value):g}"
    elif number == 1:
        head = ""
    elif f.signs is LATEX_SIGNS and number.denominator != 1:
        head = rf"\frac{{{number.numerator}}}{{{number.denominator}}}"
    else:
        head = VULGAR.get(str(number), str(number) if number.denominator == 1 else f"({number})")
    return f.signs.times.join(([head] if head else []) + parts) or "1"


VULGAR = {"1/4": "¼", "1/2": "½", "3/4": "¾"}


def _upwards(value: float) -> float:
    """A number with five digits that is not less."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 4)
    return math.ceil(value / unit - 1e-9) * unit


def certain_size(f: Formulas, factor: sp.Expr) -> float | None:
    """Return the supremum of |factor| where it is a number for all parameters and sizes."""
    found = [float(np.max(largest((factor,), [1.0], _scalars(factor, within)))) for within in f.general]
    return found[0] if np.isfinite(found[0]) and len(set(found)) == 1 else None


def _scalars(expr: sp.Expr, within: Enclosure) -> dict[sp.Symbol, Interval]:
    return {s: Interval(within.atoms[s].lo.min(), within.atoms[s].hi.max()) for s in expr.free_symbols}


def _gate(f: Formulas, factor: sp.Expr) -> str:
    text = expression(f, factor)
    ranges = _scalars(factor, f.general[0])
    if all(np.isfinite(r.lo) and np.isfinite(r.hi) for r in ranges.values()):
        low = -float(largest((1 - factor,), [1.0], ranges)) + 1 if factor.is_Add else 0.0
        if low >= 0 and (not factor.is_Symbol or ranges[factor].lo >= 0):
            return f.signs.notation.brackets(text) if factor.is_Add else text
    return f.signs.size.format(text)


def _supremum(f: Formulas, factor: sp.Expr) -> str:
    fixed = all((id := node_of(s)) is not None and id in f.of.fixed for s in _plain(f, factor).free_symbols)
    return (f.signs.greatest if fixed else f.signs.sup).format(f.signs.size.format(expression(f, factor)))


def _plain(f: Formulas, expr: sp.Expr) -> sp.Expr:
    """An expression over values of nodes alone."""
    while made := [s for s in expr.free_symbols if node_of(s) is None]:
        expr = expr.xreplace({s: f.of.atoms[s].expr for s in made})
    return expr


def expression(f: Formulas, expr: sp.Expr) -> str:
    """Return an expression over atoms as the cell would write it."""
    return f.writer._tree(tree_of(_plain(f, expr)))[0]


def _factor(f: Formulas, factor: Factor) -> str:
    signs, fixed = f.signs, factor.node in f.of.fixed
    rows = [x for x in factor.theirs if x not in factor.mine]
    columns = [x for x in factor.theirs if x in factor.mine and x not in factor.out]
    name = f.writer.symbol(factor.node)
    turned = len(factor.theirs) == 2 and factor.theirs == (*columns, *rows) and f.norm == "max"
    name = signs.notation.transpose(f.writer.at(factor.node, 5)) if turned else name
    text = _norm_sign(signs, f.norm, bool(rows), bool(columns), len(factor.theirs)).format(name)
    return text if fixed else signs.sup.format(text)


def _norm_sign(signs: Signs, norm: str, rows: bool, columns: bool, rank: int) -> str:
    if norm == "2":
        return signs.sigma if rank == 2 and rows and columns else signs.norm_two
    if rank == 1 and columns:
        return signs.norm_one
    return signs.norm_max if columns else signs.greatest.format(signs.size)


Writing = Callable[[Formulas, Tree], str]
