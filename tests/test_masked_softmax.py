"""Masks by -inf before a softmax: exp(-inf) = 0 over the field too, and where all is masked nothing is decided, for all is NaN there."""

import warnings

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.codegen.kernel import Kernel
from symbptt.verification.forms import form_rows
from symbptt.verification.proof.atoms import Atoms
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.field import P
from symbptt.verification.proof.floats import agrees_in_floats
from symbptt.verification.proof.prove import NO_FLOATS, line_of
from symbptt.verification.proof.residues import elements, functions_of, residues
from symbptt.verification.proof.settings import FEW, LOOPS, MASKED
from symbptt.verification.proof.subjects import loops_of, of_kernel
from symbptt.verification.requests import NOTHING
from symbptt.verification.undefined import undefined
from tests.kernels import kernel_of as compiled

INF = np.inf


@sb.cell
def attended(x: Input["n"], h: State["n"], mem: Param["s n"], valid: Input["s"]):
    return np.tanh(x + h + sb.softmax(np.where(valid > 0, mem @ h, -INF)) @ mem)


@sb.cell
def added(x: Input["n"], h: State["n"], mem: Param["s n"], valid: Input["s"]):
    return np.tanh(x + h + sb.softmax(mem @ h + np.where(valid > 0, 0, -INF)) @ mem)


@sb.cell
def greatest(x: Input["n"], h: State["n"], mem: Param["s n"], valid: Input["s"]):
    scores = np.where(valid > 0, mem @ h, -INF)
    return x + h * (sb.logsumexp(scores) + np.maximum(-INF, np.max(scores)))


@sb.cell
def infinite(x: Input["n"], h: State["n"]):
    return h + (-INF * x + INF * x)


CELLS = [attended, added, greatest]


def _wrong() -> Kernel:
    kernel = compiled(added)
    source = kernel.source.replace("np.add(s_1_1, dshifted_t", "np.subtract(s_1_1, dshifted_t")
    assert source != kernel.source
    return Kernel(added, kernel.program, source)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.thinned(2)
def test_masks_by_infinity_are_proved(cell: sb.Cell) -> None:
    cases, module = Cases(0, NOTHING), of_kernel("module", compiled(cell))
    as_derived, _ = next(loops_of(cell))
    lines = [
        line_of(module, FEW[0], cases),
        line_of(module, MASKED, cases),
        line_of(as_derived, LOOPS[-1], cases),
    ]
    assert all(line.blocks and not line.wrong and not line.note for line in lines), lines


def test_wrong_gradient_behind_a_mask_is_found() -> None:
    """The planted mistake: a sign of the adjoint of the softmax."""
    line = line_of(of_kernel("module", _wrong()), FEW[0], Cases(0, NOTHING))
    assert {"dmem", "dh_0"} <= {*line.wrong} and "h" not in line.wrong


def test_infinity_is_what_arithmetic_keeps_of_it() -> None:
    with functions_of(Atoms(0)), np.errstate(invalid="ignore"):
        x = residues(elements(np.array([3.0, -INF, 5.0])))
        assert np.exp(x)[1] == 0
        assert np.array_equal(elements(x + 2 - 1), [4, -INF, 6]) and np.array_equal(elements(-x), [P - 3, INF, P - 5])
        assert np.max(x) != -INF and np.min(x) == -INF and np.array_equal(x > -INF, [True, False, True])
        assert np.array_equal(elements(np.maximum(x, -INF)), elements(x))
        # What nothing is known of is no number, and no result.
        assert all(np.isnan(elements(y)[1]) for y in (0 * x, np.exp(-x), np.sin(x), x - x[1]))


def test_function_that_is_nowhere_a_number_is_not_proved_and_not_wrong() -> None:
    line = line_of(of_kernel("module", compiled(infinite)), FEW[0], Cases(0, NOTHING))
    assert not line.wrong and "the user's function is a number" in line.note


def test_floats_decide_nothing_where_the_user_function_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = of_kernel("module", compiled(infinite))
    assert agrees_in_floats(subject, FEW[0], 0, NOTHING, ["h"]) is None
    monkeypatch.setattr("symbptt.verification.proof.prove.agrees_in_floats", lambda *_: None)
    line = line_of(of_kernel("module", _wrong()), FEW[0], Cases(0, NOTHING))
    assert not line.wrong and line.note == NO_FLOATS


@pytest.mark.parametrize("cell", CELLS[:2], ids=lambda cell: cell.name)
def test_other_forms_of_a_call_are_compared_where_the_function_is_a_number(cell: sb.Cell) -> None:
    assert not [row for row in form_rows(compiled(cell), 0) if not row.passed]


def test_cell_that_is_not_a_number_is_told_of_with_a_finite_mask() -> None:
    said = undefined(added, 0, NOTHING)
    assert "... - ... is NaN" in said and "-1e9 for -inf" in said and "'valid': 'positive'" in said


@pytest.mark.long
@pytest.mark.proof
@pytest.mark.parametrize("cell", CELLS[:2], ids=lambda cell: cell.name)
@pytest.mark.thinned(1, 2)
def test_masked_attention_is_verified_without_a_warning(cell: sb.Cell) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        report = sb.verify(cell, domain={"valid": (0.5, 1.0)})
    assert report.passed, str(report)
    assert report.proof is not None and "in no polynomial" in str(report.proof)
