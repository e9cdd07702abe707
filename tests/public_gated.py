"""Public cells with gates, rebuilt from their papers: each docstring cites its source. The body is one sample and one step."""

from typing import Any

import numpy as np
import sympy as sp

import symbptt as sb
from symbptt import Const, Index, Input, Param, State


def sigmoid(v: Any) -> Any:
    """As papers write it."""
    return 1 / (1 + np.exp(-v))


# LSTMs.


@sb.cell
def lstmp(x: Input["m"], r: State["p"], c: State["n"], W: Param["4*n m"], R: Param["4*n p"], b: Param["4*n"],
          peep: Param["3 n"], P: Param["p n"]):  # fmt: skip
    """An LSTM with peepholes and a recurrent projection: Sak, Senior, Beaufays 2014, arXiv:1402.1128, equations 7 to 13."""
    i, f, g, o = np.split(W @ x + R @ r + b, 4)
    i, f = sigmoid(i + peep[0] * c), sigmoid(f + peep[1] * c)
    c = f * c + i * np.tanh(g)
    o = sigmoid(o + peep[2] * c)
    return {"r": P @ (o * np.tanh(c)), "c": c}


@sb.cell
def mogrifier_lstm(x: Input["m"], h: State["n"], c: State["n"], Q: Param["3 m n"], R: Param["2 n m"], W: Param["4 n m"],
                   U: Param["4 n n"], b: Param["4 n"]):  # fmt: skip
    """Input and state gate each other five times before the LSTM: Melis, Kocisky, Blunsom 2020, arXiv:1909.01792."""
    hidden = h
    for i in range(5):
        if i % 2 == 0:
            x = 2 * sigmoid(Q[i // 2] @ hidden) * x
        else:
            hidden = 2 * sigmoid(R[i // 2] @ x) * hidden
    i, f, g, o = W @ x + U @ hidden + b
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@sb.cell
def janet(x: Input["m"], h: State["n"], Uf: Param["n n"], Wf: Param["n m"], bf: Param["n"], Uc: Param["n n"], Wc: Param["n m"],
          bc: Param["n"], beta: Const = 1.0):  # fmt: skip
    """Just another net: an LSTM with a forget gate alone: van der Westhuizen, Lasenby 2018, arXiv:1804.04849."""
    s = Uf @ h + Wf @ x + bf
    c_tilde = np.tanh(Uc @ h + Wc @ x + bc)
    return sigmoid(s) * h + (1 - sigmoid(s - beta)) * c_tilde


@sb.cell
def indy_lstm(x: Input["m"], h: State["n"], c: State["n"], W: Param["4 n m"], u: Param["4 n"], b: Param["4 n"]):
    """Recurrent weights are one number a unit and a gate: Gonnet, Deselaers 2019, arXiv:1903.08023."""
    f, i, o, g = np.matmul(W, x) + u * h + b
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return {"c": c, "h": np.tanh(c) * sigmoid(o)}


def standardised(v: Any, gain: Any, bias: Any) -> Any:
    """Layer normalisation in longhand."""
    centred = v - v.mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) + bias


@sb.cell
def layer_norm_lstm(x: Input["m"], h: State["n"], c: State["n"], W: Param["4*n m"], U: Param["4*n n"], b: Param["4*n"],
                    g1: Param["4*n"] = 1.0, g2: Param["4*n"] = 1.0, g3: Param["n"] = 1.0, b3: Param["n"] = 0.0):  # fmt: skip
    """Three normalisations: Ba, Kiros, Hinton 2016, arXiv:1607.06450, equations 20 to 22."""
    a = standardised(U @ h, g1, 0.0) + standardised(W @ x, g2, 0.0) + b
    f, i, o, g = np.split(a, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(standardised(c, g3, b3)), c


@sb.cell
def nested_lstm(x: Input["m"], h: State["n"], c: State["n"], inner: State["n"], W: Param["4 n m"], U: Param["4 n n"],
                b: Param["4 n"], Wi: Param["4 n n"], Ui: Param["4 n n"], bi: Param["4 n"]):  # fmt: skip
    """The sum in the memory of an LSTM is an LSTM: Moniz, Krueger 2017, arXiv:1801.10308."""
    i, f, o, g = W @ x + U @ h + b
    h_in, x_in = sigmoid(f) * c, sigmoid(i) * np.tanh(g)
    i2, f2, o2, g2 = Wi @ x_in + Ui @ h_in + bi
    inner = sigmoid(f2) * inner + sigmoid(i2) * np.tanh(g2)
    c = sigmoid(o2) * np.tanh(inner)
    return sigmoid(o) * np.tanh(c), c, inner


@sb.cell
def phased_lstm(x: Input["m"], time: Input, h: State["n"], c: State["n"], W: Param["4 n m"], U: Param["4 n n"], b: Param["4 n"],
                period: Param["n"] = 2.5, shift: Param["n"] = 0.3, open_for: Const = 0.6, leak: Const = 0.01):  # fmt: skip
    """A clock opens each unit for a part of its period: Neil, Pfeiffer, Liu 2016, arXiv:1610.09513, equation 6."""
    phase = np.mod(time - shift, period) / period
    rising, falling = 2 * phase / open_for, 2 - 2 * phase / open_for
    k = np.where(phase < open_for / 2, rising, np.where(phase < open_for, falling, leak * phase))
    i, f, o, g = W @ x + U @ h + b
    c_new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h_new = sigmoid(o) * np.tanh(c_new)
    return {"h": k * h_new + (1 - k) * h, "c": k * c_new + (1 - k) * c}


@sb.cell
def time_aware_lstm(x: Input["m"], elapsed: Input, h: State["n"], c: State["n"], Wd: Param["n n"], bd: Param["n"],
                    W: Param["4 n m"], U: Param["4 n n"], b: Param["4 n"]):  # fmt: skip
    """The short part of the memory fades with the time since the last visit: Baytas and others 2017, KDD, section 3.2."""
    short = np.tanh(Wd @ c + bd)
    c = c - short + short / np.log(np.e + np.abs(elapsed))
    f, i, o, g = (W[k] @ x + U[k] @ h + b[k] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@sb.cell
def hyper_lstm(x: Input["m"], h: State["n"], c: State["n"], hh: State["p"], hc: State["p"], Wp: Param["4 p n+m"],
               Up: Param["4 p p"], bp: Param["4 p"], Zh: Param["4 z p"], Zx: Param["4 z p"], Zb: Param["4 z p"],
               Dh: Param["4 n z"], Dx: Param["4 n z"], Db: Param["4 n z"], W: Param["4 n m"], U: Param["4 n n"],
               b: Param["4 n"]):  # fmt: skip
    """A small LSTM makes the row scales of a large one: Ha, Dai, Le 2016, arXiv:1609.09106, appendix A.2."""
    i, g, f, o = Wp @ np.concatenate([h, x]) + Up @ hh + bp
    hc = sigmoid(f) * hc + sigmoid(i) * np.tanh(g)
    hh = sigmoid(o) * np.tanh(hc)
    scales = [np.einsum("gnz,gz->gn", D, Z @ hh) for D, Z in ((Dh, Zh), (Dx, Zx), (Db, Zb))]
    i, g, f, o = scales[0] * (U @ h) + scales[1] * (W @ x) + scales[2] + b
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c, hh, hc


@sb.cell
def working_memory_lstm(x: Input["m"], h: State["n"], c: State["n"], W: Param["4 n m"], U: Param["4 n n"], V: Param["3 n n"],
                        b: Param["4 n"]):  # fmt: skip
    """Gates see the memory through a squashed product: Landi and others 2021, arXiv:2109.00020, equations 9 to 14."""
    a = W @ x + U @ h + b
    i, f = sigmoid(a[0] + np.tanh(V[0] @ c)), sigmoid(a[1] + np.tanh(V[1] @ c))
    c = f * c + i * np.tanh(a[2])
    return np.tanh(c) * sigmoid(a[3] + np.tanh(V[2] @ c)), c


@sb.cell
def min_lstm(x: Input["m"], h: State["n"], W: Param["3 n m"], b: Param["3 n"]):
    """Normalised gates that see the input alone: Feng and others 2024, arXiv:2410.01201, section 3.2.3."""
    f, i, candidate = W @ x + b
    f, i = sigmoid(f), sigmoid(i)
    total = f + i
    return f / total * h + i / total * np.where(candidate >= 0, candidate + 0.5, sigmoid(candidate))


def lstm_step(x: Any, h: Any, c: Any, W: Any, b: Any) -> Any:
    i, f, g, o = np.split(W @ np.concatenate([x, h]) + b, 4)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@sb.cell
def fast_slow(x: Input["m"], h: State["n"], c: State["n"], slow: State["n"], far: State["n"], W1: Param["4*n m+n"],
              W2: Param["4*n 2*n"], W3: Param["4*n 2*n"], b: Param["3 4*n"]):  # fmt: skip
    """Two steps of a fast LSTM, a slow one between them: Mujika, Meier, Steger 2017, arXiv:1705.08639."""
    h, c = lstm_step(x, h, c, W1, b[0])
    slow, far = lstm_step(h, slow, far, W2, b[1])
    h, c = lstm_step(slow, h, c, W3, b[2])
    return h, c, slow, far


# Other gates.


@sb.cell
def chaos_free(x: Input["m"], h: State["n"], U: Param["2 n n"], V: Param["2 n m"], W: Param["n m"], b: Param["2 n"]):
    """The chaos free network: Laurent, von Brecht 2016, arXiv:1612.06212, equations 1 to 3."""
    theta, eta = sigmoid(U @ h + V @ x + b)
    return theta * np.tanh(h) + eta * np.tanh(W @ x)


@sb.cell
def bistable(
    x: Input["m"], h: State["n"], Ua: Param["n m"], wa: Param["n"], Uc: Param["n m"], wc: Param["n"], U: Param["n m"]
):
    """The bistable recurrent cell: Vecoven, Ernst, Drion 2020, arXiv:2006.05252, equation 6."""
    a = 1 + np.tanh(Ua @ x + wa * h)
    c = sigmoid(Uc @ x + wc * h)
    return c * h + (1 - c) * np.tanh(U @ x + a * h)


@sb.cell
def neuromodulated_bistable(x: Input["m"], h: State["n"], Ua: Param["n m"], Wa: Param["n n"], Uc: Param["n m"],
                            Wc: Param["n n"], U: Param["n m"]):  # fmt: skip
    """Its neuromodulated form, the nBRC: Vecoven, Ernst, Drion 2020, arXiv:2006.05252, equation 7."""
    a, c = 1 + np.tanh(np.dot(Ua, x) + np.dot(Wa, h)), sigmoid(np.dot(Uc, x) + np.dot(Wc, h))
    return c * h + (1 - c) * np.tanh(np.dot(U, x) + a * h)


@sb.cell
def stackable(x: Input["m"], h: State["n"], Wx: Param["n m"], Wz: Param["n m"], bz: Param["n"], bk: Param["n"], Wk: Param["n m"],
              Uk: Param["n n"]):  # fmt: skip
    """STAR, the stackable recurrent cell: Turkoglu, D'Aronco, Wegner, Schindler 2019, arXiv:1911.11033, equation 8."""
    z = np.tanh(Wz @ x + bz)
    k = sigmoid(Wk @ x + Uk @ h + bk)
    return {"h": np.tanh((1 - k) * h + k * z), "skip": Wx @ x}


@sb.cell
def light_gru(x: Input["m"], h: State["n"], Wz: Param["n m"], Uz: Param["n n"], Wh: Param["n m"], Uh: Param["n n"],
              gain: Param["2 n"] = 1.0, shift: Param["2 n"] = 0.0):  # fmt: skip
    """Li-GRU: no reset gate, rectified candidate: Ravanelli, Brakel, Omologo, Bengio 2018, arXiv:1803.10225; its
    normalisation over the batch is one over units here."""
    z = sigmoid(sb.layer_norm(Wz @ x, gain[0], shift[0]) + Uz @ h)
    candidate = np.maximum(sb.layer_norm(Wh @ x, gain[1], shift[1]) + Uh @ h, 0)
    return z * h + (1 - z) * candidate


@sb.cell
def mut1(x: Input["m"], h: State["n"], Wz: Param["n m"], bz: Param["n"], Wr: Param["n m"], Ur: Param["n n"], br: Param["n"],
         Wh: Param["n m"], U: Param["n n"], bh: Param["n"]):  # fmt: skip
    """The first of the mutants that a search found: Jozefowicz, Zaremba, Sutskever 2015, ICML, section 4.1."""
    z = sigmoid(Wz @ x + bz)
    r = sigmoid(Wr @ x + Ur @ h + br)
    return np.tanh(U @ (r * h) + np.tanh(Wh @ x) + bh) * z + h * (1 - z)


@sb.cell
def twin_gated(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    """Gates by addition and subtraction: Zhang and others 2018, arXiv:1810.12546, equations 5 to 8."""
    p, q = W @ x, U @ h
    i, f = sigmoid(p + q), sigmoid(p - q)
    return i * p + f * h


@sb.cell
def additive(
    x: Input["m"], h: State["n"], c: State["n"], Wc: Param["n m"], W: Param["2 n m"], U: Param["2 n n"], b: Param["2 n"]
):
    """The recurrent additive network: Lee, Levy, Zettlemoyer 2017, arXiv:1705.07393, equation 1."""
    i, f = sigmoid(U @ h + W @ x + b)
    c = i * (Wc @ x) + f * c
    return np.tanh(c), c


@sb.cell
def strongly_typed(x: Input["m"], h: State["n"], W: Param["3 n m"], b: Param["2 n"]):
    """T-GRU: the state is only ever averaged with features of its own type: Balduzzi, Ghifary 2016, arXiv:1602.02218."""
    z, f, o = W @ x
    f, o = sigmoid(f + b[0]), np.tanh(o + b[1])
    h = f * h + (1 - f) * z
    return {"h": h, "y": h * o}


@sb.cell
def quasi(x: Input["m"], last: State["m"], c: State["n"], W: Param["3 n 2 m"]):
    """QRNN with a window of two and fo-pooling: Bradbury, Merity, Xiong, Socher 2016, arXiv:1611.01576, equation 7."""
    z, f, o = np.einsum("gnkm,km->gn", W, np.stack([last, x]))
    f = sigmoid(f)
    c = f * c + (1 - f) * np.tanh(z)
    return {"last": x, "c": c, "h": sigmoid(o) * c}


@sb.cell
def non_saturating(x: Input["m"], h: State["n"], M: State["4"], W: Param["n m"], U: Param["n n"], C: Param["n 4"],
                   A: Param["2 2 n+m+4"], Vl: Param["2 2 n+m+4"], Vr: Param["2 2 n+m+4"]):  # fmt: skip
    """NRU: heads write into and erase from a flat memory along normalised directions, all of it rectified: Chandar and
    others 2019, arXiv:1902.06704, equations 6 to 10."""
    h = np.maximum(W @ x + U @ h + C @ M, 0)
    z = np.concatenate([h, x, M])
    for write in range(2):
        alpha = np.maximum(A[write] @ z, 0)
        left, right = Vl[write] @ z, Vr[write] @ z
        v = np.outer(left, right).reshape(-1)
        v = v / (np.sum(np.abs(v) ** 5) ** 0.2 + 1e-3)
        M = M + (1 - 2 * write) * np.mean(alpha) * v
    return h, M


rounded = sb.function("rounded", lambda v: sp.Piecewise((1, v > 0.5), (0, True)), derivative=lambda v: 1)


@sb.cell
def skip_rnn(
    x: Input["m"], h: State["n"], u: State, W: Param["n m"], U: Param["n n"], b: Param["n"], wp: Param["n"], bp: Param
):
    """Skips updates by a rounded probability with a straight-through slope: Campos and others 2018, arXiv:1708.06834."""
    gate = rounded(u)
    new = gate * np.tanh(W @ x + U @ h + b) + (1 - gate) * h
    more = sigmoid(wp @ new + bp)
    u = gate * more + (1 - gate) * (u + np.minimum(more, 1 - u))
    return {"h": new, "u": u, "used": gate}


@sb.cell
def simple_gated(x: Input["m"], h: State["n"], Wx: Param["n m"], Wxh: Param["n m"], Whh: Param["n n"], Wxz: Param["n m"],
                 Whz: Param["n n"]):  # fmt: skip
    """A multiplicative gate and a softplus: Gao, Glowacka 2016, arXiv:1604.02910, equation 6."""
    g = np.tanh(Wxh @ x)
    gated = g * (Whh @ h)
    z = np.clip(0.2 * (Wxz @ x + Whz @ h) + 0.5, 0, 1)
    return (1 - z) * h + z * np.log1p(np.exp(gated + Wx @ x))


@sb.cell
def dreamer_gru(x: Input["m"], first: Input, h: State["n"], W: Param["3*n n+m"], gain: Param["3*n"] = 1.0,
                offset: Param["3*n"] = 0.0):  # fmt: skip
    """The recurrent core of a world model: one normalised product, symlog inputs, an update bias of -1, and a state that
    begins anew: Hafner and others 2023, arXiv:2301.04104, appendix B."""
    h = h * (1 - first)
    x = np.sign(x) * np.log1p(np.abs(x))
    parts = sb.layer_norm(W @ np.concatenate([h, x]), gain, offset)
    reset, candidate, update = np.split(parts, 3)
    update = sigmoid(update - 1)
    return update * np.tanh(sigmoid(reset) * candidate) + (1 - update) * h


# Orthogonal and other linear algebra.


@sb.cell
def rotational_memory(x: Input["m"], h: State["3"], R: State["3 3"], W: Param["6 m"], U: Param["6 3"], b: Param["6"],
                      We: Param["3 m"], be: Param["3"]):  # fmt: skip
    """RUM: a rotation from the embedded input to a target, which accumulates: Dangovski, Jing, Nakov, Tatalović, Soljačić
    2019, TACL 7, section 3."""
    target, update = np.split(W @ x + U @ h + b, 2)
    update, embedded = sigmoid(update), We @ x + be
    u = embedded / np.sqrt(np.sum(embedded**2) + 1e-6)
    v = target - np.dot(u, target) * u
    v = v / np.sqrt(np.sum(v**2) + 1e-6)
    cosine = u @ target / np.sqrt(np.sum(target**2) + 1e-6)
    sine = np.sqrt(1 - cosine**2 + 1e-6)
    plane = np.stack([u, v], axis=1)
    turn = np.stack([np.stack([cosine, -sine]), np.stack([sine, cosine])])
    R = (np.eye(3) - np.outer(u, u) - np.outer(v, v) + plane @ turn @ plane.T) @ R
    return update * h + (1 - update) * np.maximum(embedded + R @ h, 0), R


@sb.cell
def gated_orthogonal(x: Input["m"], h: State["4"], Wr: Param["4 m"], Ur: Param["4 4"], Wz: Param["4 m"], Uz: Param["4 4"],
                     W: Param["4 m"], theta: Param["2 2"], b: Param["4"]):  # fmt: skip
    """GORU: a GRU around Givens rotations and a modReLU: Jing and others 2017, arXiv:1706.02761, equations 3 to 6."""
    r, z = sigmoid(Wr @ x + Ur @ h), sigmoid(Wz @ x + Uz @ h)
    turned = h
    for layer in range(2):
        c, s = np.cos(theta[layer]), np.sin(theta[layer])
        even, odd = turned[0::2], turned[1::2]
        turned = np.stack([c * even - s * odd, s * even + c * odd], axis=-1).ravel()
        turned = np.roll(turned, 1 if layer == 0 else -1)
    a = W @ x + r * turned
    return z * h + (1 - z) * np.sign(a) * np.maximum(np.abs(a) + b, 0)


def fourier(order: int) -> Any:
    j, k = np.meshgrid(np.arange(order), np.arange(order), indexing="ij")
    return np.exp(-2j * np.pi * j * k / order) / np.sqrt(order)


DFT = fourier(4)
SHUFFLE = np.eye(4)[[2, 0, 3, 1]]


@sb.cell
def unitary(x: Input["m"], re: State["4"], im: State["4"], Vr: Param["4 m"], Vi: Param["4 m"], d: Param["3 4"],
            reflect: Param["2 2 4"], b: Param["4"]):  # fmt: skip
    """uRNN: diagonal phases, reflections, a Fourier transform and a permutation, on pairs of reals: Arjovsky, Shah, Bengio
    2015, arXiv:1511.06464, equation 6."""

    def phases(z: Any, angle: Any) -> Any:
        return z[0] * np.cos(angle) - z[1] * np.sin(angle), z[0] * np.sin(angle) + z[1] * np.cos(angle)

    def reflection(z: Any, v: Any) -> Any:
        size = np.sum(v * v) + 1e-3
        inner = (v[0] @ z[0] + v[1] @ z[1], v[0] @ z[1] - v[1] @ z[0])
        return (
            z[0] - 2 / size * (inner[0] * v[0] - inner[1] * v[1]),
            z[1] - 2 / size * (inner[0] * v[1] + inner[1] * v[0]),
        )

    def product(M: Any, z: Any) -> Any:
        return M.real @ z[0] - M.imag @ z[1], M.real @ z[1] + M.imag @ z[0]

    z = product(DFT, phases((re, im), d[0]))
    z = reflection(z, reflect[0])
    z = phases((SHUFFLE @ z[0], SHUFFLE @ z[1]), d[1])
    z = reflection(product(DFT.conj().T, z), reflect[1])
    z = phases(z, d[2])
    zr, zi = z[0] + Vr @ x, z[1] + Vi @ x
    size = np.sqrt(zr**2 + zi**2 + 1e-5)
    scale = np.maximum(size + b, 0) / size
    return scale * zr, scale * zi


@sb.cell
def tensor_product(
    x: Input["m"], F: State["e r e"], We: Param["e m"], Wn: Param["e m"], Wr: Param["3 r m"], Wq: Param["r m"]
):
    """TPR-RNN: writes, moves and backlinks in a memory of entity, relation and entity: Schlag, Schmidhuber 2018,
    arXiv:1811.12143, equations 5 to 9."""
    e1, e2 = np.tanh(We @ x), np.tanh(Wn @ x)
    r1, r2, r3 = np.tanh(Wr @ x)
    old = np.einsum("i,j,ijk->k", e1, r1, F)
    moved = np.einsum("i,j,ijk->k", e1, r2, F)
    back = np.einsum("i,j,ijk->k", e2, r3, F)
    F = (F + np.einsum("i,j,k->ijk", e1, r1, e2 - old) + np.einsum("i,j,k->ijk", e1, r2, old - moved)
         + np.einsum("i,j,k->ijk", e2, r3, e1 - back))  # fmt: skip
    F = F / np.maximum(1.0, np.sqrt(np.sum(F**2)))
    return {"F": F, "y": np.tensordot(e1, F, axes=1).T @ (Wq @ x)}


@sb.cell
def momentum_rnn(x: Input["m"], h: State["n"], v: State["n"], s: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"],
                 mu: Const = 0.6, beta: Const = 0.9, lr: Const = 0.5):  # fmt: skip
    """A step of Adam in place of the input's: Nguyen, Baraniuk, Bertozzi, Osher, Wang 2020, arXiv:2006.06919, equation 15."""
    g = W @ x
    v = mu * v + (1 - mu) * g
    s = beta * s + (1 - beta) * g * g
    return np.tanh(U @ h + lr * v / (np.sqrt(np.abs(s)) + 1e-3) + b), v, s


@sb.cell
def line_lstm(x: Input["c 6"], h: State["f 6"], c: State["f 6"], W: Param["4 f c 3"], U: Param["4 f f 3"], peep: Param["3 f 6"],
              b: Param["4 f"]):  # fmt: skip
    """A convolutional LSTM over a line of six places: Shi and others 2015, arXiv:1506.04214, equation 3."""

    def conv(kernel: Any, z: Any) -> Any:
        zero = np.zeros_like(z[:, :1])
        padded = np.concatenate([zero, z, zero], axis=1)
        return sum(kernel[..., k] @ padded[:, k : k + 6] for k in range(3))

    a = conv(W, x) + conv(U, h) + b[:, :, None]
    i, f = sigmoid(a[0] + peep[0] * c), sigmoid(a[1] + peep[1] * c)
    c = f * c + i * np.tanh(a[2])
    return sigmoid(a[3] + peep[2] * c) * np.tanh(c), c


@sb.cell
def neural_gpu(x: Input["f"], s: State["5 f"], K: Param["3 3 f f"], b: Param["3 f"]):
    """A convolutional GRU that computes on a tape, whose first place the input enters: Kaiser, Sutskever 2015,
    arXiv:1511.08228."""

    def conv(k: int, z: Any) -> Any:
        return np.roll(z, 1, axis=0) @ K[k, 0] + z @ K[k, 1] + np.roll(z, -1, axis=0) @ K[k, 2] + b[k]

    s = np.concatenate([(s[0] + x)[None, :], s[1:]])
    u, r = np.clip(1.2 * sigmoid(conv(0, s)) - 0.1, 0, 1), sigmoid(conv(1, s))
    return u * s + (1 - u) * np.tanh(conv(2, r * s))


ROADS = np.array([[0, 1, 0, 0.5], [0.2, 0, 1, 0], [0, 0, 0, 1], [1, 0.3, 0, 0]])


@sb.cell
def diffusion_gru(x: Input["4 d"], H: State["4 n"], Wz: Param["3 d+n n"], Wr: Param["3 d+n n"], Wc: Param["3 d+n n"],
                  b: Param["3 n"], A: Const["4 4"] = ROADS / ROADS.sum(axis=1, keepdims=True)):  # fmt: skip
    """DCRNN: the products of a GRU walk on a graph, there and back: Li, Yu, Shahabi, Liu 2018, arXiv:1707.01926, equation 3."""

    def walk(W: Any, Z: Any) -> Any:
        return Z @ W[0] + A @ Z @ W[1] + A.T @ (A.T @ Z) @ W[2]

    z = sigmoid(walk(Wz, np.hstack([x, H])) + b[0])
    r = sigmoid(walk(Wr, np.hstack([x, H])) + b[1])
    return z * H + (1 - z) * np.tanh(walk(Wc, np.concatenate([x, r * H], axis=1)) + b[2])


@sb.cell
def byte_mixture(token: Index["v"], user: Index["u"], h: State["n"], E: Param["v n"], F: Param["u n"], U: Param["n n"],
                 P: Param["k v n"], prior: Param["k n"]):  # fmt: skip
    """A character model with a table for the user and a mixture of softmaxes over tied tables: Yang, Dai, Salakhutdinov,
    Cohen 2017, arXiv:1711.03953, equation 4."""
    h = np.tanh(E[token] + F[user] * (U @ h))
    weights = sb.softmax(prior @ h)
    return {"h": h, "p": weights @ sb.softmax((P + E) @ h), "seen": np.sum(E[token] * F[user])}


CELLS: dict[str, sb.Cell] = {name: value for name, value in list(globals().items()) if isinstance(value, sb.Cell)}
