"""What is wrong with a backward pass, told in words: the mistakes that explain it, or where it is off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from symbptt.derivations.derivation import Derivation
from symbptt.equations.derived import loss_page_of
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.verification.adjoints.sweep import Group
from symbptt.verification.comparison import Case, Gradients
from symbptt.verification.mistakes.chains import chain_mistakes
from symbptt.verification.mistakes.clipping import recursion_limits
from symbptt.verification.mistakes.draws import Asker, Draw, is_finite, labels_of, ordered
from symbptt.verification.mistakes.edges import edge_mistakes
from symbptt.verification.mistakes.exchanges import exchanged_cotangents, exchanged_values
from symbptt.verification.mistakes.mistake import Mistake
from symbptt.verification.mistakes.multiples import multiple_mistakes
from symbptt.verification.mistakes.part import Part, reaches_of, reaches_of_loss
from symbptt.verification.mistakes.problem import CELL, LOSS, Draft
from symbptt.verification.mistakes.ratios import factor_mistakes, limit_mistakes, shared_factors
from symbptt.verification.mistakes.reads import (
    misread_mistakes,
    shifted_mistakes,
    table_mistakes,
    taken_mistakes,
    turned_mistakes,
)
from symbptt.verification.mistakes.search import (
    Explained,
    explains,
    fits,
    likelier,
    nested,
    of_several_steps,
    pair,
    several,
    single,
    told,
)
from symbptt.verification.mistakes.shapes import misshapen
from symbptt.verification.mistakes.where import at_all_but_one, at_one_step
from symbptt.verification.mistakes.whole import (
    carry_mistakes,
    cotangent_mistakes,
    exchanged_blocks,
    reach_mistakes,
    sum_mistakes,
    transposed_blocks,
)
from symbptt.verification.mistakes.words import Words
from symbptt.verification.regimes import REGIMES, Regime, Size
from symbptt.verification.requests import Asked

SEVERAL = (Size(4, 3), Size(5, 2, other=True))
"""Steps and samples of the draws, and named sizes: two different numbers of each, so that 1/B, 1/T and 1/n are told from each other and
from a number."""
ONE = (Size(1, 3), Size(1, 2))
"""Draws of one step, where nothing is carried: there several mistakes are told apart."""


@dataclass(frozen=True)
class Finding:
    """A mistake that was found: its kind, a sentence, the user's line, the gradients that are wrong by it; `others` are sentences that
    say it as well. The kind "unexplained" has no mistake that explains it."""

    kind: str
    text: str
    place: str = ""
    blocks: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = self.kind not in ("unexplained", "no steps", "not finite")
        where = f"\n    {self.place}" if self.place else ""
        what = f"\n    that explains {', '.join(self.blocks)}" if self.blocks else ""
        return (
            ("mistake: " if known else "")
            + self.text
            + where
            + "".join(f"\n  or: {other}" for other in self.others)
            + what
        )


def explained(
    target: Cell | Model, gradients: Gradients, seed: int, asked: Asked, wrong: Case
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Return the mistakes that explain what a backward pass gives that is wrong in a case, and what it does right there."""
    page = Derivation(target)
    asker = Asker(target, page, loss_page_of(target), gradients, seed, asked)
    draws = _draws(asker, wrong)
    # Wrong in one case and right on fresh draws of every size: it depends on the data, or on there being no step.
    if not draws:
        return (_elsewhere(wrong),), ()
    # Shapes are told first: numbers of a wrong shape can be compared with nothing.
    shapes = tuple(Finding(*found) for found in misshapen(draws, partial(_gradient, page)))
    if not all(map(is_finite, draws)) or not any(one.wrong for one in draws):
        return (*shapes, *_unfinished(draws)), ()
    return (*shapes, *_explained(asker, draws)), tuple(_right(asker, draws))


def _right(asker: Asker, draws: Sequence[Draw]) -> Iterator[str]:
    """Tell what a backward pass that is wrong does right: which cotangents it reads, where it does not read all."""
    outputs = {k for k in draws[0].problem.sent if k not in draws[0].problem.point.state}
    chosen: dict[str, Callable[[str, Any], Any]] = {"of the last step": lambda _, v: _last(v)}
    if outputs:
        chosen |= {"of states": lambda k, v: v * (k not in outputs), "of outputs": lambda k, v: v * (k in outputs)}
    for what, kept in chosen.items() if draws[0].problem.sent else ():
        only = [{k: kept(k, v) for k, v in one.problem.sent.items()} for one in draws]
        others = [asker.at(replace(one.problem, sent=sent)) for one, sent in zip(draws, only, strict=True)]
        # Right as soon as the others are zero: those are what it does not read.
        if not any(one.wrong or one.misshapen for one in others):
            yield f"the backward pass is right where only cotangents {what} are not zero: does it read the others?"


