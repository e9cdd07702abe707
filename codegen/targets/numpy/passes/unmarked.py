"""Bodies of maps without what only says something to a derivative: `stop_gradient(x)` is x."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from symbptt.codegen.loop_ir import rewrite
from symbptt.codegen.loop_ir.nodes import Function, Map, Statement, walk
from symbptt.ir.scalar import Call, Tree, parts_of, with_parts


def unmarked(f: Function) -> Function:
    """Return a function whose maps have no marks in their bodies."""
    marked = any(isinstance(s, Map) and _is_marked(s.body) for s in walk(f.body))
    return replace(f, body=tuple(_body(f.body))) if marked else f


def _is_mark(tree: Tree) -> bool:
    return isinstance(tree, Call) and tree.name == "stop_gradient"


def _is_marked(tree: Tree) -> bool:
    return _is_mark(tree) or any(map(_is_marked, parts_of(tree)))


def _body(body: Sequence[Statement]) -> Iterable[Statement]:
    for s in body:
        new = rewrite.with_parts(s, lambda x: x, _body)
        yield replace(new, body=_tree(new.body)) if isinstance(new, Map) else new


def _tree(tree: Tree) -> Tree:
    parts = tuple(map(_tree, parts_of(tree)))
    return parts[0] if _is_mark(tree) else with_parts(tree, parts)
