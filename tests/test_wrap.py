"""Long lines stay the statements that they were, wherever and however often they are broken."""

import ast
import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import symbptt as sb
from symbptt import Input, Output, Param, State, Target, zoo
from symbptt.codegen import kernel
from symbptt.codegen.targets.python import wrap
from symbptt.codegen.targets.python.wrap import wrapped
from tests import brute, unseen

LONG = "π" * 130
NAMES = st.sampled_from(["x", "h_prev", "membrane_potential", "größe_der_schicht_" * 4, "q" * 119, LONG])


def expressions() -> Any:
    """Expressions with calls, indices, strings, tuples, comprehensions."""
    texts = st.sampled_from(['"ab, c + d (e"', "'[, '", '"x  - y"'])
    leaves = NAMES | st.integers(0, 9).map(str) | texts

    def larger(inner: Any) -> Any:
        several = st.lists(inner, min_size=1, max_size=8)
        return (
            st.tuples(NAMES, several).map(lambda v: f"{v[0]}({', '.join(v[1])})")
            | st.tuples(inner, inner, st.sampled_from([" + ", " - ", " * ", "*", " @ ", "-", " < "])).map(
                lambda v: f"({v[0]}{v[2]}{v[1]})"
            )
            | st.tuples(NAMES, several).map(lambda v: f"{v[0]}[{', '.join(v[1])}]")
            | several.map(lambda v: f"({', '.join(v)},)")
            | st.tuples(NAMES, inner).map(lambda v: f"[{v[0]} for {v[0]} in {v[1]} if -{v[0]}]")
            | st.tuples(NAMES, inner).map(lambda v: f"{v[0]}(-{v[1]}, out={v[0]})")
        )

    return st.recursive(leaves, larger, max_leaves=25)


def statements() -> Any:
    """Statements of every kind that a module has: with values, targets and tests, long or not."""
    value, targets = expressions(), st.lists(NAMES, min_size=1, max_size=9).map(", ".join)
    total = st.lists(value, min_size=1, max_size=6).map(" + ".join)
    return (
        total
        | st.tuples(targets, total).map(" = ".join)
        | st.tuples(NAMES, NAMES, total).map(" = ".join)
        | total.map(lambda v: f"return {v}")
        | total.map(lambda v: f"if {v}:")
        | st.tuples(targets, st.lists(value, min_size=1, max_size=8)).map(
            lambda v: f"for {v[0]} in zip({', '.join(v[1])}):"
        )
        | st.tuples(targets, value).map(lambda v: f"for {v[0]} in {v[1]}:")
    )


