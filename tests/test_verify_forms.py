"""Other forms of a call, norms of adjoints and final states: what a module does wrong there is caught by verification alone."""

from functools import partial
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Output, Param, State, Target
from symbptt.codegen.kernel import Kernel
from symbptt.verification.checks import rows
from symbptt.verification.comparison import attempt
from symbptt.verification.forms import form_rows
from symbptt.verification.objective import cotangents_of_loss
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.prove import line_of, proof_of
from symbptt.verification.proof.settings import LAST, MASKED
from symbptt.verification.proof.subjects import subjects_of
from symbptt.verification.proof.symbolic import symbolic
from symbptt.verification.regimes import REGIMES, SIZES
from symbptt.verification.regimes import point as draw
from symbptt.verification.requests import NOTHING
from symbptt.zoo import gru, lstm, min_gru
from tests.cells import odd
from tests.kernels import kernel_of


@sb.cell
def read(x: Input["n"], h: State["n"], w: Param["n"]):
    h = np.tanh(w * h + x)
    return {"h": h, "y": h * x}


@sb.loss
def squared(h: State["n"], y: Output["n"], target: Target["k"], V: Param["k n"]):
    e = V @ (h * y) - target
    return sb.sum(e * e) / 2


@sb.loss
def telling(y: Output["n"], target: Target["n"]):
    return {"loss": sb.sum((y - target) ** 2), "score": 2 * y}


@sb.loss
def labelled(y: Output["n"], label: Index["n"]):
    return -sb.log_softmax(y)[label]


MODEL = sb.model(read, squared, reduction="mean")
LABELLED = sb.model(read, labelled)
TELLING, LAST_TELLING = sb.model(read, telling), sb.model(read, telling, at="last")


def planted(target: Any, old: str, new: str, **options: Any) -> Kernel:
    kernel = kernel_of(target, **options)
    assert old in kernel.source, f"the module of {target.name} has no {old}"
    parts = (kernel.truncation, kernel.clip_adjoint, kernel.memory)
    return Kernel(kernel.target, kernel.program, kernel.source.replace(old, new), *parts)


@pytest.mark.parametrize(
    "target", [lstm, min_gru, odd, MODEL, sb.model(read, squared, at="last")], ids=lambda t: t.name
)
@pytest.mark.thinned(2)
def test_right_modules_pass_in_every_form(target: Any) -> None:
    assert not [*form_rows(kernel_of(target), 0)]


@pytest.mark.parametrize(
    "option", [{"memory": "sqrt"}, {"memory": 200_000}, {"truncation": sb.Window(2)}, {"truncation": sb.Chunked(2, 3)}]
)
@pytest.mark.thinned(7)
def test_right_modules_pass_in_every_form_with_options(option: dict[str, Any]) -> None:
    for target in (read, MODEL):
        assert not [*form_rows(kernel_of(target, **option), 0)]


def test_loss_of_parameters_alone_has_norms_of_zero() -> None:
    @sb.loss
    def decays(w: Param["n"]):
        return sb.sum(w * w)

    kernel = kernel_of(sb.model(read, decays))
    assert not [*form_rows(kernel, 0)]


WINDOW, CHUNKED = {"truncation": sb.Window(2)}, {"truncation": sb.Chunked(2, 3)}
TRUNCATED: dict[str, tuple[Any, dict[str, Any], str, str, str]] = {
    "norms of one block of losses alone": (gru, WINDOW, "v[: lo - first] += known[k][first - lo :]", "pass", "flow of h"),
    "norms of one chunk of losses alone": (lstm, CHUNKED, "v[: lo - first] += known[k][first - lo :]", "pass", "flow of c"),
    "adjoints of another step": (gru, CHUNKED, "flow[k][t] = d", "flow[k][t - 1] = d", "flow of h"),
    "adjoints of a window left out": (gru, WINDOW, "adjoints[k][...] = whole[k]", "pass", "flow of h"),
    "norms of a truncated model": (MODEL, CHUNKED, "v[: lo - first] += known[k][first - lo :]", "pass", "flow of h"),
}  # fmt: skip


