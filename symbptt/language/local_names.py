"""The names of a user's local variables, taken while their function runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from types import FrameType
from typing import Any

from symbptt.ir.naming import free_letters, unique
from symbptt.ir.nesting import Nesting
from symbptt.ir.shape import names_in
from symbptt.ir.step import Step
from symbptt.language.array import Array
from symbptt.language.user_frames import SHOWN, cell_error, is_user_frame

MOST_EVENTS = 5_000_000
"""Lines of the user's and calls of functions that one step may take while it is traced: some seconds of them."""


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
    events = count(1)

    def check_end() -> None:
        if next(events) > MOST_EVENTS:
            raise cell_error(
                f"a step took {MOST_EVENTS:,} lines and calls of Python and has not returned",
                "does a loop in it never end? loops over time are the kernel's: a cell is one step",
            )

    def on_call(frame: FrameType, event: str, arg: Any) -> Any:
        check_end()
        code = frame.f_code
        # Comprehensions and lambdas ("<listcomp>") have loop variables, which would be misleading names.
        if code.co_name.startswith("<") or not (is_user_frame(frame) or code in SHOWN):
            return None
        # Dictionaries keep insertion order: the last frame is the innermost one that is running.
        depth = depths[frame] = 1 + (depths[next(reversed(depths))] if depths else 0)
        # Arguments of a helper function carry the caller's values, which already have the caller's names.
        given = {id(value) for value in frame.f_locals.values()}
        seen: set[tuple[str, int]] = set()

        def on_line(frame: FrameType, event: str, arg: Any) -> Any:
            check_end()
            # A "line" event comes before its line runs, so that an assignment is seen at the next event.
            for name, value in frame.f_locals.items():
                if (
                    isinstance(value, Array)
                    and name in local
                    and id(value) not in given
                    and (name, value.last) not in seen
                ):
                    # To look at a view must not read it anew: what is traced does not depend on who looks.
                    seen.add((name, value.last))
                    found.append((depth, name, value.last))
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
        # A name in the cell itself says more than one inside a helper that it calls.
        if id not in taken.values() and (id not in best or (depth, order) < best[id][:2]):
            best[id] = (depth, order, name)
    used, chosen = set(taken), {}
    for id, (_, _, name) in sorted(best.items(), key=lambda item: item[1][:2]):
        chosen[id] = unique(name, used)
        used.add(chosen[id])
    return chosen


PARTS = "zsvqpwgk"
"""The letters of parts, of which a step has the first that none of its names begins with, and a number behind it."""


def with_parts(step: Step) -> Step:
    """Return the step with names for parts of formulas that would be too long to read, or to be walked through at all.

    What has no name stands inside the formulas that read it, once for each time that it is read: a chain of 1,000 values
    in a list would be one formula 1,000 deep, and one that reads its last value twice would be 2**1000 long.
    """
    graph = step.graph
    held = {*graph.names, *step.leaves.values(), *step.next.values(), *step.outputs.values()}
    used = {*graph.names.values(), *step.leaves, *step.next, *step.outputs}
    sizes = {size for a in step.arguments for size in names_in(a.shape)}
    heads = {name.partition("_")[0].rstrip("0123456789") for name in used | sizes}
    letter = next(free_letters(PARTS, heads))
    parts = []
    # `held` grows while the generator runs, so that each new name shortens the formulas after it.
    for number, id in enumerate(Nesting(graph, held).too_long(), 1):
        graph.names[id] = unique(f"{letter}_{number}", used)
        parts.append(graph.names[id])
        held.add(id)
    return replace(step, parts=frozenset(parts))
