"""SciPy in a cell: its functions of Python and its sparse constants, beside SciPy's own values and complex steps by hand."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy
import scipy.linalg
import scipy.sparse
import scipy.special
from numpy import eye, zeros
from scipy import linalg, special
from scipy.special import expit, softmax

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.language import namespaces, scipy_names
from tests import oracle
from tests.kernels import kernel_of

SIZES = {"n": 4}
LINKS = scipy.sparse.csr_array(np.array([[0.0, 1, 0, 2], [1, 0, 0, 0], [0, 0.5, 0, 0], [3, 0, 1, 0]]))
HOLDER = SimpleNamespace(S=LINKS)
MATRIX = scipy.sparse.csc_matrix(LINKS)


@sb.cell
def gated(x: Input["n"], h: State["n"], U: Param["n n"], b: Param["n"]):
    p = softmax(U @ h + b)
    return expit(x) * p + np.exp(special.log_softmax(U * x, axis=1)) @ h + scipy.special.logsumexp(U, axis=1)


@sb.cell
def whole(x: Input["n"], h: State["n"], U: Param["n n"]):
    """Without an axis SciPy's functions take all entries."""
    return np.tanh(special.softmax(U * x).sum(0) + special.log_softmax(U)[0] + special.logsumexp(U) * h)


@sb.cell
def solved(x: Input["n"], h: State["n"], A: Param["n n"]):
    M = A @ A.T + eye(h.shape[0]) + zeros((h.shape[0], h.shape[0]))
    L = linalg.cholesky(M, lower=True)
    y = linalg.solve(M, h + x) + linalg.solve(A + 3 * M, x, transposed=True) + linalg.cho_solve(linalg.cho_factor(M), h)
    y = y + linalg.solve_triangular(L, x, lower=True) + linalg.solve_triangular(M, h, trans="T")
    return np.tanh(y * linalg.det(M) / 100 + scipy.linalg.expm(0.1 * A) @ h + linalg.inv(M) @ x + linalg.norm(A))


@sb.cell
def on_links(x: Input["4"], h: State["4"], w: Param["4"]):
    return np.tanh(LINKS @ (w * h) + h @ LINKS + LINKS.T.dot(x) + LINKS.multiply(w)[0] + MATRIX * h + LINKS.sum() * 0.1)


CELLS = [gated, whole, solved, on_links]
EVERY_CELL = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


def own_step(cell: sb.Cell, values: Any) -> Any:
    """One step by SciPy itself."""
    return cell(**values)


@EVERY_CELL
def test_a_module_computes_what_scipy_computes(cell: sb.Cell) -> None:
    params, inputs, state = oracle.draw(cell, 3, 2, SIZES, scale=0.4)
    run = kernel_of(cell).forward(params, inputs, state)
    h = {"h": state["h"][1]}
    for t in range(3):
        h = {"h": own_step(cell, {**params, "x": inputs["x"][t, 1], **h})}
        np.testing.assert_allclose(run.states["h"][t, 1], h["h"], rtol=1e-11, atol=1e-13)


@EVERY_CELL
def test_gradients_are_those_of_central_differences_of_scipy(cell: sb.Cell) -> None:
    params, inputs, state = oracle.draw(cell, 1, 1, SIZES, scale=0.4)
    run = kernel_of(cell).forward(params, inputs, state)
    sent = np.random.default_rng(1).standard_normal(run.states["h"].shape)
    found = oracle.flat(kernel_of(cell).backward(run, {"h": sent}))
    values = {**params, "x": inputs["x"][0, 0], "h": state["h"][0]}
    for name, value in values.items():
        along = np.random.default_rng(2).standard_normal(value.shape)

        def at(k: float, name: str = name, along: Any = along) -> float:
            return float(np.sum(sent * own_step(cell, {**values, name: values[name] + k * along})))

        wanted = sum(w * (at(k * 1e-3) - at(-k * 1e-3)) for k, w in ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))) / 1e-3
        got = float(np.sum(found[name].reshape(value.shape) * along))
        assert got == pytest.approx(wanted, rel=1e-7, abs=1e-9), name


@pytest.mark.parametrize("cell", [pytest.param(c, marks=() if c is on_links else pytest.mark.long) for c in CELLS],
                         ids=lambda cell: cell.name)  # fmt: skip
@pytest.mark.thinned(1, 3)
def test_verify_passes(cell: sb.Cell) -> None:
    """A check calls the function with numbers that carry a tangent, of which SciPy knows nothing."""
    report = sb.verify(cell)
    assert report.passed, str(report)


def test_names_of_the_file_are_what_they_were() -> None:
    assert kernel_of(gated) and softmax is scipy.special.softmax and special is scipy.special and eye is np.eye
    assert isinstance(LINKS, scipy.sparse.csr_array) and not namespaces._HERE.traces and not namespaces._HERE.checks


def test_a_wrong_meaning_is_caught(monkeypatch: Any) -> None:
    """Planted: of a matrix without an axis the last axis is taken, as ours does and SciPy does not."""
    monkeypatch.setattr(scipy_names, "_axis", lambda x, axis: -1 if axis is None else axis)
    other = sb.compile(sb.cell(whole.function))
    params, inputs, state = oracle.draw(whole, 1, 1, SIZES)
    with pytest.raises(Exception, match="is expected|operands|shape|broadcast"):
        got = other.forward(params, inputs, state).states["h"][0, 0]
        np.testing.assert_allclose(
            got, own_step(whole, {**params, "x": inputs["x"][0, 0], "h": state["h"][0]}), err_msg="is expected"
        )


def weighted(x: Input["n"], h: State["n"]):  # type: ignore[no-untyped-def]
    return h * special.logsumexp(x, b=x)


def symmetric(x: Input["n"], h: State["n"], A: Param["n n"]):  # type: ignore[no-untyped-def]
    return linalg.solve(A, h, assume_a="pos") + x


def hidden(x: Input["4"], h: State["4"]):  # type: ignore[no-untyped-def]
    return h + HOLDER.S @ x


def unknown(x: Input["n"], h: State["n"], A: Param["n n"]):  # type: ignore[no-untyped-def]
    return h + linalg.sqrtm(A) @ x


@pytest.mark.parametrize(("function", "words"), [
    (weighted, "logsumexp with b is not supported"), (symmetric, "solve with assume_a is not supported"), (hidden, "toarray"),
    (unknown, "SciPy's function sqrtm"),
], ids=lambda x: getattr(x, "__name__", ""))  # fmt: skip
def test_what_is_not_known_is_refused(function: Any, words: str) -> None:
    with pytest.raises(sb.CellError, match=words):
        sb.compile(sb.cell(function))


@pytest.mark.long
def test_scipy_is_not_imported() -> None:
    code = "import symbptt as sb, sys; from symbptt.zoo import lstm; lstm.step; sb.compile(lstm); assert 'scipy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
