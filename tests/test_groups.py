"""Parameters in groups, dataclasses, named tuples and dicts, and constants that are words."""

import dataclasses
import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State, Target
from tests.kernels import kernel_of


@dataclasses.dataclass
class Query:
    Wq: Param["n m"]
    b: Param["n"] = 0.25


@dataclasses.dataclass(frozen=True)
class Block:
    query: Query
    U: "Param['n n']"
    scale: Const = 0.5

    def project(self, v: Any) -> Any:
        return self.scale * (self.U @ v)


class Pair(NamedTuple):
    V: Param["n n"]
    c: Param["n"]


class Named(TypedDict):
    a: Param["n"]


@sb.cell
def grouped(x: Input["m"], h: State["n"], block: Block, pair: Pair, extra: {"g": Param["n"]}, named: Named):
    q = block.query.Wq @ x + block.query.b
    u = np.tanh(q + block.project(h) + named["a"])
    return extra["g"] * u + pair.V @ (h * pair.c)


@sb.cell
def flat(x: Input["m"], h: State["n"], Wq: Param["n m"], b: Param["n"], U: Param["n n"], V: Param["n n"], c: Param["n"],
         g: Param["n"], a: Param["n"]):  # fmt: skip
    return g * np.tanh(Wq @ x + b + 0.5 * (U @ h) + a) + V @ (h * c)


NAMES = ["block.query.Wq", "block.query.b", "block.U", "pair.V", "pair.c", "extra.g", "named.a"]


