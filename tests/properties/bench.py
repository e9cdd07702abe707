"""The numbers of a random cell, and its gradients by the tape: entry by entry, under lengths, resets, windows and chunks.

The plain meaning of these is that of `tests.brute`, which runs the user's function sample by sample and step by step; the derivative of
what it adds up is that of the tape.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any

import numpy as np

import symbptt as sb
from symbptt.codegen.kernel import Shared, compiled
from symbptt.ir.shape import named_size
from symbptt.language.init import concrete
from tests import brute
from tests.oracle import Arrays, names_of
from tests.properties.cases import Case, functions_of
from tests.tape import Tape, gradients

Grads = dict[str, Arrays]
LARGEST = 1e4
"""Values of a cell beyond this are not compared."""


class Untamed(Exception):
    """A cell whose values or gradients grow too large to be compared."""


class Leaves:
    """Leaves of a tape in the place of an array whose first axes are those of steps and samples."""

    def __init__(self, array: Any, lead: int) -> None:
        self.leaves = {place: Tape(array[place]) for place in np.ndindex(array.shape[:lead])}
        self.shape = array.shape

    def __getitem__(self, place: Any) -> Tape:
        return self.leaves[place if isinstance(place, tuple) else (place,)]


def slopes(cell: sb.Cell, score: brute.Score, data: brute.Data, truncation: Any) -> Grads:
    """Derivatives by group and name of what a score adds up over samples and steps, by the tape."""
    constants = names_of(cell, "const")
    wanted = {
        "params": {k: Tape(v) for k, v in data.params.items() if k not in constants},
        "inputs": {k: Leaves(data.inputs[k], 2) for k in names_of(cell, "input")},
        "state": {k: Leaves(v, 1) for k, v in data.state.items()},
    }
    moved = replace(data, **{group: getattr(data, group) | leaves for group, leaves in wanted.items()})
    held = [brute.trajectory(cell, data, b) if truncation else [] for b in range(data.batch)]
    total: Any = 0.0
    for b in range(data.batch):
        total = total + brute.sample(cell, score, data, moved, b, truncation, held[b])
    places = [
        (group, name, place, leaf)
        for group, arrays in wanted.items()
        for name, leaves in arrays.items()
        for place, leaf in (leaves.leaves.items() if isinstance(leaves, Leaves) else [((), leaves)])
    ]
    found: Grads = {group: {k: np.zeros(v.shape) for k, v in arrays.items()} for group, arrays in wanted.items()}
    for (group, name, entry, _), slope in zip(places, gradients(total, [leaf for *_, leaf in places]), strict=True):
        found[group][name][entry] = slope
    return found


def folded(cotangents: Arrays, data: brute.Data, outputs: Any) -> tuple[Arrays, Arrays]:
    """Cotangents as those of steps that a sample has, and of initial states.

    Behind a sample's end stands its last state, and zeros as outputs: what is sent there belongs to that state. Of a sample
    without a step it is the initial state."""
    full, initial = {}, {k: np.zeros_like(v) for k, v in data.state.items()}
    for name, given in cotangents.items():
        is_last = np.ndim(given) < (np.ndim(data.state[name]) + 1 if name in data.state else outputs[name])
        steps = np.zeros((data.steps, *np.shape(given))) if is_last else np.array(given)
        if is_last and data.steps:
            steps[-1] = given
        full[name] = np.zeros_like(steps)
        for b in range(data.batch):
            end = data.length(b)
            full[name][:end, b] = steps[:end, b]
            if name in data.state:
                behind = steps[end:, b].sum(0) if data.steps else given[b] if is_last else 0.0
                if end:
                    full[name][end - 1, b] += behind
                else:
                    initial[name][b] += behind
    return full, initial


def near(got: Any, wanted: Any, scale: float, slack: Any, what: str) -> None:
    assert np.shape(got) == np.shape(wanted), f"{what}: shape {np.shape(got)}, expected {np.shape(wanted)}"
    own = np.max(np.abs(wanted), initial=0.0)
    error = np.max(np.abs(got - wanted), initial=0.0)
    assert error <= slack(own, scale), (
        f"{what}: differs by {error:.1e} where the largest entry is {own:.1e}\n{got}\nexpected\n{wanted}"
    )


def rounding(own: float, scale: float) -> float:
    """What terms of the size of the largest may leave where they cancel."""
    return 1e-8 * own + 1e-10 * max(scale, 1.0)


def assert_same_bytes(again: Any, first: Any, what: str) -> None:
    for group, arrays in brute.by_group(first).items():
        for name, array in arrays.items():
            other = getattr(again, group)[name]
            assert np.asarray(array).tobytes() == np.asarray(other).tobytes(), (
                f"{what}: d{name} has other bytes at a second call"
            )


def assert_grads(got: Any, wanted: Grads, what: str, slack: Any = rounding) -> None:
    scale = max((np.max(np.abs(v), initial=0.0) for group in wanted.values() for v in group.values()), default=0.0)
    for group, arrays in brute.by_group(got).items():
        assert set(arrays) == set(wanted[group]), f"{what}: {group} {sorted(arrays)}, expected {sorted(wanted[group])}"
        for name, array in arrays.items():
            near(array, wanted[group][name], scale, slack, f"{what}: d{name}")


@dataclass(frozen=True)
class Bench:
    """A case with its functions, numbers, masks and cotangents, and what its kernels have alike."""

    case: Case
    cell: sb.Cell
    loss: sb.Loss
    data: brute.Data
    shared: Shared

    @cached_property
    def model(self) -> sb.Model:
        return sb.model(self.cell, self.loss, at=self.case.options.at, reduction=self.case.options.reduction)

    def compiled(self, target: sb.Cell | sb.Model, **options: Any) -> sb.Kernel:
        """What `sb.compile` gives; programs, sweeps and equations are made once for all checks of the case."""
        return compiled(target, self.shared, **options)

    @cached_property
    def values(self) -> Arrays:
        """States and outputs after every step, frozen and zero behind a sample's end."""
        data, found = self.data, {}
        for b in range(data.batch):

            def note(params: Arrays, now: Arrays, t: int, at: int) -> float:
                for name, value in now.items():
                    found.setdefault(name, {})[t, at] = np.array(value, float)
                return 0.0

            brute.sample(self.cell, note, data, data, b, None, [])
        result = {}
        shapes = {k: v.shape[1:] for k, v in data.state.items()} | {
            k: next(iter(v.values())).shape for k, v in found.items()
        }
        for name, shape in shapes.items():
            result[name] = array = np.zeros((data.steps, data.batch, *shape))
            for t, b in np.ndindex(data.steps, data.batch):
                if t < data.length(b):
                    array[t, b] = found[name][t, b]
                elif name in data.state:
                    array[t, b] = array[t - 1, b] if t and data.length(b) else data.state[name][b]
        if not all(np.isfinite(v).all() and np.max(np.abs(v), initial=0.0) < LARGEST for v in result.values()):
            raise Untamed
        return result

    @cached_property
    def cotangents(self) -> Arrays:
        """Random ones: of all values, some, outputs alone, or of the last step."""
        random = np.random.default_rng(self.case.seed + 1)
        full = {k: random.standard_normal(v.shape) for k, v in self.values.items()}
        states = {k: v for k, v in full.items() if k in self.data.state}
        beside = {k: v for k, v in full.items() if k not in states}
        last = {k: random.standard_normal(v.shape[1:]) for k, v in states.items()}
        some = Random(self.case.seed).choice(sorted(states))
        ends = last | ({k: v[-1] for k, v in beside.items()} if self.data.steps else {})
        return {
            "all": full, "states": states, "outputs": beside or full, "last": last, "ends": ends, "one": {some: full[some]},
            "one last": {some: last[some]}, "one last and outputs": {some: last[some]} | beside,
        }[self.case.options.cotangents]  # fmt: skip

    @cached_property
    def wanted(self) -> Grads:
        return self.wanted_with(None)

    def wanted_with(self, truncation: Any, data: Any = None) -> Grads:
        data = data or self.data
        full, initial = folded(self.cotangents, data, {k: v.ndim for k, v in self.values.items()})
        found = slopes(self.cell, brute.cotangent_score(full), data, truncation)
        found["state"] = {k: v + initial[k] for k, v in found["state"].items()}
        return tame(found)

    def run(self, kernel: Any, data: Any = None) -> Any:
        data = data or self.data
        steps = None if data.inputs else data.steps
        return kernel.forward(self.given(data), data.inputs, data.state, steps=steps, **data.masks)

    def given(self, data: Any) -> Arrays:
        """The parameters that a kernel is given: without constants that have a default."""
        return {k: v for k, v in data.params.items() if k not in self.defaults}

    @cached_property
    def defaults(self) -> set[str]:
        return {
            a.name for a in (*self.cell.arguments, *self.loss.arguments) if a.role == "const" and a.default is not None
        }

    def assert_kernel(self, kernel: Any, what: str, wanted: Grads | None = None) -> Any:
        """Values, gradients, and the same bytes at a second call, whatever was computed between."""
        run = self.run(kernel)
        found = run.states | run.outputs
        is_seen = any(self.data.length(b) for b in range(self.data.batch))  # else nothing tells what the outputs are
        assert set(found) == set(self.values) or not is_seen, f"{what}: values {sorted(found)}"
        for name, value in self.values.items():
            near(found[name], value, 1.0, lambda own, scale: 1e-9 * own + 1e-11, f"{what}: {name}")
        got = kernel.backward(run, self.cotangents)
        assert_grads(got, self.wanted if wanted is None else wanted, what)
        other = self.run(kernel, replace(self.data, params={k: 0.9 * v for k, v in self.data.params.items()}))
        kernel.backward(other, self.cotangents)
        assert_same_bytes(kernel.backward(run, self.cotangents), got, what)
        return got


