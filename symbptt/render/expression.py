"""The values of a recursion as formulas, in the user's order of terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from symbptt.derive.labels import Label
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, View
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_sympy, indices, tree_of
from symbptt.ir.shape import Shape, Size, broadcast, sign_of, size_text
from symbptt.ir.shape import size as sized
from symbptt.render.notation import Notation

LONGEST = 10_000
"""Operations of a formula that is still written; values that are read twice stand twice in it."""

SUM, PRODUCT, MATRIX, POWER, ATOM = range(1, 6)
Written = tuple[str, int]
"""A text and how tightly it binds."""
MOST = 64
"""Numbers of a constant array that are shown; of a longer one, so many."""
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
class Writer:
    """Writes the values of a graph in a notation: those with a label by it, all others by their formula.

    `matrices` writes v[:, None] ⊙ A as diag(v) A, as Jacobians are written. A formula of more than `longest` operations
    is an ellipsis.
    """

    graph: Graph
    labels: Mapping[int, Label]
    notation: Notation
    matrices: bool = False
    longest: int = LONGEST

    def rhs(self, id: int) -> str:
        """Return the formula of a value, whether it has a label or not."""
        return self.notation.ellipsis if self.is_long(id) else self._value(id, top=True)[0]

    def formula(self, tree: Tree) -> str:
        """Return a formula over values of the graph."""
        return self._tree(tree, broadcast(*map(self.graph.shape, indices(tree))))[0]

    def symbol(self, id: int) -> str:
        """Return a value as it is named inside formulas."""
        return self.rhs(id) if id not in self.labels else self._value(id)[0]

    def is_long(self, id: int) -> bool:
        """Answer whether the formula of a value has more than `longest` operations, without writing it."""
        count, open_ = 0, [*_read(self.graph[id])]
        while open_ and count <= self.longest:
            arg = open_.pop()
            count += 1
            if arg not in self.labels:
                open_.extend(_read(self.graph[arg]))
        return count > self.longest

    def _value(self, id: int, top: bool = False) -> Written:
        if id in self.labels and not top:
            return self.notation.symbol(self.labels[id]), ATOM
        node = self.graph[id]
        if node.family != "map":
            return FAMILIES[node.family](self, node)
        tree = self._expanded(id, node.shape, top=True)
        written = self._tree(tree, node.shape)
        same = normal(node.shape) == () or any(normal(self.graph.shape(i)) for i in indices(tree))
        return written if same else self._repeated(written, (), node.shape)

    def _repeated(self, written: Written, shape: Shape, to: Shape) -> Written:
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

    def at(self, id: int, least: int) -> str:
        """Return a value for a place that binds at least so tightly."""
        return self._bracket(self._value(id), least)

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
                    return self._repeated(self._tree(tree, (shape[0], 1)), (shape[0], 1), shape)
                case "row":
                    return self._repeated(self._tree(tree, shape[1:]), shape[1:], shape)
        match tree:
            case Ref(id):
                return self._fitted(id, shape)
            case Num(value):
                return self._number(value)
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
        own, written = self.graph.shape(id), self._value(id)
        if len(shape) > 2:
            return self._among_arrays(id, written)
        if len(own) == 2 and own[0] == 1 and len(normal(shape)) == 1 and normal(own):
            inner = self.graph[id]
            if id not in self.labels and inner.family == "view" and inner.attrs.kind == "reshape":
                source = inner.args[0]
                if len(normal(self.graph.shape(source))) == 1:
                    return self._value(source)  # a vector that was laid down as a row
            return self.notation.transpose(self._bracket(written, ATOM)), POWER
        if len(shape) == 2 and shape[0] == 1 and len(own) == 1 and normal(own):
            return self.notation.transpose(self._bracket(written, ATOM)), POWER
        return written

    def _among_arrays(self, id: int, written: Written) -> Written:
        """A value among arrays of three and more axes, which go together as NumPy says: a column is told from a vector."""
        own = self.graph.shape(id)
        if len(own) == 2 and own[1] == 1 and normal(own):
            return self.notation.index(self._bracket(written, ATOM), [":", "None"]), ATOM
        return written

    def _number(self, value: sp.Expr) -> Written:
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
            text = self._repeated(column if column[0] else row, of, shape)[0]
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


def _leaf(w: Writer, node: Node) -> Written:
    if node.attrs.role == "eye":
        return "I", ATOM
    name = node.attrs.name.replace("**", "^").replace("*", " ")
    return name, ATOM if node.attrs.name.isidentifier() else SUM


def _number(w: Writer, node: Node) -> Written:
    """A number; an array of them, row by row, whole where it is small."""
    if not node.shape:
        return w._number(as_sympy(node.attrs.value))
    values = [w._number(as_sympy(v))[0] for v in node.attrs.value[:MOST]]
    values += [w.notation.ellipsis] * (len(node.attrs.value) > MOST)
    if len(node.shape) == 2:
        width = int(node.shape[1])
        return w.notation.join([", ".join(values[i : i + width]) for i in range(0, len(values), width)]), ATOM
    plain = w.notation.join(values)
    return (plain, ATOM) if len(node.shape) == 1 else (w.notation.call("reshape", [plain, size_list(node.shape)]), ATOM)


def _contract(w: Writer, node: Node) -> Written:
    (a, b), p = node.args, node.attrs
    if not p.a or not p.b:
        return w.at(a, POWER) + w.notation.scalar + w.at(b, POWER), PRODUCT
    plain = _matrix_product(p.a, p.b, p.out) or _matrix_product(p.b, p.a, p.out, swap=True)
    if plain is None and w.matrices and len(p.a) == 2 and p.out == p.a and p.b == p.a[1:]:
        return w.at(a, MATRIX) + w.notation.matrix + w.notation.call("diag", [w.at(b, SUM)]), MATRIX
    if plain is None:
        return _einsum(w, node)
    swapped, turn_first, turn_second = plain
    first, second = (b, a) if swapped else (a, b)
    return _side(w, first, turn_first) + w.notation.matrix + _side(w, second, turn_second), MATRIX


def _matrix_product(
    a: tuple[int, ...], b: tuple[int, ...], out: tuple[int, ...], swap: bool = False
) -> tuple[bool, bool, bool] | None:
    """Whether a product of labels reads as (a or its transpose) (b or its transpose), vectors being columns."""
    if len(a) > 2 or len(b) > 2 or not a or not b or (len(a) == 1 and len(b) == 2):
        return None
    for turn_a, turn_b in ((False, False), (False, True), (True, False), (True, True)):
        rows, inner_a = _column(a, turn_a)
        inner_b, columns = _column(b, turn_b)
        if inner_a == inner_b and tuple(x for x in (rows, columns) if x is not None) == out:
            return swap, turn_a, turn_b
    return None


def _column(labels: tuple[int, ...], turn: bool) -> tuple[int | None, int | None]:
    pair = (labels[0], labels[1]) if len(labels) == 2 else (labels[0], None)
    return (pair[1], pair[0]) if turn else pair


def _side(w: Writer, id: int, turn: bool) -> str:
    node = w.graph[id]
    if id not in w.labels and node.family == "view" and node.attrs == View("transpose", (1, 0)):
        return _side(w, node.args[0], not turn)  # the transpose of a transpose is written plain
    return w.notation.transpose(w.at(id, ATOM)) if turn else w.at(id, MATRIX)


def _einsum(w: Writer, node: Node) -> Written:
    letters = "ijklmnpqrs"
    text = ",".join("".join(letters[x] for x in part) for part in (node.attrs.a, node.attrs.b))
    spec = f"{text}->{''.join(letters[x] for x in node.attrs.out)}"
    return w.notation.call("einsum", [_quoted(w, spec), *(w.at(arg, SUM) for arg in node.args)]), ATOM


def _quoted(w: Writer, text: str) -> str:
    return (
        rf"\text{{{text}}}".replace("->", r"$\to$")
        if w.notation.minus == " - " and w.notation.hadamard.startswith(r" \odot")
        else repr(text)
    )


def _axes(node: Node, rank: int) -> list[str]:
    axes = node.attrs.axes
    return [] if len(axes) == rank else [f"axis={axes[0] if len(axes) == 1 else axes}"]


def _reduce(w: Writer, node: Node) -> Written:
    """A sum over rows or columns as a product with ones; that of a number which was repeated, as so many times it."""
    x, axes = node.args[0], node.attrs.axes
    shape, inner = w.graph.shape(x), w.graph[x]
    if node.attrs.kind == "sum" and len(shape) == 2 and len(axes) == 1 and 1 not in shape:
        of = w.at(x, MATRIX) if axes == (1,) else _side(w, x, True)
        return of + w.notation.matrix + w.notation.ones(size_shown(shape[axes[0]])), MATRIX
    is_repeated = x not in w.labels and inner.family == "view" and inner.attrs.kind == "expand"
    if (
        node.attrs.kind == "sum"
        and is_repeated
        and len(axes) == len(shape)
        and not normal(w.graph.shape(inner.args[0]))
    ):
        times = [size_shown(size) for size in shape if size != 1]
        return w.notation.scalar.join([*times, w.at(inner.args[0], POWER)]), PRODUCT
    return w.notation.call(node.attrs.kind, [w.at(x, SUM), *_axes(node, len(shape))]), ATOM


def _view(w: Writer, node: Node) -> Written:
    x, data = node.args[0], node.attrs.data
    match node.attrs.kind:
        case "transpose" if data == (1, 0):
            return w.notation.transpose(w.at(x, ATOM)), POWER
        case "transpose":
            return w.notation.call("transpose", [w.at(x, SUM), str(data)]), ATOM
        case "slice":
            return w.notation.index(w.at(x, ATOM), _spans(data, w.graph.shape(x))), ATOM
        case "pad" if w.graph.shape(x) == node.shape:
            return w.notation.index(w.at(x, ATOM), _spans(data, node.shape)), ATOM  # turned round, back again
        case "pad" if len(node.shape) < 3 and _padded_axis(w.graph.shape(x), node) is not None:
            return _between_zeros(w, node, x)
        case "pad":
            place = w.notation.index("", _spans(data, node.shape))
            return w.notation.call("pad", [w.at(x, SUM), size_list(node.shape), place]), ATOM
        case "concatenate":
            return _concatenate(w, node)
        case "expand" if len(node.shape) < 3:
            return w._repeated(w._value(x), w.graph.shape(x), node.shape)
        case "expand":
            return w.notation.call("expand", [w._among_arrays(x, w._value(x))[0], size_list(node.shape)]), ATOM
    return _reshape(w, node, x)


def _reshape(w: Writer, node: Node, x: int) -> Written:
    """A vector that becomes a column stays a vector, one that becomes a row is turned; the rows of a matrix one after
    another are vec."""
    shape, inner = w.graph.shape(x), w.graph[x]
    old, new = normal(shape), normal(node.shape)
    if old == new and len(shape) < 3:
        return w._value(x)
    if len(old) == 1 and len(node.shape) == 2 and node.shape[0] == 1:
        return w.notation.transpose(w.at(x, ATOM)), POWER
    if len(shape) == 2 and shape[0] == 1 and len(new) == 1:
        return w.notation.transpose(w.at(x, ATOM)), POWER
    if len(new) == 1 and len(shape) > 1 and len(node.shape) == 1:
        return w.notation.call("vec", [w.at(x, SUM)]), ATOM
    if len(node.shape) > 2 and len(shape) == 1 and tuple(item for item in node.shape if item != 1) == shape:
        return w.notation.index(w.at(x, ATOM), ["None" if item == 1 else ":" for item in node.shape]), ATOM
    if x not in w.labels and inner.family == "view" and inner.attrs.kind == "slice" and len(shape) > 2:
        spans = _spans(inner.attrs.data, w.graph.shape(inner.args[0]), drop=True)
        if tuple(size for size, span in zip(shape, spans, strict=True) if ":" in span) == node.shape:
            return w.notation.index(w.at(inner.args[0], ATOM), spans), ATOM
    return w.notation.call("reshape", [w.at(x, SUM), size_list(node.shape)]), ATOM


def _concatenate(w: Writer, node: Node) -> Written:
    """Parts under each other or, with a comma, beside each other."""
    axis, parts = node.attrs.data[0], [_part(w, arg) for arg in node.args]
    if len(node.shape) > 2:
        return w.notation.call("join", [*parts, f"axis={axis}"]), ATOM
    return w.notation.join(parts) if axis == 0 else w.notation.beside(parts), ATOM


def _padded_axis(inner: Shape, node: Node) -> int | None:
    """The one axis along which zeros stand before or behind; None where they lie otherwise."""
    axes = [i for i, span in enumerate(node.attrs.data) if span != (0, node.shape[i], 1)]
    plain = len(axes) == 1 and node.attrs.data[axes[0]][2] == 1 and inner[axes[0]] != node.shape[axes[0]]
    return axes[0] if plain else None


def _between_zeros(w: Writer, node: Node, x: int) -> Written:
    """An array with zeros before and behind it."""
    axis = _padded_axis(w.graph.shape(x), node)
    assert axis is not None
    start, length, _ = node.attrs.data[axis]
    sizes = (start, sized(node.shape[axis] - start - length))
    before, behind = (_zeros(w, tuple(n if i == axis else s for i, s in enumerate(node.shape))) for n in sizes)
    parts = [before] * (sizes[0] != 0) + [w.at(x, SUM)] + [behind] * (sizes[1] != 0)
    return w.notation.join(parts) if axis == 0 else w.notation.beside(parts), ATOM


def _zeros(w: Writer, shape: Shape) -> str:
    if len(normal(shape)) < 2:
        return w.notation.zeros(size_shown(shape[0]))
    if shape[0] == 1:
        return w.notation.transpose(w.notation.zeros(size_shown(shape[1])))
    return w.notation.zeros(w.notation.by.join(map(size_shown, shape)))


def _part(w: Writer, id: int) -> str:
    """A part of an array; of zeros it says how many."""
    text, shape = w.at(id, SUM), w.graph.shape(id)
    return _zeros(w, shape) if text == "0" and 0 < len(shape) < 3 else text


def _spans(spans: Sequence[tuple[Size, Size, int]], shape: Shape, drop: bool = False) -> list[str]:
    """Slices as a page shows them. One row or column of a matrix, or element of a vector, has a number alone; of larger
    arrays only where the axis is dropped."""
    alone = drop or len(shape) < 3
    return [_span(*span, size, alone) for span, size in zip(spans, shape, strict=True)]


def _span(start: Size, length: Size, step: int, size: Size, alone: bool) -> str:
    """A slice as NumPy reads it: at the ends of the axis, where a stop of -1 would mean the last, bounds are left out."""
    if (start, length, step) == (0, size, 1):
        return ":"
    if length == 1:
        return size_shown(start) if alone else f"{size_shown(start)}:{size_shown(sized(start + 1))}"
    stop = sized(start + length * step)
    first, last = size_shown(start), size_shown(stop)
    if step == 1:
        return f"{first}:{last}"
    if step > 0:
        return f"{first}:{'' if sign_of(sized(stop - size)) in (0, 1) else last}:{step}"
    return f"{'' if start == sized(size - 1) else first}:{'' if sign_of(stop) == -1 else last}:{step}"


def _gather(w: Writer, node: Node) -> Written:
    x, index = (w.at(arg, SUM) for arg in node.args)
    axis = node.attrs.axis
    if node.attrs.kind == "scatter":
        which = [f"axis={axis}"] if axis else []
        return w.notation.call("scatter", [x, index, size_shown(node.shape[axis]), *which]), ATOM
    return w.notation.index(w.at(node.args[0], ATOM), [":"] * axis + [index]), ATOM


def _cumulate(w: Writer, node: Node) -> Written:
    name = "reverse_cumsum" if node.attrs.reverse else "cumsum"
    which = [] if len(node.shape) < 2 else [f"axis={node.attrs.axis}"]
    return w.notation.call(name, [w.symbol(node.args[0]), *which]), ATOM


def _total(w: Writer, node: Node) -> Written:
    return w.notation.sum_over_time + w.at(node.args[0], PRODUCT), PRODUCT


FAMILIES: dict[str, Callable[[Writer, Node], Written]] = {
    "leaf": _leaf,
    "number": _number,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "total": _total,
}
