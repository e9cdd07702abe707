"""What SciPy's functions of Python and its sparse arrays mean in a cell; SciPy is never imported here, and need not be installed.

SciPy's ufuncs, such as special.expit, come to us by NumPy's protocol. special.softmax and the functions of linalg make plain arrays of
what they are given, and so does S @ h of a sparse S. The names of the user's functions mean what stands here instead while they
are traced, and while a check calls them with numbers that carry a tangent (`symbptt.language.namespaces`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from symbptt.language import algebra, functions
from symbptt.language.array import graph_of
from symbptt.language.user_frames import cell_error


def softmax(x: Any, axis: Any = None) -> Any:
    """Return the softmax along an axis, of all entries unless told."""
    return functions.softmax(x, _axis(x, axis))


def log_softmax(x: Any, axis: Any = None) -> Any:
    """Return the logarithm of the softmax along an axis, of all entries unless told."""
    return functions.log_softmax(x, _axis(x, axis))


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    """Return log(sum(exp(a))) along an axis, over all entries unless told."""
    _refuse("logsumexp", b=b, return_sign=return_sign)
    return functions.logsumexp(a, _axis(a, axis), keepdims)


def _axis(x: Any, axis: Any) -> Any:
    return tuple(range(np.ndim(x))) if axis is None else axis


def solve(a: Any, b: Any, lower: bool = False, overwrite_a: bool = False, overwrite_b: bool = False, check_finite: bool = True,
          assume_a: Any = None, transposed: bool = False) -> Any:  # fmt: skip
    """Return x with a x = b, or with the transpose of a."""
    _refuse("solve", lower=lower, assume_a=assume_a not in (None, "gen", "general") and assume_a)
    return algebra.solve(np.swapaxes(a, -1, -2) if transposed else a, b)


def solve_triangular(a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False, overwrite_b: bool = False,
                     check_finite: bool = True) -> Any:  # fmt: skip
    """Return x with a x = b for a triangle of a, the upper one unless told."""
    _refuse("solve_triangular", unit_diagonal=unit_diagonal)
    return algebra.solve_triangular(a, b, lower=lower, trans={"N": 0, "T": 1}.get(trans, trans))


def inv(
    a: Any, overwrite_a: bool = False, check_finite: bool = True, *, assume_a: Any = None, lower: bool = False
) -> Any:
    """Return the inverse of a matrix."""
    _refuse("inv", lower=lower, assume_a=assume_a not in (None, "gen", "general") and assume_a)
    return algebra.inv(a)


def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """Return the determinant of a matrix."""
    return algebra.det(a)


def cholesky(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """Return the Cholesky factor of a matrix, of its upper triangle unless told."""
    return algebra.cholesky(a, upper=not lower)


def cho_factor(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Any, bool]:
    """Return the Cholesky factor of a matrix, and whether it is the lower one."""
    return algebra.cholesky(a, upper=not lower), lower


def cho_solve(c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False, check_finite: bool = True) -> Any:
    """Return the solution for a matrix of which the Cholesky factor is given."""
    c, lower = c_and_lower
    first = algebra.solve_triangular(c, b, lower=lower, trans=int(not lower))
    return algebra.solve_triangular(c, first, lower=lower, trans=int(lower))


def expm(A: Any) -> Any:
    """Return the exponential of a matrix."""
    return algebra.expm(A)


def norm(a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False, check_finite: bool = True) -> Any:
    """Return the norm of a vector, or the Frobenius norm of a matrix."""
    return functions.norm(a, ord, axis, keepdims)


def _refuse(name: str, **options: Any) -> None:
    given = [k for k, v in options.items() if v is not None and v is not False]
    if given:
        raise cell_error(
            f"SciPy's {name} with {' and '.join(given)} is not supported in a cell", f"write {name} without it"
        )


FUNCTIONS: dict[str, tuple[Callable[..., Any], ...]] = {
    "scipy.special": (softmax, log_softmax, logsumexp),
    "scipy.linalg": (solve, solve_triangular, inv, det, cholesky, cho_factor, cho_solve, expm, norm),
}
"""By module of SciPy what its functions mean, each under SciPy's name."""


def own_function(value: Any) -> Callable[..., Any] | None:
    """Return what a function of SciPy means; None of any other value."""
    for module, own in FUNCTIONS.items():
        loaded = sys.modules.get(module)
        for function in own if loaded is not None else ():
            if getattr(loaded, function.__name__, None) is value:
                return function
    return None


def is_sparse(value: Any) -> bool:
    """Answer whether a value is a sparse array or matrix of SciPy."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(value))


def is_module(value: Any) -> bool:
    """Answer whether a value is SciPy or one of its modules of which functions mean something here."""
    return isinstance(value, ModuleType) and value.__name__ in ("scipy", *FUNCTIONS)


class KeptDense:
    """A sparse constant of SciPy as a dense one: its products, and what it tells of itself."""

    __array_ufunc__ = None  # a NumPy array before an operator leaves it to us

    def __init__(self, of: Any) -> None:
        self.of, self.dense = of, of.toarray()

    def __matmul__(self, other: Any) -> Any:
        return self.dense @ other

    def __rmatmul__(self, other: Any) -> Any:
        return other @ self.dense

    def __mul__(self, other: Any) -> Any:
        return self.dense @ other if self._is_product(other) else self.dense * other

    def __rmul__(self, other: Any) -> Any:
        return other @ self.dense if self._is_product(other) else other * self.dense

    def _is_product(self, other: Any) -> bool:
        """Answer whether `*` is the product of matrices, as of SciPy's sparse matrices; of its sparse arrays it is that of entries."""
        return isinstance(self.of, sys.modules["scipy.sparse"].spmatrix) and np.ndim(other) > 0

    def dot(self, other: Any) -> Any:
        """Return the product of matrices."""
        return self.dense @ other

    def multiply(self, other: Any) -> Any:
        """Return the product of entries."""
        return self.dense * other

    @property
    def T(self) -> KeptDense:
        return KeptDense(self.of.T)

    def transpose(self) -> KeptDense:
        """Return the transpose."""
        return self.T

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.dense

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


def is_plain(*values: Any) -> bool:
    """Answer whether values are plain numbers and arrays of real ones, of which SciPy's own functions are asked."""
    arrays = [value for value in values if isinstance(value, np.ndarray | np.generic)]
    return graph_of(*values) is None and all(
        value.dtype.kind in "biuf" and (type(value) is np.ndarray or isinstance(value, np.generic)) for value in arrays
    )
