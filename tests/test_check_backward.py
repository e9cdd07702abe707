"""`sb.check_backward` names what is wrong: mistakes planted by hand in the text of backward passes of cells that are not in the zoo."""

import inspect
import re
from functools import partial
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, Target
from symbptt.commands.main import run as command
from symbptt.verification import oracle
from symbptt.verification.mistakes import draws
from symbptt.verification.mistakes.edges import edge_mistakes
from symbptt.verification.mistakes.part import Part
from symbptt.verification.mistakes.problem import CELL, Draft, Problem
from symbptt.verification.mistakes.reads import shifted_mistakes
from symbptt.verification.mistakes.words import Words
from symbptt.verification.objective import value_of
from symbptt.verification.oracle import blocks, complex_step
from symbptt.verification.regimes import REGIMES, Size, point
from symbptt.zoo import CELLS
from tests import own_backward as own

PASSES = {
    "elman": (own.elman, own.elman_backward),
    "gated": (own.leaky_gate, own.leaky_gate_backward),
    "two states": (own.two_states, own.two_states_backward),
    "slots": (own.slots, own.slots_backward),
    "bounded": (own.bounded, own.bounded_backward),
    "tokens": (own.tokens, own.tokens_backward),
}
NOW = "now"
# (cell, mistake, kind, what the words have; of a list each), first those that the default run has
MISTAKES: list[tuple[str, str, str, list[str], str]] = [
    ("elman", "no slope", "factor", ["the factor 1 - h_t² is forgotten", "h2 = np.tanh(a)"], NOW),
    ("elman", "U transposed", "transposed", ["the term Uᵀ da_t of dh_{t-1}", "U and its transpose are exchanged"], ""),
    ("elman", "cut after 2 steps", "truncated", ["stops after 2 steps", "what the last step of the loop hands on"], ""),
    ("elman", "db is a mean", "mean", ["db is divided by the batch B"], ""),
    ("elman", "dU reads the next state", "shifted", ["reads h_{t-1} one step later"], ""),
    ("elman", "clip carry value", "clipped", ["what a step hands to the step before", "±0.25"], NOW),
    ("elman", "db not summed", "batch", ["db is not summed over the batch", "(4,) is expected, got (3, 4)"], NOW),
    ("gated", "r path of du missing", "missing", ["du_t lacks the term da_{g,t} ⊙ r_t", "g = np.tanh(Wg @ x + u * r + bg)"], ""),
    ("bounded", "no slope of clip", "factor", ["has dh_t as it is, in the place of the term", "h2 = np.clip(U @ (g * h)"], NOW),
    ("slots", "softmax without its sum", "factor", ["-w_tᵀ dw_t is forgotten in a sum", "w = sb.softmax(M @ q)"], ""),
    ("elman", "h for h squared", "factor", ["the power of h_t² is forgotten"], ""),
    ("elman", "slope at the value", "slope", ["taken at the value h_t once more"], ""),
    ("elman", "slope at the argument", "slope", ["written in the value h_t, is taken at a_t"], ""),
    ("elman", "slope of sigmoid", "slope", ["the slope is that of sigmoid"], ""),
    ("elman", "sign of V", "sign", ["dh_t has the term Vᵀ dy_t with the wrong sign"], ""),
    ("elman", "carry missing", "truncated", ["flows back through 1 step at the most"], ""),
    ("elman", "carry has the wrong sign", "sign", ["dh_{t-1} has the term Uᵀ da_t with the wrong sign", "handed to the step before"], ""),
    ("elman", "carry twice", "doubled", ["the term Uᵀ da_t twice"], ""),
    ("elman", "chunks of 2", "truncated", ["across the borders of chunks of 2 steps, counted from the first"], ""),
    ("elman", "chunks from the last", "truncated", ["counted from the last; nor to the initial state, where a chunk begins"], ""),
    ("elman", "loop leaves out the first step", "first step", ["leaves out the first step"], ""),
    ("elman", "loop leaves out the last step", "last step", ["leaves out the last step"], ""),
    ("elman", "output missing", "missing", ["∂L/∂y_t, which the loss gives, is not added"], ""),
    ("elman", "only last cotangent", "last step", ["read at the last step alone"], ""),
    ("elman", "cotangent one step late", "shifted", ["∂L/∂h_t is read one step later"], ""),
    ("elman", "cotangent from the front", "shifted", ["∂L/∂h_t is read one step earlier", "index -1"], ""),
    ("elman", "direct cotangent missing", "missing", ["∂L/∂h_t, which the loss gives, is not added"], ""),
    ("elman", "direct cotangent twice", "doubled", ["∂L/∂h_t is added twice"], ""),
    ("elman", "no last step in dU", "last step", ["dU: the last step's term is missing"], ""),
    ("elman", "no first step in dU", "first step", ["dU: the first step's term is missing", "zeros in the place of the initial state"], ""),
    ("elman", "dU begins with zeros", "first step", ["zeros in the place of the initial state"], ""),
    ("elman", "dU begins with the last", "initial", ["the state after the last step (index -1)"], ""),
    ("elman", "dU reads two before", "shifted", ["one step earlier", "after the last (index -1)"], ""),
    ("elman", "dU last sample", "batch", ["dU has the term of the last sample alone"], ""),
    ("elman", "dU first sample", "batch", ["dU has the term of the first sample alone"], ""),
    ("elman", "dW overwritten", "overwritten", ["dW has the term of the first step alone"], ""),
    ("elman", "dW reads the next input", "shifted", ["dW reads x_t one step later"], ""),
    ("elman", "dV reads the state before", "misread", ["dV reads h_{t-1} in the place of h_t"], ""),
    ("elman", "dU transposed", "transposed", ["the term da_t h_{t-1}ᵀ is transposed"], ""),
    ("elman", "dU sign", "sign", ["dU has the term da_t h_{t-1}ᵀ with the wrong sign"], ""),
    ("elman", "dW twice", "doubled", ["dW has the term da_t x_tᵀ twice"], ""),
    ("elman", "dh0 missing", "missing", ["dh_0 is zero"], ""),
    ("elman", "db not summed over steps", "batch", ["db is not summed over the steps"], ""),
    ("elman", "dh0 summed over the batch", "summed", ["dh_0 is summed over the batch"], ""),
    ("elman", "divided by B", "mean", ["all gradients are divided by the batch B"], ""),
    ("elman", "divided by T", "mean", ["all gradients are divided by the steps T"], ""),
    ("elman", "parameters divided by B", "mean", ["the gradients of all parameters are divided by the batch B"], ""),
    ("elman", "parameters divided by T B", "mean", ["the gradients of all parameters are divided by the steps and the batch, T B"], ""),
    ("elman", "dU times B", "summed", ["dU is multiplied by the batch B: a sum over samples in the place of their mean"], ""),
    ("elman", "clip total value", "clipped", ["dh_t is clipped to ±0.5"], ""),
    ("elman", "clip carry norm", "clipped", ["a norm of 0.3 for each sample"], ""),
    ("elman", "clip all by value", "clipped", ["all gradients are clipped to ±0.4"], ""),
    ("elman", "clip parameters by joint norm", "clipped", ["all parameters are scaled down to a joint norm of 1"], ""),
    ("elman", "clip each by norm", "clipped", ["each of the gradients is scaled down to a norm of 1"], ""),
    ("gated", "sign in du", "sign", ["-h_{t-1} has the wrong sign in a sum"], ""),
    ("gated", "h forgotten in du", "factor", ["-h_{t-1} is forgotten in a sum"], ""),
    ("gated", "no slope of tanh", "factor", ["the factor 1 - g_t² is forgotten"], ""),
    ("gated", "r path of du twice", "doubled", ["du_t has the term da_{g,t} ⊙ r_t twice"], ""),
    ("gated", "no u in slope", "factor", ["the factor u_t is forgotten", "u = sb.sigmoid(Wu @ x + Uu @ h + bu)"], ""),
    ("gated", "dr reads g", "misread", ["dr_t reads g_t in the place of u_t"], ""),
    ("gated", "u of the next step", "shifted", ["dr_t reads u_t one step later"], ""),
    ("gated", "path to x missing", "missing", ["dx_t lacks the term Wgᵀ da_{g,t}"], ""),
    ("gated", "leak path missing", "missing", ["dh_{t-1} lacks the term dh_t ⊙ (1 - u_t)"], ""),
    ("gated", "leak forgets u", "factor", ["the factor 1 - u_t is forgotten"], ""),
    ("gated", "path through u missing", "missing", ["dh_{t-1} lacks the term Uuᵀ da_{u,t}"], ""),
    ("gated", "Ug transposed", "transposed", ["Ug and its transpose are exchanged"], ""),
    ("gated", "two mistakes of sums", "sign", ["dWg has the term da_{g,t} x_tᵀ with the wrong sign", "dbu is divided by the batch B"], ""),
    ("two states", "dc not read", "missing", ["∂L/∂c_t, which the loss gives, is not added"], ""),
    ("two states", "path through o c missing", "missing", ["dz_t lacks the term dh_t ⊙ o_t"], ""),
    ("two states", "peephole path missing", "missing", ["dz_t lacks the term du_{o,t} ⊙ p"], ""),
    ("two states", "peephole reads the cell before", "misread", ["dp reads c_{t-1} in the place of c_t"], ""),
    ("two states", "da reads c after", "shifted", ["da reads c_{t-1} one step later"], ""),
    ("two states", "a forgotten in the carry", "factor", ["the factor a is forgotten"], ""),
    ("two states", "carry of h missing", "missing", ["dh_{t-1} lacks the term Uᵀ du_{z,t}"], ""),
    ("two states", "h cut after 3 steps", "truncated", ["dh_{t-1} is carried back through the last 2 steps alone"], ""),
    ("two states", "carry of c missing", "missing", ["dc_{t-1} lacks the term dz_t ⊙ a"], ""),
    ("slots", "path of the read to w missing", "missing", ["dw_t lacks the term M_{t-1} dr_t"], ""),
    ("slots", "softmax as identity", "factor", ["da_{w,t} has dw_t as it is"], ""),
    ("slots", "no slope of e", "factor", ["da_{e,t} has de_t as it is"], ""),
    ("slots", "f forgotten", "factor", ["the factor f is forgotten"], ""),
    ("slots", "path of the read missing", "missing", ["dM_{t-1} lacks the term w_t dr_tᵀ"], ""),
    ("slots", "path of the scores missing", "missing", ["dM_{t-1} lacks the term da_{w,t} q_tᵀ"], ""),
    ("bounded", "clip of the step before", "shifted", ["one step earlier"], ""),
    ("bounded", "other share", "misread", ["1 - g_t stands in the place of g_t"], ""),
    ("bounded", "dU reads the next state", "shifted", ["(g_t ⊙ h_{t-1})ᵀ of dU reads h_{t-1} one step later"], ""),
    ("bounded", "dk is a mean over all", "mean", ["dk is divided by the batch and the size n, B n"], ""),
    ("bounded", "states exchanged", "misread", ["dh_0 and ds_0 are exchanged"], ""),
    ("bounded", "path through the gate missing", "missing", ["dg_t lacks the term"], ""),
    ("bounded", "no slope of the gate", "factor", ["as it is"], ""),
    ("tokens", "rows are added once", "overwritten", ["rows of dE have one sample of those with the same index", "np.add.at"], NOW),
    ("tokens", "rows are assigned", "overwritten", ["rows of dE have the term that came last alone"], ""),
    ("tokens", "softmax by its diagonal", "slope", ["the slope is that of sigmoid"], ""),
    ("tokens", "dU before the slope", "misread", ["of dU is made of dh_t, not of da_{h,t}"], ""),
    ("tokens", "chunks without a start", "truncated", ["chunks of 2 steps", "and the initial state has nothing"], ""),
    ("tokens", "cut after 3 steps", "truncated", ["stops after 3 steps"], ""),
]  # fmt: skip


