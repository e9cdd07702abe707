"""The equations beside the lines of generated modules: in the user's terms, each symbol for one value."""

import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from tests import unseen
from tests.kernels import kernel_of

EVERY = pytest.mark.parametrize("cell", [*zoo.CELLS.values(), *unseen.CELLS.values()], ids=lambda cell: cell.name)


@sb.cell
def dotted(x: Input["m"], h: State["n"], Wz: Param["n m"], Uz: Param["n n"], Wc: Param["n m"], Uc: Param["n n"]):
    z = sb.sigmoid(np.dot(Wz, x) + np.dot(Uz, h))
    return (1 - z) * h + z * np.tanh(np.dot(Wc, x) + np.dot(Uc, h))


@sb.cell
def fitzhugh(i: Input[""], v: State[""], w: State[""], a: Param[""], b: Param[""]):
    return v + 0.1 * (v - v**3 / 3 - w + i), w + 0.1 * (v + a - b * w)


def comments(text: str) -> Iterator[str]:
    """The comments of both sweeps, each as one line."""
    lines = text[text.index("def _forward(") : text.index("\ndef forward(")].splitlines()
    for i, line in enumerate(lines):
        found = re.match(r"(?:.*  |\s*)# (?!  )(.*)", line)
        if found:
            more = [more.strip().removeprefix("#") for more in lines[i + 1 :]]
            ends = next(j for j, text in enumerate([*more, ""]) if not text.startswith("   "))
            yield " ".join([found[1], *(text.strip() for text in more[:ends])])


def sides(text: str) -> dict[str, set[str]]:
    """The right sides of each symbol."""
    found = defaultdict(set)
    for comment in comments(text):
        for equation in comment.split("; "):
            left, sign, right = equation.partition(" = ")
            if sign and " " not in left:
                found[left].add(right)
    return found


@EVERY
@pytest.mark.thinned(5)
def test_a_symbol_stands_for_one_value(cell: sb.Cell) -> None:
    found = sides(kernel_of(cell).source)
    assert found and {left: rights for left, rights in found.items() if len(rights) > 1} == {}


@EVERY
@pytest.mark.thinned(3)
def test_no_equation_shows_stacked_weights_of_several_gates(cell: sb.Cell) -> None:
    assert [text for text in comments(kernel_of(cell).source) if re.search(r"einsum\('ijk,j->ik', \[\(", text)] == []


@EVERY
@pytest.mark.thinned(5)
def test_what_no_step_changes_has_no_index_of_steps(cell: sb.Cell) -> None:
    text = kernel_of(cell).source
    once = text[text.index("# before the loop: what needs no adjoint") :]
    once = once[: once.index("adjoints, resets, waiting =")]
    assert not re.search(r"# \S*(_t|,t\}) = ", once)


def test_coefficients_have_numbers_where_their_names_meet() -> None:
    found = sides(kernel_of(fitzhugh).source)
    assert found["v_{dv,t}"] == {"1.1 - 0.1 v_{t-1}²"} and found["v_dw"] == {"1 - 0.1 b"}


def test_coefficients_of_packed_gates_are_in_the_terms_of_the_user() -> None:
    found = sides(kernel_of(dotted).source)
    assert found["da_{h_dh,t}"] == {"z_t ⊙ (1 - tanh(a_{h,t})²)"}
    assert found["da_{z_dh,t}"] == {"(tanh(a_{h,t}) - h_{t-1}) ⊙ z_t ⊙ (1 - z_t)"}


def test_adjoints_that_lie_side_by_side_are_handed_on_in_the_terms_of_the_user() -> None:
    found = sides(kernel_of(dotted).source)
    assert found["dh_{t-1}"] == {"Uzᵀ da_{z,t} + Ucᵀ da_{h,t} + dh_t ⊙ (1 - z_t)"}
