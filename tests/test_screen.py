"""The quick look at gradients: one run of the user's function for all arrays, and one for each where they do not agree."""

import numpy as np
import pytest

from symbptt.verification.oracle import Point
from symbptt.verification.screen import errors

ENOUGH = 1e-12
RIGHT = {("params", "w"): np.array([3.0, -2.0]), ("params", "b"): np.array([[1e-9, 2e-9]]), ("state", "z"): np.zeros(2)}


def looked_at(found):
    """Return the errors, and how often the function ran: L = 3 w_0 - 2 w_1 + 1e-9 b_0 + 2e-9 b_1, and nothing of z."""
    runs = []

    def value(point):
        runs.append(point)
        w, b, z = point.params["w"], point.params["b"], point.state["z"]
        return 3 * w[0] - 2 * w[1] + 1e-9 * b[0, 0] + 2e-9 * b[0, 1] + 0 * z[0]

    point = Point({"w": np.ones(2), "b": np.ones((1, 2))}, {}, {"z": np.ones(2)}, steps=1, batch=1)
    return errors(value, point, found, 0.0, True, np.random.default_rng(0), ENOUGH), len(runs)


def test_right_gradients_take_one_run_and_one_for_zeros():
    found, runs = looked_at(RIGHT)
    assert set(found) == set(RIGHT) and max(found.values()) <= ENOUGH and runs == 2


@pytest.mark.parametrize("place", list(RIGHT))
@pytest.mark.parametrize("change", [1e-6, np.nan, -1.0])
def test_a_fault_in_one_array_is_told_of_that_array_alone(place, change):
    wrong = RIGHT[place] + change * np.where(RIGHT[place] == 0, 1.0, RIGHT[place])
    found, _ = looked_at(RIGHT | {place: wrong})
    assert {x for x, error in found.items() if not error <= ENOUGH} == {place}


def test_faults_of_two_arrays_do_not_cancel():
    w, b = ("params", "w"), ("params", "b")
    for factor in (1 + 1e-6, 1 - 1e-6):
        found, _ = looked_at(RIGHT | {w: RIGHT[w] * (1 + 1e-6), b: RIGHT[b] * factor})
        assert found[w] > ENOUGH < found[b] and found["state", "z"] == 0
