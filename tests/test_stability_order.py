"""What a sum or a quotient is known to be by the way it is made, and what is scaled by its own length."""

from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Input, Param, State, ops
from symbptt.stability.algebra import order
from symbptt.stability.algebra import unit_vectors as unit
from symbptt.stability.proofs.hypotheses import general, sizes_in
from symbptt.stability.proofs.invariant_box import local_of
from symbptt.stability.proofs.jumps import jumps

SIZES = {"n": 4, "k": 3}


def known(expression: Any) -> tuple[float, float]:
    """The range of q(u, v) for any u and v, of which the second is an input."""

    def step(x: Input["n"], h: State["n"], U: Param["n n"]):
        q = expression(U @ h, x)
        return np.tanh(q + x)

    of = local_of(sb.cell(step))
    node = next(id for id, name in of.graph.names.items() if name == "q")
    found = general(of, (), sizes_in(of, 3)).nodes[node]
    return float(found.lo.min()), float(found.hi.max())


def root(u: Any, v: Any) -> Any:
    return np.sqrt(u * u + v**2)


ONE = {
    "exp(u - max)": (lambda u, v: np.exp(u - np.maximum(u, v)), 0, 1),
    "exp(v - max), in another order": (lambda u, v: np.exp(-np.maximum(u + v, 2 * v) + u + v), 0, 1),
    "exp(min - u)": (lambda u, v: np.exp(np.minimum(u, v) - u), 0, 1),
    "exp(u - logaddexp)": (lambda u, v: np.exp(u - np.logaddexp(u, v)), 0, 1),
    "u - |u|": (lambda u, v: u - np.abs(u), -np.inf, 0),
    "u - hypot": (lambda u, v: 3 * u - 3 * np.hypot(u, v), -np.inf, 0),
    "u - root": (lambda u, v: root(u, v) - v, 0, np.inf),
    "u - softplus": (lambda u, v: np.exp(u - np.log1p(np.exp(u))), 0, 1),
    "u - chosen": (lambda u, v: np.exp(v - np.where(u > v, u, v)), 0, 1),
    "chosen less": (lambda u, v: np.exp(np.where(u > v, v, u) - v), 0, 1),
    "with a rest": (lambda u, v: u + np.tanh(v) - np.maximum(u, v), -np.inf, 1),
    "max along": (lambda u, v: np.exp(u + v - np.max(u + v)), 0, 1),
    "u / max": (lambda u, v: u / np.maximum(np.abs(u), np.abs(v)), -1, 1),
    "u / max and 1": (lambda u, v: u / np.maximum(np.maximum(np.abs(v), 1), np.abs(u)), -1, 1),
    "u / hypot": (lambda u, v: u / np.hypot(u, v), -1, 1),
    "u / root": (lambda u, v: v / root(u, v), -1, 1),
    "half": (lambda u, v: u / np.sqrt(4 * u**2 + v**2 + 1), -0.5, 0.5),
    "u / sum": (lambda u, v: u / (1 + np.abs(u) + np.abs(v)), -1, 1),
    "product": (lambda u, v: u * v / (u**2 + np.abs(u) * v**2 + v**2) ** 1.0, -1, 1),
    "both": (lambda u, v: u * v / np.hypot(u, v) ** 2, -1, 1),
    "share": (lambda u, v: np.exp(u) / (np.exp(u) + np.exp(v)), 0, 1),
    "part": (lambda u, v: sb.relu(u) / (np.sum(sb.relu(u)) + 0.1), 0, 1),
    "of the largest": (lambda u, v: u / np.max(np.abs(u)), -1, 1),
    "of the norm": (lambda u, v: u / np.linalg.norm(u), -1, 1),
    "of the norm and a little": (lambda u, v: u / (np.linalg.norm(u) + 1e-6), -1, 1),
    "at least a little": (lambda u, v: u / np.maximum(np.linalg.norm(u), 1e-6), -1, 1),
    "power": (lambda u, v: u * (u @ u + 1) ** -0.5, -1, 1),
}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", ONE)
def test_sums_and_quotients_have_the_range_that_their_making_gives(name: str) -> None:
    expression, low, high = ONE[name]
    found = known(expression)
    assert found == pytest.approx((low, high), abs=1e-11)
    random = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        seen = [expression(*(s * random.standard_normal((2, 3)))) for s in (0.01, 1, 30) for _ in range(50)]
    assert found[0] - 1e-9 <= np.nanmin(seen) and np.nanmax(seen) <= found[1] + 1e-9, "no value is outside"


