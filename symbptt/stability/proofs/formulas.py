"""Bounds as formulas, in plain text and in LaTeX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, reduce
from math import prod
from operator import mul

import numpy as np
import sympy as sp

from symbptt.autodiff.labels import Label
from symbptt.equations.notation import writing
from symbptt.equations.notation.formula import Writer
from symbptt.equations.notation.signs import LATEX, TEXT, Notation, latex_of, text_of, with_time
from symbptt.equations.notation.writing import size_shown
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.naming import unique
from symbptt.ir.nesting import Nesting
from symbptt.ir.node import placeholder
from symbptt.ir.scalar import tree_of
from symbptt.ir.shape import Size
from symbptt.stability.algebra.atoms import node_of, symbol
from symbptt.stability.algebra.factors import factors_of
from symbptt.stability.algebra.interval import Interval, rounded_up
from symbptt.stability.algebra.letters import Letters, letters_of, names_in_theorems
from symbptt.stability.algebra.polynomials import Local
from symbptt.stability.proofs.bounds import (
    Count,
    Factor,
    Greatest,
    One,
    Plus,
    Root,
    Shared,
    Sup,
    Times,
    Tree,
    shared_in,
)
from symbptt.stability.proofs.enclosure import Enclosure, corners, extent, largest
from symbptt.stability.proofs.hypotheses import TRIED, general, sizes_in


@dataclass(frozen=True)
class Signs:
    """Notation for norms and suprema, in text or in LaTeX."""

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
    least: str
    le: str
    join: str
    any: str
    over: Callable[[str, str], str]


TEXT_SIGNS = Signs(TEXT, "σ_max({0})", "‖{0}‖∞", "‖{0}‖₂", "‖{0}‖₁", "|{0}|", "sup {0}", "max {0}", "√{0}", " ", "max({0})",
                   "min {0}", "≤", ", ", "any {0}", lambda body, ranges: f"sup {{ {body} : {ranges} }}")  # fmt: skip
LATEX_SIGNS = Signs(
    LATEX, r"\sigma_{{\max}}({0})", r"\|{0}\|_\infty", r"\|{0}\|_2", r"\|{0}\|_1", r"|{0}|", r"\sup {0}", r"\max {0}",
    r"\sqrt{{{0}}}", r"\, ", r"\max({0})", r"\min {0}", r"\leq", r",\; ", r"\text{{any }} {0}",
    lambda body, ranges: rf"\sup_{{{ranges}}} \left[{body}\right]",
)  # fmt: skip


@dataclass(frozen=True)
class Formulas:
    """Writes the bounds of one theorem; `general` encloses all values for any parameters, at two sizes. Bounds that it shares
    have `names`."""

    of: Local
    norm: str
    general: tuple[Enclosure, ...]
    signs: Signs
    names: Mapping[Shared, str] = field(default_factory=dict)

    @cached_property
    def parts(self) -> Parts:
        """The step with its long values and polynomials under names."""
        return _parts(self.of)

    @cached_property
    def writer(self) -> Writer:
        return Writer(self.parts.graph, {**self.parts.labels, **self.parts.made}, self.notation)

    @cached_property
    def letters(self) -> Letters:
        return letters_of(self.of.step)

    @cached_property
    def time(self) -> str:
        """The letter of the time."""
        return self.letters.time if self.signs is TEXT_SIGNS else self.letters.time_latex

    @cached_property
    def notation(self) -> Notation:
        labels = {**self.parts.labels, **self.parts.made}.values()
        names = names_in_theorems(self.of.step, labels)
        own = text_of(names.text) if self.signs is TEXT_SIGNS else latex_of(names)
        return with_time(own, self.time)

    def shown(self, name: str) -> str:
        """Return the name of a value as formulas have it, without a time."""
        return self.notation.symbol(Label(name, None))

    @cached_property
    def _known(self) -> frozenset[int]:
        """The values that a reader finds in the cell, by names that it gives."""
        return frozenset(id for id, label in self.parts.labels.items() if label.name not in self.of.step.parts)

    def definitions(self, read: Iterable[sp.Symbol]) -> list[str]:
        """Return a line for each long part that stands in the formulas of some atoms, in the order in which they are computed."""
        open_, found = [node_of(s) for e in read for s in on_nodes(self, e).free_symbols], set()
        while open_:
            id = open_.pop()
            if id is not None and id not in found and id not in self._known:
                found.add(id)
                open_ += self.parts.graph[id].args
        named = {**self.parts.labels, **self.parts.made}
        lines = [(named[id], id) for id in sorted(found) if id in named]
        return [f"{self.notation.symbol(label)} = {self.writer.rhs(id)}" for label, id in lines]


@dataclass(frozen=True)
class Parts:
    """The graph of a step with the long polynomials of its derivatives as values, nodes by `atoms`; the names that the cell
    gives, and those that are `made` for long values."""

    graph: Graph
    atoms: Mapping[sp.Symbol, int]
    fixed: frozenset[int]
    labels: Mapping[int, Label]
    made: Mapping[int, Label]


def _parts(of: Local) -> Parts:
    g, labels = of.graph.copy(), labels_of(of)
    atoms: dict[sp.Symbol, int] = {}
    sizes: dict[sp.Symbol, int] = {}
    for s, atom in of.atoms.items():
        inner = {x: sizes.get(x, 0) for x in atom.expr.free_symbols}
        sizes[s] = int(atom.expr.count_ops()) + sum(inner.values())
        if sizes[s] > SHORTEST and not atom.slope_of:
            # A part with a name of its own adds nothing to the length of those that read it.
            sizes[s] = 0
            plain = _expanded(of, atoms, atom.expr)
            args = sorted(id for x in plain.free_symbols if (id := node_of(x)) is not None)
            atoms[s] = build.map_(g, plain.xreplace({symbol(id): placeholder(i) for i, id in enumerate(args)}), args)
    fixed = set(of.fixed)
    for id in range(len(of.graph), len(g)):
        fixed |= {id} if set(g[id].args) <= fixed else set()
    used = {label.name for label in labels.values()}
    made: dict[int, Label] = {}
    named = dict.fromkeys([*labels, *atoms.values()])
    for id in Nesting(g, named).too_long():
        named[id] = None
    for id in sorted(named.keys() - labels.keys()):
        if g[id].family not in ("leaf", "number"):
            name = unique(f"a_{len(made) + 1}", used)
            used.add(name)
            made[id] = Label(name, None if id in fixed else 0, given=False)
    return Parts(g, atoms, frozenset(fixed), labels, made)


def _expanded(of: Local, atoms: Mapping[sp.Symbol, int], expr: sp.Expr) -> sp.Expr:
    """An expression over values of nodes alone; the atoms that are values themselves stay."""
    while made := [s for s in expr.free_symbols if node_of(s) is None]:
        expr = expr.xreplace({s: symbol(atoms[s]) if s in atoms else of.atoms[s].expr for s in made})
    return expr


def formulas(of: Local, norm: str, bounded: tuple[str, ...], signs: Signs, trees: Iterable[Tree]) -> Formulas:
    """Return the writer of a theorem's bounds, which are all of its `trees`."""
    letter = _letter(of, signs)
    template = f"{letter}{{0}}" if signs is TEXT_SIGNS else f"{letter}_{{{{{{0}}}}}}"
    names = {shared: template.format(i + 1) for i, shared in enumerate(shared_in(trees))}
    return Formulas(of, norm, tuple(general(of, bounded, sizes_in(of, size)) for size in TRIED), signs, names)


