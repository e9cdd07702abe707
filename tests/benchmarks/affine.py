"""Affine cells over our own loop and over one by hand: `python tests/benchmarks/affine.py [float32|float64] [m] [CELL ...]`.

Our own loop is the same module with the recursion left step by step; the one by hand does all at every step, as a user
would write it, backward too. Forward and backward with every gradient, T = 4096, one thread, processor time, every
round all in turns, medians of the ratios. m is the width of the input: a number, or `n`.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

import symbptt as sb  # noqa: E402
from symbptt import Const, Input, Param, State  # noqa: E402
from symbptt.bench.floor import floor_products, floor_run  # noqa: E402
from symbptt.bench.timing import ratio, times_in_turns  # noqa: E402
from symbptt.zoo import min_gru  # noqa: E402

STEPS, SECONDS = 4096, 1.5
SIZES = tuple((batch, n) for batch in (1, 8, 32) for n in (16, 64))
Arrays = dict[str, Any]


@sb.cell
def recursion(x: Input["n"], a: Input["n"], h: State["n"]):
    """All that a step does is the recursion."""
    return a * h + x


@sb.cell
def leaky(x: Input["m"], h: State["n"], W: Param["n m"], b: Param["n"], alpha: Const = 0.1):
    """A leaky integrator with a constant decay."""
    return (1 - alpha) * h + alpha * np.tanh(W @ x + b)


@sb.cell
def pairs(
    x: Input["m"], re: State["n"], im: State["n"], r: Param["n"], i: Param["n"], V: Param["n m"], W: Param["n m"]
):
    """Complex diagonal modes as pairs of real states."""
    return {"re": r * re - i * im + V @ x, "im": i * re + r * im + W @ x}


@sb.cell
def state_space(x: Input["m"], h: State["n"], rate: Param["n"], W: Param["n m"], C: Param["m n"], D: Param["m"]):
    """A diagonal state space with its output."""
    h = np.exp(-sb.softplus(rate)) * h + W @ x
    return {"h": h, "y": C @ h + D * x}


CELLS = {c.name: c for c in (recursion, min_gru, leaky, pairs, state_space)}


def recursion_by_hand(p: Arrays, x: Arrays, d: Arrays) -> Arrays:
    a, x, d = x["a"], x["x"], d["h"]
    h = np.zeros((STEPS + 1, *x.shape[1:]), x.dtype)
    for t in range(STEPS):
        h[t + 1] = a[t] * h[t] + x[t]
    carry, da, dx = np.zeros_like(h[0]), np.empty_like(a), np.empty_like(x)
    for t in reversed(range(STEPS)):
        dx[t] = carry + d[t]
        da[t] = dx[t] * h[t]
        carry = a[t] * dx[t]
    return {"a": da, "x": dx}


def min_gru_by_hand(p: Arrays, x: Arrays, d: Arrays) -> Arrays:
    x, d, (Wz, bz, Wh, bh) = x["x"], d["h"], (p[k] for k in ("Wz", "bz", "Wh", "bh"))
    h = np.zeros((STEPS + 1, x.shape[1], len(bz)), x.dtype)
    z, c = np.empty_like(h[1:]), np.empty_like(h[1:])
    for t in range(STEPS):
        z[t] = 1 / (1 + np.exp(-(x[t] @ Wz.T + bz)))
        c[t] = x[t] @ Wh.T + bh
        h[t + 1] = (1 - z[t]) * h[t] + z[t] * c[t]
    g = {k: np.zeros_like(v) for k, v in p.items()} | {"x": np.empty_like(x)}
    carry = np.zeros_like(h[0])
    for t in reversed(range(STEPS)):
        dh = carry + d[t]
        dz, dc = dh * (c[t] - h[t]) * z[t] * (1 - z[t]), dh * z[t]
        g["Wz"] += dz.T @ x[t]
        g["bz"] += dz.sum(0)
        g["Wh"] += dc.T @ x[t]
        g["bh"] += dc.sum(0)
        g["x"][t] = dz @ Wz + dc @ Wh
        carry = dh * (1 - z[t])
    return g


def leaky_by_hand(p: Arrays, x: Arrays, d: Arrays, alpha: float = 0.1) -> Arrays:
    x, d, W, b = x["x"], d["h"], p["W"], p["b"]
    h = np.zeros((STEPS + 1, x.shape[1], len(b)), x.dtype)
    c = np.empty_like(h[1:])
    for t in range(STEPS):
        c[t] = np.tanh(x[t] @ W.T + b)
        h[t + 1] = (1 - alpha) * h[t] + alpha * c[t]
    g = {"W": np.zeros_like(W), "b": np.zeros_like(b), "x": np.empty_like(x)}
    carry = np.zeros_like(h[0])
    for t in reversed(range(STEPS)):
        dh = carry + d[t]
        dc = alpha * dh * (1 - c[t] * c[t])
        g["W"] += dc.T @ x[t]
        g["b"] += dc.sum(0)
        g["x"][t] = dc @ W
        carry = (1 - alpha) * dh
    return g


def pairs_by_hand(p: Arrays, x: Arrays, d: Arrays) -> Arrays:
    x, (r, i, V, W) = x["x"], (p[k] for k in ("r", "i", "V", "W"))
    re, im = (np.zeros((STEPS + 1, x.shape[1], len(r)), x.dtype) for _ in range(2))
    for t in range(STEPS):
        re[t + 1] = r * re[t] - i * im[t] + x[t] @ V.T
        im[t + 1] = i * re[t] + r * im[t] + x[t] @ W.T
    g = {k: np.zeros_like(v) for k, v in p.items()} | {"x": np.empty_like(x)}
    one = other = np.zeros_like(re[0])
    for t in reversed(range(STEPS)):
        one, other = one + d["re"][t], other + d["im"][t]
        g["r"] += (one * re[t] + other * im[t]).sum(0)
        g["i"] += (other * re[t] - one * im[t]).sum(0)
        g["V"] += one.T @ x[t]
        g["W"] += other.T @ x[t]
        g["x"][t] = one @ V + other @ W
        one, other = r * one + i * other, r * other - i * one
    return g


def state_space_by_hand(p: Arrays, x: Arrays, d: Arrays) -> Arrays:
    x, d, (rate, W, C, D) = x["x"], d["y"], (p[k] for k in ("rate", "W", "C", "D"))
    a = np.exp(-np.logaddexp(rate, 0))
    h, y = np.zeros((STEPS + 1, x.shape[1], len(a)), x.dtype), np.empty_like(x)
    for t in range(STEPS):
        h[t + 1] = a * h[t] + x[t] @ W.T
        y[t] = h[t + 1] @ C.T + D * x[t]
    g = {k: np.zeros_like(v) for k, v in p.items()} | {"x": np.empty_like(x)}
    carry = np.zeros_like(h[0])
    for t in reversed(range(STEPS)):
        dh = carry + d[t] @ C
        g["rate"] -= (dh * h[t]).sum(0)
        g["W"] += dh.T @ x[t]
        g["C"] += d[t].T @ h[t + 1]
        g["D"] += (d[t] * x[t]).sum(0)
        g["x"][t] = dh @ W + d[t] * D
        carry = a * dh
    g["rate"] *= a * (1 - a)
    return g


BY_HAND: dict[str, Callable[[Arrays, Arrays, Arrays], Arrays]] = {
    name: globals()[f"{name}_by_hand"] for name in ("recursion", "min_gru", "leaky", "pairs", "state_space")
}


def step_by_step(cell: sb.Cell) -> Any:
    """The kernel of a cell whose recursion stays a loop."""
    with mock.patch.object(sys.modules["symbptt.codegen.passes.affine_recurrence"], "_both", lambda _: None):
        return sb.compile(cell)


def case(cell: sb.Cell, batch: int, sizes: dict[str, int], dtype: str) -> tuple[Arrays, Arrays, Arrays]:
    """Random parameters, inputs and cotangents."""
    random = np.random.default_rng(0)
    used = {k: v for k, v in sizes.items() if any(k in map(str, a.shape) for a in cell.step.arguments)}
    params = {k: np.asarray(v, dtype) for k, v in cell.init(used, seed=0).items()}
    inputs = {
        a.name: random.random((STEPS, batch, *(sizes[str(s)] for s in a.shape))).astype(dtype)
        for a in cell.step.arguments
        if a.role == "input"
    }
    run = sb.compile(cell).forward(params, inputs)
    values = run.outputs or run.states
    return params, inputs, {k: random.standard_normal(v.shape).astype(dtype) for k, v in values.items()}


def gradients(kernel: Any, params: Arrays, inputs: Arrays, cotangents: Arrays) -> Arrays:
    grads = kernel.backward(kernel.forward(params, inputs), cotangents)
    return grads.params | grads.inputs


def check(found: Arrays, wanted: Arrays, dtype: str) -> None:
    """Say where gradients differ by more than rounding."""
    for k, v in wanted.items():
        scale = np.abs(v).max()
        assert np.abs(found[k] - v).max() <= scale * (1e-2 if dtype == "float32" else 1e-9), k


def main(dtype: str = "float32", width: str = "n", *names: str) -> None:
    print(
        f"{'cell':<12} {'B, n, m':<11} {'ms':>7} {'own loop':>9} {'by hand':>8} {'floor':>6}   (times ours; floor: ours over it)"
    )
    for name in names or CELLS:
        cell = CELLS[name]
        kernel, loop = sb.compile(cell), step_by_step(cell)
        for batch, n in SIZES:
            sizes = {"m": n if width == "n" else int(width), "n": n}
            data = case(cell, batch, sizes, dtype)
            wanted = gradients(loop, *data)
            check(gradients(kernel, *data), wanted, dtype)
            check(BY_HAND[name](*data), wanted, dtype)
            runs: dict[str, Callable[[], object]] = {
                "ours": lambda k=kernel, d=data: gradients(k, *d),
                "loop": lambda k=loop, d=data: gradients(k, *d),
                "hand": lambda f=BY_HAND[name], d=data: f(*d),
            }
            products = floor_products(cell, STEPS, batch, sizes)
            runs |= {"floor": floor_run(products, np.dtype(dtype))} if products else {}
            times = times_in_turns(runs, SECONDS, time.process_time)
            floor = f"{ratio(times, 'ours', 'floor'):6.2f}" if products else "     -"
            label = f"{batch}, {n}, {sizes['m']}"
            print(
                f"{name:<12} {label:<11} {np.median(times['ours']) * 1e3:7.2f} "
                f"{ratio(times, 'loop', 'ours'):9.2f} {ratio(times, 'hand', 'ours'):8.2f} {floor}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
