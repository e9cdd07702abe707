"""A watch measures what the functions of the library measure, at the calls that it says, and changes nothing."""

import csv
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Param, State, Target
from symbptt.errors import ArgumentError, TargetError
from symbptt.files import is_ours
from symbptt.stability.report import watch as watches
from symbptt.zoo import gru, lstm, rnn

INPUTS = {"x": np.random.default_rng(0).standard_normal((120, 2, 2))}
PARAMS = rnn.init({"m": 2, "n": 6}, seed=0)


@sb.cell
def step(h: State["n"], W: Param["n n"]):
    return W @ h


@sb.loss
def squared(h: State["n"], y: Target["n"], V: Param["n n"]):
    e = V @ h - y
    return sb.sum(e * e)


def scaled(gain: float) -> dict[str, Any]:
    return {**PARAMS, "U": gain * PARAMS["U"]}


def same(one: Any, two: Any) -> bool:
    return all(
        np.array_equal(getattr(one, k), getattr(two, k), equal_nan=k != "verdicts" and k != "reasons")
        for k in vars(one)
    )


def test_measures_what_the_library_measures() -> None:
    watch = sb.Watch(rnn, INPUTS, count=2)
    found = watch(scaled(0.6))
    spectrum = sb.lyapunov_spectrum(rnn, scaled(0.6), INPUTS, count=2)
    assert np.array_equal(found.exponents, spectrum.exponents) and found.errors[1] == spectrum.error[1]
    norms = sb.gradient_flow(rnn, scaled(0.6), INPUTS).norms
    assert found.gradients == pytest.approx(norms[watch.history.lags], rel=1e-10)
    assert watch.history.lags[0] == 0 and watch.history.lags[-1] == 120
    report = sb.analyze(rnn, scaled(0.6), INPUTS)
    assert (found.verdict, found.reason) == (report.verdict.kind, report.verdict.reason)
    assert found.confidence == pytest.approx(report.verdict.confidence)


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(2)
def test_a_model_is_watched_by_the_loss_of_its_last_step(at: str) -> None:
    model = sb.model(gru, squared, at=at, reduction="mean")
    params = model.init({"m": 2, "n": 4}, seed=1)
    random = np.random.default_rng(2)
    inputs = {"x": random.standard_normal((40, 3, 2))}
    targets = {"y": random.standard_normal((40, 3, 4) if at == "every" else (3, 4))}
    state = {"h": random.standard_normal((3, 4))}
    watch = sb.Watch(model, inputs, state, targets)
    found = watch(params)
    norms = sb.gradient_flow(model, params, inputs, targets, state).norms
    assert found.gradients == pytest.approx(norms[watch.history.lags], rel=1e-10)


def test_one_in_every_calls_measures_and_the_others_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = sb.Watch(rnn, INPUTS, every=3)
    measured = [watch.step(scaled(0.5)) is not None for _ in range(8)]
    assert measured == [True, False, False, True, False, False, True, False] and watch.calls == 8
    assert watch.history.calls.tolist() == [0, 3, 6] and [m.call for m in watch.records] == [0, 3, 6]
    monkeypatch.setattr(watches, "setting", lambda *given: pytest.fail("measured"))
    assert watch(None) is None  # not even looked at


def test_a_change_of_the_verdict_warns_once_and_undecided_is_none() -> None:
    watch = sb.Watch(step, state={"h": np.ones((1, 2))}, every=1, steps=100)
    seen = []
    for gain in (0.9, 0.8, 1.0, 1.0, 1.2, 1.2, 0.9):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            watch({"W": gain * np.eye(2)})
        seen.append([str(w.message) for w in caught if issubclass(w.category, sb.StabilityWarning)])
        assert all(w.filename == __file__ for w in caught)
    assert [len(s) for s in seen] == [0, 0, 1, 0, 1, 0, 1]
    assert watch.history.verdicts == (
        "vanishing",
        "vanishing",
        "marginal",
        "marginal",
        "exploding",
        "exploding",
        "vanishing",
    )
    assert "now keep their size (call 2, λ₁ =" in seen[2][0] and "the verdict was vanishing" in seen[2][0]
    assert watch.text().count("at call") == 3


