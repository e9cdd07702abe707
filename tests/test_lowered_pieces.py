"""Lowered sweeps over some of the steps, as checkpoints, windows and chunks call them: states and adjoints that are handed
on from piece to piece, and cotangents that are absent."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.codegen.loop_ir.arithmetics import floats
from symbptt.codegen.loop_ir.interpret import run
from symbptt.codegen.loop_ir.laws import check, check_run
from symbptt.codegen.loop_ir.nodes import If, Loop, Map, Statement, reads, walk
from symbptt.codegen.lower.bodies import ZERO
from symbptt.codegen.lower.cell import Sweeps
from symbptt.codegen.passes import NEUTRAL, PASSES
from symbptt.zoo import CELLS
from tests import public_cells, unseen
from tests.kernels import kernel_of
from tests.lowered import Data, data_for, program_with, sweeps_of, with_masks
from tests.test_lowering import OWN, close, drawn_masks

BORDERS = ((0, 5), (0, 2, 5), (0, 1, 2, 3, 4, 5), (0, 0, 3, 5))
"""The borders of pieces; one of them has no step."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*never used")
        yield


def piece_of(data: Data, start: Mapping[str, Any], lo: int, hi: int, masks: dict[str, Any] | None) -> Data:
    """The data of some steps; behind a sample's end its last step in the piece is held."""
    given = {k: v[lo:hi] if k[0] in ("input", "index") else v for k, v in data.given.items()}
    initial = {k: v for k, v in given.items() if k[0] == "state"}
    part = Data(data.sizes, given, {k: v[lo:hi] for k, v in data.cotangents.items()})
    if masks is not None:
        steps = next(iter(data.cotangents.values())).shape[0]
        ends, samples = masks["lengths"], next(iter(data.cotangents.values())).shape[1]
        active = np.arange(steps)[:, None] < (np.full(samples, steps) if ends is None else ends)
        reset = masks["reset"]
        inside = {
            "lengths": None if ends is None else active[lo:hi].sum(0),
            "reset": reset if reset is None else reset[lo:hi],
        }
        moved = {("state", name): value for name, value in start.items()}
        part = with_masks(replace(part, given={**given, **moved}), hi - lo, samples, **inside)
    return replace(part, given={**part.given, **initial, **{("start", name): v for name, v in start.items()}})


def by_pieces(
    s: Sweeps, data: Data, borders: tuple[int, ...], samples: int, masks: dict[str, Any] | None, absent: frozenset[str]
) -> dict[tuple[str, str], Any]:
    """The results of a run by pieces and of the way back, which runs each again; cotangents that are absent are not
    given, and nan where they would be read."""
    starts, found = [{name: v for (group, name), v in data.given.items() if group == "state"}], []
    for lo, hi in pairwise(borders):
        first = run(
            s.forward, piece_of(data, starts[-1], lo, hi, masks).given, data.sizes, hi - lo, samples, floats(), 2
        )
        starts.append({name: v for (group, name), v in first.items() if group == "final"})
        found.append({k: v for k, v in first.items() if k[0] in ("states", "outputs")})
    joined = {k: np.concatenate([part[k] for part in found]) for k in found[0]}
    carry = {name: np.zeros_like(v) for name, v in starts[0].items()}
    sums, inputs = dict[tuple[str, str], Any](), dict[tuple[str, str], list[Any]]()
    for i, (lo, hi) in reversed([*enumerate(pairwise(borders))]):
        part = piece_of(data, starts[i], lo, hi, masks)
        first = run(s.forward, part.given, data.sizes, hi - lo, samples, floats(), 2)
        given = {**part.given, **{k: v for k, v in first.items() if k[0] == "residual"}}
        given |= {("carry", name): v for name, v in carry.items()}
        for name, v in part.cotangents.items():
            given |= {("given", name): name not in absent}
            given |= {("cotangent", name): v if name not in absent else np.full_like(v, np.nan)}
        back = run(s.backward, given, data.sizes, hi - lo, samples, floats(), 2)
        carry = {name: v for (group, name), v in back.items() if group == "carry"}
        for k, v in back.items():
            if k[0] in ("params", "resets"):
                sums[k] = sums.get(k, 0) + v
            elif k[0] == "inputs":
                inputs.setdefault(k, []).insert(0, v)
    state = {("state", name): v + sums.get(("resets", name), 0) for name, v in carry.items()}
    return {**joined, **sums, **state, **{k: np.concatenate(parts) for k, parts in inputs.items()}}


