"""The LSTM of ADBench and GradBench: diagonal weights, several layers, a loss of its own; objective and gradient.

Source: Šrajer, Kukelova, Fitzgibbon 2018, "A benchmark of selected algorithmic differentiation tools on some problems in
computer vision and machine learning", and its continuation github.com/gradbench/gradbench, there called `lstm`.
"""

import itertools
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Output, Param, State, Target
from tests import brute, oracle


def model_of(layers: int) -> sb.Model:
    """Each layer: f, i, o, g from elementwise weights on x, h, x, h; vectors scale what goes in and comes out."""

    @sb.cell
    def adbench(x: Input["n"], h: State[f"{layers} n"], c: State[f"{layers} n"], w: Param[f"{layers} 4*n"],
                b: Param[f"{layers} 4*n"], extra: Param["3 n"]):  # fmt: skip
        n, signal, hs, cs = x.shape[0], x * extra[0], [], []
        for layer in range(layers):
            a = np.concatenate([signal, h[layer], signal, h[layer]]) * w[layer] + b[layer]
            f, i, o = (1 / (1 + np.exp(-a[k * n : (k + 1) * n])) for k in range(3))
            cs.append(c[layer] * f + i * np.tanh(a[3 * n :]))
            signal = o * np.tanh(cs[-1])
            hs.append(signal)
        return {"h": np.stack(hs), "c": np.stack(cs), "y": signal * extra[1] + extra[2]}

    @sb.loss
    def log_likelihood(y: Output["n"], gold: Target["n"]):
        return -np.sum(gold * (y - np.log(2 + np.sum(np.exp(y))))) / gold.shape[0]

    return sb.model(adbench, log_likelihood, reduction="mean")


def problem(layers: int, n: int, length: int, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Random parameters and states, and a sequence of one-hot vectors as text makes them."""
    random = np.random.default_rng(seed)
    params = {"w": random.uniform(-1, 1, (layers, 4 * n)), "b": random.uniform(-1, 1, (layers, 4 * n)),
              "extra": random.uniform(-1, 1, (3, n))}  # fmt: skip
    state = {name: random.uniform(-1, 1, (layers, n)) for name in "hc"}
    return params, state, np.eye(n)[random.integers(0, n, length)]


def objective(params: dict[str, Any], state: dict[str, Any], sequence: Any) -> Any:
    """The benchmark's objective, written over the whole sequence: the mean over all entries of all targets."""

    def sigmoid(v: Any) -> Any:
        return 1 / (1 + np.exp(-v))

    h, c, total = list(state["h"]), list(state["c"]), 0.0
    for before, after in itertools.pairwise(sequence):
        signal = before * params["extra"][0]
        for k, (w, b) in enumerate(zip(params["w"], params["b"], strict=True)):
            (wf, wi, wo, wg), (bf, bi, bo, bg) = w.reshape(4, -1), b.reshape(4, -1)
            c[k] = c[k] * sigmoid(wf * signal + bf) + sigmoid(wi * h[k] + bi) * np.tanh(wg * h[k] + bg)
            h[k] = sigmoid(wo * signal + bo) * np.tanh(c[k])
            signal = h[k]
        y = signal * params["extra"][1] + params["extra"][2]
        total += after @ (y - np.log(np.exp(y).sum() + 2))
    return -total / sequence[1:].size


SIZES = [(1, 3, 2), (2, 3, 6), (4, 2, 4)]


@pytest.mark.parametrize(("layers", "n", "length"), SIZES)
@pytest.mark.thinned(5)
def test_objective_and_gradient_agree_with_complex_steps(layers: int, n: int, length: int) -> None:
    params, state, sequence = problem(layers, n, length)
    value, grads = sb.compile(model_of(layers)).value_and_grad(
        params, {"x": sequence[:-1]}, {"gold": sequence[1:]}, state
    )
    np.testing.assert_allclose(value, objective(params, state, sequence), rtol=1e-13)
    wanted = {}
    for name, array in params.items():
        wanted[name] = np.zeros(array.shape)
        for position in np.ndindex(*array.shape):
            moved = array.astype(complex)
            moved[position] += 1e-30j
            wanted[name][position] = np.imag(objective(params | {name: moved}, state, sequence)) / 1e-30
    oracle.assert_blocks_close(grads.params, wanted, 1e-11)


@pytest.mark.long
def test_model_is_verified() -> None:
    report = sb.verify(model_of(2))
    assert report.passed, str(report)


def test_batch_of_sequences_is_their_mean() -> None:
    kernel = sb.compile(model_of(2))
    params, state, _ = problem(2, 3, 5)
    sequences = [problem(2, 3, 5, seed)[2] for seed in range(3)]
    alone = [kernel.value_and_grad(params, {"x": s[:-1]}, {"gold": s[1:]}, state) for s in sequences]
    together = np.stack(sequences, 1)
    states = {k: np.stack([v] * 3) for k, v in state.items()}
    value, grads = kernel.value_and_grad(params, {"x": together[:-1]}, {"gold": together[1:]}, states)
    np.testing.assert_allclose(value, np.mean([v for v, _ in alone]), rtol=1e-13)
    mean = {k: np.mean([g.params[k] for _, g in alone], axis=0) for k in params}
    oracle.assert_blocks_close(grads.params, mean, 1e-12)


def test_truncated_benchmark_agrees_with_explicit_unrolling() -> None:
    model, truncation = model_of(2), sb.Chunked(2, 3)
    data = brute.data_of(model, 5, 1, {"n": 2})
    _, grads = brute.value_and_grad(sb.compile(model, truncation=truncation), data)
    brute.assert_same(brute.by_group(grads), brute.model_gradients(model, data, truncation))


@pytest.mark.peers
@pytest.mark.parametrize(("layers", "n", "length"), [*SIZES, (2, 14, 100)])
def test_objective_and_gradient_agree_with_torch(layers: int, n: int, length: int) -> None:
    torch = pytest.importorskip("torch")
    params, state, sequence = problem(layers, n, length)
    p = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
    h, c = ([torch.tensor(row, requires_grad=True) for row in state[name]] for name in "hc")
    leaves, x, total = [*h, *c], torch.tensor(sequence), torch.zeros((), dtype=torch.float64)
    for t in range(length - 1):
        signal = x[t] * p["extra"][0]
        for k in range(layers):
            f, i, o, g = (torch.cat([signal, h[k], signal, h[k]]) * p["w"][k] + p["b"][k]).chunk(4)
            c[k] = torch.sigmoid(f) * c[k] + torch.sigmoid(i) * torch.tanh(g)
            signal = h[k] = torch.sigmoid(o) * torch.tanh(c[k])
        y = signal * p["extra"][1] + p["extra"][2]
        two = torch.full((1,), np.log(2.0), dtype=torch.float64)
        total = total - (x[t + 1] * (y - torch.logsumexp(torch.cat([y, two]), 0))).sum()
    total = total / sequence[1:].size
    total.backward()
    value, grads = sb.compile(model_of(layers)).value_and_grad(
        params, {"x": sequence[:-1]}, {"gold": sequence[1:]}, state
    )
    np.testing.assert_allclose(value, total.item(), rtol=1e-12)
    rows = np.array([leaf.grad.numpy() for leaf in leaves])
    wanted = {**{k: v.grad.numpy() for k, v in p.items()}, "h": rows[:layers], "c": rows[layers:]}
    oracle.assert_blocks_close({**grads.params, **grads.state}, wanted, 1e-9)
