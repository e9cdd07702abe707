"""Designs compared: rows against closed forms, files that survive interruption, the same bytes from any workers in any order."""

import dataclasses
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.comparison import comparison
from symbptt.comparison import workers as work
from symbptt.comparison.designs import source_of
from symbptt.comparison.row import KINDS, Row, key_of, order
from symbptt.comparison.storage import csv_of, merge_rows, parquet_of, parse_csv, parse_parquet, read_rows
from symbptt.errors import ArgumentError, SymbpttError, TargetError
from symbptt.language.digest import digest_of_cell
from symbptt.stability.spectra.lyapunov import lyapunov_spectrum
from symbptt.zoo import CELLS, gru, lru, rnn
from tests.dynamics import linear_map, logistic

pytest.importorskip("joblib")
ROOT = Path(__file__).parents[1]
GRID = sb.Grid(sizes=(2,), gains=(0.5, 1.5), seeds=2, steps=25)
SOURCE = """
import numpy as np
import sympy
import symbptt as sb
import helper
from helper import scale
from symbptt import Input, Param, State

spike = sb.function("spike", lambda v: (1 + sympy.sign(v)) / 2, derivative=lambda v: 1 / (1 + v**2))

def local(v):
    return np.tanh(helper.scale(scale(v)))

@sb.cell
def mine(x: Input["m"], h: State["n"], W: Param["n m"], A: Param["n n"]):
    return local(W @ x + A @ h)

@sb.cell
def spiking(x: Input["m"], h: State["n"], W: Param["n m"], A: Param["n n"]):
    return 0.5 * h + spike(W @ x + A @ h)

both = sb.stack(mine, spiking)
"""


@sb.cell
def growing(x: Input["m"], h: State["n"], W: Param["n m"], A: Param["n n"]):
    return W @ x + A @ (h * h)


@sb.cell
def undefined(x: Input["m"], h: State["n"], W: Param["n m"], A: Param["n n"]):
    return np.sqrt(A @ h - 1) + W @ x


@sb.cell
def changed(x: Input["m"], h: State["n"], W: Param["n m"], A: Param["n n"]):
    return np.tanh(W @ x + A @ h)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted comparison and the file that it wrote."""
    path = tmp_path_factory.mktemp("whole") / "all.csv"
    return sb.compare_designs([rnn, gru], None, GRID, output=path), path


# What is measured


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
@pytest.mark.thinned(2)
def test_rows_of_an_orthogonal_linear_cell_are_the_closed_forms(gain):
    """h' = g Q h: every exponent is ln g, a product of k Jacobians g^k times a rotation."""
    found = sb.compare_designs(linear_map, None, sb.Grid(sizes=(1, 4), gains=(gain,), seeds=2, steps=100)).rows
    assert len(found) == 4
    for row in found:
        log = np.log(gain)
        assert row.failure == "" and row.steps == 100 and row.dimension == row.size and row.parameters == row.size**2
        assert row.scaled == "W" and abs(row.lyapunov - log) < 1e-12 and row.error < 1e-12
        assert row.horizon == pytest.approx(-1 / log if gain < 1 else np.inf) or gain == 1
        assert row.entropy == pytest.approx(row.size * max(log, 0), abs=1e-12) and row.sum_rule_defect < 1e-12
        for k in (1, 10, 100):
            assert getattr(row, f"gradient_{k}") == pytest.approx(k * log, abs=1e-9)
            assert getattr(row, f"isometry_{k}") == pytest.approx(abs(k * log), abs=1e-9)


def test_a_row_is_what_the_stability_functions_say_of_the_same_design():
    x = np.random.default_rng(5).standard_normal((60, 2, 3))
    row = sb.compare_designs(rnn, {"x": x}, sb.Grid(sizes=(4,), gains=(1.3,), seeds=[7])).rows[0]
    params = rnn.init({"m": 3, "n": 4}, seed=7)
    expected = lyapunov_spectrum(rnn, {**params, "U": 1.3 * params["U"]}, {"x": x})
    assert row.lyapunov == pytest.approx(expected.exponents[0], rel=1e-12)
    assert row.error == pytest.approx(expected.error[0], rel=1e-9)
    assert (row.size, row.gain, row.seed, row.steps, row.parameters) == (4, 1.3, 7, 60, 4 * 3 + 4 * 4 + 4)


