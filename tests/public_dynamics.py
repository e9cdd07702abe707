"""Public cells from dynamics: neurons, circuits, differential equations, filters, controllers, memories with addresses.
Rebuilt from their papers; each docstring cites its source."""

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

import symbptt as sb
from symbptt import Const, Index, Input, Param, State


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


# Neurons that spike.

spike = sb.function("spike", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + 10 * sp.Abs(v)) ** 2)
triangle = sb.function("triangle", lambda v: sp.Heaviside(v), derivative=lambda v: 0.3 * sp.Max(0, 1 - sp.Abs(v)))


@sb.cell
def current_lif(x: Input["m"], i: State["n"], v: State["n"], s: State["n"], wait: State["n"], W: Param["n m"], U: Param["n n"],
                alpha: Const = 0.7, beta: Const = 0.9, rest: Const = 2.0):  # fmt: skip
    """Synaptic currents, a hard reset and a refractory time that is counted down: Neftci, Mostafa, Zenke 2019,
    arXiv:1901.09948, equations 4 and 5."""
    i = alpha * i + W @ x + U @ s
    is_free = wait <= 0
    v = np.where(is_free, (beta * v + (1 - beta) * i) * (1 - sb.stop_gradient(s)), 0.0)
    s = np.where(is_free, spike(v - 0.2), 0.0)
    return {"i": i, "v": v, "s": s, "wait": np.where(s > 0, rest, np.maximum(wait - 1, 0))}


@sb.cell
def izhikevich(x: Input["m"], v: State["n"], u: State["n"], s: State["n"], W: Param["n m"], U: Param["n n"], a: Const = 0.02,
               b: Const = 0.2, c: Const = -65.0, d: Const = 8.0):  # fmt: skip
    """The simple model, in two half steps for the voltage: Izhikevich 2003, IEEE Transactions on Neural Networks 14,
    equations 1 to 3."""
    drive = 20 * (W @ x) + 20 * (U @ s)
    v = -60 + 10 * v
    for _ in range(2):
        v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - 10 * u + drive) / 4
    fired = spike((v - 30) / 30)
    v, u = v + fired * (c - v), u + a * (b * v / 10 - u) + fired * d / 10
    return {"v": np.clip((v + 60) / 10, -3, 3), "u": u, "s": fired}


@sb.cell
def glif_three(x: Input["m"], v: State["n"], after: State["2 n"], s: State["n"], W: Param["n m"], U: Param["n n"], k: Param["2 n"],
               jump: Param["2 n"], log_tau: Param["n"]):  # fmt: skip
    """Leaky integrate-and-fire with after-spike currents: Teeter and others 2018, Nature Communications 9, model 3."""
    leak = np.exp(-np.exp(log_tau))
    after = (1 - sigmoid(k)) * after + jump * s
    v = leak * v + (1 - leak) * (W @ x + U @ s + after.sum(axis=0)) - s * 0.5
    return v, after, triangle((v - 0.3) / 0.3)


# Rates and circuits.

SIGNS = np.array([1.0, 1.0, 1.0, -1.0])


@sb.cell
def dale(x: Input["m"], r: State["4"], noise: Input["4"], W: Param["4 m"], U: Param["4 4"], b: Param["4"], mask: Const["4 4"],
         alpha: Const = 0.2, sigma: Const = 0.1):  # fmt: skip
    """Excitatory and inhibitory units whose weights keep their signs: Song, Yang, Wang 2016, PLOS Computational Biology 12,
    equations 9 to 15."""
    strength = np.abs(U) * mask @ np.diag(SIGNS)
    current = (1 - alpha) * r + alpha * (strength @ np.maximum(r, 0) + np.maximum(W, 0) @ x + b)
    return current + np.sqrt(2 * alpha) * sigma * noise


@sb.cell
def wilson_cowan(p: Input["n"], e: State["n"], i: State["n"], w: Param["4 n"], gain: Param["2 n"], theta: Param["2 n"],
                 dt: Const = 0.3, refractory: Const = 0.5):  # fmt: skip
    """Populations with saturating responses, by Heun's method: Wilson, Cowan 1972, Biophysical Journal 12, equation 11."""

    def response(k: int, v: Any) -> Any:
        return sigmoid(gain[k] * (v - theta[k])) - sigmoid(-gain[k] * theta[k])

    def field(e: Any, i: Any) -> tuple[Any, Any]:
        de = -e + (1 - refractory * e) * response(0, w[0] * e - w[1] * i + p)
        di = -i + (1 - refractory * i) * response(1, w[2] * e - w[3] * i)
        return de, di

    de, di = field(e, i)
    de2, di2 = field(e + dt * de, i + dt * di)
    return e + dt / 2 * (de + de2), i + dt / 2 * (di + di2)


