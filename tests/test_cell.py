"""Cells: what is no cell is refused with what, where and a cure."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State

IMPORTS = (
    "import math\nimport numpy as np\nimport symbptt as sb\nfrom symbptt import Const, Index, Input, Param, State\n"
)

WRONG: dict[str, tuple[str, str, str]] = {
    "an argument without a role": ("""
        @sb.cell  # here
        def step(x, h: State["n"]):
            return h
        """, "argument 'x' of step has no role", 'x: Input["m"]'),
    "an unknown role": ("""
        @sb.cell  # here
        def step(x: float, h: State["n"]):
            return h
        """, "of 'x' is no role", "the roles are Input, State, Param"),
    "a misspelt role in a string": ("""
        @sb.cell  # here
        def step(x: "Imput['m']", h: State["n"]):
            return h
        """, "of 'x' is no role", "did you mean 'Input'?"),
    "a dimension that is no dimension": ("""
        @sb.cell  # here
        def step(x: Input["9**9**9"], h: State["n"]):
            return h
        """, "the dimension '9**9**9'", '"2*n m+1"'),
    "a keyword as a dimension": ("""
        @sb.cell  # here
        def step(x: Input["lambda"], h: State["n"]):
            return h
        """, "the dimension 'lambda'", "names or integers"),
    "no state": ("""
        @sb.cell  # here
        def step(x: Input["m"]):
            return x
        """, "step has no state", 'State["n"]'),
    "arguments without names": ("""
        @sb.cell  # here
        def step(h: State["n"], *rest):
            return h
        """, "no fixed name", "write every argument of a cell out"),
    "a default that is no number": ("""
        @sb.cell  # here
        def step(h: State["n"], k: Const["n"] = "much"):
            return h
        """, "default of 'k'", "real number"),
    "a default of another shape": ("""
        @sb.cell  # here
        def step(h: State["n"], k: Const["n n"] = np.ones(3)):
            return h
        """, "default of 'k' has shape (3,)", "the annotation says (n, n)"),
    "a state missing in the dict": ("""
        @sb.cell  # here
        def step(hidden: State["n"]):
            return {"hiden": hidden}
        """, "no next state 'hidden'", "did you mean 'hiden'?"),
    "too few states": ("""
        @sb.cell  # here
        def step(h: State["n"], c: State["n"]):
            return h
        """, "returns 1 value for 2 states (h, c)", "in the order of the arguments"),
    "too many states": ("""
        @sb.cell  # here
        def step(h: State["n"], c: State["n"]):
            return h, c, h
        """, "returns 3 values for 2 states", "or a dict by name"),
    "nothing returned": ("""
        @sb.cell  # here
        def step(h: State["n"]):
            a = np.tanh(h)
        """, "returns None for 'h'", "does the body end with return?"),
    "text returned": ("""
        @sb.cell  # here
        def step(h: State["n"]):
            return "h"
        """, "returns str for 'h'", "return an array"),
    "a next state of another shape": ("""
        @sb.cell  # here
        def step(x: Input["m"], h: State["n"], W: Param["m m"]):
            return W @ x + 0 * h.sum()
        """, "next state 'h' of step has shape (m,)", "the state has (n,)"),
    "a bias that makes the state larger": ("""
        @sb.cell  # here
        def step(h: State["n"], b: Param["4 n"]):
            return np.tanh(h + b)
        """, "next state 'h' of step has shape (4, n)", "return an array of the state's shape"),
    "an output called like an argument": ("""
        @sb.cell  # here
        def step(h: State["n"], W: Param["n n"]):
            return {"h": W @ h, "W": h}
        """, "output 'W'", "name of an argument"),
    "an output that is no identifier": ("""
        @sb.cell  # here
        def step(h: State["n"]):
            return {"h": h, "y z": h}
        """, "an output of step is called 'y z'", "names are identifiers"),
    "a branch on a value": ("""
        @sb.cell
        def step(h: State["n"], a: Param):
            if a > 0:  # here
                return h
            return -h
        """, "branch on a value", "sb.where(condition, a, b)"),
    "a while loop on a value": ("""
        @sb.cell
        def step(h: State["n"]):
            while h.sum() > 1:  # here
                h = h / 2
            return h
        """, "branch on a value", "sb.where"),
    "max of Python": ("""
        @sb.cell
        def step(h: State["n"], a: Param):
            return max(a, 0.0) * h  # here
        """, "branch on a value", "sb.where"),
    "a chained comparison": ("""
        @sb.cell
        def step(h: State["n"]):
            return h * (0 < h < 1)  # here
        """, "branch on a value", "sb.where"),
    "a function of math": ("""
        @sb.cell
        def step(h: State["n"], a: Param):
            return h * math.exp(a)  # here
        """, "Python float", "functions of NumPy or symbptt, not of math"),
    "a value as a count": ("""
        @sb.cell
        def step(h: State["n"], a: Param):
            for _ in range(a):  # here
                h = h / 2
            return h
        """, "Python integer", "make it a Const with a default"),
    "a size as a count": ("""
        @sb.cell
        def step(h: State["n"]):
            for i in range(h.shape[0]):  # here
                h = h + i
            return h
        """, "the size n has no number", "@ or sb.sum"),
    "a loop over a named axis": ("""
        @sb.cell
        def step(h: State["n"]):
            return sum(v for v in h) * h  # here
        """, "the size n has no number", 'Param["3 n"]'),
    "a NumPy function that is not known": ("""
        @sb.cell
        def step(h: State["n"]):
            return np.partition(h, 1)  # here
        """, "NumPy's function partition is not known", "write np.sort(x)"),
    "a NumPy function near one that is known": ("""
        @sb.cell
        def step(h: State["n"]):
            return np.nanmedian(h)  # here
        """, "NumPy's function nanmedian is not known", "the nearest known is nanmin"),
    "a ufunc method": ("""
        @sb.cell
        def step(h: State["n"]):
            return np.hypot.reduce(h)  # here
        """, "np.hypot.reduce is not known", "write the plain function"),
    "a ufunc with out=": ("""
        OUT = np.zeros(3)

        @sb.cell
        def step(h: State["3"]):
            return np.tanh(h, out=OUT)  # here
        """, "np.tanh writes a value of the cell into a plain NumPy array", "leave out= away"),
    "a function without derivative of its own": ("""
        @sb.cell
        def step(h: State["n"]):
            return h * np.nonzero(h)[0]  # here
        """, "NumPy's function nonzero is not known", "sb.where(condition, a, b)"),
    "assignment into an array": ("""
        @sb.cell
        def step(h: State["n"]):
            h[0] = 1.0  # here
            return h
        """, "the state 'h' is changed in place", "h = h.copy()"),
    "dtype": ("""
        @sb.cell
        def step(h: State["n"]):
            return h.astype(np.float32)  # here
        """, "an array becomes one of float32", "in the type of the data"),
    "shapes that do not broadcast": ("""
        @sb.cell
        def step(x: Input["m"], h: State["n"]):
            return h + x  # here
        """, "shapes (n,) and (m,) do not broadcast: n is not m", "[:, None]"),
    "one dimension with two sizes": ("""
        @sb.cell
        def step(x: Input["m"], h: State["3"], b: Param["4"]):
            return h + b  # here
        """, "shapes (3,) and (4,) do not broadcast: 3 is not 4", "[:, None]"),
    "a product that does not conform": ("""
        @sb.cell
        def step(x: Input["m"], h: State["n"], W: Param["m n"]):
            return W @ x + h  # here
        """, "a product of (m, n) and (m,) does not conform: n is not m", "the order of the dimensions"),
    "a product with a scalar": ("""
        @sb.cell
        def step(h: State["n"], a: Param):
            return a @ h  # here
        """, "@ takes arrays of at least one axis", "write * for a scalar"),
    "an axis that does not exist": ("""
        @sb.cell
        def step(h: State["n"]):
            return h - np.sum(h, axis=1)  # here
        """, "axis 1 does not exist", "no batch axis"),
    "too many indices": ("""
        @sb.cell
        def step(h: State["n"]):
            return h[:, 0]  # here
        """, "2 indices for", "no batch axis"),
    "an index outside": ("""
        @sb.cell
        def step(h: State["3"]):
            return h * h[3]  # here
        """, "index 3 is outside an axis of size 3", "certain"),
    "an index that is no Index": ("""
        @sb.cell
        def step(h: State["n"], E: Param["v n"], i: Input):
            return h + E[i]  # here
        """, "indexed by a value that is no Index", 'Index["v"]'),
    "a mask as an index": ("""
        @sb.cell
        def step(h: State["n"]):
            return h[h > 0]  # here
        """, "no certain length", "sb.where(condition, a, b)"),
    "a list of places outside": ("""
        @sb.cell
        def step(h: State["3"]):
            return h[[0, 3, 1]]  # here
        """, "index 3 is outside an axis of size 3", "-1 from the end"),
    "a text as an index": ("""
        @sb.cell
        def step(h: State["3"]):
            return h["a"]  # here
        """, "cannot be indexed by str", "integers, slices, None"),
    "a reshape that loses elements": ("""
        @sb.cell
        def step(h: State["n"]):
            return np.reshape(h, (2,))  # here
        """, "(n,) cannot be reshaped to (2,)", "check the shapes"),
    "a reshape that does not divide": ("""
        @sb.cell
        def step(h: State["n+1"]):
            return np.reshape(h, (2, -1))  # here
        """, "n + 1 is not divisible by 2", "reshape keeps the number of elements"),
    "a split that does not divide": ("""
        @sb.cell
        def step(h: State["n+1"]):
            a, b = np.split(h, 2)  # here
            return h
        """, "n + 1 is not divisible by 2", "dimension of its own"),
    "arrays that cannot be joined": ("""
        @sb.cell
        def step(h: State["n"], W: Param["n m"]):
            return np.concatenate([h, W])  # here
        """, "shapes (n,) and (n, m) cannot be joined", "check the shapes"),
    "an einsum with too few operands": ("""
        @sb.cell
        def step(h: State["n"], W: Param["n n"]):
            return np.einsum("ij,j->i", W)  # here
        """, "names 2 operands, got 1", ""),
    "an einsum of another rank": ("""
        @sb.cell
        def step(h: State["n"], W: Param["n n"]):
            return np.einsum("ijk,j->i", W, h)  # here
        """, "'ijk' does not fit an array of 2 axes", "give each axis a letter"),
    "complex numbers": ("""
        @sb.cell
        def step(h: State["n"]):
            return h * 1j  # here
        """, "is complex, the state is real", "complex]"),
    "text in arithmetic": ("""
        @sb.cell
        def step(h: State["n"]):
            return h + "1"  # here
        """, "a cell computes with numbers", "'1'"),
    "an exception of the body": ("""
        @sb.cell
        def step(h: State["n"]):
            raise KeyError("lost")  # here
        """, "the body of step raised KeyError: 'lost'", "symbolic arrays of the annotated shapes"),
    "a name that does not exist": ("""
        @sb.cell
        def step(h: State["n"]):
            return np.tanh(gate * h)  # here
        """, "raised NameError: name 'gate' is not defined", "while it was traced"),
    "an unknown method": ("""
        @sb.cell
        def step(h: State["n"]):
            return h.partition(1)  # here
        """, "no attribute 'partition'", "while it was traced"),
    "recursion without end": ("""
        def deeper(h):
            return deeper(h + 1)  # here

        @sb.cell
        def step(h: State["n"]):
            return deeper(h)
        """, "nests more calls than Python allows", "as loops"),
    "a value of another trace": ("""
        kept = []

        @sb.cell
        def first(h: State["n"]):
            kept.append(h)
            return h

        first.step

        @sb.cell
        def step(h: State["n"]):
            return h + kept[0]  # here
        """, "another cell's trace", "as its arguments"),
    "too few arguments for an inner cell": ("""
        @sb.cell
        def inner(h: State["n"], b: Param["n"]):
            return h + b

        @sb.cell
        def step(h: State["n"]):
            return inner(h)  # here
        """, "missing 1 required positional argument: 'b'", "while it was traced"),
    "a pair for one state": ("""
        @sb.cell  # here
        def step(h: State["n"]):
            return h, h
        """, "returns 2 values for 1 state", "or a dict by name"),
    "a misspelt function of symbptt": ("""
        @sb.cell
        def step(h: State["n"]):
            return sb.sigmod(h)  # here
        """, "no attribute 'sigmod'", "sigmoid"),
    "assignment into a plain array": ("""
        OUT = np.zeros(3)

        @sb.cell
        def step(h: State["3"]):
            OUT[0] = h[0]  # here
            return OUT
        """, "plain NumPy array", "np.stack or np.concatenate"),
    "a misspelt function of NumPy": ("""
        @sb.cell
        def step(h: State["n"]):
            return np.tahn(h)  # here
        """, "no attribute 'tahn'", "'tanh'"),
    "a batch axis in the next state": ("""
        @sb.cell  # here
        def step(h: State["n"]):
            return h[None]
        """, "next state 'h' of step has shape (1, n)", "no batch axis"),
}  # fmt: skip


def error_of(source: str, folder: Path) -> tuple[str, str]:
    """The message of the error that a file of cells gives, and the place marked in it."""
    path = folder / "my cells.py"
    text = IMPORTS + textwrap.dedent(source)
    path.write_text(text, "utf-8")
    line = 1 + next(i for i, line in enumerate(text.splitlines()) if "# here" in line)
    scope: dict[str, Any] = {"__name__": "cells"}
    with pytest.raises(sb.CellError) as caught:
        exec(compile(text, str(path), "exec"), scope)
        assert scope["step"].step
    return str(caught.value), f"{path}:{line}"


def assert_says(source: str, what: str, cure: str, folder: Path) -> None:
    message, place = error_of(source, folder)
    assert what in message, message
    assert cure in message, message
    assert f"at {place}, in " in message, message
    assert len(message.splitlines()) <= 4 and not message.endswith("\n")


@pytest.mark.filterwarnings("ignore:.*never used")
@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_cell_is_refused_with_what_where_and_a_cure(name: str, tmp_path: Path) -> None:
    assert_says(*WRONG[name], tmp_path)


def test_place_is_that_of_the_helper_where_the_error_is(tmp_path: Path) -> None:
    source = """
        def affine(W, x):
            return W @ x  # here

        @sb.cell
        def step(x: Input["m"], h: State["n"], W: Param["m n"]):
            return affine(W, x) + h
        """
    message, place = error_of(source, tmp_path)
    assert f"at {place}, in affine" in message


@pytest.mark.parametrize("unused", ["x", "h", "W", "k"])
def test_argument_that_is_never_used_is_warned_of(unused: str) -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], W: Param["n n"], k: Const = 1.0):
        terms = {"x": x, "h": h, "W": W.sum(axis=0), "k": k}
        return sum((term for name, term in terms.items() if name != unused), np.zeros_like(x))

    with pytest.warns(UserWarning, match=rf"'{unused}' of step is never used(.|\n)*test_cell\.py:\d+"):
        assert step.step


@pytest.mark.filterwarnings("error")
def test_cell_whose_arguments_are_all_used_gives_no_warning() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], i: Index["n"]):
        return x * h[i]

    assert step.step


def test_cell_looks_like_its_function() -> None:
    @sb.cell
    def leaky(x: Input["n"], h: State["n"], E: Param["v n"], i: Index["v"], dt: Const = 0.1):
        """Forget slowly."""
        return h + dt * (x - h) + E[i]

    assert leaky.__name__ == leaky.name == "leaky" and leaky.__doc__ == "Forget slowly."
    assert repr(leaky) == "<cell leaky(x: Input(n,), h: State(n,), E: Param(v, n), i: Index(), dt: Const())>"
    assert leaky.step.doc == "Forget slowly."


def test_results_may_be_one_a_tuple_a_list_or_a_dict() -> None:
    def step_of(result: Callable[..., Any]) -> sb.Cell:
        @sb.cell
        def step(h: State["n"], c: State["n"]):
            return result(h, c)

        return step

    for result in (lambda h, c: (c, h), lambda h, c: [c, h], lambda h, c: {"c": h, "h": c}):
        run = sb.compile(step_of(result)).forward({}, {}, {"h": np.ones(2), "c": np.zeros(2)}, steps=1)
        np.testing.assert_array_equal(run.states["h"], [[0, 0]])
        np.testing.assert_array_equal(run.states["c"], [[1, 1]])


def test_helper_may_be_defined_after_the_cell() -> None:
    @sb.cell
    def step(h: State["n"]):
        return helper(h)

    def helper(v: Any) -> Any:
        return np.tanh(v)

    assert step.step


@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: (v,), lambda v: [v]])
def test_one_state_may_be_returned_bare_or_alone_in_a_tuple(wrap: Any) -> None:
    @sb.cell
    def step(h: State["n"]):
        return wrap(2 * h)

    run = sb.compile(step).forward({}, {}, {"h": np.ones(2)}, steps=2)
    np.testing.assert_array_equal(run.states["h"], [[2, 2], [4, 4]])


def test_state_may_become_a_number_or_another_argument() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], c: State, k: State["n"]):
        return x, 1.5, h + 0 * k * c

    run = sb.compile(step).forward({}, {"x": np.arange(6.0).reshape(3, 2)})
    np.testing.assert_array_equal(run.states["h"], np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(run.states["c"], [1.5] * 3)
    np.testing.assert_array_equal(run.states["k"], [[0, 0], [0, 1], [2, 3]])


def leaky(h: State["n"], dt: Const = 0.1, k: Const["n"] = np.ones(2)):
    return h - dt * k * h


@pytest.mark.parametrize(("consts", "words"), [
    ({"dtt": 0.1}, "did you mean 'dt'"),
    ({"h": 0.1}, "'h' is no constant of leaky"),
    ({"dt": "fast"}, "default of 'dt'"),
    ({"dt": None}, "'dt'"),
    ({"dt": 1j}, "default of 'dt'"),
    ({"dt": np.ones(3)}, "default of 'dt' has shape (3,)"),
    ({"k": np.ones((2, 2))}, "default of 'k' has shape (2, 2)"),
])  # fmt: skip
def test_wrong_constant_is_refused_by_name(consts: dict[str, Any], words: str) -> None:
    with pytest.raises(sb.SymbpttError) as caught:
        sb.cell(leaky).with_consts(consts)
    assert words in str(caught.value)


def test_replaced_constants_leave_the_cell_as_it_was() -> None:
    cell = sb.cell(leaky)
    other = cell.with_consts({"dt": 0.5})
    assert (cell.arguments[1].default, other.arguments[1].default) == (0.1, 0.5)
    assert other.with_consts({"k": np.zeros(2)}).arguments[1].default == 0.5


def test_replaced_constants_hold_in_the_plain_call() -> None:
    np.testing.assert_array_equal(sb.cell(leaky).with_consts({"dt": 0.5})(np.ones(2)), [0.5, 0.5])


@pytest.mark.parametrize("target", [leaky, None, "lstm", sb.Cell])
@pytest.mark.parametrize("function", [sb.derive, sb.compile, sb.verify, lambda target: sb.unroll(target, steps=1)])
def test_what_is_no_cell_is_refused_everywhere(function: Any, target: Any) -> None:
    with pytest.raises(sb.ArgumentError, match="takes a cell|@sb.cell"):
        function(target)
