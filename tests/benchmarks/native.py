"""Native modules beside the same cell as a user of torch or JAX writes it, forward and backward, in turns on one thread:
`python -m tests.benchmarks.native`, the numbers of docs/frameworks.md."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.zoo import gru

T, B, SIZES, TURNS = 100, 8, {"m": 32, "n": 64}, 25


@sb.cell
def leaky(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"], a: Param["n"]):
    k = sb.sigmoid(a)
    return (1 - k) * h + k * np.tanh(W @ x + U @ h + b)


def leaky_step(np: Any, sigmoid: Any, p: Any, x: Any, h: Any) -> Any:
    k = sigmoid(p["a"])
    return (1 - k) * h + k * np.tanh(x @ p["W"].T + h @ p["U"].T + p["b"])


def gru_step(np: Any, sigmoid: Any, p: Any, x: Any, h: Any) -> Any:
    r = sigmoid(x @ p["Wr"].T + h @ p["Ur"].T + p["br"])
    z = sigmoid(x @ p["Wz"].T + h @ p["Uz"].T + p["bz"])
    n = np.tanh(x @ p["Wn"].T + p["bn"] + r * (h @ p["Un"].T + p["cn"]))
    return (1 - z) * n + z * h


def runs_of(cell: Any, step: Callable[..., Any]) -> dict[str, Callable[[], Any]]:
    """Forward and backward pass of a cell, by who does it."""
    x, h = torch.randn(T, B, SIZES["m"]), torch.zeros(B, SIZES["n"])
    nets = {backend: sb.torch(cell, SIZES, backend=backend) for backend in ("native", "kernel")}
    own = {k: v.detach().clone().requires_grad_() for k, v in nets["native"].weights().items()}
    params, inputs, begin = (
        {k: jnp.asarray(v.detach().numpy()) for k, v in group.items()} for group in (own, {"x": x}, {"h": h})
    )
    f = sb.jax(cell)

    def by_net(net: Any) -> None:
        net.zero_grad()
        (net(x)[0]["h"] ** 2).sum().backward()

    def by_loop() -> None:
        state, states = h, []
        for row in x:
            state = step(torch, torch.sigmoid, own, row, state)
            states.append(state)
        (torch.stack(states) ** 2).sum().backward()

    def scanned(p: Any) -> Any:
        def one(state: Any, row: Any) -> Any:
            state = step(jnp, jax.nn.sigmoid, p, row, state)
            return state, state

        return (jax.lax.scan(one, begin["h"], inputs["x"])[1] ** 2).sum()

    native, plain = jax.jit(jax.grad(lambda p: (f(p, inputs)[0]["h"] ** 2).sum())), jax.jit(jax.grad(scanned))
    return {
        "torch loop": by_loop,
        "torch native": lambda: by_net(nets["native"]),
        "torch kernel": lambda: by_net(nets["kernel"]),
        "jax scan": lambda: jax.block_until_ready(plain(params)),
        "jax native": lambda: jax.block_until_ready(native(params)),
    }


def main() -> None:
    """Print the median milliseconds of each, and the median of its ratios to what a user writes."""
    torch.set_num_threads(1)
    for cell, step in ((leaky, leaky_step), (gru, gru_step)):
        runs = runs_of(cell, step)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(TURNS + 1):
            for name, run in runs.items():
                begin = time.process_time()
                run()
                if turn:  # the first one compiles
                    times[name].append(time.process_time() - begin)
        for name, found in times.items():
            beside = times["torch loop" if name.startswith("torch") else "jax scan"]
            ratio = statistics.median(a / b for a, b in zip(found, beside, strict=True))
            print(f"{cell.name:6} {name:13} {1e3 * statistics.median(found):7.2f} ms  {ratio:.2f}")


if __name__ == "__main__":
    main()
