"""How a value of each family is written on a page: products, sums, views, gathers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from symbptt.ir.node import Node, View
from symbptt.ir.scalar import as_sympy
from symbptt.ir.shape import Shape, Size, sign_of
from symbptt.ir.shape import size as sized
from symbptt.render.formulas import ATOM, MATRIX, POWER, PRODUCT, SUM, Formulas, Written, normal, size_list, size_shown

MOST = 64
"""Numbers of a constant array that are shown; of a longer one, so many."""


def _leaf(w: Formulas, node: Node) -> Written:
    if node.attrs.role == "eye":
        return "I", ATOM
    name = node.attrs.name.replace("**", "^").replace("*", " ")
    return name, ATOM if node.attrs.name.isidentifier() else SUM


def _number(w: Formulas, node: Node) -> Written:
    """A number; an array of them, row by row, whole where it is small."""
    if not node.shape:
        return w.number(as_sympy(node.attrs.value))
    values = [w.number(as_sympy(v))[0] for v in node.attrs.value[:MOST]]
    values += [w.notation.ellipsis] * (len(node.attrs.value) > MOST)
    if len(node.shape) == 2:
        width = int(node.shape[1])
        return w.notation.join([", ".join(values[i : i + width]) for i in range(0, len(values), width)]), ATOM
    plain = w.notation.join(values)
    return (plain, ATOM) if len(node.shape) == 1 else (w.notation.call("reshape", [plain, size_list(node.shape)]), ATOM)


def _contract(w: Formulas, node: Node) -> Written:
    (a, b), p = node.args, node.attrs
    if not p.a or not p.b:
        return w.at(a, POWER) + w.notation.scalar + w.at(b, POWER), PRODUCT
    plain = _matrix_product(p.a, p.b, p.out) or _matrix_product(p.b, p.a, p.out, swap=True)
    if plain is None and len(p.a) == 2 and p.out == p.a and p.b == p.a[1:]:
        return w.at(a, MATRIX) + w.notation.matrix + w.notation.call("diag", [w.at(b, SUM)]), MATRIX
    if plain is None:
        return _einsum(w, node)
    swapped, turn_first, turn_second = plain
    first, second = (b, a) if swapped else (a, b)
    return _side(w, first, turn_first) + w.notation.matrix + _side(w, second, turn_second), MATRIX


def _matrix_product(
    a: tuple[int, ...], b: tuple[int, ...], out: tuple[int, ...], swap: bool = False
) -> tuple[bool, bool, bool] | None:
    """Whether a product of labels reads as (a or its transpose) (b or its transpose), vectors being columns."""
    if len(a) > 2 or len(b) > 2 or not a or not b or (len(a) == 1 and len(b) == 2):
        return None
    for turn_a, turn_b in ((False, False), (False, True), (True, False), (True, True)):
        rows, inner_a = _column(a, turn_a)
        inner_b, columns = _column(b, turn_b)
        if inner_a == inner_b and tuple(x for x in (rows, columns) if x is not None) == out:
            return swap, turn_a, turn_b
    return None


def _column(labels: tuple[int, ...], turn: bool) -> tuple[int | None, int | None]:
    pair = (labels[0], labels[1]) if len(labels) == 2 else (labels[0], None)
    return (pair[1], pair[0]) if turn else pair


def _side(w: Formulas, id: int, turn: bool) -> str:
    node = w.graph[id]
    if id not in w.labels and node.family == "view" and node.attrs == View("transpose", (1, 0)):
        return _side(w, node.args[0], not turn)  # the transpose of a transpose is written plain
    return w.notation.transpose(w.at(id, ATOM)) if turn else w.at(id, MATRIX)


def _einsum(w: Formulas, node: Node) -> Written:
    letters = "ijklmnpqrs"
    text = ",".join("".join(letters[x] for x in part) for part in (node.attrs.a, node.attrs.b))
    spec = f"{text}->{''.join(letters[x] for x in node.attrs.out)}"
    return w.notation.call("einsum", [_quoted(w, spec), *(w.at(arg, SUM) for arg in node.args)]), ATOM


def _quoted(w: Formulas, text: str) -> str:
    return (
        rf"\text{{{text}}}".replace("->", r"$\to$")
        if w.notation.minus == " - " and w.notation.hadamard.startswith(r" \odot")
        else repr(text)
    )


def _axes(node: Node, rank: int) -> list[str]:
    axes = node.attrs.axes
    return [] if len(axes) == rank else [f"axis={axes[0] if len(axes) == 1 else axes}"]


def _reduce(w: Formulas, node: Node) -> Written:
    """A sum over rows or columns as a product with ones; that of a number which was repeated, as so many times it."""
    x, axes = node.args[0], node.attrs.axes
    shape, inner = w.graph.shape(x), w.graph[x]
    if node.attrs.kind == "sum" and len(shape) == 2 and len(axes) == 1 and 1 not in shape:
        of = w.at(x, MATRIX) if axes == (1,) else _side(w, x, True)
        return of + w.notation.matrix + w.notation.ones(size_shown(shape[axes[0]])), MATRIX
    is_repeated = x not in w.labels and inner.family == "view" and inner.attrs.kind == "expand"
    if (
        node.attrs.kind == "sum"
        and is_repeated
        and len(axes) == len(shape)
        and not normal(w.graph.shape(inner.args[0]))
    ):
        times = [size_shown(size) for size in shape if size != 1]
        return w.notation.scalar.join([*times, w.at(inner.args[0], POWER)]), PRODUCT
    return w.notation.call(node.attrs.kind, [w.at(x, SUM), *_axes(node, len(shape))]), ATOM


def _view(w: Formulas, node: Node) -> Written:
    x, data = node.args[0], node.attrs.data
    match node.attrs.kind:
        case "transpose" if data == (1, 0):
            return w.notation.transpose(w.at(x, ATOM)), POWER
        case "transpose":
            return w.notation.call("transpose", [w.at(x, SUM), str(data)]), ATOM
        case "slice":
            return w.notation.index(w.at(x, ATOM), _spans(data, w.graph.shape(x))), ATOM
        case "pad" if w.graph.shape(x) == node.shape:
            return w.notation.index(w.at(x, ATOM), _spans(data, node.shape)), ATOM  # turned round, back again
        case "pad" if len(node.shape) < 3 and _padded_axis(w.graph.shape(x), node) is not None:
            return _between_zeros(w, node, x)
        case "pad":
            place = w.notation.index("", _spans(data, node.shape))
            return w.notation.call("pad", [w.at(x, SUM), size_list(node.shape), place]), ATOM
        case "concatenate":
            return _concatenate(w, node)
        case "expand" if len(node.shape) < 3:
            return w.repeated(w.value(x), w.graph.shape(x), node.shape)
        case "expand":
            return w.notation.call("expand", [w.among_arrays(x, w.value(x))[0], size_list(node.shape)]), ATOM
    return _reshape(w, node, x)


def _reshape(w: Formulas, node: Node, x: int) -> Written:
    """A vector that becomes a column stays a vector, one that becomes a row is turned; the rows of a matrix one after
    another are vec."""
    shape, inner = w.graph.shape(x), w.graph[x]
    old, new = normal(shape), normal(node.shape)
    if old == new and len(shape) < 3:
        return w.value(x)
    if len(old) == 1 and len(node.shape) == 2 and node.shape[0] == 1:
        return w.notation.transpose(w.at(x, ATOM)), POWER
    if len(shape) == 2 and shape[0] == 1 and len(new) == 1:
        return w.notation.transpose(w.at(x, ATOM)), POWER
    if len(new) == 1 and len(shape) > 1 and len(node.shape) == 1:
        return w.notation.call("vec", [w.at(x, SUM)]), ATOM
    if len(node.shape) > 2 and len(shape) == 1 and tuple(item for item in node.shape if item != 1) == shape:
        return w.notation.index(w.at(x, ATOM), ["None" if item == 1 else ":" for item in node.shape]), ATOM
    if x not in w.labels and inner.family == "view" and inner.attrs.kind == "slice" and len(shape) > 2:
        spans = _spans(inner.attrs.data, w.graph.shape(inner.args[0]), drop=True)
        if tuple(size for size, span in zip(shape, spans, strict=True) if ":" in span) == node.shape:
            return w.notation.index(w.at(inner.args[0], ATOM), spans), ATOM
    return w.notation.call("reshape", [w.at(x, SUM), size_list(node.shape)]), ATOM


def _concatenate(w: Formulas, node: Node) -> Written:
    """Parts under each other or, with a comma, beside each other."""
    axis, parts = node.attrs.data[0], [_part(w, arg) for arg in node.args]
    if len(node.shape) > 2:
        return w.notation.call("join", [*parts, f"axis={axis}"]), ATOM
    return w.notation.join(parts) if axis == 0 else w.notation.beside(parts), ATOM


def _padded_axis(inner: Shape, node: Node) -> int | None:
    """The one axis along which zeros stand before or behind; None where they lie otherwise."""
    axes = [i for i, span in enumerate(node.attrs.data) if span != (0, node.shape[i], 1)]
    plain = len(axes) == 1 and node.attrs.data[axes[0]][2] == 1 and inner[axes[0]] != node.shape[axes[0]]
    return axes[0] if plain else None


def _between_zeros(w: Formulas, node: Node, x: int) -> Written:
    """An array with zeros before and behind it."""
    axis = _padded_axis(w.graph.shape(x), node)
    assert axis is not None
    start, length, _ = node.attrs.data[axis]
    sizes = (start, sized(node.shape[axis] - start - length))
    before, behind = (_zeros(w, tuple(n if i == axis else s for i, s in enumerate(node.shape))) for n in sizes)
    parts = [before] * (sizes[0] != 0) + [w.at(x, SUM)] + [behind] * (sizes[1] != 0)
    return w.notation.join(parts) if axis == 0 else w.notation.beside(parts), ATOM


def _zeros(w: Formulas, shape: Shape) -> str:
    if len(normal(shape)) < 2:
        return w.notation.zeros(size_shown(shape[0]))
    if shape[0] == 1:
        return w.notation.transpose(w.notation.zeros(size_shown(shape[1])))
    return w.notation.zeros(w.notation.by.join(map(size_shown, shape)))


def _part(w: Formulas, id: int) -> str:
    """A part of an array; of zeros it says how many."""
    text, shape = w.at(id, SUM), w.graph.shape(id)
    return _zeros(w, shape) if text == "0" and 0 < len(shape) < 3 else text


def _spans(spans: Sequence[tuple[Size, Size, int]], shape: Shape, drop: bool = False) -> list[str]:
    """Slices as a page shows them. One row or column of a matrix, or element of a vector, has a number alone; of larger
    arrays only where the axis is dropped."""
    alone = drop or len(shape) < 3
    return [_span(*span, size, alone) for span, size in zip(spans, shape, strict=True)]


def _span(start: Size, length: Size, step: int, size: Size, alone: bool) -> str:
    """A slice as NumPy reads it: at the ends of the axis, where a stop of -1 would mean the last, bounds are left out."""
    if (start, length, step) == (0, size, 1):
        return ":"
    if length == 1:
        return size_shown(start) if alone else f"{size_shown(start)}:{size_shown(sized(start + 1))}"
    stop = sized(start + length * step)
    first, last = size_shown(start), size_shown(stop)
    if step == 1:
        return f"{first}:{last}"
    if step > 0:
        return f"{first}:{'' if sign_of(sized(stop - size)) in (0, 1) else last}:{step}"
    return f"{'' if start == sized(size - 1) else first}:{'' if sign_of(stop) == -1 else last}:{step}"


def _gather(w: Formulas, node: Node) -> Written:
    x, index = (w.at(arg, SUM) for arg in node.args)
    axis = node.attrs.axis
    if node.attrs.kind == "scatter":
        which = [f"axis={axis}"] if axis else []
        return w.notation.call("scatter", [x, index, size_shown(node.shape[axis]), *which]), ATOM
    return w.notation.index(w.at(node.args[0], ATOM), [":"] * axis + [index]), ATOM


def _cumulate(w: Formulas, node: Node) -> Written:
    name = "reverse_cumsum" if node.attrs.reverse else "cumsum"
    which = [] if len(node.shape) < 2 else [f"axis={node.attrs.axis}"]
    return w.notation.call(name, [w.symbol(node.args[0]), *which]), ATOM


def _total(w: Formulas, node: Node) -> Written:
    return w.notation.sum_over_time + w.at(node.args[0], PRODUCT), PRODUCT


FAMILIES: dict[str, Callable[[Formulas, Node], Written]] = {
    "leaf": _leaf,
    "number": _number,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "total": _total,
}
