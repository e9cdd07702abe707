"""One step after the other by a stepper, against the user's own function on NumPy arrays."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target
from symbptt.codegen.runtime import stepping
from symbptt.verification.forms import form_rows
from symbptt.zoo import antisymmetric, lstm
from tests.by_hand import data, states
from tests.kernels import kernel_of


@sb.cell
def odd(
    x: Input["m"], word: Index["v"], h: State["n"], past: State["m"], E: Param["n v"],
    W: Param["n n"], U: Param["n n"], k: Param, b: Param["n"] = 0.5, gain: Const = 0.5,
):  # fmt: skip
    """Products with one vector, a table, a state that is an input, outputs that depend on nothing but parameters."""
    s = np.exp(k)
    i, f = sb.sigmoid(W @ h + b), sb.sigmoid(U @ h + E[:, word])
    return {
        "h": i * h + f * np.tanh(s * s * b) + gain * sb.sum(past),
        "past": x,
        "y": s * b,
        "before": h,
        "one": np.ones(2),
    }


@sb.cell
def turning(z: State["n", complex], h: State["n"] = Param, w: Param["n", complex] = 0.5j):
    return w * z + h, np.tanh(h) + np.abs(z)


@sb.loss
def tells(h: State["n"], goal: Target["n"], V: Param["k n"], d: Param["k"]):
    return {"loss": sb.sum((h - goal) ** 2), "logits": V @ h + d, "bias": 2 * d}


SIZES = {"m": 2, "n": 3, "v": 4, "k": 5}


def drawn(cell: Any, B: int, dtype: Any = np.float64, sizes: dict[str, int] = SIZES) -> Any:
    """Parameters, and inputs and states of one step."""
    r, used = np.random.default_rng(0), str([a.shape for a in cell.arguments])
    own = {k: v for k, v in sizes.items() if k in used}
    params = {k: np.asarray(v + 0.1 * r.standard_normal(np.shape(v)), dtype) for k, v in cell.init(own, seed=0).items()}
    groups: Any = {"input": {}, "index": {}, "state": {}}
    for a in cell.arguments:
        if a.role in groups:
            shape = (B, *(sizes[str(n)] for n in a.shape))
            numbers = r.integers(0, sizes["v"], shape) if a.role == "index" else r.standard_normal(shape).astype(dtype)
            groups[a.role][a.name] = numbers
    return params, groups["input"] | groups["index"], groups["state"]


def by_function(cell: Any, params: Any, inputs: Any, state: Any) -> dict[str, Any]:
    """States and outputs after one step, sample by sample."""
    rows = []
    for b in range(len(next(iter(state.values())))):
        found = cell(**{k: v[b] for k, v in (inputs | state).items()}, **params)
        found = found if isinstance(found, tuple | dict) else (found,)
        rows.append(found if isinstance(found, dict) else dict(zip(cell.looped.next, found, strict=True)))
    return {k: np.stack([row[k] for row in rows]) for k in rows[0]}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("cell", [odd, lstm, antisymmetric], ids=lambda cell: cell.name)
def test_steps_are_those_of_the_function(cell: Any, dtype: Any) -> None:
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    for B, sizes in ((2, SIZES), (1, dict.fromkeys(SIZES, 1))):
        params, inputs, state = drawn(cell, B, dtype, sizes)
        stepper, single = kernel_of(cell).stepper(params), kernel_of(cell).stepper(params)
        one = {k: v[0] for k, v in state.items()}
        for _ in range(3):
            wanted = by_function(cell, params, inputs, state)
            state, outputs = stepper(inputs, state)
            one, told = single({k: v[0] for k, v in inputs.items()}, one)
            assert state.keys() | outputs.keys() == wanted.keys()
            for k, v in (state | outputs).items():
                assert v.dtype == dtype and v.shape == wanted[k].shape, k
                np.testing.assert_allclose(v, wanted[k], tolerance, tolerance, err_msg=k)
                np.testing.assert_allclose((one | told)[k], v[0], tolerance, tolerance, err_msg=k)
            inputs = {k: np.array(v[::-1]) for k, v in inputs.items()}


def test_states_begin_as_the_cell_says_and_complex_ones_stay_complex() -> None:
    params = {"w": np.array([0.5j, 1 + 1j]), "h0": np.array([1.0, -2.0])}
    kernel = kernel_of(turning)
    run, stepper, state = (
        kernel.forward(params, None, {"z": np.ones(2, complex)}, steps=3),
        kernel.stepper(params),
        None,
    )
    state, _ = stepper(None, {"z": np.ones(2, complex)})
    for t in (1, 2):
        state, _ = stepper({}, state)
        for k, v in state.items():
            np.testing.assert_allclose(v, run.states[k][t], 1e-12)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("at", ["every", "last"])
def test_outputs_have_what_a_loss_predicts(at: str) -> None:
    model = sb.model(odd, tells, at=at)
    params, inputs, state = drawn(model, 2)
    after, outputs = kernel_of(model).stepper(params)(inputs, state)
    wanted = {"logits": after["h"] @ params["V"].T + params["d"], "bias": np.stack([2 * params["d"]] * 2)}
    for k, v in wanted.items():
        assert outputs[k].shape == v.shape
        np.testing.assert_allclose(outputs[k], v, 1e-12)
    assert {"y", "before", "one"} < outputs.keys()


@pytest.mark.thinned(2)
@pytest.mark.parametrize("options", [{"truncation": sb.Window(2)}, {"memory": "sqrt"}, {"clip_adjoint": 1.0}])
def test_options_of_training_change_no_step(options: Any) -> None:
    params, inputs, state = drawn(lstm, 2)
    wanted, _ = kernel_of(lstm).stepper(params)(inputs, state)
    found, _ = kernel_of(lstm, **options).stepper(params)(inputs, state)
    for k, v in wanted.items():
        np.testing.assert_allclose(found[k], v, 1e-12)


def test_stepper_holds_a_copy_and_gives_new_arrays() -> None:
    params, inputs, state = drawn(odd, 2)
    stepper, kept = kernel_of(odd).stepper(params), {k: v.copy() for k, v in (inputs | state).items()}
    first, told = stepper(inputs, state)
    for v in params.values():
        v *= 2
    for v in (first | told).values():
        v[...] = np.nan  # of the caller
    again, _ = stepper(inputs, state)
    assert np.isfinite(again["h"]).all() and all(np.array_equal(kept[k], v) for k, v in (inputs | state).items())


def test_number_of_samples_may_change_and_what_is_wrong_is_told() -> None:
    params, inputs, state = drawn(odd, 2)
    stepper = kernel_of(odd).stepper(params)
    state, _ = stepper(inputs, state)
    alone, _ = stepper({k: v[:1] for k, v in inputs.items()}, {k: v[:1] for k, v in state.items()})
    assert alone["h"].shape == (1, 3)
    stepper(inputs, state)
    nan, far = np.full((2, 2), np.nan), np.array([1, 4])
    for wrong, words in [
        (lambda: stepper({"x": inputs["x"]}, state), "input 'word' is missing"),
        (
            lambda: stepper(inputs["x"], state),
            r'inputs: a dict by name is expected, got ndarray; write inputs=\{"x": array\}',
        ),
        (
            lambda: stepper(inputs, state["h"]),
            r'state: a dict by name is expected, got ndarray; write state=\{"h": array\}',
        ),
        (lambda: kernel_of(odd).stepper(params)(inputs["x"]), "inputs: a dict by name is expected, got ndarray"),
        (lambda: stepper(inputs, state | {"z": 1}), "state 'z' is not known; expected h, past"),
        (
            lambda: stepper(inputs | {"x": nan}, state),
            "x: nan at step 0, sample 0.* fill the gap, as np.nan_to_num does",
        ),
        (
            lambda: stepper(inputs | {"x": inputs["x"][0]}, state),
            r"a batch axis is on one only; x: \(B, m\) is expected, got \(2,\); .* write np.stack\(\[x\] \* 2, axis=0\)",
        ),
        (
            lambda: stepper(inputs, state | {"past": state["past"][0]}),
            r"past: .* a batch axis is on one only.* write np.stack\(\[past\] \* 2, axis=0\)",
        ),
        (lambda: stepper(inputs, state | {"past": nan}), "past: nan at sample 0"),
        (
            lambda: stepper(inputs | {"word": far}, state),
            "word: integers from 0 to 3 are expected, got 4 at step 0, sample 1",
        ),
        (lambda: stepper(inputs | {"word": -far}, state), "word: integers from 0 to 3 are expected, got -1"),
        (lambda: stepper(inputs | {"x": inputs["x"][:1]}, state), "x|h|past|word"),
        (lambda: stepper(inputs | {"x": np.ones((2, 2), int)}, state), "x: float32 or float64 is expected, got int64"),
        (lambda: stepper(inputs | {"x": np.ones((1, 2, 2))}, state), r"x: \(B, m\) is expected, got shape \(1, 2, 2\)"),
        (
            lambda: stepper(inputs, {k: v.astype(np.float32) for k, v in state.items()}),
            "float32 among arrays of float64",
        ),
        (lambda: stepper([inputs["x"], inputs["word"]], state), "inputs: a dict by name is expected, got list"),
        (lambda: stepper(inputs["x"], state), "inputs: a dict by name is expected, got ndarray"),
        (lambda: stepper(inputs, [*state.values()]), "state: a dict by name is expected, got list"),
        (lambda: kernel_of(odd).stepper({}), "parameter 'E' is missing"),
        (lambda: kernel_of(odd).stepper(params | {"W": np.ones(3)}), r"W: \(n, n\) is expected, got shape \(3,\)"),
    ]:
        with pytest.raises(sb.ArgumentError, match=words):
            wrong()


def test_saved_module_has_it(tmp_path: Any) -> None:
    params, inputs, state = drawn(lstm, 2)
    kernel_of(lstm).save(tmp_path / "cell.py")
    module: dict[str, Any] = {"__name__": "cell"}
    exec((tmp_path / "cell.py").read_text(), module)
    found, wanted = module["stepper"](params)(inputs, state)[0], kernel_of(lstm).stepper(params)(inputs, state)[0]
    assert all(np.array_equal(found[k], v) for k, v in wanted.items())


def test_file_of_the_runtime_runs_the_cell_by_hand() -> None:
    params, inputs, _, state = data(3, 2)
    step, x = stepping.stepper(params), inputs["x"]
    for t in range(3):
        state, outputs = step({"x": x[t]}, state)
        np.testing.assert_allclose(outputs["y"], state["h"] ** 2, 1e-12)
        np.testing.assert_allclose(state["h"][0], states(params["w"], x[: t + 1, 0], data(3, 2)[3]["h"][0])[-1], 1e-12)


def test_planted_mistake_is_caught_by_verify() -> None:
    kernel = kernel_of(lstm)
    at = kernel.source.index("def _step(")
    text = kernel.source[:at] + kernel.source[at:].replace("h_1 = gates[2] *", "h_1 = gates[1] *")
    assert text != kernel.source
    rows = list(form_rows(sb.Kernel(kernel.target, kernel.program, text), 0))
    assert "one step at a time" in str(rows)
