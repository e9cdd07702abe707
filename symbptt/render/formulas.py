"""Formulas of elementwise values, in the user's order of terms: how their parts lie in a matrix, and what is bracketed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from symbptt.derive.labels import Label
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_sympy, indices, tree_of
from symbptt.ir.shape import Shape, Size, broadcast, size_text
from symbptt.render.notation import Notation

LONGEST = 10_000
"""Operations of a formula that is still written; values that are read twice stand twice in it."""

SUM, PRODUCT, MATRIX, POWER, ATOM = range(1, 6)
Written = tuple[str, int]
"""A text and how tightly it binds."""
LIES = ("number", "column", "row", "whole")
"""How a part of a formula lies in a matrix: as one number, repeated beside itself, under itself, or not repeated."""


def normal(shape: Shape) -> Shape:
    """Return what a shape is on a page: a matrix of one column is a vector, and what has one element a number."""
    if len(shape) > 2:
        return shape
    if all(item == 1 for item in shape):
        return ()
    return shape[:1] if len(shape) == 2 and shape[1] == 1 else shape


def size_shown(size: Size) -> str:
    """Return a size as a page shows it: factors side by side."""
    return size_text(size).replace("**", "^").replace("*", " ")


def size_list(shape: Shape) -> str:
    """Return a shape as a page shows it."""
    return f"({', '.join(map(size_shown, shape))}{',' * (len(shape) == 1)})"


@dataclass(frozen=True)
class Formulas:
    """Writes the values of a graph in a notation: those with a label by it, all others by their formula, which has an
    ellipsis in its place where it has more than `longest` operations. How values of other families are written, `family` says.
    """

    graph: Graph
    labels: Mapping[int, Label]
    notation: Notation
    longest: int = LONGEST

    def rhs(self, id: int) -> str:
        """Return the formula of a value, whether it has a label or not."""
        return self.notation.ellipsis if self.is_long(id) else self.value(id, top=True)[0]

    def formula(self, tree: Tree) -> str:
        """Return a formula over values of the graph."""
        return self._tree(tree, broadcast(*map(self.graph.shape, indices(tree))))[0]

    def symbol(self, id: int) -> str:
        """Return a value as it is named inside formulas."""
        return self.rhs(id) if id not in self.labels else self.value(id)[0]

    def is_long(self, id: int) -> bool:
        """Answer whether the formula of a value has more than `longest` operations, without writing it."""
        count, open_ = 0, [*_read(self.graph[id])]
        while open_ and count <= self.longest:
            arg = open_.pop()
            count += 1
            if arg not in self.labels:
                open_.extend(_read(self.graph[arg]))
        return count > self.longest

    def value(self, id: int, top: bool = False) -> Written:
        """Return a value with how tightly its text binds; with `top`, its formula even where it has a label."""
        if id in self.labels and not top:
            return self.notation.symbol(self.labels[id]), ATOM
        node = self.graph[id]
        if node.family != "map":
            return self.family(node)
        tree = self._expanded(id, node.shape, top=True)
        written = self._tree(tree, node.shape)
        same = normal(node.shape) == () or any(normal(self.graph.shape(i)) for i in indices(tree))
        return written if same else self.repeated(written, (), node.shape)

    def repeated(self, written: Written, shape: Shape, to: Shape) -> Written:
        """A value as often as a larger shape says: a number, a column or a row times vectors of ones."""
        text, join = self._bracket(written, MATRIX), self.notation.matrix
        if len(to) > 2:
            return self.notation.call("expand", [written[0], size_list(to)]), ATOM
        if text == "0":
            return written
        if normal(shape) == () and len(normal(to)) == 1:
            ones = self.notation.ones(size_shown(normal(to)[0]))
            return (ones if text == "1" else text + join + ones), MATRIX
        column, row = (
            self.notation.ones(size_shown(to[-2])),
            self.notation.transpose(self.notation.ones(size_shown(to[-1]))),
        )
        if normal(shape) == ():
            ones = column + join + row if to[0] != 1 else row
            return (ones if text == "1" else text + join + ones), MATRIX
        if len(shape) == 2 and shape[1] == 1:
            return text + join + row, MATRIX
        turned = text if len(shape) == 2 else self.notation.transpose(self._bracket(written, ATOM))
        return (turned if to[0] == 1 else column + join + turned), MATRIX

    def family(self, node: Node) -> Written:
        """Return a value that is no elementwise function of others."""
        raise NotImplementedError(node.family)

    def at(self, id: int, least: int) -> str:
        """Return a value for a place that binds at least so tightly."""
        return self._bracket(self.value(id), least)

    def _bracket(self, written: Written, least: int) -> str:
        return written[0] if written[1] >= least else self.notation.brackets(written[0])

    def _expanded(self, id: int, shape: Shape, top: bool = False) -> Tree:
        """The tree of a map with all unlabelled maps of its shape, or of numbers, in it; sums of sums and products of products
        flattened."""
        node = self.graph[id]
        if node.family == "number" and not node.shape:
            return tree_of(as_sympy(node.attrs.value))
        if id in self.labels and not top:
            return Ref(id)
        fits = normal(node.shape) in ((), normal(shape))
        if node.family == "view" and fits and node.attrs.kind in ("expand", "reshape"):
            inner = self.graph.shape(node.args[0])
            if normal(inner) == () or normal(inner) == normal(node.shape):
                return self._expanded(node.args[0], shape)
        if node.family == "view" and node.attrs.kind == "expand" and node.shape == shape and len(shape) == 2:
            return self._expanded(node.args[0], shape)  # a column or a row is repeated where it is read
        if node.family != "map" or not fits:
            return Ref(id)
        return _substitute(tree_of(node.attrs.expr), [self._expanded(arg, node.shape) for arg in node.args])

    def _aligned(self, tree: Tree, shape: Shape) -> str:
        """How a part of a formula of a matrix lies in it: "number", "column", "row", or "whole"."""
        shapes = {self.graph.shape(id) for id in indices(tree)}
        wide = {s for s in shapes if normal(s)}
        if not wide:
            return "number"
        if all(len(s) == 2 and s[1] == 1 for s in wide) and shape[1] != 1:
            return "column"
        return "row" if shape[0] != 1 and all(len(s) == 1 or s[0] == 1 for s in wide) else "whole"

    def _tree(self, tree: Tree, shape: Shape) -> Written:
        """A formula of a shape; parts of it that are columns or rows are repeated."""
        if len(shape) == 2 and len(normal(shape)) == 2 and not isinstance(tree, Num):
            match self._aligned(tree, shape):
                case "column":
                    return self.repeated(self._tree(tree, (shape[0], 1)), (shape[0], 1), shape)
                case "row":
                    return self.repeated(self._tree(tree, shape[1:]), shape[1:], shape)
        match tree:
            case Ref(id):
                return self._fitted(id, shape)
            case Num(value):
                return self.number(value)
            case Sum(terms):
                return self._sum(terms, shape)
            case Prod(factors, divisors):
                return self._product(factors, divisors, shape)
            case Power(base, exponent):
                return self.notation.power(
                    self._bracket(self._tree(base, shape), ATOM), self._bracket(self._tree(exponent, shape), POWER)
                ), POWER
            case Call(name, args):
                return self.notation.call(name, [self._tree(arg, shape)[0] for arg in args]), ATOM
        raise AssertionError(tree)

    def _fitted(self, id: int, shape: Shape) -> Written:
        """A value where a formula of a shape reads it."""
        own, written = self.graph.shape(id), self.value(id)
        if len(shape) > 2:
            return self.among_arrays(id, written)
        if len(own) == 2 and own[0] == 1 and len(normal(shape)) == 1 and normal(own):
            inner = self.graph[id]
            if id not in self.labels and inner.family == "view" and inner.attrs.kind == "reshape":
                source = inner.args[0]
                if len(normal(self.graph.shape(source))) == 1:
                    return self.value(source)  # a vector that was laid down as a row
            return self.notation.transpose(self._bracket(written, ATOM)), POWER
        if len(shape) == 2 and shape[0] == 1 and len(own) == 1 and normal(own):
            return self.notation.transpose(self._bracket(written, ATOM)), POWER
        return written

    def among_arrays(self, id: int, written: Written) -> Written:
        """A value among arrays of three and more axes, which go together as NumPy says: a column is told from a vector."""
        own = self.graph.shape(id)
        if len(own) == 2 and own[1] == 1 and normal(own):
            return self.notation.index(self._bracket(written, ATOM), [":", "None"]), ATOM
        return written

    def number(self, value: sp.Expr) -> Written:
        """A number; one with a power of ten, as 2.5 · 10^{10}, is in brackets where it is a base, not where it is a factor."""
        text = self.notation.number(value)
        if "10^" in text:
            return text, POWER
        if "/" in text or "π" in text:  # a fraction, or some times π
            return text, PRODUCT if "/" in text else MATRIX
        return text, ATOM if value.is_Integer or value.is_Float or value == sp.oo else PRODUCT

    def _sum(self, terms: tuple[tuple[int, Tree], ...], shape: Shape) -> Written:
        text = ""
        for i, (sign, term) in enumerate(terms):
            joint = (self.notation.minus if sign < 0 else self.notation.plus) if i else ("-" if sign < 0 else "")
            text += joint + self._bracket(self._tree(term, shape), SUM if sign > 0 else PRODUCT)
        return text, SUM

    def _product(self, factors: tuple[Tree, ...], divisors: tuple[Tree, ...], shape: Shape) -> Written:
        above = self._factors(factors, shape)
        if not divisors:
            return above
        below = self._factors(divisors, shape)
        if self.notation.quotient("", "").startswith("\\"):
            return self.notation.quotient(above[0], below[0]), POWER
        single = (
            self._bracket(self._tree(divisors[0], shape), POWER)
            if len(divisors) == 1
            else self.notation.brackets(below[0])
        )
        return self.notation.quotient(self._bracket(above, PRODUCT), single), PRODUCT

    def _factors(self, factors: tuple[Tree, ...], shape: Shape) -> Written:
        """Factors in the user's order; beside a matrix, columns and rows are diagonal matrices to its left and right."""
        if len(factors) == 1:
            written = self._tree(factors[0], shape)
            return self._bracket(written, PRODUCT if isinstance(factors[0], Ref) else POWER), PRODUCT
        if len(shape) == 2 and len(normal(shape)) == 2:
            lie = [self._aligned(factor, shape) for factor in factors]
            if "column" in lie or "row" in lie:
                return self._scaled(factors, lie, shape)
        text = ""
        for i, factor in enumerate(factors):
            both = i and not self._is_scalar(factor) and not self._is_scalar(factors[i - 1])
            joint = (self.notation.hadamard if both else self.notation.scalar) if i else ""
            text += joint + self._bracket(self._tree(factor, shape), POWER)
        return text, PRODUCT

    def _scaled(self, factors: tuple[Tree, ...], lie: list[str], shape: Shape) -> Written:
        """A matrix between diagonal matrices; where there is none, the outer product of the column and the row."""
        parts = {kind: tuple(f for f, k in zip(factors, lie, strict=True) if k == kind) for kind in LIES}
        column, row = (
            self._tree(Prod(parts[kind]) if len(parts[kind]) > 1 else parts[kind][0], of) if parts[kind] else ("", ATOM)
            for kind, of in (("column", (shape[0], 1)), ("row", shape[1:]))
        )
        join = self.notation.matrix
        if parts["whole"]:
            whole = self._times(parts["whole"], shape)
            left, right = (self.notation.call("diag", [text]) if text else "" for text, _ in (column, row))
            text = join.join(part for part in (left, whole, right) if part)
        elif column[0] and row[0]:
            text = self._bracket(column, MATRIX) + join + self.notation.transpose(self._bracket(row, ATOM))
        else:
            of = (shape[0], 1) if column[0] else shape[1:]
            text = self.repeated(column if column[0] else row, of, shape)[0]
        if not parts["number"]:
            return text, MATRIX
        return self._factors(parts["number"], ())[0] + self.notation.scalar + self.notation.brackets(text), PRODUCT

    def _times(self, whole: tuple[Tree, ...], shape: Shape) -> str:
        """What stands beside a diagonal matrix; the identity is not written."""
        only = self.graph[whole[0].index] if len(whole) == 1 and isinstance(whole[0], Ref) else None
        if only is not None and only.family == "leaf" and only.attrs.role == "eye":
            return ""
        if len(whole) == 1:
            return self._bracket(self._tree(whole[0], shape), MATRIX)
        return self.notation.brackets(self._factors(whole, shape)[0])

    def _is_scalar(self, tree: Tree) -> bool:
        return all(not normal(self.graph.shape(id)) for id in indices(tree))


