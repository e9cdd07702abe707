"""Evaluates sums of products of entries on numbers, by loops over all indices at once."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp

from symbptt.autodiff.chain import Chain
from symbptt.autodiff.term import Between, Entry, Inner, Same, Term, own, taken_of

Arrays = Mapping[int, Any]


def derivative(chain: Chain, id: int, values: Arrays, sizes: Mapping[str, int]) -> Any:
    """The derivative of a value with respect to the source, of shape value.shape + source.shape."""
    g = chain.calculus.graph
    known = {sp.Symbol(name, integer=True, positive=True): size for name, size in sizes.items()}

    def shape(of: int) -> tuple[int, ...]:
        return tuple(int(sp.sympify(size).subs(known)) for size in g.shape(of))

    inner = shape(chain.source)
    eye = np.eye(int(np.prod(inner))).reshape((*inner, *inner))
    found: dict[int, Any] = {chain.source: eye}
    for each in sorted(chain.of):
        result = np.zeros(shape(each) + inner)
        for term in chain.of[each]:
            result = result + value_of(term, found, values, shape(each), inner, known, chain)
        found[each] = result
    return found.get(id, np.zeros(shape(id) + inner))


def value_of(term: Term, found: Arrays, values: Arrays, outer: tuple[int, ...], inner: tuple[int, ...],
             known: Any, chain: Chain) -> Any:  # fmt: skip
    ranges = chain.calculus.ranges
    symbols = [sp.Symbol(f"_out{i}", integer=True, nonnegative=True) for i in range(len(outer))]
    symbols += [own(i) for i in range(len(inner))] + list(term.sums)
    lengths = [*outer, *inner, *(int(sp.sympify(ranges[s]).subs(known)) for s in term.sums)]
    grids = dict(zip(symbols, np.ix_(*map(np.arange, lengths)), strict=True)) if symbols else {}

    def at(expr: Any) -> Any:
        expr = sp.sympify(expr).subs(known)
        free = sorted(expr.free_symbols, key=str)
        given = [grids[s] if s in grids else np.asarray(int(values[taken_of(s)[0]])) for s in free]
        return np.asarray(sp.lambdify(free, expr, "numpy")(*given), int)

    def inside(array: Any, place: Any) -> tuple[Any, ...]:
        """Places that a condition of the term rules out may lie outside."""
        return tuple(np.clip(at(x), 0, size - 1) for x, size in zip(place, np.shape(array), strict=False))

    total = np.full(lengths, float(sp.sympify(term.number).subs(known)))
    for factor, power in term.factors:
        match factor:
            case Entry(id, place, 0):
                part = np.asarray(values[id], float)[inside(values[id], place)]
            case Inner(id, place, 0):
                rest = tuple(grids[own(i)] for i in range(len(inner)))
                part = found[id][(*inside(found[id], place), *rest)]
            case Same(one, other):
                part = (at(one) == at(other)) * 1.0
            case Between(index, low, high):
                part = 1.0 if low is None else (at(index) >= at(low)) * 1.0
                part = part if high is None else part * (at(index) < at(high))
            case _:
                raise AssertionError(factor)
        total = total * np.asarray(part) ** power
    return total.sum(axis=tuple(range(len(outer) + len(inner), len(lengths))))


Values = Callable[[Chain], Arrays]