def planted() -> list[Any]:
    return [
        pytest.param(*row[:4], id=f"{row[0]}, {row[1]}", marks=[] if row[4] == NOW else [pytest.mark.long])
        for row in MISTAKES
    ]


@pytest.mark.parametrize(("name", "wrong", "kind", "words"), planted())
@pytest.mark.thinned(17, 2)
def test_planted_mistake_is_named(name: str, wrong: str, kind: str, words: list[str]) -> None:
    cell, backward = PASSES[name]
    report = sb.check_backward(cell, own.with_mistake(backward, wrong))
    assert not report.passed
    assert report.findings and report.findings[0].kind == kind
    text = str(report)
    assert all(part in text for part in words), text
    assert all(str(finding) in text for finding in report.findings)
    # What explains all leaves nothing to say that is not explained.
    assert all(finding.kind != "unexplained" for finding in report.findings)


PAIRS = [
    ("elman", ("no slope", "dU transposed"), ["the factor 1 - h_t² is forgotten", "the term da_t h_{t-1}ᵀ is transposed"]),
    ("elman", ("U transposed", "db is a mean"), ["U and its transpose are exchanged", "db is divided by the batch B"]),
    ("elman", ("slope at the value", "divided by B"), ["all gradients are divided by the batch B", "at the value h_t once more"]),
    ("elman", ("U transposed", "divided by T", "no slope"), ["divided by the steps T", "U and its transpose", "1 - h_t² is forgotten"]),
    ("elman", ("cut after 2 steps", "no slope"), ["stops after 2 steps", "what the last step of the loop hands on", "1 - h_t²"]),
    ("gated", ("no slope of tanh", "path through u missing"), ["1 - g_t² is forgotten", "dh_{t-1} lacks the term Uuᵀ da_{u,t}"]),
    ("gated", ("Ug transposed", "leak forgets u"), ["the factor 1 - u_t is forgotten", "Ug and its transpose are exchanged"]),
    ("gated", ("no u in slope", "no slope of tanh"), ["1 - g_t² is forgotten", "the factor u_t is forgotten"]),
    ("two states", ("peephole path missing", "carry of c missing"), ["dz_t lacks the term du_{o,t} ⊙ p", "dc_{t-1} lacks the term"]),
    ("two states", ("dc not read", "a forgotten in the carry"), ["∂L/∂c_t, which the loss gives, is not added", "the factor a is forgotten"]),
    ("bounded", ("path through the gate missing", "no slope of the gate"), ["dg_t lacks the term", "has dg_t as it is"]),
    ("elman", ("cut after 2 steps", "carry has the wrong sign"), ["stops after 2 steps", "Uᵀ da_t with the wrong sign"]),
    ("slots", ("no slope of e", "f forgotten"), ["da_{e,t} has de_t as it is", "the factor f is forgotten"]),
    ("slots", ("path of the scores missing", "softmax without its sum"), ["-w_tᵀ dw_t is forgotten", "dM_{t-1} lacks the term da_{w,t} q_tᵀ"]),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("name", "wrong", "words"), PAIRS, ids=[" and ".join(row[1]) for row in PAIRS])
