"""Views and products as NumPy text mean what the interpreter says they do."""

from typing import Any

import numpy as np
import pytest
import sympy as sp

from symbptt.codegen.loop_ir.interpret import strided
from symbptt.codegen.loop_ir.nodes import Axis, Buffer, Contract, Function, If, Map, Port, View
from symbptt.codegen.loop_ir.views import permuted, point, repeated, reshaped, span, whole, with_new
from symbptt.codegen.targets.numpy import index
from symbptt.codegen.targets.numpy.functions import Text, function_text
from symbptt.codegen.targets.numpy.index import Names, Shown, names_of, view_text
from symbptt.codegen.targets.numpy.product import call_of
from symbptt.ir.node import Product
from symbptt.ir.scalar import Num, Prod, Ref, Sum
from symbptt.ir.shape import named_size

A = whole(Buffer("a", (4, 6, 5), "argument"))
ROW = whole(Buffer("r", (24,), "argument"))


def some(view: View | None) -> View:
    assert view is not None
    return view


VIEWS = {
    "all": A,
    "a part": span(span(A, 1, 1, 4), 2, 2, 3),
    "backward to the first": span(A, 1, 5, 6, -1),
    "backward by two": span(A, 1, 4, 2, -2),
    "every other": span(A, 2, 1, 2, 2),
    "a point": point(point(A, 2, 3), 0, 1),
    "one element": point(point(point(A, 2, 3), 0, 1), 0, 2),
    "turned": permuted(A, (2, 0, 1)),
    "a part, turned": permuted(span(A, 1, 2, 3), (1, 2, 0)),
    "repeated": repeated(point(A, 0, 2), (3, 6, 5)),
    "a new axis inside": with_new(A, 1),
    "a row as a matrix": some(reshaped(ROW, (4, 6))),
    "a column of a row": point(some(reshaped(ROW, (4, 6))), 1, 2),
    "columns of a row": span(some(reshaped(ROW, (4, 6))), 1, 2, 3),
    "a block of a row": span(span(some(reshaped(ROW, (4, 6))), 1, 2, 3), 0, 1, 2),
    "columns of a row, turned": permuted(span(some(reshaped(ROW, (2, 3, 4))), 1, 1, 2), (2, 0, 1)),
    "a diagonal": View(Buffer("d", (5, 5), "argument"), (0, 0), (Axis(5, (0, 1)),)),
}


def array_of(buffer: Buffer) -> Any:
    shape = tuple(int(n) for n in buffer.shape)
    return np.arange(float(np.prod(shape))).reshape(shape)


def elements(view: View, array: Any) -> Any:
    moves = [(axis.of, int(axis.step)) for axis in view.axes]
    return strided(array, tuple(map(int, view.start)), tuple(map(int, view.shape)), moves)


def value(view: View) -> tuple[Any, Any]:
    """What the text of a view is, all axes written out, and what the interpreter reads."""
    array = array_of(view.buffer)
    plain = tuple((i,) for i in range(len(view.axes)))
    text = view_text(Shown(view, plain), Names())
    return eval(text, {"np": np, view.buffer.name: array}), elements(view, array)


@pytest.mark.parametrize("name", VIEWS)
def test_text_of_a_view_means_its_elements(name: str) -> None:
    found, expected = value(VIEWS[name])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", [name for name in VIEWS if name not in ("repeated",)])
def test_text_of_a_view_can_be_written_into(name: str) -> None:
    view = VIEWS[name]
    array, other = array_of(view.buffer), array_of(view.buffer)
    exec(f"({view_text(Shown(view), Names())})[...] = 7", {"np": np, view.buffer.name: array})
    elements(view, other)[...] = 7
    np.testing.assert_array_equal(array, other)


def test_columns_that_are_taken_as_if_they_were_in_line_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_are_in_line", lambda axes: True)
    index.base_of.cache_clear()
    try:
        found, expected = value(VIEWS["columns of a row"])
        assert found.shape != expected.shape or not np.array_equal(found, expected)
    except ValueError:
        pass  # there are not as many elements
    finally:
        index.base_of.cache_clear()


