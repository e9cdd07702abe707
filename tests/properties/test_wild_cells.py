"""Random cells over the whole language against the tape: values and gradients under every option of a kernel.

A failure prints the cell and the call that runs it again. `python -m tests.properties.checks 0 5000` tries as many as told.
"""

import re
import warnings
from random import Random
from typing import Any

import pytest

import symbptt as sb
from tests.properties.checks import CHECKS, Difference, assert_case, assert_seed, bench_of, failures, short
from tests.properties.wild import Case, case_of

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")
FEW, MANY, ALL, CHUNK = 30, 200, 2_080, 40
"""Cells by default, under the mark `long`, with those of the mark `exhaustive`, and in one test of these."""


@pytest.mark.parametrize("seed", range(FEW))
@pytest.mark.thinned(4)
def test_values_and_gradients_are_those_of_the_tape(seed: int) -> None:
    assert_seed(seed)


@pytest.mark.parametrize("name", CHECKS)
def test_every_option_is_tried(name: str) -> None:
    tried = [assert_case(case_of(seed), [name]) for seed in (1001, 1002)]
    assert any(tried)


@pytest.mark.parametrize("first", [
    pytest.param(first, marks=pytest.mark.long if first < FEW + MANY else pytest.mark.exhaustive)
    for first in range(FEW, FEW + ALL, CHUNK)
])  # fmt: skip
def test_values_and_gradients_of_many_cells_are_those_of_the_tape(first: int) -> None:
    found, tame = failures(range(first, first + CHUNK))
    assert not found, "\n\n".join([f"{len(found)} of {CHUNK} cells differ", *map(str, found)])
    assert tame > 0.7 * CHUNK


def test_seed_gives_the_same_cell_each_time() -> None:
    assert case_of(5) == case_of(5)
    assert len({case_of(seed).text for seed in range(50)}) > 45


def test_grammar_writes_what_it_is_for() -> None:
    """Of 300 cells, how many have a thing."""
    texts = [repr(case_of(seed)) for seed in range(300)]
    for pattern, least in {
        r"Index\[": 150, r"\w+\[i\d\]": 80, r"\[:, i\d\]": 8, r": State\[.*: State\[": 120, r"Param\[\"[^\"]*[+*]": 60,
        r"State\[\"[^\"]*[+*]": 60, r"Const\[": 10, r"np\.mean\(p\d+\)": 5, r"for i in range": 15, r"\"y\": ": 100, r"Output\[": 60,
        r"np\.where\(": 10, r"sb\.layer_norm|sb\.norm|np\.linalg\.norm|np\.sqrt": 15, r"np\.concatenate|np\.stack|np\.hstack": 30,
        r"(swish|spike|blend)\(": 15, "membrane_potential": 10,
    }.items():  # fmt: skip
        count = sum(re.search(pattern, text) is not None for text in texts)
        assert count >= least, f"{count} of 300 cells have {pattern}"


# What random cells have found, each as its shortest cell.

FOUND = {
    "an adjoint whose terms cancel": """
def step(h: State["n"], w: Param["n"]):
    p = w + h
    return sb.sigmoid(p - h)
""",
    "a gradient of an input whose terms cancel": """
def step(x: Input["n"], h: State["n"], w: Param["n"]):
    p = x + h
    return {"h": np.tanh(p - x) * w, "y": p - h}
""",
    "a parameter that the sweep backward alone reads": """
def step(h: State["n"], b: Param["n"], w: Param["n"]):
    v = np.tanh(h + 0 * b)
    u = np.concatenate([h, v])[:h.shape[0]]
    return w * h - np.sin(u)
""",
    "the adjoint of a new state beside that of a function, in one product": """
def step(h: State["n"], W: Param["n n"], P: Param["n n"]):
    h = W @ h + np.tanh(P @ h)
    return {"h": h, "y": h}
""",
    "the same of two states, one of them with an output of what it was": """
def step(h: State["n"], c: State["n"], W: Param["n n"], P: Param["n n"], Q: Param["n n"]):
    new = 0.5 * W @ h + np.tanh(P @ h + Q @ c)
    return {"h": new, "c": Q @ c + new, "y": 0.5 * new + h, "z": c}
""",
}


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.thinned(3)
def test_cell_that_was_found_is_right_under_every_option(name: str) -> None:
    loss = 'def error(h: State["n"]):\n    return h @ h\n'
    assert assert_case(Case(4, FOUND[name].lstrip(), loss, {"m": 2, "n": 3, "k": 2, "v": 2}, 5, 2), CHECKS)


# Planted mistakes.

PLANTED_CASE = Case(
    4,
    'def step(x: Input["n"], i0: Index["v"], s0: State["n"], s1: State["n"], p0: Param["v n"], p1: Param["n n"], p2: Param["n"]):\n'
    "    v0 = np.tanh(p1 @ s0 + p0[i0] * x)\n"
    '    return {"s0": v0, "s1": p2 * s1 + x, "y": v0 * x}\n',
    'def error(s0: State["n"]):\n    return s0 @ s0\n',
    {"m": 1, "n": 3, "k": 2, "v": 2},
    8,
    2,
)
PLANTED = {
    "nothing": (r"import numpy", "import numpy"),
    "a row of another index": (r"np\.take\(p0, (\w+)", r"np.take(p0, 0 * \1"),
    "a sum that forgets the blocks before": (r"np\.add\(dp1, (\w+), out=dp1\)", r"np.copyto(dp1, \1)"),
    "another derivative of tanh": (r"np\.square\((s0_b), out=(\w+)\)", r"np.abs(\1, out=\2)"),
    "an adjoint that ends at the border of a block": (
        r"(\n +)lo = max\(hi - K, 0\)",
        r"\1lo = max(hi - K, 0)\1ds0[...] = 0",
    ),
    "the cotangent of an output twice": (r"dy = (.*)", r"dy = 2 * (\1)"),
    "a state that is not copied": (
        r"np\.multiply\(ds1_all_t, p2, out=ds1\)",
        r"np.multiply(ds1_all_t, p2 + 1e-6, out=ds1)",
    ),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistake_is_caught(mistake: str) -> None:
    bench = bench_of(PLANTED_CASE)
    kernel = sb.compile(bench.cell)
    source, count = re.subn(*PLANTED[mistake], kernel.source)
    assert count >= 1
    module = short(kernel, Random(1), source)
    if mistake == "nothing":
        bench.assert_kernel(module, mistake)
    else:
        with pytest.raises(AssertionError, match="differs by"):
            bench.assert_kernel(module, mistake)


def test_failure_prints_the_cell_and_how_to_run_it_again(monkeypatch: Any) -> None:
    def wrong(bench: Any) -> None:
        raise AssertionError("differs")

    monkeypatch.setitem(CHECKS, "whole", wrong)
    with pytest.raises(Difference) as caught:
        assert_case(case_of(7), ["whole"])
    assert "def step(" in str(caught.value) and "assert_case(case_of(7), ['whole'])" in str(caught.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(failures([7], ["whole"])[0]) == 1
