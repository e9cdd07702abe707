"""Benchmarks: the products of the floor, what is asked for, what is written, and that unequal peers are caught."""

import csv
import importlib.util
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State
from symbptt.bench.batched import NotWritable, Scope, _leaf, batched_step, load_step
from symbptt.bench.case import case_of, gradients
from symbptt.bench.compare import difference, equal_peers, peers_of
from symbptt.bench.floor import Product, floor_products, floor_run
from symbptt.bench.measure import Row, best_peer, measure
from symbptt.bench.peers import Runner
from symbptt.bench.rows import columns, csv_text, markdown, ratio_figure, texts
from symbptt.bench.sizes import named_sizes as sizes_named
from symbptt.bench.sizes import sizes_of
from symbptt.bench.threads import one_thread
from symbptt.bench.timing import ratio, times_in_a_row, times_in_turns
from symbptt.commands.bench import check_files, rows_of, write
from symbptt.commands.main import run
from symbptt.errors import ArgumentError, SymbpttError, TargetError
from symbptt.ir.node import Leaf, Node
from symbptt.zoo import gru, lstm, rnn
from tests import oracle
from tests.benchmarks import cells
from tests.benchmarks.page import Measured, page

T, B, M, N = 5, 3, 2, 4
SIZES = {"m": M, "n": N}


def shapes(products):
    """The products as a set of (what, times, batch, rows, inner, columns)."""
    return sorted((p.what, p.times, p.batch, p.rows, p.inner, p.columns) for p in products)


def gated(gates):
    """The products of a cell with packed gates, counted by hand: of x over all steps at once, of h step by step."""
    k = gates * N
    return sorted(
        [
            ("forward", 1, 1, T * B, M, k),
            ("adjoint", 1, 1, T * B, k, M),
            ("gradient", 1, 1, k, T * B, M),
            ("forward", T, 1, B, N, k),
            ("adjoint", T, 1, B, k, N),
            ("gradient", 1, 1, k, T * B, N),
        ]
    )


@pytest.mark.parametrize("cell, gates", [(rnn, 1), (lstm, 4), (cells.packed, 3)], ids=["rnn", "lstm", "packed"])
def test_floor_of_gates_is_packed_however_they_are_spelled(cell, gates):
    assert shapes(floor_products(cell, T, B, SIZES)) == gated(gates)


def test_floor_of_a_gru_joins_all_products_of_the_state():
    assert shapes(floor_products(gru, T, B, SIZES)) == gated(3)


