"""Parts of named sizes, n // 2 and h[::2]: exact where the sizes are divisible, refused in words where they are not."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.ir.shape import divisors, named_size, rounded_quotient, sign_of, size_text
from symbptt.ir.sizes import Axis, solved
from tests.kernels import kernel_of

N, K = named_size("n"), named_size("k")


def parts(h: Any, heads: Any = 2) -> dict[str, Any]:
    """Parts of a vector of n entries in the spellings of cells; n is divisible by 6."""
    n = h.shape[0]
    assert n % 2 == 0
    first, second = np.split(h, 2)
    return {
        "halves": np.concatenate([-h[n // 2 :], h[: n // 2]]),
        "even": h[::2] * h[1::2],
        "from_two": np.concatenate([h[2::2], h[:2:2]]),
        "down": h[::-2] + h[n - 1 :: -2],
        "split": np.concatenate([second, first]),
        "rows": h.reshape(n // 2, 2)[:, ::-1].reshape(n),
        "columns": h.reshape(2, -1).sum(0),
        "by_head": h.reshape(heads, n // heads).sum(axis=0),
        "interleaved": np.stack([h[1::2], h[::2]], axis=-1).reshape(-1),
        "thirds": h[::3] + h[1::3] - h[n // 3 : 2 * n // 3],
        "rounded": h[: (n + 1) // 2] * np.arange(n // 2) + np.zeros(n // 2),
        "mean": h[: n // 2] / (n // 2),
        "rolled": np.roll(h, 7) + np.roll(h, -5),
        "half_round": np.roll(h, n // 2),
    }


@sb.cell
def split(x: Input["m"], h: State["n"], W: Param["n m"], heads: Const = 2):
    return {"h": np.tanh(W @ x + np.concatenate([-h[1::2], h[::2]])), **parts(h, heads)}


@pytest.mark.parametrize("n", [6, 12, 18])
def test_parts_are_those_of_numpy(n: int) -> None:
    h = np.random.default_rng(n).standard_normal((1, n))
    run = kernel_of(split).forward(split.init({"n": n, "m": 2}), {"x": np.ones((1, 1, 2))}, {"h": h})
    for name, value in parts(h[0]).items():
        np.testing.assert_allclose(run.outputs[name][0, 0], value, rtol=1e-14, err_msg=name)


@pytest.mark.parametrize("n", [3, 4])
def test_sizes_that_are_not_divisible_are_refused_with_the_line(n: int, tmp_path: Path) -> None:
    words = r"n divisible by [23] is expected, got n = \d(.|\n)*test_parts_of_sizes.py:\d+(.|\n)*multiples of a smaller size"
    with pytest.raises(sb.ArgumentError, match=words):
        split.init({"n": n, "m": 2})
    with pytest.raises(sb.ArgumentError, match=words):
        kernel_of(split).forward({"W": np.ones((n, 2))}, {"x": np.ones((1, 1, 2))})
    with pytest.raises(sb.ArgumentError, match=words):
        sb.verify(split, params={"W": np.ones((n, 2))})


@sb.cell
def rotated(x: Input["m"], h: State["n"], W: Param["n m"], angle: Param["n//2"]):
    a, b = h[::2], h[1::2]
    turned = np.stack([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], -1)
    return np.tanh(W @ x + turned.reshape(-1))


def test_a_cell_of_pairs_is_proved_and_its_module_checks_itself(tmp_path: Path) -> None:
    report = sb.verify(rotated)
    assert report.passed, str(report)
    sb.compile(rotated).save(tmp_path / "rotated.py")
    done = subprocess.run([sys.executable, tmp_path / "rotated.py", "--selfcheck"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pages_write_halves_and_say_what_sizes_must_be() -> None:
    text = sb.derive(rotated).text()
    assert "Sizes: mod(n, 2) = 0" in text and "angle (n/2)" in text
    assert "n//2" not in text and "n/2" in sb.derive(rotated).latex()


def test_c_source_divides_sizes_behind_all_factors() -> None:
    text = sb.c_source(rotated).source
    assert "n/2" in text and "n//2" not in text and "fmod(n, 2) == 0" in text


@pytest.mark.parametrize(("value", "by", "wanted"), [
    (7, 2, 3), (-7, 2, -4), (N, 2, N / 2), (2 * N, 2, N), (2 * N - 1, 2, N - 1), (N + 1, 2, N / 2), (N - 1, 2, N / 2 - 1),
    (N * K, 4, N * K / 4), (N / 2, 2, N / 4),
])  # fmt: skip
def test_quotients_are_rounded_down_where_the_rest_is_divisible(value: Any, by: int, wanted: Any) -> None:
    assert rounded_quotient(value, by) == wanted


def test_parts_say_what_must_be_divisible_and_are_at_least_one() -> None:
    assert (
        divisors(N / 2 + K - 1) == ((N, 2),) and divisors(N / 2 + K / 3) == ((3 * N + 2 * K, 6),) and divisors(N) == ()
    )
    assert sign_of(N / 2 - 1) == 1 and sign_of(N / 2 - 2) is None and sign_of(1 - N / 2) is None
    assert size_text(N * K / 2 - 1) == "k*n//2-1"


@pytest.mark.parametrize(("axes", "wanted"), [
    ({"a*d": 6, "2*a+4*a*d": 28}, {"a": 2, "d": 3}),
    ({"a*d": 6, "a*d+a": 8, "d+e": 4}, {"a": 2, "d": 3, "e": 1}),
    ({"n//2": 3}, {"n": 6}),
    ({"n//2+m": 5, "m": 2}, {"n": 6, "m": 2}),
    ({"n//2+m": 5, "n-m": 4}, {"n": 6, "m": 2}),
    ({"a*b": 6, "a*b+c": 8}, {"c": 2}),
    ({"a*d": 6, "2*a+4*a*d": 27}, {}),
])  # fmt: skip
def test_sizes_follow_from_products_and_parts(axes: dict[str, int], wanted: dict[str, int]) -> None:
    from symbptt.language.roles import parse_dims

    assert solved([Axis(text, 0, parse_dims(text)[0], length) for text, length in axes.items()]) == wanted


def test_a_module_reads_sizes_from_products_and_halves() -> None:
    @sb.cell
    def products(x: Input["a*d"], h: State["n//2"], V: Param["2*a+4*a*d"], W: Param["n//2 a*d"]):
        return np.tanh(W @ x + h) * np.sum(V)

    run = sb.compile(products).forward({"V": np.ones(28), "W": np.ones((3, 6))}, {"x": np.ones((1, 1, 6))})
    assert run.states["h"].shape == (1, 1, 3)
    with pytest.raises(sb.ArgumentError):
        sb.compile(products).forward({"V": np.ones(27), "W": np.ones((3, 6))}, {"x": np.ones((1, 1, 6))})


@pytest.mark.parametrize("dims", ["n//0", "n//m", "n//", "n/2"])
def test_a_part_by_what_is_no_integer_is_refused(dims: str) -> None:
    with pytest.raises(sb.CellError, match="dimension"):

        @sb.cell
        def bad(h: State[dims]):
            return h


def test_the_divisor_is_seen_where_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    import symbptt.ir.needs as needs

    assert rotated.needs and sp.sympify(rotated.needs[0].spare) == N
    monkeypatch.setattr(needs, "divisors", lambda value: ())
    assert not sb.Cell(rotated.function).needs
