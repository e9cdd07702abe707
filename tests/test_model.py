"""Losses and models: the value and every gradient against the plain functions, for each way in which a loss is counted."""

import re
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Output, Param, State, Target
from symbptt.verification import checks as verification
from symbptt.zoo import gru, lstm, rnn
from tests import brute, oracle
from tests.kernels import kernel_of

SIZES = {"m": 2, "n": 3, "k": 2, "v": 4}


@sb.cell
def writer(x: Input["m"], h: State["n"], M: State["n n"], W: Param["n m"], U: Param["n n"], g: Param["n"]):
    """A matrix state, and outputs of rank 0 and 1."""
    M = 0.7 * M + np.outer(np.tanh(h), np.tanh(g * h))
    h = np.tanh(W @ x + U @ h + 0.3 * M @ h)
    return {"h": h, "M": M, "y": g * h + M[0], "energy": h @ h}


@sb.loss
def squared_error(h: State["n"], y: Target["k"], V: Param["k n"], d: Param["k"]):
    e = V @ h + d - y
    return sb.sum(e * e) / 2


@sb.loss
def cross_entropy(h: State["n"], label: Index["k"], V: Param["k n"], d: Param["k"]):
    return -sb.log_softmax(V @ h + d)[label]


@sb.loss
def textbook_cross_entropy(h: State["n"], y: Target["k"], V: Param["k n"]):
    p = np.exp(V @ h) / np.sum(np.exp(V @ h))
    return -np.sum(y * np.log(p))


@sb.loss
def reads_outputs(y: Output["n"], energy: Output, goal: Target["n"]):
    return sb.sum((y - goal) ** 2) + 0.1 * energy**2


@sb.loss
def reads_everything(
    h: State["n"], M: State["n n"], y: Output["n"], energy: Output, t: Target, V: Param["n n"], a: Param
):
    return a * np.tanh(V @ h - y).sum() + t * energy + np.sum(V * M) / 3


@sb.loss
def shares_parameters(h: State["n"], y: Target["m"], W: Param["n m"]):
    """A tied readout: the cell's own W."""
    e = W.T @ h - y
    return e @ e


@sb.loss
def decays(W: Param["n m"], V: Param["n n"]):
    """Of parameters alone."""
    return 0.5 * sb.sum(W * W) + sb.sum(np.cos(V))


@sb.loss
def targets_alone(y: Target["n"], w: Param["n"]):
    """Reads no state."""
    return sb.sum((w - y) ** 2)


@sb.loss
def with_constants(h: State["n"], y: Target["n"], scale: Const = 2.0, mask: Const["n"] = 0.5):
    return scale * sb.sum(mask * (h - y) ** 2)


@sb.loss
def embeds(h: State["n"], label: Index["v"], E: Param["v n"]):
    """A dot product with the label's row, against all."""
    scores = E @ h
    return sb.logsumexp(scores) - scores[label] + 0.1 * sb.norm(E[label])


PAIRS: list[tuple[sb.Cell, sb.Loss]] = [
    (rnn, squared_error), (gru, cross_entropy), (lstm, squared_error), (rnn, textbook_cross_entropy),
    (writer, reads_outputs), (writer, reads_everything), (rnn, shares_parameters), (rnn, decays), (rnn, targets_alone),
    (writer, with_constants), (gru, embeds),
]  # fmt: skip
EVERY_PAIR = pytest.mark.parametrize(("cell", "loss"), PAIRS, ids=[f"{c.name}-{l.name}" for c, l in PAIRS])


model_of = cache(lambda cell, loss, at, reduction: sb.model(cell, loss, at=at, reduction=reduction))


def assert_value_and_gradients(model: sb.Model, data: brute.Data, tolerance: float = 1e-9) -> None:
    loss, grads = brute.value_and_grad(kernel_of(model), data)
    np.testing.assert_allclose(loss, brute.value(model, data), rtol=1e-12, atol=1e-14)
    brute.assert_same(brute.by_group(grads), brute.model_gradients(model, data), tolerance)


