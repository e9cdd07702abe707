"""Polynomials with exact coefficients, for arrays of objects, and identities that they are reduced by.

For example c² + s² − 1 = 0 for the cosine c (variable 0) and the sine s (variable 1) of one angle becomes the identity
(1, 1) → 1 − c², the monomial of the highest degree and the last of several. `reduced` replaces s² in c² p + s² p, which
leaves p: exactly, for every angle, where intervals would find [0, 2] p.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

Monomial = tuple[int, ...]
"""The numbers of its variables in order, each as often as its power."""


@dataclass(frozen=True)
class Polynomial:
    """A sum of monomials; no coefficient is zero."""

    terms: Mapping[Monomial, Fraction]

    def __add__(self, other: Polynomial) -> Polynomial:
        if not isinstance(other, Polynomial):
            return NotImplemented  # an array, which adds it to each of its elements
        if not self.terms or not other.terms:
            return self if self.terms else other
        found = dict(self.terms)
        for monomial, coefficient in other.terms.items():
            found[monomial] = found.get(monomial, Fraction(0)) + coefficient
        return Polynomial({m: c for m, c in found.items() if c})

    def __radd__(self, other: int) -> Polynomial:
        """A sum that NumPy's einsum begins with 0."""
        return self

    def __mul__(self, other: Polynomial) -> Polynomial:
        if not isinstance(other, Polynomial):
            return NotImplemented
        found: dict[Monomial, Fraction] = {}
        for one, a in self.terms.items():
            for two, b in other.terms.items():
                monomial = tuple(sorted((*one, *two)))
                found[monomial] = found.get(monomial, Fraction(0)) + a * b
        return Polynomial({m: c for m, c in found.items() if c})

    @property
    def is_constant(self) -> bool:
        return not any(self.terms)

    @property
    def constant(self) -> Fraction:
        """The coefficient of no variable."""
        return self.terms.get((), Fraction(0))

    @property
    def degree(self) -> int:
        return max(map(len, self.terms), default=0)


def number(value: float | Fraction) -> Polynomial:
    """Return a constant, exactly."""
    return Polynomial({(): Fraction(value)} if value else {})


def variable(index: int) -> Polynomial:
    """Return the variable of a number."""
    return Polynomial({(index,): Fraction(1)})


ZERO, ONE = number(0), number(1)


@dataclass(frozen=True)
class Identity:
    """A monomial that is equal to a polynomial without it."""

    monomial: Monomial
    equal: Polynomial


def identity(zero: Polynomial) -> Identity:
    """Return that a polynomial is zero as an identity for its monomial of the highest degree, the last of several."""
    lead = max(zero.terms, key=lambda monomial: (len(monomial), monomial))
    rest = {m: -c / zero.terms[lead] for m, c in zero.terms.items() if m != lead}
    return Identity(lead, Polynomial(rest))


def reduced(p: Polynomial, identities: Mapping[int, tuple[Identity, ...]], most: int) -> tuple[Polynomial | None, int]:
    """Return a polynomial with each monomial replaced that is a multiple of one in `identities`, by its variables, and how many
    were looked at; None for the polynomial where they are more than `most`."""
    found: dict[Monomial, Fraction] = {}
    # An identity may replace a monomial by longer ones, as that of a root does, so that only `most` bounds the work.
    waiting, count = dict(p.terms), 0
    while waiting:
        count += 1
        if count > most:
            return None, count
        monomial, coefficient = waiting.popitem()
        known = next((i for v in dict.fromkeys(monomial) for i in identities.get(v, ()) if _divides(i, monomial)), None)
        if known is None:
            found[monomial] = found.get(monomial, Fraction(0)) + coefficient
            continue
        rest = _quotient(monomial, known.monomial)
        for other, factor in known.equal.terms.items():
            added = tuple(sorted((*rest, *other)))
            waiting[added] = waiting.get(added, Fraction(0)) + coefficient * factor
    return Polynomial({m: c for m, c in found.items() if c}), count


def _divides(known: Identity, monomial: Monomial) -> bool:
    return all(monomial.count(v) >= known.monomial.count(v) for v in known.monomial)


def _quotient(monomial: Monomial, by: Monomial) -> Monomial:
    left = list(monomial)
    for v in by:
        left.remove(v)
    return tuple(left)
