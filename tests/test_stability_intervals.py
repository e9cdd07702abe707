"""Intervals at the ends of the range of floats: they contain every value, keep signs, and no step of them warns."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import ops
from symbptt.stability.algebra import interval
from symbptt.stability.algebra.interval import Interval, evaluate, rounded_up
from symbptt.stability.proofs import certified
from symbptt.stability.proofs.enclosure import product_of

pytestmark = pytest.mark.filterwarnings("error")

TINY, HUGE = 5e-324, float(np.finfo(np.float64).max)
ENDS = (-np.inf, -HUGE, -1e200, -2.5, -1.0, -0.3, -1e-200, -TINY, 0.0, TINY, 1e-200, 0.3, 1.0, 2.5, 1e200, HUGE, np.inf)
A, B = (sp.Symbol(name, real=True) for name in "ab")
PAIRS = [(lo, hi) for lo, hi in itertools.combinations_with_replacement(ENDS, 2) if not np.isinf(lo) or lo != hi]
X = Interval(np.array([lo for lo, _ in PAIRS]), np.array([hi for _, hi in PAIRS]))

OF_ONE: dict[str, tuple[sp.Expr, Any]] = {
    "square": (A**2, lambda a: a * a),
    "cube": (A**3, lambda a: a**3),
    "reciprocal": (1 / A, lambda a: 1 / a),
    "reciprocal of a square": (A**-2, lambda a: 1 / (a * a)),
    "product": (sp.Float(0.1) * A, lambda a: mpmath.mpf(0.1) * a),
    "sum": (A + sp.Float(0.1), lambda a: a + mpmath.mpf(0.1)),
    "tanh": (sp.tanh(A), mpmath.tanh),
    "arctan": (sp.atan(A), mpmath.atan),
    "erf": (sp.erf(A), mpmath.erf),
    "relu": (ops.relu(A), lambda a: max(a, mpmath.mpf(0))),
    "abs": (ops.absolute(A), abs),
}  # fmt: skip


def inside(lo: float, hi: float) -> list[float]:
    """Some floats of an interval, its finite ends among them."""
    found = [end for end in ENDS if lo <= end <= hi and np.isfinite(end)]
    middle = max(lo, -HUGE) / 2 + min(hi, HUGE) / 2
    return [*found, min(max(middle, lo), hi)]


def is_within(found: Interval, i: Any, value: Any) -> bool:
    return bool(mpmath.mpf(float(found.lo[i])) <= value <= mpmath.mpf(float(found.hi[i])))


@pytest.mark.parametrize("name", OF_ONE)
def test_functions_contain_their_values_at_the_ends_of_floats(name: str) -> None:
    expr, function = OF_ONE[name]
    found = evaluate(expr, {A: X})
    assert not np.isnan(found.lo).any() and not np.isnan(found.hi).any()
    for i, pair in enumerate(PAIRS):
        for a in inside(*pair):
            if a or "reciprocal" not in name:
                with mpmath.workdps(60):
                    value = function(mpmath.mpf(a))
                    assert is_within(found, i, value), (name, pair, a)


@pytest.mark.parametrize("name", ["square", "cube", "tanh", "arctan", "erf", "product"])
def test_signs_are_kept(name: str) -> None:
    found = evaluate(OF_ONE[name][0], {A: X})
    assert (found.lo[X.lo >= 0] >= 0).all()
    assert name == "square" or (found.hi[X.hi <= 0] <= 0).all()


def outer(function: Any) -> Interval:
    """A function of all pairs of intervals."""
    return function(X.each(lambda end: end[:, None]), X.each(lambda end: end[None, :]))


@pytest.mark.parametrize(("name", "function", "exact"), [
    ("sum", interval.add, lambda a, b: a + b),
    ("product", interval.multiply, lambda a, b: a * b),
    ("einsum", lambda a, b: product_of("ac,bc->ab", a.each(lambda x: x.reshape(-1, 1)), b.each(lambda x: x.reshape(-1, 1))),
     lambda a, b: a * b),
])  # fmt: skip
@pytest.mark.thinned(5)
def test_sums_and_products_contain_those_of_rational_numbers(name: str, function: Any, exact: Any) -> None:
    found = outer(function)
    assert not np.isnan(found.lo).any() and not np.isnan(found.hi).any()
    for i, first in enumerate(PAIRS):
        a = [Fraction(max(min(x, HUGE), -HUGE)) for x in first]
        for j, second in enumerate(PAIRS):
            b = [Fraction(max(min(x, HUGE), -HUGE)) for x in second]
            values = [exact(x, y) for x in a for y in b]
            lo, hi = float(found.lo[i, j]), float(found.hi[i, j])
            assert np.isneginf(lo) or Fraction(lo) <= min(values), (name, first, second)
            assert np.isposinf(hi) or Fraction(hi) >= max(values), (name, first, second)


def test_sums_of_many_and_of_infinite_ends_are_no_nan() -> None:
    wide = Interval(np.array([[-np.inf, HUGE, HUGE, 1.0]]), np.array([[0.0, HUGE, np.inf, 2.0]]))
    found = product_of("ab,cb->ac", wide, wide)
    assert found.lo[0, 0] <= 0 and found.hi[0, 0] == np.inf


@pytest.mark.parametrize(
    "value", [TINY, -TINY, 3 * TINY, 2.5e-320, -1e-308, 1e-300, 0.1, 2.0, -7.25, 0.29999999999, HUGE, -HUGE]
)
@pytest.mark.parametrize("digits", [2, 4, 6])
def test_numbers_for_print_are_never_less(value: float, digits: int) -> None:
    found = interval.rounded_up(value, digits)
    assert found >= value - abs(value) * 1e-9 * 10.0 ** (1 - digits)
    assert found == np.inf or found <= value + max(abs(value) * 10.0 ** (1 - digits), TINY)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.1, 0.1), (0.12345678, 0.1235), (-0.12345678, -0.1234), (2.0, 2.0), (0.0, 0.0)]
)
def test_numbers_for_print_have_their_digits(value: float, shown: float) -> None:
    assert interval.rounded_up(value, 4) == shown


# ---- the page -----------------------------------------------------------------------------------------------------


@sb.cell
def gained(x: sb.Input["n"], h: sb.State["n"], U: sb.Param["n n"], g: sb.Param["n"] = 1.0):
    u = np.tanh(x + U @ h)
    return g * sb.relu(u) / (1 + np.linalg.norm(u))


@sb.cell
def squared(x: sb.Input["n"], h: sb.State["n"], g: sb.Param["n"] = 1.0):
    return g * np.tanh(np.abs(x + h)) ** 2 / 4


@sb.cell
def falling(x: sb.Input["n"], h: sb.State["n"], g: sb.Param["n"] = -1.0):
    return g * sb.relu(np.tanh(x + h)) ** 3


@sb.cell
def squares(x: sb.Input["n"], h: sb.State["n"], w: sb.Param["n"] = 1.0):
    return (w * h) ** 2 * (x * h) ** 2


@sb.cell
def summed(x: sb.Input["n"], h: sb.State["n"], W: sb.Param["n n"], w: sb.Param["n"] = 1.0):
    return np.cumsum(w * h) + np.sum(x * h) + np.mean(w) * sb.softmax(W @ h) + np.sqrt(np.abs(h)) / np.max(w)


CELLS = [gained, squared, falling, squares, summed]
BOX = (-1.0, 1.0)


@pytest.mark.parametrize("cell", [gained, squared, falling], ids=lambda cell: cell.name)
@pytest.mark.thinned(5)
def test_ranges_on_the_page_end_at_zero(cell: sb.Cell) -> None:
    p = cell.init({"n": 3}, seed=0)
    for scale in (1.0, 1e-3, 1e-200, 1e-320):
        text = sb.certified_rate(cell, {**p, "g": p["g"] * scale}, {"x": BOX}).text()
        ends = text.splitlines()[-1].removeprefix("  h: ").split(" to ")
        assert "nan" not in text and "-0" not in ends and "0" in ends, text


@pytest.mark.parametrize("scale", [1e-308, 1e-160, 1.0, 1e150, 1e160, 1e300])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.thinned(47, 7)
def test_certificates_of_any_scale_neither_warn_nor_print_nan(cell: sb.Cell, scale: float) -> None:
    p = {k: v * scale for k, v in cell.init({"n": 3}, seed=0).items()}
    assert not any(np.isnan(sb.vanishing_condition(cell, norm=norm).rate(p)) for norm in ("2", "max"))
    for box in ({"x": BOX}, {"x": (-HUGE, HUGE)}, {}):
        for metric in ("diagonal", "quadratic"):
            found = sb.certified_rate(cell, p, box, metric=metric)
            assert not np.isnan(found.rate) and "nan" not in found.text() and "inf " not in found.text()


def test_planted_ends_that_are_widened_beyond_zero_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interval, "_signed", lambda x, positive, negative: x)
    with pytest.raises(AssertionError):
        test_ranges_on_the_page_end_at_zero(gained)


def test_planted_rounding_by_a_unit_of_floats_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_units(value: float, digits: int = 6) -> float:
        unit = 10.0 ** (np.floor(np.log10(abs(value))) - digits + 1)
        return float(np.ceil(value / unit - 1e-9) * unit)

    monkeypatch.setattr(interval, "rounded_up", by_units)
    with pytest.raises((AssertionError, RuntimeWarning)):
        test_numbers_for_print_are_never_less(TINY, 4)


def test_the_page_rounds_by_the_same_function() -> None:
    assert certified.rounded_up is rounded_up
