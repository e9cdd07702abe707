"""One wrong rule of each family of the derivation: `sb.verify` alone catches it, in the numbers and over the field.

A mistake in a rule is in all that is derived by it, in gradients inside a step too, so that no side of the derivation contradicts
another one: only the user's own function does.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State
from symbptt.autodiff import algebra, rounds, vjp
from symbptt.ir import build
from symbptt.ir.algebra import turned
from symbptt.ir.node import placeholder
from symbptt.language import gradient
from symbptt.verification.checks import rows
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.prove import line_of
from symbptt.verification.proof.subjects import subjects_of
from symbptt.verification.requests import NOTHING

pytestmark = pytest.mark.proof


def matrix(A: Any) -> Any:
    """A matrix that is no symmetric one and far from singular."""
    return 0.3 * A + 2 * np.eye(3)


def filled(h: Any, w: Any) -> Any:
    z = np.zeros_like(h)
    z[1:] = w[1:] * h[:-1]
    z[0] = h[2]
    return z


BODIES: dict[str, Callable[..., Any]] = {
    "solve": lambda x, h, A, w, i: np.linalg.solve(matrix(A), h) + w * x,
    "cholesky": lambda x, h, A, w, i: np.linalg.cholesky(matrix(A) @ matrix(A).T) @ h + w * x,
    "det": lambda x, h, A, w, i: 0.1 * np.linalg.det(matrix(A)) * h + w * x,
    "expm": lambda x, h, A, w, i: sb.expm(0.3 * A) @ h + w * x,
    "conv": lambda x, h, A, w, i: np.tanh(sb.conv(h, w, padding="same")) + x,
    "sort": lambda x, h, A, w, i: np.sort(w * h + x) * np.array([1.0, 2.0, 3.0]),
    "a row": lambda x, h, A, w, i: np.tanh(A[i] * h) + w * x,
    "assignment": lambda x, h, A, w, i: np.sin(filled(h, w)) + x,
    "repeat": lambda x, h, A, w, i: sb.repeat(lambda z: np.tanh(A @ z + x), w * h, 3),
    "grad": lambda x, h, A, w, i: h - 0.1 * sb.grad(lambda M: np.sum(np.sin(A @ (w * M))))(h) + x,
    "cumsum": lambda x, h, A, w, i: np.tanh(np.cumsum(w * h)) + x,
    "max": lambda x, h, A, w, i: np.max(w * h) * x + 0.5 * h,
    "a product": lambda x, h, A, w, i: np.tanh(A @ h + w * x),
    "softmax": lambda x, h, A, w, i: sb.softmax(A @ h) + w * x,
}


def cell_of(family: str) -> sb.Cell:
    """A cell that no call has derived yet."""

    @sb.cell
    def planted(x: Input["3"], h: State["3"], A: Param["3 3"], w: Param["3"], i: Index["3"]):
        return BODIES[family](x, h, A, w, i)

    return planted


def twice_last(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule whose last contribution counts twice."""

    def twisted(*args: Any) -> Any:
        found = rule(*args)
        g = getattr(args[0], "graph", args[0])
        return [*found[:-1], *((arg, build.map_(g, 2 * placeholder(0), (bar,))) for arg, bar in found[-1:])]

    return twisted


