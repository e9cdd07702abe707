"""Statements in loops as calls of NumPy that write into their results."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt import ops
from symbptt.codegen.loop_ir.nodes import Algebra, Contract, Cumulate, Gather, Map, Reduce, Scatter, Statement, View
from symbptt.codegen.loop_ir.order import in_order, ordered
from symbptt.codegen.loop_ir.views import permuted, span
from symbptt.codegen.targets.numpy.algebra import written
from symbptt.codegen.targets.numpy.operands import Operands, of_numbers
from symbptt.codegen.targets.numpy.product import call_of
from symbptt.codegen.targets.numpy.reduction import ordered_reduction
from symbptt.codegen.targets.numpy.scalar_text import COMPARISONS
from symbptt.codegen.targets.numpy.tables import gather_call, scatter
from symbptt.codegen.targets.numpy.views import Scope
from symbptt.ir.scalar import Call, Num, Power, Prod, Sum, Tree
from symbptt.ir.shape import size


def call(o: Operands, scope: Scope, s: Statement) -> list[str]:
    """Return the calls of a statement, which write into its output."""
    match s:
        case Map():
            return _map(o, scope, ordered(s))
        case Contract():
            product = call_of(s)
            operands = ", ".join(o.text(scope, x.view, x.groups) for x in product.operands)
            first = f"{product.first}, " * bool(product.first)
            out = o.text(scope, product.out.view, product.out.groups)
            return [f"np.{product.function}({first}{operands}, out={out})"]
        case Reduce():
            x, axes = ordered_reduction(s)
            function = "add" if s.kind == "sum" else "maximum"
            plain = tuple((i,) for i in range(len(s.out.axes)))
            out = o.text(scope, permuted(s.out, in_order(s.out)), plain)
            return [f"np.{function}.reduce({o.text(scope, x.view, x.groups)}, axis={axes}, out={out})"]
        case Gather():
            return gather_call(o, scope, s)
        case Scatter():
            return scatter(o, scope, s)
        case Cumulate():
            return [_running(o, scope, s)]
        case Algebra():
            return [written(o, scope, s)]
    raise AssertionError(s)


@dataclass(frozen=True)
class Ufunc:
    """A function of NumPy, its operands, and further arguments that are numbers."""

    name: str
    args: tuple[Tree, ...]
    more: tuple[str, ...] = ()


def ufunc_of(s: Map) -> Ufunc | None:
    """Return the function of NumPy that a map is, which writes into its result; None where it chooses, or copies an expression."""
    plain = not of_numbers(s.body, s.args)
    match s.body:
        case Sum(((-1, a),)) if plain:
            return Ufunc("negative", (a,))
        case Sum(((1, a), (sign, b))) if plain:
            return Ufunc("add" if sign > 0 else "subtract", (a, b))
        case Prod((a, b), ()) if plain:
            return Ufunc("multiply", (a, b))
        case Prod((a,), (b,)) if plain:
            return Ufunc("divide", (a, b))
        case Power(a, Num(value)) if value == 2:
            return Ufunc("square", (a,))
        case Power(a, b):
            return Ufunc("power", (a, b))
        case Call(name, args) if name != "where":
            return _function(name, args)
    return None


def _map(o: Operands, scope: Scope, s: Map) -> list[str]:
    """Return one operation as a call, or an expression that is copied."""
    out, found = o.text(scope, s.out), ufunc_of(s)

    def text(*trees: Tree) -> str:
        return ", ".join(o.argument(scope, tree, s.args) for tree in trees)

    if found is not None:
        return [f"np.{found.name}({', '.join([text(*found.args), *found.more])}, out={out})"]
    match s.body:
        case Call("where", (condition, a, b)):
            return _where(o, scope, s, out, text(condition), a, b)
        case Call(name, args):
            return [f"np.copyto({out}, {ops.BY_NAME[name].code.format(*(text(arg) for arg in args))})"]
    return [f"np.copyto({out}, {text(s.body)})"]


def _where(o: Operands, scope: Scope, s: Map, out: str, condition: str, a: Tree, b: Tree) -> list[str]:
    """Return the lines of a choice: one side is copied, and the other one where the condition holds."""
    # `np.where` has no `out`: it would allocate an array in each step. Two copies, of which the second is masked,
    # write into one that is there.
    first, second = (o.argument(scope, tree, s.args) for tree in (a, b))
    if first == out:
        return [f"np.copyto({out}, {second}, where=~{condition})"]
    copied = [] if second == out else [f"np.copyto({out}, {second})"]
    return [*copied, f"np.copyto({out}, {first}, where={condition})"]


def _running(o: Operands, scope: Scope, s: Cumulate) -> str:
    """Return the call that writes a running sum."""
    order = in_order(s.out)
    view, out, axis = permuted(s.x, order), permuted(s.out, order), order.index(s.axis)
    if s.reverse:
        # A view with a negative step is written from its end, so that no reversed copy is needed.
        view, out = _flipped(view, axis), _flipped(out, axis)
    plain = tuple((i,) for i in range(len(order)))  # of both all axes, those of one element too
    source, target = o.text(scope, view, plain), o.text(scope, out, plain)
    return f"np.cumsum({source}, axis={axis - len(order)}, out={target})"


def _flipped(view: View, axis: int) -> View:
    length = view.axes[axis].length
    return span(view, axis, size(length - 1), length, -1)


def _function(name: str, args: tuple[Tree, ...]) -> Ufunc | None:
    """Return the function of NumPy that an operation is; None where its text is more than one call."""
    if name in COMPARISONS:
        return Ufunc(name, args)
    code, arity = ops.BY_NAME[name].code, ops.BY_NAME[name].arity
    if not code.startswith("np.") or not code.endswith(")"):
        return None
    function, _, inside = code[len("np.") : -1].partition("(")
    more = inside.split(", ")[arity:]
    plain = inside.split(", ")[:arity] == [f"{{{i}}}" for i in range(arity)]
    is_one = plain and all(arg.isdigit() for arg in more) and "." not in function
    return Ufunc(function, args, tuple(more)) if is_one else None
