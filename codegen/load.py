"""Texts of modules as code and as modules: compiled once, executed as often as needed, pickled with what they made."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakValueDictionary


@lru_cache(maxsize=128)
def code_of(text: str, file: str) -> CodeType:
    """Return the code of a module's text under the name of a file."""
    return compile(text, file, "exec")


def check_parsed(text: str, file: str) -> None:
    """Assert that a text that symbptt wrote is Python; what is compiled for that is there when the module is loaded."""
    _checked(code_of, text, file)


def names_read(text: str, file: str) -> set[str]:
    """Return the names that a text which symbptt wrote takes from outside of its functions, attributes among them, and assert
    that it is Python.

    The compiler knows them; a walk of the syntax tree would take ten times as long.
    """
    return names_of_code(_checked(lambda text, file: compile(text, file, "exec"), text, file))


def names_of_code(code: CodeType) -> set[str]:
    """Return the names that code takes from outside of its functions, attributes among them."""
    inner = (names_of_code(value) for value in code.co_consts if isinstance(value, CodeType))
    return {*code.co_names}.union(*inner)


def _checked(read: Callable[[str, str], Any], text: str, file: str) -> Any:
    try:
        return read(text, file)
    except SyntaxError as error:
        line = text.splitlines()[(error.lineno or 1) - 1].strip()
        raise AssertionError(
            f"{file} is no Python at line {error.lineno}: {error.msg}\n  {line[:200]}\n"
            f"  this is a fault of symbptt: report the cell, and try shorter names meanwhile"
        ) from None


LIVING: WeakValueDictionary[str, ModuleType] = WeakValueDictionary()
"""Modules by their text: what is read from a pickle belongs to the module of a kernel that is there."""


def load(text: str, name: str) -> ModuleType:
    """Return a module made from source text, its lines known to tracebacks.

    No name leads to it, so that its runs and gradients are pickled with the text.
    """
    module = ModuleType("symbptt_generated")
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(code_of(text, name), module.__dict__)
    for kind in ("Run", "Grads", "Workspace"):
        if kind in vars(module):
            vars(module)[kind].__reduce__ = lambda value: (
                _held_again,
                (text, name, type(value).__name__, _state(value)),
            )
    LIVING[text] = module
    return module


def _state(value: Any) -> dict[str, Any]:
    """Return the data that a pickle holds of a run, gradients or a workspace: no memory that waits for other calls."""
    rooms: Any = {} if type(value).__name__ == "Workspace" else ()
    return vars(value) | ({"rooms": rooms} if "rooms" in vars(value) else {})


def _held_again(text: str, name: str, kind: str, content: dict[str, Any]) -> Any:
    """Return a pickled value again, of the class that the module has."""
    made = (LIVING.get(text) or _loaded(text, name)).__dict__[kind]
    value = made.__new__(made)
    value.__dict__.update(content)
    return value


@lru_cache(16)
def _loaded(text: str, name: str) -> ModuleType:
    """Return the module of runs whose kernel is not there."""
    return load(text, name)
