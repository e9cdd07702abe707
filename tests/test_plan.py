"""The plan of a kernel: its table against what a run really calls, counted by arrays that tell of it."""

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.codegen.plan.rates import RATES
from symbptt.codegen.plan.tables import formula, number
from symbptt.codegen.plan.work import B, T, Work, value_of
from symbptt.commands.main import run
from symbptt.ir.shape import named_size, names_in
from tests import brute, counted, oracle, unseen
from tests.cells import vanilla
from tests.kernels import kernel_of, saturating
from tests.test_memory import least_of
from tests.test_truncation import MODELS, SIZES

CELLS = zoo.CELLS | unseen.CELLS
SOME = ("rnn", "lstm", "delta_rule", "min_gru", "scrn", "relational_memory", "embedding_cell", "kalman_cell")
EVERY = [name if name in SOME else pytest.param(name, marks=pytest.mark.long) for name in CELLS]
FUNCTIONS = {"exp", "expm1", "tanh", "sin", "cos", "log", "log1p", "logaddexp", "power", "arctan"}


def sizes_of(target: Any) -> dict[str, int]:
    """Sizes that differ, so that no axis is taken for another; those of unseen cells are given."""
    names = sorted({name for a in target.arguments for name in names_in((*a.shape, *([a.limit] if a.limit else ())))})
    return {
        name: unseen.SIZES.get(name, i + 3) if target in unseen.CELLS.values() else i + 3
        for i, name in enumerate(names)
    }


def counts_of(kernel: sb.Kernel, steps: int, batch: int, sizes: dict[str, int], scale: float = 0.3) -> counted.Counts:
    """What `forward` and `backward` of a cell call, where no function counts as saturated."""
    groups = oracle.draw(kernel.cell, steps, batch, sizes, scale=scale)
    names = counted.module(saturating(kernel, "-1.0").source)

    def run() -> None:
        found = names["forward"](*groups, steps=steps)
        names["backward"](found, {k: np.ones_like(v) for k, v in {**found.states, **found.outputs}.items()})

    return counted.counted(run)


def counts_of_training(kernel: sb.Kernel, data: brute.Data) -> counted.Counts:
    """What `value_and_grad` of a model calls, at parameters at which no function saturates."""
    args = ({k: 0.4 * v for k, v in data.params.items()}, data.inputs, data.targets, data.state)
    return counted.counted(lambda: counted.module(kernel.source)["value_and_grad"](*args, steps=data.steps))


