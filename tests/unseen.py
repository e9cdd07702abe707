"""Cells that are not in the zoo, written as their inventors might: NumPy, @, einsum, loops, closures, helpers, slices.

Each is a function of one sample and one step; none was written with an eye on what symbptt can do.
"""

import math
from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Const, Index, Input, Param, State

# Matrix states and delta rules.


def unit(v: Any) -> Any:
    return v / np.sqrt(np.sum(v * v) + 1e-6)


@sb.cell
def gated_delta(x: Input["m"], S: State["v k"], Wq: Param["k m"], Wk: Param["k m"], Wv: Param["v m"], wa: Param["m"],
                wb: Param["m"]):  # fmt: skip
    """Gated DeltaNet: decay, then correct what the key reads towards the value."""
    q, k, v = unit(Wq @ x), unit(Wk @ x), Wv @ x
    alpha, beta = sb.sigmoid(wa @ x), sb.sigmoid(wb @ x)
    S = alpha * (S - beta * np.outer(S @ k, k)) + beta * np.outer(v, k)
    return {"S": S, "y": S @ q}


@sb.cell
def delta_product(x: Input["m"], S: State["n n"], K: Param["2 n m"], V: Param["2 n m"], b: Param["2"]):
    """DeltaProduct: two Householder-like steps for each token."""
    for i in range(2):
        k = unit(K[i] @ x)
        error = V[i] @ x - S @ k
        S = S + 2 / (1 + np.exp(-b[i])) * error[:, None] * k[None, :]
    return S


@sb.cell
def test_time_training(
    x: Input["m"], W: State["n n"], Tk: Param["n m"], Tv: Param["n m"], Tq: Param["n m"], eta: Param
):
    """TTT-Linear: the state is a weight matrix that takes one step of gradient descent on its own loss."""
    k, v, q = Tk @ x, Tv @ x, Tq @ x
    error = W @ k - v
    gradient = np.einsum("i,j->ij", error, k)
    W = W - np.log1p(np.exp(eta)) * gradient
    y = W @ q - np.mean(W @ q)
    return {"W": W, "y": q + y / np.sqrt((y**2).mean() + 1e-3)}


@sb.cell
def wkv(x: Input["m"], S: State["a d d"], last: State["m"], mix: Param["3 m"], R: Param["a d m"], K: Param["a d m"],
        V: Param["a d m"], decay: Param["a d"], bonus: Param["a d"]):  # fmt: skip
    """RWKV: heads of matrix states with a decay for each channel, token shift, and a bonus for the present."""
    r, k, v = (w @ (m * x + (1 - m) * last) for w, m in zip((R, K, V), mix, strict=True))
    now = k[:, :, None] * v[:, None, :]
    y = np.einsum("ai,aij->aj", r, S + bonus[:, :, None] * now)
    S = np.exp(-np.exp(decay))[:, :, None] * S + now
    return {"S": S, "last": x, "y": y.reshape(-1)}


# Selective and structured state spaces.


@sb.cell
def mamba2(x: Input["m"], H: State["a p s"], Wx: Param["a p m"], Wb: Param["s m"], Wc: Param["s m"], wdt: Param["a m"],
           log_a: Param["a"], D: Param["a"]):  # fmt: skip
    """State space duality: one decay a head, all of it chosen by the input."""
    u, B, C = Wx @ x, Wb @ x, Wc @ x
    dt = np.log1p(np.exp(wdt @ x))
    decay = np.exp(-np.exp(log_a) * dt)
    H = decay[:, None, None] * H + dt[:, None, None] * u[..., None] * B
    return {"H": H, "y": np.ravel(H @ C + D[:, None] * u)}


def legendre(order: int) -> tuple[Any, Any]:
    """The LMU's matrices: Voelker, Kajic, Eliasmith 2019, equations 1 and 2."""
    i, j = np.meshgrid(np.arange(order), np.arange(order), indexing="ij")
    A = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    return A, ((2 * np.arange(order) + 1) * (-1.0) ** np.arange(order))


