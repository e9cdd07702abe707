"""The peers of a case, and whether each computes the same as we do: only what is equal is timed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np

from symbptt.bench.batched import NotWritable, batched_step, load_step
from symbptt.bench.case import Arrays, Case
from symbptt.bench.namespaces import jax_namespace, torch_namespace
from symbptt.bench.peers import Runner, jax_scan, torch_loop
from symbptt.extras import cure

TOLERANCE = {"float32": 1e-3, "float64": 1e-8}
"""Of the largest entry of each block; the order of sums differs between libraries, and steps amplify rounding."""

PEERS: tuple[tuple[str, str, Callable[..., Runner], Callable[[str], object]], ...] = (
    ("torch loop", "torch", torch_loop, torch_namespace),
    ("jax scan", "jax", jax_scan, jax_namespace),
)


def peers_of(case: Case) -> tuple[list[Runner], list[str]]:
    """Return the peers that can run a case, and why others cannot, a line each."""
    dtype = next(iter(case.state.values())).dtype.name
    found, notes = [], []
    for name, package, make, namespace in PEERS:
        if importlib.util.find_spec(package) is None:
            notes.append(f"{name}: {package} is not installed ({cure(package, 'peers')})")
            continue
        try:
            text = batched_step(case.cell, case.sizes, case.B)
        except NotWritable as error:
            notes.append(f"{name}: cannot run the cell, it has {error}")
        else:
            found.append(make(case, load_step(text, namespace(dtype))))
    return found, notes


def equal_peers(ours: Arrays, peers: list[Runner]) -> tuple[list[Runner], list[str]]:
    """Return the peers whose last states and gradients are ours, and what is wrong with the others, a line each."""
    wrong = {peer.name: difference(ours, peer) for peer in peers}
    return [p for p in peers if not wrong[p.name]], [f"{k}: not timed, {v}" for k, v in wrong.items() if v]


def difference(ours: Arrays, peer: Runner) -> str:
    """Return what a peer computes differently, "" where nothing.

    What a peer raises here is its own answer: a cell may use its functions in a way that it does not take.
    """
    try:
        theirs = peer.values()
    except (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
        return f"it raises {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    for name, value in theirs.items():
        if name not in ours:
            return f"it has {name}, which we have not"
        # Relative to the largest entry of the block: small entries are differences of large ones, and have lost digits.
        scale = max(np.abs(ours[name]).max(initial=0), np.abs(value).max(initial=0))
        gap = np.abs(ours[name] - value).max(initial=0) if ours[name].shape == value.shape else np.inf
        # Written with "not", so that a gap of nan fails.
        if not gap <= TOLERANCE[ours[name].dtype.name] * scale:
            return f"{name} differs by {gap:.1e} of {scale:.1e}"
    return ""
