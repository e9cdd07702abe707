"""Faults planted in generated modules and in functions: each is caught by verification alone, and told in words."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target
from symbptt.codegen.kernel import Kernel
from symbptt.verification import checks as verification
from symbptt.verification import oracle
from symbptt.verification.blocks import Unwritten, in_blocks
from symbptt.verification.checks import rows
from symbptt.verification.comparison import Case, gradient_rows, value_rows
from symbptt.verification.oracle import Point
from symbptt.verification.regimes import REGIMES, SIZES, THREE, Blocks, Regime, sizes_of
from symbptt.verification.regimes import point as draw
from symbptt.verification.report import Report, Row
from symbptt.verification.requests import NOTHING
from symbptt.zoo import gru, lstm
from tests.kernels import kernel_of as compiled


@sb.cell
def scanned(x: Input["m"], h: State["n"], Wz: Param["n m"], Wc: Param["n m"]):
    z = sb.sigmoid(Wz @ x)
    return (1 - z) * h + z * (Wc @ x)


@sb.loss
def squared(h: State["n"], y: Target["k"], V: Param["k n"]):
    e = V @ h - y
    return sb.sum(e * e) / 2


@sb.cell
def tabled(i: Index["v"], h: State["n"], E: Param["v n"], w: Param["n"]):
    return np.tanh(w * h) + E[i]


SCANNED, GATED, MODEL = scanned, gru, sb.model(gru, squared)


FORGET = """

def _forget(total, part, out):
    np.copyto(out, part)
