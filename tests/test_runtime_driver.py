"""The public functions of a module, on a cell that is written by hand, against loops over samples and steps: whole runs,
pieces that are run again, losses that reach so far and no further."""

from typing import Any

import numpy as np
import pytest

from symbptt.codegen.runtime import driver
from tests.by_hand import assert_close, by_name, data, derivatives, guesses, module, states, value

T, B = 5, 3
LENGTHS = np.array([4, 0, 2])
RESET = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 1]], bool)
MASKS: dict[str, dict[str, Any]] = {
    "whole": {},
    "lengths": {"lengths": LENGTHS},
    "resets": {"reset": RESET},
    "both": {"lengths": LENGTHS, "reset": RESET},
}
KINDS = ("whole", "root", "limit")
SLOT = 2**9


def made(run: str, at: str = "every", **settings: Any) -> Any:
    """A module; within a limit it takes pieces of two steps and two slots."""
    settings |= {"_needed": lambda steps, *_: 1000 * steps, "SLOT": 0, "MEMORY": 2100} if run == "limit" else {}
    return module(run, at, **settings)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("run", ["whole", "root"])
def test_loss_and_gradients_are_those_of_loops(run: str, at: str, masks: str) -> None:
    given = data(T, B, at=at)
    for reduction in ("sum", "mean"):
        found, grads = made(run, at, REDUCTION=reduction).value_and_grad(*given, monitor=True, **MASKS[masks])
        of = lambda groups: value(groups, at, reduction == "mean", **MASKS[masks])  # noqa: B023, E731
        np.testing.assert_allclose(found, value(given, at, reduction == "mean", **MASKS[masks]), rtol=1e-12)
        assert_close(by_name(grads), derivatives(of, given))
        assert grads.flow["h"].shape == (T,)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("run", ["whole", "root", "limit", "window"])
def test_loss_alone_and_what_it_predicts_are_those_of_loops(run: str, at: str, masks: str) -> None:
    given = data(T, B, at=at)
    for pieces in (1, 2, 100):  # several pieces, a last short one, and one
        m = made(run, at, REDUCTION="mean", _steps=lambda *_: pieces)  # noqa: B023
        found = m.value(*given, **MASKS[masks])
        np.testing.assert_allclose(found, value(given, at, True, **MASKS[masks]), rtol=1e-12)
        told = m.predict(given[0], given[1], given[3], **MASKS[masks])
        np.testing.assert_allclose(told["guess"], guesses(given, at, **MASKS[masks]), rtol=1e-12)


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("at", ["every", "last"])
def test_loss_alone_of_one_sample_without_a_batch_axis(at: str, steps: int) -> None:
    given = data(steps, 1, 1, at, np.float32)
    inputs, state = {"x": given[1]["x"][:, 0]}, {"h": given[3]["h"][0]}
    goal = {"goal": given[2]["goal"][:, 0] if at == "every" else given[2]["goal"][0]}
    m = made("whole", at)
    found = m.value(given[0], inputs, goal, state)
    np.testing.assert_allclose(found, value(given, at), rtol=1e-6)
    assert found.dtype == np.float32
    told = m.predict(given[0], inputs, state)["guess"]
    wanted = guesses(given, at)
    np.testing.assert_allclose(told, wanted[:, 0] if at == "every" else wanted[0], rtol=1e-6)
    assert told.dtype == np.float32


@pytest.mark.parametrize(
    ("at", "right", "wrong"),
    [
        ("every", "_kept(self.counted[s:e], loss) * self.weights[s:e]", "loss * self.weights[s:e]"),
        ("every", "room[lo:hi] = _kept(_cut(call.active, lo, hi), v)", "room[lo:hi] = v"),
        ("every", "start = _final(states, start, _cut(call.active, lo, hi))\n        call.ws", "call.ws"),
        ("last", "{k: _kept(self.loss.counted, v) for", "{k: v for"),
    ],
)
def test_planted_mistake_in_a_loss_alone_is_caught(at: str, right: str, wrong: str) -> None:
    given, kinds = data(T, B, at=at), {"lengths": np.array([2, 0, 4])}
    settings = {
        "REDUCTION": "mean",
        "_steps": lambda *_: 2,
        "_weights": lambda counted, dtype: np.full(counted.shape, 1 / counted.sum()),
    }
    m = module("whole", at, planted=(right, wrong), **settings)
    with np.errstate(all="ignore"), pytest.raises(AssertionError):
        np.testing.assert_allclose(m.value(*given, **kinds), value(given, at, True, **kinds), rtol=1e-9)
        told = m.predict(given[0], given[1], given[3], **kinds)["guess"]
        np.testing.assert_allclose(told, guesses(given, at, **kinds), rtol=1e-9)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("run", ["whole", "root", "chunked", "window"])
