"""At an exact tie of two values all sides follow the rule of the language: a number of the body wins, and equal values share.

What is a value and what a number is said by what stands in the body, not by what a derivative flows to: a constant, an index, a
target, a sign and an array of numbers are values. The numbers of 50 digits decide ties; other levels pass over them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target
from symbptt.codegen.kernel import Kernel
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.prove import line_of
from symbptt.verification.proof.results import Line
from symbptt.verification.proof.subjects import subjects_of
from symbptt.verification.regimes import REGIMES
from symbptt.verification.requests import NOTHING
from symbptt.verification.rounding.measure import UNDECIDED, rounding_of
from tests.public_dynamics import pid

pytestmark = pytest.mark.filterwarnings("ignore:the (index|const) .* is never used")
EXACT = tuple(regime for regime in REGIMES if regime.name == "exact")


def of_vectors(f: Callable[..., Any], value: float = 1.0) -> sb.Cell:
    """A cell of vectors whose step is a function of a = w x + h, h, x, a constant and an index."""

    @sb.cell
    def vectors(x: Input["3"], h: State["3"], w: Param["3"], i: Index["2"], limit: Const = value):
        return f(w * x + h, h, x, limit, i)

    return vectors


def of_numbers(f: Callable[..., Any]) -> sb.Cell:
    """The same of numbers."""

    @sb.cell
    def numbers(x: Input, h: State, w: Param, i: Index["2"], limit: Const = 1.0):
        return f(w * x + h, h, x, limit, i)

    return numbers


ZERO, ONE = np.array(0.0), np.int64(1)
BODIES: dict[str, Callable[..., Any]] = {
    "a constant": lambda a, h, x, c, i: np.clip(a, -c, c),
    "a number and a constant": lambda a, h, x, c, i: np.clip(a, -1, c),
    "an index": lambda a, h, x, c, i: np.maximum(a, 2 * i - 1),
    "a sign": lambda a, h, x, c, i: np.minimum(a, np.sign(x)),
    "a comparison": lambda a, h, x, c, i: np.maximum(a, x > 0),
    "chosen numbers": lambda a, h, x, c, i: np.maximum(a, np.where(x > 0, 1.0, 0.0)),
    "stopped": lambda a, h, x, c, i: np.maximum(a, sb.stop_gradient(x)) + np.minimum(h, np.floor(x)),
    "a value that was a number": lambda a, h, x, c, i: np.maximum(sb.relu(a), h) + np.maximum(np.clip(h, 0, 1), x),
    "numbers without axes": lambda a, h, x, c, i: np.clip(a, np.array(-1.0), ONE) + np.minimum(h, ZERO),
    "numbers of arrays that the body makes": lambda a, h, x, c, i: (
        np.maximum(a, np.ones(3)[0]) + np.minimum(h, np.zeros(()))
    ),
    "integers of NumPy": lambda a, h, x, c, i: (
        np.maximum(a, np.int64(1)) + np.minimum(h, np.arange(3)[0]) + np.maximum(x, i + 0)
    ),
    "truth values of NumPy": lambda a, h, x, c, i: (
        np.maximum(a, np.True_)
        + np.minimum(h, np.bool_(False))
        + np.maximum(h, np.array(True))
        + np.where(np.True_, x, h)
    ),
    "numbers of few bits": lambda a, h, x, c, i: (
        np.clip(a, np.int8(-1), np.float16(1))
        + np.maximum(h, np.uint8(1))
        + np.minimum(x, np.longdouble(0)) * np.float32(0.1)
    ),
    "counts": lambda a, h, x, c, i: (
        np.maximum(a, np.sum(x > 0)) + np.minimum(h, (x > 0) * 1) + np.maximum(a, np.where(h > 0, 1, 0))
    ),
    "numbers": lambda a, h, x, c, i: np.clip(a, -1, 1) + np.maximum(h, np.float64(1)) + sb.hard_tanh(a + h),
}
ARRAYS: dict[str, Callable[..., Any]] = {
    "an array of numbers": lambda a, h, x, c, i: np.maximum(a, np.array([1.0, -1.0, 0.0])),
    "zeros": lambda a, h, x, c, i: np.minimum(np.maximum(a, np.zeros_like(h)), 0 * h + 1),
    "joined with numbers": lambda a, h, x, c, i: np.maximum(a, np.concatenate([h[:1], np.ones(2)])),
    "the greatest of a row": lambda a, h, x, c, i: x + h * np.max(np.stack([a, 0 * x, h]), axis=0),
}


def of_sizes(f: Callable[..., Any]) -> sb.Cell:
    """A cell of vectors of a named size whose step is a function of a = w x + h and h."""

    @sb.cell
    def sized(x: Input["n"], h: State["n"], w: Param["n"]):
        return f(w * x + h, h)

    return sized


SIZES: dict[str, Callable[..., Any]] = {
    "a named size": lambda a, h: np.maximum(a, h.shape[0] - 2) + np.minimum(h.size - 1, h),
    "computed of named sizes": lambda a, h: np.minimum(
        np.clip(a, -1.0 * h.shape[0], np.sqrt(h.size**2) - 1), h.shape[0] // 2
    ),
    "a named size and a value": lambda a, h: np.clip(a, 1 - h.shape[0], h) + np.maximum(a, np.maximum(h, h.shape[0])),
}
CASES = {f"{k}, vectors": of_vectors(f) for k, f in (BODIES | ARRAYS).items()}
CASES |= {f"{k}, numbers": of_numbers(f) for k, f in BODIES.items()}
CASES |= {k: of_sizes(f) for k, f in SIZES.items()}
CASES |= {"a whole constant, vectors": of_vectors(BODIES["a constant"], 1), "pid": pid}


@pytest.mark.thinned(4, 2)
@pytest.mark.parametrize("name", CASES)
def test_a_right_rule_at_a_tie_is_never_called_wrong(name: str) -> None:
    kernel = sb.compile(CASES[name])
    for seed in range(2):
        found = rounding_of(kernel, seed, steps=4, regimes=EXACT)
        assert not found.wrong and all(line.blocks for line in found.lines), str(found)
    assert any(not block.note for line in found.lines for block in line.blocks), UNDECIDED


def test_a_loss_shares_with_its_targets_and_constants() -> None:
    @sb.cell
    def plain(x: Input, h: State, w: Param):
        return w * x + h

    @sb.loss
    def hinge(h: State, y: Target, cap: Const = 2.0):
        return np.minimum(np.abs(np.maximum(h, y) - 1), cap) + np.maximum(1 - y * h, 0)

    for at in ("every", "last"):
        found = rounding_of(sb.compile(sb.model(plain, hinge, at=at)), 0, steps=4, regimes=EXACT)
        assert not found.wrong and all(line.blocks for line in found.lines), str(found)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a constant, vectors", "np.sign(s_b, ", "np.sign(s_b - 1e-12, "),
        ("numbers, vectors", "np.greater(", "np.greater_equal("),
        ("an index, numbers", "np.sign(da_h_dh_b, ", "np.sign(da_h_dh_b + 1e-12, "),
    ],
)
def test_another_rule_at_a_tie_is_caught(name: str, old: str, new: str) -> None:
    """The planted mistake: a slope of a kink that is right wherever no two values are equal."""
    kernel = sb.compile(CASES[name])
    assert old in kernel.source
    other = Kernel(kernel.target, kernel.program, kernel.source.replace(old, new))
    assert rounding_of(other, 0, steps=4, regimes=EXACT).wrong


def test_a_clip_at_constants_is_proved_over_the_field() -> None:
    """The planted mistake: a clip whose slope forgets one bound."""
    kernel = sb.compile(CASES["a constant, vectors"])
    first = "np.sign(s_b, out=s_b)"
    assert first in kernel.source
    other = Kernel(kernel.target, kernel.program, kernel.source.replace(first, "np.copyto(s_b, 1.0)"))

    def line(of: Kernel) -> Line:
        subject, settings = next(iter(subjects_of(of)))
        return line_of(subject, settings[1], Cases(0, NOTHING))

    assert line(kernel).blocks and not line(kernel).note
    assert line(other).wrong


@pytest.mark.parametrize("name", ["truth values of NumPy", "numbers of few bits"])
@pytest.mark.thinned(2)
def test_bounds_that_are_scalars_of_numpy_are_proved_over_the_field(name: str) -> None:
    """An integer of eight bits has no room for an element, and 0.1 of float32 is no tenth, by which a module may divide."""
    body = BODIES[name]
    kernel = sb.compile(of_vectors(lambda a, h, x, c, i: body(a, h, x / np.float32(0.3), c, i) - np.uint8(3) * h))
    (subject, settings) = next(iter(subjects_of(kernel)))
    found = line_of(subject, settings[1], Cases(0, NOTHING))
    assert found.blocks and not found.note and not found.wrong, str(found)


def test_a_page_shares_where_its_bounds_are_constants() -> None:
    text = sb.derive(CASES["a number and a constant, vectors"]).text()
    assert "[limit > a_t]_½" in text and "[a_t > -1]" in text and "[a_t > -1]_½" not in text
