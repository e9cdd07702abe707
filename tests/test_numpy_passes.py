"""The passes before NumPy is printed keep the laws and the values, and leave one call a statement in loops."""

from dataclasses import replace

import pytest

from symbptt.codegen.loop_ir.laws import check, check_run
from symbptt.codegen.loop_ir.nodes import Function, Loop, Map, Sharpen, walk
from symbptt.codegen.loop_ir.operators import tree_operations
from symbptt.codegen.loop_ir.step_by_step import without_scans
from symbptt.codegen.lower.cell import Sweeps
from symbptt.codegen.targets.numpy.passes import ready
from symbptt.codegen.targets.numpy.passes.own_parts import own_parts
from symbptt.codegen.targets.numpy.passes.three_address import is_number
from symbptt.ir.scalar import Call, Ref
from symbptt.ir.shape import named_size
from symbptt.zoo import CELLS
from tests.lowered import data_for, run_both, sweeps_of
from tests.test_lowering import close

EVERY = pytest.mark.parametrize("name", CELLS)
RUNS = ((0, 2, 1), (1, 3, 3), (5, 2, 2), (7, 1, 3))


def made_ready(s: Sweeps) -> Sweeps:
    return Sweeps(ready(s.forward), ready(s.backward))


@EVERY
@pytest.mark.thinned(29, 7)
def test_passes_keep_values(name: str) -> None:
    s = sweeps_of(CELLS[name])
    for steps, samples, block in RUNS:
        data = data_for(CELLS[name], steps, samples)
        for found, expected in zip(
            run_both(made_ready(s), data, steps, samples, block), run_both(s, data, steps, samples, block), strict=True
        ):
            assert all(close(found[key], expected[key]) for key in expected if key[0] != "residual")


@EVERY
@pytest.mark.thinned(13, 2)
def test_passes_keep_laws(name: str) -> None:
    s = sweeps_of(CELLS[name])
    for f in (s.forward, s.backward):
        found = ready(f)
        check(found)
        for steps, samples, block in ((0, 2, 1), (5, 2, 2)):
            check_run(found, data_for(CELLS[name], steps, samples).sizes, steps, samples, block)


def in_loops(f: Function) -> list[Map]:
    """The maps of loops, but for those that compute tiny remainders again, which are printed as expressions."""
    inside = [s for loop in f.body if isinstance(loop, Loop) for s in walk(loop.body)]
    again = [id(s) for sharpen in inside if isinstance(sharpen, Sharpen) for s in walk(sharpen.body)]
    return [s for s in inside if isinstance(s, Map) and id(s) not in again]


@EVERY
@pytest.mark.thinned(7)
def test_each_map_of_a_loop_is_one_operation(name: str) -> None:
    """Of steps that follow each other: NumPy is never given a `Scan`, its scans are calls of the runtime beside a loop."""
    s = sweeps_of(CELLS[name])
    for f in (ready(without_scans(s.forward)), ready(without_scans(s.backward))):
        assert all(tree_operations(map.body) <= 1 or is_of_numbers(map) for map in in_loops(f) if map.args)


def is_of_numbers(map: Map) -> bool:
    """Whether all operations of a map but one are of Python's numbers."""
    return len([arg for arg in map.args if not is_number(arg)]) <= 1


def test_a_condition_is_a_truth_value_and_stays_one() -> None:
    kinds = {s.out.buffer.dtype for s in in_loops(ready(sweeps_of(CELLS["lif"]).forward)) if isinstance(s.body, Call)}
    assert kinds == {"bool", "float"}


def test_gradients_of_packed_weights_are_given_as_parts() -> None:
    f = ready(sweeps_of(CELLS["lstm"]).backward)
    whole = {port.view.buffer.name for port in f.results if port.group == "params"}
    assert whole == {"dW_gates", "dU_gates", "db_gates"}


def test_a_part_that_two_results_have_is_copied() -> None:
    """Planted: where two gradients are one array, the second stays a copy, for a caller may change one in place."""
    f = sweeps_of(CELLS["lstm"]).backward
    first, second, *_ = [p for p in f.results if p.group == "params" and len(p.view.axes) == 1]
    copies = {s.out.buffer: s for s in f.body if isinstance(s, Map) and s.body == Ref(0)}
    one = copies[first.view.buffer]
    twice = tuple(replace(s, args=one.args) if s is copies[second.view.buffer] else s for s in f.body)
    found = {p.name: p.view.buffer.name for p in own_parts(replace(f, body=twice)).results}
    assert found[first.name] == "db_gates" and found[second.name] == second.view.buffer.name


def test_weights_are_transposed_once() -> None:
    f = ready(sweeps_of(CELLS["lif"]).forward)
    assert [b.shape for b in f.buffers if b.name == "WT"] == [(named_size("m"), named_size("n"))]
