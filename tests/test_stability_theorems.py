"""Theorems on vanishing gradients: never violated, tight within a stated factor, and what they say."""

import doctest
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib.mathtext
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import symbptt as sb
from symbptt import Const, Input, Param, State, ops
from symbptt.errors import ArgumentError
from symbptt.ir.node import placeholder
from symbptt.ir.shape import names_in
from symbptt.stability.activations import suprema
from symbptt.stability.algebra import interval
from symbptt.stability.proofs import bounds, enclosure
from symbptt.stability.runs.linear import linearize
from symbptt.zoo import CELLS, gru, lstm, rnn
from tests.dynamics import henon, linear_map, logistic, lorenz, tanh_network, tanh_unit

SIZES = {"m": 2, "n": 3, "k": 2, "d": 2, "a": 2, "v": 3}
pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")
WHOLE = {"2": 2, "max": np.inf}


def parameters(cell: Any, scale: float, seed: int = 0) -> dict[str, Any]:
    """Random parameters of a cell, of all signs."""
    random = np.random.default_rng(seed)
    dims = {s for a in cell.arguments for s in names_in(a.shape)} | {
        str(a.limit) for a in cell.arguments if a.limit is not None
    }
    first = cell.init({k: SIZES[k] for k in dims}, seed=seed)
    return {k: scale * (v + 0.5 * random.standard_normal(v.shape)) for k, v in first.items()}


def shape(a: Any) -> tuple[int, ...]:
    return tuple(
        item if isinstance(item, int) else int(item.subs({s: SIZES[s.name] for s in item.free_symbols}))
        for item in a.shape
    )


def drawn(cell: Any, role: str, size: float, random: Any, lead: tuple[int, ...] = ()) -> dict[str, Any]:
    """Values between -size and size, many of them at the ends."""
    found = {}
    for a in cell.arguments:
        if a.role == role:
            value = random.uniform(-size, size, (*lead, *shape(a)))
            found[a.name] = np.where(random.random(value.shape) < 0.5, size * np.sign(value), value)
        elif a.role == "index" and role == "input":
            found[a.name] = random.integers(0, SIZES[str(a.limit)], lead)
    return found


def of_role(cell: Any, role: str) -> list[Any]:
    return [a for a in cell.arguments if a.role == role]


def limits(a: Any, size: float) -> tuple[Any, Any]:
    return np.full(shape(a), -size), np.full(shape(a), size)


def products(cell: Any, params: Any, inputs: Any, state: Any, steps: int) -> tuple[Any, list[Any]]:
    """The trajectory and J_t … J_1 for t = 1, …, steps of one sample."""
    with np.errstate(all="ignore"):
        run = linearize(cell, params, inputs, state, steps=None if inputs else steps)
        found = [run.jacobians[0, 0]]
        for step in run.jacobians[1:, 0]:
            found.append(step @ found[-1])
    return run, found


def weights(run: Any, scaling: dict[str, float]) -> Any:
    found = np.ones(run.states.shape[-1])
    for name, part in run.names.items():
        found[part] = scaling[name]
    return found


def is_violated(found: list[Any], rate: float, norm: str, w: Any) -> bool:
    """Whether a product of Jacobians is larger than the power of a rate, in the norm of s / w."""
    for lag, product in enumerate(found, 1):
        size = np.linalg.norm(product * w / w[:, None], WHOLE[norm])
        if np.isfinite(size) and size > rate**lag * (1 + 1e-9 * lag) + 1e-280:
            return True
    return False


def check_theorem(cell: Any, scale: float, size: float, seed: int) -> None:
    """Check the theorem of a cell in both norms on one trajectory."""
    random, params = np.random.default_rng(seed), parameters(cell, scale, seed)
    for norm in ("2", "max"):
        theorem = sb.vanishing_condition(cell, norm=norm)
        wide = {a.name: limits(a, np.inf) for a in of_role(cell, "input")}
        wide |= {a.name: limits(a, 1.0 if a.name in theorem.bounded else np.inf) for a in of_role(cell, "state")}
        rate = theorem.rate(params, wide)
        assert rate >= 0
        if np.isfinite(rate):
            inputs = drawn(cell, "input", size, random, (12, 1))
            state = drawn(cell, "state", 1.0, random, (1,))
            run, found = products(cell, params, inputs, state, 12)
            assert not is_violated(found, rate, norm, np.ones(run.states.shape[-1])), (rate, norm)