LETTERS = {"β": r"\beta", "ω": r"\omega", "ρ": r"\rho", "bound": r"\mathrm{bound}"}


def _letter(of: Local, signs: Signs) -> str:
    """Return the letter of shared bounds: the first that no name of the cell begins with."""
    taken = [*of.step.leaves, *of.step.next, *of.step.outputs, *of.graph.names.values()]
    alike = {"β": ("β", "beta"), "ω": ("ω", "omega"), "ρ": ("ρ", "rho"), "bound": ()}
    letter = next(k for k, starts in alike.items() if not any(name.startswith(starts) for name in taken))
    return letter if signs is TEXT_SIGNS else LETTERS[letter]


def labels_of(of: Local) -> dict[int, Label]:
    """Return the names of a cell's values with their times."""
    step, g = of.step, of.graph
    times = {a.name: a.time for a in step.arguments}
    found = {id: Label(name, times[name]) for name, id in step.leaves.items()}
    for name, id in (step.next | step.outputs).items():
        found.setdefault(id, Label(name, 0))
    taken = {label.name for label in found.values()}
    for id, name in g.names.items():
        if id not in found and name not in taken:
            found[id] = Label(name, None if id in of.fixed else 0)
    return found


SUM, PRODUCT = 0, 1
SHORTEST = 40
"""Operations of a polynomial, with those that it is made of, from which on it has a name."""


