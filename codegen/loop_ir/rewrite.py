"""Substitution of buffers in functions of the loop IR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from symbptt.codegen.loop_ir.nodes import Buffer, Function, Port, Statement, View


def with_buffers(f: Function, new: Mapping[Buffer, Buffer]) -> Function:
    """Return a function with other buffers, of the same shapes, in place of its own."""
    # Several buffers may become one, which is allocated once.
    kept = tuple(dict.fromkeys(new.get(b, b) for b in f.buffers))
    results = tuple(Port(p.group, p.name, _view(p.view, new)) for p in f.results)
    return replace(f, buffers=kept, body=_body(f.body, new), results=results)


def _body(body: Sequence[Statement], new: Mapping[Buffer, Buffer]) -> tuple[Statement, ...]:
    return tuple(replace(s, **{x.name: _field(getattr(s, x.name), new) for x in fields(s)}) for s in body)


def _field(value: Any, new: Mapping[Buffer, Buffer]) -> Any:
    if isinstance(value, View):
        return _view(value, new)
    if isinstance(value, tuple) and any(isinstance(item, Statement) for item in value):
        return _body(value, new)
    if isinstance(value, tuple) and any(isinstance(item, View) for item in value):
        return tuple(_field(item, new) for item in value)
    return value


def _view(view: View, new: Mapping[Buffer, Buffer]) -> View:
    return replace(view, buffer=new.get(view.buffer, view.buffer))