def check_certificate(cell: Any, scale: float, size: float, seed: int) -> None:
    """Check the certificate of a cell on one trajectory in its box."""
    random, params = np.random.default_rng(seed), parameters(cell, scale, seed)
    box = {a.name: limits(a, size) for a in of_role(cell, "input")}
    box |= {a.name: limits(a, 0.5) for a in of_role(cell, "state")}
    found = sb.certified_rate(cell, params, box)
    inputs = drawn(cell, "input", size, random, (12, 1))
    state = drawn(cell, "state", 0.5, random, (1,))
    run, chain = products(cell, params, inputs, state, 12)
    for name, part in run.names.items():
        lo, hi = (np.ravel(end) for end in found.box[name])
        states = run.states[:, 0, part]
        assert np.all((states >= lo) & (states <= hi) | np.isnan(states)), name
    if np.isfinite(found.rate):
        w = weights(run, found.scaling)
        assert not is_violated(chain, found.rate, found.norm, w), (found.rate, found.norm)
        assert found.constant == pytest.approx(w.max() / w.min())


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(1, 17)
def test_theorems_hold_on_the_zoo(name: str) -> None:
    for seed, (scale, size) in enumerate([(0.1, 1.0), (0.5, 30.0), (1.5, 1.0)]):
        check_theorem(CELLS[name], scale, size, seed)
        check_certificate(CELLS[name], scale, size, seed)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "delta_rule", "clockwork", "mgu2"])
@pytest.mark.thinned(5, 7)
def test_theorems_hold_on_some_of_the_zoo(name: str) -> None:
    test_theorems_hold_on_the_zoo(name)


