"""Checkpoints: the same gradients whatever is held, schedules that are the best known, and bytes as predicted."""

import re
import tracemalloc
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import symbptt as sb
from symbptt import State, Target, zoo
from symbptt.codegen.load import load
from symbptt.codegen.runtime import checkpoints
from tests import brute, unseen
from tests.cells import odd, vanilla
from tests.kernels import own_kernel_of, saturating
from tests.test_truncation import MASKS, MODELS, SIZES, STEPS

LEAST, SOME = 30_000, 60_000


@cache
def kernel_of(target: Any, memory: Any, clip: float | None = None) -> sb.Kernel:
    return own_kernel_of(target, memory=memory, clip_adjoint=clip)


def least_of(
    target: Any, T: int, B: int, dtype: Any = np.float64, masks: Any = None, clip: Any = None, **sizes: int
) -> int:
    """The least budget that is not refused, by what the refusal says."""
    given = {name: mask is not None for name, mask in (masks or {}).items()}
    plan = kernel_of(target, 1, clip).plan
    known = {name: size for name, size in sizes.items() if name in plan.written.names}
    with pytest.raises(sb.ArgumentError) as caught:
        plan.peak(T, B, dtype=dtype, **given, **known)
    found = re.search(r"take ([\d,]+) bytes at the least", str(caught.value))
    assert found
    return int(found[1].replace(",", ""))


def assert_same(found: Any, wanted: Any, rtol: float = 1e-11) -> None:
    for group in ("params", "inputs", "state", "flow", "final"):
        a, b = getattr(found, group) or {}, getattr(wanted, group) or {}
        assert a.keys() == b.keys()
        for name in a:
            assert np.shape(a[name]) == np.shape(b[name]) and a[name].dtype == b[name].dtype, (group, name)
            atol = rtol * max(float(np.max(np.abs(b[name]), initial=0)), 1)
            np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=atol, err_msg=f"{group} {name}")


def memories(
    target: Any, data: brute.Data, sizes: dict[str, int], dtype: Any = np.float64, clip: Any = None
) -> list[Any]:
    """Every way to hold less: square root, the least budget, and twice that."""
    least = least_of(target, data.steps, data.batch, dtype, data.masks, clip, **sizes)
    return ["sqrt", least, 2 * least]


def assert_training_is_the_same(model: sb.Model, data: brute.Data, sizes: dict[str, int], clip: Any = None) -> None:
    args = (data.params, data.inputs, data.targets, data.state)
    kinds = {"steps": data.steps, "monitor": True, **data.masks}
    value, wanted = kernel_of(model, "all", clip).value_and_grad(*args, **kinds)
    for memory in memories(model, data, sizes, clip=clip):
        found, grads = kernel_of(model, memory, clip).value_and_grad(*args, **kinds)
        np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-13)
        assert_same(grads, wanted)


def assert_run_is_the_same(cell: sb.Cell, data: brute.Data, sizes: dict[str, int], rtol: float = 1e-11) -> None:
    args, kinds = (data.params, data.inputs, data.state), {"steps": data.steps, **data.masks}
    dtype = next(v.dtype for v in data.state.values())
    whole = kernel_of(cell, "all")
    run = whole.forward(*args, **kinds)
    values = run.states | run.outputs
    random = np.random.default_rng(3)
    full = {k: random.standard_normal(v.shape).astype(dtype) for k, v in values.items()}
    last = {k: random.standard_normal(v.shape[1:]).astype(dtype) for k, v in run.states.items()}
    for memory in memories(cell, data, sizes, dtype):
        kernel = kernel_of(cell, memory)
        again = kernel.forward(*args, **kinds)
        for name, value in (again.states | again.outputs).items():
            np.testing.assert_allclose(value, values[name], rtol=rtol, atol=rtol)
        for cotangents in (full, last, {}):
            wanted = whole.backward(run, cotangents, monitor=True)
            assert_same(kernel.backward(again, cotangents, monitor=True), wanted, rtol)
        assert_same(kernel.backward(again, full), whole.backward(run, full), rtol)