@pytest.mark.parametrize("fault", TRUNCATED)
@pytest.mark.thinned(5)
def test_wrong_norms_of_a_truncated_kernel_are_caught_and_named(fault: str) -> None:
    target, options, old, new, block = TRUNCATED[fault]
    kernel = planted(target, old, new, **options)
    assert block in {row.name for row in form_rows(kernel, 0) if not row.passed}
    if target is gru:
        assert "norm of dh" in {name for line in proof_of(kernel, 0).lines for name in line.wrong}


VALUE = (
    "call, _ = _called(\n"
    "        params, inputs, {} if targets is None else targets, state, steps, lengths, reset, reset_to, workspace\n    )\n"
    "    _label(call, mask, ignore_index)\n"
    "    return _evaluated(call, _Value(call))"
)


@pytest.mark.long
def test_cotangents_of_the_last_step_are_proved_of_truncated_modules() -> None:
    zeros = "np.zeros((T, *last[k].shape), last[k].dtype)"
    kernel = planted(gru, zeros, zeros.replace("zeros", "ones"), **CHUNKED)
    subject, settings = next(iter(subjects_of(kernel)))
    assert LAST in settings
    assert [bool(line_of(subject, one, Cases(0, NOTHING)).wrong) for one in (MASKED, LAST)] == [False, True]