@sb.cell
def sigmoid_rnn(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    return sb.sigmoid(W @ x + U @ h + b)


@sb.cell
def gelu_rnn(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return sb.gelu(W @ x + U @ h)


@sb.cell
def leaky(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], leak: Const = 0.25):
    return (1 - leak) * h + leak * np.tanh(W @ x + U @ h)


@sb.cell
def outer_memory(x: Input["m"], h: State["n"], S: State["n n"], W: Param["n m"], U: Param["n n"], f: Param = 0.5):
    S_new = f * S + 0.1 * np.outer(np.tanh(h), np.tanh(W @ x))
    return np.tanh(U @ h + S_new @ np.tanh(h)), S_new


PASCANU_TANH = """\
Theorem (vanishing gradients of rnn, 2-norm).
For all inputs, all states and all t ≥ k:
    ‖∂h_t/∂h_k‖₂ ≤ η^(t−k)
with
    η = γ σ_max(U),   γ = sup |tanh′| = 1.
Sufficient for vanishing: σ_max(U) < 1/γ = 1.
Necessary for exploding: σ_max(U) > 1/γ = 1. It is not sufficient."""


@sb.cell
def stencil(h: State["n"], K: Param["3"]):
    return K @ np.stack([np.roll(h, 1), h, np.roll(h, -1)])


@sb.cell
def doubled(h: State["n"], W: Param["n 2*n"]):
    return np.tanh(W @ np.concatenate([h, h]))


@sb.cell
def overlapping(h: State["n"], W: Param["n n"], v: Param["n-1 n"]):
    return np.tanh(
        W @ h + v.T @ (h[1:] + h[:-1]) + W @ np.concatenate([h[1:], h[:1]]) + W @ np.concatenate([h[:1], h[:-1]])
    )


@sb.cell
def beside(h: State["n"], q: State["n"], U: Param["n n"], W: Param["n 3*n"]):
    return np.tanh(W @ np.concatenate([U @ h, q, 0.5 * h])), h


@sb.cell
def interleaved(h: State["4"], W: Param["4 4"]):
    return np.tanh(W @ np.concatenate([h[::2], h[1::2]]))


@pytest.mark.parametrize("cell", [stencil, doubled, overlapping, beside, interleaved], ids=lambda c: c.name)
@pytest.mark.parametrize("scale", [0.2, 0.6])
@pytest.mark.thinned(17, 2)
def test_parts_beside_each_other_are_root_of_sum_of_squares(cell: Any, scale: float) -> None:
    for seed in range(6):
        check_theorem(cell, scale, 1.0, seed)
        check_certificate(cell, scale, 1.0, seed)


def test_rate_of_a_stencil_is_the_root_of_three_times_its_norm() -> None:
    weights = {"K": np.full(3, 0.55)}
    bounds = {"h": (np.full(4, -np.inf), np.full(4, np.inf))}
    largest = 1.65  # the circulant of 0.55, 0.55, 0.55 on the vector of ones
    assert sb.vanishing_condition(stencil, norm="2").rate(weights, bounds) == pytest.approx(
        np.sqrt(3) * 0.55 * np.sqrt(3)
    )
    assert sb.certified_rate(stencil, weights, {"h": (-1, 1)} | {"h": bounds["h"]}).rate == pytest.approx(largest)
    assert "√3 ‖K‖₂" in sb.vanishing_condition(stencil, norm="2").text()


def test_time_of_a_theorem_is_no_size_and_no_name_of_the_cell() -> None:
    @sb.cell
    def sized(h: State["k"], U: Param["k k"], j: Param["k"]):
        return np.tanh(U @ h + j)

    text = sb.vanishing_condition(sized).text()
    assert "‖∂h_t/∂h_l‖₂ ≤ η^(t−l)" in text and "t ≥ l" in text
    assert r"\eta^{t-l}" in sb.vanishing_condition(sized).latex()
    assert "t ≥ k" in sb.vanishing_condition(rnn).text()


def test_slices_that_share_no_entry_are_counted_once() -> None:
    weights = {"W": np.eye(4)}
    assert sb.vanishing_condition(interleaved, norm="2").rate(weights) == pytest.approx(1.0)
    assert sb.certified_rate(interleaved, weights, {"h": (-1, 1)}).rate == pytest.approx(1.0)


def test_planted_union_of_equal_bounds_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "root", lambda parts: bounds.plus(dict.fromkeys(parts)))
    with pytest.raises(AssertionError):
        for seed in range(6):
            check_theorem(stencil, 0.6, 1.0, seed)


def test_vanilla_theorem_is_pascanus() -> None:
    theorem = sb.vanishing_condition(rnn)
    assert theorem.text() == PASCANU_TANH
    assert theorem.norm == "2"
    params = parameters(rnn, 1.3)
    assert theorem.rate(params) == pytest.approx(np.linalg.norm(params["U"], 2), rel=1e-14)


def test_theorem_of_a_sigmoid_network_has_a_quarter() -> None:
    theorem = sb.vanishing_condition(sigmoid_rnn)
    assert "γ = sup |sigmoid′| = 1/4." in theorem.text()
    assert "Sufficient for vanishing: σ_max(U) < 1/γ = 4." in theorem.text()
    params = parameters(sigmoid_rnn, 1.0)
    assert theorem.rate(params) == pytest.approx(np.linalg.norm(params["U"], 2) / 4, rel=1e-14)


def test_supremum_of_a_composed_function_is_that_of_the_table() -> None:
    params = parameters(gelu_rnn, 1.0)
    rate = sb.vanishing_condition(gelu_rnn).rate(params)
    assert rate == pytest.approx(sb.sup_derivative("gelu") * np.linalg.norm(params["U"], 2), rel=1e-8)
    assert rate >= 1.128904145 * np.linalg.norm(params["U"], 2)


def test_supremum_of_the_vanilla_theorem_is_attained_at_zero() -> None:
    params = parameters(rnn, 0.8) | {"b": np.zeros(3)}
    _, found = products(rnn, params, {"x": np.zeros((1, 1, 2))}, {"h": np.zeros((1, 3))}, 1)
    assert sb.vanishing_condition(rnn).rate(params) == pytest.approx(np.linalg.norm(found[0], 2), rel=1e-13)


