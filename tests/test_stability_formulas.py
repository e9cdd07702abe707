"""How bounds are written: numbers and sizes once and in front, and brackets around what is no product."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.stability.proofs import formulas
from symbptt.zoo import CELLS


@sb.cell
def mixed(x: Input["n"], h: State["n"], K: Param["n n"], dt: Const = 0.1):
    return sb.softmax(K @ h) / 10 + (1 - dt) * h + dt * sb.sigmoid(h)


@sb.cell
def summed(x: Input["n"], h: State["n"], U: Param["n n"]):
    return np.tanh(np.mean(U @ h) + x)


@sb.cell
def parted(x: Input["4*n"], h: State["n"], U: Param["4*n n"]):
    return np.tanh(np.sum(U @ h + x)) * np.ones_like(h)


@sb.cell
def scaled(x: Input["n"], h: State["n"], U: Param["n n"], beta: Const = 0.3):
    a = np.tanh(U @ h)
    return (a + 2 * a) / (1 - beta) + sb.sigmoid(3 * (a / beta)) + x


@sb.cell
def twice(x: Input["n"], h: State["n"], U: Param["n n"]):
    u = sb.sigmoid(U @ h)
    v = sb.sigmoid(2 * (U @ h))
    return np.tanh(u + x) + np.tanh(v - x) + sb.sigmoid(4 * (U @ h))


@sb.cell
def doubled(x: Input["n"], h: State["n"], U: Param["n n"]):
    return sb.sigmoid(U @ h + x) * sb.sigmoid(U @ np.tanh(h) - x)


CASES = [
    doubled,
    mixed,
    summed,
    parted,
    scaled,
    twice,
    *(CELLS[name] for name in ("gru", "lstm", "lru", "gru_layer_norm", "mlstm")),
]


def lines(cell: sb.Cell, norm: str) -> list[str]:
    text = sb.vanishing_condition(cell, norm=norm).text()
    return [
        line.strip() for line in text.partition("\nwith\n")[2].partition("Sufficient")[0].splitlines() if " = " in line
    ]


def is_well_written(line: str) -> bool:
    number = r"(?:\(\d+/\d+\)|[¼½¾]|(?<![\w.^])\d+(?:\.\d+)?)"
    twice_a_number = re.search(rf"{number} {number}(?![\w.])", line)
    twice_a_size = re.search(r"(√\S+) \1(?!\S)|√\w+\*", line)
    return not twice_a_number and not twice_a_size


@pytest.mark.parametrize("norm", ["2", "max"])
@pytest.mark.parametrize("cell", CASES, ids=lambda cell: cell.name)
@pytest.mark.thinned(11, 3)
def test_numbers_and_sizes_stand_once(cell: sb.Cell, norm: str) -> None:
    assert all(is_well_written(line) for line in lines(cell, norm)), lines(cell, norm)


def test_products_are_as_by_hand() -> None:
    assert lines(mixed, "2")[0].startswith("η = ") and "(1/20) σ_max(K)" in lines(mixed, "2")[0]
    assert "√n √n" not in lines(summed, "2")[0]


@pytest.mark.parametrize("cell", [mixed, summed, scaled, twice, doubled], ids=lambda cell: cell.name)
def test_written_bound_has_the_value_of_the_bound(cell: sb.Cell) -> None:
    """The formula, read as SymPy reads it with σ_max and sizes put in, is the rate."""
    p = cell.init({"n": 3}, seed=0)
    (line,) = lines(cell, "2")
    norms = {name: float(np.linalg.norm(v, 2)) for name, v in p.items() if np.ndim(v) == 2}
    body = line.removeprefix("η = ")
    for name, value in norms.items():
        body = body.replace(f"σ_max({name})", f"({value!r})")
    for sign, value in {"¼": "(1/4)", "½": "(1/2)", "¾": "(3/4)", "√n": "sqrt(3)", "²": "**2"}.items():
        body = body.replace(sign, value)
    constants: dict[str, Any] = {"dt": 0.1, "Δt": 0.1, "beta": 0.3, "β": 0.3, "n": 3}
    body = re.sub(r"\|([^|]*)\|", r"Abs(\1)", re.sub(r"(?:max|sup) ", "", body))
    body = re.sub(r"(?<=[\w)]) (?=[\w(])", "*", body)
    value = float(sp.sympify(body, locals={k: sp.Float(v) for k, v in constants.items()}))
    assert value == pytest.approx(sb.vanishing_condition(cell, norm="2").rate(p), rel=1e-5)


def test_planted_numbers_side_by_side_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(f: Any, of: Any, n: int) -> str:
        return "" if n == 1 else f"{n} {formulas._product(f, of)}"

    monkeypatch.setattr(formulas, "_times", apart)
    with pytest.raises(AssertionError):
        for cell in CASES:
            test_numbers_and_sizes_stand_once(cell, "2")


@sb.cell
def euler(
    x: Input["n"], h: State["n"], tau: State["n"], W: Param["n n"], beta: Param["n"], β: Param["n"], dt: Const = 0.1
):
    """A step of Δt, and a Greek letter beside its name."""
    return h + dt * (beta * tau - h), tau + dt * (np.tanh(W @ h + x) - β * tau)


def test_theorems_and_reports_write_names_as_equations_do() -> None:
    equations = sb.derive(euler)
    x = {"x": np.random.default_rng(0).standard_normal((20, 2, 3))}
    pages = [sb.vanishing_condition(euler, norm=norm).text() for norm in ("2", "max")]
    pages.append(sb.analyze(euler, euler.init({"n": 3}, seed=0), x).text())
    assert "Δt" in equations.text() and all("Δt" in page and not re.search(r"\bdt\b", page) for page in pages)
    shown = {name: equations.names.text[name] for name in ("beta", "β")}
    assert shown["beta"] != shown["β"] and all(f"max |{shown['beta']}|" in page for page in pages[:2])


def _leapfrog(q: State["n"], p: State["n"], dt: Const = 0.1):
    half = p - 0.5 * dt * np.sin(q)
    q_new = q + dt * half
    return q_new, half - 0.5 * dt * np.sin(q_new)


def _rotor(u: State, v: State, mu: Param):
    return u + mu * np.sin(v) * np.cos(u), v + mu * np.sin(u)


def _two_waves(x: Input["n"], h: State["n"], U: Param["n n"]):
    z = sb.sigmoid(x)
    return z * np.sin(h) + (1 - z) * 0.5 * np.sin(2 * h) + z * np.tanh(U @ h)


def _logistic_gate(x: Input["n"], h: State["n"], k: Param, U: Param["n n"]):
    g = sb.sigmoid(x)
    return g * h * (1 - k * h) + (1 - g) * k * np.tanh(U @ h)


def _open(line: str) -> str:
    """A line of a bound without what its suprema bind: `sup |…|`, `sup ‖…‖`, and what has a range of its own."""
    ranges = line.partition(" : ")[2]
    for name in ranges.rstrip(" }").split(", "):
        value = name.removeprefix("any ").split(" ≤ ")
        line = line.replace(value[1] if len(value) == 3 else value[0], "")
    while (start := max(line.rfind("sup |"), line.rfind("sup ‖"))) >= 0:
        line = line[:start] + line[line.index(line[start + 4], start + 5) + 1 :]
    return re.sub(r"sup \w+(_t|_\{t-1\})", "", line)


@pytest.mark.parametrize("body", [_leapfrog, _rotor, _two_waves, _logistic_gate], ids=lambda body: body.__name__)
@pytest.mark.parametrize("norm", ["max", "2"])
@pytest.mark.thinned(3)
def test_a_bound_reads_no_value_of_a_step_but_under_a_supremum(body: Any, norm: str) -> None:
    text = sb.vanishing_condition(sb.cell(body), norm=norm).text()
    rates = text.split("\nwith\n")[1].split("\n")
    for line in (line for line in rates if line.startswith("    ")):
        assert "_t" not in _open(line) and "_{t-1}" not in _open(line), line


def test_a_bound_over_values_that_share_a_step_is_its_largest() -> None:
    # 1 − ½ Δt² cos q and −½ Δt (cos q + cos q' − ½ Δt² cos q cos q'), at the cosines that make them largest.
    theorem = sb.vanishing_condition(sb.cell(_leapfrog), norm="max")
    assert "η_q = 1.005 + Δt" in theorem.text()
    assert theorem.rate({}) == pytest.approx(max(1.005 + 0.1, 1.005 + 0.05 * 2.005), rel=1e-12)


@pytest.mark.long
def test_a_bound_defines_the_parts_that_the_cell_does_not_name() -> None:
    def runge_kutta(x: Input, u: State, v: State, mu: Param, dt: Const = 0.05):
        def force(u, v):
            return v, mu * (1 - u * u) * v - u + x

        a = force(u, v)
        b = force(u + dt / 2 * a[0], v + dt / 2 * a[1])
        c = force(u + dt / 2 * b[0], v + dt / 2 * b[1])
        d = force(u + dt * c[0], v + dt * c[1])
        return tuple(s + dt / 6 * (a[i] + 2 * b[i] + 2 * c[i] + d[i]) for i, s in enumerate((u, v)))

    lines = sb.vanishing_condition(sb.cell(runge_kutta)).text().split("\n")
    words = {word.strip("()|.") for line in lines for word in line.split()}
    defined = {line.split(" = ")[0].strip() for line in lines if " = " in line}
    parts = {word for word in words if word.startswith("z_{")}
    assert parts
    assert parts <= defined
