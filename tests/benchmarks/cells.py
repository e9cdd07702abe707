"""The eight cells that are measured: three of the zoo, and five designs that nothing in the library knows.

Each of the five spells its products differently: packed weights and slices, concatenated operands, layer
normalisation between product and gate, einsum over heads, and no product of the state at all.
"""

import numpy as np

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.zoo import gru, lstm, rnn

HEAD = 16
"""The width of one head of `heads`: its state has n / HEAD matrices of HEAD times HEAD."""


@sb.cell
def packed(x: Input["m"], h: State["n"], W: Param["3*n m"], U: Param["3*n n"], b: Param["3*n"]):
    """Two gates and a candidate sliced from one packed product; the second gate scales the state's part of it."""
    n = h.shape[0]
    a, s = W @ x + b, U @ h
    z = sb.sigmoid(a[:n] + s[:n])
    r = sb.sigmoid(a[n : 2 * n] + s[n : 2 * n])
    c = np.tanh(a[2 * n :] + r * s[2 * n :])
    return z * h + (1 - z) * c


@sb.cell
def joined(
    x: Input["m"],
    h: State["n"],
    c: State["n"],
    Wf: Param["n n+m"],
    bf: Param["n"],
    Wg: Param["n n+m"],
    bg: Param["n"],
    Wo: Param["n n+m"],
    bo: Param["n"],
):
    """A coupled-gate memory whose weights read state and input concatenated."""
    s = np.concatenate([h, x])
    f = sb.sigmoid(Wf @ s + bf)
    g = np.tanh(Wg @ s + bg)
    o = sb.sigmoid(Wo @ s + bo)
    c = f * c + (1 - f) * g
    return {"h": o * np.tanh(c), "c": c}


@sb.cell
def normed(
    x: Input["m"],
    h: State["n"],
    Wf: Param["n m"],
    Uf: Param["n n"],
    sf: Param["n"],
    bf: Param["n"],
    Wc: Param["n m"],
    Uc: Param["n n"],
    bc: Param["n"],
):
    """A minimal gated unit whose forget gate is normalised over its units."""
    f = sb.sigmoid(sf * sb.layer_norm(Wf @ x + Uf @ h) + bf)
    c = np.tanh(Wc @ x + Uc @ (f * h) + bc)
    return (1 - f) * h + f * c


@sb.cell
def heads(
    x: Input["m"],
    S: State["a 16 16"],
    h: State["16*a"],
    Wq: Param["16*a m"],
    Wk: Param["16*a m"],
    Wv: Param["16*a m"],
    Uv: Param["16*a 16*a"],
    Wd: Param["a m"],
    bd: Param["a"],
):
    """A decaying matrix memory in heads, written with what the last reading asks for."""
    a = S.shape[0]
    q = (Wq @ x).reshape(a, 16)
    k = np.tanh(Wk @ x).reshape(a, 16)
    v = (Wv @ x + Uv @ h).reshape(a, 16)
    d = sb.sigmoid(Wd @ x + bd)
    S = d[:, None, None] * S + np.einsum("ai,aj->aij", v, k)
    y = np.einsum("aij,aj->ai", S, q)
    return {"S": S, "h": np.tanh(y.reshape(16 * a))}


@sb.cell
def diagonal(
    x: Input["m"], h: State["n"], Wa: Param["n m"], ba: Param["n"], Wi: Param["n m"], Wv: Param["n m"], rate: Param["n"]
):
    """A gated decay, diagonal and affine in the state; the input is scaled so that the state keeps its variance."""
    a = np.exp(-sb.softplus(rate) * sb.sigmoid(Wa @ x + ba))
    v = sb.sigmoid(Wi @ x) * (Wv @ x)
    return a * h + np.sqrt(1 - a * a) * v


CELLS = {cell.name: cell for cell in (rnn, lstm, gru, packed, joined, normed, heads, diagonal)}


def sizes_of(cell: sb.Cell, n: int) -> dict[str, int]:
    """Return the sizes of a cell with n inputs and n units."""
    return {"m": n, "a": n // HEAD} if cell is heads else {"m": n, "n": n}