def agrees(
    cell: sb.Cell,
    borders: tuple[int, ...],
    kinds: str | None = None,
    absent: frozenset[str] = frozenset(),
    passes: tuple[Any, ...] = PASSES,
) -> None:
    """Assert that pieces give what the kernel gives for all steps at once."""
    steps, samples = borders[-1], 4
    data, kernel = data_for(cell, steps, samples), kernel_of(cell)
    masks = None if kinds is None else drawn_masks(steps, samples, kinds)
    inputs, params = data.of("input", "index"), data.of("param", "const")
    whole = kernel.forward(params, inputs or None, data.of("state"), steps=None if inputs else steps, **(masks or {}))
    grads = kernel.backward(whole, {k: v for k, v in data.cotangents.items() if k not in absent})
    s = sweeps_of(cell, passes, masks is not None, absent=True, in_pieces=True)
    found = by_pieces(s, data, borders, samples, masks, absent)
    groups = {
        "states": whole.states,
        "outputs": whole.outputs,
        "params": grads.params,
        "inputs": grads.inputs,
        "state": grads.state,
    }
    for group, arrays in groups.items():
        for name, array in arrays.items():
            assert close(found[group, name], array), (group, name)


def outputs_of(cell: sb.Cell) -> frozenset[str]:
    return frozenset(program_with(cell).outputs)


@pytest.mark.thinned(37, 7)
@pytest.mark.parametrize("name", CELLS)
def test_pieces_of_the_steps_compute_what_all_steps_do(name: str) -> None:
    for borders in BORDERS:
        agrees(CELLS[name], borders)
    s = sweeps_of(CELLS[name], PASSES, absent=True, in_pieces=True)
    for f in (s.forward, s.backward):
        check(f)
        for flags in (False, True):
            check_run(f, data_for(CELLS[name], 3, 2).sizes, 3, 2, 2, flags)


@pytest.mark.thinned(137, 11)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("kinds", ["l", "r", "lr"])
def test_samples_end_and_states_are_reset_in_any_piece(kinds: str, name: str) -> None:
    for borders in BORDERS[1:]:
        agrees(CELLS[name], borders, kinds)


@pytest.mark.thinned(37, 5)
@pytest.mark.parametrize("name", CELLS)
def test_cotangents_that_are_absent_are_not_read(name: str) -> None:
    """Behind a false flag they are nan."""
    cell = CELLS[name]
    for absent in (
        outputs_of(cell),
        frozenset(program_with(cell).next),
        frozenset([next(iter(program_with(cell).next))]),
    ):
        agrees(cell, (0, 2, 5), None, absent)
        agrees(cell, (0, 2, 5), "lr", absent)


@pytest.mark.parametrize("cell", OWN, ids=lambda cell: cell.name)
@pytest.mark.thinned(3)
def test_pieces_of_states_that_change_places(cell: sb.Cell) -> None:
    for passes in (PASSES, NEUTRAL):
        agrees(cell, (0, 1, 3, 5), "lr", frozenset([*outputs_of(cell)][:1]), passes)


@pytest.mark.long
@pytest.mark.parametrize("name", [*unseen.CELLS, *public_cells.CELLS])
@pytest.mark.thinned(1, 17)
def test_pieces_of_cells_from_elsewhere(name: str) -> None:
    cell = {**unseen.CELLS, **public_cells.CELLS}[name]
    with np.errstate(all="ignore"):
        agrees(cell, (0, 1, 3, 5))
        agrees(cell, (0, 2, 5), "lr", outputs_of(cell))


def without(body: tuple[Statement, ...], gone: If) -> tuple[Statement, ...]:
    """Statements without the condition of a flag: what it guards is always there."""
    found: list[Statement] = []
    for s in body:
        found += s.body if s is gone else [replace(s, body=without(s.body, gone))] if isinstance(s, Loop) else [s]
    return tuple(found)


def test_planted_flag_that_lacks_is_caught() -> None:
    cell = CELLS["mlstm"]
    s = sweeps_of(cell, PASSES, absent=True, in_pieces=True)
    flags = [x for x in walk(s.backward.body) if isinstance(x, If)]
    assert len(flags) == len(program_with(cell).next) + len(outputs_of(cell))
    data = data_for(cell, 5, 4)
    every = frozenset(data.cotangents)
    for flag in flags:
        wrong = replace(s, backward=replace(s.backward, body=without(s.backward.body, flag)))
        found = by_pieces(wrong, data, (0, 2, 5), 4, None, every)
        assert any(np.isnan(v).any() for k, v in found.items() if k[0] in ("params", "state"))


def test_planted_carry_that_is_not_handed_on_is_caught() -> None:
    """The adjoints of each piece begin with zeros."""
    cell = CELLS["gru"]
    s, data = sweeps_of(cell, PASSES, absent=True, in_pieces=True), data_for(cell, 5, 4)
    after = {p.view.buffer for p in s.backward.arguments if p.group == "carry"}
    taken = [x for x in s.backward.body if isinstance(x, Map) and any(view.buffer in after for view in reads(x))]
    assert len(taken) == 1
    cut = tuple(replace(x, body=ZERO, args=()) if x in taken else x for x in s.backward.body)
    right = by_pieces(s, data, (0, 2, 5), 4, None, frozenset())
    wrong = by_pieces(replace(s, backward=replace(s.backward, body=cut)), data, (0, 2, 5), 4, None, frozenset())
    assert not close(wrong["params", "Wz"], right["params", "Wz"])
