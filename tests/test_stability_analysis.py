"""The stability report: verdicts of cells with known answers, the path responsible, advice checked by other means."""

import json
import math
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.errors import ArgumentError
from symbptt.stability.design import initialisation as design
from symbptt.stability.design.horizon import Runs
from symbptt.stability.report import verdict as verdicts
from symbptt.stability.spectra import block_means as statistics
from symbptt.stability.spectra import lyapunov
from symbptt.zoo import CELLS, gru, lstm
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
@pytest.mark.thinned(2)
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


@pytest.mark.long
def test_random_network_beyond_its_critical_gain_is_chaotic() -> None:
    J = 3 / math.sqrt(60) * np.random.default_rng(0).standard_normal((60, 60))
    found = sb.analyze(tanh_network, {"J": J})
    assert found.verdict.kind == "chaotic" and found.verdict.confidence > 0.99
    assert found.horizon is None and found.windows.empirical is None


def test_unstable_fixed_point_is_not_chaos(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state 0 of tanh(2 h) is unstable and a displaced run falls into a stable place; without that run it looks chaotic."""
    found = sb.analyze(tanh_network, {"J": 2 * np.eye(2)}, None, {"h": np.zeros(2)}, steps=100)
    assert found.verdict.kind == "exploding" and "unstable place" in found.verdict.reason
    monkeypatch.setattr(verdicts, "KICKS", (0.0,))
    assert sb.analyze(tanh_network, {"J": 2 * np.eye(2)}, None, {"h": np.zeros(2)}, steps=100).verdict.kind == "chaotic"


def test_state_that_leaves_the_range_is_exploding() -> None:
    found = sb.analyze(linear_map, {"W": 100 * np.eye(2)}, None, {"h": np.ones(2)}, steps=300)
    assert found.verdict.kind == "exploding" and "leaves the range" in found.verdict.reason


@pytest.mark.long
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
@pytest.mark.thinned(5)
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


@pytest.mark.long
def test_chaos_has_no_clip_threshold() -> None:
    J = 3 / math.sqrt(30) * np.random.default_rng(0).standard_normal((30, 30))
    advice = {a.about: a for a in sb.analyze(tanh_network, {"J": J}).advice}
    assert advice["clipping"].value is None and "no threshold helps" in advice["clipping"].text


@pytest.mark.long
def test_clip_threshold_is_within_the_band_of_the_norms() -> None:
    found = sb.analyze(lstm, lstm.init({"m": 2, "n": 4}))
    assert found.clip.band[0] <= found.clip.threshold <= found.clip.band[1]
    assert found.clip.median == pytest.approx(np.median(found.clip.norms))


@pytest.mark.parametrize("steps", [1, 2, pytest.param(3, marks=pytest.mark.long)])
@pytest.mark.thinned(2)
def test_short_runs_have_a_report_and_say_what_they_lack(steps: int) -> None:
    found = sb.analyze(lstm, lstm.init({"m": 2, "n": 3}), {"x": RANDOM.standard_normal((steps, 2))})
    assert (
        found.verdict.kind in ("vanishing", "marginal") and "no error" in " ".join(found.text().split())
    ) or steps > 1
    assert found.verdict.confidence is None or 0 <= found.verdict.confidence <= 1


@pytest.mark.long
@pytest.mark.parametrize(
    "target", [odd, packed, sb.model(lstm, squared_error), sb.model(gru, squared_error, at="last")]
)
@pytest.mark.thinned(1, 3)
def test_any_target_needs_no_arguments(target: Any) -> None:
    found = sb.analyze(target, steps=30)
    numbers = json.loads(json.dumps(found.numbers(), allow_nan=False))
    assert numbers["verdict"]["kind"] == found.verdict.kind
    assert found.text() == sb.analyze(target, steps=30).text()
    assert max(map(len, found.text().splitlines())) <= 100


@pytest.mark.long
def test_single_precision_gives_the_same_verdict() -> None:
    params, x = lstm.init({"m": 2, "n": 4}), RANDOM.standard_normal((200, 3, 2))
    double = sb.analyze(lstm, params, {"x": x})
    single = sb.analyze(lstm, {k: v.astype("f4") for k, v in params.items()}, {"x": x.astype("f4")})
    assert single.verdict.kind == double.verdict.kind
    assert single.verdict.exponent == pytest.approx(double.verdict.exponent, abs=1e-3)


@pytest.mark.long
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
@pytest.mark.thinned(1, 2)
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

    with pytest.raises(ArgumentError, match="no initialisation with a horizon of 20 steps was found"):
        sb.init_for_horizon(decay, 20)


# ---- samples, powers of time, slow inputs -------------------------------------------------------------------------


@sb.cell
def linear_step(h: State["n"], W: Param["n n"]):
    return W @ h


@sb.cell
def driven(x: Input, h: State, a: Param):
    """Gradients are multiplied by a exp(x): λ₁ is ln a + ⟨x⟩."""
    return a * np.exp(x) * h


@sb.cell
def integrator(x: Input["n"], v: State["n"], q: State["n"], dt: sb.Const = 0.1):
    v = v + dt * x
    return v, q + dt * v


@sb.cell
def kicked_rotor(p: State, q: State, k: Param):
    p = p + k * np.sin(q)
    return p, q + p


def autoregressive(steps: int, batch: int, tau: float, seed: int) -> Any:
    """A series of unit variance whose correlation falls to 1/e in `tau` steps."""
    random, a = np.random.default_rng(seed), math.exp(-1 / tau)
    found = np.empty((steps, batch))
    found[0] = random.standard_normal(batch)
    for t in range(1, steps):
        found[t] = a * found[t - 1] + math.sqrt(1 - a * a) * random.standard_normal(batch)
    return found


@pytest.mark.parametrize(
    "cell, params, inputs, power",
    [
        (linear_step, {"W": np.array([[1.0, 1.0], [0.0, 1.0]])}, None, 1),
        (linear_step, {"W": np.eye(3) + np.diag(np.ones(2), 1)}, None, 2),
        (kicked_rotor, {"k": np.array(0.0)}, None, 1),
        (integrator, {}, {"x": RANDOM.standard_normal((300, 2, 3))}, 1),
    ],
    ids=["shear", "jordan", "symplectic", "integrator"],
)
@pytest.mark.thinned(5)
def test_growth_like_a_power_of_time_is_marginal(cell: Any, params: Any, inputs: Any, power: float) -> None:
    found = sb.analyze(cell, params, inputs, steps=None if inputs else 300).verdict
    assert found.kind == "marginal" and "grow like a power of time" in found.reason
    assert float(found.reason.split("t^")[1].split(",")[0]) == pytest.approx(power, rel=0.2)


def test_slow_exponential_growth_is_no_power_of_time() -> None:
    assert sb.analyze(linear_step, {"W": 1.02 * np.eye(3)}, steps=300).verdict.kind == "exploding"


def test_affine_cell_is_never_chaotic() -> None:
    """Its state stays bounded where the growing direction starts at zero and only the displaced run sees it."""
    W = np.array([[1.05, 0.0], [0.0, 0.5]])
    found = sb.analyze(linear_step, {"W": W}, None, {"h": np.array([0.0, 1.0])}, steps=100)
    assert found.verdict.kind == "exploding"


@pytest.mark.long
def test_nonlinear_chaos_stays_chaotic() -> None:
    assert sb.analyze(kicked_rotor, {"k": np.array(3.0)}, steps=400).verdict.kind in ("chaotic", "exploding")


def test_one_growing_sample_of_a_batch_makes_the_verdict_mixed() -> None:
    x = 0.1 * np.random.default_rng(3).standard_normal((400, 4))
    x[:, 2] += 0.4
    found = sb.analyze(driven, {"a": np.array(0.8)}, {"x": x})
    assert found.verdict.kind == "mixed" and "sample 2 grow" in found.verdict.reason
    assert [s.kind for s in found.samples] == ["vanishing", "vanishing", "growing", "vanishing"]
    assert [s.exponent for s in found.samples] == pytest.approx(np.log(0.8) + x[100:].mean(0), abs=0.05)
    assert found.horizon is None and found.windows.empirical is None and "no finite window" in found.text()
    assert len(found.numbers()["sample_verdicts"]) == 4


@pytest.mark.parametrize("tau", [1, 10, 30, 100])
@pytest.mark.thinned(7)
def test_error_bars_cover_the_exponent_under_slow_inputs(tau: float) -> None:
    hits = []
    for seed in range(60):
        found = sb.lyapunov_spectrum(driven, {"a": np.array(0.9)}, {"x": 0.3 * autoregressive(1000, 1, tau, seed)})
        hits.append(abs(found.exponents[0] - math.log(0.9)) < 2 * found.error[0])
    assert np.mean(hits) >= 0.85


@pytest.mark.long
def test_inputs_as_slow_as_the_run_leave_the_verdict_undecided() -> None:
    kinds = []
    for seed in range(20):
        found = sb.analyze(driven, {"a": np.array(0.98)}, {"x": 0.3 * autoregressive(400, 1, 400, seed)})
        kinds.append((found.verdict.kind == "undecided", found.spectrum.converged))
    undecided, converged = np.mean(kinds, 0)
    assert undecided >= 0.5 and converged <= 0.3


def test_planted_independent_blocks_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "correlation", lambda blocks: np.zeros(np.shape(blocks)[1:]))
    monkeypatch.setattr(lyapunov, "pooled_correlation", lambda blocks: 0.0)
    with pytest.raises(AssertionError):
        test_error_bars_cover_the_exponent_under_slow_inputs(100)


def test_entropy_of_some_exponents_is_not_a_number_where_more_may_be_positive() -> None:
    W = np.diag([2.0, 1.5, 0.5])
    assert math.isnan(sb.lyapunov_spectrum(linear_step, {"W": W}, steps=200, count=1).entropy)
    whole = math.log(2) + math.log(1.5)
    assert sb.lyapunov_spectrum(linear_step, {"W": W}, steps=200).entropy == pytest.approx(whole, abs=1e-3)
    assert sb.lyapunov_spectrum(linear_step, {"W": W}, steps=200, count=3).entropy == pytest.approx(whole, abs=1e-3)


@pytest.mark.parametrize("name", ["min_gru", "lstm", "mgu"])
@pytest.mark.thinned(3)
def test_sign_of_an_initialisation_is_that_of_what_moved(name: str) -> None:
    cell, sizes = CELLS[name], {"m": 2, "n": 4}
    found, before = sb.init_for_horizon(cell, 10, sizes=sizes), cell.init(sizes, seed=0)
    for parameter in found.changed:
        moved = np.unique((found.params[parameter] - before[parameter]).round(12))
        assert found.shifts[parameter] == pytest.approx(float(moved[np.argmax(np.abs(moved))]), abs=1e-9)
        assert f"{found.shifts[parameter]:+.3g} to" in found.text()
    assert found.value == next(iter(found.shifts.values()))


# ---- horizons that are reached ------------------------------------------------------------------------------------


def shrinking(lam: Any) -> Any:
    """Directions that fall at rates of their own: the horizon of a norm is in closed form."""

    @sb.cell
    def diagonal(h: State["n"], a: Param["n"]):
        return a * h

    return diagonal, {"a": np.asarray(lam)}


@pytest.mark.parametrize("what", ["exponent", "gradient"])
def test_horizon_of_the_norm_is_not_that_of_the_exponent(what: str) -> None:
    """One direction of 16 at 0.99, the others at 0.5: the norm is under 1/e when they are, the exponent is the one's."""
    cell, params = shrinking([0.99, *[0.5] * 15])
    runs = Runs(cell, None, {"n": 16}, np.dtype(float), (0,), what)
    lasting = runs.measured(params, 10)
    k = np.arange(400)
    norms = np.sqrt((0.99 ** (2 * k) + 15 * 0.5 ** (2 * k)) / 16)
    by_hand = -1 / math.log(0.99) if what == "exponent" else np.interp(-1 / math.e, -norms, k)
    assert lasting.horizon == pytest.approx(by_hand, rel=1e-6 if what == "exponent" else 0.1)
    assert runs.alive(params, 10) == (1, 16)


@pytest.mark.parametrize("what, directions", [("exponent", 1), ("gradient", 4)])
def test_equal_directions_last_alike(what: str, directions: int) -> None:
    """a multiplies the state: by λ₁ the largest factor is e^(−1/8), by the norm all four together."""
    cell, params = shrinking([0.5, 0.4, 0.3, 0.2] if what == "exponent" else [0.5] * 4)
    found = sb.init_for_horizon(cell, 8, params, what=what)
    assert found.reached and found.achieved == pytest.approx(8, rel=0.01)
    assert float(np.max(found.params["a"])) == pytest.approx(math.exp(-1 / 8), rel=1e-2)
    assert found.what == what and found.dimension == 4 and 1 <= found.alive
    assert ("of the norm of a gradient" in found.text()) == (
        what == "gradient"
    ) and "of 4 directions last so long" in found.text()


@pytest.mark.parametrize("what, horizon", [("exponent", 12), ("gradient", 6)])
@pytest.mark.thinned(2)
def test_fresh_data_measure_the_horizon_within_ten_percent(what: str, horizon: int) -> None:
    found = sb.init_for_horizon(gru, horizon, sizes={"m": 2, "n": 8}, what=what)
    assert found.reached and abs(found.achieved / horizon - 1) <= 0.1 and found.low < found.achieved < found.high


@pytest.mark.long
def test_planted_solution_without_measuring_again_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that lands 30 % off is mended by the next one, or said not to be reached."""
    solve = design._solve
    monkeypatch.setattr(design, "_solve", lambda *a: (solve(*a)[0] * 1.15, ""))
    monkeypatch.setattr(design, "ROUNDS", 1)
    found = sb.init_for_horizon(gru, 12, sizes={"m": 2, "n": 8})
    assert not found.reached and "it is not reached" in found.text()
    monkeypatch.setattr(design, "ROUNDS", 4)
    assert sb.init_for_horizon(gru, 12, sizes={"m": 2, "n": 8}).reached


def test_sizes_that_only_a_state_has_are_known() -> None:
    assert sb.init_for_horizon(CELLS["delay_rnn"], 5, sizes={"m": 2, "n": 3, "k": 2}).dimension > 0


def test_unknown_horizons_are_refused() -> None:
    with pytest.raises(ArgumentError, match='what="exponent" or what="gradient"'):
        sb.init_for_horizon(gru, 5, sizes={"m": 2, "n": 3}, what="norm")