def written(f: Formulas, tree: Tree, least: int = SUM) -> str:
    """Return a bound as a formula; in brackets where it is a sum and `least` is PRODUCT."""
    match tree:
        case One():
            return "1"
        case Shared():
            return f.names[tree]
        case Factor():
            return _factor(f, tree)
        case Count() | Times():
            return _product(f, _monomial(f, tree))
        case Greatest(parts):
            return f.signs.maximum.format(", ".join(written(f, part) for part in parts))
        case Root(parts):
            return f.signs.norm_two.format(f"({', '.join(written(f, part) for part in parts)})")
        case Plus(parts):
            return _bracketed(f, [(_monomial(f, part), written(f, part)) for part in parts], least)
    return _supremum_of_sum(f, tree, least)


def _supremum_of_sum(f: Formulas, tree: Sup, least: int) -> str:
    """Σ |p| bound, the identity first, and the ranges of the gates that stay in it."""
    gates = _kept(f, tree)
    ordered = sorted(tree.parts, key=lambda part: part[1] != One())
    terms = [_term(f, p, part, gates) for p, part in ordered]
    ranges = [found for s in gates if (found := range_of(f, s))]
    if not ranges:
        return _bracketed(f, terms, least)
    return f.signs.over(_bracketed(f, terms, SUM), f.signs.join.join(ranges))


def is_gate(f: Formulas, factor: sp.Expr) -> bool:
    """Answer whether a factor is a value with a name that inputs and states change, such as a gate that preserves a state."""
    id = node_of(factor)
    return id is not None and id not in f.of.fixed and id in f.of.graph.names


def range_of(f: Formulas, s: sp.Symbol) -> str:
    """Return the range of a value that stays in a formula; nothing for one number that no step changes."""
    id = node_of(s)
    if id in f.of.fixed and not f.of.graph.shape(id):
        return ""
    le, name, within = f.signs.le, expression(f, s), f.general[0].atoms[s]
    lo, hi = float(within.lo.min()), float(within.hi.max())
    if id not in f.of.fixed and np.isfinite(lo) and np.isfinite(hi):
        return f"{lo:g} {le} {name} {le} {hi:g}"
    if id not in f.of.fixed:
        return f.signs.any.format(name)
    return f"{f.signs.least.format(name)} {le} {name} {le} {f.signs.greatest.format(name)}"


@dataclass(frozen=True)
class Monomial:
    """A product as it is written: a number, the parts, and powers of sizes."""

    number: Fraction = Fraction(1)
    approximate: float = 1.0
    parts: tuple[str, ...] = ()
    counts: Mapping[Size, sp.Expr] = field(default_factory=dict)

    def __mul__(self, other: Monomial) -> Monomial:
        counts = {n: self.counts.get(n, 0) + other.counts.get(n, 0) for n in {**self.counts, **other.counts}}
        return Monomial(
            self.number * other.number, self.approximate * other.approximate, self.parts + other.parts, counts
        )


def _monomial(f: Formulas, tree: Tree) -> Monomial:
    """A bound as a product; numbers and sizes of the bounds in it come together, so that no page has ½ ¼ or √n √n."""
    match tree:
        case One():
            return Monomial()
        case Count(size, power):
            return Monomial(counts={size: power})
        case Times(parts):
            return reduce(mul, (_monomial(f, part) for part in parts))
        case Sup(((p, part),)) if not shared(f, tree):
            return _factors(f, p, part, ()) * _monomial(f, part)
    return Monomial(parts=(written(f, tree, PRODUCT),))


