"""Ratios of five cells at four sizes in about half a minute of one core: `python tests/benchmarks/quick.py [float32] [CELL ...]`.

Run from the checkout with the extra `peers`. One thread; every round runs all in turns; medians of the ratios.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import numpy as np  # noqa: E402
import torch  # noqa: E402

import symbptt as sb  # noqa: E402
from symbptt.bench.case import case_of, gradients  # noqa: E402
from symbptt.bench.compare import equal_peers  # noqa: E402
from symbptt.bench.floor import floor_products, floor_run  # noqa: E402
from symbptt.bench.timing import ratio, times_in_turns  # noqa: E402
from tests.benchmarks.cells import CELLS, sizes_of  # noqa: E402
from tests.benchmarks.peers import peers_of  # noqa: E402

CASES = ((50, 32, 64), (50, 32, 128), (100, 1, 16), (50, 64, 256))
SECONDS = 1.2


def main(dtype: str = "float32", *names: str) -> None:
    torch.set_num_threads(1)
    print(f"{'cell':<9} {'T, B, n':<14} {'ours ms':>8} {'/floor':>7} {'/module':>8} {'/loop':>7} {'/jax':>7}")
    for name in names or ("rnn", "lstm", "gru", "packed", "normed"):
        kernel = sb.compile(CELLS[name])
        for T, B, n in CASES:
            case = case_of(CELLS[name], T, B, sizes_of(CELLS[name], n), np.dtype(dtype), ("h",))
            peers, wrong = equal_peers(gradients(kernel, case), peers_of(case))
            print(*wrong, sep="\n", end="\n" * bool(wrong))
            runs = {"ours": partial(gradients, kernel, case)} | {p.name: p.run for p in peers}
            runs["floor"] = floor_run(floor_products(CELLS[name], T, B, case.sizes), np.dtype(dtype))
            times = times_in_turns(runs, SECONDS, time.process_time)
            row = [
                f"{ratio(times, 'ours', k):7.2f}" if k in times else "      -"
                for k in ("floor", "torch module", "torch loop", "jax scan")
            ]
            print(
                f"{name:<9} {f'{T}, {B}, {n}':<14} {np.median(times['ours']) * 1e3:8.2f} {row[0]} {row[1]:>8} {row[2]} {row[3]}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
