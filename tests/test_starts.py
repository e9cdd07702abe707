"""What states begin with: numbers, arrays, -inf, and parameters that all samples share."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, Target
from symbptt.stability.runs.setting import setting
from tests.kernels import kernel_of

FIRST = np.array([0.1, -0.2, 0.3])


@sb.cell
def numbers(x: Input["m"], h: State["n"] = FIRST, c: State["n"] = 1.5, W: Param["n m"] = None, U: Param["n n"] = None):  # type: ignore[assignment]
    c = 0.9 * c + np.tanh(W @ x + U @ h)
    return np.tanh(c), c


@sb.cell
def log_domain(x: Input["n"], f: Input["n"], c: State["n"], top: State["n"] = -np.inf):  # type: ignore[assignment]
    new = np.maximum(top + f, x)
    return np.exp(top + f - new) * c + np.exp(x - new), new


@sb.cell
def learnt(x: Input["m"], h: State["n"] = Param, c: State["n"] = 0.5, W: Param["n m"] = None, U: Param["n n"] = None):  # type: ignore[assignment]
    h = np.tanh(W @ x + U @ h + c)
    return h, 0.5 * c + h


def _data(cell: sb.Cell, sizes: dict[str, int], T: int, B: int, dtype: Any = float) -> tuple[Any, Any]:
    random = np.random.default_rng(T + B)
    params = {k: random.standard_normal(v.shape).astype(dtype) for k, v in cell.init(sizes).items()}
    inputs = {a.name: random.standard_normal((T, B, *(sizes[str(n)] for n in a.shape))).astype(dtype)
              for a in cell.arguments if a.role == "input"}  # fmt: skip
    return params, inputs


def test_numbers_and_arrays_begin_every_sample_where_no_state_is_given() -> None:
    for dtype in (np.float32, np.float64):
        params, inputs = _data(numbers, {"n": 3, "m": 2}, 3, 2, dtype)
        run = kernel_of(numbers).forward(params, inputs)
        state = {"h": np.broadcast_to(FIRST, (2, 3)).astype(dtype), "c": np.full((2, 3), 1.5, dtype)}
        given = kernel_of(numbers).forward(params, inputs, state)
        for name in ("h", "c"):
            np.testing.assert_array_equal(run.states[name], given.states[name])
            assert run.states[name].dtype == dtype
        half = kernel_of(numbers).forward(params, inputs, {"c": np.zeros((2, 3), dtype)})
        assert not np.array_equal(half.states["h"], run.states["h"])
    h, c = FIRST, np.full(3, 1.5)
    for t in range(3):
        h, c = numbers.function(inputs["x"][t, 0], h, c, params["W"], params["U"])
    np.testing.assert_allclose(run.states["h"][-1, 0], h, rtol=1e-13)


def test_a_start_of_minus_infinity_runs_and_may_be_given_while_others_may_not() -> None:
    params, inputs = _data(log_domain, {"n": 2}, 4, 2)
    kernel = kernel_of(log_domain)
    run = kernel.forward(params, inputs)
    grads = kernel.backward(run, {"c": np.ones((2, 2)), "top": np.ones((2, 2))})
    assert all(np.isfinite(v).all() for group in (run.states, grads.inputs, grads.state) for v in group.values())
    again = kernel.forward(params, inputs, {"c": np.zeros((2, 2)), "top": np.full((2, 2), -np.inf)})
    np.testing.assert_array_equal(run.states["c"], again.states["c"])
    for value in (np.inf, np.nan):
        with pytest.raises(sb.ArgumentError, match="finite numbers are expected"):
            kernel.forward(params, inputs, {"top": np.full((2, 2), value)})


@pytest.mark.parametrize("cell", [numbers, log_domain, learnt], ids=lambda cell: cell.name)
@pytest.mark.thinned(11)
def test_cells_with_starts_are_proved(cell: sb.Cell) -> None:
    report = sb.verify(cell)
    assert report.passed, str(report)


def _loss(params: Any, inputs: Any, weights: Any, reset: Any, lengths: Any) -> Any:
    """Return Σ weight · h by the user's function, from the start that the parameters say."""
    total = 0.0
    T, B = inputs["x"].shape[:2]
    for b in range(B):
        first = params["h0"], np.full(params["h0"].shape, 0.5, params["h0"].dtype)
        h, c = first
        for t in range(T):
            if t < lengths[b]:
                h, c = first if reset[t, b] else (h, c)
                h, c = learnt.function(inputs["x"][t, b], h, c, params["W"], params["U"])
            total = total + np.sum(weights[t, b] * h)
    return total


