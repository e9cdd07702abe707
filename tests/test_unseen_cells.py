"""Cells of other people's kind: states and every gradient against complex steps of the plain function, and against torch."""

from functools import cache
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import zoo
from symbptt.ir import laws
from tests import brute, oracle, unseen

EVERY = pytest.mark.parametrize("name", unseen.CELLS)
kernel_of = cache(lambda name: sb.compile(unseen.CELLS[name]))


def groups_of(name: str, steps: int, batch: int) -> Any:
    return oracle.draw(unseen.CELLS[name], steps, batch, unseen.SIZES, seed=len(name), scale=0.5)


def test_there_are_as_many_as_were_promised() -> None:
    assert len(unseen.CELLS) >= 21 and not set(unseen.CELLS) & set(zoo.CELLS)


@EVERY
def test_traced_graph_is_legal(name: str) -> None:
    laws.check(unseen.CELLS[name].step.graph)


@EVERY
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("steps", [0, 1, 2, 4])
@pytest.mark.thinned(37, 23)
def test_states_and_gradients_agree_with_complex_steps(name: str, steps: int, batch: int) -> None:
    cell, groups = unseen.CELLS[name], groups_of(name, steps, batch)
    run = kernel_of(name).forward(*groups)
    found = {**run.states, **run.outputs}
    assert all(value.shape[:2] == (steps, batch) for value in found.values())
    if steps:
        oracle.assert_blocks_close(found, oracle.run(cell, *groups, steps), 1e-9)
    random = np.random.default_rng(1)
    cotangents = {k: random.standard_normal(v.shape) for k, v in found.items()}
    wanted = oracle.gradients(cell, *groups, cotangents, steps)
    oracle.assert_blocks_close(oracle.flat(kernel_of(name).backward(run, cotangents)), wanted, 1e-9)


@EVERY
@pytest.mark.thinned(13, 2)
def test_one_sample_without_a_batch_axis_gives_the_same(name: str) -> None:
    params, inputs, state = groups_of(name, 3, 1)
    kernel = kernel_of(name)
    batched = kernel.forward(params, inputs, state)
    alone = kernel.forward(params, {k: v[:, 0] for k, v in inputs.items()}, {k: v[0] for k, v in state.items()})
    oracle.assert_blocks_close({**alone.states, **alone.outputs},
                               {k: v[:, 0] for k, v in {**batched.states, **batched.outputs}.items()}, 1e-13)  # fmt: skip
    cotangents = oracle.cotangents_of(kernel.cell, (params, inputs, state), 3)
    wanted = kernel.backward(batched, cotangents)
    got = kernel.backward(alone, {k: v[:, 0] for k, v in cotangents.items()})
    oracle.assert_blocks_close(got.params, wanted.params, 1e-12)
    oracle.assert_blocks_close(got.inputs, {k: v[:, 0] for k, v in wanted.inputs.items()}, 1e-12)
    oracle.assert_blocks_close(got.state, {k: v[0] for k, v in wanted.state.items()}, 1e-12)


@pytest.mark.parametrize("name", unseen.CELLS)
@pytest.mark.thinned(7, 2)
def test_float32_is_float32_everywhere(name: str) -> None:
    params, inputs, state = groups_of(name, 2, 2)
    narrow = [
        {k: np.float32(v) if np.asarray(v).dtype.kind == "f" else v for k, v in g.items()}
        for g in (params, inputs, state)
    ]
    run = kernel_of(name).forward(*narrow)
    grads = kernel_of(name).backward(run, {k: np.ones_like(v) for k, v in run.states.items()})
    every = {**run.states, **run.outputs, **oracle.flat(grads)}
    assert {k: v.dtype for k, v in every.items()} == dict.fromkeys(every, np.dtype(np.float32))


@pytest.mark.long
@EVERY
@pytest.mark.thinned(1, 17)
def test_cell_is_verified(name: str) -> None:
    report = sb.verify(kernel_of(name))
    assert report.passed, str(report)


@pytest.mark.long
@pytest.mark.parametrize("truncation", [None, sb.Window(2), sb.Chunked(2, 3)], ids=repr)
@EVERY
@pytest.mark.thinned(1, 17)
def test_truncated_padded_and_reset_it_agrees_with_explicit_unrolling(name: str, truncation: Any) -> None:
    cell, kernel = unseen.CELLS[name], sb.compile(unseen.CELLS[name], truncation=truncation)
    reset = np.array([[0, 1], [1, 0], [0, 0], [0, 1]], bool)
    masks = {"lengths": np.array([4, 3]), "reset": reset}
    data = brute.Data(*groups_of(name, 4, 2), 4, 2, **masks)
    run = kernel.forward(data.params, data.inputs, data.state, **masks)
    random = np.random.default_rng(1)
    cotangents = {k: random.standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()}
    wanted = brute.gradients(cell, brute.cotangent_score(cotangents), data, truncation)
    brute.assert_same(brute.by_group(kernel.backward(run, cotangents)), wanted)


