"""NumPy text for products of two operands by the labels of their axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symbptt.codegen.targets.numpy.text import ATOM, PRODUCT, Written, bracket

LETTERS = "abcdefghijklmnopqrsuvwxyz"
"""Labels of a value's own axes; "T" and "B" are the sample axes."""


@dataclass(frozen=True)
class Operand:
    """An operand of a product: its text and its axes by label, sample axes included."""

    text: str
    labels: tuple[str, ...]


def product_text(a: Operand, b: Operand, out: tuple[str, ...], sizes: Mapping[str, Written]) -> Written:
    """Return the text of a product: one matrix product where no axis is shared by both operands and the result."""
    summed = [x for x in a.labels if x in b.labels and x not in out]
    if not summed:
        return f"{_spread(a, out)} * {_spread(b, out)}", PRODUCT
    # An axis of both operands and of the result is a batch of products, not one matrix product.
    if any(x in b.labels and x in out for x in a.labels):
        spec = f"{''.join(a.labels)},{''.join(b.labels)}->{''.join(out)}"
        return f'np.einsum("{spec}", {a.text}, {b.text})', ATOM
    return _matrix_product(a, b, summed, out, sizes)


def _matrix_product(
    a: Operand, b: Operand, summed: Sequence[str], out: tuple[str, ...], sizes: Mapping[str, Written]
) -> Written:
    free_a, free_b = (tuple(x for x in side.labels if x not in summed) for side in (a, b))
    # b a has the axes of the result in order, which saves a transpose.
    if free_b + free_a == out and (free_a + free_b != out or not free_a):
        a, b, free_a, free_b = b, a, free_b, free_a
    text = f"{_matrix(a, free_a, summed, sizes)} @ {_matrix(b, summed, free_b, sizes)}"
    joined = free_a + free_b
    if len(free_a) > 1 or len(free_b) > 1:
        return _reordered(f"({text}).reshape({', '.join(sizes[x][0] for x in joined)})", joined, out)
    return (text, PRODUCT) if joined == out else _reordered(f"({text})", joined, out)


def _reordered(text: str, labels: Sequence[str], out: Sequence[str]) -> Written:
    return _transposed(text, labels, out), ATOM


def _transposed(text: str, labels: Sequence[str], order: Sequence[str]) -> str:
    if tuple(labels) == tuple(order):
        return text
    return f"{text}.transpose({', '.join(str(labels.index(x)) for x in order)})"


def _matrix(operand: Operand, rows: Sequence[str], columns: Sequence[str], sizes: Mapping[str, Written]) -> str:
    """Return an operand as a matrix (or as a vector, where it has no rows or no columns)."""
    labels = operand.labels
    # An operand in the opposite order is read through .T, which copies nothing.
    turn = labels == (*columns, *rows) and labels != (*rows, *columns)
    groups = [group for group in ((columns, rows) if turn else (rows, columns)) if group]
    text = _transposed(operand.text, labels, [x for group in groups for x in group])
    if any(len(group) > 1 for group in groups):
        text = f"{text}.reshape({', '.join(_joint(group, sizes) for group in groups)})"
    return f"{text}.T" if turn and len(groups) == 2 else text


def _joint(group: Sequence[str], sizes: Mapping[str, Written]) -> str:
    """Return the size of several axes as one: a product, whose factors may be sums."""
    return " * ".join(bracket(sizes[x], PRODUCT) for x in group) if len(group) > 1 else sizes[group[0]][0]


def _spread(side: Operand, out: Sequence[str]) -> str:
    """Return an operand with its axes in the order of the result, and axes of size 1 where it lacks one."""
    text = _transposed(side.text, side.labels, [x for x in out if x in side.labels])
    index = ", ".join(":" if x in side.labels else "None" for x in out)
    return text if "None" not in index else f"{text}[{index}]"


def presummed(side: Operand, other: Operand) -> Operand:
    """Return an operand summed over the sample axes that it alone has."""
    # Σ_t a_t b = (Σ_t a_t) b, and the sum is smaller than the product.
    alone = [i for i, x in enumerate(side.labels) if x in ("T", "B") and x not in other.labels]
    if not alone:
        return side
    return Operand(f"{side.text}.sum({tuple(alone)})", tuple(x for i, x in enumerate(side.labels) if i not in alone))
