"""Random cells and those of the zoo held against what is proven of them, and the faults that this is seen to find."""

from typing import Any

import numpy as np
import pytest

from symbptt.errors import TheoremError
from symbptt.stability.proofs import bounds
from symbptt.stability.proofs.theorem import Theorem
from symbptt.zoo import CELLS
from tests.guarded import BATCH, SCALES, STEPS, exceeded, is_held
from tests.test_stability_guard import cascade
from tests.test_stability_theorems import doubled, drawn, parameters, stencil

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used", "ignore:.*encountered in")
FEW, MANY, ALL, CHUNK = 4, 50, 2_000, 50


def assert_none_exceeds(first: int, wanted: int) -> None:
    count = 3 * wanted // 2  # of some no bound is known, or they compute no finite number
    found, held = exceeded(range(first, first + count))
    assert not found, "\n\n".join([f"{len(found)} of {count} cells exceed a bound", *found])
    assert held > 0.8 * wanted


@pytest.mark.long
def test_random_cells_do_not_exceed_what_is_proven_of_them() -> None:
    assert_none_exceeds(0, FEW)


@pytest.mark.parametrize("first", [
    pytest.param(first, marks=pytest.mark.long if first < MANY else pytest.mark.exhaustive)
    for first in range(0, ALL, CHUNK)
])  # fmt: skip
def test_many_random_cells_do_not_exceed_what_is_proven_of_them(first: int) -> None:
    assert_none_exceeds(first, CHUNK)


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(1, 17)
def test_zoo_does_not_exceed_what_is_proven_of_it(name: str) -> None:
    for seed, scale in enumerate(SCALES):
        random = np.random.default_rng(seed)
        inputs = drawn(CELLS[name], "input", 1.0, random, (STEPS, BATCH))
        is_held(
            CELLS[name],
            parameters(CELLS[name], scale, seed),
            inputs,
            drawn(CELLS[name], "state", 0.9, random, (BATCH,)),
        )


def hold_faults(cells: list[tuple[Any, Any, Any]]) -> None:
    for cell, params, state in cells:
        assert is_held(cell, params, None, state)


FAULTS = {
    "one of equal parts beside each other": (
        lambda patch: patch.setattr(bounds, "root", lambda parts: bounds.plus(dict.fromkeys(parts))),
        [
            (stencil, {"K": np.full(3, 0.55)}, {"h": np.ones((2, 4))}),
            (doubled, {"W": 0.1 * np.tile(np.eye(3), (1, 2))}, {"h": np.full((2, 3), 1e-3)}),
        ],
    ),
    "a certificate without its constant": (
        lambda patch: patch.setattr(Theorem, "euclidean_constant", 1.0),
        [(cascade, {"a": np.array(0.5), "k": np.array(3.0)}, {"u": np.ones((2, 2)), "v": np.ones((2, 2))})],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.thinned(5)
def test_fault_that_was_there_once_is_found_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, cells = FAULTS[name]
    hold_faults(cells)
    plant(monkeypatch)
    for case in cells:
        with pytest.raises(TheoremError):
            hold_faults([case])


@pytest.mark.long
def test_faults_are_found_by_random_cells_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Theorem, "euclidean_constant", 1e-3)
    assert any(exceeded([seed])[0] for seed in range(200))
