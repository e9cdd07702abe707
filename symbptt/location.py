"""Where the library is called from: the user's file and line, for errors and for nodes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import networkx
import numpy as np
import sympy as sp

from symbptt.errors import CellError

_HERE = str(Path(__file__).parent)
_USER_INSIDE = str(Path(__file__).parent / "zoo")
_LIBRARIES = tuple(str(Path(module.__file__).parent) for module in (np, sp, networkx) if module.__file__)


def is_user_file(name: str) -> bool:
    """Answer whether a file holds cells rather than the library."""
    if name.startswith(_USER_INSIDE):
        return True
    return not name.startswith((_HERE, "<frozen", *_LIBRARIES)) and Path(name).parent.name != "codegen"


def user_frame() -> FrameType | None:
    """Return the innermost frame of the user's code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def user_place() -> str:
    """Return `file:line` of the innermost frame of the user's code."""
    frame = user_frame()
    return "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def cell_error(what: str, cure: str = "", kind: type[CellError] = CellError) -> CellError:
    """Return an error that says what, where in the user's file, and what to write instead."""
    frame = user_frame()
    where = "" if frame is None else f"\n  at {frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
    return kind(what + where + (f"\n  {cure}" if cure else ""))


SHOWN: set[CodeType] = set()
"""Functions of the library whose local variables are names of equations, as those of the user's functions are."""


def shows_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose local variables name the values of a cell that calls it."""
    SHOWN.add(function.__code__)
    return function