# Gradients.


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("loss", ["reads_all", "labelled"])
@pytest.mark.thinned(29, 7)
def test_training_with_checkpoints_is_training(loss: str, at: str, masks: str) -> None:
    model = MODELS[loss, at]
    assert_training_is_the_same(model, brute.data_of(model, STEPS, 2, SIZES, **MASKS[masks]), SIZES)


@pytest.mark.parametrize("memory", ["sqrt", "least"])
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(7, 3)
def test_gradients_are_those_of_explicit_unrolling(at: str, masks: str, memory: Any) -> None:
    model = MODELS["reads_all", at]
    data = brute.data_of(model, STEPS, 2, SIZES, **MASKS[masks])
    kernel = kernel_of(model, least_of(model, STEPS, 2, masks=data.masks, **SIZES) if memory == "least" else memory)
    value, grads = brute.value_and_grad(kernel, data)
    np.testing.assert_allclose(value, brute.value(model, data), rtol=1e-11, atol=1e-13)
    brute.assert_same(brute.by_group(grads), brute.model_gradients(model, data, None))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(79, 3)
def test_short_sequences_are_no_exception(at: str, steps: int, batch: int) -> None:
    model = MODELS["reads_all", at]
    assert_training_is_the_same(model, brute.data_of(model, steps, batch, SIZES), SIZES)


@pytest.mark.parametrize("lengths", [[0, 0], [7, 7], [1, 0], [3, 6]])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(17)
def test_lengths_at_and_between_borders(at: str, lengths: list[int]) -> None:
    model = MODELS["reads_all", at]
    assert_training_is_the_same(model, brute.data_of(model, 7, 2, SIZES, lengths=np.array(lengths)), SIZES)


@pytest.mark.long
def test_mean_and_clipping_are_no_exception() -> None:
    for at in ("every", "last"):
        model = sb.model(vanilla, error, at=at, reduction="mean")
        data = brute.data_of(model, 9, 2, {"m": 2, "n": 3}, lengths=np.array([9, 5]))
        assert_training_is_the_same(model, data, {"m": 2, "n": 3})
        assert_training_is_the_same(model, data, {"m": 2, "n": 3}, clip=0.05)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.thinned(7)
def test_run_with_checkpoints_is_a_run(steps: int) -> None:
    sizes = {"m": 2, "n": 3, "v": 4}
    assert_run_is_the_same(odd, brute.data_of(odd, steps, 2, sizes), sizes)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.thinned(7)
def test_masked_run_with_checkpoints_is_a_run(masks: str) -> None:
    sizes = {"m": 2, "n": 3, "v": 4}
    assert_run_is_the_same(odd, brute.data_of(odd, STEPS, 2, sizes, **MASKS[masks]), sizes)


CELLS = [
    *unseen.CELLS.values(),
    *(zoo.CELLS[name] for name in ("lstm", "gru", "minimal_gru", "lru") if name in zoo.CELLS),
]


@pytest.mark.long
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.thinned(1, 17)
def test_cells_of_every_kind_run_again(cell: sb.Cell) -> None:
    data = brute.data_of(cell, 4, 2, unseen.SIZES)
    known = {k: v for k, v in unseen.SIZES.items() if k in kernel_of(cell, 1).plan.written.names}
    assert_run_is_the_same(cell, data, known, 1e-9)


def test_float32_stays_float32() -> None:
    model, sizes = sb.model(vanilla, error), {"m": 2, "n": 3}
    data = brute.data_of(model, 9, 2, sizes)
    args = [
        {k: v.astype(np.float32) for k, v in g.items()} for g in (data.params, data.inputs, data.targets, data.state)
    ]
    value, wanted = kernel_of(model, "all").value_and_grad(*args)
    for memory in memories(model, data, sizes, np.float32):
        found, grads = kernel_of(model, memory).value_and_grad(*args)
        assert found.dtype == np.float32 and abs(found - value) < 1e-5
        assert_same(grads, wanted, 1e-4)


