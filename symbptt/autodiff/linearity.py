"""Proofs that a value is linear or affine in some arguments, and the places where it stops to be.

Example: h_next = f ⊙ h + (1 - f) ⊙ x, where f = sigmoid(x), as a function of h:

    f          constant      it does not read h
    f ⊙ h      linear        one factor carries h, the other is constant
    h_next     affine        linear plus the constant (1 - f) ⊙ x

As a function of x and h together, f ⊙ h is a product of two carried values: "not shown", through the sigmoid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import sympy as sp

from symbptt import ops
from symbptt.autodiff.partials import VALUE, partials
from symbptt.ir.algebra import RECORDS, is_linear
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rounds import graph_of
from symbptt.ir.scalar import NAME_OF, as_sympy, expanded

CONSTANT, LINEAR, AFFINE, NONE = "constant", "linear", "affine", "not shown"
KINDS = (CONSTANT, LINEAR, AFFINE, NONE)
MOST = 500
"""Terms at the most that a polynomial is expanded to."""


@dataclass(frozen=True)
class Degree:
    """The dependence of a value on some arguments, all others given: "constant", "linear", "affine" or "not shown" (to be any
    of them); `through` are the first values that are not, each with the function that makes it so."""

    kind: str
    through: tuple[tuple[int, str], ...] = ()


def degree(g: Graph, id: int, sources: Collection[int]) -> Degree:
    """Return how a value depends on some leaves together.

    All but "not shown" are proved: value by value, and for a polynomial of the elements also from its expanded form. "not
    shown" says that a function or a product on the way is not affine in what it is given.
    """
    # stop_gradient has a value like any other: for a proof it must count, only for the reason it may be passed over.
    kind, breaks = _swept(g, id, sources, stops=True)
    if kind != NONE:
        return Degree(kind)
    _, shown = _swept(g, id, sources, stops=False)
    return Degree(NONE, tuple((shown or breaks).items()))


def _swept(g: Graph, id: int, sources: Collection[int], stops: bool) -> tuple[str, dict[int, str]]:
    """Return how a value depends on leaves, and the first values that are not affine in them, with the reason. What is held constant
    in derivatives, as the maximum inside a softmax, is no reason of its own: without `stops` it counts as constant."""
    found: dict[int, str] = {}
    breaks: dict[int, str] = {}
    # Of each value once for the whole sweep: a polynomial asks for how its arguments depend, which is settled before.
    made: dict[int, sp.Expr | None] = {}
    ids = g.ancestors([id])
    ends = {id, *(arg for each in ids if g[each].family != "map" for arg in g[each].args)}
    for each in ids:
        node = g[each]
        if each in sources:
            found[each] = LINEAR
            continue
        carried = [i for i, arg in enumerate(node.args) if found[arg] != CONSTANT]
        held = not stops and node.family == "map" and ops.is_held(node.attrs.expr.func)
        kind, why = _kind(g, node, [found[arg] for arg in node.args], carried) if carried else (CONSTANT, "")
        found[each] = CONSTANT if held else kind
        if why and all(found[node.args[i]] != NONE for i in carried):
            breaks[each] = why
        # Terms may cancel in the whole, as x² in (x + a)² - x²: the expansion is tried where a chain of elementwise maps ends.
        if found[each] in (AFFINE, NONE) and each in ends and node.family == "map":
            found[each] = min(found[each], _expanded_kind(g, each, found, sources, made), key=KINDS.index)
    flowing = _read(g, id, stops, {each for each in ids if found[each] != NONE})
    return found[id], {each: why for each, why in breaks.items() if each in flowing}


def _read(g: Graph, id: int, stops: bool, shown: Collection[int]) -> set[int]:
    """Return the ancestors of a value that are not reached through `shown` ones; without `stops`, nor through stop_gradient."""
    found, open_ = set(), [id]
    while open_:
        each = open_.pop()
        node = g[each]
        if each not in found and (stops or not ops.is_held(getattr(node.attrs, "expr", sp.S.Zero).func)):
            found.add(each)
            open_ += [arg for arg in node.args if arg not in shown]
    return found


def _expanded_kind(
    g: Graph, id: int, found: Mapping[int, str], sources: Collection[int], made: dict[int, sp.Expr | None]
) -> str:
    """Return how an elementwise value depends on the sources when it is written as a polynomial of what no polynomial makes, and
    expanded: then terms of a higher degree may cancel."""
    whole = _polynomial(g, id, found, sources, made)
    if whole is None:
        return NONE
    whole = sp.expand(whole)
    atoms = {s: found[int(s.name)] for s in whole.free_symbols if found[int(s.name)] != CONSTANT}
    if not atoms:
        return CONSTANT
    kind = CONSTANT
    for term in sp.Add.make_args(whole):
        varying = term.as_independent(*atoms, as_Add=False)[1]
        kind = max(kind, AFFINE if varying == 1 else atoms.get(varying, NONE), key=KINDS.index)
        if kind == NONE:  # no other term changes that
            break
    return kind


def _polynomial(
    g: Graph, id: int, found: Mapping[int, str], sources: Collection[int], made: dict[int, sp.Expr | None]
) -> sp.Expr | None:
    """Return a value in symbols of those that are no polynomial of what they read; None where it has too many terms."""
    if id in made:
        return made[id]
    node = g[id]
    made[id] = sp.Symbol(str(id), real=True)
    if node.family == "number" and not node.shape:
        made[id] = as_sympy(node.attrs.value)
    elif node.family == "map" and id not in sources:
        expr = expanded(node.attrs.expr)
        varying = [placeholder(i) for i, arg in enumerate(node.args) if found[arg] != CONSTANT]
        if expr.is_polynomial(*(varying or expr.free_symbols)):
            parts = [_polynomial(g, arg, found, sources, made) for arg in node.args]
            given = {placeholder(i): part for i, part in enumerate(parts) if part is not None}
            whole = expr.xreplace(given) if len(given) == len(parts) else None
            if whole is not None and _terms(whole) <= MOST:
                made[id] = whole
            # Too many terms: no polynomial is formed here, and "not shown" remains a safe answer.
            elif varying:
                made[id] = None
    return made[id]


def _terms(expr: sp.Expr) -> int:
    """Return an upper bound of the number of terms of an expanded expression."""
    if expr.is_Add:
        return sum(map(_terms, expr.args))
    if expr.is_Mul:
        return prod(map(_terms, expr.args))
    if expr.is_Pow and expr.exp.is_Integer and expr.exp > 0:
        # Both operands are capped: the bound of (a + b)**10**6 would be an integer of a million digits.
        return int(min(_terms(expr.base), MOST + 1) ** min(int(expr.exp), MOST))
    return 1


def _kind(g: Graph, node: Node, kinds: list[str], carried: list[int]) -> tuple[str, str]:
    """Return the kind of a value by the kinds of its arguments, and the name of the operation that is not affine."""
    worst = max((kinds[i] for i in carried), key=KINDS.index)
    match node.family:
        case "map":
            kind, why = _of_map(node, carried)
        case "contract" | "convolution":
            kind, why = (LINEAR, "") if len(carried) == 1 else (NONE, "a product of two such values")
        case "reduce":
            kind, why = (LINEAR, "") if node.attrs.kind == "sum" else (NONE, str(node.attrs.kind))
        case "view":
            # Concatenation with a constant part is affine; with a part of zeros it is linear.
            rest = [arg for i, arg in enumerate(node.args) if i not in carried]
            kind, why = (LINEAR if all(_is_zero(g, arg) for arg in rest) else AFFINE), ""
        case "gather":
            kind, why = (LINEAR, "") if carried == [0] else (NONE, "an index")
        case "cumulate" | "total":
            kind, why = LINEAR, ""
        case "rounds" | "settled":
            kind, why = _of_rounds(node, carried)
        case "algebra" if is_linear(node, carried):
            kind, why = LINEAR, ""
        case "algebra":
            kind, why = NONE, RECORDS[node.attrs.name].words
        case _:
            name = getattr(node.attrs, "name", node.family)
            kind, why = (LINEAR, "") if name == "mean" else (NONE, name)
    # What does not read its arguments, as a fixed point where its rounds begin, is constant whatever these are.
    return (kind if kind == CONSTANT else max((kind, worst), key=KINDS.index)), why


def _of_rounds(node: Node, carried: list[int]) -> tuple[str, str]:
    """Classify what a loop inside the step makes, or a fixed point: rounds of an affine map are affine, and so is its fixed point."""
    loop, g = node.attrs, graph_of(node.attrs.inner)
    # A fixed point does not depend on where its rounds begin.
    given = carried if node.family == "rounds" else [i for i in carried if i >= loop.carried]
    if not given:
        return CONSTANT, ""
    sources = {*given, *range(loop.carried)}
    found = [degree(g, id, sources) for id in loop.inner.following]
    worst = max(found, key=lambda x: KINDS.index(x.kind))
    # Of a constant start a linear map makes a constant part.
    begins = LINEAR if node.family == "settled" or all(i in carried for i in range(loop.carried)) else AFFINE
    why = worst.through[0][1] if worst.through else ""
    return max((worst.kind, begins), key=KINDS.index), why


def _of_map(node: Node, carried: list[int]) -> tuple[str, str]:
    """Classify a map by its value; a declared or surrogate derivative does not matter here."""
    expr = expanded(node.attrs.expr)
    slopes = partials(expr, len(node.args))
    read = {placeholder(i) for i in carried}
    dependent = [i for i in carried if placeholder(i) in expr.free_symbols]
    if not dependent:
        return CONSTANT, ""
    slopes_ = [_plain(slopes[i], expr) for i in dependent]
    # A slope of 0 (floor, sign, stop_gradient) does not mean that the value is constant: it reads the argument.
    if any(slope.free_symbols & read or slope == 0 for slope in slopes_):
        return NONE, _name(node.attrs.expr, read)
    # With constant slopes, f(0) = 0 separates linear from affine.
    rest = expr.xreplace(dict.fromkeys(read, sp.S.Zero))
    return (LINEAR if rest == 0 else AFFINE), ""


def _plain(slope: sp.Expr, expr: sp.Expr) -> sp.Expr:
    """Return a derivative with the value of its body written out."""
    return slope.xreplace({VALUE: expr})


def _name(expr: sp.Expr, read: set[sp.Symbol]) -> str:
    """Return the part of a formula that is not affine, in words or by the name of a function."""
    for part in _parts(expr):
        if part.is_Function and part.free_symbols & read:
            return str(NAME_OF.get(part.func) or part.func.__name__)
    for part in _parts(expr):
        if part.is_Pow and part.exp.is_negative and part.base.free_symbols & read:
            return "a quotient"
    for part in _parts(expr):
        if part.is_Pow and part.free_symbols & read:
            return "a power"
    return "a product of two such values"


def _parts(expr: sp.Expr) -> Iterator[sp.Expr]:
    yield expr
    for part in expr.args:
        yield from _parts(part)


def _is_zero(g: Graph, id: int) -> bool:
    node = g[id]
    while node.family == "view" and node.args:
        node = g[node.args[0]]
    values = node.attrs.value if node.family == "number" else (1,)
    return all(v == 0 for v in (values if isinstance(values, tuple) else (values,)))
