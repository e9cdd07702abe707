"""Terms that read a wrong value: that of another step, or another value of the same step."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from symbptt.autodiff.bptt import per_sample
from symbptt.verification.adjoints.sweep import EdgeFault
from symbptt.verification.adjoints.tape import Edge, Tape
from symbptt.verification.adjoints.values import LEAD
from symbptt.verification.mistakes.mistake import Mistake, Reach
from symbptt.verification.mistakes.part import Part, faulty
from symbptt.verification.mistakes.problem import CELL, Draft, Problem

BORDERS = ("exact", "zero", "hold", "wrap", "end")
"""What is read where there is no such step: what there is, zeros, the nearest step, the step at the other end, the state after the last
step (which index -1 reads from a list that begins with the initial state)."""


def shifted_mistakes(part: Part) -> Iterator[Mistake]:
    """Yield terms that read a value of the step before or after in the place of that of the same step."""
    varying = per_sample(part.recursion.graph, part.recursion.forward_ids)
    for edge in part.tape.edges:
        own = {node.id for node in edge.nodes} | {edge.bar}
        read = dict.fromkeys(arg for node in edge.nodes for arg in node.args if arg not in own and arg in varying)
        for id, inner, inside in made_of(part, read, varying):
            for by, border, first in _places(part, inner):
                words = partial(_of_step, part, edge, inner, by, border, first)
                apply = partial(_shift, part.name, edge, id, inner, inside, by, border, first)
                kind = "initial" if not by else "shifted"
                reach = part.reaches.get(edge.target)
                # What enters the first step alone changes nothing in steps before.
                reach = Reach(reach.near, reach.near) if reach is not None and first else reach
                yield Mistake(kind, words, apply, part.words.place(edge.value), BORDERS.index(border), reach)


def made_of(part: Part, read: Iterable[int], varying: Collection[int]) -> Iterator[tuple[int, int, frozenset[int]]]:
    """Yield each value that is read, what it is made of where it has no name: that is written again in a backward pass; and the values
    without a name that lie between.

    For example the term dv_t (g_t ⊙ h_{t-1})ᵀ reads a product, in which either factor may be that of another step.
    """
    named = {*part.words.page.labels, *part.recursion.step.leaves.values()}
    for id in read:
        yield id, id, frozenset()
        open_, inside = [id] * (id not in named), {id}
        found: dict[int, None] = {}
        while open_:
            args = [arg for arg in part.recursion.graph[open_.pop()].args if arg in varying]
            found |= dict.fromkeys(arg for arg in args if arg in named)
            open_ += [arg for arg in args if arg not in named and arg not in inside]
            inside |= {arg for arg in args if arg not in named}
        for inner in found:
            yield id, inner, frozenset(inside)


def again(tape: Tape, id: int, other: Mapping[int, Any], inside: Collection[int]) -> Any:
    """Return a value of the forward pass where others stand in the place of some of those that it is made of, (T or 1, B or 1, ...);
    the values `inside` are computed again."""
    if id in other or id not in inside:
        return other.get(id, tape.primal[id])
    return tape.compute(tape.graph[id], [again(tape, arg, other, inside) for arg in tape.graph[id].args])


def _places(part: Part, id: int) -> Iterator[tuple[int, str, bool]]:
    is_state = part.recursion.graph[id].family == "leaf" and part.recursion.graph[id].attrs.role == "state"
    if is_state and part.name == CELL:
        yield 1, "exact", False
        yield from ((-1, border, False) for border in BORDERS[1:])
        # What enters the first step alone is read wrongly: zeros, or by hs[-1] the state after the last.
        yield from ((0, border, True) for border in ("zero", "end"))
        return
    yield from ((by, border, False) for by in (1, -1) for border in ("zero", "hold", "wrap"))


def _shift(
    name: str, edge: Edge, id: int, inner: int, inside: Collection[int], by: int, border: str, first: bool, draft: Draft, problem: Problem,
) -> Draft | None:  # fmt: skip
    tape = problem.tape if name == CELL else problem.loss_tape
    assert tape is not None
    array = np.broadcast_to(whole := tape.primal[inner], (tape.steps, *whole.shape[1:]))
    if not tape.steps:
        return None
    moved = again(tape, id, {inner: moved_steps(tape, inner, array, by, border, first)}, inside)
    return faulty(name, edge, EdgeFault(reads={id: moved}), draft, problem)


def moved_steps(tape: Tape, id: int, array: Any, by: int, border: str, first: bool) -> Any:
    """Return an array whose entry t is that of step t + by."""
    after = _after_state(tape, id, array)
    if first:
        entering = np.zeros_like(array[:1]) if border == "zero" else after[-1:]
        return np.concatenate([np.broadcast_to(entering, array[:1].shape), array[1:]])
    if border == "exact":
        return after
    end = array[:1] if by < 0 else array[-1:]
    other = array[-1:] if by < 0 else array[:1]
    # hs[t - 2] of an array of states after each step wraps to the last of them.
    edge = {"zero": np.zeros_like(end), "hold": end, "wrap": other, "end": after[-1:]}[border]
    return np.concatenate([edge, array[:-1]] if by < 0 else [array[1:], edge])


def _after_state(tape: Tape, id: int, array: Any) -> Any:
    """Return the state after each step, of a state before each; of another value that value."""
    name = next((name for name, leaf in tape.recursion.step.leaves.items() if leaf == id), "")
    after = tape.recursion.step.next.get(name)
    if after is None:
        return array
    return np.broadcast_to(found := tape.primal[after], (tape.steps, tape.batch, *found.shape[2:]))


def _of_step(part: Part, edge: Edge, id: int, by: int, border: str, first: bool) -> str:
    value, bar, term = part.words.value(id), part.words.bar(edge.target), part.words.term(edge)
    if first:
        what = "zeros" if border == "zero" else "the state after the last step (index -1)"
        return f"the term {term} of {bar} reads {what} in the place of the initial state"
    where = {
        "exact": "",
        "zero": ", and zeros where there is none",
        "hold": ", and the nearest where there is none",
        "wrap": ", which at the end wraps to the other end",
        "end": ", at the first step that after the last (index -1)",
    }[border]
    step = "one step later" if by > 0 else "one step earlier"
    return f"the term {term} of {bar} reads {value} {step}{where}"


def misread_mistakes(part: Part) -> Iterator[Mistake]:
    """Yield terms that read another value of the user's in the place of the right one: another gate, the value after the step."""
    g, varying = part.recursion.graph, per_sample(part.recursion.graph, part.recursion.forward_ids)
    known = {id for id in part.words.page.labels if id in part.recursion.forward_ids} | set(
        part.recursion.step.leaves.values()
    )
    for edge in part.tape.edges:
        own = {node.id for node in edge.nodes} | {edge.bar}
        read = dict.fromkeys(
            arg for node in edge.nodes for arg in node.args if arg not in own and arg in part.recursion.forward_ids
        )
        for id, inner, inside in made_of(part, read, varying):
            for other in sorted(known - {inner}):
                alike = g.shape(other) == g.shape(inner) and (other in varying) == (inner in varying)
                if alike and g[other].family != "number" and getattr(g[other].attrs, "role", "") != "index":
                    words = partial(_of_other, part, edge, inner, other)
                    apply = partial(_misread, part.name, edge, id, inner, inside, other)
                    place, reach = part.words.place(edge.value), part.reaches.get(edge.target)
                    yield Mistake("misread", words, apply, place, 5, reach)


