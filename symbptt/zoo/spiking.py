"""Spiking neurons: a threshold forward, a declared smooth derivative backward."""

import sympy as sp

import symbptt as sb
from symbptt import Const, Input, Param, State

spike = sb.function("spike", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + 10 * sp.Abs(v)) ** 2)


@sb.cell
def lif(x: Input["m"], v: State["n"], s: State["n"], W: Param["n m"], U: Param["n n"],
        beta: Const = 0.9, threshold: Const = 1.0):  # fmt: skip
    """Leaky integrate-and-fire neurons: a membrane potential v that leaks, and spikes s that lower it again.

    Source: Neftci, Mostafa, Zenke 2019, "Surrogate gradient learning in spiking neural networks", without synaptic
    currents; the derivative of the spike: Zenke, Ganguli 2018, "SuperSpike".
    """
    v_new = beta * v + W @ x + U @ s - threshold * s
    return v_new, spike(v_new - threshold)


@sb.cell
def alif(x: Input["m"], v: State["n"], a: State["n"], s: State["n"], W: Param["n m"], U: Param["n n"],
         beta: Const = 0.9, rho: Const = 0.97, threshold: Const = 1.0, strength: Const = 0.2):  # fmt: skip
    """Adaptive integrate-and-fire neurons: each spike raises the threshold for a while, a memory of many steps.

    Source: Bellec, Salaj, Subramoney, Legenstein, Maass 2018, "Long short-term memory and learning-to-learn in networks
    of spiking neurons".
    """
    a_new = rho * a + s
    v_new = beta * v + W @ x + U @ s - threshold * s
    return v_new, a_new, spike(v_new - threshold - strength * a_new)
