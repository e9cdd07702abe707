"""Functions of whole matrices, the last two axes: solves, inverses, determinants, factors, exponentials, diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt import dense
from symbptt.errors import ShapeError
from symbptt.ir import algebra as of_matrices
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.language.array import Array, as_array, built, graph_of, read_only, symbolic
from symbptt.language.products import matmul
from symbptt.language.reductions import sum as sum_of
from symbptt.language.user_frames import cell_error
from symbptt.language.views import swapaxes


def _function(name: str, *args: Array) -> Array:
    """Return a function of matrices, with the user's place in errors."""
    return built(args[0].graph, of_matrices.algebra, name, *(x.id for x in args))


def _matrix(x: Any) -> Array:
    """Return a symbolic value of at least two axes, the last two of one size."""
    x = symbolic(x)
    shape = x.graph.shape(x.id)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise cell_error(
            f"a square matrix is expected, got {x!r}",
            "check the order of the dimensions in the annotations",
            ShapeError,
        )
    return x


def solve(a: Any, b: Any) -> Any:
    """Return x with a x = b, for each of the stacked matrices of a; b is a vector, a matrix, or a stack of matrices.

    Shapes: a (..., n, n), b (n,) or (..., n, k), the result as b.
    Raises: numpy.linalg.LinAlgError in a call on NumPy arrays where a matrix is singular; in a kernel an error that names the step.
    Source: Golub and Van Loan 2013, "Matrix Computations", section 3.4 (LAPACK's gesv).

    >>> solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 2.0])
    array([1. , 0.5])
    """
    graph = graph_of(a, b)
    if graph is None:
        return np.linalg.solve(a, b)
    a, b = _matrix(as_array(graph, a)), as_array(graph, b)
    # A vector is a matrix of one column on the way, as LAPACK has it, and gets its shape back below.
    is_vector = b.ndim == 1
    shape, right = graph.shape(a.id), graph.shape(b.id)
    if is_vector:
        b = built(graph, build.reshape, b.id, (*right, 1))
        right = (*right, 1)
    if b.ndim < 2 or right[-2] != shape[-1]:
        raise cell_error(
            f"np.linalg.solve of {a!r} takes a right side of {shape[-1]} rows, got {b!r}",
            "give the right side as many rows as the matrix has",
            ShapeError,
        )
    # NumPy broadcasts the stacked axes of both sides.
    lead = _lead(a, b)
    a = built(graph, build.expand, a.id, (*lead, *shape[-2:]))
    b = built(graph, build.expand, b.id, (*lead, *right[-2:]))
    found = _function("solve", a, b)
    return built(graph, build.reshape, found.id, graph.shape(found.id)[:-1]) if is_vector else found


def _lead(a: Array, b: Array) -> Any:
    """Return the stacked axes of two arrays of matrices, broadcast."""
    from_a, from_b = (x.graph.shape(x.id)[:-2] for x in (a, b))
    try:
        return shapes.broadcast(from_a, from_b)
    except ShapeError as error:
        raise cell_error(str(error), "give both sides the same stacked axes", ShapeError) from None


def inv(a: Any) -> Any:
    """Return the inverse of each of the stacked matrices; a solve with one right side takes a third of the work.

    Shapes: a (..., n, n), the result the same.
    """
    if graph_of(a) is None:
        return np.linalg.inv(a)
    a = _matrix(a)
    return built(a.graph, of_matrices.inverse, a.id)


def det(a: Any) -> Any:
    """Return the determinant of each of the stacked matrices; its gradient needs matrices that are not singular.

    Shapes: a (..., n, n), the result (...).
    """
    return np.linalg.det(a) if graph_of(a) is None else _function("det", _matrix(a))


def slogdet(a: Any) -> Any:
    """Return the sign of the determinant of each of the stacked matrices, and the logarithm of its size.

    Shapes: a (..., n, n), both results (...). The sign is flat; the gradient of the logarithm is A⁻ᵀ.
    """
    if graph_of(a) is not None:
        a = _matrix(a)
        return dense.SignAndLog(_function("detsign", a), _function("logdet", a))
    return dense.slogdet(np.asarray(a)) if np.iscomplexobj(a) else np.linalg.slogdet(a)