@sb.cell
def plastic_synapses(x: Input["m"], h: State["n"], eff: State["n"], use: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"],
                     rest: Param["n"] = 0.2, dt: Const = 0.1, tau_x: Const = 0.4, tau_u: Const = 1.5):  # fmt: skip
    """Synapses that facilitate and run dry: Masse, Yang, Song, Wang, Freedman 2019, Nature Neuroscience 22, equations 4
    and 5."""
    eff = np.clip(eff + dt / tau_x * (1 - eff) - dt * use * eff * h, 0, 1)
    use = np.clip(use + dt / tau_u * (rest - use) + dt * rest * (1 - use) * h, 0, 1)
    return 0.8 * h + 0.2 * np.maximum(W @ x + U @ (use * eff * h) + b, 0), eff, use


ANGLES = 2 * np.pi * np.arange(6) / 6
BUMP = (np.cos(ANGLES[:, None] - ANGLES) - 0.3) / 2


@sb.cell
def ring_attractor(velocity: Input, cue: Input["6"], r: State["6"], gain: Param, b: Param, W: Param["6 6"]):
    """A heading that a velocity turns by shifted copies of the bump: Zhang 1996, Journal of Neuroscience 16, section 4."""
    shifted = (np.roll(r, 1) - np.roll(r, -1)) / 2
    drive = (BUMP + 0.1 * W) @ r + gain * velocity * shifted + 0.5 * cue + b
    r = 0.5 * r + 0.5 * np.log1p(np.exp(2 * drive)) / 2
    return {"r": r, "heading": np.stack([np.cos(ANGLES) @ r, np.sin(ANGLES) @ r]) / (1e-3 + np.sum(r))}


@sb.cell
def kuramoto(x: Input["n 3"], z: State["n 3"], J: Param["n n 3 3"], omega: Param["n 3 3"], step: Const = 0.3):
    """Oscillating neurons on spheres, pulled along their tangents: Miyato, Löwe, Geiger, Welling 2024, arXiv:2410.13821,
    equation 2."""
    pull = x + np.einsum("ijab,jb->ia", J, z)
    tangent = pull - np.sum(pull * z, axis=1, keepdims=True) * z
    turn = np.squeeze((omega - np.swapaxes(omega, 1, 2)) @ z[:, :, None], axis=2)
    z = z + step * (turn + tangent)
    return z / np.sqrt(np.sum(np.square(z), axis=1, keepdims=True) + 1e-6)


@sb.cell
def lorenz96(force: Input["n"], x: State["n"], F: Param, a: Param["n"], dt: Const = 0.05):
    """Waves on a ring, by the classical method of Runge and Kutta: Lorenz 1996, Predictability, equation 1."""

    def field(v: Any) -> Any:
        return (np.roll(v, -1) - np.roll(v, 2)) * np.roll(v, 1) - a * v + F + force

    k1 = field(x)
    k2 = field(x + dt / 2 * k1)
    k3 = field(x + dt / 2 * k2)
    k4 = field(x + dt * k3)
    return x + dt * (k1 + 2 * k2 + 2 * k3 + k4) / 6


@sb.cell
def feedback_reservoir(x: Input["m"], teacher: Input["k"], forced: Input, h: State["n"], y: State["k"], Win: Const["n m"],
                       U: Const["n n"], Wfb: Const["n k"], Wout: Param["k n+m+1"], leak: Param = 0.4):  # fmt: skip
    """A leaky echo state network whose output feeds back, or the teacher in its place: Jaeger, Lukoševičius, Popovici,
    Siewert 2007, Neural Networks 20, equation 2."""
    back = np.where(forced > 0, teacher, y)
    h = (1 - leak) * h + leak * np.tanh(Win @ x + 0.9 * U @ h + Wfb @ back)
    return h, Wout @ np.concatenate([h, x, np.ones_like(x[:1])])


# Continuous time.