@pytest.mark.parametrize(("cell", "factor"), [(gru, 1.5), (lstm, 3.0)])
def test_certified_rate_of_gated_cells_is_tight_within_a_factor(cell: Any, factor: float) -> None:
    """Small weights: the certificate against the largest norm of a step's Jacobian in its box."""
    params = parameters(cell, 0.3, 2)
    found = sb.certified_rate(cell, params, {"x": (-0.5, 0.5)})
    random, count = np.random.default_rng(0), 500
    inputs = {"x": 0.5 * np.sign(random.standard_normal((1, count, 2)))}
    ends = {a.name: found.box[a.name] for a in of_role(cell, "state")}
    state = {name: np.where(random.random((count, 3)) < 0.5, *pair) for name, pair in ends.items()}
    run = linearize(cell, params, inputs, state)
    w = weights(run, found.scaling)
    largest = np.linalg.norm(run.jacobians[0] * w / w[:, None], WHOLE[found.norm], axis=(1, 2)).max()
    assert largest <= found.rate <= factor * largest


def test_planted_wrong_supremum_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suprema, "sup_derivative", lambda name: 0.2)
    suprema.slope_range.cache_clear()
    try:
        params = {k: np.zeros(v.shape) for k, v in parameters(sigmoid_rnn, 1.0).items()} | {"U": np.eye(3)}
        rate = sb.vanishing_condition(sigmoid_rnn).rate(params)
        _, found = products(sigmoid_rnn, params, {"x": np.zeros((4, 1, 2))}, {"h": np.zeros((1, 3))}, 4)
        assert rate == pytest.approx(0.2)
        assert is_violated(found, rate, "2", np.ones(3))
    finally:
        suprema.slope_range.cache_clear()


def test_gates_that_mix_are_taken_together() -> None:
    """z h + (1 - z) c: in the max-norm the bound is a mean of 1 and the candidate's, not their sum."""
    cell = CELLS["ugrnn"]
    params = {k: np.zeros(v.shape) for k, v in parameters(cell, 1.0).items()}
    params |= {"Uc": 0.5 * np.eye(3), "Wg": np.ones((3, 2))}
    theorem = sb.vanishing_condition(cell)
    assert theorem.norm == "max"
    assert theorem.rate(params, {"g": (0.0, 1.0)}) == pytest.approx(1.0)
    assert theorem.rate(params, {"g": (0.2, 0.6)}) == pytest.approx(0.6 + 0.4 * 0.5)


def test_theorem_says_what_is_not_bounded() -> None:
    theorem = sb.vanishing_condition(lstm)
    params = parameters(lstm, 0.05)
    assert "no bound was found on |c_{t-1}|" in theorem.text()
    assert theorem.rate(params) == np.inf
    assert np.isfinite(theorem.rate(params, {"c": (-2, 2)}))
    assert theorem.rate(params, {"c": (-2, 2), "f": (0, 0.6)}) < 1


def test_bounded_states_are_hypotheses() -> None:
    assert sb.vanishing_condition(gru).bounded == ("h",)
    assert "|h_0| ≤ 1" in sb.vanishing_condition(gru).text()
    assert sb.vanishing_condition(CELLS["lem"]).bounded == ("y", "z")
    assert sb.vanishing_condition(CELLS["ctrnn"]).bounded == ()


def test_rate_uses_no_hypothesis_that_is_not_printed() -> None:
    """A bias of 3 without inputs: far from zero only for states in [-1, 1], of which the theorem says nothing."""

    @sb.cell
    def biased(h: State["n"], U: Param["n n"]):
        return np.tanh(0.1 * (U @ h) + 3)

    theorem = sb.vanishing_condition(biased)
    assert theorem.bounded == ()
    assert theorem.rate({"U": np.eye(2)}) == pytest.approx(0.1)


