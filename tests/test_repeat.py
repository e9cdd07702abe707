"""Loops inside a step: one body, repeated a fixed number of times."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State


@sb.cell
def rounds(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], many: Const = 3):
    return sb.repeat(lambda z: np.tanh(U @ z + W @ x), h, many)


@sb.cell
def pair(x: Input["n"], u: State["n"], v: State["n"], w: Param["n"], U: Param["n n"], dt: Const = 0.1):
    def step(z, k):
        u, v = z
        v = v + dt * (np.tanh(U @ u + x) - w * u - 0.1 * k * v)
        return u + dt * v, v

    return sb.repeat(step, (u, v), 3)


@sb.cell
def grown(x: Input["n"], h: State["n"], U: Param["n n"], w: Param["4 n"]):
    return h + sb.repeat(lambda z, k: np.sin(U @ (z + h) + w[k]) + x, 0.0, 4)


@sb.cell
def nested(x: Input["n"], h: State["n"], U: Param["n n"]):
    return sb.repeat(lambda z: sb.repeat(lambda y, k: np.tanh(U @ y + k * z + x), z, 2) * 0.5, h, 2)


SIZES = {"m": 2, "n": 3}
CELLS = {"rounds": rounds, "pair": pair, "grown": grown, "nested": nested}


def test_plain_arrays_go_through_the_rounds():
    z = sb.repeat(lambda z, k: 2 * z + k, np.ones(2), 3)
    assert np.array_equal(z, [12.0, 12.0])  # 2, 5, 12
    assert np.array_equal(sb.repeat(np.tanh, np.zeros(2), 5), np.zeros(2))
    assert sb.repeat(lambda z: z + 1, 7, 0) == 7


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_the_same_as_with_a_loop_of_python(name):
    """The user's function on arrays runs the loop; the module must give its values and, by complex step, its gradients."""
    cell = CELLS[name]
    report = sb.verify(cell)
    assert report.passed, str(report)


def _refused(body, times=2, start=None):
    @sb.cell
    def wrong(x: Input["n"], h: State["n"], U: Param["n n"]):
        return sb.repeat(lambda z: body(z, x, U), h if start is None else start, times)

    with pytest.raises(sb.SymbpttError) as error:
        sb.derive(wrong)
    text = str(error.value)
    assert "test_repeat.py" in text
    return text


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        (lambda z, x, U: z[:1], {}, "keeps its shape"),
        (lambda z, x, U: (z, z), {}, "a tuple for one value"),
        (lambda z, x, U: None, {}, "returns None"),
        (lambda z, x, U: z > 0, {}, "truth values"),
        (lambda z, x, U: z, {"times": -1}, "0 or more"),
        (lambda z, x, U: z, {"times": 2.5}, "must be an integer"),
        (lambda z, x, U: z, {"times": True}, "must be an integer"),
    ],
)
def test_a_body_that_is_none_is_refused(body, options, words):
    assert words in _refused(body, **options)
