"""Verification of cells with kinks, ties, zeros and spikes: none is called wrong, and each planted mistake is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Index, Input, Param, State, Target
from symbptt.codegen.kernel import Kernel
from symbptt.verification import checks as verification
from symbptt.verification import oracle
from symbptt.verification.checks import rows
from symbptt.verification.complex_step import analytic
from symbptt.verification.finite_differences import slope
from symbptt.verification.regimes import REGIMES, SIZES, Size
from symbptt.verification.regimes import point as draw

fires = sb.function("fires", lambda v: (1 + sp.sign(v)) / 2, derivative=lambda v: 1 / (1 + v**2))


@sb.cell
def extrema(x: Input["n"], h: State["n"], H: State["n n"], W: Param["n n"]):
    m = sb.max(H, axis=0) - np.min(H, axis=1)
    return np.tanh(W @ h + x + m + h.max()), 0.5 * H + np.outer(m, h)


@sb.cell
def tied(x: Input["n"], h: State["n"], c: State["n"], w: Param["n"]):
    return 0.5 * np.maximum(h, c) + x, np.minimum(h, w * c) + 0.1 * x


@sb.cell
def lengths_of(x: Input["n"], h: State["n"], w: Param["n"]):
    return w * h / (1 + sb.norm(h)) + x * np.linalg.norm(h) + np.std(h) + abs(x @ h)


@sb.cell
def bounded(x: Input["n"], h: State["n"], w: Param["n"]):
    return np.clip(w * h + 1, -1, 1) + sb.relu(h) + sb.hard_sigmoid(3 + h) + np.where(h > 0, x * h, -x)


@sb.cell
def roots(x: Input["n"], h: State["n"], w: Param["n"]):
    return np.sqrt(h * h) * w + x


@sb.cell
def in_place(x: Input["n"], h: State["n"], W: Param["n n"]):
    h *= 0.5
    h += np.tanh(W @ x)
    x *= 2.0
    return h + x * h


@sb.cell
def from_zero(x: Input["n"], h: State["n"], W: Param["n n"], a: Param = 0.0):
    return np.tanh(W @ x + a * h)


@sb.cell
def stabilised(x: Input["n"], c: State["n"], s: State["n"], m: State["n"], W: Param["n n"], f: Param["n"]):
    top = np.maximum(f + m, W @ x)
    i, g = np.exp(W @ x - top), np.exp(f + m - top)
    return g * c + i * np.tanh(x), g * s + i, top


@sb.cell
def spiking(x: Input["m"], v: State["n"], s: State["n"], W: Param["n m"], R: Param["n n"]):
    v = 0.9 * v + W @ x + R @ s - s
    return v, fires(v - 1.0)


@sb.cell
def embedded(i: Index["v"], h: State["n"], E: Param["v n"], F: Param["n v"]):
    return np.tanh(np.cumsum(E[i] + h)) * F[:, i] + sb.softmax(h)


@sb.loss
def margin(h: State["n"], y: Target["k"], V: Param["k n"]):
    return np.sum(np.maximum(0, 1 - y * (V @ h))) + np.abs(y - V @ h).max()


@sb.loss
def classes(h: State["n"], label: Index["k"], V: Param["k n"], d: Param["k"]):
    return -sb.log_softmax(V @ h + d)[label] + 0.1 * np.linalg.norm(V) + np.max(np.abs(d))


CELLS: list[sb.Cell] = [
    extrema, tied, lengths_of, bounded, roots, in_place, from_zero, stabilised, spiking, embedded
]  # fmt: skip
MODELS = [sb.model(from_zero, margin, at="last"), sb.model(from_zero, classes, reduction="mean")]
EVERY = pytest.mark.parametrize("target", [*CELLS, *MODELS], ids=lambda target: target.name)


@pytest.fixture
def two_regimes(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [regime for regime in verification.REGIMES if regime.name in ("healthy", "zero state")]
    monkeypatch.setattr(verification, "REGIMES", tuple(chosen))


@EVERY
@pytest.mark.thinned(23, 5)
def test_kinks_ties_and_zeros_are_not_called_wrong(target: Any, two_regimes: None) -> None:
    report = sb.verify(target)
    assert report.passed, str(report)
    compared = [row for row in report.rows if row.regime == "healthy"]
    assert not any(row.note for row in compared)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
@EVERY
@pytest.mark.thinned(1, 11)
def test_kinks_ties_and_zeros_are_not_called_wrong_in_any_regime(target: Any, seed: int) -> None:
    report = sb.verify(target, seed=seed)
    assert report.passed, str(report)


def test_parameter_whose_default_is_zero_is_moved_away_from_it() -> None:
    for regime in [regime for regime in verification.REGIMES if not regime.exact]:
        assert draw(from_zero, regime, SIZES[0], seed=0).params["a"] != 0


MUTATIONS = (
    (" + ", " - "), (" - ", " + "), (" * ", " / "), (" @ ", " @ -"), ("np.sign(", "np.cos("),
    (" > ", " < "), (" == ", " != "), ("np.where(", "np.where(~"), (" += ", " -= "), ("np.add(", "np.subtract("),
    ("np.subtract(", "np.add("), ("np.multiply(", "np.divide("), ("np.greater(", "np.less("), ("np.less(", "np.greater("),
)  # fmt: skip
NO_RULE = ("range", "np.empty", "np.zeros", "tape", "flow", "def ", "raise", "_kept", "if ", "ws.room", "K =", "hi - lo",
           "[lo:hi]", "given[t]", "_sharpened(")  # fmt: skip


def mutants(text: str) -> list[str]:
    """The module with one line of the backward pass changed, once for each place."""
    start, end = text.index("def _backward"), text.index("\ndef forward(")
    lines = text[start:end].split("\n")
    found = []
    for number, line in enumerate(lines):
        code, mark, comment = line.partition("  #")
        for old, new in MUTATIONS:
            if old in code and not code.strip().startswith("#") and not any(word in code for word in NO_RULE):
                changed = [*lines[:number], code.replace(old, new, 1) + mark + comment, *lines[number + 1 :]]
                found.append(text[:start] + "\n".join(changed) + text[end:])
    return found


def verdict(cell: sb.Cell, text: str, kernel: Kernel) -> str:
    """What becomes of a mutant: "wrong" as verification says, "broken" where it does not run, else "passed"."""
    try:
        return "wrong" if any(not row.passed for row in rows(Kernel(cell, kernel.program, text), 0)) else "passed"
    except (ValueError, TypeError, IndexError):
        return "broken"


def is_equivalent(cell: sb.Cell, text: str, kernel: Kernel) -> bool:
    """Answer whether a mutant gives the same gradients on random data, but for rounding."""
    other = Kernel(cell, kernel.program, text)
    for seed in range(20):
        point = draw(cell, REGIMES[seed % 3], Size(3, 2), seed)
        cotangents = oracle.cotangents(cell, point, seed)
        one, two = (
            one.backward(one.forward(point.params, point.inputs, point.state), cotangents) for one in (kernel, other)
        )
        for name in ("params", "inputs", "state"):
            for key, value in getattr(one, name).items():
                if not np.allclose(value, getattr(two, name)[key], rtol=1e-12, atol=1e-12):
                    return False
    return True


@pytest.mark.parametrize(
    ("cell", "every"),
    [
        pytest.param(bounded, 4, id="some of bounded"),
        *(pytest.param(cell, 1, id=cell.name, marks=pytest.mark.long) for cell in CELLS),
    ],
)
@pytest.mark.thinned(1, 2)
def test_no_mutant_of_a_cell_with_kinks_survives(cell: sb.Cell, every: int, two_regimes: None) -> None:
    kernel = sb.compile(cell)
    found = {text: verdict(cell, text, kernel) for text in list(mutants(kernel.source))[::every]}
    assert sum(verdict == "wrong" for verdict in found.values()) > 3 // every
    assert sum(verdict == "broken" for verdict in found.values()) < len(found) / 3
    survivors = [t for t, verdict in found.items() if verdict == "passed" and not is_equivalent(cell, t, kernel)]
    assert not survivors, set(survivors[0].split("\n")) - set(kernel.source.split("\n"))


PLANTED = {
    "an adjoint crosses a reset": ("d[...] = _kept(~reset[t], d)", "pass"),
    "an initial state without a reset's part": ("total += _kept(reset[t], d)", "pass"),
    "an adjoint is lost behind the end": ("d += aside", "pass"),
    "padded steps count": ("d[...] = _kept(active, d)", "pass"),
    "a reset keeps the state": (
        "x = after[t] if reset is None else _where(reset[t], initial, after[t])",
        "x = after[t]",
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.thinned(5)
def test_mistake_at_ends_and_resets_is_seen(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "REGIMES", tuple(regime for regime in REGIMES if regime.padded))
    kernel = sb.compile(from_zero)
    assert sb.verify(kernel).passed
    old, new = PLANTED[planted]
    assert kernel.source.count(old) == 1
    assert sb.verify(Kernel(from_zero, kernel.program, kernel.source.replace(old, new))).wrong


def test_sizes_of_named_dimensions_all_differ() -> None:
    @sb.cell
    def many(x: Input["a"], h: State["b"], M: Param["b a"], N: Param["c d"], O: Param["d e"], P: Param["e f"]):
        return np.tanh(M @ x) * h + np.sum(N @ O @ P)

    sizes = {size for value in draw(many, REGIMES[0], SIZES[0], 0).params.values() for size in value.shape}
    assert len(sizes) == 6


# What the oracle stands on.


@pytest.mark.parametrize("function", [
    np.linalg.norm, np.max, np.min, np.std, np.var, sb.norm, lambda v: v.max(), lambda v: np.abs(np.sum(v)),
    lambda v: abs(v[1]), lambda v: np.abs(np.einsum("i,i->", v, v[::-1])), lambda v: np.vdot(v, v), lambda v: v.std(),
    lambda v: np.abs(np.where(v > 0, v, 2 * v)).sum(), lambda v: abs(v.dot(v[::-1])), lambda v: np.sum(v.conj() * v),
    lambda v: np.vecdot(v, v), lambda v: np.vecmat(v, np.outer(v, v)).sum(),
])  # fmt: skip
def test_no_function_loses_the_tangent_of_a_complex_step(function: Callable[..., Any]) -> None:
    v, d = np.array([0.3, -1.2, 0.7]), np.array([0.5, 0.25, -1.0])
    wanted = (function(v + 1e-6 * d) - function(v - 1e-6 * d)) / 2e-6
    found = function(analytic(v + 1e-40j * d))
    np.testing.assert_allclose(np.imag(found) / 1e-40, wanted, rtol=1e-7)
    assert np.real(found) == function(v)


@pytest.mark.parametrize("at", [0.0, 1e-7, 3e-6, 1e-3, -2e-5, 5e-3])
def test_difference_over_a_kink_is_not_trusted(at: float) -> None:
    found, error = slope(lambda s: np.abs(s - at) + np.sin(s))
    wanted = 1.0 - np.sign(at)
    assert abs(found - wanted) <= 1e-8 + error


def test_difference_of_a_smooth_function_is() -> None:
    found, error = slope(lambda s: np.exp(2 * s))
    assert abs(found - 2) <= 10 * error <= 1e-8
