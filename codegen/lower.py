"""NumPy text for values: one expression each, batched over samples, or over steps and samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import sympy as sp

from symbptt import ops
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_python, expanded, indices, tree_of
from symbptt.ir.shape import Shape, Size
from symbptt.ir.shape import size_text as plain_size_text

SUM, PRODUCT, POWER, ATOM = range(1, 5)
Written = tuple[str, int]
LETTERS = "abcdefghijklmnopqrsuvwxyz"


@dataclass(frozen=True)
class Scope:
    """How values are written at one place of a module: `lead` are the axes before a value's own, ("T", "B") or ("B",);
    `refer(id)` is the text of a value that has a variable here, else None."""

    graph: Graph
    varying: set[int]
    static: set[int]
    lead: tuple[str, ...]
    refer: Callable[[int], str | None]
    helpers: set[str]
    renamed: dict[str, str]

    def size(self, value: Size) -> str:
        """Return a size as Python text, in the variables of the module."""
        return size_text(value, self.renamed)

    def shape(self, lead: Sequence[str], shape: Shape) -> str:
        """Return a shape as Python text, the sample axes first."""
        return shape_text(lead, shape, self.renamed)

    def text(self, id: int, least: int = SUM) -> str:
        """Return the expression of a value, in brackets where it binds less tightly than `least`."""
        written, tightness = self.written(id)
        return written if tightness >= least else f"({written})"

    def written(self, id: int) -> Written:
        """Return the expression of a value: its variable where it has one, else its formula."""
        name = self.refer(id)
        return (name, ATOM) if name is not None else self.formula(id)

    def formula(self, id: int) -> Written:
        """Return the formula of a value, in the variables of this place."""
        return LOWER[self.graph[id].family](self, self.graph[id])

    def axes(self, id: int) -> tuple[str, ...]:
        """Return the axes that stand before a value's own: none where it is the same for all samples."""
        return self.lead if id in self.varying else ()


