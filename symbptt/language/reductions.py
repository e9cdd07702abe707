"""Reductions: sums, means and extrema along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.language.array import Array, apply, axes_of, built, graph_of, kind, symbolic
from symbptt.language.number_kinds import COMPLEX, TRUTH
from symbptt.language.user_frames import cell_error


def _reduce(kind: str, x: Any, axis: Any, keepdims: bool) -> Array:
    x = symbolic(x)
    g, shape = x.graph, x.graph.shape(x.id)
    # NumPy refuses lists as axes, too.
    if isinstance(axis, list):
        raise cell_error(f"axes are an integer or a tuple of them, got {axis!r}", "write axis=(0, 1)", ShapeError)
    axes = axes_of(axis, len(shape))
    result = built(g, build.reduce, kind, x.id, axes)
    kept = tuple(1 if i in axes else item for i, item in enumerate(shape))
    return built(g, build.reshape, result.id, kept) if keepdims else result


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the sum along axes, all of them unless told."""
    return np.sum(x, axis=axis, keepdims=keepdims) if graph_of(x) is None else _reduce("sum", x, axis, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean along axes, all of them unless told."""
    if graph_of(x) is None:
        return np.mean(x, axis=axis, keepdims=keepdims)
    x = symbolic(x)
    shape = x.graph.shape(x.id)
    count = shapes.prod(shape[i] for i in axes_of(axis, len(shape)))
    return sum(x, axis, keepdims) / Array(x.graph, build.size_of(x.graph, count))


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the maximum along axes, all of them unless told; equal maxima share the gradient equally."""
    if graph_of(x) is not None:
        if kind(symbolic(x)) == COMPLEX:
            raise cell_error(
                "the greatest of complex numbers, which have no order", "write np.max(np.abs(z)), or np.max(z.real)"
            )
        return _reduce("max", x, axis, keepdims)
    if not np.iscomplexobj(x):
        return np.max(x, axis=axis, keepdims=keepdims)
    # Complex step: NumPy orders complex numbers by the real, then by the imaginary part, so that ties would not share tangents.
    top = np.real(x) == np.max(np.real(x), axis=axis, keepdims=True)
    return np.mean(x, axis=axis, keepdims=keepdims, where=top)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the minimum along axes, all of them unless told; equal minima share the gradient equally."""
    if graph_of(x) is not None and kind(symbolic(x)) == TRUTH:
        return apply("logical_not", max(apply("logical_not", symbolic(x)), axis, keepdims))
    # min(x) = -max(-x): one family, one adjoint rule. Truth values, above, follow De Morgan's law instead.
    return -max(-x, axis, keepdims)


def cumsum(x: Any, axis: int = -1) -> Any:
    """Return the running sum along an axis, the last unless told."""
    if graph_of(x) is None:
        return np.cumsum(x, axis)
    x = symbolic(x)
    return built(x.graph, build.cumulate, x.id, axes_of(axis, x.ndim)[0])
