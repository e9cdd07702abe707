"""Roles, and the small language of dimensions."""

import textwrap
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import symbptt as sb
from symbptt import Const, Context, Index, Input, Output, Param, State, Target
from symbptt.ir.shape import named_size, show
from symbptt.language.roles import LARGEST, ROLES, Annotation, parse_dims

SIZES = {"n": 7, "m": 5, "hidden_2": 3, "lambda_": 4}


def number(size: Any) -> int:
    return size if isinstance(size, int) else int(size.subs({named_size(k): v for k, v in SIZES.items()}))


def expressions() -> st.SearchStrategy[str]:
    """Sums and products of names, integers and brackets."""
    atoms = st.one_of(st.sampled_from(sorted(SIZES)), st.integers(0, 12).map(str))
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from("+-*"), inner).map("".join),
            inner.map("({})".format),
        ),
        max_leaves=8,
    )


@given(expressions())
@example("n-m-2")
@example("2*n+3*m*n-(m-n)*2")
def test_parsed_dimension_is_the_value_of_the_expression(text: str) -> None:
    expected = eval(text, {}, dict(SIZES))
    try:
        (size,) = parse_dims(text)
    except sb.CellError as error:
        assert "sizes are from 1 to" in str(error)
        constant = eval(text, {}, {k: v + 1 for k, v in SIZES.items()}) == expected
        assert constant and expected < 1
        return
    assert number(size) == expected


@given(st.lists(expressions(), max_size=4))
def test_dimensions_are_separated_by_any_spaces(words: list[str]) -> None:
    try:
        shape = parse_dims(" ".join(words))
    except sb.CellError:
        return
    assert parse_dims("  " + "  \t".join(words) + " ") == shape
    assert len(shape) == len(words)


@pytest.mark.parametrize(("one", "other"), [
    ("n+m", "m+n"), ("2*n", "n+n"), ("n*(m+1)", "n*m+n"), ("(n)", "n"), ("2*3", "6"), ("n-n+1", "1"), ("ｎ", "n"),
    ("n²", "n2"), ("n+m-n", "m"),
])  # fmt: skip
def test_equal_sizes_have_one_form(one: str, other: str) -> None:
    assert parse_dims(one) == parse_dims(other)


@pytest.mark.parametrize("text", ["", "   ", "\t\n"])
def test_no_dimension_is_a_scalar(text: str) -> None:
    assert parse_dims(text) == ()


@pytest.mark.parametrize(("text", "words"), [
    ("9**9**9", "'*'"),
    ("n**2", "'*'"),
    ("n+", "ends too early"),
    ("+n", "'+'"),
    ("-n", "'-'"),
    ("n++m", "'+'"),
    ("n + m", "where a name or an integer is due"),
    ("n/2", "'/'"),
    ("n/2", "'/'"),
    ("n%2", "'%'"),
    ("n^2", "'^'"),
    ("2n", "'n'"),
    ("n,m", "','"),
    ("n.m", "'.'"),
    ("n;import os", "';'"),
    ("__import__('os')", "'('"),
    ("n[0]", "'['"),
    ("(n", "closing bracket"),
    ("n)", "')'"),
    ("()", "')'"),
    ("((n)", "closing bracket"),
    ("lambda", "'lambda'"),
    ("n in", "'in'"),
    ("None", "'None'"),
    ("1.5", "'.'"),
    ("'n'", '"\'"'),
    ("0", "from 1 to"),
    ("n-n", "from 1 to"),
    ("3-5", "from 1 to"),
    ("99999999999", "too large"),
    ("9999999999", "from 1 to"),
    ("99999*99999", "from 1 to"),
    ("n" * 201, "200"),
    ("∞", "'∞'"),
    ("n\N{ZERO WIDTH SPACE}m", "cannot be read"),
])  # fmt: skip
def test_what_is_no_dimension_is_refused(text: str, words: str) -> None:
    with pytest.raises(sb.CellError) as caught:
        parse_dims(text)
    assert words in str(caught.value)


def test_largest_size_is_allowed() -> None:
    assert parse_dims(str(LARGEST)) == (LARGEST,)


@given(st.text(max_size=30))
@example("e\N{COMBINING ACUTE ACCENT}")
@example("\ud800")
def test_any_text_is_a_shape_or_a_cell_error(text: str) -> None:
    try:
        shape = parse_dims(text)
    except sb.CellError as error:
        assert str(error)
    else:
        assert show(shape)