FAULTS: dict[str, tuple[Any, str, str, str]] = {
    "no norms": (gru, "_watch(flow, t, (dh,))", "pass", "flow of h"),
    "norms of the squares": (gru, "return np.sqrt(total), power", "return total, power", "flow of h"),
    "norms at the wrong step": (gru, "flow[k][t] =", "flow[k][t - 1] =", "flow of h"),
    "norms of a model": (MODEL, "flow[k][t] =", "flow[k][t - 1] =", "flow of h"),
    "a norm changes the adjoint": (gru, "flow[k][t] = _norm(d)", "flow[k][t] = _norm(d); d *= 2", "dh_0"),
    "no batch axis": (gru, "    if not batched:\n        inputs", "    if False:\n        inputs", "dx"),
    "no batch axis of resets": (gru, "reset.ndim == 1", "reset.ndim == 3", "without a batch axis"),
    "no state": (lstm, "{k: np.zeros((B, *shapes[k])", "{k: np.ones((B, *shapes[k])", "h"),
    "the last step of an output": (read, "full[name][-1] = array", "full[name][0] = array", "dx"),
    "a second backward pass": (read, '    return {"w": dw', '    h_prev += 1e-3\n    return {"w": dw', "dw"),
    "a value of one sample": (MODEL, VALUE, VALUE.replace("call, _ ", "call, several ") + " * (2 - several)", "value"),
    "predictions of one sample": (TELLING, "{k: _alone(v) for", "{k: 2 * _alone(v) for", "score"),
    "predictions of one sample at the end": (LAST_TELLING, "{k: _alone(v) for", "{k: 2 * _alone(v) for", "score"),
    "predictions of single steps": (TELLING, "outputs[k] = v[0] if", "outputs[k] = 2 * v[0] if", "score"),
    "predictions of single steps at the end": (LAST_TELLING, "outputs[k] = v if", "outputs[k] = 2 * v if", "score"),
    "forward of a model": (MODEL, "states, outputs, tape = _ran(call, plan)", "states, outputs, tape = _ran(call, plan); outputs = {'y': -outputs['y']}", "y"),
    "backward of a model": (MODEL, "_aimed(_flowed_back(call, tape, full, last", "_aimed(_flowed_back(call, tape, full | {'y': None}, last", "dx"),
    "backward of a model behind an end": (MODEL, "last[name] = _after_end(active, full[name])", "last[name] = None", "dh_0"),
    "a label that is ignored": (LABELLED, "known = call.a[k] != ignored", "known = call.a[k] == ignored", "labels that are ignored"),
    "a step of one sample": (read, "states, outputs = ({k: v[0, ...] for", "states, outputs = ({k: 2 * v[0, ...] for", "h"),
    "a step without a state": (read, "moving = {k: a[k][0] for", "a = {k: v + (k in STATES and not state) for k, v in a.items()}; moving = {k: a[k][0] for", "h"),
    "first values": (MODEL, "np.sqrt(6 / (shape[-1] + shape[-2]))", "np.sqrt(6 / shape[-1])", "first V"),
    "first values of a type": (MODEL, "_type_of(k, dtype), order", "float, order", "first V in single precision"),
    "final states": (MODEL, "np.maximum(count - 1, 0)", "np.maximum(count - 2, 0)", "final h"),
    "final states of samples without a step": (MODEL, "_where(count > 0, v[at], initial[k])", "v[at]", "final h"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_mistake_in_a_form_of_a_call_is_caught_and_named(fault: str) -> None:
    target, old, new, block = FAULTS[fault]
    found = [row for row in form_rows(planted(target, old, new), 0) if not row.passed]
    assert block in {row.name for row in found}, [row.block for row in found]
    assert all(row.said for row in found)


def test_mistake_in_a_form_fails_a_verification() -> None:
    kernel = planted(read, "full[name][-1] = array", "full[name][0] = array")
    report = sb.verify(kernel)
    assert not report.passed and "cotangents of the last step: other numbers" in str(report)


def test_call_that_raises_an_error_is_told() -> None:
    found = [
        *form_rows(planted(read, "    _check_monitor(monitor)\n    full", "    raise ValueError('never')\n    full"), 0)
    ]
    assert {row.name for row in found} == {"the call"} and all("ValueError: never" in row.said for row in found)


def test_slopes_of_a_loss_are_those_of_its_formula() -> None:
    point = draw(MODEL, REGIMES[0], SIZES[0], 0)
    assert point is not None
    from symbptt.verification import oracle

    states, outputs = oracle.run(read, point)
    h, y, V = states["h"], outputs["y"], point.params["V"]
    e = ((h * y) @ V.T - point.targets["target"]) @ V / (point.steps * point.batch)
    found = cotangents_of_loss(MODEL, point)
    np.testing.assert_allclose(found["h"], e * y, rtol=1e-13)
    np.testing.assert_allclose(found["y"], e * h, rtol=1e-13)


def test_saturated_samples_that_end_are_compared() -> None:
    kernel = kernel_of(read)
    sizes = {row.size for row in rows(kernel, 0) if row.regime == "saturated"}
    assert any("B=6" in size for size in sizes)


def test_an_error_of_the_check_itself_says_nothing_of_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: an error that comes up through no line of the user's or of a module, which a report called a wrong gradient,
    or a size that cannot be proved."""
    assert attempt(lambda: 1 / 0) == (None, "raised ZeroDivisionError: division by zero")
    with pytest.raises(ValueError, match="no number"):
        attempt(partial(int, "no number"))
    monkeypatch.setattr("symbptt.verification.proof.symbolic._numbers", lambda *_: {})
    monkeypatch.setattr("symbptt.verification.proof.symbolic._is_zero", partial(int, "no number"))
    with pytest.raises(TypeError):
        symbolic(read, NOTHING, 1.0)


@pytest.mark.parametrize(("old", "new", "name"), [('{"y": y}', "{}", "y"), ('"w": dw', '"w": 0', "dw")])
@pytest.mark.thinned(2)
def test_a_result_that_lacks_is_told_and_raises_nothing(old: str, new: str, name: str) -> None:
    report = sb.verify(planted(read, old, new), proof=False)
    assert not report.passed and name in report.wrong


def test_a_report_tells_of_what_no_error_is_allowed() -> None:
    """The planted mistake: first values that are wrong, whose tolerance is zero, by which an error was divided for the report."""
    target, old, new, block = FAULTS["first values"]
    report = sb.verify(planted(target, old, new), proof=False)
    assert not report.passed and set(report.wrong) == {block, f"{block} in single precision"} and block in str(report)
    assert report.worst is not None and report.worst.name in report.wrong and not report.certificate.verified
