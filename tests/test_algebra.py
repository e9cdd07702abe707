"""Functions of whole matrices: solves, inverses, determinants, factors, exponentials, diagonals, in cells as papers write them."""

from typing import Any

import numpy as np
import pytest
from scipy import linalg

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.autodiff import algebra
from symbptt.dense import spread
from symbptt.language.init import concrete
from symbptt.verification import oracle
from symbptt.verification.complex_step import analytic
from symbptt.verification.objective import loss_of
from symbptt.verification.regimes import REGIMES, TIES, _drawn, point
from symbptt.verification.requests import NOTHING
from tests.readback import assert_read


@sb.cell
def kalman_joseph(z: Input["m"], x: State["n"], P: State["n n"], F: Param["n n"], H: Param["m n"], Q: Param["n n"],
                  R: Param["m m"], I: Const["n n"]):  # fmt: skip
    """The gain by a solve, the covariance in Joseph's form, the likelihood of what was seen."""
    x, P = F @ x, F @ P @ F.T + Q @ Q.T
    e, S = z - H @ x, H @ P @ H.T + R @ R.T + 0.1 * np.outer(z, z)
    K = np.linalg.solve(S, H @ P).T
    A = I - K @ H
    sign, size = np.linalg.slogdet(S)
    return {"x": x + K @ e, "P": A @ P @ A.T + K @ R @ R.T @ K.T, "nll": size + sign * e @ np.linalg.solve(S, e)}


@sb.cell
def cayley(x: Input["m"], h: State["n"], W: Param["n n"], V: Param["n m"], I: Const["n n"]):
    """A recurrent matrix that is orthogonal by Cayley's transform. Source: Helfrich, Willmott, Ye 2018, equation 6."""
    A = W - W.T
    return np.tanh(np.linalg.inv(I + A) @ (I - A) @ h + V @ x)


@sb.cell
def exponential(x: Input["m"], h: State["n"], W: Param["n n"], V: Param["n m"]):
    """A recurrent matrix that is orthogonal as an exponential. Source: Lezcano-Casado, Martinez-Rubio 2019, section 3."""
    return np.tanh(sb.expm(W - W.T) @ h + V @ x)


@sb.cell
def factors(x: Input["n"], h: State["n"], W: Param["n n"]):
    """All functions at once, of values of the step."""
    A = np.outer(h, h) + W @ W.T + np.diag(1 + x * x)
    L = np.linalg.cholesky(A)
    u = sb.solve_triangular(L, x)
    w = sb.solve_triangular(A, u, lower=False, trans=1) + sb.solve_triangular(A, u, lower=False)
    E = sb.expm(0.1 * np.outer(h, w))
    y = np.linalg.det(0.3 * E) + np.trace(A) * np.diagonal(E) + np.diag(np.linalg.matrix_power(0.3 * E, 3))
    return np.tanh(0.1 * y + L.T @ u + np.linalg.matrix_power(A, -1) @ h)


@sb.cell
def stacked(x: Input["2 n"], h: State["2 n"], W: Param["2 n n"], b: Param["n"]):
    """Two heads, each with a matrix of its own."""
    A = (
        W @ np.swapaxes(W, -1, -2)
        + x[:, :, None] * x[:, None, :]
        + np.linalg.inv(W @ np.swapaxes(W, 1, 2) + np.diag(b * b))
    )
    return np.tanh(np.linalg.solve(A, h[:, :, None])[:, :, 0] + np.linalg.det(0.2 * A)[:, None])


CELLS = {cell.name: cell for cell in (kalman_joseph, cayley, exponential, factors, stacked)}
SIZES = {"m": 2, "n": 3}


def drawn(cell: sb.Cell, T: int, B: int, sizes: dict[str, int], seed: int = 0) -> tuple[dict[str, Any], ...]:
    """Parameters, inputs and states; states that are matrices are positive definite."""
    random, groups = np.random.default_rng(seed), ({}, {}, {})
    numbers = {s: sizes[str(s)] for a in cell.arguments for d in a.shape for s in getattr(d, "free_symbols", ())}
    for a in cell.arguments:
        shape = concrete(a.shape, numbers)
        lead = {"input": (T, B), "state": (B,)}.get(a.role, ())
        value = random.standard_normal((*lead, *shape))
        if a.name == "P":
            value = value @ np.swapaxes(value, -1, -2) + np.eye(shape[0])
        if a.role == "const":
            value = np.eye(shape[0])
        groups[{"input": 1, "state": 2}.get(a.role, 0)][a.name] = value
    return groups


