"""Cells with multiplicative gates."""

import numpy as np

import symbptt as sb
from symbptt import Const, Input, Param, State


@sb.cell
def lstm(x: Input["m"], h: State["n"], c: State["n"],
         Wi: Param["n m"], Ui: Param["n n"], bi: Param["n"],
         Wf: Param["n m"], Uf: Param["n n"], bf: Param["n"],
         Wg: Param["n m"], Ug: Param["n n"], bg: Param["n"],
         Wo: Param["n m"], Uo: Param["n n"], bo: Param["n"]):  # fmt: skip
    """Long short-term memory: a cell state that gates write, keep and read, the classic cure of vanishing gradients.

    Source: Hochreiter, Schmidhuber 1997, "Long short-term memory"; the forget gate: Gers, Schmidhuber, Cummins 2000,
    "Learning to forget"; the equations of torch.nn.LSTM, its two biases summed.
    """
    i = sb.sigmoid(Wi @ x + Ui @ h + bi)
    f = sb.sigmoid(Wf @ x + Uf @ h + bf)
    g = np.tanh(Wg @ x + Ug @ h + bg)
    o = sb.sigmoid(Wo @ x + Uo @ h + bo)
    c_new = f * c + i * g
    return o * np.tanh(c_new), c_new


@sb.cell
def lstm_peephole(x: Input["m"], h: State["n"], c: State["n"],
                  Wi: Param["n m"], Ui: Param["n n"], bi: Param["n"],
                  Wf: Param["n m"], Uf: Param["n n"], bf: Param["n"],
                  Wg: Param["n m"], Ug: Param["n n"], bg: Param["n"],
                  Wo: Param["n m"], Uo: Param["n n"], bo: Param["n"],
                  pi: Param["n"] = 0.1, pf: Param["n"] = 0.1, po: Param["n"] = 0.1):  # fmt: skip
    """An LSTM whose gates also see the cell state: learns precise timing.

    Source: Gers, Schraudolph, Schmidhuber 2002, "Learning precise timing with LSTM recurrent networks"; Graves 2013,
    "Generating sequences with recurrent neural networks", equations 7 to 11.
    """
    i = sb.sigmoid(Wi @ x + Ui @ h + pi * c + bi)
    f = sb.sigmoid(Wf @ x + Uf @ h + pf * c + bf)
    g = np.tanh(Wg @ x + Ug @ h + bg)
    c_new = f * c + i * g
    o = sb.sigmoid(Wo @ x + Uo @ h + po * c_new + bo)
    return o * np.tanh(c_new), c_new


@sb.cell
def cifg(x: Input["m"], h: State["n"], c: State["n"],
         Wf: Param["n m"], Uf: Param["n n"], bf: Param["n"],
         Wg: Param["n m"], Ug: Param["n n"], bg: Param["n"],
         Wo: Param["n m"], Uo: Param["n n"], bo: Param["n"]):  # fmt: skip
    """An LSTM that writes exactly what it forgets: one gate less, as good on most tasks.

    Source: Greff, Srivastava, Koutník, Steunebrink, Schmidhuber 2017, "LSTM: a search space odyssey", the variant CIFG
    (coupled input and forget gate), without peepholes.
    """
    f = sb.sigmoid(Wf @ x + Uf @ h + bf)
    g = np.tanh(Wg @ x + Ug @ h + bg)
    o = sb.sigmoid(Wo @ x + Uo @ h + bo)
    c_new = f * c + (1 - f) * g
    return o * np.tanh(c_new), c_new


