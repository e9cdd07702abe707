"""Sweeps of a knob: bifurcations with closed forms, branches that fold, cross, close or run away, and none at all."""

import json
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.errors import ArgumentError
from symbptt.stability.dynamics import continuation, crossings
from symbptt.stability.dynamics import fixed_points as fixed
from symbptt.zoo import gru, lstm
from tests.dynamics import delayed_logistic, henon_map, leaky_line, logistic_map, tanh_bias, tanh_network
from tests.oracle import one_step


def number(x: float) -> Any:
    return np.array(float(x))


def marks(found: Any, kind: str) -> list[float]:
    return [p.value for p in found.points if p.kind == kind]


def test_pitchfork_of_a_unit_is_at_one_and_both_branches_are_followed() -> None:
    found = sb.sweep(tanh_bias, {"w": number(1), "b": number(0)}, "w", np.linspace(0.5, 2, 16))
    assert len(found.branches) == 2 and [p.kind for p in found.points] == ["branch point"]
    assert found.points[0].value == pytest.approx(1, abs=1e-12) and found.points[0].state == pytest.approx(0, abs=1e-9)
    trivial, outer = found.branches
    assert (trivial.values[0], trivial.values[-1]) == (0.5, 2) and np.abs(trivial.states).max() < 1e-12
    assert trivial.eigenvalues[:, 0] == pytest.approx(trivial.values) and set(outer.stability) <= {"stable", "marginal"}
    assert sorted(outer.states[[0, -1], 0]) == pytest.approx([-0.9575040241, 0.9575040241], abs=1e-9)
    assert outer.states[:, 0] == pytest.approx(np.tanh(outer.values * outer.states[:, 0]), abs=1e-12)


@pytest.mark.parametrize("w", [1.2, 2.0, 5.0])
@pytest.mark.thinned(5)
def test_folds_of_a_unit_have_their_closed_form(w: float) -> None:
    """The eigenvalue w (1 − h²) is 1 at h = ±√(1 − 1/w), where b = arctanh h − w h."""
    found = sb.sweep(tanh_bias, {"w": number(w), "b": number(0)}, "b", np.linspace(-4, 4, 9), settle=10)
    h = np.sqrt(1 - 1 / w)
    b = abs(np.arctanh(h) - w * h)
    assert marks(found, "fold") == pytest.approx([-b, b], abs=1e-13)
    assert [abs(p.state[0]) for p in found.points] == pytest.approx([h, h], abs=1e-7)
    (branch,) = found.branches
    assert (branch.values[0], branch.values[-1]) == (-4, 4) and branch.ends == ("range", "range")
    assert list(dict.fromkeys(branch.stability)) == ["stable", "unstable"] and branch.stability[-1] == "stable"


def test_logistic_map_doubles_its_period() -> None:
    values = np.linspace(0.5, 3.9, 35)
    found = sb.sweep(logistic_map, {"r": number(1)}, "r", values)
    assert marks(found, "flip") == pytest.approx([3], abs=1e-13) and marks(found, "branch point") == pytest.approx(
        [1], abs=1e-12
    )
    assert found.points[1].eigenvalue == pytest.approx(-1) and found.points[1].angle == pytest.approx(np.pi)
    periods = found.orbit.periods.max(1)
    assert periods[np.argmin(abs(values - 2.5))] == 1 and periods[np.argmin(abs(values - 3.2))] == 2
    assert periods[np.argmin(abs(values - 3.5))] == 4 and periods[np.argmin(abs(values - 3.9))] == 0


@pytest.mark.long
def test_cycle_of_two_steps_flips_at_one_plus_root_six() -> None:
    found = sb.sweep(logistic_map, {"r": number(1)}, "r", np.linspace(2.5, 3.6, 12), period=2, settle=10)
    assert marks(found, "flip") == pytest.approx([1 + np.sqrt(6)], abs=1e-12)
    assert marks(found, "branch point") == pytest.approx([3], abs=1e-10) and not marks(found, "jump")
    cycle = max(found.branches, key=lambda b: np.ptp(b.states))
    r, x = cycle.values, cycle.states[:, 0]
    assert r * r * x**2 - r * (r + 1) * x + r + 1 == pytest.approx(0, abs=1e-10)  # F(F(x)) = x without F(x) = x
    assert cycle.eigenvalues[:, 0].real == pytest.approx(4 + 2 * r - r * r, abs=1e-9)