@EVERY_PAIR
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.thinned(13, 3)
def test_value_and_gradients_are_those_of_the_plain_functions(
    cell: sb.Cell, loss: sb.Loss, at: str, reduction: str
) -> None:
    model = model_of(cell, loss, at, reduction)
    assert_value_and_gradients(model, brute.data_of(model, 3, 2, SIZES))


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("pair", [(writer, reads_everything), (lstm, squared_error)], ids=lambda pair: pair[0].name)
@pytest.mark.thinned(7)
def test_short_sequences_are_no_exception(pair: Any, steps: int, at: str) -> None:
    model = sb.model(*pair, at=at)
    assert_value_and_gradients(model, brute.data_of(model, steps, 3, SIZES))


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@EVERY_PAIR
@pytest.mark.thinned(7, 2)
def test_no_steps_give_no_loss_and_zero_gradients(cell: sb.Cell, loss: sb.Loss, reduction: str, at: str) -> None:
    model = model_of(cell, loss, at, reduction)
    data = brute.data_of(model, 0, 2, SIZES)
    value, grads = brute.value_and_grad(kernel_of(model), data)
    assert value == 0 and all(not v.any() for v in oracle.flat(grads).values())
    assert {k: v.shape for k, v in grads.params.items()} == {k: np.shape(v) for k, v in data.params.items()}
    assert {k: v.shape for k, v in grads.state.items()} == {k: v.shape for k, v in data.state.items()}


LENGTHS = {"every": [3, 1, 2], "some zero": [0, 3, 1], "all zero": [0, 0, 0]}


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.thinned(7, 2)
def test_steps_after_the_end_do_not_count(reduction: str, at: str, lengths: str) -> None:
    for cell, loss in [(writer, reads_everything), (rnn, cross_entropy)]:
        model = model_of(cell, loss, at, reduction)
        data = brute.data_of(model, 3, 3, SIZES, lengths=np.array(LENGTHS[lengths]))
        assert_value_and_gradients(model, data)


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("position", range(6))
@pytest.mark.thinned(5)
def test_reset_at_every_position(position: int, at: str) -> None:
    reset = np.zeros((3, 2), bool)
    reset.flat[position] = True
    model = model_of(writer, reads_everything, at, "sum")
    assert_value_and_gradients(model, brute.data_of(model, 3, 2, SIZES, reset=reset))


@pytest.mark.parametrize("at", ["every", "last"])
def test_lengths_and_resets_go_together(at: str) -> None:
    model = sb.model(writer, reads_everything, at=at, reduction="mean")
    reset = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1]], bool)
    assert_value_and_gradients(model, brute.data_of(model, 4, 3, SIZES, reset=reset, lengths=np.array([4, 2, 3])))


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_padding_does_not_leak_whatever_it_holds(bad: float, at: str) -> None:
    for loss in (squared_error, textbook_cross_entropy):
        model = sb.model(lstm, loss, at=at)
        data = brute.data_of(model, 4, 2, SIZES, lengths=np.array([4, 2]))
        dirty = replace(
            data, inputs={"x": data.inputs["x"].copy()}, targets={k: v.copy() for k, v in data.targets.items()}
        )
        dirty.inputs["x"][2:, 1] = bad
        if at == "every":
            dirty.targets["y"][2:, 1] = bad
        kernel = kernel_of(model)
        (clean_loss, clean), (loss_value, grads) = (brute.value_and_grad(kernel, d) for d in (data, dirty))
        assert loss_value == clean_loss
        oracle.assert_blocks_close(oracle.flat(grads), oracle.flat(clean), 0)


# Without a batch axis, in float32, with monitor.


