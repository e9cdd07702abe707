"""A value as a function of one other value: an expression that does not depend on how it was spelled.

Two nodes that compute the same function of an array, by other names, in another order of factors, with kept axes or
without, have equal terms. Reductions over axes stand in a term as functions, sizes as symbols.

Example: with e = exp(v - max(v)), both e / sum(e) and e * (1 / reduce_sum(e, keepdims)) have the term
exp(x - max(0,)(x)) / sum(0,)(exp(x - max(0,)(x))), which is that of softmax.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import sympy as sp

from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import as_sympy, expanded
from symbptt.ir.shape import Shape

LONGEST = 24
"""Values inside the longest function that is looked for; layer norm, spelled out, has fifteen."""
ALL, DIGITS = 17, 12
"""Digits of a number: those that it has, and those that count, so that 1 / 1.4142135623730951 and the root of one half are one."""

X = sp.Symbol("x", real=True)
"""The value of which others are functions."""


@dataclass(frozen=True)
class Inside:
    """The path between a value and one that it is a function of: the nodes, the axes of its reductions (None where it has
    none, () where they differ), and scalars that are no numbers of the term's own, which may be its parameters."""

    of: int
    nodes: tuple[int, ...]
    parameters: tuple[int, ...]

    def axes(self, g: Graph) -> tuple[int, ...] | None:
        """Return the axes that all reductions go over, or None where there is none or they differ."""
        found = {_reduced_axes(g, g[id]) for id in self.nodes} - {None}
        return found.pop() if len(found) == 1 else None

    def numbers(self, g: Graph) -> tuple[sp.Expr, ...]:
        """Return the numbers in the bodies inside, as terms write them."""
        found = (number for id in self.nodes if g[id].family == "map" for number in g[id].attrs.expr.atoms(sp.Number))
        return tuple(dict.fromkeys(map(canonical, found)))

    def signature(self, g: Graph) -> frozenset[str]:
        """Return the functions and reductions inside, by name."""
        return frozenset(name for id in self.nodes for name in _names(g[id]))


def insides(g: Graph, id: int) -> Iterator[Inside]:
    """Yield each value that a value is a function of, the nearest first, with what stands between."""
    open_, nodes, parameters = {id}, list[int](), dict[int, None]()
    while open_ and len(nodes) < LONGEST:
        # The largest id is read by no other open value, so that a single open value separates the result from all before it.
        last = max(open_)
        if len(open_) == 1 and last != id:
            yield Inside(last, tuple(nodes), tuple(parameters))
        node = g[last]
        if not _is_open(node):
            return
        nodes.append(last)
        open_.remove(last)
        for arg in node.args:
            if _is_fixed(g, arg):
                parameters[arg] = None
            else:
                open_.add(arg)


def _is_open(node: Node) -> bool:
    """Answer whether a term has what a node computes, and not the node itself."""
    if node.family == "contract":
        return node.args[0] == node.args[1] and node.attrs.a == node.attrs.b
    return node.family in ("map", "reduce") or (node.family == "view" and node.attrs.kind in ("reshape", "expand"))


def _is_fixed(g: Graph, id: int) -> bool:
    """Answer whether a value is a number, a size, or a scalar that does not change while a cell is trained."""
    node = g[id]
    if node.family == "view" and node.attrs.kind in ("reshape", "expand"):
        return _is_fixed(g, node.args[0])
    return not node.shape and (
        node.family == "number" or (node.family == "leaf" and node.attrs.role in ("size", "const"))
    )


def _reduced_axes(g: Graph, node: Node) -> tuple[int, ...] | None:
    if node.family == "contract":
        return tuple(i for i, label in enumerate(node.attrs.a) if label not in node.attrs.out)
    return node.attrs.axes if node.family == "reduce" else None


def _names(node: Node) -> Iterator[str]:
    if node.family == "map":
        yield from _names_of(node.attrs.expr)
    elif node.family == "reduce":
        yield node.attrs.kind
    elif node.family == "contract":
        yield "sum"


@cache
def _names_of(expr: sp.Expr) -> frozenset[str]:
    roots = {"sqrt" for part in expr.atoms(sp.Pow) if part.free_symbols and not part.exp.is_Integer}
    return frozenset({part.func.__name__ for part in expr.atoms(sp.Function)} | roots)


@dataclass(frozen=True)
class _Part:
    """A value inside: its expression, and the axes along which it is one number, where it is not whole."""

    expr: sp.Expr
    gone: tuple[int, ...]


