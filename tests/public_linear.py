"""Public cells that are linear in their state, or nearly: attention with a state, delta rules, state spaces. Rebuilt from
their papers; each docstring cites its source."""

from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Const, Input, Param, State


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def unit(v: Any) -> Any:
    """A vector, or each row of a matrix, of length one."""
    return v / np.sqrt(np.sum(v * v, axis=-1, keepdims=True) + 1e-6)


# RWKV.


@sb.cell
def rwkv4(x: Input["m"], last: State["m"], above: State["m"], num: State["m"], den: State["m"], top: State["m"], mix: Param["5 m"],
          K: Param["m m"], V: Param["m m"], R: Param["m m"], O: Param["m m"], decay: Param["m"], bonus: Param["m"],
          Kc: Param["f m"], Vc: Param["m f"], Rc: Param["m m"]):  # fmt: skip
    """Time mixing with a running maximum, then channel mixing: Peng and others 2023, arXiv:2305.13048, equations 11 to 19
    and appendix D."""
    k, v, r = K @ lerp(last, x, mix[0]), V @ lerp(last, x, mix[1]), R @ lerp(last, x, mix[2])
    q = np.maximum(top, bonus + k)
    old, new = np.exp(top - q), np.exp(bonus + k - q)
    x2 = x + O @ (sigmoid(r) * (old * num + new * v) / (old * den + new + 1e-3))
    w = -np.exp(decay)
    q = np.maximum(top + w, k)
    old, new = np.exp(top + w - q), np.exp(k - q)
    squared = np.maximum(Kc @ lerp(above, x2, mix[3]), 0) ** 2
    y = x2 + sigmoid(Rc @ lerp(above, x2, mix[4])) * (Vc @ squared)
    return {"last": x, "above": x2, "num": old * num + new * v, "den": old * den + new, "top": q, "y": y}


def lerp(a: Any, b: Any, weight: Any) -> Any:
    return a + (b - a) * weight


@sb.cell
def rwkv6(x: Input["m"], last: State["m"], S: State["a d d"], mu: Param["m"], A: Param["4 r m"], B: Param["4 m r"],
          lam: Param["4 m"], R: Param["a d m"], K: Param["a d m"], V: Param["a d m"], decay: Param["a d"], Wa: Param["r m"],
          Wb: Param["a d r"], bonus: Param["a d"]):  # fmt: skip
    """Finch: token shift and decay both follow the data through low ranks: Peng and others 2024, arXiv:2404.05892,
    equations 16 to 19."""
    shift = last - x
    inner = x + shift * mu
    xr, xk, xv, xw = (x + shift * (lam[i] + B[i] @ np.tanh(A[i] @ inner)) for i in range(4))
    r, k, v = R @ xr, K @ xk, V @ xv
    w = np.exp(-np.exp(decay + Wb @ np.tanh(Wa @ xw)))
    now = k[..., :, None] * v[..., None, :]
    y = np.squeeze(r[:, None, :] @ (S + bonus[:, :, None] * now), axis=1)
    return {"S": w[:, :, None] * S + now, "last": x, "y": y}


@sb.cell
def rwkv7(x: Input["m"], S: State["v k"], Wr: Param["k m"], Wk: Param["k m"], Wv: Param["v m"], Ww: Param["k m"], w0: Param["k"],
          Wa: Param["k m"], xi: Param["k"], alpha: Param["k"]):  # fmt: skip
    """Goose: a delta rule with vectors for decay and rate: Peng and others 2025, arXiv:2503.14456, equations 3 to 10 and 17."""
    k, v = Wk @ x, Wv @ x
    w = np.exp(-np.exp(-0.5) * sigmoid(w0 + Ww @ x))
    a = sigmoid(Wa @ x)
    kappa = unit(k * xi)
    k = k * (1 + (a - 1) * alpha)
    S = S * w - np.outer(S @ kappa, a * kappa) + np.outer(v, k)
    return {"S": S, "y": S @ (Wr @ x)}


# Attention with a state.


