"""Long lines of a module, broken at commas and signs."""

from __future__ import annotations

import re
import textwrap

WIDTH = 120


def wrapped(line: str) -> list[str]:
    """Return a line, or where it is too long its comment above it and its code over several lines."""
    if len(line) <= WIDTH:
        return [line]
    code, mark, comment = line.partition("  # ")
    indent = " " * (len(code) - len(code.lstrip()))
    return [*(_comment(comment, indent) if mark else []), *_broken(code.rstrip(), indent)]


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - len(indent) - 2, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   ")


def _broken(code: str, indent: str) -> list[str]:
    """Code over several lines, by brackets around the side of an assignment (or of a return) that is long."""
    if len(code) <= WIDTH:
        return [code]
    if code.lstrip().startswith("return "):
        return _filled(f"{indent}return (", code.strip().removeprefix("return "), ")", indent)
    if code.lstrip().startswith("for "):
        target, _, right = code.strip().removeprefix("for ").partition(" in ")
        name, _, inside = right.removesuffix("):").partition("(")
        *head, joint = _filled(f"{indent}for (", target, f") in {name}(", indent)
        return [*head, *_filled(joint, inside, "):", indent)]
    if re.match(r"[\w.]+\(", code.lstrip()):
        return _filled(f"{indent}{code.strip().partition('(')[0]}(", code.strip().partition("(")[2][:-1], ")", indent)
    target, _, right = code.strip().partition(" = ")
    if len(target) > WIDTH // 2:
        return _filled(f"{indent}(", target, f") = {right}", indent)
    return _filled(f"{indent}{target} = (", right, ")", indent)


def _filled(head: str, inside: str, tail: str, indent: str) -> list[str]:
    lines, current = [head], f"{indent}    "
    for piece in re.split(r"(?<=,) |(?<=[^(,]) (?=[+-] )", inside):
        if len(current) + len(piece) > WIDTH and current.strip():
            lines.append(current.rstrip())
            current = f"{indent}    "
        current += piece + " "
    return [*lines, current.rstrip(), f"{indent}{tail}"]