OPTIONS: list[dict[str, Any]] = [
    {},
    {"memory": "sqrt"},
    {"truncation": sb.Window(50)},
    {"truncation": sb.Chunked(3, 50)},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("T", [1, 5])
def test_gradient_of_a_learnt_start_is_that_of_all_samples_and_resets(T: int, options: dict[str, Any]) -> None:
    params, inputs = _data(learnt, {"n": 3, "m": 2}, T, 3)
    random = np.random.default_rng(1)
    weights, reset, lengths = (
        random.standard_normal((T, 3, 3)),
        random.random((T, 3)) < 0.3,
        np.array([T, max(T - 2, 0), T]),
    )
    kernel = kernel_of(learnt, **options)
    run = kernel.forward(params, inputs, reset=reset, lengths=lengths)
    found = kernel.backward(run, {"h": weights}).params["h0"]
    for i in range(3):
        moved = {**params, "h0": params["h0"] + 1e-30j * np.eye(3)[i]}
        assert abs(found[i] - _loss(moved, inputs, weights, reset, lengths).imag / 1e-30) < 1e-11 * max(
            1, abs(found[i])
        )


def test_a_given_start_leaves_the_learnt_one_without_gradient() -> None:
    params, inputs = _data(learnt, {"n": 3, "m": 2}, 4, 2)
    kernel = kernel_of(learnt)
    run = kernel.forward(params, inputs, {"h": np.ones((2, 3))})
    assert (kernel.backward(run, {"h": np.ones((2, 3))}).params["h0"] == 0).all()
    single = kernel.forward(params, {"x": inputs["x"][:, 0]})
    both = kernel.forward(params, inputs)
    np.testing.assert_allclose(single.states["h"], both.states["h"][:, 0], rtol=1e-13)
    one, all_ = (
        kernel.backward(single, {"h": np.ones(3)}),
        kernel.backward(both, {"h": np.array([[1.0] * 3, [0.0] * 3])}),
    )
    np.testing.assert_allclose(one.params["h0"], all_.params["h0"], rtol=1e-12)
    none = kernel.forward(params, {"x": np.zeros((0, 2, 2))})
    assert kernel.backward(none, {}).params["h0"].shape == (3,)


@sb.cell
def both_learnt(x: Input["n"], h: State["n"] = Param, c: State["n"] = Param, w: Param["n"] = None):  # type: ignore[assignment]
    return np.tanh(w * h + c * x), np.tanh(c * h - x)


@pytest.mark.parametrize("given", [(), ("c",)])
def test_each_of_two_learnt_starts_has_the_gradient_of_its_own_state(given: tuple[str, ...]) -> None:
    params, inputs = _data(both_learnt, {"n": 3}, 4, 2)
    state = {name: np.full((2, 3), 0.3) for name in given}
    kernel = kernel_of(both_learnt)
    found = kernel.backward(kernel.forward(params, inputs, state), {"h": np.ones((2, 3))}).params
    for name in ("h0", "c0"):
        for i in range(3):
            moved = {**params, name: params[name] + 1e-30j * np.eye(3)[i]}
            total = 0.0
            for b in range(2):
                h, c = moved["h0"], state["c"][b] if given else moved["c0"]
                for x in inputs["x"][:, b]:
                    h, c = both_learnt(x, h, c, params["w"])
                total = total + np.sum(h)
            assert abs(found[name][i] - np.imag(total) / 1e-30) < 1e-13
    assert np.all(found["c0"] == 0) == bool(given)


def test_models_train_the_start() -> None:
    @sb.loss
    def error(h: State["n"], y: Target["n"]):
        return np.sum((h - y) ** 2)

    model = sb.model(learnt, error)
    kernel = sb.compile(model)
    params, inputs = model.init({"n": 3, "m": 2}, seed=0), {"x": np.zeros((2, 4, 2))}
    assert (params["h0"] == 0).all()
    targets = {"y": np.full((2, 4, 3), 0.7)}
    first, grads = kernel.value_and_grad(params, inputs, targets)
    second, _ = kernel.value_and_grad({**params, "h0": params["h0"] - 1e-6 * grads.params["h0"]}, inputs, targets)
    wanted = -1e-6 * np.sum(grads.params["h0"] ** 2)
    assert abs((second - first) - wanted) < 1e-3 * abs(wanted)


def test_a_sum_over_fewer_samples_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = sb.compile(sb.Cell(learnt.function))
    own = kernel.module.__dict__["_add_starts"]

    def wrong(grads: Any, *args: Any) -> None:
        own(grads, *args)
        grads.params["h0"] = grads.params["h0"] / 2

    monkeypatch.setitem(kernel.module.__dict__, "_add_starts", wrong)
    report = sb.verify(kernel)
    assert not report.passed and "h0" in str(report)


def test_pages_and_analyses_tell_the_start(tmp_path: Path) -> None:
    text = sb.derive(learnt).text()
    assert "dh0 = dh_0" in text and "h_0 = h0 for every sample where no start is given" in text and "c_0 = 0.5" in text
    assert "h_0 = [0.1; -0.2; 0.3]" in sb.derive(numbers).text() and "top_0 = -∞" in sb.derive(log_domain).text()
    assert r"-\infty" in sb.derive(log_domain).latex() and sb.derive(log_domain).mathml()
    found = setting(learnt, {**learnt.init({"n": 3, "m": 2}), "h0": FIRST}, None, None, None, 5, 0)
    assert "first states of the cell (h, c)" in found.words
    np.testing.assert_allclose(found.run.start[0], [*FIRST, 0.5, 0.5, 0.5])
    sb.compile(learnt).save(tmp_path / "learnt.py")
    done = subprocess.run([sys.executable, tmp_path / "learnt.py", "--selfcheck"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_starts_bind_sizes_and_are_checked() -> None:
    assert numbers.init({"m": 2})["U"].shape == (3, 3)
    with pytest.raises(sb.ArgumentError, match="'h' of numbers has 3 along axis 0"):
        numbers.init({"n": 4, "m": 2})
    params, inputs = _data(learnt, {"n": 3, "m": 2}, 1, 1)
    wrong = {"W": np.ones((4, 2)), "U": np.ones((4, 4))}
    with pytest.raises(sb.ArgumentError, match=r"h: it begins with an array of shape \(3,\), \(4,\) is expected"):
        kernel_of(numbers).forward(wrong, inputs)
    assert params["h0"].shape == (3,)


def test_stacks_keep_what_their_cells_begin_with() -> None:
    stacked = sb.stack(learnt, numbers)
    starts = {a.name: a.start for a in stacked.arguments if a.role == "state"}
    assert (
        starts["h_1"] == "h_10" and starts["c_1"] == 0.5 and starts["c_2"] == 1.5 and list(starts["h_2"]) == list(FIRST)
    )


def test_c_source_refuses_starts_by_name() -> None:
    with pytest.raises(sb.CellError, match=r"the state 'h' of numbers begins with(.|\n)*hand the states"):
        sb.c_source(numbers)


BAD: dict[str, tuple[Any, str]] = {
    "a word": ("zero", "must be a real number"),
    "another rank": (np.ones((2, 2)), r"has shape \(2, 2\), the annotation says \(n,\)"),
    "NaN": (np.nan, "begins with NaN"),
    "a complex number": (1j, "must be a real number"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_start_is_refused(name: str) -> None:
    value, words = BAD[name]

    def step(h: Any = value) -> Any:
        return h

    step.__annotations__ = {"h": State["n"]}
    with pytest.raises(sb.CellError, match=words):
        sb.cell(step)


def test_the_name_of_a_learnt_start_may_not_be_taken() -> None:
    with pytest.raises(sb.CellError, match="two arguments are both called 'h0'"):

        @sb.cell
        def taken(h0: Input["n"], h: State["n"] = Param):  # type: ignore[assignment]
            return h + h0
