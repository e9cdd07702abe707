"""Gradients of Lyapunov exponents: against differences of exponents that the user's plain function gives, hand values, and mpmath."""

from typing import Any

import mpmath as mp
import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.errors import ArgumentError
from symbptt.language.init import orthogonal
from symbptt.stability.gradients import flossing
from symbptt.stability.runs import trajectory
from symbptt.zoo import gru, lstm, rnn
from tests import oracle, unseen

STEPS, BATCH, SIZES = 7, 2, {"m": 2, "n": 3}
SURROGATES = {"alif", "lif"}
"""Their Jacobian is declared, not that of the function."""
ROUNDING = -20.0
"""A direction that shrinks more than this in a step has digits of rounding in plain QR."""
QUICK = ("attention", "cornn", "delta_rule", "gru", "gru_layer_norm", "lru", "lstm", "rnn", "selective_ssm", "unicornn")


@sb.cell
def step(h: State["n"], W: Param["n n"]):
    return W @ h


@sb.cell
def logistic(h: State, r: Param):
    return r * h * (1 - h)


def exponents_of(cell: sb.Cell, groups: Any, count: int, transient: int = 0, seed: int = 0) -> Any:
    """The mean exponents of the first `count` directions of the frame: Jacobians by complex step of the plain function, QR."""
    params, inputs, states = groups
    names = oracle.names_of(cell, "state")
    batch, length = len(states[names[0]]), len(next(iter(inputs.values()))) if inputs else STEPS
    size = sum(states[k][0].size for k in names)
    frames, total = orthogonal((batch, size, size), np.random.default_rng(seed))[..., :count], np.zeros(count)
    for b in range(batch):
        now, frame = {k: states[k][b] for k in names}, frames[b]
        for t in range(length):
            given = {**params, **{k: v[t, b] for k, v in inputs.items()}}
            frame, r = np.linalg.qr(jacobian(cell, given, now) @ frame)
            total += np.log(np.abs(np.diag(r))) * (t >= transient)
            found = oracle.one_step(cell, {**given, **now})
            now = {k: np.asarray(found[k]) for k in names}
    return total / batch / (length - transient)


def jacobian(cell: sb.Cell, given: Any, now: Any) -> Any:
    columns = []
    for name, value in now.items():
        for position in np.ndindex(*np.shape(value)):
            moved = np.array(value, complex)
            moved[position] += 1j * oracle.STEP
            found = oracle.one_step(cell, {**given, **now, name: moved})
            columns.append(np.concatenate([np.ravel(np.imag(found[k])) for k in now]) / oracle.STEP)
    return np.array(columns).T


def check(cell: sb.Cell, groups: Any, transient: int = 0, most: int | None = None, tolerance: float = 2e-6) -> Any:
    """Each gradient along a random direction, against a difference of fourth order of the exponents of the plain function."""
    spectrum = sb.lyapunov_spectrum(cell, *groups, transient=transient, steps=None if groups[1] else STEPS)
    count = min(int((spectrum.exponents > ROUNDING).sum()), most or 99)
    if not count:
        return None
    random = np.random.default_rng(5)
    wanted = random.standard_normal(count)
    found = sb.exponent_gradient(
        cell, *groups, count, weights=wanted, transient=transient, steps=None if groups[1] else STEPS
    )
    raw = exponents_of(cell, groups, count, transient)
    assert found.exponents == pytest.approx(-np.sort(-raw), rel=1e-9, abs=1e-12)
    weights = np.empty(count)
    weights[np.argsort(-raw, kind="stable")] = wanted
    for i, grads in enumerate((found.params, found.inputs, found.state)):
        for name, gradient in grads.items():
            assert isinstance(gradient, np.ndarray) and gradient.shape == groups[i][name].shape
            direction = random.standard_normal(gradient.shape) * (np.abs(groups[i][name]) + 0.1)

            def at(e: float, i: int = i, name: str = name, direction: Any = direction) -> float:
                moved = [g | {name: g[name] + e * direction} if j == i else g for j, g in enumerate(groups)]
                return float(weights @ exponents_of(cell, moved, count, transient))

            def slope(e: float, at: Any = at) -> float:
                return (8 * (at(e) - at(-e)) - (at(2 * e) - at(-2 * e))) / (12 * e)

            analytic, scale = float(np.sum(gradient * direction)), float(np.sum(np.abs(gradient * direction)))
            best = min(abs(slope(e) - analytic) for e in (1e-4, 1e-5))
            assert best <= tolerance * scale + 1e-9, f"{name}: {slope(1e-4)} and {slope(1e-5)} against {analytic}"
    return found


