"""Values of a graph as expressions, one rule a family: those with a label by it, all others by their formula.

What has no form in matrices, `entries.py` writes entry by entry.

Example: z = W * s[:, None], with W of shape (n, m) and s of shape (n,), is an elementwise product in the graph. `_lie` finds
that the factor s[:, None] is a "column", repeated along the second axis; `_scaled` therefore writes diag(s) W, a product of
matrices in which each row of W is scaled by its entry of s. A "row" factor becomes a diagonal matrix on the right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

from symbptt.autodiff.labels import Label, letter_of_rounds
from symbptt.equations.algebra import expressions as algebra
from symbptt.equations.algebra.between_zeros import between, zeros
from symbptt.equations.algebra.conjugates import Value, value_of, with_conjugates
from symbptt.equations.algebra.entries import EntryMaker, array_of, count, entries, is_counter, is_ones, over_rounds
from symbptt.equations.algebra.expressions import (
    EYE,
    ONE,
    Blocks,
    Count,
    Diagonal,
    Expr,
    Inverse,
    Ones,
    Over,
    Rows,
    Slice,
    Span,
    Symbol,
    Total,
    Unit,
    Word,
    called,
    is_identity,
    is_zero,
    matmul,
    normal,
    number,
    number_of,
    plus,
    times,
    transposed,
)  # fmt: skip
from symbptt.equations.algebra.matrices import function_of, of_one
from symbptt.equations.algebra.trees import choice, multiplied, truth, whole_tree
from symbptt.equations.algebra.wholes import ALONG, convolved, in_matrices
from symbptt.ir.algebra import is_eye, is_unit_matrix
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, indices
from symbptt.ir.shape import Shape, Size, broadcast, named_size, size_text
from symbptt.ir.shape import size as sized

LIES = ("number", "column", "row", "whole")
"""The layouts of a part of a formula in a matrix: one number, repeated beside itself, under itself, or not repeated."""


SMALL = ("number", "leaf")


@dataclass(frozen=True)
class Lowering:
    """The lowering of a graph's values to expressions; `limits`: how many values an index has, which is the length of the unit
    vectors that it chooses."""

    graph: Graph
    labels: Mapping[int, Label]
    limits: Mapping[str, Size] = field(default_factory=dict)
    plain: dict[int, bool] = field(default_factory=dict, compare=False, repr=False)
    trees: dict[int, tuple[Tree, tuple[int, ...]]] = field(default_factory=dict, compare=False, repr=False)
    symbols: dict[int, Symbol] = field(default_factory=dict, compare=False, repr=False)

    def formula(self, id: int) -> Expr:
        """Return the formula of a value, whether it has a label or not."""
        found = self._formula(self.graph[id])
        return with_conjugates(found, self.real) if self.real else found

    def _formula(self, node: Node) -> Expr:
        if not self.is_plain(node):
            return entries(self.graph, self.labels, node.id)
        return self._map(node) if node.family == "map" else FAMILIES[node.family](self, node)

    @cached_property
    def real(self) -> frozenset[Value]:
        """The values that are real, beside complex ones: a page of real numbers alone has no conjugates."""
        kinds = {id: self.graph.is_complex(id) for id in self.labels}
        if not any(self.graph.is_complex(node.id) for node in self.graph):
            return frozenset()
        of_complex = {value_of(self.labels[id]) for id, is_complex in kinds.items() if is_complex}
        return frozenset(value_of(self.labels[id]) for id in kinds) - of_complex

    def value(self, id: int) -> Expr:
        """Return a value as it stands inside formulas."""
        if id not in self.labels:
            return self.formula(id)
        # One object for each symbol: later passes compare expressions by identity first.
        if id not in self.symbols:
            self.symbols[id] = Symbol(self.labels[id], normal(self.graph.shape(id)))
        return self.symbols[id]

    def shape(self, id: int) -> Shape:
        return self.graph.shape(id)

    def is_plain(self, node: Node) -> bool:
        """Answer whether the formula of a value has a form in matrices; a product or a view of what has none is itself written by
        its entries."""
        if node.id not in self.plain:
            self.plain[node.id] = self._is_plain(node)
        return self.plain[node.id]

    def _is_plain(self, node: Node) -> bool:
        if node.family in ("leaf", "settled"):
            return True
        if node.family == "map":
            return self._is_plain_map(node)
        if node.family == "view" and self._picked(node) is not None:
            return True
        if node.family == "convolution":
            return True
        if len(node.shape) > 2:
            return False
        # A row of a named table of three axes is a matrix; any other view of three axes needs indices.
        if max([len(self.graph.shape(arg)) for arg in node.args], default=0) > 2:
            return node.family == "gather" and node.args[0] in self.labels and not self.graph.shape(node.args[1])
        read = multiplied(self.graph, node) if node.family == "contract" else node.args
        if node.family in ("reduce", "view", "contract", "cumulate", "whole", "algebra") and not all(
            map(self._stands, read)
        ):
            return node.family == "view" and node.attrs.kind in ("concatenate", "expand")
        match node.family:
            case "contract":
                return _matrix_form(node) is not None or _is_entrywise(node)
            case "reduce":
                return _is_plain_reduction(node, self.shape(node.args[0]))
            case "view":
                return self._is_plain_view(node)
            case "cumulate":
                x = self.graph[node.args[0]]
                return not is_ones(self.graph, x) and (len(node.shape) == 1 or not is_unit_matrix(self.graph, x.id))
            case "gather" if self.graph.shape(node.args[1]):
                return False
            case "gather" if node.attrs.kind == "scatter":
                size = node.shape[node.attrs.axis]
                # The unit vector e_i has as many entries as the index has values: only then does it fit the axis.
                return self.limits.get(getattr(self.graph[node.args[1]].attrs, "name", ""), size) == size
        return True

    def _is_plain_map(self, node: Node) -> bool:
        """Answer whether a map has a form in matrices: not with three axes, nor where only unnamed values without a form are read."""
        if len(node.shape) > 2 or is_counter(self.graph, node):
            return False
        _, read = self.tree(node)
        odd = [id for id in read if not self._stands(id)]
        return not odd or not all(id in self.labels or id in odd or self.graph[id].family in SMALL for id in read)

    def _stands(self, id: int) -> bool:
        return id in self.labels or self.is_plain(self.graph[id])

    def _is_plain_view(self, node: Node) -> bool:
        x = self.shape(node.args[0])
        match node.attrs.kind:
            case "pad":
                return x == node.shape or padded_axis(x, node) is not None or _is_every_nth(x, node)
            case "reshape":
                return len(x) < 3
        return True

    def _picked(self, node: Node) -> tuple[int, tuple[Span, ...]] | None:
        """Return the named array of three or more axes of which a value is a matrix or less, all other axes at one
        place."""
        if node.family != "view" or node.attrs.kind != "reshape" or node.args[0] in self.labels:
            return None
        inner = self.graph[node.args[0]]
        if inner.family != "view" or inner.attrs.kind != "slice" or len(inner.shape) < 3 or len(node.shape) > 2:
            return None
        source = inner.args[0]
        spans = spans_of(inner.attrs.data, self.shape(source), drop=True)
        kept = tuple(size for size, span in zip(inner.shape, spans, strict=True) if not span.alone)
        return (source, spans) if source in self.labels and kept == node.shape else None

    def tree(self, node: Node) -> tuple[Tree, tuple[int, ...]]:
        """Return the formula of a map over values that are no maps of its shape, and these values."""
        if node.id not in self.trees:
            whole = whole_tree(self.graph, self.labels, node.id)
            self.trees[node.id] = whole, indices(whole)
        return self.trees[node.id]

    # Elementwise values.

    def _map(self, node: Node) -> Expr:
        tree, read = self.tree(node)
        found = self.of_tree(tree, node.shape)
        same = normal(node.shape) == () or any(normal(self.graph.shape(i)) for i in read)
        return found if same else self.repeated(found, (), node.shape)

    def of_tree(self, tree: Tree, shape: Shape | None = None) -> Expr:
        """Return a formula over values of the graph; parts of it that are columns or rows are repeated."""
        shape = broadcast(*map(self.shape, indices(tree))) if shape is None else shape
        if len(shape) == 2 and len(normal(shape)) == 2 and not isinstance(tree, Num):
            match self._lie(tree, shape):
                case "column":
                    return self.repeated(self.of_tree(tree, (shape[0], 1)), (shape[0], 1), shape)
                case "row":
                    return self.repeated(self.of_tree(tree, shape[1:]), shape[1:], shape)
        match tree:
            case Ref(id):
                return self._fitted(id, shape)
            case Num(value):
                return number_of(value)
            case Sum(terms):
                return plus([(sign, self.of_tree(term, shape)) for sign, term in terms])
            case Prod(factors, divisors):
                above = self._factors(factors, shape)
                return Over(above, self._factors(divisors, shape)) if divisors else above
            case Power(base, exponent):
                return algebra.Power(self.of_tree(base, shape), self.of_tree(exponent, shape))
            case Call("where", (condition, *values)):
                name = choice(self.graph, values)
                return called(name, [self.of_tree(arg, shape) for arg in (truth(self.graph, condition), *values)])
            case Call(name, args):
                return called(name, [self.of_tree(arg, shape) for arg in args])
        raise AssertionError(tree)

    def _fitted(self, id: int, shape: Shape) -> Expr:
        """Return a value where a formula of a shape reads it: a row among vectors is turned, a vector among rows
        laid down."""
        own, found = self.graph.shape(id), self.value(id)
        if own == shape:
            return found
        is_row = len(own) == 2 and own[0] == 1 and normal(own) != ()
        # NumPy does not tell rows from vectors; on a page a row among columns needs a transpose.
        if is_row and len(normal(shape)) == 1:
            return transposed(found)
        if len(shape) == 2 and shape[0] == 1 and len(own) == 1 and normal(own):
            return transposed(found)
        return found

    def _lie(self, tree: Tree, shape: Shape) -> str:
        """Return the layout of a part of a formula in a matrix: "number", "column", "row", or "whole"."""
        wide = {s for s in map(self.shape, indices(tree)) if normal(s)}
        if not wide:
            return "number"
        if all(len(s) == 2 and s[1] == 1 for s in wide) and shape[1] != 1:
            return "column"
        return "row" if shape[0] != 1 and all(len(s) == 1 or s[0] == 1 for s in wide) else "whole"

    def _factors(self, factors: tuple[Tree, ...], shape: Shape) -> Expr:
        """Return factors in the user's order; beside a matrix, columns and rows are diagonal matrices to its left
        and right."""
        # diag(c) M diag(r) has the entries c_i M_ij r_j: broadcasting as NumPy does, without ⊙ between unequal shapes.
        if len(factors) > 1 and len(shape) == 2 and len(normal(shape)) == 2:
            lie = [self._lie(factor, shape) for factor in factors]
            if "column" in lie or "row" in lie:
                return self._scaled(factors, lie, shape)
        return times([self.of_tree(factor, shape) for factor in factors])

    def _scaled(self, factors: tuple[Tree, ...], lie: list[str], shape: Shape) -> Expr:
        """Return a matrix between diagonal matrices; where there is none, the outer product of the column and the
        row."""
        split = {kind: tuple(f for f, k in zip(factors, lie, strict=True) if k == kind) for kind in LIES}
        column = self._factors(split["column"], (shape[0], 1)) if split["column"] else None
        row = self._factors(split["row"], shape[1:]) if split["row"] else None
        if split["whole"]:
            whole = self._factors(split["whole"], shape)
            left = [Diagonal(column)] if column is not None else []
            right = [Diagonal(row)] if row is not None else []
            found = matmul([*left, *([] if is_identity(whole) else [whole]), *right])
        elif column is not None and row is not None:
            found = matmul((column, transposed(row)))
        elif column is not None:
            found = self.repeated(column, (shape[0], 1), shape)
        else:
            assert row is not None
            found = self.repeated(row, shape[1:], shape)
        return times((self._factors(split["number"], ()), found)) if split["number"] else found

    def repeated(self, e: Expr, shape: Shape, to: Shape) -> Expr:
        """Return a value as often as a larger shape says: a number, a column or a row times vectors of ones."""
        if is_zero(e) or normal(to) == ():
            return e
        if normal(shape) == () and len(normal(to)) == 1:
            return _beside(e, Ones(normal(to)[0]))
        if normal(shape) == ():
            row = transposed(Ones(to[-1]))
            return _beside(e, matmul((Ones(to[-2]), row)) if to[0] != 1 else row)
        if len(shape) == 2 and shape[1] == 1:
            return matmul((e, transposed(Ones(to[-1]))))
        turned = e if len(shape) == 2 else transposed(e)
        return turned if to[0] == 1 else matmul((Ones(to[-2]), turned))

    def side(self, id: int, turn: bool) -> Expr:
        """Return an operand of a product, or its transpose."""
        return transposed(self.value(id)) if turn else self.value(id)


def _beside(number: Expr, ones: Expr) -> Expr:
    return ones if number == ONE else matmul((number, ones))


# One rule a family.


def _leaf(w: Lowering, node: Node) -> Expr:
    if node.attrs.role == "eye":
        return Word(EYE.text, of=normal(node.shape))
    if node.attrs.role == "round":
        return Word(letter_of_rounds(w.graph))
    # Beside sizes stand formulas of them, as 2*n, and arguments without a label.
    is_size = node.attrs.role == "size" and node.attrs.name.isidentifier()
    return Count(named_size(node.attrs.name)) if is_size else Word(node.attrs.name, not node.attrs.name.isidentifier())


def _number(w: Lowering, node: Node) -> Expr:
    """Return a number, or an array of them."""
    return array_of(node.attrs.value, node.shape) if node.shape else number(node.attrs.value)


def _contract(w: Lowering, node: Node) -> Expr:
    (a, b), form = multiplied(w.graph, node), _matrix_form(node)
    if form is None:
        return _entrywise(w, node)
    swapped, turn_first, turn_second = form
    first, second = (b, a) if swapped else (a, b)
    return matmul((w.side(first, turn_first), w.side(second, turn_second)))


def _labels(node: Node) -> tuple[int, ...]:
    """Return the labels of a product, those of its result first."""
    return tuple(dict.fromkeys((*node.attrs.out, *node.attrs.a, *node.attrs.b)))


def _entrywise(w: Lowering, node: Node) -> Expr:
    """Return a product over two labels at most as A ⊙ B, with diag(v) where a vector scales rows or columns, or the sum of all
    its entries."""
    labels, sides = _labels(node), list(zip(multiplied(w.graph, node), (node.attrs.a, node.attrs.b), strict=True))
    whole = [w.side(id, own != labels) for id, own in sides if own and len(own) == len(labels)]
    part = [(w.value(id), own) for id, own in sides if len(own) < len(labels)]
    numbers = [value for value, _ in part if not value.shape]
    left = [Diagonal(value) for value, own in part if value.shape and own == labels[:1]]
    right = [Diagonal(value) for value, own in part if value.shape and own == labels[1:]]
    found = times([*numbers, matmul([*left, times(whole), *right]) if left or right else times(whole)])
    return found if len(node.attrs.out) == len(labels) or not found.shape else algebra.Call("sum", (found,), ())


def _is_entrywise(node: Node) -> bool:
    """Answer whether a product has a form of entries side by side: one of its operands has all labels, which are two at most,
    and the result all or none. A sum over one of two reads better by its entries than as (A ⊙ B) 1."""
    p, labels = node.attrs, _labels(node)
    return len(labels) < 3 and max(len(p.a), len(p.b)) == len(labels) and len(p.out) in (0, len(labels))


def _matrix_form(node: Node) -> tuple[bool, bool, bool] | None:
    """Return a product's form in matrices: whether its operands change places, and which of them are transposed."""
    p = node.attrs
    # einsum may name its operands in the other order: the product is the same, the factors of matrices change places.
    return _matrix_product(p.a, p.b, p.out) or _matrix_product(p.b, p.a, p.out, swap=True)


