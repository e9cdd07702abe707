"""The values of a graph as calls, one function for each family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from symbptt import ops
from symbptt.codegen.program.remainders import is_remainder
from symbptt.codegen.targets.numpy.calls.matmul import as_samples, product, squeezed, total_product
from symbptt.codegen.targets.numpy.calls.sheet import BLOCK_AXES, Operand, Sheet, bases, number
from symbptt.codegen.targets.numpy.calls.three_address import put, written
from symbptt.codegen.targets.numpy.calls.vecdot import factors, inner_product
from symbptt.codegen.targets.numpy.expressions import VIEWS, Scope, index_text, remainder_text
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import expanded, tree_of
from symbptt.ir.shape import Shape, Size, size


def value(sheet: Sheet, id: int) -> Operand:
    """Return the operand of a value, its sample axes first."""
    found = as_is(sheet, id)
    return swapped(sheet, found) if found.front else found


def as_is(sheet: Sheet, id: int) -> Operand:
    """Return the operand of a value: its variable where it has one, else what calls write for it."""
    found = sheet.find(id)
    return found if found is not None else formula(sheet, id, None)


def swapped(sheet: Sheet, of: Operand) -> Operand:
    """Return an operand with its first own axis on the other side of those of samples."""
    if sheet.lead == BLOCK_AXES:
        # In a block the gates come before both steps and samples: (g, K, B, n).
        here, there = (0, 2) if of.front else (2, 0)
        return sheet.view(of, f"np.moveaxis({of.whole}, {here}, {there})", of.shape, front=not of.front)
    at = len(sheet.axes(of)) - 1
    return sheet.view(of, f"{of.whole}.swapaxes({at}, {at + 1})", of.shape, front=not of.front)


def formula(sheet: Sheet, id: int, out: Operand | None) -> Operand:
    """Return a value computed by its formula, into `out` where it is given."""
    m = sheet.module
    node = m.program.graph[id]
    if id in m.static:
        return put(sheet, number(*sheet.scope().written(id)), out)
    if id not in m.varying and node.family != "total":  # no sample is in it: it is computed before the loop
        whole = _text(sheet, id)
        return put(sheet, sheet.view(Operand("", "v", node.shape, settled=True), whole, node.shape, solid=False), out)
    return FAMILIES[node.family](sheet, node, out)


def _text(sheet: Sheet, id: int) -> str:
    return sheet.scope().text(id)


def _map(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    if is_remainder(node):
        return _remainder(sheet, node, out)
    align = _gated if node.id in sheet.module.program.front else _aligned
    early = _early(sheet, node, out)
    found = {arg: formula(sheet, arg, out) if arg == early else as_is(sheet, arg) for arg in dict.fromkeys(node.args)}
    parts = [align(sheet, found[arg], node) for arg in node.args]
    return written(sheet, tree_of(expanded(node.attrs.expr)), parts, out)


def _remainder(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    """Write the remainder of a function by its value, and by its argument where little is left."""
    y = as_is(sheet, node.args[0])
    body = ops.REMAINING[node.attrs.expr.func.__name__].body(placeholder(0))
    fits = out is not None and out.solid and not out.front and out.kind == "dtype"
    found = written(sheet, tree_of(body), [_aligned(sheet, y, node)], out if fits else sheet.room(node.shape))
    scope = sheet.scope()

    def refer(id: int) -> str | None:
        return None if sheet.find(id) is None else value(sheet, id).text

    sheet.call(remainder_text(replace(scope, refer=refer), node, found.text))
    return put(sheet, found, out)


def _early(sheet: Sheet, node: Node, out: Operand | None) -> int | None:
    """Return a product that may be written into the result's array, because no other argument lies there."""
    m = sheet.module
    g, front = m.program.graph, m.program.front
    fitting = (
        arg
        for arg in node.args
        if g[arg].family == "contract" and arg in m.varying and g.shape(arg) == node.shape and sheet.find(arg) is None
    )
    found = next((arg for arg in fitting if (arg in front) == (node.id in front)), None)
    if found is None or out is None or not out.solid or out.kind != "dtype" or out.front != (found in front):
        return None
    # The product would overwrite an argument that the map still reads.
    return None if out.base in bases(sheet, [found, *node.args]) else found


