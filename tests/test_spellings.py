"""However a cell spells its products, the same products are computed, in the same places, with the same gradients."""

import sys
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.codegen.passes import spread
from tests import spellings
from tests.calls import Call, products_of
from tests.spellings import LAYOUTS, ORDER, M, N

T, B = 5, 4
GATES = {kind: len(names) for kind, names in ORDER.items()}
NUMBERS = {
    kind: [np.random.default_rng(0).standard_normal((count, *rest)) for rest in ((N, M), (N, N), (N,))]
    for kind, count in GATES.items()
}
SPELLINGS = [name for kind, layouts in LAYOUTS.items() for name in layouts(*NUMBERS[kind])]


@cache
def ran(name: str) -> tuple[Any, Any, Counter[Call]]:
    """The run of a spelling, its gradients, and its products."""
    kind = name.partition("_")[0]
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((T, B, M)), rng.standard_normal((T, B, N))
    found: list[Any] = []

    def run(names: dict[str, Any]) -> None:
        found.append(names["forward"](LAYOUTS[kind](*NUMBERS[kind])[name], {"x": x}, {"h": np.full((B, N), 0.3)}))
        found.append(names["backward"](found[0], {"h": weight}))

    calls = products_of(sb.compile(getattr(spellings, name)).source, run)
    return found[0], found[1], calls


def plain(name: str) -> str:
    return f"{name.partition('_')[0]}_plain"


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.thinned(23, 5)
def test_spelling_leads_to_the_same_products(name: str) -> None:
    assert ran(name)[2] == ran(plain(name))[2]


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.thinned(11)
def test_state_is_that_of_the_function_itself(name: str) -> None:
    kind, cell = name.partition("_")[0], getattr(spellings, name)
    x = np.random.default_rng(2).standard_normal((T, B, M))
    params = LAYOUTS[kind](*NUMBERS[kind])[name]
    states = {"h": np.full((B, N), 0.3)} | ({"c": np.zeros((B, N))} if kind == "lstm" else {})
    for t in range(T):
        rows = [cell(x[t, k], *(v[k] for v in states.values()), **params) for k in range(B)]
        states = {k: np.array([row[k] if isinstance(row, dict) else row for row in rows]) for k in states}
        np.testing.assert_allclose(ran(name)[0].states["h"][t], states["h"], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.thinned(23)
def test_spelling_leads_to_the_same_gradients(name: str) -> None:
    kind = name.partition("_")[0]
    own, wanted = ran(name)[1], ran(plain(name))[1]
    stacks = [np.array([wanted.params[f"{letter}{k}"] for k in ORDER[kind]]) for letter in "WUb"]
    for key, value in LAYOUTS[kind](*stacks)[name].items():
        np.testing.assert_allclose(own.params[key], value, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(own.inputs["x"], wanted.inputs["x"], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(own.state["h"], wanted.state["h"], rtol=1e-11, atol=1e-12)


def test_planted_spelling_that_is_not_recognised_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: products with a concatenation that stay as they are."""
    monkeypatch.setattr(sys.modules[spread.__module__], "_groups", lambda made, g, vector: [])
    assert ran.__wrapped__("lstm_joined")[2] != ran("lstm_plain")[2]
