"""The equations beside the lines of generated modules: in the user's terms, each symbol for one value."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.codegen.lower import equations
from symbptt.equations.notation.signs import TEXT
from symbptt.equations.notation.writing import write
from symbptt.equations.page.layout import behind
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
@pytest.mark.thinned(23, 11)
def test_a_symbol_stands_for_one_value(cell: sb.Cell) -> None:
    # A single step has fewer names: what no sweep needs once more is written out there.
    text = kernel_of(cell).source
    found = sides(text.partition("\ndef _once(")[0] + text[text.index("\ndef forward(") :])
    assert found and {left: rights for left, rights in found.items() if len(rights) > 1} == {}


@EVERY
@pytest.mark.thinned(13, 7)
def test_no_equation_shows_stacked_weights_of_several_gates(cell: sb.Cell) -> None:
    assert [text for text in comments(kernel_of(cell).source) if re.search(r"einsum\('ijk,j->ik', \[\(", text)] == []


@EVERY
@pytest.mark.thinned(23, 7)
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


def lines_of_page(d: sb.Derivation) -> dict[str, list[tuple[str, str]]]:
    """The relations and right sides of a page in the style "loop", with and without names for the arguments of functions, by
    their left sides."""
    found = defaultdict(list)
    for part in [d] if d.head is None else [d, d.head]:
        for labels in (part.labels, part.shown_labels):
            lines = replace(part.lines, labels=labels)
            for line in (*lines.forward(), *lines.backward(), *lines.gradients(), *lines.input_gradients()):
                right = write(line.right, TEXT) + behind(line, TEXT)
                found[write(line.left, TEXT)].append((line.relation, right))
    return found


def equations_in(text: str) -> Iterator[tuple[str, str, str]]:
    for comment in comments(text):
        # A semicolon inside brackets is part of an array.
        for equation in re.split(r"; (?![^\[{]*[\]}])", comment):
            if found := re.fullmatch(r"(\S+) (\+=|-=|=) (.*)", equation):
                yield found[1], found[2], found[3]


def tokens(text: str) -> list[str]:
    return re.findall(r"[^\s()\[\]{};|]+(?:\{[^}]*\})?", text)


def symbols(text: str) -> list[str]:
    return sorted(token for token in tokens(text) if token[0].isalpha())


def assert_as_on_the_page(source: str, d: sb.Derivation) -> None:
    """The page and the comments beside the code say the same of each value; with the same symbols as often also the same formula, in
    whatever order. The direct cotangent of a state is added on a line of its own."""
    assert d.as_spelt() in source
    page, compared = lines_of_page(d), 0
    for left, relation, right in equations_in(source):
        assert left not in tokens(right), f"{left} {relation} {right}"
        known = [(sign, text.removeprefix(f"dL/{left} + ")) for sign, text in page.get(left, ())]
        assert not known or relation in {sign for sign, _ in known}, f"{left} {relation} {right}, not {known}"
        # Indices and slices may have other letters and places.
        is_plain = not re.search(r"\[|\)_|Σ_\{", right)
        alike = [text for _, text in known if is_plain and symbols(text) == symbols(right)]
        compared += bool(alike)
        assert not alike or sorted(tokens(right)) in [sorted(tokens(text)) for text in alike], (
            f"{left}: {right}, not {alike}"
        )
    assert compared


@EVERY
@pytest.mark.thinned(41, 7)
def test_comments_say_what_the_page_says(cell: sb.Cell) -> None:
    assert_as_on_the_page(kernel_of(cell).source, sb.derive(cell))


def test_comments_of_a_model_say_what_its_page_says() -> None:
    @sb.loss
    def loss(c: State["n"], V: Param["p n"], y: sb.Target["p"]):
        return sb.sum((V @ c - y) ** 2)

    for at in ("every", "last"):
        model = sb.model(zoo.lstm, loss, at=at)
        assert_as_on_the_page(kernel_of(model).source, sb.derive(model))
    source = kernel_of(zoo.lstm).source
    assert "dc_t += dh_t ⊙ o_t ⊙ (1 - tanh(c_t)²)" in set(map(" ".join, equations_in(source)))
    assert "np.add(adjoint, given[t], out=adjoint)  # + dL/dh_t; + dL/dc_t" in source


def test_a_state_that_is_said_to_be_itself_and_more_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equations, "_adds_to", lambda right, label: False)
    with pytest.raises(AssertionError, match="dc_t = dc_t"):
        assert_as_on_the_page(sb.compile(zoo.sru).source, sb.derive(zoo.sru))
