"""The search for mistakes that explain what a backward pass gave: single ones, then several, from one step to many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from symbptt.verification.adjoints.sweep import Group
from symbptt.verification.mistakes.draws import Draw
from symbptt.verification.mistakes.mistake import Mistake, Reach, together
from symbptt.verification.mistakes.problem import Blocks, Draft
from symbptt.verification.mistakes.ratios import factor_mistakes

MOST = 4
"""Mistakes that are put together at the most."""
SIMPLE = ("missing", "sign", "factor", "transposed")
"""The kinds of mistakes of which one behind another one is looked for."""
PAIRS = 2000
"""Pairs of these at the most, of which each takes a millisecond or two."""
SHOWN = 3
"""Mistakes of the same gradients that are told at the most."""

Place = Callable[[Group], str]


@dataclass(frozen=True)
class Explained:
    """Mistakes that together explain the gradients `matched` of a draw, each with those that give the same."""

    mistakes: tuple[tuple[Mistake, ...], ...] = ()
    matched: frozenset[Group] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.mistakes)

    @property
    def firsts(self) -> tuple[Mistake, ...]:
        """The mistake that is told first, of each."""
        return tuple(alike[0] for alike in self.mistakes)


def gradients_with(one: Draw, mistakes: tuple[Mistake, ...]) -> Mapping[Group, Any] | None:
    """Return the gradients of a backward pass with some mistakes; none where they cannot be made together."""
    draft = together(mistakes)(Draft(), one.problem)
    return None if draft is None else one.problem.gradients(draft)


def explains(draws: Sequence[Draw], mistakes: tuple[Mistake, ...]) -> bool:
    """Answer whether some mistakes give what came, in all blocks of all draws."""
    for one in draws:
        found = gradients_with(one, mistakes)
        if found is None or len(one.matched(found)) < len(one.right):
            return False
    return True


def single(draws: Sequence[Draw], candidates: Iterable[Mistake]) -> tuple[Mistake, ...]:
    """Return the mistakes of which each alone explains all that came, those told first in front."""
    fitting = [m for m in candidates if m.reach is None or fits(draws, m.reach, is_all=True)]
    return told([mistake for mistake in fitting if explains(draws, (mistake,))])


def fits(draws: Sequence[Draw], reach: Reach, is_all: bool) -> bool:
    """Answer whether a mistake changes no gradient that is right in all draws, and with `is_all` may change all that are wrong."""
    wrong = frozenset(block[:2] for one in draws for block in one.wrong)
    came = frozenset(draws[0].given)
    changed = (reach.near if all(one.problem.point.steps < 2 for one in draws) else reach.far) & came
    return changed <= wrong and (not is_all or wrong <= changed)


def told(found: Sequence[Mistake]) -> tuple[Mistake, ...]:
    """Return mistakes that give the same gradients without those that say less than another one."""
    ranked = _by_rank(found)
    kept = [mistake for mistake in ranked if mistake.rank < ranked[0].rank + 2]
    seen: dict[str, Mistake] = {}
    for mistake in kept:
        seen.setdefault(mistake.words(), mistake)
    return tuple(seen.values())[:SHOWN]


def _by_rank(found: Sequence[Mistake]) -> tuple[Mistake, ...]:
    return tuple(sorted(found, key=lambda mistake: mistake.rank))


def several(draws: Sequence[Draw], candidates: Sequence[Mistake], base: Explained, place: Place) -> Explained:
    """Return mistakes that together explain as many blocks as can be, each of which explains more than those before it.

    A mistake is taken where all draws say so. `base` are mistakes that are known already.
    """
    # A mistake changes what lies behind it: one that does not reach a wrong block, or reaches right ones only, is not
    # tried.
    candidates = [m for m in candidates if m.reach is None or fits(draws, m.reach, is_all=False)]
    found = Explained(base.mistakes, matched_in_all(draws, base.firsts))
    while len(found.matched) < len(draws[0].given) and len(found.mistakes) < MOST:
        more = _better(draws, candidates, found, place)
        if more is None:
            break
        found = more
    return found


def likelier(draws: Sequence[Draw], found: Explained) -> Explained:
    """Return the same mistakes, of those that were alike where they were found the ones that explain most of other draws."""
    chosen = list(found.mistakes)
    for i, alike in enumerate(chosen):

        def score(mistake: Mistake, i: int = i) -> int:
            mistakes = tuple(mistake if k == i else each[0] for k, each in enumerate(chosen))
            return sum(len(matched_groups(one, mistakes)) for one in draws)

        scores = [score(mistake) for mistake in alike] if len(alike) > 1 else [0]
        chosen[i] = tuple(m for m, n in zip(alike, scores, strict=True) if n == max(scores))
    # Alike are those that give the same gradients here; the first one stands for them.
    firsts = tuple(alike[0] for alike in chosen)
    return Explained(tuple(chosen), matched_in_all(draws, firsts))


def of_several_steps(draws: Sequence[Draw], of_one_step: Explained) -> Explained:
    """Return mistakes that explain one step where they explain something of several steps too; none where they do not: then they are
    other mistakes, which look like these at one step."""
    found = likelier(draws, of_one_step)
    return found if len(found.matched) > len(matched_in_all(draws, ())) else Explained()


def pair(draws: Sequence[Draw], candidates: Sequence[Mistake]) -> Explained:
    """Return two mistakes that explain all of draws of one step together, where neither explains a gradient alone: two wrong terms
    of the same cotangent. Their differences from the derivation add up there, unless one lies behind the other."""
    one = draws[0]
    candidates = [m for m in candidates if m.reach is None or fits(draws, m.reach, is_all=False)]
    random = np.random.default_rng(0)
    weights = {block: random.standard_normal(np.shape(value)) for block, value in one.right.items()}

    def number(found: Blocks) -> float:
        # Sums of differences are compared by one random number each, so that all pairs take a search in a sorted list.
        return float(sum(np.sum(weights[b] * (found[b] - value)) for b, value in one.right.items()))

    known = [(m, one.comparable(g)) for m in _by_rank(candidates) if (g := gradients_with(one, (m,))) is not None]
    wanted, numbers = number(one.came), np.array([number(found) for _, found in known])
    order = np.argsort(numbers)
    # Sums of rounded differences: a billionth of the largest of them is far above rounding, far below a term.
    slack = 1e-9 * (abs(wanted) + float(np.max(np.abs(numbers), initial=0.0)))
    for i, (mistake, _) in enumerate(known):
        # The pair that is looked for adds up to `wanted`: of each number the partner is known but for the slack.
        low, high = np.searchsorted(numbers[order], [wanted - numbers[i] - slack, wanted - numbers[i] + slack])
        for j in order[low:high]:
            both = (mistake, known[j][0])
            # Equal numbers may be a coincidence of one draw of weights; the whole gradients decide.
            if j > i and explains(draws, both):
                return Explained(tuple((m,) for m in both), frozenset(one.given))
    return Explained()


def nested(draws: Sequence[Draw], candidates: Sequence[Mistake]) -> Explained:
    """Return two mistakes that explain all of draws of one step together, where one lies behind the other: a term that is missing in the
    cotangent of a gate, and its slope. Their differences do not add up, so that pairs are tried one by one, of the simplest kinds."""
    simple = [m for m in candidates if m.kind in SIMPLE and m.reach is not None and fits(draws, m.reach, is_all=False)]
    pairs = ((a, b) for i, a in enumerate(simple) for b in simple[:i])
    wrong = frozenset(block[:2] for one in draws for block in one.wrong)
    for both in islice((p for p in pairs if _reached(p) >= wrong), PAIRS):
        if explains(draws[:1], both) and explains(draws[1:], both):
            return Explained(tuple((m,) for m in both), frozenset(draws[0].given))
    return Explained()


def _reached(mistakes: Sequence[Mistake]) -> frozenset[Group]:
    return frozenset[Group]().union(*(m.reach.near for m in mistakes if m.reach is not None))


def _beyond_zeros(
    one: Draw, firsts: tuple[Mistake, ...], mistake: Mistake, before: frozenset[Group]
) -> frozenset[Group]:
    """Return the gradients that are as they came with one more mistake; those that came as zeros only where nothing else changes
    that is then wrong: many a mistake makes zeros."""
    here = matched_groups(one, (*firsts, mistake))
    zeros = {place for place in here - before if not np.any(one.given[place])}
    if not zeros:
        return here
    now, then = gradients_with(one, (*firsts, mistake)), gradients_with(one, firsts)
    assert now is not None and then is not None
    # A mistake that zeroes many blocks, one of which came as zeros, explains nothing if it makes the others wrong.
    changed = {place for place in one.given if not np.array_equal(now[place], then[place])}
    return here if changed <= here else here - zeros


def matched_groups(one: Draw, mistakes: tuple[Mistake, ...]) -> frozenset[Group]:
    """Return the gradients that some mistakes give as they came, of inputs at all steps: one step alone may be right by chance."""
    found = gradients_with(one, mistakes)
    if found is None:
        return frozenset()
    blocks = one.matched(found)
    return frozenset(place for place in one.given if all(b in blocks for b in one.right if b[:2] == place))


def matched_in_all(draws: Sequence[Draw], mistakes: tuple[Mistake, ...]) -> frozenset[Group]:
    """Return the gradients that some mistakes give as they came on every draw: a match by chance on one is none on another one."""
    return frozenset.intersection(*(matched_groups(one, mistakes) for one in draws))


def _better(draws: Sequence[Draw], candidates: Sequence[Mistake], base: Explained, place: Place) -> Explained | None:
    """Return the mistakes with one more, the one that explains most; none where none explains more."""
    firsts = base.firsts
    bases = [gradients_with(one, firsts) for one in draws]
    own = [] if any(b is None for b in bases) else [*factor_mistakes(draws, [b for b in bases if b is not None], place)]
    best, matched = list[Mistake](), base.matched
    for mistake in [*candidates, *own]:
        here = _beyond_zeros(draws[0], firsts, mistake, base.matched)
        # Cheap first: a candidate that is no better on one draw need not be computed on the others.
        if len(here) < max(len(matched), len(base.matched) + 1):
            continue
        here &= matched_in_all(draws[1:], (*firsts, mistake))
        if len(here) > len(matched):
            best, matched = [], here
        if here == matched and len(here) > len(base.matched):
            best.append(mistake)
    return Explained((*base.mistakes, _by_rank(best)), matched) if best else None