def _last(array: Any) -> Any:
    return array * (np.arange(len(array)) == len(array) - 1).reshape(-1, *(1,) * (array.ndim - 1))


def _draws(asker: Asker, wrong: Case) -> list[Draw]:
    """Return two draws of data at which a backward pass is wrong: small and healthy ones if it is wrong there, else like the case
    where it was seen to be wrong."""
    regime, size = wrong.regime, wrong.size
    # Two steps at least: a mistake in how steps follow on each other shows in none of one.
    long = max(size.steps, 2)
    tries: list[tuple[Regime, tuple[Size, ...]]] = [
        (REGIMES[0], SEVERAL),
        (regime, SEVERAL),
        (regime, (Size(long, max(size.batch, 2)), Size(max(long - 1, 2), size.batch + 2))),
    ]
    found: list[Draw] = []
    for near, sizes in tries:
        drawn = [asker.draw(near, size, shift) for shift, size in enumerate(sizes)]
        found = [one for one in drawn if one is not None]
        if found and all(one.wrong or one.misshapen for one in found):
            return found
    return [one for one in found if one.wrong or one.misshapen]


def _elsewhere(wrong: Case) -> Finding:
    """Tell of what is wrong in a case and right on other draws."""
    if not wrong.size.steps:
        text = (
            "wrong where there is no step (T = 0): gradients of parameters are then zero, that of an initial state what is "
            "given of the last step"
        )
        return Finding("no steps", text)
    return Finding(
        "unexplained",
        f"wrong in the regime {wrong.regime.name}, {wrong.size.label}, and right on other data of these sizes",
    )


def _gradient(page: Derivation, place: Group) -> str:
    group, name = place
    return f"{page.mark}{name}_0" if group == "state" else f"{page.mark}{name}"


def _explained(asker: Asker, draws: Sequence[Draw]) -> Iterator[Finding]:
    candidates = _candidates(asker, draws)
    place = partial(_gradient, asker.page)
    rights = [one.problem.right for one in draws]
    # One mistake that explains all is what is most likely: everything else is tried only where there is none.
    found = single(draws, [*candidates, *factor_mistakes(draws, rights, place), *limit_mistakes(draws[0], place)])
    if not found and isinstance(asker.target, Cell):
        # Limits need many calls of the backward pass, so that they come behind all that need none.
        found = single(draws, recursion_limits(asker, draws, Words(asker.page, asker.page.cell)))
    if not found:
        # Values that are read in the place of others are the most numerous candidates, and the last ones.
        parts, ones = _parts(asker, draws[0]), _of_one_step(asker)
        others = [m for part in parts for m in _taken_for_others(part)]
        found = single(draws, others)
        # Where nothing is wrong in a run of one step, which is the last and the first, a mistake is made at the others.
        placed = at_one_step if any(one.wrong for one in ones) else at_all_but_one
        found = found or single(draws, placed(_of_one(ones, [*candidates, *others])))
        found = found or single(draws, [m for part in parts for m in multiple_mistakes(part, ones)])
    first = draws[0]
    wrong = [*dict.fromkeys(b[:2] for b in ordered(first.wrong, first.right))]
    if found:
        yield _finding(found, [place(x) for x in wrong])
        return
    together = _together(asker, draws, candidates)
    for number, alike in enumerate(together.mistakes, 1):
        is_last = number == len(together.mistakes)
        yield _finding(alike, [place(x) for x in wrong if is_last and x in together.matched])
    left = {b for b in first.wrong if b[:2] not in together.matched}
    if left:
        yield _unexplained(first, left)


def _of_one_step(asker: Asker) -> list[Draw]:
    """Return the draws of one step of which all is finite."""
    drawn = [asker.draw(REGIMES[0], size, 10 + shift) for shift, size in enumerate(ONE)]
    return [one for one in drawn if one is not None and is_finite(one)]


def _taken_for_others(part: Part) -> Iterator[Mistake]:
    for kinds in (misread_mistakes, taken_mistakes, exchanged_values, exchanged_cotangents):
        yield from kinds(part)


def _of_one(ones: Sequence[Draw], candidates: Sequence[Mistake]) -> list[Mistake]:
    """Return the mistakes that explain draws of one step, which is the last and the first; all where nothing is wrong there."""
    if not any(one.wrong for one in ones):
        return [*candidates]
    fitting = [m for m in candidates if m.reach is None or fits(ones, m.reach, is_all=True)]
    return [mistake for mistake in fitting if explains(ones, (mistake,))]