def test_run_and_its_gradients_are_those_of_loops(run: str, masks: str) -> None:
    given = data(T, B)
    params, inputs, _, state = given
    m, kinds, random = made(run, CHUNK=2, REACH=9, SPAN=9), MASKS[masks], np.random.default_rng(1)
    ran = m.forward(params, inputs, state, **kinds)
    sent = {k: random.standard_normal(v.shape) for k, v in (ran.states | ran.outputs).items()}

    def total(groups: Any) -> Any:
        found = 0.0
        for b in range(B):
            end = int(kinds.get("lengths", [T] * B)[b])
            rows = states(
                groups[0]["w"], groups[1]["x"][:end, b], groups[3]["h"][b], RESET[:, b] if "reset" in kinds else None
            )
            rows += [rows[-1] if rows else groups[3]["h"][b]] * (T - end)
            found = found + sum((sent["h"][t, b] * rows[t]).sum() for t in range(T))
            found = found + sum((sent["y"][t, b] * rows[t] ** 2).sum() for t in range(end))
        return found

    for b in range(B):
        end = int(kinds.get("lengths", [T] * B)[b])
        rows = states(params["w"], inputs["x"][:end, b], state["h"][b], RESET[:, b] if "reset" in kinds else None)
        np.testing.assert_allclose(ran.states["h"][:end, b], np.reshape(rows, (end, 2)))
        assert not ran.outputs["y"][end:, b].any()
    wanted = {k: v for k, v in derivatives(total, given).items() if k != "v"}
    assert_close(by_name(m.backward(ran, sent)), wanted)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("run", ["whole", "root", "limit", "chunked", "window"])
@pytest.mark.parametrize("at", ["every", "last"])
def test_few_steps_one_sample_and_one_number_are_no_exception(at: str, run: str, steps: int) -> None:
    given = data(steps, 1, 1, at)
    found, grads = made(run, at, CHUNK=2, REACH=9, SPAN=9).value_and_grad(*given)
    np.testing.assert_allclose(found, value(given, at))
    assert_close(by_name(grads), derivatives(lambda groups: value(groups, at) + 0j, given))


@pytest.mark.parametrize("masks", ["whole", "both"])
@pytest.mark.parametrize("at", ["every", "last"])
def test_pieces_give_what_the_whole_gives(at: str, masks: str) -> None:
    given = data(11, B, at=at, dtype=np.float32)
    kinds = {k: np.concatenate([v, v, v])[:11] if k == "reset" else v + 5 for k, v in MASKS[masks].items()}
    wanted, whole = module("whole", at).value_and_grad(*given, **kinds)
    for run in ("root", "limit"):
        found, grads = made(run, at).value_and_grad(*given, **kinds)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert_close(by_name(grads), by_name(whole), 2e-5)
        np.testing.assert_array_equal(grads.final["h"], whole.final["h"])
        assert all(v.dtype == np.float32 for v in by_name(grads).values())


def truncated(given: Any, reaches: Any) -> dict[str, Any]:
    """Gradients where the loss of step t flows back to step `reaches(t)`, and not at all where that is behind t."""
    params, inputs, targets, state = given
    w, v, x, h0 = params["w"], params["v"], inputs["x"], state["h"]
    h = np.stack([states(w, x[:, b], h0[b]) for b in range(x.shape[1])], 1)
    before = np.concatenate([h0[None], h[:-1]])
    error = v * h - targets["goal"]
    found = {"w": np.zeros_like(w), "v": 0.0, "x": np.zeros_like(x), "h": np.zeros_like(h0)}
    for t in range(len(x)):
        first = reaches(t)
        found["v"] += (error[t] * h[t]).sum() if first <= t else 0
        for s in range(first, t + 1):
            dh = error[t] * v * w ** (t - s)
            found["x"][s] += dh
            found["w"] += (dh * before[s]).sum(0)
            found["h"] += dh * w if s == 0 else 0
    return found


@pytest.mark.parametrize("span", [1, 2, 3, 7])
def test_window_sends_each_loss_through_so_many_steps(span: int) -> None:
    given = data(7, 2)
    _, grads = module("window", SPAN=span).value_and_grad(*given)
    assert_close(by_name(grads), truncated(given, lambda t: max(t - span + 1, 0)))