PRODUCTS = {
    "ab,bc->ac": "matmul", "ab,cb->ac": "matmul", "ba,bc->ca": "matmul", "abc,dc->abd": "matmul", "abc,abd->cd": "matmul",
    "ab,b->a": "matmul", "abc,ac->ab": "matmul", "ab,ab->a": "vecdot", "abc,abc->a": "vecdot", "a,b->ab": "multiply",
    "ab,ac->abc": "multiply", "abc,bd->acd": "matmul", "abc,cbd->ad": "einsum", "abc,acd->abd": "matmul", "ab,ab->": "matmul",
}  # fmt: skip
"""The functions that compute products; axes that are one in memory are rows or columns together."""


@pytest.mark.parametrize("spec", PRODUCTS)
def test_a_product_is_the_call_that_its_axes_allow(spec: str) -> None:
    left, _, result = spec.partition("->")
    lengths = dict(zip("abcd", (2, 3, 4, 5), strict=True))
    sides = dict(zip("xy", left.split(","), strict=True))
    views = {k: whole(Buffer(k, tuple(lengths[x] for x in v), "argument")) for k, v in {**sides, "z": result}.items()}
    labels = Product(*(tuple("abcd".index(x) for x in part) for part in (*sides.values(), result)))
    call = call_of(Contract(views["z"], views["x"], views["y"], labels))
    arrays = {name: array_of(view.buffer) for name, view in views.items()}
    given = ", ".join(view_text(Shown(o.view, o.groups), Names()) for o in call.operands)
    first = f"{call.first}, " * bool(call.first)
    out = view_text(Shown(call.out.view, call.out.groups), Names())
    expected = np.einsum(spec, arrays["x"], arrays["y"])
    exec(f"np.{call.function}({first}{given}, out={out})", {"np": np, **arrays})
    np.testing.assert_allclose(arrays["z"], expected, rtol=1e-13)
    if result:
        assert call.function == PRODUCTS[spec]


def branches() -> Function:
    """y = 3 (a a + 1) where the flag holds, else 3 (a a a): each branch makes the same temporary, which is read behind them, and
    another one of its own."""
    n = named_size("n")
    given, flag = Buffer("g", (n,), "argument"), Buffer("flag", (), "argument", "bool")
    shared, own = Buffer("s", (n,), "temporary"), Buffer("u", (n,), "temporary")
    y = Buffer("y", (n,), "result")

    def times(out: Buffer, *factors: Buffer) -> Map:
        return Map(whole(out), Prod(tuple(Ref(i) for i in range(len(factors)))), tuple(map(whole, factors)))

    one = Map(whole(shared), Sum(((1, Ref(0)), (1, Num(sp.S.One)))), (whole(own),))
    body = (
        If(whole(flag), (times(own, given, given), one), (times(own, given, given), times(shared, own, given))),
        Map(whole(y), Prod((Num(sp.Integer(3)), Ref(0))), (whole(shared),)),
    )
    ports = (Port("param", "g", whole(given)), Port("flag", "flag", whole(flag)))
    return Function("f", (n,), ports, (), (shared, own, y), body, (Port("result", "y", whole(y)),))


@pytest.mark.parametrize("flag", [True, False])
def test_each_branch_makes_the_arrays_that_it_uses(flag: bool) -> None:
    """An array that one branch has made has no name in the other."""
    f = branches()
    text = Text(names_of({}), lambda _: "", {})
    code = function_text("def f(g, flag, sizes, dtype):", f, text, ["pass"], lambda _: ["return y"])
    space: dict[str, Any] = {"np": np}
    exec(code, space)
    g = np.array([2.0, 5.0])
    wanted = 3 * (g * g + 1) if flag else 3 * g**3
    np.testing.assert_array_equal(space["f"](g, flag, {"n": 2}, float), wanted)
