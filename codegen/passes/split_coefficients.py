"""Split the backward loop into coefficients, which read no adjoint, and a recursion that is linear in the adjoints.

The chain rule makes every cotangent a sum of coefficients times cotangents. The coefficients depend on primals only, so
that they are computed for a block of steps at once, and one line for each adjoint remains in the loop. Example:

    ds = dh * o;  dc = dc_next + ds * (1 - tanh(c)**2);  da = dc * c_prev * f * (1 - f)

becomes, the first two lines in the block prologue,

    dc_dh = o * (1 - tanh(c)**2)
    da_dc = c_prev * f * (1 - f)
    dc = dc_next + dc_dh * dh;  da = da_dc * dc
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from symbptt.autodiff.labels import Label
from symbptt.autodiff.linear_form import linear_form
from symbptt.codegen.program.program import Program, renewed, symbol_of, traced
from symbptt.codegen.program.regions import LOOP, place
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.naming import unique
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rewrite import copy_node

Linear = dict[int, sp.Expr]
"""The coefficient of each value that depends on adjoints, over symbols of values that do not."""


@dataclass(frozen=True)
class _Forms:
    """The linear forms of values of the backward loop, and those values that were put into the form of their only
    reader."""

    linear: Mapping[int, Linear]
    inside: frozenset[int]
    through: Mapping[int, tuple[int, ...]]


@dataclass
class _Splitting:
    """A program while the pass rebuilds it: new ids by old ones, labels of coefficients, and origins of values.

    `shown` is the program as equations show it, which includes the coefficients; `used` are the names in it.
    """

    old: Program
    shown: Program
    used: set[str]
    varying: set[int]
    graph: Graph = field(default_factory=Graph)
    new: dict[int, int] = field(default_factory=dict)
    labels: dict[int, Label] = field(default_factory=dict)
    origin: dict[int, tuple[int, ...]] = field(default_factory=dict)


def split(p: Program) -> Program:
    """Return the program with each elementwise value of the backward loop as a sum of adjoints times coefficients."""
    forms = _forms(p)
    # Coefficients are quantities of their own on the page of a module: each line in the loop then has an equation
    # that a reader can check.
    shown = replace(p, graph=p.graph.copy(), labels=dict(p.labels))
    made = _Splitting(p, shown, {label.full for label in p.labels.values()}, p.varying)
    for id in p.graph.ancestors(p.needed):
        if id in forms.inside:
            continue
        node = p.graph[id]
        if id in forms.linear:
            made.new[id] = _recursion(made, node, forms.linear[id])
            made.origin.setdefault(made.new[id], (*forms.through.get(id, ()), id))
        else:
            made.new[id] = copy_node(made.graph, node, tuple(made.new[arg] for arg in node.args))
            made.origin.setdefault(made.new[id], (id,))
    for id, name in p.graph.names.items():
        if id in made.new:
            made.graph.names.setdefault(made.new[id], name)
    q = renewed(p, made.graph, made.new)
    return replace(q, written=p.written or shown, origin=traced(p, made.origin), labels=made.labels | q.labels)


def _forms(p: Program) -> _Forms:
    """Return the linear forms of the loop; one adjoint times a coefficient that one other value reads becomes part of
    that one."""
    g, places = p.graph, place(p).places
    loop = [id for id, where in places.items() if where == f"backward {LOOP}"]
    moving = {*loop, *p.carry.values()}
    readers = g.consumers(places)
    roots = {*p.backward_roots, *p.whole.values()}
    # An adjoint that one other adjoint reads is a link of a chain: the product of the coefficients along it is one
    # coefficient, computed for a block of steps at once, and the link needs no line in the loop.
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
            # A form of several terms stays a value of its own: put into its reader, each of its coefficients would be
            # multiplied by the reader's. Broadcast values stay too, or the product would be taken for every repeated
            # element.
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


def _form(node: Node, moving: set[int]) -> Linear | None:
    """Return a map as a linear form where its sums and products alone show that it is one, else None."""
    # Symbols of values, not of arguments: forms of several maps are multiplied into each other, and argument 0 of one
    # is another value than argument 0 of the next.
    named = {placeholder(i): symbol_of(arg) for i, arg in enumerate(node.args)}
    movers = {symbol_of(arg): arg for arg in node.args if arg in moving}
    found = linear_form(node.attrs.expr.xreplace(named), movers)
    if found is None:
        return None
    return {id: found[id] for id in dict.fromkeys(node.args) if id in found}


def _recursion(made: _Splitting, node: Node, form: Linear) -> int:
    """Return a value as one sum of adjoints times coefficients."""
    args: list[int] = []
    terms = []
    for id, factor in form.items():
        args.append(made.new[id])
        mover = placeholder(len(args) - 1)
        # A number stands in the formula itself and needs no array.
        if not factor.free_symbols:
            terms.append(factor * mover)
            continue
        args.append(_coefficient(made, node, id, factor))
        terms.append(placeholder(len(args) - 1) * mover)
    return build.map_(made.graph, sp.Add(*terms), args)


def _coefficient(made: _Splitting, node: Node, mover: int, factor: sp.Expr) -> int:
    """Return the coefficient of one adjoint, named after the two values, with a number where the name is taken."""
    read = sorted(int(symbol.name[1:]) for symbol in factor.free_symbols)
    body = factor.xreplace({symbol_of(id): placeholder(i) for i, id in enumerate(read)})
    id = build.map_(made.graph, body, [made.new[id] for id in read])
    # The graph has each value once: two adjoints may have one coefficient, and a coefficient may be a value that the
    # forward sweep has computed.
    if id in made.labels or id in made.new.values():
        return id
    shown = build.map_(made.shown.graph, body, read)
    if shown not in made.shown.labels:
        made.shown.labels[shown] = _label(made, node.id, mover, read)
    made.labels[id] = made.shown.labels[shown]
    made.origin[id] = (shown,)
    return id


def _label(made: _Splitting, id: int, mover: int, read: Sequence[int]) -> Label:
    old = made.old.labels
    name = unique("_".join(old[value].full if value in old else "v" for value in (id, mover)), made.used)
    made.used.add(name)
    return Label(name, None if made.varying.isdisjoint(read) else 0, given=False)