@pytest.mark.thinned(1, 3)
def test_several_mistakes_are_told_apart(name: str, wrong: tuple[str, ...], words: list[str]) -> None:
    cell, backward = PASSES[name]
    report = sb.check_backward(cell, own.with_mistake(backward, own.Several(*wrong)))
    assert all(part in str(report) for part in words), str(report)
    assert all(finding.kind != "unexplained" for finding in report.findings)
    assert len(report.findings) == len(wrong)


@sb.cell
def two_gates(x: Input["n"], c: State["n"], F: Param["n n"], I: Param["n n"]):
    f = sb.sigmoid(F @ x)
    i = sb.sigmoid(I @ x + c)
    return f * c + i * np.tanh(x)


SLIPS = {
    "f, i": "f_t and i_t are exchanged",
    "da": "da_{i,t} and da_{f,t} are exchanged",
    "sign": "da_{f,t} has the term df_t ⊙ f_t ⊙ (1 - f_t) with the wrong sign",
    "no slope": "da_{i,t} has di_t as it is",
    "carry": "dc_{t-1} lacks the term dc_t ⊙ f_t",
}


def two_gates_backward(params: Any, inputs: Any, state: Any, cotangents: Any, slip: str = "", where: str = "") -> Any:
    """Written so that a slip may be made at the last step alone, at the first, or at all but one of these."""
    F, I = params["F"], params["I"]
    x, c, T = inputs["x"], [state["c"]], len(inputs["x"])
    gates = []
    for t in range(T):
        gates.append((1 / (1 + np.exp(-x[t] @ F.T)), 1 / (1 + np.exp(-x[t] @ I.T - c[t]))))
        c.append(gates[t][0] * c[t] + gates[t][1] * np.tanh(x[t]))
    sent, dx, dF, dI = cotangents["c"], np.zeros_like(x), np.zeros_like(F), np.zeros_like(I)
    dc = np.zeros_like(c[0]) if T or sent.ndim == 3 else sent
    for t in reversed(range(T)):
        is_end = t == {"last": T - 1, "first": 0}.get(where.removeprefix("not "), t)
        here = slip if is_end != where.startswith("not ") else ""
        dc = dc + (sent[t] if sent.ndim == 3 else sent * (t == T - 1))
        f, i = gates[t][::-1] if here == "f, i" else gates[t]
        da_f = dc * c[t] * f * (1 - f) * (-1 if here == "sign" else 1)
        da_i = dc * np.tanh(x[t]) * (1 if here == "no slope" else i * (1 - i))
        if here == "da":
            da_f, da_i = da_i, da_f
        dF, dI = dF + da_f.T @ x[t], dI + da_i.T @ x[t]
        dx[t] = da_f @ F + da_i @ I + dc * i * (1 - np.tanh(x[t]) ** 2)
        dc = da_i + (0 if here == "carry" else dc * f)
    return {"x": dx, "c": dc, "F": dF, "I": dI}


