"""The adjoint of an output in the order of the code: no line reads the value that it defines."""

import re
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Output, Param, State, Target, zoo
from symbptt.codegen.lower import equations
from symbptt.equations.page import equations as page_equations
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


# What a loss does not read.


@sb.cell
def two_outputs(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"], U: Param["n n"], V: Param["k n"]):
    h = np.tanh(W @ x + U @ h + c)
    return {"h": h, "c": h - 0.5 * c, "y": V @ h, "energy": np.exp(h @ c)}


@sb.loss
def of_y(y: Output["k"], target: Target["k"]):
    return sb.sum((y - target) ** 2)


@sb.loss
def of_energy(energy: Output, target: Target):
    return energy * target


@sb.loss
def of_h(h: State["n"], target: Target["n"]):
    return sb.sum(h * target)


@sb.loss
def of_parameters(W: Param["n m"]):
    return sb.sum(W * W)


def assert_adjoints_defined(listing: str) -> None:
    """Each adjoint and each cotangent of the loss on the right of a line stands on a left side, if only in the legend."""
    rows = listing.replace("From outside: ", "").replace(", d", "\n  d").splitlines()
    shown = [row for row in rows if re.match(r" +\S+ +\+?= ", row)]
    lines = [line.partition("=")[::2] for line in shown]
    # dh_{t-1} and dh_t are the adjoint of one state, at different steps.
    names = re.compile(r"(dL/)?\bd([a-z]+)_\{?(?:([a-z]+),)?[tT]")
    left, right = (set(names.findall("\n".join(side))) for side in zip(*lines, strict=True))
    assert right <= left, right - left


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("loss", [of_y, of_energy, of_h, of_parameters], ids=lambda loss: loss.name)
def test_adjoints_of_what_a_loss_does_not_read_are_told(loss: Any, at: str) -> None:
    model = sb.model(two_outputs, loss, at=at)
    d, read = sb.derive(model), [loss.name.removeprefix("of_")]
    for style in ("loop", "textbook"):
        assert_adjoints_defined(d.text(style))
        for name, time in {"y": "t", "energy": "t", "c": "{t-1}" if style == "loop" else "t"}.items():
            assert (f"dL/d{name}_{time} = 0: the loss does not read {name}" in d.text(style)) == (name not in read)
    assert_adjoints_defined(sb.compile(model).source.partition('"""')[2].partition('"""')[0])


def test_adjoints_of_outputs_of_a_cell_come_from_outside() -> None:
    text = sb.derive(two_outputs).text("loop")
    assert "  From outside: dy_t = dL/dy_t, denergy_t = dL/denergy_t\n" in text + "\n"


def test_an_adjoint_that_nothing_defines_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_equations, "received", lambda *args: ())
    with pytest.raises(AssertionError):
        assert_adjoints_defined(sb.derive(sb.model(two_outputs, of_y)).text("loop"))
