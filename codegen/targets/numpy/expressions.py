"""Statements outside of loops as expressions of NumPy."""

from __future__ import annotations

from collections.abc import Sequence

from symbptt.codegen.loop_ir.joins import is_opposite, joining_axis, source_of
from symbptt.codegen.loop_ir.nodes import Algebra, Contract, Cumulate, Gather, Map, Reduce, Statement, View
from symbptt.codegen.loop_ir.operators import is_condition
from symbptt.codegen.loop_ir.order import in_order, is_turned, ordered
from symbptt.codegen.loop_ir.views import permuted
from symbptt.codegen.targets.numpy.algebra import in_memory
from symbptt.codegen.targets.numpy.grouping import kind
from symbptt.codegen.targets.numpy.operands import Operands, as_long
from symbptt.codegen.targets.numpy.product import call_of
from symbptt.codegen.targets.numpy.reduction import ordered_reduction
from symbptt.codegen.targets.numpy.scalar_text import body_text
from symbptt.codegen.targets.numpy.tables import gather
from symbptt.codegen.targets.numpy.views import Scope
from symbptt.codegen.targets.python.text import ATOM, PRODUCT, Written, bracket
from symbptt.ir.scalar import Call
from symbptt.ir.shape import Shape


def expression(o: Operands, scope: Scope, s: Statement) -> Written:
    """Return the value of a statement as an expression, in the order of the axes of its buffer."""
    match s:
        case Map():
            s = ordered(s)
            if not s.args:
                value = body_text(s.body, [])[0]
                shape = o.names.shape(_shape_of(s.out))
                made = f"np.zeros({shape}, {kind(s.out.buffer)})"
                return made if value == "0" else f"np.full({shape}, {value}, {kind(s.out.buffer)})", ATOM
            written = body_text(s.body, [o.part(scope, arg) for arg in s.args])
            if is_condition(s.body) and s.out.buffer.dtype == "float":
                # NumPy would compute with truth values in another type.
                return f"np.asarray({written[0]}, dtype)", ATOM
            if isinstance(s.body, Call) and s.body.name in ("real", "imag"):
                # A part of complex numbers is a view of them, which a later statement would write over.
                return f"np.array({written[0]})", ATOM
            return written
        case Contract():
            return _product(o, scope, s)
        case Reduce():
            x, axes = ordered_reduction(s)
            function = "add" if s.kind == "sum" else "maximum"
            return f"np.{function}.reduce({o.text(scope, x.view, x.groups)}, axis={axes})", ATOM
        case Gather():
            return gather(o, scope, s), ATOM
        case Cumulate():
            return _running(o, scope, s), ATOM
        case Algebra():
            return in_memory(o, scope, s), ATOM
    raise AssertionError(s)


def _shape_of(out: View) -> Shape:
    """Return the shape of a number for all of a view: that of its buffer, but of a part of it, as its diagonal is, its own."""
    long = [[n for n in shape if n != 1] for shape in (out.shape, out.buffer.shape)]
    return out.buffer.shape if long[0] == long[1] else out.shape


def _product(o: Operands, scope: Scope, s: Contract) -> Written:
    """Return a product as an expression."""
    call = call_of(s)
    first, second = (o.text(scope, x.view, x.groups) for x in call.operands)
    if call.function == "einsum":
        order = in_order(s.out)
        spec = call.first[:-1].partition("->")
        out = "".join(spec[2][i] for i in order)
        return f'np.ascontiguousarray(np.einsum({spec[0]}->{out}", {first}, {second}))', ATOM
    if call.function == "multiply":
        return f"{bracket((first, ATOM), PRODUCT)} * {second}", PRODUCT
    if call.function == "vecdot":
        return f"np.vecdot({first}, {second})", ATOM
    text = f"{first} @ {second}"
    groups = call.out.groups
    assert groups is not None
    if all(len(group) == 1 for group in groups):
        return text, PRODUCT
    lengths = [call.out.view.axes[i].length for i in range(len(call.out.view.axes))]
    return f"({text}).reshape({', '.join(map(o.names.size, lengths))})", ATOM


def _running(o: Operands, scope: Scope, s: Cumulate) -> str:
    """Return a running sum as an expression."""
    # The result of an expression is a new array in the order of its axes, so that these are put into the order in
    # which the buffer is to lie.
    order = in_order(s.out)
    view, axis = permuted(s.x, order), order.index(s.axis)
    text = o.text(scope, view, tuple((i,) for i in range(len(view.axes))))
    if s.reverse:
        return f"np.flip(np.cumsum(np.flip({text}, {axis}), {axis}), {axis})"
    return f"np.cumsum({text}, {axis})"


def as_buffer(o: Operands, out: View, written: Written) -> Written:
    """Return the value of a view that sees one axis of its buffer as several, in the shape of the buffer."""
    if len(out.axes) == len(out.buffer.shape):
        return written
    shape = as_long(out).buffer.shape
    return f"{bracket(written, ATOM)}.reshape({', '.join(map(o.names.size, shape))})", ATOM


def join(o: Operands, scope: Scope, parts: Sequence[Map]) -> str:
    """Return the expression that stacks or concatenates copies."""
    axis = joining_axis(parts)
    assert axis is not None
    sources = [source_of(ordered(s)) for s in parts]
    is_stack = not any(axis in a.of for a in parts[0].out.axes)
    written = ["-" * is_opposite(s) + _materialised(o, scope, x) for s, x in zip(parts, sources, strict=True)]
    inside = f"[{', '.join(written)}]" + (f", {axis}" if axis else "")
    call = f"np.{'stack' if is_stack else 'concatenate'}({inside})"
    # NumPy puts transposed weights together into an array that lies transposed, too.
    return f"np.ascontiguousarray({call})" if any(map(is_turned, sources)) else call


def _materialised(o: Operands, scope: Scope, x: View) -> str:
    # Elsewhere NumPy adds axes of one element in front by itself; what is joined needs all of its axes.
    is_short = any(not axis.of or axis.length == 1 for axis in x.axes)
    return o.text(scope, x, tuple((i,) for i in range(len(x.axes))) if is_short else None)
