"""The forward lines of a cell as SymPy matrix expressions, for other work on them.

Each line is an expression in the values before it, as matrix symbols by their names; nothing is put into anything else,
and SymPy is never asked for a derivative. A vector is a matrix of one column; the one number of a matrix of one row and one
column is its entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from symbptt import ops
from symbptt.autodiff.labels import Label
from symbptt.errors import ArgumentError
from symbptt.ir import build
from symbptt.ir.algebra import RECORDS, is_eye
from symbptt.ir.graph import Graph
from symbptt.ir.naming import unique
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import NAME_OF, as_sympy, expanded
from symbptt.ir.shape import Shape, show
from symbptt.language.folding import spelled
from symbptt.language.roles import parse_dims


def to_sympy(g: Graph, lines: Mapping[str, int], names: Mapping[int, str]) -> dict[str, sp.Basic]:
    """Return the formulas of values as SymPy expressions by their names; `names` are the values that stand as symbols.

    Raises: ArgumentError for a value that SymPy's matrices cannot express, with its line.
    """
    return {name: _Form(g, names).formula(id) for name, id in lines.items()}


class Ones(sp.OneMatrix):
    """A matrix of ones that `doit` writes out once its sizes are numbers, so that sums and products with it are numbers too."""

    def doit(self, **hints: Any) -> sp.Basic:
        """Return the matrix with its entries, where its sizes are numbers."""
        rows, columns = self.shape
        return sp.ImmutableMatrix.ones(rows, columns) if rows.is_Integer and columns.is_Integer else self


class Part(MatrixSlice):
    """A part of a matrix that `doit` takes out once that has entries; SymPy leaves what is inside as it stands."""

    def doit(self, **hints: Any) -> sp.Basic:
        """Return the part of the evaluated matrix."""
        found = Part(self.parent.doit(**hints), self.rowslice, self.colslice)
        return found.as_explicit() if isinstance(found.parent, sp.MatrixBase) else found


class Diagonal(sp.DiagMatrix):
    """A diagonal matrix that `doit` writes out once its vector has entries."""

    def doit(self, **hints: Any) -> sp.Basic:
        """Return the matrix with its entries, where the vector has some."""
        vector = self.args[0].doit(**hints)
        entries = vector.as_explicit() if all(sp.sympify(n).is_Integer for n in vector.shape) else vector
        return sp.ImmutableMatrix(sp.diag(*entries)) if isinstance(entries, sp.MatrixBase) else Diagonal(vector)


class Joined(sp.BlockMatrix):
    """Matrices beside or under each other, which `doit` makes one matrix once they have entries."""

    def doit(self, **hints: Any) -> sp.Basic:
        """Return the matrix of the evaluated blocks."""
        rows, columns = self.blocks.shape
        blocks = [[_evaluated(self.blocks[i, j], hints) for j in range(columns)] for i in range(rows)]
        is_explicit = all(isinstance(block, sp.MatrixBase) for row in blocks for block in row)
        return Joined(blocks).as_explicit() if is_explicit else Joined(blocks)


def _evaluated(block: Any, hints: Mapping[str, Any]) -> Any:
    """Return a block, of zeros too, with its entries once it has some."""
    found = block.doit(**hints)
    is_zero = isinstance(found, sp.ZeroMatrix) and all(size.is_Integer for size in found.shape)
    return found.as_explicit() if is_zero else found


@dataclass(frozen=True)
class _Form:
    graph: Graph
    names: Mapping[int, str]

    def value(self, id: int) -> sp.Basic:
        """Return a value inside a formula: a symbol where it has a name."""
        if id not in self.names:
            return self.formula(id)
        shape, name = self.graph.shape(id), self.names[id]
        if not shape:
            return sp.Symbol(name, real=True)
        return sp.MatrixSymbol(name, *self.rows_and_columns(id))

    def rows_and_columns(self, id: int) -> tuple[sp.Expr, sp.Expr]:
        shape = self.graph.shape(id)
        if len(shape) > 2:
            self.refuse(self.graph[id], f"an array of shape {show(shape)}")
        rows, columns = (*shape, 1, 1)[:2]
        return sp.sympify(rows), sp.sympify(columns)

    def formula(self, id: int) -> sp.Basic:
        """Return the formula of a value, whether it has a name or not."""
        node = self.graph[id]
        if node.family == "leaf" and node.attrs.role == "eye":
            return sp.Identity(self.rows_and_columns(id)[0])
        if node.family == "leaf":
            return sp.sympify(parse_dims(node.attrs.name)[0]) if node.attrs.role == "size" else self.value(id)
        self.rows_and_columns(id)
        return FAMILIES.get(node.family, _refused(f"the operation {node.family}"))(self, node)

    def refuse(self, node: Node, what: str) -> None:
        # An argument is made by no line: it is the first line that reads it.
        place = node.place or next((found for id in self.graph.readers(node.id) if (found := self.graph[id].place)), "")
        where = f"\n  at {place}" if place else ""
        name = self.names.get(node.id)
        raise ArgumentError(
            f"{what} has no form among SymPy's matrices"
            + (f" (the value {name})" if name else "")
            + where
            + "\n  sb.derive(cell).text() and .latex() show it"
        )


def _number(f: _Form, node: Node) -> sp.Basic:
    if not node.shape:
        return as_sympy(node.attrs.value)
    if not all(isinstance(size, int) for size in node.shape):
        f.refuse(node, "a constant array of named sizes")
    rows, columns = f.rows_and_columns(node.id)
    return sp.ImmutableMatrix(int(rows), int(columns), [as_sympy(v) for v in node.attrs.value])


# Elementwise functions.


def _map(f: _Form, node: Node) -> sp.Basic:
    args: dict[int, int] = {}
    expr = _expression(f, node, args, top=True)
    found = _Elementwise(f, node, tuple(args))
    return found.matrix(expr) if node.shape else found.scalar(expr)


def _expression(f: _Form, node: Node, args: dict[int, int], top: bool = False) -> sp.Expr:
    """Return a body with the bodies of values without a name written out in it; `args` are the values that it reads."""
    if node.family == "number" and not node.shape:
        return as_sympy(node.attrs.value)
    if node.family != "map" or (node.id in f.names and not top):
        return placeholder(args.setdefault(node.id, len(args)))
    parts = [_expression(f, f.graph[arg], args) for arg in node.args]
    return expanded(node.attrs.expr).xreplace({placeholder(i): part for i, part in enumerate(parts)})


@dataclass(frozen=True)
class _Elementwise:
    """A writer of a scalar body over arrays with SymPy's elementwise operations."""

    form: _Form
    node: Node
    args: tuple[int, ...]

    def arrays(self, expr: sp.Expr) -> list[int]:
        read = sorted(int(s.name[1:]) for s in expr.free_symbols if isinstance(s, sp.Symbol))
        return [i for i in read if self.form.graph.shape(self.args[i])]

    def scalar(self, expr: sp.Expr) -> sp.Expr:
        """Return an expression with values in the place of its arguments, and with SymPy's own functions."""
        read = sorted(expr.free_symbols & set(map(placeholder, range(len(self.args)))), key=str)
        return _plain(self.form, self.node, expr).xreplace(
            {s: self.form.value(self.args[int(s.name[1:])]) for s in read}
        )

    def matrix(self, expr: sp.Expr) -> sp.Basic:
        """Return an expression as an array of the shape of the value."""
        read = self.arrays(expr)
        if not read:
            return self.scalar(expr) * Ones(*self.form.rows_and_columns(self.node.id))
        if expr.is_Symbol:
            return self.fitted(read[0])
        if expr.is_Add:
            return sp.MatAdd(*map(self.matrix, expr.args))
        if expr.is_Mul:
            numbers = [x for x in expr.args if not self.arrays(x)]
            rest = [self.matrix(x) for x in expr.args if self.arrays(x)]
            whole = sp.HadamardProduct(*rest) if len(rest) > 1 else rest[0]
            return sp.MatMul(sp.Mul(*map(self.scalar, numbers)), whole) if numbers else whole
        inner = list(dict.fromkeys(x for x in expr.args if self.arrays(x)))
        if len(inner) == 1 and not (expr.is_Pow and inner[0] is not expr.base):
            return self._applied(expr, inner[0])
        if len(read) == 1:
            return self._applied(expr, placeholder(read[0]))
        name = NAME_OF.get(expr.func) or getattr(expr.func, "__name__", str(expr.func))
        self.form.refuse(self.node, f"{name} of several arrays, elementwise,")
        raise AssertionError

    def _applied(self, expr: sp.Expr, to: sp.Expr) -> sp.Basic:
        """Return a function of one array."""
        # A Dummy differs from every symbol of the user's, also from one called x.
        x = sp.Dummy("x", real=True)
        body = self.scalar(expr.xreplace({to: x}))
        return self.matrix(to).applyfunc(sp.Lambda(x, body))

    def fitted(self, i: int) -> sp.Basic:
        """Return an array repeated to the shape of the value, as NumPy broadcasts."""
        arg = self.args[i]
        return repeated(self.form.value(arg), self.form.graph.shape(arg), self.node.shape)