def worst(cell: sb.Cell, T: int, B: int, sizes: dict[str, int], dtype: Any = np.float64, **options: Any) -> float:
    """The largest error of a gradient, in units of its largest entry, against a complex step through the user's function."""
    groups = drawn(cell, T, B, sizes)
    kernel = sb.compile(cell, **options)
    cast = [{k: v.astype(dtype) for k, v in group.items()} for group in groups]
    run = kernel.forward(*cast)
    shown = {**run.states, **run.outputs}
    random = np.random.default_rng(1)
    sent = {k: random.standard_normal(v.shape) for k, v in shown.items()}
    found = kernel.backward(run, {k: v.astype(dtype) for k, v in sent.items()})
    numbers = {s: sizes[str(s)] for a in cell.arguments for d in a.shape for s in getattr(d, "free_symbols", ())}
    point = oracle.Point(*groups, T, B, sizes=numbers)

    def value(at: oracle.Point) -> Any:
        states, outputs = oracle.run(cell, at)
        return sum((np.sum(sent[k] * v) for k, v in {**states, **outputs}.items()), start=0.0)

    errors = [0.0]
    for group, grads in (("params", found.params), ("inputs", found.inputs), ("state", found.state)):
        for name, grad in grads.items():
            assert grad.dtype == dtype
            wanted = oracle.complex_step(value, point, (group, name, ...))
            errors.append(float(np.max(np.abs(grad - wanted), initial=0) / (1e-3 + np.max(np.abs(wanted), initial=0))))
    return max(errors)


@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
@pytest.mark.thinned(5)
def test_gradient_matches_complex_step(cell: sb.Cell) -> None:
    assert worst(cell, 2, 2, SIZES) < 1e-10


@pytest.mark.long
@pytest.mark.parametrize(
    ("T", "B", "sizes"), [(0, 2, SIZES), (1, 1, {"m": 1, "n": 1}), (7, 1, {"m": 3, "n": 2})], ids=str
)
@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}, {"truncation": sb.Window(9)}], ids=str)
@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
@pytest.mark.thinned(1, 7)
def test_gradient_of_edge_sizes_in_every_setting(cell: sb.Cell, options: Any, T: int, B: int, sizes: Any) -> None:
    assert worst(cell, T, B, sizes, **options) < 1e-9


@pytest.mark.parametrize("cell", [cayley, exponential], ids=lambda cell: cell.name)
def test_gradient_in_single_precision(cell: sb.Cell) -> None:
    assert worst(cell, 3, 2, SIZES, np.float32) < 1e-4


def by_torch(torch: Any, cell: sb.Cell) -> dict[str, Any]:
    """A cell in torch, step by step."""
    T, B = 3, 2
    groups = drawn(cell, T, B, SIZES)
    leaves = [{k: torch.tensor(v, requires_grad=True) for k, v in group.items()} for group in groups]
    params, inputs, state = leaves
    total: Any = 0
    for b in range(B):
        now = {k: v[b] for k, v in state.items()}
        for t in range(T):
            now, value = STEPS[cell.name](torch, params, {k: v[t, b] for k, v in inputs.items()}, now)
            total = total + value
    total.backward()
    return {k: v.grad.numpy() for group in leaves for k, v in group.items() if v.grad is not None}


def _joseph(torch: Any, p: Any, i: Any, s: Any) -> Any:
    x, P = p["F"] @ s["x"], p["F"] @ s["P"] @ p["F"].T + p["Q"] @ p["Q"].T
    e, S = i["z"] - p["H"] @ x, p["H"] @ P @ p["H"].T + p["R"] @ p["R"].T + 0.1 * torch.outer(i["z"], i["z"])
    K = torch.linalg.solve(S, p["H"] @ P).T
    A = p["I"] - K @ p["H"]
    x, P = x + K @ e, A @ P @ A.T + K @ p["R"] @ p["R"].T @ K.T
    return {"x": x, "P": P}, x.sum() + P.sum() + torch.logdet(S) + e @ torch.linalg.solve(S, e)


def _cayley(torch: Any, p: Any, i: Any, s: Any) -> Any:
    A = p["W"] - p["W"].T
    h = torch.tanh(torch.linalg.solve(p["I"] + A, p["I"] - A) @ s["h"] + p["V"] @ i["x"])
    return {"h": h}, h.sum()


def _exponential(torch: Any, p: Any, i: Any, s: Any) -> Any:
    h = torch.tanh(torch.linalg.matrix_exp(p["W"] - p["W"].T) @ s["h"] + p["V"] @ i["x"])
    return {"h": h}, h.sum()