def _gated(sheet: Sheet, of: Operand, node: Node) -> Operand:
    """Return an operand of a map with a gate-major layout."""
    if of.front or len(of.shape) < len(node.shape):
        return of
    if of.lead:
        return swapped(sheet, of)
    # A value of each gate that is the same for all samples broadcasts over steps and samples.
    return sheet.view(of, f"{of.whole}[:{', None' * len(sheet.lead)}]", of.shape, front=True)


def _aligned(sheet: Sheet, of: Operand, node: Node) -> Operand:
    return aligned(sheet, of, node.shape)


def aligned(sheet: Sheet, of: Operand, shape: Shape) -> Operand:
    """Return an operand with axes of size 1 between the sample axes and its own, where the result has more axes."""
    of = swapped(sheet, of) if of.front else of
    missing = len(shape) - len(of.shape)
    if not missing or not of.lead:
        return of
    lead = len(sheet.axes(of))
    own = ["..."] if of.shape else []
    text = f"{of.whole}[{', '.join([':'] * lead + ['None'] * missing + own)}]"
    return sheet.view(of, text, (1,) * missing + of.shape)


def _contract(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    a, b = (value(sheet, arg) for arg in node.args)
    return product(sheet, node, a, b, out)


def _reduce(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    m, inner = sheet.module, sheet.module.program.graph[node.args[0]]
    pair = factors(inner, node) if sheet.find(inner.id) is None and inner.id in m.varying else None
    if pair is not None and inner.id not in m.program.front:
        parts = [_aligned(sheet, as_is(sheet, arg), inner) for arg in inner.args]
        found = inner_product(sheet, pair, parts, inner.shape, node, out)
        return found or _reduced(sheet, node, written(sheet, tree_of(expanded(inner.attrs.expr)), parts), out)
    return _reduced(sheet, node, value(sheet, inner.id), out)


def _reduced(sheet: Sheet, node: Node, x: Operand, out: Operand | None) -> Operand:
    axes = [axis - len(x.shape) for axis in node.attrs.axes]
    axis = str(axes[0]) if len(axes) == 1 else f"({', '.join(map(str, axes))})"
    ufunc = {"sum": "add", "max": "maximum"}[node.attrs.kind]
    target = out or sheet.room(node.shape)
    sheet.call(f"np.{ufunc}.reduce({x.text}, axis={axis}, out={target.text})")
    sheet.free([x])
    return target


def _view(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    return VIEWED[node.attrs.kind](sheet, node, out)


def _looked_at(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    """Return a view of an array of the loop, which stays valid when that array is written again."""
    of = as_is(sheet, node.args[0])
    if of.front:
        found = _lanes(sheet, node, of)
        if found is not None:
            return put(sheet, found, out)
        of = swapped(sheet, of)
    # NumPy copies where a reshape is no view, and a copy taken before the loop would be stale inside it.
    if node.attrs.kind == "reshape" and not (of.solid or of.settled or squeezed(of.shape) == squeezed(node.shape)):
        of = put(sheet, of, sheet.room(of.shape))
    whole = VIEWS[node.attrs.kind](_looking(sheet, of), node)
    solid = node.attrs.kind == "reshape" and of.solid
    return put(sheet, sheet.view(of, whole, node.shape, solid=solid), out)


def _lanes(sheet: Sheet, node: Node, of: Operand) -> Operand | None:
    """Return some gates of a gate-major operand, or one of them without that axis; None of another view."""
    # Over all steps the array of one gate is not contiguous, for the axis of steps comes first.
    steps = ":, " if of.stepped else ""
    if node.attrs.kind == "slice" and all(
        span[0] == 0 and span[1] == item for span, item in zip(node.attrs.data[1:], of.shape[1:], strict=True)
    ):
        (start, length, _), *_ = node.attrs.data
        return sheet.view(
            of, f"{of.whole}[{steps}{start}:{start + length}]", node.shape, front=True, solid=not of.stepped
        )
    if node.attrs.kind == "reshape" and node.shape == of.shape[1:]:
        return sheet.view(of, f"{of.whole}[{steps}0]", node.shape, solid=not of.stepped)
    return None


def _looking(sheet: Sheet, of: Operand) -> Scope:
    """Return the scope in which a view of an operand is written."""
    return replace(sheet.scope(), lead=sheet.axes(of), refer=lambda id: of.whole, static=frozenset())


def _padded(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    """Write zeros, once where the array is its own, and a part at each step."""
    # No other value may use this array: only its middle is written again at each step.
    target = out or sheet.named_room(sheet.name("s"), node.shape, reuse=False, how="zeros")
    if out is not None:
        sheet.call(f"np.copyto({out.text}, 0)")
    _part(
        sheet,
        node.args[0],
        target,
        _window(sheet, target, node.attrs.data, node.shape),
        sheet.module.program.graph.shape(node.args[0]),
    )
    return target


def _joined(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    """Write concatenated values, each into its part."""
    g, (axis,) = sheet.module.program.graph, node.attrs.data
    target = out or sheet.room(node.shape)
    start: Size = 0
    for arg in node.args:
        shape = g.shape(arg)
        spans = [(start if i == axis else 0, length, 1) for i, length in enumerate(shape)]
        _part(sheet, arg, target, _window(sheet, target, spans, node.shape), shape)
        start = size(start + shape[axis])
    return target


def _window(sheet: Sheet, of: Operand, spans: Sequence[tuple[Size, Size, int]], shape: Shape) -> str:
    return f"{of.whole}[{index_text(sheet.scope(), spans, shape)}]"


def _part(sheet: Sheet, id: int, of: Operand, whole: str, shape: Shape) -> None:
    """Write a value into a part of an operand, directly where it has no variable."""
    part = replace(sheet.view(of, whole, shape), room="")
    found = sheet.find(id)
    if found is None and id in sheet.module.varying:
        formula(sheet, id, part)
    else:
        put(sheet, value(sheet, id), part)


def _gather(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    table, at = (value(sheet, arg) for arg in node.args)
    target = out or sheet.room(node.shape)
    if node.attrs.kind == "scatter" or table.lead:
        return _expressed(sheet, node, target, table, at)
    if node.attrs.axis:
        table = sheet.view(table, f"np.moveaxis({table.whole}, {node.attrs.axis}, 0)", table.shape)
    # With mode "raise" NumPy would write into `out` by way of a buffer.
    sheet.call(f'np.take({table.text}, {at.text}, axis=0, out={target.text}, mode="clip")')
    return target


def _expressed(sheet: Sheet, node: Node, target: Operand, *args: Operand) -> Operand:
    """Write a value that NumPy cannot compute into an array, as an expression that is copied."""
    known = dict(zip(node.args, args, strict=True))
    scope = sheet.scope()
    told = replace(scope, refer=lambda id: known[id].text if id in known else scope.refer(id))
    sheet.call(f"np.copyto({target.text}, {told.formula(node.id)[0]})")
    sheet.free(args)
    return target


def _cumulate(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    x = value(sheet, node.args[0])
    target = out or sheet.room(node.shape)
    axis = node.attrs.axis - len(node.shape)
    ends = (_flipped(sheet, x, axis), _flipped(sheet, target, axis)) if node.attrs.reverse else (x, target)
    # A view with a negative step is written from its end, so that no reversed copy is needed.
    sheet.call(f"np.cumsum({ends[0].text}, axis={axis}, out={ends[1].text})")
    sheet.free([x])
    return target


def _total(sheet: Sheet, node: Node, out: Operand | None) -> Operand:
    """Add the sum over the steps and samples of a block to that of the blocks before."""
    assert out is not None, node
    m, inner = sheet.module, sheet.module.program.graph[node.args[0]]
    if sheet.find(inner.id) is None and inner.family == "contract" and all(arg in m.varying for arg in inner.args):
        found = total_product(sheet, inner, *(value(sheet, arg) for arg in inner.args))
    else:
        found = _summed(sheet, as_is(sheet, inner.id))
    sheet.call(f"np.add({out.text}, {found.text}, out={out.text})")
    sheet.free([found])
    return out


def _summed(sheet: Sheet, of: Operand) -> Operand:
    # In a gate-major layout the samples are the second axis.
    rows = as_samples(sheet, of)
    target = sheet.room(of.shape, lead=False)
    sheet.call(f"np.add.reduce({rows.text}, axis={int(of.front)}, out={target.text})")
    sheet.free([rows])
    return target


def _flipped(sheet: Sheet, of: Operand, axis: int) -> Operand:
    behind = ", :" * (-axis - 1)
    return sheet.view(of, f"{of.whole}[..., ::-1{behind}]", of.shape)


VIEWED: dict[str, Callable[[Sheet, Node, Operand | None], Operand]] = {
    "transpose": _looked_at,
    "reshape": _looked_at,
    "expand": _looked_at,
    "slice": _looked_at,
    "pad": _padded,
    "concatenate": _joined,
}

FAMILIES: dict[str, Callable[[Sheet, Node, Operand | None], Operand]] = {
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "total": _total,
}
