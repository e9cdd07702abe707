"""Cells with loops inside a step, in natural spelling, whose pages are read back: rounds of one body, and fixed points."""

import numpy as np

import symbptt as sb
from symbptt import Const, Input, Output, Param, State, Target


@sb.cell
def rk4(x: Input["m"], h: State["n"], W: Param["n n"], V: Param["n m"], tau: Param["n"], dt: Const = 0.3):
    """A leaky network in four substeps of Runge and Kutta, with the slope in a function of its own."""
    drive = V @ x

    def slope(y):
        return (-y + np.tanh(W @ y + drive)) / (1 + tau * tau)

    def substep(y):
        s = dt / 4
        k1 = slope(y)
        k2 = slope(y + s / 2 * k1)
        k3 = slope(y + s / 2 * k2)
        k4 = slope(y + s * k3)
        return y + s / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    return sb.repeat(substep, h, 4)


@sb.cell
def predictive(x: Input["m"], r: State["n"], W: Param["m n"], V: Param["n n"], eta: Param):
    """Predictive coding: rounds of inference descend an energy of the errors of a prediction and of its prior."""
    prior = np.tanh(V @ r)

    def energy(z):
        e = x - W @ np.tanh(z)
        return 0.5 * e @ e + 0.5 * np.sum((z - prior) ** 2)

    return sb.repeat(lambda z: z - eta * sb.grad(energy)(z), prior, 5)


@sb.cell
def newton(x: Input["n"], h: State["n"], a: Param["n"]):
    """An implicit step, y + a² tanh(y) = h + x, solved by rounds of Newton's method."""

    def better(y):
        u = np.tanh(y)
        return y - (y + a * a * u - h - x) / (1 + a * a * (1 - u * u))

    return sb.repeat(better, h, 3)


@sb.cell
def settled(x: Input["m"], h: State["n"], U: Param["n n"], W: Param["n m"], V: Param["k n"]):
    """A layer of infinite depth, with a gate, and an output of it."""

    def layer(z):
        g = sb.sigmoid(0.3 * (U @ z))
        return 0.3 * g * np.tanh(0.3 * (U.T @ z) + W @ x) + 0.2 * h

    z = sb.fixed_point(layer, np.zeros_like(h))
    return {"h": z, "y": V @ np.sin(z)}


@sb.cell
def stacked(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["L n n"], b: Param["L n"]):
    """As many layers as the weights are, each with weights of its own."""
    z = np.tanh(W @ x + h)
    return 0.5 * h + sb.repeat(lambda z, k: z + np.tanh(U[k] @ z + b[k]), z, U.shape[0])


@sb.cell
def loops_in_loops(x: Input["n"], h: State["n"], U: Param["n n"], V: Param["n n"]):
    """Each outer round relaxes a value by inner rounds, in functions that call each other."""

    def inner(y, z, k):
        return np.tanh(U @ y + 0.2 * k * z + x)

    def relaxed(z):
        return sb.repeat(lambda y, k: inner(y, z, k), z, 2)

    return sb.repeat(lambda z, j: 0.5 * relaxed(z) + np.sin(V @ z) / (1 + j), h, 3)


@sb.cell
def rotated(x: Input["m"], h: State["n", complex], theta: Param["n"], B: Param["n m", complex], U: Param["n n"]):
    """Complex states that turn, by as much as rounds on their absolute values say."""

    def gain(x):
        return np.tanh(U @ x + h.real) / (1 + x * x)

    r = sb.repeat(gain, np.abs(h), 3)
    return {"h": np.exp(1j * theta * r) * h + B @ x, "y": (np.conj(h) * r).imag}


@sb.cell
def two_carried(x: Input["m"], q: State["n"], p: State["n"], K: Param["n n"], W: Param["n m"], dt: Const = 0.1):
    """Leapfrog: positions and momenta, carried together."""

    def leap(qp, k):
        q, p = qp
        p = p - dt * (K @ np.sin(q) + W @ x)
        return q + dt * p, p * (1 - 0.01 * k)

    return sb.repeat(leap, (q, p), 4)


@sb.loss
def read_out(y: Output["k"], target: Target["k"], c: Param["k"]):
    e = np.tanh(y + c) - target
    return np.sum(e * e) / 2


@sb.loss
def of_state(h: State["n"], target: Target["k"], Q: Param["k n"]):
    return -np.sum(target * sb.log_softmax(Q @ h))


CELLS = {cell.name: cell for cell in (rk4, predictive, newton, settled, stacked, loops_in_loops, rotated, two_carried)}
MODELS = {"rk4": sb.model(rk4, of_state), "stacked": sb.model(stacked, of_state, at="last", reduction="mean")}