LMU_A, LMU_B = legendre(3)


@sb.cell
def lmu(x: Input["m"], h: State["n"], memory: State["3"], ex: Param["m"], eh: Param["n"], em: Param["3"],
        Wx: Param["n m"], Wh: Param["n n"], Wm: Param["n 3"], theta: Const = 4.0):  # fmt: skip
    """Legendre memory unit: a fixed linear memory of a window of the past."""
    u = ex @ x + eh @ h + em @ memory
    memory = memory + (LMU_A @ memory + LMU_B * u) / theta
    return np.tanh(Wx @ x + Wh @ h + Wm @ memory), memory


@sb.cell
def gate_loop(x: Input["m"], re: State["n"], im: State["n"], Wv: Param["n m"], Wa: Param["n m"], Wp: Param["n m"],
              Wq: Param["2 n m"]):  # fmt: skip
    """GateLoop: complex decays chosen by the input, as pairs of reals."""
    radius, phase = sb.sigmoid(Wa @ x), Wp @ x
    a, b = radius * np.cos(phase), radius * np.sin(phase)
    re, im = a * re - b * im + Wv @ x, a * im + b * re
    return {"re": re, "im": im, "y": (Wq[0] @ x) * re - (Wq[1] @ x) * im}


# Gates.


@sb.cell
def slstm(x: Input["d"], h: State["n"], c: State["n"], norm: State["n"], m: State["n"], W: Param["4*n d"],
          R: Param["4*n n"], b: Param["4*n"]):  # fmt: skip
    """sLSTM: exponential gates, a normaliser, and a running maximum that keeps both finite."""
    n = h.shape[0]
    a = W @ x + R @ h + b
    i, f, o, z = a[:n], a[n : 2 * n], sb.sigmoid(a[2 * n : 3 * n]), np.tanh(a[3 * n :])
    log_f = -np.log(1 + np.exp(-f))
    top = np.maximum(log_f + m, i)
    i, f = np.exp(i - top), np.exp(log_f + m - top)
    c, norm = f * c + i * z, f * norm + i
    return o * c / (norm + 1e-3), c, norm, top


def cumax(v: Any) -> Any:
    return np.cumsum(np.exp(v) / np.sum(np.exp(v)))


@sb.cell
def on_lstm(x: Input["m"], h: State["n"], c: State["n"], W: Param["6 n m"], U: Param["6 n n"], b: Param["6 n"]):
    """Ordered neurons: master gates are cumulative softmaxes."""
    a = W @ x + U @ h + b
    f, i, o = sb.sigmoid(a[0]), sb.sigmoid(a[1]), sb.sigmoid(a[2])
    master_f, master_i = cumax(a[3]), 1 - cumax(a[4])
    overlap = master_f * master_i
    f = f * overlap + (master_f - overlap)
    i = i * overlap + (master_i - overlap)
    c = f * c + i * np.tanh(a[5])
    return o * np.tanh(c), c


@sb.cell
def packed_lstm(x: Input["m"], h: State["n"], c: State["n"], W: Param["m+n 4*n"], b: Param["4*n"]):
    """An LSTM as one product of [x, h], cut by the size of the state."""
    gates = np.concatenate([x, h]) @ W + b
    n = gates.shape[0] // 4
    i, f, g, o = (gates[k * n : (k + 1) * n] for k in range(4))
    c = c / (1 + np.exp(-(f + 1))) + np.tanh(g) / (1 + np.exp(-i))
    return np.tanh(c) / (1 + np.exp(-o)), c


@sb.cell
def split_gru(x: Input["m"], h: State["n"], W: Param["3*n m"], U: Param["2*n n"], V: Param["n n"]):
    """A GRU by np.split, a convex step by np.where-free arithmetic."""
    xz, xr, xn = np.split(W @ x, 3)
    z, r = np.split(1 / (1 + np.exp(-(np.concatenate((xz, xr)) + U @ h))), 2)
    return h + z * (np.tanh(xn + V @ (r * h)) - h)