def test_fields_are_parameters_by_dotted_names_in_init_modules_and_gradients(tmp_path: Path) -> None:
    params = grouped.init({"m": 2, "n": 3}, seed=4, **{"pair.c": 0.75})
    assert list(params) == NAMES and (params["block.query.b"] == 0.25).all() and (params["pair.c"] == 0.75).all()
    random = np.random.default_rng(0)
    params = {k: random.standard_normal(v.shape) for k, v in params.items()}
    plain = {k.split(".")[-1]: v for k, v in params.items()}
    x, h, dh = (random.standard_normal(s) for s in ((4, 2, 2), (2, 3), (4, 2, 3)))
    own, other = kernel_of(grouped), kernel_of(flat)
    run, wanted = own.forward(params, {"x": x}, {"h": h}), other.forward(plain, {"x": x}, {"h": h})
    np.testing.assert_allclose(run.states["h"], wanted.states["h"], rtol=1e-13)
    grads, others = own.backward(run, {"h": dh}), other.backward(wanted, {"h": dh})
    assert list(grads.params) == NAMES
    for name, value in grads.params.items():
        np.testing.assert_allclose(value, others.params[name.split(".")[-1]], rtol=1e-11, err_msg=name)
    own.save(tmp_path / "grouped.py")
    done = subprocess.run([sys.executable, tmp_path / "grouped.py", "--selfcheck"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_cell_of_groups_is_proved() -> None:
    report = sb.verify(grouped)
    assert report.passed and {f"d{name}" for name in NAMES} <= {row.name for row in report.rows}, str(report)


@pytest.mark.long
def test_a_gradient_that_goes_to_another_field_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made, kernel = type(grouped.groups["pair"]).made, kernel_of(grouped)  # traced before the plant

    def swapped(group: Any, name: str, values: Any) -> Any:
        return made(group, name, {**values, "named.a": values["extra.g"]})

    monkeypatch.setattr(type(grouped.groups["pair"]), "made", swapped)
    assert not sb.verify(kernel).passed


def test_the_function_takes_groups_as_they_are_written() -> None:
    values = Query(np.ones((3, 2)), np.zeros(3)), np.eye(3)
    h = grouped(
        np.ones(2), np.ones(3), Block(*values), Pair(np.eye(3), np.ones(3)), {"g": np.ones(3)}, {"a": np.zeros(3)}
    )
    np.testing.assert_allclose(h, np.tanh(2.5) + 1)
    assert pickle.loads(pickle.dumps(grouped)) is grouped


def test_pages_write_fields_with_the_name_of_their_group() -> None:
    d = sb.derive(grouped)
    assert "dpair.c" in d.text() and r"W_{q,\mathrm{query},\mathrm{block}}" in d.latex().replace(" ", ""), d.latex()
    assert "block_query_Wq" in sb.compile(grouped).source
    assert str(d.jacobian("h", "pair.c")) and d.explain() and sb.c_source(grouped).source


def test_constants_of_a_group_are_replaced_by_their_dotted_name() -> None:
    params = grouped.init({"m": 2, "n": 2}, seed=1, **{"extra.g": 1.0})
    x, h = np.ones((1, 1, 2)), np.ones((1, 2))
    one, two = (sb.compile(grouped, consts=c).forward(params, {"x": x}, {"h": h}).states["h"]
                for c in ({"block.scale": 0.0}, {"block.scale": 0.5}))  # fmt: skip
    assert not np.allclose(one, two)
    np.testing.assert_array_equal(two, kernel_of(grouped).forward(params, {"x": x}, {"h": h}).states["h"])


@pytest.mark.long
def test_losses_take_groups_too() -> None:
    @sb.loss
    def error(h: State["n"], y: Target["k"], read: {"V": Param["k n"], "c": Param["k"]}):
        e = read["V"] @ h + read["c"] - y
        return np.sum(e * e) / 2

    model = sb.model(grouped, error)
    params = model.init({"m": 2, "n": 3, "k": 2}, seed=0)
    loss, grads = sb.compile(model).value_and_grad(params, {"x": np.ones((3, 1, 2))}, {"y": np.ones((3, 1, 2))})
    assert loss > 0 and {"read.V", "read.c"} <= set(grads.params) and sb.verify(model).passed


def test_annotations_that_are_strings_are_groups_too(tmp_path: Path) -> None:
    (tmp_path / "strings.py").write_text(dedent("""
        from __future__ import annotations
        from dataclasses import dataclass, field
        import numpy as np
        import symbptt as sb
        from symbptt import Const, Input, Param, State

        @dataclass
        class Inner:
            W: Param["n m"]
            gains: Const["2"] = field(default_factory=lambda: np.array([0.5, 2.0]))

        @sb.cell
        def step(x: Input["m"], h: State["n"], p: Inner, q: {"U": Param["n n"]}):
            return np.tanh(p.gains[0] * (p.W @ x) + p.gains[1] * (q["U"] @ h))
        """))  # fmt: skip
    spec = importlib.util.spec_from_file_location("strings", tmp_path / "strings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["strings"] = module
    try:
        spec.loader.exec_module(module)
        assert "dq.U" in sb.derive(module.step).text()
    finally:
        del sys.modules["strings"]


BAD: dict[str, tuple[Any, str]] = {
    "an input in a group": ({"W": Input["n"]}, "is Param or Const, got Input(.|\n)*an argument of its own"),
    "no role": ({"W": int}, "is Param or Const, got <class 'int'>"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_group_is_refused(name: str) -> None:
    kind, words = BAD[name]

    def step(h: Any, p: Any) -> Any:
        return h

    step.__annotations__ = {"h": State["n"], "p": kind}
    with pytest.raises(sb.CellError, match=words):
        sb.cell(step)


def test_unknown_fields_of_data_are_named() -> None:
    params = grouped.init({"m": 2, "n": 3})
    with pytest.raises(sb.ArgumentError, match=r"pair\.c"):
        kernel_of(grouped).forward({k: v for k, v in params.items() if k != "pair.c"}, {"x": np.ones((1, 1, 2))})


@sb.cell
def chosen(x: Input["m"], h: State["n"], W: Param["n m"], act: Const = "tanh", norm: Const = "none"):
    f = {"tanh": np.tanh, "relu": sb.relu}[act]
    u = W @ x + 0.5 * h
    return f(u / (1 + sb.norm(u)) if norm == "rms" else u)


@pytest.mark.long
def test_constants_that_are_words_choose_and_are_no_arguments() -> None:
    assert [a.name for a in chosen.arguments] == ["x", "h", "W"]
    params, x, h = chosen.init({"m": 2, "n": 3}, seed=0), np.full((1, 1, 2), -1.0), np.ones((1, 3))
    for words in ({}, {"act": "relu"}, {"act": "relu", "norm": "rms"}):
        cell = chosen.with_consts(words)
        run = sb.compile(cell).forward(params, {"x": x}, {"h": h})
        np.testing.assert_allclose(
            run.states["h"][0, 0], chosen.function(x[0, 0], h[0], params["W"], **words), rtol=1e-14
        )
    assert "relu" in sb.derive(chosen.with_consts({"act": "relu"})).text()
    assert sb.verify(sb.compile(chosen, consts={"norm": "rms"})).passed


def test_a_word_is_no_number_and_a_number_no_word() -> None:
    with pytest.raises(sb.ArgumentError, match=r"'act' of chosen is a word such as 'tanh', got 1"):
        chosen.with_consts({"act": 1})
    with pytest.raises(sb.CellError, match="KeyError: 'silu'"):
        assert chosen.with_consts({"act": "silu"}).step

    with pytest.raises(sb.CellError, match="must be a real number"):

        @sb.cell
        def bad(h: State["n"], W: Param["n"] = "tanh"):  # type: ignore[assignment]
            return h * W
