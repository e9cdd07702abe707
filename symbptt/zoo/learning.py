"""Cells whose step goes down the gradient of a loss of its own: their state is a model that it trains, or what it infers."""

import numpy as np

import symbptt as sb
from symbptt import Input, Param, State


@sb.cell
def ttt(x: Input["m"], W: State["d d"], theta_K: Param["d m"], theta_V: Param["d m"], theta_Q: Param["d m"],
        eta: Param = 0.1):  # fmt: skip
    """A linear model that each step trains to tell one view of the input from another; output z.

    Source: Sun et al. 2024, "Learning to (learn at test time): RNNs with expressive hidden states", equations 1 to 5, the
    model linear and without the normalisation around it.
    """
    k, v, q = theta_K @ x, theta_V @ x, theta_Q @ x
    W_new = W - eta * sb.grad(lambda W: sb.sum((W @ k - v) ** 2))(W)
    return {"W": W_new, "z": W_new @ q}


@sb.cell
def titans(x: Input["m"], M: State["d d"], S: State["d d"], W_K: Param["d m"], W_V: Param["d m"], W_Q: Param["d m"],
           wa: Param["m"], we: Param["m"], wt: Param["m"]):  # fmt: skip
    """A memory that learns what surprises it, by a gradient with momentum, and forgets by a gate; output y.

    Source: Behrouz, Zhong, Mirrokni 2024, "Titans: learning to memorize at test time", equations 11 to 15, the memory one
    matrix; its three gates are sigmoids of the input.
    """
    k, v, q = W_K @ x, W_V @ x, W_Q @ x
    alpha, eta, theta = sb.sigmoid(wa @ x), sb.sigmoid(we @ x), sb.sigmoid(wt @ x)
    S_new = eta * S - theta * sb.grad(lambda M: sb.sum((M @ k - v) ** 2))(M)
    M_new = (1 - alpha) * M + S_new
    return {"M": M_new, "S": S_new, "y": M_new @ q}


@sb.cell
def predictive_coding(y: Input["m"], x: State["n"], A: Param["n n"], C: Param["m n"], rate: Param = 0.1):
    """A state that is inferred at each step, by three steps down the energy of what it does not predict.

    Source: Millidge, Tang, Osanlouy, Harper, Bogacz 2024, "Predictive coding networks for temporal prediction", their energy of
    two prediction errors, with covariances of one and without control inputs.
    """
    prior = A @ np.tanh(x)

    def energy(x):
        return (sb.sum((y - C @ np.tanh(x)) ** 2) + sb.sum((x - prior) ** 2)) / 2

    x = prior
    for _ in range(3):
        x = x - rate * sb.grad(energy)(x)
    return x