@sb.cell
def gated_linear_attention(x: Input["m"], S: State["a k v"], Wq: Param["a k m"], Wk: Param["a k m"], Wv: Param["a v m"],
                           A1: Param["r m"], A2: Param["a k r"], b: Param["a k"], Wr: Param["a v m"], Wo: Param["m a v"]):  # fmt: skip
    """GLA: a decay for each key, from a low rank and a sixteenth power: Yang and others 2023, arXiv:2312.06635, section 4.4."""
    q, k, v = Wq @ x, Wk @ x, Wv @ x
    alpha = sigmoid(A2 @ (A1 @ x) + b) ** (1 / 16)
    S = alpha[:, :, None] * S + np.einsum("ak,av->akv", k, v)
    read = np.einsum("ak,akv->av", q, S) / np.sqrt(Wk.shape[1])
    read = sb.layer_norm(read, axis=-1) * sb.silu(Wr @ x)
    return {"S": S, "y": np.tensordot(Wo, read, axes=2)}


@sb.cell
def hgrn2(x: Input["m"], S: State["k v"], Wf: Param["k m"], Wi: Param["v m"], Wo: Param["k m"], gamma: Param["3 k"]):
    """A forget gate with a floor that rises with depth, tied to the key: Qin and others 2024, arXiv:2404.07904, equation 3;
    the second of three layers."""
    floor = np.cumsum(sb.softmax(gamma, axis=0), axis=0)[1] - sb.softmax(gamma, axis=0)[0]
    f = floor + (1 - floor) * sigmoid(Wf @ x)
    S = f[:, np.newaxis] * S + (1 - f)[:, np.newaxis] * (Wi @ x)[np.newaxis, :]
    return {"S": S, "y": S.T @ sb.silu(Wo @ x)}


@sb.cell
def performer(
    x: Input["m"],
    S: State["p v"],
    z: State["p"],
    Wq: Param["k m"],
    Wk: Param["k m"],
    Wv: Param["v m"],
    Omega: Const["p k"],
):
    """Positive random features of the softmax kernel: Choromanski and others 2020, arXiv:2009.14794, equation 5 and
    section 2.5."""

    def features(u: Any) -> Any:
        return np.exp(Omega @ u - np.dot(u, u) / 2) / np.sqrt(Omega.shape[0]) + 1e-3

    q, k = features(Wq @ x), features(Wk @ x)
    S, z = S + np.outer(k, Wv @ x), z + k
    return {"S": S, "z": z, "y": (q @ S) / (1.0 + q @ z)}


@sb.cell
def based(x: Input["m"], S: State["1+d+d*d v"], Wq: Param["d m"], Wk: Param["d m"], Wv: Param["v m"]):
    """The exponential of attention to the second order: Arora and others 2024, arXiv:2402.18668, equation 4."""

    def taylor(u: Any) -> Any:
        return np.concatenate([np.ones_like(u[:1]), u, np.outer(u, u).ravel() / np.sqrt(2)])

    S = S + np.outer(taylor(Wk @ x), Wv @ x)
    return {"S": S, "y": taylor(Wq @ x) @ S}


@sb.cell
def gated_slots(x: Input["m"], K: State["s k"], V: State["s v"], Wq: Param["k m"], Wk: Param["k m"], Wv: Param["v m"],
                Wa: Param["s m"], temper: Const = 8.0):  # fmt: skip
    """GSA: two passes over gated slots with a softmax between them: Zhang and others 2024, arXiv:2409.07146, equation 8."""
    alpha = sigmoid(Wa @ x) ** (1 / temper)
    K = alpha[:, None] * K + (1 - alpha)[:, None] * (Wk @ x)
    V = alpha[:, None] * V + np.outer(1 - alpha, Wv @ x)
    return {"K": K, "V": V, "y": V.T @ sb.softmax(K @ sb.silu(Wq @ x))}