@cache
def _matrix_product(
    a: tuple[int, ...], b: tuple[int, ...], out: tuple[int, ...], swap: bool = False
) -> tuple[bool, bool, bool] | None:
    """Return whether the factors are exchanged and which of them is transposed, for a product of labels as one of matrices, vectors
    being columns; None where it is none."""
    if len(a) > 2 or len(b) > 2 or not a or not b or (len(a) == 1 and len(b) == 2):
        return None
    # The first fit has the fewest transposes.
    for turn_a, turn_b in ((False, False), (False, True), (True, False), (True, True)):
        rows, inner_a = _column(a, turn_a)
        inner_b, columns = _column(b, turn_b)
        if inner_a == inner_b and tuple(x for x in (rows, columns) if x is not None) == out:
            return swap, turn_a, turn_b
    return None


def _column(labels: tuple[int, ...], turn: bool) -> tuple[int | None, int | None]:
    pair = (labels[0], labels[1]) if len(labels) == 2 else (labels[0], None)
    return (pair[1], pair[0]) if turn else pair


def _is_plain_reduction(node: Node, shape: Shape) -> bool:
    whole = len(node.attrs.axes) == len(shape)
    return whole or (node.attrs.kind == "sum" and len(shape) == 2 and 1 not in shape)


def _reduce(w: Lowering, node: Node) -> Expr:
    """Return a sum over rows or columns as a product with ones; that of a number which was repeated, as so many
    times it."""
    x, axes = node.args[0], node.attrs.axes
    shape, inner = w.shape(x), w.graph[x]
    # Σ_j A_ij = (A 1)_i.
    if len(axes) < len(shape):
        return matmul((w.side(x, axes != (1,)), Ones(shape[axes[0]])))
    if node.attrs.kind == "sum" and x not in w.labels and inner.family == "algebra" and inner.attrs.name == "diagonal":
        return algebra.Call("tr", (w.value(inner.args[0]),), ())
    is_repeated = x not in w.labels and inner.family == "view" and inner.attrs.kind == "expand"
    # Σ over n copies of a number is n times it.
    if node.attrs.kind == "sum" and is_repeated and not normal(w.shape(inner.args[0])):
        return times([*(Count(size) for size in shape if size != 1), w.value(inner.args[0])])
    return algebra.Call(node.attrs.kind, (w.value(x),), ())


