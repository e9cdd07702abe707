"""Cells whose state is an array of places: maps of features on a grid, and slots that compete for what they see."""

import numpy as np

import symbptt as sb
from symbptt import Input, Param, State


@sb.cell
def conv_lstm(x: Input["m a v"], h: State["n a v"], c: State["n a v"],
              Wi: Param["n m 3 3"], Ui: Param["n n 3 3"], bi: Param["n"],
              Wf: Param["n m 3 3"], Uf: Param["n n 3 3"], bf: Param["n"],
              Wg: Param["n m 3 3"], Ug: Param["n n 3 3"], bg: Param["n"],
              Wo: Param["n m 3 3"], Uo: Param["n n 3 3"], bo: Param["n"],
              pi: Param["n a v"] = 0.1, pf: Param["n a v"] = 0.1, po: Param["n a v"] = 0.1):  # fmt: skip
    """An LSTM with peepholes whose products are convolutions: n maps of features on a grid of a rows and v columns.

    Source: Shi, Chen, Wang, Yeung, Wong, Woo 2015, "Convolutional LSTM network: a machine learning approach for
    precipitation nowcasting", equation 3, with filters of 3 by 3.
    """
    i = sb.sigmoid(sb.conv(x, Wi, padding=1) + sb.conv(h, Ui, padding=1) + pi * c + bi[:, None, None])
    f = sb.sigmoid(sb.conv(x, Wf, padding=1) + sb.conv(h, Uf, padding=1) + pf * c + bf[:, None, None])
    g = np.tanh(sb.conv(x, Wg, padding=1) + sb.conv(h, Ug, padding=1) + bg[:, None, None])
    c_new = f * c + i * g
    o = sb.sigmoid(sb.conv(x, Wo, padding=1) + sb.conv(h, Uo, padding=1) + po * c_new + bo[:, None, None])
    return o * np.tanh(c_new), c_new


@sb.cell
def slot_attention(x: Input["v m"], slots: State["k n"], Wq: Param["n n"], Wk: Param["m n"], Wv: Param["m n"],
                   Wr: Param["n n"], Ur: Param["n n"], br: Param["n"], Wz: Param["n n"], Uz: Param["n n"], bz: Param["n"],
                   Wn: Param["n n"], Un: Param["n n"], bn: Param["n"], cn: Param["n"],
                   W1: Param["n d"], b1: Param["d"], W2: Param["d n"], b2: Param["n"]):  # fmt: skip
    """Slots that compete by a softmax for the v vectors of a step: one round of attention, a GRU and a perceptron.

    A picture given at T steps goes through the T rounds of the paper; of a film each picture has one, as in Kipf et al. 2022,
    "Conditional object-centric learning from video".

    Source: Locatello et al. 2020, "Object-centric learning with slot attention", algorithm 1, layer norms without weights.
    """
    seen = sb.layer_norm(x)
    q, k, v = sb.layer_norm(slots) @ Wq, seen @ Wk, seen @ Wv
    share = sb.softmax(k @ q.T / np.sqrt(q.shape[1]), axis=1) + 1e-8
    u = (share / np.sum(share, axis=0)).T @ v
    r = sb.sigmoid(u @ Wr + slots @ Ur + br)
    z = sb.sigmoid(u @ Wz + slots @ Uz + bz)
    n = np.tanh(u @ Wn + bn + r * (slots @ Un + cn))
    s = (1 - z) * n + z * slots
    return s + sb.relu(sb.layer_norm(s) @ W1 + b1) @ W2 + b2
