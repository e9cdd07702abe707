"""The gain: which parameters multiply a state on its way back to itself, whatever they are called, and that a factor on them
is that factor on the state."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State
from symbptt.errors import ArgumentError
from symbptt.stability.runs.gain import degree, recurrent_weights, with_gain
from symbptt.stability.spectra.lyapunov import lyapunov_spectrum
from symbptt.verification.regimes import REGIMES, point
from symbptt.verification.regimes import SIZES as SIZES_OF_CHECKS
from symbptt.zoo import CELLS
from tests.dynamics import linear_map
from tests.oracle import one_step

SIZES = {"m": 2, "n": 3, "k": 2, "v": 4}
MASK = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])

# Cells in which the state is read through its weights alone, each in another spelling, with misleading names.


@sb.cell
def plain(x: Input["m"], h: State["n"], U: Param["n m"], W: Param["n n"], b: Param["n"]):
    return np.tanh(U @ x + W @ h + b)


@sb.cell
def activated_before(x: Input["n"], h: State["n"], A: Param["n n"]):
    return A @ h * 0.5 + x


@sb.cell
def low_rank(x: Input["n"], h: State["n"], L: Param["n k"], R: Param["k n"]):
    return np.tanh(L @ (R @ h) + x)


@sb.cell
def low_rank_matrix(x: Input["n"], h: State["n"], L: Param["n k"], R: Param["k n"]):
    return np.tanh((L @ R) @ h + x)


@sb.cell
def antisymmetric(x: Input["n"], h: State["n"], A: Param["n n"], B: Param["n n"]):
    return np.tanh((A - A.T + B) @ h + x)


@sb.cell
def masked(x: Input["n"], h: State["n"], A: Param["n n"], M: Const["n n"] = MASK):
    return np.tanh(np.einsum("ij,ij,j->i", M, A, h) + x)


@sb.cell
def chosen(x: Input["n"], h: State["n"], A: Param["n n"], M: Const["n n"] = MASK):
    return np.tanh(np.where(M > 0, A, 0.1 * A) @ h + x)


@sb.cell
def by_symbol(x: Index["v"], h: State["n"], T: Param["v n n"], e: Param["v n"]):
    return np.tanh(T[x] @ h + e[x])


@sb.cell
def elementwise(x: Input["n"], h: State["n"], tau: Param["n"], b: Param["n"]):
    return np.tanh(h * tau + b + x)


@sb.cell
def normalised_after(x: Input["n"], h: State["n"], A: Param["n n"], gain: Param["n"]):
    return np.tanh(gain * sb.layer_norm(A @ h + x))


@sb.cell
def reservoir(x: Input["n"], h: State["n"], A: Const["n n"], V: Param["k n"], radius: Const = 0.9):
    now = np.tanh(radius * (A @ h) + x)
    return {"h": now, "y": V @ now}


@sb.cell
def two_weights(x: Input["n"], h: State["n"], c: State["n"], A: Param["n n"], B: Param["n n"], p: Param["n"]):
    return np.tanh(A @ h + x), sb.sigmoid(B @ h + x) * np.tanh(p * c)


SPELLINGS = {
    "plain": ("W",), "activated_before": ("A",), "low_rank": ("R",), "low_rank_matrix": ("L",), "antisymmetric": ("A", "B"),
    "masked": ("A",), "chosen": ("A",), "by_symbol": ("T",), "elementwise": ("tau",), "normalised_after": ("A",),
    "reservoir": ("A",),
}  # fmt: skip


def arguments(cell, seed=0):
    """One step's params, inputs and states, all random."""
    random = np.random.default_rng(seed)
    needed = {n: v for n, v in SIZES.items() if any(n in str(s) for a in cell.arguments for s in (*a.shape, a.limit))}
    params = {k: random.standard_normal(v.shape) for k, v in cell.init(needed).items()}
    size = [needed[str(s)] for a in cell.arguments if a.role == "input" for s in a.shape]
    x = 2 if "x" in [a.name for a in cell.arguments if a.role == "index"] else random.standard_normal(size)
    states = {a.name: random.standard_normal(needed["n"]) for a in cell.arguments if a.role == "state"}
    return params, x, states


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("gain", [0.25, 3.0])
def test_a_gain_on_the_weights_is_a_gain_on_the_state_they_read(name, gain):
    """The user's own function, called on arrays, is the oracle: f(x, h; g W) = f(x, g h; W)."""
    cell = globals()[name]
    params, x, states = arguments(cell)
    assert recurrent_weights(cell) == SPELLINGS[name]
    scaled = cell(x, **states, **with_gain(cell, params, gain))
    other = cell(x, **{k: gain * v for k, v in states.items()}, **params)
    scaled, other = (r["h"] if isinstance(r, dict) else r for r in (scaled, other))
    np.testing.assert_allclose(scaled, other, rtol=1e-12)
    assert not np.allclose(
        scaled, cell(x, **states, **params)["h"] if name == "reservoir" else cell(x, **states, **params)
    )


