"""A loss alone, and what it returns beside its value, against the plain functions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Param, State, Target
from symbptt.verification import checks as verification
from symbptt.zoo import gru, lstm, rnn
from tests import brute
from tests.kernels import own_kernel_of

SIZES = {"m": 2, "n": 3, "k": 5}


@sb.loss
def classifies(h: State["n"], label: Index["k"], V: Param["k n"], d: Param["k"], scale: Const = 0.5):
    z = V @ h + d
    return {"loss": sb.logsumexp(z) - z[label], "logits": z, "energy": h @ h, "bias": scale * d}


@sb.loss
def alone(h: State["n"], y: Target["n"]):
    return sb.sum((h - y) ** 2)


LENGTHS, RESET = np.array([6, 0, 3]), np.arange(18).reshape(6, 3) % 5 == 4
MASKS: list[dict[str, Any]] = [{}, {"lengths": LENGTHS}, {"reset": RESET}, {"lengths": LENGTHS, "reset": RESET}]
OPTIONS: list[dict[str, Any]] = [
    {}, {"memory": "sqrt"}, {"memory": 10**6}, {"truncation": sb.Window(2)}, {"truncation": sb.Chunked(2, 3)},
]  # fmt: skip


def predicted_by_loops(model: sb.Model, params: Any, states: Any, ends: Any) -> dict[str, Any]:
    """What the user's loss returns beside its value, at one step of one sample after the other."""
    T, B, _ = states.shape
    own = {k: params[k] for k in ("V", "d")}
    found = {
        k: np.zeros((T, B, *np.shape(v))) for k, v in classifies(states[0, 0] if T else np.zeros(3), 0, **own).items()
    }
    for b in range(B):
        for t in range(ends[b]):
            for k, v in classifies(states[t, b], 0, **own).items():
                found[k][t, b] = v
    del found["loss"]
    if model.at == "every":
        return found
    return {
        k: np.array([v[end - 1, b] if end else 0 * v[0, b] for b, end in enumerate(ends)]) for k, v in found.items()
    }


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("masks", MASKS, ids=lambda masks: "+".join(masks) or "whole")
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(7, 3)
def test_loss_alone_and_predictions_are_those_of_the_plain_functions(at: str, masks: Any, options: Any) -> None:
    model = sb.model(gru, classifies, at=at, reduction="mean")
    kernel, data = own_kernel_of(model, **options), brute.data_of(model, 6, 3, SIZES)
    groups = (data.params, data.inputs, data.targets, data.state)
    wanted, _ = kernel.value_and_grad(*groups, **masks)
    np.testing.assert_allclose(kernel.value(*groups, **masks), wanted, rtol=1e-12)
    states = (
        own_kernel_of(gru)
        .forward({k: data.params[k] for k in own_kernel_of(gru).module.PARAMS}, data.inputs, data.state, **masks)
        .states["h"]
    )
    found = kernel.predict(data.params, data.inputs, data.state, **masks)
    other = predicted_by_loops(model, data.params, states, masks.get("lengths", [6] * 3))
    assert set(found) == set(other) == {"logits", "energy", "bias"}
    for name, value in other.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("at", ["every", "last"])
def test_few_steps_are_no_exception(at: str, steps: int) -> None:
    model = sb.model(rnn, classifies, at=at)
    kernel, data = own_kernel_of(model), brute.data_of(model, steps, 1, {"m": 1, "n": 1, "k": 2})
    narrow = [
        {k: np.asarray(v, np.float32 if np.asarray(v).dtype.kind == "f" else None) for k, v in group.items()}
        for group in (data.params, data.inputs, data.targets, data.state)
    ]
    for groups in ((data.params, data.inputs, data.targets, data.state), narrow):
        wanted, _ = kernel.value_and_grad(*groups, steps=steps)
        value, told = kernel.value(*groups, steps=steps), kernel.predict(groups[0], groups[1], groups[3], steps=steps)
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
        assert value.dtype == wanted.dtype and told["logits"].dtype == wanted.dtype
        assert told["logits"].shape == ((steps, 1, 2) if at == "every" else (1, 2))


def test_several_pieces_of_steps_give_what_the_whole_gives() -> None:
    model = sb.model(lstm, classifies, reduction="mean")
    kernel, data = own_kernel_of(model), brute.data_of(model, 9000, 1, SIZES)
    wanted, _ = kernel.value_and_grad(data.params, data.inputs, data.targets)
    np.testing.assert_allclose(kernel.value(data.params, data.inputs, data.targets), wanted, rtol=1e-12)


def test_what_is_verified_includes_the_loss_alone_and_its_predictions() -> None:
    report = sb.verify(sb.model(rnn, classifies, at="last"))
    assert report.passed and {"value", "logits", "energy", "bias"} <= {row.name for row in report.rows}


@pytest.mark.parametrize(
    ("right", "wrong", "blocks"),
    [
        (
            "def _loss_value(",
            "def _loss_value(*given):\n    return 2 * _value_of(*given)\n\n\ndef _value_of(",
            {"value"},
        ),
        ('"logits": z', '"logits": z + 1e-6', {"logits"}),
        ("room[lo:hi] = _kept(_cut(call.active, lo, hi), v)", "room[lo:hi] = v", {"logits", "energy", "bias"}),
    ],
)
def test_planted_mistake_is_caught(right: str, wrong: str, blocks: set[str]) -> None:
    kernel = sb.compile(sb.model(rnn, classifies))
    assert kernel.source.count(right) == 1
    broken = type(kernel)(kernel.target, kernel.program, kernel.source.replace(right, wrong))
    with np.errstate(all="ignore"):
        wrong_rows = {row.name for row in verification.rows(broken, 0) if not row.passed}
    assert wrong_rows == blocks


def _loss(body: Any) -> sb.Loss:
    def made(h: State["n"], y: Target["n"]):
        return body(h, y)

    return sb.loss(made)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (lambda h, y: {"value": h @ y}, r'dict of value; "loss" and names of what it predicts are expected'),
        (lambda h, y: {"loss": h @ y, "not a name": h}, "dict of loss, not a name"),
        (lambda h, y: {}, "dict of nothing"),
        (lambda h, y: {"loss": h @ y, "error": h - y}, "error of the loss made reads the target y"),
        (lambda h, y: {"loss": h, "logits": h}, r"returns shape \(n,\)"),
    ],
)
def test_what_a_loss_may_return_is_said(body: Any, said: str) -> None:
    with pytest.raises(sb.CellError, match=said):
        sb.compile(sb.model(rnn, _loss(body)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sb.compile(rnn).value({}), "rnn has no loss\n  compile sb.model"),
        (lambda: sb.compile(rnn).predict({}), "rnn has no loss"),
        (lambda: sb.compile(sb.model(rnn, alone)).predict({}), "the loss alone returns its value alone"),
        (lambda: sb.compile(sb.model(rnn, classifies)).predict({}), "parameter 'W' is missing"),
    ],
)
def test_what_cannot_be_told_is_refused(call: Any, said: str) -> None:
    with pytest.raises(sb.ArgumentError, match=said):
        call()


def test_loss_stays_a_plain_function_that_returns_a_dict() -> None:
    told = classifies(np.ones(2), 1, np.eye(2), np.zeros(2))
    assert set(told) == {"loss", "logits", "energy", "bias"} and np.allclose(told["logits"], 1)
    assert replace(classifies.step, outputs={}) and "loss_t = " in sb.derive(sb.model(rnn, classifies)).text()