FREE = {
    "another value": lambda u, v: np.exp(u - np.maximum(2 * u, v)),
    "the wrong side": lambda u, v: np.exp(np.maximum(u, v) - u),
    "the smaller": lambda u, v: np.exp(u - np.minimum(u, v)),
    "choice of the smaller": lambda u, v: np.exp(v - np.where(u > v, v, u)),
    "a sum with signs": lambda u, v: u / (u + np.abs(v)),
    "a difference": lambda u, v: u / (np.abs(u) - np.abs(v)),
    "no size": lambda u, v: u / (np.exp(v) + 1),
    "a power too many": lambda u, v: u**3 / np.hypot(u, v),
}


@pytest.mark.parametrize("name", FREE)
def test_nothing_is_said_of_what_has_no_bound(name: str) -> None:
    assert max(map(abs, known(FREE[name]))) == np.inf


@sb.cell
def askew(h: State["n n"], U: Param["n n"]):
    a = U @ h
    return np.tanh(h) * np.exp(a - np.max(a, axis=1)) + a / np.sum(np.abs(a), axis=1) + a / np.linalg.norm(a, axis=1)


def test_what_stands_beside_other_entries_has_no_bound() -> None:
    """The maximum, the sum and the norm of row j beside column j."""
    of = local_of(askew)
    within = general(of, (), sizes_in(of, 3))
    quotients = [n.id for n in of.graph if n.family == "map" and n.attrs.expr == sp.Symbol("_0") / sp.Symbol("_1")]
    divided = [n for n in of.graph if n.family == "map" and n.attrs.expr.is_Mul and n.attrs.expr.args[0].is_Pow]
    divided += [of.graph[id] for id in quotients]
    assert not of.scaled and all(np.isinf(within.nodes[n.id].size).all() for n in divided if n.shape)
    exponential = next(n for n in of.graph if n.family == "map" and n.attrs.expr.func is sp.exp)
    assert np.isinf(within.nodes[exponential.id].hi).all()


@sb.cell
def hyp(h: State["n"], U: Param["n n"], V: Param["n n"]):
    u, v = U @ h, V @ h
    return u / np.sqrt(u * u + v * v + 1)


@sb.cell
def distance(h: State["n"], U: Param["n n"], V: Param["n n"]):
    u, v = U @ h, V @ h
    return u / (np.hypot(u, v) + 0.5)


@sb.cell
def softsigned(h: State["n"], U: Param["n n"], V: Param["n n"]):
    u, v = U @ h, V @ h
    return u / (1 + np.abs(u) + np.abs(v))


@sb.cell
def clamped(h: State["n"], U: Param["n n"], V: Param["n n"]):
    u, v = U @ h, V @ h
    return u / np.maximum(np.maximum(np.abs(u), np.abs(v)), 1)


@sb.cell
def shared(h: State["n k"], U: Param["n n"]):
    a = U @ h
    return a / (np.sum(np.abs(a), axis=1, keepdims=True) + 1)


@sb.cell
def by_norm(h: State["n"], U: Param["n n"], b: Param["n"]):
    a = U @ h + b
    return a / (np.linalg.norm(a) + 0.1)


@sb.cell
def by_root(h: State["n"], U: Param["n n"], b: Param["n"]):
    a = U @ h + b
    return a / np.sqrt(np.sum(a**2) + 0.01)


@sb.cell
def by_power(h: State["n"], U: Param["n n"], b: Param["n"]):
    a = U @ h + b
    return (a @ a + 0.01) ** -0.5 * a


@sb.cell
def by_least(h: State["n"], U: Param["n n"], b: Param["n"]):
    a = U @ h + b
    return a / np.maximum(np.linalg.norm(a), 0.1)


@sb.cell
def rms(h: State["n"], U: Param["n n"], b: Param["n"]):
    a = U @ h + b
    return a / np.sqrt(np.mean(a**2) + 0.01)


