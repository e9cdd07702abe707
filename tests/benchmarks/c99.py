"""Times of cells in C over those of their NumPy modules, forward and backward with every gradient, one thread.

The order of the runs is drawn anew in each round, and the medians of ratios within a round are printed: other work on the machine
changes both alike. `python -m tests.benchmarks.c99 [float32|float64] [cells] [T,B,n ...]`
"""

import ctypes
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy reads it
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

import numpy as np  # noqa: E402

import symbptt as sb  # noqa: E402
from symbptt.zoo import CELLS  # noqa: E402
from tests import oracle  # noqa: E402
from tests.ccode import CC, Caller, double  # noqa: E402

FLAGS = ("-std=c99", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
SIZES = ((100, 1, 16), (100, 32, 64), (50, 64, 256))
SECONDS = 1.0
Run = Callable[[], Any]


def library(source: sb.CSource, dtype: Any, folder: Path) -> ctypes.CDLL:
    """A source compiled as fast as it may be."""
    source.save(folder / f"{source.name}.c", force=True)
    define = [double(source)] if dtype == np.float64 else []
    out = folder / f"{source.name}_{np.dtype(dtype).name}.so"
    subprocess.run([CC, *FLAGS, *define, "-fPIC", "-shared", folder / f"{source.name}.c", "-o", out, "-lm"], check=True)
    return ctypes.CDLL(str(out))


def c_run(caller: Caller, groups: Sequence[Any], cotangents: Any) -> Run:
    """Both functions with arrays that are there."""
    i = caller.interface
    tape, workspace = caller.array("tape"), caller.array("workspace")
    arguments, results, gradients = (
        caller.given(*groups),
        {**caller.empty(i.run), "tape": tape},
        caller.empty(i.gradients),
    )
    given, run = caller.struct(i.given, arguments), caller.struct(i.run, results, "tape")
    sent, grads = caller.struct(i.cotangents, cotangents), caller.struct(i.gradients, gradients)

    def both() -> None:
        assert caller.call("forward", given, run, workspace=workspace) == 0
        assert caller.call("backward", given, run, sent, grads, workspace=workspace) == 0

    # Structs hold pointers, not arrays: these live as long as the function.
    both.arrays = (arguments, results, gradients, cotangents)  # type: ignore[attr-defined]
    return both


def measured(runs: Sequence[Run], seconds: float = SECONDS) -> list[list[float]]:
    """Processor times of each run, round by round, in an order that is drawn anew each time."""
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds
    while len(times[0]) < 7 or time.perf_counter() < end:
        for i in random.sample(range(len(runs)), len(runs)):
            start = time.process_time()
            runs[i]()
            times[i].append(time.process_time() - start)
    return times


def case(cell: sb.Cell, source: sb.CSource, built: ctypes.CDLL, dtype: Any, T: int, B: int, n: int) -> tuple[Run, Run]:
    """The runs of C and of the NumPy module at one size."""
    named = {symbol.name: n for symbol in [*source.parts.interface.sizes][2:]}
    params, inputs, state = (
        {k: np.asarray(v).astype(dtype) for k, v in group.items()}
        for group in oracle.draw(cell, T, B, named, scale=n**-0.5)
    )
    kernel = sb.compile(cell)
    values = kernel.forward(params, inputs, state).states
    drawn = np.random.default_rng(0)
    cotangents = {k: drawn.standard_normal(v.shape).astype(dtype) for k, v in values.items()}
    caller = Caller(source, built, dtype, named, T, B)
    return c_run(caller, (params, inputs, state), cotangents), lambda: kernel.backward(
        kernel.forward(params, inputs, state), cotangents
    )


def main(dtype: str = "float32", cells: str = "lstm,gru,lem", *sizes: str) -> None:
    kind = np.dtype(dtype).type
    with tempfile.TemporaryDirectory() as folder:
        for name in cells.split(","):
            source = sb.c_source(CELLS[name])
            built = library(source, kind, Path(folder))
            for T, B, n in [tuple(map(int, text.split(","))) for text in sizes] or SIZES:
                c_times, numpy_times = map(np.array, measured(case(CELLS[name], source, built, kind, T, B, n)))
                ratio = np.median(c_times / numpy_times)
                print(
                    f"{name} {dtype} T={T} B={B} n={n}: C {np.median(c_times) * 1e3:.3f} ms, of NumPy's time {ratio:.2f}"
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
