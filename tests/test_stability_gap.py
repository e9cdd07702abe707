"""Bounds that intervals forget: x − max x ≤ 0, of which one is 0, and sums of squares."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.stability.proofs.hypotheses import general, sizes_in
from symbptt.stability.proofs.invariant_box import local_of


@sb.cell
def soft(x: Input["n"], h: State["n"], U: Param["n n"]):
    return sb.softmax(U @ h + x)


@sb.cell
def own(x: Input["n"], h: State["n"], U: Param["n n"]):
    a = U @ h + x
    e = np.exp(2 * (a - np.max(a)))
    return e / np.sum(e)


@sb.cell
def rows(x: Input["n"], h: State["n n"], U: Param["n n"]):
    a = U @ h + x
    e = np.exp(a - np.max(a, axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@sb.cell
def askew(x: Input["n"], h: State["n n"], U: Param["n n"]):
    a = U @ h + x
    return np.exp(a - np.max(a, axis=1))  # the maximum of row j stands beside column j


@sb.cell
def across(x: Input["n"], h: State["n n"], U: Param["n n"]):
    a = U @ h + x
    e = np.exp(a - np.max(a, axis=0))
    return np.tanh(h) / e.sum(axis=1, keepdims=True)  # a row may lack an entry of 1


@sb.cell
def normed(x: Input["n"], h: State["n"], U: Param["n n"], g: Param["n"]):
    return np.tanh(sb.layer_norm(U @ h + x) * g)


@sb.cell
def by_dot(x: Input["n"], h: State["n"], U: Param["n n"]):
    a = U @ h + x
    return 1 / np.sqrt(a @ a + 0.25) * np.tanh(h)


BOUNDED = [soft, own, rows, by_dot]


@pytest.mark.parametrize("cell", [soft, own, rows], ids=lambda cell: cell.name)
@pytest.mark.thinned(2)
def test_softmax_has_a_finite_bound_for_all_inputs_that_its_jacobians_keep(cell: Any) -> None:
    random = np.random.default_rng(0)
    params = cell.init({"n": 4}, seed=0)
    J = sb.derive(cell).jacobian("h", "h")
    for norm in ("2", "max"):
        condition = sb.vanishing_condition(cell, norm=norm)
        assert "no bound was found on" not in condition.text()
        rate = condition.rate(params)
        assert rate < 40
        for scale in (0.1, 1, 30):
            h = random.uniform(-1, 1, [4] * len(cell.arguments[1].shape))
            found = J.evaluate(params, {"x": scale * random.standard_normal(4)}, {"h": h}).reshape(h.size, h.size)
            assert np.linalg.norm(found, 2 if norm == "2" else np.inf) <= rate


@pytest.mark.parametrize("cell", [askew, across], ids=lambda cell: cell.name)
def test_maximum_over_other_axes_bounds_nothing(cell: Any) -> None:
    assert "no bound was found on" in sb.vanishing_condition(cell, norm="max").text()
    assert sb.vanishing_condition(cell, norm="max").rate(cell.init({"n": 3}, seed=0)) == np.inf


@pytest.mark.parametrize("cell", [*BOUNDED, normed], ids=lambda cell: cell.name)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_enclosures_for_any_inputs_hold_the_values_of_a_step(cell: Any, size: int) -> None:
    of, random = local_of(cell), np.random.default_rng(1)
    within = general(of, (), sizes_in(of, size))
    params = cell.init({"n": size}, seed=0)
    for scale in (1e-3, 1, 1e3):
        values = [scale * random.standard_normal([size] * len(a.shape)) for a in cell.arguments[:2]]
        found = cell.function(*values, *params.values())
        held = within.nodes[of.step.next["h"]]
        assert (held.lo <= found).all() and (found <= held.hi).all() and np.isfinite(held.size).all()


@pytest.mark.long
def test_root_of_a_variance_is_at_least_that_of_epsilon() -> None:
    text = sb.vanishing_condition(normed).text()
    assert "316.228" in text  # 1 / sqrt(1e-5)
    lost = text.partition("no bound was found on")[2]
    assert "sqrt" not in lost and "1 /" not in lost
    assert "1 /" not in sb.vanishing_condition(by_dot).text().partition("no bound was found on")[2]


def test_softmax_theorem_is_short() -> None:
    assert "η = ½ σ_max(U)\n" in sb.vanishing_condition(soft, norm="2").text()
