"""Find cells whose next states are affine in the states, element by element, and write their recurrences as such.

Such a recurrence can be evaluated by a scan, and so can that of its adjoints, which is affine too, its coefficients
transposed. Example, with a = sigmoid(A x) free of states and D the direct cotangent of h:

    h' = h + a * (x - h)

has the form Σ coefficient · mover + free and becomes

    h' = (1 - a) * h + a * x;  backward, dh_t = D_t + (1 - a_{t+1}) * dh_{t+1}

h' = h * h and h' = W h are no such sums: the first is quadratic, the second mixes elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sympy as sp

from symbptt.codegen.program.program import Program, rebuild, symbol_of
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.nesting import LONG
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rewrite import copy_node

Parts = dict[sp.Symbol, sp.Expr]
"""Expressions by the symbols that stand for them in longer ones, whose size would double with each round of a deep
step."""


@dataclass(frozen=True)
class Form:
    """The sum Σ coefficient · mover + free, over symbols of other values and of `parts`; `culprit` is the value that is
    no such sum, if there is one."""

    linear: Mapping[int, sp.Expr]
    free: sp.Expr = sp.S.Zero
    culprit: int | None = None
    parts: Parts = field(default_factory=dict)


@dataclass(frozen=True)
class Affine:
    """A recurrence row by row: the coefficients of each mover and the free part, as values of the graph or numbers.

    In the backward sweep, `cut` are the adjoints that the recurrence runs over, and `given` their direct cotangents.
    """

    rows: tuple[tuple[int | sp.Expr | None, ...], ...]
    free: tuple[int | sp.Expr | None, ...]
    cut: tuple[int, ...]
    given: tuple[int | sp.Expr | None, ...]


def affine(p: Program) -> Program:
    """Return the program with the next states of an affine cell, and the adjoints of its states, as sums of
    coefficients times states plus one value that is free of them; other programs are unchanged."""
    targets = _targets(p)
    if targets is None:
        return p
    new: dict[int, int] = {}
    made: dict[tuple[int, sp.Expr], int] = {}

    def rewrite(g: Graph, node: Node, args: tuple[int, ...]) -> int:
        form = targets.get(node.id)
        new[node.id] = copy_node(g, node, args) if form is None else _written(g, form, new, made, node)
        return new[node.id]

    return rebuild(p, rewrite)


def recursions(p: Program) -> tuple[Affine, Affine] | None:
    """Return the recurrences of both sweeps where they are affine element by element and written as such, else None."""
    forms = _both(p)
    if forms is None:
        return None
    forward, whole, backward = forms
    # The rows of the backward sweep are those of the transposed recurrence: the adjoint of state j gets c_ij times
    # that of state i. They are read off the derived adjoints; nothing is transposed here, so that what is no sum of
    # such terms is seen.
    cut = _cut(p, whole)
    none = (None,) * len(cut)
    states = _states(p)
    given = tuple(_value(whole[id].free) if whole[id].free != 0 else None for id in cut)
    found = (
        _rows(list(p.next.values()), forward, states, none),
        _rows([p.recurrent.get(name) for name in p.next], backward, cut, given),
    )
    values = [v for a in found for v in (*a.free, *a.given, *(c for row in a.rows for c in row))]
    return found if all(v is None or isinstance(v, int) or v.is_number for v in values) else None


def obstacle(p: Program) -> tuple[str, int] | None:
    """Return the first state whose next is not affine element by element and the value that shows it, or None."""
    from_states = _forms(p.graph, p.forward_roots, _states(p))
    for name, id in p.next.items():
        culprit = from_states[id].culprit if id in from_states else None
        if culprit is not None:
            return name, culprit
    return None


def _targets(p: Program) -> dict[int, Form] | None:
    """Return the values that the pass rewrites, with their forms."""
    forms = _both(p)
    if forms is None:
        return None
    forward, whole, backward = forms
    found = {id: forward[id] for id in p.next.values() if id in forward}
    found |= {id: backward[id] for id in p.recurrent.values() if id in backward}
    found |= {id: whole[id] for id in _cut(p, whole)}  # last: an adjoint may go on as it is
    leaves = {*_states(p), *p.carry.values()}
    return {
        id: form
        for id, form in found.items()
        if form.linear and id not in leaves and not _is_written(p.graph[id], form)
    }


def _is_written(node: Node, form: Form) -> bool:
    """Answer whether a value is written as its form already: it reads the movers, the coefficients and the free part
    only."""
    values = [*form.linear.values(), form.free]
    # Symbols of parts stand for expressions that no value of the graph computes yet.
    read = {symbol for value in values for symbol in value.free_symbols}
    if not read.isdisjoint(form.parts):
        return False
    # A coefficient that is more than one symbol would be computed again in each step by the loop, and could not be
    # read as an array of all steps by the scan.
    single = all(value.is_Symbol or value.is_number for value in values)
    return single and set(node.args) == {*form.linear, *(int(symbol.name[1:]) for symbol in read)}


def _both(p: Program) -> tuple[dict[int, Form], dict[int, Form], dict[int, Form]] | None:
    """Return the forms of the next states in the states, of total cotangents in the carries, and of the recurrence in
    the total cotangents, where all are sums of such terms; None elsewhere."""
    forward = _forms(p.graph, p.next.values(), _states(p))
    if not p.next or not _are_sums(forward, p.next.values()):
        return None  # first, for the coefficients of adjoints are long products where a step is deep
    roots = [*p.recurrent.values(), *p.whole.values()]
    whole = _forms(p.graph, roots, p.carry.values())
    backward = _forms(p.graph, roots, _cut(p, whole))
    return (forward, whole, backward) if _are_sums(backward, p.recurrent.values()) else None


def _are_sums(forms: Mapping[int, Form], ids: Iterable[int]) -> bool:
    """Answer whether each of the values is a sum of coefficients times movers, or reads none."""
    return all(forms[id].culprit is None for id in ids if id in forms)


def _cut(p: Program, whole: Mapping[int, Form]) -> tuple[int, ...]:
    """Return for each state the adjoint that the reverse recurrence runs over.

    It is the total cotangent where that is the carry plus a direct term, where nothing else reads the carry, and where
    the outgoing cotangent is computed from it; else it is the carry. A state that the next step forgets has no outgoing
    cotangent: its total cotangent is computed behind the steps, from a stored carry.
    """
    readers = p.graph.consumers(p.graph.ancestors(p.backward_roots))
    handed_on = set(p.graph.ancestors(list(p.recurrent.values())))
    return tuple(
        p.whole[name]
        if name in p.whole
        and p.whole[name] != leaf
        and p.whole[name] in handed_on
        and whole[p.whole[name]].linear == {leaf: sp.S.One}
        and whole[p.whole[name]].culprit is None
        and readers.get(leaf) == [p.whole[name]]
        else leaf
        for name, leaf in p.carry.items()
    )


def _states(p: Program) -> list[int]:
    return [p.leaves[a.name] for a in p.of_role("state")]


def _forms(g: Graph, roots: Iterable[int], movers: Iterable[int]) -> dict[int, Form]:
    """Return the forms of all values that depend on the movers."""
    # One walk from the movers to the roots: a graph has arguments before readers, so that each form is made of forms
    # that are known.
    found = {id: Form({id: sp.S.One}) for id in movers}
    parts: Parts = {}
    for id in g.ancestors(list(roots)):
        moving = [arg for arg in g[id].args if arg in found]
        if moving and id not in found:
            found[id] = _form(g, g[id], moving, found, parts)
    return found


def _form(g: Graph, node: Node, moving: list[int], found: Mapping[int, Form], parts: Parts) -> Form:
    culprit = next((found[arg].culprit for arg in moving if found[arg].culprit is not None), None)
    if culprit is not None:
        return Form({}, culprit=culprit)
    # Element by element means that element i of a value reads element i of the states alone. A product mixes
    # elements, and a broadcast lets one element reach many.
    if node.family != "map" or any(g.shape(arg) != node.shape for arg in moving):
        return Form({}, culprit=node.id)
    named = {placeholder(i): symbol_of(arg) for i, arg in enumerate(node.args)}
    inner = {symbol_of(arg): found[arg] for arg in moving}
    form = _sum(node.attrs.expr.xreplace(named), inner)
    if form is None:
        return Form({}, culprit=node.id)
    return Form({id: _short(c, parts) for id, c in form.linear.items()}, _short(form.free, parts), None, parts)


def _short(expr: sp.Expr, parts: Parts) -> sp.Expr:
    """Return an expression, or a symbol that stands for it from here on where it is long."""
    if _length(expr) <= LONG:
        return expr
    # A deep step multiplies coefficients round by round, and SymPy would carry an expression twice as long each time:
    # a symbol cuts it, and is written out as a value of the graph at the end.
    symbol = sp.Symbol(f"w{len(parts)}", real=True)
    parts[symbol] = expr
    return symbol


def _length(expr: sp.Expr) -> int:
    return 1 + sum(map(_length, expr.args))


def _sum(expr: sp.Expr, inner: Mapping[sp.Symbol, Form]) -> Form | None:
    """Return an expression as a form where its sums and products alone show that it is one, else None."""
    if expr.free_symbols.isdisjoint(inner):
        return Form({}, expr)
    if expr in inner:
        return inner[expr]
    if expr.is_Add:
        parts = [_sum(term, inner) for term in expr.args]
        forms = [form for form in parts if form is not None]
        return _added(forms) if len(forms) == len(parts) else None
    if expr.is_Mul:
        # Two factors with movers would be quadratic in the states.
        touched = [part for part in expr.args if not part.free_symbols.isdisjoint(inner)]
        form = _sum(touched[0], inner) if len(touched) == 1 else None
        factor = sp.Mul(*(part for part in expr.args if part not in touched))
        return None if form is None else _scaled(form, factor)
    return None


def _added(forms: list[Form]) -> Form:
    linear: dict[int, sp.Expr] = {}
    for form in forms:
        for id, factor in form.linear.items():
            linear[id] = linear.get(id, sp.S.Zero) + factor
    # Coefficients that cancel by form, as in h - h, are dropped, so that the state is no mover of this value.
    return Form({id: c for id, c in linear.items() if c != 0}, sp.Add(*(form.free for form in forms)))


def _scaled(form: Form, factor: sp.Expr) -> Form:
    return Form({id: c * factor for id, c in form.linear.items()}, form.free * factor)


def _written(g: Graph, form: Form, new: Mapping[int, int], known: dict[tuple[int, sp.Expr], int], node: Node) -> int:
    """Return a form as one sum whose coefficients are values of their own; `known` are the values of expressions so
    far, by the parts in which these are written."""
    args: list[int] = []
    terms = []

    def read(id: int) -> sp.Expr:
        if id not in args:
            args.append(id)
        return placeholder(args.index(id))

    def value(expr: sp.Expr) -> int:
        if expr in form.parts:
            return value(form.parts[expr])
        if (id(form.parts), expr) not in known:
            symbols = sorted(expr.free_symbols, key=lambda symbol: (symbol in form.parts, int(symbol.name[1:])))
            ids = [value(symbol) if symbol in form.parts else new[int(symbol.name[1:])] for symbol in symbols]
            body = expr.xreplace({symbol: placeholder(i) for i, symbol in enumerate(symbols)})
            known[id(form.parts), expr] = build.map_(g, body, ids)
        return known[id(form.parts), expr]

    def made(expr: sp.Expr) -> sp.Expr:
        return expr if expr.is_number else read(value(expr))

    for mover, factor in sorted(form.linear.items()):
        terms.append(made(factor) * read(new[mover]))
    if form.free != 0:
        terms.append(made(form.free))
    # The sum may lack the argument that gave the value its shape, where that one cancelled.
    return build.expand(g, build.map_(g, sp.Add(*terms), args), node.shape)


def _rows(roots: list[int | None], forms: Mapping[int, Form], movers: Iterable[int], given: tuple) -> Affine:
    rows, free, movers = [], [], tuple(movers)
    for id in roots:
        form = Form({}) if id is None else forms.get(id) or Form({}, symbol_of(id))
        rows.append(tuple(_value(form.linear[m]) if m in form.linear else None for m in movers))
        free.append(None if form.free == 0 else _value(form.free))
    return Affine(tuple(rows), tuple(free), movers, given)


def _value(expr: sp.Expr) -> int | sp.Expr:
    return int(expr.name[1:]) if expr.is_Symbol and expr.name.startswith("v") else expr