def _view(w: Lowering, node: Node) -> Expr:
    picked = w._picked(node)
    if picked is not None:
        return Slice(w.value(picked[0]), picked[1], normal(node.shape))
    x, data = node.args[0], node.attrs.data
    shape = w.shape(x)
    match node.attrs.kind:
        case "transpose":
            return transposed(w.value(x)) if data == (1, 0) else w.value(x)
        case "slice":
            return Slice(w.value(x), spans_of(data, shape), normal(node.shape))
        case "roll":
            axis, shift = data
            over = "" if all(i == axis or size == 1 for i, size in enumerate(shape)) else f"_{ALONG[(axis,)]}"
            return algebra.Call(f"roll{over}", (w.value(x), count(shift)), normal(shape))
        case "pad" if shape == node.shape:
            return Slice(w.value(x), spans_of(data, node.shape), normal(node.shape))  # turned round, back again
        case "pad":
            return _between_zeros(w, node, x)
        case "concatenate":
            return Blocks(tuple(_part(w, arg) for arg in node.args), data[0], normal(node.shape))
        case "expand":
            return w.repeated(w.value(x), shape, node.shape)
    return _reshape(w, node, x)


def _reshape(w: Lowering, node: Node, x: int) -> Expr:
    """A vector that becomes a column stays a vector, one that becomes a row is turned; the rows of a matrix one after
    another are vec, and `mat` sets a vector in rows."""
    shape = w.shape(x)
    old, new = normal(shape), normal(node.shape)
    found = w.value(x)
    if old == new:
        return found
    is_row = len(old) == 2 and old[0] == 1
    if len(old) == 1 and len(new) == 2 and new[0] == 1:
        return transposed(found)
    if is_row and len(new) == 1:
        return transposed(found)
    flat = (
        found if len(old) == 1 else transposed(found) if is_row else algebra.Call("vec", (found,), (sized_prod(old),))
    )
    if len(new) == 1:
        return flat
    mat = algebra.Call("mat", (Count(new[0]), Count(new[1]), flat), new)
    return transposed(flat) if new[0] == 1 else mat


