"""`sb.trace_gradient`: norms and shares against numbers by hand and the kernel's own, and where a gradient goes wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.commands.main import run as command
from symbptt.data.random_data import random_inputs, random_state
from symbptt.stability.runs.default_sizes import sizes_for
from symbptt.verification.adjoints import traced as masked
from symbptt.zoo import CELLS, gru, lstm
from tests import own_backward as own


@sb.cell
def scalar(x: Input, h: State, a: Param):
    return a * h + x


@sb.cell
def two_paths(x: Input, h: State, a: Param, w: Param):
    z = np.tanh(w * h + x)
    return a * h + z


@sb.cell
def rooted(x: Input, h: State):
    r = np.sqrt(h)
    return 0.5 * r + x


@sb.cell
def unnamed(x: Input, h: State):
    return np.sqrt(h * x)


def traced(cell: Any, params: Any, x: Any, cotangents: Any, state: Any = None, **options: Any) -> Any:
    kernel = sb.compile(cell)
    return sb.trace_gradient(kernel, kernel.forward(params, {"x": x}, state), cotangents, **options)


def test_norm_that_falls_below_and_rises_above_is_told_at_its_step() -> None:
    """dh at step t of T is a**(T - t): with a = 1/2 under 1e-3 from 10 steps before the last, with a = 10 over 1e3 from 4."""
    x, last = np.zeros(20), {"h": np.array(1.0)}
    found = traced(scalar, {"a": np.array(0.5)}, x, last, below=1e-3)
    assert (found.first.kind, found.first.step, found.first.variable) == ("below", 10, "h")
    np.testing.assert_allclose(found.norms["h"], 0.5 ** np.arange(19, -1, -1.0), rtol=1e-14)
    found = traced(scalar, {"a": np.array(10.0)}, x, last, above=1e3)
    assert (found.first.kind, found.first.step) == ("above", 16)
    assert "dh_t rises above 1e+03" in str(found) and "4 steps before the last" in str(found)
    assert traced(scalar, {"a": np.array(0.9)}, x, last).first is None


def test_thresholds_are_relative_to_the_largest_cotangent_given() -> None:
    x = np.zeros(20)
    one, many = (traced(scalar, {"a": np.array(0.5)}, x, {"h": np.array(s)}, below=1e-3) for s in (1.0, 1e6))
    assert one.first.step == many.first.step and many.unit == 1e6


def test_shares_are_those_by_hand() -> None:
    """Of dh_{t-1} = (a + w (1 - z²)) dh_t the direct path has a, the other one the rest."""
    a, w, x = 0.7, 0.4, np.array([0.3, -0.2, 0.5, 0.1])
    found = traced(two_paths, {"a": np.array(a), "w": np.array(w)}, x, {"h": np.array(1.0)}, {"h": np.array(0.2)})
    h, slopes = 0.2, []
    for value in x:
        z = np.tanh(w * h + value)
        slopes.append(w * (1 - z * z))
        h = a * h + z
    by = {path.route: path.shares for path in found.paths}
    assert set(by) == {"h_t → h_{t-1}", "h_t → z_t → h_{t-1}"}
    np.testing.assert_allclose(by["h_t → h_{t-1}"], a / (a + np.array(slopes)), rtol=1e-14)
    np.testing.assert_allclose(by["h_t → z_t → h_{t-1}"], slopes / (a + np.array(slopes)), rtol=1e-13)
    assert found.difference < 1e-14


def test_cotangent_that_is_infinite_is_found_with_its_line() -> None:
    """h = 0 at step 3 makes √h of step 4 zero, and its slope infinite; a value without a name is called by its formula."""
    x = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    kernel = sb.compile(rooted)
    # 0.5 √h + x is 0 for the second sample at step 3 alone where the state before is 0 too.
    run = kernel.forward({}, {"x": np.stack([x + 1, [1.0, -0.5, 0.0, 1.0, 1.0]], 1)}, {"h": np.array([1.0, 0.0])})
    found = sb.trace_gradient(kernel, run, {"h": np.ones(2)})
    event = found.first
    assert event.kind in ("infinite", "NaN") and event.step == 4 and event.variable == "h"
    assert "r = np.sqrt(h)" in event.place and "is 0" in event.text
    product = traced(unnamed, {}, np.array([1.0, 0.0]), {"h": np.array(1.0)}, {"h": np.array(1.0)})
    assert product.first.step == 2 and product.first.variable == "h_{t-1} x_t"
    assert "the gradient through 1 step, from" in traced(unnamed, {}, np.ones(1), {"h": np.array(1.0)}).text()


def test_overflow_of_the_cotangent_is_found() -> None:
    """1e160 squared leaves the range: two steps before the last, while the run itself is zero throughout."""
    found = traced(scalar, {"a": np.array(1e160)}, np.zeros(5), {"h": np.array(1.0)})
    assert (found.first.kind, found.first.step) == ("infinite", 4)
    assert {event.kind for event in found.events} == {"infinite", "above"}
    assert "not finite" in found.text()


def test_run_that_is_not_finite_is_told_before_its_gradient() -> None:
    with np.errstate(over="ignore"):
        found = traced(scalar, {"a": np.array(1e160)}, np.ones(5), {"h": np.array(1.0)})
    assert found.first.kind == "forward" and found.first.step == 3


MASKS = [(None, False), ([6, 4, 0], False), (None, True), ([6, 3, 1], True)]


def cases() -> list[Any]:
    """All cells of the zoo under all truncations and masks; a few by default."""
    rows = [(name, number) for name in sorted(CELLS) for number in range(4)]
    return [
        pytest.param(*row, marks=[] if row in {("lstm", 3), ("clockwork", 2), ("gru", 1)} else [pytest.mark.long])
        for row in rows
    ]


@pytest.mark.parametrize(("name", "number"), cases())
@pytest.mark.thinned(1, 37)
def test_paths_add_up_to_the_gradients_of_the_kernel(name: str, number: int) -> None:
    cell = CELLS[name]
    truncation = (None, sb.Window(3), sb.Chunked(2, 4), sb.Chunked(3, 2))[number]
    kernel, random = sb.compile(cell, truncation=truncation), np.random.default_rng(number)
    sizes = sizes_for(cell, {})
    params = cell.init(sizes, seed=1)
    inputs, state = random_inputs(cell.arguments, sizes, (6, 3), 2), random_state(cell.arguments, sizes, (3,), 3)
    for lengths, has_resets in MASKS:
        reset = random.random((6, 3)) < 0.3 if has_resets else None
        lengths = None if lengths is None else np.array(lengths)
        run = kernel.forward(params, inputs, state, steps=6, lengths=lengths, reset=reset)
        for last in (False, True):
            sent = {
                k: random.standard_normal(v.shape[1:] if last else v.shape)
                for k, v in (run.states | run.outputs).items()
            }
            found = sb.trace_gradient(kernel, run, sent)
            assert found.difference <= 1e-12
            for of in run.states:
                shares = np.array([path.shares for path in found.paths if path.state == of])
                whole = np.isfinite(shares).all(0) if len(shares) else np.zeros(6, bool)
                np.testing.assert_allclose(shares[:, whole].sum(0), 1.0, atol=1e-12)


def test_norms_of_states_are_those_of_the_monitor() -> None:
    kernel, random = sb.compile(lstm), np.random.default_rng(0)
    run = kernel.forward(lstm.init({"m": 2, "n": 5}, seed=0), {"x": random.standard_normal((9, 3, 2))})
    sent = {k: random.standard_normal(v.shape) for k, v in run.states.items()}
    found, flow = sb.trace_gradient(kernel, run, sent), kernel.backward(run, sent, monitor=True).flow
    assert list(found.norms)[:2] == list(run.states)
    # The monitor of c has what the cell gives as well, as the module's own total: it is compared where that is the same.
    np.testing.assert_allclose(found.norms["h"], flow["h"], rtol=1e-13)


def test_a_path_that_is_not_followed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: a sweep that loses one of the edges."""
    right = masked.pulled

    def losing(tape: Any, *arguments: Any, **options: Any) -> Any:
        found = right(tape, *arguments, **options)
        found[tape.recursion.step.leaves["h"]] = 0.5 * found[tape.recursion.step.leaves["h"]]
        return found

    monkeypatch.setattr(masked, "pulled", losing)
    kernel = sb.compile(gru)
    run = kernel.forward(gru.init({"m": 2, "n": 3}, seed=0), {"x": np.ones((4, 2, 2))})
    assert sb.trace_gradient(kernel, run, {"h": np.ones((2, 3))}).difference > 1e-3


