"""Groups of parameters: a dataclass, a named tuple or a dict whose fields are annotated as arguments are.

A group is many arguments with names such as block.Wq. The function gets it whole again, with symbolic or plain arrays in it.

Example: with `class Attention: Wq: Param["n n"]; scale: Const = 0.1` the argument `block: Attention` is the arguments block.Wq and
block.scale; the function is called with block=Attention(Wq=..., scale=...).
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, is_typeddict

from symbptt.language.roles import Annotation, annotation_of
from symbptt.syntax import expression

NOTHING = object()
"""The default of a field without one."""


@dataclass(frozen=True)
class Group:
    """A group: how it is made of its fields by name, and their annotations and defaults; a field may be a group itself."""

    make: Callable[..., Any]
    fields: Mapping[str, tuple[Annotation | Group | Any, Any]]

    def made(self, name: str, values: Mapping[str, Any]) -> Any:
        """Return the group of the name, with the values of its arguments."""
        return self.make(**{
            field: kind.made(f"{name}.{field}", values) if isinstance(kind, Group) else values[f"{name}.{field}"]
            for field, (kind, _) in self.fields.items()
        })  # fmt: skip

    def arguments(self, name: str) -> Iterator[tuple[str, Any, Any]]:
        """Yield the arguments that the group of the name is: name, annotation and default of each."""
        for field, (kind, default) in self.fields.items():
            if isinstance(kind, Group):
                yield from kind.arguments(f"{name}.{field}")
            else:
                yield f"{name}.{field}", kind, default


def group_of(found: Any, scope: Mapping[str, Any]) -> Group | None:
    """Return the group that an annotation is, or None; strings are parsed, never evaluated."""
    if isinstance(found, str):
        found = _parsed(found, scope)
    if isinstance(found, Mapping):
        return Group(dict, {str(k): (_kind(v, scope), NOTHING) for k, v in found.items()})
    if not isinstance(found, type):
        return None
    # Annotations of a class are names of its own module.
    inner = {**scope, **vars(sys.modules.get(found.__module__, ast))}
    if dataclasses.is_dataclass(found):
        return Group(found, {f.name: (_kind(f.type, inner), _default(f)) for f in dataclasses.fields(found) if f.init})
    if is_typeddict(found):
        return Group(dict, {k: (_kind(v, inner), NOTHING) for k, v in found.__annotations__.items()})
    if issubclass(found, tuple) and hasattr(found, "_fields"):
        defaults, kinds = found._field_defaults, found.__annotations__  # type: ignore[attr-defined]
        return Group(found, {k: (_kind(kinds.get(k), inner), defaults.get(k, NOTHING)) for k in found._fields})
    return None


def _kind(annotation: Any, scope: Mapping[str, Any]) -> Any:
    """Return a role, a group, or what is neither, as it is."""
    # typing wraps annotations of named tuples and typed dicts that are strings.
    annotation = getattr(annotation, "__forward_arg__", annotation)
    return annotation_of(annotation, dict(scope)) or group_of(annotation, scope) or annotation


def _default(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return NOTHING if field.default is dataclasses.MISSING else field.default


def _parsed(text: str, scope: Mapping[str, Any]) -> Any:
    try:
        node = expression(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _parsed(node.value, scope)
    if isinstance(node, ast.Dict):
        return {getattr(k, "value", None): ast.unparse(v) for k, v in zip(node.keys, node.values, strict=True)}
    parts = ast.unparse(node).split(".")
    found = scope.get(parts[0])
    for part in parts[1:]:
        found = getattr(found, part, None)
    return found


def grouped(groups: Mapping[str, Group], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a function from those of a cell: groups as they are written."""
    plain = {name: value for name, value in values.items() if "." not in name}
    return plain | {name: group.made(name, values) for name, group in groups.items()}
