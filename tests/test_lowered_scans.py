"""Affine recurrences as statements: a scan computes what the loop in its body does, and what the kernel does."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.codegen.loop_ir.arithmetics import floats, fractions
from symbptt.codegen.loop_ir.dump import dump
from symbptt.codegen.loop_ir.laws import check, check_run
from symbptt.codegen.loop_ir.nodes import Function, Loop, Scan, Statement, walk
from symbptt.codegen.loop_ir.step_by_step import without_scans
from symbptt.codegen.loop_ir.views import span
from symbptt.codegen.lower.cell import Sweeps
from symbptt.codegen.passes import NEUTRAL, PASSES
from symbptt.zoo import CELLS
from tests import unseen
from tests.lowered import data_for, run_both, sweeps_of
from tests.test_lowering import agrees, close

RUNS = ((0, 2, 1), (1, 2, 3), (2, 1, 1), (5, 1, 2), (7, 2, 3))
"""Steps, samples, steps of a block."""


@sb.cell
def coupled(x: sb.Input["n"], a: sb.State["n"], b: sb.State["n"], w: sb.Param["n"], u: sb.Param["n"]):
    """Two states, each in the recurrence of the other; one coefficient varies, one does not, one is a number."""
    g = x * w
    return {"a": g * a + 0.5 * b + x, "b": u * a + b * x}


@sb.cell
def leaky(x: sb.Input["n"], h: sb.State["n"], w: sb.Param["n"]):
    """A number alone as coefficient, and no parameter in the recurrence."""
    return {"h": 0.75 * h + w * x}


@sb.cell
def free(h: sb.State["n"], k: sb.State["n"], w: sb.Param["n"]):
    """Without inputs: one state is a product alone, the other forgets itself."""
    return {"h": w * h, "k": h + w}


SCANNED = {
    name: CELLS[name]
    for name in ("linear_attention", "linoss", "lru", "mesa_net", "min_gru", "retnet", "s4d", "s5", "selective_ssm")
}
OWN = {cell.name: cell for cell in (coupled, leaky, free)}
EVERY = {**SCANNED, **OWN}


def scans_of(f: Function) -> list[Scan]:
    return [s for s in walk(f.body) if isinstance(s, Scan)]


def plain(s: Sweeps) -> Sweeps:
    return Sweeps(without_scans(s.forward), without_scans(s.backward))


@pytest.mark.long
def test_the_cells_with_an_affine_recurrence_are_scanned_and_no_others() -> None:
    for name, cell in {**CELLS, **OWN}.items():
        s = sweeps_of(cell)
        assert [len(scans_of(f)) for f in (s.forward, s.backward)] == [name in EVERY] * 2, name


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("passes", [PASSES, NEUTRAL], ids=["numpy", "neutral"])
@pytest.mark.thinned(11, 5)
def test_a_scan_computes_what_its_body_does(passes: tuple[Any, ...], name: str) -> None:
    s = sweeps_of(EVERY[name], passes)
    for steps, samples, block in RUNS:
        data = data_for(EVERY[name], steps, samples)
        for found, expected in zip(
            run_both(s, data, steps, samples, block), run_both(plain(s), data, steps, samples, block), strict=True
        ):
            assert all(close(found[key], value) for key, value in expected.items() if key[0] != "residual")
        for f in (s.forward, s.backward, plain(s).forward, plain(s).backward):
            check(f)
            check_run(f, data.sizes, steps, samples, block)
    assert not scans_of(plain(s).forward) and "step by step" in dump(s.backward)


@pytest.mark.parametrize("name", OWN)
def test_it_is_what_the_kernel_computes(name: str) -> None:
    for at in RUNS:
        agrees(OWN[name], PASSES, *at)


def test_it_is_exact_over_fractions_and_of_single_precision_over_floats() -> None:
    data, s = data_for(coupled, 4, 2), sweeps_of(coupled)
    exactly = {
        k: np.vectorize(lambda v: Fraction(round(100 * v), 100), otypes=[object])(v) for k, v in data.given.items()
    }
    back = {
        k: np.vectorize(lambda v: Fraction(round(100 * v), 100), otypes=[object])(v) for k, v in data.cotangents.items()
    }
    given = replace(data, given=exactly, cotangents=back)
    for found, expected in zip(
        run_both(s, given, 4, 2, 3, fractions()), run_both(plain(s), given, 4, 2, 1, fractions()), strict=True
    ):
        assert all((found[key] == value).all() for key, value in expected.items())
    single, double = (run_both(s, data_for(coupled, 4, 2, d), 4, 2, 2, floats(d)) for d in (np.float32, np.float64))
    assert single[1]["params", "w"].dtype == np.float32
    assert np.allclose(single[1]["params", "w"], double[1]["params", "w"], rtol=1e-5)


def test_masks_clipping_and_monitors_look_at_each_step() -> None:
    for options in ({"masked": True}, {"limit": 0.5}):
        assert not scans_of(sweeps_of(CELLS["min_gru"], PASSES, **options).backward)
    (scan,) = scans_of(sweeps_of(CELLS["min_gru"], PASSES, monitored=True).backward)
    assert [flag.buffer.name for flag in scan.unless] == ["has_monitor"]


def changed(f: Function, edit: Callable[[Scan], Scan]) -> Function:
    """A function whose scans are edited, also inside loops."""

    def inside(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        return tuple(
            edit(s) if isinstance(s, Scan) else replace(s, body=inside(s.body)) if isinstance(s, Loop) else s
            for s in body
        )

    return replace(f, body=inside(f.body))


PLANTED: dict[str, Callable[[Scan], Scan]] = {
    "no free part": lambda s: replace(s, free=(None,) * len(s.out)),
    "states that do not meet": lambda s: replace(
        s,
        coefficients=tuple(
            tuple(c if i == j else None for j, c in enumerate(row)) for i, row in enumerate(s.coefficients)
        ),
    ),
    "the other direction": lambda s: replace(s, out=tuple(span(v, 0, v.shape[0] - 1, v.shape[0], -1) for v in s.out)),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistake_in_a_scan_is_seen(mistake: str) -> None:
    s, data = sweeps_of(coupled), data_for(coupled, 5, 2)
    wrong = replace(s, forward=changed(s.forward, PLANTED[mistake]))
    found, right = run_both(wrong, data, 5, 2, 5)[0], run_both(s, data, 5, 2, 5)[0]
    assert not close(found["states", "a"], right["states", "a"])


BROKEN: dict[str, Callable[[Scan], Scan]] = {
    "a carry of another shape": lambda s: replace(s, carry=s.out),
    "a number of states": lambda s: replace(s, free=s.free[:1]),
    "an operand of another shape": lambda s: replace(s, free=s.carry),
    "a coefficient for each state": lambda s: replace(s, coefficients=tuple(row[:1] for row in s.coefficients)),
    "direct cotangents belong": lambda s: replace(s, given=((),) * len(s.out)),
}


@pytest.mark.parametrize("law", BROKEN)
def test_planted_scan_that_breaks_a_law_is_caught(law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check(changed(sweeps_of(coupled).forward, BROKEN[law]))


@pytest.mark.long
@pytest.mark.parametrize("name", unseen.CELLS)
def test_scans_of_cells_from_elsewhere(name: str) -> None:
    s = sweeps_of(unseen.CELLS[name])
    if scans_of(s.forward):
        data = data_for(unseen.CELLS[name], 5, 2)
        for found, expected in zip(run_both(s, data, 5, 2, 2), run_both(plain(s), data, 5, 2, 2), strict=True):
            assert all(close(found[key], value) for key, value in expected.items() if key[0] != "residual")
