"""NumPy text for values: one expression each, batched over samples, or over steps and samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sympy as sp

from symbptt import ops
from symbptt.codegen.targets.numpy.product_text import LETTERS, Operand, presummed, product_text
from symbptt.codegen.targets.numpy.scalar_text import body_text, has_call
from symbptt.codegen.targets.numpy.text import (
    ATOM,
    SUM,
    Written,
    bracket,
    number_text,
    shape_text,
    size_text,
    size_written,
)
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import expanded, tree_of
from symbptt.ir.shape import Shape, Size


@dataclass(frozen=True)
class Scope:
    """The way values are written at one place of a module.

    `lead` are the axes before a value's own, ("T", "B") or ("B",). `refer(id)` is the text of a value that has a
    variable here, else None.
    """

    graph: Graph
    varying: frozenset[int]
    static: frozenset[int]
    lead: tuple[str, ...]
    refer: Callable[[int], str | None]
    renamed: dict[str, str]

    def size(self, value: Size, least: int = SUM) -> str:
        """Return a size as Python text, in the variables of the module, for a place that binds at least so tightly."""
        return size_text(value, self.renamed, least)

    def shape(self, lead: Sequence[str], shape: Shape) -> str:
        """Return a shape as Python text, the sample axes first."""
        return shape_text(lead, shape, self.renamed)

    def text(self, id: int, least: int = SUM) -> str:
        """Return the expression of a value, in brackets where it binds less tightly than `least`."""
        return bracket(self.written(id), least)

    def written(self, id: int) -> Written:
        """Return the expression of a value: its variable where it has one, else its formula."""
        name = self.refer(id)
        return (name, ATOM) if name is not None else self.formula(id)

    def formula(self, id: int) -> Written:
        """Return the formula of a value, in the variables of this place."""
        return LOWER[self.graph[id].family](self, self.graph[id])

    def axes(self, id: int) -> tuple[str, ...]:
        """Return the axes before a value's own: none where it is the same for all samples."""
        return self.lead if id in self.varying else ()


def _array(s: Scope, id: int, least: int = ATOM) -> str:
    """Return the text of a value where an array is required: Python numbers have no axes and no methods."""
    return f"np.asarray({s.text(id)}, dtype)" if id in s.static else s.text(id, least)


def _leaf(s: Scope, node: Node) -> Written:
    if node.attrs.role == "eye":
        return f"np.eye({size_text(node.attrs.name, s.renamed)}, dtype=dtype)", ATOM
    return size_written(node.attrs.name, s.renamed)


def _number(s: Scope, node: Node) -> Written:
    if not node.shape:
        return number_text(node.attrs.value), SUM if node.attrs.value < 0 else ATOM
    values = ", ".join(map(number_text, node.attrs.value))
    text = f"np.array([{values}], dtype)"
    return (text if len(node.shape) == 1 else f"{text}.reshape({s.shape((), node.shape)})"), ATOM


def _map(s: Scope, node: Node) -> Written:
    name = node.attrs.expr.func.__name__
    if name in ops.REMAINING:
        value = body_text(tree_of(ops.REMAINING[name].body(placeholder(0))), [s.written(node.args[0])])
        return remainder_text(s, node, value[0]), ATOM
    arithmetic = not hasattr(node.attrs.expr.func, "boolean") and node.attrs.expr.func is not ops.where
    parts = [_as_numbers(s, arg, _aligned(s, arg, node)) if arithmetic else _aligned(s, arg, node) for arg in node.args]
    tree = tree_of(expanded(node.attrs.expr))
    text, tightness = body_text(tree, parts)
    if (
        node.attrs.expr.func is ops.where
        and all(arg in s.static for arg in node.args[1:])
        and node.args[0] not in s.static
    ):
        return f"{text}.astype(dtype)", ATOM  # two literals would give float64
    if node.id in s.static and not node.shape and has_call(tree):
        return f"float({text})", ATOM  # a NumPy float64 would turn float32 arrays into float64
    return text, tightness


def remainder_text(s: Scope, node: Node, value: str) -> str:
    """Return the text of a remainder, given the text of its value, which is computed in place."""
    name = node.attrs.expr.func.__name__
    return f"_sharpened({value}, _{name}, lambda: {s.text(node.args[1])})"


def _as_numbers(s: Scope, arg: int, written: Written) -> Written:
    """Return a condition inside arithmetic in the type of the data: bool arrays would make float64 of it."""
    inline = is_bool(s.graph[arg]) and s.refer(arg) is None and arg not in s.static  # those are Python numbers
    return (f"{bracket(written, ATOM)}.astype(dtype)", ATOM) if inline else written


