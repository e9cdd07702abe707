"""Quotients by their names in adjoints: of y = a / b the adjoint of b has dy ⊙ y / b, where dy ⊙ a / b² stood.

Example: y_t = S_tᵀ q_t / u_t gives du_t = -dy_tᵀ y_t / u_t, which came as -(q_tᵀ S_t dy_t) / u_t².
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from symbptt.autodiff.labels import NEXT
from symbptt.equations.algebra.expressions import (
    ONE,
    Expr,
    Matmul,
    Number,
    Ones,
    Over,
    Power,
    Sum,
    Symbol,
    Times,
    Transposed,
    matmul,
    plus,
    times,
)
from symbptt.equations.algebra.normal import in_normal_form, turned
from symbptt.equations.algebra.traversal import mapped_where
from symbptt.equations.page.lines import Line, with_right


class Quotient(NamedTuple):
    """A value that is a quotient: its name, what is above and what is below."""

    name: Expr
    above: Expr
    below: Expr


def quotients_of(forward: Iterable[Line]) -> Iterator[Quotient]:
    """Yield the values of the forward pass that are quotients; 1 / b is none, whose square is as short as b²."""
    for line in forward:
        e = line.right
        if not isinstance(line.left, Symbol) or not isinstance(e, Over) or isinstance(e.above, Number) or line.note:
            continue
        # What is the same at all steps, under the name of one step, is no value that a line outside of a sum over steps may read.
        if line.left.label.time is None or any(x.time is not None for x in e.labels):
            yield Quotient(line.left, e.above, e.below)


def by_quotients(lines: Iterable[Line], found: Sequence[Quotient], later: Sequence[Quotient]) -> list[Line]:
    """Return lines with quotients by their names where the square of what is below stands below; those of step t + 1, `later`, stand
    in what its adjoints give alone."""

    def shorter(e: Expr, known: Sequence[Quotient]) -> Expr:
        return mapped_where(e, lambda x: next((new for q in known if (new := _by_name(x, q)) is not None), x), Over)

    def one(term: Expr) -> Expr:
        return shorter(term, (*found, *later) if is_of_the_next(term) else found)

    rights = [(line, in_terms(line.right, one)) for line in lines]
    return [line if right is line.right else with_right(line, in_normal_form(right)) for line, right in rights]


def in_terms(e: Expr, f: Callable[[Expr], Expr]) -> Expr:
    """Return an expression with `f` applied to each of its terms."""
    if not isinstance(e, Sum):
        return f(e)
    terms = [(sign, term, f(term)) for sign, term in e.terms]
    return e if all(new is old for _, old, new in terms) else plus([(sign, new) for sign, _, new in terms])


def is_of_the_next(term: Expr) -> bool:
    """Answer whether a term is what adjoints of step t + 1 give, so that it is zero at the last step."""
    return {x.time for x in term.labels if x.adjoint} == {NEXT}


def moved(q: Quotient, to: Callable[[Expr], Expr]) -> Quotient:
    """Return a quotient at another step."""
    return Quotient(*map(to, q))


def _by_name(e: Over, q: Quotient) -> Expr | None:
    below = _without_one_of_two(e.below, q.below)
    above = None if below is None else _named(e.above, q)
    return None if below is None or above is None else Over(above, below)


def _factors(e: Expr) -> tuple[Expr, ...]:
    return e.factors if isinstance(e, Times) else (e,)


def _without_one_of_two(below: Expr, b: Expr) -> Expr | None:
    """Return a divisor that has the square of b with b itself in the place of that; None of one that has not."""
    squares = Counter(map(_square, _factors(b)))
    parts = [*_factors(below)]
    for square in squares.elements():
        if square not in parts:
            return None
        parts.remove(square)
    return times([*parts, *_factors(b)])


def _square(e: Expr) -> Expr:
    """Return the square of a factor as a page has it: (v 1ᵀ)² is v² 1ᵀ."""
    if isinstance(e, Matmul) and last_of(e) is not None:
        return matmul([_square(matmul(e.factors[:-1])), e.factors[-1]])
    return Power(e, Number(2 * ONE.value))


def _named(above: Expr, q: Quotient) -> Expr | None:
    """Return a dividend with the name of a quotient for what is above in that; None where it has not all of it."""
    parts, own = [*_factors(above)], _factors(q.above)
    if not Counter(own) - Counter(parts):
        at = min(parts.index(x) for x in own)
        left = Counter(own)
        rest: list[Expr] = []
        for i, part in enumerate(parts):
            rest += [q.name] if i == at else []
            rest += [] if left[part] > 0 else [part]
            left[part] -= 1
        return times(rest)
    summed = _in_sums_of_rows(above, q)
    if summed is not None:
        return summed
    for i, part in enumerate(parts):
        if isinstance(part, Matmul) and (new := _in_product(part, q)) is not None:
            return times([*parts[:i], new, *parts[i + 1 :]])
    return None


def _in_sums_of_rows(above: Expr, q: Quotient) -> Expr | None:
    """Return (g ⊙ A) 1 1ᵀ with the name of A / (v 1ᵀ): what is divided by the same number in all of a row may be so before the sum."""
    if not isinstance(above, Matmul) or len(above.factors) != 3 or above.factors[2] != last_of(q.below):
        return None
    if not isinstance(above.factors[1], Ones):
        return None
    inner = _named(above.factors[0], q)
    return None if inner is None else matmul([inner, *above.factors[1:]])


def last_of(e: Expr) -> Expr | None:
    """Return the row of ones of v 1ᵀ."""
    last = e.factors[-1] if isinstance(e, Matmul) else None
    return last if isinstance(last, Transposed) and isinstance(last.inner, Ones) else None


def _in_product(e: Matmul, q: Quotient) -> Expr | None:
    """Return a product of matrices with the name for a run of its factors, as it stands or turned."""
    for name, whole in ((q.name, q.above), (turned(q.name), turned(q.above))):
        run = whole.factors if isinstance(whole, Matmul) else (whole,)
        for i in range(len(e.factors) - len(run) + 1):
            if e.factors[i : i + len(run)] == run:
                return matmul([*e.factors[:i], name, *e.factors[i + len(run) :]])
    return None
