"""The stability report: verdicts of cells with known answers, the path responsible, advice checked by other means."""

import json
import math
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.errors import ArgumentError
from symbptt.stability import verdict as verdicts
from symbptt.zoo import gru, lstm
from tests.cells import odd
from tests.dynamics import independent, linear_map, tanh_network
from tests.test_stability_flow import squared_error

RANDOM = np.random.default_rng(0)


def with_radius(radius: float, size: int = 8) -> dict[str, Any]:
    W = np.random.default_rng(1).standard_normal((size, size))
    return {"W": radius * W / np.abs(np.linalg.eigvals(W)).max()}


@sb.cell
def packed(x: Input["m"], s: State["2*n"], W: Param["4*n m"], U: Param["4*n n"], b: Param["4*n"]):
    """An LSTM whose states and biases are each one array."""
    n = s.shape[0] // 2
    h, c, a = s[:n], s[n:], W @ x + U @ s[:n] + b
    following = sb.sigmoid(a[n : 2 * n]) * c + sb.sigmoid(a[:n]) * np.tanh(a[2 * n : 3 * n])
    return {"s": np.concatenate([sb.sigmoid(a[3 * n :]) * np.tanh(following), following]), "y": sb.sum(h)}


@pytest.mark.parametrize("radius, kind", [(0.8, "vanishing"), (1.2, "exploding")])
def test_linear_map_is_judged_by_its_largest_eigenvalue(radius: float, kind: str) -> None:
    found = sb.analyze(linear_map, with_radius(radius), steps=400)
    assert found.verdict.kind == kind and found.verdict.confidence > 0.999
    assert found.verdict.exponent == pytest.approx(math.log(radius), abs=0.01)


def test_orthogonal_map_is_marginal() -> None:
    W = np.linalg.qr(RANDOM.standard_normal((8, 8)))[0]
    found = sb.analyze(linear_map, {"W": W})
    assert found.verdict.kind == "marginal" and found.verdict.confidence > 0.999
    assert found.windows == type(found.windows)(0.01, None, None, None)
    assert "no finite window" in found.text()


def test_random_network_beyond_its_critical_gain_is_chaotic() -> None:
    J = 3 / math.sqrt(60) * np.random.default_rng(0).standard_normal((60, 60))
    found = sb.analyze(tanh_network, {"J": J})
    assert found.verdict.kind == "chaotic" and found.verdict.confidence > 0.99
    assert found.horizon is None and found.windows.empirical is None


