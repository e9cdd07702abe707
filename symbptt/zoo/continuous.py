"""Cells that are a differential equation in small time steps."""

import numpy as np

import symbptt as sb
from symbptt import Const, Input, Param, State


@sb.cell
def ctrnn(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"], tau: Param["n"] = 1.0,
          dt: Const = 0.1):  # fmt: skip
    """The continuous-time network of leaky rate units, in Euler steps: the standard model of neural circuits.

    Source: Beer 1995, "On the dynamics of small continuous-time recurrent neural networks", equation 1.
    """
    return h + dt / tau * (-h + U @ sb.sigmoid(h + b) + W @ x)


@sb.cell
def ltc(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"],
        A: Param["n"] = 1.0, tau: Param["n"] = 1.0, dt: Const = 0.1):  # fmt: skip
    """Liquid time constants: the input sets how fast each unit forgets, in one step of an implicit solver.

    Source: Hasani, Lechner, Amini, Rus, Grosu 2021, "Liquid time-constant networks", algorithm 1 (the fused solver).
    """
    f = sb.sigmoid(W @ x + U @ h + b)
    return (h + dt * f * A) / (1 + dt * (1 / tau + f))


@sb.cell
def cornn(x: Input["m"], y: State["n"], z: State["n"],
          W: Param["n n"], Wz: Param["n n"], V: Param["n m"], b: Param["n"],
          dt: Const = 0.05, gamma: Const = 2.7, epsilon: Const = 4.7):  # fmt: skip
    """Coupled damped oscillators with positions y and velocities z: gradients bounded by construction.

    Source: Rusch, Mishra 2021, "Coupled oscillatory recurrent neural network (coRNN): an accurate and (gradient) stable
    architecture for learning long time dependencies", equation 3, damped explicitly.
    """
    z_new = z + dt * (np.tanh(W @ y + Wz @ z + V @ x + b) - gamma * y - epsilon * z)
    return y + dt * z_new, z_new


@sb.cell
def unicornn(x: Input["m"], y: State["n"], z: State["n"], V: Param["n m"], b: Param["n"],
             w: Param["n"] = 0.5, c: Param["n"] = 0.0, dt: Const = 0.05, alpha: Const = 1.0):  # fmt: skip
    """Undamped independent oscillators in symplectic steps, each with its own clock c: invertible in time.

    Source: Rusch, Mishra 2021, "UnICORNN: a recurrent model for learning very long time
    dependencies", one layer.
    """
    clock = dt * sb.sigmoid(c)
    z_new = z - clock * (np.tanh(w * y + V @ x + b) + alpha * y)
    return y + clock * z_new, z_new


@sb.cell
def lem(x: Input["m"], y: State["n"], z: State["n"],
        W1: Param["n n"], V1: Param["n m"], b1: Param["n"], W2: Param["n n"], V2: Param["n m"], b2: Param["n"],
        Wz: Param["n n"], Vz: Param["n m"], bz: Param["n"], Wy: Param["n n"], Vy: Param["n m"], by: Param["n"],
        dt: Const = 1.0):  # fmt: skip
    """Long expressive memory: two states whose time steps are learned gates, for signals of many time scales.

    Source: Rusch, Mishra, Erichson, Mahoney 2022, "Long expressive memory for sequence modeling", equation 3.
    """
    d1 = dt * sb.sigmoid(W1 @ y + V1 @ x + b1)
    d2 = dt * sb.sigmoid(W2 @ y + V2 @ x + b2)
    z_new = (1 - d1) * z + d1 * np.tanh(Wz @ y + Vz @ x + bz)
    return (1 - d2) * y + d2 * np.tanh(Wy @ z_new + Vy @ x + by), z_new
