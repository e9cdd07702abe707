"""Cells on top of each other and inside each other."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target
from symbptt.verification import checks as verification
from symbptt.zoo import gru, linear_attention, lstm, mlstm, rnn
from tests import brute, oracle


@pytest.fixture
def one_regime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verification in the healthy regime alone: composing has no numerics of its own."""
    monkeypatch.setattr(verification, "REGIMES", (replace(verification.REGIMES[0], long=False),))


@sb.cell
def embed(token: Index["v"], h: State["n"], E: Param["v n"], U: Param["n n"]):
    return np.tanh(E[token] + U @ h)


@sb.cell
def readout(x: Input["m"], k: State["k"], V: Param["k m"], leak: Const = 0.5):
    k = leak * k + (1 - leak) * np.tanh(V @ x)
    return {"k": k, "y": 2 * k}


@sb.cell
def matrix_in(X: Input["n n"], h: State["n"], w: Param["n"]):
    return np.tanh(X @ w + 0.5 * h)


@sb.cell
def matrix_out(x: Input["n"], S: State["n n"], a: Param):
    return np.tanh(a) * S + np.outer(x, x)


@sb.cell
def fixed(x: Input["3"], h: State["3"], W: Param["3 3"]):
    return np.tanh(W @ x + h)


@sb.cell
def two_inputs(x: Input["m"], u: Input, h: State["n"], W: Param["n m"]):
    return np.tanh(W @ x + u * h)


@sb.cell
def two_outputs(x: Input["m"], h: State["n"], W: Param["n m"]):
    h = np.tanh(W @ x + h)
    return {"h": h, "y": 2 * h, "z": 3 * h}


def names(cell: sb.Cell, *roles: str) -> list[str]:
    return [a.name for a in cell.arguments if a.role in roles]


# sb.stack of cells.


def test_names_of_a_layer_get_its_number() -> None:
    cell = sb.stack(rnn, lstm)
    assert cell.name == "lstm_over_rnn"
    assert names(cell, "input") == ["x"] and names(cell, "state") == ["h_1", "h_2", "c_2"]
    assert set(names(cell, "param")) == {f"{n}_1" for n in names(rnn, "param")} | {
        f"{n}_2" for n in names(lstm, "param")
    }
    assert "rnn, lstm" in (cell.__doc__ or "")


def test_cells_may_stand_in_a_list() -> None:
    assert repr(sb.stack([rnn, lstm])) == repr(sb.stack(rnn, lstm)) == repr(sb.stack((rnn, lstm)))


def test_sizes_follow_from_what_a_layer_is_given() -> None:
    params = sb.stack(rnn, lstm, gru).init({"m": 2, "n_1": 3, "n_2": 4, "n_3": 5})
    assert params["W_1"].shape == (3, 2) and params["U_1"].shape == (3, 3)
    assert params["Wi_2"].shape == (4, 3) and params["Ui_2"].shape == (4, 4)
    assert params["Wz_3"].shape == (5, 4) and params["Uz_3"].shape == (5, 5)


def test_output_of_a_layer_drives_the_next_where_it_has_one() -> None:
    cell = sb.stack(readout, rnn)
    assert names(cell, "state") == ["k_1", "h_2"] and list(cell.step.outputs) == ["y_1"]
    groups = oracle.draw(cell, 3, 2, {"m": 2, "k_1": 3, "n_2": 2})
    run = sb.compile(cell).forward(*groups)
    lower, upper = sb.compile(readout), sb.compile(rnn)
    below = lower.forward({"V": groups[0]["V_1"]}, groups[1], {"k": groups[2]["k_1"]})
    above = upper.forward({k: groups[0][f"{k}_2"] for k in "WUb"}, {"x": below.outputs["y"]}, {"h": groups[2]["h_2"]})
    np.testing.assert_allclose(run.outputs["y_1"], below.outputs["y"], rtol=1e-13)
    np.testing.assert_allclose(run.states["h_2"], above.states["h"], rtol=1e-13)