def test_unstable_fixed_point_is_not_chaos(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state 0 of tanh(2 h) is unstable and a displaced run falls into a stable place; without that run it looks chaotic."""
    found = sb.analyze(tanh_network, {"J": 2 * np.eye(2)}, None, {"h": np.zeros(2)}, steps=100)
    assert found.verdict.kind == "exploding" and "unstable place" in found.verdict.reason
    monkeypatch.setattr(verdicts, "KICK", 0.0)
    assert sb.analyze(tanh_network, {"J": 2 * np.eye(2)}, None, {"h": np.zeros(2)}, steps=100).verdict.kind == "chaotic"


def test_state_that_leaves_the_range_is_exploding() -> None:
    found = sb.analyze(linear_map, {"W": 100 * np.eye(2)}, None, {"h": np.ones(2)}, steps=300)
    assert found.verdict.kind == "exploding" and "leaves the range" in found.verdict.reason


def test_lstm_without_recurrent_weights_is_carried_by_its_forget_gate() -> None:
    params = lstm.init({"m": 2, "n": 4}, bf=1.0)
    params = {k: 0 * v if k.startswith("U") or k == "Wf" else v for k, v in params.items()}
    found = sb.analyze(lstm, params, {"x": RANDOM.standard_normal((300, 2))})
    rate = -math.log1p(math.exp(-1))
    assert found.verdict.kind == "vanishing" and found.verdict.exponent == pytest.approx(rate, abs=2e-3)
    top = found.shares[0]
    assert (top.to, top.of, top.elementwise) == ("c", "c", True) and top.part == pytest.approx(1, abs=1e-9)
    assert found.gates[0].formula.startswith("f_t = ") and found.gates[0].rate == pytest.approx(rate, abs=1e-12)
    assert found.theorem.rate == pytest.approx(math.exp(rate), abs=1e-6)
    constant = found.theorem.euclidean_constant  # the certificate holds in a norm that divides h and c
    assert found.windows.certified == pytest.approx(found.windows.empirical + math.log(constant) / -rate, abs=3)


@pytest.mark.parametrize("cell, sizes", [(lstm, {"m": 2, "n": 3}), (gru, {"m": 2, "n": 3}), (packed, {"m": 2, "n": 3})])
def test_shares_sum_to_one_and_are_what_scaling_a_path_changes(cell: Any, sizes: Any) -> None:
    params = cell.init(sizes, seed=1)
    found = sb.analyze(cell, params, {"x": np.random.default_rng(0).standard_normal((300, 2))})
    assert sum(share.part for share in found.shares) == pytest.approx(1, abs=1e-9)
    assert any(share.elementwise and share.part > 0.3 for share in found.shares)


def test_share_is_the_derivative_of_the_exponent() -> None:
    """Of a triangular pair of states, the slower one carries all; of a coupled one, by the eigenvectors."""

    @sb.cell
    def coupled(u: State, v: State, a: Param, b: Param, c: Param, d: Param):
        return a * u + b * v, c * u + d * v

    values = {"a": 0.9, "b": 0.2, "c": 0.3, "d": 0.5}
    found = sb.analyze(coupled, {k: np.array(v) for k, v in values.items()}, steps=200)

    def exponent(**changed: float) -> float:
        w = values | changed
        return math.log(np.abs(np.linalg.eigvals([[w["a"], w["b"]], [w["c"], w["d"]]])).max())

    parts = {(s.to, s.of): 0.0 for s in found.shares}
    for s in found.shares:
        parts[s.to, s.of] += s.part
    for name, path in {"a": ("u", "u"), "b": ("u", "v"), "c": ("v", "u"), "d": ("v", "v")}.items():
        slope = (exponent(**{name: values[name] * 1.0001}) - exponent(**{name: values[name] / 1.0001})) / 2e-4
        assert parts[path] == pytest.approx(slope, abs=1e-3)


def test_windows_hold_for_a_linear_cell() -> None:
    found = sb.analyze(independent, {"a": np.full(3, 0.9)}, {"x": RANDOM.standard_normal((400, 3))})
    least = math.ceil(math.log(0.01) / math.log(0.9))
    assert found.windows.asymptotic == found.windows.certified == least
    assert abs(found.windows.empirical - least) <= 1


def test_clip_threshold_is_within_the_band_of_the_norms() -> None:
    found = sb.analyze(lstm, lstm.init({"m": 2, "n": 4}))
    assert found.clip.band[0] <= found.clip.threshold <= found.clip.band[1]
    assert found.clip.mean == pytest.approx(found.clip.norms.mean())


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_have_a_report_and_say_what_they_lack(steps: int) -> None:
    found = sb.analyze(lstm, lstm.init({"m": 2, "n": 3}), {"x": RANDOM.standard_normal((steps, 2))})
    assert (found.verdict.kind in ("vanishing", "marginal") and "no error" in found.text()) or steps > 1
    assert found.verdict.confidence is None or 0 <= found.verdict.confidence <= 1


@pytest.mark.long
@pytest.mark.parametrize(
    "target", [odd, packed, sb.model(lstm, squared_error), sb.model(gru, squared_error, at="last")]
)
def test_any_target_needs_no_arguments(target: Any) -> None:
    found = sb.analyze(target, steps=30)
    numbers = json.loads(json.dumps(found.numbers(), allow_nan=False))
    assert numbers["verdict"]["kind"] == found.verdict.kind
    assert found.text() == sb.analyze(target, steps=30).text()
    assert max(map(len, found.text().splitlines())) <= 100


def test_single_precision_gives_the_same_verdict() -> None:
    params, x = lstm.init({"m": 2, "n": 4}), RANDOM.standard_normal((200, 3, 2))
    double = sb.analyze(lstm, params, {"x": x})
    single = sb.analyze(lstm, {k: v.astype("f4") for k, v in params.items()}, {"x": x.astype("f4")})
    assert single.verdict.kind == double.verdict.kind
    assert single.verdict.exponent == pytest.approx(double.verdict.exponent, abs=1e-3)


def test_plot_has_four_pictures() -> None:
    assert len(sb.analyze(lstm, lstm.init({"m": 2, "n": 3}), steps=40).plot().axes) == 4


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sb.analyze("lstm"), "takes a cell or a model, got str"),
        (lambda: sb.analyze(lstm, lstm.init({"m": 2, "n": 3}), np.ones((5, 2))), "inputs: a dict by name"),
        (lambda: sb.analyze(lstm, lstm.init({"m": 2, "n": 3}), {"x": np.ones((0, 2))}), "a run of 0 steps"),
        (lambda: sb.analyze(lstm, steps=0), "steps=0"),
        (lambda: sb.init_for_horizon(lstm, 0.5), "horizon=0.5"),
        (lambda: sb.init_for_horizon(sb.model(lstm, squared_error), 10), "takes a cell, got Model"),
    ],
)
def test_what_cannot_be_analysed_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        call()
    assert len(str(caught.value).splitlines()) <= 3


# ---- initialisation -----------------------------------------------------------------------------------------------


def measured(cell: Any, params: Any, steps: int, pair: float = 1e-6) -> float:
    """The horizon from two runs a small distance apart, by the user's own function: no Jacobian and no generated code."""
    random = np.random.default_rng(7)
    states = [a for a in cell.arguments if a.role == "state"]
    near = {a.name: random.standard_normal(params_size(a, params)) for a in states}
    far = {k: v + pair * random.standard_normal(v.shape) for k, v in near.items()}
    grown, start = 0.0, None
    for t in range(steps):
        x = {"x": random.standard_normal(np.shape(params.get("Wf", params.get("Wz", np.zeros((1, 1)))))[-1])}
        x = x if any(a.name == "x" for a in cell.arguments) else {}
        near, far = (as_dict(cell, states, cell(**x, **s, **params)) for s in (near, far))
        size = math.sqrt(sum(np.sum((far[k] - near[k]) ** 2) for k in near))
        far = {k: near[k] + (far[k] - near[k]) * pair / size for k in near}
        if t >= steps // 5:
            grown += math.log(size / pair)
            start = start or t
    return -(steps - start) / grown


def params_size(a: Any, params: Any) -> int:
    return len(next(v for k, v in params.items() if k.startswith(("U", "J", "a"))))


def as_dict(cell: Any, states: Any, result: Any) -> dict[str, Any]:
    return dict(zip([a.name for a in states], result if isinstance(result, tuple) else [result], strict=True))


@pytest.mark.long
@pytest.mark.parametrize(
    "cell, sizes, horizon, kind, changed",
    [
        (lstm, {"m": 2, "n": 8}, 20, "bias", ("bf",)),
        (gru, {"m": 2, "n": 8}, 20, "bias", ("bz",)),
        (tanh_network, {"n": 30}, 15, "gain", ("J",)),
    ],
)
def test_initialisation_has_the_horizon_asked_for(cell: Any, sizes: Any, horizon: int, kind: str, changed: Any) -> None:
    found = sb.init_for_horizon(cell, horizon, sizes=sizes)
    assert (found.kind, found.changed) == (kind, changed)
    assert measured(cell, found.params, 4000 if kind == "bias" else 200) == pytest.approx(horizon, rel=0.15)
    assert found.achieved == pytest.approx(horizon, rel=0.15)
    before = measured(cell, cell.init(sizes), 1000) if kind == "bias" else None
    assert before is None or abs(before - horizon) > 5


@pytest.mark.long
def test_only_the_gate_of_a_packed_bias_is_moved() -> None:
    found = sb.init_for_horizon(packed, 10, sizes={"m": 2, "n": 4})
    assert np.flatnonzero(found.params["b"]).tolist() == [4, 5, 6, 7]


def test_initialisation_of_a_constant_cell_is_refused() -> None:
    @sb.cell
    def decay(x: Input["n"], h: State["n"]):
        return 0.5 * h + x

    with pytest.raises(ArgumentError, match="no initialisation has a horizon of 20 steps"):
        sb.init_for_horizon(decay, 20)
