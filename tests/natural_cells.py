"""Cells and losses in natural spelling, as their authors would write them, whose pages are read back."""

import numpy as np
import sympy as sp

import symbptt as sb
from symbptt import Const, Index, Input, Output, Param, State, Target


@sb.cell
def highway_mgu(
    x: Input["m"],
    h: State["n"],
    Wf: Param["n n+m"],
    bf: Param["n"],
    Wh: Param["n n+m"],
    bh: Param["n"],
    T_bias: Const = -1.0,
):
    f = sb.sigmoid(Wf @ np.concatenate([h, x]) + bf + T_bias)
    h_tilde = np.tanh(Wh @ np.concatenate([f * h, x]) + bh)
    h_new = h + f * (h_tilde - h)
    return {"h": h_new, "y": h_new - h_new.mean()}


@sb.cell
def heads_memory(
    x: Input["m"],
    K: State["s p"],
    V: State["s p"],
    Wq: Param["p m"],
    Wk: Param["p m"],
    Wv: Param["p m"],
    Wo: Param["n p"],
    heads: Const = 2,
):
    q, k, v = Wq @ x, Wk @ x, Wv @ x
    K = np.concatenate([K[1:], k[None, :]])
    V = np.concatenate([V[1:], v[None, :]])
    qh = q.reshape(heads, -1)
    Kh = K.reshape(K.shape[0], heads, -1)
    Vh = V.reshape(V.shape[0], heads, -1)
    scores = np.einsum("hd,shd->hs", qh, Kh) / np.sqrt(qh.shape[1])
    att = sb.softmax(scores, axis=-1)
    o = np.einsum("hs,shd->hd", att, Vh).reshape(-1)
    return {"K": K, "V": V, "y": Wo @ o}


@sb.cell
def ntm_read(
    x: Input["m"],
    M: State["k d"],
    w: State["k"],
    Wk: Param["d m"],
    Ws: Param["3 m"],
    be: Param,
    We: Param["d m"],
    Wg: Param["m"],
    Wp: Param["m"],
):
    key = np.tanh(Wk @ x)
    cos = M @ key / (np.linalg.norm(M, axis=1) * np.linalg.norm(key) + 1e-8)
    wc = sb.softmax(sb.softplus(be) * cos)
    g = sb.sigmoid(Wg @ x)
    wg = g * wc + (1 - g) * w
    s = sb.softmax(Ws @ x)
    ws = s[0] * np.roll(wg, 1) + s[1] * wg + s[2] * np.roll(wg, -1)
    gamma = 1 + sb.softplus(Wp @ x)
    wn = (ws + 1e-6) ** gamma
    wn = wn / wn.sum()
    e = sb.sigmoid(We @ x)
    M = M * (1 - np.outer(wn, e)) + np.outer(wn, key)
    return {"M": M, "w": wn, "read": wn @ M}


spike = sb.function("spike", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + 25 * v**2))


@sb.cell
def alif(
    x: Input["m"],
    u: State["n"],
    a: State["n"],
    z: State["n"],
    W: Param["n m"],
    R: Param["n n"],
    tau_m: Const = 20.0,
    tau_a: Const = 200.0,
    beta: Const = 0.07,
    thr: Const = 0.6,
):
    alpha, rho = np.exp(-1 / tau_m), np.exp(-1 / tau_a)
    R0 = R * (1 - np.eye(R.shape[0]))
    u = alpha * u + W @ x + R0 @ z - thr * z
    a = rho * a + (1 - rho) * z
    z = spike((u - thr - beta * a) / thr)
    return {"u": u, "a": a, "z": z}


@sb.cell
def delta_heads(
    x: Input["m"],
    S: State["k d p"],
    Wk: Param["k p m"],
    Wv: Param["k d m"],
    Wb: Param["k m"],
    Wa: Param["k m"],
    Wo: Param["n k*d"],
):
    key = Wk @ x
    key = key / np.linalg.norm(key, axis=-1, keepdims=True)
    val = Wv @ x
    beta = sb.sigmoid(Wb @ x)[:, None]
    alpha = np.exp(-sb.softplus(Wa @ x))[:, None, None]
    old = np.einsum("kdp,kp->kd", alpha * S, key)
    S = alpha * S + np.einsum("kd,kp->kdp", beta * (val - old), key)
    return {"S": S, "y": Wo @ np.einsum("kdp,kp->kd", S, key).ravel()}


@sb.cell
def conv_gru(
    x: Input["m p q"], h: State["n p q"], Wz: Param["n m+n 3 3"], Wc: Param["n m+n 3 3"], bz: Param["n"], bc: Param["n"]
):
    z = sb.sigmoid(sb.conv(np.concatenate([x, h]), Wz, padding=1) + bz[:, None, None])
    c = np.tanh(sb.conv(np.concatenate([x, z * h]), Wc, padding=1) + bc[:, None, None])
    return (1 - z) * h + z * c


