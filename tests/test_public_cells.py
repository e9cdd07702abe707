"""Public cells: proven by verify, and their gradients against complex steps of the plain function that share no code with it."""

import warnings
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import zoo
from symbptt.verification.blocks import in_blocks
from symbptt.verification.regimes import Blocks
from tests import brute, oracle, public_cells, unseen
from tests.kernels import kernel_of

CELLS, SIZES = public_cells.CELLS, public_cells.SIZES
pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")
FEW = (
    "phased_lstm",
    "rotational_memory",
    "rwkv7",
    "titans_memory",
    "current_lif",
    "hidden_markov",
    "based",
    "closed_form",
)


def few(names: Any = CELLS) -> Any:
    """All cells, a few of them in the default run."""
    rest = [n for n in names if n not in FEW]
    marks = {n: pytest.mark.exhaustive if i % 4 else pytest.mark.long for i, n in enumerate(rest)}
    return pytest.mark.parametrize("name", [pytest.param(n, marks=marks[n]) if n in marks else n for n in names])


LONG_EVERY = pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) for n in CELLS])
LENGTHS, RESET = np.array([4, 2]), np.array([[0, 0], [0, 1], [1, 0], [0, 0]], bool)


def data_of(name: str, steps: int, batch: int, **masks: Any) -> brute.Data:
    """Small random arguments; inputs that are times or masks are positive."""
    data = brute.data_of(CELLS[name], steps, batch, SIZES, seed=len(name), **masks)
    for k in ("elapsed", "dt", "first", "seen", "forced"):
        if k in data.inputs:
            data.inputs[k] = np.abs(data.inputs[k])
    return data


def assert_same(name: str, kernel: sb.Kernel, data: brute.Data, truncation: Any = None) -> None:
    """The gradients of a kernel, of a random sum of all states and outputs, are those of the plain function."""
    steps = None if data.inputs else data.steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a reference may overflow in an exp whose inverse it takes
        run = kernel.forward(data.params, data.inputs, data.state, steps=steps, **data.masks)
        random = np.random.default_rng(1)
        sent = {k: random.standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()}
        wanted = brute.gradients(CELLS[name], brute.cotangent_score(sent), data, truncation)
        brute.assert_same(brute.by_group(kernel.backward(run, sent)), wanted)


def test_there_are_as_many_as_were_promised_and_none_is_known() -> None:
    assert len(CELLS) >= 75 and not set(CELLS) & {*zoo.CELLS, *unseen.CELLS}
    assert all(any(digit in (cell.function.__doc__ or "") for digit in "0123456789") for cell in CELLS.values())


@few()
def test_gradients_agree_with_complex_steps_of_samples_that_end_and_begin_anew(name: str) -> None:
    assert_same(name, kernel_of(CELLS[name]), data_of(name, 4, 2, lengths=LENGTHS, reset=RESET))


@LONG_EVERY
@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (2, 1), (4, 1), (5, 2)])
@pytest.mark.thinned(1, 47)
def test_gradients_agree_with_complex_steps(name: str, steps: int, batch: int) -> None:
    assert_same(name, kernel_of(CELLS[name]), data_of(name, steps, batch))


@few(FEW)
@pytest.mark.parametrize("truncation", [sb.Window(2), sb.Chunked(2, 3)], ids=repr)
@pytest.mark.thinned(11, 3)
def test_truncated_gradients_agree_with_explicit_unrolling(name: str, truncation: Any) -> None:
    if name in FEW[:3]:
        assert_same(name, sb.compile(CELLS[name], truncation=truncation), data_of(name, 5, 2), truncation)


@few()
def test_several_blocks_and_windows_give_the_same(name: str) -> None:
    kernel = in_blocks(kernel_of(CELLS[name]), Blocks(2, 2))
    assert_same(name, kernel, data_of(name, 5, 2))


@few()
def test_single_precision_is_near(name: str) -> None:
    data = data_of(name, 3, 2)
    sent = oracle.cotangents_of(CELLS[name], (data.params, data.inputs, data.state), 3)
    found = []
    for dtype in (np.float64, np.float32):
        groups = [{k: np.asarray(v, dtype if np.asarray(v).dtype.kind == "f" else None) for k, v in g.items()}
                  for g in (data.params, data.inputs, data.state, sent)]  # fmt: skip
        run = kernel_of(CELLS[name]).forward(*groups[:3])
        grads = oracle.flat(kernel_of(CELLS[name]).backward(run, groups[3]))
        every = {**run.states, **run.outputs, **grads}
        assert {v.dtype.name for v in every.values()} == {np.dtype(dtype).name}
        found.append(every)
    largest = max(np.abs(v).max(initial=0.0) for v in found[0].values())
    for k, wide in found[0].items():
        scale = max(np.abs(wide).max(initial=0.0), 1e-3 * largest)
        assert np.abs(found[1][k] - wide).max(initial=0.0) <= 1e-4 * scale, k


def written_out(text: str) -> list[str]:
    """The lines of a page, that of a family also once for each of its members."""
    found = text.splitlines()
    for line in text.splitlines():
        head, _, members = line.partition(" ∈ {")
        letter = head.rpartition(",  ")[2]
        for member in members.rstrip("}").split(", ") if members else ():
            found += [line.replace(f"_{letter} ", f"{joint}{member} ", 1) for joint in ("", "_")]
    return found


@few()
def test_pages_print(name: str) -> None:
    derivation = sb.derive(CELLS[name])
    text, latex = derivation.as_spelt("textbook"), derivation.latex()
    assert latex.count("{") == latex.count("}") and text.count("(") == text.count(")")
    lines = written_out(text)
    for a in CELLS[name].arguments:
        if a.role == "state":
            assert f"  {a.name}_t" in text
        if a.role == "param":
            left = tuple(
                f"  {x}" for mark in "dδ" for x in (f"{mark}{a.name} ", f"{mark}{a.name}_", f"({mark}{a.name})_")
            )
            assert any(line.startswith(left) for line in lines), a.name


@LONG_EVERY
@pytest.mark.thinned(1, 23)
def test_public_cell_is_verified(name: str) -> None:
    report = sb.verify(kernel_of(CELLS[name]))
    assert report.passed, str(report)


@LONG_EVERY
@pytest.mark.thinned(1, 29)
def test_public_cell_is_analysed(name: str) -> None:
    data = data_of(name, 8, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = sb.analyze(CELLS[name], data.params, data.inputs, data.state)
    assert CELLS[name].name in report.text()
