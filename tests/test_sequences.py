"""Sequences as they come: padded, reset, empty; watched, and clipped. Against loops over samples of the plain function."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Index, Input, Param, State, Window
from tests import brute, oracle
from tests.kernels import kernel_of
from tests.oracle import STEP, Arrays, one_step

SIZES = {"m": 2, "n": 2, "v": 3}


@sb.cell
def plain(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return np.tanh(W @ x + U @ h)


@sb.cell
def many(x: Input["m"], i: Index["v"], h: State["n"], M: State["n n"], T: State["2 n m"], c: State, E: Param["v n"],
         U: Param["n n"], K: Param["2 n n"], a: Param):  # fmt: skip
    """States of every rank, an index, outputs of every rank, one of which no later step needs."""
    T = 0.5 * T + np.einsum("kij,i,m->kjm", K, h, x)
    M = a * M + np.outer(np.tanh(h), E[i])
    h = np.sin(U @ h + M @ h + T[0] @ x) + 0.3 * c
    return {
        "h": h,
        "M": M,
        "T": T,
        "c": 0.5 * np.cos(c) + np.sum(T[1]),
        "y": h * E[i],
        "Y": np.outer(h, x),
        "z": a * x[0],
    }


@sb.cell
def idle(h: State["n"], c: State, U: Param["n n"], w: Param["n"]):
    """Without inputs."""
    return {"h": np.tanh(U @ h) + 0.1 * c, "c": 0.9 * c + w @ h, "y": w * h}


@sb.cell
def copier(x: Input["n"], h: State["n"], last: State["n"]):
    """No parameters; a state that is another's past."""
    return {"h": x * h + x, "last": h, "y": h * last}


CELLS = [plain, many, idle, copier]
EVERY_CELL = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


def forward(cell: sb.Cell, data: brute.Data, **options: Any) -> Any:
    kernel = kernel_of(cell, **options)
    steps = None if data.inputs else data.steps
    return kernel.forward(data.params, data.inputs, data.state, steps=steps, **data.masks)


