"""Mistakes that are made beside the edges: in what a step hands on, in cotangents, in how far losses flow back, in sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from symbptt.language.truncation import Chunked, Window
from symbptt.verification.adjoints.sweep import Group, Sum
from symbptt.verification.mistakes.mistake import Mistake
from symbptt.verification.mistakes.part import Part
from symbptt.verification.mistakes.problem import Draft, Problem
from symbptt.verification.objective import spans


def carry_mistakes(part: Part, T: int) -> Iterator[Mistake]:
    """Yield mistakes in what a step hands to the step before, of one state: nothing, twice, its negative; nothing beyond k steps."""
    states = [a.name for a in part.recursion.step.of_role("state") if a.name in part.recursion.recurrent]
    told = {
        0.0: ("missing", "{} does not reach the step before: nothing is carried back through time along it"),
        2.0: ("doubled", "{} is handed to the step before twice"),
        -1.0: ("sign", "{} is handed to the step before with the wrong sign"),
    }
    for name in states:
        for scale, (kind, text) in told.items():
            bar = part.words.argument(name, bar=True)
            yield Mistake(kind, partial(text.format, bar), partial(_carried, name, partial(np.full, fill_value=scale)))
    # Of one state alone these are the truncations of all, which `reach_mistakes` has.
    for name in states if len(states) > 1 else []:
        bar = part.words.argument(name, bar=True)
        for k in range(1, T):
            yield Mistake(
                "truncated",
                partial(str, f"{bar} is carried back through the last {_steps_text(k)} alone"),
                partial(_carried, name, partial(_first_from_last, k)),
            )
            if k > 1:
                text = f"{bar} is not carried back across the borders of chunks of {_steps_text(k)}, counted from the first"
                yield Mistake(
                    "truncated", partial(str, text), partial(_carried, name, partial(_inside_chunks, k)), rank=1
                )


def _carried(name: str, weights: Any, draft: Draft, problem: Problem) -> Draft | None:
    # One mistake at a place: two at the same one would hide each other.
    if name in draft.cell.carry:
        return None
    return replace(draft, cell=replace(draft.cell, carry={**draft.cell.carry, name: weights(problem.point.steps)}))


def _first_from_last(k: int, T: int) -> Any:
    return (np.arange(T) > T - 1 - k).astype(float) if k < T else np.ones(T)


def _inside_chunks(k: int, T: int) -> Any:
    # Step t hands to step t - 1, which is in the chunk before where t is the first of one; the initial state is before all.
    return np.array([t == 0 or t % k != 0 for t in range(T)], float)


def cotangent_mistakes(part: Part, names: Sequence[str]) -> Iterator[Mistake]:
    """Yield mistakes in how the cotangents of states and outputs are read: of each, and of all together."""
    # Each alone and all together: a loop that forgets them forgets them for one name or for all.
    groups = [(name,) for name in names] + ([tuple(names)] if len(names) > 1 else [])
    for group in groups:
        what = " and ".join(f"∂L/∂{part.words.result(name)}" for name in group)
        s = "s" * (len(group) == 1)
        for kind, text, change in (
            ("missing", f"{what}, which the loss gives, {'is' if s else 'are'} not added", partial(_times, 0.0)),
            ("doubled", f"{what} {'is' if s else 'are'} added twice", partial(_times, 2.0)),
            ("sign", f"{what} {'has' if s else 'have'} the wrong sign", partial(_times, -1.0)),
            ("last step", f"{what} {'is' if s else 'are'} read at the last step alone", partial(_kept, "last")),
            ("last step", f"{what} of the last step {'is' if s else 'are'} missing", partial(_kept, "not last")),
            ("first step", f"{what} of the first step {'is' if s else 'are'} missing", partial(_kept, "not first")),
            ("shifted", f"{what} {'is' if s else 'are'} read one step later", partial(_rolled, -1, "zero")),
            ("shifted", f"{what} {'is' if s else 'are'} read one step earlier", partial(_rolled, 1, "zero")),
            (
                "shifted",
                f"{what} {'is' if s else 'are'} read one step earlier, at the first step that of the last (index -1)",
                partial(_rolled, 1, "wrap"),
            ),
            ("shifted", f"{what} {'is' if s else 'are'} read in the wrong order of steps", _reversed),
        ):
            yield Mistake(kind, partial(str, text), partial(_sent, group, change), rank=int(len(group) > 1))


def _sent(names: Sequence[str], change: Any, draft: Draft, problem: Problem) -> Draft | None:
    sent = problem.cotangents(draft)
    if not problem.point.steps:
        return None
    return replace(
        draft, cotangents={**draft.cotangents, **{name: change(sent[name]) for name in names if name in sent}}
    )


def _times(factor: float, array: Any) -> Any:
    return factor * array


def _steps(kept: str, T: int) -> Any:
    """Return the weights of steps: which of them count."""
    t = np.arange(T)
    return {"last": t == T - 1, "first": t == 0, "not last": t != T - 1, "not first": t != 0}[kept].astype(float)


def _kept(kept: str, array: Any) -> Any:
    return array * _steps(kept, len(array)).reshape(-1, *(1,) * (array.ndim - 1))


def _rolled(by: int, border: str, array: Any) -> Any:
    # An index that runs out of range is an error in a loop, but index -1 is the last step in Python: both are tried.
    moved = np.roll(array, by, 0)
    if border == "zero":
        moved[0 if by > 0 else -1] = 0.0
    return moved


def _reversed(array: Any) -> Any:
    return array[::-1]


# How far losses flow back.


def reach_mistakes(T: int) -> Iterator[Mistake]:
    """Yield truncations: after k steps for each loss, at the borders of chunks, in a loop that stops early or begins late."""
    for k in range(1, T):
        window = f"each loss flows back through {_steps_text(k)} at the most: truncated BPTT, sb.Window({k})"
        yield _reach(window, "truncated", partial(_window, k), 0)
        yield _reach(
            f"{window}; and the initial state has nothing", "truncated", partial(_unstarted, partial(_window, k)), 1
        )
        if k > 1:
            chunks = f"nothing flows back across the borders of chunks of {k} steps, counted from the first"
            for text, reach in (
                (chunks, partial(_bordered, k)),
                (
                    f"the losses of each {k} steps flow back through {k} steps: sb.Chunked({k}, {k})",
                    partial(_chunked, k, True),
                ),
            ):
                yield _reach(text, "truncated", reach, 1)
                yield _reach(f"{text}; and the initial state has nothing", "truncated", partial(_unstarted, reach), 1)
            from_last = f"nothing flows back across the borders of chunks of {k} steps, counted from the last"
            yield _reach(from_last, "truncated", partial(_chunked, k, False), 2)
            at_start = f"{from_last}; nor to the initial state, where a chunk begins with it"
            yield _reach(at_start, "truncated", partial(_closed, k), 3)
            nowhere = f"{from_last}; and the initial state has nothing"
            yield _reach(nowhere, "truncated", partial(_unstarted, partial(_chunked, k, False)), 3)
    for k in range(1, T):
        text = (
            f"the loop over steps stops after {_steps_text(k)}, counted from the last: earlier steps have no gradient"
        )
        yield from _stopping(text, "truncated", partial(_stop_before, k))
    yield from _stopping("the loop over steps leaves out the first step", "first step", partial(_stop_before, None))
    yield _reach("the loop over steps leaves out the last step", "last step", _no_last, 0)


def _stopping(text: str, kind: str, stop: Any) -> Iterator[Mistake]:
    """Yield the same loop with each of the three things that an initial state may then get."""
    for start, words in (
        (NOTHING, ", and the initial state none"),
        (HANDED, ", and the initial state has what the last step of the loop hands on"),
        (AFTER, ", and the initial state has what the state before these steps should have"),
    ):
        yield _reach(text + words, kind, partial(stop, start), 0)


def _steps_text(k: int) -> str:
    return "1 step" if k == 1 else f"{k} steps"


def _reach(text: str, kind: str, matrix: Any, rank: int) -> Mistake:
    return Mistake(kind, partial(str, text), partial(_reaching, matrix), rank=rank)


def _reaching(matrix: Any, draft: Draft, problem: Problem) -> Draft | None:
    T = problem.point.steps
    if draft.cell.reach is not None or T < 2:
        return None
    reach, start, how = matrix(T)
    sums = dict(draft.cell.sums)
    if how is not None:
        sums |= {
            ("state", a.name): replace(sums.get(("state", a.name), Sum()), **how)
            for a in problem.cell.step.of_role("state")
        }
    # A loss reaches no later step, whatever a mistake does.
    return replace(draft, cell=replace(draft.cell, reach=np.tril(reach), start=start, sums=sums))


NOTHING, HANDED, AFTER = "nothing", "handed", "after"
Reach = tuple[Any, Any, dict[str, Any] | None]
"""Which steps a loss reaches, [τ, t]; which losses reach the initial state; where else that takes its gradient from."""


def _window(k: int, T: int) -> Reach:
    # [τ, t]: does the loss of step τ reach step t?
    reach = np.zeros((T, T), bool)
    for span in spans(Window(k), T):
        reach[span.lo : span.hi, span.first :] = True
    return reach, reach[:, 0], None


def _bordered(k: int, T: int) -> Reach:
    # Two steps see each other where they are in one chunk.
    chunk = np.arange(T) // k
    reach = chunk[:, None] == chunk
    return reach, reach[:, 0], None


def _unstarted(reach: Any, T: int) -> Reach:
    return reach(T)[0], np.zeros(T, bool), None


def _chunked(k: int, is_from_first: bool, T: int) -> Reach:
    reach = np.zeros((T, T), bool)
    for span in spans(Chunked(k, k), T):
        reach[span.lo : span.hi, span.first : span.hi] = True
    # Counted from the last: the same matrix turned in both directions.
    if not is_from_first:
        reach = reach[::-1, ::-1]
    return reach, reach[:, 0], None


def _closed(k: int, T: int) -> Reach:
    # A loop that drops what every k-th step hands on drops what the first step hands to the initial state, if that is one of them.
    reach, start, how = _chunked(k, False, T)
    return reach, start if T % k else np.zeros(T, bool), how


def _stop_before(k: int | None, start: str, T: int) -> Reach:
    """Only the last k steps, or all but the first."""
    # Steps from this one on are walked; `range(T - 1, 0, -1)` leaves out the first.
    first = 1 if k is None else T - k
    reach = np.broadcast_to(np.arange(T) >= first, (T, T))
    how = {NOTHING: None, HANDED: {"handed": first}, AFTER: {"after": first - 1}}[start]
    return reach, np.zeros(T, bool), how


def _no_last(T: int) -> Reach:
    reach = np.broadcast_to((np.arange(T) < T - 1)[:, None], (T, T))
    return reach, reach[:, 0], None


# Sums of single gradients.


def sum_mistakes(part: Part) -> Iterator[Mistake]:
    """Yield mistakes in how gradients are summed over steps and samples: of each one, and of all parameters."""
    params = [a.name for a in part.recursion.step.of_role("param")]
    groups = [(name,) for name in params] + ([tuple(params)] if len(params) > 1 else [])
    for names in groups:
        what = " and ".join(map(part.words.gradient, names)) if len(names) < 4 else "the gradients of all parameters"
        places: list[Group] = [("params", name) for name in names]
        verb = "has" if len(names) == 1 else "have"
        for kind, text, how in (
            ("last step", f"{what}: the last step's term is missing", ("steps", "not last")),
            ("first step", f"{what}: the first step's term is missing", ("steps", "not first")),
            (
                "overwritten",
                f"{what} {verb} the term of the first step alone: the sum over steps is overwritten by what comes last in the loop",
                ("steps", "first"),
            ),
            ("last step", f"{what} {verb} the term of the last step alone", ("steps", "last")),
            (
                "batch",
                f"{what} {verb} the term of the first sample alone: not summed over the batch",
                ("samples", "first"),
            ),
            (
                "batch",
                f"{what} {verb} the term of the last sample alone: not summed over the batch",
                ("samples", "last"),
            ),
        ):
            yield Mistake(kind, partial(str, text), partial(_summed, places, *how), rank=int(len(names) > 1))
    for a in part.recursion.step.of_role("state"):
        gradient = part.words.result(a.name, bar=True, time=None) + "_0"
        yield Mistake(
            "initial",
            partial(
                str,
                f"{gradient} has what the state after the first step should have: the first step is not flowed back through",
            ),
            partial(_after, a.name),
        )
    for a in part.recursion.step.of_role("input"):
        for kept in ("first", "last"):
            place: Group = ("inputs", a.name)
            yield Mistake(
                f"{kept} step",
                partial(str, f"{part.words.gradient(a.name)} of the {kept} step is zero"),
                partial(_summed, [place], "steps", f"not {kept}"),
            )


def _summed(places: Sequence[Group], axis: str, kept: str, draft: Draft, problem: Problem) -> Draft | None:
    sums = dict(draft.cell.sums)
    if any(place in sums for place in places):
        return None
    count = problem.point.steps if axis == "steps" else problem.point.batch
    # Of one step or sample the first is the last, and nothing would be missing.
    if count < 2:
        return None
    weights = _steps(kept, count)
    sums |= {place: Sum(**{axis: weights}) for place in places}
    return replace(draft, cell=replace(draft.cell, sums=sums))


def _after(name: str, draft: Draft, _: Problem) -> Draft | None:
    place: Group = ("state", name)
    if place in draft.cell.sums:
        return None
    return replace(draft, cell=replace(draft.cell, sums={**draft.cell.sums, place: Sum(after=0)}))


def transposed_blocks(problem: Problem, names: Sequence[str], words: Any) -> Iterator[Mistake]:
    """Yield finished gradients of square parameters, transposed."""
    for name in names:
        shape = np.shape(problem.point.params[name])
        # Transposed blocks of other shapes do not fit, which is told as a wrong shape.
        if len(shape) == 2 and shape[0] == shape[1] > 1:
            yield Mistake(
                "transposed",
                partial(str, f"{words(name)} is transposed"),
                partial(_posted, partial(_turned, ("params", name))),
                rank=2,
            )


def exchanged_blocks(problem: Problem, places: Sequence[Group], words: Any) -> Iterator[Mistake]:
    """Yield finished gradients that stand under each other's name, or one under both names: of one kind, and of one shape."""
    shapes = {place: np.shape(problem.right[place]) for place in places}
    for i, one in enumerate(places):
        for other in places[:i]:
            # Only within one group: no one returns a gradient of an input for that of a parameter.
            if one[0] != other[0] or shapes[one] != shapes[other]:
                continue
            for text, post in (
                (f"{words(other)} and {words(one)} are exchanged", partial(_exchanged, one, other)),
                (f"{words(one)} is {words(other)}", partial(_copied, other, one)),
                (f"{words(other)} is {words(one)}", partial(_copied, one, other)),
            ):
                yield Mistake("misread", partial(str, text), partial(_posted, post), rank=2)


def _exchanged(one: Group, other: Group, found: dict[Group, Any]) -> dict[Group, Any]:
    return {**found, one: found[other], other: found[one]}


def _copied(one: Group, to: Group, found: dict[Group, Any]) -> dict[Group, Any]:
    return {**found, to: found[one]}


def _posted(post: Any, draft: Draft, _: Problem) -> Draft | None:
    return replace(draft, posts=(*draft.posts, post))


def _turned(place: Group, found: dict[Group, Any]) -> dict[Group, Any]:
    return {**found, place: found[place].T}