def _read(node: Node) -> Sequence[int]:
    """The arguments of a value, each as often as it stands in its formula."""
    if node.family != "map":
        return node.args
    return [node.args[i] for i in indices(tree_of(node.attrs.expr))]


def _substitute(tree: Tree, parts: list[Tree]) -> Tree:
    match tree:
        case Ref(index):
            return parts[index]
        case Num():
            return tree
        case Sum(terms):
            return Sum(tuple(pair for sign, term in terms for pair in _terms(sign, _substitute(term, parts))))
        case Prod(factors, divisors):
            return _flat_product([_substitute(f, parts) for f in factors], [_substitute(d, parts) for d in divisors])
        case Power(base, exponent):
            return Power(_substitute(base, parts), _substitute(exponent, parts))
        case Call(name, args):
            return Call(name, tuple(_substitute(arg, parts) for arg in args))
    raise AssertionError(tree)


def _terms(sign: int, tree: Tree) -> list[tuple[int, Tree]]:
    if isinstance(tree, Sum):
        return [(sign * inner, term) for inner, term in tree.terms]
    return [(sign, tree)]


def _flat_product(factors: list[Tree], divisors: list[Tree]) -> Tree:
    above: list[Tree] = []
    below = list(divisors)
    sign = 1
    for factor in factors:
        if isinstance(factor, Sum) and len(factor.terms) == 1 and factor.terms[0][0] < 0:
            sign, factor = -sign, factor.terms[0][1]
        if isinstance(factor, Prod):
            above += factor.factors
            below += factor.divisors
        elif factor != Num(sp.S.One) or len(factors) == 1:
            above.append(factor)
    above = [factor for factor in above if factor != Num(sp.S.One)] or above[:1]
    tree: Tree = Prod(tuple(above), tuple(below)) if below or len(above) != 1 else above[0]
    return Sum(((-1, tree),)) if sign < 0 else tree