@sb.cell
def multiplicative_lstm(x: Input["d"], h: State["n"], c: State["n"], Mx: Param["n d"], Mh: Param["n n"],
                        W: Param["4 n d"], U: Param["4 n n"]):  # fmt: skip
    """Krause's mLSTM: the recurrent signal is a product of two."""
    m = (Mx @ x) * (Mh @ h)
    i, f, o, g = W @ x + U @ m
    c = sb.sigmoid(f) * c + sb.sigmoid(i) * np.tanh(g)
    return np.tanh(c * sb.sigmoid(o)), c


@sb.cell
def multiplicative_integration(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], alpha: Param["n"] = 1.0,
                               beta1: Param["n"] = 0.5, beta2: Param["n"] = 0.5, b: Param["n"] = 0.0):  # fmt: skip
    """MI-RNN: Wx times Uh beside their sum."""
    wx, uh = W @ x, U @ h
    return np.tanh(alpha * wx * uh + beta1 * uh + beta2 * wx + b)


@sb.cell
def highway(x: Input["m"], h: State["n"], W: Param["2 n m"], R: Param["3 2 n n"], b: Param["3 2 n"]):
    """Recurrent highway network: three layers inside one step."""
    for depth in range(3):
        candidate, transform = R[depth] @ h + b[depth] + (W @ x if depth == 0 else 0.0)
        t = 1 / (1 + np.exp(-transform))
        h = np.tanh(candidate) * t + h * (1 - t)
    return h


@sb.cell
def three_gates(x: Input["n"], a: State["n"], b: State["n"], c: State["n"], W: Param["3 n n"]):
    """Three states, each gated by the product of the others: Lotka-Volterra with a squashing."""
    g = np.tanh(np.einsum("kij,j->ki", W, x))
    a_new = 0.9 * a + 0.3 * g[0] * b * c
    b_new = 0.8 * b + 0.3 * g[1] * c * np.tanh(a)
    return a_new, b_new, np.tanh(0.7 * c + g[2] * a * b)


@sb.cell
def gru_d(x: Input["m"], mask: Input["m"], delta: Input["m"], h: State["n"], kept: State["m"], W: Param["n m"],
          U: Param["n n"], V: Param["n m"], wx: Param["m"], Wh: Param["n m"], mean: Const["m"]):  # fmt: skip
    """GRU-D: missing values decay to the mean, the state decays with the time since."""
    seen = mask > 0
    fade_x, fade_h = np.exp(-np.maximum(0, wx * delta)), np.exp(-np.maximum(0, Wh @ delta))
    value = np.where(seen, x, fade_x * kept + (1 - fade_x) * mean)
    h = fade_h * h
    z = sb.sigmoid(W @ value + U @ h + V @ np.where(seen, 1.0, 0.0))
    return (1 - z) * h + z * np.tanh(W @ value), np.where(seen, x, kept)


# Memories and attention.


def cosine(M: Any, k: Any) -> Any:
    return M @ k / np.sqrt((1e-3 + (M**2).sum(1)) * (1e-3 + (k**2).sum()))


@sb.cell
def neural_turing_machine(x: Input["m"], h: State["n"], M: State["5 d"], w: State["5"], W: Param["n m+d"], U: Param["n n"],
                          Wk: Param["d n"], We: Param["d n"], Wa: Param["d n"], Ws: Param["3 n"], wb: Param["n"],
                          wg: Param["n"], wp: Param["n"]):  # fmt: skip
    """Content-addressed memory: similarity, interpolation, convolutional shift, sharpening, erase and add."""
    read = w @ M
    h = np.tanh(W @ np.concatenate([x, read]) + U @ h)
    content = sb.softmax((1 + np.log1p(np.exp(wb @ h))) * cosine(M, Wk @ h))
    gate = sb.sigmoid(wg @ h)
    mixed = gate * content + (1 - gate) * (w * w + 0.1)
    s = np.exp(Ws @ h)
    s = s / s.sum()
    shifted = s[0] * np.roll(mixed, 1) + s[1] * mixed + s[2] * np.roll(mixed, -1)
    sharp = shifted ** (1 + sb.softplus(wp @ h))
    w = sharp / np.sum(sharp)
    M = M * (1 - np.outer(w, sb.sigmoid(We @ h))) + np.outer(w, np.tanh(Wa @ h))
    return {"h": h, "M": M, "w": w, "read": w @ M}