def _powers(f: Formulas, factors: Iterable[str]) -> list[str]:
    """Factors, repeated ones as squares; all but calls and norms in brackets."""
    squared = "²" if f.signs is TEXT_SIGNS else "^{2}"
    counts = Counter(factors)
    return [
        (f.signs.notation.brackets(factor) if " " in factor else factor) + squared
        if n == 2
        else f.signs.times.join([factor] * n)
        for factor, n in counts.items()
    ]


def _count(f: Formulas, size: Size, power: sp.Expr, alone: bool) -> list[str]:
    """A power of a size, whole or with half of one: √n, n, n √n, n^2."""
    shown, brackets = size_shown(size, f.notation), f.signs.notation.brackets
    whole, half = divmod(power, 1)
    root = f.signs.root.format(shown) if shown.isalnum() else f.signs.notation.root(shown, False)
    base = shown if shown.isalpha() or (whole == 1 and (alone or not sp.sympify(size).is_Add)) else brackets(shown)
    raised = [] if whole == 0 else [base] if whole == 1 else [f.signs.notation.power(base, str(whole))]
    return [*raised, *([root] if half else [])]


Term = tuple[Monomial, str]
"""A term of a sum as a product, for where it stands several times, and as it is written where it stands once."""


def _bracketed(f: Formulas, terms: Sequence[Term], least: int) -> str:
    counts = Counter(text for _, text in terms)
    texts = [_times(f, of, counts.pop(text)) or text for of, text in terms if text in counts]
    text = " + ".join(texts or ["0"])
    return f.signs.notation.brackets(text) if least == PRODUCT and len(texts) > 1 else text


def _times(f: Formulas, of: Monomial, n: int) -> str:
    """A term that a sum has n times; nothing for one that it has once."""
    return "" if n == 1 else _product(f, Monomial(Fraction(n)) * of)


def shared(f: Formulas, tree: Sup) -> tuple[sp.Symbol, ...]:
    """Return the values, not slopes, that several terms of a formula read in the max-norm."""
    if f.norm == "2":
        return ()
    found = corners(tuple(p for p, _ in tree.parts))
    return tuple(s for s in found if node_of(s) is not None)


def _kept(f: Formulas, tree: Sup) -> tuple[sp.Symbol, ...]:
    """Return the atoms that stay in the formula: those that are shared, and what else stands in a factor with one that changes.

    A bound is one number: as `1 − z cos(h)` stays for the sake of z, its supremum is over cos(h) too.
    """
    found = list(shared(f, tree))
    open_ = {s for s in found if _varies(f, s)}
    for factor in (factor for p, _ in tree.parts for factor in factors_of(p)):
        if factor.free_symbols & open_:
            found += sorted((s for s in factor.free_symbols if s not in found and _varies(f, s)), key=str)
    return tuple(found)


def _varies(f: Formulas, s: sp.Symbol) -> bool:
    """Answer whether inputs or states change a value."""
    return node_of(s) not in f.of.fixed


def _stays(f: Formulas, factor: sp.Expr, kept: tuple[sp.Symbol, ...]) -> bool:
    """Answer whether a factor stands as it is: all of it that changes has a range beside the formula."""
    symbols = factor.free_symbols
    return bool(symbols & set(kept)) and all(s in kept for s in symbols if _varies(f, s))


def _term(f: Formulas, p: sp.Expr, tree: Tree, kept: tuple[sp.Symbol, ...]) -> Term:
    """One term |p| bound: its number, the factors that stay in the formula, the suprema of the others, and its bound."""
    of = _factors(f, p, tree, kept) * _monomial(f, tree)
    is_alone = of.number == 1 and of.approximate == 1.0 and len(of.parts) == 1 and not of.counts
    if is_alone and tree == One():
        return of, _product(f, _factors(f, p, tree, kept, alone=True))
    return of, written(f, tree) if is_alone and p == 1 else _product(f, of)


