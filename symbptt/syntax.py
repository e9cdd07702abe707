"""Python text as a syntax tree, also where several threads read at once."""

from __future__ import annotations

import ast
import unicodedata
from threading import Lock
from typing import Any

NAME = r"[^\W\d][\w\x80-\U0010ffff]*"
"""A name in the pattern of a regular expression: an accent, as on n̂, is none of the letters that \\w has."""

_LOCK = Lock()


def parse(text: str, file: str = "<unknown>", mode: str = "exec") -> ast.AST:
    """Return the syntax tree of a text.

    Raises: SyntaxError where it is not Python.
    """
    # CPython counts the depth of the tree that it makes for all threads together (until 3.12), so that two threads which
    # parse at once end in "SystemError: AST constructor recursion depth mismatch".
    with _LOCK:
        return ast.parse(text, file, mode)


def statements(text: str, file: str = "<unknown>") -> list[ast.stmt]:
    """Return the statements of a module's text."""
    tree = parse(text, file)
    assert isinstance(tree, ast.Module)
    return tree.body


def expression(text: str) -> ast.expr:
    """Return the syntax tree of an expression."""
    tree = parse(text, mode="eval")
    assert isinstance(tree, ast.Expression)
    return tree.body


def as_read(name: Any) -> Any:
    """Return a name as Python reads it in a program, a letter and its accent as one sign (NFKC); what is no text as it is."""
    return unicodedata.normalize("NFKC", name) if isinstance(name, str) else name
