"""Cells that solve linear equations at each step."""

import numpy as np

import symbptt as sb
from symbptt import Input, Param, State


@sb.cell
def kalman(z: Input["m"], x: State["n"], P: State["n n"], F: Param["n n"], H: Param["m n"],
           q: Param["n"] = 0.0, r: Param["m"] = 0.0):  # fmt: skip
    """The Kalman filter: a mean x and a covariance P, predicted by F and corrected by each observation z of H x.

    The noises are independent, with variances exp(q) and exp(r).

    Source: Kalman 1960, "A new approach to linear filtering and prediction problems", theorem 3; in the notation of Welch,
    Bishop 2006, "An introduction to the Kalman filter", equations 1.9 to 1.13.
    """
    x, P = F @ x, F @ P @ F.T + np.diag(np.exp(q))
    S = H @ P @ H.T + np.diag(np.exp(r))
    K = P @ H.T @ np.linalg.inv(S)
    return x + K @ (z - H @ x), P - K @ H @ P


@sb.cell
def mesa_net(x: Input["m"], H: State["d d"], G: State["n d"], Wq: Param["d m"], Wk: Param["d m"], Wv: Param["n m"],
             wf: Param["m"], wi: Param["m"], bf: Param = 3.0, bi: Param = 0.0, lam: Param["d"] = 1.0):  # fmt: skip
    """Linear attention whose keys and values are fitted by regularised least squares at each step; output y.

    Source: von Oswald et al. 2025, "MesaNet: sequence modeling by locally optimal test-time training", section 3: the
    states H and G, the gates γ and β, and the solve of H + Λ by its value, where the paper iterates.
    """
    q, k, v = Wq @ x, Wk @ x, Wv @ x
    q, k = q / (sb.norm(q) + 1e-6), k / (sb.norm(k) + 1e-6)
    gamma, beta = sb.sigmoid(wf @ x + bf), sb.sigmoid(wi @ x + bi)
    H_new = gamma * H + beta * np.outer(k, k)
    G_new = gamma * G + beta * np.outer(v, k)
    return {"H": H_new, "G": G_new, "y": G_new @ np.linalg.solve(H_new + np.diag(sb.softplus(lam)), q)}
