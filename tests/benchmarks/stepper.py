"""One step of a stepper beside a step inside of a long call: `python tests/benchmarks/stepper.py [CELL ...]`, in about ten seconds of one core.

Run from the checkout. One thread; every round runs all in turns; medians of the ratios. "own calls" is what the cell's own step takes,
`_step` of the module, without the checks around it.
"""

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

import symbptt as sb  # noqa: E402
from symbptt import zoo  # noqa: E402
from symbptt.bench.timing import times_in_turns  # noqa: E402

CASES = ((1, 16), (1, 64), (32, 64))
STEPS, SECONDS = 200, 1.0


def main(*names: str) -> None:
    print(
        f"{'cell':<9} {'B, n':<8} {'stepper us':>11} {'in a call':>10} {'own calls':>10} {'/(2 call + own)':>16} {'/forward of 1':>14}"
    )
    for name in names or ("rnn", "gru", "lstm"):
        cell = getattr(zoo, name)
        kernel = sb.compile(cell)
        for B, n in CASES:
            params, x = cell.init({"m": 8, "n": n}, seed=0), np.random.default_rng(0).standard_normal((STEPS, B, 8))
            times = _times(kernel, params, x)
            us = {k: float(np.median(v)) / STEPS * 1e6 for k, v in times.items()}
            bound = np.median(np.divide(times["stepper"], 2 * np.array(times["call"]) + times["own"]))
            once = np.median(np.divide(times["stepper"], times["forward"]))
            print(
                f"{name:<9} {f'{B}, {n}':<8} {us['stepper']:11.1f} {us['call']:10.1f} {us['own']:10.1f} {bound:16.2f} {once:14.2f}",
                flush=True,
            )


def _times(kernel: sb.Kernel, params: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the times of STEPS steps, by how they are made."""
    step, module = kernel.stepper(params), kernel.module
    inner = module.stepper(params)
    inner({"x": x[0]})

    def stepper() -> None:
        state = None
        for row in x:
            state, _ = step({"x": row}, state)

    def own() -> None:
        state = list(inner({"x": x[0]})[0].values())
        for row in x:
            state = [*module._step(inner.tape, [row, *state], inner.sizes, inner.B, inner.dtype)[0].values()]

    def forward() -> None:
        state = None
        for row in x:
            state = {k: v[-1] for k, v in kernel.forward(params, {"x": row[None]}, state).states.items()}

    runs = {"stepper": stepper, "call": lambda: kernel.forward(params, {"x": x}), "own": own, "forward": forward}
    return times_in_turns(runs, SECONDS, time.process_time)


if __name__ == "__main__":
    main(*sys.argv[1:])