@pytest.mark.parametrize(("chunk", "reach"), [(1, 1), (2, 2), (2, 5), (3, 2), (4, 9)])
def test_chunks_send_their_losses_as_far_as_they_reach(chunk: int, reach: int) -> None:
    given = data(7, 2)
    _, grads = module("chunked", CHUNK=chunk, REACH=reach).value_and_grad(*given)
    ends = {t: min((t // chunk + 1) * chunk, 7) for t in range(7)}
    assert_close(by_name(grads), truncated(given, lambda t: max(ends[t] - reach, 0)))


@pytest.mark.parametrize("run", KINDS)
def test_arrays_without_a_batch_axis_give_gradients_without_one(run: str) -> None:
    given = data(T, 1)
    plain = [given[0], {"x": given[1]["x"][:, 0]}, {"goal": given[2]["goal"][:, 0]}, {"h": given[3]["h"][0]}]
    wanted, grads = made(run).value_and_grad(*given)
    found, single = made(run).value_and_grad(*plain)
    assert found == wanted and single.inputs["x"].shape == (T, 2) and single.final["h"].shape == (2,)
    np.testing.assert_array_equal(single.inputs["x"], grads.inputs["x"][:, 0])


PLANTED = [
    ("whole", "every", "        weights = self.weights[lo:hi]\n", "        weights = np.ones((hi - lo, call.B))\n"),
    (
        "whole",
        "every",
        "(_added(params, loss.own), inputs, state, resets)",
        "(params | loss.own, inputs, state, state)",
    ),
    ("root", "every", "carry or behind", "behind"),
    ("root", "every", "sums[0][k] + v if k in sums[0] else v", "v"),
    ("root", "last", "start = _final(states, start, _cut(call.active, first, end))", "pass"),
    ("root", "last", "        loss.note(states | outputs, first, end)\n", ""),
    ("root", "every", "_held(a[k][lo:hi], active[lo:hi].sum(0))", "a[k][lo:hi] * np.nan"),
]


@pytest.mark.parametrize(("run", "at", "right", "wrong"), PLANTED)
def test_planted_mistake_is_caught(run: str, at: str, right: str, wrong: str) -> None:
    given, kinds = data(T, B, at=at), {"lengths": np.array([2, 3, 4])}
    m = module(run, at, planted=(right, wrong), REDUCTION="mean")
    with np.errstate(all="ignore"):
        found, grads = m.value_and_grad(*given, **kinds)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, value(given, at, True, **kinds), rtol=1e-9)
        assert_close(by_name(grads), derivatives(lambda groups: value(groups, at, True, **kinds), given))


def test_planted_reach_is_caught() -> None:
    given = data(7, 2)
    m = module("chunked", planted=("max(hi - REACH, 0)", "max(hi - REACH - 1, 0)"), CHUNK=2, REACH=3)
    with pytest.raises(AssertionError):
        assert_close(by_name(m.value_and_grad(*given)[1]), truncated(given, lambda t: max((t // 2 + 1) * 2 - 3, 0)))


def test_file_itself_runs_the_cell_by_hand() -> None:
    given = data(T, B)
    found, grads = driver.value_and_grad(*given, **MASKS["both"])
    wanted, same = module().value_and_grad(*given, **MASKS["both"])
    assert found == wanted
    assert all(np.array_equal(by_name(grads)[k], v) for k, v in by_name(same).items())


# What is refused.


@pytest.mark.parametrize("run", ["whole", "root", "chunked"])
def test_bad_calls_are_refused(run: str) -> None:
    m, (params, inputs, targets, state) = made(run), data(T, B)
    ran = m.forward(params, inputs, state)
    for call, words in [
        (lambda: m.value_and_grad(params, inputs, targets, state, monitor=1), "monitor is True or False, got 1"),
        (lambda: m.value_and_grad(params, inputs, None, state), "target 'goal' is missing"),
        (
            lambda: m.forward(params, inputs, state, lengths=[9] * B),
            r"lengths: \(3,\) integers from 0 to 5 are expected",
        ),
        (
            lambda: m.forward(params, inputs, state, reset=RESET[:2]),
            r"reset: a bool array of shape \(5, 3\) is expected",
        ),
        (lambda: m.forward(params, inputs, state, workspace=3), "workspace: a Workspace of this module is expected"),
        (lambda: m.backward(3, {}), "run: what forward of this module returns is expected, got int"),
        (lambda: m.backward(ran, {"z": 1}), "state or output 'z' is not known; expected h, y"),
        (lambda: m.backward(ran, {"h": np.ones((T, B, 2), np.float32)}), "h: a cotangent of float64 is expected"),
        (lambda: m.backward(ran, {"h": np.full((T, B, 2), np.nan)}), "h: nan at step 0, sample 0"),
    ]:
        with pytest.raises(m.ArgumentError, match=words):
            call()


def test_number_that_is_none_is_told_at_its_step_in_every_way_to_run() -> None:
    params, inputs, targets, state = data(T, B)
    inputs["x"][3, 1, 0] = np.inf
    for run in ("whole", "root", "limit"):
        with pytest.raises(ValueError, match=r"x: inf at step 3, sample 1 \(index \(3, 1, 0\)\)"):
            made(run).value_and_grad(params, inputs, targets, state, lengths=np.array([5, 5, 1]))
        made(run).value_and_grad(params, inputs, targets, state, lengths=np.array([5, 3, 1]))


def test_limit_that_cannot_be_kept_is_refused_with_the_least() -> None:
    m = module("limit", MEMORY=100)
    given = data(9, 2)
    with pytest.raises(m.ArgumentError) as caught:
        m.value_and_grad(*given)
    least = m._needed(1, 9, 2, 8, {"n": 2}, True, 0) + 2 * 8 * 2 + SLOT
    assert f"T = 9 and B = 2 take {least:,} bytes at the least, 100 are allowed" in str(caught.value)
    assert "forward and backward take" in str(caught.value)
    m = module("limit", MEMORY=least)
    np.testing.assert_allclose(m.value_and_grad(*given)[0], value(given, "every"))