@sb.cell
def by_einsum(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return np.tanh(np.einsum("ij,j->i", W, x) + np.einsum("j,ij->i", h, U))


@sb.cell
def by_concatenation(x: Input["m"], h: State["n"], W: Param["n n+m"]):
    return np.tanh(W @ np.concatenate([h, x]))


@sb.cell
def elementwise(x: Input["n"], h: State["n"], a: Param["n"]):
    return sb.sigmoid(a) * h + x


@sb.cell
def reading(x: Input["m"], S: State["n n"], K: Param["n m"]):
    """A product of two values of a sample, in the loop: its adjoint by the state is an outer product, no sum."""
    k = K @ x
    return S + np.outer(np.tanh(S @ k), k)


def test_floor_of_einsum_is_that_of_the_matrix_product():
    assert shapes(floor_products(by_einsum, T, B, SIZES)) == gated(1)


def operations(cell):
    return sum(p.operations for p in floor_products(cell, T, B, SIZES))


def test_floor_of_concatenated_operands_is_that_of_separate_ones():
    assert shapes(floor_products(by_concatenation, T, B, SIZES)) == gated(1)
    assert shapes(floor_products(cells.joined, T, B, SIZES)) == gated(3)
    assert operations(by_concatenation) == 6 * T * B * N * (N + M)


def test_floor_of_an_elementwise_cell_is_empty():
    assert floor_products(elementwise, T, B, {"n": N}) == ()


def test_floor_holds_products_of_two_values():
    found = [p for p in floor_products(reading, T, B, SIZES) if p.what == "values"]
    assert sorted((p.times, p.batch) for p in found) == [(1, T * B)] * 2 + [(T, B)] * 2
    assert all(p.rows * p.inner * p.columns == N * N for p in found)


def test_floor_calls_each_product_as_often_as_it_says(monkeypatch):
    seen = []
    monkeypatch.setattr(np, "matmul", lambda a, b, out: seen.append((a.shape, b.shape, out.shape, out.dtype)))
    floor_run([Product("forward", 3, 1, 2, 4, 5), Product("gradient", 1, 2, 3, 6, 7)], np.float32)()
    assert seen == [((2, 4), (4, 5), (2, 5), np.float32)] * 3 + [((2, 3, 6), (2, 6, 7), (2, 3, 7), np.float32)]


# The batched step, on NumPy itself as the namespace.


class NumPy:
    """NumPy under the names of a batched step."""

    def __getattr__(self, name):
        ours = {"permute": np.transpose, "real": lambda x: x * 1.0, "array": lambda x: np.asarray(x, float),
                "stop_gradient": lambda x: x}  # fmt: skip
        return ours.get(name) or getattr(np, name, None) or getattr(sb, name)


@sb.cell
def oddities(
    x: Input["m"],
    i: Index["v"],
    h: State["n"],
    S: State["2 n"],
    E: Param["n v"],
    W: Param["n m"],
    dt: Const = 0.1,
    scale: Const["n"] = None,
    w: Param["2"] = None,
):
    """Views, reductions, reads, conditions and constants of every kind."""
    n = h.shape[0]
    a = (W @ x + E[:, i])[::-1] * scale
    b = np.where(a > 0, a, dt * h) + (h > 0.1) * 0.5 + np.cumsum(a) / n + np.array([0.5, 2.0])[1]
    c = np.concatenate([b[1:], h[:1]]) - np.max(a) + 1 / np.sum(np.abs(S)) ** 2
    S = np.stack([c, h]) * w[:, None] + np.mean(S, axis=0) + S.reshape(n, 2).T
    return {"h": np.maximum(c, 0.2) - sb.stop_gradient(h), "S": S / np.sqrt(n) + np.outer(w, b).reshape(2, n)}


def by_hand(cell, case, state):
    """One step of every sample by the user's own function."""
    x = {k: v[0] for k, v in case.inputs.items()}
    each = [cell(**{k: v[b] for k, v in (x | state).items()}, **case.params) for b in range(case.B)]
    names = [a.name for a in cell.arguments if a.role == "state"]
    as_dicts = [
        e if isinstance(e, dict) else dict(zip(names, e if isinstance(e, tuple) else (e,), strict=True)) for e in each
    ]
    return {name: np.stack([d[name] for d in as_dicts]) for name in names}


@pytest.mark.parametrize("cell", [oddities, reading, by_concatenation, *cells.CELLS.values()], ids=lambda c: c.name)
@pytest.mark.parametrize("samples", [1, 3])
def test_batched_step_is_the_users_function_of_each_sample(cell, samples):
    sizes = cells.sizes_of(cell, 32) if cell is cells.heads else dict.fromkeys(("m", "n", "v"), 3)
    sizes = {k: v for k, v in sizes.items() if k != "v" or cell is oddities}
    case = case_of(cell, 1, samples, sizes, np.float64)
    step = load_step(batched_step(cell, case.sizes, samples), NumPy())
    found = step(case.state, {k: v[0] for k, v in case.inputs.items()}, case.params)
    for name, value in by_hand(cell, case, case.state).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", [rnn, lstm, oddities], ids=lambda c: c.name)
def test_batched_step_has_no_needless_sign(cell):
    text = batched_step(cell, dict.fromkeys(sizes_named(cell), 3), 2)
    assert "(+" not in text and "( " not in text


def test_batched_step_says_what_it_cannot_write():
    @sb.cell
    def cell(i: Index["v"], h: State["n"], E: Param["n 3"]):
        return h * E[:, 1] + i

    assert "v" in batched_step(cell, {"n": 2, "v": 3}, 2)  # a literal index is a slice

    @sb.cell
    def flipped(x: Input["n"], h: State["n"], k: Const = 2):
        return h + x * k

    batched_step(flipped, {"n": 2}, 2)
    with pytest.raises(NotWritable, match="'target'"):
        _leaf(Scope(flipped.step.graph, {}, frozenset(), {}, {}, 1), Node(0, "leaf", (), (), Leaf("target", "y")))


# Equality before time.


def planted(case, name, change):
    """A peer that is our own kernel with one block changed."""
    kernel = sb.compile(case.cell)

    def values():
        found = dict(gradients(kernel, case))
        found[name] = change(found[name])
        return found

    return Runner("planted", values, values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name, change",
    [("dU", lambda v: v * 1.01), ("dx", lambda v: v * np.nan), ("dh_0", np.zeros_like), ("last h", lambda v: v[:1]),
     ("dW", lambda v: v + np.abs(v).max() * 1e-2 * (np.arange(v.size).reshape(v.shape) == 1))],
)  # fmt: skip
@pytest.mark.thinned(3)
def test_planted_wrong_peer_is_not_timed(dtype, name, change):
    case = case_of(rnn, T, B, SIZES, np.dtype(dtype))
    ours = gradients(sb.compile(rnn), case)
    good, bad = planted(case, name, lambda v: v), planted(case, name, change)
    assert equal_peers(ours, [good]) == ([good], [])
    kept, notes = equal_peers(ours, [bad])
    assert kept == [] and name in notes[0] and "planted" in notes[0]
    row = measure(sb.compile(rnn), case, "", peers=lambda c: ([bad], []), seconds=0)
    assert set(row.ratios) == {"floor"} and row.notes == tuple(notes)


def test_wrong_result_of_our_own_is_seen_too():
    case = case_of(rnn, T, B, SIZES, np.dtype("float64"))
    ours = gradients(sb.compile(rnn), case)
    peer = planted(case, "dU", lambda v: v)
    assert difference(ours, peer) == ""
    assert "dU" in difference(ours | {"dU": ours["dU"] * np.nan}, peer)


def test_peer_that_raises_is_told():
    def values():
        raise TypeError("no such thing\nat all")

    assert difference({}, Runner("planted", values, values)) == "it raises TypeError: no such thing"


def test_peers_that_are_not_installed_are_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found, notes = peers_of(case_of(rnn, 1, 1, SIZES, np.float64))
    assert found == [] and len(notes) == 2 and all(".[peers]" in note for note in notes)


@pytest.mark.peers
@pytest.mark.parametrize("cell", [oddities, reading, lstm, cells.heads], ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.thinned(1, 7)
def test_peers_compute_what_we_compute(cell, dtype):
    sizes = {"m": 4, "a": 2} if cell is cells.heads else {"m": 3, "n": 3} | ({"v": 3} if cell is oddities else {})
    case = case_of(cell, 4, 2, sizes, np.dtype(dtype))
    found, notes = peers_of(case)
    kept, wrong = equal_peers(gradients(sb.compile(cell), case), found)
    assert [p.name for p in kept] == ["torch loop", "jax scan"] and not notes and not wrong


# Rows and files.


def test_times_are_taken_in_turns_and_ratios_are_paired():
    order, ticks = [], iter([0, 1, 1, 3, 10, 14, 14, 15, 20, 21, 21, 23])
    times = times_in_turns({k: lambda k=k: order.append(k) for k in "ab"}, 0, lambda: next(ticks))
    assert order == list("ab") * 4  # one round to warm up
    assert times["a"].tolist() == [1, 4, 1] and times["b"].tolist() == [2, 1, 2]
    assert ratio(times, "a", "b") == 0.5


ROWS = [
    Row("tiny", "float32", 5, 3, 8, "5, 3, 8", {"ours": 1.25, "floor": 0.5}, {"floor": 2.5, "jax scan": 0.75}, ()),
    Row("tiny", "float32", 5, 3, 16, "5, 3, 16", {"ours": 2}, {"floor": 1.5, "torch loop": 0.2}, ("a | b", "c, d")),
    Row("tiny", "float32", 5, 3, 32, "5, 3, 32", {"ours": 2}, {}, ("nothing beside it",)),
]  # fmt: skip


def test_csv_holds_the_table(tmp_path):
    write(ROWS, [tmp_path / "out.csv"])
    with open(tmp_path / "out.csv", newline="") as file:
        read = [tuple(line) for line in csv.reader(file)]
    assert read == [columns(ROWS), *texts(ROWS)]
    assert read[0][3:] == ("ours (ms)", "/ floor", "/ jax scan", "/ torch loop", "/ fastest peer", "notes")
    assert read[1][3:] == ("1.25", "2.50", "0.75", "-", "0.75", "") and read[3][4:8] == ("-",) * 4
    assert csv_text(ROWS) == csv_text(list(ROWS))


def test_fastest_peer_is_the_one_that_we_are_slowest_beside():
    assert best_peer(replace(ROWS[0], ratios={"floor": 3.0, "torch loop": 0.2, "jax scan": 0.9})) == 0.9
    assert best_peer(ROWS[2]) is None


def test_markdown_keeps_bars_in_their_cells():
    assert markdown(["a", "b"], [["1|2", "3"]]) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |"


def test_figure_shows_every_measured_ratio_to_the_floor(tmp_path):
    figure = ratio_figure(ROWS, "tiny")
    (line,) = [each for each in figure.axes[0].lines if each.get_label() == "tiny"]
    assert list(zip(*line.get_data(), strict=True)) == [(8, 2.5), (16, 1.5)]
    for ending in (".png", ".svg"):
        write(ROWS, [tmp_path / f"out{ending}"])
        assert (tmp_path / f"out{ending}").stat().st_size > 1000
    write(ROWS[2:], [tmp_path / "nothing.svg"])


@pytest.mark.long
def test_rows_hold_what_was_asked_for():
    rows = rows_of(by_einsum, "2,1,3; 1,2,m=1,n=2", "float64", 0, False)
    assert [(r.T, r.B, r.width, r.sizes, r.dtype) for r in rows] == [
        (2, 1, 3, "2, 1, 3", "float64"), (1, 2, 2, "1, 2, m=1, n=2", "float64")]  # fmt: skip
    assert all(r.milliseconds["ours"] > 0 and r.ratios["floor"] > 0 for r in rows)
    (bare,) = rows_of(elementwise, "2,1,3", "float32", 0, False)
    assert "floor" not in bare.ratios and any("no matrix products" in note for note in bare.notes)


@sb.cell
def free(p: State["n"], q: State["n"], k: Param["n"]):
    """It has no inputs: nothing but what is asked for tells the number of steps."""
    q = q - 0.1 * k * np.sin(p)
    return p + 0.1 * q, q


@pytest.mark.long
def test_cells_without_inputs_run_for_as_many_steps_as_are_asked_for():
    (row,) = rows_of(free, "5,2,3", "float64", 0, False)
    assert row.T == 5 and row.milliseconds["ours"] > 0
    case = case_of(free, 5, 2, {"n": 3}, "float64")
    found, notes = peers_of(case)
    kept, wrong = equal_peers(gradients(sb.compile(free), case), found)
    assert len(kept) == len(found) and len(kept) + len(notes) == 2 and not wrong
    last = oracle.run(free, case.params, case.inputs, case.state, 5)["p"][-1]
    np.testing.assert_allclose(gradients(sb.compile(free), case)["last p"], last, rtol=1e-12)


# What is refused.


@pytest.mark.parametrize(
    "text, part",
    [("", "no sizes"), (" ; ", "no sizes"), ("5", "begin with T and B"), ("5,3", "does not say the size 'm'"),
     ("0,3,4", "positive"), ("5,-3,4", "positive"), ("5,3,4.5", "positive"), ("5,3,x", "positive"), ("5,3,²", "positive"),
     ("5,3,4,4", "name=number"), ("5,3,m=2", "'n'"), ("5,3,m=2,n=0", "positive"), ("5,3,m=2,k=4", "no size 'k'"),
     ("5,3,m=2,m=3,n=1", "twice"), ("m=2,n=3,4", "begin with T and B"), ("99999999999,1,1", "positive")],
)  # fmt: skip
def test_bad_sizes_are_refused(text, part):
    with pytest.raises(ArgumentError, match=part):
        sizes_of(text, rnn)


def test_sizes_are_read_in_order():
    first, second = sizes_of("5, 3, 4; 1,2,n=7,m=6;", rnn)
    assert (first.T, first.B, first.dims, first.text) == (5, 3, {"m": 4, "n": 4}, "5, 3, 4")
    assert second.dims == {"m": 6, "n": 7}


@pytest.mark.parametrize(
    "arguments, part",
    [(["nosuch"], "no cell 'nosuch'"), (["lstmm"], "did you mean lstm"), (["rnn", "--sizes", "5"], "T and B"),
     (["rnn", "-o", "out.txt"], "endings"), (["rnn", "-o", "nosuch/out.csv"], "folder"), (["rnn", "--seconds", "-1"], "--seconds")],
)  # fmt: skip
@pytest.mark.thinned(5)
def test_command_refuses_in_one_line(arguments, part, capsys, tmp_path, monkeypatch):
    pytest.importorskip("threadpoolctl")
    monkeypatch.chdir(tmp_path)
    assert run(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and part in err and not list(tmp_path.iterdir())


def test_files_are_checked_before_anything_is_measured(tmp_path):
    assert check_files([tmp_path / "a.csv", tmp_path / "b.SVG"]) == (tmp_path / "a.csv", tmp_path / "b.SVG")
    with pytest.raises(TargetError):
        check_files([tmp_path / "missing" / "a.csv"])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TargetError):
        check_files([tmp_path / "folder.csv"])


def test_command_prints_the_table_and_writes_it(capsys, tmp_path, monkeypatch):
    pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    path = tmp_path / "out.csv"
    code = run(["bench", "rnn", "--sizes", "2,1,3", "--seconds", "0", "-o", str(path), "-o", str(tmp_path / "a.svg")])
    printed = capsys.readouterr().out
    head, row = csv.reader(path.read_text().splitlines())
    assert code == 0 and row[:3] == ["rnn", "float32", "2, 1, 3"] and head[4] == "/ floor"
    assert all(text in printed for text in row[:5]) and (tmp_path / "a.svg").exists()


def test_one_thread_needs_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(SymbpttError, match=r"e '\.\[bench\]"), one_thread():
        pass


def test_one_thread_ends(monkeypatch):
    threadpool_info = pytest.importorskip("threadpoolctl").threadpool_info
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    before = {info["filepath"]: info["num_threads"] for info in threadpool_info()}
    with one_thread():
        assert all(info["num_threads"] == 1 for info in threadpool_info())
        assert os.environ["XLA_FLAGS"].startswith("--xla_dump_to=x --xla_cpu")
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x"
    # What is loaded meanwhile, by another import, has no number of before.
    assert {info["filepath"]: info["num_threads"] for info in threadpool_info()}.items() >= before.items()


# The page of the committed benchmark.


def data(cell, sizes, floor, loop):
    T, B, n = map(int, sizes.split(", "))
    found = Row(cell, "float32", T, B, n, sizes, {"ours": 3.0}, {"floor": floor, "torch loop": loop}, ())
    return found.as_dict() | {"setting": ""}


def test_page_holds_means_growth_and_failures_but_nothing_of_the_machine():
    cases = [
        data("lstm", "50, 32, 128", 1.5, 0.2),
        data("packed", "50, 32, 256", 6.0, 0.8),
        data("rnn", "100, 1, 16", 9.0, 0.1),
    ]
    growth = [{"cell": "lstm", "sizes": f"{T},1,16", "milliseconds": ms} for T, ms in ((1000, 2.0), (10000, 21.0))]
    products = [
        {
            "cell": "lstm",
            "sizes": "50, 32, 128",
            "milliseconds": {"floor": 8.0, "ours": 12.0},
            "library": "blas X",
            "setting": s,
        }
        for s in ("", "Y")
    ]
    text = page(Measured(cases, cases[:1], growth, products, ["cases gru float32: no answer"]), "the command")
    for line in (
        "| over the floor, n ≥ 128 | float32 | 2 | 3.00 | 6.00 | packed, 50, 32, 256 |",
        "| over the torch loop, five custom cells | float32 | 1 | 0.80 | 0.80 | packed, 50, 32, 256 |",
        "| over the fastest peer, n ≥ 64 and B ≥ 32 | float32 | 2 | 0.40 | 0.80 | packed, 50, 32, 256 |",
        "| rnn | 100, 1, 16 | 3 | 9.00 | 0.10 | 0.10 | - |",
        "| lstm | 10000, 1, 16 | 21 | 10.50 |",
        "| lstm | 50, 32, 128 | Y | blas X | 8 | 12 |",
        "* cases gru float32: no answer",
        "the command",
    ):
        assert line in text.splitlines(), line
    assert platform.node() not in text and str(Path.cwd()) not in text and str(Path.home()) not in text


def test_the_order_of_runs_is_drawn_anew_in_each_round_and_is_the_same_again():
    orders = []
    for _ in range(2):
        called = []
        runs = {name: lambda name=name, called=called: called.append(name) for name in "abc"}
        ticks = iter(range(10**6))
        times = times_in_turns(runs, 0.0, lambda ticks=ticks: next(ticks))
        rounds = [tuple(called[i : i + 3]) for i in range(3, len(called), 3)]
        assert all(sorted(each) == ["a", "b", "c"] for each in rounds) and {len(v) for v in times.values()} == {
            len(rounds)
        }
        orders.append(rounds[:3])
    assert orders[0] == orders[1] and len(set(orders[0])) > 1


def test_calls_in_a_row_are_those_of_one_run_at_a_time():
    called = []
    runs = {name: lambda name=name: called.append(name) for name in "ab"}
    ticks = iter(range(100))
    times = times_in_a_row(runs, 4, lambda: next(ticks))
    assert {name: v.tolist() for name, v in times.items()} == {"a": [1] * 4, "b": [1] * 4}
    assert called in (["a"] * 5 + ["b"] * 5, ["b"] * 5 + ["a"] * 5)