def _aligned(s: Scope, arg: int, node: Node) -> Written:
    """Return an argument with axes of size 1 between the sample axes and its own, where the result has more axes."""
    missing = len(node.shape) - len(s.graph.shape(arg))
    lead = s.axes(arg)
    if not missing or not lead:
        return s.written(arg)
    own = ["..."] if s.graph.shape(arg) else []
    return f"{s.text(arg, ATOM)}[{', '.join([':'] * len(lead) + ['None'] * missing + own)}]", ATOM


def is_bool(node: Node) -> bool:
    """Answer whether a value is a comparison or a combination of them."""
    return node.family == "map" and bool(getattr(node.attrs.expr.func, "boolean", False))


def _contract(s: Scope, node: Node) -> Written:
    out = (*s.axes(node.id), *(LETTERS[x] for x in node.attrs.out))
    return product_text(*_operands(s, node), out, _sizes(s, node))


def _operands(s: Scope, node: Node) -> tuple[Operand, Operand]:
    sides = zip(node.args, (node.attrs.a, node.attrs.b), strict=True)
    a, b = (Operand(s.text(arg, ATOM), (*s.axes(arg), *(LETTERS[x] for x in part))) for arg, part in sides)
    return a, b


def _sizes(s: Scope, node: Node) -> dict[str, Written]:
    shapes = [s.graph.shape(arg) for arg in node.args]
    pairs = zip(node.attrs.a + node.attrs.b, shapes[0] + shapes[1], strict=True)
    return {LETTERS[x]: size_written(item, s.renamed) for x, item in pairs} | {x: (x, ATOM) for x in ("T", "K", "B")}


def _reduce(s: Scope, node: Node) -> Written:
    x = node.args[0]
    rank = len(s.graph.shape(x))
    # Counted from the end, axes do not depend on the sample axes in front.
    axes = [axis - rank for axis in node.attrs.axes]
    whole = len(axes) == rank and not s.axes(x)
    axis = "" if whole else str(axes[0]) if len(axes) == 1 else f"({', '.join(map(str, axes))})"
    # NumPy sums bools to int64.
    kind = ", ".join([axis] * bool(axis) + ["dtype=dtype"] * is_bool(s.graph[x]))
    return f"{_array(s, x)}.{node.attrs.kind}({kind})", ATOM


def _view(s: Scope, node: Node) -> Written:
    return VIEWS[node.attrs.kind](s, node), ATOM


def _transpose(s: Scope, node: Node) -> str:
    x, order, lead = node.args[0], node.attrs.data, len(s.axes(node.args[0]))
    if order == (1, 0) and not lead:
        return f"{_array(s, x)}.T"
    if order == (1, 0):
        return f"{_array(s, x)}.swapaxes(-1, -2)"
    return f"{_array(s, x)}.transpose({', '.join(map(str, [*range(lead), *(i + lead for i in order)]))})"


def _reshape(s: Scope, node: Node) -> str:
    x = node.args[0]
    if node.shape == s.graph.shape(x):
        return _array(s, x)
    return f"{_array(s, x)}.reshape({s.shape(s.axes(x), node.shape)})"


def _expand(s: Scope, node: Node) -> str:
    x = node.args[0]
    text = _aligned(s, x, node)[0]
    text = f"np.asarray({text}, dtype)" if x in s.static else text  # Python's numbers make float64 arrays
    return f"np.broadcast_to({text}, {s.shape(s.axes(x), node.shape)})"


def index_text(s: Scope, data: Sequence[tuple[Size, Size, int]], shape: Shape) -> str:
    """Return the index of a part of an array: start, length and step for each of its own axes."""
    return ", ".join(["...", *(_span(s, *span, size) for span, size in zip(data, shape, strict=True))])


def _span(s: Scope, start: Size, length: Size, step: int, size: Size) -> str:
    if (start, length, step) == (0, size, 1):
        return ":"
    if step < 0:
        first = start + (length - 1) * step
        # Down to element 0 the stop must be left out: -1 would mean the last element.
        stop = "" if first == 0 else s.size(first - 1)
        return f"{'' if start == size - 1 else s.size(start)}:{stop}:{step}"
    # One behind the last element; start + length * step may lie beyond the end of the axis.
    stop = sp.expand(start + (length - 1) * step + 1)
    text = f"{'' if start == 0 else s.size(start)}:{'' if stop == size else s.size(stop)}"
    return text + (f":{step}" if step != 1 else "")


def _slice(s: Scope, node: Node) -> str:
    return f"{_array(s, node.args[0])}[{index_text(s, node.attrs.data, s.graph.shape(node.args[0]))}]"


