"""Contractions that are products of matrices: rows of values times a weight, and sums of outer products over rows.

Example: "cd,abd->abc" of Wi[:, :] and x[lo:lo+count, :, :] is the product of count B rows of x with Wi transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from symbptt.codegen.loop_ir.nodes import Contract, View
from symbptt.codegen.loop_ir.views import stride
from symbptt.ir.shape import Size, prod, sign_of, size

SMALL = 4
"""Up to here a side of a matrix that is known when the text is written makes plain loops the better ones."""


@dataclass(frozen=True)
class Run:
    """Axes of one label each that lie in one line in all operands that have them: how many elements they have together, and
    the distance of two of them in each operand, by its labels."""

    count: Size
    steps: tuple[Size, ...]


@dataclass(frozen=True)
class RowsTimesWeight:
    """out = rows weight, or out += rows weight: `rows` rows, `depth` terms in each sum, `width` columns; the steps are those
    of the operands that a run is in, in the order out, rows, weight."""

    weight: View
    values: View
    rows: Run
    depth: Run
    width: Run


@dataclass(frozen=True)
class OuterProducts:
    """out += leftᵀ right, a sum over rows."""

    left: View
    right: View
    rows: Run
    height: Run
    width: Run


def product_of(s: Contract, is_weight: Callable[[View], bool]) -> RowsTimesWeight | OuterProducts | None:
    """Return a contraction as a product of matrices; None where it is none, or so small that plain loops are as good."""
    return _outer(s) or _weighted(s, is_weight)


def _weighted(s: Contract, is_weight: Callable[[View], bool]) -> RowsTimesWeight | None:
    out = s.labels.out
    for weight, labels, values, others in ((s.a, s.labels.a, s.b, s.labels.b), (s.b, s.labels.b, s.a, s.labels.a)):
        kept = [x for x in out if x in labels]
        left = [x for x in out if x in others]
        if not is_weight(weight) or set(kept) & set(left):
            continue
        summed = [x for x in others if x not in out]
        rows = run(left, (s.out, out), (values, others))
        depth = run(summed, (values, others), (weight, labels))
        width = run(kept, (s.out, out), (weight, labels))
        if rows and depth and width and kept and summed and width.steps[0] == 1 and not _is_small(depth, width):
            return RowsTimesWeight(weight, values, rows, depth, width)
    return None


def _outer(s: Contract) -> OuterProducts | None:
    out = s.labels.out
    for left, labels, right, others in ((s.a, s.labels.a, s.b, s.labels.b), (s.b, s.labels.b, s.a, s.labels.a)):
        high, wide = ([x for x in out if x in part] for part in (labels, others))
        if not s.add or not high or not wide or set(high) & set(wide):
            continue
        summed = [x for x in labels if x not in out]
        rows = run(summed, (left, labels), (right, others))
        height = run(high, (s.out, out), (left, labels))
        width = run(wide, (s.out, out), (right, others))
        if (
            rows
            and height
            and width
            and width.steps == (1, 1)
            and height.steps[1] == 1
            and not _is_small(height, width)
        ):
            return OuterProducts(left, right, rows, height, width)
    return None


def _is_small(*runs: Run) -> bool:
    return any(isinstance(x.count, int) and x.count <= SMALL for x in runs)


def run(labels: Sequence[int], *operands: tuple[View, tuple[int, ...]]) -> Run | None:
    """Return axes as one, with the step along it in each operand; None where they lie in no line, or run backward."""
    steps: list[Size] = []
    count: Size = 1
    for view, own in operands:
        axes = [view.axes[own.index(x)] for x in labels]
        axes = [axis for axis in axes if axis.length != 1]
        found = [stride(view, axis) for axis in axes]
        if any(sign_of(x) not in (0, 1) for x in found):
            return None
        # The outer one of two axes goes on where the inner one ends.
        if any(size(b * axis.length) != a for a, b, axis in zip(found, found[1:], axes[1:], strict=False)):
            return None
        steps.append(found[-1] if found else 1)
        count = prod(axis.length for axis in axes)
    return Run(count, tuple(steps))
