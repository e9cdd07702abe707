"""Cells held against what is proven of them: random cells over the whole language, and those of the zoo with random weights.

`python -m tests.guarded 0 2000` runs as many random cells as told and prints the ones that exceed a bound.
"""

import sys
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, TheoremError
from symbptt.stability.proofs.theorem import theorems
from symbptt.stability.report.guard import check_theorems
from symbptt.stability.runs.trajectory import trajectory
from symbptt.stability.spectra.lyapunov import lyapunov_spectrum
from symbptt.stability.spectra.products import product_spectrum
from tests.properties.bench import data_of
from tests.properties.cases import case_of, functions_of

STEPS, BATCH = 10, 2
LAGS = (1, 2, 3, 5, STEPS)
SCALES = (0.1, 0.5, 1.0, 2.0)
"""Factors on the weights of a cell: bounds are finite where these are small, and tight where they are large."""


def is_held(cell: Any, params: Any, inputs: Any, state: Any) -> bool:
    """Hold what is proven of a cell against a run: whether there was a finite bound to hold.

    A run whose state or derivative leaves the range of numbers, and a bound that depends on a size that nothing tells, are none.

    Raises: TheoremError where the run exceeds a bound.
    """
    steps = None if inputs else STEPS
    try:
        run = trajectory(cell, params, inputs, state, steps)
        spectrum = lyapunov_spectrum(cell, params, inputs, state, steps=steps, transient=2)
        products = product_spectrum(cell, params, inputs, state, LAGS, steps=steps)
        proven = theorems(run)
    except ArgumentError:
        return False
    check_theorems(cell.name, proven, spectrum, products, 2.0**-52)
    return any(theorem.rate is not None for theorem in proven)


def is_seed_held(seed: int) -> bool:
    """Hold the cell of a seed, small and with weights of a scale that the seed draws."""
    case = case_of(seed, longest=4)
    sizes = {name: min(size, 3) for name, size in case.sizes.items()}
    cell, _ = functions_of(case)
    data = data_of(cell, sizes, STEPS, BATCH, seed)
    scale = SCALES[seed % len(SCALES)]
    params = {name: scale * value for name, value in data.params.items() if name != "dt"}
    return is_held(cell, params, data.inputs, data.state)


def exceeded(seeds: Iterable[int]) -> tuple[list[str], int]:
    """The cells that exceed a bound as texts, and how many were held to a finite one."""
    found, held = [], 0
    for seed in seeds:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                held += is_seed_held(seed)
        except TheoremError as error:
            found.append(f"{case_of(seed, longest=4)!r}\n{error}")
    return found, held


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:3])
    failures, finite = exceeded(range(first, last))
    print(*failures, f"{len(failures)} of {last - first} cells exceed a bound, {finite} have a finite one", sep="\n\n")
    sys.exit(bool(failures))