def tame(found: Grads) -> Grads:
    if not all(
        np.isfinite(v).all() and np.max(np.abs(v), initial=0.0) < 1e6
        for group in found.values()
        for v in group.values()
    ):
        raise Untamed
    return found


def bench_of(case: Case) -> Bench:
    """The numbers of a case."""
    cell, loss = functions_of(case)
    data = data_of(cell, case.sizes, case.steps, case.batch, case.seed, case.options.masks)
    return Bench(case, cell, loss, data, Shared())


def data_of(cell: sb.Cell, sizes: dict[str, int], T: int, B: int, seed: int, masks: str = "") -> brute.Data:
    """Random numbers for a cell of T steps and B samples, with lengths, resets or both."""
    random, known = np.random.default_rng(seed), {named_size(k): v for k, v in sizes.items()}
    dims = {a.name: a.shape for a in cell.arguments}

    def normal(name: str, *lead: int) -> Any:
        return 0.6 * random.standard_normal((*lead, *concrete(dims[name], known)))

    params = {
        a.name: normal(a.name)
        if a.role == "param" or a.default is None
        else np.full(concrete(a.shape, known), float(a.default))
        for a in cell.arguments
        if a.role in ("param", "const")
    }
    inputs = {k: normal(k, T, B) for k in names_of(cell, "input")}
    inputs |= {
        a.name: random.integers(0, concrete((a.limit,), known)[0], (T, B)) for a in cell.arguments if a.role == "index"
    }
    state = {k: normal(k, B) for k in names_of(cell, "state")}
    lengths = random.integers(0, T + 1, B) if masks in ("lengths", "both") else None
    reset = random.random((T, B)) < 0.3 if masks in ("reset", "both") else None
    return brute.Data(params, inputs, state, T, B, lengths=lengths, reset=reset)