def totals(counts: counted.Counts) -> dict[Any, tuple[int, int]]:
    """Calls and operations of whole sweeps."""
    found: dict[Any, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (sweep, _, name), (calls, operations) in counts.items():
        key = sweep, name in counted.PRODUCTS
        found[key] = found[key][0] + calls, found[key][1] + operations
    return {key: (calls, int(operations)) for key, (calls, operations) in found.items()}


def totals_of(works: tuple[Work, ...], window: bool = False) -> dict[Any, tuple[int, int]]:
    """The same of a table; with a window recursion and gradients are of one function."""
    found: dict[Any, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for work in works:
        key = "pull" if window and work.sweep in ("recursion", "backward") else work.sweep, work.is_product
        found[key] = found[key][0] + int(work.calls), found[key][1] + int(work.operations)
    return {key: value for key, value in found.items() if value[0]}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("steps", "batch"), [(7, 3), (2, 1), (1, 2), (0, 2)])
@pytest.mark.thinned(3, 37)
def test_calls_and_operations_are_those_of_a_run(name: str, steps: int, batch: int) -> None:
    kernel, sizes = kernel_of(CELLS[name]), sizes_of(CELLS[name])
    ran = counts_of(kernel, steps, batch, sizes)
    needed = {k: v for k, v in sizes.items() if k in kernel.plan.written.names}
    assert totals_of(kernel.plan.work_of(steps, batch, **needed)) == totals(ran)


@pytest.mark.parametrize("name", ["lstm", "wkv"])
@pytest.mark.thinned(2)
def test_steps_that_fill_many_blocks_are_counted(name: str) -> None:
    sizes = dict.fromkeys(sizes_of(CELLS[name]), 40) if name == "lstm" else sizes_of(CELLS[name])
    kernel = kernel_of(CELLS[name])
    planned = totals_of(kernel.plan.work_of(150, 30, **sizes))
    assert planned == totals(counts_of(kernel, 150, 30, sizes, scale=0.1))


@sb.cell
def errors(x: Input["n"], h: State["n"], w: Param["n"], v: Param["n"]):
    """The error function, which is many calls, in the loop, of a parameter, and of all steps."""
    h = sb.erf(w * h + x) + sb.erf(v)
    return {"h": h, "y": sb.erf(h)}


def test_the_error_function_is_as_many_calls_as_it_is() -> None:
    kernel, sizes = kernel_of(errors), {"n": 3}
    assert totals_of(kernel.plan.work_of(5, 2, **sizes)) == totals(counts_of(kernel, 5, 2, sizes))


def test_planted_call_is_seen() -> None:
    """The planted mistake: a module that calls a function once more in its loop than the one that is planned."""
    kernel = kernel_of(zoo.lstm)
    line = next(line for line in kernel.source.splitlines() if line.lstrip().startswith("np.tanh(c_t, out="))
    wrong = sb.Kernel(zoo.lstm, kernel.program, kernel.source.replace(line, f"{line}\n{line}"))
    ran = totals(counts_of(wrong, 5, 2, {"m": 3, "n": 4}))
    planned = totals_of(kernel.plan.work_of(5, 2, m=3, n=4))
    assert ran["forward", False] == (planned["forward", False][0] + 5, planned["forward", False][1] + 5 * 2 * 4)


PLANTED: dict[str, Any] = {
    "a map is no call": ("_Walk.map", lambda self, s: []),
    "a product has as many operations as elements": ("_product", lambda s: ("matmul", 1)),
    "nothing is stacked": ("_stacked", lambda parts, is_copied: []),
}


@pytest.mark.parametrize("mistake", PLANTED)
@pytest.mark.thinned(2)
def test_planted_mistake_in_the_walk_is_seen(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, wrong = PLANTED[mistake]
    monkeypatch.setattr(f"symbptt.codegen.plan.calls.{name}", wrong)
    kernel, sizes = sb.compile(zoo.lstm), {"m": 3, "n": 4}
    assert totals_of(kernel.plan.work_of(5, 2, **sizes)) != totals(counts_of(kernel, 5, 2, sizes))


# Memory and truncation.


@pytest.mark.parametrize("steps", [0, 1, 2, 13])
@pytest.mark.parametrize("memory", ["sqrt", "least"])
@pytest.mark.thinned(7)
def test_pieces_that_run_again_are_counted(memory: Any, steps: int) -> None:
    sizes = {"m": 2, "n": 3}
    kernel = kernel_of(zoo.gru, memory=least_of(zoo.gru, steps, 2, **sizes) if memory == "least" else memory)
    ran = totals(counts_of(kernel, steps, 2, sizes))
    assert totals_of(kernel.plan.work_of(steps, 2, **sizes)) == ran
    again = sum(calls for (sweep, product), (calls, _) in ran.items() if sweep == "forward" and product)
    plain = totals_of(kernel_of(zoo.gru).plan.work_of(steps, 2, **sizes))
    assert steps < 2 or again > plain["forward", True][0]


@pytest.mark.parametrize("truncation", [sb.Window(1), sb.Window(4), sb.Chunked(3, 5), sb.Chunked(5, 2)], ids=repr)
@pytest.mark.parametrize("steps", [0, 1, 13])
@pytest.mark.thinned(7, 5)
def test_truncated_sweeps_are_counted(truncation: Any, steps: int) -> None:
    kernel, sizes = kernel_of(zoo.gru, truncation=truncation), {"m": 2, "n": 3}
    planned = totals_of(kernel.plan.work_of(steps, 2, **sizes), isinstance(truncation, sb.Window))
    assert planned == totals(counts_of(kernel, steps, 2, sizes))


@pytest.mark.parametrize("kinds", [
    {}, {"memory": "sqrt"}, {"memory": 40_000}, {"clip_adjoint": 0.5}, {"truncation": sb.Window(3)},
    {"truncation": sb.Chunked(4, 6)},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(17, 5)
def test_training_is_counted(at: str, kinds: dict[str, Any]) -> None:
    model = MODELS["reads_all", at]
    kernel = kernel_of(model, **kinds)
    for steps, batch in ((11, 2), (1, 1)):
        data = brute.data_of(model, steps, batch, SIZES)
        known = {k: v for k, v in SIZES.items() if k in kernel.plan.written.names}
        planned = totals_of(kernel.plan.work_of(steps, batch, **known), isinstance(kernel.truncation, sb.Window))
        assert planned == totals(counts_of_training(kernel, data))


# Time.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["lstm", "min_gru"])
def test_shares_are_those_of_counted_operations(name: str, dtype: Any) -> None:
    """The shares that the table shows, from the calls of a run and the rates alone."""
    kernel, rates, sizes = kernel_of(CELLS[name]), RATES[np.dtype(dtype)], {"m": 5, "n": 16}
    times: Counter[str] = Counter()
    for (sweep, _, function), (calls, operations) in counts_of(kernel, 30, 4, sizes).items():
        each = rates.product if function in counted.PRODUCTS else rates.element
        times[sweep] += calls * rates.call + operations * (rates.function if function in FUNCTIONS else each)
    shown: Counter[str] = Counter()
    sweep = ""
    for line in kernel.plan.table(30, 4, dtype=dtype, **sizes).splitlines():
        sweep = line.strip() if line.strip() in times else sweep
        share = re.search(r" (\d+) %$", line)
        shown[sweep] += int(share[1]) if share else 0
    assert sum(shown.values()) == pytest.approx(100, abs=len(kernel.plan.work) / 2)
    for sweep, time in times.items():
        assert shown[sweep] == pytest.approx(100 * time / sum(times.values()), abs=len(kernel.plan.work) / 2)


# Before planning.


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "cornn", "hopfield", "scrn", "gru_d"])
@pytest.mark.thinned(3)
def test_products_before_planning_are_those_of_the_user_s_function(name: str) -> None:
    """A forward step of the function itself, and two products back for each that has two varying or trained factors."""
    cell, sizes = CELLS[name], sizes_of(CELLS[name])
    params, inputs, state = oracle.draw(cell, 1, 1, sizes)
    values = params | {k: v[0, 0] for k, v in inputs.items()} | {k: v[0] for k, v in state.items()}
    source = "def _forward():\n    return one_step()\n"
    names: dict[str, Any] = {
        "one_step": lambda: oracle.one_step(cell, {k: counted.telling(v) for k, v in values.items()})
    }
    exec(compile(source, counted.FILE, "exec"), names)
    products = sum(
        calls
        for (_, _, function), (calls, _) in counted.counted(names["_forward"]).items()
        if function in counted.PRODUCTS
    )
    a_step, in_all = kernel_of(cell).plan.before(100)["products"]
    assert in_all == 100 * a_step and products * 2 <= a_step <= products * 3


# What a user sees.


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.thinned(1, 11)
def test_table_fits_a_terminal_and_speaks_in_equations(name: str) -> None:
    plan = kernel_of(CELLS[name]).plan
    text = str(plan)
    assert max(map(len, text.splitlines())) < 100
    for work in plan.work:
        assert "np." not in work.what and "@" not in work.what and bool(work.what) is work.is_product
    used = {s.name for work in plan.work for s in sp.sympify(work.operations).free_symbols}
    assert used <= {"T", "B", "K", "K'", *plan.written.names}


def test_products_of_an_lstm_are_told_as_its_equations_are() -> None:
    plan = kernel_of(zoo.lstm).plan
    products = {(w.sweep, w.what): w.where for w in plan.work if w.is_product}
    in_loop = [("forward", "[Ui; Uf; Uo; Ug] h_{t-1}")]
    in_loop += [("backward", "Uiᵀ da_{i,t} + Ufᵀ da_{f,t} + Ugᵀ da_{g,t} + Uoᵀ da_{o,t}")]
    outside = [
        ("forward", "[Wi; Wf; Wo; Wg] x_t"),
        ("backward", "Σ_t [da_{o,t}; da_{g,t}; da_{f,t}; da_{i,t}] h_{t-1}ᵀ"),
        ("backward", "Σ_t [da_{o,t}; da_{g,t}; da_{f,t}; da_{i,t}] x_tᵀ"),
        ("backward", "Wiᵀ da_{i,t} + Wfᵀ da_{f,t} + Wgᵀ da_{g,t} + Woᵀ da_{o,t}"),
    ]
    assert products.keys() == {*in_loop, *outside}
    assert {key for key, where in products.items() if where == "each step"} == set(in_loop)
    m, n = map(named_size, "mn")
    assert sp.expand(sum(w.operations for w in plan.work if w.is_product) - T * B * 12 * (m * n + n**2)) == 0
    assert plan.before()["products"] == (24, 24 * T)
    assert re.search(r"before planning +24 +24 T ", str(plan)) and re.search(r"after +2 +2 T \+ ", str(plan))


@pytest.mark.parametrize("kinds", [
    {}, {"memory": "sqrt"}, {"memory": 10**6}, {"truncation": sb.Window(7)}, {"truncation": sb.Chunked(7, 9)},
], ids=str)  # fmt: skip
@pytest.mark.thinned(5)
def test_every_kernel_has_both_tables(kinds: dict[str, Any]) -> None:
    plan = kernel_of(zoo.lstm, **kinds).plan
    text, numbers = str(plan), plan.table(20, 2, m=3, n=4, dtype=np.float32)
    assert max(map(len, [*text.splitlines(), *numbers.splitlines()])) < 100
    assert "Plan of lstm: T = 20, B = 2, m = 3, n = 4, float32" in numbers
    assert f"{plan.bytes(20, 2, dtype=np.float32, n=4, m=3):,} bytes" in numbers
    assert str(plan) == text, "the same again"


def test_readme_shows_the_plan_of_its_cell() -> None:
    head = str(kernel_of(vanilla).plan).partition("\n\n  calls")[0]
    assert head in (Path(__file__).parent.parent / "README.md").read_text("utf-8"), head


def test_command_prints_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "gru"]) == 0 and capsys.readouterr().out == f"{kernel_of(zoo.gru).plan}\n"
    assert run(["plan", "gru", "--sizes", "20,2,m=3,n=4; 5,1,8", "--memory", "sqrt", "--float64"]) == 0
    plan = kernel_of(zoo.gru, memory="sqrt").plan
    wanted = [plan.table(20, 2, m=3, n=4), plan.table(5, 1, m=8, n=8)]
    assert capsys.readouterr().out == "\n\n".join(wanted) + "\n"
    for wrong in (
        ["--sizes", "20,2,m=3"],
        ["--sizes", "20"],
        ["--memory", "half"],
        ["--memory", "3", "--sizes", "9,9,9"],
    ):
        assert run(["plan", "gru", *wrong]) == 2 and capsys.readouterr().err.startswith("error: ")


