"""What reports and theorems say that there is not: only what is proven, or that it was not found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.ir.shape import named_size, names_in
from symbptt.language.init import concrete
from symbptt.stability.proofs import statement
from symbptt.zoo import CELLS

UNPROVEN = ("nothing bounds", "No finite η holds", "has no finite bound", "nothing sets", "No parameter scales")
NEVER = "η ≥ 1 for all parameters"


@sb.cell
def cubed(x: Input["n"], h: State["n"], U: Param["n n"]):
    """A cell whose slope has a bound, 3/4 √3 / 2 · σ_max(U), that intervals of its parts do not find."""
    u = U @ h + x
    return u**3 / (1 + np.sum(u**2) * np.max(np.abs(u)) + np.mean(u**4))


@sb.cell
def divided(x: Input["n"], h: State["n"], w: Param["n"], U: Param["n n"]):
    return h / (w + 0.1 * np.tanh(x)) + U @ h


@sb.cell
def squared(x: Input["n"], h: State["n"], w: Param["n"]):
    return h / (w**2 + np.tanh(x) ** 2) + x


@sb.cell
def weighted(x: Input["n"], h: State["n"], w: Param["n"]):
    return 9 * w * np.cos(x) * h


@sb.cell
def shifted(x: Input["n"], h: State["n"], w: Param["n"]):
    return h * np.sqrt(1 / (sb.sigmoid(x) + w**2)) / 2


@sb.cell
def doubled(x: Input["n"], h: State["n"], w: Param["n"]):
    """Never under 2."""
    return 2 * h + np.tanh(w * x)


@sb.cell
def switched(x: Input["n"], h: State["n"], w: Param["n"]):
    """Never under 1.5: whatever w is, large inputs switch it on."""
    return 1.5 * h * (0.0 + np.where(x > w, 1.0, -1.0))


@sb.cell
def held(x: Input["n"], h: State["n"], w: Param["n"], b: Const = 2.0):
    return b * h + w + x


SMALL = [cubed, divided, squared, weighted, shifted, doubled, switched, held]


def sizes(cell: sb.Cell) -> dict[str, int]:
    return {name: 3 + i for i, name in enumerate(sorted({name for a in cell.arguments for name in names_in(a.shape)}))}


def drawn(cell: sb.Cell, scale: float, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    p = cell.init(sizes(cell), seed=seed)
    return {k: scale * random.standard_normal(np.shape(v)) for k, v in p.items()}


def is_never_contradicted(cell: sb.Cell) -> None:
    """Where a theorem says that η is never under 1, no parameters give less."""
    for norm in ("2", "max"):
        theorem = sb.vanishing_condition(cell, norm=norm)
        if NEVER in theorem.text():
            ends = {a.name: np.full(concrete(a.shape, {named_size(k): v for k, v in sizes(cell).items()}),
                                    1.0 if a.name in theorem.bounded else np.inf)
                    for a in cell.arguments if a.role == "state"}  # fmt: skip
            bounds = {name: (-end, end) for name, end in ends.items()}
            found = [
                theorem.rate(drawn(cell, scale, seed), bounds) for scale in (1e-2, 0.3, 3, 100) for seed in range(3)
            ]
            assert min(found) >= 1 - 1e-9, (cell.name, norm, min(found))


@pytest.mark.parametrize("cell", SMALL, ids=lambda cell: cell.name)
@pytest.mark.thinned(17)
def test_what_was_not_found_is_not_said_to_be_none(cell: sb.Cell) -> None:
    p = drawn(cell, 0.5, 0)
    texts = [sb.vanishing_condition(cell, norm=norm).text() for norm in ("2", "max")]
    texts += [sb.certified_rate(cell, p, {}).text(), sb.analyze(cell, p, steps=20).text()]
    assert not any(part in text for part in UNPROVEN for text in texts)


def test_a_bound_that_exists_was_not_found() -> None:
    """The Jacobian is at most 3 in size wherever it is looked at, though the theorem finds no bound: it says so and no more."""
    p, random = {"U": np.eye(3)}, np.random.default_rng(0)
    text = sb.vanishing_condition(cubed).text()
    assert "No finite η was found that holds for all inputs: no bound was found on" in text
    assert "no finite bound on ‖∂h_t/∂h_k‖ was found" in sb.certified_rate(cubed, p, {}).text()
    J = sb.derive(cubed).jacobian("h", "h")
    for scale in (1e-3, 0.1, 1, 10, 1e3):
        for _ in range(3):
            found = J.evaluate(p, {"x": scale * random.standard_normal(3)}, {"h": np.zeros(3)})
            assert np.linalg.norm(found.reshape(3, 3), 2) < 3


@pytest.mark.parametrize("cell", SMALL, ids=lambda cell: cell.name)
def test_never_is_said_of_all_parameters(cell: sb.Cell) -> None:
    is_never_contradicted(cell)


@pytest.mark.parametrize("cell", [doubled, switched, held], ids=lambda cell: cell.name)
def test_never_is_said_where_it_is_true(cell: sb.Cell) -> None:
    assert all(NEVER in sb.vanishing_condition(cell, norm=norm).text() for norm in ("2", "max"))


@pytest.mark.filterwarnings("error::RuntimeWarning")  # also where states have no bound
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(163, 7)
def test_never_is_said_of_all_parameters_in_the_zoo(name: str) -> None:
    is_never_contradicted(CELLS[name])


def test_planted_single_draw_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "SCALES", (1.0,))
    statement._drawn.cache_clear()
    with pytest.raises(AssertionError):
        for cell in SMALL:
            is_never_contradicted(cell)
    statement._drawn.cache_clear()


def test_examples_of_ranges_are_no_ranges_of_some_parameters() -> None:
    """The softmax of the stack's gates ranges as far as A lets it, which a theorem for all parameters cannot know."""
    assert "pop" not in sb.vanishing_condition(CELLS["stack_rnn"]).text().partition("rate(params")[2].replace(
        "popped", ""
    )