def _together(asker: Asker, draws: Sequence[Draw], candidates: Sequence[Mistake]) -> Explained:
    """Return several mistakes that explain more than one does: first those of one step, then those of several; all that with a
    factor of all gradients too, where some of them have one."""
    place = partial(_gradient, asker.page)
    # At one step nothing is carried, so that mistakes inside of a step are told apart from those between steps.
    ones = _of_one_step(asker)
    is_wrong = len(ones) == len(ONE) and all(one.wrong for one in ones)
    best = Explained()
    factors = {m.words(): m for of in (draws, ones if is_wrong else []) if of for m in shared_factors(of)}
    for first in [Explained(), *(Explained(((m,),)) for m in factors.values())]:
        bases = [first]
        if is_wrong:
            base = several(ones, candidates, first, place)
            is_whole = len(base.matched) == len(ones[0].given)
            if not is_whole and not first.mistakes:
                base = pair(ones, candidates) or nested(ones, candidates) or base
                is_whole = len(base.matched) == len(ones[0].given)
            kept = of_several_steps(draws, base)
            # All of one step may be explained, and nothing of several, where another mistake is in how steps follow on each other.
            bases = [kept or first, *[base] * (is_whole and not kept)]
        for base in bases:
            found = likelier(draws, several(draws, candidates, base, place))
            best = found if len(found.matched) > len(best.matched) else best
    return best


def _finding(alike: Sequence[Mistake], blocks: Sequence[str]) -> Finding:
    first, *others = told(alike)
    return Finding(first.kind, first.words(), first.place, tuple(blocks), tuple(m.words() for m in others))


def _parts(asker: Asker, one: Draw) -> list[Part]:
    """Return the graphs in which mistakes are looked for."""
    tape, loss = one.problem.tape, one.problem.loss_tape
    reaches = reaches_of(tape)
    cell = Part(CELL, Words(asker.page, asker.page.cell), tape, reaches)
    if loss is None or asker.loss_page is None or isinstance(asker.target, Cell):
        return [cell]
    return [cell, Part(LOSS, Words(asker.loss_page, asker.target.loss), loss, reaches_of_loss(loss, tape, reaches))]


def _candidates(asker: Asker, draws: Sequence[Draw]) -> list[Mistake]:
    one = draws[0]
    parts = _parts(asker, one)
    cell = parts[0]
    names = [
        k for k in one.problem.cotangents(Draft()) if k in (cell.recursion.step.next | cell.recursion.step.outputs)
    ]
    found = [
        m
        for part in parts
        for m in (
            *edge_mistakes(part),
            *chain_mistakes(part),
            *shifted_mistakes(part),
            *table_mistakes(part),
            *turned_mistakes(part),
        )
    ]
    # A truncation after as many steps as the shorter draw has would be none there.
    T = min(d.problem.point.steps for d in draws)
    found += carry_mistakes(cell, T)
    found += cotangent_mistakes(cell, names)
    found += reach_mistakes(T)
    found += sum_mistakes(cell)
    params = [name for group, name in one.given if group == "params"]
    return [
        *found,
        *transposed_blocks(one.problem, params, cell.words.gradient),
        *exchanged_blocks(one.problem, list(one.given), partial(_gradient, asker.page)),
    ]


def _unexplained(one: Draw, blocks: Any) -> Finding:
    names = labels_of(ordered(blocks, one.right))
    return Finding(
        "unexplained", f"no mistake that is known here explains {', '.join(names)}; {_where(one, blocks)}", blocks=()
    )


def _where(one: Draw, blocks: Any) -> str:
    """Tell where the largest difference is, in what is wrong."""
    point = one.problem.point
    block = max(ordered(blocks, one.right), key=lambda b: _relative(one, b))
    came, right = one.came[block], one.right[block]
    # The entry that is farthest off; where one is not finite, that one.
    off = np.abs(came - right)
    index = np.unravel_index(int(np.argmax(np.where(np.isfinite(off), off, np.inf))), off.shape) if off.shape else ()
    group, _, t = block
    place = f"{labels_of([block])[0]}" + (f" of step {t + 1} of {point.steps}" if group == "inputs" else "")
    sample = group != "params"
    entry = index[1:] if sample else index
    place += f", sample {index[0] + 1} of {point.batch}" if sample else ""
    place += f", entry {', '.join(str(int(i)) for i in entry)}" if entry else ""
    numbers = f"{float(came[index]):.6g} where {float(right[index]):.6g} is due"
    return f"it is farthest off in {place}: {numbers}, at T = {point.steps}, B = {point.batch}"


def _relative(one: Draw, block: Any) -> float:
    top = float(np.max(np.abs(one.right[block]), initial=0.0))
    off = float(np.max(np.abs(one.came[block] - one.right[block]), initial=0.0))
    return off / top if top else np.inf


def _unfinished(draws: Sequence[Draw]) -> Iterator[Finding]:
    """Tell which numbers are not finite where they should be."""
    for one in draws[:1]:
        bad = [b for b in one.right if not np.all(np.isfinite(one.came[b])) and np.all(np.isfinite(one.right[b]))]
        if bad:
            names, point = ", ".join(labels_of(bad)), one.problem.point
            sizes = f"T = {point.steps}, B = {point.batch}"
            yield Finding("not finite", f"NaN or infinity in {names}, where the derivative is finite, at {sizes}")
