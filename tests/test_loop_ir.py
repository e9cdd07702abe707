"""The loop IR itself: views, statements by hand values, laws that planted graphs break, how long buffers live."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy as sp

from symbptt.codegen.loop_ir import views
from symbptt.codegen.loop_ir.arithmetics import floats
from symbptt.codegen.loop_ir.dump import dump
from symbptt.codegen.loop_ir.in_place import in_place
from symbptt.codegen.loop_ir.interpret import rounds, run
from symbptt.codegen.loop_ir.laws import check, check_run
from symbptt.codegen.loop_ir.liveness import Live, liveness, numbered
from symbptt.codegen.loop_ir.nodes import (
    BLOCK,
    STEPS,
    Axis,
    Buffer,
    Contract,
    Cumulate,
    Extent,
    Function,
    Gather,
    If,
    Loop,
    Map,
    Port,
    Reduce,
    Scatter,
    Statement,
    View,
    index_symbol,
    walk,
)
from symbptt.codegen.loop_ir.views import permuted, point, repeated, reshaped, span, whole
from symbptt.codegen.memory.workspace import shared
from symbptt.ir.node import Product
from symbptt.ir.scalar import Call, Num, Prod, Ref, Sum
from symbptt.ir.shape import named_size, size
from symbptt.zoo import CELLS
from tests.lowered import data_for, run_both, sweeps_of

N, M = named_size("n"), named_size("m")
I, LO, COUNT = index_symbol("i"), index_symbol("lo"), index_symbol("count")
SIZES = {"n": 3, "m": 4}
PLUS = Sum(((1, Ref(0)), (1, Ref(1))))
ZERO = Num(sp.S.Zero)

X = Buffer("x", (STEPS, N), "argument")
W = Buffer("W", (N, M), "argument")
P = Buffer("p", (N,), "argument", "index")
FLAG = Buffer("flag", (), "argument", "bool")
S = Buffer("s", (N,), "temporary")
H = Buffer("h", (size(STEPS + 1), N), "result")
Y = Buffer("y", (N,), "result")
Z = Buffer("z", (N, M), "result")
GIVEN = {("input", "x"): X, ("param", "W"): W, ("index", "p"): P, ("flag", "flag"): FLAG}


def test_pickles_leave_hashes_out() -> None:
    """A hash of texts is another one in another process: an unpickled buffer must find what is stored under an equal one."""
    for value in (X, whole(X)):
        assert hash(value) == vars(value)["_hash"]
        again = pickle.loads(pickle.dumps(value))
        assert "_hash" not in vars(again) and again == value and hash(again) == hash(value)


def function(
    body: Sequence[Statement], buffers: Sequence[Buffer], results: Sequence[Buffer], block: Any = None
) -> Function:
    """A function of x, W, p and a flag."""
    given = tuple(Port(*key, whole(buffer)) for key, buffer in GIVEN.items())
    ends = tuple(Port("outputs", b.name, whole(b)) for b in results)
    return Function("f", (N, M), given, (), tuple(buffers), tuple(body), ends, block)


def values(steps: int = 2) -> dict[tuple[str, str], Any]:
    random = np.random.default_rng(0)
    return {
        ("input", "x"): random.standard_normal((steps, 3)),
        ("param", "W"): random.standard_normal((3, 4)),
        ("index", "p"): np.array([2, 0, 2]),
        ("flag", "flag"): np.array(True),
    }


def results_of(f: Function, steps: int = 2, block: int = 1, **given: Any) -> dict[str, Any]:
    check(f)
    check_run(f, SIZES, steps, 1, block)
    data = values(steps) | {("flag", name): value for name, value in given.items()}
    return {name: array for (_, name), array in run(f, data, SIZES, steps, 1, floats(), block).items()}


# Views.

T = np.arange(24.0).reshape(2, 3, 4)
B = Buffer("b", (2, 3, 4), "argument")


def shown(view: View) -> Any:
    out = Buffer("out", view.shape, "result")
    port = Port("input", "b", whole(B))
    f = Function(
        "f", (), (port,), (), (out,), (Map(whole(out), Ref(0), (view,)),), (Port("outputs", "out", whole(out)),)
    )
    check(f)
    return run(f, {("input", "b"): T}, {}, 1, 1, floats())["outputs", "out"]


@pytest.mark.parametrize(
    "view,expected",
    [
        (whole(B), T),
        (point(whole(B), 1, 2), T[:, 2]),
        (span(whole(B), 2, 1, 2), T[:, :, 1:3]),
        (span(whole(B), 2, 3, 2, -2), T[:, :, 3::-2]),
        (span(span(whole(B), 2, 3, 4, -1), 2, 1, 2), T[:, :, ::-1][:, :, 1:3]),
        (permuted(whole(B), (2, 0, 1)), T.transpose(2, 0, 1)),
        (repeated(point(whole(B), 0, 1), (5, 3, 4)), np.broadcast_to(T[1], (5, 3, 4))),
        (reshaped(whole(B), (2, 3, 2, 2)), T.reshape(2, 3, 2, 2)),
        (reshaped(permuted(whole(B), (2, 0, 1)), (1, 2, 2, 2, 3)), T.transpose(2, 0, 1).reshape(1, 2, 2, 2, 3)),
        (reshaped(point(whole(B), 0, 0), (1, 3, 4, 1)), T[0].reshape(1, 3, 4, 1)),
        (permuted(reshaped(point(whole(B), 0, 0), (1, 3, 1, 4)), (3, 2, 0, 1)), T[0].T.reshape(4, 1, 1, 3)),
        (View(B, (0, 0, 0), (Axis(2, (0, 1)),)), np.einsum("iij->ij", T[:, :2])[:, 0]),
    ],
)
def test_views_are_what_numpy_shows(view: View, expected: Any) -> None:
    assert np.array_equal(shown(view), expected)


def test_a_reshape_that_makes_one_axis_of_several_is_no_view() -> None:
    assert reshaped(whole(B), (6, 4)) is None
    assert reshaped(whole(B), (3, 2, 4)) is None


# Statements.


def test_a_product() -> None:
    f = function([Contract(whole(Z), point(whole(X), 0, 1), whole(W), Product((0,), (0, 1), (0, 1)))], [Z], [Z])
    assert np.allclose(results_of(f)["z"], values()["input", "x"][1][:, None] * values()["param", "W"])
    q, x = Buffer("q", (N, N), "result"), values()["input", "x"]
    sums = Contract(permuted(whole(q), (1, 0)), whole(X), whole(X), Product((0, 1), (0, 2), (1, 2)), True)
    assert np.allclose(results_of(function([Map(whole(q), Num(sp.S.One), ()), sums], [q], [q]))["q"], 1 + x.T @ x)


@pytest.mark.parametrize("kind,expected", [("sum", lambda w: w.sum(1)), ("max", lambda w: w.max(1))])
def test_a_reduction(kind: str, expected: Callable[[Any], Any]) -> None:
    f = function([Reduce(whole(Y), kind, whole(W), (1,))], [Y], [Y])
    assert np.allclose(results_of(f)["y"], expected(values()["param", "W"]))


def test_places_by_index() -> None:
    x, p = values()["input", "x"][0], values()["index", "p"]
    table = repeated(point(whole(X), 0, 0), (N, N))
    f = function([Gather(whole(Y), permuted(table, (1, 0)), whole(P), 0)], [Y], [Y])
    assert np.array_equal(results_of(f)["y"], x[p])
    gathered = repeated(whole(Y), (N, N))
    f = function(
        [Map(whole(Y), ZERO, ()), Scatter(permuted(gathered, (1, 0)), point(whole(X), 0, 0), whole(P), 0)], [Y], [Y]
    )
    assert np.allclose(results_of(f)["y"], np.bincount(p, x, 3))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_running_sum(reverse: bool) -> None:
    f = function([Cumulate(whole(Z), whole(W), 1, reverse)], [Z], [Z])
    turn = slice(None, None, -1 if reverse else 1)
    assert np.allclose(results_of(f)["z"], values()["param", "W"][:, turn].cumsum(1)[:, turn])


def test_conditions_and_sizes() -> None:
    body = Sum(((1, Call("greater", (Ref(0), Num(sp.S.Zero)))), (-1, Prod((Ref(1),), (Num(sp.Integer(2)),)))))
    f = function([Map(whole(Y), body, (point(whole(X), 0, 0), Extent(size(N + 1))))], [Y], [Y])
    assert np.array_equal(results_of(f)["y"], (values()["input", "x"][0] > 0) - 2.0)


@pytest.mark.parametrize("truth", [False, True])
def test_what_stands_under_a_flag(truth: bool) -> None:
    f = function([Map(whole(Y), ZERO, ()), If(whole(FLAG), (Map(whole(Y), Num(sp.S.One), ()),))], [Y], [Y])
    assert np.array_equal(results_of(f, flag=np.array(truth))["y"], np.full(3, float(truth)))


def test_rounds_of_a_loop() -> None:
    assert rounds(0, 5, 2, False) == [(0, 2), (2, 2), (4, 1)]
    assert rounds(0, 5, 2, True) == [(3, 2), (1, 2), (0, 1)]
    assert rounds(1, 3, 1, True) == [(2, 1), (1, 1)]
    assert rounds(0, 0, 3, False) == rounds(0, 0, 3, True) == []


def running(reverse: bool) -> Function:
    """The sums of x up to each step, in blocks; backward from the end."""
    to, there = (I, size(I + 1)) if reverse else (size(I + 1), I)
    step = Map(point(whole(H), 0, to), PLUS, (point(whole(H), 0, there), point(whole(X), 0, I)))
    first = Map(point(whole(H), 0, STEPS if reverse else 0), ZERO, ())
    inner = Loop(I, LO, size(LO + COUNT), (step,), reverse)
    return function([first, Loop(LO, 0, STEPS, (inner,), reverse, BLOCK, COUNT)], [H], [H], (N, 0))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps,block", [(0, 1), (1, 3), (5, 1), (5, 2), (5, 7)])
def test_loops_by_blocks(reverse: bool, steps: int, block: int) -> None:
    x = values(steps)["input", "x"]
    turn = slice(None, None, -1 if reverse else 1)
    expected = np.concatenate([np.zeros((1, 3)), x[turn].cumsum(0)])[turn]
    assert np.allclose(results_of(running(reverse), steps, block)["h"], expected)


# Laws.

COPY = Map(whole(Y), Ref(0), (point(whole(X), 0, 0),))
LEGAL = function([COPY], [Y], [Y])

BROKEN = {
    "a buffer that is not declared": function([COPY, Map(whole(S), ZERO, ())], [Y], [Y]),
    "a name of two buffers": function([COPY], [Y, replace(Y, space="temporary")], [Y]),
    "a space that is not known": function([COPY], [Y, replace(S, space="heap")], [Y]),
    "a size that is not known": function([COPY], [Y, replace(S, shape=(named_size("q"),))], [Y]),
    "a start for each axis": function([Map(View(Y, (), (Axis(N, (0,)),)), ZERO, ())], [Y], [Y]),
    "an axis that the buffer lacks": function([Map(View(Y, (0,), (Axis(N, (1,)),)), ZERO, ())], [Y], [Y]),
    "an index or a size that is not known here": function([replace(COPY, args=(point(whole(X), 0, I),))], [Y], [Y]),
    "an argument or a constant that is written": function([COPY, Map(whole(W), ZERO, ())], [Y], [Y]),
    "an operand of another shape": function([replace(COPY, args=(whole(X),))], [Y], [Y]),
    "operands that are not those of the body": function([replace(COPY, body=Ref(1))], [Y], [Y]),
    "a label for each axis": function([Contract(whole(Y), whole(W), whole(Y), Product((0,), (0,), (0,)))], [Y], [Y]),
    "a label of two sizes": function(
        [Contract(whole(Z), point(whole(X), 0, 0), whole(W), Product((0,), (1, 0), (1, 0)))], [Z], [Z]
    ),
    "a label twice": function([Contract(whole(Y), whole(W), whole(W), Product((0, 0), (0, 1), (0,)))], [Y], [Y]),
    "an axis summed in one operand alone": function(
        [Contract(whole(Y), whole(W), point(whole(X), 0, 0), Product((0, 1), (0,), (0,)))], [Y], [Y]
    ),
    "an axis of the result from nowhere": function(
        [Contract(whole(Z), point(whole(X), 0, 0), point(whole(X), 0, 0), Product((0,), (0,), (0, 1)))], [Z], [Z]
    ),
    "a reduction that is not known": function([Reduce(whole(Y), "max", whole(W), (1,), True)], [Y], [Y]),
    "a shape that does not follow": function([Reduce(whole(Y), "sum", whole(W), (0,))], [Y], [Y]),
    "an index that is no integer": function(
        [Gather(whole(Y), repeated(whole(Y), (N, N)), point(whole(X), 0, 0), 0)], [Y], [Y]
    ),
    "an index that is taken": function([Loop(I, 0, 2, (Loop(I, 0, 2, (COPY,)),))], [Y], [Y]),
    "a bound that is not known": function([Loop(I, 0, LO, (COPY,))], [Y], [Y]),
    "without a count": function([Loop(I, 0, STEPS, (COPY,), strip=2)], [Y], [Y]),
    "blocks without a measure": function([Loop(I, 0, STEPS, (COPY,), False, BLOCK, COUNT)], [Y], [Y]),
    "a flag that is not one truth": function([COPY, If(whole(P), ())], [Y], [Y]),
}


@pytest.mark.parametrize("law", BROKEN)
def test_a_law_that_is_broken_is_named(law: str) -> None:
    check(LEGAL)
    with pytest.raises(AssertionError, match=law):
        check(BROKEN[law])


PART = Map(point(whole(Y), 0, 0), ZERO, ())
SHIFTED = Map(span(whole(Y), 0, 1, size(N - 1)), Ref(0), (span(whole(Y), 0, 0, size(N - 1)),))
KEPT = Buffer("kept", (BLOCK, N), "block")
ONCE = If(whole(FLAG), (COPY,))

BROKEN_RUNS = {
    "s is read before it is written": function([Map(whole(Y), Ref(0), (whole(S),))], [Y, S], [Y]),
    "y is read before it is written": function([PART], [Y], [Y]),
    "h is read before it is written": function(
        [Map(point(whole(H), 0, 0), ZERO, ()), Loop(I, 0, STEPS, (Map(point(whole(H), 0, I), ZERO, ()),))], [H], [H]
    ),
    "an element written twice": function([Map(repeated(PART.out, (N,)), Ref(0), (point(whole(X), 0, 0),))], [Y], [Y]),
    "y is read where it is written": function([COPY, SHIFTED], [Y], [Y]),
    "elements 1 to 3 of an axis of 3": function([Map(whole(Z), ZERO, ()), replace(COPY, out=span(whole(Y), 0, 1, N))], [Y, Z], [Y]),
    "kept is read before it is written": function(
        [
            COPY,
            Loop(
                LO, 0, STEPS, (Loop(I, LO, 1, (Map(point(whole(KEPT), 0, I), ZERO, ()),)),
                Map(whole(Y), Ref(0), (point(whole(KEPT), 0, 0),))), False, BLOCK, COUNT,
            ),
        ],
        [Y, KEPT], [Y], (N, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("law", BROKEN_RUNS)
def test_a_law_of_elements_that_is_broken_is_named(law: str) -> None:
    f = BROKEN_RUNS[law]
    check(f)
    with pytest.raises(AssertionError, match=law):
        check_run(f, SIZES, 3, 1, 2)


def test_what_stands_under_a_flag_alone_is_no_result() -> None:
    f = function([ONCE], [Y], [Y])
    check_run(f, SIZES, 1, 1)
    with pytest.raises(AssertionError, match="y is read before it is written"):
        check_run(f, SIZES, 1, 1, flags=False)


# How long buffers live.


def test_a_temporary_of_a_step_ends_with_it_and_a_carry_does_not() -> None:
    later = Buffer("later", (N,), "temporary")
    body = (
        Map(whole(S), Ref(0), (point(whole(X), 0, I),)),
        Map(point(whole(H), 0, size(I + 1)), PLUS, (point(whole(H), 0, I), whole(S))),
        Map(whole(later), Ref(0), (whole(S),)),
    )
    f = function(
        [Map(point(whole(H), 0, 0), ZERO, ()), Loop(I, 0, STEPS, body), Map(whole(Y), Ref(0), (whole(later),))],
        [H, S, later, Y],
        [H, Y],
    )
    assert [type(s).__name__ for _, s in numbered(f.body)] == ["Map", "Loop", "Map", "Map", "Map", "Map"]
    assert liveness(f) == {H: Live(0, 5), S: Live(2, 4), later: Live(1, 5), Y: Live(5, 5)}


def test_what_a_round_reads_of_the_one_before_lives_through_the_loop() -> None:
    body = (Map(whole(Y), Ref(0), (whole(S),)), Map(whole(S), Ref(0), (point(whole(X), 0, I),)))
    f = function([Loop(I, 0, STEPS, body)], [S, Y], [Y])
    assert liveness(f)[S] == Live(0, 2)


# Writing in place.


@pytest.mark.thinned(17, 7)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("saving", [in_place, shared], ids=["in_place", "shared"])
def test_what_saves_memory_changes_no_result(saving: Callable[[Function], Function], name: str) -> None:
    s, data = sweeps_of(CELLS[name]), data_for(CELLS[name], 5, 2)
    less = replace(s, forward=saving(s.forward), backward=saving(saving(s.backward)))
    for f in (less.forward, less.backward):
        check(f)
        check_run(f, data.sizes, 5, 2, 2)
    for few, many in zip(run_both(less, data, 5, 2, 2), run_both(s, data, 5, 2, 2), strict=True):
        assert all(np.array_equal(few[key], many[key]) for key in few)


def short(*body: Statement) -> int:
    """How many buffers are left of one temporary s and a result y."""
    return len(in_place(function(body, [S, Y], [Y])).buffers)


def test_no_statement_writes_where_something_looks_between() -> None:
    product = Contract(whole(S), whole(W), whole(W), Product((0, 1), (0, 1), (0,)))
    there, first = Map(whole(Y), PLUS, (whole(S), point(whole(X), 0, 0))), Map(whole(Y), ZERO, ())
    assert short(product, there) == 1
    assert short(product, replace(there, args=(whole(S), whole(Y)))) == 2  # the reader looks there too
    twice = Map(whole(S), PLUS, (whole(Y), whole(Y)))
    assert short(first, twice, there) == 1  # a map may look where it writes, element for element
    assert (
        len(
            in_place(
                function([first, replace(there, out=whole(S)), Map(whole(Y), Ref(0), (whole(S),))], [S, Y], [Y])
            ).body
        )
        == 3
    )
    left = in_place(
        function([first, replace(twice, args=(whole(Y),) * 2), Map(whole(Y), Ref(0), (whole(S),))], [S, Y], [Y])
    )
    assert left.body == (first, replace(twice, out=whole(Y)))  # a copy to where it lies goes
    assert short(product, first, there) == 2  # something is written there between
    assert short(product, Map(point(whole(Y), 0, 0), ZERO, ()), there) == 2
    assert short(product, there, Map(whole(Y), PLUS, (whole(Y), whole(S)))) == 2  # two read it
    assert short(replace(product, a=repeated(whole(Y), (N, N)), b=repeated(whole(Y), (N, N))), there) == 2


def test_temporaries_share_a_buffer_when_one_has_ended() -> None:
    more = [Buffer(f"s_{i}", (N,), "temporary") for i in (1, 2)]
    body = [
        Map(whole(S), Ref(0), (point(whole(X), 0, 0),)),
        Map(whole(more[0]), PLUS, (whole(S), whole(S))),
        Map(whole(more[1]), PLUS, (whole(more[0]), whole(more[0]))),
        Map(whole(Y), PLUS, (whole(more[0]), whole(more[1]))),
    ]
    f = shared(function(body, [S, *more, Y], [Y]))
    assert [b.name for b in f.buffers] == ["s", "s_1", "y"]  # s_2 is written when s has been read
    assert f.body[2] == Map(whole(S), PLUS, (whole(more[0]),) * 2)


# A planted wrong statement.


def changed(f: Function, old: Statement, new: Statement) -> Function:
    """A function with one statement in the place of another."""

    def inside(body: Sequence[Statement]) -> tuple[Statement, ...]:
        return tuple(new if s is old else replace(s, body=inside(s.body)) if isinstance(s, Loop) else s for s in body)

    return replace(f, body=inside(f.body))


@pytest.mark.thinned(5)
@pytest.mark.parametrize("at", range(11))
def test_a_wrong_product_of_the_backward_sweep_changes_a_gradient(at: int) -> None:
    s, data = sweeps_of(CELLS["gru"]), data_for(CELLS["gru"], 3, 2)
    products = [x for x in walk(s.backward.body) if isinstance(x, Contract | Reduce) and x.origin]
    products = [x for x in products if x.out.buffer.name.startswith(("d", "W", "U"))]
    old = products[at % len(products)]
    back = changed(s.backward, old, Map(old.out, ZERO, ()))
    _, right = run_both(s, data, 3, 2, 2)
    _, wrong = run_both(replace(s, backward=back), data, 3, 2, 2)
    assert any(not np.allclose(wrong[key], right[key]) for key in right)


def test_a_dump_is_one_line_a_statement() -> None:
    lines = dump(running(True)).splitlines()
    assert "    loop i in lo:lo+count backward:" in lines or "    loop i in lo:count+lo backward:" in lines
    assert lines[-1] == "  gives outputs h: h(T+1, n)"
    assert views.is_whole(whole(H))