WHERE = {
    "last": "at the last step alone, ",
    "": "",
    "first": "at the first step alone, ",
    "not last": "at all steps but the last, ",
    "not first": "at all steps but the first, ",
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.thinned(59, 11)
def test_mistakes_of_some_steps_alone_are_named(slip: str, where: str) -> None:
    """What is wrong is told with where: at all steps, at the last or the first alone, or at all but that."""
    report = sb.check_backward(two_gates, partial(two_gates_backward, slip=slip, where=where))
    (finding,) = report.findings
    told = (finding.text, *finding.others)
    assert any(text.startswith(WHERE[where] + SLIPS[slip]) for text in told), str(report)


def test_the_backward_pass_of_two_gates_is_right_without_a_slip() -> None:
    assert sb.check_backward(two_gates, two_gates_backward).passed


@sb.cell
def rows(x: Input["n"], M: State["n n"], l: Param["n"], v: Param["n"]):
    return l[:, None] * M + np.outer(x, v)


@pytest.mark.long
@pytest.mark.parametrize(("scale", "total", "read", "words"), [
    ("bij,j->bij", "bij,bij->i", "bij,j->bi", "two axes of l are exchanged: rows for columns"),
    ("bij,i->bij", "bij,bij->j", "bij,j->bi", "of d(l), the sum goes over another axis"),
    ("bij,i->bij", "bij,bij->i", "bij,i->bj", "of dx_t, d(x_t vᵀ) and its transpose are exchanged"),
])  # fmt: skip
def test_rows_taken_for_columns_are_named(scale: str, total: str, read: str, words: str) -> None:
    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        x, l, v, Ms, sent = inputs["x"], params["l"], params["v"], [state["M"]], cotangents["M"]
        for row in x:
            Ms.append(l[:, None] * Ms[-1] + row[:, :, None] * v)
        dM, dl, dv, dx = np.zeros_like(state["M"]), np.zeros_like(l), np.zeros_like(v), np.zeros_like(x)
        if sent.ndim == 3:
            dM, sent = sent, np.zeros((len(x), *sent.shape))
        for t in reversed(range(len(x))):
            dM = dM + sent[t]
            dl += np.einsum(total, dM, Ms[t])
            dv += np.einsum("bij,bi->j", dM, x[t])
            dx[t] = np.einsum(read, dM, v)
            dM = np.einsum(scale, dM, l)
        return {"l": dl, "v": dv, "M": dM, "x": dx}

    assert words in (text := str(sb.check_backward(rows, backward))), text


@sb.cell
def rectified(x: Input["n"], h: State["n"], U: Param["n n"]):
    return sb.relu(x + U @ h)


@sb.cell
def narrow(x: Input["n"], h: State["n"], U: Param["n n"]):
    return np.clip(x + U @ h, -0.7, 0.7)


def with_slope(slope: Any, cell: Any) -> Any:
    """A backward pass of x + U h behind a function, whose slope is one of its argument."""

    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        x, U, hs, sent = inputs["x"], params["U"], [state["h"]], cotangents["h"]
        for row in x:
            hs.append(
                np.maximum(row + hs[-1] @ U.T, 0) if cell is rectified else np.clip(row + hs[-1] @ U.T, -0.7, 0.7)
            )
        dU, dx, dh = np.zeros_like(U), np.zeros_like(x), np.zeros_like(state["h"])
        if sent.ndim == 2:
            dh, sent = sent, np.zeros((len(x), *sent.shape))
        for t in reversed(range(len(x))):
            dx[t] = (dh + sent[t]) * slope(x[t] + hs[t] @ U.T)
            dU += dx[t].T @ hs[t]
            dh = dx[t] @ U
        return {"U": dU, "x": dx, "h": dh}

    return backward


@pytest.mark.thinned(13)
@pytest.mark.parametrize(("cell", "slope", "words"), [
    (narrow, lambda a: np.abs(a) > 0.7, "the slope is one where h_t is not a_t, and zero where it is"),
    (narrow, lambda a: (a > 0) & (a < 0.7), "the slope is zero where a_t is negative"),
    (narrow, lambda a: np.abs(a) < 1, "the slope is one where |a_t| < 1, and zero elsewhere"),
    (narrow, lambda a: np.abs(a) < 0.5, "the slope is one where |a_t| < 0.5, and zero elsewhere"),
    (narrow, lambda a: np.abs(a) < 2, "the slope is one where |a_t| < 2, and zero elsewhere"),
    (rectified, np.sign, "the slope is the sign of a_t"),
    (rectified, lambda a: np.where(a > 0, 1, 0.01), "the slope is that of leaky relu, 0.01 where a_t is negative"),
    (rectified, lambda a: np.where(a > 0, 1, 0.2), "the slope is that of leaky relu, 0.2 where a_t is negative"),
])  # fmt: skip
def test_the_slope_of_another_kink_is_named(cell: sb.Cell, slope: Any, words: str) -> None:
    report = sb.check_backward(cell, with_slope(slope, cell))
    assert [finding.kind for finding in report.findings] == ["slope"] and words in str(report), str(report)


@sb.cell
def soft(x: Input["n"], h: State["n"], U: Param["n n"]):
    return sb.softmax((x + U @ h) / 3)


def soft_backward(scale: float) -> Any:
    """A backward pass of it with another number in the place of 1 / 3."""

    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        x, U, hs, sent = inputs["x"], params["U"], [state["h"]], cotangents["h"]
        for row in x:
            e = np.exp((row + hs[-1] @ U.T) / 3)
            hs.append(e / e.sum(-1, keepdims=True))
        dU, dx, dh = np.zeros_like(U), np.zeros_like(x), np.zeros_like(state["h"])
        if sent.ndim == 2:
            dh, sent = sent, np.zeros((len(x), *sent.shape))
        for t in reversed(range(len(x))):
            dp = dh + sent[t]
            dx[t] = hs[t + 1] * (dp - np.sum(hs[t + 1] * dp, -1, keepdims=True)) * scale
            dU += dx[t].T @ hs[t]
            dh = dx[t] @ U
        return {"U": dU, "x": dx, "h": dh}

    return backward


@pytest.mark.thinned(5)
@pytest.mark.parametrize(("scale", "words"), [(1 / 9, "1/3"), (3.0, "9"), (0.123, "0.369"), (1 / 3, "")])
def test_a_term_that_is_multiplied_by_a_number_is_named_with_it(scale: float, words: str) -> None:
    report = sb.check_backward(soft, soft_backward(scale))
    assert report.passed == (not words)
    assert not words or f"da_t is multiplied by {words}" in str(report), str(report)


@pytest.mark.long
def test_words_of_mistakes_can_be_written_of_formulas_with_braces() -> None:
    """A page writes sums over indices with braces, which are no places for other words."""
    for cell in (CELLS["householder"], braces):
        at = point(cell, REGIMES[0], Size(3, 2), 1)
        problem = Problem(cell, sb.derive(cell), None, at, oracle.cotangents(cell, at, 7))
        part = Part(CELL, Words(problem.page, cell), problem.tape)
        texts = [mistake.words() for mistake in (*edge_mistakes(part), *shifted_mistakes(part))]
        assert all("{term}" not in text and "{bar}" not in text for text in texts)


@sb.cell
def braces(x: Input["m"], h: State["n n"], A: Param["n n n"], W: Param["n m"]):
    return np.tanh(np.einsum("ijk,kj->ik", A, h) + (W @ x)[:, None])


def test_every_mistake_in_the_texts_is_in_the_table() -> None:
    """Those that are no mistakes of numbers, and those that explain nothing, have tests of their own."""
    written = {
        (name, mistake)
        for name, (_, backward) in PASSES.items()
        for mistake in re.findall(r'wrong [!=]= "([^"]+)"', inspect.getsource(backward))
    }
    others = {("elman", "a number more"), ("elman", "NaN"), ("elman", "dx as a list"), ("gated", "two mistakes")}
    assert {row[:2] for row in MISTAKES} == written - others


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.thinned(5)
def test_right_backward_passes_and_nothing_is_found(name: str) -> None:
    cell, backward = PASSES[name]
    report = sb.check_backward(cell, backward)
    assert report.passed and report.findings == () and report.remarks == ()


def test_lists_of_an_array_a_step_are_read() -> None:
    assert sb.check_backward(own.elman, own.with_mistake(own.elman_backward, "dx as a list")).passed


@pytest.mark.long
def test_difference_that_no_mistake_explains_is_said_so_with_its_place() -> None:
    report = sb.check_backward(own.elman, own.with_mistake(own.elman_backward, "a number more"))
    (finding,) = report.findings
    assert report.wrong == ("db",)
    assert finding.kind == "unexplained"
    assert re.search(
        r"explains db; it is farthest off in db, entry \d: \S+ where \S+ is due, at T = 4, B = 3", finding.text
    )


def test_matching_to_less_than_rounding_would_name_a_mistake_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault of the search: differences that agree to their own size only."""
    monkeypatch.setattr(draws, "SAME", 2.0)
    report = sb.check_backward(own.elman, own.with_mistake(own.elman_backward, "a number more"))
    assert report.findings[0].kind != "unexplained"


def test_numbers_that_are_not_finite_are_told() -> None:
    report = sb.check_backward(own.elman, own.with_mistake(own.elman_backward, "NaN"))
    assert [finding.kind for finding in report.findings] == ["not finite"]
    assert "NaN or infinity in dU, where the derivative is finite" in str(report)


def test_what_is_wrong_without_steps_alone_is_told() -> None:
    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        found = own.elman_backward(params, inputs, state, cotangents)
        return found if len(inputs["x"]) else {**found, "b": found["b"] + 1}

    report = sb.check_backward(own.elman, backward)
    assert report.wrong == ("db",)
    assert "T = 0" in str(report.findings[0])


@pytest.mark.long
def test_truncation_beyond_the_small_draws_is_found() -> None:
    """A loop that stops after ten steps is right on short series."""

    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        T = len(inputs["x"])
        k = min(T, 10)
        cut = {name: value[T - k :] if value.ndim > 2 else value for name, value in cotangents.items()}
        before = state
        for t in range(T - k):
            before = {"h": np.tanh(inputs["x"][t] @ params["W"].T + before["h"] @ params["U"].T + params["b"])}
        found = own.elman_backward(params, {"x": inputs["x"][T - k :]}, before, cut)
        return {**found, "x": np.concatenate([np.zeros_like(inputs["x"][: T - k]), found["x"]])}

    report = sb.check_backward(own.elman, backward)
    assert report.findings[0].kind == "truncated"
    assert "stops after 10 steps" in str(report)


@pytest.mark.parametrize("name", ["elman", "slots"])
def test_derivation_on_numbers_is_that_of_the_function(name: str) -> None:
    """The numbers that explanations are compared with, against complex steps through the user's function."""
    cell, _ = PASSES[name]
    at = point(cell, REGIMES[0], Size(3, 2), 5)
    sent = oracle.cotangents(cell, at, 6)
    problem = Problem(cell, sb.derive(cell), None, at, sent)
    value = value_of(cell, sent, at)
    found = problem.gradients(Draft())
    for label, block in blocks(at, oracle.differentiable(cell)).items():
        wanted = complex_step(value, at, block)
        np.testing.assert_allclose(found[block[:2]][block[2]], wanted, rtol=1e-11, atol=1e-13, err_msg=label)


@pytest.mark.parametrize("name", sorted(CELLS))
@pytest.mark.thinned(29, 4)
def test_derivation_on_numbers_gives_the_gradients_of_the_kernel(name: str) -> None:
    cell = CELLS[name]
    at = point(cell, REGIMES[0], Size(4, 3), 1)
    sent = oracle.cotangents(cell, at, 7)
    kernel = sb.compile(cell)
    grads = kernel.backward(kernel.forward(at.params, at.inputs, at.state, steps=4), sent)
    found = Problem(cell, sb.derive(cell), None, at, sent).gradients()
    assert {group for group, _ in found} == {"params", "inputs", "state"} - ({"inputs"} if not grads.inputs else set())
    for (group, key), value in found.items():
        wanted = getattr(grads, group)[key]
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-13 * max(np.max(np.abs(wanted)), 1e-3), err_msg=key)


