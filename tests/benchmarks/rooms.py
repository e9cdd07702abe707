"""Calls whose workspace has seen many batches of varying shapes: `python -m tests.benchmarks.rooms`.

An LSTM and a GRU, forward and backward pass, one thread. First calls of one shape with a workspace that has seen 300 batches of other
lengths and sizes, over calls with a new one, both in turns; then, while lengths and sizes vary, over calls of the same shapes
without a workspace; and the bytes that it holds, over those of the largest call.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

import symbptt as sb  # noqa: E402
from symbptt.bench.timing import ratio, times_in_turns  # noqa: E402
from tests import oracle  # noqa: E402
from tests.benchmarks.cells import CELLS, sizes_of  # noqa: E402

BATCHES = 300
SIZES = (16, 64)
Shape = tuple[int, int]


def shapes(seed: int) -> Iterator[Shape]:
    """Yield numbers of steps and samples without end."""
    random = np.random.default_rng(seed)
    while True:
        yield int(random.integers(20, 101)), int(random.integers(8, 33))


def pass_of(name: str, module: Any, n: int) -> Callable[[Any, Shape], None]:
    """Return a forward and a backward pass, given a workspace and a shape."""
    params, inputs, state = oracle.draw(CELLS[name], 100, 32, sizes_of(CELLS[name], n))
    params = {k: (v / np.sqrt(n)).astype("float32") for k, v in params.items()}
    x, starts = inputs["x"].astype("float32"), {k: v.astype("float32") for k, v in state.items()}

    def run(workspace: Any, shape: Shape) -> None:
        steps, batch = shape
        start = {k: v[:batch] for k, v in starts.items()}
        found = module.forward(params, {"x": x[:steps, :batch]}, start, workspace=workspace)
        module.backward(found, {"h": np.ones_like(found.states["h"])})

    return run


def main(seconds: float = 2.0) -> None:
    """Print the ratios."""
    for name in ("lstm", "gru"):
        module = sb.compile(CELLS[name]).module
        for n in SIZES:
            run = pass_of(name, module, n)
            worn, new, none, whole = (module.Workspace(limit) for limit in (2**28, 2**28, 0, 2**28))
            for shape, _ in zip(shapes(0), range(BATCHES), strict=False):
                run(worn, shape)
            held = worn.nbytes
            one = (57, 19)
            runs = {"worn": partial(run, worn, one), "new": partial(run, new, one)}
            after = ratio(times_in_turns(runs, seconds, time.process_time), "worn", "new")
            following, same = shapes(1), shapes(1)
            turns = {"worn": lambda: run(worn, next(following)), "none": lambda: run(none, next(same))}  # noqa: B023
            varying = ratio(times_in_turns(turns, seconds, time.process_time), "worn", "none")
            run(whole, (100, 32))
            words = f"after {BATCHES} batches {after:.2f}, while shapes vary {varying:.2f}"
            print(f"{name} n={n}: {words}, holds {held / whole.nbytes:.1f} times one call", flush=True)


if __name__ == "__main__":
    main()
