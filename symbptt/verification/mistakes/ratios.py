"""Gradients that are right up to a factor, or up to a limit: divided by the batch or the steps, clipped by value or by norm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from symbptt.verification.adjoints.sweep import Group
from symbptt.verification.mistakes.draws import SAME, Draw
from symbptt.verification.mistakes.mistake import Mistake
from symbptt.verification.mistakes.problem import Draft, Problem
from symbptt.verification.oracle import Point

Factor = Callable[[Point], float]
"""The factor of a gradient, by the steps, samples and sizes of a point."""
FACTORS: dict[str, tuple[str, Callable[[int, int], float]]] = {
    "zero": ("{are} zero", lambda T, B: 0.0),
    "sign": ("{have} the wrong sign", lambda T, B: -1.0),
    "batch": ("{are} divided by the batch B: a mean over samples in the place of their sum", lambda T, B: 1 / B),
    "summed": ("{are} multiplied by the batch B: a sum over samples in the place of their mean", lambda T, B: float(B)),
    "steps": ("{are} divided by the steps T: a mean over steps in the place of their sum", lambda T, B: 1 / T),
    "summed steps": (
        "{are} multiplied by the steps T: a sum over steps in the place of their mean",
        lambda T, B: float(T),
    ),
    "batch and steps": (
        "{are} divided by the steps and the batch, T B: a mean in the place of a sum",
        lambda T, B: 1 / (T * B),
    ),
    "summed batch and steps": (
        "{are} multiplied by the steps and the batch, T B: a sum in the place of a mean",
        lambda T, B: float(T * B),
    ),
    "doubled": ("{are} twice what they should be", lambda T, B: 2.0),
    "halved": ("{are} half of what they should be", lambda T, B: 0.5),
}
"""By kind: the words, and the factor for T steps of B samples."""
OVER: dict[str, tuple[str, Callable[[int, int], int]]] = {
    "{n}": ("the size {n}", lambda T, B: 1),
    "B {n}": ("the batch and the size {n}, B {n}", lambda T, B: B),
    "T B {n}": ("the steps, the batch and the size {n}, T B {n}", lambda T, B: T * B),
}
"""What a mean over entries divides by, with the named size n: in signs; in words, and the rest of it for T steps of B samples."""
KINDS = {"zero": "missing", "summed": "summed", "summed steps": "summed", "batch": "mean", "steps": "mean", "batch and steps": "mean",
         "summed batch and steps": "summed"}  # fmt: skip


def factor_mistakes(
    draws: Sequence[Draw], bases: Sequence[Mapping[Group, Any]], words: Callable[[Group], str]
) -> Iterator[Mistake]:
    """Yield factors of gradients that make those of `bases` what came, of each alone, and of those together that have one factor."""
    names: dict[str, list[Group]] = {}
    for place in draws[0].given:
        for name in _factors(draws, bases, place):
            names.setdefault(name, []).append(place)
    known = _known(draws[0])
    for name, places in names.items():
        if len(places) > 1:
            yield _factor(*known[name], places, _together(places, draws[0].given), 1)
        for place in places:
            rank = 3 if name == "zero" and place[0] == "params" else 2
            yield _factor(*known[name], [place], words(place), rank)
    constants = [(place, r) for place in draws[0].given if (r := _constant(draws, bases, place)) is not None]
    for place, r in constants:
        yield Mistake(
            "factor",
            partial(str, f"{words(place)} is {r:.6g} times what it should be"),
            partial(_scaled, [place], _same(r)),
            rank=4,
        )
    if len(constants) > 1 and len({f"{r:.9g}" for _, r in constants}) == 1:
        text = f"{_together([p for p, _ in constants], draws[0].given)} are {constants[0][1]:.6g} times what they should be"
        yield Mistake(
            "factor", partial(str, text), partial(_scaled, [p for p, _ in constants], _same(constants[0][1])), rank=3
        )


def shared_factors(draws: Sequence[Draw]) -> Iterator[Mistake]:
    """Yield the factors that some gradients have, of all of them: the others may be wrong by other mistakes beside it."""
    places = [*draws[0].given]
    rights = [one.problem.right for one in draws]
    names = {name for place in places for name in _factors(draws, rights, place) if name != "zero"}
    for name, known in _known(draws[0]).items():
        if name in names:
            yield _factor(*known, places, "all gradients", 1)


def _same(r: float) -> Factor:
    return lambda point: r


def _known(one: Draw) -> dict[str, tuple[str, str, Factor]]:
    """Return the factors that have a name, (kind, words, factor) each: those of steps and samples, and of the named sizes."""
    found: dict[str, tuple[str, str, Factor]] = {
        name: (KINDS.get(name, name), text, partial(_of_steps, of)) for name, (text, of) in FACTORS.items()
    }
    for size in sorted(one.problem.point.sizes, key=str):
        for signs, (words, of) in OVER.items():
            name, what = signs.format(n=size), words.format(n=size)
            mean = "{are} divided by " + what + ": a mean over entries in the place of their sum"
            total = "{are} multiplied by " + what + ": a sum over entries in the place of their mean"
            found[f"1/({name})"] = "mean", mean, partial(_of_size, size, of, -1)
            found[name] = "summed", total, partial(_of_size, size, of, 1)
    return found


def _of_steps(of: Callable[[int, int], float], point: Point) -> float:
    return of(max(point.steps, 1), point.batch)


def _of_size(size: sp.Symbol, of: Callable[[int, int], int], power: int, point: Point) -> float:
    return float(of(max(point.steps, 1), point.batch) * point.sizes[size]) ** power


def _together(places: Sequence[Group], known: Mapping[Group, Any]) -> str:
    if len(places) == len(known):
        return "all gradients"
    groups = {"params": "parameters", "inputs": "inputs", "state": "initial states"}
    for group, text in groups.items():
        if set(places) == {place for place in known if place[0] == group}:
            return f"the gradients of all {text}"
    return "the gradients of " + ", ".join(name for _, name in places)


def _factor(kind: str, text: str, of: Factor, places: Sequence[Group], what: str, rank: int) -> Mistake:
    many = len(places) > 1 or what.startswith("all ")
    text = text.format(are="are" if many else "is", have="have" if many else "has")
    text = text if many else text.replace("they should be", "it should be")
    return Mistake(kind, partial(str, f"{what} {text}"), partial(_scaled, places, of), rank=rank)


def _ratio(one: Draw, base: Mapping[Group, Any], place: Group) -> float | None:
    """Return the factor between what came and what a base has; none where one is no multiple of the other."""
    came, found = np.asarray(one.given[place]), np.asarray(base[place])
    square = float(np.sum(found * found))
    if not square or not np.isfinite(square):
        return None
    r = float(np.sum(came * found)) / square
    off = float(np.max(np.abs(came - r * found), initial=0.0))
    size = float(np.max(np.abs(found), initial=0.0))
    return r if off <= SAME * size * max(abs(r - 1), 1e-6) and abs(r - 1) > 1e-9 else None


def _factors(draws: Sequence[Draw], bases: Sequence[Mapping[Group, Any]], place: Group) -> list[str]:
    ratios = [_ratio(one, base, place) for one, base in zip(draws, bases, strict=True)]
    found = []
    for name, (_, _, of) in _known(draws[0]).items():
        wanted = [of(one.problem.point) for one in draws]
        if all(r is not None and abs(r - w) <= SAME * max(abs(w), 1.0) for r, w in zip(ratios, wanted, strict=True)):
            found.append(name)
    return found


def _constant(draws: Sequence[Draw], bases: Sequence[Mapping[Group, Any]], place: Group) -> float | None:
    """Return a factor that all draws have and that has no name."""
    ratios = [_ratio(one, base, place) for one, base in zip(draws, bases, strict=True)]
    if _factors(draws, bases, place) or any(r is None for r in ratios):
        return None
    first, *others = [r for r in ratios if r is not None]
    return first if all(abs(r - first) <= SAME * abs(first) for r in others) else None


def _scaled(places: Sequence[Group], of: Factor, draft: Draft, problem: Problem) -> Draft | None:
    factor = of(problem.point)

    def post(found: dict[Group, Any]) -> dict[Group, Any]:
        return {place: factor * value if place in places else value for place, value in found.items()}

    return replace(draft, posts=(*draft.posts, post))


# Limits on finished gradients.


def limit_mistakes(one: Draw, words: Callable[[Group], str]) -> Iterator[Mistake]:
    """Yield limits of finished gradients that what came suggests: of each, of all parameters, of all, by value and by norm."""
    params = [place for place in one.given if place[0] == "params"]
    groups: list[tuple[str, list[Group]]] = [(words(place), [place]) for place in one.given]
    groups += [("the gradients of all parameters", params)] if len(params) > 1 else []
    groups += [("all gradients", [*one.given])] if len(one.given) > 1 else []
    for what, places in groups:
        verb = "are" if what.startswith(("the ", "all ")) else "is"
        largest = max(float(np.max(np.abs(one.given[p]), initial=0.0)) for p in places)
        if not 0 < largest < np.inf:
            continue
        rank = 1 if len(places) > 1 else 2
        yield Mistake("clipped", partial(str, f"{what} {verb} clipped to ±{_number(largest)}, entry by entry"),
                      partial(_limited, places, partial(_by_value, _round(largest))), rank=rank)  # fmt: skip
        norm = float(np.sqrt(sum(float(np.sum(one.given[p] ** 2)) for p in places)))
        yield Mistake("clipped", partial(str, f"{what} {verb} scaled down to a {'joint ' * (len(places) > 1)}norm of {_number(norm)}"),
                      partial(_limited, places, partial(_by_norm, _round(norm))), rank=rank)  # fmt: skip
        if len(places) > 1:
            norms = [float(np.sqrt(np.sum(one.given[p] ** 2))) for p in places]
            each = what.replace("all gradients", "the gradients")
            yield Mistake("clipped", partial(str, f"each of {each} is scaled down to a norm of {_number(max(norms))}"),
                          partial(_limited, places, partial(_each_by_norm, _round(max(norms)))), rank=1)  # fmt: skip


def _round(limit: float) -> float:
    """Return a limit without the rounding of what it was taken from: people write limits with few digits."""
    short = float(f"{limit:.9g}")
    return short if abs(short - limit) <= 1e-12 * limit else limit


def _number(limit: float) -> str:
    return f"{_round(limit):.6g}"


def _limited(places: Sequence[Group], limit: Any, draft: Draft, _: Problem) -> Draft | None:
    def post(found: dict[Group, Any]) -> dict[Group, Any]:
        return {**found, **limit({place: found[place] for place in places})}

    return replace(draft, posts=(*draft.posts, post))


def _by_value(limit: float, arrays: dict[Any, Any]) -> dict[Any, Any]:
    return {k: np.clip(v, -limit, limit) for k, v in arrays.items()}


def _by_norm(limit: float, arrays: dict[Any, Any]) -> dict[Any, Any]:
    norm = float(np.sqrt(sum(float(np.sum(v**2)) for v in arrays.values())))
    return {k: v * min(1.0, limit / norm) if norm else v for k, v in arrays.items()}


def _each_by_norm(limit: float, arrays: dict[Any, Any]) -> dict[Any, Any]:
    return {k: _by_norm(limit, {k: v})[k] for k, v in arrays.items()}
