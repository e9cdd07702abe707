"""Bodies of maps without what only says something to a derivative: `stop_gradient(x)` is x."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import Function, Map, Statement, walk
from symbptt.codegen.loop_ir.rewrite import with_parts
from symbptt.ir.scalar import Call, Power, Prod, Sum, Tree


def unmarked(f: Function) -> Function:
    """Return a function whose maps have no marks in their bodies."""
    marked = any(isinstance(s, Map) and _is_marked(s.body) for s in walk(f.body))
    return replace(f, body=tuple(_body(f.body))) if marked else f


def _is_marked(tree: Tree) -> bool:
    match tree:
        case Call(name, args):
            return name == "stop_gradient" or any(map(_is_marked, args))
        case Sum(terms):
            return any(_is_marked(term) for _, term in terms)
        case Prod(factors, divisors):
            return any(map(_is_marked, factors + divisors))
        case Power(base, exponent):
            return _is_marked(base) or _is_marked(exponent)
    return False


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