def test_undecided_measurements_change_no_verdict(recwarn: pytest.WarningsRecorder) -> None:
    watch = sb.Watch(rnn, INPUTS, every=1)
    for gain in (0.5, 1.4, 0.5):
        watch({**scaled(gain), "W": 0.2 * PARAMS["W"]})
    assert watch.history.verdicts == ("vanishing", "undecided", "vanishing")
    assert not [w for w in recwarn if issubclass(w.category, sb.StabilityWarning)]


def test_a_warning_that_is_an_error_ends_the_loop_with_its_record() -> None:
    watch = sb.Watch(step, state={"h": np.ones(2)}, every=1, steps=60)
    watch({"W": 0.5 * np.eye(2)})
    with warnings.catch_warnings(), pytest.raises(sb.StabilityWarning, match="explode"):
        warnings.simplefilter("error", sb.StabilityWarning)
        watch({"W": 2.0 * np.eye(2)})
    assert watch.history.verdicts == ("vanishing", "exploding")


def test_arrays_stay_as_they_are_and_the_same_come_again() -> None:
    params, inputs = {k: v.copy() for k, v in PARAMS.items()}, {"x": INPUTS["x"].copy()}
    watch, other = sb.Watch(rnn, inputs, every=1), sb.Watch(rnn, INPUTS, every=1)
    for _ in range(2):
        watch(params)
        other(params)
        inputs["x"][:] = np.nan  # the watch has its own
    assert all(np.array_equal(params[k], PARAMS[k]) for k in params)
    assert same(watch.history, other.history)
    first, second = watch.records
    assert np.array_equal(first.exponents, second.exponents) and np.array_equal(first.gradients, second.gradients)


def test_a_watch_is_pickled_with_its_history_and_goes_on() -> None:
    watch = sb.Watch(rnn, INPUTS, every=2)
    for _ in range(3):
        watch(scaled(0.5))
    again = pickle.loads(pickle.dumps(watch))
    assert same(again.history, watch.history) and repr(again) == repr(watch)
    assert again(scaled(0.6)) is None and again(scaled(0.6)).call == watch.calls + 1 == 4


def test_history_is_written_and_read_back_to_the_last_bit(tmp_path: Path) -> None:
    watch = sb.Watch(rnn, INPUTS, every=1, count=2)
    for gain in (0.4, 0.7):
        watch(scaled(gain))
    h = watch.history
    for name in ("stability.csv", "stability.json"):
        for _ in range(2):  # a file of its own is replaced
            watch.save(tmp_path / name)
        assert is_ours((tmp_path / name).read_bytes())
    rows = list(csv.DictReader((tmp_path / "stability.csv").open(encoding="utf-8")))
    assert [float(r["lyapunov_2"]) for r in rows] == h.exponents[:, 1].tolist()
    assert [float(r[f"gradient_{h.lags[-1]}"]) for r in rows] == h.gradients[:, -1].tolist()
    assert [r["verdict"] for r in rows] == list(h.verdicts) and [int(r["call"]) for r in rows] == [0, 1]
    numbers = json.loads((tmp_path / "stability.json").read_text("utf-8"))
    assert numbers["exponents"] == h.exponents.tolist() and numbers["written_by"] == "symbptt"
    assert json.loads(json.dumps(watch.numbers())) == {k: v for k, v in numbers.items() if k != "written_by"}


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    watch, other = sb.Watch(rnn, INPUTS), tmp_path / "mine.csv"
    other.write_text("call,mine\n1,2\n")
    with pytest.raises(TargetError, match="not written by symbptt"):
        watch.save(other)
    watch.save(other, force=True)
    watch.save(other)  # without measurements it is a head
    with pytest.raises(ArgumentError, match=r"\.csv or \.json"):
        watch.save(tmp_path / "x.txt")
    with pytest.raises(TargetError, match="no folder"):
        watch.save(tmp_path / "nowhere" / "x.csv")


def test_what_is_not_finite_is_null_in_json_and_drawn_at_the_edge() -> None:
    watch = sb.Watch(step, state={"h": np.ones(2)}, every=1, steps=60)
    watch({"W": 0 * np.eye(2)})
    assert watch.numbers()["exponents"] == [[None, None]] and watch.history.verdicts == ("vanishing",)
    assert "-inf" in watch.text()
    labels = [t.get_text() for t in watch.plot().axes[0].get_legend().get_texts()]
    assert "−∞" in labels


