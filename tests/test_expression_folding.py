"""What is printed as a part of another expression is read where that stands: nothing may be written to it before."""

import inspect

import numpy as np
import pytest

import symbptt as sb
from symbptt import Param, State
from symbptt.codegen.loop_ir import folding
from symbptt.codegen.loop_ir.folding import foldable
from symbptt.codegen.loop_ir.nodes import Buffer, Contract, Function, Map, Port, Statement
from symbptt.codegen.loop_ir.views import whole
from symbptt.ir.node import PLAIN
from symbptt.ir.scalar import Prod, Ref, Sum
from symbptt.ir.shape import named_size

N = named_size("n")
A, W, Y = Buffer("a", (N,), "argument"), Buffer("W", (N, N), "argument"), Buffer("y", (N,), "result")
S, T, U = (Buffer(name, (N,), "temporary") for name in "stu")


def squared(out: Buffer, of: Buffer) -> Map:
    return Map(whole(out), Prod((Ref(0), Ref(0))), (whole(of),))


def added(out: Buffer, a: Buffer, b: Buffer) -> Map:
    return Map(whole(out), Sum(((1, Ref(0)), (1, Ref(1)))), (whole(a), whole(b)))


def product(out: Buffer, of: Buffer) -> Contract:
    return Contract(whole(out), whole(W), whole(of), PLAIN)


def function(*body: Statement) -> Function:
    ports = [Port("param", b.name, whole(b)) for b in (A, W)]
    return Function("f", (N,), tuple(ports), (), (S, T, U, Y), body, (Port("result", "y", whole(Y)),))


def test_chain_is_one_expression() -> None:
    assert foldable(function(squared(S, A), added(T, A, S), product(U, T), added(Y, U, A))) == {S, T, U}


def test_chain_is_kept_where_what_its_first_part_reads_is_written() -> None:
    """s is read through t by u: behind the statement that writes s again u could not be computed."""
    again = added(S, A, A)
    body = (squared(S, A), added(T, S, A), product(U, T), again, added(Y, U, S))
    assert foldable(function(*body)) == {T}


def test_reader_that_writes_what_the_expression_reads_does_not_hold_it() -> None:
    assert foldable(function(squared(S, A), added(T, S, A), added(S, T, A), added(Y, S, S))) == set()


@sb.cell
def cyclic(h: State["n"], W: Param["n n"], v: Param["n-1 n"]):
    return np.tanh(
        W @ h + v.T @ (h[1:] - h[:-1]) + W @ np.concatenate([h[1:], h[:1]]) + W @ np.concatenate([h[:1], h[:-1]])
    )


def error_of_jacobian() -> float:
    n, random = 4, np.random.default_rng(0)
    params, h = cyclic.init({"n": n}, seed=0), random.standard_normal(n)
    found = sb.derive(cyclic).jacobian("h", "h").evaluate(params, {}, {"h": h})
    exact = [np.imag(cyclic(h=h + 1e-30j * e, **params)) / 1e-30 for e in np.eye(n)]
    return float(np.abs(np.asarray(found) - np.stack(exact, 1)).max())


def test_jacobian_with_an_identity_that_is_read_twice() -> None:
    assert error_of_jacobian() < 1e-14


def test_planted_sources_of_one_statement_alone_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getsource(folding)
    old = "sources.get(view.buffer, {view.buffer})"
    assert old in text
    space: dict[str, object] = {"__name__": "planted"}
    exec(compile(text.replace(old, "{view.buffer}"), "planted", "exec"), space)
    monkeypatch.setattr("symbptt.codegen.targets.numpy.forms.foldable", space["foldable"])
    assert error_of_jacobian() > 1e-3