@sb.cell
def closed_form(
    x: Input["m"], elapsed: Input, h: State["n"], W: Param["d m+n"], b: Param["d"], F: Param["4 n d"], c: Param["4 n"]
):
    """CfC: a gate in closed form of the time since the last input: Hasani and others 2022, arXiv:2106.13898, equation 10."""
    z = 1.7159 * np.tanh(0.666 * (W @ np.concatenate((x, h)) + b))
    one, two, a, t = F @ z + c
    one, two = np.tanh(one), np.tanh(two)
    gate = sigmoid(a * elapsed + t)
    return one * (1.0 - gate) + gate * two


@sb.cell
def neural_circuit(x: Input["m"], v: State["n"], g_in: Param["n m"], mu_in: Param["n m"], s_in: Param["n m"], e_in: Param["n m"],
                   g: Param["n n"], mu: Param["n n"], s: Param["n n"], e: Param["n n"], leak: Param["n"] = 0.3,
                   rest: Param["n"] = 0.0, cap: Param["n"] = 0.6, wiring: Const["n n"] = 1.0, unfolds: Const = 3):  # fmt: skip
    """Conductances with reversal potentials in a fused solver: Lechner and others 2020, Nature Machine Intelligence 2,
    methods; wired as the sign of a constant says."""
    w_in = sb.softplus(g_in) * sigmoid(s_in * (x - mu_in))
    for _ in range(unfolds):
        w = sb.softplus(g) * sigmoid(s * (v[None, :] - mu)) * np.abs(wiring)
        pulled = (
            unfolds * sb.softplus(cap) * v
            + sb.softplus(leak) * rest
            + np.sum(w * e * wiring, 1)
            + np.sum(w_in * e_in, 1)
        )
        v = pulled / (unfolds * sb.softplus(cap) + sb.softplus(leak) + np.sum(w, 1) + np.sum(w_in, 1) + 1e-8)
    return v


def midpoint(field: Callable[[Any], Any], h: Any, dt: Any) -> Any:
    return h + dt * field(h + dt / 2 * field(h))


@sb.cell
def gru_ode_bayes(x: Input["m"], seen: Input["m"], dt: Input, h: State["n"], U: Param["3 n n"], b: Param["3 n"], Wp: Param["2 m n"],
                  Wz: Param["n 4 m"], bz: Param["n"], Wu: Param["2 n n"], Uu: Param["2 n n"]):  # fmt: skip
    """A GRU as a differential equation, and a jump where something is observed: De Brouwer, Simm, Arany, Moreau 2019,
    arXiv:1905.12374, equations 3 to 5."""

    def field(h: Any) -> Any:
        r, z = sigmoid(U[0] @ h + b[0]), sigmoid(U[1] @ h + b[1])
        return (1 - z) * (np.tanh(U[2] @ (r * h) + b[2]) - h)

    for _ in range(2):
        h = midpoint(field, h, np.abs(dt) / 2)
    mean, log_var = Wp @ h
    error = (x - mean) / np.exp(log_var / 2)
    q = np.maximum(np.tensordot(Wz, np.stack([x, mean, log_var, error]) * seen, axes=2) + bz, 0)
    update = sigmoid(Wu[0] @ q + Uu[0] @ h)
    jumped = update * h + (1 - update) * np.tanh(Wu[1] @ q + Uu[1] @ h)
    h = np.where(np.max(seen) > 0, jumped, h)
    loss = 0.5 * np.sum(np.where(seen > 0, error**2 + log_var, 0))
    return {"h": h, "nll": loss}


@sb.cell
def lipschitz(x: Input["m"], h: State["n"], A: Param["n n"], W: Param["n n"], V: Param["n m"], b: Param["n"], beta: Const = 0.75,
              gamma: Const = 0.1, eps: Const = 0.3):  # fmt: skip
    """Symmetric and skew parts that are mixed and shifted: Erichson, Azencot, Queiruga, Hodgkinson, Mahoney 2020,
    arXiv:2006.12070, equation 4."""

    def mixed(M: Any) -> Any:
        return (1 - beta) * (M + M.T) + beta * (M - M.T)

    return h + eps * (mixed(A) @ h - gamma * h + np.tanh(mixed(W) @ h - gamma * h + V @ x + b))


# Filters and control.