@pytest.mark.parametrize("at", ["every", "last"])
@EVERY_PAIR
@pytest.mark.thinned(5)
def test_one_sample_without_a_batch_axis_gives_the_same(cell: sb.Cell, loss: sb.Loss, at: str) -> None:
    model = model_of(cell, loss, at, "sum")
    kernel, data = kernel_of(model), brute.data_of(model, 3, 1, SIZES)
    wanted_loss, wanted = brute.value_and_grad(kernel, data)
    targets = {k: v[:, 0] if at == "every" else v[0] for k, v in data.targets.items()}
    inputs, state = {k: v[:, 0] for k, v in data.inputs.items()}, {k: v[0] for k, v in data.state.items()}
    got_loss, got = kernel.value_and_grad(data.params, inputs, targets, state)
    np.testing.assert_allclose(got_loss, wanted_loss, rtol=1e-14)
    oracle.assert_blocks_close(got.params, wanted.params, 1e-13)
    oracle.assert_blocks_close(got.inputs, {k: v[:, 0] for k, v in wanted.inputs.items()}, 1e-13)
    oracle.assert_blocks_close(got.state, {k: v[0] for k, v in wanted.state.items()}, 1e-13)


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@EVERY_PAIR
@pytest.mark.thinned(11, 2)
def test_float32_is_float32_everywhere(cell: sb.Cell, loss: sb.Loss, reduction: str, at: str) -> None:
    model = model_of(cell, loss, at, reduction)
    data = brute.data_of(model, 3, 2, SIZES, lengths=np.array([3, 2]))
    narrow = {g: {k: np.float32(v) if v.dtype.kind == "f" else v for k, v in _arrays(getattr(data, g)).items()}
              for g in ("params", "inputs", "state", "targets")}  # fmt: skip
    kernel = kernel_of(model)
    wide_loss, wide = brute.value_and_grad(kernel, data)
    value, grads = brute.value_and_grad(kernel, replace(data, **narrow), monitor=True)
    found = {**oracle.flat(grads), "loss": value, **{f"flow of {k}": v for k, v in grads.flow.items()}}
    assert {k: v.dtype for k, v in found.items()} == dict.fromkeys(found, np.dtype(np.float32))
    np.testing.assert_allclose(value, wide_loss, rtol=1e-4)
    oracle.assert_blocks_close(oracle.flat(grads), oracle.flat(wide), 1e-3)


def _arrays(group: dict[str, Any]) -> dict[str, Any]:
    return {k: np.asarray(v) for k, v in group.items()}


@pytest.mark.parametrize("at", ["every", "last"])
def test_flow_is_that_of_the_same_cotangents(at: str) -> None:
    model = sb.model(gru, squared_error, at=at)
    data = brute.data_of(model, 4, 2, SIZES)
    _, grads = brute.value_and_grad(kernel_of(model), data, monitor=True)
    cell = sb.compile(gru)
    own = {k: v for k, v in data.params.items() if k not in "Vd"}
    run = cell.forward(own, data.inputs, data.state)
    e = run.states["h"] @ data.params["V"].T + data.params["d"] - data.targets["y"]
    dh = e @ data.params["V"]
    wanted = cell.backward(run, {"h": dh if at == "every" else dh[-1]}, monitor=True)
    np.testing.assert_allclose(grads.flow["h"], wanted.flow["h"], rtol=1e-12)
    oracle.assert_blocks_close({k: grads.params[k] for k in own}, wanted.params, 1e-12)


# What a last-step loss costs.


