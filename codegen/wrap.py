"""Long lines of a module, broken at commas and signs."""

from __future__ import annotations

import re
import textwrap

WIDTH = 120
DEEPER = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


def wrapped(line: str) -> list[str]:
    """Return a line, or where it is too long its comment above it and its code over several lines."""
    code, mark, comment = line.partition("  # ")
    short = f"{code.rstrip()}{mark}{comment}"
    if len(line) <= WIDTH or len(short) <= WIDTH:
        return [line if len(line) <= WIDTH else short]
    indent = " " * (len(code) - len(code.lstrip()))
    return [*(_comment(comment, indent) if mark else []), *_broken(code.rstrip(), indent)]


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - len(indent) - 2, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   ")


def _broken(code: str, indent: str) -> list[str]:
    """Code over several lines, inside brackets that it has, else by brackets around its right side."""
    if code.lstrip().startswith("for "):
        return _loop(code, indent)
    inside = _within(code, indent)
    if inside is not None:
        return inside
    if code.lstrip().startswith("return "):
        return _in_brackets(f"{indent}return (", code.strip().removeprefix("return "), ")", indent)
    target, _, right = code.strip().partition(" = ")
    if len(target) > WIDTH // 2:
        return _in_brackets(f"{indent}(", target, f") = {right}", indent)
    return _in_brackets(f"{indent}{target} = (", right, ")", indent)


def _within(code: str, indent: str) -> list[str] | None:
    """Code broken only where a bracket is open, or None where a line were too long."""
    further, lines, depth = f"{indent}    ", [indent], 0
    for piece in _pieces(code.strip()):
        if len(lines[-1]) + len(piece) > WIDTH and lines[-1].strip() and depth > 0:
            lines[-1] = lines[-1].rstrip()
            lines.append(further)
        lines[-1] += piece + " "
        depth += sum(DEEPER.get(sign, 0) for sign in piece)
    lines[-1] = lines[-1].rstrip()
    return lines if all(len(line.rstrip()) <= WIDTH for line in lines) else None


def _loop(code: str, indent: str) -> list[str]:
    """The head of a loop: what it runs over on lines of its own, apart from those of its body."""
    target, _, right = code.strip().removeprefix("for ").partition(" in ")
    name, _, inside = right.partition("(")
    short = len(indent) + len(f"for {target} in {name}(") <= WIDTH
    head = f"for {target} in {name}(" if short else f"for ({target}) in {name}("
    further = f"{indent}        "
    return [*_filled(head, indent, further), *_filled(inside, further, further)]


def _pieces(code: str) -> list[str]:
    """Code cut behind commas and before signs."""
    return re.split(r"(?<=,) |(?<=[^(,]) (?=[+-] )", code)


def _in_brackets(head: str, inside: str, tail: str, indent: str) -> list[str]:
    return [head, *_filled(inside, f"{indent}    ", f"{indent}    "), f"{indent}{tail}"]


def _filled(code: str, first: str, further: str) -> list[str]:
    """Lines as full as can be, the first and the others behind their indents."""
    lines = [first]
    for piece in _pieces(code):
        if len(lines[-1]) + len(piece) > WIDTH and lines[-1].strip():
            lines[-1] = lines[-1].rstrip()
            lines.append(further)
        lines[-1] += piece + " "
    return [*lines[:-1], lines[-1].rstrip()]