def without_last(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule without its last contribution, where it has several."""

    def twisted(*args: Any) -> Any:
        found = rule(*args)
        return found[:-1] if len(found) > 1 else found

    return twisted


def as_it_came(context: vjp.Context, node: Any, bar: int) -> Any:
    """The adjoint of rows that are read by places, without their places."""
    table = node.args[0]
    return [(table, bar)] if context.graph.shape(table) == node.shape else []


def reversed_sum(context: vjp.Context, node: Any, bar: int) -> Any:
    """The adjoint of a running sum from the wrong end."""
    return [(node.args[0], build.cumulate(context.graph, bar, node.attrs.axis, node.attrs.reverse))]


def turned_columns(g: Any, id: int) -> int:
    """The transpose of a column or a row alone."""
    rows, columns = g.shape(id)[-2:]
    return id if rows == columns else turned(g, id)


def first_rounds_alone(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A loop that hands nothing to what it begins with."""

    def twisted(context: Any, node: Any, *others: Any) -> Any:
        found, guarded = rule(context, node, *others)
        return [pair for pair in found if pair[0] != node.args[0]], guarded

    return twisted


Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: dict[str, tuple[str, Plant]] = {
    "solve: A in the place of its transpose": ("solve", lambda m: m.setattr(algebra, "turned", turned_columns)),
    "solve: nothing to A": ("solve", lambda m: m.setitem(algebra.ADJOINTS, "solve", without_last(algebra.ADJOINTS["solve"]))),
    "cholesky: the whole twice": ("cholesky", lambda m: m.setitem(algebra.ADJOINTS, "cholesky", twice_last(algebra.ADJOINTS["cholesky"]))),
    "det: twice": ("det", lambda m: m.setitem(algebra.ADJOINTS, "det", twice_last(algebra.ADJOINTS["det"]))),
    "expm: twice": ("expm", lambda m: m.setitem(algebra.ADJOINTS, "expm", twice_last(algebra.ADJOINTS["expm"]))),
    "conv: a view twice": ("conv", lambda m: m.setitem(vjp.RULES, "view", twice_last(vjp.RULES["view"]))),
    "sort: a place twice": ("sort", lambda m: m.setitem(vjp.RULES, "reduce", twice_last(vjp.RULES["reduce"]))),
    "a row: its place forgotten": ("a row", lambda m: m.setitem(vjp.RULES, "gather", as_it_came)),
    "assignment: the last piece": ("assignment", lambda m: m.setattr(vjp, "_pieces", without_last(vjp._pieces))),
    "repeat: its start": ("repeat", lambda m: m.setattr(rounds, "adjoint_of_loop", first_rounds_alone(rounds.adjoint_of_loop))),
    "repeat: inside a round": ("repeat", lambda m: m.setitem(vjp.RULES, "map", without_last(vjp.RULES["map"]))),
    "grad: a product": ("grad", lambda m: m.setitem(vjp.RULES, "contract", twice_last(vjp.RULES["contract"]))),
    "grad: a sum": ("grad", lambda m: m.setitem(vjp.RULES, "reduce", twice_last(vjp.RULES["reduce"]))),
    "cumsum: the wrong end": ("cumsum", lambda m: m.setitem(vjp.RULES, "cumulate", reversed_sum)),
    "max: twice": ("max", lambda m: m.setitem(vjp.RULES, "reduce", twice_last(vjp.RULES["reduce"]))),
    "a product: nothing to the last": ("a product", lambda m: m.setitem(vjp.RULES, "contract", without_last(vjp.RULES["contract"]))),
    "softmax: twice": ("softmax", lambda m: m.setitem(vjp.RULES, "map", twice_last(vjp.RULES["map"]))),
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_derived() -> Iterator[None]:
    """Gradients that are taken on numbers are derived once for all calls: none stays over a test."""
    gradient._derived.cache_clear()
    yield
    gradient._derived.cache_clear()


def is_wrong_over_the_field(kernel: Any) -> bool:
    subject, settings = next(iter(subjects_of(kernel)))
    return bool(line_of(subject, settings[1], Cases(0, NOTHING)).wrong)


@pytest.mark.filterwarnings("ignore:the (index|param) .* is never used")
@pytest.mark.thinned(23, 2)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_wrong_rule_is_caught(plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family, make = PLANTS[plant]
    make(monkeypatch)
    kernel = sb.compile(cell_of(family))
    assert any(not row.passed for row in rows(kernel, 0))
    # A gradient inside a step is taken by the same rules on elements of the field, where both sides are then wrong alike.
    assert is_wrong_over_the_field(kernel) or family == "grad"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the (index|param) .* is never used")
@pytest.mark.parametrize("family", BODIES)
@pytest.mark.thinned(1, 3)
def test_right_rules_pass(family: str) -> None:
    kernel = sb.compile(cell_of(family))
    assert all(row.passed for row in rows(kernel, 0)) and not is_wrong_over_the_field(kernel)


def test_every_family_of_rules_has_a_mistake() -> None:
    assert {family for family, _ in PLANTS.values()} == {*BODIES}
