"""Mistakes over several elementwise functions in a row: the slopes of all of them forgotten, those of another function, or of another step.

For example clip(a, -c, c) is min(max(a, -c), c), with two slopes. Who writes da = dv for v = clip(a, -c, c) has forgotten both at once,
which no mistake on one edge is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.autodiff.bptt import per_sample
from symbptt.ir.node import Body, placeholder
from symbptt.verification.adjoints.sweep import EdgeFault
from symbptt.verification.adjoints.tape import Edge
from symbptt.verification.mistakes.edges import passed, sole
from symbptt.verification.mistakes.mistake import Mistake
from symbptt.verification.mistakes.part import Part, faulty
from symbptt.verification.mistakes.problem import CELL, Draft, Problem
from symbptt.verification.mistakes.reads import again, moved_steps

MOST = 4
"""Functions in a row that are looked at together at the most."""
Chain = tuple[Edge, ...]
Y = placeholder(1)
SLOPES = {
    "the slope is that of tanh": 1 - Y**2,
    "the slope is that of sigmoid": Y * (1 - Y),
    "the slope is that of relu": ops.greater(Y, 0),
    "the value {y} stands in the place of the slope": Y,
}
"""By words: the slope of another function in its value, which is taken for that of all of them."""
A = placeholder(2)
BOUNDS = (sp.S.Half, sp.S.One, sp.Integer(2), sp.Integer(3), sp.Integer(5))
"""Bounds at which a function may be taken for a clip."""
KINKS = {
    "the slope is one where {y} is not {a}, and zero where it is": ops.not_equal(Y, A),
    "the slope is zero where {a} is negative": ops.equal(Y, A) * ops.greater(A, 0),
    **{
        f"the slope is one where |{{a}}| < {float(bound):g}, and zero elsewhere": ops.less(ops.absolute(A), bound)
        for bound in BOUNDS
    },
    "the slope is the sign of {a}": ops.sign(A),
    **{
        f"the slope is that of leaky relu, {float(below):g} where {{a}} is negative": ops.greater(A, 0) * (1 - below)
        + below
        for below in (sp.Rational(1, 100), sp.Rational(1, 10), sp.Rational(1, 5))
    },
}
"""The same of functions that leave a part of their arguments A as they are, as relu and clip: taken for those of the other part, of
relu, of a clip at a bound, of the absolute value, of leaky relu."""


def chains_of(part: Part) -> Iterator[Chain]:
    """Yield edges of elementwise functions that follow on each other, of values that nothing else reads or is read by."""
    follows = {edge.value: edge for edge in part.tape.edges if len(part.tape.from_value[edge.value]) == 1}
    # A value that something else reads gets a term from there too, which a slope of the whole chain would take away.
    alone, shape = sole(part.tape, part.recursion), part.recursion.graph.shape
    for edge in part.tape.edges:
        chain: Chain = (edge,)
        while chain[-1].target in alone and len(chain) < MOST:
            after = follows.get(chain[-1].target)
            # Shapes stay the same: a cotangent that is passed on as it is must fit where it arrives.
            if after is None or shape(after.target) != shape(edge.value) or not _is_elementwise((*chain, after)):
                break
            chain = (*chain, after)
            # Of one edge alone that computes something `edges` has the mistakes.
            if sum(bool(e.nodes) for e in chain) > 1:
                yield chain


def _is_elementwise(chain: Chain) -> bool:
    return all(node.family in ("map", "leaf", "number") for edge in chain for node in edge.nodes)


def chain_mistakes(part: Part) -> Iterator[Mistake]:
    """Yield the mistakes over several elementwise functions in a row."""
    shape = part.recursion.graph.shape
    for edge in part.tape.edges:
        if edge.nodes and shape(edge.value) == shape(edge.target) and edge.nodes[-1].family == "map":
            yield from _other_slopes(part, (edge,))
    for chain in chains_of(part):
        first, last = chain[0], chain[-1]
        yield _made(part, chain, "factor", partial(passed, part, last, first.value), _skipped(chain), 2)
        yield from _other_slopes(part, chain)
        if last.target in per_sample(part.recursion.graph, part.recursion.forward_ids):
            for by in (-1, 1):
                for border in ("hold", "wrap", "zero"):
                    words = partial(_of_step, part, chain, by)
                    apply = partial(_shifted, part.name, chain, by, border)
                    yield _mistake(part, chain, "shifted", words, apply, 3)


def _skipped(chain: Chain) -> dict[int, EdgeFault]:
    return dict.fromkeys([edge.number for edge in chain], EdgeFault(passes=True))


def _other_slopes(part: Part, chain: Chain) -> Iterator[Mistake]:
    """Yield the slopes of other functions in the place of those of all of these."""
    # One edge takes the slope for all, and the others pass on what they get.
    own = next(edge for edge in chain if edge.nodes)
    for text, slope in (SLOPES | (KINKS if _has_kink(part, chain) else {})).items():
        node = next(node for node in own.nodes if node.id == own.given)
        node = replace(node, attrs=Body(placeholder(0) * slope), args=(own.bar, chain[0].value, chain[-1].target))
        faults = {**_skipped(chain), own.number: EdgeFault(nodes={node.id: node})}
        yield _made(part, chain, "slope", partial(_of_slope, part, chain, text), faults, 3)


def _has_kink(part: Part, chain: Chain) -> bool:
    """Answer whether some values, but not all, are the arguments as they are."""
    value, argument = part.tape.primal[chain[0].value], part.tape.primal[chain[-1].target]
    # Neither all, which would be no function, nor none: only then a kink lies between.
    same = np.equal(value, argument)
    return bool(same.any() and not same.all())


def _made(part: Part, chain: Chain, kind: str, words: Any, faults: dict[int, EdgeFault], rank: int) -> Mistake:
    return _mistake(part, chain, kind, words, partial(_faulty, part.name, chain, faults), rank)


def _mistake(part: Part, chain: Chain, kind: str, words: Any, apply: Any, rank: int) -> Mistake:
    return Mistake(kind, words, apply, part.words.place(chain[0].value), rank, part.reaches.get(chain[-1].target))


def _faulty(
    name: str, chain: Sequence[Edge], faults: dict[int, EdgeFault], draft: Draft, problem: Problem
) -> Draft | None:
    found: Draft | None = draft
    for edge in chain:
        found = None if found is None else faulty(name, edge, faults[edge.number], found, problem)
    return found


def _shifted(name: str, chain: Chain, by: int, border: str, draft: Draft, problem: Problem) -> Draft | None:
    """Make a backward pass whose slopes are all taken at the argument of another step."""
    tape = problem.tape if name == CELL else problem.loss_tape
    assert tape is not None
    # Without steps there is no other step whose slope could be read.
    if not tape.steps:
        return None
    id = chain[-1].target
    array = np.broadcast_to(whole := tape.primal[id], (tape.steps, *whole.shape[1:]))
    other = {id: moved_steps(tape, id, array, by, border, first=False)}
    inside = {id, *(edge.target for edge in chain[:-1]), chain[0].value}
    faults = {}
    for edge in chain:
        read = {arg for node in edge.nodes for arg in node.args} & inside
        faults[edge.number] = EdgeFault(reads={arg: again(tape, arg, other, inside) for arg in read})
    return _faulty(name, chain, faults, draft, problem)


def _of_slope(part: Part, chain: Chain, text: str) -> str:
    bar, term = part.words.bar(chain[-1].target), part.words.term(chain[-1])
    return f"in the term {term} of {bar}, " + text.format(
        y=part.words.value(chain[0].value), a=part.words.value(chain[-1].target)
    )


def _of_step(part: Part, chain: Chain, by: int) -> str:
    bar, term = part.words.bar(chain[-1].target), part.words.term(chain[-1])
    step = "one step later" if by > 0 else "one step earlier"
    return f"the term {term} of {bar} reads {part.words.value(chain[-1].target)} {step}"