def cotangents_of(run: Any, seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    return {k: random.standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()}


def assert_values(cell: sb.Cell, data: brute.Data, run: Any) -> None:
    """Each sample on its own, as far as it goes; then states stand still and outputs are zero."""
    for b in range(data.batch):
        now = initial = {k: v[b] for k, v in data.state.items()}
        for t in range(data.length(b)):
            found = brute.advance(cell, data, b, t, now, initial)
            now = {k: found[k] for k in initial}
            for k, v in found.items():
                np.testing.assert_allclose({**run.states, **run.outputs}[k][t, b], v, rtol=1e-12, atol=1e-13)
        for t in range(data.length(b), data.steps):
            for k, v in run.states.items():
                np.testing.assert_array_equal(v[t, b], run.states[k][t - 1, b] if t else data.state[k][b])
            assert not any(v[t, b].any() for v in run.outputs.values())


def assert_all(cell: sb.Cell, data: brute.Data) -> None:
    run = forward(cell, data)
    assert_values(cell, data, run)
    cotangents = cotangents_of(run)
    wanted = brute.gradients(cell, brute.cotangent_score(cotangents), data)
    brute.assert_same(brute.by_group(kernel_of(cell).backward(run, cotangents)), wanted)


@EVERY_CELL
@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.thinned(3)
def test_lengths_of_every_kind(cell: sb.Cell, steps: int) -> None:
    lengths = np.array(list(np.ndindex(*[steps + 1] * 2))) if steps else np.zeros((1, 2), int)
    for pair in lengths:
        assert_all(cell, brute.data_of(cell, steps, 2, SIZES, lengths=pair))


@EVERY_CELL
def test_reset_at_every_position(cell: sb.Cell) -> None:
    for position in range(6):
        reset = np.zeros((3, 2), bool)
        reset.flat[position] = True
        assert_all(cell, brute.data_of(cell, 3, 2, SIZES, reset=reset))


@EVERY_CELL
@pytest.mark.parametrize("reset", [np.zeros((3, 2), bool), np.ones((3, 2), bool)], ids=["never", "always"])
def test_reset_never_and_always(cell: sb.Cell, reset: Any) -> None:
    assert_all(cell, brute.data_of(cell, 3, 2, SIZES, reset=reset))


@EVERY_CELL
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.thinned(5)
def test_lengths_and_resets_together(cell: sb.Cell, seed: int) -> None:
    random = np.random.default_rng(seed)
    masks = {"lengths": random.integers(0, 5, 3), "reset": random.random((4, 3)) < 0.4}
    assert_all(cell, brute.data_of(cell, 4, 3, SIZES, seed, **masks))


@sb.cell
def peak(x: Input["m"], h: State["n"], top: State, W: Param["n m"]):
    """Its second state reads the largest entry of the new first one, which a stopped sample does not take over."""
    h = np.tanh(W @ x + h)
    return h, 0.9 * top + sb.max(h) / (1 + sb.norm(h))


def test_maximum_of_the_new_state_is_right_in_a_padded_batch() -> None:
    assert_all(peak, brute.data_of(peak, 3, 3, SIZES, lengths=np.array([3, 1, 0])))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("truncation", [Window(2), Chunked(2, 3)], ids=repr)
def test_maximum_of_the_new_state_is_right_in_a_truncated_padded_batch(truncation: Any, reset: bool) -> None:
    masks = {"lengths": np.array([5, 1, 3]), "reset": np.eye(5, 3, -1, dtype=bool) & reset}
    data = brute.data_of(peak, 5, 3, SIZES, **masks)
    run = forward(peak, data, truncation=truncation)
    cotangents = cotangents_of(run)
    wanted = brute.gradients(peak, brute.cotangent_score(cotangents), data, truncation)
    grads = kernel_of(peak, truncation=truncation).backward(run, cotangents, monitor=True)
    brute.assert_same(brute.by_group(grads), wanted)
    assert all(np.isfinite(flow).all() for flow in grads.flow.values())


def test_always_reset_is_each_step_on_its_own() -> None:
    data = brute.data_of(many, 3, 2, SIZES, reset=np.ones((3, 2), bool))
    run = forward(many, data)
    for t in range(3):
        one = kernel_of(many).forward(data.params, {k: v[t : t + 1] for k, v in data.inputs.items()}, data.state)
        for name, value in one.states.items():
            np.testing.assert_allclose(run.states[name][t], value[0], rtol=1e-13)


def test_reset_goes_to_the_initial_state_that_was_given_not_to_zero() -> None:
    data = brute.data_of(copier, 2, 1, SIZES, reset=np.array([[False], [True]]))
    run = forward(copier, data)
    x, h = data.inputs["x"], data.state["h"]
    np.testing.assert_allclose(run.states["h"][1], x[1] * h + x[1], rtol=1e-14)
    grads = kernel_of(copier).backward(run, {"h": np.ones((1, 2))})
    np.testing.assert_allclose(grads.state["h"], x[1], rtol=1e-14)
    assert not grads.inputs["x"][0].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("cell", [plain, many], ids=lambda cell: cell.name)
def test_nothing_leaks_from_the_padding(cell: sb.Cell, bad: float) -> None:
    data = brute.data_of(cell, 4, 3, SIZES, lengths=np.array([4, 2, 0]))
    dirty = {k: v.copy() for k, v in data.inputs.items()}
    for b, length in enumerate((4, 2, 0)):
        dirty["x"][length:, b] = bad
    clean_run = forward(cell, data)
    run = kernel_of(cell).forward(data.params, dirty, data.state, lengths=data.lengths)
    cotangents = cotangents_of(run)
    for k, v in {**run.states, **run.outputs}.items():
        np.testing.assert_array_equal(v, {**clean_run.states, **clean_run.outputs}[k])
    wanted = oracle.flat(kernel_of(cell).backward(clean_run, cotangents))
    for k in run.outputs:
        cotangents[k] = cotangents[k].copy()
        cotangents[k][2:, 1] = bad
    got = oracle.flat(kernel_of(cell).backward(run, cotangents))
    oracle.assert_blocks_close(got, wanted, 0)


def test_cotangents_of_outputs_do_not_matter_behind_the_end_whatever_they_are() -> None:
    data = brute.data_of(many, 3, 2, SIZES, lengths=np.array([3, 1]))
    run = forward(many, data)
    clean = cotangents_of(run)
    dirty = {k: v.copy() for k, v in clean.items()}
    for k in run.outputs:
        dirty[k][1:, 1] = np.nan
    wanted, got = (oracle.flat(kernel_of(many).backward(run, c)) for c in (clean, dirty))
    oracle.assert_blocks_close(got, wanted, 0)


def test_cotangent_of_a_state_behind_the_end_that_is_not_finite_is_refused_where_it_is() -> None:
    data = brute.data_of(many, 3, 2, SIZES, lengths=np.array([3, 1]))
    run = forward(many, data)
    dirty = cotangents_of(run)
    dirty["h"][2, 1, 0] = np.nan
    with pytest.raises(sb.ArgumentError, match="h: nan at step 2, sample 1"):
        kernel_of(many).backward(run, dirty)


@EVERY_CELL
@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}, {"memory": 10**6}, {"truncation": Window(2)},
                                     {"truncation": Chunked(2, 3)}, {"truncation": Window(9)}], ids=str)  # fmt: skip