def repeated(x: sp.Basic, shape: Shape, to: Shape) -> sp.Basic:
    """Return a matrix expression of an array of a shape, repeated to another one."""
    rows, columns = map(sp.sympify, (*to, 1, 1)[:2])
    if len(to) == 2 and len(shape) == 1:
        # NumPy lays a vector beside a matrix as a row; as a column of SymPy it must be turned first.
        x, shape = x.T, (1, shape[0])
    if not shape:
        return x * Ones(rows, columns)
    own = (*shape, 1, 1)[:2]
    if own[0] == 1 and rows != 1:
        x = Ones(rows, 1) * x
    if own[1] == 1 and columns != 1:
        x = x * Ones(1, columns)
    return x


def _if(condition: sp.Basic, then: sp.Expr = sp.S.One, other: sp.Expr = sp.S.Zero) -> sp.Expr:
    return sp.Piecewise((then, condition), (other, True))


PLAIN: dict[str, Callable[..., sp.Expr]] = {
    "sigmoid": lambda x: 1 / (1 + sp.exp(-x)),
    "softplus": lambda x: sp.log(1 + sp.exp(x)),
    "relu": lambda x: sp.Max(x, 0),
    "abs": sp.Abs,
    "sign": sp.sign,
    "maximum": sp.Max,
    "minimum": sp.Min,
    "expm1": lambda x: sp.exp(x) - 1,
    "log1p": lambda x: sp.log(1 + x),
    "floor": sp.floor,
    "hypot": lambda a, b: sp.sqrt(a**2 + b**2),
    "arctan2": sp.atan2,
    "stop_gradient": lambda x: x,
    "greater": lambda a, b: _if(sp.Gt(a, b)),
    "greater_equal": lambda a, b: _if(sp.Ge(a, b)),
    "less": lambda a, b: _if(sp.Lt(a, b)),
    "less_equal": lambda a, b: _if(sp.Le(a, b)),
    "equal": lambda a, b: _if(sp.Eq(a, b)),
    "not_equal": lambda a, b: _if(sp.Ne(a, b)),
    # Conditions are numbers in our bodies, 0 or 1; SymPy's Piecewise needs relations.
    "where": lambda c, a, b: _if(sp.Ne(c, 0), a, b),
    "logical_and": lambda a, b: _if(sp.And(sp.Ne(a, 0), sp.Ne(b, 0))),
    "logical_or": lambda a, b: _if(sp.Or(sp.Ne(a, 0), sp.Ne(b, 0))),
    "logical_not": lambda a: _if(sp.Eq(a, 0)),
}
"""Functions of our table that SymPy has under another name or in a formula of its own."""
SHOWN = {function: name for name, function in ops.SHOWN.items()}
"""Functions that a page shows by their names: here they are written out in their bodies, as the code has them."""