@sb.cell
def layer(h: State["n"], U: Param["n n"], b: Param["n"]):
    return sb.layer_norm(U @ h + b, eps=0.01)


@sb.cell
def own_layer(h: State["n"], U: Param["n n"], b: Param["n"]):
    a = U @ h + b
    return (a - np.mean(a)) / (np.std(a) + 0.1)


@sb.cell
def own_variance(h: State["n"], U: Param["n n"], b: Param["n"]):
    a = U @ h + b
    return (a - a.mean()) / np.sqrt(np.var(a) + 0.01)


@sb.cell
def by_rows(h: State["n k"], U: Param["n n"], P: Param["n k"]):
    a = U @ h + P
    return a / (np.linalg.norm(a, axis=1, keepdims=True) + 0.1)


@sb.cell
def by_columns(h: State["n k"], U: Param["n n"], P: Param["n k"]):
    a = U @ h + P
    return a / (np.linalg.norm(a, axis=0) + 0.1)


NORMED = [by_norm, by_root, by_power, by_least, rms, layer, own_layer, own_variance, by_rows, by_columns]
ALL = [hyp, distance, softsigned, clamped, shared, *NORMED]


def drawn(cell: Any, random: Any, scale: float) -> dict[str, Any]:
    shapes = {a.name: [SIZES[str(s)] for s in a.shape] for a in cell.arguments if a.role == "param"}
    return {name: scale * random.standard_normal(shape) for name, shape in shapes.items()}


def jacobian(cell: Any, h: Any, params: Any) -> Any:
    """By central differences of the function itself."""
    size, step = h.size, 1e-6
    moved = [
        cell(h + sign * step * np.eye(size)[i].reshape(h.shape), **params) for sign in (1, -1) for i in range(size)
    ]
    return (np.reshape(moved[:size], (size, -1)) - np.reshape(moved[size:], (size, -1))).T / (2 * step)


@pytest.mark.thinned(11)
@pytest.mark.parametrize("cell", ALL, ids=lambda cell: cell.name)
def test_no_jacobian_is_larger_than_its_bound(cell: Any) -> None:
    random = np.random.default_rng(1)
    shape = tuple(SIZES[str(s)] for s in cell.arguments[0].shape)
    box = {"h": (-np.ones(shape), np.ones(shape))}
    for scale in (0.05, 0.5):
        params = drawn(cell, random, scale)
        rates = {norm: sb.vanishing_condition(cell, norm=norm).rate(params, box) for norm in ("2", "max")}
        assert np.isfinite(list(rates.values())).all()
        seen = [jacobian(cell, random.uniform(-1, 1, shape) * s, params) for s in (1e-3, 0.1, 1) for _ in range(30)]
        assert max(np.linalg.norm(j, 2) for j in seen) <= rates["2"] * (1 + 1e-6)
        assert max(np.abs(j).sum(1).max() for j in seen) <= rates["max"] * (1 + 1e-6)


@pytest.mark.thinned(17, 3)
@pytest.mark.parametrize("cell", NORMED, ids=lambda cell: cell.name)
def test_the_bound_of_a_normalised_vector_is_taken_where_it_is_zero(cell: Any) -> None:
    """At a = 0 the Jacobian is a tenfold of that of a, or of what is left of it without its mean."""
    assert "η = 10 σ_max(U)\n" in sb.vanishing_condition(cell, norm="2").text()
    params = {k: np.zeros_like(v) if k != "U" else v for k, v in drawn(cell, np.random.default_rng(2), 1.0).items()}
    params["U"] -= params["U"].mean(0)
    h = np.zeros([SIZES[str(s)] for s in cell.arguments[0].shape])
    rate = sb.vanishing_condition(cell, norm="2").rate(params, {"h": (h - 1, h + 1)})
    assert np.linalg.norm(jacobian(cell, h, params), 2) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(
    "cell", [by_norm, rms, pytest.param(own_layer, marks=pytest.mark.exhaustive)], ids=lambda cell: cell.name
)
@pytest.mark.thinned(2)
def test_certificates_of_normalised_vectors_hold(cell: Any) -> None:
    """A bias that keeps the vector away from zero makes the rate small."""
    random = np.random.default_rng(3)
    params = drawn(cell, random, 0.02) | {"b": np.array([3.0, -2.0, 1.0, -1.5])}
    box = {"h": (np.zeros(4), np.zeros(4))}
    for metric in ("diagonal", "quadratic"):
        found = sb.certified_rate(cell, params, box, metric=metric)
        low, high = found.box["h"]
        seen = [jacobian(cell, random.uniform(low, high), params) for _ in range(50)]
        assert found.contracts and found.rate < 0.2
        assert max(max(abs(np.linalg.eigvals(j))) for j in seen) <= found.rate * (1 + 1e-6)


