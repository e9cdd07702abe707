"""Bounds, theorems and Jacobians of steps with inner rounds grow as the rounds, in calls and in letters, and hold."""

import pytest

import symbptt as sb
from symbptt.stability import bounds
from symbptt.stability.box import local_of
from tests.inner import MAKERS
from tests.test_rounds import calls_of

FEW = ("runge_kutta", "equilibrium", "highway")
"""Cells that are tried by default; the others take seconds each."""
EVERY = pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.long) for name in MAKERS]
)


def fitting(cell):
    names = {str(s) for a in cell.arguments for item in a.shape if not isinstance(item, int) for s in item.free_symbols}
    sizes = {"n": 3, "m": 2, "k": 2, "w": 3, "p": 2}
    return cell.init({name: sizes[name] for name in names}, seed=0)


@EVERY
@pytest.mark.parametrize("norm", ["2", "max"])
@pytest.mark.thinned(2)
def test_bounds_are_no_sum_over_ways_through_the_rounds(name, norm):
    def sizes(rounds):
        trees = sb.vanishing_condition(MAKERS[name](rounds), norm=norm).entries.values()
        return sum(bounds.length(tree) for tree in [*trees, *(s.tree for s in bounds.shared_in(trees))])

    short, long = sizes(3), sizes(9)
    assert long < 10 * (short + 50)  # 9 were quadratic


@EVERY
def test_jacobians_are_written_as_long_as_there_are_rounds(name):
    def letters(rounds):
        cell = MAKERS[name](rounds)
        derivation = sb.derive(cell)
        return sum(len(derivation.jacobian(i, j).text()) for i in cell.step.next for j in cell.step.next)

    short, long = letters(4), letters(12)
    assert long < 6 * (short + 4_000)


@pytest.mark.parametrize("name", ["runge_kutta", "equilibrium", "highway"])
def test_shared_bounds_are_the_bounds_written_out(name, monkeypatch):
    cell = MAKERS[name](2)
    params = fitting(cell)
    shared = {norm: sb.vanishing_condition(cell, norm=norm).rate(params) for norm in ("2", "max")}
    monkeypatch.setattr(bounds, "LONGEST", 10**9)
    whole = {norm: sb.vanishing_condition(cell, norm=norm).rate(params) for norm in ("2", "max")}
    assert shared == pytest.approx(whole, rel=1e-12)


def test_a_theorem_without_shared_bounds_doubles_and_is_seen(monkeypatch):
    monkeypatch.setattr(bounds, "LONGEST", 10**9)
    short, long = (
        bounds.length(sb.vanishing_condition(MAKERS["runge_kutta"](rounds), norm="2").entries["h", "h"])
        for rounds in (1, 2)
    )
    assert long > 8 * short


@pytest.mark.long
@pytest.mark.parametrize("name", ["runge_kutta", "predictive_coding", "computer", "equilibrium", "highway"])
def test_texts_of_theorems_grow_as_the_rounds(name):
    def work(rounds):
        cell = MAKERS[name](rounds)
        local_of.cache_clear()
        return calls_of(lambda: len(sb.vanishing_condition(cell, norm="2").text()))

    work(1)
    (short, first), (long, second) = work(3), work(9)
    assert second < 14 * (first + 2_000) and long < 14 * (short + 100_000)


@pytest.mark.long
@pytest.mark.parametrize("name, rounds", [("runge_kutta", 4), ("equilibrium", 20), ("highway", 10)])
def test_reports_of_many_rounds_are_made(name, rounds):
    assert sb.analyze(MAKERS[name](rounds), steps=60).text()
