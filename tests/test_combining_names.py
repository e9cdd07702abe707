"""Names whose accents Unicode has as characters of their own, as in b̂, in generated modules."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State

T, B, N = 5, 3, 4


def made() -> sb.Cell:
    @sb.cell
    def combining(x: Input["k̂"], b̂: State["k̂"], m̃: State["k̂"], q̃: Param["k̂"], n̂: Param["k̂ k̂"]):
        w̃ = sb.sigmoid(n̂ @ m̃ + q̃ * x)
        return w̃ * b̂ + x, np.tanh(b̂ - w̃)

    return combining


@pytest.mark.parametrize("steps, samples", [(0, B), (1, 1), (2, B), (T, B), (700, 1)])
def test_gradients_are_those_of_the_function(steps: int, samples: int) -> None:
    cell, rng = made(), np.random.default_rng(0)
    params, x = cell.init({"k̂": N}, seed=1), rng.standard_normal((steps, samples, N))
    kernel = sb.compile(cell)
    grads = kernel.backward(kernel.forward(params, {"x": x}), {"m̃": np.ones((steps, samples, N))})
    step, moved = 1e-30, {name: value.astype(complex) for name, value in params.items()}
    for name, value in params.items():
        place = (0,) * value.ndim
        moved[name][place] += 1j * step
        total: Any = 0.0
        for k in range(samples):
            a, m = np.zeros(N, complex), np.zeros(N, complex)
            for t in range(steps):
                w = 1 / (1 + np.exp(-(moved["n̂"] @ m + moved["q̃"] * x[t, k])))
                a, m = w * a + x[t, k], np.tanh(a - w)
                total += m.sum()
        assert np.isclose(grads.params[name][place], np.imag(total) / step, rtol=1e-11, atol=1e-13), name
        moved[name][place] = value[place]
