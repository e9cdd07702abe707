"""A product as one call of NumPy: a matrix product, a stack of them, products of rows, else `einsum`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from symbptt.codegen.loop_ir.nodes import Contract, View
from symbptt.codegen.loop_ir.order import in_order
from symbptt.codegen.loop_ir.views import permuted, stride, with_new
from symbptt.codegen.targets.numpy.index import LETTERS, Groups, Shown, merges


@dataclass(frozen=True)
class Call:
    """A function, its operands, what it writes, and for `einsum` its subscripts."""

    function: str
    operands: tuple[Shown, Shown]
    out: Shown
    first: str = ""

    @property
    def stack(self) -> int:
        """The number of axes over which matrix products are stacked."""
        return max(len(self.out.groups or ()) - 2, 0) if self.function == "matmul" else 0


@dataclass(frozen=True)
class Side:
    """An operand of a product, or its result, with the labels of its axes."""

    view: View
    labels: tuple[int, ...]

    def at(self, labels: Sequence[int]) -> list[int]:
        """Return the places of labels among its axes."""
        return [self.labels.index(x) for x in labels]


@lru_cache(1024)
def call_of(s: Contract) -> Call:
    """Return the call of a product. Kept, for passes, the printer, the plan and the memory ask for it."""
    a, b, out = Side(s.a, s.labels.a), Side(s.b, s.labels.b), Side(s.out, s.labels.out)
    order = in_order(s.out)
    labels = [out.labels[i] for i in order]
    summed = [x for x in a.labels if x not in out.labels]
    if not summed:
        # An axis of one element that the buffer lacks is none of the operands either: a NumPy result has all axes of these.
        order = [i for i in order if s.out.axes[i].of]
        kept = [out.labels[i] for i in order]
        spread = (_spread(a, kept), _spread(b, kept))
        return Call("multiply", (Shown(spread[0]), Shown(spread[1])), Shown(permuted(s.out, order)))
    # Either operand may give the rows: a b or (bᵀ aᵀ)ᵀ. Which of the two writes the result as it is to lie in memory
    # depends on the order of its axes.
    ways = [_matrices(first, second, out, summed, labels) for first, second in ((a, b), (b, a))]
    found = [way for way in ways if way is not None]
    if found:
        return max(found, key=_merged)
    rows = _rows(a, b, out, summed, labels)
    if rows is not None:
        return rows
    # `einsum` takes any product, and is the last choice: without `optimize` it never calls BLAS.
    spec = ",".join("".join(LETTERS[x] for x in side.labels) for side in (a, b))
    text = f'"{spec}->{"".join(LETTERS[x] for x in out.labels)}"'
    return Call("einsum", (_plain(s.a), _plain(s.b)), Shown(s.out), text)


def _plain(view: View) -> Shown:
    return Shown(view, tuple((i,) for i in range(len(view.axes))))


def _merged(call: Call) -> int:
    """Return how much of a product is one matrix product: axes that are rows or columns, both before one of them."""
    groups = (call.out.groups or ())[-2:]
    both = len(groups) == 2 and all(groups)
    return 100 * both + sum(map(len, groups)) - len(call.out.groups or ())


def _spread(side: Side, labels: Sequence[int]) -> View:
    """Return an operand with its axes in the order of labels, and new ones for those that it lacks."""
    view = permuted(side.view, side.at([x for x in labels if x in side.labels]))
    for i, x in enumerate(labels):
        if x not in side.labels:
            view = with_new(view, i)
    return view


def _rows(a: Side, b: Side, out: Side, summed: list[int], labels: list[int]) -> Call | None:
    """Return a stack of products of rows, where both operands have the summed axes as one."""
    # NumPy's vecdot conjugates its first operand, which therefore is a real one; of two complex ones einsum has the product.
    first, second = (b, a) if a.view.buffer.dtype == "complex" else (a, b)
    if first.view.buffer.dtype == "complex" or not _one((a, b), summed):
        return None
    sides = [_matrix(side, labels, (summed,), True) for side in (first, second)]
    return Call("vecdot", (sides[0], sides[1]), Shown(permuted(out.view, out.at(labels))))


def _matrices(a: Side, b: Side, out: Side, summed: list[int], labels: list[int]) -> Call | None:
    """Return a product whose rows are from a and whose columns are from b, in the order in which the result lies in
    memory."""
    # Several axes are one axis of a matrix where they lie behind each other in memory without gaps: the steps and
    # samples of a block are the rows of one product then, which is one call in place of one for each step.
    columns = _tail(labels, [x for x in labels if x in b.labels and x not in a.labels])
    rest = labels[: len(labels) - len(columns)]
    rows = _tail(rest, [x for x in rest if x in a.labels and x not in b.labels])
    columns, rows = _fitting((b, out), columns), _fitting((a, out), rows)
    if not _one((a, b), summed) or not (rows or columns):
        return None
    stack = [x for x in labels if x not in rows and x not in columns]
    if columns and labels[-len(columns) :] != columns:
        return None
    if rows and labels[len(labels) - len(columns) - len(rows) : len(labels) - len(columns)] != rows:
        return None
    pairs = ((rows, summed), (summed, columns), (rows, columns))
    shown = [_matrix(side, stack, pair, not stack) for side, pair in zip((a, b, out), pairs, strict=True)]
    return Call("matmul", (shown[0], shown[1]), shown[2])


def _tail(labels: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Return the last labels, as far as all are wanted."""
    found: list[int] = []
    for x in reversed(labels):
        if x not in wanted:
            break
        found.insert(0, x)
    return found


def _fitting(sides: Sequence[Side], labels: list[int]) -> list[int]:
    """Return the last of some labels that are one axis in memory of all sides."""
    while len(labels) > 1 and not _one(sides, labels):
        labels = labels[1:]
    return labels


def _one(sides: Sequence[Side], labels: Sequence[int]) -> bool:
    return all(merges(side.view, side.at(labels)) for side in sides)


def _matrix(side: Side, stack: Sequence[int], pair: Sequence[Sequence[int]], bare: bool) -> Shown:
    """Return an operand as a stack of matrices; without a stack a vector where it has no rows or no columns."""
    there = [x for x in stack if x in side.labels]
    lead = stack[stack.index(there[0]) :] if there else []
    order = [*there, *(x for part in pair for x in part)]
    view = permuted(side.view, side.at(order))
    groups: list[tuple[int, ...]] = [(order.index(x),) if x in there else () for x in lead]
    for part in pair:
        if part or not bare:
            groups.append(tuple(order.index(x) for x in part))
    found: Groups = tuple(groups)
    return Shown(view, found)


def is_turned(shown: Shown) -> bool:
    """Answer whether the last axis of an operand is not the one along which memory runs."""
    moving = [axis for axis in shown.view.axes if axis.length != 1]
    return bool(moving) and stride(shown.view, moving[-1]) != 1
