"""A product of two operands as one call: a matrix product where its axes allow it, else `einsum`.

Example: W x of one sample sums over the label j of W (i, j) and x (j). For all samples x has the labels (B, j) and the
result (B, i), so that the call is `np.matmul(x_t, WT, out=s)`, with `WT = np.ascontiguousarray(W.T)` before the loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symbptt.codegen.targets.numpy.calls.sheet import BLOCK_AXES, Operand, Sheet
from symbptt.codegen.targets.numpy.calls.three_address import put
from symbptt.codegen.targets.numpy.product_text import LETTERS
from symbptt.codegen.targets.numpy.text import PRODUCT, SUM, size_text, tuple_text
from symbptt.ir.node import Node
from symbptt.ir.shape import Shape, Size, prod

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """An operand of a product, or its result, with the labels of its axes inside the loop, those of samples first."""

    operand: Operand
    labels: Labels


def product(sheet: Sheet, node: Node, a: Operand, b: Operand, out: Operand | None) -> Operand:
    """Return a product, written into `out` or into an array of the workspace."""
    a, b = as_samples(sheet, a), as_samples(sheet, b)
    left, right = _side(a, node.attrs.a), _side(b, node.attrs.b)
    varies = a.lead or b.lead
    # In a block the result is reshaped to rows of all steps and samples, which must be a view.
    target = out if out is not None and (out.solid or sheet.lead != BLOCK_AXES) else None
    target = target or sheet.room(node.shape, varies, front=node.id in sheet.module.program.front)
    _write(sheet, left, right, _side(as_samples(sheet, target), node.attrs.out), _sizes(sheet, node, a, b))
    sheet.free([a, b])
    return put(sheet, target, out)


def _side(operand: Operand, own: Sequence[int]) -> Side:
    lead = ("B",) if operand.lead else ()
    letters = [LETTERS[x] for x in own]
    return Side(operand, (letters[0], *lead, *letters[1:]) if operand.front else (*lead, *letters))


def total_product(sheet: Sheet, node: Node, a: Operand, b: Operand) -> Operand:
    """Return the sum of a product over the steps and samples of a block."""
    a, b = as_samples(sheet, a), as_samples(sheet, b)
    target = sheet.room(node.shape, lead=False)
    sides = _side(a, node.attrs.a), _side(b, node.attrs.b)
    _write(sheet, *sides, _side(target, node.attrs.out), _sizes(sheet, node, a, b))
    sheet.free([a, b])
    return target


def as_samples(sheet: Sheet, o: Operand) -> Operand:
    """Return a value of a block with the steps among the samples: a product then has many rows."""
    if sheet.lead != BLOCK_AXES or not o.lead:
        return o
    if not (o.solid or o.settled):
        o = put(sheet, o, sheet.room(o.shape))
    own = [_size(sheet, item) for item in o.shape]
    axes = [own[0], "K * B", *own[1:]] if o.front else ["K * B", *own]
    return sheet.view(o, f"{o.whole}.reshape({', '.join(axes)})", o.shape, solid=True, front=o.front)


def _sizes(sheet: Sheet, node: Node, a: Operand, b: Operand) -> dict[str, Size | str]:
    pairs = zip(node.attrs.a + node.attrs.b, a.shape + b.shape, strict=True)
    return {**{LETTERS[x]: item for x, item in pairs}, "B": "K * B" if sheet.lead == BLOCK_AXES else "B"}


def _write(sheet: Sheet, a: Side, b: Side, out: Side, sizes: Mapping[str, Size | str]) -> None:
    """Write the call of a product in the first of three ways that its axes allow."""
    summed = tuple(x for x in a.labels if x in b.labels and x not in out.labels)
    if not summed:
        texts = [_spread(sheet, side, out.labels).text for side in (a, b)]
        sheet.call(f"np.multiply({', '.join(texts)}, out={out.operand.text})")
        return
    # One product of two matrices is faster than a stack of them, and that is faster than `einsum`.
    for way in (_plain, _rows_and_columns, _stacked):
        for first, second in ((a, b), (b, a)):
            found = way(sheet, first, second, out, summed, sizes)
            if found is not None:
                left, right, target = (o.text for o in found)
                sheet.call(f"np.matmul({left}, {right}, out={target})")
                return
    spec = f"{''.join(a.labels)},{''.join(b.labels)}->{''.join(out.labels)}"
    sheet.call(f'np.einsum("{spec}", {a.operand.text}, {b.operand.text}, out={out.operand.text})')


def _plain(
    sheet: Sheet, a: Side, b: Side, out: Side, summed: Labels, sizes: Mapping[str, Size | str]
) -> tuple[Operand, Operand, Operand] | None:
    """Return the operands of one matrix product, where no axis is in both operands and in the result."""
    rows, columns = (tuple(x for x in side.labels if x not in summed) for side in (a, b))
    if out.labels != rows + columns or set(rows) & set(columns):
        return None
    views = (
        _matrix(sheet, a, rows, summed, sizes),
        _matrix(sheet, b, summed, columns, sizes),
        _matrix(sheet, out, rows, columns, sizes),
    )
    return None if any(v is None for v in views) else views  # type: ignore[return-value]


def _matrix(sheet: Sheet, side: Side, rows: Labels, columns: Labels, sizes: Mapping[str, Size | str]) -> Operand | None:
    """Return a view of an operand as a matrix, or as a vector where it has no rows or no columns."""
    o, labels = side.operand, side.labels
    turned = labels == (*columns, *rows) and labels != (*rows, *columns)
    if not turned and labels != (*rows, *columns):
        return None
    groups = [group for group in ((columns, rows) if turned else (rows, columns)) if group]
    # A reshape of an array that is not contiguous may be a copy: stale inside the loop as an operand, lost as a result.
    if any(len(group) > 1 for group in groups):
        if not (o.solid or o.settled):
            return None
        o = _merged(sheet, o, groups, sizes)
    return _swapped(sheet, o) if turned and len(groups) == 2 else o


def _merged(sheet: Sheet, o: Operand, groups: Sequence[Labels], sizes: Mapping[str, Size | str]) -> Operand:
    """Return an operand with the axes of each group merged into one."""
    text = [" * ".join(_size(sheet, sizes[x], PRODUCT if len(group) > 1 else SUM) for x in group) for group in groups]
    lead = [o.count] if o.stepped else []
    own = [group for group in groups if group != ("B",)]
    shape = tuple(prod(sizes[x] for x in group if x != "B") for group in own)
    return sheet.view(o, f"{o.whole}.reshape({', '.join([*lead, *text])})", shape, solid=True)


def _size(sheet: Sheet, size: Size | str, least: int = SUM) -> str:
    """Return a size as text, for a place that binds at least so tightly; the numbers of samples and steps are text
    already."""
    return size if isinstance(size, str) else size_text(size, sheet.module.sizes, least)


def _swapped(sheet: Sheet, o: Operand) -> Operand:
    """Return an operand with its last two axes swapped; of a weight it is a copy, which products read faster."""
    text, turned = f"{o.whole}.swapaxes(-1, -2)", re.sub(r"_\d+$", "", o.whole) + "T"
    if o.settled and not o.lead and not o.stepped:
        return sheet.view(o, f"np.ascontiguousarray({o.whole}.T)", o.shape[::-1], solid=True, wish=turned)
    return sheet.view(o, text, o.shape, wish=turned)


def _rows_and_columns(
    sheet: Sheet, a: Side, b: Side, out: Side, summed: Labels, sizes: Mapping[str, Size | str]
) -> tuple[Operand, Operand, Operand] | None:
    """Return the operands of a stack of products of matrices, none of them a vector."""
    last = [x for x in b.labels if x in out.labels and x not in a.labels][-1:]
    before = [x for x in a.labels if x in out.labels and x not in b.labels][-1:]
    return (
        _stacked(sheet, a, b, out, summed, sizes) if out.labels[-2:] == (*before, *last) and last and before else None
    )


def _stacked(
    sheet: Sheet, a: Side, b: Side, out: Side, summed: Labels, sizes: Mapping[str, Size | str]
) -> tuple[Operand, Operand, Operand] | None:
    """Return the operands of a stack of matrix products over the axes that come first in the result."""
    free_a = [x for x in a.labels if x in out.labels and x not in b.labels]
    free_b = [x for x in b.labels if x in out.labels and x not in a.labels]
    # `matmul` sums over one axis.
    if len(summed) != 1:
        return None
    rows = next((x for x in free_a[::-1] if x == out.labels[-1 - bool(free_b and out.labels[-1] == free_b[-1])]), None)
    columns = free_b[-1] if free_b and out.labels[-1] == free_b[-1] else None
    batch = tuple(x for x in out.labels if x not in (rows, columns))
    if out.labels != (*batch, *(x for x in (rows, columns) if x)):
        return None
    return (
        _spread(sheet, a, (*batch, rows, summed[0]), 2),
        _spread(sheet, b, (*batch, summed[0], columns), 2),
        _spread(sheet, out, (*batch, rows, columns), 2),
    )


def _spread(sheet: Sheet, side: Side, axes: Sequence[str | None], least: int = 0) -> Operand:
    """Return a view of an operand with its axes in the order of `axes`, and one of size 1 for each that it lacks, but
    for those before its first and before the last `least`; of a weight it is a copy, where its order is another."""
    o, labels = side.operand, side.labels
    order = [labels.index(x) for x in axes if x is not None and x in labels]
    steps = ["T"] if o.stepped else []
    text, shape = o.whole, o.shape
    if order != sorted(order):
        text = f"{text}.transpose{tuple_text([str(i) for i in [*range(len(steps)), *(i + len(steps) for i in order)]])}"
        text = f"np.ascontiguousarray({text})" if o.settled and not o.lead and not o.stepped else text
    # Leading axes that lack are left to broadcasting; `matmul` itself needs the last two.
    first = min(next((i for i, x in enumerate(axes) if x in labels), 0), max(len(axes) - least, 0))
    lacking = [x is None or x not in labels for x in axes]
    if not any(lacking[first:]):
        return o if text == o.whole else sheet.view(o, text, shape)
    index = ", ".join([*[":"] * len(steps), *("None" if lack else ":" for lack in lacking[first:])])
    text = f"{text}[{index}]"
    return sheet.view(o, text, shape)


def squeezed(shape: Shape) -> Shape:
    """Return a shape without its axes of size 1."""
    return tuple(item for item in shape if item != 1)