def sized_prod(shape: Shape) -> Size:
    found: Size = 1
    for size in shape:
        found = sized(found * size)
    return found


def padded_axis(inner: Shape, node: Node) -> int | None:
    """Return the one axis along which zeros stand before or behind; None where they lie otherwise."""
    axes = [i for i, span in enumerate(node.attrs.data) if span != (0, node.shape[i], 1)]
    plain = len(axes) == 1 and node.attrs.data[axes[0]][2] == 1 and inner[axes[0]] != node.shape[axes[0]]
    return axes[0] if plain else None


def _is_every_nth(inner: Shape, node: Node) -> bool:
    """Answer whether the entries of a vector stand at every n-th place of another one that has nothing behind them."""
    return len(inner) == 1 == len(node.shape) and between(algebra.ZERO, node.attrs.data[0], node.shape[0]) is not None


def _between_zeros(w: Lowering, node: Node, x: int) -> Expr:
    """Return an array with zeros before and behind it, or between its entries."""
    if _is_every_nth(w.shape(x), node):
        found = between(w.value(x), node.attrs.data[0], node.shape[0])
        assert found is not None
        return found
    axis = padded_axis(w.shape(x), node)
    assert axis is not None
    start, length, _ = node.attrs.data[axis]
    sizes = (start, sized(node.shape[axis] - start - length))
    before, behind = (zeros(tuple(n if i == axis else s for i, s in enumerate(node.shape))) for n in sizes)
    parts = [before] * (sizes[0] != 0) + [w.value(x)] + [behind] * (sizes[1] != 0)
    return Blocks(tuple(parts), axis, normal(node.shape))