def parsed(lines: list[str], deep: str, code: str) -> str:
    """The meaning of a statement at some depth, its line breaks apart."""
    head = [f"{deep[: 4 * i]}if 1:" for i in range(len(deep) // 4)]
    body = [f"{deep}    pass"] * code.endswith(":")
    return ast.dump(ast.parse("\n".join([*head, *lines, *body])))


@given(statements(), st.integers(0, 4))
def test_a_broken_line_is_the_same_statement(code: str, depth: int) -> None:
    deep = "    " * depth
    for line in (f"{deep}{code}", f"{deep}{code}  # h_t = (a, b; 'c' + d"):
        lines = wrapped(line)
        assert parsed(lines, deep, code) == parsed([f"{deep}{code}"], deep, code)
        assert "\n".join(lines).count("# h_t") == line.count("# h_t")


@pytest.mark.parametrize("line", [
    f"    np.add({'a' * 60}, {'b' * 60}, out={'c' * 30})",
    f"    {'a' * 45} = {'b' * 45} = np.empty((T, B, n), dtype)",
    f"    {', '.join('abcdefghij' * 2 + str(i) for i in range(9))} = (v[:K] for v in ({', '.join('k' * 20 + str(i) for i in range(9))}))",
    f"    if {' and '.join('c' * 20 + str(i) for i in range(9))}:",
    f"    for t in zip({', '.join('abcdefghij' * 2 + str(i) for i in range(9))}):",
])  # fmt: skip
def test_lines_become_short_where_they_can(line: str) -> None:
    lines = wrapped(line)
    assert len(lines) > 1 and max(map(len, lines)) <= wrap.WIDTH
    assert parsed(lines, "    ", line) == parsed([line], "    ", line)


def test_a_name_that_is_too_long_is_not_broken() -> None:
    assert wrapped(f"    return {LONG}") == [f"    return {LONG}"]


def rounds(count: int, state: str, body: str) -> sb.Cell:
    """A cell whose state, of a name of the user's, goes through several inner rounds."""

    def inner(**values: Any) -> Any:
        h, x, U = values[state], values["x"], values["U"]
        for _ in range(count):
            h = BODIES[body](h, x, U)
        return h

    inner.__name__ = f"of_{count}_rounds"
    inner.__signature__ = inspect.Signature([  # type: ignore[attr-defined]
        inspect.Parameter(name, 3, annotation=role)
        for name, role in (("x", Input["n"]), (state, State["n"]), ("U", Param["n n"]))
    ])  # fmt: skip
    return sb.cell(inner)


BODIES: dict[str, Any] = {
    "products": lambda h, x, U: np.tanh(U @ h + x),
    "recurrent": lambda h, x, U: np.tanh(U @ h),
    "gated": lambda h, x, U: sb.sigmoid(U @ h) * h + np.tanh(x - h),
    "elementwise": lambda h, x, U: 0.5 * h + x * sb.sigmoid(h),
}


@pytest.mark.filterwarnings("ignore:.*never used")
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("count", "state"), [(16, "h"), (6, "membrane_potential"), (5, "δυναμικό_της_μεμβράνης_του_νευρώνα"), (3, LONG)]
)
@pytest.mark.parametrize("memory", ["all", "sqrt"])
@pytest.mark.thinned(7, 5)
def test_cells_of_many_rounds_and_long_names_run(count: int, state: str, body: str, memory: Any) -> None:
    cell = rounds(count, state, body)
    kernel, data = sb.compile(cell, memory=memory), brute.data_of(cell, 3, 2, {"n": 2}, 1)
    run = kernel.forward(data.params, data.inputs, data.state)
    cotangents = {state: np.ones((3, 2, 2))}
    wanted = brute.gradients(cell, brute.cotangent_score(cotangents), data)
    brute.assert_same(brute.by_group(kernel.backward(run, cotangents)), wanted)


@pytest.mark.parametrize("options", [{"memory": 10**9}, {"truncation": sb.Window(3)}, {"clip_adjoint": 1.0}])
def test_every_option_and_a_loss_with_long_names(options: dict[str, Any]) -> None:
    @sb.loss
    def error(membrane_potential_of_all_neurons_of_this_layer_at_this_very_step: Output["n"], y: Target["n"]):  # type: ignore[no-untyped-def]
        e = membrane_potential_of_all_neurons_of_this_layer_at_this_very_step - y
        return sb.sum(e * e)

    @sb.cell
    def long(x: Input["number_of_inputs_of_this_layer_of_the_network"],  # type: ignore[no-untyped-def]
             first_state_of_this_layer_of_the_network_that_is_long: State["n"], second_state_of_this_layer_of_the_network: State["n"],
             W: Param["n number_of_inputs_of_this_layer_of_the_network"]):  # fmt: skip
        h, c = first_state_of_this_layer_of_the_network_that_is_long, second_state_of_this_layer_of_the_network
        h = np.tanh(W @ x + c * h)
        return {"first_state_of_this_layer_of_the_network_that_is_long": h, "second_state_of_this_layer_of_the_network": 0.5 * c + h,
                "membrane_potential_of_all_neurons_of_this_layer_at_this_very_step": h * c}  # fmt: skip

    model = sb.model(long, error)
    data = brute.data_of(model, 3, 2, {"number_of_inputs_of_this_layer_of_the_network": 2, "n": 2}, 1)
    kernel = sb.compile(model, **options)
    value, _ = brute.value_and_grad(kernel, data)
    np.testing.assert_allclose(value, brute.value(model, data), rtol=1e-12)


@pytest.mark.parametrize(
    "target", [zoo.lstm, zoo.lem, unseen.gated_delta, unseen.wkv, unseen.mamba2], ids=lambda cell: cell.name
)
@pytest.mark.thinned(17, 2)
def test_modules_mean_the_same_however_narrow_they_are(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    for width in (120, 40, 8):
        monkeypatch.setattr(wrap, "WIDTH", width)
        text = sb.compile(target).source
        texts.append(ast.dump(ast.parse(text.replace(text.partition("MARK = ")[2].partition("\n")[0], "0"))))
    assert texts[1:] == texts[:1] * 2


def test_what_cannot_be_parsed_is_said_at_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "source", lambda *args: "x = 1\ny = = 2\n")
    with pytest.raises(AssertionError, match=r"no Python at line 2(.|\n)*y = = 2"):
        sb.compile(zoo.gru)


def test_a_planted_cut_inside_no_brackets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = wrap._pieces
    monkeypatch.setattr(wrap, "_pieces", lambda code, fine=False, depth=0: pieces(code, fine, 1))
    with pytest.raises(AssertionError, match="no Python"), pytest.warns(UserWarning, match="never used"):
        sb.compile(rounds(16, "membrane_potential", "recurrent"))
