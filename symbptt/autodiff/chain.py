"""The chain rule over the values of a step: the derivative of each in those of the values before it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp

from symbptt.autodiff.entrywise import Calculus, behind, substituted
from symbptt.autodiff.term import Inner, Term, Terms, legs, out
from symbptt.ir.graph import Graph
from symbptt.ir.rounds import loops_of, next_values

Stop = tuple[int, int]
"""A value on a route: its node, and how many steps before the last one."""

LONGEST = 12
"""Factors of a term that still takes the place of a derivative which it is."""


@dataclass(frozen=True)
class Chain:
    """Derivatives with respect to one source, by value: sums of terms, each with one derivative of a value before it, which
    is the source itself or another value of the chain. What does not depend on the source is absent. Of the leaves `told`, which
    stand for what goes through the rounds of a loop inside the step, or for a fixed point, other lines tell the derivatives."""

    calculus: Calculus
    source: int
    of: Mapping[int, Terms]
    told: frozenset[int] = frozenset()


def chain(
    calculus: Calculus, source: int, targets: Iterable[int], without: Iterable[int] = (), *, by_name: bool = False
) -> Chain:
    """Return the derivatives that lead from a source to targets; what goes by way of the values `without` is left out. With
    `by_name` those of values with a name stay what they are, also where they are one short term."""
    targets = tuple(targets)
    # The derivative of a target is wanted even where others may not pass through it.
    gone = frozenset(without) - {*targets}
    g = calculus.graph
    found: dict[int, Terms] = {}
    told = moving(g, source, gone)
    for id in g.ancestors(targets):
        if id not in calculus.kept or id == source or id in gone:
            continue
        terms: list[Term] = []
        for term in calculus.local(id):
            inner = term.inner
            assert inner is not None
            if inner.id == source or inner.id in told:
                terms.append(term)
            # Without an entry the inner value does not depend on the source, and its term is zero.
            elif inner.id in found:
                stays = by_name and inner.id in calculus.labelled
                terms.append(term if stays else _put_in(calculus, term, inner, found[inner.id]))
        collected = calculus.collected(terms, g.shape(id))
        if collected:
            found[id] = collected
    return Chain(calculus, source, found, told)


def moving(g: Graph, source: int, without: Collection[int] = ()) -> frozenset[int]:
    """Return the leaves of loops on a page, behind the last round and in each, and of fixed points that depend on a source, other
    than by way of the values `without`."""
    loops = loops_of(g, "repeat", "point")
    moved, found = g.descendants([source], without) if loops else set[int](), set[int]()
    again = bool(loops)
    while again:
        again = False
        for node in loops:
            for start, (leaf, last) in zip(node.args[: node.attrs.carried], next_values(node), strict=True):
                # A fixed point does not depend on where its rounds begin.
                if leaf not in found and (last in moved or (start in moved and node.family == "repeat")):
                    found |= {leaf, behind(g, leaf)} if node.family == "repeat" else {leaf}
                    moved.update(g.descendants([leaf], without))
                    again = True
    return frozenset(found)


def _put_in(c: Calculus, term: Term, inner: Inner, terms: Terms) -> Term:
    """Return a term with the derivative that it reads written out where that is one short term."""
    if len(terms) > 1 or len(terms[0].factors) + len(term.factors) > LONGEST:
        return term
    return substituted(c, terms[0], term)


def along(calculus: Calculus, route: Sequence[Stop], named: Iterable[int], most: int,
          known: dict[tuple[int, int], Terms | None]) -> Terms | None:  # fmt: skip
    """Return the derivative along one route as a sum of terms in the derivative of its first value, which is the identity;
    None where it has more than `most` terms. Where a route goes on in the step before, its values are those of that step.
    The derivatives between neighbours, which many routes share, are kept in `known`."""
    last, back = route[-1]
    terms: Terms = (Term(sp.S.One, ((_at(calculus, route[-1]), 1),)),)
    stops = frozenset(named)
    for before in reversed(route[:-1]):
        if before[1] != back:  # a state that a step reads is the value that the step before returned
            terms = tuple(_renamed(term, last, before) for term in terms)
        else:
            if (before[0], last) not in known:
                # Named values between the two stops lie on other routes, which are summed elsewhere.
                edge = chain(calculus, before[0], [last], stops - {before[0]})
                known[before[0], last] = spread(edge, last, most)
            terms = tuple(
                substituted(calculus, local, term) for term in terms for local in known[before[0], last] or ()
            )
        if not terms or len(terms) > most:
            return None
        last, back = before
    shape = calculus.graph.shape(route[-1][0])
    return calculus.collected(terms, shape)


def _at(calculus: Calculus, stop: Stop) -> Inner:
    id, back = stop
    return Inner(id, legs(calculus.graph.shape(id), out), back)


def _renamed(term: Term, of: int, to: Stop) -> Term:
    factors = tuple(
        (Inner(to[0], f.at, to[1]) if isinstance(f, Inner) and f.id == of else f, e) for f, e in term.factors
    )
    return replace(term, factors=factors)


def spread(edge: Chain, id: int, most: int) -> Terms | None:
    """Return a derivative with all others but that of the source written out; None where that is more than `most` terms."""
    done: list[Term] = []
    open_ = list(edge.of.get(id, ()))
    while open_:
        # Each open term yields at least one finished term, so that the sum bounds the result from below and the search can stop.
        if len(open_) + len(done) > most:
            return None
        term = open_.pop(0)
        inner = term.inner
        assert inner is not None
        if inner.id == edge.source:
            done.append(term)
        else:
            open_[:0] = [substituted(edge.calculus, other, term) for other in edge.of[inner.id]]
    return tuple(done)
