"""The adjoint of an output in the order of the code: no line reads the value that it defines."""

import re
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.codegen.lower import equations
from symbptt.equations.page.lines import Lines
from tests.readback import as_latex, as_text, assert_read
from tests.test_mathml import as_mathml

SIZES = {"m": 2, "n": 3}
FORMS: dict[str, Any] = {"text": as_text("loop"), "latex": as_latex, "mathml": as_mathml}


def with_outputs() -> sb.Cell:
    @sb.cell
    def several(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
        ŷ = sb.sigmoid(W @ x + U @ h)
        z = np.tanh(ŷ * h)
        return {"h": ŷ * z, "ŷ": ŷ, "z": z, "again": z, "last": h * 2, "first": W @ x}

    return several


def with_an_index() -> sb.Cell:
    @sb.cell
    def rows(x: Input["m"], M: State["n m"], q: Param["n"]):
        read = M.T @ q
        gate = sb.sigmoid(read + x)
        return {"M": M + np.outer(q, gate), "read": read, "gate": gate}

    return rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [with_outputs, with_an_index])
def test_such_pages_read_back(make: Any, form: str) -> None:
    assert_read(make(), SIZES, printed=FORMS[form])


def assert_no_line_reads_itself(cell: sb.Cell) -> None:
    module, d = sb.compile(cell).source, sb.derive(cell)
    comments = re.findall(r"# (d\S+ = .*)", module) + re.findall(r"// (d\S+ = .*)", sb.c_source(cell).source)
    outputs = tuple(f"d{name}_t" for name in cell.step.outputs)
    compared = re.findall(r"^  (d\S+): (.*)", sb.compare(zoo.rnn, cell).text(), re.M)
    lines = [*d.text("loop").splitlines(), *module.partition('"""')[2].partition('"""')[0].splitlines(), *comments,
             *(" = ".join(pair) for pair in compared)]  # fmt: skip
    found = [line.partition(" = ") for line in lines if line.strip().startswith(outputs)]
    assert len(found) > 2
    for left, _, right in found:
        assert left.strip() not in right.replace(f"dL/{left.strip()}", ""), f"{left} = {right}"
    for line in d.latex("loop").splitlines():
        left, _, right = line.strip().partition(" &= ")
        assert not left.startswith(r"\mathrm{d}\hat") or left not in right, line


@pytest.mark.parametrize("make", [with_outputs, with_an_index])
def test_no_line_reads_what_it_defines(make: Any) -> None:
    assert_no_line_reads_itself(make())


def test_a_line_that_reads_itself_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lines, "_from_outside", lambda self, line: line)
    with pytest.raises(AssertionError):
        assert_no_line_reads_itself(with_outputs())


def test_a_comment_that_reads_itself_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equations._Labels, "__getitem__", lambda self, id: self.p.labels[id])
    with pytest.raises(AssertionError):
        assert_no_line_reads_itself(with_outputs())