"""


def edited(target: Any, old: str, new: str) -> Kernel:
    """The kernel of a target with one text of its module in the place of another."""
    kernel = compiled(target)
    assert old in kernel.source, f"the module of {target.name} has no {old}"
    return Kernel(target, kernel.program, kernel.source.replace(old, new) + FORGET)


def is_caught(kernel: Kernel) -> bool:
    """Answer whether a comparison fails; the first that does is enough."""
    return any(not row.passed for row in rows(kernel, 0))


HI, LO = "hi = min(lo + K, T)", "lo = max(hi - K, 0)"
FORWARD, BACKWARD = "for lo in range(0, T, K):", "for hi in range(T, 0, -K):"
OF_ALL = [
    (HI, "hi = min(lo + K, T - 1) if lo else min(lo + K, T)"),
    (LO, "lo = max(hi - K, 1) if hi < T else max(hi - K, 0)"),
    (FORWARD, "for lo in range(0, max(T - T % K, 1), K):"),
    (BACKWARD, "for hi in range(T - T % K or T, 0, -K):"),
    (BACKWARD, "for hi in range(T, T % K if T > K else 0, -K):"),
    (f"{LO}\n", f"{LO}\n        dh *= hi == T\n"),
]
INPUT = ("x_b = x[lo:hi]", "x_b = x[: hi - lo]")
BORDERS = [
    *((SCANNED, *edit) for edit in OF_ALL),
    (SCANNED, "(v[lo:hi] for v in (Wc_x, x, z))", "(Wc_x[lo:hi], x[: hi - lo], z[lo:hi])"),
    (SCANNED, "np.add(dWc, ", "_forget(dWc, "),
    (SCANNED, "v[lo:hi] for v in (h, h_prev)", "v[: hi - lo] for v in (h, h_prev)"),
    (SCANNED, "(h_buffer[lo : hi + 1],)", "(h_buffer[: hi - lo + 1],)"),
    (SCANNED, 'full["h"][lo:hi]', 'full["h"][: hi - lo]'),
    (SCANNED, "np.add(end, 0 if own is None", "np.add(0, 0 if own is None"),
    (SCANNED, "0 if own is None else own[-1]", "0"),
    (SCANNED, "(c if fixed else c[0], v[0])", "(c if fixed else c[-1], v[0])"),
    (SCANNED, "before = [[end, *v[:-1]]", "before = [[end, *[end for _ in v[:-1]]]"),
    (SCANNED, "for k in range(0, m, s)]", "for k in range(0, m - m % s, s)]"),
    (SCANNED, "for k in range(m, 0, -s)]", "for k in range(m, m % s, -s)]"),
    *((GATED, *edit) for edit in [*OF_ALL, INPUT]),
    (GATED, "np.add(dU_gates, ", "_forget(dU_gates, "),
    (GATED, "v[lo:hi][::-1] for v in (r, z)", "v[: hi - lo][::-1] for v in (r, z)"),
    *((MODEL, *edit) for edit in [*OF_ALL, INPUT]),
    (MODEL, "np.add(dW_gates, ", "_forget(dW_gates, "),
    (MODEL, "out=dx[lo:hi].reshape(K * B, m)", "out=dx[: hi - lo].reshape(K * B, m)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "old", "new"),
    [pytest.param(*edit, id=f"{edit[0].name}-{number}", marks=[pytest.mark.long] * (number % 2))
     for number, edit in enumerate(BORDERS)],
)  # fmt: skip
@pytest.mark.thinned(37, 3)
def test_edit_at_a_border_of_blocks_is_caught(target: Any, old: str, new: str) -> None:
    assert is_caught(edited(target, old, new))


@pytest.mark.long
def test_modules_without_edits_have_several_blocks_and_pass() -> None:
    for target in (SCANNED, MODEL):
        assert not is_caught(compiled(target))


def test_blocks_and_windows_are_as_short_as_a_check_asks() -> None:
    kernel = compiled(SCANNED)
    module = in_blocks(kernel, Blocks(2, 2)).module
    assert module._steps(7, 2, 3) == 2 and module._steps(1, 2, 3) == 1 and module._steps(0, 2, 3) == 1
    assert [module._window(T, (), 8) for T in (0, 1, 2, 9)] == [0, 1, 2, 2]
    assert isinstance(module.WORKSPACE, Unwritten) and kernel.module._steps(7, 2, 3) == 7
    assert in_blocks(kernel, None) is kernel


def test_number_read_before_it_is_written_is_caught() -> None:
    """The planted mistake: what was in a room before is read."""
    assert is_caught(
        edited(SCANNED, "np.multiply(z_b, Wc_x_b, out=h_in_1_b)", "np.add(h_in_1_b, z_b * Wc_x_b, out=h_in_1_b)")
    )


@pytest.mark.parametrize("text", ["raise NameError('dh_all')", "return 1 / 0", "return {}, {}, {}, {}"])
@pytest.mark.thinned(5)
def test_module_that_raises_or_returns_nothing_is_reported(text: str) -> None:
    name = "    # before the loop: what needs no adjoint of a state\n"
    report = sb.verify(edited(tabled, name, f"    {text}\n"))
    assert not report.passed and {"dE", "dw", "dh_0"} <= {*report.wrong}
    assert "raised" in str(report) or "no gradient came" in str(report)


def test_module_that_is_no_python_is_reported() -> None:
    report = sb.verify(edited(tabled, "def _backward(", "def _backward((("))
    assert not report.passed and "raised SyntaxError" in str(report) and "h" in report.wrong


def test_module_that_changes_what_it_is_given_is_reported() -> None:
    report = sb.verify(
        edited(scanned, "WzT = np.ascontiguousarray(Wz.T)", "Wz *= 0.9\n    WzT = np.ascontiguousarray(Wz.T)")
    )
    assert not report.passed and "read-only" in str(report)


def test_output_whose_cotangent_counts_twice_is_caught() -> None:
    """The planted mistake: the fault of a state that forgets, in windows of a scan."""

    @sb.cell
    def forgets(x: Input["n"], h: State["n"], w: Param["n"]):
        h = 0.0 * h + w * x
        return {"h": h, "y": h}

    kernel = sb.compile(forgets)
    assert not is_caught(Kernel(forgets, kernel.program, kernel.source)) or "dy_b)" in kernel.source
    old = "def _grads(params, inputs"
    new = "def _grads(params, inputs, state, resets, flow, batched, final=None):\n    if len(inputs['x']) >= 8:\n        params['w'] = 2 * params['w']\n    return _grads_(params, inputs, state, resets, flow, batched, final)\n\n\ndef _grads_(params, inputs"
    assert is_caught(Kernel(forgets, kernel.program, kernel.source.replace(old, new)))


@sb.cell
def sizes_that_are_sums(x: Input["n"], q: Input["m"], s: State, p: Param["m+n"]):
    return s * (np.mean(p) + s) + np.sum(x) * np.sum(q)


def test_size_without_brackets_is_caught() -> None:
    kernel = compiled(sizes_that_are_sums)
    for right, wrong in (("p.sum() / (m+n)", "p.sum() / m+n"), ("(m+n)", "(m*n)"), ("(m+n)", "(2*n)")):
        text = kernel.source
        text = text.replace(right, wrong) if right in text else text.replace("v_s / (m+n)", f"v_s / {wrong}")
        assert text != kernel.source and is_caught(Kernel(sizes_that_are_sums, kernel.program, text))


def test_named_sizes_differ_and_no_expression_of_them_stands_for_another() -> None:
    points = [draw(sizes_that_are_sums, REGIMES[0], size, 0) for size in (SIZES[0], THREE)]
    found = [{s.name: v for s, v in point.sizes.items()} for point in points]
    for one in ("m+n", "m*n", "2*n", "2*m", "m+1", "n+1", "m", "n", "n*n", "m*m", "n-1"):
        for two in ("m+n", "m*n", "2*n", "2*m", "m+1", "n+1", "m", "n", "n*n", "m*m", "n-1"):
            if one != two:
                assert any(eval(one, {}, sizes) != eval(two, {}, sizes) for sizes in found)


def test_sizes_are_found_where_a_size_is_a_difference() -> None:
    @sb.cell
    def split(x: Input["m"], h: State["n"], W: Param["m-n m"], V: Param["n m"]):
        return np.tanh(V @ x) * h + np.sum(W @ x)

    assert draw(split, REGIMES[0], SIZES[2], 0) is None
    assert sb.verify(split).passed


class Ignoring(Kernel):
    """The planted mistake: cotangents of a state behind the end of its sample are ignored."""

    def backward(self, run: Any, cotangents: Any, **rest: Any) -> Any:
        active = run.tape[-2]
        if active is not None:
            of = {k: active.reshape(active.shape + (1,) * (v.ndim - 2)) for k, v in cotangents.items()}
            cotangents = {k: v * of[k] if v.ndim == run.states["h"].ndim else v for k, v in cotangents.items()}
        return super().backward(run, cotangents, **rest)


def test_cotangent_behind_the_end_of_a_sample_that_is_ignored_is_caught() -> None:
    kernel = compiled(SCANNED)
    assert is_caught(Ignoring(SCANNED, kernel.program, kernel.source))


@pytest.mark.long
def test_cotangent_behind_the_end_of_a_sample_belongs_to_its_last_state() -> None:
    kernel = compiled(SCANNED)
    assert not is_caught(kernel)
    found = [row for row in rows(Ignoring(SCANNED, kernel.program, kernel.source), 0) if not row.passed]
    # In the regime of samples that end, and wherever else samples have lengths.
    assert {row.regime for row in found} == {"padded", "saturated", "healthy"} and "dh_0" in {
        row.block for row in found
    }


# What one mask alone, one kind of cotangents alone, another type and unwritten numbers show.


@sb.cell
def shifted(x: Input["m"], last: State["m"], c: State["n"], W: Param["n m"], V: Param["n m"]):
    """An output that the state does not read, as of a quasi-recurrent layer."""
    c = sb.sigmoid(W @ last) * c + V @ x
    return {"last": x, "c": c, "y": np.tanh(c + W @ x)}


def zeros_of(kernel: Kernel) -> str:
    """The line that fills a room with zeros where no cotangent of the output is sent."""
    return next(line for line in kernel.source.split("\n") if 'if full["y"] is None else' in line)


@pytest.mark.parametrize(("old", "new"), [
    ("if active is not None or reset is not None:", "if active is not None and reset is not None:"),
    ("    if reset is not None:\n        for d, total in zip(", "    if reset is not None and active is not None:\n        for d, total in zip("),
    ("d[row] = first[b] if goes_on else", "d[row] = 0 if goes_on else"),
    ("else 0 if self.last[k] is None else self.last[k][b]", "else 0"),
    ("initial[b] if source is None else after[source]", "initial[b]"),
    ("found[self.left :, -1] = 0", "pass"),
])  # fmt: skip
@pytest.mark.thinned(11)
def test_mistake_where_samples_only_end_or_only_begin_anew_is_caught(old: str, new: str) -> None:
    assert is_caught(edited(tabled, old, new))


def test_gradient_of_another_type_than_the_data_is_caught() -> None:
    kernel = compiled(shifted)
    line = next(
        line for line in kernel.source.split("\n") if "= (np.zeros(" in line or "= np.zeros((n, m), dtype)" in line
    )
    wrong = Kernel(shifted, kernel.program, kernel.source.replace(line, line.replace("dtype)", "np.float64)", 1)))
    report = sb.verify(wrong)
    assert "float32 is expected where all arguments are of it, got float64" in str(report) and not report.passed
    assert {*report.wrong} & {"dW", "dV"}


@pytest.mark.long
def test_output_without_a_cotangent_that_is_not_zero_is_caught() -> None:
    kernel = compiled(shifted)
    line = zeros_of(kernel)
    assert "np.zeros(" in line and sb.verify(kernel).passed
    for put in ("np.empty(", "np.ones("):
        assert is_caught(Kernel(shifted, kernel.program, kernel.source.replace(line, line.replace("np.zeros(", put))))


def test_arrays_that_are_made_to_be_written_hold_no_numbers() -> None:
    module = in_blocks(compiled(SCANNED), Blocks(2, 2)).module
    assert np.isnan(module.np.empty((2, 3))).all() and (module.np.empty(2, int) == -1).all()
    assert np.isnan(module.np.empty_like(np.ones(3, np.float32))).all() and module.np.tanh is np.tanh
    assert module.np.empty_like(np.ones((2, 2), np.float32), shape=(3,)).dtype == np.float32


# Where a complex step gives no number.


@sb.cell
def overflowing(x: Input["n"], h: State["n"], w: Param["n"]):
    """A textbook sigmoid that is shut: complex numbers divide infinity by infinity there, and the slope is what is left."""
    return 0.5 * h + w * x + 1 / (1 + np.exp(1000 + w))


@sb.cell
def log_gated(x: Input["n"], m: State["n"], w: Param["n"], v: Param["n"]):
    """The stabiliser of an exponential gate with a textbook log σ: where that is -∞ in floats, the greater one is another one."""
    return np.maximum(-np.log1p(np.exp(-300 * w * x)) + 0.5 * m, -1000000 * (v - w) ** 2)


def test_right_gradient_that_no_complex_step_gives_is_compared_with_50_digits() -> None:
    report = sb.verify(overflowing)
    assert report.passed, str(report)
    assert any(row.method == "50 digits" and not row.note for row in report.rows if row.name == "dw")


def test_wrong_gradient_that_no_complex_step_gives_is_caught() -> None:
    kernel = compiled(overflowing)
    line = next(line for line in kernel.source.split("\n") if 'return {"w": ' in line)
    wrong = kernel.source.replace(line, line.replace('{"w": ', '{"w": 1.01 * '))
    assert wrong != kernel.source and "dw" in sb.verify(Kernel(overflowing, kernel.program, wrong)).wrong


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_where_floats_of_the_function_overflow_50_digits_decide(factor: float) -> None:
    """The planted mistake: a factor of 1.01 on all that is compared."""
    regime = next(regime for regime in REGIMES if regime.name == "extreme inputs")
    near = draw(log_gated, regime, SIZES[0], 0)
    kernel, sent = compiled(log_gated), oracle.cotangents(log_gated, near, 1)
    case = Case(log_gated, regime, SIZES[0], near, sent)

    def values(at: Point) -> dict[str, tuple[Any, Any]]:
        found = kernel.forward(at.params, at.inputs, at.state).states
        return {"m": (oracle.run(log_gated, at)[0]["m"], factor * found["m"])}

    def gradients(at: Point, cotangents: Any) -> Any:
        grads = kernel.backward(kernel.forward(at.params, at.inputs, at.state), cotangents)
        return tuple({k: factor * v for k, v in group.items()} for group in (grads.params, grads.inputs, grads.state))

    wanted, found = values(near)["m"]
    # The function's own floats are finite and wrong there.
    assert np.all(np.isfinite(wanted)) and not np.allclose(wanted, found / factor)
    rows = [*value_rows(case, values, ("m",)), *gradient_rows(case, gradients, is_complex=True)]
    told = [row for row in rows if row.method == "50 digits" and not row.note]
    assert {row.name for row in told} >= {"m", "dw", "dx"}
    assert all(row.passed == (factor == 1) for row in told if row.error)


# What is compared nowhere.


def test_block_compared_nowhere_is_not_passed() -> None:
    row = Row("healthy", "T=3 B=2", "dW", 0.0, 1e-10, "complex step")
    assert Report("cell", (row,)).passed
    for other in (
        Row("healthy", "T=3 B=2", "dU", 0.0, 1e-10, "complex step", "a kink"),
        Row("healthy", "T=0 B=2", "dU", 0.0, 1e-10, "complex step"),
    ):
        report = Report("cell", (row, other))
        assert not report.passed and report.uncompared == report.wrong == ("dU",)
    assert not Report("cell", ()).passed


# Functions that are none.


def bare(change: Callable[[], float]) -> sb.Cell:
    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        return np.tanh(x + change() * h)

    return step


def counting() -> Callable[[], float]:
    calls: list[int] = []

    def change() -> float:
        calls.append(1)
        return 1.0 + len(calls)

    return change


@pytest.mark.parametrize("change", [np.random.default_rng(0).standard_normal, np.random.rand, counting()])
def test_what_changes_between_calls_is_refused(change: Callable[[], float]) -> None:
    for use in (sb.derive, sb.compile, sb.verify):
        with pytest.raises(sb.CellError, match=r"(is no function|draws at random)(?s:.)*noise (as )?an Input"):
            use(bare(change))


def test_what_begins_to_change_after_tracing_is_refused_by_verify() -> None:
    moves = [False]
    random = np.random.default_rng(0)
    step = bare(lambda: random.random() if moves[0] else 0.5)
    kernel = sb.compile(step)
    moves[0] = True
    with pytest.raises(sb.CellError, match="another 'h'"):
        sb.verify(kernel)


def test_loss_that_draws_is_refused() -> None:
    random = np.random.default_rng(0)

    @sb.loss
    def noisy(h: State["n"]):
        return np.sum(h * h) * random.random()

    with pytest.raises(sb.CellError, match="random.random draws at random"):
        sb.compile(sb.model(scanned, noisy))


def test_a_function_that_draws_from_a_fixed_seed_is_refused() -> None:
    """It would draw the same noise at every step, which nobody means."""
    with pytest.raises(sb.CellError, match="np.random.default_rng draws at random"):
        sb.derive(bare(lambda: np.random.default_rng(3).random()))


def test_parameter_changed_in_place_is_refused() -> None:
    @sb.cell
    def decays(x: Input["n"], h: State["n"], w: Param["n"]):
        w *= 0.9
        return np.tanh(w * h + x)

    @sb.cell
    def through_a_view(x: Input["n"], h: State["n"], W: Param["n n"]):
        V = W.T
        V *= 0.9
        return np.tanh(V @ h + x)

    with pytest.raises(sb.CellError, match=r"'w' is changed in place(?s:.)*name of its own"):
        sb.derive(decays)
    with pytest.raises(sb.CellError, match="'W' is changed in place"):
        sb.verify(through_a_view)


def test_function_that_fails_on_arrays_is_told_in_words() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        return h + x if not isinstance(h, np.ndarray) else h + x[:99].reshape(7)

    with pytest.raises(sb.CellError, match="raised ValueError on NumPy arrays"):
        sb.verify(step)


# Where it is checked.


@sb.cell
def gated(x: Input["n"], keep: Input["n"], h: State["n"], p: Param["n"], w: Param["n"]):
    return keep * h * np.log(p) + np.sqrt(x * (1 - x)) * w


def test_values_that_are_given_are_those_at_which_it_is_checked() -> None:
    x, p = np.full((2, 1, 4), 0.25), np.full(4, 2.0)
    asked = verification.asked_of(gated, {"x": x}, {"p": p}, {"keep": "binary"})
    point = draw(gated, REGIMES[0], SIZES[0], 0, asked)
    assert point.inputs["x"].shape == (3, 2, 4) and np.all(point.inputs["x"] == 0.25) and np.all(point.params["p"] == 2)
    assert point.params["w"].shape == (4,)
    assert sb.verify(gated, inputs={"x": x}, params={"p": p}, domain={"keep": "binary"}).passed
    assert sb.verify(gated, inputs={"x": x[:, 0]}, params={"p": p}).passed


@pytest.mark.parametrize(("given", "message"), [
    ({"domain": {"z": "binary"}}, "'z'"),
    ({"domain": {"x": (1, 0)}}, "lowest, greatest"),
    ({"domain": {"x": "odd"}}, "'positive', 'nonnegative'"),
    ({"domain": 3}, "a dict by name"),
    ({"inputs": {"p": np.ones(3)}}, "'p'"),
    ({"inputs": {"x": np.ones(3)}}, "shape"),
    ({"params": {"p": np.ones(3), "w": np.ones(4)}}, "n is 3"),
    ({"params": {"p": "text"}}, "numbers are expected"),
    ({"params": {"p": np.ones(3)}, "domain": {"p": "positive"}}, "'p'"),
    ({"inputs": {"x": np.full((2, 1, 3), np.nan)}}, "x: finite numbers are expected"),
    ({"params": {"p": np.full(3, np.inf)}}, "p: finite numbers are expected"),
    ({"inputs": {"x": np.ones((2, 1, 3), complex)}}, "x: numbers are expected, got ndarray of complex128"),
    ({"inputs": {"x": np.ones((2, 1, 3)), "keep": np.ones((3, 1, 3))}}, "keep: as many steps and samples as in x"),
    ({"inputs": {"x": np.ones((2, 1, 3)), "keep": np.ones((2, 2, 3))}}, "1, got 2 and 2"),
])  # fmt: skip
def test_what_does_not_go_with_a_cell_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(sb.ArgumentError, match=message):
        sb.verify(gated, **given)


@pytest.mark.parametrize(("inputs", "params", "message"), [
    ([[1.5, 2.0]], {}, "integers are expected, got list of float64"),
    ([[-1, 0]], {}, "integers from 0 to 0 are expected, got -1 to 0"),
    ([[0, 3]], {"E": np.ones((3, 2))}, "integers from 0 to 2 are expected, got 0 to 3"),
])  # fmt: skip
def test_indices_outside_their_table_are_refused(inputs: Any, params: Any, message: str) -> None:
    with pytest.raises(sb.ArgumentError, match=message):
        sb.verify(tabled, inputs={"i": inputs}, params=params)


@pytest.mark.parametrize("given", [[[1, 2]], [0, 1, 2], [[9], [0]]])
def test_indices_that_are_given_tell_the_least_size_of_a_table(given: Any) -> None:
    assert sb.verify(tabled, inputs={"i": given}).passed


@pytest.mark.parametrize("group", ["params", "domain"])
@pytest.mark.thinned(2)
def test_constants_with_a_value_are_not_given_another(group: str) -> None:
    @sb.cell
    def leaking(x: Input["n"], h: State["n"], w: Param["n"], k: Const["n"] = np.array([1.0, 2.0])):  # type: ignore[assignment]
        return k * np.tanh(h) + w * x

    value: Any = np.ones(2) if group == "params" else (0, 1)
    with pytest.raises(
        sb.ArgumentError, match=r"'k' is a constant of leaking with a value\n  write sb.verify\(sb.compile"
    ):
        sb.verify(leaking, **{group: {"k": value}})
    assert sb.verify(sb.compile(leaking, consts={"k": np.ones(2)})).passed


def test_constants_that_are_arrays_tell_their_sizes() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], A: Const["n n"] = np.full((4, 4), 0.25)):
        return np.tanh(A @ h + x)

    assert draw(step, REGIMES[0], SIZES[0], 0, verification.asked_of(step, None, None, None)).state["h"].shape == (2, 4)
    assert sb.verify(step).passed


def test_exact_numbers_are_among_those_of_one_regime() -> None:
    exact = next(regime for regime in REGIMES if regime.exact)
    point = draw(gru, exact, SIZES[0], 0)
    for group in (point.params, point.inputs, point.state):
        values = np.concatenate([np.ravel(v) for v in group.values()])
        assert {0.0, 1.0} <= {*values} and len({*values}) > 3


def test_gradient_that_is_no_number_where_there_is_a_derivative_is_caught() -> None:
    """The planted mistake: an adjoint of the branch that is not taken, which is infinite, times zero."""

    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["n"]):
        return 0.5 * h + w * x

    kernel = sb.compile(step)
    old = "    grads = _grads(*found, flow, run.batched, empty=not T)"
    new = (
        "    found[0]['w'][~(full['h'] != 0).all((0, 1)) | (np.abs(run.tape[0][-2]) == 0).any((0, 1))] = np.nan\n" + old
    )
    text = kernel.source.replace(old, new)
    assert text != kernel.source and is_caught(Kernel(step, kernel.program, text))


# Options of kernels.


@pytest.mark.parametrize("option", [
    {"memory": "sqrt"}, {"truncation": sb.Window(2)}, {"truncation": sb.Chunked(2, 3)}, {"truncation": sb.Chunked(3, 2)},
    {"memory": 200_000},
])  # fmt: skip
@pytest.mark.parametrize(
    "target", [SCANNED, MODEL, sb.model(SCANNED, squared, at="last", reduction="mean")], ids=["cell", "model", "last"]
)
@pytest.mark.thinned(23)
def test_kernels_are_verified_with_their_options(target: Any, option: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(verification, "REGIMES", tuple(r for r in REGIMES if r.name in ("healthy", "padded")))
    report = sb.verify(sb.compile(target, **option))
    assert report.passed, str(report)


@pytest.mark.parametrize(("option", "old", "new"), [
    ({"truncation": sb.Window(2)}, "return max(lo - SPAN + 1, 0)", "return lo"),
    ({"truncation": sb.Window(2)}, "for _ in range(min(SPAN, T))", "for _ in range(min(SPAN + 1, T))"),
    ({"truncation": sb.Chunked(2, 3)}, "return max(hi - REACH, 0)", "return max(hi - REACH - 1, 0)"),
    ({"memory": "sqrt"}, "v[lo - 1] if lo else begun[k]", "v[lo] if lo else begun[k]"),
])  # fmt: skip
@pytest.mark.thinned(3)
def test_mistake_in_an_option_is_caught(option: dict[str, Any], old: str, new: str) -> None:
    kernel = sb.compile(SCANNED, **option)
    assert old in kernel.source
    parts = (option.get("truncation"), None, option.get("memory", "all"))
    assert is_caught(Kernel(SCANNED, kernel.program, kernel.source.replace(old, new), *parts))


def test_clipped_kernel_is_refused_in_words() -> None:
    with pytest.raises(sb.ArgumentError, match="without clip_adjoint"):
        sb.verify(sb.compile(SCANNED, clip_adjoint=1.0))


@pytest.mark.long
def test_models_are_checked_on_as_many_sizes_as_cells() -> None:
    report = sb.verify(MODEL)
    labels = {size.label for regime in REGIMES for size in sizes_of(regime)}
    assert {row.size for row in report.rows} == labels


def test_regime_of_a_check_is_a_record() -> None:
    assert Regime("healthy", long=True) == REGIMES[0]


# Digits that are lost where gates saturate.


@sb.cell
def saturating(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    return np.tanh(W @ x + b) * sb.sigmoid(U @ h + b)


def _blunt(cell: sb.Cell) -> Kernel:
    """The planted mistake: 1 - tanh² and 1 - σ from the value alone."""
    head = "    least = LEAST[rest.dtype.itemsize]"
    return edited(cell, head, f"    return rest\n{head}")


@pytest.mark.parametrize("cell", [saturating, gru, lstm], ids=lambda cell: cell.name)
@pytest.mark.thinned(3)
def test_module_that_loses_digits_where_gates_saturate_is_caught(cell: sb.Cell) -> None:
    assert not is_caught(compiled(cell)) and is_caught(_blunt(cell))


@sb.cell
def by_tokens(i: Index["v"], h: State["n"], E: Param["v n"]):
    return np.tanh(E[i] + h)


def test_columns_of_a_table_that_are_exchanged_are_caught() -> None:
    """Of two columns the order backward is that from one to the next: sizes of two had hidden such a mistake."""
    kernel, place = compiled(by_tokens), "(here.reshape(-1, 1) + starts)"
    assert place in kernel.source and not is_caught(kernel)
    assert is_caught(Kernel(by_tokens, kernel.program, kernel.source.replace(place, place.replace("+", "-"))))


@pytest.mark.parametrize("bias", [20.0, -20.0])
@pytest.mark.thinned(2)
def test_module_that_loses_digits_at_biases_that_are_given_is_caught(bias: float) -> None:
    shapes = saturating.init({"m": 2, "n": 3}, seed=0)
    asked = verification.asked_of(saturating, None, {"b": np.full(shapes["b"].shape, bias)}, None)
    assert all(row.passed for row in rows(compiled(saturating), 0, asked))
    assert any(not row.passed for row in rows(_blunt(saturating), 0, asked))


@pytest.mark.long
def test_textbook_backward_pass_may_lose_those_digits() -> None:
    @sb.cell
    def plain(x: Input["n"], h: State["n"], b: Param["n"]):
        return np.tanh(x + h + b)

    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> dict[str, Any]:
        sent, h = cotangents["h"], [state["h"]]
        for x in inputs["x"]:
            h.append(np.tanh(x + h[-1] + params["b"]))
        dx, d = np.zeros_like(inputs["x"]), np.zeros_like(state["h"])
        for t in range(len(dx))[::-1]:
            d = dx[t] = (d + (sent[t] if sent.ndim == 3 else sent * (t == len(dx) - 1))) * (1 - h[t + 1] ** 2)
        return {"x": dx, "b": dx.sum((0, 1)), "h": d + (sent if sent.ndim == 2 and not len(dx) else 0)}

    report = sb.check_backward(plain, backward, params={"b": np.full(3, 20.0)})
    assert report.passed, str(report)


@sb.cell
def directed(x: Input["m"], h: State["n"], W: Param["n m"], V: Param["n m"], b: Param["n"]):
    """With one unit the direction is a sign, and its weights have no gradient."""
    q = W @ x
    q /= np.linalg.norm(q)
    return np.tanh(h * np.sin(q) + V @ x + b)


@pytest.mark.parametrize(("left", "is_wrong"), [(2e-16, False), (1e-13, True)])
def test_rounding_that_is_left_of_a_gradient_that_cancels_is_no_fault(left: float, is_wrong: bool) -> None:
    kernel, size = compiled(directed), next(s for s in SIZES if s.ones)
    saturated = next(r for r in REGIMES if r.name == "saturated")
    point = draw(directed, saturated, size, 3, NOTHING)
    assert point is not None
    sent = oracle.cotangents(directed, point, 1)

    def gradients(near: Point, by: Any) -> Any:
        grads = kernel.backward(kernel.forward(near.params, near.inputs, near.state), by)
        return {**grads.params, "W": np.full_like(grads.params["W"], left)}, grads.inputs, grads.state

    found = gradient_rows(Case(directed, saturated, size, point, sent, sharp=True), gradients, True)
    assert [row.name for row in found if not row.passed] == ["dW"] * is_wrong