def taken_mistakes(part: Part) -> Iterator[Mistake]:
    """Yield terms that are made of the cotangent of another value: that before a slope, or that of another gate."""
    g, tape = part.recursion.graph, part.tape
    values = [id for id in tape.from_value if id in tape.varying]
    leaves, order = set(part.recursion.step.leaves.values()), {id: i for i, id in enumerate(values)}
    # Terms of a sum have its cotangent: of those that are the same the first, which has the name, stands for all.
    adjoint, first = part.recursion.adjoint, dict[int, int]()
    for id in values:
        first.setdefault(adjoint.get(id, id), id)
    for edge in (edge for id in values for edge in tape.from_value[id]):
        own = first[adjoint.get(edge.value, edge.value)]
        for other in first.values():
            # What is not a leaf is needed before the cotangents of values that come after.
            is_there = edge.target in leaves or order[other] < order[edge.value]
            if other != own and is_there and g.shape(other) == g.shape(edge.value):
                words = partial(_of_taken, part, edge, other, own)
                apply = partial(faulty, part.name, edge, EdgeFault(takes=other))
                yield Mistake("misread", words, apply, part.words.place(edge.value), 5, part.reaches.get(edge.target))


def _of_taken(part: Part, edge: Edge, other: int, own: int) -> str:
    bar, term, words = part.words.bar(edge.target), part.words.term(edge), part.words
    return f"the term {term} of {bar} is made of {words.bar(other)}, not of {words.bar(own)}"


