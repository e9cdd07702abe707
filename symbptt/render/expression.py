"""The values of a recursion as formulas, in the user's order of terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from symbptt.derive.labels import Label
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, View
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_sympy, indices, tree_of
from symbptt.ir.shape import Shape, Size, sign_of
from symbptt.ir.shape import show as show_shape
from symbptt.ir.shape import size as sized
from symbptt.render.notation import Notation

LONGEST = 10_000
"""Operations of a formula that is still written; values that are read twice stand twice in it."""

SUM, PRODUCT, MATRIX, POWER, ATOM = range(1, 6)
Written = tuple[str, int]
"""A text and how tightly it binds."""


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
        if node.family == "map":
            return self._tree(self._expanded(id, top=True))
        return FAMILIES[node.family](self, node)

    def at(self, id: int, least: int) -> str:
        """Return a value for a place that binds at least so tightly."""
        return self._bracket(self._value(id), least)

    def _bracket(self, written: Written, least: int) -> str:
        return written[0] if written[1] >= least else self.notation.brackets(written[0])

    def _expanded(self, id: int, top: bool = False) -> Tree:
        """The tree of a map with all unlabelled maps in it, sums of sums and products of products flattened."""
        node = self.graph[id]
        if node.family == "number" and not node.shape:
            return tree_of(as_sympy(node.attrs.value))
        if node.family != "map" or (id in self.labels and not top):
            return Ref(id)
        return _substitute(tree_of(node.attrs.expr), [self._expanded(arg) for arg in node.args])

    def _tree(self, tree: Tree) -> Written:
        match tree:
            case Ref(id):
                return self._value(id)
            case Num(value):
                return self._number(value)
            case Sum(terms):
                return self._sum(terms)
            case Prod(factors, divisors):
                return self._product(factors, divisors)
            case Power(base, exponent):
                return self.notation.power(
                    self._bracket(self._tree(base), ATOM), self._bracket(self._tree(exponent), POWER)
                ), POWER
            case Call(name, args):
                return self.notation.call(name, [self._tree(arg)[0] for arg in args]), ATOM
        raise AssertionError(tree)

    def _number(self, value: sp.Expr) -> Written:
        """A number; one with a power of ten, as 2.5 · 10^{10}, is in brackets where it is a base, not where it is a factor."""
        text = self.notation.number(value)
        if "10^" in text:
            return text, POWER
        return text, ATOM if value.is_Integer or value.is_Float or value == sp.oo else PRODUCT

    def _sum(self, terms: tuple[tuple[int, Tree], ...]) -> Written:
        text = ""
        for i, (sign, term) in enumerate(terms):
            joint = (self.notation.minus if sign < 0 else self.notation.plus) if i else ("-" if sign < 0 else "")
            text += joint + self._bracket(self._tree(term), SUM if sign > 0 else PRODUCT)
        return text, SUM

    def _product(self, factors: tuple[Tree, ...], divisors: tuple[Tree, ...]) -> Written:
        above = self._factors(factors)
        if not divisors:
            return above, PRODUCT
        below = self._factors(divisors)
        if self.notation.quotient("", "").startswith("\\"):
            return self.notation.quotient(above, below), POWER
        single = len(divisors) == 1
        return self.notation.quotient(
            above, self._bracket(self._tree(divisors[0]), POWER) if single else self.notation.brackets(below)
        ), PRODUCT

    def _factors(self, factors: tuple[Tree, ...]) -> str:
        if len(factors) == 1:
            return self._bracket(self._tree(factors[0]), PRODUCT if isinstance(factors[0], Ref) else POWER)
        diagonals = [factor for factor in factors if self._is_column(factor)] if self.matrices else []
        if diagonals and len(diagonals) < len(factors):
            rest = tuple(factor for factor in factors if factor not in diagonals)
            return self._diagonal(diagonals) + self._times(rest)
        text = ""
        for i, factor in enumerate(factors):
            both = i and not self._is_scalar(factor) and not self._is_scalar(factors[i - 1])
            joint = (self.notation.hadamard if both else self.notation.scalar) if i else ""
            text += joint + self._bracket(self._tree(factor), POWER)
        return text

    def _is_column(self, tree: Tree) -> bool:
        """Whether a factor is a vector put up as a column beside a matrix."""
        node = self.graph[tree.index] if isinstance(tree, Ref) and tree.index not in self.labels else None
        if node is None or node.family != "view" or node.attrs.kind != "reshape":
            return False
        shape = self.graph.shape(node.args[0])
        return len(shape) == 1 and node.shape == (*shape, 1)

    def _diagonal(self, columns: list[Tree]) -> str:
        vectors = tuple(self._expanded(self.graph[c.index].args[0]) for c in columns if isinstance(c, Ref))
        return self.notation.call("diag", [self._tree(Prod(vectors) if len(vectors) > 1 else vectors[0])[0]])

    def _times(self, rest: tuple[Tree, ...]) -> str:
        """What stands behind a diagonal matrix; the identity is not written."""
        only = self.graph[rest[0].index] if len(rest) == 1 and isinstance(rest[0], Ref) else None
        if only is not None and only.family == "leaf" and only.attrs.role == "eye":
            return ""
        return self.notation.matrix + (self._bracket(self._tree(rest[0]), MATRIX) if len(rest) == 1 else
                                       self.notation.brackets(self._factors(rest)))  # fmt: skip

    def _is_scalar(self, tree: Tree) -> bool:
        return all(not self.graph.shape(id) for id in indices(tree))


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
    tree: Tree = Prod(tuple(above), tuple(below)) if below or len(above) != 1 else above[0]
    return Sum(((-1, tree),)) if sign < 0 else tree


def _leaf(w: Writer, node: Node) -> Written:
    if node.attrs.role == "eye":
        return "I", ATOM
    return node.attrs.name, ATOM if node.attrs.name.isidentifier() else SUM


def _number(w: Writer, node: Node) -> Written:
    if not node.shape:
        return w._number(as_sympy(node.attrs.value))
    values = ", ".join(w.notation.number(sp.Float(float(v))) for v in node.attrs.value[:6])
    more = f", {w.notation.ellipsis}" if len(node.attrs.value) > 6 else ""
    return f"[{values}{more}]", ATOM


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
    x = node.args[0]
    return w.notation.call(node.attrs.kind, [w.at(x, SUM), *_axes(node, len(w.graph.shape(x)))]), ATOM


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
        case "pad":
            place = w.notation.index("", _spans(data, node.shape))
            return w.notation.call("pad", [w.at(x, SUM), show_shape(node.shape), place]), ATOM
        case "concatenate":
            return w.notation.join([w.at(arg, SUM) for arg in node.args]), ATOM
    shape = w.graph.shape(x)
    if node.attrs.kind == "reshape" and shape and tuple(item for item in node.shape if item != 1) == shape:
        return w.notation.index(w.at(x, ATOM), ["None" if item == 1 else ":" for item in node.shape]), ATOM
    return w._value(x)  # other reshapes, and expansions, change no number


def _spans(spans: Sequence[tuple[Size, Size, int]], shape: Shape) -> list[str]:
    return [_span(*span, size) for span, size in zip(spans, shape, strict=True)]


def _span(start: Size, length: Size, step: int, size: Size) -> str:
    """A slice as NumPy reads it: at the ends of the axis, where a stop of -1 would mean the last, bounds are left out."""
    if (start, length, step) == (0, size, 1):
        return ":"
    if length == 1:
        return str(start)
    stop = sized(start + length * step)
    if step == 1:
        return f"{start}:{stop}"
    if step > 0:
        return f"{start}:{'' if sign_of(sized(stop - size)) in (0, 1) else stop}:{step}"
    return f"{'' if start == sized(size - 1) else start}:{'' if sign_of(stop) == -1 else stop}:{step}"


def _gather(w: Writer, node: Node) -> Written:
    x, index = (w.at(arg, SUM) for arg in node.args)
    if node.attrs.kind == "scatter":
        return w.notation.call("scatter", [x, index]), ATOM
    return w.notation.index(w.at(node.args[0], ATOM), [":"] * node.attrs.axis + [index]), ATOM


def _cumulate(w: Writer, node: Node) -> Written:
    name = "reverse_cumsum" if node.attrs.reverse else "cumsum"
    return w.notation.call(name, [w.symbol(node.args[0])]), ATOM


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
