"""Products: of matrices, over chosen axes, and by einsum."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir.node import Product
from symbptt.ir.shape import size_text
from symbptt.language.array import Array, apply, as_array, axes_of, built, graph_of, kind, view
from symbptt.language.number_kinds import TRUTH
from symbptt.language.reductions import sum as sum_of
from symbptt.language.user_frames import cell_error
from symbptt.language.views import ravel, transpose


def _product(a: Array, b: Array, la: Sequence[Any], lb: Sequence[Any], out: Sequence[Any]) -> Array:
    """Return a product by labels of any kind; an axis of one operand alone that the result lacks is summed first."""
    # Σ_jk a_ij b_k = (Σ_j a_ij)(Σ_k b_k): a contraction in the graph never sums an axis of one operand alone.
    a, la = _presum(a, la, set(lb) | set(out))
    b, lb = _presum(b, lb, set(la) | set(out))
    # Labels may be letters, numbers or pairs; the graph has small integers.
    order = {label: i for i, label in enumerate(dict.fromkeys([*la, *lb, *out]))}
    labels = Product(*(tuple(order[x] for x in part) for part in (la, lb, out)))
    try:
        return _counted(Array(a.graph, build.contract(a.graph, a.id, b.id, labels)), (a, b))
    except ShapeError as error:
        raise cell_error(str(error), "check the order of the dimensions in the annotations", ShapeError) from None


def _counted(x: Array, operands: Sequence[Array]) -> Array:
    """Return a product as it is; of truth values NumPy tells whether any pair is true."""
    # In NumPy's product of booleans + is "or" and * is "and"; as numbers the sum counts pairs, which is positive if any is true.
    return apply("greater", x, 0) if all(kind(operand) == TRUTH for operand in operands) else x


def _presum(x: Array, labels: Sequence[Any], kept: set[Any]) -> tuple[Array, list[Any]]:
    alone = [i for i, label in enumerate(labels) if label not in kept]
    return (_counted(sum_of(x, tuple(alone)), [x]) if alone else x), [label for label in labels if label in kept]


def matmul(a: Any, b: Any) -> Any:
    """Return the matrix product, with stacked leading axes as NumPy has them."""
    graph = graph_of(a, b)
    if graph is None:
        return np.matmul(a, b)
    a, b = as_array(graph, a), as_array(graph, b)
    if not a.ndim or not b.ndim:
        raise cell_error("@ takes arrays of at least one axis, not scalars", "write * for a scalar", ShapeError)
    lead_a, lead_b = max(a.ndim - 2, 0), max(b.ndim - 2, 0)
    lead = max(lead_a, lead_b)
    a, la = _stacked(a, lead_a, lead, b, lead_b)
    b, lb = _stacked(b, lead_b, lead, a, lead_a)
    la += ["i", "k"] if a.ndim - len(la) == 2 else ["k"]
    lb += ["k", "j"] if b.ndim - len(lb) == 2 else ["k"]
    batch = sorted({x for x in la + lb if isinstance(x, int)})
    return _product(a, b, la, lb, [*batch, *(["i"] if "i" in la else []), *(["j"] if "j" in lb else [])])


def _stacked(x: Array, own: int, lead: int, other: Array, other_own: int) -> tuple[Array, list[Any]]:
    """Return labels of the stacked axes, without those of size 1 that the other operand repeats."""
    shape, beside = x.graph.shape(x.id), other.graph.shape(other.id)
    numbers = list(range(lead - own, lead))
    first = lead - other_own  # of the axes that the other operand has
    # A label has one size: an axis of size 1 that broadcasts against a larger one loses its label instead.
    drop = [i for i, n in enumerate(numbers) if shape[i] == 1 and n >= first and beside[n - first] != 1]
    kept = tuple(item for i, item in enumerate(shape) if i not in drop)
    return built(x.graph, build.reshape, x.id, kept), [n for i, n in enumerate(numbers) if i not in drop]


def dot(a: Any, b: Any) -> Any:
    """Return NumPy's dot: inner, matrix or scalar product by the number of axes."""
    graph = graph_of(a, b)
    if graph is None:
        return np.dot(a, b)
    a, b = as_array(graph, a), as_array(graph, b)
    if not a.ndim or not b.ndim:
        return a * b
    if b.ndim == 1 or a.ndim == 1 or (a.ndim == b.ndim == 2):
        return matmul(a, b) if b.ndim <= 2 else _dot_axes(a, b)
    return _dot_axes(a, b)


def _dot_axes(a: Array, b: Array) -> Array:
    la, lb = [("a", i) for i in range(a.ndim)], [("b", i) for i in range(b.ndim)]
    # np.dot sums the last axis of a with the second last of b.
    lb[-2] = la[-1]
    return _product(a, b, la, lb, [x for x in la[:-1] + lb if x != la[-1]])


def inner(a: Any, b: Any) -> Any:
    """Return the sum of products over the last axes."""
    if graph_of(a, b) is None:
        return np.inner(a, b)
    return tensordot(a, b, axes=(-1, -1))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Return NumPy's tensordot."""
    graph = graph_of(a, b)
    if graph is None:
        return np.tensordot(a, b, axes=axes)
    a, b = as_array(graph, a), as_array(graph, b)
    of_a, of_b = (range(-axes, 0), range(axes)) if isinstance(axes, int) else axes
    of_a, of_b = (
        axes_of(tuple(i) if isinstance(i, range | list) else i, array.ndim) for i, array in ((of_a, a), (of_b, b))
    )
    if len(of_a) != len(of_b):
        raise cell_error(
            f"tensordot sums over {len(of_a)} axes of one array and {len(of_b)} of the other", kind=ShapeError
        )
    la, lb = [("a", i) for i in range(a.ndim)], [("b", i) for i in range(b.ndim)]
    for i, j in zip(of_a, of_b, strict=True):
        lb[j] = la[i]
    summed = {la[i] for i in of_a}
    return _product(a, b, la, lb, [x for x in la + lb if x not in summed])


