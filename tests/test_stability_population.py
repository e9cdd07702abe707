"""The untied theory and the tied network beside each other."""

import math

import numpy as np
import pytest

from symbptt.errors import ArgumentError
from symbptt.stability.activations.mean_field import mean_field
from symbptt.stability.dynamics.population import gaussian_weights, population
from symbptt.zoo import lstm
from tests.dynamics import tanh_network


def test_vanilla_cells_agree_with_mean_field_tied_and_untied() -> None:
    state = {"h": np.random.default_rng(0).standard_normal((2, 200))}
    found = population(tanh_network, gaussian_weights(tanh_network, {"n": 200}, sigma_w=3.0), None, state, steps=120)
    expected = mean_field("tanh", sigma_w=3.0).lyapunov
    assert abs(found.untied.exponent - expected) <= 4 * found.untied.error + 1.2 * 3 / 200
    assert abs(found.tied.exponent - expected) <= 4 * found.tied.error + 1.2 * 3 / 200


def test_untied_theory_is_far_from_a_tied_lstm() -> None:
    """At the zero state c' = σ(1) c + U c / 4: untied its squared norm grows by σ(1)² + 1/16, tied at σ(1) + 1/4."""
    draw = gaussian_weights(lstm, {"m": 1, "n": 150}, bf=1.0)
    found = population(lstm, draw, {"x": np.zeros((150, 1, 1))})
    gate = 1 / (1 + math.exp(-1))
    assert abs(found.untied.exponent - math.log(gate**2 + 1 / 16) / 2) <= 0.01
    assert abs(found.tied.exponent - math.log(gate + 1 / 4)) <= 0.03
    assert str(found).splitlines()[0].startswith("untied theory") and "tied simulation" in str(found)


def test_few_steps_are_refused() -> None:
    with pytest.raises(ArgumentError, match="give at least 20"):
        population(tanh_network, gaussian_weights(tanh_network, {"n": 4}), steps=5)
