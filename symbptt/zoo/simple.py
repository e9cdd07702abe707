"""Recurrent cells without gates."""

import numpy as np

import symbptt as sb
from symbptt import Const, Index, Input, Param, State


@sb.cell
def rnn(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    """The vanilla recurrent network: the baseline of all others, whose gradients vanish or explode.

    Source: Elman 1990, "Finding structure in time", figure 2; the equation of torch.nn.RNN with tanh, its two biases
    summed.
    """
    return np.tanh(W @ x + U @ h + b)


@sb.cell
def indrnn(x: Input["m"], h: State["n"], W: Param["n m"], b: Param["n"], u: Param["n"] = 0.9):
    """Independent units, each with one recurrent weight, so that gradients are bounded by bounding u.

    Source: Li, Li, Cook, Zhu, Gao 2018, "Independently recurrent neural network (IndRNN)", section 3.
    """
    return sb.relu(W @ x + u * h + b)


@sb.cell
def antisymmetric(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"],
                  step: Const = 0.1, gamma: Const = 0.01):  # fmt: skip
    """A stable differential equation in Euler steps: an antisymmetric matrix neither shrinks nor grows the state.

    Source: Chang, Chen, Haber, Chi 2019, "AntisymmetricRNN: a dynamical system view on recurrent neural networks".
    """
    return h + step * np.tanh((U - U.T) @ h - gamma * h + W @ x + b)


@sb.cell
def scrn(x: Input["m"], s: State["k"], h: State["n"],
         B: Param["k m"], W: Param["n m"], P: Param["n k"], U: Param["n n"], alpha: Const = 0.95):  # fmt: skip
    """A fast hidden layer beside slow context units, which are running means of the input: a memory almost for free.

    Source: Mikolov, Joulin, Chopra, Mathieu, Ranzato 2015, "Learning longer memory in recurrent neural networks".
    """
    context = (1 - alpha) * (B @ x) + alpha * s
    return context, sb.sigmoid(P @ context + W @ x + U @ h)


@sb.cell
def second_order(x: Index["v"], h: State["n"], U: Param["v n n"], b: Param["v n"]):
    """A transition matrix for each input symbol, as finite automata have: learns regular languages.

    Source: Giles, Miller, Chen, Chen, Sun, Lee 1992, "Learning and extracting finite state automata with second-order
    recurrent neural networks"; tanh here, where the paper has the sigmoid.
    """
    return np.tanh(U[x] @ h + b[x])


@sb.cell
def householder(x: Input["m"], h: State["n"], W: Param["n m"], V: Param["4 n"], b: Param["n"]):
    """An orthogonal recurrent matrix as a product of four reflections: its gradient norm is kept but for the tanh.

    Source: Mhammedi, Hellicar, Rahman, Bailey 2017, "Efficient orthogonal parametrisation of recurrent neural networks
    using Householder reflections".
    """
    r = h
    for v in V:
        r = r - 2 * v * (v @ r) / (v @ v)
    return np.tanh(W @ x + r + b)


@sb.cell
def delay_rnn(x: Input["m"], h: State["n"], past: State["k n"],
              W: Param["n m"], U: Param["n n"], V: Param["n n"], b: Param["n"]):  # fmt: skip
    """A skip connection through time: also hears its state of k + 1 steps ago, a shortcut for gradients.

    Source: Lin, Horne, Tiňo, Giles 1996, "Learning long-term dependencies in NARX recurrent neural networks", with
    states fed back in place of outputs, as Zhang et al. 2016, "Architectural complexity measures of recurrent neural
    networks".
    """
    now = np.tanh(W @ x + U @ h + V @ past[-1] + b)
    return now, np.concatenate([h[None], past[:-1]])


@sb.cell
def clockwork(x: Input["m"], h: State["4 n"], t: State, W: Param["4 n m"], U: Param["4 n 4 n"], b: Param["4 n"]):
    """Four modules that run every 1, 2, 4 and 8 steps, the fast hearing the slow: long memory in the slow ones.

    The state t counts the steps from 0. Of U only the blocks U[i, :, j, :] with j ≥ i are used.

    Source: Koutník, Greff, Gomez, Schmidhuber 2014, "A clockwork RNN", with the periods 1, 2, 4 and 8.
    """
    periods, slower = np.array([1.0, 2.0, 4.0, 8.0]), np.triu(np.ones((4, 4)))
    a = W @ x + np.einsum("ij,injk,jk->in", slower, U, h) + b
    due = np.cos(2 * np.pi * t / periods) > 0.9
    return np.where(due[:, None], np.tanh(a), h), t + 1


@sb.cell
def echo_state(x: Input["m"], h: State["n"], W: Const["n m"], U: Const["n n"], V: Param["k n"], c: Param["k"],
               leak: Const = 0.3, radius: Const = 0.9):  # fmt: skip
    """A fixed random reservoir of leaky units, of which only the readout y is trained.

    `init` draws an orthogonal U, so that `radius` is the spectral radius of the recurrent matrix.

    Source: Jaeger, Lukoševičius, Popovici, Siewert 2007, "Optimization and applications of echo state networks with
    leaky-integrator neurons"; Lukoševičius 2012, "A practical guide to applying echo state networks", equations 2 to 4.
    """
    now = (1 - leak) * h + leak * np.tanh(W @ x + radius * (U @ h))
    return {"h": now, "y": V @ now + c}