def test_message_passes_through_the_callers_place() -> None:
    with pytest.raises(sb.CellError, match="HERE.*'n\\+' in 'm n\\+'"):
        parse_dims("m n+", lambda message: f"HERE {message}")


@pytest.mark.parametrize("role", [Input, State, Param, Const, Index, Output, Target])
def test_role_with_dimensions_is_data(role: Any) -> None:
    assert role["n m"] == (Annotation("index", "", "n m") if role is Index else Annotation(role.role, "n m"))


@pytest.mark.parametrize("dims", [3, ("n", "m"), None, 2.0, ["n"]])
def test_dimensions_that_are_no_string_are_refused(dims: Any) -> None:
    with pytest.raises(sb.CellError, match=r'Param\["n m"\]'):
        Param[dims]


def cell_of(source: str) -> sb.Cell:
    """The cell `step` of a text."""
    scope: dict[str, Any] = {"__name__": "cells"}
    exec(compile(textwrap.dedent(source), "cells.py", "exec"), scope)
    return sb.cell(scope["step"])


IMPORTS = """
from __future__ import annotations
import symbptt, symbptt as sb
from symbptt import Input, State, Param
from symbptt import Param as Weight, Const as C
import symbptt.language.roles as roles
"""


@pytest.mark.parametrize("annotation", [
    'Param["2*n m"]', "Param['2*n m']", 'sb.Param["2*n m"]', 'symbptt.Param["2*n m"]', 'Weight["2*n m"]',
    'roles.Param["2*n m"]', "\"Param['2*n m']\"", "'sb.Param[\"2*n m\"]'",
])  # fmt: skip
@pytest.mark.parametrize("future", [True, False])
def test_annotation_may_be_a_string_an_alias_or_quoted(annotation: str, future: bool) -> None:
    imports = IMPORTS if future else IMPORTS.replace("from __future__ import annotations", "")
    cell = cell_of(f'{imports}\ndef step(x: Input["m"], h: State["2*n"], W: {annotation}): return W @ x + h')
    assert cell.arguments[2].role == "param"
    assert show(cell.arguments[2].shape) == "(2*n, m)"


@pytest.mark.parametrize("annotation", ["Param", 'Param[""]', "sb.Param", "'Param'", "Weight"])
def test_bare_role_is_a_scalar(annotation: str) -> None:
    cell = cell_of(f'{IMPORTS}\ndef step(h: State["n"], a: {annotation}): return a * h')
    assert cell.arguments[1].shape == ()


def test_string_annotations_need_no_import() -> None:
    cell = cell_of('from __future__ import annotations\ndef step(h: State["n"], a: Param["n"]): return a * h')
    assert [a.role for a in cell.arguments] == ["state", "param"]


def test_annotation_is_parsed_and_never_evaluated() -> None:
    with pytest.raises(sb.CellError):
        cell_of('from __future__ import annotations\ndef step(h: State["n"], a: print("evaluated")): return a * h')


def test_role_of_a_closure_is_found() -> None:
    cell = cell_of("""
        from __future__ import annotations
        def made():
            from symbptt import Param as Weight, State
            def step(h: State["n"], a: Weight["n"]):
                Weight
                return a * h
            return step
        step = made()
    """)
    assert cell.arguments[1].role == "param"


@pytest.mark.parametrize(("annotation", "nearest"), [
    ('Parm["n"]', "Param"), ('param["n"]', "Param"), ('Weights["n"]', ""), ("Inputs", "Input"), ("sb.Stat", "State"),
    ('Constant["n"]', "Const"),
])  # fmt: skip
def test_unknown_role_names_the_nearest_and_all(annotation: str, nearest: str) -> None:
    with pytest.raises(sb.CellError) as caught:
        cell_of(f'{IMPORTS}\ndef step(h: State["n"], a: {annotation}): return a * h')
    message = str(caught.value)
    assert f"did you mean '{nearest}'" in message if nearest else all(role in message for role in ROLES)
    assert "'a'" in message and "cells.py:" in message


