"""Bodies of maps without what only says something to a derivative: `stop_gradient(x)` is x."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import Function, Map, Statement
from symbptt.codegen.loop_ir.rewrite import with_parts
from symbptt.ir.scalar import Call, Power, Prod, Sum, Tree


def unmarked(f: Function) -> Function:
    """Return a function whose maps have no marks in their bodies."""
    return replace(f, body=tuple(_body(f.body)))


def _body(body: Sequence[Statement]) -> Iterable[Statement]:
    for s in body:
        new = with_parts(s, lambda x: x, _body)
        yield replace(new, body=_tree(new.body)) if isinstance(new, Map) else new


def _tree(tree: Tree) -> Tree:
    match tree:
        case Call("stop_gradient", (arg,)):
            return _tree(arg)
        case Call(name, args):
            return Call(name, tuple(map(_tree, args)))
        case Sum(terms):
            return Sum(tuple((sign, _tree(term)) for sign, term in terms))
        case Prod(factors, divisors):
            return Prod(tuple(map(_tree, factors)), tuple(map(_tree, divisors)))
        case Power(base, exponent):
            return Power(_tree(base), _tree(exponent))
    return tree
