"""Terms that are multiplied by a number of any size: another temperature, a mean over heads, a constant at the wrong power.

No list has all such numbers; the data tell them. Gradients of one step are g + s d, where s multiplies a term, g are those without the
term, and d is what it gives: s is found by least squares, and is the number where two draws tell the same one and nothing is left over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from symbptt.verification.adjoints.sweep import EdgeFault
from symbptt.verification.adjoints.tape import Edge
from symbptt.verification.mistakes.draws import Draw
from symbptt.verification.mistakes.edges import SCALES, chained
from symbptt.verification.mistakes.mistake import Mistake
from symbptt.verification.mistakes.part import Part, faulty, made, said
from symbptt.verification.mistakes.problem import Draft

CLOSE = 1e-7
"""The relative difference up to which two draws tell the same number, and what may be left over."""
MOST = 100
"""The largest denominator of a number that is told as a fraction."""


def multiple_mistakes(part: Part, ones: Sequence[Draw]) -> Iterator[Mistake]:
    """Yield the terms of a part that, multiplied by one number, explain draws of one step."""
    skipped = chained(part.tape, part.recursion)
    for edge in part.tape.edges:
        numbers = [_number(part, edge, one) for one in ones if edge.number not in skipped]
        found = [s for s in numbers if s is not None]
        if not found or len(found) < len(ones) or np.ptp(found) > CLOSE * abs(found[0]):
            continue
        if min(abs(found[0] - known) for known in (1.0, *SCALES)) > CLOSE:
            words = partial(_said, part, edge, found[0])
            yield made(part, edge, "factor", words, EdgeFault(found[0]), rank=2)


def _number(part: Part, edge: Edge, one: Draw) -> float | None:
    """Return the number by which a term is multiplied in a draw of one step, none where no number explains all that came."""
    draft = faulty(part.name, edge, EdgeFault(0.0), Draft(), one.problem)
    if draft is None:
        return None
    without = one.comparable(one.problem.gradients(draft))
    given, right, rest = (_flat(blocks, without) for blocks in (one.came, one.right, without))
    of_term, left = right - rest, given - rest
    size = float(of_term @ of_term)
    if not size:
        return None
    number = float(of_term @ left) / size
    is_all = float(np.max(np.abs(left - number * of_term))) <= CLOSE * float(np.max(np.abs(given - right)))
    return number if is_all else None


def _flat(blocks: Any, like: Any) -> Any:
    return np.concatenate([np.ravel(blocks[block]) for block in like])


def _said(part: Part, edge: Edge, number: float) -> str:
    near = Fraction(number).limit_denominator(MOST)
    is_fraction = abs(float(near) - number) <= CLOSE * abs(number)
    return said(
        part, edge, f"the term {{term}} of {{bar}} is multiplied by {near if is_fraction else format(number, '.6g')}"
    )