@pytest.mark.thinned(17, 2)
def test_cotangent_of_a_state_behind_the_end_is_one_of_the_last_step(cell: sb.Cell, options: dict[str, Any]) -> None:
    """What forward gives there is the state at the end, at length 0 the initial one: the derivative goes there."""
    reset = np.random.default_rng(3).random((5, 4)) < 0.3
    for masks in ({"lengths": np.array([5, 2, 0, 1])}, {"lengths": np.array([0, 4, 3, 2]), "reset": reset}):
        data = brute.data_of(cell, 5, 4, SIZES, **masks)
        run = forward(cell, data, **options)
        cotangents = cotangents_of(run)
        wanted = brute.gradients(cell, brute.cotangent_score(cotangents), data, options.get("truncation"))
        got = kernel_of(cell, **options).backward(run, cotangents)
        brute.assert_same(brute.by_group(got), wanted)


def test_cotangent_of_every_step_counts_how_often_the_run_has_the_last_state() -> None:
    """h_t = h_{t-1} + x: after 2 of 5 steps, each of the four last states has a derivative of 1 by the second x."""

    @sb.cell
    def adding(x: Input["n"], h: State["n"]):
        return h + x

    run = sb.compile(adding).forward({}, {"x": np.zeros((5, 1, 1))}, lengths=[2])
    grads = sb.compile(adding).backward(run, {"h": np.ones((5, 1, 1))})
    np.testing.assert_array_equal(grads.inputs["x"].ravel(), [5, 4, 0, 0, 0])
    np.testing.assert_array_equal(grads.state["h"], [[5]])


@EVERY_CELL
def test_padded_batch_is_its_samples_one_by_one(cell: sb.Cell) -> None:
    lengths = np.array([4, 1, 3])
    data = brute.data_of(cell, 4, 3, SIZES, lengths=lengths)
    run = forward(cell, data)
    cotangents = cotangents_of(run)
    for v in cotangents.values():
        for b, length in enumerate(lengths):
            v[length:, b] = 0
    got, sums = kernel_of(cell).backward(run, cotangents), dict.fromkeys(data.params, 0.0)
    for b, length in enumerate(lengths):
        steps = None if data.inputs else int(length)
        alone = kernel_of(cell).forward(data.params, {k: v[:length, b] for k, v in data.inputs.items()},
                                        {k: v[b] for k, v in data.state.items()}, steps=steps)  # fmt: skip
        grads = kernel_of(cell).backward(alone, {k: v[:length, b] for k, v in cotangents.items()})
        sums = {k: sums[k] + grads.params[k] for k in sums}
        oracle.assert_blocks_close({k: v[:length, b] for k, v in got.inputs.items()}, grads.inputs, 1e-12)
        oracle.assert_blocks_close({k: v[b] for k, v in got.state.items()}, grads.state, 1e-12)
    oracle.assert_blocks_close(got.params, sums, 1e-12)


# monitor: the norms of the adjoints.