def turned_mistakes(part: Part) -> Iterator[Mistake]:
    """Yield elementwise terms that read a matrix transposed, or the numbers of rows as those of columns."""
    tape, forward = part.tape, part.recursion.forward_ids
    for edge in part.tape.edges:
        for node in (node for node in edge.nodes if node.family == "map"):
            shape = tape.shape(node.id)
            for id in dict.fromkeys(arg for arg in node.args if arg in forward and len(tape.shape(arg)) == len(shape)):
                for i, j in combinations(range(len(shape)), 2):
                    if shape[i] == shape[j] > 1 and max(tape.shape(id)[i], tape.shape(id)[j]) > 1:
                        words = partial(_of_turned, part, edge, id)
                        apply = partial(_turn, part.name, edge, id, i, j)
                        reach = part.reaches.get(edge.target)
                        yield Mistake("transposed", words, apply, part.words.place(edge.value), 1, reach)


def _turn(name: str, edge: Edge, id: int, i: int, j: int, draft: Draft, problem: Problem) -> Draft | None:
    tape = problem.tape if name == CELL else problem.loss_tape
    assert tape is not None
    turned = np.swapaxes(tape.primal[id], LEAD + i, LEAD + j)
    return faulty(name, edge, EdgeFault(reads={id: turned}), draft, problem)


def _of_turned(part: Part, edge: Edge, id: int) -> str:
    bar, term, value = part.words.bar(edge.target), part.words.term(edge), part.words.value(id)
    return f"in the term {term} of {bar}, two axes of {value} are exchanged: rows for columns"


def table_mistakes(part: Part) -> Iterator[Mistake]:
    """Yield sums into rows of a table that a row takes part in once: `dE[i] += d` adds one sample where several have the same index."""
    arguments = part.recursion.step.leaves.values()
    for edge in part.tape.edges:
        index = [node.args[1] for node in edge.nodes if node.family == "gather" and node.attrs.kind == "scatter"]
        if len(index) != 1 or index[0] not in arguments or edge.target not in arguments:
            continue
        bar = part.words.bar(edge.target)
        for text, is_all in (
            (
                f"rows of {bar} have one sample of those with the same index in a step: += adds it once, np.add.at all of them",
                False,
            ),
            (f"rows of {bar} have the term that came last alone: they are assigned, not added to", True),
        ):
            apply = partial(_once, part.name, edge, index[0], is_all)
            yield Mistake(
                "overwritten", partial(str, text), apply, part.words.place(edge.value), 0, part.reaches.get(edge.target)
            )


def _once(name: str, edge: Edge, index: int, is_all: bool, draft: Draft, problem: Problem) -> Draft | None:
    tape = problem.tape if name == CELL else problem.loss_tape
    assert tape is not None
    rows = tape.primal[index]
    if rows.ndim != 2 or not rows.size:
        return None
    weights = np.zeros(rows.shape)
    if is_all:
        # The loop ends with the first step, whose last sample is written last.
        last = {int(row): i for i, row in enumerate(rows[::-1].ravel())}
        for i in last.values():
            weights[len(rows) - 1 - i // rows.shape[1], i % rows.shape[1]] = 1
    else:
        for t, row in enumerate(rows):
            weights[t, list({int(v): b for b, v in enumerate(row)}.values())] = 1
    return faulty(name, edge, EdgeFault(weights=weights), draft, problem)


def _misread(
    name: str, edge: Edge, id: int, inner: int, inside: Collection[int], other: int, draft: Draft, problem: Problem
) -> Draft | None:
    tape = problem.tape if name == CELL else problem.loss_tape
    assert tape is not None
    return faulty(
        name, edge, EdgeFault(reads={id: again(tape, id, {inner: tape.primal[other]}, inside)}), draft, problem
    )


def _of_other(part: Part, edge: Edge, id: int, other: int) -> str:
    value, bar, term = part.words.value(id), part.words.bar(edge.target), part.words.term(edge)
    return f"the term {term} of {bar} reads {part.words.value(other)} in the place of {value}"