@sb.cell
def recurrent_kalman(w: Input["n"], log_obs: Input["n"], mean: State["2*n"], up: State["n"], low: State["n"], side: State["n"],
                     B: Param["3 4 n"], K: Param["3 2*n"], log_q: Param["2 n"]):  # fmt: skip
    """RKN: a Kalman filter whose covariance is three diagonals: Becker, Pandya, Gebhardt, Zhao, Taylor, Neumann 2019,
    arXiv:1905.07357, equations 1 to 5."""
    n = w.shape[0]
    shares = sb.softmax(K @ mean)
    b11, b12, b21, b22 = np.tensordot(shares, B, axes=1)
    b11, b22 = 1 + 0.1 * b11, 1 + 0.1 * b22
    mu, ml = mean[:n], mean[n:]
    pu, pl = b11 * mu + b12 * ml, b21 * mu + b22 * ml
    up, low, side = np.exp(up), np.exp(low), np.tanh(side)
    cu = b11**2 * up + 2 * b11 * b12 * side + b12**2 * low + np.exp(log_q[0])
    cl = b21**2 * up + 2 * b21 * b22 * side + b22**2 * low + np.exp(log_q[1])
    cs = b21 * b11 * up + b22 * b11 * side + b12 * b21 * side + b22 * b12 * low
    below = np.abs(cu) + np.exp(log_obs)
    qu, ql = cu / below, cs / below
    error = w - pu
    return {"mean": np.concatenate([pu + qu * error, pl + ql * error]), "up": np.log(0.1 + np.abs((1 - qu) * cu)),
            "low": np.log(0.1 + np.abs(cl - ql * cs)), "side": np.tanh((1 - qu) * cs)}  # fmt: skip


@sb.cell
def pid(target: Input, plant: State["2"], total: State, before: State, kp: Param, ki: Param, kd: Param, A: Param["2 2"], b: Param["2"],
        limit: Const = 1.0, dt: Const = 0.1):  # fmt: skip
    """A plant under a controller whose integral stops where it saturates: Åström, Murray 2008, Feedback Systems, section 10.4."""
    error = target - plant[0]
    wanted = kp * error + ki * total + kd * (error - before) / dt
    u = np.clip(wanted, -limit, limit)
    total = total + dt * np.where(wanted == u, error, 0.0)
    return plant + dt * (A @ plant + b * u), total, error


@sb.cell
def holt_winters(y: Input["n"], level: State["n"], trend: State["n"], season: State["4 n"], a: Param["n"], b: Param["n"], g: Param["n"],
                 damp: Param["n"]):  # fmt: skip
    """Smoothing with a damped trend and a season of four: Smyl 2020, International Journal of Forecasting 36, equation 2."""
    alpha, beta, gamma, phi = sigmoid(a), sigmoid(b), sigmoid(g), sigmoid(damp)
    seen = np.exp(season[0])
    new = alpha * y / (0.5 + seen) + (1 - alpha) * (level + phi * trend)
    trend = beta * (new - level) + (1 - beta) * phi * trend
    late = gamma * np.tanh(y - new) + (1 - gamma) * season[0]
    return {
        "level": new,
        "trend": trend,
        "season": np.concatenate([season[1:], late[None]]),
        "forecast": (new + trend) * season[1],
    }


@sb.cell
def hidden_markov(word: Index["v"], belief: State["k"], A: Param["k k"], B: Param["k v"]):
    """The forward algorithm in logarithms: Rabiner 1989, Proceedings of the IEEE 77, equations 19 to 21."""
    log_A = A - np.log(np.sum(np.exp(A), axis=1, keepdims=True))
    log_B = sb.log_softmax(B, axis=1)
    scores = sb.logsumexp(belief[:, None] + log_A, axis=0) + log_B[:, word]
    norm = sb.logsumexp(scores)
    return {"belief": scores - norm, "loglik": norm}


@sb.cell
def soft_viterbi(score: Input["k"], v: State["k"], A: Param["k k"], gamma: Const = 0.5):
    """The smoothed maximum of paths: Mensch, Blondel 2018, arXiv:1802.03676, equation 8."""
    best = v[:, None] + A
    return (
        gamma * (np.log(np.sum(np.exp((best - np.max(best, axis=0)) / gamma), axis=0))) + np.max(best, axis=0) + score
    )


# Memories.