@pytest.fixture
def grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in which perturbations grow are short here: their gradients are exact all the same."""
    monkeypatch.setattr(flossing, "NATS", np.inf)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.thinned(11, 7)
def test_gradients_agree_with_differences_in_the_zoo(name: str, grows: None) -> None:
    check(zoo.CELLS[name], oracle.draw(zoo.CELLS[name], STEPS, BATCH, unseen.SIZES, seed=2, scale=0.5), 2)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(zoo.CELLS) - SURROGATES - set(QUICK)))
@pytest.mark.thinned(1, 11)
def test_gradients_agree_with_differences_in_all_of_the_zoo(name: str, grows: None) -> None:
    check(zoo.CELLS[name], oracle.draw(zoo.CELLS[name], STEPS, BATCH, unseen.SIZES, seed=2, scale=0.5), 2, most=6)


SOME = ("gated_delta", "slstm", "embedding_cell", "neural_ode", "quaternion", "packed_lstm")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in SOME else [pytest.mark.long]) for n in unseen.CELLS])
@pytest.mark.thinned(11, 17)
def test_gradients_agree_with_differences_in_unseen_cells(name: str, grows: None) -> None:
    cell = unseen.CELLS[name]
    check(cell, oracle.draw(cell, STEPS, BATCH, unseen.SIZES, seed=len(name), scale=0.5), 1, most=4)


@pytest.mark.parametrize("steps, batch, transient", [(1, 1, 0), (2, 1, 0), (2, 2, 1), (5, 1, 4)])
@pytest.mark.thinned(7)
def test_short_runs_and_single_samples(steps: int, batch: int, transient: int, grows: None) -> None:
    check(lstm, oracle.draw(lstm, steps, batch, {"m": 1, "n": 1}, scale=0.5), transient)
    check(gru, oracle.draw(gru, steps, batch, SIZES, scale=0.5), transient, most=2)


def test_a_cell_without_inputs_and_one_state() -> None:
    check(logistic, ({"r": np.array(0.9)}, {}, {"h": np.array([0.3, 0.1])}), 1)


def test_blocks_of_steps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = oracle.draw(gru, 9, 2, SIZES, scale=0.4)
    whole = sb.exponent_gradient(gru, *groups, weights=np.eye(3), transient=4)
    for bytes_of in (1, 8 * 18 * 2, 8 * 18 * 4):
        monkeypatch.setattr(trajectory, "MEMORY", bytes_of)
        parts = sb.exponent_gradient(gru, *groups, weights=np.eye(3), transient=4)
        for one, two in zip(
            (whole.params, whole.inputs, whole.state), (parts.params, parts.inputs, parts.state), strict=True
        ):
            oracle.assert_blocks_close(two, one, 1e-12)


def test_sum_of_all_exponents_of_a_matrix_has_the_gradient_of_its_determinant() -> None:
    W = np.random.default_rng(0).standard_normal((4, 4))
    for scale in (1.0, 0.1):  # one run grows, and is affine: its gradient has a limit all the same
        found = sb.exponent_gradient(step, {"W": scale * W}, None, {"h": np.ones(4)}, steps=40)
        assert found.params["W"] == pytest.approx(np.linalg.inv(scale * W).T, rel=1e-9)
        assert found.state["h"].shape == (4,) and not found.state["h"].any()


def test_rotations_have_equal_exponents_and_a_gradient() -> None:
    W = 0.9 * np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    found = sb.exponent_gradient(step, {"W": W}, steps=200, weights=[[1, 1], [1, 0], [0, 1]])
    assert found.exponents == pytest.approx([np.log(0.9)] * 2, abs=1e-9)
    assert found.params["W"][0] == pytest.approx(np.linalg.inv(W).T, rel=1e-9)
    assert found.params["W"][1] + found.params["W"][2] == pytest.approx(found.params["W"][0], rel=1e-9)


def test_scalar_recurrence_has_the_gradient_one_over_u() -> None:
    params = rnn.init({"m": 1, "n": 1}, seed=0) | {"U": np.array([[-0.5]])}
    found = sb.exponent_gradient(rnn, params, {"x": np.zeros((20, 1))})
    assert found.params["U"] == pytest.approx(np.array([[-2.0]])) and found.inputs["x"].shape == (20, 1)


def test_a_network_of_two_units_agrees_with_50_digits() -> None:
    random = np.random.default_rng(4)
    U, w, x, h0 = (
        0.8 * random.standard_normal((2, 2)),
        random.standard_normal(2),
        random.standard_normal(6),
        [0.2, -0.1],
    )
    frame = orthogonal((1, 2, 2), np.random.default_rng(0))[0]

    @sb.cell
    def two(x: Input, h: State["2"], U: Param["2 2"], w: Param["2"]):
        return np.tanh(U @ h + w * x)

    def largest(*entries: Any) -> Any:
        V, h, q, total = mp.matrix(2, 2), mp.matrix(h0), mp.matrix(frame[:, 0].tolist()), mp.mpf(0)
        V[0, 0], V[0, 1], V[1, 0], V[1, 1] = entries
        for value in x.tolist():
            a = V * h + mp.matrix(w.tolist()) * value
            h = mp.matrix([mp.tanh(a[0]), mp.tanh(a[1])])
            q = mp.matrix([(1 - h[i] ** 2) * (V * q)[i] for i in range(2)])
            length = mp.sqrt(q[0] ** 2 + q[1] ** 2)
            total, q = total + mp.log(length), q / length
        return total / len(x)

    found = sb.exponent_gradient(two, {"U": U, "w": w}, {"x": x}, {"h": np.array(h0)}, 1, transient=0)
    with mp.workdps(50):
        at = tuple(mp.mpf(float(u)) for u in U.ravel())
        wanted = [float(mp.diff(largest, at, tuple(int(i == j) for j in range(4)))) for i in range(4)]
        assert found.exponents[0] == pytest.approx(float(largest(*at)), rel=1e-13)
    assert found.params["U"].ravel() == pytest.approx(wanted, rel=1e-11)


def test_weights_are_numbers_rows_or_a_function_of_the_exponents() -> None:
    groups = oracle.draw(rnn, 12, 2, SIZES, scale=0.3)
    each = sb.exponent_gradient(rnn, *groups, 2, weights=np.eye(2))
    assert each.params["U"].shape == (2, 3, 3) and each.state["h"].shape == (2, 2, 3)
    squares = sb.exponent_gradient(rnn, *groups, count=2, weights=lambda e: 2 * e)
    oracle.assert_blocks_close(
        squares.params, {k: np.tensordot(2 * each.exponents, v, 1) for k, v in each.params.items()}, 1e-12
    )
    total = sb.exponent_gradient(rnn, *groups, count=2)
    oracle.assert_blocks_close(total.params, {k: v.sum(0) for k, v in each.params.items()}, 1e-12)
    assert squares.weights == pytest.approx(2 * each.exponents)


def test_exponents_are_those_of_the_spectrum_and_arguments_stay_as_they_are() -> None:
    groups = oracle.draw(lstm, 60, 2, SIZES, scale=0.4)
    before = [{k: v.copy() for k, v in g.items()} for g in groups]
    found = sb.exponent_gradient(lstm, *groups, 3, seed=4)
    spectrum = sb.lyapunov_spectrum(lstm, *groups, count=3, seed=4)
    assert found.exponents == pytest.approx(spectrum.exponents, rel=1e-12)
    assert (found.steps, found.transient) == (spectrum.steps, spectrum.transient)
    for one, two in zip(groups, before, strict=True):
        assert all(np.array_equal(one[k], two[k]) for k in one)
    again = sb.exponent_gradient(lstm, *groups, 3, seed=4)
    assert all(np.array_equal(found.params[k], again.params[k]) for k in found.params)


def test_one_sample_without_an_axis_and_float32() -> None:
    params, inputs, state = oracle.draw(gru, 10, 1, SIZES, scale=0.4)
    whole = sb.exponent_gradient(gru, params, inputs, state)
    alone = sb.exponent_gradient(gru, params, {"x": inputs["x"][:, 0]}, {"h": state["h"][0]})
    oracle.assert_blocks_close(alone.params, whole.params, 1e-12)
    assert alone.inputs["x"] == pytest.approx(whole.inputs["x"][:, 0]) and alone.state["h"] == pytest.approx(
        whole.state["h"][0]
    )
    single = [{k: v.astype(np.float32) for k, v in g.items()} for g in (params, inputs, state)]
    found = sb.exponent_gradient(gru, *single)
    assert {v.dtype for g in (found.params, found.inputs, found.state) for v in g.values()} == {np.dtype(np.float32)}
    oracle.assert_blocks_close(found.params, whole.params, 1e-3)


def test_flossing_brings_exponents_to_zero() -> None:
    random = np.random.default_rng(0)
    params = rnn.init({"m": 2, "n": 8}, seed=0)
    params = params | {"U": 0.5 * params["U"], "W": 0.3 * params["W"]}
    x = {"x": 0.3 * random.standard_normal((60, 2, 2))}
    first = sb.exponent_gradient(rnn, params, x, count=3, weights=lambda e: 2 * e)
    for _ in range(40):
        found = sb.exponent_gradient(rnn, params, x, count=3, weights=lambda e: 2 * e)
        params = {k: v - 0.05 * found.params[k] for k, v in params.items()}
    assert np.abs(found.exponents).max() < 0.1 * np.abs(first.exponents).max()


def refused(cell: Any, params: Any, inputs: Any = None, state: Any = None, message: str = "", **options: Any) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        sb.exponent_gradient(cell, params, inputs, state, **options)
    assert 2 <= len(str(caught.value).splitlines()) <= 4


def test_chaos_is_refused_and_slow_growth_is_not() -> None:
    refused(logistic, {"r": 3.9}, None, {"h": np.array([0.3])}, r"grows by e\^", steps=100)
    random = np.random.default_rng(0)
    params = rnn.init({"m": 1, "n": 40}, seed=0) | {"U": 3 / np.sqrt(40) * random.standard_normal((40, 40))}
    refused(rnn, params, {"x": 0.1 * random.standard_normal((150, 2, 1))}, None, "no limit in chaos", count=2)
    quiet = params | {"U": 0.3 * params["U"]}
    assert sb.exponent_gradient(rnn, quiet, {"x": np.zeros((30, 1, 1))}, count=2).params["U"].any()
    slow = {"W": 1.001 * np.eye(2)}
    assert sb.exponent_gradient(step, slow, steps=400).exponents == pytest.approx([np.log(1.001)] * 2)


def test_lost_directions_are_refused_with_the_count_that_is_left() -> None:
    W = np.diag([0.5, 0.2, 0.0])
    refused(step, {"W": W}, message=r"1 of 3 exponents are -inf[^$]*count=2", steps=20)
    assert sb.exponent_gradient(step, {"W": W}, count=2, steps=90).exponents == pytest.approx(np.log([0.5, 0.2]))
    refused(step, {"W": 0 * W}, message="keep a direction", steps=20)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weights": [1.0]}, r"numbers of shape \(2,\)"), ({"weights": "no"}, "got str"), ({"weights": [[1, 2], [3]]}, "got list"),
        ({"weights": np.zeros((0, 2))}, "shape"), ({"weights": [np.nan, 1]}, "not finite"), ({"weights": lambda e: None}, "got NoneType"),
        ({"count": 0}, "count=0"), ({"count": 3}, "count=3"), ({"count": 1.5}, "integer"), ({"transient": 50}, "transient=50"),
        ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        sb.exponent_gradient(step, {"W": 0.5 * np.eye(2)}, steps=20, **options)


def test_what_is_no_cell_is_refused() -> None:
    @sb.loss
    def error(h: State["n"]):
        return sb.sum(h * h)

    refused(sb.model(rnn, error), rnn.init(SIZES), message="model.cell")
    refused(len, {}, message="got builtin")


def test_an_infinite_derivative_is_refused_by_name() -> None:
    @sb.cell
    def rooted(x: Input, h: State, a: Param):
        return 0.5 * h * (1 + np.sqrt(a) * x)

    refused(rooted, {"a": np.array(0.0)}, {"x": np.ones(5)}, message="gradient of 'a' is not finite")


def test_cells_share_outputs_with_nobody() -> None:
    """Outputs that are Jacobians have names of their own, whatever arguments and outputs of the cell are called."""

    @sb.cell
    def named(J0: Input, J: State["n"], J1: State, J_J0: Param["n n"]):
        return {"J": np.tanh(J_J0 @ J + J0), "J1": 0.5 * J1 + J[0], "J2": J}

    check(named, oracle.draw(named, 5, 2, {"n": 2}, scale=0.5))


def planted(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any) -> None:
    monkeypatch.setattr(flossing, name, wrong)
    with pytest.raises(AssertionError):
        check(gru, oracle.draw(gru, STEPS, BATCH, SIZES, scale=0.5), 2)


def test_planted_mistakes_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right, pulled = flossing._jacobian_bar, flossing._pulled
    wrong = {
        "frames that are constants": ("_jacobian_bar", lambda j, f, bar, w: (right(j, f, bar, w)[0], 0 * bar)),
        "frames after a step for those before": (
            "_jacobian_bar",
            lambda j, f, bar, w: right(j, (f[0][::-1], f[1]), bar, w),
        ),
        "states that are constants": (
            "_pulled",
            lambda run, kernel, taken, bar, carry: pulled(run, kernel, taken, bar, 0 * carry),
        ),
    }
    monkeypatch.setattr(trajectory, "MEMORY", 1)  # one step a block: all that is handed on is handed between blocks
    for name, mistake in wrong.values():
        with monkeypatch.context() as m:
            planted(m, name, mistake)
    check(gru, oracle.draw(gru, STEPS, BATCH, SIZES, scale=0.5), 2)