def _part(w: Lowering, id: int) -> Expr:
    """Return a part of an array; of zeros it says how many."""
    found, shape = w.value(id), w.shape(id)
    return zeros(shape) if is_zero(found) and shape else found


def spans_of(spans: Sequence[tuple[Size, Size, int]], shape: Shape, drop: bool = False) -> tuple[Span, ...]:
    """Return slices as a page has them. One row or column of a matrix, or element of a vector, has a number alone; of
    larger arrays only where the axis is dropped."""
    alone = drop or len(shape) < 3
    return tuple(
        Span(*span, size, alone and span[1] == 1 and size != 1) for span, size in zip(spans, shape, strict=True)
    )


def _gather(w: Lowering, node: Node) -> Expr:
    x, row = node.args
    axis = node.attrs.axis
    if node.attrs.kind == "scatter":
        unit, found = Unit(w.value(row), node.shape[axis]), w.value(x)
        # x δ_{i,row} is x times a unit vector; for a row x of a matrix it is the outer product e_row xᵀ.
        if not normal(w.shape(x)):
            return times((found, unit))
        return matmul((unit, transposed(found)) if axis == 0 else (found, transposed(unit)))
    return Rows(w.value(x), w.value(row), axis, normal(node.shape))


def _cumulate(w: Lowering, node: Node) -> Expr:
    shape = w.shape(node.args[0])
    along = all(i == node.attrs.axis or size == 1 for i, size in enumerate(shape))
    name = ("reverse_" if node.attrs.reverse else "") + "cumsum" + ("" if along else f"_{ALONG[(node.attrs.axis,)]}")
    return algebra.Call(name, (w.value(node.args[0]),), normal(node.shape))