@sb.cell
def relational_memory(x: Input["d"], M: State["3 d"], Wq: Param["a k d"], Wk: Param["a k d"], Wv: Param["a k d"],
                      Wo: Param["a k d"], gain: Param["d"], bias: Param["d"]):  # fmt: skip
    """Multi-head attention of the memory's slots over themselves and the input, by einsum."""
    rows = np.concatenate([M, x[None]], axis=0)
    q = np.einsum("akd,sd->ask", Wq, M)
    k, v = np.einsum("akd,rd->ark", Wk, rows), np.einsum("akd,rd->ark", Wv, rows)
    scores = np.einsum("ask,ark->asr", q, k) / np.sqrt(Wq.shape[1])
    weights = np.exp(scores) / np.sum(np.exp(scores), axis=-1, keepdims=True)
    M = M + np.einsum("asr,ark,akd->sd", weights, v, Wo)
    return sb.layer_norm(M, gain, bias, axis=-1)


@sb.cell
def dense_associative(x: Input["m"], h: State["n"], W: Param["n m"], P: Param["p n"], beta: Param = 1.5):
    """Two steps down the energy -log Σ exp(β Ph) / β + h² / 2 of a modern Hopfield network."""
    for _ in range(2):
        h = h - 0.4 * (h - P.T @ sb.softmax(beta * (P @ h)) - W @ x)
    return {"h": h, "energy": 0.5 * h @ h - np.log(np.sum(np.exp(beta * (P @ h)))) / beta}


@sb.cell
def embedding_cell(token: Index["v"], h: State["n"], E: Param["v n"], F: Param["n v"], U: Param["n n"]):
    """A character model's cell: a row for the drive, a column for the gate."""
    gate = sb.sigmoid(F[:, token])
    h = np.tanh(E[token] + U @ (gate * h))
    return {"h": h, "logits": E @ h}


@sb.cell
def mixture_of_experts(
    x: Input["m"], h: State["n"], W: Param["e n m"], U: Param["e n n"], G: Param["e n"], b: Param["e n"]
):
    """Experts in parallel by stacked products, mixed by a softmax gate."""
    experts = np.tanh(W @ x + U @ h + b)
    scores = np.exp(G @ h)
    return (scores / scores.sum()) @ experts


# Structured products.


@sb.cell
def tensor_train(x: Input["2"], h: State["4"], A: Param["2 2 r"], B: Param["r 2 2 q"], C: Param["q 2 2"]):
    """Input and state as three indices, mapped by a train of three cores."""
    H = h.reshape(2, 2)
    full = np.einsum("k,ij,kar,ribq,qjc->abc", x, H, A, B, C)
    return np.tanh(full.sum(axis=2).reshape(-1) + 0.5 * h)


@sb.cell
def hypernetwork(x: Input["m"], h: State["n"], k: State["p"], W: Param["n m"], U: Param["n n"], V: Param["p m+n"],
                 R: Param["p p"], Dx: Param["n p"], Dh: Param["n p"], Db: Param["n p"]):  # fmt: skip
    """A small network that scales the rows of the weights of a large one at every step."""
    k = np.tanh(V @ np.hstack([x, h]) + R @ k)
    h = np.tanh((1 + Dx @ k) * (W @ x) + (1 + Dh @ k) * (U @ h) + Db @ k)
    return h, k


@sb.cell
def skew_exponential(x: Input["m"], h: State["3"], W: Param["3 m"], A: Param["3 3"], b: Param["3"]):
    """An almost orthogonal recurrence: the exponential of a skew matrix by its series, and modReLU."""
    skew = A - A.T
    term = total = np.eye(3)
    for order in range(1, 7):
        term = term @ skew / order
        total = total + term
    z = W @ x + total @ h
    return sb.sign(z) * np.maximum(sb.abs(z) + b, 0)


