"""Ragged batches over full ones, forward and backward pass: `python -m tests.benchmarks.ragged [float32] [CELL ...]`.

Lengths between a fifth of the steps and all of them, 0.6 in the mean; those of which none is short; all alike. One thread, calls in
turns; medians of ratios.
"""

import os
import sys
import time
from collections.abc import Callable

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

import symbptt as sb  # noqa: E402
from symbptt.bench.timing import ratio, times_in_turns  # noqa: E402
from tests import oracle  # noqa: E402
from tests.benchmarks.cells import CELLS, sizes_of  # noqa: E402

SIZES = ((100, 32, 64), (50, 64, 256), (100, 8, 16))


def lengths_of(steps: int, batch: int) -> dict[str, np.ndarray | None]:
    """Return numbers of steps of samples, in words."""
    least = np.linspace(0.2, 1, batch), np.linspace(0.6, 1, batch)
    ragged, long = (np.random.default_rng(0).permutation(np.ceil(part * steps)).astype(int) for part in least)
    return {"full": None, "ragged": ragged, "none short": long, "all alike": np.full(batch, steps)}


def main(dtype: str = "float32", *names: str) -> None:
    """Print the ratios."""
    for name in names or ("lstm", "gru", "rnn"):
        kernel = sb.compile(CELLS[name])
        for steps, batch, n in SIZES:
            groups = oracle.draw(CELLS[name], steps, batch, sizes_of(CELLS[name], n))
            params, inputs, state = ({k: v.astype(dtype) for k, v in group.items()} for group in groups)
            params = {k: (v / np.sqrt(n)).astype(dtype) for k, v in params.items()}
            sent = {"h": np.ones((steps, *state["h"].shape), dtype)}

            def pass_of(lengths: np.ndarray | None) -> Callable[[], object]:
                given = (params, inputs, state), sent  # noqa: B023
                return lambda: kernel.backward(kernel.forward(*given[0], lengths=lengths), given[1])  # noqa: B023

            found = lengths_of(steps, batch)
            times = times_in_turns({k: pass_of(v) for k, v in found.items()}, 2.0, time.process_time)
            words = [
                f"{k} (mean {v.mean() / steps:.2f}) {ratio(times, k, 'full'):.2f}"
                for k, v in found.items()
                if v is not None
            ]
            print(f"{name:5} {steps}, {batch}, {n}: {', '.join(words)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
