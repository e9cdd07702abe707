"""Mistakes in the elementwise formula of a term: a factor or a term of a sum forgotten, a sign, a square, a share of
one gate for that of the other, a slope taken elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import sympy as sp

from symbptt import ops
from symbptt.autodiff.subexpressions import formula
from symbptt.ir.node import Body, Node, placeholder
from symbptt.verification.adjoints.sweep import EdgeFault
from symbptt.verification.adjoints.tape import Edge
from symbptt.verification.mistakes.mistake import Mistake
from symbptt.verification.mistakes.part import Part, depending, made


def other_bodies(part: Part, edge: Edge, node: Node) -> Iterator[Mistake]:
    """Yield mistakes in the elementwise formula of a term."""
    seen = {node.attrs.expr}
    moving = depending(edge)
    if not any(arg in moving for arg in node.args):
        return
    coming = frozenset(placeholder(i) for i, arg in enumerate(node.args) if arg in moving)
    for kind, text, body, shown in (*_changed(node.attrs.expr), *_shares(node.attrs.expr, coming)):
        if body in seen or not _reads(body, node, moving):
            continue
        seen.add(body)
        words = partial(_of_body, part, edge, text, shown, node.args)
        yield made(part, edge, kind, words, EdgeFault(nodes={node.id: replace(node, attrs=Body(body))}))
    yield from _other_slopes(part, edge, node, seen)


def _reads(body: sp.Expr, node: Node, moving: set[int]) -> bool:
    """Answer whether a body is still made of the cotangent."""
    return any(placeholder(i) in body.free_symbols for i, arg in enumerate(node.args) if arg in moving)


def _of_body(part: Part, edge: Edge, text: str, shown: sp.Expr, args: tuple[int, ...]) -> str:
    factor = part.words.factor(shown, args, edge, part.tape.graph)
    bar, term = part.words.bar(edge.target), part.words.term(edge)
    return f"in the term {term} of {bar}, " + text.format(factor or "one of its parts")


def _changed(expr: sp.Expr) -> Iterator[tuple[str, str, sp.Expr, sp.Expr]]:
    """Yield (kind, words, changed body, the part that is named): without a factor, without a term, with another sign or power."""
    for inner in _parts(expr):
        others = partial(_put, expr, inner)
        if inner.is_Mul:
            for factor in inner.args:
                if not factor.is_number or factor != -1:
                    yield "factor", "the factor {} is forgotten", others(inner / factor), factor
        elif inner.is_Add:
            for term in inner.args:
                yield "factor", "{} is forgotten in a sum", others(inner - term), term
                yield "sign", "{} has the wrong sign in a sum", others(inner - 2 * term), term
        elif inner.is_Pow and inner.exp.is_Integer and abs(inner.exp) > 1:
            yield "factor", "the power of {} is forgotten", others(inner.base ** sp.sign(inner.exp)), inner
        elif inner.func is ops.where:
            for choice in inner.args[1:]:
                yield "factor", "the choice {} is not made", others(choice), inner
        elif inner.is_Function and len(inner.args) == 1 and not isinstance(inner, sp.Symbol):
            yield "factor", "the function in {} is forgotten", others(inner.args[0]), inner


def _shares(expr: sp.Expr, coming: frozenset[sp.Symbol]) -> Iterator[tuple[str, str, sp.Expr, sp.Expr]]:
    """Yield (kind, words, changed body, the part that is named): the share of one gate in the place of that of the other, x for 1 - x and
    1 - x for x, of all but the cotangents `coming`."""
    for inner in _parts(expr):
        rest = 1 - inner
        if inner.is_Add and (rest.is_Symbol or rest.is_Function):
            yield "misread", "{0} stands in the place of 1 - {0}", _put(expr, inner, rest), rest
        elif inner.is_Mul:
            for factor in inner.args:
                if (factor.is_Symbol or factor.is_Function) and not factor.free_symbols & coming:
                    yield (
                        "misread",
                        "1 - {0} stands in the place of {0}",
                        _put(expr, inner, inner / factor * (1 - factor)),
                        factor,
                    )


def _parts(expr: sp.Expr) -> Iterator[sp.Expr]:
    """Yield an expression and all that it is made of."""
    yield expr
    for arg in expr.args:
        if not arg.is_number:
            yield from _parts(arg)


def _put(expr: sp.Expr, old: sp.Expr, new: sp.Expr) -> sp.Expr:
    return new if expr == old else expr.xreplace({old: new})


def _other_slopes(part: Part, edge: Edge, node: Node, seen: set[sp.Expr]) -> Iterator[Mistake]:
    """Yield mistakes in where a slope is taken: at the value of a function in the place of its argument, or the other way round, and
    slopes of another function in the place of that of this one."""
    g, value = part.recursion.graph, edge.value
    if g[value].family != "map":
        return
    own = formula(g, value, set(part.recursion.kept))
    at_value = [placeholder(i) for i, arg in enumerate(node.args) if arg == value]
    expr = node.attrs.expr
    if at_value and len(own.args) == 1 and own.expr.is_Function:
        y, extra = at_value[0], placeholder(len(node.args))
        bodies = [
            (
                "the slope is taken at the value {y} once more",
                expr.xreplace({y: own.expr.xreplace({placeholder(0): y})}),
                node.args,
            ),
            (
                "the slope, which is written in the value {y}, is taken at {a}",
                expr.xreplace({y: extra}),
                (*node.args, own.args[0]),
            ),
        ]
        bodies += [(f"the slope is that of {name}", expr.xreplace({slope: other}), node.args)
                   for slope in (1 - y**2, y * (1 - y)) for name, other in (("tanh", 1 - y**2), ("sigmoid", y * (1 - y)))]  # fmt: skip
        bodies += [("the slope is that of sigmoid", expr.xreplace({1 - y**2: y * (1 - y)}), node.args)]
        whole = sp.Mul(*[f for f in sp.Mul.make_args(expr) if y not in f.free_symbols])
        bodies += [
            (f"the slope is that of {name}", whole * slope, node.args)
            for name, slope in (("tanh", 1 - y**2), ("sigmoid", y * (1 - y)))
        ]
        for text, body, args in bodies:
            if body not in seen:
                seen.add(body)
                changed = replace(node, attrs=Body(body), args=args)
                words = partial(_of_slope, part, edge, text, value, own.args[0])
                yield made(part, edge, "slope", words, EdgeFault(nodes={node.id: changed}))
    elif len(own.args) == 1 and own.expr.is_Function:
        at = [placeholder(i) for i, arg in enumerate(node.args) if arg == own.args[0]]
        if at and (body := expr.xreplace({at[0]: placeholder(len(node.args))})) not in seen:
            changed = replace(node, attrs=Body(body), args=(*node.args, value))
            words = partial(
                _of_slope, part, edge, "the slope is taken at the value {y}, not at {a}", value, own.args[0]
            )
            yield made(part, edge, "slope", words, EdgeFault(nodes={node.id: changed}))


def _of_slope(part: Part, edge: Edge, text: str, value: int, arg: int) -> str:
    bar, term = part.words.bar(edge.target), part.words.term(edge)
    return f"in the term {term} of {bar}, " + text.format(y=part.words.value(value), a=part.words.value(arg))