def _factors(f: Formulas, p: sp.Expr, tree: Tree, kept: tuple[sp.Symbol, ...], alone: bool = False) -> Monomial:
    """The factors of |p| in |p| bound; without brackets where one stands `alone`."""
    number, gates, others = Fraction(1), [], []
    approximate = 1.0
    for factor in factors_of(p):
        if _stays(f, factor, kept):
            gates.append(_gate(f, factor, alone))
            continue
        size = None if _is_fixed(f, factor) else certain_size(f, factor)
        if tree == One() and is_gate(f, factor):
            others.append(f.signs.sup.format(_gate(f, factor)))
        elif size is None:
            others.append(_supremum(f, factor, alone))
        # A supremum near a simple fraction is that fraction, up to the tolerance of its search.
        elif (exact := Fraction(size).limit_denominator(64)) and abs(float(exact) - size) < 1e-12 * max(size, 1):
            number *= exact
        else:
            approximate *= size
    return Monomial(number, approximate, (*gates, *others))


def _product(f: Formulas, of: Monomial) -> str:
    if any(power == sp.oo for power in of.counts.values()):
        return "∞"  # no bound is known of one of its factors
    # Whole powers of a size that is a number are part of the number.
    number = of.number * prod(n ** int(power) for n, power in of.counts.items() if isinstance(n, int))
    counts = {n: power % 1 if isinstance(n, int) else power for n, power in of.counts.items()}
    if of.approximate != 1.0:
        head = f"{rounded_up(float(number) * of.approximate):g}"
    elif number == 1:
        head = ""
    elif f.signs is LATEX_SIGNS and number.denominator != 1:
        head = rf"\frac{{{number.numerator}}}{{{number.denominator}}}"
    else:
        head = VULGAR.get(str(number), str(number) if number.denominator == 1 else f"({number})")
    alone = not head and not of.parts and len(counts) == 1
    sizes = [text for n, power in counts.items() for text in _count(f, n, power, alone)]
    return f.signs.times.join([*([head] if head else []), *sizes, *_powers(f, of.parts)]) or "1"


VULGAR = {"1/4": "¼", "1/2": "½", "3/4": "¾"}


def certain_size(f: Formulas, factor: sp.Expr) -> float | None:
    """Return the supremum of |factor| where it is a number for all parameters and sizes."""
    found = [float(np.max(largest((factor,), [1.0], _scalars(factor, within)))) for within in f.general]
    # A supremum that is the same at both sizes tried counts as one for all sizes.
    return found[0] if np.isfinite(found[0]) and len(set(found)) == 1 else None


def _scalars(expr: sp.Expr, within: Enclosure) -> dict[sp.Symbol, Interval]:
    return {s: Interval(within.atoms[s].lo.min(), within.atoms[s].hi.max()) for s in expr.free_symbols}


def _gate(f: Formulas, factor: sp.Expr, alone: bool = False) -> str:
    """A factor that stays: as it is where it is known not to be negative, else its absolute value."""
    found = [extent(factor, _scalars(factor, within)) for within in f.general]
    if all((e.hi <= 0).all() for e in found):
        # |−q| = |q|: with a known sign the formula needs no bars.
        factor, found = -factor, [Interval(-e.hi, -e.lo) for e in found]
    if all((e.lo >= 0).all() for e in found):
        return expression(f, factor, writing.SUM if alone else writing.MATRIX)
    return f.signs.size.format(expression(f, factor))


def _is_fixed(f: Formulas, factor: sp.Expr) -> bool:
    """Answer whether a factor is made of parameters and constants alone, and not of numbers that the cell writes."""
    nodes = [node_of(s) or 0 for s in on_nodes(f, factor).free_symbols]
    written_out = all(f.parts.graph[id].family == "number" for id in nodes)
    return not written_out and all(id in f.parts.fixed for id in nodes)


