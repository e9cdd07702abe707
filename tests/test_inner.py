"""Bounds, theorems and Jacobians of steps with inner rounds grow as the rounds, in calls and in letters, and hold."""

import pytest

import symbptt as sb
from symbptt.stability.algebra import polynomials as local
from symbptt.stability.proofs import bounds
from symbptt.stability.proofs.invariant_box import local_of
from tests.inner import MAKERS
from tests.test_rounds import calls_of

FEW = ("equilibrium", "highway")
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
@pytest.mark.thinned(1, 11)
def test_bounds_are_no_sum_over_ways_through_the_rounds(name, norm):
    def sizes(rounds):
        trees = sb.vanishing_condition(MAKERS[name](rounds), norm=norm).entries.values()
        return sum(bounds.length(tree) for tree in [*trees, *(s.tree for s in bounds.shared_in(trees))])

    short, long = sizes(3), sizes(9)
    assert long < 10 * (short + 50)  # 9 were quadratic


@EVERY
@pytest.mark.thinned(1, 3)
def test_jacobians_are_written_as_long_as_there_are_rounds(name):
    def letters(rounds):
        cell = MAKERS[name](rounds)
        derivation = sb.derive(cell)
        return sum(len(derivation.jacobian(i, j).text()) for i in cell.step.next for j in cell.step.next)

    one, three, seven = letters(1), letters(3), letters(7)
    assert seven - three < 3 * (three - one)  # 2 were linear, 5 quadratic


def written(name, rounds):
    """The calls that the choice of the lines of a Jacobian takes, and their writing."""
    jacobian = sb.derive(MAKERS[name](rounds)).jacobian()
    return calls_of(jacobian.text)[0]


@pytest.mark.parametrize("name", ["highway", *(pytest.param(x, marks=pytest.mark.long) for x in ("computer", "mesa"))])
@pytest.mark.thinned(1, 2)
def test_lines_of_jacobians_are_chosen_in_a_time_like_the_rounds(name):
    short, long = written(name, 2), written(name, 5)
    assert long < 3.5 * (short + 30_000)  # 2.5 were linear, 6 quadratic


@pytest.mark.exhaustive
def test_lines_of_many_rounds_are_chosen_in_a_time_like_the_rounds():
    counts = [written("computer", rounds) for rounds in (3, 6, 12)]
    assert counts[1] < 2.6 * counts[0] and counts[2] < 2.8 * counts[1]


@pytest.mark.parametrize("name", ["runge_kutta", "equilibrium", "highway"])
@pytest.mark.thinned(5)
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


def text_of(name, rounds):
    """The calls that the text of a theorem takes, and how long it is."""
    cell = MAKERS[name](rounds)
    assert cell.step
    local_of.cache_clear()
    return calls_of(lambda: len(sb.vanishing_condition(cell, norm="2").text()))


@pytest.mark.long
@EVERY
@pytest.mark.thinned(1, 7)
def test_texts_of_theorems_grow_as_the_rounds(name):
    text_of(name, 1)
    (short, first), (long, second) = text_of(name, 6), text_of(name, 12)
    assert second < 3 * (first + 1_000) and long < 3 * (short + 100_000)  # 2 were linear, 4 quadratic


@pytest.mark.long
def test_texts_without_cuts_between_rounds_grow_faster_and_are_seen(monkeypatch):
    monkeypatch.setattr(local, "_is_long", lambda of, node: False)
    (_, first), (_, second) = text_of("sinkhorn", 4), text_of("sinkhorn", 8)
    assert second > 3 * (first + 1_000)


@pytest.mark.parametrize(
    "name", ["equilibrium", *(pytest.param(x, marks=pytest.mark.long) for x in ("runge_kutta", "highway", "sinkhorn"))]
)
@pytest.mark.thinned(1, 3)
def test_cuts_between_rounds_cost_no_more_than_some_tightness(name, monkeypatch):
    def rates():
        local_of.cache_clear()
        return [sb.vanishing_condition(cell, norm=norm).rate(params) for norm in ("2", "max")]

    cell = MAKERS[name](7)
    params = {k: 0.3 * v for k, v in fitting(cell).items()}
    cut = rates()
    assert local_of(cell).cut or name == "equilibrium"
    monkeypatch.setattr(local, "_is_long", lambda of, node: False)
    whole = rates()
    assert all(a >= b * (1 - 1e-9) for a, b in zip(cut, whole, strict=True))
    if name == "runge_kutta":  # one value alone is handed from round to round
        assert cut == pytest.approx(whole, rel=1e-9)


@pytest.mark.long
@pytest.mark.parametrize(
    "name, rounds",
    [
        ("equilibrium", 20),
        ("runge_kutta", 16),
        ("highway", 10),
        ("mesa", 10),
        ("sinkhorn", 10),
        ("slot_attention", 3),
        ("predictive_coding", 10),
    ],
)
@pytest.mark.thinned(1, 11)
def test_reports_of_many_rounds_are_made(name, rounds):
    assert sb.analyze(MAKERS[name](rounds), steps=60).text()