def adjoints(
    cell: sb.Cell, data: brute.Data, run: Any, cotangents: Arrays, limit: float | None = None
) -> tuple[list[Arrays], dict[str, Arrays]]:
    """Backpropagation step by step: the adjoint of the states after each step (clipped jointly for each sample where there
    is a limit) pulled back through one step of the plain function by complex steps; and what comes of it."""
    names = list(data.state)
    sums = {"params": {k: np.zeros(np.shape(v)) for k, v in data.params.items()},
            "inputs": {k: np.zeros(v.shape) for k, v in data.inputs.items() if v.dtype.kind == "f"},
            "state": {k: np.zeros(v.shape) for k, v in data.state.items()}}  # fmt: skip
    carry = {k: np.zeros(v.shape) for k, v in data.state.items()}
    for b in range(data.batch):  # behind its end a sample has its last state, which gets what is sent there
        for k in [k for k in names if k in cotangents]:
            carry[k][b] = cotangents[k][data.length(b) :, b].sum(0)
    every: list[Arrays] = []
    for t in range(data.steps - 1, -1, -1):
        alive = [b for b in range(data.batch) if t < data.length(b)]
        for b in range(data.batch):
            for k in names:
                carry[k][b] += cotangents[k][t, b] if k in cotangents and b in alive else 0
            if limit is not None:
                norm = np.sqrt(sum(np.sum(carry[k][b] ** 2) for k in names))
                for k in names:
                    carry[k][b] *= min(1.0, limit / max(norm, 1e-300))
        every.insert(0, {k: np.array([v[b] * (b in alive) for b in range(data.batch)]) for k, v in carry.items()})
        for b in alive:
            fresh = data.reset is not None and data.reset[t, b]
            before = {k: data.state[k][b] if fresh or not t else run.states[k][t - 1, b] for k in names}
            point = {"params": data.params, "inputs": {k: v[t, b] for k, v in data.inputs.items()}, "state": before}
            bars = {**{k: carry[k][b] for k in names}, **{k: v[t, b] for k, v in cotangents.items() if k not in names}}
            pulled = _pull(cell, point, bars)
            for k, v in pulled["params"].items():
                sums["params"][k] += v
            for k, v in pulled["inputs"].items():
                sums["inputs"][k][t, b] = v
            for k in names:
                if fresh:
                    sums["state"][k][b] += pulled["state"][k]
                carry[k][b] = 0 if fresh else pulled["state"][k]
    for k in names:
        sums["state"][k] += carry[k]
    return every, sums


def _pull(cell: sb.Cell, point: dict[str, Arrays], bars: Arrays) -> dict[str, Arrays]:
    found: dict[str, Arrays] = {}
    for group, arrays in point.items():
        found[group] = {}
        for name, array in arrays.items():
            if np.asarray(array).dtype.kind != "f":
                continue
            slope = np.zeros(np.shape(array))
            for position in np.ndindex(*slope.shape):
                moved = np.array(array, complex)
                moved[position] += 1j * STEP
                flat = {
                    k: v
                    for g, values in point.items()
                    for k, v in (values | ({name: moved} if g == group else {})).items()
                }
                result = one_step(cell, flat)
                slope[position] = np.imag(sum(np.sum(bars[k] * result[k]) for k in bars)) / STEP
            found[group][name] = slope
    return found


@pytest.mark.parametrize("cell", [plain, copier], ids=lambda cell: cell.name)
def test_flow_is_the_norm_of_the_adjoint_at_every_step(cell: sb.Cell) -> None:
    """In cells whose states do not read each other within a step."""
    data = brute.data_of(cell, 4, 2, SIZES, lengths=np.array([4, 3]), reset=np.eye(4, 2, -1, dtype=bool))
    run = forward(cell, data)
    cotangents = cotangents_of(run)
    every, sums = adjoints(cell, data, run, cotangents)
    grads = kernel_of(cell).backward(run, cotangents, monitor=True)
    brute.assert_same(brute.by_group(grads), sums)
    for k, flow in grads.flow.items():
        np.testing.assert_allclose(flow, [np.linalg.norm(step[k]) for step in every], rtol=1e-11)


@EVERY_CELL
def test_watching_changes_nothing(cell: sb.Cell) -> None:
    data = brute.data_of(cell, 3, 2, SIZES, lengths=np.array([3, 1]))
    run = forward(cell, data)
    quiet, watched = (kernel_of(cell).backward(run, cotangents_of(run), monitor=m) for m in (False, True))
    oracle.assert_blocks_close(oracle.flat(watched), oracle.flat(quiet), 0)
    assert quiet.flow is None and {k: v.shape for k, v in watched.flow.items()} == dict.fromkeys(data.state, (3,))
    assert all((v >= 0).all() for v in watched.flow.values())


def test_flow_shows_a_gradient_that_vanishes() -> None:
    """h_t = U h_{t-1} with U half an orthogonal matrix: the norm halves at every step back."""

    @sb.cell
    def linear(x: Input["n"], h: State["n"], U: Param["n n"]):
        return U @ h + x

    kernel, U = sb.compile(linear), 0.5 * np.array([[0.0, -1.0], [1.0, 0.0]])
    run = kernel.forward({"U": U}, {"x": np.ones((5, 3, 2))})
    flow = kernel.backward(run, {"h": np.ones((3, 2))}, monitor=True).flow["h"]
    np.testing.assert_allclose(flow, np.sqrt(6) * 0.5 ** np.arange(4, -1, -1), rtol=1e-13)