# The same equations in torch, for those that are easily written there.


def torch_cells() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    F, sigmoid, tanh, exp = torch.nn.functional, torch.sigmoid, torch.tanh, torch.exp

    def gated_delta(x: Any, S: Any, Wq: Any, Wk: Any, Wv: Any, wa: Any, wb: Any) -> Any:
        q, k = ((W @ x) / torch.sqrt(torch.sum((W @ x) ** 2) + 1e-6) for W in (Wq, Wk))
        alpha, beta = sigmoid(wa @ x), sigmoid(wb @ x)
        S = alpha * S @ (torch.eye(len(k), dtype=x.dtype) - beta * torch.outer(k, k)) + beta * torch.outer(Wv @ x, k)
        return {"S": S, "y": S @ q}

    def wkv(x: Any, S: Any, last: Any, mix: Any, R: Any, K: Any, V: Any, decay: Any, bonus: Any) -> Any:
        r, k, v = (torch.einsum("adm,m->ad", w, torch.lerp(last, x, m)) for w, m in zip((R, K, V), mix, strict=True))
        now = torch.einsum("ai,aj->aij", k, v)
        y = torch.einsum("ai,aij->aj", r, S + bonus[:, :, None] * now)
        return {"S": exp(-exp(decay))[:, :, None] * S + now, "last": x, "y": y.flatten()}

    def mamba2(x: Any, H: Any, Wx: Any, Wb: Any, Wc: Any, wdt: Any, log_a: Any, D: Any) -> Any:
        u, B, C, dt = Wx @ x, Wb @ x, Wc @ x, F.softplus(wdt @ x)
        H = exp(-exp(log_a) * dt)[:, None, None] * H + torch.einsum("a,ap,s->aps", dt, u, B)
        return {"H": H, "y": (H @ C + D[:, None] * u).flatten()}

    def slstm(x: Any, h: Any, c: Any, norm: Any, m: Any, W: Any, R: Any, b: Any) -> Any:
        i, f, o, z = (W @ x + R @ h + b).chunk(4)
        log_f = F.logsigmoid(f)
        top = torch.maximum(log_f + m, i)
        i, f = exp(i - top), exp(log_f + m - top)
        c, norm = f * c + i * tanh(z), f * norm + i
        return {"h": sigmoid(o) * c / (norm + 1e-3), "c": c, "norm": norm, "m": top}

    def on_lstm(x: Any, h: Any, c: Any, W: Any, U: Any, b: Any) -> Any:
        f, i, o, mf, mi, g = torch.unbind(W @ x + U @ h + b)
        mf, mi = torch.cumsum(torch.softmax(mf, 0), 0), 1 - torch.cumsum(torch.softmax(mi, 0), 0)
        f, i = sigmoid(f) * mf * mi + mf - mf * mi, sigmoid(i) * mf * mi + mi - mf * mi
        c = f * c + i * tanh(g)
        return {"h": sigmoid(o) * tanh(c), "c": c}

    def packed_lstm(x: Any, h: Any, c: Any, W: Any, b: Any) -> Any:
        i, f, g, o = (torch.cat([x, h]) @ W + b).chunk(4)
        c = c * sigmoid(f + 1) + sigmoid(i) * tanh(g)
        return {"h": sigmoid(o) * tanh(c), "c": c}

    def highway(x: Any, h: Any, W: Any, R: Any, b: Any) -> Any:
        for depth in range(3):
            a = R[depth] @ h + b[depth] + (W @ x if depth == 0 else 0)
            h = torch.lerp(h, tanh(a[0]), sigmoid(a[1]))
        return {"h": h}

    def neural_turing_machine(x: Any, h: Any, M: Any, w: Any, W: Any, U: Any, Wk: Any, We: Any, Wa: Any, Ws: Any,
                              wb: Any, wg: Any, wp: Any) -> Any:  # fmt: skip
        h = tanh(W @ torch.cat([x, w @ M]) + U @ h)
        k = Wk @ h
        content = torch.softmax(
            (1 + F.softplus(wb @ h)) * (M @ k) * ((1e-3 + (M * M).sum(1)) * (1e-3 + k @ k)).rsqrt(), 0
        )
        mixed = torch.lerp(w * w + 0.1, content, sigmoid(wg @ h))
        s = torch.softmax(Ws @ h, 0)
        shifted = s[0] * torch.roll(mixed, 1) + s[1] * mixed + s[2] * torch.roll(mixed, -1)
        w = shifted ** (1 + F.softplus(wp @ h))
        w = w / w.sum()
        M = M * (1 - torch.outer(w, sigmoid(We @ h))) + torch.outer(w, tanh(Wa @ h))
        return {"h": h, "M": M, "w": w, "read": w @ M}

    def relational_memory(x: Any, M: Any, Wq: Any, Wk: Any, Wv: Any, Wo: Any, gain: Any, bias: Any) -> Any:
        rows = torch.cat([M, x[None]])
        q, k, v = M @ Wq.mT, rows @ Wk.mT, rows @ Wv.mT
        mixed = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
        return {"M": F.layer_norm(M + (mixed @ Wo).sum(0), (M.shape[1],), gain, bias, 1e-5)}

    def tensor_train(x: Any, h: Any, A: Any, B: Any, C: Any) -> Any:
        full = torch.einsum("k,ij,kar,ribq,qjc->abc", x, h.reshape(2, 2), A, B, C)
        return {"h": tanh(full.sum(2).flatten() + 0.5 * h)}

    def kalman_cell(y: Any, m: Any, L: Any, A: Any, c: Any, log_q: Any, log_r: Any) -> Any:
        m, P = A @ m, A @ L @ L.T @ A.T + exp(log_q) * torch.eye(3, dtype=L.dtype)
        s = c @ P @ c + exp(log_r)
        e = y - c @ m
        return {
            "m": m + P @ c * e / s,
            "L": (P - torch.outer(P @ c, c @ P) / s) / 2,
            "loglik": -(s.log() + e * e / s) / 2,
        }

    def skew_exponential(x: Any, h: Any, W: Any, A: Any, b: Any) -> Any:
        series = sum((torch.linalg.matrix_power(A - A.T, i) / float(np.prod(range(1, i + 1))) for i in range(1, 7)),
                     torch.eye(3, dtype=x.dtype))  # fmt: skip
        z = W @ x + series @ h
        return {"h": torch.sign(z) * torch.relu(z.abs() + b)}

    def gru_d(
        x: Any, mask: Any, delta: Any, h: Any, kept: Any, W: Any, U: Any, V: Any, wx: Any, Wh: Any, mean: Any
    ) -> Any:
        fade, seen = exp(-torch.relu(wx * delta)), mask > 0
        value, h = torch.where(seen, x, fade * kept + (1 - fade) * mean), exp(-torch.relu(Wh @ delta)) * h
        z = sigmoid(W @ value + U @ h + V @ seen.to(x.dtype))
        return {"h": torch.lerp(h, tanh(W @ value), z), "kept": torch.where(seen, x, kept)}

    return {name: value for name, value in locals().items() if name in unseen.CELLS}


