"""One part of the committed benchmark, in a process of its own: prints its rows as one line of JSON.

`python -m tests.benchmarks.worker KIND ...`; `tests/benchmarks/__main__.py` sets the environment and reads the rows.
"""

import contextlib
import json
import sys
import time
from functools import partial

import numpy as np

import symbptt as sb
from symbptt.bench.case import Case, case_of, gradients
from symbptt.bench.floor import floor_products, floor_run
from symbptt.bench.measure import measure
from symbptt.bench.peers import Runner
from symbptt.bench.threads import one_thread
from symbptt.bench.timing import times_in_turns
from tests.benchmarks.cells import CELLS, sizes_of


def cases(name: str, dtype: str, sizes: str, seconds: str, threads: str) -> list[dict]:
    """The rows of one cell: sizes are T,B,n;..., threads "one" or "default"."""
    kernel, rows = sb.compile(CELLS[name]), []
    with one_thread() if threads == "one" else contextlib.nullcontext():
        for T, B, n in (map(int, part.split(",")) for part in sizes.split(";")):
            case = case_of(CELLS[name], T, B, sizes_of(CELLS[name], n), np.dtype(dtype), ("h",))
            row = measure(kernel, case, f"{T}, {B}, {n}", peers=_peers, seconds=float(seconds), wall=threads != "one")
            rows.append(row.as_dict() | {"width": n})
    return rows


def _peers(case: Case) -> tuple[list[Runner], list[str]]:
    from tests.benchmarks.peers import peers_of

    return peers_of(case), []


def growth(name: str, sizes: str, seconds: str) -> list[dict]:
    """Our time alone at several sizes, measured in turns."""
    kernel, runs = sb.compile(CELLS[name]), {}
    with one_thread():
        for part in sizes.split(";"):
            T, B, n = map(int, part.split(","))
            case = case_of(CELLS[name], T, B, sizes_of(CELLS[name], n), np.dtype("float32"), ("h",))
            runs[part] = partial(gradients, kernel, case)
        times = times_in_turns(runs, float(seconds), time.process_time)
    return [{"cell": name, "sizes": part, "milliseconds": float(np.median(v)) * 1e3} for part, v in times.items()]


def products(name: str, sizes: str, seconds: str) -> list[dict]:
    """Our time and that of the bare products, with the kernels that OpenBLAS takes here."""
    from threadpoolctl import threadpool_info

    kernel, rows = sb.compile(CELLS[name]), []
    kinds = sorted(
        {
            f"{i['internal_api']} {i.get('architecture', '')}".strip()
            for i in threadpool_info()
            if i["user_api"] == "blas"
        }
    )
    with one_thread():
        for T, B, n in (map(int, part.split(",")) for part in sizes.split(";")):
            case = case_of(CELLS[name], T, B, sizes_of(CELLS[name], n), np.dtype("float32"), ("h",))
            runs = {
                "ours": partial(gradients, kernel, case),
                "floor": floor_run(floor_products(CELLS[name], T, B, case.sizes), np.dtype("float32")),
            }
            times = times_in_turns(runs, float(seconds), time.process_time)
            found = {k: float(np.median(v)) * 1e3 for k, v in times.items()}
            rows.append({"cell": name, "sizes": f"{T}, {B}, {n}", "milliseconds": found, "library": ", ".join(kinds)})
    return rows


if __name__ == "__main__":
    print(json.dumps({"cases": cases, "growth": growth, "products": products}[sys.argv[1]](*sys.argv[2:])))