def _plain(f: _Form, node: Node, expr: sp.Expr) -> sp.Expr:
    """Return a body with SymPy's own functions in the place of ours."""
    args = [_plain(f, node, part) for part in expr.args]
    name = NAME_OF.get(expr.func, "") if expr.func in ops.PRIMITIVES or expr.func in (sp.sign, sp.Abs) else ""
    if expr.func in SHOWN:
        return _plain(f, node, sp.sympify(ops.BY_NAME[SHOWN[expr.func]].body(*args)))
    if name in PLAIN:
        return PLAIN[name](*args)
    if expr.is_Function and not expr.func.__module__.startswith("sympy"):
        f.refuse(node, f"the function {name or expr.func.__name__}")
    return expr.func(*args) if args else expr


# Products, sums, views.


def _contract(f: _Form, node: Node) -> sp.Basic:
    p, (a, b) = node.attrs, node.args
    x, y = f.value(a), f.value(b)
    if not p.a or not p.b:
        return sp.Mul(x, y) if not (p.a or p.b) else sp.MatMul(*((x, y) if not p.a else (y, x)))
    for first, second, left, right in ((x, y, p.a, p.b), (y, x, p.b, p.a)):
        for turned_left, turned_right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            rows, inner = _pair(left, bool(turned_left))
            other, columns = _pair(right, bool(turned_right))
            out = tuple(i for i in (rows, columns) if i is not None)
            if inner == other and out == p.out and not (inner is None and p.out == ()):
                product = sp.MatMul(first.T if turned_left else first, second.T if turned_right else second)
                if not p.out:
                    return _one(product)
                # The label of a vector as a left operand is its inner one: vᵀ A is a row here, and a vector on the page is a column.
                return product.T if rows is None else product
    f.refuse(node, "a product over other axes than those of matrices")
    raise AssertionError