IN_TORCH = ("gated_delta", "wkv", "mamba2", "slstm", "on_lstm", "packed_lstm", "highway", "neural_turing_machine",
            "relational_memory", "tensor_train", "kalman_cell", "skew_exponential", "gru_d")  # fmt: skip


@pytest.mark.peers
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("name", IN_TORCH)
@pytest.mark.thinned(1, 3)
def test_states_and_gradients_agree_with_torch(name: str, steps: int) -> None:
    torch = pytest.importorskip("torch")
    groups, step = groups_of(name, steps, 3), torch_cells()[name]
    run = kernel_of(name).forward(*groups)
    cotangents = oracle.cotangents_of(unseen.CELLS[name], groups, steps)
    params, inputs, state = ({k: torch.tensor(v, requires_grad=True) for k, v in group.items()} for group in groups)
    collected: dict[str, list[Any]] = {k: [] for k in cotangents}
    total = torch.zeros((), dtype=torch.float64)
    for b in range(3):
        now = {k: v[b] for k, v in state.items()}
        for t in range(steps):
            found = step(**{k: v[t, b] for k, v in inputs.items()}, **now, **params)
            now = {k: found[k] for k in now}
            for k, v in found.items():
                collected[k].append(v.detach().numpy())
                total = total + (v * torch.tensor(cotangents[k][t, b])).sum()
    total.backward()
    for k, values in collected.items():
        stacked = np.array(values).reshape(3, steps, *np.shape(values[0]))
        np.testing.assert_allclose({**run.states, **run.outputs}[k], np.moveaxis(stacked, 0, 1), rtol=1e-9, atol=1e-12)
    got = oracle.flat(kernel_of(name).backward(run, cotangents))
    every = {**params, **inputs, **state}
    wanted = {k: torch.zeros_like(every[k]) if every[k].grad is None else every[k].grad for k in got}
    oracle.assert_blocks_close(got, {k: v.numpy() for k, v in wanted.items()}, 1e-9)