def test_sums_over_a_size_bound_no_state() -> None:
    """A sum of three is at most 0.9, one of ten is not."""

    @sb.cell
    def total(h: State["n"]):
        return 0.3 * sb.sum(np.tanh(h)) + 0 * h

    assert sb.vanishing_condition(total).bounded == ()


def test_matrix_states_have_a_theorem() -> None:
    params = parameters(outer_memory, 0.1) | {"f": np.array(0.5)}
    theorem = sb.vanishing_condition(outer_memory)
    bounds = {"S": (-1, 1)}
    assert np.isfinite(theorem.rate(params, bounds))
    assert sb.certified_rate(outer_memory, params, {"x": (-1, 1)}).contracts


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "lem", "scrn", "delta_rule", "antisymmetric", "ltc", "mlstm"])
@pytest.mark.parametrize("norm", ["2", "max"])
@pytest.mark.thinned(5, 5)
def test_latex_is_set_by_mathtext(name: str, norm: str) -> None:
    parser = matplotlib.mathtext.MathTextParser("path")
    text = sb.vanishing_condition(CELLS[name], norm=norm).latex()
    rows = text.removeprefix("\\begin{gathered}\n").removesuffix("\n\\end{gathered}").split("\\\\\n")
    assert len(rows) >= 3
    for row in rows:
        parser.parse("$" + row.strip().replace(r"\top", "T") + "$")


def test_greek_and_subscripts_are_those_of_the_equations() -> None:
    assert r"\|U_{z}\|_\infty" in sb.vanishing_condition(gru).latex()


# Certified rates.


@pytest.mark.long
def test_lstm_has_a_box_where_its_forget_gate_stays_below_one() -> None:
    params = parameters(lstm, 0.1)
    found = sb.certified_rate(lstm, params, {"x": (-1, 1)})
    assert found.contracts and found.rate < 1
    lo, hi = found.box["c"]
    assert np.all(np.isfinite(lo)) and np.all(np.isfinite(hi))
    assert found.largest_gain > 1
    open_gate = params | {"bf": np.full(3, 60.0)}
    assert not sb.certified_rate(lstm, open_gate, {"x": (-1, 1)}).contracts
    assert np.all(np.isinf(sb.certified_rate(lstm, open_gate, {"x": (-1, 1)}).box["c"][1]))


@pytest.mark.long
def test_box_of_a_wide_lstm_is_found() -> None:
    """The search ran ahead to |h| of 200, where the forget gates are open and no box of c exists."""
    params = {k: 0.2 * v for k, v in lstm.init({"m": 128, "n": 128}, seed=0).items()}
    found = sb.certified_rate(lstm, params, {"x": (-0.1, 0.1)})
    assert np.isfinite(found.rate)
    assert found.box["h"][1].max() < 1


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("scale", [0.1, 0.5])
@pytest.mark.thinned(1, 23)
def test_no_step_leaves_the_box(name: str, scale: float) -> None:
    """From its edges, where simulated trajectories seldom come."""
    cell, random, count = CELLS[name], np.random.default_rng(0), 200
    params = parameters(cell, scale)
    found = sb.certified_rate(
        cell, params, {a.name: limits(a, 0.7) for a in cell.arguments if a.role in ("input", "state")}
    )
    inside = {k: [np.clip(end, -1e6, 1e6) for end in pair] for k, pair in found.box.items()}
    state = {a.name: np.where(random.random((count, *shape(a))) < 0.5, *inside[a.name]) for a in of_role(cell, "state")}
    inputs = drawn(cell, "input", 0.7, random, (1, count))
    with np.errstate(all="ignore"):
        run = sb.compile(cell).forward(params, inputs, state, steps=None if inputs else 1)
    for name in state:
        lo, hi = found.box[name]
        value = run.states[name][0]
        assert np.all((value >= lo) & (value <= hi) | np.isnan(value)), name


@sb.cell
def steep(h: State["n"], A: Param["n n"], w: Param["n"], W: Param["n n"]):
    """A root, whose slope has no bound at 0, beside what contracts."""
    root = np.concatenate([A @ np.tanh(h), np.sqrt(np.abs(h))])
    n = h.shape[0]
    return root[:n] + W @ root[n:] + w * root[n:]