def cholesky(a: Any, *, upper: bool = False) -> Any:
    """Return L with A = L Lᵀ, lower triangular with a positive diagonal, of each of the stacked matrices.

    As NumPy's it reads the lower triangle of A alone, and so its gradient stands there. `upper` returns Lᵀ of the upper triangle.
    Shapes: a (..., n, n), the result the same.
    """
    if upper:
        # The upper factor is the lower one of the transposed matrix, transposed: no rule of its own.
        return swapaxes(cholesky(swapaxes(a, -1, -2)), -1, -2)
    if graph_of(a) is not None:
        return _function("cholesky", _matrix(a))
    return dense.cholesky(np.asarray(a)) if np.iscomplexobj(a) else np.linalg.cholesky(a)


def expm(a: Any) -> Any:
    """Return the exponential of each of the stacked matrices.

    Shapes: a (..., n, n), the result the same.
    Source: Higham 2005, "The scaling and squaring method for the matrix exponential revisited", algorithm 2.3.

    >>> expm([[0.0, 0.0], [0.0, 0.0]])
    array([[1., 0.],
           [0., 1.]])
    """
    return dense.expm(a) if graph_of(a) is None else _function("expm", _matrix(a))


def solve_triangular(a: Any, b: Any, *, lower: bool = True, trans: int = 0) -> Any:
    """Return x with L x = b, where L is the lower triangle of a; with lower=False its upper one; with trans=1 the transpose of it.

    Shapes: a (n, n), b (n,) or (n, k), the result as b.
    """
    if trans not in (0, 1):
        raise cell_error(f"solve_triangular takes trans=0 or trans=1, got {trans!r}", "write trans=1 for the transpose")
    if graph_of(a, b) is None:
        part = (np.tril if lower else np.triu)(a)
        return dense.solved(np.swapaxes(part, -1, -2) if trans else part, b)
    graph = graph_of(a, b)
    assert graph is not None
    a = _matrix(as_array(graph, a))
    part = _triangle(a) if lower else swapaxes(_triangle(swapaxes(a, -1, -2)), -1, -2)
    return solve(swapaxes(part, -1, -2) if trans else part, b)


def _triangle(a: Array) -> Array:
    """Return the lower triangle of a matrix; a Cholesky factor is one already."""
    node = a.graph[a.id]
    is_lower = node.family == "algebra" and node.attrs.name in ("cholesky", "tril")
    return a if is_lower else _function("tril", a)


def trace(a: Any) -> Any:
    """Return the sum of the diagonal of a matrix, as np.trace: of its first two axes."""
    return np.trace(a) if graph_of(a) is None else sum_of(diagonal(a), axis=-1)


def diagonal(a: Any) -> Any:
    """Return the diagonal of a matrix, as np.diagonal: of its first two axes."""
    if graph_of(a) is None:
        return np.diagonal(a)
    a = symbolic(a)
    if a.ndim != 2:
        raise cell_error(
            f"np.diagonal takes a matrix in a cell, got {a!r}",
            'write np.einsum("...ii->...i", x) of stacked matrices as a product with an identity',
            ShapeError,
        )
    rows, columns = a.graph.shape(a.id)
    if isinstance(rows, int) and isinstance(columns, int):
        a = a[: min(rows, columns), : min(rows, columns)]
    graph = _matrix(a).graph
    return read_only("a diagonal", a, lambda id: _function("diagonal", Array(graph, id)).id)


def diag(a: Any) -> Any:
    """Return the diagonal matrix of a vector, or the diagonal of a matrix."""
    if graph_of(a) is None:
        return np.diag(a)
    a = symbolic(a)
    if a.ndim == 1:
        return _function("diag", a)
    return diagonal(a)


def matrix_power(a: Any, n: int) -> Any:
    """Return a matrix to the power of an integer that is known while the cell is traced, by repeated squaring.

    Shapes: a (..., n, n), the result the same.
    """
    if graph_of(a) is None:
        return np.linalg.matrix_power(a, n)
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise cell_error(
            f"np.linalg.matrix_power takes an integer, got {n!r}", "write a number: the products are written out"
        )
    a, count = _matrix(a), int(n)
    if count < 0:
        a, count = inv(a), -count
    found = None
    while count:
        if count % 2:
            found = a if found is None else matmul(found, a)
        count //= 2
        a = matmul(a, a) if count else a
    return found if found is not None else _identity(symbolic(a))


def _identity(a: Array) -> Array:
    shape = a.graph.shape(a.id)
    one = Array(a.graph, of_matrices.eye(a.graph, shape[-1]))
    return built(a.graph, build.expand, one.id, shape)
