"""Weights of other frameworks: round trips on arrays, and the frameworks' own layers where they are installed."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import interop
from symbptt.errors import ArgumentError
from symbptt.interop import flax, keras, onnx, pytorch
from symbptt.interop import weight_layout as layout
from symbptt.zoo import CELLS, cifg, gru, lstm, lstm_peephole, rnn

LAYOUTS = (*pytorch.LAYOUTS, *keras.LAYOUTS, *flax.LINEN, *flax.NNX, *onnx.LAYOUTS)
COMMON = pytest.mark.parametrize("cell", [rnn, lstm, gru], ids=lambda cell: cell.name)
FLAX_OF = {"rnn": ("linen.SimpleCell", "nnx.SimpleCell"), "gru": ("linen.GRUCell",),
           "lstm": ("linen.LSTMCell", "linen.OptimizedLSTMCell", "nnx.LSTMCell", "nnx.OptimizedLSTMCell")}  # fmt: skip


def params_of(cell: sb.Cell, m: int = 3, n: int = 4, seed: int = 0, dtype: Any = np.float64) -> dict[str, Any]:
    """Parameters of which every entry is random."""
    random = np.random.default_rng(seed)
    return {
        name: random.uniform(-1, 1, value.shape).astype(dtype) for name, value in cell.init({"m": m, "n": n}).items()
    }


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(got) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name, strict=True)


def arrays_of(found: Any) -> list[Any]:
    if isinstance(found, dict):
        return [array for value in found.values() for array in arrays_of(value)]
    return [array for value in found for array in arrays_of(value)] if isinstance(found, list) else [found]


# Laws of the tables.


@pytest.mark.parametrize("known", LAYOUTS, ids=lambda known: f"{known.module}-{known.cell}")
def test_layout_holds_every_parameter_of_its_cell(known: layout.Layout) -> None:
    held = {name for slot in known.slots for name in slot.params}
    assert held.isdisjoint(known.lacks)
    assert held | set(known.lacks) == {a.name for a in CELLS[known.cell].arguments if a.role == "param"}
    assert all(slot.optional == slot.params[0].startswith(("b", "c", "p")) for slot in known.slots)


@pytest.mark.parametrize("known", LAYOUTS, ids=lambda known: f"{known.module}-{known.cell}")
def test_reading_undoes_writing(known: layout.Layout) -> None:
    params = params_of(CELLS[known.cell], dtype=np.float32)
    params |= {name: np.zeros_like(params[name]) for name in known.lacks}
    assert_same(layout.read(known, layout.write(known, params)), params)


# Round trips through each framework's functions.


@COMMON
def test_torch_round_trip_of_layers(cell: sb.Cell) -> None:
    layers = [params_of(cell, seed=1), params_of(cell, 4, seed=2), params_of(cell, 4, seed=3)]
    state = interop.to_torch(layers)
    assert all(array.flags.c_contiguous for array in state.values())
    for got, expected in zip(interop.from_torch(state, cell.name), layers, strict=True):
        assert_same(got, expected)
    assert_same(interop.from_torch(interop.to_torch(layers[0]), cell)[0], layers[0])


@COMMON
def test_keras_round_trip(cell: sb.Cell) -> None:
    params = params_of(cell)
    weights = interop.to_keras(params)
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[cell.name]
    assert [w.shape for w in weights] == [(3, 4 * gates), (4, 4 * gates), (2, 12) if cell is gru else (4 * gates,)]
    assert_same(interop.from_keras(weights, cell), params)


@COMMON
def test_flax_round_trip(cell: sb.Cell) -> None:
    params = params_of(cell)
    for module in (None, *FLAX_OF[cell.name]):
        tree = interop.to_flax(params, module)
        assert_same(interop.from_flax(tree, cell), params)
        assert_same(interop.from_flax({"params": tree}, cell), params)


@pytest.mark.parametrize("cell", [rnn, lstm, gru, lstm_peephole], ids=lambda cell: cell.name)
def test_onnx_round_trip_of_directions(cell: sb.Cell) -> None:
    both = [params_of(cell, seed=1), params_of(cell, seed=2)]
    arrays = interop.to_onnx(both)
    assert {array.shape[0] for array in arrays.values()} == {2}
    for got, expected in zip(interop.from_onnx(**arrays, cell=cell, linear_before_reset=1), both, strict=True):
        assert_same(got, expected)
    assert_same(interop.from_onnx(**interop.to_onnx(both[0]), cell=cell, linear_before_reset=1)[0], both[0])


def test_weights_pass_from_torch_to_keras_to_flax_to_onnx_and_back() -> None:
    params = params_of(gru)
    state = interop.to_torch(params)
    there = interop.from_keras(interop.to_keras(interop.from_torch(state, "gru")[0]), "gru")
    back = interop.from_onnx(**interop.to_onnx(interop.from_flax(interop.to_flax(there), "gru")), cell="gru",
                             linear_before_reset=1)  # fmt: skip
    assert_same(interop.to_torch(back), state)


# Biases.


def test_two_biases_are_added_where_the_equations_add_them() -> None:
    state = interop.to_torch(params_of(gru))
    state["bias_hh_l0"] = np.arange(12.0)
    (got,) = interop.from_torch(state, "gru")
    np.testing.assert_array_equal(got["br"], state["bias_ih_l0"][:4] + np.arange(4.0))
    np.testing.assert_array_equal(got["bn"], state["bias_ih_l0"][8:])
    np.testing.assert_array_equal(got["cn"], np.arange(8.0, 12.0))
    bias = interop.to_torch(got)["bias_hh_l0"]
    np.testing.assert_array_equal(bias, [0] * 8 + [8, 9, 10, 11])


@COMMON
def test_absent_biases_are_zeros(cell: sb.Cell) -> None:
    params = {
        name: value if value.ndim == 2 else 0 * value for name, value in params_of(cell, dtype=np.float32).items()
    }
    state = {name: array for name, array in interop.to_torch(params).items() if "bias" not in name}
    assert_same(interop.from_torch(state, cell)[0], params)
    assert_same(interop.from_keras(interop.to_keras(params)[:2], cell), params)
    arrays = interop.to_onnx(params)
    assert_same(interop.from_onnx(arrays["W"], arrays["R"], cell=cell, linear_before_reset=1)[0], params)


def test_nothing_shares_memory_with_what_was_given() -> None:
    params = params_of(lstm)
    for found in (interop.to_torch(params), interop.to_keras(params), interop.to_flax(params), interop.to_onnx(params)):
        assert not any(np.shares_memory(a, b) for a in arrays_of(found) for b in params.values())
    state = interop.to_torch(params)
    got = interop.from_torch(state)[0]
    assert not any(np.shares_memory(a, b) for a in got.values() for b in state.values())
    assert not any(np.shares_memory(got[a], got[b]) for a in got for b in got if a != b)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in got.values())


# Refusals.


def big_endian(state: dict[str, Any]) -> dict[str, Any]:
    return {name: array.astype(">f8") for name, array in state.items()}


def test_other_byte_orders_are_read() -> None:
    params = params_of(lstm)
    assert_same(interop.from_torch(big_endian(interop.to_torch(params)))[0], params)


def torch_state(cell: sb.Cell = lstm, **more: Any) -> dict[str, Any]:
    return interop.to_torch(params_of(cell)) | more


def peephole_onnx() -> dict[str, Any]:
    return interop.to_onnx(params_of(lstm_peephole))


REFUSED = {
    "projection": (lambda: interop.from_torch(torch_state(weight_hr_l0=np.ones((2, 4)))), "proj_size"),
    "bidirectional torch": (lambda: interop.from_torch(torch_state(weight_ih_l0_reverse=np.ones((16, 3)))), "_reverse"),
    "a whole model": (lambda: interop.from_torch({"fc.weight": np.ones((2, 4))}), "state_dict"),
    "a layer that lacks": (lambda: interop.from_torch({"weight_ih_l1": np.ones((16, 3))}), "layers 0, 1"),
    "an array that lacks": (lambda: interop.from_torch({"weight_ih_l0": np.ones((16, 3))}), "array 'weight_hh'"),
    "no array": (lambda: interop.from_torch({}), "layers 0"),
    "another module": (lambda: interop.from_torch(torch_state(gru)), "weights of torch.nn.LSTM"),
    "blocks that do not divide": (lambda: interop.from_torch(torch_state(rnn), "gru"), "equal blocks"),
    "a cell torch lacks": (lambda: interop.from_torch(torch_state(), "mgu"), "does not compute 'mgu'"),
    "peepholes": (lambda: interop.to_torch(params_of(lstm_peephole)), "no peepholes"),
    "coupled gates": (lambda: interop.to_torch(params_of(cifg)), "does not compute 'cifg'"),
    "unknown parameters": (lambda: interop.to_torch({"A": np.ones(3)}), "no cell has just"),
    "no layer": (lambda: interop.to_torch([]), "at least one"),
    "layers that do not chain": (lambda: interop.to_torch([params_of(lstm), params_of(lstm)]), "layer 1"),
    "layers of two kinds": (lambda: interop.to_torch([params_of(lstm), params_of(gru, 4)]), "layer 1 is of gru"),
    "a misshapen parameter": (lambda: interop.to_torch(params_of(lstm) | {"Uf": np.ones((4, 5))}), "'Uf' of lstm"),
    "mixed types": (lambda: interop.to_torch(params_of(rnn) | {"b": np.ones(4, np.float32)}), "several types"),
    "integers": (lambda: interop.from_torch(torch_state(bias_ih_l0=np.ones(16, int))), "floats"),
    "a ragged array": (lambda: interop.from_torch(torch_state(bias_ih_l0=[[1.0], [1.0, 2.0]])), "cannot be read"),
    "reset before, said": (
        lambda: interop.from_keras(interop.to_keras(params_of(gru)), "gru", reset_after=False), "reset_after=False"),
    "reset before, seen": (
        lambda: interop.from_keras([*interop.to_keras(params_of(gru))[:2], np.ones(12)], "gru"), "reset_after=False"),
    "Bidirectional of Keras": (lambda: interop.from_keras(interop.to_keras(params_of(lstm)) * 2), "Bidirectional"),
    "rows of a bias": (
        lambda: interop.from_keras([*interop.to_keras(params_of(gru))[:2], np.ones((3, 12))], "gru"), "of 2 rows"),
    "peepholes into Keras": (lambda: interop.to_keras(params_of(lstm_peephole)), "no peepholes"),
    "nnx without cn": (lambda: interop.to_flax(params_of(gru), "nnx.GRUCell"), "cannot hold 'cn'"),
    "another class of Flax": (lambda: interop.to_flax(params_of(gru), "nnx.LSTMCell"), "does not compute 'gru'"),
    "no class of Flax": (lambda: interop.to_flax(params_of(gru), "linen.GRU"), "known: linen.SimpleCell"),
    "another tree": (lambda: interop.from_flax(interop.to_flax(params_of(gru)), "lstm"), "no tree of flax.linen.LSTM"),
    "linear_before_reset": (lambda: interop.from_onnx(**interop.to_onnx(params_of(gru)), cell="gru"), "linear_before"),
    "peepholes of an lstm": (lambda: interop.from_onnx(**peephole_onnx()), "cell='lstm_peephole'"),
    "no axis of directions": (lambda: interop.from_onnx(np.ones((16, 3)), np.ones((1, 16, 4))), "directions"),
    "two cells": (lambda: interop.to_onnx([params_of(lstm), params_of(rnn)]), "of one cell"),
    "two sizes": (lambda: interop.to_onnx([params_of(rnn), params_of(rnn, 5)]), "the same sizes"),
    "no direction": (lambda: interop.to_onnx([]), "got none"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(case: str) -> None:
    call, reason = REFUSED[case]
    with pytest.raises(ArgumentError) as caught:
        call()
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 5


def test_nnx_holds_a_gru_without_the_bias_that_it_lacks() -> None:
    params = params_of(gru)
    params["cn"] = np.zeros(4)
    assert_same(interop.from_flax(interop.to_flax(params, "nnx.GRUCell"), "gru"), params)


def test_peepholes_of_zero_are_none() -> None:
    arrays = peephole_onnx()
    (got,) = interop.from_onnx(**arrays | {"P": np.zeros((1, 12))})
    assert list(got) == list(params_of(lstm))


# The frameworks themselves.


def inputs_of(dtype: Any, T: int = 15, m: int = 3) -> Any:
    return np.random.default_rng(9).standard_normal((T, m)).astype(dtype)


def run(cell: sb.Cell, params: dict[str, Any], inputs: Any) -> Any:
    """h after every step, from zero states."""
    states = {a.name: np.zeros(4, inputs.dtype) for a in cell.arguments if a.role == "state"}
    outputs = []
    for x in inputs:
        result = cell(x=x, **states, **params)
        states = dict(zip(states, result if len(states) > 1 else [result], strict=True))
        outputs.append(states["h"])
    return np.array(outputs)


def assert_close(got: Any, expected: Any) -> None:
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 if got.dtype == np.float64 else 5e-7)


@pytest.mark.peers
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layers", [1, 3])
@COMMON
def test_torch_modules_compute_what_the_cells_do(cell: sb.Cell, layers: int, dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, cell.name.upper())(3, 4, num_layers=layers, dtype=getattr(torch, np.dtype(dtype).name))
    x = inputs_of(dtype)
    expected = module(torch.from_numpy(x))[0].detach().numpy()
    params = interop.from_torch(dict(module.named_parameters()), cell)
    h = x
    for layer in params:
        h = run(cell, layer, h)
    assert_close(h, expected)
    state = {name: torch.from_numpy(array) for name, array in interop.to_torch(params).items()}
    module.load_state_dict(state)
    assert_close(module(torch.from_numpy(x))[0].detach().numpy(), expected)


@pytest.mark.peers
@COMMON
def test_torch_cells_are_read_too(cell: sb.Cell) -> None:
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, cell.name.upper() + "Cell")(3, 4)
    x = inputs_of(np.float32, T=1)
    expected = module(torch.from_numpy(x))
    (params,) = interop.from_torch(module.state_dict(), cell)
    assert_close(run(cell, params, x), (expected[0] if cell is lstm else expected).detach().numpy())


@pytest.mark.peers
def test_a_projection_of_torch_is_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ArgumentError, match="proj_size"):
        interop.from_torch(torch.nn.LSTM(3, 4, proj_size=2).state_dict())
    with pytest.raises(ArgumentError, match="float32"):
        interop.from_torch(torch.nn.LSTM(3, 4, dtype=torch.bfloat16).state_dict())


@pytest.mark.peers
@pytest.mark.parametrize("use_bias", [False, True])
@COMMON
def test_keras_layers_compute_what_the_cells_do(cell: sb.Cell, use_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    layers = pytest.importorskip("keras").layers
    name = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}[cell.name]
    layer = getattr(layers, name)(4, return_sequences=True, use_bias=use_bias)
    x = inputs_of(np.float32)
    layer(x[None])
    if use_bias:
        layer.set_weights(interop.to_keras(params_of(cell, dtype=np.float32)))
    expected = np.asarray(layer(x[None]).detach())[0]
    assert_close(run(cell, interop.from_keras(layer.get_weights(), cell), x), expected)


@pytest.mark.peers
@COMMON
def test_flax_cells_compute_what_the_cells_do(cell: sb.Cell) -> None:
    jax, flax_ = pytest.importorskip("jax"), pytest.importorskip("flax")
    pytest.importorskip("flax.nnx")
    x, params = inputs_of(np.float32), params_of(cell, dtype=np.float32)
    for module in FLAX_OF[cell.name] + (("nnx.GRUCell",) if cell is gru else ()):
        given = params | ({"cn": np.zeros(4, np.float32)} if module == "nnx.GRUCell" else {})
        api, name = module.split(".")
        carry = tuple(np.zeros(4, np.float32) for _ in range(2)) if cell is lstm else np.zeros(4, np.float32)
        if api == "linen":
            linen = getattr(flax_.linen, name)(features=4)
            tree: Any = linen.init(jax.random.PRNGKey(0), carry, x[0])
            tree = jax.tree.map(lambda _, new: new, tree, {"params": interop.to_flax(given, module)})
            apply = linen.bind(tree)
        else:
            apply = getattr(flax_.nnx, name)(3, 4, rngs=flax_.nnx.Rngs(0))
            tree = flax_.nnx.state(apply, flax_.nnx.Param)
            flax_.nnx.replace_by_pure_dict(tree, interop.to_flax(given, module))
            flax_.nnx.update(apply, tree)
            tree = tree.to_pure_dict()
        outputs = []
        for step in x:
            carry, h = apply(carry, step)
            outputs.append(np.asarray(h))
        got = interop.from_flax(tree, cell)
        assert_same(got, given)
        assert_close(run(cell, got, x), np.array(outputs))


@pytest.mark.peers
@pytest.mark.parametrize("cell", [rnn, lstm, gru, lstm_peephole], ids=lambda cell: cell.name)
def test_onnx_operators_compute_what_the_cells_do(cell: sb.Cell) -> None:
    onnx_ = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    x, params = inputs_of(np.float32), params_of(cell, dtype=np.float32)
    arrays = interop.to_onnx(params)
    operator, options = cell.name.split("_")[0].upper(), {"linear_before_reset": 1} if cell is gru else {}
    names = ["X", "W", "R", "B", *(["", "", "", "P"] if "P" in arrays else [])]
    node = onnx_.helper.make_node(operator, names, ["Y"], hidden_size=4, **options)
    of = {name: onnx_.helper.make_tensor_value_info(name, 1, None) for name in ("X", "Y", *arrays)}
    graph = onnx_.helper.make_graph([node], "g", [of[name] for name in ("X", *arrays)], [of["Y"]])
    model = onnx_.helper.make_model(graph, opset_imports=[onnx_.helper.make_opsetid("", 14)])
    (y,) = reference.ReferenceEvaluator(model).run(None, {"X": x[:, None], **arrays})
    assert_close(run(cell, params, x), y[:, 0, 0])
