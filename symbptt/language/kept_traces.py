"""Traces of functions of which gradients are taken on numbers, kept from call to call.

A check calls a cell thousands of times on numbers, and each call would trace the function of `sb.grad` anew. In a cell that was
traced, what such a function does follows from its code, from the numbers, words and functions that it reads, and from the types and
shapes of the arrays that it reads: it may not branch on what these hold. So the trace of a call that is alike in all of
these is that of this one, with other arrays in the place of those that it read. What reads anything else is traced anew.

Example: of `lambda M: sb.sum((M @ k - v) ** 2)` the arrays are k and v; one of `lambda M: sb.sum((M @ (2 * k)) ** 2)` is made
inside of it, stands in no place that could be read again, and so its trace is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from symbptt.language.user_frames import is_user_file

MOST = 1000
"""Traces that are kept."""
PLAIN = (bool, int, float, complex, str, type(None))
ITSELF = (np.ufunc, BuiltinFunctionType, type, type(np.sum))
"""Types of what means the same wherever it is read."""
_KEPT: ContextVar[dict[Any, Any] | None] = ContextVar("kept", default=None)


@contextmanager
def traces_kept() -> Iterator[None]:
    """Keep traces for the time of a check of a cell that was traced before: no branch of it hangs on the numbers of its arrays."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


@dataclass
class Reading:
    """What a call of a function may read: all that decides how it is traced, and its arrays, each once."""

    key: tuple[Any, ...] = ()
    arrays: list[Any] = field(default_factory=list)
    is_known: bool = True
    seen: dict[int, int] = field(default_factory=dict)

    def kept(self) -> Any:
        """Return what was kept of a call that is alike, or None."""
        traces = _KEPT.get()
        return None if traces is None or not self.is_known else traces.get(self.key)

    def keep(self, trace: Any, given: Mapping[str, Any]) -> None:
        """Keep a trace that read the arrays `given` by name, if each of them can be found again."""
        traces = _KEPT.get()
        places = {id(array): i for i, array in enumerate(self.arrays)}
        if traces is not None and self.is_known and len(traces) < MOST and all(id(x) in places for x in given.values()):
            traces[self.key] = trace, {name: places[id(x)] for name, x in given.items()}


def reading_of(function: Any, given: tuple[Any, ...]) -> Reading | None:
    """Return what a call reads of its function and of what it is given, where traces are kept."""
    if _KEPT.get() is None:
        return None
    found = Reading()
    found.key = (_read(function, found), _read(given, found))
    return found


def _read(value: Any, found: Reading) -> Any:
    """Return what decides a trace of a value, noting its arrays."""
    if isinstance(value, PLAIN):
        return type(value), value
    if id(value) in found.seen:  # one array under two names, or a function that calls itself
        return "again", found.seen[id(value)]
    if isinstance(value, np.ndarray | np.generic):
        return _array(value, found)
    if isinstance(value, tuple | list):
        return type(value), tuple(_read(part, found) for part in value)
    if isinstance(value, dict):
        return type(value), tuple((key, _read(part, found)) for key, part in value.items())
    if isinstance(value, partial):
        return "partial", _read((value.func, value.args, value.keywords), found)
    if isinstance(value, ModuleType) and not is_user_file(getattr(value, "__file__", None) or ""):
        return type(value), value.__name__  # another object in each call of a check, which means the same
    if isinstance(value, FunctionType) and is_user_file(value.__code__.co_filename):
        return _function(value, found)
    if isinstance(value, (*ITSELF, FunctionType)):
        return value
    found.is_known = False
    return None


def _array(value: Any, found: Reading) -> Any:
    if value.dtype.kind not in "fcO":  # counts and truth values stand in a trace as the numbers that they are
        return type(value), value.dtype, value.shape, value.tobytes()
    found.seen[id(value)] = len(found.seen)
    found.arrays.append(value)
    return type(value), value.dtype, value.shape


def _function(value: FunctionType, found: Reading) -> Any:
    found.seen[id(value)] = len(found.seen)
    code, space = value.__code__, value.__globals__
    held = [cell.cell_contents for cell in value.__closure__ or ()]
    named = [(name, space[name]) for name in _names(code) if name in space]
    return code, _read((value.__defaults__, value.__kwdefaults__, held, named), found)


@lru_cache(1000)
def _names(code: CodeType) -> tuple[str, ...]:
    """Return the names that a function and those inside it read from outside, or as attributes."""
    inner = [name for part in code.co_consts if isinstance(part, CodeType) for name in _names(part)]
    return tuple(dict.fromkeys((*code.co_names, *inner)))
