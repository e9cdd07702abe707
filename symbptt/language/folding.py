"""Functions that a page shows whole, by their names: found in a step however they were spelled, and written out again.

One record adds a function: its name, the ways in which it is spelled, of which the first is what the code computes, and
for a function of an array a rule in `symbptt.autodiff.whole`. A spelling is run on a symbolic array of the shape at hand;
what it makes is compared, as a term, with what the step has. The code keeps the spelled form, the page the whole one.

Example: a cell has e = exp(v - max(v)) and a = e / sum(e). `insides` finds that a is a function of v with the signature
{exp, max, sum}; the records of softmax have that signature; their spellings, run on an array of v's shape, give the term
exp(x - max(x)) / sum(exp(x - max(x))), which equals that of a. The page then shows a = softmax(v).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, permutations
from typing import Any

import sympy as sp

from symbptt import ops
from symbptt.autodiff.partials import VALUE, partials
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph, nowhere
from symbptt.ir.node import Convolution, Mark, Node, Windowed, placeholder
from symbptt.ir.rewrite import copy_node, moved_slopes
from symbptt.ir.scalar import as_python, as_sympy
from symbptt.ir.shape import Shape, Size, named_size
from symbptt.ir.shape import size as size_of
from symbptt.ir.step import Step
from symbptt.ir.term import Inside, canonical, insides, parameter, term
from symbptt.language import functions as f
from symbptt.language.array import Array, apply_expr
from symbptt.language.custom_function import declared_function, named
from symbptt.language.local_names import with_parts_of_page
from symbptt.language.stable_forms import stable_value
from symbptt.language.triangles import Triangle, triangle, triangle_of
from symbptt.language.windows import convolved

F = f.ELEMENTWISE
Spelling = Callable[..., Any]
"""(x, axes, *numbers) -> the value, on symbolic arrays; of an elementwise function (x, *numbers)."""


@dataclass(frozen=True)
class Whole:
    """A function of one value: its name, its spellings, how many numbers it takes beside the value.

    `stays`: the axes stay. `every`: it is shown whole where it goes over all axes, else as what it is made of. A function with
    no axes is elementwise.
    """

    name: str
    spellings: tuple[Spelling, ...]
    numbers: int = 0
    axes: bool = True
    stays: bool = True
    every: bool = False


def _root(x: Any) -> Any:
    return F["sqrt"](x)


def _shift(x: Any, axes: Any) -> Any:
    return x - f.max(x, axes, keepdims=True)


def _exp_shifted(x: Any, axes: Any) -> Any:
    return F["exp"](_shift(x, axes))


def _centred(x: Any, axes: Any) -> Any:
    return x - f.mean(x, axes, keepdims=True)


def _mean_square(x: Any, axes: Any) -> Any:
    return f.mean(x * x, axes, keepdims=True)


def _by_side(left: Callable[..., Any], at_zero: bool) -> tuple[Spelling, ...]:
    """Return the spellings of x on the right of 0 and `left(x)` on its left, where the slopes at 0 agree or are those of
    the left in every spelling."""
    where = F["where"]
    on_left: tuple[Spelling, ...] = (
        lambda x, *p: where(x > 0, x, left(x, *p)),
        lambda x, *p: where(x <= 0, left(x, *p), x),
    )
    # With >= the value at 0 is the same, but the slope there is that of the right side.
    on_right: tuple[Spelling, ...] = (
        lambda x, *p: where(x >= 0, x, left(x, *p)),
        lambda x, *p: where(x < 0, left(x, *p), x),
    )
    return on_left + on_right * at_zero


def _scaled(left: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda x, *alpha: alpha[0] * left(x) if alpha else left(x)


LEFT_OF_ELU = (
    lambda x: F["exp"](x) - 1,
    F["expm1"],
    lambda x: F["exp"](F["minimum"](x, 0)) - 1,
    lambda x: F["expm1"](F["minimum"](x, 0)),
)
ELU = (F["elu"], *(one for left in LEFT_OF_ELU for one in _by_side(_scaled(left), True)))
ELU_BY_ALPHA = (F["elu"], *(one for left in LEFT_OF_ELU for one in _by_side(_scaled(left), False)))


def _norm(x: Any, axes: Any, keepdims: bool = False) -> Any:
    """Return the norm as `norm` has it: along all axes, or along two at the most; along others it is written as a
    root alone."""
    if 2 < len(axes) < x.ndim:
        return _root(f.sum(x * x, axes, keepdims))
    return f.norm(x, axis=None if len(axes) == x.ndim else axes, keepdims=keepdims)


def _log_sum(x: Any, axes: Any) -> Any:
    return F["log"](f.sum(_exp_shifted(x, axes), axes, keepdims=True))


ARRAYS = (
    Whole("softmax", (
        f.softmax,
        lambda x, axes: _exp_shifted(x, axes) / f.sum(_exp_shifted(x, axes), axes, keepdims=True),
        lambda x, axes: F["exp"](f.log_softmax(x, axes)),
        lambda x, axes: F["exp"](x - f.logsumexp(x, axes, keepdims=True)))),
    Whole("log_softmax", (
        f.log_softmax,
        lambda x, axes: _shift(x, axes) - _log_sum(x, axes),
        lambda x, axes: x - f.logsumexp(x, axes, keepdims=True))),
    Whole("logsumexp", (
        f.logsumexp,
        lambda x, axes: _log_sum(x, axes) + f.max(x, axes, keepdims=True)), stays=False),
    Whole("layer_norm", (
        lambda x, axes, eps: f.layer_norm(x, axis=axes, eps=eps),), numbers=1),
    Whole("rms_norm", (
        lambda x, axes, eps: x / _root(_mean_square(x, axes) + eps),), numbers=1),
    Whole("unit", (
        lambda x, axes: x / _norm(x, axes, keepdims=True),
        lambda x, axes: x / _root(f.sum(x * x, axes, keepdims=True)))),
    Whole("std", (
        lambda x, axes: f.std(x, axes),
        lambda x, axes: _root(_mean_square(_centred(x, axes), axes))), stays=False),
    Whole("norm", (
        _norm,
        lambda x, axes: _root(f.sum(x * x, axes, keepdims=True))), stays=False),
    Whole("deviation", (
        lambda x, axes, eps: _root(_mean_square(_centred(x, axes), axes) + eps),), numbers=1, stays=False),
    Whole("smooth_norm", (
        lambda x, axes, eps: _root(f.sum(x * x, axes, keepdims=True) + eps),), numbers=1, stays=False),
    Whole("rms", (
        lambda x, axes, eps: _root(_mean_square(x, axes) + eps),), numbers=1, stays=False),
    Whole("var", (f.var,), stays=False),
    Whole("mean", (f.mean,), stays=False, every=True),
    Whole("max", (f.max,), stays=False),
    Whole("min", (f.min,), stays=False),
)  # fmt: skip
"""The functions of arrays; where one is part of another, the larger one stands first."""

ELEMENTWISE = (
    Whole("silu", (F["silu"],), axes=False),
    Whole("mish", (F["mish"],), axes=False),
    Whole("gelu", (F["gelu"],), axes=False),
    Whole("selu", (F["selu"],), axes=False),
    Whole("elu", ELU, axes=False),
    Whole("elu", ELU_BY_ALPHA, numbers=1, axes=False),
    Whole("leaky_relu", (F["leaky_relu"], *_by_side(lambda x: 0.01 * x, False)), axes=False),
    Whole("leaky_relu", (F["leaky_relu"], *_by_side(lambda x, s: s * x, False)), numbers=1, axes=False),
    Whole("relu", (F["relu"], lambda x: F["where"](x > 0, x, 0)), axes=False),
    Whole("softsign", (F["softsign"],), axes=False),
    Whole("hard_sigmoid", (F["hard_sigmoid"],), axes=False),
    Whole("clip", (F["clip"],), numbers=2, axes=False),
)  # fmt: skip
"""The elementwise functions that are composed of others."""


@dataclass(frozen=True)
class Match:
    """A function that a value is: of which other value, along which axes, with which numbers (each a number or a constant's leaf)."""

    whole: Whole
    of: int
    axes: tuple[int, ...]
    numbers: tuple[sp.Expr | int, ...]

    @property
    def args(self) -> tuple[int, ...]:
        """The values of the step that it reads."""
        return self.of, *(number for number in self.numbers if isinstance(number, int))


@dataclass(frozen=True)
class Roll:
    """A value that is another one with its entries moved on along an axis."""

    of: int
    axis: int
    shift: Size

    @property
    def args(self) -> tuple[int, ...]:
        """The values of the step that it reads."""
        return (self.of,)


def _roll(g: Graph, id: int) -> Roll | None:
    """Return the roll that a value is: the end of an array and what is in front of it, joined; one of a roll is one
    roll."""
    node = g[id]
    if node.family != "view" or node.attrs.kind != "concatenate" or len(node.args) != 2:
        return None
    (axis,), (end, front) = node.attrs.data, [g[arg] for arg in node.args]
    if any(part.family != "view" or part.attrs.kind != "slice" for part in (end, front)) or end.args != front.args:
        return None
    of = end.args[0]
    start, length, _ = end.attrs.data[axis]
    wanted = [[(0, size, 1) for size in g.shape(of)] for _ in range(2)]
    wanted[0][axis], wanted[1][axis] = (start, length, 1), (0, start, 1)
    if [list(end.attrs.data), list(front.attrs.data)] != wanted or node.shape != g.shape(of):
        return None
    shift: Size = length if isinstance(length, int) or not isinstance(start, int) else -start
    inner = _roll(g, of)
    if inner is not None and inner.axis == axis and of not in g.names:
        return Roll(inner.of, axis, size_of(shift + inner.shift))
    return Roll(of, axis, shift)


def folded(step: Step, convolutions: Sequence[Convolution] = ()) -> Step:
    """Return a step with its functions whole; values that are read elsewhere too stay beside them. `convolutions` are those of
    the same page so far, after which others are numbered."""
    g, numbers = step.graph, dict(zip(convolutions, count(1), strict=False))
    matches: dict[int, Match | Mark | Roll | Triangle | Windowed] = {}
    live = {*step.leaves.values(), *step.next.values(), *step.outputs.values()}
    # Results before arguments, so that the largest function wins: what only lies inside it is never live.
    for id in range(len(g) - 1, -1, -1):
        if id in live:
            mark = g.marks.get(id)
            is_shown = isinstance(mark, Windowed) or (mark is not None and mark.name not in TAKEN)
            found = mark if is_shown else _roll(g, id) or triangle(g, id) or _match(g, id)
            if found is not None:
                matches[id] = found
            live.update(g[id].args if found is None else found.args)

    def make(new: Graph, node: Node, ids: dict[int, int]) -> int:
        found = matches.get(node.id)
        if isinstance(found, Match):
            return _node(new, node, found, ids)
        if isinstance(found, Windowed):
            own = replace(found.convolution, number=numbers.setdefault(found.convolution, len(numbers) + 1))
            return build.convolution(new, [ids[arg] for arg in found.args], node.shape, own)
        if isinstance(found, Roll):
            return build.roll(new, ids[found.of], found.axis, found.shift)
        if isinstance(found, Triangle):
            return triangle_of(new, found, ids[found.of])
        if isinstance(found, Mark):
            return build.map_(new, _of_user(found), [ids[arg] for arg in found.args])
        args = tuple(ids[arg] for arg in node.args)
        if node.family == "map":
            return build.map_(new, _shown(node.attrs.expr), args)
        return copy_node(new, node, args)

    return with_parts_of_page(remade(step, sorted(live), make))


def expanded(step: Step) -> Step:
    """Return a step with its functions as the code computes them: the inverse of `folded`."""

    def make(new: Graph, node: Node, ids: dict[int, int]) -> int:
        args = tuple(ids[arg] for arg in node.args)
        if node.family == "whole":
            return spelled(new, node, args)
        if node.family == "convolution":
            return int(convolved(Array(new, args[0]), Array(new, args[1]), node.attrs).id)
        if node.family == "view" and node.attrs.kind == "roll":
            return build.turned(new, args[0], *node.attrs.data)
        if node.family == "map" and _shown_inside(node.attrs.expr):
            return apply_expr(new, _spelled(node.attrs.expr), args)
        return copy_node(new, node, args)

    roots = [*step.leaves.values(), *step.next.values(), *step.outputs.values()]
    return remade(step, step.graph.ancestors(roots), make)


def convolutions_of(step: Step) -> tuple[Convolution, ...]:
    """Return the convolutions of a folded step by their numbers, without these."""
    found = {node.attrs.number: replace(node.attrs, number=1) for node in step.graph if node.family == "convolution"}
    return tuple(found[number] for number in sorted(found))


SMOOTH = frozenset(("softmax", "log_softmax", "logsumexp", "layer_norm", "rms_norm"))
"""Functions of arrays whose closed adjoint is the better formula for code too: no slope in it is undefined where its value is not."""


def with_smooth_wholes(g: Graph, roots: Sequence[int]) -> tuple[Graph, dict[int, int]]:
    """Return some values, and what they are computed from, with smooth functions of arrays whole; new ids by old ones."""
    matches, live = dict[int, Match](), {*roots}
    for id in range(len(g) - 1, -1, -1):
        if id in live:
            found = _match(g, id)
            if found is not None and found.whole.name in SMOOTH:
                matches[id] = found
            live.update(matches[id].args if id in matches else g[id].args)
    made, new = Graph(), dict[int, int]()
    for id in sorted(live):
        made.locate = lambda place=g[id].place: place  # type: ignore[misc]
        args = tuple(new[arg] for arg in g[id].args if arg in new)
        new[id] = _node(made, g[id], matches[id], new) if id in matches else copy_node(made, g[id], args)
    made.locate = nowhere
    made.names = {new[id]: name for id, name in g.names.items() if id in new}
    made.slopes = moved_slopes(g, new)
    made.marks = {
        new[id]: replace(mark, args=tuple(new[arg] for arg in mark.args))
        for id, mark in g.marks.items()
        if id in new and all(arg in new for arg in mark.args)
    }
    return made, new


def spelled(g: Graph, node: Node, args: Sequence[int] | None = None) -> int:
    """Return the value of a whole function in a graph as the code computes it; `args` are what it reads there."""
    arrays = [Array(g, arg) for arg in (node.args if args is None else args)]
    value = BY_NAME[node.attrs.name].spellings[0](arrays[0], node.attrs.axes, *arrays[1:])
    return build.reshape(g, value.id, node.shape)


Make = Callable[[Graph, Node, dict[int, int]], int]
"""(new graph, old node, new ids by old ones) -> the new node."""


def remade(step: Step, ids: Sequence[int], make: Make) -> Step:
    """Return a step of some of its values, each made anew after those that it reads."""
    g, new = Graph(), dict[int, int]()
    for id in ids:
        g.locate = lambda place=step.graph[id].place: place  # type: ignore[misc]
        new[id] = make(g, step.graph[id], new)
    g.locate = nowhere
    for id, name in step.graph.names.items():
        if id in new and new[id] not in g.names:
            g.names[new[id]] = name
    g.slopes.update(moved_slopes(step.graph, new))
    leaves, following, outputs = (
        {name: new[id] for name, id in of.items()} for of in (step.leaves, step.next, step.outputs)
    )
    return replace(step, graph=g, leaves=leaves, next=following, outputs=outputs)


def _node(g: Graph, node: Node, found: Match, ids: dict[int, int]) -> int:
    """Return the whole function in the place of a node, in its shape."""
    x = ids[found.of]
    if not found.whole.axes:
        constants = [number for number in found.numbers if isinstance(number, int)]
        bodies = [placeholder(1 + constants.index(n)) if isinstance(n, int) else n for n in found.numbers]
        return build.map_(g, _class(found.whole.name)(placeholder(0), *bodies), [x, *(ids[n] for n in constants)])
    numbers = [_number(g, n, ids) for n in found.numbers]
    return build.reshape(g, build.whole(g, found.whole.name, (x, *numbers), found.axes, found.whole.stays), node.shape)


def _number(g: Graph, number: sp.Expr | int, ids: dict[int, int]) -> int:
    return ids[number] if isinstance(number, int) else build.number(g, as_python(number))


def _class(name: str) -> Any:
    return ops.SHOWN[name] if name in ops.SHOWN else ops.BY_NAME[name].body


_NAMED = {ops.BY_NAME[name].body: shown for name, shown in ops.SHOWN.items() if ops.BY_NAME[name].code}
"""The function that a page shows in the place of a primitive: it has the same values, and slopes that a reader expects."""
_SPELLED = {shown: ops.BY_NAME[name].body for name, shown in ops.SHOWN.items()}


def _shown(expr: sp.Expr) -> sp.Expr:
    """Return a body with the function in it that a page shows, where that is another one."""
    if hasattr(expr.func, "partials"):
        name = expr.func.__name__
        own = f"own_{name}" if name in TAKEN else name
        return named(own, expr.func.expansion, expr.func.partials, True)(*expr.args)
    return _NAMED[expr.func](*expr.args) if expr.func in _NAMED else expr


def _of_user(mark: Mark) -> sp.Expr:
    symbols = [placeholder(i) for i in range(len(mark.args))]
    slopes = tuple(part.xreplace({VALUE: mark.body}) for part in partials(mark.body, len(symbols)))
    return named(mark.name, mark.body, slopes, False)(*symbols)


def _shown_inside(expr: sp.Expr) -> bool:
    return any(part.func in _SPELLED or hasattr(part.func, "replaced") for part in expr.atoms(sp.Function))


def _spelled(expr: sp.Expr) -> sp.Expr:
    args = [_spelled(arg) for arg in expr.args]
    if hasattr(expr.func, "replaced"):
        own = declared_function(expr.func.__name__, expr.func.expansion, expr.func.partials)
        symbols = map(placeholder, range(len(args)))
        return own(*args) if expr.func.replaced else expr.func.expansion.xreplace(dict(zip(symbols, args, strict=True)))
    return _SPELLED.get(expr.func, expr.func)(*args) if args else expr


def _match(g: Graph, id: int) -> Match | None:
    """Return the largest function that a value is; all are of real numbers."""
    if g.is_complex(id):
        return None
    for inside in reversed(list(insides(g, id))):
        # The farthest source makes the largest function: softmax before the exp inside it.
        if inside.nodes == (id,) and g[id].family == "map":
            continue  # one operation by itself
        records = _by_signature().get(inside.signature(g), ())
        value = term(g, id, inside) if records else None
        for record, number in records if value is not None else ():
            found = _matched(g, id, inside, value, record, number)
            if found is not None:
                return found
    return None


def _matched(g: Graph, id: int, inside: Inside, value: sp.Expr, record: Whole, number: int) -> Match | None:
    shape, axes = g.shape(inside.of), inside.axes(g) if record.axes else ()
    fits = axes is not None and _fits(g.shape(id), shape, axes, record)
    pattern = _pattern(record, number, shape, axes) if fits else None
    if axes is None or pattern is None:
        return None
    known = {text: leaf for leaf, text in (parameter(g, leaf) for leaf in inside.parameters)}
    known |= {value: None for value in inside.numbers(g) if value not in known}
    # Candidates for eps or alpha are few (the scalars inside), so that trying every order is cheap.
    for given in permutations(known, record.numbers):
        if canonical(pattern.xreplace(dict(zip(EPSILONS, given, strict=False)))) == value:
            return Match(record, inside.of, axes, tuple(_as_number(g, text, known[text]) for text in given))
    return None


def _as_number(g: Graph, text: sp.Expr, leaf: int | None) -> sp.Expr | int:
    """Return a number itself, to the last digit, or the leaf of a constant."""
    if leaf is None:
        return text
    return as_sympy(g[leaf].attrs.value) if g[leaf].family == "number" else leaf


def _fits(shape: Shape, of: Shape, axes: tuple[int, ...], record: Whole) -> bool:
    if axes and all(of[i] == 1 for i in axes):
        return False  # a function of one number
    if record.every and (len(axes) < len(of) or shapes.prod(of) == 1):
        return False
    if record.stays:
        return shape == of
    return shape in (shapes.without(of, axes), tuple(1 if i in axes else item for i, item in enumerate(of)))


EPSILONS = tuple(sp.Symbol(f"const number{i}", real=True) for i in range(2))
"""The numbers that a function takes beside its value, in a term."""


@cache
def _pattern(record: Whole, number: int, shape: Shape, axes: tuple[int, ...]) -> sp.Expr | None:
    """Return the term of a spelling on an array of a shape."""
    g, id, x = _run(record, number, shape, axes)
    return next((term(g, id, inside) for inside in insides(g, id) if inside.of == x), None)


def _run(record: Whole, number: int, shape: Shape, axes: tuple[int, ...]) -> tuple[Graph, int, int]:
    """Return a spelling on an array of a shape: its graph, its value, the array."""
    g = Graph()
    x = Array(g, build.leaf(g, "input", "x", shape))
    given = [Array(g, build.leaf(g, "const", f"number{i}", ())) for i in range(record.numbers)]
    made = record.spellings[number](x, *([axes] if record.axes else []), *given)
    stable, id = stable_value(g, made.id)
    return stable, id, next(node.id for node in stable.leaves("input"))


@cache
def _by_signature() -> dict[frozenset[str], tuple[tuple[Whole, int], ...]]:
    """Return the records, each with the number of a spelling, by the functions and reductions inside."""
    found: dict[frozenset[str], list[tuple[Whole, int]]] = {}
    for record in (*ARRAYS, *ELEMENTWISE):
        for number in range(len(record.spellings)):
            # The signature does not depend on the shape, so that one run on a generic matrix indexes a spelling.
            g, id, x = _run(record, number, (named_size("rows"), named_size("columns")), (1,))
            inside = next(inside for inside in insides(g, id) if inside.of == x)
            found.setdefault(inside.signature(g), []).append((record, number))
    return {signature: tuple(records) for signature, records in found.items()}


BY_NAME = {record.name: record for record in ARRAYS}
TAKEN = {
    *BY_NAME, "logsoftmax", "lse", "LN", "RN", "sum", "vec", "mat", "diag", "inner", "cumsum", "reverse_cumsum", "ahead", "behind",
    "over", "normal_share", "normal_density", "sg", "prod", "roll",
}  # fmt: skip
"""Names that mean something on a page: a function of the user's by such a name is written out, or gets another."""
