"""Elementwise functions of a vector over functions of its length: bounds that hold of the true Jacobians, and are near them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State
from symbptt.stability.algebra import unit_vectors as unit
from symbptt.stability.algebra.scalar_functions import X
from symbptt.stability.proofs import invariant_box
from symbptt.stability.proofs.invariant_box import local_of

N = 4
norm = np.linalg.norm


def cell_of(name: str, body: Callable[..., Any]) -> sb.Cell:
    def step(x: Input["n"], h: State["n"], U: Param["n n"], g: Param["n"]):
        return body(x + U @ h, g)

    step.__name__ = step.__qualname__ = name
    return sb.cell(step)


def length(u: Any) -> Any:
    return 1 + norm(u)


BODIES: dict[str, tuple[Callable[..., Any], float | None]] = {
    "rectified": (lambda u, g: g * sb.relu(u) / length(u), 1.0),
    "behind": (lambda u, g: sb.relu(u) / length(u) * g, 1.0),
    "twice": (lambda u, g: 2 * g * sb.relu(u) / length(u), 2.0),
    "minus": (lambda u, g: -g * sb.relu(u) / length(u), 1.0),
    "plain": (lambda u, g: g * u / length(u), 1.0),
    "maximum": (lambda u, g: g * np.maximum(u, 0) / length(u), 1.0),
    "leaky": (lambda u, g: g * np.maximum(u, 0.1 * u) / length(u), 1.0),
    "chosen": (lambda u, g: g * np.where(u > 0, 3 * u, -0.5 * u) / length(u), 3.0),
    "sizes": (lambda u, g: np.abs(u) * g / length(u), 1.0),
    "root": (lambda u, g: g * sb.relu(u) / np.sqrt(1 + u @ u), 1.0),
    "power": (lambda u, g: g * sb.relu(u) * (u @ u + 4) ** -0.5, 0.5),
    "mean": (lambda u, g: g * sb.relu(u) / np.sqrt(np.mean(u**2) + 1), 1.0),
    "gained": (lambda u, g: (2 + norm(u) ** 2) / (1 + norm(u) ** 2) * u * g / (norm(u) + 1), None),
    "bounded": (lambda u, g: g * np.tanh(u) / length(u), 2.0),
    "gelu": (lambda u, g: g * sb.gelu(u) / length(u), None),
    "swish": (lambda u, g: g * u * sb.sigmoid(u) / length(u), None),
    "waves": (lambda u, g: g * np.sin(u) / (1 + u @ u), None),
    "divided": (lambda u, g: sb.relu(u) / (2 + np.tanh(g)) / length(u), 1.0),
}  # fmt: skip
CELLS = {name: cell_of(name, body) for name, (body, _) in BODIES.items()}


@sb.cell
def place(x: Index["v"], r: State["n"], E: Param["v n"], U: Param["n n"], g: Param["n"] = 1.0):
    u = E[x] + U @ r
    return g * sb.relu(u) / (1 + np.linalg.norm(u))


@sb.cell
def gated(x: Input["n"], h: State["n"], U: Param["n n"], W: Param["n n"]):
    u, z = U @ h, sb.sigmoid(W @ h + x)
    return z * sb.relu(u) / (1 + np.linalg.norm(u))


@sb.cell
def rows(x: Input["n"], h: State["k n"], U: Param["n n"], g: Param["n"]):
    a = h @ U + x
    return g * sb.relu(a) / (1 + np.linalg.norm(a, axis=1, keepdims=True))


@sb.cell
def layered(x: Input["n"], h: State["n"], U: Param["n n"], g: Param["n"]):
    a = U @ h + x
    c = a - np.mean(a)
    return g * sb.relu(c) / np.sqrt(np.mean(c**2) + 0.5)


def drawn(cell: sb.Cell, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shape = {"U": (N, N), "W": (N, N), "g": (N,)}
    return {a.name: random.standard_normal(shape[a.name]) for a in cell.arguments if a.role == "param"}


def largest_seen(cell: sb.Cell, p: dict[str, Any], order: Any, seed: int = 0) -> float:
    """The largest norm of the true Jacobian, by central differences of the function itself, at random points of any size."""
    random, found = np.random.default_rng(seed), 0.0
    shape = (3, N) if cell is rows else (N,)
    for scale in (1e-2, 0.3, 1, 3, 30):
        for _ in range(12):
            x, h = scale * random.standard_normal(N), scale * random.standard_normal(shape)
            eps, columns = 1e-6 * scale, []
            for i in range(h.size):
                d = np.zeros(h.size)
                d[i] = eps
                ends = [np.ravel(cell.function(x, h + s * d.reshape(shape), *p.values())) for s in (1, -1)]
                columns.append((ends[0] - ends[1]) / (2 * eps))
            found = max(found, float(norm(np.stack(columns, 1), order)))
    return found


@pytest.mark.parametrize("name", [*CELLS, "gated", "rows", "layered"])
@pytest.mark.thinned(17, 5)
def test_bounds_hold_of_true_jacobians(name: str) -> None:
    cell = CELLS.get(name) or {"gated": gated, "rows": rows, "layered": layered}[name]
    box = {"h": (np.full((3, N), -np.inf), np.full((3, N), np.inf))} if cell is rows else {}
    for seed in range(2):
        p = drawn(cell, seed)
        for kind, order in (("2", 2), ("max", np.inf)):
            rate = sb.vanishing_condition(cell, norm=kind).rate(p, box)
            seen = largest_seen(cell, p, order, seed)
            assert seen <= rate * (1 + 1e-5) and np.isfinite(rate), (kind, seen, rate)
            assert rate <= 16 * seen, "not needlessly far from what was seen"


@pytest.mark.parametrize("name", [name for name, (_, factor) in BODIES.items() if factor])
def test_rate_is_that_of_the_paper(name: str) -> None:
    """‖J‖ ≤ factor · max |g| σ_max(U), the slope of the function and the largest factor of the length."""
    p = drawn(CELLS[name], 1)
    g = np.abs(p["g"]).max() if name != "divided" else np.max(1 / (2 + np.tanh(p["g"])))
    expected = (BODIES[name][1] or 0.0) * g * norm(p["U"], 2)
    assert sb.vanishing_condition(CELLS[name], norm="2").rate(p) == pytest.approx(expected, rel=1e-9)


def test_cell_of_a_user_has_a_theorem_and_a_certificate() -> None:
    p = place.init({"v": 5, "n": 3}, seed=0)
    text = sb.vanishing_condition(place).text()
    assert "η = max |g| σ_max(U)\n" in text and "was found" not in text
    for metric in ("diagonal", "quadratic"):
        found = sb.certified_rate(place, {**p, "U": 0.5 * p["U"]}, {}, metric=metric)
        assert found.contracts and found.rate <= 0.5 * norm(p["U"], 2) * np.abs(p["g"]).max() * (1 + 1e-6)
        assert "r: 0 to" in found.text()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(23, 7)
def test_certificates_hold_on_runs(name: str) -> None:
    cell, p = CELLS[name], drawn(CELLS[name], 3)
    found = sb.analyze(
        cell, p, {"x": np.random.default_rng(0).standard_normal((12, 2, N))}
    )  # its guard compares all theorems
    assert found.theorem.rate is not None


FREE = {
    "another length": lambda u, g: g * sb.relu(u) / (1 + norm(g)),
    "a jump": lambda u, g: g * np.where(u > 0, u + 1, u) / length(u),
    "not zero at zero": lambda u, g: g * np.exp(u) / length(u),
    "no bound": lambda u, g: g * u**3 / length(u),
    "grows": lambda u, g: g * sb.relu(u) * length(u),
}


@pytest.mark.parametrize("name", FREE)
def test_other_products_are_not_taken_for_these(name: str) -> None:
    of = local_of(cell_of("free", FREE[name]))
    assert not of.scaled


@pytest.mark.parametrize(("body", "slopes"), [
    (lambda u: sb.relu(u), (0, 1, True)), (lambda u: np.abs(u), (-1, 1, True)), (lambda u: np.maximum(u, 0.2 * u), (0.2, 1, True)),
    (lambda u: np.minimum(3 * u, 0), (0, 3, True)), (lambda u: np.tanh(u), (0, 1, False)), (lambda u: np.arctan(u), (0, 1, False)),
    (lambda u: np.sin(u), (-1, 1, False)),
])  # fmt: skip
def test_slopes_of_functions_that_are_zero_at_zero(body: Any, slopes: Any) -> None:
    of = local_of(cell_of("sloped", lambda u, g: body(u) / length(u)))
    (known,) = of.scaled.values()
    found = known.known.slopes
    assert (found.least, found.most) == pytest.approx(slopes[:2], abs=1e-9) and found.is_straight == slopes[2]


def test_slope_of_the_identity_is_one() -> None:
    assert unit.slopes_of(X) == unit.LINE and unit.slopes_of(X + 1) is None and unit.slopes_of(X**2) is None


def test_names_and_outputs_stay() -> None:
    @sb.cell
    def named(x: Input["n"], h: State["n"], U: Param["n n"], g: Param["n"]):
        u = U @ h + x
        top = g * sb.relu(u)
        y = top / (1 + np.linalg.norm(u))
        return {"h": y, "read": 2 * y, "top": top}

    of = local_of(named)
    assert {"u", "y", "top"} <= set(of.graph.names.values()) and set(of.step.outputs) == {"read", "top"}
    p = drawn(named, 0)
    assert sb.vanishing_condition(named).rate(p, {"u": (-1, 1), "top": (0, 2)}) <= np.abs(p["g"]).max() * norm(
        p["U"], 2
    ) * (1 + 1e-9)


def test_planted_slope_of_one_for_every_function_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "slopes_of", lambda expr: unit.LINE)
    invariant_box.local_of.cache_clear()
    with pytest.raises(AssertionError):
        test_bounds_hold_of_true_jacobians("chosen")
    invariant_box.local_of.cache_clear()


def test_planted_product_that_stays_as_it_is_written_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariant_box, "regrouped", lambda step, alone: step)
    invariant_box.local_of.cache_clear()
    with pytest.raises(AssertionError):
        test_bounds_hold_of_true_jacobians("rectified")
    invariant_box.local_of.cache_clear()
