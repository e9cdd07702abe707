"""The work of the sweeps of a module: each product and all that is elementwise, how often and with how many operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sympy as sp

from symbptt.autodiff.bptt import derive
from symbptt.codegen.loop_ir.nodes import BATCH, BLOCK, STEPS, Function
from symbptt.codegen.lower.equations import writer_of
from symbptt.codegen.plan.calls import BEFORE, BLOCKS, EACH, Called, Given, called, numbers_of
from symbptt.codegen.plan.written import Written
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.program.regions import place
from symbptt.ir.shape import Size, named_size
from symbptt.ir.step import Step
from symbptt.language.truncation import Window

T, B = STEPS, BATCH
"""The steps and the samples."""
STEP, ALL_STEPS = "each step", "all steps at once"
WHERE = {BEFORE: "once", BLOCKS: "each block of steps", EACH: STEP}
SHOWN = {"pull": "recursion", "carried": "backward"}
"""The names in tables of the sweeps of windows and pieces."""
FUNCTIONS = {
    "exp", "expm1", "log", "log1p", "logaddexp", "tanh", "sin", "cos", "tan", "arctan", "power", "float_power",
}  # fmt: skip
"""Elementwise functions whose elements take many times as long as those of arithmetic."""


@dataclass(frozen=True)
class Work:
    """A product, or all elementwise calls of a region.

    `calls` and `operations` are those of a whole run: multiply-adds of products, elements of all else, of which
    `functions` are elements of exp, tanh and the like; `lines` are the calls each time that the region runs.
    """

    sweep: str
    where: str
    what: str
    is_product: bool
    lines: Any
    calls: Any
    operations: Any
    functions: Any = 0

    @property
    def kind(self) -> str:
        """The row of a table in which it counts: products or others."""
        return "products" if self.is_product else "others"


@dataclass(frozen=True)
class Read:
    """The calls of each sweep, and the meaning of the letters in their numbers."""

    calls: Mapping[str, tuple[Called, ...]]
    letters: Mapping[sp.Symbol, sp.Expr]


def read(w: Written) -> Read:
    """Return the calls of each sweep over T steps: forward, of the loss, backward; with a window, `pull` one step back
    at all steps at once; with pieces, `carried` backward from the carries of a later piece."""
    f, letters, found = w.functions, dict[sp.Expr, sp.Symbol](), dict[str, tuple[Called, ...]]()
    states = [port.name for port in f.forward.arguments if port.group == "state"]
    every, own = frozenset(range(len(states))), numbers_of(f.forward)
    found["forward"] = called(f.forward, Given(), _letter(letters, f.forward))
    given, last = every, frozenset[int]()
    if f.loss is not None:
        found["loss"] = called(f.loss, Given())
        sent = {port.name for port in f.loss.results if port.group == "inputs"}
        read_of = frozenset(i for i, name in enumerate(states) if name in sent)
        # A loss at the last step sends what it says of the states to the adjoints behind that.
        given, last = (read_of, last) if w.at_every else (last, read_of)
    letter = _letter(letters, f.back)
    if isinstance(w.truncation, Window):
        found["pull"] = called(f.back, Given(numbers=own), letter)
        found["backward"] = called(f.back, Given(flags=frozenset(["sums"]), numbers=own), letter)
    else:
        found["backward"] = called(f.back, Given(given, last, numbers=own), letter)
        if w.pieces:
            found["carried"] = called(f.back, Given(given, every, numbers=own), letter)
    return Read(found, {letter: length for length, letter in letters.items()})


def _letter(letters: dict[sp.Expr, sp.Symbol], f: Function) -> sp.Expr:
    """Return the letter for the steps of a block of a function, K or K'."""
    if f.block is None:
        return BLOCK
    name = "K" + "'" * len(letters)
    return letters.setdefault(block_length(*f.block), sp.Symbol(name, integer=True, nonnegative=True))


