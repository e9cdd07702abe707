"""The meaning of the functions on a page: a line for each uncommon one, and for each of the user's own; and what a
page leaves out, as ties, said once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import sympy as sp

from symbptt import ops
from symbptt.autodiff.bptt import Recursion
from symbptt.equations.algebra.expressions import ONE, Call, Expr, Number, Over, Power, Word, plus, times
from symbptt.equations.algebra.lower import Lowering
from symbptt.equations.algebra.traversal import every
from symbptt.equations.algebra.wholes import NAMES
from symbptt.equations.page.lines import ONCE, Line, Section
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.naming import free_letters
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import NAME_OF, functions_in
from symbptt.ir.shape import names_in
from symbptt.language.custom_function import derivative_mark

A, B, C = map(placeholder, range(3))
LETTERS = "abcuvwz"
"""Names of arguments in definitions, of which those are taken that the page does not have."""
EPSILONS = {"ε", "ϵ", "eps", "epsilon", "varepsilon"}
"""Names that would be read as the ε of a definition."""
_SHOWN = ops.SHOWN

ELEMENTWISE: dict[tuple[str, int], sp.Expr] = {
    ("silu", 1): A * ops.sigmoid(A),
    ("mish", 1): A * sp.tanh(_SHOWN["softplus"](A)),
    ("gelu", 1): A * ops.normal_share(A),
    ("normal_share", 1): (1 + sp.erf(A / sp.sqrt(2))) / 2,
    ("normal_density", 1): sp.exp(-(A**2) / 2) / sp.sqrt(2 * sp.pi),
    ("softplus", 1): sp.log(1 + sp.exp(A)),
    ("relu", 1): ops.maximum(A, 0),
    ("leaky_relu", 1): ops.where(ops.greater(A, 0), A, sp.Float(0.01) * A),
    ("leaky_relu", 2): ops.where(ops.greater(A, 0), A, B * A),
    ("elu", 1): ops.where(ops.greater(A, 0), A, sp.exp(A) - 1),
    ("elu", 2): ops.where(ops.greater(A, 0), A, B * (sp.exp(A) - 1)),
    # Constants of Klambauer et al. 2017, for which mean 0 and variance 1 are a stable fixed point.
    ("selu", 1): sp.Float(1.0507009873554805) * _SHOWN["elu"](A, sp.Float(1.6732632423543772)),
    ("softsign", 1): A / (1 + ops.absolute(A)),
    ("hard_sigmoid", 1): _SHOWN["clip"](A / 6 + sp.Rational(1, 2), 0, 1),
    ("clip", 3): ops.minimum(ops.maximum(A, B), C),
    ("logaddexp", 2): sp.log(sp.exp(A) + sp.exp(B)),
}
"""Elementwise functions by name and number of arguments, as a textbook defines them."""


def _total(e: Expr) -> Expr:
    return Call("sum", (e,), ())


def _square(e: Expr) -> Expr:
    return Power(e, Number(sp.Integer(2)))


def _of(name: str, a: Expr) -> Expr:
    return Call(name, (a,), ())


def _less_mean(a: Expr) -> Expr:
    return plus([(1, a), (-1, _of("mean", a))])


def _share(name: str, a: Expr) -> Expr:
    """Return the share of each entry in the gradient of the largest or smallest: equal ones share it."""
    is_one = Call("equal", (a, _of(name, a)))
    return Over(is_one, _total(is_one))


TWO = Number(sp.Integer(2))
IN_ORDER: dict[str, Callable[[Expr], Expr]] = {
    "silu": lambda a: times((a, Call("sigmoid", (a,)))),
    "mish": lambda a: times((a, Call("tanh", (Call("softplus", (a,)),)))),
    "gelu": lambda a: times((a, Call("normal_share", (a,)))),
    "normal_share": lambda a: Over(plus([(1, ONE), (1, Call("erf", (Over(a, Number(sp.sqrt(2))),)))]), TWO),
    "normal_density": lambda a: Over(
        Call("exp", (plus([(-1, Over(_square(a), TWO))]),)), Call("sqrt", (Number(2 * sp.pi),))
    ),
}
"""Functions whose factors and quotients SymPy would write in another order than a textbook."""


ARRAYS: dict[str, Callable[..., Expr]] = {
    "softmax": lambda a: Over(Call("exp", (a,)), _total(Call("exp", (a,)))),
    "logsoftmax": lambda a: Call("log", (Call("softmax", (a,)),)),
    "lse": lambda a: Call("log", (_total(Call("exp", (a,))),)),
    "LN": lambda a, b: Over(_less_mean(a), Call("sqrt", (plus([(1, _of("var", a)), (1, b)]),))),
    "RN": lambda a, b: Over(a, Call("sqrt", (plus([(1, _of("mean", _square(a))), (1, b)]),))),
    "is_max": lambda a: _share("max", a),
    "is_min": lambda a: _share("min", a),
    "unit": lambda a: Over(a, _of("norm", a)),
    "std": lambda a: Call("sqrt", (_of("var", a),)),
    "var": lambda a: _of("mean", _square(_less_mean(a))),
}
"""Functions of arrays as a textbook defines them."""
MOST_OF_ARRAYS = max(make.__code__.co_argcount for make in ARRAYS.values())
NEEDED = {"logsoftmax": ("softmax",), "LN": ("var",), "std": ("var",)}
"""Functions of arrays in the definitions of others."""


def functions(
    recursions: Sequence[Recursion], names: Iterable[str], sections: Iterable[Section], more: Iterable[Node] = ()
) -> Section:
    """Return what the functions in the sections of a page of some recursions mean, and those in `more` values, with letters that are
    none of its names; the section is empty where all functions are common ones."""
    found = (x for section in sections for line in section.lines for x in every(line.right, Call))
    halved = any(x.name in ("ahead", "behind") for x in found)
    nodes = [g[id] for r in recursions for g in [r.graph] for id in sorted(r.forward_ids | r.backward_ids)]
    nodes += more
    in_bodies = [call for node in nodes if node.family == "map" for call in functions_in(node.attrs.expr)]
    calls = sorted((call for call in _calls(in_bodies) if _has_line(*call)), key=lambda call: call[0].__name__)
    arrays, args = _names(nodes), list[Word]()
    if calls or arrays:
        taken = {*names, *(a.name for r in recursions for a in r.step.arguments)}
        taken |= {name for node in nodes for name in names_in(node.shape)}
        most = max([MOST_OF_ARRAYS, *(count for _, count in calls)])
        args = [Word(letter) for letter in islice(free_letters(LETTERS, taken), most)]
    lines = [line for function, count in calls for line in _of_call(function, count, args)]
    # The second argument of a normalisation is its ε.
    of_arrays = [*args[:1], *([] if EPSILONS & {*names} else [Word("ε")]), *args[1:]]
    lines += [_of_array(name, of_arrays) for name in arrays]
    lines = list(dict.fromkeys(lines))  # a function and its stable form have one name
    return Section("Functions", tuple(lines), tuple(_remarks(in_bodies, any(r.guarded for r in recursions), halved)))


def _has_line(function: Any, count: int) -> bool:
    """Answer whether a function is none of the common ones."""
    return _body(function, count) is not None or bool(getattr(function, "replaced", False))


def _calls(in_bodies: Iterable[tuple[Any, int]]) -> dict[tuple[Any, int], None]:
    """Return functions with the number of their arguments, and those in their definitions."""
    open_ = [*dict.fromkeys(in_bodies)]
    found: dict[tuple[Any, int], None] = {}
    while open_:
        function, count = open_.pop(0)
        if (function, count) not in found:
            found[function, count] = None
            body = _body(function, count)
            open_ += [] if body is None else functions_in(body)
    return found


def _body(function: Any, count: int) -> sp.Expr | None:
    """Return the body of a function over placeholders; None of a common one."""
    if hasattr(function, "expansion"):
        return function.expansion
    return ELEMENTWISE.get((NAME_OF.get(function, function.__name__), count))


def _of_call(function: Any, count: int, args: list[Word]) -> Iterator[Line]:
    """Yield the line of a function; of a surrogate also those of derivatives that are numbers, which formulas have by value."""
    body, name = _body(function, count), NAME_OF.get(function, function.__name__)
    if body is not None:
        yield _line(name, body, args[:count], getattr(function, "is_surrogate", False))
    for i, slope in enumerate(function.partials if getattr(function, "replaced", False) else ()):
        if slope.is_number:
            yield _line(name + derivative_mark(i, count), slope, args[:count], True)


def _line(name: str, body: sp.Expr, args: list[Word], is_surrogate: bool) -> Line:
    if name in IN_ORDER and not is_surrogate:
        return Line(Call(name, tuple(args)), IN_ORDER[name](args[0]), ONCE)
    g = Graph()
    value = build.map_(g, body, [build.leaf(g, "const", arg.text, ()) for arg in args])
    # A definition has a graph of its own, with the letters of its arguments as leaves.
    right = Lowering(g, {}).value(value)
    return Line(Call(name, tuple(args)), right, ONCE, "is replaced by" if is_surrogate else "=")


def _names(nodes: Iterable[Node]) -> dict[str, None]:
    found: dict[str, None] = {}
    for node in nodes:
        if node.family == "whole" and not _is_written_out(node):
            name = NAMES.get(node.attrs.name, node.attrs.name)
            extra = "var" if name == "deviation" else ""
            for one in (name, *NEEDED.get(name, ()), extra):
                found.setdefault(one)
    return {name: None for name in found if name in ARRAYS}


def _is_written_out(node: Node) -> bool:
    """Answer whether a function stands on the page as a quotient by a norm, not by its name."""
    return node.attrs.name == "unit" and len(node.attrs.axes) == len(node.shape)


def _of_array(name: str, args: list[Word]) -> Line:
    make = ARRAYS[name]
    own = tuple(args[: make.__code__.co_argcount])
    return Line(Call(name, own), make(*own), ONCE)


def _remarks(in_bodies: Iterable[tuple[Any, int]], guarded: bool, halved: bool) -> Iterator[str]:
    """Yield remarks on ties, on factors of zero, and on norms of zero."""
    if halved:
        yield "a bracket with the index 1/2 is one half where both sides are equal"
    if guarded:
        yield "a product with a factor of zero is zero, also where another factor is infinite"
    if any(function is ops.over for function, _ in in_bodies):
        yield "what is divided by a norm of zero is zero"