@sb.cell
def xlstm_block(x: Input["m"], buffer: State["3 m"], C: State["2 d d"], n: State["2 d"], top: State["2"], kernel: Param["4 m"],
                Wq: Param["2 d m"], Wk: Param["2 d m"], Wv: Param["2 d m"], wi: Param["2 m"], wf: Param["2 m"], bi: Param["2"],
                bf: Param["2"] = 3.0, gain: Param["d"] = 1.0, skip: Param["2 d m"] = 0.1):  # fmt: skip
    """The block of an mLSTM: a causal convolution before queries and keys, two heads, a group norm and a learned skip:
    Beck and others 2024, arXiv:2405.04517, figure 10."""
    window = np.concatenate([buffer, x[None]])
    conv = sb.silu(np.einsum("km,km->m", kernel, window))
    q, k, v = Wq @ conv, Wk @ conv / np.sqrt(Wk.shape[1]), Wv @ x
    i, log_f = wi @ conv + bi, -np.log1p(np.exp(-(wf @ conv + bf)))
    new = np.maximum(log_f + top, i)
    i, f = np.exp(i - new), np.exp(log_f + top - new)
    C = f[:, None, None] * C + i[:, None, None] * v[:, :, None] * k[:, None, :]
    n = f[:, None] * n + i[:, None] * k
    scale = np.maximum(np.abs(np.sum(n * q, axis=1)), np.exp(-new))
    h = np.squeeze(C @ q[:, :, None], -1) / scale[:, None]
    h = sb.layer_norm(h, gain, 0.0, axis=-1) + skip @ conv
    return {"buffer": window[1:], "C": C, "n": n, "top": new, "y": h}


# Rules of learning as recurrences.


@sb.cell
def longhorn(x: Input["m"], S: State["d k"], Wq: Param["k m"], Wk: Param["k m"], Wb: Param["d m"]):
    """The closed form of an implicit step of online regression: Liu and others 2024, arXiv:2407.14207, equation 6."""
    k, beta = Wk @ x, sigmoid(Wb @ x)
    delta = beta / (1 + beta * (k @ k))
    S = (1 - np.outer(delta, k**2)) * S + np.outer(delta * (Wb @ x), k)
    return {"S": S, "y": S @ (Wq @ x)}


@sb.cell
def titans_memory(x: Input["m"], M1: State["h k"], M2: State["v h"], S1: State["h k"], S2: State["v h"], Wq: Param["k m"],
                  Wk: Param["k m"], Wv: Param["v m"], w: Param["3 m"]):  # fmt: skip
    """A perceptron as a memory, which learns by gradient steps with momentum and forgetting: Behrouz, Zhong, Mirrokni 2025,
    arXiv:2501.00663, equations 13 and 14."""
    alpha, eta, theta = sigmoid(w @ x)
    k, v, q = unit(Wk @ x), Wv @ x, unit(Wq @ x)
    hidden = np.tanh(M1 @ k)
    error = 2 * (M2 @ hidden - v)
    back = (M2.T @ error) * (1 - hidden**2)
    S1, S2 = eta * S1 - theta * np.outer(back, k), eta * S2 - theta * np.outer(error, hidden)
    M1, M2 = (1 - alpha) * M1 + S1, (1 - alpha) * M2 + S2
    return {"M1": M1, "M2": M2, "S1": S1, "S2": S2, "y": M2 @ np.tanh(M1 @ q)}


@sb.cell
def least_squares(x: Input["k"], y: Input, w: State["k"], P: State["k k"], log_forget: Param):
    """Recursive least squares with forgetting: Haykin 2002, Adaptive Filter Theory, chapter 9, table 9.1."""
    forget = sigmoid(log_forget)
    Px = P @ x
    gain = Px / (forget + x @ Px + 1.0)
    error = y - w @ x
    return {"w": w + gain * error, "P": (P - np.outer(gain, x @ P)) / (1 + forget), "error": error}


@sb.cell
def plastic(x: Input["m"], h: State["n"], hebb: State["n n"], W: Param["n m"], U: Param["n n"], alpha: Param["n n"], wm: Param["n"],
            bm: Param):  # fmt: skip
    """Weights that the network itself modulates: Miconi, Rawal, Clune, Stanley 2020, arXiv:2002.10585, equations 1 to 3."""
    new = np.tanh(W @ x + (U + alpha * hebb) @ h)
    eta = np.tanh(wm @ new + bm)
    return {"h": new, "hebb": np.clip(hebb + eta * np.outer(new, h), -1.0, 1.0)}


# State spaces.


@sb.cell
def griffin(x: Input["m"], past: State["3 n"], h: State["n"], Wx: Param["n m"], kernel: Param["4 n"], bias: Param["n"], Wa: Param["n n"],
            ba: Param["n"], Wi: Param["n n"], bi: Param["n"], lam: Param["n"], Wg: Param["n m"], Wo: Param["m n"]):  # fmt: skip
    """RG-LRU behind a causal convolution, beside a gelu gate: De and others 2024, arXiv:2402.19427, equations 1 to 4."""
    u = Wx @ x
    window = np.concatenate([past, u[None, :]], axis=0)
    u = (kernel * window).sum(axis=0) + bias
    r, i = sigmoid(Wa @ u + ba), sigmoid(Wi @ u + bi)
    log_a = -8.0 * np.log1p(np.exp(lam)) * r
    h = np.exp(log_a) * h + np.sqrt(-np.expm1(2 * log_a) + 1e-6) * (i * u)
    return {"past": window[1:], "h": h, "y": Wo @ (h * sb.gelu(Wg @ x))}


