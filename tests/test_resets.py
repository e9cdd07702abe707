"""Where resets go: to the states that a call begins with, as a rule, or to what the cell begins with, also where others are handed over."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, Target
from tests.kernels import kernel_of

Arrays = dict[str, Any]
STEP = 1e-30
MASKS = {
    "reset": np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]], bool),
    "lengths": np.array([5, 3, 0]),
}


@sb.cell
def begun(x: Input["n"], h: State["n"] = Param, c: State["n"] = 0.5, d: State["n"] = None, U: Param["n n"] = None):  # type: ignore[assignment]
    h = np.tanh(U @ h + x * c + d)
    return {"h": h, "c": np.tanh(0.5 * c + h), "d": h * c, "y": h * d}


@sb.loss
def error(h: State["n"], y: Target["n"]):
    return sb.sum((h - y) ** 2)


def _given(cell: Any) -> tuple[Arrays, Arrays, Arrays]:
    random = np.random.default_rng(0)
    params = {k: random.standard_normal(v.shape) for k, v in cell.init({"n": 2}).items()}
    state = {k: random.standard_normal((3, 2)) for k in ("h", "c", "d")}
    return params, {"x": random.standard_normal((5, 3, 2))}, state


def _run(params: Arrays, inputs: Arrays, state: Arrays) -> Arrays:
    """States and outputs after every step by the user's function, each sample to its length."""
    start = {"h": params[next(k for k in params if k != "U")], "c": np.full(2, 0.5), "d": np.zeros(2)}
    found: Arrays = {k: np.zeros((5, 3, 2), complex) for k in ("h", "c", "d", "y")}
    for b in range(3):
        now = {k: v[b] for k, v in state.items()}
        for t in range(5):
            if t < MASKS["lengths"][b]:
                values: Any = begun.function(
                    inputs["x"][t, b], **(start if MASKS["reset"][t, b] else now), U=params["U"]
                )
                now = {k: values[k] for k in state}
                found["y"][t, b] = values["y"]
            for k in now:
                found[k][t, b] = now[k]
    return found


@pytest.mark.parametrize(
    "options", [{}, {"memory": "sqrt"}, {"truncation": sb.Window(9)}, {"truncation": sb.Chunked(2, 9)}], ids=str
)
def test_resets_go_to_what_the_cell_begins_with(options: Any) -> None:
    groups = params, inputs, state = _given(begun)
    kernel = kernel_of(begun, **options)
    run = kernel.forward(params, inputs, state, reset_to="start", **MASKS)
    wanted = _run(*groups)
    sent = {k: np.random.default_rng(1).standard_normal(v.shape) for k, v in wanted.items()}
    for k, v in wanted.items():
        np.testing.assert_allclose((run.states | run.outputs)[k], v.real, rtol=1e-13, atol=1e-14)
    grads = kernel.backward(run, sent)
    for place, found in enumerate((grads.params, grads.inputs, grads.state)):
        for name, value in found.items():
            along = np.random.default_rng(2).standard_normal(value.shape)
            moved = [dict(group) for group in groups]
            moved[place][name] = moved[place][name] + 1j * STEP * along
            slope = sum(np.sum(sent[k] * v) for k, v in _run(*moved).items()).imag / STEP
            assert np.sum(value * along) == pytest.approx(slope, rel=1e-11, abs=1e-13), name
    plain = kernel.backward(kernel.forward(params, inputs, state, **MASKS), sent)
    assert not np.allclose(plain.state["h"], grads.state["h"])  # what resets send elsewhere is there


@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}, {"truncation": sb.Chunked(2, 9)}], ids=str)
def test_a_model_sends_its_resets_to_the_start(options: Any) -> None:
    model = sb.model(begun, error)
    params, inputs, state = _given(begun)
    kernel, y = kernel_of(model, **options), np.random.default_rng(3).standard_normal((5, 3, 2))
    loss, grads = kernel.value_and_grad(params, inputs, {"y": y}, state, reset_to="start", **MASKS)
    values = _run(params, inputs, state)
    counts = (np.arange(5)[:, None] < MASKS["lengths"])[..., None]
    assert loss == pytest.approx(np.sum(counts * (values["h"].real - y) ** 2), rel=1e-13)
    assert kernel.value(params, inputs, {"y": y}, state, reset_to="start", **MASKS) == pytest.approx(loss, rel=1e-13)
    cell = kernel_of(begun)
    sent = {"h": 2 * counts * (values["h"].real - y)}
    # Behind its end a state is that of the last step, and has no loss there.
    apart = cell.backward(cell.forward(params, inputs, state, reset_to="start", **MASKS), sent)
    for found, other in ((grads.params, apart.params), (grads.inputs, apart.inputs), (grads.state, apart.state)):
        for name, value in other.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(grads.final["h"], values["h"][-1].real, rtol=1e-13)


def test_the_word_is_one_of_two() -> None:
    params, inputs, state = _given(begun)
    kernel = kernel_of(begun)
    with pytest.raises(sb.ArgumentError, match=r"reset_to: 'initial'[\s\S]*'start'[\s\S]*got 'zero'"):
        kernel.forward(params, inputs, state, reset_to="zero")  # type: ignore[arg-type]
    same = kernel.forward(params, inputs, reset_to="start", reset=MASKS["reset"])
    other = kernel.forward(params, inputs, reset=MASKS["reset"])
    np.testing.assert_array_equal(same.states["h"], other.states["h"])
    with pytest.raises(sb.ArgumentError, match="finite numbers are expected"):
        kernel.forward(params, inputs, state | {"d": np.full((3, 2), np.nan)}, reset_to="start")
