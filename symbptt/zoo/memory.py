"""Cells with a memory beside the units: matrices that are written and read, patterns, stacks."""

import numpy as np

import symbptt as sb
from symbptt import Const, Input, Param, State

DECAYS = 1 - 2.0 ** (-5 - np.arange(4))
"""The decays of RetNet's heads."""


@sb.cell
def linear_attention(x: Input["m"], S: State["d n"], z: State["d"],
                     Wq: Param["d m"], Wk: Param["d m"], Wv: Param["n m"]):  # fmt: skip
    """Attention without softmax: a matrix of keys and values summed over all steps; output y.

    Source: Katharopoulos, Vyas, Pappas, Fleuret 2020, "Transformers are RNNs", equations 16 to 20, with φ = elu + 1;
    the 1e-6 is that of its code.
    """
    q, k, v = sb.elu(Wq @ x) + 1, sb.elu(Wk @ x) + 1, Wv @ x
    S_new, z_new = S + np.outer(k, v), z + k
    return {"S": S_new, "z": z_new, "y": q @ S_new / (q @ z_new + 1e-6)}


@sb.cell
def retnet(x: Input["m"], S: State["4 d v"],
           Wq: Param["4 d m"], Wk: Param["4 d m"], Wv: Param["4 v m"], Wg: Param["4*v m"], Wo: Param["n 4*v"],
           gamma: Const["4"] = DECAYS):  # fmt: skip
    """Retention: linear attention of four heads, each with its own exponential decay; output y.

    Source: Sun et al. 2023, "Retentive network: a successor to Transformer for large language models", equations 6
    and 8, without the rotation of queries and keys by position.
    """
    q, k, v = Wq @ x, Wk @ x / np.sqrt(Wk.shape[1]), Wv @ x
    S_new = gamma[:, None, None] * S + k[:, :, None] * v[:, None, :]
    heads = sb.layer_norm(np.einsum("ad,adv->av", q, S_new))
    return {"S": S_new, "y": Wo @ (sb.silu(Wg @ x) * heads.reshape(-1))}


@sb.cell
def delta_rule(x: Input["m"], S: State["n d"], Wq: Param["d m"], Wk: Param["d m"], Wv: Param["n m"], Wb: Param["1 m"]):
    """A fast weight matrix that corrects what it holds for a key instead of adding to it; output y.

    Source: Schlag, Irie, Schmidhuber 2021, "Linear transformers are secretly fast weight programmers", section 4.2;
    keys and queries as in Yang, Wang, Zhang, Shen, Kim 2024, "Parallelizing linear transformers with the delta rule
    over sequence length".
    """
    q, k, v = sb.silu(Wq @ x), sb.silu(Wk @ x), Wv @ x
    q, k = q / (sb.norm(q) + 1e-6), k / (sb.norm(k) + 1e-6)
    beta = sb.sigmoid(Wb @ x)
    S_new = S + np.outer(beta * (v - S @ k), k)
    return {"S": S_new, "y": S_new @ q}


@sb.cell
def fast_weights(x: Input["m"], h: State["n"], A: State["n n"], W: Param["n m"], U: Param["n n"], b: Param["n"],
                 gain: Param["n"] = 1.0, bias: Param["n"] = 0.0, decay: Const = 0.95, eta: Const = 0.5):  # fmt: skip
    """A vanilla network that attends to its recent states through a decaying matrix of their outer products.

    Source: Ba, Hinton, Mnih, Leibo, Ionescu 2016, "Using fast weights to attend to the recent past", equations 1 and 2,
    with one inner step and layer normalisation.
    """
    A_new = decay * A + eta * np.outer(h, h)
    a = W @ x + U @ h + b
    s = np.tanh(a)
    return np.tanh(sb.layer_norm(a + A_new @ s, gain, bias)), A_new


@sb.cell
def mlstm(x: Input["m"], C: State["n d"], n: State["d"], m: State,
          Wq: Param["d m"], bq: Param["d"], Wk: Param["d m"], bk: Param["d"], Wv: Param["n m"], bv: Param["n"],
          Wo: Param["n m"], bo: Param["n"], bi: Param, wi: Param["m"] = 0.1,
          wf: Param["m"] = 0.1, bf: Param = 3.0):  # fmt: skip
    """The xLSTM's matrix memory with exponential gates, kept in range by a running maximum m; output h.

    C and n are those of the paper times exp(-m). The output is the paper's C q / max(|n q|, 1) for its C and n, with
    both sides of the fraction scaled so that nothing overflows.

    Source: Beck et al. 2024, "xLSTM: extended long short-term memory", equations 15 to 17 and 19 to 27, with a sigmoid
    forget gate.
    """
    q, k, v = Wq @ x + bq, (Wk @ x + bk) / np.sqrt(n.shape[0]), Wv @ x + bv
    o = sb.sigmoid(Wo @ x + bo)
    i, log_f = wi @ x + bi, -sb.softplus(-(wf @ x + bf))
    m_new = np.maximum(log_f + m, i)
    keep, write = np.exp(log_f + m - m_new), np.exp(i - m_new)
    C_new = keep * C + write * np.outer(v, k)
    n_new = keep * n + write * k
    r = np.exp(np.minimum(m_new, 0)) * q
    y = o * (C_new @ r) / np.maximum(sb.abs(n_new @ r), np.exp(-np.maximum(m_new, 0)))
    return {"C": C_new, "n": n_new, "m": m_new, "h": y}


@sb.cell
def hopfield(x: Input["m"], h: State["n"], W: Param["n m"], M: Param["k n"], beta: Const = 1.0):
    """Retrieval from k learned patterns by softmax: the state moves to the pattern nearest to it and the input.

    Source: Ramsauer et al. 2021, "Hopfield networks is all you need", equation 3, driven by an input.
    """
    p = sb.softmax(beta * (M @ (h + W @ x)))
    return p @ M


@sb.cell
def attention(x: Input["m"], h: State["n"], past: State["k n"],
              W: Param["n m"], U: Param["n n"], V: Param["n n"], b: Param["n"],
              Wa: Param["a n"], Ua: Param["a n"], v: Param["a"] = 1.0):  # fmt: skip
    """A vanilla network that attends to its own last k states, by the additive score of Bahdanau.

    Source: Bahdanau, Cho, Bengio 2015, "Neural machine translation by jointly learning to align and translate",
    equations 5 and 6 and appendix A.1.2, over the network's own past as in Cheng, Dong, Lapata 2016, "Long short-term
    memory-networks for machine reading".
    """
    weights = sb.softmax(np.tanh(past @ Ua.T + Wa @ h) @ v)
    now = np.tanh(W @ x + U @ h + V @ (weights @ past) + b)
    return now, np.concatenate([now[None], past[:-1]])


@sb.cell
def stack_rnn(x: Input["m"], h: State["n"], s: State["k d"], W: Param["n m"], U: Param["n n"], P: Param["n d"],
              A: Param["2 n"], D: Param["d n"]):  # fmt: skip
    """A vanilla network with a stack of depth k that it pushes to and pops from, softly: counts and copies.

    Source: Joulin, Mikolov 2015, "Inferring algorithmic patterns with stack-augmented recurrent nets", with vectors of
    size d on the stack, of which the top is read.
    """
    now = sb.sigmoid(W @ x + U @ h + P @ s[0])
    push, pop = sb.softmax(A @ now)
    pushed = np.concatenate([sb.sigmoid(D @ now)[None], s[:-1]])
    popped = np.concatenate([s[1:], np.zeros_like(s[:1])])
    return now, push * pushed + pop * popped
