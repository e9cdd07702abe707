"""Cells that read what a sequence is given once."""

import numpy as np

import symbptt as sb
from symbptt import Context, Index, Input, Output, Param, State, Target


@sb.cell
def attend(
    x: Input["m"],
    h: State["n"],
    memory: Context["s k"],
    W: Param["n m"],
    U: Param["n n"],
    Wk: Param["n k"],
    C: Param["n k"],
):
    keys = memory @ Wk.T
    read = sb.softmax(keys @ h) @ memory
    return {"h": np.tanh(W @ x + U @ h + C @ read), "read": read}


@sb.cell
def scaled(h: State["n"], c: State["n"], gain: Context["n"], rate: Context, w: Param["n"]):
    # States that are a context, or made of contexts alone; products of contexts and parameters; a number.
    drive = np.tanh(gain * w)
    return np.tanh(rate * h + drive + c), gain


@sb.cell
def looked_up(i: Index["v"], h: State["n"], table: Context["v n"], turned: Context["n v"], U: Param["n n"]):
    return np.tanh(U @ h + table[i] + turned[:, i] + sb.mean(table, 0))


@sb.cell
def inside(x: Input["n"], h: State["n"], c: Context["n"], M: Context["n n"], U: Param["n n"]):
    # Rounds of a loop that contexts and steps enter, rounds of contexts alone, a solve of either.
    z = sb.repeat(lambda z: np.tanh(U @ z + x + M @ z), h, 3) + sb.repeat(lambda z: np.tanh(U @ z), c, 2)
    A = M @ M.T + np.eye(h.shape[0])
    return np.tanh(np.linalg.solve(A, z) + np.linalg.solve(A, U @ c))


@sb.loss
def error(h: State["n"], read: Output["k"], y: Target["n"], V: Param["n k"]):
    e = h + V @ read - y
    return {"loss": sb.sum(e * e) / 2, "guess": h + V @ read}


MODEL = sb.model(attend, error, reduction="mean")
CELLS = (attend, scaled, looked_up, inside)