@pytest.mark.long
def test_a_cycle_is_one_point_with_all_its_states() -> None:
    """The window of period three: a fold at 1 + √8, a flip behind it; at both all three states, in their order."""
    values = np.linspace(3.7, 3.9, 21)
    found = sb.sweep(logistic_map, {"r": number(1)}, "r", values, period=3, settle=10)
    assert [p.kind for p in found.points] == ["fold", "flip"]
    assert marks(found, "fold") == pytest.approx([1 + np.sqrt(8)], abs=1e-9)
    assert marks(found, "flip") == pytest.approx([3.8414990075435], abs=1e-9)
    for point in found.points:
        x = point.cycle[:, 0]
        assert x.shape == (3,) and point.value * x * (1 - x) == pytest.approx(np.roll(x, -1), abs=1e-6)
        assert sum(line.startswith(point.kind.capitalize()) for line in found.text().splitlines()) == 1
    assert "of the cycle x = 0." in found.text() and found.text().count(" → ") == 4
    marked = [line.get_xdata() for line in found.plot().get_lines() if line.get_label() in ("fold", "flip")]
    assert [len(x) for x in marked] == [3, 3]
    assert [len(p["cycle"]) for p in json.loads(json.dumps(found.numbers()))["points"]] == [3, 3]


@pytest.mark.long
def test_a_cycle_of_four_is_born_where_that_of_two_flips() -> None:
    """The branch of the larger cycle turns there: that is a crossing, not a fold of its own."""
    found = sb.sweep(logistic_map, {"r": number(1)}, "r", np.linspace(2.5, 3.6, 12), period=4, settle=10)
    assert not marks(found, "fold")
    assert marks(found, "branch point") == pytest.approx([3, 1 + np.sqrt(6)], abs=1e-9)
    assert [len(p.cycle) for p in found.points if p.kind == "branch point"] == [1, 2]
    assert marks(found, "flip") == pytest.approx([3.5440903595519], abs=1e-9)


@pytest.mark.long
def test_planted_cycle_of_one_state_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossings, "_cycle", lambda of, point: np.asarray(point.state)[None])
    with pytest.raises(AssertionError):
        test_a_cycle_is_one_point_with_all_its_states()


@pytest.mark.long
def test_periods_of_cycles_count_steps() -> None:
    """A curve of period six is three rounds of two steps."""
    found = sb.sweep(delayed_logistic, {"a": number(1)}, "a", np.linspace(0.5, 2.3, 19), period=2, settle=10)
    assert marks(found, "Neimark–Sacker") == pytest.approx([2], abs=1e-12)
    assert "a period of 3 times 2 steps is born" in found.text()


@pytest.mark.long
def test_henon_map_folds_and_flips_where_known() -> None:
    """At a = −(1 − b)²/4 and a = 3 (1 − b)²/4."""
    found = sb.sweep(henon_map, {"a": number(1), "b": number(0.3)}, "a", np.linspace(-1, 1.5, 11), settle=10)
    assert marks(found, "fold") == pytest.approx([-(0.7**2) / 4], abs=1e-13)
    assert marks(found, "flip") == pytest.approx([3 * 0.7**2 / 4], abs=1e-13)
    assert any("away" in b.ends for b in found.branches)  # as 1/a where a is 0
    assert "runs away" in found.text()