STACKS: dict[str, sb.Cell] = {
    "one": sb.stack(gru),
    "two": sb.stack(rnn, lstm),
    "three": sb.stack(rnn, rnn, rnn),
    "an index below": sb.stack(embed, rnn),
    "an output below": sb.stack(readout, rnn),
    "an output in the middle": sb.stack(rnn, readout, rnn),
    "matrices between": sb.stack(matrix_out, matrix_in),
    "a fixed size": sb.stack(fixed, fixed),
    "a memory below": sb.stack(linear_attention, rnn),
    "a stabilised memory above": sb.stack(rnn, mlstm),
    "a stack on a cell": sb.stack(rnn, sb.stack(rnn, gru)),
    "a cell on a stack": sb.stack(sb.stack(rnn, gru), rnn),
    "two inputs below": sb.stack(two_inputs, rnn),
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.usefixtures("one_regime")
@pytest.mark.thinned(17, 5)
def test_stack_is_verified(name: str) -> None:
    report = sb.verify(STACKS[name])
    assert report.passed, str(report)


@pytest.mark.long
@pytest.mark.parametrize("name", STACKS)
@pytest.mark.thinned(1, 7)
def test_stack_is_verified_in_every_regime(name: str) -> None:
    report = sb.verify(STACKS[name])
    assert report.passed, str(report)


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.thinned(7, 2)
def test_stack_is_its_layers_one_after_the_other(name: str) -> None:
    """The plain function of the stack against complex steps through its kernel."""
    cell = STACKS[name]
    data = brute.data_of(cell, 3, 2, dict.fromkeys(sizes_of(cell), 2))
    kernel = sb.compile(cell)
    run = kernel.forward(data.params, data.inputs, data.state)
    wanted = oracle.run(cell, data.params, data.inputs, data.state, 3)
    oracle.assert_blocks_close({**run.states, **run.outputs}, wanted, 1e-12)
    random = np.random.default_rng(0)
    cotangents = {k: random.standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()}
    got = brute.by_group(kernel.backward(run, cotangents))
    brute.assert_same(got, brute.gradients(cell, brute.cotangent_score(cotangents), data))


def sizes_of(cell: sb.Cell) -> set[str]:
    from symbptt.ir.shape import names_in

    return {n for a in cell.arguments for n in names_in((*a.shape, *(() if a.limit is None else (a.limit,))))}


def test_stack_may_be_called_as_an_ordinary_function() -> None:
    cell = sb.stack(rnn, gru)
    params, inputs, state = oracle.draw(cell, 1, 1, {"m": 2, "n_1": 3, "n_2": 2})
    result = cell(**params, x=inputs["x"][0, 0], **{k: v[0] for k, v in state.items()})
    low = rnn(inputs["x"][0, 0], state["h_1"][0], *(params[f"{k}_1"] for k in "WUb"))
    np.testing.assert_array_equal(result["h_1"], low)
    assert set(result) == {"h_1", "h_2"}


def test_constants_of_layers_keep_their_defaults_and_may_be_replaced() -> None:
    cell = sb.stack(rnn, readout)
    assert {a.name: a.default for a in cell.arguments if a.role == "const"} == {"leak_2": 0.5}
    groups = oracle.draw(cell, 2, 1, {"m": 2, "n_1": 2, "k_2": 2})
    kernel, other = sb.compile(cell, consts={"leak_2": 0.0}), cell.with_consts({"leak_2": 0.0})
    run = kernel.forward(*groups)
    np.testing.assert_allclose(run.states["k_2"][0, 0], np.tanh(groups[0]["V_2"] @ run.states["h_1"][0, 0]), rtol=1e-13)
    oracle.assert_blocks_close({**run.states, **run.outputs}, oracle.run(other, *groups, 2), 1e-13)


def test_equations_of_a_stack_name_its_layers() -> None:
    text = sb.derive(sb.stack(rnn, rnn)).text(style="loop")
    assert "W₁" in text and "dU₂" in text and "h_{1,t}" in text.replace("h_{1, t}", "h_{1,t}")


def test_stack_is_trained_as_a_model() -> None:
    @sb.loss
    def loss(h_2: State["n_2"], y: Target["n_2"]):
        return sb.sum((h_2 - y) ** 2)

    model = sb.model(sb.stack(gru, rnn), loss, at="last", reduction="mean")
    data = brute.data_of(model, 3, 2, {"m": 2, "n_1": 3, "n_2": 2}, lengths=np.array([3, 2]))
    value, grads = brute.value_and_grad(sb.compile(model), data)
    np.testing.assert_allclose(value, brute.value(model, data), rtol=1e-12)
    brute.assert_same(brute.by_group(grads), brute.model_gradients(model, data))


def test_layers_in_float32_stay_float32() -> None:
    cell = sb.stack(rnn, lstm)
    groups = [
        {k: v.astype(np.float32) for k, v in g.items()} for g in oracle.draw(cell, 2, 2, {"m": 2, "n_1": 2, "n_2": 2})
    ]
    kernel = sb.compile(cell)
    run = kernel.forward(*groups)
    grads = oracle.flat(kernel.backward(run, {"h_2": np.ones((2, 2, 2), np.float32)}))
    assert {v.dtype for v in (*run.states.values(), *grads.values())} == {np.dtype(np.float32)}


REFUSED: dict[str, tuple[Any, str]] = {
    "two outputs below": (lambda: sb.stack(two_outputs, rnn), "two_outputs has the outputs y, z(.|\n)*has one, or none"),
    "two inputs above": (lambda: sb.stack(rnn, two_inputs), "two_inputs cannot be layer 2: it needs one input with 1 axes"),
    "an index above": (lambda: sb.stack(rnn, embed), "embed cannot be layer 2"),
    "a matrix for a vector": (lambda: sb.stack(matrix_out, rnn), r"rnn cannot be layer 2: .* 2 axes, .* hands up \(n_1, n_1\)|rnn cannot"),
    "a vector for a matrix": (lambda: sb.stack(rnn, matrix_in), "matrix_in cannot be layer 2: it needs one input with 1 axes"),
    "another fixed size": (lambda: sb.stack(rnn, fixed), "fixed cannot be layer 2: its input has the size 3, .* hands up n_1"),
    "nothing": (lambda: sb.stack(), "stack takes cells, or a list of arrays; got nothing"),
    "a function": (lambda: sb.stack(rnn, rnn.function), "stack takes cells or a list of arrays, got Cell, function"),
    "a model": (lambda: sb.stack(rnn, "gru"), "stack takes cells or a list of arrays, got Cell, str"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_the_names(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(sb.ArgumentError, match=words):
        call()


# sb.stack of arrays.


def test_stack_of_arrays_is_that_of_numpy() -> None:
    a, b = np.arange(3.0), np.ones(3)
    np.testing.assert_array_equal(sb.stack([a, b]), np.stack([a, b]))
    np.testing.assert_array_equal(sb.stack((a, b), axis=1), np.stack([a, b], 1))
    np.testing.assert_array_equal(sb.stack([a, b], 1), np.stack([a, b], 1))
    np.testing.assert_array_equal(sb.stack([a, b], axis=-1), np.stack([a, b], -1))


@pytest.mark.usefixtures("one_regime")
def test_stack_of_arrays_in_a_cell_is_that_of_numpy() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["2"]):
        return np.tanh(w @ sb.stack([x, h]) + sb.stack([x, h], axis=1) @ w + sb.stack([x, h], 1)[:, 0])

    report = sb.verify(step)
    assert report.passed, str(report)


# Cells inside cells.


@sb.cell
def tower(x: Input["m"], low: State["n"], high: State["k"], memory: State["k"], Wl: Param["n m"], Ul: Param["n n"],
          bl: Param["n"], V: Param["4*k n"], R: Param["4*k k"]):  # fmt: skip
    """A cell of the zoo below, an LSTM written as a helper above, and a skip of the input around both."""
    low = rnn(x, low, Wl, Ul, bl)
    high, memory = packed(V @ low + R @ high, memory)
    return {"low": low, "high": high, "memory": memory}


def packed(gates: Any, c: Any) -> tuple[Any, Any]:
    i, f, o, g = np.split(gates, 4)
    c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
    return np.tanh(c) / (1 + np.exp(-o)), c


@sb.cell
def mixture(
    x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"], W2: Param["n m"], a: Param["n"]
):
    """Two cells share a state; a gate mixes what they say."""
    gate = sb.sigmoid(a * h)
    return gate * rnn(x, h, W, U, b) + (1 - gate) * rnn(x, -h, W=W2, U=U.T, b=-b)


@sb.cell
def twice(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    """The same cell twice in a step, the weights shared."""
    for _ in range(2):
        h = rnn(x, h, W, U, b)
    return h


@sb.cell
def around_a_dict(x: Input["m"], k: State["k"], h: State["k"], V: Param["k m"], u: Param["k"]):
    """A cell that returns a dict, a constant of it replaced, another cell of other arguments around it."""
    inner = readout(x, k, V, leak=0.25)
    return {"k": inner["k"], "h": np.tanh(u * inner["y"] + h)}


@sb.cell
def around_a_stack(x: Input["m"], h_1: State["n"], h_2: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    """A stack is a cell, so it may be called in one."""
    found = sb.stack(rnn, rnn)(x=x, h_1=h_1, h_2=h_2, W_1=W, U_1=U, b_1=b, W_2=U, U_2=U.T, b_2=b)
    return found["h_1"], found["h_2"] + h_1


NESTED = [tower, mixture, twice, around_a_dict, around_a_stack]


@pytest.mark.parametrize("cell", NESTED, ids=lambda cell: cell.name)
@pytest.mark.usefixtures("one_regime")
@pytest.mark.thinned(7)
def test_cell_of_cells_is_verified(cell: sb.Cell) -> None:
    report = sb.verify(cell)
    assert report.passed, str(report)


@pytest.mark.parametrize("cell", NESTED, ids=lambda cell: cell.name)
def test_cell_of_cells_has_the_gradients_of_the_plain_function(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 3, 2, {"m": 2, "n": 2, "k": 3})
    kernel = sb.compile(cell)
    cotangents = oracle.cotangents_of(cell, groups, 3)
    wanted = oracle.gradients(cell, *groups, cotangents, 3)
    oracle.assert_blocks_close(oracle.flat(kernel.backward(kernel.forward(*groups), cotangents)), wanted, 1e-10)


def test_states_of_a_cell_of_cells_keep_their_names() -> None:
    text = sb.derive(tower).text(style="loop")
    assert all(f"{name}_t" in text for name in ("low", "high", "memory"))
    assert "dlow_{t-1}" in text and "dmemory_{t-1}" in text