STEPS = {"kalman_joseph": _joseph, "cayley": _cayley, "exponential": _exponential}


@pytest.mark.peers
@pytest.mark.parametrize("cell", [kalman_joseph, cayley, exponential], ids=lambda cell: cell.name)
def test_gradient_agrees_with_torch(cell: sb.Cell) -> None:
    torch = pytest.importorskip("torch")
    kernel, groups = sb.compile(cell), drawn(cell, 3, 2, SIZES)
    run = kernel.forward(*groups)
    grads = kernel.backward(run, {k: np.ones_like(v) for k, v in {**run.states, **run.outputs}.items()})
    wanted = by_torch(torch, cell)
    for name, grad in {**grads.params, **grads.inputs, **grads.state}.items():
        np.testing.assert_allclose(grad, wanted[name], rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
@pytest.mark.thinned(5)
def test_page_reads_as_the_kernel_computes(cell: sb.Cell) -> None:
    assert_read(cell, SIZES)
    assert_read(cell, SIZES, "loop")


def test_lines_are_those_of_a_paper() -> None:
    text = sb.derive(cayley).text()
    assert "O   = (I_ + A)⁻¹ (I_ - A)" in text or "(I_ + A)⁻¹ (I_ - A) h_{t-1}" in text
    joseph = sb.derive(kalman_joseph)
    assert "log(|det(S_t)|)" in joseph.text() and "⁻ᵀ" in joseph.text()
    assert r"\det(S_{t})" in joseph.latex() and "S_{t}^{-1}" in joseph.latex() and r"S_{t}^{-\top}" in joseph.latex()
    assert "S_t^-T" in joseph.text(ascii=True)


@pytest.mark.parametrize(
    ("cell", "to", "of"),
    [(kalman_joseph, "P", "P"), (cayley, "h", "h"), (factors, "h", "h"), (stacked, "h", "h")],
    ids=lambda x: getattr(x, "name", x),
)
def test_jacobian_matches_complex_step(cell: sb.Cell, to: str, of: str) -> None:
    params, inputs, state = drawn(cell, 1, 1, SIZES)
    inputs, state = {k: v[0, 0] for k, v in inputs.items()}, {k: v[0] for k, v in state.items()}
    found = sb.derive(cell).jacobian(to, of).evaluate(params, inputs, state)
    given = params | inputs | state
    for place in np.ndindex(*state[of].shape):
        moved = given[of].astype(complex)
        moved[place] += 1e-30j
        result = cell(**(given | {of: analytic(moved)}))
        value = result[to] if isinstance(result, dict) else result
        np.testing.assert_allclose(found[(..., *place)], np.imag(value) / 1e-30, rtol=1e-9, atol=1e-10)


@sb.cell
def singular(x: Input["n"], h: State["n"], W: Param["n n"]):
    """A diagonal matrix of the state."""
    D = np.diag(h)
    return np.tanh(np.linalg.solve(D, W @ x))


@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}, {"truncation": sb.Chunked(2, 3)}], ids=str)
def test_singular_matrix_is_told_by_name_step_and_sample(options: Any) -> None:
    random = np.random.default_rng(0)
    groups = {"W": random.standard_normal((3, 3))}, {"x": random.standard_normal((6, 2, 3))}, {"h": np.ones((2, 3))}
    groups[1]["x"][3, 1] = 0
    kernel = sb.compile(singular, **options)
    with pytest.raises(sb.ArgumentError, match="D is singular at step 4 of sample 1"):
        kernel.forward(*groups)
    # Behind the end of a sample there is nothing to solve.
    run = kernel.forward(*groups, lengths=np.array([6, 3]))
    assert np.isfinite(kernel.backward(run, {"h": np.ones((6, 2, 3))}).params["W"]).all()


@sb.cell
def indefinite(x: Input["n"], h: State["n"]):
    """The factor of a matrix that may have none."""
    A = np.diag(x)
    return h + np.linalg.cholesky(A) @ x


def test_matrix_without_a_factor_is_told() -> None:
    x = np.ones((3, 2, 2))
    x[2, 0, 1] = -1
    with pytest.raises(sb.ArgumentError, match="A is not positive definite at step 2 of sample 0"):
        sb.compile(indefinite).forward({}, {"x": x}, {"h": np.zeros((2, 2))})
    with pytest.raises(
        sb.CellError, match="has no value at step 0 of sample 0 of random data: matrix is not positive definite"
    ):
        sb.verify(indefinite)


