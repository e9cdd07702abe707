"""Texts of modules as code: compiled once, executed as often as needed."""

from __future__ import annotations

from functools import lru_cache
from types import CodeType


@lru_cache(maxsize=128)
def code_of(text: str, file: str) -> CodeType:
    """Return the code of a module's text under the name of a file."""
    return compile(text, file, "exec")


def check_parsed(text: str, file: str) -> None:
    """Assert that a text that symbptt wrote is Python; what is compiled for that is there when the module is loaded."""
    try:
        code_of(text, file)
    except SyntaxError as error:
        line = text.splitlines()[(error.lineno or 1) - 1].strip()
        raise AssertionError(
            f"{file} is no Python at line {error.lineno}: {error.msg}\n  {line[:200]}\n"
            f"  this is a fault of symbptt: report the cell, and try shorter names meanwhile"
        ) from None