@sb.cell
def entity_network(
    x: Input["m"],
    H: State["5 m"],
    keys: Param["5 m"],
    U: Param["m m"],
    V: Param["m m"],
    W: Param["m m"],
    slope: Param = 0.3,
):
    """Slots that open for what they know, of length one: Henaff, Weston, Szlam, Bordes, LeCun 2016, arXiv:1612.03969,
    equations 2 to 5."""
    gate = sigmoid(H @ x + keys @ x)
    a = H @ U.T + keys @ V.T + W @ x
    H = H + gate[:, None] * np.where(a > 0, a, slope * a)
    return H / np.sqrt(np.sum(H**2, axis=-1, keepdims=True) + 1e-3)


@sb.cell
def dnc_links(x: Input["m"], h: State["n"], M: State["4 d"], L: State["4 4"], p: State["4"], read: State["4"], write: State["4"],
              W: Param["n m+d"], U: Param["n n"], Wk: Param["2 d n"], Wm: Param["3 n"], We: Param["d n"], Wv: Param["d n"], wg: Param["2 n"],
              off: Const["4 4"]):  # fmt: skip
    """A differentiable neural computer with temporal links, written by content: Graves and others 2016, Nature 538,
    methods."""
    h = np.tanh(W @ np.concatenate([x, M.T @ read]) + U @ h)

    def content(key: Any) -> Any:
        near = M @ key / np.sqrt((np.sum(M * M, axis=1) + 1e-3) * (np.sum(key * key) + 1e-3))
        return sb.softmax(3 * near)

    gate = sigmoid(wg @ h)
    new = gate[0] * (gate[1] * content(Wk[0] @ h) + (1 - gate[1]) * write)
    M = M * (1 - np.outer(new, sigmoid(We @ h))) + np.outer(new, np.tanh(Wv @ h))
    L = off * ((1 - new[:, None] - new[None, :]) * L + new[:, None] * p[None, :])
    p = (1 - np.sum(new)) * p + new
    modes = sb.softmax(Wm @ h)
    read = modes[0] * (L.T @ read) + modes[1] * content(Wk[1] @ h) + modes[2] * (L @ read)
    return {"h": h, "M": M, "L": L, "p": p, "read": read, "write": new, "y": read @ M}


@sb.cell
def independent_mechanisms(x: Input["m"], h: State["3 n"], Wk: Param["d m"], Wq: Param["3 d n"], Wv: Param["n m"], U: Param["3 n n"],
                           b: Param["3 n"], Q: Param["3 d n"], K: Param["3 d n"], V: Param["3 n n"]):  # fmt: skip
    """Modules that compete for the input and speak to each other by attention, softly: Goyal and others 2019,
    arXiv:1909.10893, equations 1 to 4."""
    rows = np.stack([x, np.zeros_like(x)])
    scores = np.einsum("rdn,rn,im,dm->ri", Wq, h, rows, Wk) / np.sqrt(Wk.shape[0])
    shares = sb.softmax(scores, axis=-1)
    active = shares[:, :1]
    new = np.tanh(np.squeeze(U @ h[:, :, None], axis=2) + active * (Wv @ x) + b)
    q, k, v = (np.einsum("rdn,rn->rd", M, new) for M in (Q, K, V))
    talk = sb.softmax(q @ k.T / np.sqrt(Q.shape[1])) @ v
    return active * (new + talk) + (1 - active) * h


@sb.cell
def pointer_sentinel(word: Index["v"], h: State["n"], keys: State["3 n"], words: State["3 v"], E: Param["v n"], U: Param["n n"],
                     Wq: Param["n n"], s: Param["n"], one_hot: Const["v v"]):  # fmt: skip
    """A language model that mixes its vocabulary with a window of the past: Merity, Xiong, Bradbury, Socher 2016,
    arXiv:1609.07843, equations 6 to 8."""
    h = np.tanh(E[word] + U @ h)
    q = np.tanh(Wq @ h)
    keys, words = np.concatenate([keys[1:], h[None]]), np.concatenate([words[1:], one_hot[word][None]])
    scores = sb.softmax(np.concatenate([keys @ q, (s @ q).reshape(1)]))
    return {"h": h, "keys": keys, "words": words, "p": scores[3] * sb.softmax(E @ h) + scores[:3] @ words}


CELLS: dict[str, sb.Cell] = {name: value for name, value in list(globals().items()) if isinstance(value, sb.Cell)}