# clip_adjoint: inside the recursion.


@pytest.mark.parametrize("limit", [0.1, 1.0, 1e9])
@EVERY_CELL
def test_clipped_adjoint_is_that_of_a_step_by_step_reference(cell: sb.Cell, limit: float) -> None:
    data = brute.data_of(cell, 4, 2, SIZES)
    run = forward(cell, data, clip_adjoint=limit)
    cotangents = cotangents_of(run)
    _, sums = adjoints(cell, data, run, cotangents, limit)
    brute.assert_same(brute.by_group(kernel_of(cell, clip_adjoint=limit).backward(run, cotangents)), sums)


@pytest.mark.parametrize("cell", [plain, many, peak], ids=lambda cell: cell.name)
def test_clipped_adjoint_knows_lengths_and_resets(cell: sb.Cell) -> None:
    reset = np.array([[0, 1], [1, 0], [0, 0], [0, 1]], bool)
    data = brute.data_of(cell, 4, 2, SIZES, lengths=np.array([4, 2]), reset=reset)
    run = forward(cell, data, clip_adjoint=0.3)
    cotangents = cotangents_of(run)
    _, sums = adjoints(cell, data, run, cotangents, 0.3)
    brute.assert_same(brute.by_group(kernel_of(cell, clip_adjoint=0.3).backward(run, cotangents)), sums)


def test_clipped_adjoint_keeps_the_flow_under_its_limit() -> None:
    data = brute.data_of(copier, 5, 1, SIZES)
    run = forward(copier, data, clip_adjoint=0.5)
    cotangents = {k: 100 * v for k, v in cotangents_of(run).items() if k != "y"}
    flow = kernel_of(copier, clip_adjoint=0.5).backward(run, cotangents, monitor=True).flow
    joint = np.sqrt(flow["h"] ** 2 + flow["last"] ** 2)
    assert (joint <= 0.5 * (1 + 1e-12)).all() and joint.max() > 0.49


def test_limit_out_of_reach_changes_nothing() -> None:
    data = brute.data_of(many, 3, 2, SIZES)
    found = []
    for options in ({}, {"clip_adjoint": 1e12}):
        run = forward(many, data, **options)
        found.append(oracle.flat(kernel_of(many, **options).backward(run, cotangents_of(run))))
    oracle.assert_blocks_close(found[1], found[0], 1e-13)


def test_clipping_leaves_the_forward_pass_alone_and_says_so_in_no_verification() -> None:
    data = brute.data_of(plain, 3, 2, SIZES)
    np.testing.assert_array_equal(forward(plain, data).states["h"], forward(plain, data, clip_adjoint=0.1).states["h"])
    with pytest.raises(sb.ArgumentError, match="without clip_adjoint"):
        sb.verify(kernel_of(plain, clip_adjoint=0.1))


