"""A module that checks itself: right ones pass with every option, wrong edits do not, what cannot be told is said."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

import symbptt as sb
from symbptt import Chunked, Const, Index, Input, Param, State, Target, Window
from symbptt.codegen.load import load
from symbptt.verification.proof.general_loss import general_loss
from symbptt.zoo import CELLS as ZOO
from symbptt.zoo import alif, delay_rnn, lif, lstm, min_gru
from tests.kernels import kernel_of

pytestmark = pytest.mark.filterwarnings("error::numpy.exceptions.ComplexWarning")
OPTIONS: list[dict[str, Any]] = [
    {}, {"memory": "sqrt"}, {"memory": 10**9}, {"truncation": Window(2)}, {"truncation": Chunked(2, 3)},
    {"truncation": Chunked(3, 2)}, {"clip_adjoint": 0.1},
]  # fmt: skip


def checked(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a module's check of itself, and what it prints."""
    module = load(text, str(folder / "module.py"))
    told = [vars(module)[name] for name in ("_of_values", "_of_loss") if name in vars(module)]
    return module._selfchecked(
        text.splitlines(keepends=True), hashlib.sha256, vars(module), *told
    ), capsys.readouterr().out


@sb.cell
def looked_up(
    i: Index["v"], keep: Input["n"], h: State["n"], E: Param["n v"], U: Param["n n"], dt: Const["n"], leak: Const = 0.3
):
    """An index, a mask, a constant of the call, and one of the module."""
    return leak * keep * h + (1 - leak) * dt * np.tanh(E[:, i] + U @ h)


@sb.cell
def logarithms(x: Input["n"], h: State["n"], w: Param["n"]):
    """Its values exist for positive numbers alone."""
    return np.log(x) * w / (1 + np.sqrt(h)) + 2


TABLE = np.linspace(-1, 1, 6).reshape(2, 3)


@sb.cell
def of_a_constant(x: Input["m"], h: State["n"], W: Param["n m"], K: Const["k m"] = TABLE):
    """A constant whose shape tells a size, and a slice that needs another to be large."""
    return np.tanh(W @ x + np.sum(K @ x) * h) + np.sum(h[1:])


@sb.cell
def single(x: Input, h: State, w: Param):
    return np.abs(w * h) + x


