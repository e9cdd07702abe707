"""Dynamical systems of the literature as cells: maps, flows in steps, networks without inputs."""

from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Const, Input, Param, State


@sb.cell
def logistic(x: State, r: Const = 4.0):
    return r * x * (1 - x)


@sb.cell
def henon(x: State, y: State, a: Const = 1.4, b: Const = 0.3):
    return 1 - a * x * x + y, b * x


@sb.cell
def cat_map(s: State["2"], A: Param["2 2"]):
    z = A @ s
    return z - np.floor(z)


@sb.cell
def linear_map(h: State["n"], W: Param["n n"]):
    return W @ h


@sb.cell
def random_products(A: Input["n n"], h: State["n"]):
    return A @ h


@sb.cell
def tanh_network(h: State["n"], J: Param["n n"]):
    return np.tanh(J @ h)


@sb.cell
def relu_network(h: State["n"], J: Param["n n"], b: Param["n"]):
    return sb.relu(J @ h + b)


@sb.cell
def independent(x: Input["n"], h: State["n"], a: Param["n"]):
    return a * h + x


@sb.cell
def sigmoid_unit(x: State, b: Param):
    return 5 * sb.sigmoid(x) + b


@sb.cell
def tanh_unit(x: State, g: Const = 2.0):
    return np.tanh(g * x)


def runge_kutta(slope: Any, s: Any, dt: Any) -> Any:
    k1 = slope(s)
    k2 = slope(s + dt / 2 * k1)
    k3 = slope(s + dt / 2 * k2)
    return s + dt / 6 * (k1 + 2 * k2 + 2 * k3 + slope(s + dt * k3))


def lorenz_slope(s: Any) -> Any:
    x, y, z = s[0], s[1], s[2]
    return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def van_der_pol_slope(s: Any) -> Any:
    return np.stack([s[1], 2 * (1 - s[0] * s[0]) * s[1] - s[0]])


@sb.cell
def lorenz(s: State["3"], dt: Const = 0.01):
    return runge_kutta(lorenz_slope, s, dt)


@sb.cell
def lorenz_euler(s: State["3"], dt: Const = 0.01):
    return s + dt * lorenz_slope(s)


@sb.cell
def van_der_pol(s: State["2"], dt: Const = 0.05):
    return runge_kutta(van_der_pol_slope, s, dt)


@sb.cell
def tanh_bias(h: State, w: Param, b: Param):
    return np.tanh(w * h + b)


@sb.cell
def logistic_map(x: State, r: Param):
    return r * x * (1 - x)


@sb.cell
def henon_map(x: State, y: State, a: Param, b: Param):
    return 1 - a * x * x + y, b * x


@sb.cell
def delayed_logistic(x: State, y: State, a: Param):
    return a * x * (1 - y), x


@sb.cell
def leaky_line(h: State, w: Param):
    return w * h + 1