@sb.cell
def zoneout(x: Input["m"], keep_h: Input["n"], keep_c: Input["n"], h: State["n"], c: State["n"],
            Wi: Param["n m"], Ui: Param["n n"], bi: Param["n"],
            Wf: Param["n m"], Uf: Param["n n"], bf: Param["n"],
            Wg: Param["n m"], Ug: Param["n n"], bg: Param["n"],
            Wo: Param["n m"], Uo: Param["n n"], bo: Param["n"]):  # fmt: skip
    """An LSTM that keeps random units as they were: a regulariser whose masks, of ones and zeros, are inputs.

    Source: Krueger et al. 2017, "Zoneout: regularizing RNNs by randomly preserving hidden activations".
    """
    h_new, c_new = lstm(x, h, c, Wi, Ui, bi, Wf, Uf, bf, Wg, Ug, bg, Wo, Uo, bo)
    return keep_h * h + (1 - keep_h) * h_new, keep_c * c + (1 - keep_c) * c_new


@sb.cell
def gru(x: Input["m"], h: State["n"],
        Wr: Param["n m"], Ur: Param["n n"], br: Param["n"],
        Wz: Param["n m"], Uz: Param["n n"], bz: Param["n"],
        Wn: Param["n m"], Un: Param["n n"], bn: Param["n"], cn: Param["n"]):  # fmt: skip
    """The gated recurrent unit: two gates and one state, the usual alternative to the LSTM.

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical machine
    translation", equations 5 to 8; the reset after the product and the exchanged roles of z and 1 - z are
    torch.nn.GRU's, which adds two biases in r and z (here one) and keeps two in n (here bn and cn).
    """
    r = sb.sigmoid(Wr @ x + Ur @ h + br)
    z = sb.sigmoid(Wz @ x + Uz @ h + bz)
    n = np.tanh(Wn @ x + bn + r * (Un @ h + cn))
    return (1 - z) * n + z * h


@sb.cell
def gru_layer_norm(x: Input["m"], h: State["n"],
                   W: Param["2*n m"], U: Param["2*n n"], Wn: Param["n m"], Un: Param["n n"],
                   b1: Param["2*n"], b2: Param["2*n"], b3: Param["n"], b4: Param["n"],
                   a1: Param["2*n"] = 1.0, a2: Param["2*n"] = 1.0,
                   a3: Param["n"] = 1.0, a4: Param["n"] = 1.0):  # fmt: skip
    """A GRU whose products are normalised over the units: steady gradients whatever the scale of the weights.

    Source: Ba, Kiros, Hinton 2016, "Layer normalization", the equations of the GRU in the supplementary material.
    """
    z, r = np.split(sb.sigmoid(sb.layer_norm(U @ h, a1, b1) + sb.layer_norm(W @ x, a2, b2)), 2)
    n = np.tanh(sb.layer_norm(Wn @ x, a3, b3) + r * sb.layer_norm(Un @ h, a4, b4))
    return (1 - z) * h + z * n


@sb.cell
def mgu(x: Input["m"], h: State["n"], Wf: Param["n m"], Uf: Param["n n"], bf: Param["n"],
        Wh: Param["n m"], Uh: Param["n n"], bh: Param["n"]):  # fmt: skip
    """The minimal gated unit: one gate that both resets and updates.

    Source: Zhou, Wu, Zhang, Zhou 2016, "Minimal gated unit for recurrent neural networks", section 3.
    """
    f = sb.sigmoid(Wf @ x + Uf @ h + bf)
    g = np.tanh(Wh @ x + Uh @ (f * h) + bh)
    return (1 - f) * h + f * g


@sb.cell
def mgu2(x: Input["m"], h: State["n"], Uf: Param["n n"], Wh: Param["n m"], Uh: Param["n n"], bh: Param["n"]):
    """A minimal gated unit whose gate sees the state alone: fewer parameters, much the same results.

    Source: Heck, Salem 2017, "Simplified minimal gated unit variations for recurrent neural networks", the
    variant MGU2.
    """
    f = sb.sigmoid(Uf @ h)
    g = np.tanh(Wh @ x + Uh @ (f * h) + bh)
    return (1 - f) * h + f * g