def test_picture_shows_exponents_gradients_and_where_verdicts_begin() -> None:
    watch = sb.Watch(step, state={"h": np.ones((1, 2))}, every=5, steps=100)
    with warnings.catch_warnings(action="ignore", category=sb.StabilityWarning):
        for i in range(16):
            watch({"W": (0.9 if i < 10 else 1.2) * np.eye(2)})
    left, right = watch.plot().axes
    assert left.lines[1].get_xdata().tolist() == [0, 5, 10, 15]
    assert left.lines[1].get_ydata() == pytest.approx(watch.history.exponents[:, 0])
    assert [t.get_text() for t in left.texts] == ["vanishing", "exploding"]
    assert right.lines[-1].get_ydata() == pytest.approx(watch.history.gradients[:, -1])


def test_a_state_that_leaves_its_range_explodes() -> None:
    watch = sb.Watch(step, state={"h": np.ones((1, 2))}, every=1, steps=2000)
    watch({"W": 0.5 * np.eye(2)})
    with pytest.warns(sb.StabilityWarning, match="leaves the range"):
        found = watch({"W": 3.0 * np.eye(2)})
    assert found.verdict == "exploding" and found.gradients[0] > 0 and np.isnan(found.gradients[-1])


@pytest.mark.parametrize("steps, batch", [(1, 1), (2, 1), (5, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.thinned(11, 2)
def test_short_runs_types_and_dimensions_of_one(steps: int, batch: int, dtype: Any) -> None:
    params = {k: 0.5 * v for k, v in lstm.init({"m": 1, "n": 1}, seed=0, dtype=dtype).items()}
    x = np.random.default_rng(0).standard_normal((steps, batch, 1)).astype(dtype)
    watch = sb.Watch(lstm, {"x": x}, count=5)
    found = watch(params)
    assert found.exponents.shape == (2,) and np.isfinite(found.exponents).all()
    norms = sb.gradient_flow(lstm, params, {"x": x}).norms
    assert found.gradients == pytest.approx(norms[watch.history.lags], rel=1e-4 if dtype == np.float32 else 1e-10)
    alone = sb.Watch(lstm, {"x": x[:, 0]}, count=5)(params)
    assert alone.exponents.shape == (2,)
    assert watch.text() and watch.plot().axes


def test_gradients_that_grow_like_a_power_are_marginal_with_few_exponents() -> None:
    """A Jordan block of six states reaches the power five, whatever part of the spectrum is measured."""
    W = np.eye(6) + np.diag(np.ones(5), 1)
    watch = sb.Watch(step, state={"h": np.ones((1, 6))}, steps=3000, count=1)
    assert watch({"W": W}).verdict == "marginal"


def test_a_new_watch_has_nothing_to_draw() -> None:
    watch = sb.Watch(rnn, INPUTS)
    assert watch.records == () and watch.history.exponents.shape == (0, 0) and "0 measurements" in watch.text()
    assert watch.numbers()["calls"] == []
    with pytest.raises(ArgumentError, match="nothing to draw"):
        watch.plot()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"every": 0}, "every must be an integer"), ({"every": 1.5}, "every"), ({"count": 0}, "count"), ({"seed": -1}, "seed"),
        ({"inputs": [1]}, "a dict by name"), ({"state": 3}, "a dict by name"), ({"inputs": {"x": [[1], [2, 3]]}}, "not an array"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        sb.Watch(rnn, **({"inputs": INPUTS} | given))


def test_bad_targets_and_parameters_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"@sb\.cell"):
        sb.Watch(len)
    watch = sb.Watch(rnn, INPUTS, every=1)
    with pytest.raises(ArgumentError, match="params: a dict"):
        watch(None)
    with pytest.raises(ArgumentError, match="'U' is nan at index"):
        watch({**PARAMS, "U": np.full((6, 6), np.nan)})
    with pytest.raises(ArgumentError, match="b"):
        watch({k: v for k, v in PARAMS.items() if k != "b"})
    assert watch.records == ()
    small = sb.Watch(rnn, INPUTS, every=1)
    small(rnn.init({"m": 2, "n": 2}, seed=0))
    with pytest.raises(ArgumentError, match="another size"):
        small(PARAMS)
    with pytest.raises(ArgumentError, match="targets are given"):
        sb.Watch(rnn, INPUTS, targets={"y": np.zeros(3)})(PARAMS)


def test_planted_order_of_lags_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sb.Watch._norms
    monkeypatch.setattr(sb.Watch, "_norms", lambda self, of: right(self, of)[::-1])
    with pytest.raises(AssertionError):
        test_measures_what_the_library_measures()
