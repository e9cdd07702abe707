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


def bare(sizes: str, seconds: str) -> list[dict]:
    """The time of T products (B, n) by (n, n) one after the other, float32, in each library."""
    rows = []
    with one_thread():
        for T, B, n in (map(int, part.split(",")) for part in sizes.split(";")):
            times = times_in_turns(_bare_runs(T, B, n), float(seconds), time.process_time)
            found = {name: float(np.median(v)) * 1e3 for name, v in times.items()}
            rows.append({"cell": "product", "sizes": f"{T}, {B}, {n}", "milliseconds": found})
    return rows


def _bare_runs(T: int, B: int, n: int) -> dict:
    """The products by library: those that are installed."""
    h, U = np.ones((B, n), np.float32), np.full((n, n), 1 / n, np.float32)
    out = np.empty_like(h)

    def in_numpy() -> None:
        for _ in range(T):
            np.matmul(h, U, out=out)

    runs = {"NumPy": in_numpy}
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)
        a, b, c = (torch.from_numpy(v) for v in (h, U, out))

        def in_torch() -> None:
            for _ in range(T):
                torch.mm(a, b, out=c)

        runs["torch"] = in_torch
    with contextlib.suppress(ImportError):
        import jax

        each = jax.jit(lambda v, w: jax.lax.fori_loop(0, T, lambda _, u: u @ w, v))
        runs["JAX"] = lambda: each(h, U).block_until_ready()
    return runs


if __name__ == "__main__":
    print(
        json.dumps({"cases": cases, "growth": growth, "products": products, "bare": bare}[sys.argv[1]](*sys.argv[2:]))
    )