def test_last_step_loss_is_computed_for_the_last_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cotangent that goes in is (B, n); no step multiplies or adds zeros of a loss it does not have."""
    model = sb.model(lstm, squared_error, at="last")
    kernel, data = sb.compile(model), brute.data_of(model, 5, 2, SIZES)
    seen: list[Any] = []
    module = kernel.module
    loss, backward = module._loss, module._backward

    def watched_loss(a: Any, read: Any, dloss: Any, *rest: Any) -> Any:
        seen.append(("loss", {k: v.shape for k, v in read.items()}, dloss.shape))
        return loss(a, read, dloss, *rest)

    def watched_backward(tape: Any, full: Any, last: Any, *rest: Any) -> Any:
        seen.append(("backward", {k: v is None for k, v in full.items()}, {k: np.shape(v) for k, v in last.items()}))
        return backward(tape, full, last, *rest)

    monkeypatch.setattr(module, "_loss", watched_loss)
    monkeypatch.setattr(module, "_backward", watched_backward)
    brute.value_and_grad(kernel, data)
    assert seen[0] == ("loss", {"h": (2, 3), "c": (2, 3)}, (2,))
    assert seen[1] == ("backward", {"h": True, "c": True}, {"h": (2, 3), "c": ()})


def test_source_of_a_last_step_loss_has_no_axis_of_steps() -> None:
    source = sb.compile(sb.model(lstm, squared_error, at="last")).source
    body = source.partition("\ndef _loss(")[2].partition("\ndef ")[0]
    assert "T * B" not in body and "(T," not in body and not re.search(r"\[t\]|range\(T\)", body)


@pytest.mark.parametrize("cotangent", ["every", "last"])
def test_backward_of_the_cell_stays_what_it_is(cotangent: str) -> None:
    """The kernel of a model is a kernel of its cell too."""
    model = sb.model(writer, reads_everything)
    data = brute.data_of(writer, 3, 2, SIZES)
    found = []
    for kernel in (sb.compile(writer), sb.compile(model)):
        extra = {} if kernel.target is writer else {"V": np.ones((3, 3)), "a": np.ones(())}
        run = kernel.forward(data.params | extra, data.inputs, data.state)
        d = np.linspace(-1, 1, run.states["M"].size).reshape(run.states["M"].shape)
        found.append(oracle.flat(kernel.backward(run, {"M": d if cotangent == "every" else d[-1]})))
    for name in found[0]:
        np.testing.assert_array_equal(found[1][name], found[0][name])


# What a model is made of.


def test_init_gives_the_parameters_of_cell_and_loss() -> None:
    model = sb.model(gru, squared_error)
    params = model.init({"m": 2, "n": 3, "k": 4}, seed=1, V=0.5)
    assert set(params) == {*gru.init({"m": 2, "n": 3}), "V", "d"}
    assert params["V"].shape == (4, 3) and (params["V"] == 0.5).all() and params["d"].shape == (4,)
    shared = sb.model(rnn, shares_parameters).init({"m": 2, "n": 3})
    assert set(shared) == set(rnn.init({"m": 2, "n": 3}))


def test_constants_of_cell_and_loss_may_be_replaced() -> None:
    @sb.cell
    def leaky(x: Input["n"], h: State["n"], rate: Const = 0.1):
        return h + rate * (x - h)

    model = sb.model(leaky, with_constants)
    kernel = sb.compile(model, consts={"rate": 0.5, "scale": 3.0})
    changed = model.with_consts({"rate": 0.5, "scale": 3.0, "mask": np.ones(2)})
    x, y = np.ones((1, 1, 2)), np.zeros((1, 1, 2))
    assert kernel.value_and_grad({}, {"x": x}, {"y": y})[0] == pytest.approx(3 * 0.5 * 2 * 0.25)
    assert sb.compile(changed).value_and_grad({}, {"x": x}, {"y": y})[0] == pytest.approx(3 * 2 * 0.25)
    with pytest.raises(sb.ArgumentError, match="'scal' is no constant(.|\n)*did you mean 'scale'"):
        sb.compile(model, consts={"scal": 1.0})


def test_loss_stays_an_ordinary_function() -> None:
    value = squared_error(np.ones(3), np.zeros(2), V=np.ones((2, 3)), d=np.ones(2))
    assert value == 16 and squared_error.__name__ == "squared_error"


def test_model_says_what_it_is() -> None:
    assert repr(sb.model(gru, squared_error, at="last")) == "<model gru_squared_error, loss at the last step>"
    text = sb.derive(sb.model(gru, squared_error, at="last")).text(style="loop")
    assert "Loss, t = T\n" in text and "L      = loss_T" in text and "Σ_t" not in text.split("Backward, t")[0]


def test_saved_module_of_a_model_stands_alone(tmp_path: Any) -> None:
    model = sb.model(lstm, squared_error, reduction="mean")
    kernel, data = kernel_of(model), brute.data_of(model, 3, 2, SIZES)
    kernel.save(tmp_path / "trained.py")
    scope: dict[str, Any] = {"__name__": "trained"}
    exec(compile((tmp_path / "trained.py").read_text("utf-8"), "trained.py", "exec"), scope)
    value, grads = scope["value_and_grad"](data.params, data.inputs, data.targets, data.state)
    wanted, other = brute.value_and_grad(kernel, data)
    assert value == wanted
    for name, array in other.params.items():
        np.testing.assert_array_equal(grads.params[name], array)


# Verified, and a mistake that is caught.


@pytest.fixture
def one_regime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "REGIMES", verification.REGIMES[:1])


@pytest.mark.parametrize("at", ["every", "last"])
@EVERY_PAIR
@pytest.mark.usefixtures("one_regime")
@pytest.mark.thinned(29, 7)
def test_model_is_verified(cell: sb.Cell, loss: sb.Loss, at: str) -> None:
    report = sb.verify(kernel_of(model_of(cell, loss, at, "mean")))
    assert report.passed, str(report)
    assert {"loss", *(f"d{a.name}" for a in loss.arguments if a.role == "param")} <= {row.block for row in report.rows}


@pytest.mark.long
@pytest.mark.parametrize("at", ["every", "last"])
@EVERY_PAIR
@pytest.mark.thinned(1, 7)
def test_model_is_verified_in_every_regime(cell: sb.Cell, loss: sb.Loss, at: str) -> None:
    report = sb.verify(sb.model(cell, loss, at=at))
    assert report.passed, str(report)


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(2)
def test_model_whose_loss_has_no_parameters_is_verified_where_all_is_saturated(at: str) -> None:
    @sb.loss
    def distance(h: State["n"], y: Target["n"]):
        return sb.sum((h - y) ** 2)

    report = sb.verify(sb.model(rnn, distance, at=at))
    assert report.passed, str(report)


PLANTED = {
    "a gradient of the readout that is halved": (r"(?m)^    dV = ([^#\n]+)", r"    dV = 0.5 * \1", "dV"),
    "a bias that misses samples": (r"(?m)^    dd = ([^#\n]+)", "    dd = de[:1].sum(0)  ", "dd"),
    "a cotangent that is doubled": (r"return loss, \{\"h\": (\w+)\}", r'return loss, {"h": 2 * \1}', "dW"),
    "a loss that is doubled": (r"return loss\.total, ", "return 2 * loss.total, ", "loss"),
    "a step that is skipped": (r"max\(hi - K, 0\)", "max(hi - K, 1)", "dU"),
}


@pytest.mark.parametrize("mistake", PLANTED)
@pytest.mark.usefixtures("one_regime")
@pytest.mark.thinned(11)
def test_planted_mistake_is_caught(mistake: str) -> None:
    old, new, block = PLANTED[mistake]
    kernel = sb.compile(sb.model(rnn, squared_error, at="last"))
    source, count = re.subn(old, new, kernel.source)
    assert count == 1 and sb.verify(kernel).passed
    wrong = sb.verify(sb.Kernel(kernel.target, kernel.program, source))
    assert not wrong.passed and block in wrong.wrong


# What is refused: what, where and a cure.


def loss_of(function: Any) -> Any:
    return lambda: sb.model(rnn, sb.loss(function))


def no_return(h: State["n"]):
    sb.sum(h)


def returns_a_vector(h: State["n"]):
    return h * h


def returns_a_tuple(h: State["n"]):
    return sb.sum(h), sb.sum(h)


def unknown_state(hh: State["n"]):
    return sb.sum(hh)


def unknown_output(y: Output["n"]):
    return sb.sum(y)


def other_shape(h: State["k"]):
    return sb.sum(h)


def other_rank(h: State["n n"]):
    return sb.sum(h)


def clash_of_roles(h: State["n"], x: Target["m"]):
    return sb.sum(h) + sb.sum(x)


def clash_of_shapes(h: State["n"], W: Param["n n"]):
    return sb.sum(h) + sb.sum(W)


def has_an_input(h: State["n"], u: Input["m"]):
    return sb.sum(h) + sb.sum(u)


def has_no_role(h: State["n"], y):
    return sb.sum(h) + y


def branches(h: State["n"], y: Target):
    if y > 0:
        return sb.sum(h)
    return -sb.sum(h)


def raises(h: State["n"]):
    raise KeyError("lost")


def does_not_conform(h: State["n"], V: Param["n k"]):
    return sb.sum(V @ h)


REFUSED: dict[str, tuple[Any, str]] = {
    "an unknown state": (unknown_state, r"rnn has no state 'hh'(.|\n)*in the loss unknown_state(.|\n)*did you mean 'h'"),
    "an unknown output": (unknown_output, r"rnn has no output 'y'(.|\n)*known: none"),
    "a state of another shape": (other_shape, r"'h' of rnn has shape \(n,\), the loss says \(k,\)"),
    "a state of another rank": (other_rank, r"'h' of rnn has shape \(n,\), the loss says \(n, n\)"),
    "a target called like an input": (clash_of_roles, r"'x' is input \(m,\) of rnn and target \(m,\) of its loss(.|\n)*another name"),
    "a parameter of another shape": (clash_of_shapes, r"'W' is param \(n, m\) of rnn and param \(n, n\) of its loss"),
    "an input": (has_an_input, "rnn has no input 'u'"),
    "an argument without a role": (has_no_role, "argument 'y' of has_no_role has no role"),
}  # fmt: skip
REFUSED_ON_TRACE: dict[str, tuple[Any, str]] = {
    "no return": (no_return, r"the loss no_return returns None(.|\n)*does the body end with return\?"),
    "a vector": (returns_a_vector, r"the loss returns_a_vector returns shape \(n,\)(.|\n)*return a scalar: sb.sum"),
    "a tuple": (returns_a_tuple, r"returns_a_tuple returns (.|\n)*return a scalar"),
    "a branch on a value": (branches, r"branch on a value(.|\n)*sb.where"),
    "an exception": (raises, r"the body of raises raised KeyError: 'lost'"),
    "a product that does not conform": (does_not_conform, r"a product of \(n, k\) and \(n,\) does not conform"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_loss_is_refused_with_what_where_and_a_cure(name: str) -> None:
    function, words = REFUSED[name]
    with pytest.raises(sb.CellError, match=words) as caught:
        loss_of(function)()
    assert re.search(r"test_model\.py:\d+, in ", str(caught.value))
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize("name", REFUSED_ON_TRACE)
@pytest.mark.parametrize("use", [sb.compile, sb.derive, sb.verify])
def test_loss_that_is_no_scalar_is_refused_with_what_where_and_a_cure(use: Any, name: str) -> None:
    function, words = REFUSED_ON_TRACE[name]
    with pytest.raises(sb.CellError, match=words) as caught:
        use(loss_of(function)())
    assert re.search(r"test_model\.py:\d+, in ", str(caught.value))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: sb.model(rnn, squared_error, at="all"), "at is 'every' or 'last', got 'all'"),
    (lambda: sb.model(rnn, squared_error, at=-1), "at is 'every' or 'last', got -1"),
    (lambda: sb.model(rnn, squared_error, reduction="max"), "reduction is 'sum' or 'mean', got 'max'"),
    (lambda: sb.model(squared_error, rnn), "model takes a cell and a loss, got Loss and Cell"),
    (lambda: sb.model(rnn, squared_error.function), "model takes a cell and a loss, got Cell and function(.|\n)*@sb.loss"),
    (lambda: sb.compile(squared_error), "compile takes a cell or a model, got Loss"),
    (lambda: sb.compile(rnn).value_and_grad({}), "rnn has no loss(.|\n)*compile sb.model"),
    (lambda: sb.model(rnn, squared_error).init({"m": 2, "n": 2}), "needs the size 'k'"),
    (lambda: sb.model(rnn, squared_error).init({"m": 2, "n": 2, "k": 2}, Q=1), "'Q' is no parameter of rnn_squared_error"),
])  # fmt: skip
def test_wrong_option_is_refused(call: Any, words: str) -> None:
    with pytest.raises(sb.ArgumentError, match=words):
        call()


MODEL = sb.model(rnn, squared_error)
DATA = brute.data_of(MODEL, 3, 2, SIZES)
Y = DATA.targets["y"]


@pytest.mark.parametrize(("at", "targets", "words"), [
    ("every", {}, "target 'y' is missing"),
    ("every", None, "target 'y' is missing"),
    ("every", {"y": Y, "z": Y}, "target 'z' is not known; expected y"),
    ("every", {"y": Y[:2]}, r"y: .* = \(3, 2, 2\) is expected, got \(2, 2, 2\)"),
    ("every", {"y": Y[0]}, "y: .* a batch axis is on one only"),
    ("every", {"y": Y[0, 0]}, r"y: \(T, B, k\) is expected, got shape \(2,\)"),
    ("every", {"y": Y.astype(np.float32)}, "y: float32 among arrays of float64"),
    ("every", {"y": Y.astype(int)}, "y: .* got int64"),
    ("last", {"y": Y}, r"y: \(B, k\) is expected, got shape \(3, 2, 2\)"),
    ("last", {"y": Y[0, :1]}, r"y: .* = \(2, 2\) is expected, got \(1, 2\)"),
])  # fmt: skip
def test_wrong_target_is_refused_by_name(at: str, targets: Any, words: str) -> None:
    kernel = sb.compile(sb.model(rnn, squared_error, at=at))
    with pytest.raises(sb.ArgumentError, match=words):
        kernel.value_and_grad(DATA.params, DATA.inputs, targets, DATA.state)


@pytest.mark.parametrize(("labels", "words"), [
    (np.zeros((3, 2)), "label: integers are expected, got float64"),
    (np.full((3, 2), 2), "label: integers from 0 to 1 are expected"),
    (np.full((3, 2), -1), "label: integers from 0 to 1 are expected"),
])  # fmt: skip
def test_wrong_label_is_refused_by_name(labels: Any, words: str) -> None:
    model = sb.model(rnn, cross_entropy)
    data = brute.data_of(model, 3, 2, SIZES)
    with pytest.raises(sb.ArgumentError, match=words):
        brute.value_and_grad(kernel_of(model), replace(data, targets={"label": labels}))


def test_label_of_a_padded_step_may_be_anything_that_is_an_integer() -> None:
    model = sb.model(rnn, cross_entropy)
    data = brute.data_of(model, 3, 2, SIZES, lengths=np.array([3, 1]))
    padded = data.targets["label"].copy()
    padded[1:, 1] = -100
    wanted, got = (brute.value_and_grad(kernel_of(model), replace(data, targets={"label": v}))
                   for v in (data.targets["label"], padded))  # fmt: skip
    assert got[0] == wanted[0]


def test_loss_is_given_by_the_model_and_left_alone_by_forward() -> None:
    """forward of a model takes no targets."""
    kernel = sb.compile(MODEL)
    run = kernel.forward(DATA.params, DATA.inputs, DATA.state)
    assert set(run.states) == {"h"}