def test_delayed_logistic_map_has_its_neimark_sacker_point() -> None:
    found = sb.sweep(delayed_logistic, {"a": number(1)}, "a", np.linspace(0.5, 2.3, 19), settle=10)
    assert marks(found, "Neimark–Sacker") == pytest.approx([2], abs=1e-12) and marks(
        found, "branch point"
    ) == pytest.approx([1], abs=1e-12)
    point = found.points[-1]
    assert point.angle == pytest.approx(np.pi / 3) and "a period of 6 is born" in found.text()


def test_rotation_loses_stability_at_gain_one() -> None:
    c, s = np.cos(0.7), np.sin(0.7)
    found = sb.sweep(tanh_network, {"J": np.array([[c, -s], [s, c]])}, "gain", [0.5, 1.0, 1.5], settle=10)
    (point,) = found.points
    assert (
        point.kind == "Neimark–Sacker"
        and point.value == pytest.approx(1, abs=1e-12)
        and point.angle == pytest.approx(0.7)
    )


@pytest.mark.long
def test_gain_crosses_where_each_real_eigenvalue_does() -> None:
    J = np.diag([1.0, 0.7, -0.8]) + np.diag([0.3, -0.2], 1)
    found = sb.sweep(tanh_network, {"J": J}, "gain", np.linspace(0.5, 2, 7), settle=10)
    trivial = next(b for b in found.branches if np.abs(b.states).max() < 1e-9)
    assert [p.kind for p in trivial.points] == ["branch point", "flip", "branch point"]
    assert [p.value for p in trivial.points] == pytest.approx([1, 1 / 0.8, 1 / 0.7], abs=1e-9)


@pytest.mark.long
def test_two_equal_units_cross_together() -> None:
    found = sb.sweep(tanh_network, {"J": np.eye(2)}, "gain", np.linspace(0.5, 2, 7), settle=10)
    assert marks(found, "branch point") == pytest.approx([1], abs=1e-9) and len(found.branches) >= 3
    assert {int(b.unstable.max()) for b in found.branches} >= {0, 2}


def test_closed_branch_ends_at_its_own_start() -> None:
    @sb.cell
    def isola(h: State, p: Param):
        return h + 0.3 * (p * p + h * h - 1)

    found = sb.sweep(isola, {"p": number(0)}, "p", np.linspace(-3, 3, 13), settle=10)
    (branch,) = found.branches
    assert branch.ends == ("closed", "closed") and marks(found, "fold") == pytest.approx([-1, 1], abs=1e-12)
    assert branch.values**2 + branch.states[:, 0] ** 2 == pytest.approx(1)


def test_no_fixed_point_at_all_is_said() -> None:
    @sb.cell
    def climbs(h: State["n"], c: Param["n"]):
        return h + 1 + c * c

    found = sb.sweep(climbs, {"c": np.zeros(1)}, "c", [-1, 1])
    assert found.branches == () and found.points == () and "No fixed point was found" in found.text()
    assert json.dumps(found.numbers()) and found.plot() is not None


def test_states_that_are_all_fixed_are_said_to_be() -> None:
    @sb.cell
    def holds(h: State["2"], w: Param):
        return h + 0 * w

    found = sb.sweep(holds, {"w": number(0)}, "w", [-1, 1])
    assert found.branches == () and found.unfollowed > 0 and "lines or planes" in found.text()


@pytest.mark.long
def test_branch_that_leaves_the_float_range_is_followed_to_where_it_does() -> None:
    """1 / (1 − w), with an asymptote at w = 1; runs leave the range beyond |w| = 1."""
    found = sb.sweep(leaky_line, {"w": number(0)}, "w", np.linspace(-2, 2, 9))
    assert len(found.branches) == 2 and all(set(b.ends) == {"range", "away"} for b in found.branches)
    assert marks(found, "flip") == pytest.approx([-1], abs=1e-12)
    for branch in found.branches:
        assert branch.states[:, 0] * (1 - branch.values) == pytest.approx(1, abs=1e-6)
    far = sb.sweep(leaky_line, {"w": number(0)}, "w", [-30, 30], settle=2000)
    assert np.isnan(far.orbit.states).all() and "leave the float range" in far.text()


