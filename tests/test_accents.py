"""A letter and its accent are one sign, however they are written: Python reads names of programs in NFKC, strings it leaves."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.codegen import kernel as kernels
from symbptt.commands.load_target import load_target
from symbptt.commands.main import run as run_command

SOURCE = """
import numpy as np
import symbptt as sb
from symbptt import Const, Input, Param, State, Target

@sb.cell
def réseau(x: Input["mé"], ĥ: State["ñ"], W_é: Param["ñ mé"], ü: Param["ñ"], dé: Const = 0.5):
    á = W_é @ x + ü * ĥ
    return {"ĥ": np.tanh(dé * á), "ŷ": ĥ * á}

@sb.loss
def écart(ĥ: State["ñ"], ž: Target["ñ"]):
    return sb.sum((ĥ - ž) ** 2)

modèle = sb.model(réseau, écart)
"""


def one(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def two(text: str) -> str:
    return unicodedata.normalize("NFD", text)


FORMS = (one, two)


@pytest.fixture(scope="module", params=FORMS, ids=["one sign", "two signs"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("accents") / "cells.py"
    path.write_text(request.param(SOURCE), "utf-8")
    return path


def by(form: Callable[[str], str], **values: Any) -> dict[str, Any]:
    return {form(name): value for name, value in values.items()}


def data(form: Callable[[str], str], cell: sb.Cell) -> Any:
    params = cell.init(by(form, mé=2, ñ=3), seed=0)
    inputs = {"x": np.random.default_rng(0).standard_normal((5, 2, 2))}
    return {form(k): v for k, v in params.items()}, inputs, by(form, ĥ=np.full((2, 3), 0.3))


def steps(cell: sb.Cell, params: Any, inputs: Any, state: Any) -> Any:
    values = list(params.values())
    h = state[next(iter(state))]
    for x in inputs["x"]:
        h = np.tanh(0.5 * (x @ values[0].T + values[1] * h))
    return h


@pytest.mark.parametrize("form", FORMS, ids=["one sign", "two signs"])
@pytest.mark.thinned(4, 3)
def test_names_are_known_in_both_forms(file: Path, form: Callable[[str], str]) -> None:
    cell, model = load_target(f"{file}:{form('réseau')}"), load_target(f"{file}:{form('modèle')}", models=True)
    assert [a.name for a in cell.arguments] == ["x", one("ĥ"), one("W_é"), one("ü"), one("dé")]
    params, inputs, state = data(form, cell)
    params[form("ü")] = np.array([0.5, -1.0, 2.0])
    kernel = sb.compile(cell, consts=by(form, dé=0.5))
    run = kernel.forward(params, inputs, state)
    np.testing.assert_allclose(run.states[one("ĥ")][-1], steps(cell, params, inputs, state), rtol=1e-13)
    assert set(run.outputs) == {one("ŷ")}
    grads = kernel.backward(run, by(form, ĥ=np.ones((2, 3)), ŷ=np.ones((5, 2, 3))))
    assert grads.params[one("W_é")].any()
    loss, _ = sb.compile(model).value_and_grad(params, inputs, by(form, ž=np.zeros((5, 2, 3))), state)
    np.testing.assert_allclose(loss, np.sum(run.states[one("ĥ")] ** 2), rtol=1e-13)
    d = sb.derive(cell)
    single = params, {"x": inputs["x"][0, 0]}, {k: v[0] for k, v in state.items()}
    assert d.jacobian(form("ĥ"), form("ĥ")).evaluate(*single).shape == (3, 3)
    assert len(d.paths(form("ĥ"), form("ĥ"), through=[form("á")])) == 1
    assert d.linearity(form("ŷ"))[one("ü")].kind == "affine"

    def backward(*given: Any) -> Any:
        found = kernel.backward(kernel.forward(*given[:3]), given[3])
        return {form(k): v for group in (found.params, found.inputs, found.state) for k, v in group.items()}

    assert sb.check_backward(cell, backward).passed
    assert sb.verify(sb.stack(cell, cell)).passed
    assert sb.verify(cell, params=params, domain=by(form, ĥ="positive")).passed


@pytest.mark.parametrize("form", FORMS, ids=["one sign", "two signs"])
@pytest.mark.thinned(3)
def test_stability_knows_them_in_both_forms(file: Path, form: Callable[[str], str]) -> None:
    cell = load_target(f"{file}:{form('réseau')}")
    params, inputs, state = data(form, cell)
    params[form("ü")] = np.array([0.5, -1.0, 2.0])
    assert sb.analyze(cell, params, inputs, state).text()
    assert np.isfinite(sb.lyapunov_spectrum(cell, params, inputs, state).exponents).all()
    assert sb.certified_rate(cell, params, {"x": (-1, 1), **by(form, ĥ=(-1, 1))}).text()
    assert sb.vanishing_condition(cell).rate(params, by(form, ĥ=(-1, 1))) > 0
    scaled = sb.with_gain(cell, params, 2.0)
    np.testing.assert_array_equal(scaled[one("ü")], 2 * params[form("ü")])


@pytest.mark.parametrize("form", FORMS, ids=["one sign", "two signs"])
def test_the_command_line_knows_them(
    file: Path, form: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["derive", f"{file}:{form('réseau')}"]) == 0
    assert run_command(["plan", f"{file}:{form('réseau')}", "--sizes", f"9,2,{form('mé')}=2,{form('ñ')}=3"]) == 0
    capsys.readouterr()
    assert run_command(["derive", f"{file}:{form('réseaux')}"]) == 2
    assert f"did you mean {one('réseau')}?" in capsys.readouterr().err


def test_a_name_in_both_forms_at_once_is_refused() -> None:
    @sb.cell
    def cell(x: sb.Input["n"], h: sb.State["n"], é: sb.Param["n"]):
        return é * h + x

    params = {one("é"): np.ones(2), two("é"): np.zeros(2)}
    with pytest.raises(sb.ArgumentError, match=f"'{one('é')}' is given twice"):
        sb.compile(cell).forward(params, {"x": np.ones((1, 1, 2))})


def test_a_kernel_that_reads_names_as_they_come_is_caught(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "named", lambda given: given)
    with pytest.raises(sb.ArgumentError, match="is not known"):
        test_names_are_known_in_both_forms(file, two)