def _supremum(f: Formulas, factor: sp.Expr, alone: bool) -> str:
    if not _is_fixed(f, factor):
        return f.signs.sup.format(f.signs.size.format(expression(f, factor)))
    size = _gate(f, factor, alone)
    plain = on_nodes(f, factor)
    if plain.is_Symbol:  # the greatest element does not change with the shape
        plain = symbol(_unviewed(f.parts.graph, node_of(plain) or 0))
    scalar = not any(f.parts.graph.shape(node_of(s) or 0) for s in plain.free_symbols)
    return size if scalar else f.signs.greatest.format(f.signs.size.format(f.writer.formula(tree_of(plain))))


def _unviewed(graph: Graph, id: int) -> int:
    """The value that a view repeats or transposes, with the same elements."""
    while (
        graph[id].family == "view"
        and graph[id].attrs.kind in ("reshape", "expand", "transpose")
        and id not in graph.names
    ):
        (id,) = graph[id].args
    return id


def on_nodes(f: Formulas, expr: sp.Expr) -> sp.Expr:
    """Return an expression over values of nodes alone."""
    return _expanded(f.of, f.parts.atoms, expr)


def expression(f: Formulas, expr: sp.Expr, least: int = writing.SUM) -> str:
    """Return an expression over atoms as the cell would write it, for a place that binds at least so tightly."""
    return f.writer.formula(tree_of(on_nodes(f, expr)), least)


def _factor(f: Formulas, factor: Factor) -> str:
    signs, fixed = f.signs, factor.node in f.of.fixed
    rows = [x for x in factor.theirs if x not in factor.mine]
    columns = [x for x in factor.theirs if x in factor.mine and x not in factor.out]
    turned = len(factor.theirs) == 2 and factor.theirs == (*columns, *rows) and f.norm == "max"
    is_spectral = (
        f.norm == "2" and _norm_sign(signs, f.norm, bool(rows), bool(columns), len(factor.theirs)) == signs.sigma
    )
    name = _turned(f, factor.node) if turned else _matrix(f, _unturned(f, factor.node) if is_spectral else factor.node)
    text = _norm_sign(signs, f.norm, bool(rows), bool(columns), len(factor.theirs)).format(name)
    return text if fixed else signs.sup.format(text)


def _unturned(f: Formulas, id: int) -> int:
    """The matrix that a transpose, which has the same singular values, is of."""
    node = f.of.graph[id]
    is_turned = node.family == "view" and node.attrs.kind == "transpose" and id not in f.writer.labels
    return node.args[0] if is_turned else id


def _turned(f: Formulas, id: int) -> str:
    """The transpose of a matrix; of a transpose, the matrix."""
    node = f.of.graph[id]
    if node.family == "view" and node.attrs.kind == "transpose" and len(node.shape) == 2:
        return f.writer.symbol(node.args[0])
    return f.signs.notation.transpose(f.writer.at(id, 5))


def _matrix(f: Formulas, id: int) -> str:
    """A matrix by its name, or as a formula; a product that has no other sign by its entries."""
    node, text = f.of.graph[id], f.writer.symbol(id)
    if node.family != "contract" or id in f.writer.labels or "einsum" not in text:
        return text
    p = node.attrs
    parts = [_entry(f, arg, labels) for arg, labels in zip(node.args, (p.a, p.b), strict=True)]
    summed = "".join("ijklmnop"[label] for label in sorted({*p.a, *p.b} - {*p.out}))
    sign = ("Σ_" + summed if f.signs is TEXT_SIGNS else rf"\sum_{{{summed}}}") if summed else ""
    return f.signs.times.join([*([sign] if sign else []), *parts])


def _entry(f: Formulas, id: int, labels: tuple[int, ...]) -> str:
    letters = "".join("ijklmnop"[label] for label in labels)
    return f.writer.at(id, 5) + (f"_{letters}" if f.signs is TEXT_SIGNS else f"_{{{letters}}}")


def _norm_sign(signs: Signs, norm: str, rows: bool, columns: bool, rank: int) -> str:
    if norm == "2":
        return signs.sigma if rank == 2 and rows and columns else signs.norm_two
    if rank == 1 and columns:
        return signs.norm_one
    return signs.norm_max if columns else signs.greatest.format(signs.size)
