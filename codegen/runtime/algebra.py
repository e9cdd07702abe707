"""Functions of whole matrices, the last two axes, with LAPACK through NumPy; a singular matrix is told by its step and its sample."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import Array
from symbptt.codegen.runtime.errors import ArgumentError, _StepError

OTHERS: str = "give other parameters or inputs, or add a small multiple of the identity to it"
"""What to do where a matrix has no value."""


def _solved(a: Array, b: Array, name: str, first: int) -> Array:
    """Return the solution of a x = b for each sample; where all share the matrix, it is factorised once."""
    try:
        if a.ndim > 2 or b.ndim == 2:
            return np.linalg.solve(a, b)
        columns = np.moveaxis(b, -2, 0)
        found = np.linalg.solve(a, columns.reshape(len(columns), columns[:1].size)).reshape(columns.shape)
        return np.ascontiguousarray(np.moveaxis(found, 0, -2))
    except np.linalg.LinAlgError:
        raise _no_value(np.linalg.inv, a, f"{name} is singular", first) from None


def _factored(a: Array, name: str, first: int) -> Array:
    """Return the Cholesky factor of each sample's matrix."""
    try:
        return np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        raise _no_value(np.linalg.cholesky, a, f"{name} is not positive definite", first) from None


def _no_value(function: Any, a: Array, fault: str, first: int) -> ArgumentError:
    """Return the error that names the first matrix for which a function of NumPy has no value. Axes of samples, or of steps from
    `first` on and of samples, may stand in front."""
    place = next((at for at in np.ndindex(a.shape[:-2]) if _fails(function, a[at])), ())
    place = place if len(place) != 1 else (0, *place)
    if place and first >= 0:
        return _StepError(fault, first + place[0], place[1], OTHERS)
    return ArgumentError(f"{fault}, where the cell has no value\n  {OTHERS}")


def _fails(function: Any, a: Array) -> bool:
    try:
        function(a)
    except np.linalg.LinAlgError:
        return True
    return False


def _spread(a: Array) -> Array:
    """Return the diagonal matrices of vectors."""
    n = a.shape[-1]
    out, i = np.zeros((*a.shape, n), a.dtype), np.arange(n)
    out[..., i, i] = a
    return out


def _diagonal(a: Array) -> Array:
    """Return the diagonals of matrices."""
    i = np.arange(a.shape[-1])
    return a[..., i, i]


def _halved(a: Array) -> Array:
    """Return the lower triangles of matrices with half their diagonals."""
    return np.tril(a) - _spread(_diagonal(a) / 2)
