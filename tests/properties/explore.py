"""Random cells, as many as told: `python -m tests.properties.explore --seeds 0:10000 --folder out/random`.

Prints how far it is, writes each cell that fails, made small, into the folder, and keeps there which seeds are done: the same
command goes on where it stopped.
"""

import argparse
import json
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

from tests.properties.cases import case_of
from tests.properties.checks import UNPROVED, Count, Difference, assert_case
from tests.properties.shrink import shrunk, written

EVERY = 25
"""Cells after which it says and keeps how far it is."""


def explore(first: int, end: int, folder: Path, seconds: float) -> dict[str, int]:
    """Try the cells of a range of seeds that are not done yet; what became of them."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"done_{first}_{end}.json"
    state = (
        json.loads(kept.read_text())
        if kept.is_file()
        else {"next": first, "failed": [], "cells": 0, "nothing": 0} | asdict(Count())
    )
    count = Count(state["held"], state["untamed"], state["unproved"])
    began, used = time.monotonic(), time.process_time()
    for seed in range(state["next"], end):
        try:
            state["nothing"] += not assert_case(case_of(seed), count=count)
        except Difference as difference:
            state["failed"].append(seed)
            print(f"seed {seed}: {written(shrunk(difference), folder)}", flush=True)
        state |= {
            "next": seed + 1,
            "cells": state["cells"] + 1,
            "held": count.held,
            "untamed": count.untamed,
            "unproved": count.unproved,
        }
        state["refused"] = dict(count.refused)
        is_over = time.monotonic() - began > seconds
        if (seed + 1) % EVERY == 0 or seed + 1 == end or is_over:
            kept.write_text(json.dumps(state))
            print(
                f"{seed + 1 - first} of {end - first}: {len(state['failed'])} failed, {_told(state)}, {time.process_time() - used:.0f} s",
                flush=True,
            )
        if is_over:
            break
    return state


def _told(state: dict[str, int]) -> str:
    return f"{state['held']} checks held, {state['unproved']} could not be proved, {state['untamed']} had too large numbers, {state['nothing']} cells told nothing"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:10000", help="first:end")
    parser.add_argument("--folder", type=Path, default=Path("out/random"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    found = explore(*map(int, given.seeds.split(":")), given.folder, given.seconds)
    print(*(f"{number} lines not proved: {reason}" for reason, number in UNPROVED.most_common()), sep="\n")
    sys.exit(bool(found["failed"]))