@pytest.mark.parametrize("T", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edge_sizes_and_types(T: int, dtype: Any) -> None:
    kernel, random = sb.compile(own.two_states), np.random.default_rng(1)
    params = own.two_states.init({"m": 1, "n": 1}, seed=0, dtype=dtype)
    for lead in ((T, 1), (T,)):
        x = random.standard_normal((*lead, 1)).astype(dtype)
        run = kernel.forward(params, {"x": x})
        sent = {k: np.ones(v.shape[1:], dtype) for k, v in run.states.items()}
        found = sb.trace_gradient(kernel, run, sent)
        assert found.steps == T and found.difference <= (1e-5 if dtype == np.float32 else 1e-12)
        assert found.text() and json.dumps(found.numbers())


def test_outputs_are_traced_too() -> None:
    kernel, random = sb.compile(own.slots), np.random.default_rng(2)
    params = own.slots.init({"m": 3, "s": 4, "d": 2, "k": 2}, seed=0)
    run = kernel.forward(params, {"x": random.standard_normal((5, 2, 3))}, {"M": random.standard_normal((2, 4, 2))})
    found = sb.trace_gradient(kernel, run, {"y": random.standard_normal((5, 2, 2))})
    assert found.difference <= 1e-12
    assert "y_t → r_t → M_{t-1}" in {path.route for path in found.paths}
    assert "y_t → r_t → w_t → M_{t-1}" in {path.route for path in found.paths}


@pytest.mark.parametrize(("call", "said"), [
    (lambda k, r, d: sb.trace_gradient(gru, r, d), "takes a kernel, got Cell"),
    (lambda k, r, d: sb.trace_gradient(sb.compile(gru, clip_adjoint=1.0), r, d), "trace the kernel without clip_adjoint"),
    (lambda k, r, d: sb.trace_gradient(k, r.states, d), "write run = kernel.forward"),
    (lambda k, r, d: sb.trace_gradient(sb.compile(lstm), r, d), "run: what forward of this kernel returned is expected"),
    (lambda k, r, d: sb.trace_gradient(k, k.module.forward(gru.init({"m": 2, "n": 3}), {"x": np.ones((3, 2))}), d), "run: what forward of this kernel"),
    (lambda k, r, d: sb.trace_gradient(k, r, [d]), "cotangents"),
    (lambda k, r, d: sb.trace_gradient(k, r, {"g": 1.0}), "'g'"),
    (lambda k, r, d: sb.trace_gradient(k, r, d, below=0.0), "below and above are positive numbers"),
    (lambda k, r, d: sb.trace_gradient(k, r, d, below=2.0, above=1.0), "below < above"),
])  # fmt: skip
def test_what_cannot_be_traced_is_refused(call: Any, said: str) -> None:
    kernel = sb.compile(gru)
    run = kernel.forward(gru.init({"m": 2, "n": 3}), {"x": np.ones((3, 2))})
    with pytest.raises(sb.ArgumentError, match=said.replace("(", r"\(")):
        call(kernel, run, {"h": np.ones(3)})


def test_command_prints_a_table_and_writes_json(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["trace", "rnn", "--hidden", "4", "--steps", "12", "-o", str(tmp_path / "t.json")]) == 0
    out = capsys.readouterr().out
    assert "‖dh_t‖" in out and "h_t → h_{t-1}" in out and "the paths add up to the gradients of the kernel" in out
    numbers = json.loads((tmp_path / "t.json").read_text())
    assert numbers["steps"] == 12 and len(numbers["norms"]["h"]) == 12
    (tmp_path / "data.csv").write_text("a,b\n" + "\n".join(f"{i},{i % 3}" for i in range(8)))
    assert command(["trace", "rnn", "--hidden", "4", "--data", str(tmp_path / "data.csv"), "--below", "0.5"]) == 0
    assert "through 8 steps" in capsys.readouterr().out
    assert command(["trace", "rnn", "--data", str(tmp_path / "data.csv"), "--steps", "3"]) == 2


@pytest.mark.long
def test_document_prints_what_it_says(tmp_path: Any) -> None:
    text = (Path(sb.__file__).parents[1] / "docs" / "checking.md").read_text(encoding="utf-8")
    blocks_ = re.findall(r"```(python|text)\n(.*?)\n```", text, re.DOTALL)
    pairs = list(zip(blocks_[::2], blocks_[1::2], strict=True))
    assert len(pairs) == 3
    for (_, source), (_, printed) in pairs:
        (tmp_path / "example.py").write_text(source + "\n", encoding="utf-8")
        out = subprocess.run(
            [sys.executable, "example.py"], capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, check=True
        ).stdout
        # The last digits of rounding differ between machines.
        assert re.sub(r"to \de-\d+$", "", out.rstrip()) == re.sub(r"to \de-\d+$", "", printed)