@pytest.mark.parametrize("steps", [1, 2, 9, 10])
def test_lags_beyond_the_run_are_not_measured(steps):
    row = sb.compare_designs(rnn, None, sb.Grid(sizes=(1,), seeds=1, steps=steps)).rows[0]
    assert row.failure == "" and row.steps == steps
    assert (row.gradient_10 is None) == (row.isometry_10 is None) == (steps < 10)
    assert row.gradient_1 is not None and row.gradient_100 is None


def test_float32_data_and_samples():
    x = np.random.default_rng(0).standard_normal((30, 2, 1)).astype(np.float32)
    rows = sb.compare_designs(rnn, {"x": x}, sb.Grid(sizes=(2,), seeds=1)).rows
    assert "float" in rows[0].failure  # parameters of init are float64, and mixing types is an error
    assert sb.compare_designs(rnn, {"x": x.astype(float)}, sb.Grid(sizes=(2,), seeds=1)).failed == ()


def test_what_a_cell_does_not_have_is_no_axis_of_its_grid():
    rows = sb.compare_designs([lru, logistic], None, sb.Grid(sizes=(2, 3), gains=(0.5, 2), seeds=1, steps=30)).rows
    assert [(r.cell, r.size, r.gain) for r in rows] == [("logistic", None, None), ("lru", 2, None), ("lru", 3, None)]


def test_columns_of_a_table_are_bound_as_build_does(tmp_path):
    (tmp_path / "d.csv").write_text("year,a,b\n" + "".join(f"{1900 + i},{i % 7},{i % 3}\n" for i in range(50)))
    found = sb.compare_designs([rnn, gru], tmp_path / "d.csv", sb.Grid(sizes=(2,), seeds=1))
    assert [(row.steps, row.failure) for row in found.rows] == [(50, ""), (50, "")]
    assert found.rows[1].parameters == 2 * 2 + 2 * 2 + 2


# Files


NUMBERS = {"int": st.integers(-(2**62), 2**62), "float": st.floats(), "bool": st.booleans()}
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=12)


@st.composite
def row(draw):
    values = {name: draw(TEXT if kind == "str" else st.none() | NUMBERS[kind]) for name, kind in KINDS.items()}
    values["seed"] = draw(st.integers(0, 99))
    found = Row(**{**values, "gain": draw(st.none() | st.floats(-9, 9))})
    digests = found.cell_digest, found.data_digest, found.version
    return dataclasses.replace(found, key=key_of(found.cell, found.size, found.gain, found.seed, digests))


