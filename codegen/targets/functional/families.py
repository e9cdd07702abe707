"""Values as formulas over whole arrays, one rule a family, for any number of axes of steps and samples in front.

Example: z = sigmoid(W x + u) of one sample is `torch.sigmoid(x @ W.T + u)` for all steps at once, where x has the axes (T, B), and in a
step, where it has the axis (B,) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import sympy as sp

from symbptt.codegen.program.names import Named
from symbptt.codegen.targets.functional.scalars import ATOM, PRODUCT, Bodies, Text, bracketed, number
from symbptt.codegen.targets.functional.tables import Table
from symbptt.codegen.targets.python.text import nested_text, shape_text, size_text
from symbptt.errors import CellError, three_lines
from symbptt.ir.algebra import RECORDS
from symbptt.ir.naming import unique
from symbptt.ir.node import Node
from symbptt.ir.scalar import expanded, tree_of
from symbptt.ir.shape import Shape

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LEAD_LETTERS = "TB"
"""The letters of the axes of steps and samples in products, which no axis of a value has."""


@dataclass(frozen=True)
class Scope:
    """Where formulas stand: `lead` are the axes of steps and samples there, `names` the variables of the values that are there.

    `turned` collects weights whose axes are put in order once, before any step, for the products that read them.
    """

    module: Named
    table: Table
    lead: tuple[str, ...]
    names: Mapping[int, str]
    turned: dict[tuple[int, tuple[int, ...]], tuple[str, str]] = field(default_factory=dict)

    def axes(self, id: int) -> tuple[str, ...]:
        """Return the axes that a value has before its own: what is the same at all steps has that of samples alone."""
        return self.lead if id in self.module.timed else self.lead[-1:] if id in self.module.varying else ()

    def own(self, id: int) -> Shape:
        """Return the axes of a value of one sample and step."""
        return self.module.program.graph.shape(id)

    def shape(self, lead: Sequence[str], shape: Shape) -> str:
        """Return a shape as text."""
        return shape_text(lead, shape, self.module.sizes)

    def size(self, value: object) -> str:
        """Return a size as text that may stand beside a multiplication."""
        return size_text(value, self.module.sizes, PRODUCT)


def formula(s: Scope, id: int) -> Text:
    """Return a value as a formula: its variable, or its own formula where it has none."""
    return Text(s.names[id]) if id in s.names else own_formula(s, id)


def own_formula(s: Scope, id: int) -> Text:
    """Return the formula that computes a value."""
    node = s.module.program.graph[id]
    # A number needs no array: the frameworks fold it, and a type of its own would promote what it meets.
    return static(s, node) if id in s.module.static else FAMILIES[node.family](s, node)


def array(s: Scope, id: int) -> Text:
    """Return a value as an array of numbers of the type of the data, which anything may follow."""
    return bracketed(_numbers(s, id))


def _numbers(s: Scope, id: int) -> Text:
    bodies = bodies_of(s, s.module.program.graph[id])
    return bodies.as_array(bodies.as_real(formula(s, id)))


def lifted(s: Scope, id: int, lead: Sequence[str] | None = None) -> str:
    """Return a value as an array that has all axes of steps and samples, or those of `lead`, repeated along those that it lacks."""
    lead = s.lead if lead is None else tuple(lead)
    x = _numbers(s, id)
    return x.text if s.axes(id) == lead else s.table.broadcast.format(x.at(ATOM), s.shape(lead, s.own(id)))


def refused(node: Node, words: str, table: Table) -> CellError:
    """Return the error for what a framework does not have."""
    return CellError(
        three_lines(
            f"the {table.name} target does not have {words}",
            node.place,
            'write sb.compile(cell) for a NumPy module that has it, or backend="kernel" to run that inside of the framework',
        )
    )


def bodies_of(s: Scope, node: Node) -> Bodies:
    """Return how elementwise bodies are written; what lacks is refused at the line of a value."""
    return Bodies(s.table, lambda name: refused(node, f"the function {name}", s.table))


def static(s: Scope, node: Node) -> Text:
    """Return a number that is known before any array: a literal, a size, a constant, or a function of them."""
    if node.family == "number":
        return number(node.attrs.value)
    if node.family == "map":
        return bodies_of(s, node).real(tree_of(expanded(node.attrs.expr)), [formula(s, arg) for arg in node.args])
    if node.attrs.role == "size":
        text = size_text(node.attrs.name, s.module.sizes)
        return Text(text, ATOM if text.isidentifier() else 0, is_number=True)
    return number(float(_default(s, node.attrs.name)))


def _default(s: Scope, name: str) -> np.ndarray:
    return next(np.asarray(a.default, float) for a in s.module.program.arguments if a.name == name)


def _leaf(s: Scope, node: Node) -> Text:
    if node.attrs.role == "eye":
        return Text(s.table.eye.format(size_text(node.shape[0], s.module.sizes)))
    values = _default(s, node.attrs.name)
    text = s.table.array.format(nested_text(values.tolist()))
    # A default may be one number for a whole vector.
    same = values.shape == tuple(node.shape)
    return Text(text if same else s.table.broadcast.format(text, s.shape((), node.shape)))


def _number(s: Scope, node: Node) -> Text:
    values = np.reshape(np.asarray(node.attrs.value, float), [int(n) for n in node.shape])
    return Text(s.table.array.format(nested_text(values.tolist())))


def _map(s: Scope, node: Node) -> Text:
    parts = [_beside(s, arg, node.shape) for arg in node.args]
    return bodies_of(s, node).text(tree_of(expanded(node.attrs.expr)), parts)


def _beside(s: Scope, arg: int, shape: Shape) -> Text:
    """Return a value with axes of length one behind those of steps and samples, where the result has more axes."""
    # Axes of the annotation broadcast from the right, as in NumPy; steps and samples stand in front of all of them.
    lead, missing = s.axes(arg), len(shape) - len(s.own(arg))
    x = formula(s, arg)
    if not lead or not missing:
        return x
    x = bracketed(bodies_of(s, s.module.program.graph[arg]).as_real(x))
    # NumPy would broadcast in front of all axes; the samples stay first.
    behind = ["..."] * bool(s.own(arg))
    return Text(f"{x.text}[{', '.join([*[':'] * len(lead), *['None'] * missing, *behind])}]")


def _contract(s: Scope, node: Node) -> Text:
    """Return a product: of values of steps with a weight as one matrix product, others by their indices."""
    (left, right), (a, b) = node.args, (node.attrs.a, node.attrs.b)
    # The weight first: a product commutes with its labels, and one rule then serves both orders.
    if left in s.module.varying and right not in s.module.varying:
        left, right, a, b = right, left, b, a
    found = _of_weight(s, node, left, right, a, b) if left not in s.module.varying else None
    return found or _by_indices(s, node, s.axes(node.id))


def _of_weight(s: Scope, node: Node, weight: int, x: int, w: Sequence[int], rows: Sequence[int]) -> Text | None:
    """Return the product of the vectors of all samples with a weight, whose other axes are those of the result."""
    # One axis is summed over and all others stay, in order: else the result of the matrix product lies otherwise.
    free = [label for label in w if label not in rows]
    if x not in s.module.varying or len(rows) != 1 or rows[0] not in w or not free or tuple(free) != node.attrs.out:
        return None
    vectors = array(s, x).text
    # For all samples at once: x Wᵀ has the samples as rows, where W x has them as columns.
    if len(w) == 2:
        matrix = array(s, weight).text
        return Text(f"{vectors} @ {matrix}{'.T' if w[1] == rows[0] else ''}", PRODUCT)
    name = turned(s, weight, [w.index(rows[0]), *(w.index(label) for label in free)])
    return Text(f"({vectors} @ {name}).reshape{s.shape(s.axes(node.id), node.shape)}")


def turned(s: Scope, weight: int, order: Sequence[int]) -> str:
    """Return the name of a weight as a matrix of one row for each entry of a vector; it is put in order before any step."""
    key, shape = (weight, tuple(order)), s.own(weight)
    if key not in s.turned:
        # A weight of more axes is a matrix whose columns are all of them but the one that is summed over.
        columns = " * ".join(s.size(shape[i]) for i in order[1:])
        text = s.table.transpose.format(array(s, weight).text, tuple(order))
        taken = {*s.names.values(), *(name for name, _ in s.turned.values())}
        name = unique(f"{s.names.get(weight, 'weight')}_columns", taken)
        s.turned[key] = name, f"{text}.reshape({size_text(shape[order[0]], s.module.sizes)}, {columns})"
    return s.turned[key][0]


def _by_indices(s: Scope, node: Node, lead: Sequence[str]) -> Text:
    """Return a product by its indices; the axes of steps and samples that `lead` does not have are summed over."""

    def side(axes: Sequence[str], labels: Sequence[int]) -> str:
        letters = LEAD_LETTERS[len(LEAD_LETTERS) - len(axes) :]
        return letters + "".join(LETTERS[i] for i in labels)

    terms = ",".join(
        side(s.axes(id), labels) for id, labels in zip(node.args, (node.attrs.a, node.attrs.b), strict=True)
    )
    return Text(
        s.table.einsum.format(f'"{terms}->{side(lead, node.attrs.out)}"', *(array(s, id).text for id in node.args))
    )


def _total(s: Scope, node: Node) -> Text:
    """Return the sum of a value over steps and samples, or over either: of a product one product of all of them."""
    (x,) = node.args
    inner, axes, ends = s.module.program.graph[x], s.axes(x), _summed(s, node)
    # The same at all steps, or samples: the sum is so many times the value.
    times = [name for name in ends if name not in axes]
    stays, summed = [name for name in axes if name not in ends], [name for name in axes if name in ends]
    # Named values are there already; others need not be made for each step before they are summed.
    if x not in s.names and summed and not times:
        if inner.family == "contract":
            return _sum_of_product(s, inner, stays)
        if inner.family == "gather" and inner.attrs.kind == "scatter" and axes == s.lead and not stays:
            return _collected(s, inner)
    value = array(s, x).text
    found = s.table.sum.format(value, tuple(map(axes.index, summed))) if summed else value
    return Text(f"{found} * ({' * '.join(times)})", PRODUCT) if times else Text(found)


def _summed(s: Scope, node: Node) -> tuple[str, ...]:
    """Return the axes that a total takes the sum over."""
    steps, samples = s.lead
    return {"all": s.lead, "steps": (steps,), "samples": (samples,)}[node.attrs.over]


def _sum_of_product(s: Scope, node: Node, stays: Sequence[str]) -> Text:
    left, right = node.args
    a, b = node.attrs.a, node.attrs.b
    # Of outer products the sum over steps and samples is one product of matrices, δᵀ X, which is what a BLAS is for.
    outer = len(a) == len(b) == 1 and a != b and not stays and s.axes(left) == s.axes(right)
    if not outer or node.attrs.out not in ((*a, *b), (*b, *a)):
        return _by_indices(s, node, stays)
    # The transposed outer product is that of the exchanged factors.
    if node.attrs.out != (*a, *b):
        left, right = right, left
    rows = " * ".join(s.axes(left))
    first, second = (
        f"{array(s, id).text}.reshape({rows}, {size_text(s.own(id)[0], s.module.sizes)})" for id in (left, right)
    )
    return Text(f"{first}.T @ {second}", PRODUCT)


def _reduce(s: Scope, node: Node) -> Text:
    (x,) = node.args
    axes = tuple(axis + len(s.axes(x)) for axis in node.attrs.axes)
    call = {"sum": s.table.sum, "max": s.table.max}[node.attrs.kind]
    return Text(call.format(array(s, x).text, axes))


def _view(s: Scope, node: Node) -> Text:
    x, lead = node.args[0], s.axes(node.id)
    match node.attrs.kind:
        case "transpose":
            order = (*range(len(lead)), *(i + len(lead) for i in node.attrs.data))
            return Text(s.table.transpose.format(array(s, x).text, order))
        case "reshape":
            return _entry(s, node) or Text(f"{array(s, x).text}.reshape{s.shape(lead, node.shape)}")
        case "expand":
            aligned = bracketed(_beside(s, x, node.shape))
            aligned = bracketed(bodies_of(s, node).as_array(bodies_of(s, node).as_real(aligned)))
            return Text(s.table.broadcast.format(aligned.text, s.shape(lead, node.shape)))
        case "slice":
            return _slice(s, node)
        case "concatenate":
            # Parts that are the same for all samples are repeated: frameworks join arrays of one shape alone.
            parts = ", ".join(lifted(s, arg, lead) if lead else array(s, arg).text for arg in node.args)
            return Text(s.table.concatenate.format(f"({parts},)", node.attrs.data[0] + len(lead)))
        case "pad":
            spans = ", ".join(_span(s, span) for span in node.attrs.data)
            return Text(f"_padded({array(s, x).text}, ({spans},), {s.shape(lead, node.shape)})")
    raise refused(node, f"a view of the kind {node.attrs.kind}", s.table)


def _span(s: Scope, span: Sequence[object]) -> str:
    start, length, step = span
    return f"({size_text(start, s.module.sizes)}, {size_text(length, s.module.sizes)}, {step})"


def _entry(s: Scope, node: Node) -> Text | None:
    """Return a slice of one entry whose axis a reshape drops as an index, which is a view."""
    cut = s.module.program.graph[node.args[0]]
    if node.args[0] in s.names or cut.family != "view" or cut.attrs.kind != "slice":
        return None
    # The first axis, of which one entry is taken, while all others stay whole.
    start, length, _ = cut.attrs.data[0]
    rest = zip(cut.attrs.data[1:], s.own(cut.args[0])[1:], strict=True)
    if length != 1 or tuple(cut.shape[1:]) != tuple(node.shape) or any(span != (0, n, 1) for span, n in rest):
        return None
    index = [*[":"] * len(s.axes(node.id)), size_text(start, s.module.sizes)]
    return Text(f"{array(s, cut.args[0]).text}[{', '.join(index)}]")


def _slice(s: Scope, node: Node) -> Text:
    lead, x = len(s.axes(node.id)), node.args[0]
    cuts, back = [":"] * lead, []
    for axis, ((start, length, step), n) in enumerate(zip(node.attrs.data, s.own(x), strict=True)):
        # torch has no negative steps: the slice is taken forward, then flipped.
        first = start if step > 0 else start + (length - 1) * step
        stop = start + (length - 1) * step + 1 if step > 0 else start + 1
        if step < 0:
            back.append(axis + lead)
        whole = (first, abs(step)) == (0, 1) and length == n
        low, high = (size_text(sp.expand(v), s.module.sizes) for v in (first, stop))
        cuts.append(":" if whole else f"{low}:{high}" + f":{abs(step)}" * (abs(step) != 1))
    text = f"{array(s, x).text}[{', '.join(cuts)}]"
    return Text(s.table.flip.format(text, tuple(back)) if back else text)


def _gather(s: Scope, node: Node) -> Text:
    """Return elements at indices, or zeros with elements added at indices."""
    (first, at), axis, lead = node.args, node.attrs.axis, s.axes(node.id)
    if node.attrs.kind == "scatter":
        parts = (
            f"{lifted_beside(s, first, s.own(first), lead)}, {lifted_beside(s, at, s.own(first), lead, is_index=True)}"
        )
        return Text(f"_scattered({parts}, {axis + len(lead)}, {s.shape(lead, node.shape)})")
    index = formula(s, at).text
    if first not in s.module.varying and not s.own(at):
        table = array(s, first).text
        return Text(f"{table if not axis else s.table.moved.format(table, axis, 0)}[{index}]")
    table = lifted_beside(s, first, s.own(first), lead)
    index = lifted_beside(s, at, node.shape, lead, is_index=True)
    return Text(f"_gathered({table}, {index}, {axis + len(lead)})")


def lifted_beside(s: Scope, id: int, shape: Shape, lead: Sequence[str], is_index: bool = False) -> str:
    """Return a value with axes of steps and samples, and of a shape, along which it is repeated."""
    text = _beside(s, id, shape).text if is_index else bracketed(_beside(s, id, shape)).text
    return s.table.broadcast.format(text, s.shape(lead, shape))


def _collected(s: Scope, node: Node) -> Text:
    """Return the table in which all steps and samples add their elements."""
    first, at = node.args
    x = lifted_beside(s, first, s.own(first), s.lead)
    index = lifted_beside(s, at, s.own(first) if s.own(at) else (), s.lead, is_index=True)
    return Text(f"_collected({x}, {index}, {node.attrs.axis}, {s.shape((), node.shape)})")


def _cumulate(s: Scope, node: Node) -> Text:
    axis, x = node.attrs.axis + len(s.axes(node.id)), array(s, node.args[0]).text
    if not node.attrs.reverse:
        return Text(s.table.cumsum.format(x, axis))
    inside = s.table.cumsum.format(s.table.flip.format(x, (axis,)), axis)
    return Text(s.table.flip.format(inside, (axis,)))


def _algebra(s: Scope, node: Node) -> Text:
    name = node.attrs.name
    if name not in s.table.algebra:
        raise refused(node, RECORDS[name].words, s.table)
    widest = max((s.own(arg) for arg in node.args), key=len)
    args = [_matrices(s, arg, widest, s.axes(node.id) if i else ()) for i, arg in enumerate(node.args)]
    return Text(s.table.algebra[name].format(*args))


def _matrices(s: Scope, id: int, widest: Shape, lead: Sequence[str]) -> str:
    """Return stacked matrices with as many axes as those beside them; a right side has as many as `lead` in front of those, without
    which torch may take it for vectors."""
    if id not in s.module.varying:
        return lifted(s, id, lead) if lead else array(s, id).text
    x = _beside(s, id, widest)
    return f"{bracketed(x).text}[None]" if len(s.axes(id)) < len(lead) else x.text


def _rounds(s: Scope, node: Node) -> Text:
    raise refused(node, "a repetition inside a step whose rounds are not written out", s.table)


FAMILIES: dict[str, Callable[[Scope, Node], Text]] = {
    "leaf": _leaf,
    "number": _number,
    "map": _map,
    "contract": _contract,
    "total": _total,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "algebra": _algebra,
    "rounds": _rounds,
}
