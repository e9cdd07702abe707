"""Losses that count at some steps alone: masks with holes, and labels that are ignored."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Param, State, Target
from symbptt.verification.forms import form_rows
from symbptt.verification.requests import asked_of
from symbptt.zoo import rnn
from tests.by_hand import by_name, data, derivatives, module, states
from tests.kernels import kernel_of


@sb.loss
def labelled(h: State["n"], label: Index["k"], y: Target["n"], V: Param["k n"]):
    z = V @ h
    return sb.logsumexp(z) - z[label] + sb.sum((h - np.log(y)) ** 2)


OPTIONS: list[dict[str, Any]] = [
    {}, {"memory": "sqrt"}, {"memory": 10**6}, {"truncation": sb.Window(9)}, {"truncation": sb.Chunked(2, 9)},
]  # fmt: skip
T, B = 5, 3
LENGTHS, HOLES = np.array([5, 3, 0]), np.arange(15).reshape(T, B) % 4 != 1


def drawn(at: str, dtype: Any = np.float64) -> Any:
    r, lead = np.random.default_rng(0), (T, B) if at == "every" else (B,)
    model = sb.model(rnn, labelled, at=at, reduction="mean")
    params = {k: r.standard_normal(v.shape).astype(dtype) for k, v in model.init({"m": 2, "n": 3, "k": 4}).items()}
    targets = {"label": r.integers(0, 4, lead), "y": r.uniform(0.5, 2, (*lead, 3)).astype(dtype)}
    return model, params, {"x": r.standard_normal((T, B, 2)).astype(dtype)}, targets


def loss_of(groups: Any, at: str, mask: Any) -> Any:
    """The mean loss of what counts, sample by sample and step by step."""
    params, inputs, targets = groups
    total, count = 0.0, 0
    for b in range(B):
        h = np.zeros(3)
        for t in range(LENGTHS[b]):
            h = np.tanh(params["W"] @ inputs["x"][t, b] + params["U"] @ h + params["b"])
            place = (t, b) if at == "every" else (b,)
            if mask[place] and (at == "every" or t == LENGTHS[b] - 1):
                z = params["V"] @ h
                total = (
                    total
                    + np.log(np.exp(z).sum())
                    - z[targets["label"][place]]
                    + ((h - np.log(targets["y"][place])) ** 2).sum()
                )
                count += 1
    return total / count


@pytest.mark.thinned(3)
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_loss_and_gradients_are_those_of_the_steps_that_count(options: Any, at: str) -> None:
    model, params, inputs, targets = drawn(at)
    mask = HOLES if at == "every" else np.array([True, False, True])
    spoilt = {"label": np.where(mask, targets["label"], -7), "y": np.where(mask[..., None], targets["y"], np.nan)}
    kernel = kernel_of(model, **options)
    found, grads = kernel.value_and_grad(params, inputs, spoilt, lengths=LENGTHS, mask=mask)
    wanted = loss_of((params, inputs, targets), at, mask)
    assert found == pytest.approx(wanted, rel=1e-12)
    assert kernel.value(params, inputs, spoilt, lengths=LENGTHS, mask=mask) == pytest.approx(wanted, rel=1e-12)
    step = 1e-30j
    for group, k in ((0, "V"), (0, "U"), (1, "x")):
        groups: Any = [{name: v.astype(complex) for name, v in g.items()} for g in (params, inputs)]
        along = np.random.default_rng(1).standard_normal(groups[group][k].shape)
        groups[group][k] = groups[group][k] + step * along
        slope = loss_of((*groups, targets), at, mask).imag / 1e-30
        assert np.sum((grads.params | grads.inputs)[k] * along) == pytest.approx(slope, rel=1e-10), k


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ignored_labels_are_a_mask(dtype: Any) -> None:
    model, params, inputs, targets = drawn("every", dtype)
    ignored = targets | {"label": np.where(HOLES, targets["label"], -100)}
    value, grads = kernel_of(model).value_and_grad(params, inputs, ignored, ignore_index=-100)
    wanted, same = kernel_of(model).value_and_grad(params, inputs, targets, mask=HOLES)
    assert value == wanted and value.dtype == dtype
    assert all(np.array_equal(by_name(same)[k], v) for k, v in by_name(grads).items())
    nothing, zeros = kernel_of(model).value_and_grad(params, inputs, ignored, ignore_index=-100, mask=~HOLES)
    assert nothing == 0 and not any(v.any() for v in by_name(zeros).values())
    layout = sb.flat(kernel_of(model), {"m": 2, "n": 3, "k": 4})
    flat = layout.objective(inputs, ignored, ignore_index=-100)(layout.pack(params))
    assert flat[0] == value and np.array_equal(flat[1], layout.pack(grads.params))
    one = {k: v[:, 0] for k, v in inputs.items()}, {k: v[:, 0] for k, v in ignored.items()}
    alone = kernel_of(model).value(params, *one, ignore_index=-100)
    assert alone == pytest.approx(
        kernel_of(model).value(
            params, *({k: v[:, :1] for k, v in g.items()} for g in (inputs, targets)), mask=HOLES[:, :1]
        )
    )
    assert alone == kernel_of(model).value(params, *one, mask=HOLES[:, 0] & True)


def test_what_is_no_mask_is_refused() -> None:
    model, params, inputs, targets = drawn("every")
    kernel, plain = kernel_of(model), kernel_of(sb.model(rnn, far))
    for call, words in [
        ({"mask": HOLES[:2]}, r"mask: a bool array of shape \(5, 3\) is expected, got bool of shape \(2, 3\)"),
        (
            {"mask": HOLES.astype(int)},
            r"mask: a bool array of shape \(5, 3\) is expected, got int64 .*write \.astype\(bool\)",
        ),
        ({"ignore_index": 1.5}, "ignore_index: an integer is expected, got 1.5"),
        ({}, "label: integers from 0 to 3 are expected"),
    ]:
        with pytest.raises(sb.ArgumentError, match=words):
            kernel.value_and_grad(params, inputs, targets | {"label": targets["label"] - 100 * (not call)}, **call)
    with pytest.raises(
        sb.ArgumentError, match="ignore_index: the loss has no target that is an Index, got -1; write mask="
    ):
        plain.value({k: params[k] for k in "WUb"}, inputs, ignore_index=-1)


@sb.loss
def far(h: State["n"]):
    return h @ h


def test_budget_counts_the_copies() -> None:
    needed = lambda steps, *_: 1000 * steps  # noqa: E731
    m = module("limit", MEMORY=2100, SLOT=0, _needed=needed)
    given = data(5, 2)
    mask = np.ones((5, 2), bool)
    with pytest.raises(ValueError, match="1,212 bytes at the least, 1,001 are allowed"):
        module("limit", MEMORY=1001, SLOT=0, _needed=needed).value(*given, mask=mask)
    m.value(*given, mask=mask)


def test_planted_mistakes_are_caught() -> None:
    given, mask = data(5, 2), np.arange(10).reshape(5, 2) % 3 > 0
    params, inputs, targets, start = given
    spoilt = {"goal": np.where(mask[..., None], targets["goal"], np.nan)}

    def of(groups: Any) -> Any:
        rows = np.stack([states(groups[0]["w"], groups[1]["x"][:, b], groups[3]["h"][b]) for b in range(2)], 1)
        return (((groups[0]["v"] * rows - targets["goal"]) ** 2).sum(-1) * mask).sum() / 2

    def check(m: Any) -> None:
        found, grads = m.value_and_grad(params, inputs, spoilt, start, mask=mask)
        np.testing.assert_allclose(found, of(given), 1e-12)
        for k, v in derivatives(of, given).items():
            np.testing.assert_allclose(by_name(grads)[k], v, 1e-10, 1e-12)

    check(module())
    for right, wrong in [
        ("else counted & call.counts", "else counted"),
        ("_where(counts, v, v[tuple(at[0])]", "_where(counts, v, v[0, 0]"),
    ]:
        with pytest.raises((AssertionError, ValueError)):
            check(module(planted=(right, wrong)))


@pytest.mark.long
def test_verify_compares_the_two_parts_of_a_loss() -> None:
    kernel = kernel_of(drawn("every")[0])
    text = kernel.source.replace("else counted & call.counts", "else counted")
    assert text != kernel.source
    asked = asked_of(kernel.target, None, None, {"y": "positive"})  # of which the loss takes logarithms
    assert "the loss of some steps" in str(list(form_rows(sb.Kernel(kernel.target, kernel.program, text), 0, asked)))
