"""The gradients of complex modules over the residues a + b i: exact where they are right, named where they are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State
from symbptt.codegen.kernel import Kernel
from symbptt.verification.pairs import PairedKernel
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.extension import gaussian
from symbptt.verification.proof.field import P
from symbptt.verification.proof.general_loss import general_loss
from symbptt.verification.proof.prove import line_of
from symbptt.verification.proof.results import Line
from symbptt.verification.proof.settings import FEW, PLAIN, Setting
from symbptt.verification.proof.subjects import of_kernel
from symbptt.verification.regimes import REGIMES
from symbptt.verification.requests import NOTHING
from symbptt.verification.rounding.measure import rounding_of
from tests.complex_cells import CELLS

Body = Callable[..., Any]
BODIES: dict[str, Body] = {
    "exp": lambda x, h, W, a, i: np.exp(0.1 * (W @ h)) + np.exp(1j * a) * x,
    "circular": lambda x, h, W, a, i: np.sin(W @ h) * np.cos(x) + np.sinh(a * h) * np.cosh(h) + np.tanh(h),
    "powers": lambda x, h, W, a, i: (W @ h) ** 3 + x**-2 + np.square(h) / (x * h + 2) + 1 / x,
    "conjugates": lambda x, h, W, a, i: np.conj(W).T @ h + h.conj() * x + np.vdot(x, h),
    "parts": lambda x, h, W, a, i: (W @ h).real + 1j * h.imag * a + np.real(x) * np.imag(h),
    "modulus": lambda x, h, W, a, i: h / np.abs(h) * sb.relu(np.abs(W @ x) + a),
    "angle": lambda x, h, W, a, i: np.angle(x) * h + np.abs(h) ** 2 * x,
    "chosen": lambda x, h, W, a, i: np.where(a > 0, W @ h, x) + np.maximum(x.real, a) * h,
    "products": lambda x, h, W, a, i: np.dot(W, h) + np.outer(h, x) @ x + np.einsum("ij,j->i", W, np.conj(h)),
    "sums": lambda x, h, W, a, i: h * np.sum(x) + np.mean(h) * x + np.cumsum(h) + np.prod(np.stack([h, x]), axis=0),
    "moved": lambda x, h, W, a, i: np.concatenate([h[1:], x[:1]]) + np.roll(h, 1) + W.T @ h + W[0] * W[:, 1],
    "a table": lambda x, h, W, a, i: W[i] * h + W[:, i] * x,
    "a number": lambda x, h, W, a, i: (0.3 + 0.5j) * h + 1j * x * a,
}


def cell_of(body: Body) -> sb.Cell:
    @sb.cell
    def made(
        x: Input["n", complex], h: State["n", complex], W: Param["n n", complex], a: Param["n"], i: Index["n"]
    ) -> Any:
        return body(x, h, W, a, i)

    return made


def line(kernel: Kernel, setting: Setting) -> Line:
    paired = PairedKernel(kernel)
    return line_of(of_kernel("module", paired), setting, Cases(0, NOTHING))


@pytest.mark.filterwarnings("ignore:the (index|input|param) .* is never used")
@pytest.mark.thinned(11, 5)
@pytest.mark.parametrize("name", BODIES)
def test_gradients_of_complex_modules_are_exact(name: str) -> None:
    kernel = sb.compile(cell_of(BODIES[name]))
    for setting in (PLAIN[3], FEW[1]):
        found = line(kernel, setting)
        assert {"h", "dW", "dh_0", "dx[t=0]"} <= {*found.blocks} and not found.wrong, (found.wrong, found.note)


PLANTS = [
    ("np.conj(h_in[lo:hi], out=conj_h_in_b)", "np.copyto(conj_h_in_b, h_in[lo:hi])", "dh_0"),
    ("np.conj(h_prev[lo:hi], out=v__b)", "np.copyto(v__b, h_prev[lo:hi])", "dW"),
    ("np.add.at(sums, ", "np.add.at(sums.real, ", "dW"),
    ("flow[k][t] = _norm(d)", "flow[k][t] = _norm(d.real)", "norm of dh"),
]


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.thinned(3)
@pytest.mark.parametrize(("old", "new", "block"), PLANTS)
def test_a_planted_mistake_in_a_complex_module_is_named(old: str, new: str, block: str) -> None:
    kernel = sb.compile(cell_of(lambda x, h, W, a, i: W[i] * h + a * x))
    assert old in kernel.source
    other = Kernel(kernel.target, kernel.program, kernel.source.replace(old, new))
    assert block in line(other, FEW[1]).wrong


@pytest.mark.parametrize("error", [0.0, 1e-12])
def test_rounding_of_a_complex_module_is_measured(error: float) -> None:
    """The planted mistake: a gradient that is off by 10⁻¹² of itself, which no comparison in floats counts."""
    kernel = sb.compile(cell_of(lambda x, h, W, a, i: np.tanh(W @ h) * np.exp(1j * a) + x * h[i]))
    text = re.sub(r'(return {"W": )dW', rf"\g<1>{1 + error!r} * dW", kernel.source)
    assert (text != kernel.source) and "exp" in text
    paired = PairedKernel(Kernel(kernel.target, kernel.program, text))
    found = rounding_of(paired, steps=4, regimes=REGIMES[:1])
    assert found.wrong == (("dW",) if error else ()) and len(found.lines) == 2, str(found)


def test_losses_of_a_complex_cell_alone_are_proved() -> None:
    """The planted mistake: a conjugate that is forgotten, which a loss of both parts of every value sees."""
    cell = cell_of(lambda x, h, W, a, i: W[i] * h + a * x)
    kernel = sb.compile(sb.model(cell, general_loss(cell), at="last", reduction="mean"))
    assert not line(kernel, FEW[1]).wrong and "loss" in line(kernel, FEW[1]).blocks
    text = kernel.source.replace("np.conj(h_in[lo:hi], out=conj_h_in_b)", "np.copyto(conj_h_in_b, h_in[lo:hi])")
    assert text != kernel.source and "dh_0" in line(Kernel(kernel.target, kernel.program, text), FEW[1]).wrong


def test_the_conjugate_is_the_power_p_of_an_element() -> None:
    z = gaussian(np.array([3.0 + 5.0j, P - 7.0 + 11.0j]))
    power, square, exponent = gaussian(np.ones(2, complex)), z, P
    while exponent:
        power = power * square if exponent % 2 else power
        square, exponent = square * square, exponent // 2
    assert np.array_equal(np.asarray(power), np.asarray(np.conj(z)))
    assert np.array_equal(np.asarray(z / z), np.ones(2))


@pytest.mark.proof
@pytest.mark.long
@pytest.mark.thinned(1, 5)
@pytest.mark.parametrize("name", ["lru", "parts", "s4d", "s5", "urnn"])
def test_cells_of_papers_are_proved(name: str) -> None:
    report = sb.verify(CELLS[name])
    assert report.passed and report.proof is not None and not report.proof.unproved, str(report)
    assert "field" in [level.name for level in report.certificate.levels]
    assert report.rounding is not None and "rounding: passed" in report.certificate.lines
    assert "loss at the last step, mean" in str(report.proof)