def _pad(s: Scope, node: Node) -> str:
    x = node.args[0]
    index = index_text(s, node.attrs.data, node.shape)
    return f"_padded({_array(s, x, SUM)}, {s.shape(s.axes(x), node.shape)}, np.s_[{index}])"


def _concatenate(s: Scope, node: Node) -> str:
    """Return the text of concatenated values, contiguous.

    NumPy concatenates transposed weights into an array that lies transposed, of which products would read columns: it
    is copied once.
    """
    text = _joined(s, node)
    return f"np.ascontiguousarray({text})" if not s.axes(node.id) and is_turned(s, node) else text


def is_turned(s: Scope, node: Node) -> bool:
    """Answer whether a value is written as a view of an array that lies in memory in another order, or concatenates
    some."""
    if node.family != "view" or node.attrs.kind in ("pad", "expand"):
        return False
    return node.attrs.kind == "transpose" or any(
        s.refer(arg) is None and is_turned(s, s.graph[arg]) for arg in node.args
    )


def _joined(s: Scope, node: Node) -> str:
    lead = s.axes(node.id)
    if not lead and (layers := _layers(s, node)):
        return f"np.stack([{', '.join(s.text(arg) for arg in layers)}])"
    plain = [s.axes(arg) == lead and arg not in s.static for arg in node.args]
    parts = [
        s.text(arg) if is_plain else _spread_to(s, arg, lead) for arg, is_plain in zip(node.args, plain, strict=True)
    ]
    return f"np.concatenate([{', '.join(parts)}], {node.attrs.data[0] - len(node.shape)})"


def _layers(s: Scope, node: Node) -> list[int]:
    """Return the values that a concatenation stacks along a new first axis; none where it does another thing."""
    parts = [s.graph[arg] for arg in node.args]
    new = all(
        part.family == "view" and part.attrs.kind == "reshape" and part.shape == (1, *s.graph.shape(part.args[0]))
        for part in parts
    )
    layers = [part.args[0] for part in parts] if new and node.attrs.data == (0,) else []
    return [] if any(s.refer(arg) for arg in node.args) or any(id in s.static for id in layers) else layers


def _spread_to(s: Scope, arg: int, lead: tuple[str, ...]) -> str:
    """Return a value that is the same for all samples, repeated for each."""
    text = f"np.asarray({s.text(arg)}, dtype)" if arg in s.static else s.text(arg)
    shape = s.graph.shape(arg)
    return f"np.broadcast_to({text}, {s.shape(lead, shape)})" if lead else text


def _gather(s: Scope, node: Node) -> Written:
    table, index = node.args
    if node.attrs.kind == "scatter":
        lead = s.axes(node.id)
        return f"_scattered({s.text(table)}, {s.text(index)}, {node.attrs.axis}, {s.shape(lead, node.shape)})", ATOM
    if node.attrs.axis == 0 and not s.axes(table):
        return f"{s.text(table, ATOM)}[{s.text(index)}]", ATOM
    return f"_gathered({s.text(table)}, {s.text(index)}, {node.attrs.axis}, {bool(s.axes(table))})", ATOM


def _cumulate(s: Scope, node: Node) -> Written:
    x, axis = node.args[0], node.attrs.axis - len(node.shape)
    if node.attrs.reverse:
        return f"np.flip(np.cumsum(np.flip({s.text(x)}, {axis}), {axis}), {axis})", ATOM
    return f"np.cumsum({s.text(x)}, {axis})", ATOM


def _total(s: Scope, node: Node) -> Written:
    x = node.args[0]
    inner = s.graph[x]
    if s.refer(x) is None and inner.family == "contract":
        a, b = _operands(s, inner)
        out = tuple(LETTERS[i] for i in inner.attrs.out)
        return product_text(presummed(a, b), presummed(b, a), out, _sizes(s, inner))
    if s.refer(x) is None and inner.family == "gather" and inner.attrs.kind == "scatter":
        bar, index = inner.args
        return f"_collected({s.text(bar)}, {s.text(index)}, {inner.attrs.axis}, {s.shape((), node.shape)})", ATOM
    kind = ", dtype=dtype" if is_bool(inner) else ""
    return f"{s.text(x, ATOM)}.sum({tuple(range(len(s.axes(x))))!s}{kind})", ATOM


VIEWS: dict[str, Callable[[Scope, Node], str]] = {
    "transpose": _transpose,
    "reshape": _reshape,
    "expand": _expand,
    "slice": _slice,
    "pad": _pad,
    "concatenate": _concatenate,
}

LOWER: dict[str, Callable[[Scope, Node], Written]] = {
    "leaf": _leaf,
    "number": _number,
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "total": _total,
}