@pytest.mark.parametrize(
    "annotation", ["float", "np.ndarray", "int | None", "list[float]", "'n m'", "3", "lambda: 0", "(", ""]
)
def test_annotation_that_is_no_role_is_refused_by_name(annotation: str) -> None:
    with pytest.raises(sb.CellError, match=r"'a'(.|\n)*cells\.py:1(.|\n)*roles are Input, State, Param"):
        scope: dict[str, Any] = {}
        exec(compile("def step(h, a): return a * h", "cells.py", "exec"), scope)
        scope["step"].__annotations__ = {"h": 'State["n"]', "a": annotation}
        sb.cell(scope["step"])


@pytest.mark.parametrize("role", ["Output", "Target"])
def test_roles_of_losses_are_refused_in_cells(role: str) -> None:
    with pytest.raises(sb.CellError, match=rf"{role} is a role of losses(.|\n)*\n  (return it|a loss takes)"):
        cell_of(f'from symbptt import *\ndef step(h: State["n"], y: {role}["n"]): return h + y')


@pytest.mark.parametrize("annotation", ["Index", 'Index["v w"]', 'Index[""]'])
def test_index_has_one_number_of_values(annotation: str) -> None:
    with pytest.raises(sb.CellError, match=r'Index\["v"\]'):
        cell_of(f'from symbptt import Index, State\ndef step(h: State["n"], i: {annotation}): return h')


def test_dimension_error_names_the_argument_and_the_file() -> None:
    with pytest.raises(sb.CellError, match=r"9\*\*9\*\*9(.|\n)*cells\.py:3(.|\n)*'W'"):
        cell_of('from symbptt import *\n\ndef step(h: State["n"], W: Param["9**9**9"]): return h')


@pytest.mark.parametrize("signature", ["*args", "**kwargs", "h: State['n'], *rest", "h: State['n'], **rest"])
def test_arguments_without_fixed_names_are_refused(signature: str) -> None:
    with pytest.raises(sb.CellError, match="cells.py:2"):
        cell_of(f"from symbptt import State\ndef step({signature}): return h")


@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
def test_role_behind_a_type_is_that_role(future: str) -> None:
    """Type checkers read Annotated[Any, Param, "n m"], and take nothing in it for the name of a type."""
    text = """
    import typing
    from typing import Annotated, Any
    import symbptt as sb
    from symbptt import Const, Index, Input, Param, State

    @sb.cell
    def long(x: Annotated[Any, Input, "m"], h: Annotated[Any, State["n"]], W: typing.Annotated[Any, "a note", sb.Param, "n m"],
             i: Annotated[Any, Index, "v", "k"], z: Annotated[Any, Param, "n", complex], dt: Annotated[float, Const] = 0.1) -> Any:
        return h + dt * (W @ x)

    @sb.cell
    def short(x: Input["m"], h: State["n"], W: Param["n m"], i: Index["v", "k"], z: Param["n", complex], dt: Const = 0.1):
        return h + dt * (W @ x)
    """
    names: dict[str, Any] = {}
    exec(f"{future}\n{textwrap.dedent(text)}", names)
    assert names["long"].arguments == names["short"].arguments
    body = textwrap.dedent(text)
    for wrong in ('Annotated[int, "m"]', 'Annotated[Any, Input, "m", "n"]'):
        written = body.replace('Annotated[Any, Input, "m"]', wrong)
        with pytest.raises(sb.CellError, match="is no role|one string"):
            exec(f"{future}\n{written}", {})


def test_masks_of_booleans_are_told_of_as_numbers() -> None:
    with pytest.raises(sb.CellError, match=r"Context\['s', bool\]: arguments are numbers(.|\n)*write Context\[\"s\"\]"):
        Context["s", bool]


def test_what_a_step_returns_by_the_name_of_an_argument_is_told_another_name() -> None:
    @sb.cell
    def g(x: Input["n"], h: State["n"], mem: Context["n"]) -> Any:
        return {"h": h + x, "mem": mem}

    with pytest.raises(sb.CellError, match=r"'mem' of g has the name of an argument(.|\n)*such as 'mem_out'"):
        sb.derive(g)


def test_loss_that_reads_a_context_is_told_how() -> None:
    with pytest.raises(sb.CellError, match=r"Context is a role of cells(.|\n)*read weight as an Output"):

        @sb.loss
        def wrong(h: State["n"], memory: Context["n"]) -> Any:
            return sb.sum(h * memory)
