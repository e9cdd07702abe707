"""Contexts: arguments that a sequence is given once, read at every step, with gradients that are sums over the steps of each sample."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Context, Input, Param, State
from symbptt.codegen.lower import sweep
from symbptt.codegen.lower.families import total
from tests.context_cells import CELLS, MODEL, attend, looked_up, scaled
from tests.kernels import kernel_of, own_kernel_of

Arrays = dict[str, Any]
SIZES = {"m": 2, "n": 3, "k": 4, "s": 5, "v": 5}
STEP = 1e-30
SIZES_OF_MEMORY = (SIZES["s"], SIZES["k"])


def data_of(
    target: Any, T: int, B: int, dtype: Any = float, sizes: dict[str, int] = SIZES
) -> tuple[Arrays, Arrays, Arrays]:
    random = np.random.default_rng(T + 10 * B)
    lead = {"input": (T, B), "index": (T, B), "context": (B,), "state": (B,), "param": (), "target": (T, B)}

    def drawn(*roles: str) -> Arrays:
        chosen = [a for a in target.arguments if a.role in roles]
        return {a.name: random.integers(0, sizes["v"], lead[a.role]) if a.role == "index"
                else random.standard_normal((*lead[a.role], *(sizes[str(n)] for n in a.shape))).astype(dtype)
                for a in chosen}  # fmt: skip

    return drawn("param"), drawn("input", "index", "context"), drawn("state")


def _run(cell: sb.Cell, params: Arrays, inputs: Arrays, state: Arrays, T: int, masks: Arrays) -> Arrays:
    """The states and outputs by the user's function, sample by sample; outputs are zero behind the end of a sample."""
    contexts = [a.name for a in cell.arguments if a.role == "context"]
    names, B = list(state), len(next(iter(state.values())))
    lengths, reset = masks.get("lengths", np.full(B, T)), masks.get("reset", np.zeros((T, B), bool))
    found: dict[str, list[Any]] = {}
    for b in range(B):
        now = first = {k: v[b] for k, v in state.items()}
        for t in range(T):
            given = {k: v[b] if k in contexts else v[t, b] for k, v in inputs.items()}
            result: Any = cell.function(**params, **given, **(first if reset[t, b] else now))
            values = (
                result
                if isinstance(result, dict)
                else dict(zip(names, result if isinstance(result, tuple) else (result,), strict=True))
            )
            if t < lengths[b]:
                now = {k: values[k] for k in names}
            for k, v in values.items():
                found.setdefault(k, []).append(now[k] if k in names else v * (t < lengths[b]))
    return {k: np.reshape(v, (B, T, *np.shape(v[0]))).swapaxes(0, 1) for k, v in found.items()}


def _slope(objective: Callable[..., Any], groups: tuple[Arrays, ...], place: tuple[int, str], along: Any) -> float:
    """The derivative along a direction of one argument, by a complex step."""
    moved = [dict(group) for group in groups]
    moved[place[0]][place[1]] = moved[place[0]][place[1]] + 1j * STEP * along
    return float(np.imag(objective(*moved)) / STEP)


def check(cell: sb.Cell, kernel: sb.Kernel, T: int, B: int, **masks: Any) -> None:
    groups = data_of(cell, T, B)
    params, inputs, state = groups
    steps = {} if any(a.role in ("input", "index") for a in cell.arguments) else {"steps": T}
    run = kernel.forward(params, inputs, state, **steps, **masks)
    wanted = _run(cell, *groups, T, masks)
    random = np.random.default_rng(1)
    sent = {k: random.standard_normal(v.shape) for k, v in (run.states | run.outputs).items()}
    for k, v in wanted.items():
        np.testing.assert_allclose((run.states | run.outputs)[k], v, rtol=1e-12, atol=1e-12)
    grads: Any = kernel.backward(run, sent)

    def objective(*arguments: Arrays) -> Any:
        values = _run(cell, *arguments, T, masks)
        return sum(np.sum(sent[k] * v) for k, v in values.items())

    named = {a.name: a.role for a in cell.arguments}
    own = {
        "param": (0, grads.params),
        "input": (1, grads.inputs),
        "context": (1, grads.contexts),
        "state": (2, grads.state),
    }
    assert {*grads.contexts} == {k for k, role in named.items() if role == "context"}
    for name, role in named.items():
        if role in own:
            group, found = own[role]
            along = random.standard_normal(groups[group][name].shape)
            assert found[name].shape == along.shape
            slope = _slope(objective, groups, (group, name), along)
            assert np.sum(found[name] * along) == pytest.approx(slope, rel=1e-10, abs=1e-12), name


