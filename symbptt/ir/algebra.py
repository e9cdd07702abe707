"""The functions of whole matrices: the shape of each, and builders of what is composed of them.

Each is a function of the last two axes; axes before these are stacked matrices. What has a form in others is no function of
its own: an inverse is solve(A, I), a trace the sum of a diagonal, a triangular solve the solve of a lower triangle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import Algebra, Node, Product, placeholder
from symbptt.ir.shape import Shape


@dataclass(frozen=True)
class Record:
    """A function of matrices: what it is in words, its shape from those of its arguments, how many times n³ multiply-adds it
    takes, whether it is linear in its last argument, and whether a singular matrix is refused."""

    words: str
    shape: Callable[..., Shape]
    cube: float = 0.0
    is_linear: bool = False
    is_refused: bool = False


def _square(a: Shape) -> Shape:
    if len(a) < 2 or a[-1] != a[-2]:
        raise ShapeError(f"a square matrix is expected, got an array of shape {shapes.show(a)}")
    return a


def _solved(a: Shape, b: Shape) -> Shape:
    if len(b) < 2 or _square(a)[:-1] != b[:-1]:
        raise ShapeError(f"a solve of {shapes.show(a)} with {shapes.show(b)} does not conform: the rows must agree")
    return b


RECORDS: dict[str, Record] = {
    "solve": Record("the solution of linear equations", _solved, 1 / 3, True, True),
    "cholesky": Record("a Cholesky factor", _square, 1 / 6, False, True),
    "expm": Record("the exponential of a matrix", _square, 8.0),
    "det": Record("a determinant", lambda a: _square(a)[:-2], 1 / 3),
    "logdet": Record("the logarithm of the size of a determinant", lambda a: _square(a)[:-2], 1 / 3),
    "detsign": Record("the sign of a determinant", lambda a: _square(a)[:-2], 1 / 3),
    "tril": Record("the lower triangle of a matrix", _square, 0.0, True),
    "halved": Record("the lower triangle of a matrix with half its diagonal", _square, 0.0, True),
    "diag": Record("a diagonal matrix", lambda a: (*a, a[-1]), 0.0, True),
    "diagonal": Record("the diagonal of a matrix", lambda a: _square(a)[:-1], 0.0, True),
}
"""The functions by their names.

Source of the counts: Golub and Van Loan 2013, "Matrix Computations", sections 3.2 and 4.2; Higham 2005, "The scaling and
squaring method for the matrix exponential revisited", table 2.3.
"""


def is_linear(node: Node, carried: Sequence[int]) -> bool:
    """Answer whether a function of matrices is linear in those of its arguments, by their places, that something enters."""
    return RECORDS[node.attrs.name].is_linear and list(carried) == [len(node.args) - 1]


def algebra(g: Graph, name: str, *args: int) -> int:
    """Return a function of matrices.

    Raises: ShapeError where a matrix is not square, or does not fit the other one.
    """
    shape = RECORDS[name].shape(*map(g.shape, args))
    return g.add("algebra", args, shape, Algebra(name))


def eye(g: Graph, size: shapes.Size) -> int:
    """Return the identity of a size."""
    return build.leaf(g, "eye", shapes.size_text(size), (size, size))


def is_eye(g: Graph, id: int) -> bool:
    """Answer whether a value is an identity, or several stacked."""
    node = g[id]
    if node.family == "view" and node.attrs.kind == "expand":
        node = g[node.args[0]]
    return node.family == "leaf" and bool(node.attrs.role == "eye")


def is_unit_matrix(g: Graph, id: int) -> bool:
    """Answer whether a value is an identity, also one of numbers, as of a size that is one."""
    node = g[id]
    if node.family != "number" or len(node.shape) != 2 or node.shape[0] != node.shape[1]:
        return node.family == "leaf" and bool(node.attrs.role == "eye")
    (n, _), values = node.shape, node.attrs.value
    return isinstance(n, int) and all(value == (i % (n + 1) == 0) for i, value in enumerate(values))


def inverse(g: Graph, a: int) -> int:
    """Return the inverse of each of the stacked matrices."""
    *lead, n, _ = g.shape(a)
    return algebra(g, "solve", a, build.expand(g, eye(g, n), (*lead, n, n)))


def turned(g: Graph, x: int) -> int:
    """Return the transpose of each of the stacked matrices."""
    rank = len(g.shape(x))
    return build.transpose(g, x, (*range(rank - 2), rank - 1, rank - 2))


def product(g: Graph, a: int, b: int) -> int:
    """Return the products of stacked matrices, which have the same leading axes."""
    lead = tuple(range(len(g.shape(a)) - 2))
    i, j, k = (len(lead) + m for m in range(3))
    return build.contract(g, a, b, Product((*lead, i, k), (*lead, k, j), (*lead, i, j)))


def corner(g: Graph, a: int, e: int) -> int:
    """Return the upper right block of exp([[A, E], [0, A]]): the derivative of exp at A in the direction E.

    Source: Van Loan 1978, "Computing integrals involving the matrix exponential", theorem 1.
    """
    rank, n = len(g.shape(a)), g.shape(a)[-1]
    zero = build.expand(g, build.number(g, 0), g.shape(a))
    rows = [build.concatenate(g, parts, rank - 1) for parts in ((a, e), (zero, a))]
    whole = algebra(g, "expm", build.concatenate(g, rows, rank - 2))
    spans = [(0, item, 1) for item in g.shape(a)[:-2]]
    return build.cut(g, whole, [*spans, (0, n, 1), (n, n, 1)])


def scaled(g: Graph, number: int, matrix: int) -> int:
    """Return stacked matrices, each times its own number."""
    beside = build.reshape(g, number, (*g.shape(number), 1, 1))
    return build.map_(g, placeholder(0) * placeholder(1), (beside, matrix))


def added(g: Graph, parts: Sequence[int]) -> int:
    """Return the sum of two values, or the one that there is."""
    return parts[0] if len(parts) == 1 else build.map_(g, placeholder(0) + placeholder(1), parts)
