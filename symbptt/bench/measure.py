"""One row of a benchmark: our kernel beside its floor and its peers, timed in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from symbptt.bench.case import Case, gradients
from symbptt.bench.compare import equal_peers
from symbptt.bench.floor import floor_products, floor_run
from symbptt.bench.peers import Runner
from symbptt.bench.timing import ratio, times_in_a_row, times_in_turns
from symbptt.codegen.kernel import Kernel

Peers = Callable[[Case], tuple[list[Runner], list[str]]]


@dataclass(frozen=True)
class Row:
    """Medians of one case: milliseconds of each runner, and our time over each of the others', paired by rounds.

    `in_a_row` has the same ratios of medians where each runner is called again and again, as a loop of training does.
    """

    cell: str
    dtype: str
    T: int
    B: int
    width: int
    sizes: str
    milliseconds: Mapping[str, float]
    ratios: Mapping[str, float]
    notes: Sequence[str]
    in_a_row: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the row in plain Python values."""
        return asdict(self)


def measure(kernel: Kernel, case: Case, sizes: str, *, peers: Peers, seconds: float = 1.0, wall: bool = False) -> Row:
    """Return the row of one case, `sizes` being its label: forward and backward with every gradient.

    Time is that of the processor, of all threads, which other programs do not disturb; with `wall` the clock's.
    """
    dtype = next(iter(case.state.values())).dtype
    found, notes = peers(case)
    # A peer that computes something else would be faster for free: it is not timed.
    equal, wrong = equal_peers(gradients(kernel, case), found)
    runs: dict[str, Callable[[], object]] = {"ours": partial(gradients, kernel, case)}
    products = floor_products(case.cell, case.T, case.B, case.sizes)
    if products:
        runs["floor"] = floor_run(products, dtype)
    else:
        notes = [*notes, "floor: the cell has no matrix products"]
    runs |= {peer.name: peer.run for peer in equal}
    clock = time.perf_counter if wall else time.process_time
    # Three quarters for the rounds; a third as many calls in a row then fill about the rest.
    times = times_in_turns(runs, 0.75 * seconds, clock)
    again = times_in_a_row(runs, max(len(times["ours"]) // 3, 3), clock)
    medians = {name: float(np.median(values)) * 1e3 for name, values in times.items()}
    ratios = {name: ratio(times, "ours", name) for name in runs if name != "ours"}
    width = max(case.sizes.values(), default=1)
    said = (*notes, *wrong)
    row = {name: float(np.median(again["ours"]) / np.median(again[name])) for name in ratios}
    return Row(case.cell.name, dtype.name, case.T, case.B, width, sizes, medians, ratios, said, row)


def best_peer(row: Row) -> float | None:
    """Return our time over that of the fastest peer, None where no peer was timed."""
    found = [value for name, value in row.ratios.items() if name != "floor"]
    return max(found, default=None)