def term(g: Graph, id: int, inside: Inside) -> sp.Expr | None:
    """Return a value as an expression over `X`, or None where parts of it do not lie on each other entry by entry."""
    whole = g.shape(inside.of)
    parts = {inside.of: _Part(X, ())}
    for each in sorted(inside.nodes):
        part = _part(g, g[each], whole, parts)
        if part is None:
            return None
        parts[each] = part
    return canonical(parts[id].expr)


def _part(g: Graph, node: Node, whole: Shape, parts: dict[int, _Part]) -> _Part | None:
    if node.family == "map":
        return _of_map(g, node, whole, parts)
    x = node.args[0]
    if x not in parts:
        return None  # of numbers alone
    inner = parts[x]
    if node.family == "view":
        beside = [_lies(shape, whole, inner.gone) for shape in (g.shape(x), node.shape)]
        if node.attrs.kind == "expand":
            return inner if all(beside) else None
        return inner if beside[1] or node.shape == shapes.without(whole, inner.gone) else None
    axes = _reduced_axes(g, node)
    # A reduction of a reduction would have axes of a smaller array, which the term cannot tell apart.
    if axes is None or g.shape(x) != whole or inner.gone:
        return None
    body = inner.expr**2 if node.family == "contract" else inner.expr
    return _Part(_reduction(node.attrs.kind if node.family == "reduce" else "sum", axes)(body), axes)


def _of_map(g: Graph, node: Node, whole: Shape, parts: dict[int, _Part]) -> _Part | None:
    """Return a map of parts that lie on each other, beside the whole or all without the same axes."""
    arrays = [arg for arg in node.args if arg in parts]
    gone = {parts[arg].gone for arg in arrays}
    left = len(gone) == 1 and all(g.shape(arg) == shapes.without(whole, next(iter(gone))) for arg in arrays)
    if not left and not all(_lies(g.shape(arg), whole, parts[arg].gone) for arg in arrays):
        return None
    read = {placeholder(i): parts[arg].expr if arg in parts else _fixed(g, arg) for i, arg in enumerate(node.args)}
    common = set.intersection(*map(set, gone)) if gone else set(range(len(whole)))
    return _Part(expanded(node.attrs.expr).xreplace(read), tuple(sorted(common)))


def _lies(shape: Shape, whole: Shape, gone: tuple[int, ...]) -> bool:
    """Answer whether broadcasting lays a value where the axes that it has lost have one entry, beside the whole."""
    if len(shape) > len(whole):
        return False
    padded = (1,) * (len(whole) - len(shape)) + shape
    return padded == tuple(1 if i in gone else item for i, item in enumerate(whole)) or padded == whole


def _fixed(g: Graph, id: int) -> sp.Expr:
    node = g[id]
    if node.family == "view":
        return _fixed(g, node.args[0])
    if node.family == "number":
        return as_sympy(node.attrs.value)
    return sp.Symbol(f"{node.attrs.role} {node.attrs.name}", real=True)


def parameter(g: Graph, id: int) -> tuple[int, sp.Expr]:
    """Return a scalar that may be a parameter of a function without its views, and how terms write it."""
    while g[id].family == "view":
        id = g[id].args[0]
    return id, canonical(_fixed(g, id))


@cache
def _reduction(kind: str, axes: tuple[int, ...]) -> type:
    return type(f"{kind}{axes}", (sp.Function,), {"is_real": True, "is_extended_real": True})


@cache
def canonical(expr: sp.Expr) -> sp.Expr:
    """Return an expression written out, its numbers rounded."""
    # Rounded before, so that equal decimals are one number, and after, so that rounding errors of the expansion fall away.
    return _rounded(sp.expand(_rounded(expr, ALL), power_base=False, power_exp=False, log=False), DIGITS)


def _rounded(expr: sp.Expr, digits: int) -> sp.Expr:
    if expr.is_Integer or expr.is_Symbol:
        return expr
    # A sum of what has cancelled, and what stands for a value, are no numbers that can be rounded.
    if expr.is_number and expr.evalf(2).is_Number:
        if not expr.is_finite:
            return expr
        value = float(f"{float(expr):.{digits}g}")
        return sp.Integer(int(value)) if value.is_integer() else sp.Float(value)
    args = [_rounded(arg, digits) for arg in expr.args]
    return expr if args == list(expr.args) else expr.func(*args)
