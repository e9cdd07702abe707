"""Native modules beside the same cell as a user of torch or JAX writes it, forward and backward, in turns on one thread:
`python -m tests.benchmarks.native`, the numbers of docs/frameworks.md."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import symbptt as sb
from symbptt import Input, Param, State

TURNS = 9
SIZES = ((50, 1, 16, 32), (100, 8, 32, 64), (400, 4, 16, 64), (100, 32, 64, 128))
"""T, B, m, n."""
Step = Callable[..., dict[str, Any]]


@sb.cell
def leaky(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"], a: Param["n"]):
    k = sb.sigmoid(a)
    return (1 - k) * h + k * np.tanh(W @ x + U @ h + b)


def leaky_step(np: Any, sigmoid: Any, p: Any, x: Any, h: Any) -> dict[str, Any]:
    k = sigmoid(p["a"])
    return {"h": (1 - k) * h + k * np.tanh(x @ p["W"].T + h @ p["U"].T + p["b"])}


@sb.cell
def minimal(
    x: Input["m"], h: State["n"], Wf: Param["n m"], Uf: Param["n n"], Wc: Param["n m"], Uc: Param["n n"], b: Param["n"]
):
    f = sb.sigmoid(Wf @ x + Uf @ h + b)
    return (1 - f) * h + f * np.tanh(Wc @ x + Uc @ (f * h))


def minimal_step(np: Any, sigmoid: Any, p: Any, x: Any, h: Any) -> dict[str, Any]:
    f = sigmoid(x @ p["Wf"].T + h @ p["Uf"].T + p["b"])
    return {"h": (1 - f) * h + f * np.tanh(x @ p["Wc"].T + (f * h) @ p["Uc"].T)}


@sb.cell
def peephole(x: Input["m"], h: State["n"], c: State["n"], Wi: Param["n m"], Ui: Param["n n"], pi: Param["n"], Wg: Param["n m"],
             Ug: Param["n n"], Wo: Param["n m"], Uo: Param["n n"], po: Param["n"]):  # fmt: skip
    i = sb.sigmoid(Wi @ x + Ui @ h + pi * c)
    c2 = (1 - i) * c + i * np.tanh(Wg @ x + Ug @ h)
    return {"h": sb.sigmoid(Wo @ x + Uo @ h + po * c2) * np.tanh(c2), "c": c2}


def peephole_step(np: Any, sigmoid: Any, p: Any, x: Any, h: Any, c: Any) -> dict[str, Any]:
    i = sigmoid(x @ p["Wi"].T + h @ p["Ui"].T + p["pi"] * c)
    c = (1 - i) * c + i * np.tanh(x @ p["Wg"].T + h @ p["Ug"].T)
    return {"h": sigmoid(x @ p["Wo"].T + h @ p["Uo"].T + p["po"] * c) * np.tanh(c), "c": c}


@sb.cell
def selective(x: Input["m"], h: State["n"], A: Param["n m"], W: Param["n m"], b: Param["n"]):
    """Affine in its state, with gates of the input alone."""
    a = sb.sigmoid(A @ x + b)
    return a * h + (1 - a) * (W @ x)


def selective_step(np: Any, sigmoid: Any, p: Any, x: Any, h: Any) -> dict[str, Any]:
    a = sigmoid(x @ p["A"].T + p["b"])
    return {"h": a * h + (1 - a) * (x @ p["W"].T)}


@sb.cell
def normed(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], g: Param["n"], b: Param["n"]):
    z = W @ x + U @ h
    z = z - z.mean()
    return np.tanh(g * z / np.sqrt((z * z).mean() + 1e-5) + b)


def normed_step(np: Any, sigmoid: Any, p: Any, x: Any, h: Any) -> dict[str, Any]:
    z = x @ p["W"].T + h @ p["U"].T
    z = z - z.mean(-1, keepdims=True)
    return {"h": np.tanh(p["g"] * z / np.sqrt((z * z).mean(-1, keepdims=True) + 1e-5) + p["b"])}


CELLS = (
    (leaky, leaky_step),
    (minimal, minimal_step),
    (peephole, peephole_step),
    (selective, selective_step),
    (normed, normed_step),
)


def runs_of(cell: Any, step: Step, T: int, B: int, m: int, n: int) -> dict[str, Callable[[], Any]]:
    """Forward and backward pass of a cell, by who does it; each returns the gradient of a weight."""
    sizes, x = {"m": m, "n": n}, torch.randn(T, B, m)
    names = [a.name for a in cell.arguments if a.role == "state"]
    begin = {k: torch.zeros(B, n) for k in names}
    nets = {backend: sb.torch(cell, sizes, backend=backend) for backend in ("native", "kernel")}
    own = {k: v.detach().clone().requires_grad_() for k, v in nets["native"].weights().items()}
    params, inputs, zeros = (
        {k: jnp.asarray(v.detach().numpy()) for k, v in group.items()} for group in (own, {"x": x}, begin)
    )
    f, last = sb.jax(cell), next(iter(own))

    def by_net(net: Any) -> Any:
        net.zero_grad()
        (net(x)[0]["h"] ** 2).sum().backward()
        return net.weights()[last].grad

    def by_loop() -> Any:
        state, states = begin, []
        for value in own.values():
            value.grad = None
        for row in x:
            state = step(torch, torch.sigmoid, own, row, **state)
            states.append(state["h"])
        (torch.stack(states) ** 2).sum().backward()
        return own[last].grad

    def scanned(p: Any) -> Any:
        def one(state: Any, row: Any) -> Any:
            state = step(jnp, jax.nn.sigmoid, p, row, **state)
            return state, state["h"]

        return (jax.lax.scan(one, zeros, inputs["x"])[1] ** 2).sum()

    native, plain = jax.jit(jax.grad(lambda p: (f(p, inputs)[0]["h"] ** 2).sum())), jax.jit(jax.grad(scanned))
    return {
        "torch loop": by_loop,
        "torch native": lambda: by_net(nets["native"]),
        "torch kernel": lambda: by_net(nets["kernel"]),
        "jax scan": lambda: jax.block_until_ready(plain(params))[last],
        "jax native": lambda: jax.block_until_ready(native(params))[last],
    }


def ratios_of(runs: dict[str, Callable[[], Any]]) -> Iterator[tuple[str, float, float]]:
    """Yield the median seconds of each, and the median of its ratios to what a user writes; what runs is compared first."""
    wanted = np.asarray(runs["torch loop"]())
    for run in runs.values():
        assert np.allclose(np.asarray(run()), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(TURNS):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            times[name].append(time.process_time() - begin)
    for name, found in times.items():
        beside = times["torch loop" if name.startswith("torch") else "jax scan"]
        ratio = statistics.median(a / b for a, b in zip(found, beside, strict=True))
        yield name, statistics.median(found), ratio


def main() -> None:
    """Print the milliseconds and ratios of all cells and sizes, and the geometric means of the ratios."""
    torch.set_num_threads(1)
    every: dict[str, list[float]] = {}
    for cell, step in CELLS:
        for sizes in SIZES:
            found = list(ratios_of(runs_of(cell, step, *sizes)))
            for name, _, ratio in found:
                every.setdefault(name, []).append(ratio)
            texts = "  ".join(f"{name} {1e3 * seconds:.2f} ms {ratio:.2f}" for name, seconds, ratio in found)
            print(f"{cell.name:10} {sizes}  {texts}", flush=True)
    for name, ratios in every.items():
        print(f"geometric mean, {name}: {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main()