@sb.cell
def solved(x: Input["n"], h: State["n"], W: Param["n n"]):
    return np.tanh(np.linalg.solve(W, h + x))


@sb.loss
def distance(h: State["n"], V: Param["n n"]):
    return h @ np.linalg.solve(V, h)


def test_exact_numbers_are_drawn_until_no_matrix_is_singular() -> None:
    """Of these seeds the first draw has a singular matrix: of the cell, of the cell, and of the loss."""
    exact = next(regime for regime in REGIMES if regime.exact)
    for target, seed in ((solved, 5), (solved, 7), (sb.model(solved, distance), 2)):
        first = _drawn(target, exact, TIES[0], np.random.default_rng(seed), NOTHING)
        assert first is not None
        with pytest.raises(oracle.SingularError, match="of random data: singular matrix"):
            loss_of(target, first) if isinstance(target, sb.Model) else oracle.run(target, first)
        found = point(target, exact, TIES[0], seed)
        assert found is not None and set(np.unique(found.params["W"])) <= {-1, 0, 1}
        loss_of(target, found) if isinstance(target, sb.Model) else oracle.run(target, found)


def _refused(body: Any) -> str:
    cell = sb.cell(body)
    with pytest.raises(sb.CellError) as caught:
        assert cell.step
    return str(caught.value)


def test_what_is_no_matrix_is_refused_in_words() -> None:
    def rows(h: State["n"], W: Param["m n"]):
        return h + np.linalg.inv(W)

    def sides(h: State["n"], W: Param["n n"], b: Param["m"]):
        return h + np.linalg.solve(W, b)[0]

    def power(h: State["n"], W: Param["n n"], k: Param):
        return np.linalg.matrix_power(W, k) @ h

    assert "a square matrix is expected, got <array of shape (m, n)>" in _refused(rows)
    assert "takes a right side of n rows, got" in _refused(sides)
    assert "takes an integer" in _refused(power)
    with pytest.raises(sb.CellError, match="singular needs functions of whole matrices"):
        sb.c_source(singular)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 4, 4), (0, 3, 3)], ids=str)
def test_exponential_is_that_of_scipy(shape: tuple[int, ...], scale: float) -> None:
    a = scale * np.random.default_rng(0).standard_normal(shape)
    wanted = linalg.expm(a) if a.size else a
    np.testing.assert_allclose(sb.expm(a), wanted, rtol=1e-11, atol=1e-12 * np.max(np.abs(wanted), initial=0))
    assert sb.expm(a.astype(np.float32)).dtype == np.float32
    whole = sb.expm(a + 1e-30j * a)
    np.testing.assert_allclose(
        np.imag(whole) / 1e-30, a @ wanted, rtol=1e-9, atol=1e-10 * np.max(np.abs(a @ wanted), initial=0)
    )


@pytest.mark.long
@pytest.mark.thinned(1, 5)
@pytest.mark.proof
@pytest.mark.parametrize("cell", [kalman_joseph, cayley, exponential, factors, stacked], ids=lambda cell: cell.name)
def test_cell_is_verified(cell: sb.Cell) -> None:
    report = sb.verify(cell)
    assert report.passed and "exact: module" in str(report), str(report)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64, complex])
def test_a_diagonal_matrix_of_infinities_has_zeros_beside_them(dtype: Any) -> None:
    x = np.array([[np.inf, 1, -np.inf], [2, 3, 4]], dtype)
    found = spread(x)
    assert found.dtype == dtype and all(np.array_equal(one, np.diag(v)) for one, v in zip(found, x, strict=True))


@pytest.mark.parametrize("name", ["solve", "cholesky", "det"])
@pytest.mark.thinned(11)
def test_planted_wrong_adjoint_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adjoint of another matrix: its transpose is forgotten."""
    rule = algebra.ADJOINTS[name]

    def wrong(g: Any, node: Any, bar: int, wanted: Any) -> Any:
        return [
            (arg, algebra.turned(g, given) if arg == node.args[0] else given)
            for arg, given in rule(g, node, bar, wanted)
        ]

    monkeypatch.setitem(algebra.ADJOINTS, name, wrong)

    def step(x: Input["n"], h: State["n"], W: Param["n n"]):
        A = W @ W.T + np.outer(x, h) * 0.1 + np.diag(1 + x * x)
        value = {"solve": lambda: np.linalg.solve(A, h), "det": lambda: np.linalg.det(A) * h,
                 "cholesky": lambda: np.linalg.cholesky(A) @ h}[name]()  # fmt: skip
        return np.tanh(value)

    assert not sb.verify(sb.cell(step), proof=False).passed