def block_length(numbers: Size, rows: int) -> sp.Expr:
    """Return the steps of a block as `_steps` of workspace.py computes them."""
    # Not evaluated: SymPy would look for a proof of which argument is the greatest, and a reader of the table wants
    # the formula of the runtime as it stands.
    most = sp.Max(1, sp.sympify(numbers) * B, evaluate=False)
    parts = [sp.floor(2**15 / most)] + [sp.floor(rows / sp.Max(1, B, evaluate=False))] * (rows > 0)
    fitting = sp.Max(*parts, evaluate=False) if len(parts) > 1 else parts[0]
    return sp.Max(1, sp.Min(T, fitting, evaluate=False), evaluate=False)


def values_of(sizes: Mapping[str, int], steps: int, batch: int) -> dict[sp.Symbol, int]:
    """Return the given numbers by symbol."""
    return {T: steps, B: batch, **{named_size(name): value for name, value in sizes.items()}}


def works(w: Written, read: Read, sweeps: Iterable[str]) -> tuple[Work, ...]:
    """Return the work of some sweeps: their products by name, all else of each region together, in the order of the
    text."""
    rows = dict[tuple[Any, ...], Work]()
    for sweep in sweeps:
        p = w.head.program if w.head is not None and sweep == "loss" else w.program
        for call in read.calls[sweep]:
            # Outside of the loop, operations that grow with T are those of all steps at once.
            where = ALL_STEPS if call.where == BEFORE and call.operations.has(T) else WHERE[call.where]
            key = (SHOWN.get(sweep, sweep), where, call.is_product, call.origin if call.is_product else None)
            functions = call.operations if call.name in FUNCTIONS else 0
            work = Work(key[0], where, "", call.is_product, call.inside, call.times, call.operations, functions)
            rows[key] = _sum(rows[key], work) if key in rows else work
            if call.is_product and not rows[key].what:
                rows[key] = replace(
                    rows[key], what="a product" if call.origin is None else product_text(p, call.origin)
                )
    return tuple(work for work in rows.values() if work.calls != 0)


def _sum(a: Work, b: Work) -> Work:
    return replace(a, **{k: getattr(a, k) + getattr(b, k) for k in ("lines", "calls", "operations", "functions")})


def product_text(p: Program, id: int) -> str:
    """Return a product as an equation would show it, with products that are computed together in brackets."""
    olds = p.origin.get(id, ()) if p.written is not None else ()
    if p.written is not None and olds:
        factors = [_factors(p.written, old) for old in olds]
        known = [f for f in factors if f is not None]
        if len(known) == len(olds):
            # Products whose result has the shape of one of them are summed; others lie in one array.
            return _together(known, " + " if p.graph.shape(id) == p.written.graph.shape(olds[0]) else "; ")
        if len(olds) == 1:
            return short(writer_of(p.written).rhs(olds[0]))
    found = _factors(p, id)
    return short(writer_of(p).rhs(id)) if found is None else _together([found], "")


Factors = tuple[str, str, str, str]
"""A product as text: its prefix, its first factor, a sign of transposition, its second factor."""


def _factors(p: Program, id: int) -> Factors | None:
    """Return the factors of a matrix times a vector, or of a column times a row; None of another product."""
    node = p.graph[id]
    if node.family == "total" and p.graph[node.args[0]].family == "contract":
        inner = _factors(p, node.args[0])
        return inner and (inner[0] or "Σ_t ", *inner[1:])
    if node.family != "contract":
        return None
    labels, (a, b) = node.attrs, node.args
    at = writer_of(p).at
    if len(labels.a) == 2 and len(labels.b) == 1 and labels.b[0] in labels.a:
        turned, inner_node = labels.a[0] == labels.b[0], p.graph[a]
        if inner_node.family == "view" and inner_node.attrs.kind == "transpose" and a not in p.labels:
            # Two transpositions cancel.
            a, turned = inner_node.args[0], not turned
        return "", short(at(a, 5), OPERAND), "ᵀ" * turned, short(at(b, 5), OPERAND)
    if len(labels.a) == len(labels.b) == 1 and labels.out == labels.a + labels.b:
        return "Σ_t ", short(at(a, 5), OPERAND), "", f"{short(at(b, 5), OPERAND)}ᵀ"
    return None