@pytest.mark.filterwarnings("error")
def test_slope_without_bound_counts_where_its_weight_is_not_zero_and_only_there() -> None:
    A = np.array([[0.42, -0.42], [0.42, 0.42]])
    none, box = {"A": A, "w": np.zeros(2), "W": np.zeros((2, 2))}, {"h": (-1, 1)}
    found = sb.certified_rate(steep, none, box)
    assert found.rate == pytest.approx(np.linalg.norm(A, 2), rel=1e-8) and found.norm == "2"
    assert sb.certified_rate(steep, none | {"w": np.array([0.0, 1e-9])}, box).rate == np.inf
    assert sb.certified_rate(steep, none | {"W": np.array([[0.0, 0.0], [1e-9, 0.0]])}, box).rate == np.inf


def test_linear_cell_needs_no_box() -> None:
    """The box of a state that grows without bound is all numbers; the bound on a constant Jacobian holds there too."""
    W = np.array([[0.5, 0.9], [-0.3, 0.5]])
    found = sb.certified_rate(linear_map, {"W": W}, {"h": (-1, 1)})
    assert found.rate == pytest.approx(np.linalg.norm(W, 2), rel=1e-8)


@pytest.mark.parametrize(
    ("cell", "params", "box"),
    [
        (logistic, {}, {"x": (0.0, 1.0)}),
        (henon, {}, {"x": (-0.1, 0.1), "y": (-0.1, 0.1)}),
        (tanh_network, {"J": 3 / np.sqrt(50) * np.random.default_rng(0).standard_normal((50, 50))}, {"h": (-1, 1)}),
        (lorenz, {}, {"s": (-1, 1)}),
        (tanh_unit, {}, {"x": (-0.1, 0.1)}),
    ],
)
def test_chaotic_and_unstable_cells_are_not_certified(cell: Any, params: Any, box: Any) -> None:
    assert not sb.certified_rate(cell, params, box).contracts


def test_scaled_states_certify_a_cascade() -> None:
    """A strong one-way connection between two contracting states is harmless: the weights of the states show it."""

    @sb.cell
    def cascade(x: Input["n"], a: State["n"], b: State["n"], U: Param["n n"], P: Param["n n"]):
        return np.tanh(U @ a + x), np.tanh(U @ b + P @ a)

    params = {"U": 0.5 * np.eye(3), "P": 5 * np.eye(3)}
    found = sb.certified_rate(cascade, params, {"x": (-1, 1)})
    assert found.contracts
    assert found.constant > 5
    assert sb.vanishing_condition(cascade).rate(params) > 1


@pytest.mark.long
def test_largest_box_and_gain_are_where_contraction_ends() -> None:
    params = parameters(gru, 0.6, 1)
    found = sb.certified_rate(gru, params, {"x": (-0.1, 0.1)})
    factor = found.largest_box
    assert 0 < factor < np.inf
    for times, contracts in ((0.99, True), (1.02, False)):
        wide = 0.1 * factor * times
        assert sb.certified_rate(gru, params, {"x": (-wide, wide)}).contracts is contracts


def test_gain_of_the_vanilla_cell_is_one_over_its_norm() -> None:
    params = parameters(rnn, 0.3)
    found = sb.certified_rate(rnn, params, {})
    assert found.largest_gain == pytest.approx(1 / np.linalg.norm(params["U"], 2), rel=1e-2)
    assert found.largest_box == np.inf