@pytest.mark.parametrize("size", [(0, 2), (1, 1), (2, 3), (5, 2)], ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_gradients_match_the_complex_step(cell: sb.Cell, size: tuple[int, int]) -> None:
    check(cell, kernel_of(cell), *size)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_masks_blocks_and_pieces_change_nothing(cell: sb.Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = {"lengths": np.array([5, 0, 3]), "reset": np.random.default_rng(0).random((5, 3)) < 0.4}
    kernel = own_kernel_of(cell)
    if hasattr(kernel.module, "_steps"):
        monkeypatch.setattr(kernel.module, "_steps", lambda T, *rest: max(min(T, 2), 1))
    check(cell, kernel, 5, 3, **masks)
    check(cell, kernel_of(cell, memory="sqrt"), 5, 3, **masks)


@pytest.mark.parametrize("truncation", [sb.Window(2), sb.Chunked(2, 3), sb.Window(9), sb.Chunked(2, 9)], ids=str)
def test_truncated_gradients_count_what_the_steps_within_reach_read(truncation: Any) -> None:
    T, B = 5, 2
    groups = data_of(attend, T, B)
    kernel = kernel_of(attend, truncation=truncation)
    run = kernel.forward(*groups)
    sent = {k: np.random.default_rng(2).standard_normal(v.shape) for k, v in (run.states | run.outputs).items()}
    found: Any = kernel.backward(run, sent).contexts["memory"]

    def reached(t: int) -> int:
        if isinstance(truncation, sb.Window):
            return max(t + 1 - truncation.k, 0)
        end = min((t // truncation.k1 + 1) * truncation.k1, T)
        return max(end - truncation.k2, 0)

    def objective(params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        total = 0.0
        for t in range(T):
            first = reached(t)
            start = {k: v[first - 1] for k, v in run.states.items()} if first else state
            given = {"x": inputs["x"][first : t + 1], "memory": inputs["memory"]}
            values = _run(attend, params, given, start, t + 1 - first, {})
            total = total + sum(np.sum(sent[k][t] * v[-1]) for k, v in values.items())
        return total

    along = np.random.default_rng(3).standard_normal(found.shape)
    assert np.sum(found * along) == pytest.approx(_slope(objective, groups, (1, "memory"), along), rel=1e-10)


def test_one_context_of_all_samples_and_one_sample_without_an_axis() -> None:
    params, inputs, state = data_of(attend, 4, 3)
    kernel = kernel_of(attend)
    alone = inputs["memory"][0]
    whole = inputs | {"memory": np.stack([alone] * 3)}
    sent = {"h": np.random.default_rng(0).standard_normal((4, 3, SIZES["n"]))}
    shared: Any = kernel.backward(kernel.forward(params, inputs | {"memory": alone}, state), sent)
    each: Any = kernel.backward(kernel.forward(params, whole, state), sent)
    np.testing.assert_allclose(shared.contexts["memory"], each.contexts["memory"].sum(0), rtol=1e-13)
    for name, value in each.params.items():
        np.testing.assert_array_equal(shared.params[name], value)
    one: Any = kernel.backward(
        kernel.forward(params, {"x": inputs["x"][:, 0], "memory": alone}, {"h": state["h"][0]}), {"h": sent["h"][:, 0]}
    )
    np.testing.assert_allclose(one.contexts["memory"], each.contexts["memory"][0], rtol=1e-13)


def test_a_loss_its_value_and_what_it_predicts() -> None:
    params, inputs, state = data_of(MODEL, 4, 3)
    targets = {"y": np.random.default_rng(5).standard_normal((4, 3, SIZES["n"]))}

    def objective(params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        values = _run(attend, {k: v for k, v in params.items() if k != "V"}, inputs, state, 4, {})
        e = values["h"] + values["read"] @ params["V"].T - targets["y"]
        return np.sum(e * e) / 2 / 12

    for options in ({}, {"memory": "sqrt"}, {"truncation": sb.Chunked(2, 9)}):
        loss, grads = kernel_of(MODEL, **options).value_and_grad(params, inputs, targets, state)
        assert loss == pytest.approx(objective(params, inputs, state), rel=1e-12)
        for place, found in (((1, "memory"), grads.contexts), ((0, "Wk"), grads.params), ((2, "h"), grads.state)):
            along = np.random.default_rng(7).standard_normal(found[place[1]].shape)
            slope = _slope(objective, (params, inputs, state), place, along)
            assert np.sum(found[place[1]] * along) == pytest.approx(slope, rel=1e-10)
    kernel = kernel_of(MODEL)
    assert kernel.value(params, inputs, targets, state) == pytest.approx(loss, rel=1e-12)
    values = _run(attend, {k: v for k, v in params.items() if k != "V"}, inputs, state, 4, {})
    guess = kernel.predict(params, inputs, state)["guess"]
    np.testing.assert_allclose(guess, values["h"] + values["read"] @ params["V"].T, rtol=1e-12)
    by_sample = kernel.grad_per_sample(params, inputs, targets, state)
    np.testing.assert_allclose(
        by_sample["Wk"].sum(0), kernel.value_and_grad(params, inputs, targets, state)[1].params["Wk"], rtol=1e-11
    )
    only = kernel.value_and_grad(params, inputs, targets, state, wrt=("memory",))[1]
    np.testing.assert_allclose(only.contexts["memory"], grads.contexts["memory"], rtol=1e-11)
    assert not only.params and not only.inputs


def test_steps_that_run_one_by_one_hold_the_context() -> None:
    params, inputs, state = data_of(attend, 3, 2)
    kernel = kernel_of(attend)
    run, step = kernel.forward(params, inputs, state), kernel.stepper(params, {"memory": inputs["memory"]})
    now = state
    for t in range(3):
        now, outputs = step({"x": inputs["x"][t]}, now)
        np.testing.assert_allclose(now["h"], run.states["h"][t], rtol=1e-13)
        np.testing.assert_allclose(outputs["read"], run.outputs["read"][t], rtol=1e-13)


def test_single_precision_stays() -> None:
    double = data_of(attend, 4, 2)
    single = data_of(attend, 4, 2, np.float32)
    kernel, sent = kernel_of(attend), np.ones((4, 2, SIZES["n"]))
    wide: Any = kernel.backward(kernel.forward(*double), {"h": sent})
    narrow: Any = kernel.backward(kernel.forward(*single), {"h": sent.astype(np.float32)})
    assert narrow.contexts["memory"].dtype == np.float32
    np.testing.assert_allclose(narrow.contexts["memory"], wide.contexts["memory"], atol=1e-4)


def test_a_context_is_held_once_and_its_products_leave_the_loop() -> None:
    sizes = {"m": 2, "n": 8, "k": 32, "s": 200}
    params, inputs, state = data_of(attend, 40, 4, sizes=sizes)
    kernel = own_kernel_of(attend)
    text = kernel.source
    body = text[text.index("def _forward") :]
    assert body.index("Wk.T") < body.index("for lo in range")
    assert kernel.module is not None  # loaded before memory is counted
    tracemalloc.start()
    kernel.backward(kernel.forward(params, inputs, state), {"h": np.ones((40, 4, 8))})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        peak < 12 * inputs["memory"].nbytes
    )  # forty times as much if steps had one each, and as much again for its gradients
    assert kernel.plan.peak(40, 4, **sizes) == pytest.approx(peak, rel=0.1)


def test_pages_say_what_is_computed_once() -> None:
    text = sb.derive(attend).text()
    for line in ("keys       = memory Wkᵀ", "dkeys = Σ_t", "dWk     = dkeysᵀ memory", "dmemory = dkeys Wk + Σ_t"):
        assert line in text, text
    assert "Gradients of the parameters and contexts" in text


def test_a_sum_over_steps_that_is_wrong_is_caught() -> None:
    kernel = kernel_of(attend)
    line = next(text for text in kernel.source.splitlines() if text.strip().startswith("np.add(dkeys, "))
    wrong = kernel.source.replace(line, line.replace("np.add(dkeys, ", "np.multiply(0.5, "))
    check(attend, sb.Kernel(attend, kernel.program, kernel.source), 3, 2)
    with pytest.raises(AssertionError, match="memory"):
        check(attend, sb.Kernel(attend, kernel.program, wrong), 3, 2)


@pytest.mark.long
def test_verify_compares_contexts_as_states_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    report = sb.verify(scaled)
    assert report.passed
    assert "as states that stay" in str(report)
    assert sb.verify(kernel_of(scaled, truncation=sb.Chunked(3, 1))).passed
    monkeypatch.setattr(sweep, "total", lambda s, node, out, add: total(s, node, out, False))
    assert {"dgain_0", "dw"} <= {*sb.verify(scaled).wrong}


@pytest.mark.long
@pytest.mark.proof
@pytest.mark.parametrize("target", [attend, looked_up, MODEL], ids=lambda target: target.name)
@pytest.mark.thinned(1, 2)
def test_verify_proves_contexts(target: Any) -> None:
    report = sb.verify(target, proof=True)
    assert report.passed
    assert report.proof is not None
    assert {line.note for line in report.proof.lines} == {""}
    if isinstance(target, sb.Cell):
        assert "norm of dh" in {block for line in report.proof.lines for block in line.blocks}


def test_errors_say_what_to_write() -> None:
    params, inputs, state = data_of(attend, 3, 2)
    kernel = kernel_of(attend)
    with pytest.raises(sb.ArgumentError, match="input 'memory' is missing"):
        kernel.forward(params, {"x": inputs["x"]}, state)
    with pytest.raises(sb.ArgumentError, match=r"memory: \(B, s, k\) is expected"):
        kernel.forward(params, inputs | {"memory": inputs["memory"][None]}, state)
    with pytest.raises(sb.ArgumentError, match=r"memory: .* is expected"):
        kernel.forward(params, inputs | {"memory": inputs["memory"][:1]}, state)
    with pytest.raises(sb.ArgumentError, match="context 'memory' is missing"):
        kernel.stepper(params)
    for asked in (
        sb.c_source,
        lambda cell: sb.exponent_gradient(cell, params, inputs),
        lambda cell: sb.init_for_horizon(cell, 20),
    ):
        with pytest.raises(
            sb.CellError, match=r"has the context 'memory'[\s\S]*context_cells.py[\s\S]*Input\[\"s k\"\]"
        ):
            asked(attend)
    with pytest.raises(sb.CellError, match=r"Context is a role of cells[\s\S]*read weight as an Output"):

        @sb.loss
        def wrong(h: State["n"], memory: Context["s k"]):
            return sb.sum(h) + sb.sum(memory)


def _backward(params: Arrays, inputs: Arrays, state: Arrays, sent: Arrays) -> Arrays:
    kernel = kernel_of(scaled)
    grads: Any = kernel.backward(kernel.forward(params, inputs, state, steps=len(sent["h"])), sent)
    return grads.params | grads.contexts | grads.state


def test_a_backward_pass_of_ones_own_is_asked_for_contexts() -> None:
    assert sb.check_backward(scaled, _backward).passed

    def halved(*groups: Arrays) -> Arrays:
        found = _backward(*groups)
        return found | {"gain": found["gain"] / 2}

    report = sb.check_backward(scaled, halved)
    assert report.wrong == ("dgain_0",)
    assert "dgain_0 is half of what it should be" in str(report)
    with pytest.raises(sb.ArgumentError, match="no gradient of rate"):
        sb.check_backward(scaled, lambda *groups: {k: v for k, v in _backward(*groups).items() if k != "rate"})


def test_jacobians_by_contexts_are_those_of_the_function() -> None:
    params, inputs, state = data_of(attend, 3, 1)
    one, h = {"x": inputs["x"][0, 0], "memory": inputs["memory"][0]}, state["h"][0]
    derived = sb.derive(attend)
    for to, of in (("h", "memory"), ("read", "memory"), ("h", "h")):
        found = derived.jacobian(to, of).evaluate(params, one, {"h": h})
        given: Arrays = params | one | {"h": h}
        for i in np.ndindex(given[of].shape):
            moved = np.zeros(given[of].shape, complex)
            moved[i] = 1j * STEP
            values: Any = attend.function(**given | {of: given[of] + moved})
            np.testing.assert_allclose(found[(..., *i)], np.imag(values[to]) / STEP, rtol=1e-12, atol=1e-15)
    run = kernel_of(attend).forward(params, inputs, state)
    paths = derived.paths("h", "h", 2).evaluate(
        params, {"x": inputs["x"][:, 0], "memory": inputs["memory"][0]}, {"h": h}
    )
    steps = [
        derived.jacobian().evaluate(
            params, one | {"x": inputs["x"][t, 0]}, {"h": run.states["h"][t - 1, 0] if t else h}
        )
        for t in range(3)
    ]
    np.testing.assert_allclose(paths.total, [steps[1] @ steps[0], steps[2] @ steps[1]], rtol=1e-11, atol=1e-14)
    assert "memory_t" not in derived.jacobian("h", "h").text() + str(derived.paths("h", "memory"))


@sb.cell
def attend_anew(x: Input["m"], h: State["n"], memory: Input["s k"], W: Param["n m"], U: Param["n n"], Wk: Param["n k"], C: Param["n k"]):  # fmt: skip
    return attend.function(x, h, memory, W, U, Wk, C)


def test_analyses_are_those_of_a_cell_that_is_given_the_same_at_each_step() -> None:
    params, inputs, state = data_of(attend, 24, 2)
    alone = inputs | {"memory": inputs["memory"][0]}
    anew = [
        {**given, "memory": np.broadcast_to(given["memory"], (24, 2, *SIZES_OF_MEMORY))} for given in (inputs, alone)
    ]
    for given, other in zip((inputs, alone), anew, strict=True):
        found, wanted = (sb.lyapunov_spectrum(c, params, x, state) for c, x in ((attend, given), (attend_anew, other)))
        np.testing.assert_allclose(found.exponents, wanted.exponents, rtol=1e-9)
    found, wanted = (sb.gradient_flow(c, params, x, None, state) for c, x in ((attend, inputs), (attend_anew, anew[0])))
    np.testing.assert_allclose(found.norms, wanted.norms, rtol=1e-9)
    one = {"x": inputs["x"][0, 0], "memory": inputs["memory"][0]}
    points, others = (sb.fixed_points(c, params, one, seeds=8).points for c in (attend, attend_anew))
    np.testing.assert_allclose(points.states, others.states, rtol=1e-9)
    with pytest.raises(sb.ArgumentError, match=r"memory: an axis of 2 samples, or none,[\s\S]*got shape \(3, 5, 4\)"):
        sb.lyapunov_spectrum(attend, params, inputs | {"memory": np.zeros((3, 5, 4))})


@pytest.mark.long
def test_a_report_says_what_is_the_same_at_all_steps() -> None:
    text = str(sb.analyze(scaled, steps=30))
    assert "the factor rate (1 - h_t²)" in text and "rate_t" not in text


@sb.cell
def once(h: State["n"], gain: Context["n"], w: Param["n"]):
    return np.tanh(gain * w) * h


def test_slopes_of_contexts_keep_their_digits() -> None:
    w, gain = np.array([0.1, 20.0, -30.0]), np.ones((1, 3))
    kernel = kernel_of(once)
    grads: Any = kernel.backward(
        kernel.forward({"w": w}, {"gain": gain}, {"h": np.ones((1, 3))}, steps=1), {"h": np.ones((1, 3))}
    )
    np.testing.assert_allclose(grads.params["w"], 1 / np.cosh(w) ** 2, rtol=1e-14)


@sb.cell
def reader(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return np.tanh(W @ x + U @ h)


@sb.cell
def writer(x: Input["m"], h: State["n"], memory: Context["s n"], mask: Context["s"], U: Param["n n"], W: Param["n m"]):
    p = sb.softmax(memory @ h + mask)
    return np.tanh(U @ h + W @ x + p @ memory)


def test_a_decoder_reads_all_steps_of_its_encoder() -> None:
    net = sb.encoder_decoder(reader, writer, contexts={"memory": "h"})
    random = np.random.default_rng(0)
    params = {k: random.standard_normal(v.shape) for k, v in net.init({"m": 2, "n": 3, "s": 4}).items()}
    lengths = np.array([4, 2])
    mask = np.where(np.arange(4) < lengths[:, None], 0.0, -9.0)
    inputs = {
        "encoder.x": random.standard_normal((4, 2, 2)),
        "decoder.x": random.standard_normal((3, 2, 2)),
        "decoder.mask": mask,
    }
    sent = {"decoder.h": random.standard_normal((3, 2, 3)), "encoder.h": random.standard_normal((4, 2, 3))}
    grads = net.backward(net.forward(params, inputs, lengths={"encoder": lengths}), sent)

    def objective(params: Arrays, inputs: Arrays) -> Any:
        total = 0.0
        for b in range(2):
            h, kept = np.zeros(3), []
            for t in range(4):
                h = (
                    np.tanh(params["encoder.W"] @ inputs["encoder.x"][t, b] + params["encoder.U"] @ h)
                    if t < lengths[b]
                    else h
                )
                kept.append(h)
                total = total + np.sum(sent["encoder.h"][t, b] * h)
            for t in range(3):
                data = {"x": inputs["decoder.x"][t, b], "memory": np.stack(kept), "mask": inputs["decoder.mask"][b]}
                h = writer.function(h=h, U=params["decoder.U"], W=params["decoder.W"], **data)
                total = total + np.sum(sent["decoder.h"][t, b] * h)
        return total

    found = grads.params | grads.inputs | grads.contexts
    assert {*found} == {*params, *inputs}
    for place, group in enumerate((params, inputs)):
        for name in group:
            along = random.standard_normal(group[name].shape)
            slope = _slope(objective, (params, inputs), (place, name), along)
            assert np.sum(found[name] * along) == pytest.approx(slope, rel=1e-10), name
    with pytest.raises(sb.ArgumentError, match=r"inputs: decoder.memory is what the encoder gives"):
        net.forward(params, inputs | {"decoder.memory": np.zeros((2, 4, 3))})
    with pytest.raises(sb.ArgumentError, match=r"contexts: 'memo' is no context of the decoder[\s\S]*'memory'"):
        sb.encoder_decoder(reader, writer, contexts={"memo": "h"})
    with pytest.raises(sb.ArgumentError, match="contexts: 'g' is no state and no output of the encoder"):
        sb.encoder_decoder(reader, writer, contexts={"memory": "g"})


def test_two_directions_and_no_axis_of_samples() -> None:
    both = sb.encoder_decoder(sb.bidirectional(reader, reader), writer, {"h": "forward.h"}, {"memory": "backward.h"})
    random = np.random.default_rng(1)
    params = {k: random.standard_normal(v.shape) for k, v in both.init({"m": 2, "n": 3, "s": 4}).items()}
    inputs = {
        "encoder.x": random.standard_normal((4, 2)),
        "decoder.x": random.standard_normal((3, 2)),
        "decoder.mask": np.zeros(4),
    }
    sent = {"decoder.h": random.standard_normal((3, 3)), "encoder.backward.h": random.standard_normal(3)}
    grads = both.backward(both.forward(params, inputs), sent)

    def value(x: Any) -> float:
        states = both.forward(params, inputs | {"encoder.x": x}).states
        ends = states["encoder.backward.h"][0]  # of the direction that goes back the step that it takes last
        return float(np.sum(sent["decoder.h"] * states["decoder.h"]) + np.sum(sent["encoder.backward.h"] * ends))

    along = 1e-6 * random.standard_normal((4, 2))
    slope = (value(inputs["encoder.x"] + along) - value(inputs["encoder.x"] - along)) / 2
    assert np.sum(grads.inputs["encoder.x"] * along) == pytest.approx(slope, rel=1e-6)


def test_tangents_of_contexts_and_hessians_with_them() -> None:
    params, inputs, state = data_of(attend, 4, 2)
    kernel = kernel_of(attend)
    dots = {k: np.random.default_rng(9).standard_normal(v.shape) for k, v in {**inputs, "Wk": params["Wk"]}.items()}
    _, found = kernel.jvp(params, inputs, state, dots)
    moved = [{k: v + 1j * STEP * dots[k] if k in dots else v for k, v in group.items()} for group in (params, inputs)]
    for name, value in _run(attend, *moved, state, 4, {}).items():
        np.testing.assert_allclose(
            {**found.states, **found.outputs}[name], np.imag(value) / STEP, rtol=1e-10, atol=1e-12
        )
    alone = inputs | {"memory": inputs["memory"][0]}
    shared, _ = kernel.jvp(params, alone, state, {"memory": dots["memory"][0]})
    np.testing.assert_allclose(shared.states["h"], kernel.forward(params, alone, state).states["h"], rtol=1e-13)
    model = kernel_of(MODEL)
    params, inputs, state = data_of(MODEL, 3, 2)
    targets, direction = {"y": np.ones((3, 2, SIZES["n"]))}, {"Wk": dots["Wk"]}
    product = model.hvp(params, inputs, targets, state, direction)

    def slope(sign: float) -> Any:
        near = params | {"Wk": params["Wk"] + sign * 1e-5 * dots["Wk"]}
        return model.value_and_grad(near, inputs, targets, state)[1].params["C"]

    np.testing.assert_allclose(product["C"], (slope(1) - slope(-1)) / 2e-5, rtol=1e-5, atol=1e-8)


def test_both_directions_read_one_context() -> None:
    params, inputs, _ = data_of(attend, 4, 2)
    net, kernel = sb.bidirectional(attend), kernel_of(attend)
    sent = np.random.default_rng(4).standard_normal((4, 2, SIZES["n"]))
    both = {f"{way}.{k}": v for way in ("forward", "backward") for k, v in params.items()}
    found = net.backward(net.forward(both, inputs), {"forward.h": sent, "backward.h": sent})
    one: Any = kernel.backward(kernel.forward(params, inputs), {"h": sent})
    other: Any = kernel.backward(kernel.forward(params, inputs, reverse=True), {"h": sent})
    np.testing.assert_allclose(found.contexts["memory"], one.contexts["memory"] + other.contexts["memory"], rtol=1e-13)
