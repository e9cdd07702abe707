"""The command line: what it prints, what it refuses, and that `--help` is light."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import symbptt as sb
from symbptt import __version__
from symbptt.commands.load_target import load_target
from symbptt.commands.main import run
from symbptt.comparison import workers as work
from symbptt.verification.report import Report
from symbptt.zoo import rnn
from tests.kernels import kernel_of

ROOT = Path(__file__).parents[1]
CELLS = """
import numpy as np
import symbptt as sb
from symbptt import Input, Param, State
from helper import scale

@sb.cell
def tiny(x: Input["m"], h: State["n"], W: Param["n m"], u: Param["n"]):
    return np.tanh(scale(W @ x) + u * h)

@sb.cell
def idle(x: Input["n"], h: State["n"], p: State["n"]):
    return x * h, h

limit = 3
"""


def python(*arguments, **environment):
    """A run of Python as a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, encoding="utf-8", env=env)


@pytest.fixture
def cells(tmp_path):
    (tmp_path / "helper.py").write_text("def scale(v):\n    return 2 * v\n")
    (tmp_path / "cells.py").write_text(CELLS)
    return tmp_path / "cells.py"


@pytest.fixture
def refused(capsys):
    """refused(arguments...) runs, and returns the one line on stderr of an exit with code 2."""

    def check(*arguments):
        assert run([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and err.startswith("error: "), (out, err)
        return err

    return check


def test_help_imports_nothing_heavy():
    code = """if True:
        import sys
        from symbptt.commands.main import run
        run(["build", "--help"])
        heavy = {"sympy", "numpy", "networkx", "matplotlib"} & set(sys.modules)
        assert not heavy, heavy
    """
    done = python("-c", code)
    assert done.returncode == 0 and "TARGET" in done.stdout, done.stderr


def test_help_is_what_no_arguments_give(capsys):
    assert run([]) == run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(out.count(command) >= 2 for command in ("derive", "graph", "generate", "verify", "build"))


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"symbptt {__version__}\n"


@pytest.mark.long
def test_module_runs_as_a_program_and_colours_nothing():
    done = python("-m", "symbptt", "derive", "rnn", NO_COLOR="1", COLUMNS="40")
    assert done.returncode == 0 and "dh_t = dL/dh_t + Uᵀ da_{t+1}" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    done = python("-m", "symbptt", "derive", "nothing")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


@pytest.mark.long
def test_output_without_the_letters_is_readable():
    done = python("-m", "symbptt", "derive", "rnn", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "a_t = W x_t + U h_{t-1} + b" in done.stdout


def test_derive_prints_text_or_latex(capsys, cells):
    assert run(["derive", f"{cells}:tiny"]) == 0
    assert "h_t = tanh(" in capsys.readouterr().out
    assert run(["derive", "--latex", "rnn"]) == 0
    assert r"\tanh" in capsys.readouterr().out


def test_warnings_are_one_line(capsys, cells):
    assert run(["derive", f"{cells}:idle"]) == 0
    err = capsys.readouterr().err
    assert re.fullmatch(r"warning: the state 'p' of idle is never used.*\n", err)


def test_graph_prints_a_table_and_writes_files(capsys, tmp_path):
    assert run(["graph", "rnn", "--steps", "1"]) == 0
    out = capsys.readouterr().out
    assert "tanh(W x_1 + U h_0 + b)" in out and "(n, m)" in out and "adjoint" not in out
    for name in ("g.svg", "g.png", "g.json", "g.dot", "g.graphml", "g.gml"):
        assert run(["graph", "rnn", "--backward", "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 500
    assert len(json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))["nodes"]) == 21


def test_generate_writes_what_it_prints(capsys, tmp_path):
    assert run(["generate", "rnn"]) == 0
    printed = capsys.readouterr().out
    assert run(["generate", "rnn", "-o", str(tmp_path / "rnn.py")]) == 0
    assert (tmp_path / "rnn.py").read_text(encoding="utf-8") == printed


OPTIONED = """
import numpy as np
import symbptt as sb
from symbptt import Const, Input, Param, State, Target

@sb.cell
def leaky(x: Input["n"], h: State["n"], U: Param["n n"], dt: Const = 0.1, tau: Const["n"] = 2.0, kind: Const = "tanh"):
    return h + dt * ((np.tanh(U @ h) if kind == "tanh" else sb.relu(U @ h)) + x - h) / tau

@sb.loss
def squared(h: State["n"], y: Target["n"]):
    return sb.sum((h - y) ** 2)

leaky_model = sb.model(leaky, squared)
"""


@pytest.fixture
def optioned(tmp_path):
    (tmp_path / "optioned.py").write_text(OPTIONED)
    return tmp_path / "optioned.py"


@pytest.mark.parametrize(("words", "options"), [
    ("--truncation window=2 --const dt=.05 --const tau=[1,2] --const kind=relu",
     {"truncation": sb.Window(2), "consts": {"dt": 0.05, "tau": [1, 2], "kind": "relu"}}),
    ("--truncation chunked=2,4 --clip-adjoint 1.5", {"truncation": sb.Chunked(2, 4), "clip_adjoint": 1.5}),
    ("--memory sqrt", {"memory": "sqrt"}), ("--memory 100000", {"memory": 100000}), ("--memory all", {}),
])  # fmt: skip
@pytest.mark.thinned(7)
def test_generate_and_plan_take_the_options_of_compile(capsys, optioned, words, options):
    kernel = sb.compile(load_target(f"{optioned}:leaky_model", models=True), **options)
    assert run(["generate", f"{optioned}:leaky_model", *words.split()]) == 0
    assert capsys.readouterr().out == kernel.source
    assert run(["plan", f"{optioned}:leaky_model", *words.split()]) == 0
    assert capsys.readouterr().out == f"{kernel.plan}\n"


@pytest.mark.parametrize(("words", "message"), [
    ("--truncation window", "window=K or chunked=K1,K2, got 'window'"), ("--truncation window=2,3", "got 'window=2,3'"),
    ("--truncation chunked=2,", "--truncation window=20"), ("--truncation window=0", "k counts steps"), ("--memory much", "got 'much'"),
    ("--memory sqrt --truncation window=2", "memory='sqrt' does not go with Window(k=2)"), ("--clip-adjoint 0", "clip_adjoint is a positive number"),
    ("--const dt", "no value of a constant in 'dt'"), ("--const dt=1 --const dt=2", "'dt' has two values"), ("--const dx=1", "known: dt, tau, kind"),
    ("--const dt=fast", "'dt' must be a real number"), ("--const tau=[[1],[2,3]]", "rows of several lengths"),
    ("--target c --truncation window=2", "the C target does not have truncation yet, got truncation=Window(k=2)"),
    ("--target torch --memory sqrt", "the torch target does not have memory yet"),
    ("--target jax --memory 9000", "the jax target does not have memory yet"),
])  # fmt: skip
@pytest.mark.thinned(4)
def test_options_that_do_not_go_are_refused(refused, optioned, words, message):
    assert message in refused("generate", f"{optioned}:leaky", *words.split())


@pytest.mark.parametrize(("name", "words"), [
    ("x.c", "--target c"), ("x.h", "--target c"), ("x.txt", "a name such as x.py"), ("x.csv", "ends with .py, got 'x.csv'"),
])  # fmt: skip
def test_a_module_is_no_file_of_another_kind(refused, tmp_path, name, words):
    assert words in refused("generate", "rnn", "-o", tmp_path / name)
    with pytest.raises(sb.TargetError, match="a Python module ends with .py"):
        kernel_of(rnn).save(tmp_path / name)
    assert not list(tmp_path.iterdir())
    kernel_of(rnn).save(tmp_path / "RNN.PY")
    kernel_of(rnn).save(tmp_path / "plain")


POSITIVE = """
import numpy as np
import symbptt as sb
from symbptt import Input, Param, State

@sb.cell
def logarithmic(x: Input["n"], keep: Input["n"], h: State["n"], p: Param["n"]):
    return keep * h * np.log(p) + np.sqrt(x * (1 - x))
"""


@pytest.mark.parametrize(("text", "message"), [
    ("x", "no domain in 'x'"), ("=0,1", "no domain in '=0,1'"), ("x=", "no domain in 'x='"),
    ("z=0,1", "draws no 'z'"), ("x=1,0", "lowest first"), ("x=0,b", "lowest first"),
    ("x=0,1,2", "lowest first"), ("x=nan,1", "lowest first"), ("x=odd", "binary, integer, got 'odd'"),
    ("keep=1", "write --domain keep=0..1 or --domain keep=binary"), ("p=2", "write --domain p=0..1"),
])  # fmt: skip
def test_verify_refuses_what_is_no_domain(refused, tmp_path, text, message):
    file = tmp_path / "positive.py"
    file.write_text(POSITIVE)
    said = refused("verify", f"{file}:logarithmic", "--domain", text)
    assert message in said and "domain={" not in said


def test_verify_refuses_two_domains_of_one_argument(refused, cells):
    text = refused("verify", f"{cells}:tiny", "--domain", "x=0,1", "--domain", "x=binary")
    assert "'x' has two domains" in text


def test_verify_passes_and_fails_with_its_exit_code(capsys, monkeypatch, cells):
    assert run(["verify", f"{cells}:tiny"]) == 0
    assert "tiny: passed" in capsys.readouterr().out
    monkeypatch.setattr(Report, "passed", property(lambda self: False))
    assert run(["verify", f"{cells}:tiny"]) == 1


def test_build_does_the_main_job(capsys, tmp_path, cells):
    data = tmp_path / "data.csv"
    data.write_text("year,a,b\n" + "".join(f"{1900 + i},{i % 3},{i % 5}\n" for i in range(20)))
    out = tmp_path / "out"
    for _ in range(2):
        assert run(["build", f"{cells}:tiny", "--data", str(data), "-o", f"{out}/", "--hidden", "4"]) == 0
    printed = capsys.readouterr().out
    for text in ("m = 2, n = 4", "20, year 1900 to 1919", "x = a, b", "passed"):
        assert text in printed
    written = {
        "summary.md",
        "equations.md",
        "equations.tex",
        "tiny_bptt.py",
        "verification.txt",
        "certificate.json",
        "unrolled.svg",
        "adjoint_norm.svg",
    }
    written |= {"stability.txt", "stability.json", "stability.svg", "report.html"}
    assert "--hidden 4 --seed 0" in printed and "--hidden 4 --seed 0" in (out / "report.html").read_text(
        encoding="utf-8"
    )
    assert {path.name for path in out.iterdir()} == written


@pytest.mark.long
def test_one_target_is_analysed_and_written(capsys, tmp_path, cells):
    out, figure = tmp_path / "out", tmp_path / "figure.png"
    assert (
        run(["analyze", f"{cells}:tiny", "--steps", "40", "--hidden", "3", "-o", str(out), "--figure", str(figure)])
        == 0
    )
    printed = capsys.readouterr().out
    assert "Verdict: vanishing" in printed and "Advice" in printed
    assert (out / "stability.txt").read_text(encoding="utf-8").endswith(printed)
    assert {path.name for path in out.iterdir()} == {"stability.txt", "stability.json", "stability.svg"}
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_mistakes_on_the_command_line_are_one_line(refused, tmp_path):
    assert "did you mean lstm?" in refused("derive", "lstmm")
    assert "No such command" in refused("derives")
    assert "Missing argument" in refused("derive")
    assert "No such option" in refused("derive", "rnn", "--nothing")
    assert "at least 0" in refused("graph", "rnn", "--steps", "-1")
    assert "nothing happens in 0 steps" in refused("graph", "rnn", "--steps", "0")
    assert "1 to 12 steps" in refused("graph", "rnn", "--steps", "40", "-o", tmp_path / "a.svg")
    assert "cannot write" in refused("generate", "rnn", "-o", tmp_path / "none" / "rnn.py")
    assert "hidden size" in refused("build", "rnn", "--hidden", "0", "-o", tmp_path / "out")
    assert "No such file" in refused("build", "rnn", "--data", tmp_path / "none.csv", "-o", tmp_path / "out")


def test_files_that_hold_no_cell_are_refused(refused, cells):
    assert "there is no file" in refused("derive", "nowhere.py:tiny")
    assert "is a folder" in refused("derive", f"{cells.parent}:tiny")
    assert "did you mean tiny?" in refused("derive", f"{cells}:tinny")
    assert "limit is no cell" in refused("derive", f"{cells}:limit")
    assert re.search(r"which cell of .*it has tiny, idle", refused("derive", cells))


@pytest.mark.parametrize("text, message", [
    (b"x = 1\ny = 1 / 0\n", "raised ZeroDivisionError at line 2: division by zero"),
    (b"x = (\n", "raised SyntaxError at line 1: '(' was never closed"),
    (b"import nothing_of_the_kind\n", "raised ModuleNotFoundError at line 1"),
    (b"import sys\nsys.exit(0)\n", "raised SystemExit at line 2"),
    (b"x = '\xff'\n", "is not UTF-8"),
    (b"import symbptt as sb\n@sb.cell\ndef a(h): return h\n", "the argument 'h' of a has no role"),
])  # fmt: skip
def test_files_that_cannot_be_imported_are_refused(refused, tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_bytes(text)
    assert message in refused("derive", f"{path}:a")


@pytest.mark.long
def test_reader_that_goes_away_ends_the_program_quietly():
    command = f'"{sys.executable}" -m symbptt graph lstm --steps 60 --backward | head -n 1'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, encoding="utf-8", env=env)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


# Designs compared


def test_analyze_compares_cells_and_writes_results_and_figure(cells, tmp_path, capsys):
    pytest.importorskip("joblib")
    given = ["analyze", "rnn", f"{cells}:tiny", "--sizes", "2,3", "--gains", "0.5,1", "--seeds", "2", "--steps", "20"]
    written = ["-o", str(tmp_path / "r.csv"), "--figure", str(tmp_path / "r.svg")]
    assert run([*given, *written]) == 0
    first = (tmp_path / "r.csv").read_bytes(), (tmp_path / "r.svg").read_bytes()
    out = capsys.readouterr().out
    assert out.count("\n rnn") == out.count("\n tiny") == 4 and "nats per step" in " ".join(out.split())
    assert first[0].count(b"\n") == 17 and b"<svg" in first[1]
    assert run([*given, *written]) == 0
    assert ((tmp_path / "r.csv").read_bytes(), (tmp_path / "r.svg").read_bytes()) == first
    assert capsys.readouterr().out == out


def test_analyze_tells_cells_of_one_name_apart_by_their_targets(cells, tmp_path, capsys, monkeypatch):
    pytest.importorskip("joblib")
    monkeypatch.chdir(tmp_path)
    cells.with_name("b.py").write_text(cells.read_text())
    assert run(["analyze", "cells.py:tiny", "b.py:tiny", "--sizes", "2", "--seeds", "1", "--steps", "9"]) == 0
    out = capsys.readouterr().out
    assert "cells.py:tiny" in out and "b.py:tiny" in out


def test_analyze_has_exit_code_1_where_a_row_failed_and_tells_the_others(cells, capsys):
    pytest.importorskip("joblib")
    two = 'def tiny(v: Input["m"], x: Input["m"], h'
    cells.write_text(
        cells.read_text().replace('def tiny(x: Input["m"], h', two).replace("scale(W @ x)", "scale(W @ (x + v))")
    )
    data = str(ROOT / "docs/data/sunspots.csv")
    assert run(["analyze", "rnn", f"{cells}:tiny", "--data", data, "--sizes", "2", "--seeds", "1"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "rnn 2 1 1 -0." in out and "Failed: tiny, size 2, gain 1, seed 0: tiny has the inputs v, x" in out


@pytest.mark.parametrize("written", [True, False])
def test_an_interrupted_comparison_says_what_it_leaves(written, tmp_path, capsys, monkeypatch):
    pytest.importorskip("joblib")
    done, plain, path = [], work.row_of, tmp_path / "r.csv"

    def row_of(task):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(task)
        return plain(task)

    monkeypatch.setattr(work, "row_of", row_of)
    given = ["analyze", "rnn", "gru", "--sizes", "2", "--seeds", "2", "--steps", "9", *["-o", str(path)] * written]
    assert run(given) == 130
    left = f"are in {path}; the same command goes on from them" if written else "were measured and are lost; with"
    err = capsys.readouterr().err
    assert err.startswith(f"2 of 4 rows {left}") and err.endswith("\ninterrupted\n")
    assert not written or path.read_bytes().count(b"\n") == 3


def test_an_interrupt_is_told(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("symbptt.commands.main.load_target", interrupt)
    assert run(["derive", "rnn"]) == 130 and capsys.readouterr().err.strip() == "interrupted"


@pytest.mark.parametrize("arguments, what", [
    (["rnn", "--sizes", "2,b"], "--sizes: numbers with commas"),
    (["rnn", "--gains", ""], "--gains: numbers with commas"),
    (["rnn", "--gains", "nan"], "gains: finite numbers"),
    (["rnn", "gru", "--jobs", "0"], "jobs: a number of processes"),
    (["rnn", "nothing"], "the zoo has no cell 'nothing'"),
    (["rnn", "--data", "nowhere.csv"], "nowhere.csv"),
    (["rnn", "gru", "-o", "results.txt"], ".csv or .parquet"),
    (["rnn", "gru", "--data", str(ROOT / "docs/data/sunspots.csv"), "--steps", "3"], "steps=3 beside data"),
    (["rnn", "rnn"], "rnn is given twice"),
    (["rnn", "gru", "--horizon", "9"], "--horizon is not an option for a comparison"),
    (["rnn", "--seeds", "2", "--seed", "1"], "--seed is not an option for a comparison"),
    ([], "Missing argument"),
])  # fmt: skip
def test_what_analyze_refuses_is_one_line(refused, arguments, what):
    assert what in refused("analyze", *arguments)
