"""The work of the sweeps of a module: each product and all that is elementwise, how often and with how many operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp

from symbptt.autodiff.bptt import derive
from symbptt.codegen.lower.equations import writer_of
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.program.regions import AFTER, ALL, BLOCK, LOOP, ONCE, TAIL, place
from symbptt.codegen.program.remainders import is_remainder
from symbptt.codegen.targets.numpy.memory.bare import Bare
from symbptt.codegen.targets.numpy.memory.extent import expression, value_of
from symbptt.codegen.targets.numpy.memory.reader import BEFORE, BLOCKS, STEPS, Call, Reader
from symbptt.codegen.targets.numpy.memory.reading import Rooms, names_of
from symbptt.codegen.targets.numpy.memory.written import B, Reading, T, Written, arguments_of, in_numbers, in_symbols
from symbptt.codegen.targets.numpy.module import source
from symbptt.codegen.targets.numpy.names import Module, module_of
from symbptt.ir.node import Node
from symbptt.ir.shape import named_size
from symbptt.ir.step import Step
from symbptt.language.truncation import Window

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
    lines: int
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

    calls: Mapping[str, tuple[Call, ...]]
    letters: Mapping[sp.Symbol, sp.Expr]


def read(
    w: Written, sizes: Mapping[str, int] | None = None, steps: int = 0, batch: int = 0, dtype: Any = np.float64
) -> Read:
    """Return the calls of each sweep over T steps: forward, of the loss, backward; with a window, `pull` one step back
    at all steps at once; with pieces, `carried` backward from the carries of a later piece.

    They are in symbols, or in numbers where sizes are given, which then decide what a module asks of them.
    """
    r = Reader(np.dtype(dtype))
    return _read(w, in_symbols(w, r) if sizes is None else in_numbers(w, r, sizes, steps, batch))


def _read(w: Written, given: Reading) -> Read:
    r, dims = given.reader, given.sizes
    names, found = names_of(w.text, r), dict[str, tuple[Call, ...]]()
    common, ws = (dims, *given.lead, r.dtype), Rooms(r)
    a = arguments_of(w, given)
    # Masks are None: with them a step computes the same products.
    states, outputs, tape = names["_forward"](a, a, *common, None, None, ws)
    found["forward"] = _taken(r)
    full, last = states | outputs, dict.fromkeys(states)
    if w.head is not None:
        # A loss at the last step reads values without an axis of steps.
        lead, known = (given.lead, full) if w.at_every else (given.lead[1:], {k: v[0] for k, v in full.items()})
        sent = names["_loss"](a, known, Bare(r, lead), *common)[1]
        found["loss"] = _taken(r)
        # A cotangent that the loss does not send is None, so that the sweep does not read it.
        full = {k: v if k in sent and (w.at_every or k in outputs) else None for k, v in full.items()}
        last = last if w.at_every else {k: sent.get(k) for k in states}
    if isinstance(w.truncation, Window):
        for sweep, sums in (("pull", False), ("backward", True)):
            names["_pull"](tape, states, {k: full[k] for k in outputs}, sums, *common)
            found[sweep] = _taken(r)
    else:
        handed = {k: Bare(r, v.shape[1:]) for k, v in states.items()}
        for sweep, carry in [("backward", last), *[("carried", handed)] * w.pieces]:
            names["_backward"](tape, full, carry, None, *common, None, None, ws)
            found[sweep] = _taken(r)
    return Read(found, dict(r.letters))


def _taken(r: Reader) -> tuple[Call, ...]:
    """Return the calls that were read since the last time."""
    calls = tuple(r.calls)
    r.calls.clear()
    return calls


def values_of(sizes: Mapping[str, int], steps: int, batch: int) -> dict[sp.Symbol, int]:
    """Return the given numbers by symbol."""
    return {T: steps, B: batch, **{named_size(name): value for name, value in sizes.items()}}


@dataclass(frozen=True)
class Label:
    """The region of a call and its formula; of a product, the value that it computes."""

    where: str
    is_product: bool
    id: int | str | None = None
    what: str = ""


Labels = Mapping[tuple[str, int], list[Label]]
"""The labels of the calls of each line of a sweep, in their order."""


def labels_of(w: Written, symbolic: Read) -> Labels:
    """Return the labels of calls that were read in symbols."""
    found: dict[tuple[str, int], list[Label]] = {}
    for sweep, calls in symbolic.calls.items():
        p, known = w.head.program if w.head is not None and sweep == "loss" else w.program, _known(w, sweep)
        for call in calls:
            # Outside the loop, operations that grow with T are those of all steps at once.
            where = ALL_STEPS if call.where == BEFORE and expression(call.operations).has(T) else WHERE[call.where]
            id = _named(call, known) if call.is_product else None
            label = _unnamed(w, call, where) if id is None else Label(where, True, id, product_text(p, id))
            found.setdefault((sweep, call.line), []).append(label)
    return found


def _unnamed(w: Written, call: Call, where: str) -> Label:
    """Return the label of a call that is no product, or of a product that is no value, with the code of the module."""
    code = w.text.splitlines()[call.line - 1].partition("  # ")[0].strip() if call.is_product else ""
    return Label(where, call.is_product, code or None, code)


def works(w: Written, read: Read, labels: Labels, sweeps: Iterable[str]) -> tuple[Work, ...]:
    """Return the work of some sweeps: their products by name, all else of each region together, in the order of the
    text."""
    rows, spots = dict[tuple[Any, ...], Work](), dict[tuple[Any, ...], set[tuple[int, int]]]()
    for sweep in sweeps:
        for spot, call, label in _labelled(w, sweep, read.calls[sweep], labels):
            key = (SHOWN.get(sweep, sweep), label.where, label.is_product, label.id)
            functions = call.operations if call.name in FUNCTIONS else 0
            work = Work(key[0], label.where, label.what, label.is_product, 0, call.times, call.operations, functions)
            rows[key] = _sum(rows[key], work) if key in rows else work
            # A line counts once, however often it runs.
            spots.setdefault(key, set()).add(spot)
    return tuple(replace(work, lines=len(spots[key])) for key, work in rows.items() if work.calls != 0)


def _labelled(
    w: Written, sweep: str, calls: Iterable[Call], labels: Labels
) -> Iterator[tuple[tuple[int, int], Call, Label]]:
    """Yield calls with their labels; in numbers a line may run several times."""
    count = Counter[int]()
    for call in calls:
        known = labels.get((sweep, call.line)) or [_unnamed(w, call, WHERE[call.where])]
        # The labels were read from one round, so that they repeat from round to round.
        at = count[call.line] % len(known)
        count[call.line] += 1
        yield (call.line, at), call, known[at]


def _known(w: Written, sweep: str) -> list[Named]:
    """Return the products of a sweep, in the order in which they are written."""
    if sweep != "loss":
        return _products(module_of(w.program), "forward" if sweep == "forward" else "backward")
    assert w.head is not None
    m = module_of(w.head.program, ("T", "B") if w.at_every else ("B",))
    return [*_products(m, "forward"), *_products(m, "backward")]


STEP, ALL_STEPS = "each step", "all steps at once"
WHERE = {BEFORE: "once", BLOCKS: "each block of steps", STEPS: STEP}


def _sum(a: Work, b: Work) -> Work:
    return replace(a, **{k: getattr(a, k) + getattr(b, k) for k in ("calls", "operations", "functions")})


Named = tuple[int, sp.Expr]
"""A product by the value that it is, and its multiply-adds in all."""


def _named(call: Call, known: list[Named]) -> int | None:
    """Return the product that a call computes: the first one left that has as many operations."""
    # Products of equal cost are told apart by their order, which is that of the text.
    at = next((i for i, (_, operations) in enumerate(known) if sp.expand(operations - call.operations) == 0), None)
    return None if at is None else known.pop(at)[0]


def _products(m: Module, sweep: str) -> list[Named]:
    """Return the products of a sweep in the order in which they are written."""
    p = m.program
    ids = [id for region in (ONCE, ALL, BLOCK, LOOP) for id in m.computed(sweep, region)]
    late = [id for region in (TAIL, AFTER) for id in m.computed(sweep, region)]
    forward = sweep == "forward"
    ends = [] if forward else [id for id in p.recurrent.values() if id not in m.variables]
    tail = p.outputs if forward else {**p.params, **p.inputs}
    results = [id for id in tail.values() if id not in m.variables]
    return [named for id in [*ids, *ends, *late, *results] for named in _inside(m, id)]


def _inside(m: Module, id: int, outer: int | None = None) -> Iterator[Named]:
    """Yield the products in the formula of a value, in the order in which they are computed; `outer` sums it over all
    steps."""
    node = m.program.graph[id]
    for arg in node.args[:1] if is_remainder(node) else node.args:
        if arg not in m.variables:
            yield from _inside(m, arg, id if node.family == "total" else None)
    if node.family == "contract":
        both = all(arg in m.varying for arg in node.args)
        summed = set(node.attrs.a) & set(node.attrs.b) - set(node.attrs.out)
        lead = sp.prod({"T": T, "B": B}[axis] for axis in m.lead) if id in m.varying else 1
        # Σ_t a_t b is summed over the steps before the product where b is the same at all of them, so that it runs
        # once.
        if summed or (outer is not None and both):
            yield id if outer is None else outer, _operations(m.program, node) * (lead if both or outer is None else 1)


def _operations(p: Program, node: Node) -> sp.Expr:
    """Return the multiply-adds of a product for a step and sample."""
    shapes = [p.graph.shape(arg) for arg in node.args]
    return sp.Mul(*dict(zip(node.attrs.a + node.attrs.b, shapes[0] + shapes[1], strict=True)).values())


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

ROUNDS = 100
"""The number of times that sizes are increased until no axis is empty."""


def short(text: str, most: int = WHOLE) -> str:
    """Return a formula, cut where it is longer than that many letters."""
    return text if len(text) <= most else f"{text[: most - 2]}…" + ")" * text.startswith("(")


def calls_of_a_step(step: Step, clip: float | None) -> tuple[int, int]:
    """Return how many products and other calls a step has as it was derived: those of a module that is written without
    passes, for one step."""
    p = place(program_of(derive(step)))
    w = Written(source(p, "", "", clip=clip), p, clip=clip)
    calls = [call for group in read(w, least_sizes(w), 1, 1).calls.values() for call in group]
    products, others = (sum(call.times for call in calls if call.is_product is kind) for kind in (True, False))
    return products, others


def least_sizes(w: Written) -> dict[str, int]:
    """Return sizes of one, and larger ones where a difference such as m - 1 would otherwise leave an axis without
    elements."""
    found = {named_size(name): 1 for name in w.names}
    axes = {sp.expand(size) for a in w.program.arguments for size in a.shape if not isinstance(size, int)}
    for _ in range(ROUNDS):
        empty = [size for size in axes if size.xreplace(found) < 1]
        # Only a size with a positive coefficient makes an axis longer.
        gained = {
            x
            for size in empty
            for term in sp.Add.make_args(size)
            if term.as_coeff_Mul()[0] > 0
            for x in term.free_symbols
        }
        found |= {x: found[x] + 1 for x in gained}
        if not gained:
            break
    return {symbol.name: value for symbol, value in found.items()}


def numbers(work: Work, read: Read, values: Mapping[sp.Symbol, int]) -> Work:
    """Return work with numbers for its formulas."""
    every = {**values, **{letter: value_of(length, values) for letter, length in read.letters.items()}}
    found = {name: value_of(expression(getattr(work, name)), every) for name in ("calls", "operations", "functions")}
    return replace(work, **found)


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