def size_text(value: Size | str, renamed: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a size as Python text; `renamed` holds the variables of sizes whose name is taken."""
    text = plain_size_text(value)
    return re.sub(r"[^\W\d]\w*", lambda match: renamed.get(match[0], match[0]), text) if renamed else text


def shape_text(lead: Sequence[str], shape: Shape, renamed: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a shape as Python text, the sample axes first."""
    inside = [*lead, *(size_text(item, renamed) for item in shape)]
    return f"({', '.join(inside)}{',' if len(inside) == 1 else ''})"


def _leaf(s: Scope, node: Node) -> Written:
    text = size_text(node.attrs.name, s.renamed)
    return text, ATOM if text.isidentifier() else SUM


def _number(s: Scope, node: Node) -> Written:
    if not node.shape:
        return repr(node.attrs.value), ATOM if node.attrs.value >= 0 else SUM
    values = ", ".join(repr(v) for v in node.attrs.value)
    text = f"np.array([{values}], dtype)"
    return (text if len(node.shape) == 1 else f"{text}.reshape({s.shape((), node.shape)})"), ATOM


def _map(s: Scope, node: Node) -> Written:
    arithmetic = not hasattr(node.attrs.expr.func, "boolean") and node.attrs.expr.func is not ops.where
    parts = [_as_numbers(s, arg, _aligned(s, arg, node)) if arithmetic else _aligned(s, arg, node) for arg in node.args]
    tree = tree_of(expanded(node.attrs.expr))
    text, tightness = _tree(tree, parts)
    if node.id in s.static and not node.shape and _has_call(tree):
        return f"float({text})", ATOM  # a NumPy float64 would turn float32 arrays into float64
    return text, tightness


def _as_numbers(s: Scope, arg: int, written: Written) -> Written:
    """A condition inside arithmetic, in the type of the data: bool arrays would make float64 of it."""
    inline = is_bool(s.graph[arg]) and s.refer(arg) is None
    return (f"{_bracket(written, ATOM)}.astype(dtype)", ATOM) if inline else written


def _has_call(tree: Tree) -> bool:
    match tree:
        case Call() | Power():
            return True
        case Sum(terms):
            return any(_has_call(term) for _, term in terms)
        case Prod(factors, divisors):
            return any(map(_has_call, factors + divisors))
    return False


def _aligned(s: Scope, arg: int, node: Node) -> Written:
    """An argument with axes of size 1 between the sample axes and its own, where the result has more axes."""
    missing = len(node.shape) - len(s.graph.shape(arg))
    lead = s.axes(arg)
    if not missing or not lead:
        return s.written(arg)
    own = ["..."] if s.graph.shape(arg) else []
    return f"{s.text(arg, ATOM)}[{', '.join([':'] * len(lead) + ['None'] * missing + own)}]", ATOM


def _tree(tree: Tree, parts: list[Written]) -> Written:
    match tree:
        case Ref(index):
            return parts[index]
        case Num(value):
            return repr(as_python(value)), ATOM
        case Sum(terms):
            return _sum(terms, parts), SUM
        case Prod(factors, divisors):
            return _product(factors, divisors, parts), PRODUCT
        case Power(base, exponent):
            return _power(base, exponent, parts)
        case Call(name, args):
            return _call(name, args, parts)
    raise AssertionError(tree)


def _bracket(written: Written, least: int) -> str:
    return written[0] if written[1] >= least else f"({written[0]})"


def _sum(terms: tuple[tuple[int, Tree], ...], parts: list[Written]) -> str:
    text = ""
    for i, (sign, term) in enumerate(terms):
        written = _bracket(_tree(term, parts), SUM if sign > 0 else PRODUCT)
        if i and sign > 0 and written.startswith("-"):
            sign, written = -1, written[1:]
        text += ((" - " if sign < 0 else " + ") if i else ("-" if sign < 0 else "")) + written
    return text


def _product(factors: tuple[Tree, ...], divisors: tuple[Tree, ...], parts: list[Written]) -> str:
    above = [_bracket(_tree(f, parts), PRODUCT if i == 0 else POWER) for i, f in enumerate(factors)]
    below = [_bracket(_tree(d, parts), POWER) for d in divisors]
    return " * ".join(above) + "".join(f" / {d}" for d in below)


def _power(base: Tree, exponent: Tree, parts: list[Written]) -> Written:
    written = _tree(base, parts)
    if exponent == Num(sp.Integer(2)) and isinstance(base, Ref) and written[0].replace("_", "").replace("[t]", "").isalnum():
        return f"{written[0]} * {written[0]}", PRODUCT
    return f"{_bracket(written, ATOM)} ** {_bracket(_tree(exponent, parts), ATOM)}", POWER


def _call(name: str, args: tuple[Tree, ...], parts: list[Written]) -> Written:
    code = ops.BY_NAME[name].code
    inner = [_tree(arg, parts) for arg in args]
    if name == "sigmoid":
        return f"1 / (1 + np.exp({_negated(args[0], inner[0])}))", PRODUCT
    operators = name in ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
    text = code.format(*(_bracket(w, PRODUCT) if operators else w[0] for w in inner))
    if name == "where" and not any(indices(arg) for arg in args[1:]):
        text += ".astype(dtype)"  # two literals would give float64
    return text, ATOM


def _negated(tree: Tree, written: Written) -> str:
    if isinstance(tree, Sum) and len(tree.terms) == 1 and tree.terms[0][0] < 0:
        return written[0].removeprefix("-")
    return f"-{_bracket(written, POWER)}"


def is_bool(node: Node) -> bool:
    """Answer whether a value is a comparison or a combination of them."""
    return node.family == "map" and getattr(node.attrs.expr.func, "boolean", False)


@dataclass(frozen=True)
class Operand:
    """An operand of a product: its text and its axes by label, sample axes included."""

    text: str
    labels: tuple[str, ...]


def _contract(s: Scope, node: Node) -> Written:
    return product_text(*_operands(s, node), _lead_out(s, node), _sizes(s, node))


def _operands(s: Scope, node: Node) -> tuple[Operand, Operand]:
    sides = zip(node.args, (node.attrs.a, node.attrs.b), strict=True)
    a, b = (Operand(s.text(arg, ATOM), (*s.axes(arg), *(LETTERS[x] for x in part))) for arg, part in sides)
    return a, b


def _lead_out(s: Scope, node: Node) -> tuple[str, ...]:
    return (*s.axes(node.id), *(LETTERS[x] for x in node.attrs.out))


def _sizes(s: Scope, node: Node) -> dict[str, str]:
    shapes = [s.graph.shape(arg) for arg in node.args]
    pairs = zip(node.attrs.a + node.attrs.b, shapes[0] + shapes[1], strict=True)
    return {LETTERS[x]: s.size(item) for x, item in pairs} | {"T": "T", "B": "B"}


def product_text(a: Operand, b: Operand, out: tuple[str, ...], sizes: dict[str, str]) -> Written:
    """Return the text of a product: one matrix product where no axis is shared by both operands and the result."""
    summed = [x for x in a.labels if x in b.labels and x not in out]
    shared = [x for x in a.labels if x in b.labels and x in out]
    if not summed:
        return _outer(a, b, out), PRODUCT
    if shared:
        spec = f"{''.join(a.labels)},{''.join(b.labels)}->{''.join(out)}"
        return f'np.einsum("{spec}", {a.text}, {b.text})', ATOM
    free_a, free_b = [x for x in a.labels if x not in summed], [x for x in b.labels if x not in summed]
    if tuple(free_b + free_a) == out and (tuple(free_a + free_b) != out or not free_a):
        a, b, free_a, free_b = b, a, free_b, free_a
    left, right = _matrix(a, free_a, summed, sizes), _matrix(b, summed, free_b, sizes)
    text = f"{left} @ {right}"
    joined = tuple(free_a + free_b)
    if len(free_a) > 1 or len(free_b) > 1:
        text = f"({text}).reshape({', '.join(sizes[x] for x in joined)})"
        return _reordered(text, joined, out)
    if joined != out:
        return _reordered(f"({text})", joined, out)
    return text, PRODUCT


def _reordered(text: str, labels: tuple[str, ...], out: tuple[str, ...]) -> Written:
    if labels == out:
        return text, ATOM
    return f"{text}.transpose({', '.join(str(labels.index(x)) for x in out)})", ATOM


def _matrix(operand: Operand, rows: list[str], columns: list[str], sizes: dict[str, str]) -> str:
    """An operand as a matrix (or as a vector, where it has no rows or no columns)."""
    text, labels = operand.text, operand.labels
    turn = list(labels) == columns + rows and list(labels) != rows + columns
    groups = [group for group in ((columns, rows) if turn else (rows, columns)) if group]
    order = [x for group in groups for x in group]
    if list(labels) != order:
        text = f"{text}.transpose({', '.join(str(labels.index(x)) for x in order)})"
    if any(len(group) > 1 for group in groups):
        text = f"{text}.reshape({', '.join(' * '.join(sizes[x] for x in group) for group in groups)})"
    return f"{text}.T" if turn and len(groups) == 2 else text


def _outer(a: Operand, b: Operand, out: tuple[str, ...]) -> str:
    return " * ".join(_spread(side, out) for side in (a, b))


def _spread(side: Operand, out: tuple[str, ...]) -> str:
    order = [x for x in out if x in side.labels]
    text = side.text if order == list(side.labels) else f"{side.text}.transpose({', '.join(str(side.labels.index(x)) for x in order)})"
    index = ", ".join(":" if x in side.labels else "None" for x in out)
    return text if "None" not in index else f"{text}[{index}]"


def _reduce(s: Scope, node: Node) -> Written:
    x = node.args[0]
    rank = len(s.graph.shape(x))
    axes = [axis - rank for axis in node.attrs.axes]
    whole = len(axes) == rank and not s.axes(x)
    axis = "" if whole else str(axes[0]) if len(axes) == 1 else f"({', '.join(map(str, axes))})"
    kind = ", ".join([axis] * bool(axis) + ["dtype=dtype"] * is_bool(s.graph[x]))
    return f"{s.text(x, ATOM)}.{node.attrs.kind}({kind})", ATOM


def _view(s: Scope, node: Node) -> Written:
    return VIEWS[node.attrs.kind](s, node), ATOM


def _transpose(s: Scope, node: Node) -> str:
    x, order, lead = node.args[0], node.attrs.data, len(s.axes(node.args[0]))
    if order == (1, 0) and not lead:
        return f"{s.text(x, ATOM)}.T"
    if order == (1, 0):
        return f"{s.text(x, ATOM)}.swapaxes(-1, -2)"
    return f"{s.text(x, ATOM)}.transpose({', '.join(map(str, [*range(lead), *(i + lead for i in order)]))})"


def _reshape(s: Scope, node: Node) -> str:
    x = node.args[0]
    return f"{s.text(x, ATOM)}.reshape({s.shape(s.axes(x), node.shape)})"


def _expand(s: Scope, node: Node) -> str:
    x = node.args[0]
    return f"np.broadcast_to({_aligned(s, x, node)[0]}, {s.shape(s.axes(x), node.shape)})"


def _index(s: Scope, data: Sequence[tuple[Size, Size, int]], shape: Shape) -> str:
    return ", ".join(["...", *(_span(s, *span, size) for span, size in zip(data, shape, strict=True))])


def _span(s: Scope, start: Size, length: Size, step: int, size: Size) -> str:
    if (start, length, step) == (0, size, 1):
        return ":"
    if step < 0:
        first = start + (length - 1) * step
        stop = "" if first == 0 else s.size(first - 1)
        return f"{'' if start == size - 1 else s.size(start)}:{stop}:{step}"
    stop = sp.expand(start + (length - 1) * step + 1)
    text = f"{'' if start == 0 else s.size(start)}:{'' if stop == size else s.size(stop)}"
    return text + (f":{step}" if step != 1 else "")


def _slice(s: Scope, node: Node) -> str:
    return f"{s.text(node.args[0], ATOM)}[{_index(s, node.attrs.data, s.graph.shape(node.args[0]))}]"


def _pad(s: Scope, node: Node) -> str:
    s.helpers.add("_padded")
    x = node.args[0]
    return f"_padded({s.text(x)}, {s.shape(s.axes(x), node.shape)}, np.s_[{_index(s, node.attrs.data, node.shape)}])"


def _concatenate(s: Scope, node: Node) -> str:
    lead = s.axes(node.id)
    parts = [s.text(arg) if s.axes(arg) == lead and arg not in s.static else _spread_to(s, arg, lead) for arg in node.args]
    return f"np.concatenate([{', '.join(parts)}], {node.attrs.data[0] - len(node.shape)})"


def _spread_to(s: Scope, arg: int, lead: tuple[str, ...]) -> str:
    """A value that is the same for all samples, repeated for each."""
    text = f"np.asarray({s.text(arg)}, dtype)" if arg in s.static else s.text(arg)
    shape = s.graph.shape(arg)
    return f"np.broadcast_to({text}, {s.shape(lead, shape)})" if lead else text


def _gather(s: Scope, node: Node) -> Written:
    table, index = node.args
    if node.attrs.kind == "scatter":
        s.helpers.add("_scattered")
        lead = s.axes(node.id)
        return f"_scattered({s.text(table)}, {s.text(index)}, {node.attrs.axis}, {s.shape(lead, node.shape)})", ATOM
    if node.attrs.axis == 0 and not s.axes(table):
        return f"{s.text(table, ATOM)}[{s.text(index)}]", ATOM
    s.helpers.add("_gathered")
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
        a, b = (_presummed(side, other) for side, other in _both(_operands(s, inner)))
        return product_text(a, b, tuple(LETTERS[i] for i in inner.attrs.out), _sizes(s, inner))
    if s.refer(x) is None and inner.family == "gather" and inner.attrs.kind == "scatter":
        s.helpers.add("_collected")
        bar, index = inner.args
        return f"_collected({s.text(bar)}, {s.text(index)}, {inner.attrs.axis}, {s.shape((), node.shape)})", ATOM
    kind = ", dtype=dtype" if is_bool(inner) else ""
    return f"{s.text(x, ATOM)}.sum({str(tuple(range(len(s.axes(x)))))}{kind})", ATOM


def _both(pair: tuple[Operand, Operand]) -> list[tuple[Operand, Operand]]:
    return [(pair[0], pair[1]), (pair[1], pair[0])]


def _presummed(side: Operand, other: Operand) -> Operand:
    """An operand summed over the sample axes that it alone has."""
    alone = [i for i, x in enumerate(side.labels) if x in ("T", "B") and x not in other.labels]
    if not alone:
        return side
    return Operand(f"{side.text}.sum({tuple(alone)})", tuple(x for i, x in enumerate(side.labels) if i not in alone))


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

HELPERS = {
    "_padded": '''def _padded(x, shape, index):
    """Return zeros with x at an index."""
    out = np.zeros(shape, x.dtype)
    out[index] = x
    return out
''',
    "_gathered": '''def _gathered(table, index, axis, own):
    """Return the slice of a table at the integer of each sample; `own`: each sample has a table of its own."""
    table = np.moveaxis(table, axis + index.ndim * own, index.ndim * own)
    if not own:
        return table[index]
    return np.take_along_axis(table, index.reshape(index.shape + (1,) * (table.ndim - index.ndim)), index.ndim).squeeze(index.ndim)
''',
    "_scattered": '''def _scattered(x, index, axis, shape):
    """Return zeros for each sample with x at its integer along an axis."""
    out = np.zeros(shape, x.dtype)
    at = np.expand_dims(index, tuple(range(index.ndim, len(shape))))
    np.put_along_axis(out, at, np.expand_dims(x, index.ndim + axis), index.ndim + axis)
    return out
''',
    "_collected": '''def _collected(x, index, axis, shape):
    """Return the sum over all samples of zeros with x at the sample's integer along an axis."""
    out = np.zeros(shape, x.dtype)
    np.add.at(np.moveaxis(out, axis, 0), index, x)
    return out
''',
}
"""Functions that a module carries where it calls them."""