@sb.cell
def doubly_stochastic(x: Input["m"], h: State["n"], W: Param["n m"], A: Param["n n"]):
    """A recurrent matrix made doubly stochastic by four rounds of Sinkhorn's iteration."""
    P = np.exp(A)
    for _ in range(4):
        P = P / P.sum(axis=1, keepdims=True)
        P = P / P.sum(axis=0, keepdims=True)
    return P @ h + np.tanh(W @ x)


# Geometry.


def hamilton(p: Any, q: Any) -> Any:
    """The product of quaternions along the last axis."""
    a, b, c, d = (p[..., i] for i in range(4))
    e, f, g, h = (q[..., i] for i in range(4))
    return np.stack([a * e - b * f - c * g - d * h, a * f + b * e + c * h - d * g,
                     a * g - b * h + c * e + d * f, a * h + b * g - c * f + d * e], axis=-1)  # fmt: skip


@sb.cell
def quaternion(x: Input["m"], Q: State["n 4"], W: Param["4 n m"], V: Param["n 4"]):
    """Quaternions turned by unit quaternions that the input makes."""
    turn = np.transpose(W @ x) + np.array([1.0, 0.0, 0.0, 0.0])
    turn = turn / np.sqrt(np.sum(turn * turn, axis=-1, keepdims=True))
    conjugate = turn * np.array([1.0, -1.0, -1.0, -1.0])
    return hamilton(hamilton(turn, Q), conjugate) + 0.1 * np.tanh(V * Q)


@sb.cell
def rotations(x: Input["m"], h: State["2*n"], W: Param["2*n m"], theta: Param["n"], phi: Param["n m"]):
    """Pairs of units turned by angles, then shifted by one against each other: a butterfly of an efficient unitary RNN."""
    pairs = h.reshape((-1, 2))
    angle = theta + phi @ x
    c, s = np.cos(angle), np.sin(angle)
    turned = np.stack([c * pairs[:, 0] - s * pairs[:, 1], s * pairs[:, 0] + c * pairs[:, 1]], axis=1)
    return np.tanh(np.roll(turned.reshape(-1), 1) + W @ x)


@sb.cell
def fourier_features(x: Input["m"], h: State["n"], Omega: Const["d n+m"], A: Param["n 2*d"], phase: Param["d"]):
    """A kernel machine as a recurrence: random features of [h, x]."""
    z = Omega @ np.concatenate([h, x], axis=0) + phase
    return A @ np.concatenate([np.cos(z), np.sin(z)]) / math.sqrt(2)


# Filters and physics.


@sb.cell
def scalar_kalman(
    x: Input["n"], mean: State["n"], var: State["n"], a: Param["n"], log_q: Param["n"], log_r: Param["n"]
):
    """A Kalman filter for each channel."""
    mean, var = a * mean, a**2 * var**2 + np.exp(log_q)
    gain = var / (var + np.exp(log_r))
    return mean + gain * (x - mean), np.sqrt((1 - gain) * var)


@sb.cell
def kalman_cell(y: Input, m: State["3"], L: State["3 3"], A: Param["3 3"], c: Param["3"], log_q: Param, log_r: Param):
    """A Kalman filter with one observed number: its gain is a division."""
    m, P = A @ m, A @ (L @ L.T) @ A.T + np.exp(log_q) * np.eye(3)
    Pc = P @ c
    s = c @ Pc + np.exp(log_r)
    innovation = y - c @ m
    return {"m": m + Pc * innovation / s, "L": (P - np.outer(Pc, Pc) / s) / 2,
            "loglik": -0.5 * (np.log(s) + innovation**2 / s)}  # fmt: skip


def rk4(f: Any, y: Any, dt: Any) -> Any:
    k1 = f(y)
    k2 = f(y + dt / 2 * k1)
    k3 = f(y + dt / 2 * k2)
    k4 = f(y + dt * k3)
    return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


