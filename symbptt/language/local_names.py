"""The names of a user's local variables, taken while their function runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from itertools import count
from types import FrameType
from typing import Any, NamedTuple

from symbptt.ir.graph import Graph
from symbptt.ir.naming import beside, free_letters, unique
from symbptt.ir.nesting import Nesting
from symbptt.ir.shape import names_in
from symbptt.ir.step import Step
from symbptt.language.allocated import is_plain
from symbptt.language.array import Array
from symbptt.language.user_frames import SHOWN, cell_error, is_user_frame

MOST_EVENTS = 5_000_000
"""Lines of the user's and calls of functions that one step may take while it is traced: some seconds of them."""


class Local(NamedTuple):
    """A local variable that is a symbolic array: how deep its frame lies, which of the traced calls that is, its name, and the
    node."""

    depth: int
    call: int
    name: str
    id: int


@contextmanager
def recorded(graph: Graph) -> Iterator[list[Local]]:
    """Collect the local variables of the user's frames that are arrays of a graph, each as often as it has another value.

    A debugger's or a coverage tool's trace function is put aside meanwhile and put back.
    """
    found: list[Local] = []
    before, token = sys.gettrace(), _FOUND.set(found)
    sys.settrace(_watcher(graph, found))
    try:
        yield found
    finally:
        sys.settrace(before)
        _FOUND.reset(token)


_FOUND: ContextVar[list[Local] | None] = ContextVar("found", default=None)


def named_so_far() -> dict[int, str]:
    """Return the values that local variables of the user's have named since the trace began."""
    return {local.id: local.name for local in _FOUND.get() or ()}


def _watcher(graph: Graph, found: list[Local]) -> Callable[[FrameType, str, Any], Any]:
    depths: dict[FrameType, int] = {}
    events, calls = count(1), count()

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
        call = next(calls)
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
                    and not is_plain(value)
                    and value.graph is graph
                    and name in local
                    and id(value) not in given
                    and (name, value.last) not in seen
                ):
                    # To look at a view must not read it anew: what is traced does not depend on who looks.
                    seen.add((name, value.last))
                    found.append(Local(depth, call, name, value.last))
            if event == "return":
                depths.pop(frame, None)
            return on_line

        local = {*code.co_varnames, *code.co_cellvars}
        return on_line

    return on_call


def choose(found: Iterable[Local], taken: dict[str, int], graph: Graph, results: Collection[int]) -> dict[int, str]:
    """Return one name a node: that of the outermost frame, the first there. Of several values of one variable the last that
    others read has the plain name; one other has a tilde, several others have numbers. Gradients that no line has named and
    that the `results` are computed from have a letter.

    `taken` holds the names of the arguments; their nodes get no other. The results are shown by the names of states and outputs.
    """
    best: dict[int, tuple[int, Local]] = {}
    for order, seen in enumerate(found):
        local = seen._replace(id=_standing(graph, seen.id))
        # A name in the cell itself says more than one inside a helper that it calls.
        if local.id not in taken.values() and (local.id not in best or local.depth < best[local.id][1].depth):
            best[local.id] = order, local
    locals_ = [local for _, local in sorted(best.values(), key=lambda item: (item[1].depth, item[0]))]
    read = {*graph.ancestors(results)}
    groups: dict[str, list[Local]] = {}
    for local in locals_:
        groups.setdefault(local.name, []).append(local)
    # All plain names first: a variable that the user calls q_1 keeps its name beside the values of q.
    plain = ((_plain(group, read - {*results}).id, name) for name, group in groups.items() if name not in taken)
    chosen = dict(plain)
    used = {*taken, *chosen.values()}
    for local in locals_:
        if local.id not in chosen:
            # A next state is called as the state is, whatever its line calls it.
            others = [x for x in groups[local.name] if chosen.get(x.id) != local.name and x.id not in results]
            chosen[local.id] = beside(local.name, used) if len(others) == 1 else unique(local.name, used)
            used.add(chosen[local.id])
    names = {local.id: chosen[local.id] for local in locals_}
    for id in _in_order(graph):
        if id in read and id not in names and id not in taken.values():
            slope = graph.slopes[id]
            # A gradient by a matrix is a matrix; of several those by the first argument come first.
            name = "G" if any(len(slope.body.shape(leaf)) > 1 for leaf in slope.leaves) else "g"
            names[id] = unique(name if len(slope.args) == 1 else f"{name}_{slope.number + 1}", used)
            used.add(names[id])
    return names


def _in_order(graph: Graph) -> list[int]:
    """Return the gradients of a graph, those of one call side by side by the numbers of their arguments."""
    first: dict[Graph, int] = {}
    for value, slope in sorted(graph.slopes.items()):
        first.setdefault(slope.body, value)
    return sorted(graph.slopes, key=lambda value: (first[graph.slopes[value].body], graph.slopes[value].number))


def _standing(graph: Graph, id: int) -> int:
    """Return the value of the step that a value of a function stands for which was traced on arguments of its own."""
    # A function that calls another one by its gradient is itself put in place later: from one to the next.
    while id in graph.moved:
        id = graph.moved[id]
    return id


def _plain(group: Sequence[Local], read: Container[int]) -> Local:
    """Return the value of a variable that has its name without a number: the last of one call, the first of several calls."""
    first = group[0]
    if any(local.call != first.call for local in group if local.depth == first.depth):
        return first  # a helper that is called for each gate has as many values that are the last
    return next((local for local in reversed(group) if local.call == first.call and local.id in read), first)


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
        parts.append(id)
        held.add(id)
    if len(parts) == 1:
        graph.names[parts[0]] = letter
    return replace(step, parts=frozenset(graph.names[id] for id in parts))


def with_parts_of_page(step: Step) -> Step:
    """Return a step whose functions have been made whole with names for those parts alone that are too long then: of
    logsumexp(logsumexp(a)), written out, the inner one has a name."""
    if not step.parts:
        return step
    graph = step.graph
    for id in [id for id, name in graph.names.items() if name in step.parts]:
        del graph.names[id]
    return with_parts(replace(step, graph=graph, parts=frozenset()))