def test_a_gain_is_a_shift_of_the_exponents_of_a_linear_cell():
    params = linear_map.init({"n": 4}, seed=1)
    found = [lyapunov_spectrum(linear_map, with_gain(linear_map, params, g), None, {"h": np.ones(4)}, steps=50).exponents
             for g in (1.0, 0.3)]  # fmt: skip
    np.testing.assert_allclose(found[1], found[0] + np.log(0.3), rtol=1e-12)


ZOO = {
    "rnn": "U", "lstm": "Ui Uf Ug Uo", "gru": "Ur Uz Un", "indrnn": "u", "antisymmetric": "U", "delay_rnn": "U V",
    "clockwork": "U", "second_order": "U", "ctrnn": "U", "unicornn": "w", "lem": "W1 W2 Wz Wy", "scrn": "U", "echo_state": "U",
    "lstm_peephole": "Ui Uf Ug Uo pi pf po", "lru": "", "min_gru": "", "linear_attention": "", "householder": "",
}  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_recurrent_weights_of_the_zoo_are_those_of_the_papers(name):
    assert sorted(recurrent_weights(CELLS[name])) == sorted(ZOO[name].split())


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(5)
def test_every_weight_that_is_found_moves_the_step(name):
    """The user's own function again: scaling one weight alone changes a next state."""
    cell = CELLS[name]
    at = point(cell, REGIMES[0], SIZES_OF_CHECKS[0], seed=0)
    given = {k: v[0, 0] for k, v in at.inputs.items()} | {k: v[0] for k, v in at.state.items()}
    before = one_step(cell, at.params | given)
    for weight in recurrent_weights(cell):
        after = one_step(cell, at.params | given | {weight: 1.5 * at.params[weight]})
        assert any(not np.allclose(after[a.name], before[a.name]) for a in cell.arguments if a.role == "state"), weight


def test_each_state_has_its_own_weights_and_gates_none():
    assert recurrent_weights(two_weights) == ("A", "p")  # B reads h, but what it gates never comes back to h


def test_weights_between_the_layers_of_a_stack_are_no_recurrent_weights():
    assert recurrent_weights(sb.stack(CELLS["rnn"], CELLS["rnn"])) == ("U_1", "U_2")


def test_names_do_not_matter():
    @sb.cell
    def renamed(u: Input["m"], W: State["n"], x: Param["n m"], b: Param["n n"], U: Param["n"]):
        return np.tanh(x @ u + b @ W + U)

    assert recurrent_weights(renamed) == ("b",)


def test_a_cell_without_recurrent_weights_takes_a_gain_of_one_only():
    cell = CELLS["min_gru"]
    params = cell.init({"m": 1, "n": 2})
    assert with_gain(cell, params, 1.0).keys() == params.keys()
    with pytest.raises(ArgumentError, match="no parameter of min_gru multiplies a state"):
        with_gain(cell, params, 2.0)


@pytest.mark.parametrize("gain", [np.nan, np.inf, -np.inf])
def test_a_gain_is_finite(gain):
    with pytest.raises(ArgumentError, match="a gain is a finite number"):
        with_gain(plain, plain.init({"m": 1, "n": 2}), gain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_and_the_callers_arrays_stay(dtype):
    params = plain.init({"m": 2, "n": 3}, dtype=dtype)
    before = {k: v.copy() for k, v in params.items()}
    scaled = with_gain(plain, params, 1.7)
    assert {v.dtype for v in scaled.values()} == {np.dtype(dtype)}
    assert all(np.array_equal(params[k], before[k]) for k in params) and scaled["U"] is params["U"]


def test_degrees_of_homogeneity():
    @sb.cell
    def powers(h: State["n"], a: Param["n"], b: Param["n"]):
        return a * a * b * np.sqrt(np.sum(a * a)) / (1 + b * b) + 0 * h

    g = powers.step.graph
    total = powers.step.next["h"]
    inner = g[total].args[0]
    assert degree(g, inner, frozenset("a")) == 3
    assert degree(g, inner, frozenset("b")) is None
    assert degree(g, inner, frozenset()) == 0


def test_a_weight_counted_by_its_shape_would_be_seen():
    """The planted mistake: taking every (n, n) parameter for recurrent, as the readout of a square output is not."""

    @sb.cell
    def square(x: Input["n"], h: State["n"], U: Param["n n"], W: Param["n n"], V: Param["n n"]):
        now = np.tanh(U @ h + W @ x)
        return {"h": now, "y": V @ now}

    assert recurrent_weights(square) == ("U",)


@pytest.mark.parametrize("params", [{}, {"Ur": np.ones((2, 2))}])
def test_gain_of_weights_that_lack_is_refused(params):
    with pytest.raises(ArgumentError, match="the recurrent weights .*are missing"):
        with_gain(CELLS["gru"], params, 2.0)
    assert list(with_gain(CELLS["gru"], params, 1.0)) == list(params)