def test_one_sample_without_a_batch_axis_gives_the_same() -> None:
    model = sb.model(vanilla, error)
    data = brute.data_of(model, 9, 1, {"m": 2, "n": 3})
    inputs, targets = ({k: v[:, 0] for k, v in g.items()} for g in (data.inputs, data.targets))
    state = {k: v[0] for k, v in data.state.items()}
    (a, found), (b, wanted) = (
        kernel_of(model, memory).value_and_grad(data.params, inputs, targets, state) for memory in ("sqrt", "all")
    )
    assert abs(a - b) < 1e-12
    assert_same(found, wanted)


PLANTED = {
    "a border": ("end = min(first + piece, hi)", "end = min(first + piece, hi - 1)"),
    "an adjoint": ("    return carry\n", "    return {k: 0 * v for k, v in carry.items()}\n"),
    "a state": ("held[hi] = ", "held[hi] = held[lo]; _ = "),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistake_is_seen(mistake: str) -> None:
    model = sb.model(vanilla, error)
    data, kernel = brute.data_of(model, 9, 2, {"m": 2, "n": 3}), kernel_of(model, "sqrt")
    old, new = PLANTED[mistake]
    assert old in kernel.source
    args = (data.params, data.inputs, data.targets, data.state)
    wanted = kernel_of(model, "all").value_and_grad(*args)[1]
    wrong = load(kernel.source.replace(old, new), "<planted>")
    with pytest.raises(AssertionError):
        assert_same(wrong.value_and_grad(*args)[1], wanted)


# Schedules.


@cache
def least_runs(pieces: int, slots: int) -> float:
    """The least number of runs of a piece beside the last one of each, by trying every border."""
    if pieces <= 1 or slots == 0:
        return 0 if pieces <= 1 else float("inf")
    return min(i + least_runs(pieces - i, slots - 1) + least_runs(i, slots) for i in range(1, pieces))


def executed(actions: Any) -> tuple[int, int, list[tuple[int, int]]]:
    """Run a schedule: (steps run again, most states held beside the first, pieces in the order of the way back)."""
    held, most, runs, back = {0}, 0, 0, []
    for lo, hi, is_last in actions:
        assert lo in held and (lo < hi or lo == hi == 0), (lo, hi)
        if is_last:
            held.remove(lo)
            back.append((lo, hi))
        else:
            held.add(hi)
            runs += hi - lo
        most = max(most, len(held - {0}))
    assert not held
    return runs, most, back


@given(st.integers(0, 400), st.integers(1, 40), st.integers(1, 12))
def test_schedule_flows_back_through_every_step_from_a_state_that_is_held(T: int, piece: int, slots: int) -> None:
    runs, most, back = executed(checkpoints._schedule(T, piece, slots))
    assert most <= slots and all(hi - lo <= piece for lo, hi in back)
    assert [hi for _, hi in back] == [T, *(lo for lo, _ in back[:-1])] and back[-1][0] == 0
    assert runs == checkpoints._steps_again(T, piece, slots)


def test_schedule_runs_as_few_pieces_as_any() -> None:
    for pieces in range(1, 40):
        for slots in range(1, 9):
            runs, _, _ = executed(checkpoints._schedule(pieces, 1, slots))
            assert runs == least_runs(pieces, slots) == checkpoints._runs(pieces, slots), (pieces, slots)


def test_runs_of_revolve_as_published() -> None:
    """Griewank and Walther 2000, table of t(l, c): l = 10 steps and c = 3 checkpoints take 15 runs beside the last."""
    assert checkpoints._runs(10, 3) == 15 and checkpoints._reach(3, 2) == 10


@given(st.integers(0, 300), st.integers(1, 60), st.integers(0, 9), st.integers(0, 3000))
def test_fitting_schedule_is_the_fastest_that_fits(T: int, step: int, state: int, limit: int) -> None:
    def needed(steps: int) -> int:
        return 7 + step * steps

    found = checkpoints._fitting(T, limit, needed, state)
    best = min(
        (checkpoints._steps_again(T, piece, slots)
         for slots in range(min(T, 40)) for piece in range(1, T + 1)
         if needed(piece) + slots * state <= limit and slots >= min(-(-T // piece) - 1, 1)),
        default=None,
    ) if T <= 40 else ()  # fmt: skip
    if found is None:
        assert limit < (needed(min(T, 1)) + state * (T > 1))
        return
    runs, most, back = executed(checkpoints._schedule(T, *found))
    longest = max(hi - lo for lo, hi in back)
    assert needed(longest) + most * state <= limit
    assert best == () or T == 0 or runs == best


@given(st.integers(1, 10**5))
def test_square_root_pieces_are_as_many_as_their_steps(T: int) -> None:
    piece, slots = checkpoints._root(T)
    assert (piece - 1) ** 2 < T <= piece**2 and slots + 1 == len([*pairwise(checkpoints._borders(T, piece))]) <= piece


# Bytes.


@sb.loss
def error(h: State["n"], y: Target["n"]):
    e = h - y
    return e @ e / 2


def peak_of(kernel: sb.Kernel, T: int, B: int, sizes: dict[str, int], **masks: Any) -> int:
    """The bytes that training takes at the most beside its arguments, measured."""
    data = brute.data_of(kernel.target, T, B, sizes)
    args = (data.params, data.inputs, data.targets, data.state)
    kernel.value_and_grad(*args, **masks)
    kernel.workspace.rooms.clear()  # what the first run left is counted as the second takes it
    tracemalloc.start()
    kernel.value_and_grad(*args, **masks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


PEAK_SIZES = {"m": 8, "n": 64}


@pytest.mark.long
@pytest.mark.parametrize("share", [None, 0, 3, 20])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.thinned(1, 17)
def test_peak_is_as_predicted(name: str, at: str, share: int | None) -> None:
    model, (T, B) = sb.model(zoo.CELLS[name], error, at=at), (1000, 8)
    whole = kernel_of(model, "all").plan.peak(T, B, **PEAK_SIZES)
    memory = "all" if share is None else whole // share if share else "sqrt"
    kernel = kernel_of(model, memory)
    predicted = kernel.plan.peak(T, B, **PEAK_SIZES)
    assert isinstance(memory, str) or predicted <= memory
    found = peak_of(kernel, T, B, PEAK_SIZES)
    whole = peak_of(saturating(kernel, "np.inf"), T, B, PEAK_SIZES)  # what is predicted: every function saturates
    assert found <= predicted * 1.05 and abs(predicted / whole - 1) <= 0.05


@pytest.mark.long
def test_budget_at_the_limit_is_kept_and_one_byte_less_refused_before_anything_is_allocated() -> None:
    model, (T, B), sizes = sb.model(zoo.lstm, error), (6000, 32), {"m": 2, "n": 32}
    least = least_of(model, T, B, **sizes)
    data = brute.data_of(model, T, B, sizes)
    args = (data.params, data.inputs, data.targets, data.state)
    short = kernel_of(model, least - 1)
    short.module  # noqa: B018 made before the count
    tracemalloc.start()
    with pytest.raises(sb.ArgumentError, match=f"{least:,} bytes at the least, {least - 1:,} are allowed"):
        short.value_and_grad(*args)
    assert tracemalloc.get_traced_memory()[1] < least / 4
    tracemalloc.stop()
    plan = kernel_of(model, least_of(model, 300, B, **sizes)).plan
    assert 0.95 * plan.memory <= plan.peak(300, B, **sizes) <= plan.memory
    assert plan.recomputed(300, B, **sizes) == 300 * 299 // 2


@pytest.mark.parametrize(("memory", "held"), [("all", True), ("sqrt", False), (10**6, False)])
def test_arrays_are_held_between_calls_but_where_memory_is_spared(memory: Any, held: bool) -> None:
    kernel = sb.compile(zoo.gru, memory=memory)
    params = zoo.gru.init({"m": 2, "n": 3})
    run = kernel.forward(params, {"x": np.ones((4, 2, 2))})
    kernel.backward(run, {"h": np.ones((4, 2, 3))})
    del run
    assert any(kernel.workspace.rooms.values()) is held


def test_plan_says_what_memory_costs() -> None:
    model, sizes = sb.model(vanilla, error), {"m": 2, "n": 3}
    root, whole = kernel_of(model, "sqrt").plan, kernel_of(model, "all").plan
    assert "√T" in str(root) and whole.recomputed(100, 2, **sizes) == 0 and root.recomputed(100, 2, **sizes) == 90
    assert root.bytes(100, 2, **sizes) == whole.bytes(10, 2, **sizes) + 9 * 2 * 3 * 8
    assert kernel_of(vanilla, "sqrt").plan.recomputed(100, 2, **sizes) == 100
    budget = kernel_of(model, 50_000).plan
    assert "50,000 bytes" in str(budget) and budget.recomputed(5, 1, **sizes) == 0
    with pytest.raises(sb.ArgumentError, match="the plan of vanilla_error needs the size m"):
        budget.peak(100, 2, n=3)


# What is refused.


@pytest.mark.parametrize("memory", ["half", 0, -5, 1.5, True, None, (3,), b"all"])
def test_what_is_no_memory_is_refused(memory: Any) -> None:
    with pytest.raises(sb.ArgumentError, match='memory is "all", "sqrt" or a positive number of bytes, got'):
        sb.compile(vanilla, memory=memory)


@pytest.mark.parametrize("memory", ["sqrt", 10**6])
@pytest.mark.parametrize("truncation", [sb.Window(3), sb.Chunked(2, 4)])
def test_memory_does_not_go_with_truncation(truncation: Any, memory: Any) -> None:
    with pytest.raises(sb.ArgumentError, match="does not go with (.|\n)*drop one of them"):
        sb.compile(vanilla, truncation=truncation, memory=memory)


def test_memory_may_be_an_integer_of_numpy() -> None:
    assert kernel_of(vanilla, np.int64(10**6)).source == kernel_of(vanilla, 10**6).source


def test_saved_module_refuses_by_itself() -> None:
    module = kernel_of(vanilla, 100).module
    data = brute.data_of(vanilla, 5, 1, {"m": 2, "n": 3})
    with pytest.raises(module.ArgumentError, match="T = 5 and B = 1 take (.*) bytes at the least, 100 are allowed"):
        module.forward(data.params, data.inputs, data.state)


def test_refusal_tells_what_the_least_costs_and_what_the_root_does() -> None:
    """The numbers of the refusal against plans that are asked for them."""
    model, T, B, sizes = sb.model(vanilla, error), 400, 2, {"m": 2, "n": 3}
    with pytest.raises(sb.ArgumentError) as caught:
        kernel_of(model, 1).plan.peak(T, B, **sizes)
    least, told, again, root, once = (int(v.replace(",", "")) for v in re.search(
        r"take ([\d,]+) bytes at the least(?:.|\n)*compile with memory=(\d+), which runs ([\d,]+) steps again, "
        r"or with memory=\"sqrt\": ([\d,]+) bytes, ([\d,]+) steps again", str(caught.value)).groups())  # fmt: skip
    assert told == least == least_of(model, T, B, **sizes)
    assert again == kernel_of(model, least).plan.recomputed(T, B, **sizes) > 10 * T
    assert 0.95 * root <= kernel_of(model, "sqrt").plan.peak(T, B, **sizes) <= root
    assert once == kernel_of(model, "sqrt").plan.recomputed(T, B, **sizes) <= T
    assert kernel_of(model, root).plan.recomputed(T, B, **sizes) <= T
    assert "runs each step T/2 times again" in " ".join(str(kernel_of(model, least).plan).split())


def test_refusal_of_a_cell_tells_that_its_steps_run_once_more() -> None:
    with pytest.raises(
        sb.ArgumentError, match=r"which runs 400 steps again, or with memory=\"sqrt\": ([\d,]+) bytes, 400 steps again"
    ):
        kernel_of(vanilla, 1).plan.peak(400, 2, m=2, n=3)