@pytest.mark.long
def test_steps_out_of_the_float_range_are_taken_back() -> None:
    """h = exp(w h) folds at w = 1/e and flips at w = −e."""

    @sb.cell
    def grows(h: State, w: Param):
        return np.exp(w * h)

    found = sb.sweep(grows, {"w": number(0.1)}, "w", np.linspace(-3, 1, 9), settle=10)
    assert marks(found, "fold") == pytest.approx([1 / np.e], abs=1e-13) and marks(found, "flip") == pytest.approx(
        [-np.e], abs=1e-12
    )


def test_kinks_are_passed_and_named() -> None:
    @sb.cell
    def rectified(h: State, w: Param, b: Param):
        return sb.relu(w * h + b)

    gentle = sb.sweep(rectified, {"w": number(0.5), "b": number(0)}, "b", [-1, 1], settle=10)
    (branch,) = gentle.branches
    assert branch.states[:, 0] == pytest.approx(np.maximum(2 * branch.values, 0), abs=1e-9) and gentle.points == ()
    sharp = sb.sweep(rectified, {"w": number(2), "b": number(0)}, "b", [-1, 1], settle=10)
    assert [p.kind for p in sharp.points] == ["jump"] and sharp.points[0].value == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("cell, n", [(gru, 1), (gru, 4), (lstm, 3)])
@pytest.mark.thinned(11)
def test_branches_of_gated_cells_are_fixed_for_the_plain_function(cell: Any, n: int) -> None:
    params, x = cell.init({"m": 2, "n": n}, seed=1), np.array([0.5, -1.0])
    found = sb.sweep(cell, params, "gain", [0.5, 3.0], {"x": x}, settle=50)
    assert len(found.branches) >= 1
    for branch in found.branches:
        for i in range(0, len(branch), 5):
            state = {name: branch.states[i, part] for name, part in found.names.items()}
            after = one_step(cell, {**sb.with_gain(cell, params, float(branch.values[i])), "x": x, **state})
            assert all(after[name] == pytest.approx(value, abs=1e-9) for name, value in state.items())


@pytest.mark.long
def test_knobs_name_the_same_thing_in_every_way() -> None:
    @sb.cell
    def driven(x: Input["m"], h: State["n"], U: Param["n n"], V: Param["n m"]):
        return np.tanh(U @ h + V @ x)

    params, x, values = {"U": np.array([[2.0]]), "V": np.ones((1, 2))}, {"x": np.zeros(2)}, np.linspace(-1, 1, 5)
    by_input = sb.sweep(driven, params, ("x", 1), values, x, settle=5)
    by_function = sb.sweep(
        driven, params, lambda p, v: {**p, "V": np.array([[0.0, v]])}, values, {"x": np.ones(2)}, settle=5
    )
    assert marks(by_input, "fold") == pytest.approx(marks(by_function, "fold")) and len(marks(by_input, "fold")) == 2
    assert by_input.knob == "x[1]"
    by_gain, by_element, by_name = (
        sb.sweep(driven, params, knob, [0.2, 2.0], x, settle=5) for knob in ("gain", ("U", 0, 0), "U")
    )
    assert marks(by_gain, "branch point") == pytest.approx([0.5]) and marks(
        by_element, "branch point"
    ) == pytest.approx([1])
    assert marks(by_name, "branch point") == marks(by_element, "branch point")


def test_single_precision_and_integers_are_swept_in_double() -> None:
    found = sb.sweep(tanh_bias, {"w": np.float32(1), "b": np.float32(0)}, "w", [0, 2], settle=5)
    assert found.branches[0].states.dtype == np.float64 and marks(found, "branch point") == pytest.approx(
        [1], abs=1e-12
    )