def test_outer_memory_text_names_the_box() -> None:
    text = sb.certified_rate(rnn, parameters(rnn, 0.3), {"x": (-1, 1)}).text()
    assert re.search(r"‖∂h_t/∂h_k‖ ≤ 0\.\d+\^\(t−k\)", text)
    assert "x: -1 to 1" in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: sb.certified_rate(rnn, p, {"y": (0, 1)}), "no input and no state 'y'"),
        (lambda p: sb.certified_rate(rnn, p, {"x": (1, 0)}), "needs lo ≤ hi"),
        (lambda p: sb.certified_rate(rnn, p, {"x": 1}), r"a pair \(lo, hi\)"),
        (lambda p: sb.certified_rate(rnn, p, {"x": (np.zeros(5), np.ones(5))}), "is due"),
        (lambda p: sb.certified_rate(rnn, {"U": p["U"]}, {}), "the parameter 'W' is missing"),
        (lambda p: sb.certified_rate(rnn, p | {"b": np.nan * p["b"]}, {}), "no finite real numbers"),
        (lambda p: sb.certified_rate(rnn, p | {"b": np.ones(7)}, {}), "is due"),
        (lambda p: sb.vanishing_condition(rnn).rate(p | {"q": p["b"]}), "no parameter 'q'"),
        (lambda p: sb.vanishing_condition(gru, norm="1"), "the norm is '1'"),
        (lambda p: sb.vanishing_condition(3), "takes a cell"),
        (lambda p: sb.vanishing_condition(rnn).rate(p, {"z": (0, 1)}), "no input, state or named value 'z'"),
    ],
)
def test_bad_arguments_are_reported(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call(parameters(rnn, 0.3))


# Intervals.

POINTS = st.floats(-30, 30, allow_nan=False)


@given(st.sampled_from(sorted(interval.FUNCTIONS) + sorted(interval.RISING)), POINTS, POINTS, POINTS, st.floats(0, 1))
def test_intervals_hold_the_values_of_functions(name: str, a: float, b: float, c: float, at: float) -> None:
    op = ops.BY_NAME[name]
    lo, hi = min(a, b), max(a, b)
    ranges = {
        placeholder(0): interval.between(lo, hi),
        placeholder(1): interval.exactly(c),
        placeholder(2): interval.exactly(a),
    }
    inside = min(max(lo + at * (hi - lo), lo), hi)
    with np.errstate(all="ignore"):
        value = float(op.evaluate(*[np.asarray(v) for v in (inside, c, a)][: op.arity]))
    found = interval.evaluate(op.body(*[placeholder(i) for i in range(op.arity)]), ranges)
    assert np.isnan(value) or found.lo <= value <= found.hi


@given(st.integers(-4, 4), POINTS, POINTS, st.floats(0, 1))
def test_intervals_hold_powers(n: int, a: float, b: float, at: float) -> None:
    lo, hi = min(a, b), max(a, b)
    inside = min(max(lo + at * (hi - lo), lo), hi)
    with np.errstate(all="ignore"):
        value = float(np.float64(inside) ** float(n))
    found = interval.evaluate(placeholder(0) ** n, {placeholder(0): interval.between(lo, hi)})
    assert np.isnan(value) or found.lo <= value <= found.hi


@given(POINTS, POINTS, POINTS, POINTS)
def test_sums_and_products_are_rounded_outwards(a: float, b: float, c: float, d: float) -> None:
    x, y = interval.between(min(a, b), max(a, b)), interval.between(min(c, d), max(c, d))
    total, product = interval.add(x, y), interval.multiply(x, y)
    assert Fraction(float(total.lo)) <= Fraction(min(a, b)) + Fraction(min(c, d))
    assert Fraction(float(total.hi)) >= Fraction(max(a, b)) + Fraction(max(c, d))
    exact = [Fraction(v) * Fraction(w) for v in (a, b) for w in (c, d)]
    assert Fraction(float(product.lo)) <= min(exact) and Fraction(float(product.hi)) >= max(exact)


def test_planted_narrow_interval_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted mistake: sums that forget the upper ends."""
    monkeypatch.setattr(enclosure, "_middle", lambda x: (x.lo, np.zeros_like(x.lo), np.zeros(x.lo.shape, bool)))
    with pytest.raises(AssertionError):
        check_certificate(rnn, 0.5, 1.0, 0)


@pytest.mark.long
def test_documentation_prints_what_it_shows() -> None:
    page = Path(__file__).parents[1] / "docs" / "stability.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried >= 10
    assert failed == 0