def _pair(labels: tuple[int, ...], turned: bool) -> tuple[int | None, int | None]:
    """Return the labels of rows and columns of an operand."""
    pair = (labels[0], labels[1] if len(labels) == 2 else None)
    return (pair[1], pair[0]) if turned else pair


def _reduce(f: _Form, node: Node) -> sp.Basic:
    x = f.value(node.args[0])
    shape, axes = f.graph.shape(node.args[0]), node.attrs.axes
    if node.attrs.kind != "sum":
        f.refuse(node, f"the {node.attrs.kind} of an array")
    rows, columns = map(sp.sympify, (*shape, 1, 1)[:2])
    # 1ᵀ X 1 is the sum of all entries.
    if len(axes) == len(shape):
        return _one(sp.MatMul(Ones(1, rows), x, Ones(columns, 1)))
    return sp.MatMul(x, Ones(columns, 1)) if axes == (1,) else sp.MatMul(x.T, Ones(rows, 1))


def _view(f: _Form, node: Node) -> sp.Basic:
    kind, data = node.attrs.kind, node.attrs.data
    parts = [f.value(arg) for arg in node.args]
    shape = f.graph.shape(node.args[0])
    match kind:
        case "transpose":
            return parts[0].T
        case "expand":
            return repeated(parts[0], shape, node.shape)
        case "slice" if all(step == 1 for _, _, step in data):
            spans = [(sp.sympify(start), sp.sympify(start + length)) for start, length, _ in data]
            return Part(parts[0], *(tuple(s) for s in (*spans, (0, 1), (0, 1))[:2]))
        case "concatenate" if len(node.shape) < 3:
            return Joined([[part] for part in parts] if data[0] == 0 else [parts])
        case "reshape":
            return _reshape(f, node, parts[0], shape)
        case "roll":
            g = f.graph.copy()
            g.locate = lambda: node.place
            return _Form(g, f.names).value(build.turned(g, node.args[0], *data))
    f.refuse(node, {"slice": "a slice in steps"}.get(kind, f"the view {kind}"))
    raise AssertionError