@sb.cell
def neural_ode(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], tau: Param["n"], dt: Const = 0.5,
               substeps: Const = 2):  # fmt: skip
    """The state flows for a while under a field that the input sets; Runge and Kutta's fourth order."""
    drive = W @ x
    for _ in range(substeps):
        h = rk4(lambda v: (np.tanh(U @ v + drive) - v) / (0.5 + np.exp(tau)), h, dt / substeps)
    return h


@sb.cell
def liquid(
    x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], A: Param["n"], tau: Param["n"], dt: Const = 0.3
):
    """Liquid time constants by their fused solver: division by what the input makes."""
    for _ in range(3):
        f = sb.sigmoid(U @ h + W @ x)
        h = (h + dt * f * A) / (1 + dt * (1 / (1 + np.exp(tau)) + f))
    return h


@sb.cell
def hodgkin_huxley(current: Input["n"], v: State["n"], gate: State["3 n"], log_g: Param["3 n"], slope: Param["3 n"],
                   half: Param["3 n"]):  # fmt: skip
    """A conductance neuron in small units: three gates with sigmoid steady states, powers, and reversal potentials."""
    rest = 1 / (1 + np.exp(-(v - half) * (1 + slope**2)))
    gate = gate + 0.2 * (rest - gate)
    m, n, h = gate
    g = np.exp(log_g)
    ionic = g[0] * m**3 * h * (v - 1.0) + g[1] * n**4 * (v + 0.8) + g[2] * (v + 0.5)
    return v + 0.1 * (current - ionic), gate


# Switches and delays.


@sb.cell
def switching(x: Input["m"], u: Input, h: State["n"], W: Param["n m"], U: Param["2 n n"], level: Param):
    """Two linear regimes, chosen by the input, and a third where the state is large."""
    driven = np.where(u > level, U[0] @ h, U[1] @ h) + W @ x
    return sb.where((driven > 2) | (driven < -2), 2 * np.tanh(driven / 2), driven)


@sb.cell
def delay_line(x: Input["m"], line: State["4 n"], W: Param["n m"], U: Param["4 n n"], taps: Param["4"]):
    """A NARX network: skips over two, three and four steps."""
    new = np.tanh(W @ x + np.einsum("k,kij,kj->i", taps, U, line))
    return {"line": np.concatenate([new[None, :], line[:-1]]), "y": line[-1] - new}


@sb.cell
def echo_of_extremes(x: Input["m"], h: State["n"], high: State, W: Param["n m"], U: Param["n n"], a: Param):
    """A scalar that remembers the largest entry, clipped, and scales the next step."""
    h = np.tanh(W @ x + (1 + 0.1 * high) * (U @ h))
    return h, np.clip(a * high + np.max(h) - np.min(h), -3.0, 3.0)


# Cells inside cells.


@sb.cell
def inner_gru(x: Input["m"], h: State["n"], W: Param["3 n m"], U: Param["3 n n"]):
    z, r = sb.sigmoid(W[0] @ x + U[0] @ h), sb.sigmoid(W[1] @ x + U[1] @ h)
    return (1 - z) * h + z * np.tanh(W[2] @ x + r * (U[2] @ h))


@sb.cell
def nested(x: Input["m"], low: State["n"], high: State["n"], W1: Param["3 n m"], U1: Param["3 n n"], W2: Param["3 n n"],
           U2: Param["3 n n"], skip: Param["n n"]):  # fmt: skip
    """Layers that call a cell, with a feedback from the upper one."""
    low = inner_gru(x, low + 0.1 * high, W1, U1)
    high = inner_gru(low, high, W2, U2)
    return {"low": low, "high": high, "y": high + skip @ low}


CELLS: dict[str, sb.Cell] = {
    name: value for name, value in list(globals().items()) if isinstance(value, sb.Cell) and name != "inner_gru"
}

SIZES = {"m": 2, "n": 3, "d": 2, "k": 2, "v": 4, "a": 2, "p": 2, "s": 2, "e": 2, "r": 2, "q": 2}