def _together(factors: list[Factors], joint: str) -> str:
    """Return products that are computed as one: stacked where they share a factor."""
    before, _, sign, second = factors[0]
    first = list(dict.fromkeys(f[1] for f in factors))
    if all((f[0], f[2], f[3]) == (before, sign, second) for f in factors):
        return f"{before}{_stacked(first)}{sign} {second}"
    if len(first) == 1 and all((f[0], f[2]) == (before, sign) for f in factors):
        return f"{before}{first[0]}{sign} {_stacked([f[3] for f in factors])}"
    return joint.join(f"{a}{b}{c} {d}" for a, b, c, d in factors)


def _stacked(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"[{'; '.join(texts)}]"


OPERAND, WHOLE = 32, 72


def short(text: str, most: int = WHOLE) -> str:
    """Return a formula, cut where it is longer than that many letters."""
    return text if len(text) <= most else f"{text[: most - 2]}…" + ")" * text.startswith("(")


def calls_of_a_step(step: Step, clip: float | None) -> tuple[int, int]:
    """Return how many products and other calls a step has as it was derived: those of a module that is written without
    passes, for one step."""
    w = Written("", place(program_of(derive(step))), clip=clip)
    found = read(w)
    calls = [call for group in found.calls.values() for call in group]
    one = {T: 1, **dict.fromkeys(found.letters, 1), BLOCK: 1}
    # Rounds of a named number stay a letter.
    one = {symbol: symbol for call in calls for symbol in sp.sympify(call.times).free_symbols} | one
    products, others = (sum(value_of(c.times, one) for c in calls if c.is_product is kind) for kind in (True, False))
    return products, others


def numbers(work: Work, read: Read, values: Mapping[sp.Symbol, int]) -> Work:
    """Return work with numbers for its formulas."""
    every = {**values, **{letter: value_of(length, values) for letter, length in read.letters.items()}}
    found = {name: value_of(sp.sympify(getattr(work, name)), every) for name in ("calls", "operations", "functions")}
    return replace(work, **found)


def value_of(expr: sp.Expr, values: Mapping[sp.Symbol, int]) -> Any:
    """Return the value of an expression of sizes; SymPy itself would decide bounds of floors before it knows all sizes."""
    if expr.is_Symbol:
        return values[expr]
    if expr.is_Rational:
        return int(expr) if expr.is_Integer else Fraction(int(expr.p), int(expr.q))
    parts = [value_of(part, values) for part in expr.args]
    return float(expr) if expr.is_Float else EVALUATED[expr.func](parts)


EVALUATED: dict[type[sp.Basic], Callable[[list[Any]], Any]] = {
    sp.Add: sum,
    sp.Mul: math.prod,
    # A fraction is exact: the floor of a rounded quotient could be another number.
    sp.Pow: lambda parts: Fraction(1) / parts[0] ** -parts[1] if parts[1] == -1 else parts[0] ** parts[1],
    sp.Max: max,
    sp.Min: min,
    sp.floor: lambda parts: math.floor(parts[0]),
    sp.ceiling: lambda parts: math.ceil(parts[0]),
}


def times(work: Work, count: int) -> Work:
    """Return work that is done so many times."""
    return replace(work, calls=count * work.calls, operations=count * work.operations, functions=count * work.functions)


def merged(parts: Iterable[Work]) -> tuple[Work, ...]:
    """Return work in which entries of the same product or region are added up."""
    found = dict[tuple[Any, ...], Work]()
    for part in parts:
        key = (part.sweep, part.where, part.what, part.is_product, part.lines)
        old = found.get(key)
        found[key] = part if old is None else _sum(old, part)
    return tuple(found.values())
