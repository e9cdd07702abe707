"""Functions of the loop IR with other operands: the walk that all of them share, and the substitution of buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from symbptt.codegen.loop_ir.nodes import Buffer, Extent, Function, Given, Operand, Port, Statement, View


def with_parts(
    s: Statement, operand: Callable[[Operand], Operand], body: Callable[[Sequence[Statement]], Iterable[Statement]]
) -> Statement:
    """Return a statement whose operands and bodies are what two functions make of them."""

    def part(value: Any) -> Any:
        match value:
            case View() | Extent():
                return operand(value)
            case Given():
                return Given(part(value.view), part(value.flag))
            case tuple() if any(isinstance(item, Statement) for item in value):
                return tuple(body(value))
            case tuple():
                return tuple(map(part, value))
        return value

    return replace(s, **{x.name: part(getattr(s, x.name)) for x in fields(s)})


def with_buffers(f: Function, new: Mapping[Buffer, Buffer]) -> Function:
    """Return a function with other buffers, of the same shapes, in place of its own."""
    # Several buffers may become one, which is allocated once.
    kept = tuple(dict.fromkeys(new.get(b, b) for b in f.buffers))
    results = tuple(Port(p.group, p.name, _view(p.view, new)) for p in f.results)
    return replace(f, buffers=kept, body=_body(f.body, new), results=results)


def _body(body: Sequence[Statement], new: Mapping[Buffer, Buffer]) -> tuple[Statement, ...]:
    return tuple(with_parts(s, lambda x: _operand(x, new), lambda inner: _body(inner, new)) for s in body)


def _operand(x: Operand, new: Mapping[Buffer, Buffer]) -> Operand:
    return x if isinstance(x, Extent) else _view(x, new)


def _view(view: View, new: Mapping[Buffer, Buffer]) -> View:
    return replace(view, buffer=new.get(view.buffer, view.buffer))