def test_clipped_adjoint_in_float32_stays_float32() -> None:
    data = brute.data_of(many, 3, 2, SIZES)
    groups = [{k: v if np.asarray(v).dtype.kind == "i" else np.float32(v) for k, v in g.items()}
              for g in (data.params, data.inputs, data.state)]  # fmt: skip
    kernel = kernel_of(many, clip_adjoint=0.2)
    run = kernel.forward(*groups)
    grads = oracle.flat(kernel.backward(run, {k: np.ones_like(v) for k, v in run.states.items()}))
    assert {v.dtype for v in grads.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("truncation", [Chunked(2, 3), Chunked(3, 2)], ids=repr)
def test_clipped_chunks_are_chunks_of_clipped_recursions(truncation: Chunked) -> None:
    data = brute.data_of(plain, 5, 2, SIZES)
    run = forward(plain, data, clip_adjoint=0.4, truncation=truncation)
    cotangents = cotangents_of(run)
    got = kernel_of(plain, clip_adjoint=0.4, truncation=truncation).backward(run, cotangents)
    wanted = {"params": {k: np.zeros(v.shape) for k, v in data.params.items()}}
    for first, end, counted in brute.spans(truncation, 5):
        state = data.state if not first else {"h": run.states["h"][first - 1]}
        part = brute.Data(data.params, {"x": data.inputs["x"][first:end]}, state, end - first, 2)
        own = {"h": np.array([cotangents["h"][t] * (t in counted) for t in range(first, end)])}
        _, sums = adjoints(plain, part, kernel_of(plain).forward(part.params, part.inputs, part.state), own, 0.4)
        wanted["params"] = {k: v + sums["params"][k] for k, v in wanted["params"].items()}
    brute.assert_same({"params": got.params}, wanted)


@pytest.mark.parametrize("limit", [
    0, -1.0, np.nan, "1", [1.0], True, np.inf, np.complex128(1), 1j, 10**400,
], ids=lambda limit: str(limit)[:9])  # fmt: skip
def test_wrong_limit_of_the_adjoint_is_refused(limit: Any) -> None:
    with pytest.raises(sb.ArgumentError, match="clip_adjoint is a positive number, got"):
        sb.compile(plain, clip_adjoint=limit)


@pytest.mark.parametrize("limit", [np.float64(0.5), np.float32(0.5), np.int64(1)])
def test_limit_of_numpy_is_a_plain_number_in_the_source(limit: Any) -> None:
    source = sb.compile(plain, clip_adjoint=limit).source
    assert f"_clip(adjoints, {float(limit)})" in source


def test_clipping_within_windows_is_refused_with_a_cure() -> None:
    with pytest.raises(
        sb.ArgumentError, match="clip_adjoint does not go with Window(.|\n)*sb.Chunked, or sb.clip_by_norm"
    ):
        sb.compile(plain, clip_adjoint=1.0, truncation=Window(3))


# Clipping of the finished gradients.

GRADIENTS = {"W": np.array([[3.0, 0.0], [0.0, -4.0]]), "b": np.array([12.0]), "a": np.array(0.0)}


def test_clip_by_norm_scales_all_alike_to_the_limit() -> None:
    clipped = sb.clip_by_norm(GRADIENTS, 1.3)
    for name, value in GRADIENTS.items():
        np.testing.assert_allclose(clipped[name], value / 10, rtol=1e-15)
    assert np.sqrt(sum(np.sum(v**2) for v in clipped.values())) == pytest.approx(1.3)


def test_clip_by_norm_leaves_small_gradients_as_they_are() -> None:
    for limit in (13.0, 14.0, np.inf):
        clipped = sb.clip_by_norm(GRADIENTS, limit)
        assert all(clipped[name] is value for name, value in GRADIENTS.items())
    assert sb.clip_by_norm({}, 1.0) == {}


def test_clip_by_value_bounds_each_entry() -> None:
    clipped = sb.clip_by_value(GRADIENTS, 3.5)
    np.testing.assert_array_equal(clipped["W"], [[3.0, 0.0], [0.0, -3.5]])
    np.testing.assert_array_equal(clipped["b"], [3.5])


@pytest.mark.parametrize("clip", [sb.clip_by_norm, sb.clip_by_value])
def test_clipping_keeps_types_and_changes_nothing_in_place(clip: Any) -> None:
    given = {k: v.astype(np.float32) for k, v in GRADIENTS.items()}
    before = {k: v.copy() for k, v in given.items()}
    clipped = clip(given, 0.5)
    assert {k: (v.dtype, v.shape) for k, v in clipped.items()} == {
        k: (np.dtype(np.float32), v.shape) for k, v in given.items()
    }
    for k, v in before.items():
        np.testing.assert_array_equal(given[k], v)


def test_norm_is_taken_in_double_precision() -> None:
    huge = {"W": np.full((100, 100), 1e18, np.float32)}
    assert np.isfinite(sb.clip_by_norm(huge, 1.0)["W"]).all()
    np.testing.assert_allclose(np.linalg.norm(sb.clip_by_norm(huge, 1.0)["W"].astype(float)), 1.0, rtol=1e-6)


@pytest.mark.parametrize("clip", [sb.clip_by_norm, sb.clip_by_value])
@pytest.mark.parametrize("limit", [0, -1.0, np.nan])
def test_limit_must_be_positive(clip: Any, limit: float) -> None:
    with pytest.raises(sb.ArgumentError, match="a limit is a positive number, got"):
        clip(GRADIENTS, limit)


def test_gradients_of_a_kernel_may_be_clipped() -> None:
    data = brute.data_of(plain, 3, 2, SIZES)
    run = forward(plain, data)
    clipped = sb.clip_by_norm(kernel_of(plain).backward(run, cotangents_of(run)).params, 1e-3)
    assert np.sqrt(sum(np.sum(v**2) for v in clipped.values())) == pytest.approx(1e-3)
