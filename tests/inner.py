"""Cells whose step iterates: solvers, attention by slots, memories, each with as many inner rounds as it is told."""

import numpy as np

import symbptt as sb
from symbptt import Input, Param, State


def runge_kutta(rounds):
    """A neural ODE, a step of which is `rounds` steps of the classical Runge–Kutta method."""

    @sb.cell
    def rk4(x: Input["m"], h: State["n"], W: Param["n n"], U: Param["n m"], b: Param["n"]):
        dt = 1 / rounds
        for _ in range(rounds):
            k1 = np.tanh(W @ h + U @ x + b) - h
            k2 = np.tanh(W @ (h + dt / 2 * k1) + U @ x + b) - (h + dt / 2 * k1)
            k3 = np.tanh(W @ (h + dt / 2 * k2) + U @ x + b) - (h + dt / 2 * k2)
            k4 = np.tanh(W @ (h + dt * k3) + U @ x + b) - (h + dt * k3)
            h = h + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return h

    return rk4


def predictive_coding(rounds):
    """Latent values that move down the gradient of squared prediction errors."""

    @sb.cell
    def coding(x: Input["m"], h: State["n"], W: Param["m n"], V: Param["n n"]):
        prior = np.tanh(V @ h)
        z = prior
        for _ in range(rounds):
            e = x - W @ np.tanh(z)
            z = z + 0.1 * ((1 - np.tanh(z) ** 2) * (W.T @ e) - (z - prior))
        return z

    return coding


def slot_attention(rounds):
    """Slots that compete for the rows of an input and are updated by a GRU (Locatello et al. 2020)."""

    @sb.cell
    def slots(x: Input["p m"], s: State["k n"], Q: Param["n n"], K: Param["m n"], V: Param["m n"],
              Wz: Param["2*n n"], Wr: Param["2*n n"], Wc: Param["2*n n"]):  # fmt: skip
        keys, values = x @ K, x @ V
        for _ in range(rounds):
            a = keys @ (s @ Q).T
            e = np.exp(a - np.max(a, axis=1, keepdims=True))
            e = e / np.sum(e, axis=1, keepdims=True) + 1e-8
            u = (e / np.sum(e, axis=0, keepdims=True)).T @ values
            both = np.concatenate([s, u], axis=1)
            z, r = sb.sigmoid(both @ Wz), sb.sigmoid(both @ Wr)
            s = (1 - z) * s + z * np.tanh(np.concatenate([r * s, u], axis=1) @ Wc)
        return s

    return slots


def mesa(rounds):
    """A key memory that is solved by conjugate gradients at each step (von Oswald et al. 2025)."""

    @sb.cell
    def mesanet(x: Input["m"], G: State["n m"], H: State["n n"], y: State["m"], Wk: Param["n m"], Wq: Param["n m"],
                Wy: Param["n m"]):  # fmt: skip
        k, q = np.tanh(Wk @ x), np.tanh(Wq @ x + Wy @ y)
        G = 0.9 * G + np.outer(k, x)
        H = 0.9 * H + np.outer(k, k)
        z = np.zeros_like(q)
        r = q - (H @ z + z)
        p = r
        for _ in range(rounds):
            Hp = H @ p + p
            alpha = (r @ r) / (p @ Hp + 1e-6)
            z = z + alpha * p
            s = r - alpha * Hp
            beta = (s @ s) / (r @ r + 1e-6)
            p = s + beta * p
            r = s
        return {"G": G, "H": H, "y": z @ G}

    return mesanet


def computer(rounds):
    """A memory with reading and writing heads, `rounds` of them one after the other (Graves et al. 2016, without links)."""

    @sb.cell
    def dnc(x: Input["m"], h: State["n"], M: State["k w"], u: State["k"], W: Param["n n"], U: Param["n m"],
            R: Param["n w"], Kw: Param["w n"], Kr: Param["w n"], E: Param["w n"], A: Param["w n"],
            g: Param["n"]):  # fmt: skip
        def address(M, key):
            score = (M @ key) / np.sqrt(np.sum(M**2, axis=1) * np.sum(key**2) + 1e-6)
            e = np.exp(score - np.max(score))
            return e / np.sum(e)

        r = M.T @ address(M, np.tanh(Kr @ h))
        for _ in range(rounds):
            h = np.tanh(W @ h + U @ x + R @ r)
            free = sb.sigmoid(g @ h)
            a = address(M, np.tanh(Kw @ h)) * (1 - u) + 0.1
            w = free * a / np.sum(a)
            u = u + w - u * w
            M = M * (1 - np.outer(w, sb.sigmoid(E @ h))) + np.outer(w, np.tanh(A @ h))
            r = M.T @ address(M, np.tanh(Kr @ h))
        return {"h": h, "M": M, "u": u}

    return dnc


def equilibrium(rounds):
    """A step that goes `rounds` times towards its own fixed point (Bai et al. 2019)."""

    @sb.cell
    def deq(x: Input["m"], h: State["n"], W: Param["n n"], R: Param["n n"], U: Param["n m"]):
        z = h
        for _ in range(rounds):
            z = 0.5 * z + 0.5 * np.tanh(W @ z + R @ h + U @ x)
        return z

    return deq


def sinkhorn(rounds):
    """A mixture by a matrix whose rows and columns are normalised in turn."""

    @sb.cell
    def mixing(x: Input["m"], h: State["n"], A: Param["n n"], B: Param["n"], U: Param["n m"]):
        P = np.exp(A + np.outer(h, B))
        for _ in range(rounds):
            P = P / np.sum(P, axis=1, keepdims=True)
            P = P / np.sum(P, axis=0, keepdims=True)
        return np.tanh(P @ h + U @ x)

    return mixing


def highway(rounds):
    """A recurrent highway network of this depth, with coupled gates (Zilly et al. 2017)."""

    @sb.cell
    def rhn(x: Input["m"], s: State["n"], U: Param["n m"], V: Param["n m"], R: Param["n n"], T: Param["n n"]):
        for i in range(rounds):
            t = sb.sigmoid(T @ s + V @ x) if i == 0 else sb.sigmoid(T @ s)
            s = np.tanh(R @ s + U @ x) * t + s * (1 - t) if i == 0 else np.tanh(R @ s) * t + s * (1 - t)
        return s

    return rhn


MAKERS = {f.__name__: f for f in (runge_kutta, predictive_coding, slot_attention, mesa, computer, equilibrium, sinkhorn,
                                  highway)}  # fmt: skip