def _algebra(w: Lowering, node: Node) -> Expr:
    """Return a function of matrices; a solve is an inverse before its right side, and before an identity alone."""
    name, x, shape = node.attrs.name, w.value(node.args[0]), normal(node.shape)
    if not x.shape:  # a matrix of one entry
        return of_one(name, x, [w.value(arg) for arg in node.args[1:]])
    match name:
        case "solve":
            right = node.args[1]
            return Inverse(x) if is_eye(w.graph, right) else matmul((Inverse(x), w.value(right)))
        case "diag":
            return Diagonal(x)
    return function_of(name, x, shape)


def _whole(w: Lowering, node: Node) -> Expr:
    x, *numbers = node.args
    return in_matrices(node, w.value(x), [w.value(number) for number in numbers], w.shape(x))


def _convolution(w: Lowering, node: Node) -> Expr:
    a, b = node.args
    return convolved(node, w.value(a), w.value(b))


def _total(w: Lowering, node: Node) -> Expr:
    inner = w.value(node.args[0])
    return inner if node.attrs.over == "samples" else Total(inner)  # pages are of one sample


def _repeat(w: Lowering, node: Node) -> Expr:
    # What is carried, behind the last round.
    start = node.args[node.attrs.out]
    label = w.labels[start]._replace(round=size_text(node.attrs.count))
    return Symbol(label, normal(node.shape))


def _point(w: Lowering, node: Node) -> Expr:
    # A fixed point is what a round makes of it.
    return w.value(node.attrs.parts(node.args)[2][node.attrs.out])


def _over(w: Lowering, node: Node) -> Expr:
    return over_rounds(w.graph, node, w.value(node.args[0]))


def _rounds(w: Lowering, node: Node) -> Expr:
    # The values of a loop in all its rounds have no formula: lines of their own say how each follows from the one before.
    return algebra.Ellipsis()


FAMILIES: dict[str, Callable[[Lowering, Node], Expr]] = {
    "leaf": _leaf,
    "number": _number,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "algebra": _algebra,
    "total": _total,
    "whole": _whole,
    "convolution": _convolution,
    "rounds": _rounds,
    "settled": _rounds,
    "repeat": _repeat,
    "point": _point,
    "over": _over,
}


def entry_of(of: Lowering, id: int, at: Sequence[Expr], names: Iterator[str]) -> Expr:
    """Return an entry of a value as it stands inside a formula: of a product by its form in matrices, where it has one."""

    def matrix(inner: int) -> Expr | None:
        node = of.graph[inner]
        # Of numbers only those that a function makes of an array, as a norm; a sum over indices stays one.
        shown = normal(node.shape) or node.family == "whole"
        plain = node.family not in ("map", "leaf", "number") and shown and len(node.shape) < 3 and of.is_plain(node)
        return of.value(inner) if plain else None

    return EntryMaker(of.graph, of.labels, names, {}, matrix).value(id, at)
