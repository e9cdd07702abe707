"""The kinds of wrong gradients that real cases have found, each put back: `sb.verify` alone catches every one.

`tests/test_verify_copies.py` puts some of them back into a copy of the generator; here each stands once, in a module's text or in
a rule, and the levels that see it are named: the numeric ones ("n") and the proof ("p"). Items 4, 6 and 13 to 22 of that issue are
not among them: an expression that overflows leaves the user's own function without a value to compare with, sums in single precision
are right but for digits, and the others are no gradients.
"""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State
from symbptt.codegen.kernel import Kernel
from symbptt.verification.checks import rows
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.prove import line_of
from symbptt.verification.proof.subjects import subjects_of
from symbptt.verification.requests import NOTHING
from symbptt.zoo import min_gru
from tests.kernels import kernel_of

pytestmark = pytest.mark.proof


@sb.cell
def bag(i: Index["v"], h: State["n"], E: Param["v n"]):
    return 0.5 * h + E[i]


@sb.cell
def bent_bag(i: Index["v"], h: State["n"], E: Param["v n"]):
    return np.tanh(h) + E[i]


@sb.cell
def forgets(x: Input["n"], h: State["n"], w: Param["n"], a: Param["n"], c: State["n"]):
    h = w * x
    return {"h": h, "c": sb.sigmoid(a) * c + x, "y": 2 * h}


@sb.cell
def plain(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return np.tanh(W @ x + U @ h)


@sb.cell
def means(x: Input["m"], q: Input["n"], s: State, p: Param["m+n"]):
    return 0.1 * s * (np.mean(p) + s) + np.sum(x) * np.sum(q)


@sb.cell
def rolled(x: Input["n"], h: State["n"], w: Param["n"]):
    return np.tanh(w * np.roll(h, 1) + x)


@sb.cell
def saturating(x: Input["n"], h: State["n"], b: Param["n"]):
    return np.tanh(x + b) * sb.sigmoid(h + b)


BEHIND = "if active is not None and name in last and full[name] is not None:"
TEXTS: dict[str, tuple[str, Any, str, str]] = {
    "1: a room of one block for what a table collects": ("np", bag, "dh_all = ws.room((T, B, n)", "dh_all = ws.room((K, B, n)"),
    "1: each block collects at the begin of the room": ("np", bag, "(dh_all[lo:hi],)", "(dh_all[: hi - lo],)"),
    "2: an output is counted twice": ("np", forgets, '"w": dw', '"w": 2 * dw'),
    "5: cotangents behind the end of a sample": ("np", plain, BEHIND, "if False:"),
    "7: a size without brackets": ("np", means, "(m+n)", "m+n"),
    "8: an error at run time": ("np", plain, "    ws.give((da_dh", "    ws.take((da_dh"),
    "9: a module that is no Python": ("np", plain, "def _backward(", "def _backward(("),
    "10: another value than NumPy's": ("np", rolled, "((n-1, None), (0, n-1)))\n    for t, v_a_1_t", "((0, 1), (1, None)))\n    for t, v_a_1_t"),
    "11: digits where gates saturate": ("n", saturating, "    least = LEAST[rest.dtype.itemsize]", "    return rest\n    least = LEAST[rest.dtype.itemsize]"),
    "12: the first block of steps": ("np", plain, "for hi in range(T, 0, -K):", "for hi in range(T, T % K if T > K else 0, -K):"),
    "12: the last block of steps": ("np", plain, "for lo in range(0, T, K):", "for lo in range(0, max(T - T % K, 1), K):"),
    "12: the end of a window of a scan": ("np", min_gru, "np.add(end, 0 if own is None else own[-1], out=v[-1])", "np.copyto(v[-1], end)"),
    "12: coefficients of a scan that are repeated": ("np", forgets, "out[:many]", "out[-many:]"),
    "12: the last window of a scan": ("np", min_gru, "for k in range(0, m, s)]", "for k in range(0, m - m % s, s)]"),
}  # fmt: skip


def levels_of(target: Any) -> str:
    """The levels that catch a cell or a kernel."""
    kernel = target if isinstance(target, Kernel) else sb.compile(target)
    numeric = any(not row.passed for row in rows(kernel, 0))
    cases = Cases(0, NOTHING)
    lines = (line_of(subject, setting, cases) for subject, settings in subjects_of(kernel) for setting in settings)
    return "n" * numeric + "p" * any(line.wrong for line in lines)


SLOW = ("12: coefficients of a scan that are repeated",)
"""Kinds that need many steps to show."""


@pytest.mark.parametrize("kind", [pytest.param(x, marks=[pytest.mark.long] * (x in SLOW)) for x in TEXTS])
@pytest.mark.thinned(11)
def test_kind_in_a_text_is_caught(kind: str) -> None:
    levels, target, old, new = TEXTS[kind]
    kernel = kernel_of(target)
    assert old in kernel.source, old
    assert levels_of(Kernel(target, kernel.program, kernel.source.replace(old, new))) == levels


def test_branch_that_is_not_taken_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Item 3: an adjoint of the other branch that is infinite, times zero."""
    monkeypatch.setattr("symbptt.autodiff.vjp.guarded", lambda g, guard, flowing, product: product)
    monkeypatch.setattr("symbptt.autodiff.vjp.within", lambda g, guard, x: x)

    @sb.cell
    def logged(x: Input["n"], h: State["n"], w: Param["n"]):
        return 0.5 * h + np.where(x > 0, np.log(w * w * x), 0)

    assert "n" in levels_of(logged)
