"""Texts of modules as code: compiled once, executed as often as needed."""

from __future__ import annotations

from functools import lru_cache
from types import CodeType


@lru_cache(maxsize=128)
def code_of(text: str, file: str) -> CodeType:
    """Return the code of a module's text under the name of a file."""
    return compile(text, file, "exec")
