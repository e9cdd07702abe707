"""Measures eight cells and writes docs/benchmarks.md and docs/benchmarks.png: `python -m tests.benchmarks`.

Run from the checkout with the extras `bench` and `peers`. Each cell and type has a process of its own, so that one
that fails costs its rows alone. `--quick` takes fewer sizes; `--output FOLDER` writes elsewhere.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from symbptt.files import write_text
from tests.benchmarks.page import Measured, draw, page

ROOT = Path(__file__).parents[2]
NAMES = ("rnn", "lstm", "gru", "packed", "joined", "normed", "heads", "diagonal")
FULL = "100,1,16;100,1,64;100,8,64;100,32,64;50,32,128;50,32,256;50,64,256;50,64,512"
QUICK = "100,1,16;50,32,64;50,32,128"
LONG, BATCHES, WIDTHS = "1000,1,16;10000,1,16", "50,1,64;50,8,64;50,64,64", "50,32,64;50,32,128;50,32,256;50,32,512"
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
SETTINGS = ("OPENBLAS_", "OMP_", "MKL_", "XLA_")
"""Beginnings of variables that would change the times; workers start without those of the caller."""
PATIENCE = 1800
"""Seconds after which one process is given up."""


def worker(*arguments: str, **environment: str) -> tuple[list[dict], str]:
    """The rows that a worker prints, and why there are none."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.worker", *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return [], f"no answer in {PATIENCE} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return [], (lines[-1] if lines else f"exit code {done.returncode}").replace(str(ROOT), ".")
    return json.loads(done.stdout.splitlines()[-1]), ""


def gather(tasks: list[tuple[tuple[str, ...], dict[str, str]]], what: str, failures: list[str]) -> list[dict]:
    """The rows of several workers, one after the other; who fails is told and left out."""
    rows: list[dict] = []
    for arguments, environment in tasks:
        start = time.perf_counter()
        found, why = worker(*arguments, **environment)
        rows += [row | {"setting": environment.get("OPENBLAS_CORETYPE", "")} for row in found]
        failures += [f"{' '.join(arguments[:3])}: {why}"] if why else []
        note = f" FAILED: {why}" if why else ""
        print(f"{what} {' '.join(arguments[1:3])}: {time.perf_counter() - start:.0f} s{note}", flush=True)
    return rows


def measured(quick: bool, seconds: str) -> Measured:
    """All that the page shows; `seconds` for each row."""
    sizes = QUICK if quick else FULL
    single = dict.fromkeys(THREADS, "1")
    types = ("float32",) if quick else ("float32", "float64")
    failures: list[str] = []
    cases = [(("cases", name, dtype, sizes, seconds, "one"), single) for dtype in types for name in NAMES]
    few = "50,32,128" if quick else "50,32,128;50,64,256"
    some = ("lstm",) if quick else ("lstm", "gru", "joined")
    default = [(("cases", name, "float32", few, seconds, "default"), {}) for name in some]
    scales = [(("growth", "lstm", part, seconds), single) for part in (LONG, BATCHES, WIDTHS)[: 1 if quick else 3]]
    plain = [(("products", name, few, seconds), single) for name in some]
    chosen = [(arguments, single | {"OPENBLAS_CORETYPE": kind}) for arguments, _ in plain for kind in core_types()]
    bare = [(("bare", "50,32,64" if quick else "100,1,64;100,32,64;50,32,128;50,64,256;50,64,512", seconds), single)]
    return Measured(
        gather(cases, "one thread", failures),
        gather(default, "default threads", failures),
        gather(scales, "growth", failures),
        gather([*plain, *chosen], "products", failures),
        failures,
        gather(bare, "bare products", failures),
    )


def core_types() -> list[str]:
    """Settings of OPENBLAS_CORETYPE that this processor can run, read from what Linux says of it."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    needs = {"Haswell": {"avx2", "fma"}, "SkylakeX": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}}
    return [kind for kind, needed in needs.items() if needed <= flags]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three sizes in float32")
    parser.add_argument("--seconds", type=float, help="for each row; 3, or 0.25 with --quick")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder to write into")
    given = parser.parse_args()
    if not given.output.is_dir():
        parser.error(f"there is no folder {given.output}")
    start = time.perf_counter()
    seconds = given.seconds or (0.25 if given.quick else 3)
    found = measured(given.quick, f"{seconds:g}")
    chosen = f" --seconds {seconds:g}" if given.seconds else ""
    command = "python -m tests.benchmarks" + " --quick" * given.quick + chosen
    if not found.cases:
        print("nothing was measured; no file is written", file=sys.stderr)
        return 1
    draw(found, given.output / "benchmarks.png")
    write_text(given.output / "benchmarks.md", page(found, command))
    print(f"{len(found.cases)} rows, {len(found.failures)} failures, {time.perf_counter() - start:.0f} s")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