def test_theorem_of_mlstm_knows_that_its_gates_are_at_most_one() -> None:
    text = sb.vanishing_condition(sb.zoo.CELLS["mlstm"]).text()
    assert "no bound was found on |keep_t|" not in text and "|write_t|" not in text
    assert "For all parameters: the elementwise path of C never grows: 0 ≤ keep_t ≤ 1." in text


def test_planted_order_of_a_minimum_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(order.EXTREMES, ops.minimum, 1)
    with pytest.raises(AssertionError):
        test_sums_and_quotients_have_the_range_that_their_making_gives("exp(min - u)")


def test_planted_alignment_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_is_leading", lambda node: True)
    local_of.cache_clear()
    with pytest.raises(AssertionError):
        test_what_stands_beside_other_entries_has_no_bound()
    local_of.cache_clear()


def test_planted_norm_that_forgets_its_own_slope_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A factor that shrinks faster than the length grows turns vectors over, and stretches them: ρ is 3 there."""

    def folding(h: State["n"], U: Param["n n"], b: Param["n"]):
        a = U @ h + b
        return a / ((a @ a) ** 1.5 + 0.1)

    def tried() -> None:
        cell = sb.cell(folding)
        params = {"U": np.eye(4), "b": np.array([1.5, 0, 0, 0])}
        seen = np.linalg.norm(jacobian(cell, np.zeros(4), params), 2)
        narrow = {"h": (-1e-3 * np.ones(4), 1e-3 * np.ones(4))}
        rate = sb.vanishing_condition(cell, norm="2").rate(params, narrow)
        assert seen <= rate

    tried()
    monkeypatch.setattr(unit, "extremes_of", lambda factor: (1.0, 1.0))
    with pytest.raises(AssertionError):
        tried()


@sb.cell
def steep(h: State["n"]):
    return h / (np.linalg.norm(h) + 1e-7)


@sb.cell
def rooted(h: State["n"]):
    return np.where(h > 1, np.sqrt(np.maximum(h - 1, 0)), 0)


@sb.cell
def jumping(h: State["n"]):
    return np.where(h > 1, h, 0)


@pytest.mark.parametrize("cell, is_jump", [(steep, False), (rooted, False), (jumping, True)])
@pytest.mark.thinned(2)
def test_what_is_steep_does_not_jump(cell: Any, is_jump: bool) -> None:
    """A root rises without a bound where it begins, and has no jump there, however narrowly one looks."""
    assert jumps(local_of(cell)) == is_jump
    said = "The step jumps where a state crosses a threshold" in sb.vanishing_condition(cell).text()
    assert said == is_jump


def test_planted_step_at_a_root_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symbptt.stability.proofs.jumps.SHRINKS", 0.0)
    with pytest.raises(AssertionError):
        test_what_is_steep_does_not_jump(rooted, False)


@pytest.mark.parametrize("size", [1e-7, 0.1])
@pytest.mark.thinned(2)
def test_a_report_names_no_bound_that_says_nothing(size: float) -> None:
    @sb.cell
    def normed(h: State["n"], U: Param["n n"], b: Param["n"]):
        a = U @ h + b
        return a / (np.linalg.norm(a) + size)

    params = drawn(by_norm, np.random.default_rng(4), 0.5)
    text = " ".join(sb.analyze(normed, params, steps=60).text().split())
    assert ("no useful bound; the Jacobian of a step is known to have a 2-norm of at most" in text) == (size < 1e-6)
