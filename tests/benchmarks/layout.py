"""Gates one behind the other, (g, B, n), over gates side by side, (B, g n): `python tests/benchmarks/layout.py`.

What the forward loop of a cell with g gates does in either layout, written out: the product of the state, the sum with what
the inputs gave, sigmoids, a tanh, the new states; then what the backward sweep reads of every gate. Medians of ratios,
both in turns, one thread; above them the two costs that the model of docs/plan.md weighs against each other.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from symbptt.bench.timing import ratio, times_in_turns  # noqa: E402

STEPS, SECONDS = 20, 0.6
SIZES = tuple((batch, n) for batch in (1, 8, 32, 128) for n in (16, 64, 128, 256))
Run = Callable[[], object]


def one_behind_the_other(g: int, batch: int, n: int, dtype: str) -> Run:
    """Return the steps with an axis of gates in front."""
    random = np.random.default_rng(0)
    weights = (random.standard_normal((g, n, n)) / np.sqrt(n)).astype(dtype)
    given = random.standard_normal((STEPS, g, batch, n)).astype(dtype)
    sums = np.empty((g, batch, n), dtype)
    gates = np.empty((STEPS, g - 1, batch, n), dtype)
    parts = [[gates[t, k] for k in range(g - 1)] for t in range(STEPS)]
    return _steps(weights, given, sums, sums[:-1], sums[-1], gates, parts, batch, n)


def side_by_side(g: int, batch: int, n: int, dtype: str) -> Run:
    """Return the steps with the gates of a sample in one row."""
    random = np.random.default_rng(0)
    weights = (random.standard_normal((n, g * n)) / np.sqrt(n)).astype(dtype)
    given = random.standard_normal((STEPS, batch, g * n)).astype(dtype)
    sums = np.empty((batch, g * n), dtype)
    gates = np.empty((STEPS, batch, (g - 1) * n), dtype)
    parts = [[gates[t, :, k * n : (k + 1) * n] for k in range(g - 1)] for t in range(STEPS)]
    return _steps(weights, given, sums, sums[:, : (g - 1) * n], sums[:, (g - 1) * n :], gates, parts, batch, n)


def _steps(weights, given, sums, inner, last, gates, parts, batch, n) -> Run:  # type: ignore[no-untyped-def]
    dtype = sums.dtype
    h, c, new, s, u = (np.zeros((batch, n), dtype) for _ in range(5))
    one = np.array(1, dtype)

    def run() -> None:
        for t in range(STEPS):
            np.matmul(h, weights, out=sums)
            np.add(sums, given[t], out=sums)
            gate = gates[t]
            np.negative(inner, out=gate)
            np.exp(gate, out=gate)
            np.add(one, gate, out=gate)
            np.divide(one, gate, out=gate)
            np.tanh(last, out=new)
            for part in parts[t]:
                np.multiply(part, new, out=s)
            np.add(s, c, out=c)
            np.multiply(parts[t][0], c, out=h)
            np.clip(c, -1, 1, out=c)
        for t in range(STEPS):
            for part in parts[t]:
                np.multiply(part, s, out=u)

    return run


def measured(g: int, batch: int, n: int, dtype: str) -> float:
    """Return how many times as long the gates one behind the other take."""
    runs = {"behind": one_behind_the_other(g, batch, n, dtype), "beside": side_by_side(g, batch, n, dtype)}
    return ratio(times_in_turns(runs, SECONDS), "behind", "beside")


def costs() -> tuple[float, float]:
    """Return the microseconds of one more product in a call, and of one more row in a ufunc, where little is computed."""
    h, weight, weights = (np.ones(shape) for shape in ((2, 2), (2, 2), (1001, 2, 2)))
    product, products = np.empty((2, 2)), np.empty((1001, 2, 2))
    parts, whole = np.ones((1001, 4))[:, :2], np.ones((1001, 2))
    runs: dict[str, Run] = {
        "a product": lambda: np.matmul(h, weight, out=product),
        "products": lambda: np.matmul(h, weights, out=products),
        "whole": lambda: np.negative(whole, out=whole),
        "rows": lambda: np.negative(parts, out=parts),
    }
    found = {name: float(np.median(times)) for name, times in times_in_turns(runs, SECONDS).items()}
    return (found["products"] - found["a product"]) * 1e3, (found["rows"] - found["whole"]) * 1e3


def main() -> None:
    """Print the costs, then the ratios."""
    product, row = costs()
    print(f"one more product {product:.3f} µs, one more row of a ufunc {row:.4f} µs, where they are next to nothing")
    for dtype in ("float32", "float64"):
        for g in (2, 3, 4):
            for batch, n in SIZES:
                print(f"{dtype} g={g} B={batch:3d} n={n:3d}  {measured(g, batch, n, dtype):5.2f}", flush=True)


if __name__ == "__main__":
    main()