@pytest.mark.parametrize(
    "cell", [looked_up, logarithms, of_a_constant, single, min_gru, delay_rnn], ids=lambda c: c.name
)
def test_a_right_module_passes(cell: sb.Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = checked(kernel_of(cell).source, tmp_path, capsys)
    assert code == 0 and "selfcheck passed" in text, text
    for a in cell.arguments:
        assert ((f"\nd{a.name} " in text) or (f"\nd{a.name}_0 " in text)) == (a.role in ("param", "input", "state"))


@pytest.mark.long
@pytest.mark.parametrize("name", ZOO)
@pytest.mark.thinned(1, 17)
def test_modules_of_the_zoo_pass(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = checked(kernel_of(ZOO[name]).source, tmp_path, capsys)
    assert code == 0, text


@pytest.mark.thinned(97, 13)
@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("at", ["", "every sum", "every mean", "last sum", "last mean"])
def test_every_option_and_loss_is_covered(
    options: dict[str, Any], at: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, _, reduction = at.partition(" ")
    for cell in (min_gru, delay_rnn):
        target = sb.model(cell, general_loss(cell), at=place, reduction=reduction) if at else cell
        code, text = checked(sb.compile(target, **options).source, tmp_path, capsys)
        assert code == 0, text
        assert ("weight_of_proof" in text) == bool(at)


@sb.cell
def read_out(x: Input["m"], h: State["n"], W: Param["n m"], V: Param["k n"]):
    """An output, whose cotangent a call may leave out."""
    h2 = np.tanh(W @ x + h)
    return {"h": h2, "y": V @ h2}


@sb.cell
def slots(x: Input["m"], M: State["k m"]):
    """A softmax, which holds a maximum constant."""
    p = sb.softmax(M @ x)
    return M * (1 - p[:, None]) + np.outer(p, x)


@sb.cell
def rows_of(i: Index["v"], h: State["n"], E: Param["v n"]):
    """A table, whose columns are summed some at once."""
    return np.tanh(E[i] + h)


LOSS = sb.model(lstm, general_loss(lstm), at="last")
FAULTS: list[tuple[Any, dict[str, Any], str, str]] = [
    (lstm, {}, "np.add(dc, s_1, out=dc)", "np.subtract(dc, s_1, out=dc)"),
    (lstm, {}, "np.add(dU_gates, s_3, out=dU_gates)", "pass"),
    (lstm, {}, "np.add(dU_gates, s_3, out=dU_gates)", "np.copyto(dU_gates, s_3)"),
    (lstm, {}, "np.tanh(c_t, out=tanh_c_t)", "np.sin(c_t, out=tanh_c_t)"),
    (lstm, {}, "np.add(dU_gates, s_3, out=dU_gates)", "np.add(dU_gates, s_3 * (1 + 1e-7), out=dU_gates)"),
    (lstm, {}, "return (2 * e / (1 + e * e)) ** 2", "return (2 * e / (1 + e)) ** 2"),
    (lstm, {}, "                _wait(active[t], adjoints, waiting)", "                pass"),
    (lstm, {}, "            total += _kept(reset[t], d)", "            total += 0 * d"),
    (lstm, {}, "            total += _kept(reset[t], d)", "            total += np.nan"),
    (lstm, {}, "last[name] = _after_end(active, full[name])", "last[name] = None"),
    (lstm, {}, '"Wf": dW_gates[n:2*n], ', ""),
    (lstm, {}, "np.concatenate([Ui, Uf, Ug, Uo])", "np.concatenate([Ui.T, Uf, Ug, Uo])"),
    (min_gru, {}, "np.multiply(h_in_t, h_prev_t, out=h_t)", "pass"),
    (min_gru, {}, "spans = _spans(s, m, back)", "spans = _spans(s, m, False)"),
    (lstm, {"memory": "sqrt"}, "sums[0][k] = sums[0][k] + v if", "sums[0][k] = v if"),
    (lstm, {"truncation": Chunked(2, 3)}, "_first(lo, hi)\n        given", "_first(lo, hi) + 1\n        given"),
    (lstm, {}, "flow[k][t] = _norm(d)", "flow[k][t] = 2 * _norm(d)"),
    (lstm, {"truncation": Chunked(2, 3)}, "_watch(flow, t, (", "_watch(flow, T - 1 - t, ("),
    (min_gru, {}, "{k: v[:, 0] for k, v in inputs.items()}", "{k: v[:, 0] / 2 for k, v in inputs.items()}"),
    (read_out, {}, "dy = np.zeros((T, B, k), dtype) if", "dy = np.full((T, B, k), 1e-4, dtype) if"),
    (read_out, {}, "    for name, value in given.items():\n        wanted", "    for name, value in (run.states | given).items():\n        wanted"),
    (lstm, {}, "_sharpened(s_b, _sigmoid_rest, ", "(s_b, _sigmoid_rest, "),
    (lstm, {}, "        rest[tiny] = of(e)", "        of(e)"),
    (lstm, {}, "LEAST = {4: 3e-5, 8: 8e-6}", "LEAST = {4: 3e-5, 8: 8e-9}"),
    (slots, {}, "            total += _kept(reset[t], d)", "            total += 0 * d"),
    (slots, {}, "np.add(s_2_1, dshifted_t, out=dshifted_t)", "np.add(0 * s_2_1, dshifted_t, out=dshifted_t)"),
    (slots, {}, "np.square(v_p_1_b, out=s_4_b)", "np.square(v_p_1_b[:1], out=s_4_b)"),
    (rows_of, {}, "(here.reshape(-1, 1) + starts)", "(here.reshape(-1, 1) - starts)"),
    (LOSS, {}, "value, found, final = _trained(call, plan, flow)", "value, found, final = _trained(call, plan, None)"),
    (LOSS, {"truncation": Window(2)}, "grads = _grads(*_aimed(found, reset_to), flow, batched, final, not call.T)", "grads = _grads(*_aimed(found, reset_to), {k: v / 2 for k, v in flow.items()} if flow else flow, batched, final, not call.T)"),
    (LOSS, {}, "return params | {k: params[k] + v if k in params else v for k, v in own.items()}", "return params | own | {k: 0 * v for k, v in own.items()}"),
]  # fmt: skip


@pytest.mark.parametrize("target, options, old, new", FAULTS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.thinned(5)
def test_a_wrong_edit_fails(
    target: Any, options: dict[str, Any], old: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = kernel_of(target, **options).source
    assert old in source
    code, text = checked(source.replace(old, new), tmp_path, capsys)
    assert code == 1 and "selfcheck FAILED" in text and "WRONG" in text, text


def test_a_block_without_a_derivative_that_could_be_seen_is_not_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fires = sb.function("fires", lambda v: sympy.Heaviside(v), derivative=lambda v: 1 / (1 + v**2))

    @sb.cell
    def firing(x: Input["n"], h: State["n"], w: Param["n"]):
        return fires(w * h + x)

    code, text = checked(sb.compile(firing).source, tmp_path, capsys)
    assert (
        code == 1
        and "NOT VERIFIED" in text
        and "not compared: no forward pass shows the derivative declared of fires" in text
    )

    nowhere = sb.function("nowhere", lambda v: sympy.log(-1 - v**2))

    @sb.cell
    def undefined(x: Input["n"], h: State["n"]):
        return nowhere(x) + h

    code, text = checked(sb.compile(undefined).source, tmp_path, capsys)
    assert code == 1 and "NOT VERIFIED" in text and "dx" in text and "compared nowhere" in text


@pytest.mark.parametrize("cell", [lif, alif], ids=lambda c: c.name)
@pytest.mark.thinned(2)
def test_what_no_declared_derivative_reaches_is_compared(
    cell: sb.Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = kernel_of(cell).source
    code, text = checked(source, tmp_path, capsys)
    assert code == 0 and "selfcheck passed" in text, text
    assert "complex step, but for what flows through it: no forward pass shows the derivative declared of spike" in text
    for old, new in (
        ("np.matmul(dv_1_t, U, out=ds)", "np.matmul(dv_1_t, U.T, out=ds)"),
        ("np.add(dW, ", "np.subtract(dW, "),
    ):
        assert source.count(old) == 1
        code, text = checked(source.replace(old, new), tmp_path, capsys)
        assert code == 1 and "selfcheck passed" not in text, text


def test_it_runs_on_numpy_alone_and_tells_of_an_edit(tmp_path: Path) -> None:
    kernel, path = kernel_of(single), tmp_path / "single_bptt.py"
    kernel.save(path, certificate=sb.verify(kernel).certificate)

    def run(*arguments: str) -> tuple[int, str]:
        code = "import sys; sys.modules['symbptt'] = sys.modules['sympy'] = None; import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), *arguments], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    code, text = run("--selfcheck")
    assert code == 0 and "text: as certified" in text and "whether the forward pass is that of your cell" in text, text
    path.write_text(path.read_text("utf-8").replace("import numpy as np\n", "import numpy as np  # mine\n"), "utf-8")
    code, text = run("--selfcheck")
    assert code == 0 and "text: edited after the certificate" in text, text
    code, text = run("--check")
    assert code == 1 and "--selfcheck compares the backward pass" in text


def test_the_forward_pass_alone_may_be_another_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Forward and backward edited alike: what the check cannot see, and says."""

    @sb.cell
    def other(x: Input, h: State, w: Param):
        return np.abs(w * h) - x

    code, text = checked(sb.compile(other).source, tmp_path, capsys)
    assert code == 0 and "not told here: whether the forward pass is that of your cell" in text


def test_a_target_that_a_truncated_loss_at_the_last_step_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @sb.loss
    def distance(h: State["n"], y: Target["n"], v: Param["n"]):
        return sb.sum(v * (h - y) ** 2)

    model = sb.model(looked_up, distance, at="last", reduction="mean")
    code, text = checked(sb.compile(model, truncation=Chunked(2, 3)).source, tmp_path, capsys)
    assert code == 0 and "\ndv " in text and "\ndy " not in text, text
