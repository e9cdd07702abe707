"""Modules whose stacks of transposed weights lie in order over the same modules that join them as they come:
`python -m tests.benchmarks.stacks`.

The eight cells of the benchmarks, forward and backward pass, both in turns, one thread; medians of ratios, and their geometric
mean over all cells and sizes with n >= 64 and B >= 32.
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

SIZES = ((100, 32, 64), (50, 32, 128), (50, 32, 256), (50, 64, 256), (50, 64, 512))


def kernels(cell: sb.Cell) -> tuple[sb.Kernel, sb.Kernel]:
    """Return the kernel as it is, and one that joins transposed weights into an array that lies transposed."""
    found, is_turned = sb.compile(cell), printer._is_turned
    printer._is_turned = lambda view: False
    try:
        return found, sb.compile(cell)
    finally:
        printer._is_turned = is_turned


def pass_of(kernel: sb.Kernel, cell: sb.Cell, steps: int, batch: int, n: int, dtype: str) -> Callable[[], object]:
    """Return a forward and a backward pass on random data."""
    groups = oracle.draw(cell, steps, batch, sizes_of(cell, n))
    params, inputs, state = ({k: v.astype(dtype) for k, v in group.items()} for group in groups)
    params = {k: (v / np.sqrt(n)).astype(dtype) for k, v in params.items()}
    sent = {"h": np.ones((steps, *state["h"].shape), dtype)}
    return lambda: kernel.backward(kernel.forward(params, inputs, state), sent)


def main(dtype: str = "float32", seconds: str = "0.4") -> None:
    means = []
    for name, cell in CELLS.items():
        both, row = kernels(cell), []
        if both[0].source == both[1].source:
            row = [1.0] * len(SIZES)  # nothing is stacked
        for size in SIZES[len(row) :]:
            runs = dict(zip(("now", "before"), (pass_of(kernel, cell, *size, dtype) for kernel in both), strict=True))
            row.append(ratio(times_in_turns(runs, float(seconds), time.process_time), "now", "before"))
        means += row
        print(f"{name:9}", *(f"{r:.2f}" for r in row), flush=True)
    print(f"geometric mean of {len(means)} ratios: {np.exp(np.mean(np.log(means))):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
