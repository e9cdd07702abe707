"""Cells of complex numbers in the lines of their papers, and small ones for single rules."""

from __future__ import annotations

from typing import Any

import numpy as np

import symbptt as sb


@sb.cell
def lru(
    x: sb.Input["m"], h: sb.State["n", complex], nu: sb.Param["n"], theta: sb.Param["n"],
    B: sb.Param["n m", complex], C: sb.Param["k n", complex], D: sb.Param["k m"],
) -> Any:  # fmt: skip
    """Orvieto et al. 2023, "Resurrecting recurrent neural networks for long sequences", equations 1, 2 and 6."""
    lam = np.exp(-np.exp(nu) + 1j * theta)
    gamma = np.sqrt(1 - np.abs(lam) ** 2)
    h = lam * h + gamma * (B @ x)
    return {"h": h, "y": (C @ h).real + D @ x}


@sb.cell
def s4d(
    u: sb.Input["m"], x: sb.State["m n", complex], log_dt: sb.Param["m"], log_A: sb.Param["m n"], A_im: sb.Param["m n"],
    B: sb.Param["m n", complex], C: sb.Param["m n", complex], D: sb.Param["m"],
) -> Any:  # fmt: skip
    """Gu et al. 2022, "On the parameterization and initialization of diagonal state space models", sections 3 and 4."""
    A = -np.exp(log_A) + 1j * A_im
    dt = np.exp(log_dt)[:, None]
    A_bar = np.exp(dt * A)
    B_bar = (A_bar - 1) / A * B
    x = A_bar * x + B_bar * u[:, None]
    return {"x": x, "y": 2 * np.sum(C * x, axis=-1).real + D * u}


@sb.cell
def s5(
    u: sb.Input["m"], x: sb.State["p", complex], Lambda: sb.Param["p", complex], log_step: sb.Param["p"],
    B: sb.Param["p m", complex], C: sb.Param["m p", complex], D: sb.Param["m"],
) -> Any:  # fmt: skip
    """Smith et al. 2023, "Simplified state space layers for sequence modeling", section 3 and listing 1: conjugate pairs by their halves."""
    step = np.exp(log_step)
    Lambda_bar = np.exp(Lambda * step)
    B_bar = (1 / Lambda * (Lambda_bar - 1))[:, None] * B
    x = Lambda_bar * x + B_bar @ u
    return {"x": x, "y": 2 * (C @ x).real + D * u}


N = 4
PERMUTATION = np.array([2, 0, 3, 1])
FOURIER = np.exp(-2j * np.pi * np.outer(np.arange(N), np.arange(N)) / N) / 2.0


def reflected(v: Any, h: Any) -> Any:
    """Return h - 2 v (v* h) / |v|²."""
    return h - 2 * v * (np.sum(v.conj() * h) / np.sum(np.abs(v) ** 2))


@sb.cell
def urnn(
    x: sb.Input["m"], h: sb.State["4", complex], V: sb.Param["4 m", complex], b: sb.Param["4"], d1: sb.Param["4"],
    d2: sb.Param["4"], d3: sb.Param["4"], r1: sb.Param["4", complex], r2: sb.Param["4", complex], U: sb.Param["k 8"],
) -> Any:  # fmt: skip
    """Arjovsky et al. 2016, "Unitary evolution recurrent neural networks", equations 6 and 8: D3 R2 F⁻¹ D2 Π R1 F D1, then modReLU."""
    z = FOURIER @ (np.exp(1j * d1) * h)
    z = np.exp(1j * d2) * reflected(r1, z)[PERMUTATION]
    z = np.exp(1j * d3) * reflected(r2, FOURIER.conj() @ z) + V @ x
    size = np.abs(z)
    h = z / size * sb.relu(size + b)
    return {"h": h, "y": U @ np.concatenate([h.real, h.imag])}


@sb.cell
def parts(
    x: sb.Input["n", complex], h: sb.State["n", complex], r: sb.State["n"], W: sb.Param["n n", complex], a: sb.Param["n"],
    c: sb.Param[complex],
) -> Any:  # fmt: skip
    """Each function of complex numbers once, beside a real state."""
    z = W @ h + c * x
    h = np.tanh(z) * np.exp(1j * a) + np.conj(z) / (3 + r**2)
    s = np.angle(z) * a + np.abs(z) + z.imag
    q = np.where(r > 0, z * z.conj(), 1 / (2 + np.cos(0.2 * z))).real
    return {"h": h, "r": 0.5 * np.tanh(s + q) + r * 0.3, "y": np.sum(np.sin(0.3 * h)), "e": np.outer(h, r)}


CELLS = {"lru": lru, "s4d": s4d, "s5": s5, "urnn": urnn, "parts": parts}
SIZES = {"m": 3, "n": 4, "k": 2, "p": 5}