@sb.cell
def mamba_block(x: Input["m"], past: State["3 d"], h: State["d s"], Wi: Param["2 d m"], kernel: Param["d 4"], bias: Param["d"],
                Wb: Param["s d"], Wc: Param["s d"], Wd1: Param["r d"], Wd2: Param["d r"], bd: Param["d"], log_A: Param["d s"],
                D: Param["d"] = 1.0):  # fmt: skip
    """Projection, convolution, selective state space and gate: Gu, Dao 2023, arXiv:2312.00752, figure 3 and algorithm 2."""
    u, z = Wi @ x
    window = np.concatenate((past, u.reshape(1, -1)))
    u = sb.silu(np.sum(kernel.T * window, axis=0) + bias)
    delta = np.logaddexp(0, Wd2 @ (Wd1 @ u) + bd)
    A = -np.exp(log_A)
    h = np.exp(delta[:, None] * A) * h + (delta * u)[:, None] * (Wb @ u)
    return {"past": window[1:, :], "h": h, "y": (h @ (Wc @ u) + D * u) * sb.silu(z)}


def legs(order: int) -> tuple[Any, Any]:
    n, k = np.meshgrid(np.arange(order), np.arange(order), indexing="ij")
    root = np.sqrt((2 * n + 1) * (2 * k + 1))
    return np.where(n > k, root, np.where(n == k, n + 1.0, 0.0)), np.sqrt(2 * np.arange(order) + 1.0)


LEGS_A, LEGS_B = legs(4)


@sb.cell
def hippo_legs(x: Input["m"], h: State["n"], c: State["4"], t: State, W: Param["n m"], U: Param["n n"], V: Param["n 4"], e: Param["n"],
               We: Param["n n"], b: Param["2 n"]):  # fmt: skip
    """A gated network whose scalar summary is projected on polynomials of all the past: Gu, Dao, Ermon, Rudra, Ré 2020,
    arXiv:2008.07669, theorem 2 and appendix F."""
    f = e @ h
    age = 1 + np.abs(t)
    c = c - (LEGS_A @ c - LEGS_B * f) / age
    g = sigmoid(We @ h + b[0])
    return {"h": (1 - g) * h + g * np.tanh(W @ x + U @ h + V @ c + b[1]), "c": c, "t": age}


@sb.cell
def damped_average(x: Input["m"], u: State["m k"], alpha: Param["m k"], delta: Param["m k"], beta: Param["m k"], eta: Param["m k"],
                   omega: Param["m"]):  # fmt: skip
    """MEGA's damped exponential moving average in many dimensions: Ma and others 2022, arXiv:2209.10655, equation 4."""
    p, d = sigmoid(alpha), sigmoid(delta)
    u = p * (beta * x[:, None]) + (1 - p * d) * u
    return {"u": u, "y": sb.silu((u * eta).sum(-1) / np.sqrt(u.shape[-1]) + omega * x)}


@sb.cell
def h3(x: Input["m"], line: State["3 m"], S: State["m n"], Wq: Param["m m"], Wk: Param["m m"], Wv: Param["m m"], taps: Param["3 m"],
       a: Param["m n"], c: Param["m n"], D: Param["m"]):  # fmt: skip
    """A shift and a diagonal state space between three projections: Fu and others 2022, arXiv:2212.14052, algorithm 1."""
    line = np.concatenate([(Wk @ x)[None], line[:2]])
    shifted = np.sum(taps * line, axis=0)
    kv = shifted * (Wv @ x)
    S = np.tanh(a) * S + kv[:, None]
    return {"line": line, "S": S, "y": (Wq @ x) * (np.sum(c * S, axis=1) + D * kv)}


CELLS: dict[str, sb.Cell] = {name: value for name, value in list(globals().items()) if isinstance(value, sb.Cell)}