def outer(a: Any, b: Any) -> Any:
    """Return the outer product of two arrays, flattened first as NumPy does."""
    graph = graph_of(a, b)
    if graph is None:
        return np.outer(a, b)
    return _product(ravel(as_array(graph, a)), ravel(as_array(graph, b)), ["i"], ["j"], ["i", "j"])


def einsum(subscripts: Any, *operands: Any) -> Any:
    """Return NumPy's einsum of any number of operands, taken from left to right."""
    graph = graph_of(subscripts, *operands)
    if graph is None:
        return np.einsum(subscripts, *operands)
    if not isinstance(subscripts, str):
        subscripts, operands = _as_text(subscripts, *operands)
    arrays = [as_array(graph, operand) for operand in operands]
    inputs, out = _subscripts(subscripts, arrays)
    for i, (labels, array) in enumerate(zip(inputs, arrays, strict=True)):
        if len(labels) != array.ndim:
            raise cell_error(
                f"einsum {subscripts!r}: {''.join(labels)!r} does not fit an array of {array.ndim} axes",
                "give each axis a letter",
            )
        arrays[i], inputs[i] = _diagonal(array, labels)
    value, have = arrays[0], inputs[0]
    for i, (labels, array) in enumerate(zip(inputs[1:], arrays[1:], strict=True), start=1):
        # A label is summed as soon as neither the result nor a later operand has it, which keeps intermediate arrays small.
        later = set(out).union(*inputs[i + 1 :])
        keep = [x for x in dict.fromkeys(have + labels) if x in later]
        value, have = _product(value, array, have, labels, keep), keep
    value, have = _presum(value, have, set(out))
    return transpose(value, [have.index(x) for x in out])


def _as_text(*given: Any) -> tuple[str, tuple[Any, ...]]:
    """Return lists of numbers for axes, each behind its operand, as one text with a letter for each."""
    operands, lists = given[0 : len(given) // 2 * 2 : 2], given[1::2]
    if not all(isinstance(labels, list | tuple) and all(isinstance(k, int) for k in labels) for labels in lists):
        raise cell_error(
            "einsum takes its axes as one text, or as lists of numbers", 'write np.einsum("ij,j->i", A, x)'
        )
    texts = ["".join(string.ascii_letters[k] for k in labels) for labels in lists]
    if len(given) % 2:
        return f"{','.join(texts)}->{''.join(string.ascii_letters[k] for k in given[-1])}", operands
    return ",".join(texts), operands


def _diagonal(x: Array, labels: list[str]) -> tuple[Array, list[str]]:
    """Return an array in which each label stands once: one that stands twice is that of a diagonal, a sum over the identity."""
    while len(set(labels)) < len(labels):
        at = next(i for i, label in enumerate(labels) if label in labels[:i])
        first, length = labels.index(labels[at]), x.graph.shape(x.id)[at]
        own = [*range(x.ndim)]
        identity = Array(x.graph, build.leaf(x.graph, "eye", size_text(length), (length, length)))
        x = _on_diagonal(x, identity, own, [first, at])
        labels = labels[:at] + labels[at + 1 :]
    return x, labels


def _on_diagonal(x: Array, identity: Array, own: list[int], axes: list[int]) -> Array:
    """Return what stands on a diagonal of two axes: a view, as einsum of one operand gives in NumPy."""

    def read(id: int) -> int:
        return _product(Array(x.graph, id), identity, own, axes, [k for k in own if k != axes[1]]).id

    def refuse(_: int, __: int) -> int:
        raise cell_error("a diagonal that einsum gives is changed in place", "change a copy, or write np.fill_diagonal")

    return view(x, read, refuse)


def _subscripts(text: str, arrays: Sequence[Array]) -> tuple[list[list[str]], list[str]]:
    left, arrow, right = text.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(arrays):
        raise cell_error(f"einsum {text!r} names {len(parts)} operands, got {len(arrays)}")
    # The axes of "..." get letters that the user has not taken; operands with fewer of them are aligned at the last.
    free = [x for x in string.ascii_letters if x not in text]
    widths = [a.ndim - len(p.replace("...", "")) if "..." in p else 0 for p, a in zip(parts, arrays, strict=True)]
    lead = "".join(free[: max(widths, default=0)])
    parts = [p.replace("...", lead[len(lead) - w :]) for p, w in zip(parts, widths, strict=True)]
    if not arrow:
        every = "".join(parts)
        # Without an arrow np.einsum returns the letters that occur once, in alphabetical order, after the axes of "...".
        right = lead + "".join(x for x in sorted(set(every) - set(lead)) if every.count(x) == 1)
    if lead and "..." not in right and arrow:
        raise cell_error(f"einsum {text!r}: the axes of ... are missing in the result", "write ->... for them")
    right = right.replace("...", lead)
    if not set(right) <= set("".join(parts)) or len(set(right)) != len(right):
        raise cell_error(f"einsum {text!r}: the result {right!r} has a letter that no operand has, or one twice")
    return [list(p) for p in parts], list(right)