def same(a, b):
    return all(x == y or (x != x and y != y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


@pytest.mark.long
@given(st.lists(row(), max_size=4))
def test_rows_come_back_from_csv_to_the_last_bit(rows):
    back = parse_csv(csv_of(rows))
    assert len(back) == len(rows) and all(map(same, back, rows))


@pytest.mark.long
@given(st.lists(row(), max_size=3))
def test_rows_come_back_from_parquet_to_the_last_bit(rows):
    pytest.importorskip("pyarrow")
    content = parquet_of(rows)
    assert content == parquet_of(rows)
    back = parse_parquet(content)
    assert len(back) == len(rows) and all(map(same, back, rows))


def test_csv_and_parquet_hold_the_same(whole, tmp_path):
    pytest.importorskip("pyarrow")
    result, _ = whole
    assert sb.compare_designs([rnn, gru], None, GRID, output=tmp_path / "a.parquet") == result
    before = (tmp_path / "a.parquet").read_bytes()
    assert read_rows(tmp_path / "a.parquet") == result.rows
    assert sb.compare_designs([rnn, gru], None, GRID, output=tmp_path / "a.parquet") == result
    assert (tmp_path / "a.parquet").read_bytes() == before


def broken(path, how):
    lines = path.read_text("utf-8").splitlines(keepends=True)
    cells = lines[1].split(",")
    return {
        "another text": "these are my notes\n",
        "nothing": "",
        "another table": "year,sunspots\n1700,5\n",
        "cut in a number": "".join(lines)[:-30],
        "cut in a line": "".join(lines[:2]) + lines[2][:40],
        "a gain changed": "".join([lines[0], ",".join([*cells[:3], "0.75", *cells[4:]]), *lines[2:]]),
        "a number rounded oddly": "".join([lines[0], ",".join([*cells[:3], "0.50", *cells[4:]]), *lines[2:]]),
        "a row twice": "".join([*lines, lines[1]]),
        "a word for a number": "".join([lines[0], ",".join([*cells[:4], "one", *cells[5:]]), *lines[2:]]),
        "line ends of another system": "".join(lines).replace("\n", "\r\n"),
        "an open quote": "".join([lines[0], '"', *lines[1:]]),
    }[how]


@pytest.mark.parametrize("how", ["another text", "nothing", "another table", "cut in a number", "cut in a line", "a gain changed",
                                 "a number rounded oddly", "a row twice", "a word for a number", "line ends of another system",
                                 "an open quote"])  # fmt: skip
def test_a_foreign_or_broken_file_is_refused_and_stays(whole, tmp_path, how):
    path = tmp_path / "results.csv"
    path.write_bytes(broken(whole[1], how).encode())
    before = path.read_bytes()
    with pytest.raises(TargetError, match="no file of results, or was changed"):
        sb.compare_designs([rnn, gru], None, GRID, output=path)
    with pytest.raises(TargetError):
        merge_rows(path, whole[0].rows)
    assert path.read_bytes() == before


def test_a_broken_parquet_is_refused(whole, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    content = parquet_of(whole[0].rows)
    parquet.write_table(arrow.table({"a": [1]}), tmp_path / "other.parquet")
    for bad in (content[:-9], b"", b"PAR1", (tmp_path / "other.parquet").read_bytes()):
        path.write_bytes(bad)
        with pytest.raises(TargetError, match="no file of results"):
            sb.compare_designs([rnn, gru], None, GRID, output=path)
        assert path.read_bytes() == bad


@pytest.mark.parametrize("name", ["results.txt", "results", "results.csv.gz"])
def test_an_ending_that_is_no_format_is_refused(tmp_path, name):
    with pytest.raises(ArgumentError, match=r"\.csv or \.parquet"):
        sb.compare_designs(rnn, None, GRID, output=tmp_path / name)


def test_a_folder_that_lacks_or_is_in_the_way_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "row_of", lambda task: pytest.fail("measured"))
    (tmp_path / "dir.csv").mkdir()
    for path in (tmp_path / "none" / "a.csv", tmp_path / "dir.csv"):
        with pytest.raises(TargetError, match="cannot"):
            sb.compare_designs(rnn, None, GRID, output=path)


# Interrupted and resumed


@pytest.fixture
def counted(monkeypatch):
    """The rows that are measured, in order."""
    done, plain = [], work.row_of

    def row_of(task):
        done.append(task.row.key)
        return plain(task)

    monkeypatch.setattr(work, "row_of", row_of)
    return done


def test_what_an_interrupt_leaves_is_intact_and_the_next_call_measures_the_rest(whole, tmp_path, monkeypatch):
    done, plain, path = [], work.row_of, tmp_path / "a.csv"

    def row_of(task):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(task.row.key)
        return plain(task)

    monkeypatch.setattr(work, "row_of", row_of)
    with pytest.raises(KeyboardInterrupt):
        sb.compare_designs([rnn, gru], None, GRID, output=path)
    assert {row.key for row in read_rows(path)} == set(done) and len(done) == 5
    first = set(done)
    done.clear()
    done.extend([""] * 6)
    assert sb.compare_designs([rnn, gru], None, GRID, output=path) == whole[0]
    assert not first & set(done[6:]) and len(done) == 6 + 8 - 5
    assert path.read_bytes() == whole[1].read_bytes()


def test_a_whole_file_is_only_read(whole, counted):
    before = whole[1].read_bytes()
    assert sb.compare_designs([gru, rnn], None, GRID, output=whole[1]) == whole[0]
    assert counted == [] and whole[1].read_bytes() == before


def test_a_larger_grid_adds_to_a_file_and_a_smaller_one_leaves_it(whole, tmp_path, counted):
    path = tmp_path / "a.csv"
    one = sb.compare_designs(gru, None, sb.Grid((2,), (1.5,), 2, 25), output=path)
    assert len(one.rows) == len(counted) == 2
    assert sb.compare_designs([rnn, gru], None, GRID, output=path) == whole[0]
    assert len(counted) == 8 and path.read_bytes() == whole[1].read_bytes()
    assert sb.compare_designs(gru, None, sb.Grid((2,), (1.5,), 2, 25), output=path) == one
    assert path.read_bytes() == whole[1].read_bytes()


def test_the_order_of_cells_gains_and_seeds_changes_no_byte(whole, tmp_path):
    other = sb.Grid(sizes=(2,), gains=(1.5, 0.5), seeds=(1, 0), steps=25)
    assert sb.compare_designs([gru, rnn], None, other, output=tmp_path / "a.csv") == whole[0]
    assert (tmp_path / "a.csv").read_bytes() == whole[1].read_bytes()


def test_draws_that_depend_on_the_order_would_be_seen(tmp_path, monkeypatch):
    """The planted mistake: one generator for all rows, in place of a seed for each."""
    shared = np.random.default_rng(0)
    monkeypatch.setattr(
        work, "random_inputs", lambda of, sizes, lead, seed: {"x": shared.standard_normal((*lead, sizes["m"]))}
    )
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, seeds in zip(files, ((0, 1), (1, 0)), strict=True):
        sb.compare_designs(rnn, None, sb.Grid((2,), (1.0,), seeds, 40), output=path)
    assert files[0].read_bytes() != files[1].read_bytes()


def test_rows_of_other_data_or_of_a_changed_cell_are_not_mixed(whole, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(whole[1].read_bytes())
    with pytest.raises(TargetError, match="other data"):
        sb.compare_designs([rnn, gru], None, dataclasses.replace(GRID, steps=26), output=path)
    with pytest.raises(TargetError, match="another cell called 'rnn'"):
        sb.compare_designs({"rnn": changed}, None, GRID, output=path)
    assert sb.compare_designs({"new": changed}, None, GRID, output=path).failed == ()
    assert len(read_rows(path)) == 8 + 4


# What fails


def test_a_row_that_fails_says_why_and_loses_no_other(tmp_path):
    grid = sb.Grid(sizes=(3,), gains=(0.5, 2.0), seeds=1, steps=60)
    found = sb.compare_designs([undefined, rnn], None, grid, output=tmp_path / "a.csv")
    assert [(row.cell, row.gain) for row in found.failed] == [("undefined", 0.5), ("undefined", 2.0)]
    assert "not finite after step" in found.failed[0].failure and "\n" not in found.failed[0].failure
    assert all(row.lyapunov is not None for row in found.rows if not row.failure)
    assert all(map(same, read_rows(tmp_path / "a.csv"), found.rows))
    assert "Failed: undefined, size 3, gain 0.5, seed 0:" in found.text() and found.plot() is not None


def test_a_state_that_leaves_the_range_is_measured_until_then():
    rows = sb.compare_designs(growing, None, sb.Grid(sizes=(3,), gains=(0.01, 50.0), seeds=1, steps=60)).rows
    assert [row.verdict for row in rows] == ["vanishing", "exploding"] and rows[0].steps == 60 > rows[1].steps
    assert rows[1].confidence == 1 and rows[1].horizon == np.inf and rows[1].lyapunov > 0


def test_a_cell_that_cannot_be_traced_fails_alone_and_can_be_mended(tmp_path):
    @sb.cell
    def torn(x: Input["m"], h: State["n"], W: Param["n m"], A: Param["n n"]):
        return np.tanh(W @ h + A @ h)

    @sb.cell
    def mended(x: Input["m"], h: State["n"], W: Param["n m"], A: Param["n n"]):
        return np.tanh(W @ x + A @ h)

    grid, path = sb.Grid(sizes=(2,), seeds=2, steps=20), tmp_path / "a.csv"
    found = sb.compare_designs({"mine": torn, "rnn": rnn}, None, grid, output=path)
    assert [row.cell for row in found.failed] == ["mine", "mine"] and "conform" in found.failed[0].failure
    found = sb.compare_designs({"mine": mended, "rnn": rnn}, None, grid, output=path)
    assert found.failed == () and read_rows(path) == found.rows


def test_an_error_inside_the_library_is_a_row_too(monkeypatch):
    def measures(cell, *rest):
        if cell is gru:
            raise np.linalg.LinAlgError("SVD did not converge")
        return plain(cell, *rest)

    plain = work.measures
    monkeypatch.setattr(work, "measures", measures)
    found = sb.compare_designs([rnn, gru], None, sb.Grid((2,), (1.0,), 1, 20))
    assert [row.failure for row in found.rows] == ["LinAlgError: SVD did not converge", ""]


def test_a_cell_that_the_data_do_not_fit_fails_alone():
    x = np.zeros((20, 2))
    found = sb.compare_designs([rnn, logistic], {"x": x}, sb.Grid((2,), (1.0,), 1))
    assert [row.cell for row in found.failed] == ["logistic"] and "no input that data could fill" in found.failed[
        0
    ].failure


def test_a_figure_of_failures_only_is_refused():
    rows = (Row("k", "a", 1, 1.0, 0, failure="broken"),)
    with pytest.raises(ArgumentError, match="no row has a finite exponent"):
        comparison.Comparison(rows).plot()
    assert "broken" in comparison.Comparison(rows).text()


# What is refused


X = np.zeros((5, 1))


def list_of(value: Any) -> Any:
    return [value]


REFUSED: list[tuple[Any, str]] = [
    (lambda: sb.compare_designs([]), "no cells are given"),
    (lambda: sb.compare_designs(3), "a list of cells is expected"),
    (lambda: sb.compare_designs(list_of(np.tanh)), "no cell but a ufunc"),
    (lambda: sb.compare_designs(list_of("lstm")), "no cell but a str"),
    (lambda: sb.compare_designs([rnn, rnn]), "two cells are called 'rnn'"),
    (lambda: sb.compare_designs(rnn, X), "a dict of inputs by name, got ndarray"),
    (lambda: sb.compare_designs(rnn, {}), "a dict of inputs by name"),
    (lambda: sb.compare_designs(rnn, {"x": [["a"]]}), "arrays of numbers"),
    (lambda: sb.compare_designs(rnn, {"x": X, "y": X[:3]}), "the same steps"),
    (lambda: sb.compare_designs(rnn, {"x": X, "y": X}), "no cell has an input 'y'"),
    (lambda: sb.compare_designs(rnn, {"x": X}, sb.Grid(steps=3)), "steps=3 beside data"),
    (lambda: sb.compare_designs(rnn, "nowhere.csv"), "nowhere.csv"),
    (lambda: sb.compare_designs(rnn, jobs=0), "jobs: a number of processes"),
    (lambda: sb.compare_designs(rnn, jobs=2.0), "jobs: a number of processes"),
    (lambda: sb.compare_designs(rnn, jobs=True), "jobs: a number of processes"),
    (lambda: sb.compare_designs(rnn, scheduler=8786), "scheduler: an address"),
    (lambda: sb.compare_designs(rnn, jobs=2, scheduler="tcp://x:1"), "beside a scheduler"),
    (lambda: sb.Grid(sizes=(0,)), "sizes: integers from 1"),
    (lambda: sb.Grid(sizes=()), "sizes: integers from 1"),
    (lambda: sb.Grid(sizes=32), "sizes: integers from 1"),
    (lambda: sb.Grid(gains=(np.nan,)), "gains: finite numbers"),
    (lambda: sb.Grid(gains="12"), "gains: finite numbers"),
    (lambda: sb.Grid(seeds=0), "seeds: how many"),
    (lambda: sb.Grid(seeds=(-1,)), "seeds: how many"),
    (lambda: sb.Grid(steps=0), "steps: an integer"),
    (lambda: sb.Grid(steps=1.5), "steps: an integer"),
]


@pytest.mark.parametrize("call, what", REFUSED, ids=[what for _, what in REFUSED])
def test_what_is_no_comparison_is_refused(call, what):
    with pytest.raises(SymbpttError, match=what):
        call()


@pytest.mark.parametrize("module, extra, call", [
    ("joblib", "sweep", lambda path: sb.compare_designs(rnn, None, GRID)),
    ("cloudpickle", "sweep", lambda path: sb.compare_designs(rnn, None, GRID, jobs=2)),
    ("filelock", "sweep", lambda path: sb.compare_designs(rnn, None, GRID, output=path / "a.csv")),
    ("pyarrow", "parquet", lambda path: sb.compare_designs(rnn, None, GRID, output=path / "a.parquet")),
    ("distributed", "dask", lambda path: sb.compare_designs(rnn, None, GRID, scheduler="tcp://127.0.0.1:1")),
])  # fmt: skip
def test_a_package_that_lacks_is_named_with_its_extra(monkeypatch, tmp_path, module, extra, call):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.parquet", None)
    with pytest.raises(SymbpttError, match=rf"{module} is needed.*\n  pip install {module}, or .* -e '\.\[{extra}\]'"):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == [] or module == "filelock"


# Keys


def test_a_digest_is_that_of_the_step_and_not_of_its_text():
    @sb.cell
    def rnn(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
        drive = W @ x  # a name, in another place
        return np.tanh(drive + U @ h + b)

    assert digest_of_cell(rnn) == digest_of_cell(CELLS["rnn"])


def spiking(width):
    spike = sb.function("spike", lambda v: (1 + sympy.sign(v)) / 2, derivative=lambda v: 1 / (1 + width * v**2))

    @sb.cell
    def neuron(x: Input["m"], h: State["n"], W: Param["n m"], dt: Const = 0.1):
        return (1 - dt) * h + spike(W @ x + h)

    return neuron


def test_a_digest_changes_with_whatever_changes_a_result():
    cell = spiking(1)
    others = [spiking(2), cell.with_consts({"dt": 0.2}), changed, growing, rnn]
    digests = [digest_of_cell(c) for c in (cell, *others)]
    assert len(set(digests)) == len(digests) and digest_of_cell(spiking(1)) == digests[0]


@pytest.mark.long
def test_keys_are_the_same_in_every_process(whole):
    code = "from symbptt.language.digest import digest_of_cell; from symbptt.zoo import rnn; print(digest_of_cell(rnn))"
    for seed in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed})  # fmt: skip
        assert done.stdout.strip() == digest_of_cell(rnn)


def test_columns_in_another_order_are_other_data(tmp_path):
    """A cell's input takes all columns in their order."""
    (tmp_path / "a.csv").write_text("p,q\n1,2\n3,5\n4,4\n2,2\n")
    (tmp_path / "b.csv").write_text("q,p\n2,1\n5,3\n4,4\n2,2\n")
    found = [sb.compare_designs(rnn, tmp_path / name, sb.Grid((2,), seeds=1)).rows[0] for name in ("a.csv", "b.csv")]
    assert found[0].data_digest != found[1].data_digest and found[0].lyapunov != found[1].lyapunov
    x, u = np.zeros((4, 1)), np.ones((4, 1))
    digests = {source_of(data, None).digest for data in ({"x": x, "u": u}, {"u": u, "x": x})}
    assert len(digests) == 1 and source_of({"x": u, "u": x}, None).digest not in digests


def test_threads_of_the_caller_are_as_before():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(2):
        before = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
        sb.compare_designs(rnn, None, sb.Grid((2,), seeds=1, steps=5))
        assert [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] == before


# Table and figure


def test_the_table_has_a_line_for_each_cell_size_and_gain(whole):
    text = whole[0].text()
    assert text.count("\n gru") == text.count("\n rnn") == 2 and str(whole[0]) == text
    rows = [r for r in whole[0].rows if (r.cell, r.size, r.gain) == ("rnn", 2, 1.5)]
    values = np.array([r.lyapunov for r in rows])
    line = next(line for line in text.splitlines() if line.split()[:4] == ["rnn", "2", "1.5", "2"])
    assert f"{values.mean():+.4f}" in line and f"{values.std(ddof=1):.2g}" in line


def test_sizes_are_told_apart_in_the_figure():
    rows = [Row("", "a", size, gain, 0, lyapunov=gain) for size in (2, 3) for gain in (0.5, 1.0)]
    lines = {line.get_label(): line.get_linestyle() for line in comparison.Comparison(tuple(rows)).plot().axes[0].lines}
    assert {"a, size 2": "-", "a, size 3": "--"}.items() <= lines.items()
    drawn = comparison.Comparison(tuple(rows)).plot().axes[0].lines
    assert len({line.get_fillstyle() for line in drawn if line.get_label().startswith("a, ")}) == 2


def test_rows_without_a_finite_exponent_are_named_in_the_figure():
    rows = [Row("", "a", 2, gain, 0, lyapunov=-gain) for gain in (0.5, 1.0)]
    assert "not drawn" not in comparison.Comparison(tuple(rows)).plot().axes[0].get_xlabel()
    rows += [Row("", "b", 2, gain, 0, lyapunov=-math.inf if gain < 1 else -1.0) for gain in (0.5, 1.0)]
    found = comparison.Comparison(tuple(rows)).plot().axes[0].get_xlabel()
    assert found == "gain of the recurrent weights\nnot drawn, as λ₁ = −∞: b (1 of 2 rows)"


def test_the_figure_has_a_line_for_each_cell_and_says_its_units(whole):
    axes = whole[0].plot().axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["gru", "rnn"]
    assert "nats per step" in axes.get_ylabel() and "gain" in axes.get_xlabel()
    line = next(line for line in axes.lines if line.get_label() == "rnn")
    expected = [
        np.mean([r.lyapunov for r in whole[0].rows if (r.cell, r.size, r.gain) == ("rnn", 2, g)]) for g in (0.5, 1.5)
    ]
    np.testing.assert_allclose(line.get_xydata(), np.transpose([(0.5, 1.5), expected]))


@pytest.mark.parametrize("grid, label", [(sb.Grid((2, 40), (1.0,), 2, 20), "size"), (sb.Grid((2,), (1.0,), 1, 20), "")])
@pytest.mark.thinned(2)
def test_without_several_gains_the_size_or_the_cell_lies_across(grid, label):
    axes = sb.compare_designs([rnn, lru], None, grid).plot().axes[0]
    assert axes.get_xlabel() == label
    assert label or [text.get_text() for text in axes.get_xticklabels()] == ["lru", "rnn"]


def test_rows_are_sorted_and_none_comes_first():
    rows = [Row("", "a", size, gain, 0) for size in (3, None) for gain in (2.0, None, -1.0)]
    assert [(r.size, r.gain) for r in sorted(rows, key=order)] == [(s, g) for s in (None, 3) for g in (None, -1.0, 2.0)]


# Other processes


@pytest.fixture
def targets(tmp_path):
    (tmp_path / "helper.py").write_text("def scale(v):\n    return 0.9 * v\n")
    (tmp_path / "cells.py").write_text(SOURCE)
    from symbptt.commands.load_target import load_target

    return {name: load_target(f"{tmp_path / 'cells.py'}:{name}") for name in ("mine", "spiking", "both")}


@pytest.mark.long
def test_cells_of_the_users_files_give_the_same_bytes_in_worker_processes(targets, tmp_path):
    cells = {**targets, "rnn": rnn, "here": changed}
    grid = sb.Grid(sizes=(3,), gains=(0.5, 1.0), seeds=2, steps=60)
    one = sb.compare_designs(cells, None, grid, output=tmp_path / "one.csv")
    two = sb.compare_designs(cells, None, grid, output=tmp_path / "two.csv", jobs=2)
    assert one == two and one.failed == ()
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_a_cell_that_cannot_be_sent_is_named():
    import threading

    lock = threading.Lock()

    @sb.cell
    def locked(x: Input["m"], h: State["n"], A: Param["n n"]):
        with lock:
            return np.tanh(A @ h + sb.sum(x))

    with pytest.raises(ArgumentError, match=r"locked cannot be sent to another process(.|\n)*jobs=1"):
        sb.compare_designs(locked, None, sb.Grid((2,), seeds=2, steps=20), jobs=2)
    assert sb.compare_designs(locked, None, sb.Grid((2,), seeds=2, steps=20)).failed == ()


SWEEP = """if True:
    import sys
    import symbptt as sb
    from symbptt.zoo import gru, rnn
    gains = [float(g) for g in sys.argv[2].split(",")]
    sb.compare_designs([rnn, gru], None, sb.Grid((2,), gains, int(sys.argv[3]), 25), output=sys.argv[1])
"""


def sweep(path, gains, seeds=2):
    return subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(path), gains, str(seeds)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


@pytest.mark.long
def test_two_processes_write_one_file(whole, tmp_path):
    processes = [sweep(tmp_path / "a.csv", gains) for gains in ("0.5", "1.5")]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert (tmp_path / "a.csv").read_bytes() == whole[1].read_bytes()


@pytest.mark.long
def test_a_killed_sweep_leaves_whole_rows_and_is_resumed_to_the_same_bytes(tmp_path):
    assert sweep(tmp_path / "whole.csv", "0.5,1,1.5", 16).wait(300) == 0
    killed = sweep(tmp_path / "a.csv", "0.5,1,1.5", 16)
    there = 0
    for _ in range(600):
        time.sleep(0.1)
        there = len(read_rows(tmp_path / "a.csv"))
        if there:
            break
    killed.kill()
    killed.wait(60)
    assert 0 < there < 96 and len(read_rows(tmp_path / "a.csv")) < 96
    assert sweep(tmp_path / "a.csv", "0.5,1,1.5", 16).wait(300) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert [
        path.name for path in tmp_path.iterdir() if path.name.startswith(".a") and not path.name.endswith(".lock")
    ] == []


@pytest.mark.long
def test_a_dask_cluster_gives_the_same_bytes(targets, tmp_path):
    distributed = pytest.importorskip("distributed")
    cells, grid = {**targets, "rnn": rnn}, sb.Grid(sizes=(3,), gains=(0.5, 1.0), seeds=2, steps=60)
    one = sb.compare_designs(cells, None, grid, output=tmp_path / "one.csv")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert sb.compare_designs(cells, None, grid, output=tmp_path / "two.csv", scheduler=address) == one
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


@pytest.mark.long
def test_a_scheduler_that_does_not_answer_is_told():
    pytest.importorskip("distributed")
    with pytest.raises(TargetError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        sb.compare_designs(rnn, None, sb.Grid((2,), seeds=1, steps=20), scheduler="tcp://127.0.0.1:9")