def test_numbers_and_text_and_picture_tell_the_same() -> None:
    found = sb.sweep(tanh_bias, {"w": number(2), "b": number(0)}, "b", np.linspace(-1, 1, 9), settle=10)
    numbers = json.loads(json.dumps(found.numbers()))
    assert len(numbers["branches"]) == 1 and [p["kind"] for p in numbers["points"]] == ["fold", "fold"]
    assert f"Fold at b = {found.points[0].value:.10g}" in found.text() == str(found)
    labels = found.plot().get_legend_handles_labels()[1]
    assert {"stable", "unstable", "fold", "runs"} == set(labels)


def test_planted_eigenvalue_that_is_off_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossings, "_outside", lambda rank, spot: float(np.abs(spot.eigenvalues[rank]) - 1 - 1e-9))
    with pytest.raises(AssertionError):
        test_henon_map_folds_and_flips_where_known()


@pytest.mark.long
def test_planted_branch_that_does_not_turn_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps along the knob alone lose the branch at its fold."""
    right = continuation.corrected
    monkeypatch.setattr(
        continuation,
        "corrected",
        lambda of, base, normal, length, span: right(of, base, np.append(0 * normal[:-1], 1.0), length, span),
    )
    with pytest.raises(AssertionError):
        test_folds_of_a_unit_have_their_closed_form(2.0)


@pytest.mark.parametrize(
    "knob, values, options, message",
    [
        ("v", [0, 1], {}, "'v' is no parameter and no input of gru"),
        ("Ur", [0, 1], {}, r"Ur has shape \(3, 3\), and no index is given"),
        (("Ur", 0), [0, 1], {}, r"index \(0,\)"),
        (("Ur", 0, 3), [0, 1], {}, r"index \(0, 3\)"),
        (3, [0, 1], {}, "3 is no parameter"),
        (lambda p, v: None, [0, 1], {}, "returns NoneType"),
        (
            lambda p, v: {**p, "bz": np.zeros(3 if v == 0 else 2)},
            [0, 1],
            {},
            "changes the names or shapes of parameters: bz",
        ),
        ("gain", [1, 1], {}, "at least two different finite numbers"),
        ("gain", [0, np.nan], {}, "at least two different finite numbers"),
        ("gain", [[0, 1]], {}, "at least two different finite numbers"),
        ("gain", [0, 1], {"period": 0}, "period=0"),
        ("gain", [0, 1], {"keep": True}, "keep=True"),
    ],
)
def test_bad_sweeps_are_refused_in_words(knob: Any, values: Any, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        sb.sweep(gru, gru.init({"m": 2, "n": 3}), knob, values, {"x": np.zeros(2)}, **options)


def test_states_out_of_range_are_no_start() -> None:
    with pytest.raises(ArgumentError, match="no state to start from is finite"):
        sb.sweep(gru, gru.init({"m": 2, "n": 3}), "gain", [0, 1], {"x": np.zeros(2)}, {"h": np.full((4, 3), np.nan)})


def test_singular_step_is_no_error() -> None:
    """J − 1 of rank one, as along a line of fixed points, at the least damping that Newton's method reaches."""

    class Singular:
        def jacobian(self, states: Any) -> Any:
            return np.broadcast_to(np.eye(2) + np.ones((2, 2)), (len(states), 2, 2))

    step, _ = fixed._step(Singular(), np.zeros((3, 2)), np.ones((3, 2)), np.full(3, 1e-16))
    assert step.sum(-1) == pytest.approx(-1) and np.isfinite(step).all()


def test_constants_missing_weights_and_no_cells_are_refused() -> None:
    from tests.dynamics import henon

    with pytest.raises(ArgumentError, match="a is a constant of henon"):
        sb.sweep(henon, {}, "a", [0, 1])
    with pytest.raises(ArgumentError, match="no parameter of henon multiplies a state"):
        sb.sweep(henon, {}, "gain", [0, 1])
    with pytest.raises(ArgumentError, match="sweep takes a cell, got int"):
        sb.sweep(3, {}, "gain", [0, 1])
    with pytest.raises(ArgumentError, match="give the inputs of one step"):
        sb.sweep(gru, gru.init({"m": 2, "n": 3}), "gain", [0, 1], {"x": np.zeros((5, 2))})
