"""Splits the backward loop into coefficients, which need no adjoint, and the recursion that is linear in the adjoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sympy as sp

from symbptt.codegen.passes.place import LOOP, place
from symbptt.codegen.program import Program, renewed, traced
from symbptt.derive.labels import Label
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rewrite import copy_node

Linear = dict[int, sp.Expr]
"""The coefficient of each moving value, over symbols of values that do not move."""


@dataclass(frozen=True)
class _Forms:
    """Which values of the backward loop are linear forms, and which are read inside another only."""

    linear: Mapping[int, Linear]
    inside: frozenset[int]
    through: Mapping[int, tuple[int, ...]]


def split(p: Program) -> Program:
    """Return the program with each elementwise value of its backward loop as a sum of adjoints times coefficients."""
    forms = _forms(p)
    g, new = Graph(), dict[int, int]()
    labels: dict[int, Label] = {}
    origin: dict[int, tuple[int, ...]] = {}
    for id in p.graph.ancestors(p.needed):
        if id in forms.inside:
            continue
        node = p.graph[id]
        if id in forms.linear:
            new[id] = _recursion(g, p, node, forms.linear[id], new, labels)
            origin.setdefault(new[id], (*forms.through.get(id, ()), id))
        else:
            new[id] = copy_node(g, node, tuple(new[arg] for arg in node.args))
            origin.setdefault(new[id], (id,))
    for id, name in p.graph.names.items():
        if id in new:
            g.names.setdefault(new[id], name)
    q = renewed(p, g, new)
    return replace(q, written=p.written or p, origin=traced(p, origin), labels=labels | q.labels)


def _forms(p: Program) -> _Forms:
    """A value that is one adjoint times a coefficient, read by one other alone, is part of that one's formula."""
    g, places = p.graph, place(p).places
    loop = [id for id, where in places.items() if where == f"backward {LOOP}"]
    moving = {*loop, *p.carry.values()}
    readers = g.consumers(places)
    roots = {*p.backward_roots, *p.whole.values()}
    linear: dict[int, Linear] = {}
    inside: set[int] = set()
    through: dict[int, tuple[int, ...]] = {}
    for id in loop:
        node = g[id]
        if node.family != "map":
            continue
        found = _form(node, moving)
        if not found:
            continue
        whole: Linear = {}
        for arg, factor in found.items():
            alone = readers[arg] == [id] and arg not in roots and g.shape(arg) == node.shape
            if alone and arg in linear and len(linear[arg]) == 1:
                ((deeper, inner),) = linear.pop(arg).items()
                whole[deeper] = whole.get(deeper, sp.S.Zero) + factor * inner
                inside.add(arg)
                through[id] = (*through.get(id, ()), *through.get(arg, ()), arg)
            else:
                whole[arg] = whole.get(arg, sp.S.Zero) + factor
        linear[id] = whole
    return _Forms(linear, frozenset(inside), through)


def symbol_of(id: int) -> sp.Symbol:
    """Return the real scalar that stands for a value of the program."""
    return sp.Symbol(f"v{id}", real=True)


def _form(node: Node, moving: set[int]) -> Linear | None:
    """A map as a linear form, where it is one by its sums and products alone."""
    named = {placeholder(i): symbol_of(arg) for i, arg in enumerate(node.args)}
    movers = {symbol_of(arg): arg for arg in node.args if arg in moving}
    found: Linear = {}
    if not _collect(node.attrs.expr.xreplace(named), sp.S.One, movers, found):
        return None
    return {id: found[id] for id in dict.fromkeys(node.args) if id in found}


def _collect(expr: sp.Expr, factor: sp.Expr, movers: Mapping[sp.Symbol, int], found: Linear) -> bool:
    """Add the coefficients of an expression times a factor; False where it is not linear by its form."""
    if expr in movers:
        id = movers[expr]
        found[id] = found.get(id, sp.S.Zero) + factor
        return True
    if expr.is_Add:
        return all(_collect(term, factor, movers, found) for term in expr.args)
    if expr.is_Mul:
        touched = [part for part in expr.args if not part.free_symbols.isdisjoint(movers)]
        rest = sp.Mul(*(part for part in expr.args if part not in touched))
        return len(touched) == 1 and _collect(touched[0], factor * rest, movers, found)
    return False


def _recursion(g: Graph, p: Program, node: Node, form: Linear, new: Mapping[int, int], labels: dict[int, Label]) -> int:
    """A value as one sum of adjoints times coefficients."""
    args: list[int] = []
    terms = []
    for id, factor in form.items():
        read = sorted(int(symbol.name[1:]) for symbol in factor.free_symbols)
        args.append(new[id])
        mover = placeholder(len(args) - 1)
        if not read:
            terms.append(factor * mover)
            continue
        args.append(_coefficient(g, p, node, id, factor, read, new, labels))
        terms.append(placeholder(len(args) - 1) * mover)
    return build.map_(g, sp.Add(*terms), args)


def _coefficient(
    g: Graph,
    p: Program,
    node: Node,
    mover: int,
    factor: sp.Expr,
    read: list[int],
    new: Mapping[int, int],
    labels: dict[int, Label],
) -> int:
    """The coefficient of one adjoint; it is called after the two values."""
    body = factor.xreplace({symbol_of(id): placeholder(i) for i, id in enumerate(read)})
    made = build.map_(g, body, [new[id] for id in read])
    if made not in new.values():
        names = [p.labels[id].full if id in p.labels else "v" for id in (node.id, mover)]
        labels.setdefault(made, Label("_".join(names), 0, given=False))
    return made
