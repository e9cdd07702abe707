"""Gradient ascent on the true norms of Jacobians finds no violation of a theorem, and finds those that are planted."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.stability.algebra import ranges as reach
from symbptt.stability.proofs import bounds
from symbptt.zoo import CELLS
from tests import attack
from tests.test_stability_theorems import doubled

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used", "ignore:.*encountered in")
EVERY = {**CELLS, **attack.UNSEEN}
ABOVE = 1 + 1e-9


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.thinned(1, 29)
def test_no_bound_is_exceeded(name: str) -> None:
    for kind in attack.CLAIMS:
        assert not attack.attacked(EVERY[name], kind, moves=1) > ABOVE, kind


@pytest.mark.parametrize("name", ["rnn", "banded"])
@pytest.mark.thinned(2)
def test_bounds_of_some_cells_are_not_exceeded_and_nearly_attained(name: str) -> None:
    found = [attack.tightness(EVERY[name], kind, 0.6, 1.0, 0, moves=1) for kind in attack.CLAIMS]
    assert max(found) <= ABOVE and min(found) > 0.5


@pytest.mark.parametrize("name", ["tiled", "outer_product", "overlapping", "beside", "interleaved"])
@pytest.mark.thinned(7)
def test_parts_beside_each_other_are_not_exceeded_in_the_two_norm(name: str) -> None:
    for kind in ("theorem, 2-norm", "certificate", "quadratic"):
        assert not attack.tightness(EVERY[name], kind, 0.6, 1.0, 1, moves=0) > ABOVE, kind


def test_ascent_reaches_the_largest_slope() -> None:
    """Of tanh at 0, where no start lies: the norm is that of the weights."""
    params = {"K": np.array([0.2, 0.5, -0.3]), "b": np.zeros(3)}
    claim = attack.theorem_of("max")(attack.banded, params, 1.0)
    assert attack.climbed(attack.banded, params, claim, np.random.default_rng(0))[0] == pytest.approx(1.0, rel=1e-3)


def test_planted_union_of_equal_bounds_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "root", lambda parts: bounds.plus(dict.fromkeys(parts)))
    assert max(attack.tightness(doubled, "theorem, 2-norm", 0.6, 1.0, seed, moves=2) for seed in range(3)) > 1.1


def test_planted_slope_that_is_too_small_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    @sb.cell
    def hat(x: sb.Input["n"], h: sb.State["n"], U: sb.Param["n n"]):
        z = U @ h + x
        return z * np.exp(-2 * z * z)

    def small(expr: Any, x: Any) -> Any:
        found = kept(expr, x)
        return found.each(lambda end: 0.9 * end)

    kept = reach.reach
    monkeypatch.setattr("symbptt.stability.proofs.enclosure.reach", small)
    assert attack.tightness(hat, "theorem, max-norm", 0.6, 1.0, 0, moves=0) > 1.05
