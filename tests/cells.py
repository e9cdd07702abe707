"""Cells that several tests share."""

from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Const, Index, Input, Param, State


@sb.cell
def vanilla(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    return np.tanh(W @ x + U @ h + b)


def excite(S: Any, v: Any, times: int) -> Any:
    for _ in range(times):
        v = v + 0.5 * np.sin(S @ v)
    return v


@sb.cell
def odd(x: Input["m"], u: Input, i: Index["v"], h: State["n"], S: State["n n"], c: State,
        W: Param["n m"], E: Param["v n"], P: Param["2 n n"], g: Param, b: Param["2*n"], dt: Const = 0.1,
        mask: Const["2"] = np.array([1.0, 0.5])):  # fmt: skip
    """A cell with a bit of everything: a matrix and a scalar state, an index, a loop, an output, constants."""
    drive = np.concatenate([W @ x, E[i]]) + b
    gate = sb.softmax(drive[: h.shape[0]])
    k = excite(S, gate, times=2)
    S_new = (1 - dt) * S + dt * np.outer(k, np.tanh(h)) * mask[0]
    mixed = np.einsum("aij,j,a->i", P, h, mask)
    level = np.where(u > 0, u, 0.5 * u) * g
    c_new = c + level * sb.mean(k)
    h_new = sb.sigmoid(mixed + drive[h.shape[0] :]) * h + S_new @ gate / (1 + c * c)
    return {"h": h_new, "S": S_new, "c": c_new, "y": sb.logsumexp(h_new) * level}