def test_command_takes_the_sizes_of_a_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
import symbptt as sb
from symbptt import Param, State, Target, zoo

@sb.loss
def error(h: State["n"], y: Target["k"], V: Param["k n"]):
    return sb.sum((V @ h - y) ** 2)

model = sb.model(zoo.rnn, error)
"""
    (tmp_path / "cells.py").write_text(text, "utf-8")
    assert run(["plan", f"{tmp_path}/cells.py:model", "--sizes", "9,2,m=3,n=4,k=5"]) == 0
    assert re.search(r"V h_t +1 +360 ", capsys.readouterr().out)


def test_what_lacks_or_is_no_number_is_told() -> None:
    plan = kernel_of(zoo.gru).plan
    with pytest.raises(sb.ArgumentError, match="size m"):
        plan.table(100, 8, n=3)
    with pytest.raises(sb.ArgumentError, match="T"):
        plan.table(-1, 8, m=2, n=3)
    with pytest.raises(sb.ArgumentError, match="float"):
        plan.table(1, 8, m=2, n=3, dtype=np.int64)
    with pytest.raises(sb.ArgumentError, match="at the least"):
        kernel_of(zoo.gru, memory=10).plan.table(100, 8, m=2, n=3)


def test_sizes_that_are_called_as_letters_of_the_plan_keep_their_own() -> None:
    @sb.cell
    def letters(x: Input["B"], h: State["K"], W: Param["K B"], U: Param["K K"]):
        return np.tanh(W @ x + U @ h)

    plan = sb.compile(letters).plan
    hidden, inputs = named_size("K"), named_size("B")
    count = sum(w.operations for w in plan.work if w.is_product)
    assert sp.expand(count - 3 * T * B * (hidden * inputs + hidden**2)) == 0 and "Plan of letters" in str(plan)


def test_formulas_read_as_products_of_sizes() -> None:
    m, n = map(named_size, "mn")
    assert formula(4 * T * B * n * m) == "4 T B m n" and formula(T * B * n**2) == "T B n²"
    assert formula(T * B * (n**2 + 4 * m * n)) == "T B (4 m n + n²)" and formula(2 * T + 3) == "2 T + 3"
    blocks = sp.ceiling(T / named_size("K"))
    assert formula(3 * T * B * n + blocks * (m * n + n**2 + n) + 2 * blocks + 1) == (
        "3 T B n + ⌈T/K⌉ (m n + n² + n + 2) + 1"
    )
    assert [number(x) for x in (0, 9999, 10_000, 999_999, 123_456_789, 5e13)] == [
        "0", "9999", "10.0 k", "1.00 M", "123 M", "50.0 T",
    ]  # fmt: skip


def test_fractions_of_sizes_are_exact() -> None:
    """The floor of a rounded quotient could be another number."""
    n = named_size("n")
    assert value_of(sp.floor((n**2 + n) / (n + 1)), {n: 3 * 10**17}) == 3 * 10**17
    assert value_of(sp.ceiling(T / n), {T: 10**18 + 1, n: 10**9}) == 10**9 + 1


@sb.cell
def handed_on(x: Input["n"], a: State["n"], b: State["n"], w: Param["n"]):
    return b, a * w + x


def test_state_that_another_value_is_already_is_kept_in_an_array_of_its_own() -> None:
    plan, (T, B, n) = sb.compile(handed_on).plan, (40, 3, 5)
    assert [(item.name, item.formula) for item in plan.stored] == [
        ("b", "b_t = w ⊙ a_{t-1} + x_t"),
        ("a_", "a_t = b_{t-1}"),
    ]
    assert plan.bytes(T, B, n=n) == 2 * T * B * n * 8


def test_blocks_of_sweeps_that_compute_nothing_for_them_fit_in_the_cache_too() -> None:
    kernel = sb.compile(handed_on)
    assert re.findall(r"K = _steps\((.*)\) ", kernel.source) == ["T, B, n"] * 2
