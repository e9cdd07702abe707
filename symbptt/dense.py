"""Functions of whole matrices on arrays of any elements: floats, complex numbers with a tangent in the imaginary part, objects.

NumPy's own are asked where the elements are NumPy's, and by what stands in for it where a class of arrays does. Of objects
alone arithmetic is asked, so that a solve over fractions or over a finite field is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from symbptt import special

Pivot = Callable[[Any], int]


def of_matrices(name: str, *arrays: Any) -> Any:
    """Return a function of matrices by its name in `ir/algebra.py`.

    Shapes: (..., n, n) and what the function makes of it; stacked axes are broadcast.
    """
    if type(arrays[0]) is np.ndarray and arrays[0].dtype == object:
        return of_objects(name, *arrays)
    return FUNCTIONS[name](*arrays)


def solved(a: Any, b: Any) -> Any:
    """Return the solution of a x = b; b is a vector where it has one axis."""
    return np.linalg.solve(a, b[..., None])[..., 0] if np.ndim(b) == 1 else np.linalg.solve(a, b)


def first_nonzero(column: Any) -> int:
    """Return the place of the first element that is not zero.

    Raises: ZeroDivisionError where all are zero: the matrix is singular.
    """
    for i, x in enumerate(column):
        if x != 0:
            return i
    raise ZeroDivisionError("a singular matrix")


def eliminated(a: Any, b: Any, pivot: Pivot = first_nonzero) -> tuple[Any, Any]:
    """Return the solution of a x = b and the determinant of a, by Gaussian elimination on elements of any field; `pivot` chooses
    the row of the next pivot from a column.

    Shapes: a (n, n), b (n, k), the solution (n, k).
    Source: Golub and Van Loan 2013, "Matrix Computations", algorithm 3.4.1.
    """
    a, b = np.array(a, dtype=object), np.array(b, dtype=object)
    n, is_even = len(a), True
    det: Any = None
    for i in range(n):
        p = i + pivot(a[i:, i])
        if p != i:
            a[[i, p]], b[[i, p]], is_even = a[[p, i]], b[[p, i]], not is_even
        det = a[i, i] if det is None else det * a[i, i]
        for j in range(i + 1, n):
            factor = a[j, i] / a[i, i]
            a[j, i + 1 :] = a[j, i + 1 :] - factor * a[i, i + 1 :]
            b[j] = b[j] - factor * b[i]
    for i in reversed(range(n)):
        for j in range(i + 1, n):
            b[i] = b[i] - a[i, j] * b[j]
        b[i] = b[i] / a[i, i]
    return b, det if is_even else -det


def factored(a: Any, root: Callable[[Any], Any] = np.sqrt) -> Any:
    """Return the Cholesky factor of stacked matrices, whose lower triangle is read, column by column, by arithmetic and roots alone.

    Source: Golub and Van Loan 2013, "Matrix Computations", algorithm 4.2.1.
    """
    n, found = a.shape[-1], lower(a - a)
    for j in range(n):
        below = a[..., j:, j]
        for k in range(j):
            below = below - found[..., j:, k] * found[..., j : j + 1, k]
        top = root(below[..., :1])
        found[..., j, j], found[..., j + 1 :, j] = top[..., 0], below[..., 1:] / top
    return found


def lower(a: Any) -> Any:
    """Return the lower triangle of stacked matrices."""
    n = a.shape[-1]
    return np.tril(a) if a.dtype != object else np.where(np.tri(n, dtype=bool), a, a - a)


def halved(a: Any) -> Any:
    """Return the lower triangle of stacked matrices with half its diagonal."""
    return lower(a) - spread(diagonal(a) / 2)


def spread(a: Any) -> Any:
    """Return stacked diagonal matrices of stacked vectors."""
    zero = a[..., None] - a[..., None] if a.dtype == object else 0  # infinities less themselves are no zero
    return np.where(np.eye(a.shape[-1], dtype=bool), a[..., None], zero)


def diagonal(a: Any) -> Any:
    """Return the diagonals of stacked matrices."""
    i = np.arange(a.shape[-1])
    return a[..., i, i]


class SignAndLog(NamedTuple):
    """The sign of determinants, and the logarithms of their sizes, by NumPy's names."""

    sign: Any
    logabsdet: Any


def slogdet(a: Any) -> SignAndLog:
    """Return the sign and the logarithm of the size of determinants; of complex numbers with the tangent of a real one."""
    if type(a) is not np.ndarray or a.dtype.kind != "c":
        return SignAndLog(*np.linalg.slogdet(a))
    # Of complex numbers NumPy's logarithm is that of |det|, which has no tangent.
    sign, size = np.linalg.slogdet(a.real)
    change = diagonal(np.linalg.solve(a.real, a.imag)).sum(-1)
    return SignAndLog(sign, size + 1j * change)


def cholesky(a: Any) -> Any:
    """Return the Cholesky factors of matrices; of complex numbers those of real ones, with their tangent."""
    # Of complex numbers NumPy's factor is that of a Hermitian matrix, which is not analytic.
    return factored(a) if type(a) is np.ndarray and a.dtype.kind == "c" else np.linalg.cholesky(a)


def expm(a: Any) -> Any:
    """Return the exponentials of matrices; a class of arrays with another arithmetic has its own."""
    own = getattr(a, "expm", None)
    return special.expm(a) if own is None else own()


def _or_nan(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of matrices that is NaN where it has no value, as functions of numbers are."""

    def of(*arrays: Any) -> Any:
        try:
            return call(*arrays)
        except np.linalg.LinAlgError:
            lead = np.broadcast_shapes(*(x.shape[:-2] for x in arrays))
            arrays = tuple(np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in arrays)
            found = np.full(arrays[-1].shape, np.nan, np.result_type(*arrays))
            for place in np.ndindex(*lead):
                with suppress(np.linalg.LinAlgError):
                    found[place] = call(*(x[place] for x in arrays))
            return found

    return of


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "solve": _or_nan(np.linalg.solve),
    "cholesky": _or_nan(cholesky),
    "expm": expm,
    "det": np.linalg.det,
    "logdet": lambda a: slogdet(a)[1],
    "detsign": lambda a: slogdet(a)[0],
    "tril": lower,
    "halved": halved,
    "diag": spread,
    "diagonal": diagonal,
}


def of_objects(name: str, *arrays: Any, pivot: Pivot = first_nonzero) -> Any:
    """Return a function of matrices whose elements are objects with arithmetic.

    Raises: TypeError for an exponential, or a logarithm, which arithmetic has not.
    """
    if name in ("tril", "halved", "diag", "diagonal"):
        return FUNCTIONS[name](*arrays)
    if name not in ("solve", "det"):
        raise TypeError(f"{name} has no version in arithmetic alone")
    a, b = arrays if name == "solve" else (arrays[0], arrays[0])
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
    found = np.empty(b.shape if name == "solve" else lead, object)
    for place in np.ndindex(*lead):
        solution, det = eliminated(a[place], b[place], pivot)
        found[place] = solution if name == "solve" else det
    return found