@sb.cell
def info_filter(
    y: Input["k"], mu: State["n"], P: State["n n"], A: Param["n n"], C: Param["k n"], q: Param["n"], r: Param["k"]
):
    m_pred = A @ mu
    P_pred = A @ P @ A.T + np.diag(np.exp(q))
    S = C @ P_pred @ C.T + np.diag(np.exp(r))
    K = np.linalg.solve(S, C @ P_pred).T
    innov = y - C @ m_pred
    mu = m_pred + K @ innov
    P = P_pred - K @ S @ K.T
    nll = 0.5 * (innov @ np.linalg.solve(S, innov) + np.linalg.slogdet(S)[1])
    return {"mu": mu, "P": (P + P.T) / 2, "nll": nll}


@sb.cell
def ltc(
    x: Input["m"],
    h: State["n"],
    Win: Param["n m"],
    Wrec: Param["n n"],
    mu: Param["n"],
    tau: Param["n"],
    A: Param["n"],
    dt: Const = 0.1,
):
    def f(h):
        return sb.sigmoid(Win @ x + Wrec @ h - mu)

    def fused(h):
        g = f(h)
        return (h + dt * g * A) / (1 + dt * (1 / sb.softplus(tau) + g))

    return sb.repeat(fused, h, 6)


@sb.cell
def hyper(
    x: Input["m"],
    z: State["k"],
    h: State["n"],
    Wz: Param["k m"],
    Uz: Param["k k"],
    P: Param["n*n k"],
    Q: Param["n m"],
    g: Param["n"],
    b: Param["n"],
):
    z = np.tanh(Wz @ x + Uz @ z)
    W = (P @ z).reshape(h.shape[0], h.shape[0])
    pre = sb.layer_norm(W @ h + Q @ x) * g + b
    return {"z": z, "h": np.maximum(pre, 0.1 * pre)}


EDGES = np.array([[0, 1, 2, 3, 3, 1], [1, 2, 3, 0, 1, 0]])


@sb.cell
def graph_rnn(x: Input["4 m"], H: State["4 n"], Wm: Param["n n"], We: Param["e n"], Wx: Param["n m"], Ws: Param["n n"]):
    src, dst = EDGES
    messages = np.tanh(H[src] @ Wm.T + (We[:1] * 0.5 + We[-1:]))
    agg = np.zeros_like(H)
    np.add.at(agg, dst, messages)
    deg = np.bincount(dst, minlength=4)[:, None]
    return np.tanh(agg / deg + x @ Wx.T + H @ Ws.T)


@sb.cell
def token_moe(
    tok: Index["v"],
    h: State["n"],
    E: Param["v n"],
    Wg: Param["k n"],
    W1: Param["k d n"],
    W2: Param["k n d"],
    gain: Param["n"],
):
    u = h + E[tok]
    u = u / np.sqrt(np.mean(u**2) + 1e-5) * gain
    p = sb.softmax(Wg @ u)
    hidden = sb.gelu(W1 @ u)
    y = np.sum(p[:, None] * np.einsum("knd,kd->kn", W2, hidden), axis=0)
    return {"h": h + y, "balance": np.sum(p * p), "logits": E @ (h + y)}


@sb.cell
def phasor(
    x: Input["m"],
    z: State["n", complex],
    omega: Param["n"],
    K: Param["n n"],
    B: Param["n m", complex],
    w: Param["n", complex],
):
    z = z * np.exp(1j * omega) + 0.1 * (K @ z) + B @ x
    z = z / np.maximum(np.abs(z), 1e-3)
    order = np.abs(np.mean(z))
    return {"z": z, "order": order, "y": (np.conj(w) * z).real}


@sb.cell
def sorted_pool(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], c: Param["n"]):
    a = np.tanh(W @ x + U @ h)
    s = np.sort(a)
    cum = np.cumsum(sb.softmax(U @ a))
    return 0.3 * s[::-1] + np.where(cum > 0.5, c * a, a) + 0.1 * np.clip(h, -1, 1) + np.cumprod(1 - 0.1 * sb.sigmoid(a))


@sb.loss
def crossent(h: State["n"], label: Index["k"], V: Param["k n"], c: Param["k"]):
    logits = V @ h + c
    return sb.logsumexp(logits) - logits[label]


@sb.loss
def quantile(y: Output["n"], target: Target["n"], tau: Const = 0.3):
    e = target - y
    return np.sum(np.maximum(tau * e, (tau - 1) * e))


@sb.loss
def gauss_nll(h: State["n"], target: Target["k"], Wm: Param["k n"], Wl: Param["k n"]):
    mu, logvar = Wm @ h, np.clip(Wl @ h, -5, 5)
    return 0.5 * np.sum(logvar + (target - mu) ** 2 / np.exp(logvar))


CELLS = {
    c.name: c
    for c in (
        highway_mgu,
        heads_memory,
        ntm_read,
        alif,
        delta_heads,
        conv_gru,
        info_filter,
        ltc,
        hyper,
        graph_rnn,
        token_moe,
        phasor,
        sorted_pool,
    )
}
MODELS = {
    "cross_entropy": sb.model(hyper, crossent, reduction="mean"),
    "quantile": sb.model(heads_memory, quantile, at="last"),
    "likelihood": sb.model(ltc, gauss_nll),
}