@sb.cell
def ugrnn(x: Input["m"], h: State["n"], Wc: Param["n m"], Uc: Param["n n"], bc: Param["n"],
          Wg: Param["n m"], Ug: Param["n n"], bg: Param["n"]):  # fmt: skip
    """A vanilla network with one update gate: the simplest gated cell, easy to train in depth.

    Source: Collins, Sohl-Dickstein, Sussillo 2017, "Capacity and trainability in recurrent neural networks", the UGRNN.
    """
    c = np.tanh(Wc @ x + Uc @ h + bc)
    g = sb.sigmoid(Wg @ x + Ug @ h + bg)
    return g * h + (1 - g) * c


@sb.cell
def minimal_rnn(x: Input["m"], h: State["n"], W: Param["n m"], b: Param["n"],
                U: Param["n n"], V: Param["n n"], bu: Param["n"]):  # fmt: skip
    """An input embedded without memory and one update gate: its Jacobian can be analysed by hand.

    Source: Chen 2017, "MinimalRNN: toward more interpretable and trainable recurrent neural networks".
    """
    z = np.tanh(W @ x + b)
    u = sb.sigmoid(U @ h + V @ z + bu)
    return u * h + (1 - u) * z


@sb.cell
def fast_grnn(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], bz: Param["n"], bh: Param["n"],
              zeta: Param = 1.0, nu: Param = -4.0):  # fmt: skip
    """A gate that shares its matrices with the candidate: kilobyte-sized models for microcontrollers.

    Source: Kusupati et al. 2018, "FastGRNN: a fast, accurate, stable and tiny kilobyte sized gated recurrent neural
    network", its two scalars as sigmoids.
    """
    a = W @ x + U @ h
    z = sb.sigmoid(a + bz)
    return (sb.sigmoid(zeta) * (1 - z) + sb.sigmoid(nu)) * np.tanh(a + bh) + z * h


@sb.cell
def min_gru(x: Input["m"], h: State["n"], Wz: Param["n m"], bz: Param["n"], Wh: Param["n m"], bh: Param["n"]):
    """A GRU whose gate and candidate see the input alone: linear in the state, trainable by a parallel scan.

    Source: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, "Were RNNs all we needed?", section 3.1.
    """
    z = sb.sigmoid(Wz @ x + bz)
    return (1 - z) * h + z * (Wh @ x + bh)


@sb.cell
def sru(x: Input["m"], c: State["n"], W: Param["n m"], V: Param["n m"],
        Wf: Param["n m"], bf: Param["n"], Wr: Param["n m"], br: Param["n"],
        vf: Param["n"] = 0.5, vr: Param["n"] = 0.5, alpha: Const = 1.0):  # fmt: skip
    """The simple recurrent unit: all products read the input alone, the state meets elementwise gates; output h.

    V x is the highway path, which is x itself in the paper where m = n; `alpha` scales it.

    Source: Lei, Zhang, Wang, Dai, Artzi 2018, "Simple recurrent units for highly parallelizable recurrence",
    equations 1 to 4.
    """
    f = sb.sigmoid(Wf @ x + vf * c + bf)
    r = sb.sigmoid(Wr @ x + vr * c + br)
    c_new = f * c + (1 - f) * (W @ x)
    return {"c": c_new, "h": r * c_new + (1 - r) * alpha * (V @ x)}


@sb.cell
def graph_gru(x: Input["v m"], h: State["v n"], A: Const["v v"], V: Param["m n"], b: Param["n"],
              Wz: Param["n n"], Uz: Param["n n"], Wr: Param["n n"], Ur: Param["n n"], W: Param["n n"], U: Param["n n"]):  # fmt: skip
    """A GRU at each of the v nodes of a graph, which reads what its neighbours send along the edges A.

    Source: Li, Tarlow, Brockschmidt, Zemel 2016, "Gated graph sequence neural networks", equations 2 to 6, one type of edges;
    the inputs of every step take the place of the annotations in the first states.
    """
    a = A @ h + x @ V + b
    z = sb.sigmoid(a @ Wz + h @ Uz)
    r = sb.sigmoid(a @ Wr + h @ Ur)
    c = np.tanh(a @ W + (r * h) @ U)
    return (1 - z) * h + z * c