@sb.cell
def plain(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    return np.tanh(W @ x + U @ h + b)


@sb.loss
def halved_error(h: State["n"], y: Target["k"], R: Param["k n"]):
    e = R @ h - y
    return sb.sum(e * e) / 2


def trained(at: str, reduction: str, wrong: str) -> Any:
    """A backward pass of the model above, written by hand over that of the cell."""

    def backward(params: Any, inputs: Any, state: Any, targets: Any) -> Any:
        x, R = inputs["x"], params["R"]
        T, B = x.shape[:2]
        own_params = {k: params[k] for k in ("W", "U", "b")} | {"V": np.zeros((1, len(params["b"]))), "d": np.zeros(1)}
        hs = [state["h"]]
        for t in range(T):
            hs.append(np.tanh(x[t] @ params["W"].T + hs[-1] @ params["U"].T + params["b"]))
        weight = 1.0
        if reduction == "mean" and wrong != "a sum for the mean":
            weight = 1 / (B if at == "last" else T * B) if T else 0.0
        dh, dR = np.zeros((T, *state["h"].shape)), np.zeros_like(R)
        for t in range(T) if at == "every" else range(max(T - 1, 0), T):
            e = hs[t + 1] @ R.T - (targets["y"][t] if at == "every" else targets["y"])
            e = weight * (2 * e if wrong == "derivative of a whole square" else e)
            dR += e.T @ hs[t + 1]
            dh[t] = e @ R
        found = own.elman_backward(own_params, inputs, state, {"h": dh}, wrong)
        return {k: v for k, v in found.items() if k not in ("V", "d")} | {"R": dR}

    return backward


@pytest.mark.long
@pytest.mark.parametrize(("at", "reduction", "wrong", "words"), [
    ("every", "mean", "a sum for the mean", "all gradients are multiplied by the steps and the batch, T B"),
    pytest.param("every", "sum", "", "", marks=pytest.mark.long),
    pytest.param("last", "mean", "", "", marks=pytest.mark.long),
    pytest.param("last", "mean", "a sum for the mean", "all gradients are multiplied by the batch B", marks=pytest.mark.long),
    pytest.param("every", "sum", "derivative of a whole square", "all gradients are twice what they should be", marks=pytest.mark.long),
    pytest.param("last", "sum", "U transposed", "U and its transpose are exchanged", marks=pytest.mark.long),
    pytest.param("every", "mean", "no slope", "the factor 1 - h_t² is forgotten", marks=pytest.mark.long),
])  # fmt: skip
@pytest.mark.thinned(1, 2)
def test_backward_pass_of_a_model_is_explained(at: str, reduction: str, wrong: str, words: str) -> None:
    model = sb.model(plain, halved_error, at=at, reduction=reduction)
    report = sb.check_backward(model, trained(at, reduction, wrong))
    assert report.passed == (not wrong)
    assert words in str(report)
    assert bool(report.findings) == bool(wrong)


SOURCE = """
import numpy as np
import symbptt as sb
from symbptt import Input, Param, State

@sb.cell
def ring(x: Input["n"], h: State["n"], u: Param["n"]):
    return np.tanh(x + u * h)
"""
BACKWARD = """
import numpy as np

def mine(params, inputs, state, cotangents, slope=lambda h: 1 - h * h):
    x, u, sent = inputs["x"], params["u"], cotangents["h"]
    hs = [state["h"]]
    for row in x:
        hs.append(np.tanh(row + u * hs[-1]))
    dh, du, dx = np.zeros_like(state["h"]), np.zeros_like(u), np.zeros_like(x)
    if sent.ndim == 2:
        dh, sent = dh + sent, np.zeros_like(x)
    for t in reversed(range(len(x))):
        da = (dh + sent[t]) * slope(hs[t + 1])
        du += (da * hs[t]).sum(0)
        dx[t] = da
        dh = da * u
    return {"x": dx, "h": dh, "u": du}

def theirs(*arguments):
    return mine(*arguments, slope=lambda h: 1.0)

number = 3
"""


@pytest.fixture
def files(tmp_path: Any) -> Any:
    (tmp_path / "cells.py").write_text(SOURCE)
    (tmp_path / "backward.py").write_text(BACKWARD)
    return tmp_path


def test_command_checks_code_in_files(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["check", f"{files}/cells.py:ring", f"{files}/backward.py:mine"]) == 0
    assert "ring: passed" in capsys.readouterr().out
    assert command(["check", f"{files}/cells.py:ring", f"{files}/backward.py:theirs"]) == 1
    out = capsys.readouterr().out
    assert "the factor 1 - h_t² is forgotten" in out and "cells.py:8: return np.tanh(x + u * h)" in out


@pytest.mark.parametrize(("target", "said"), [
    ("backward.py:mime", "has no function 'mime'; did you mean mine?"),
    ("backward.py:number", "number of backward.py is no function but a value of type int"),
    ("backward.py", "a function is named as path/to/backward.py:name"),
    ("none.py:mine", "there is no file"),
])  # fmt: skip
def test_command_refuses_what_is_no_function(
    files: Any, target: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    assert command(["check", "cells.py:ring", target]) == 2
    assert said in capsys.readouterr().err