def _reshape(f: _Form, node: Node, x: sp.Basic, shape: Shape) -> sp.Basic:
    """Return a reshape that adds or drops axes of size 1; others have no form."""
    if [s for s in shape if s != 1] != [s for s in node.shape if s != 1]:
        f.refuse(node, f"the shape {show(node.shape)} of what had {show(shape)}")
    old, new = (*shape, 1, 1)[:2], (*node.shape, 1, 1)[:2]
    if not shape:
        return x * Ones(*map(sp.sympify, new)) if node.shape else x
    if not node.shape:
        return _one(x)
    # With one axis that is not of size 1, a reshape is either nothing or a transpose.
    return x if old == new else x.T


def _gather(f: _Form, node: Node) -> sp.Basic:
    if node.attrs.kind == "scatter":  # a gradient inside the step has it
        f.refuse(node, "zeros with a value at an index")
    if f.graph.shape(node.args[1]):
        f.refuse(node, "rows of a table at several indices")
    table, index = (f.value(arg) for arg in node.args)
    rows, columns = f.rows_and_columns(node.args[0])
    axis, shape = node.attrs.axis, f.graph.shape(node.args[0])
    if len(shape) == 1:
        return table[index, 0]
    return Part(table, (index, index + 1), (0, columns)).T if axis == 0 else Part(table, (0, rows), (index, index + 1))


def _whole(f: _Form, node: Node) -> sp.Basic:
    """Return a function of a vector that a page shows by its name."""
    name, x = node.attrs.name, f.value(node.args[0])
    if len(f.graph.shape(node.args[0])) == 1 and name in ("softmax", "mean"):
        size = sp.sympify(f.graph.shape(node.args[0])[0])
        if name == "mean":
            return _one(sp.MatMul(Ones(1, size), x)) / size
        v = sp.Dummy("x", real=True)
        e = x.applyfunc(sp.Lambda(v, sp.exp(v)))
        return sp.MatMul(1 / _one(sp.MatMul(Ones(1, size), e)), e)
    g = f.graph.copy()
    g.locate = lambda: node.place
    return _Form(g, f.names).formula(spelled(g, node))


def _algebra(f: _Form, node: Node) -> sp.Basic:
    """Return a function of a matrix that SymPy has among its own."""
    name, x = node.attrs.name, f.value(node.args[0])
    if not isinstance(x, sp.MatrixExpr):
        x = sp.Matrix([[x]])
    match name:
        case "solve":
            back = sp.Inverse(x)
            return back if is_eye(f.graph, node.args[1]) else sp.MatMul(back, f.value(node.args[1]))
        case "det":
            return sp.Determinant(x)
        case "logdet":
            return sp.log(sp.Abs(sp.Determinant(x)))
        case "detsign":
            return sp.sign(sp.Determinant(x))
        case "diag":
            return Diagonal(x)
    f.refuse(node, RECORDS[name].words)
    raise AssertionError


def _one(x: sp.Basic) -> sp.Expr:
    """Return the number that a matrix of one row and one column is: its entry, which is a number as soon as the
    matrix has numbers. (SymPy leaves the trace of ones times numbers as it stands.)"""
    return MatrixElement(x, 0, 0)


def _refused(what: str) -> Callable[[_Form, Node], sp.Basic]:
    def refuse(f: _Form, node: Node) -> sp.Basic:
        f.refuse(node, what)
        raise AssertionError

    return refuse


FAMILIES: dict[str, Callable[[_Form, Node], sp.Basic]] = {
    "number": _number,
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _refused("a running sum"),
    "algebra": _algebra,
    "convolution": _refused("a convolution"),
    "whole": _whole,
}


def names_of(labels: Mapping[int, Label], leaves: Mapping[str, int], written: Mapping[str, str]) -> dict[int, str]:
    """Return the names of the symbols: those of the page in ASCII, a state before the step with `_prev`."""
    before = {name: unique(f"{written[name]}_prev", written.values()) for name in leaves}
    return {
        id: before[x.name] if x.time == -1 and leaves.get(x.name) == id else written[x.name] for id, x in labels.items()
    }
