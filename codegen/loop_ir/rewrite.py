"""Functions of the loop IR with other operands: the walk that all of them share, and the substitution of buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from operator import is_
from typing import Any

from symbptt.codegen.loop_ir.nodes import KINDS, Buffer, Extent, Function, Given, Operand, Port, Statement, View


def with_parts(
    s: Statement, operand: Callable[[Operand], Operand], body: Callable[[Sequence[Statement]], Iterable[Statement]]
) -> Statement:
    """Return a statement whose operands and bodies are what two functions make of them."""

    def part(value: Any) -> Any:
        kind = type(value)
        if kind is View or kind is Extent:
            return operand(value)
        if kind is Given:
            return Given(part(value.view), part(value.flag))
        if kind is not tuple or not value:
            return value
        new = tuple(body(value)) if type(value[0]) in KINDS else tuple(map(part, value))
        return value if len(new) == len(value) and all(map(is_, new, value)) else new

    # A statement in which nothing changes is given back as the same object: passes run over all of a function and
    # change little of it, and what is equal by identity need not be compared by value.
    kind: Any = type(s)
    changed = {name: new for name in _names(kind) if (new := part(old := getattr(s, name))) is not old}
    return replace(s, **changed) if changed else s


PLAIN = ("origin", "labels", "axes", "count")
"""Fields of statements that have no operands; the index of a gather is one, that of a loop a symbol that stays."""


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """Return the fields of a kind of statements that may have operands or statements."""
    return tuple(x.name for x in fields(kind) if x.name not in PLAIN)


def with_buffers(f: Function, new: Mapping[Buffer, Buffer]) -> Function:
    """Return a function with other buffers, of the same shapes, in place of its own."""
    if not new:
        return f
    # Several buffers may become one, which is allocated once.
    kept = tuple(dict.fromkeys(new.get(b, b) for b in f.buffers))
    results = tuple(Port(p.group, p.name, _view(p.view, new)) for p in f.results)
    return replace(f, buffers=kept, body=_body(f.body, new), results=results)


def _body(body: Sequence[Statement], new: Mapping[Buffer, Buffer]) -> tuple[Statement, ...]:
    return tuple(with_parts(s, lambda x: _operand(x, new), lambda inner: _body(inner, new)) for s in body)


def _operand(x: Operand, new: Mapping[Buffer, Buffer]) -> Operand:
    return x if isinstance(x, Extent) else _view(x, new)


def _view(view: View, new: Mapping[Buffer, Buffer]) -> View:
    buffer = new.get(view.buffer, view.buffer)
    return view if buffer is view.buffer else replace(view, buffer=buffer)
