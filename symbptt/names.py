"""The names of a user's local variables, taken while their function runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from symbptt.ir.naming import unique
from symbptt.location import SHOWN, is_user_file
from symbptt.trace import Array


@contextmanager
def recorded() -> Iterator[list[tuple[int, str, int]]]:
    """Collect (depth of the frame, name, node) for each local variable of the user's frames that is a symbolic array.

    A debugger's or a coverage tool's trace function is put aside meanwhile and put back.
    """
    found: list[tuple[int, str, int]] = []
    before = sys.gettrace()
    sys.settrace(_watcher(found))
    try:
        yield found
    finally:
        sys.settrace(before)


def _watcher(found: list[tuple[int, str, int]]) -> Callable[[FrameType, str, Any], Any]:
    depths: dict[FrameType, int] = {}

    def on_call(frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code.co_name.startswith("<") or not (is_user_file(code.co_filename) or code in SHOWN):
            return None
        depth = depths[frame] = 1 + max(depths.values(), default=0)
        given = {id(value) for value in frame.f_locals.values()}
        seen: set[tuple[str, int]] = set()

        def on_line(frame: FrameType, event: str, arg: Any) -> Any:
            for name, value in frame.f_locals.items():
                if (
                    isinstance(value, Array)
                    and name in local
                    and id(value) not in given
                    and (name, value.id) not in seen
                ):
                    seen.add((name, value.id))
                    found.append((depth, name, value.id))
            if event == "return":
                depths.pop(frame, None)
            return on_line

        local = {*code.co_varnames, *code.co_cellvars}
        return on_line

    return on_call


def choose(found: list[tuple[int, str, int]], taken: dict[str, int]) -> dict[int, str]:
    """Return one name a node: that of the outermost frame, the first there, made unique by a number.

    `taken` holds the names of the arguments; their nodes get no other.
    """
    best: dict[int, tuple[int, int, str]] = {}
    for order, (depth, name, id) in enumerate(found):
        if id not in taken.values() and (id not in best or (depth, order) < best[id][:2]):
            best[id] = (depth, order, name)
    used, chosen = set(taken), {}
    for id, (_, _, name) in sorted(best.items(), key=lambda item: item[1][:2]):
        chosen[id] = unique(name, used)
        used.add(chosen[id])
    return chosen
