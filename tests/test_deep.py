"""Deep, long and endless cells: an answer in time, or an error that names the limit and the line."""

import functools
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.equations.notation import writing
from symbptt.language import local_names as recording
from symbptt.zoo import lstm
from tests.readback import as_latex_textbook, assert_read
from tests.test_rounds import calls_of

DEPTH = 80


def chained(h, w, x):
    for _ in range(DEPTH // 2):
        h = np.tanh(w * h + x)
    return h


def in_a_list(h, w, x):
    values = [h]
    for _ in range(DEPTH):
        values.append(np.tanh(values[-1] * w + x))
    return values[-1]


def reduced(h, w, x):
    return functools.reduce(lambda a, _: np.tanh(a), range(DEPTH), w * h + x)


def read_twice(h, w, x):
    values = [h + x]
    for _ in range(20):
        values.append(0.5 * values[-1] + 0.1 * np.sin(w * values[-1]))
    return values[-1]


def polynomial(h, w, x):
    return functools.reduce(lambda a, i: a * h / 10 + 1 / (i + 1), range(DEPTH), w * x)


def nested(h, w, x, depth=DEPTH):
    y = np.tanh(w * h + x)
    return nested(y, w, x, depth - 1) if depth else y


BODIES = {f.__name__: f for f in (chained, in_a_list, reduced, read_twice, polynomial, nested)}


def cell_of(body):
    @sb.cell
    def deep(h: State["n"], w: Param["n"], x: Input["n"]):
        return body(h, w, x)

    return deep


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("T, dtype", [(0, np.float64), (1, np.float64), (3, np.float64), (2, np.float32)])
@pytest.mark.thinned(29, 11)
def test_gradients_of_deep_cells_are_those_by_complex_step(body, T, dtype):
    cell = cell_of(body)
    kernel = sb.compile(cell)
    w, x, h = np.array([1.1, 0.9], dtype), np.full((T, 1, 2), 0.2, dtype), np.array([[0.3, -0.2]], dtype)
    run = kernel.forward({"w": w}, {"x": x}, {"h": h})
    grads = kernel.backward(run, {"h": np.ones((T, 1, 2), dtype)})

    def loss(w, h):
        total = 0.0
        for t in range(T):
            h = body(h, w, x[t].astype(float))
            total = total + h.sum()
        return total

    wide, start = w.astype(float), h.astype(float)
    by_step = [np.imag(loss(wide + 1e-30j * np.eye(2)[i], start)) / 1e-30 for i in range(2)]
    close = {"rtol": 1e-10 if dtype == np.float64 else 1e-4, "atol": 1e-12 if dtype == np.float64 else 1e-6}
    np.testing.assert_allclose(grads.params["w"], by_step, **close)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.thinned(7, 5)
def test_equations_of_deep_cells_are_lines_that_can_be_read(body):
    derivation = sb.derive(cell_of(body))
    lines = derivation.text(style="loop").splitlines()
    assert len(lines) > 3 and max(map(len, lines)) < 20_000
    assert derivation.latex() and sb.unroll(cell_of(body), steps=2, backward=True)
    assert "_" in str(derivation.forward[-1])


def calls_of_unroll(depth):
    cell = cell_of(lambda h, w, x: functools.reduce(lambda a, _: np.tanh(a), range(depth), w * h + x))
    assert cell.step
    return calls_of(lambda: sb.unroll(cell, steps=1, backward=True))[0]


@pytest.mark.long
def test_formulas_are_written_once_not_twice_at_each_level(monkeypatch):
    calls_of_unroll(9)  # SymPy remembers what it has simplified
    assert calls_of_unroll(9) < 4 * calls_of_unroll(6)
    monkeypatch.setattr(writing, "_begins_plainly", lambda e, n, least: writing.at(e, n, least)[0] == "|")
    assert calls_of_unroll(9) > 6 * calls_of_unroll(6)


def test_values_without_names_are_named_where_a_formula_is_too_long_and_nowhere_else():
    names = set(cell_of(in_a_list).step.graph.names.values())
    assert {"z_1", "z_2"} <= names and "z_9" not in cell_of(chained).step.graph.names.values()
    assert not any(name.startswith("z_") for name in lstm.step.graph.names.values())


@pytest.mark.long
def test_parts_have_a_letter_that_nothing_else_has():
    @sb.cell
    def lettered(h: State["n"], z_in: Param["n"], x: Input["s"], v2: Param["n s"]):
        return read_twice(h, z_in, v2 @ x)

    # z_in, the size s and v2 begin with the first letters of parts.
    names, text = lettered.step.graph.names.values(), sb.derive(lettered).text()
    assert "q_1" in names and "q_{1,t} " in text and "part" not in text
    lefts = re.findall(r"^  (\S+) +=", text.partition("Gradients")[0], re.MULTILINE)
    assert len(set(lefts)) == len(lefts) and "q_t" not in lefts and any(left.startswith("da_{q_1,t}") for left in lefts)
    assert_read(lettered, {"n": 3, "s": 2})
    assert_read(lettered, {"n": 3, "s": 2}, printed=as_latex_textbook)


def test_a_jacobian_too_long_for_one_formula_has_parts_and_is_evaluated():
    cell = cell_of(read_twice)
    J = sb.derive(cell).jacobian("h", "h")
    text = J.text()
    assert "u_{1,t} = " in text and len(text) < 100_000
    w, h, x = np.array([1.1]), np.array([0.3]), np.array([0.2])
    by_step = np.imag(read_twice(h + 1e-30j, w, x)) / 1e-30
    np.testing.assert_allclose(J.evaluate({"w": w}, {"x": x}, {"h": h}), by_step[:, None], rtol=1e-12)


@pytest.mark.long
def test_time_grows_little_more_than_the_depth():
    def seconds(depth):
        @sb.cell
        def deep(h: State["n"], w: Param["n"]):
            for _ in range(depth):
                h = np.tanh(w * h)
            return h

        before = time.process_time()
        sb.compile(deep)
        return time.process_time() - before

    seconds(20)
    short, long = seconds(100), seconds(400)
    assert long < 12 * short  # 4 were linear, 16 quadratic, and the cost was cubic


ENDLESS = {
    "values": ("    while True:\n        h = np.tanh(w * h)  # here\n", "more than 10,000 values"),
    "comprehension": ("    h = [h := np.tanh(w * h) for _ in iter(int, 1)][-1]  # here\n", "more than 10,000 values"),
    "lines": ("    i = 0\n    while True: i += 1  # here\n", "lines and calls"),
    "the same value": ("    while True: y = np.tanh(w * h)  # here\n", "lines and calls"),
    "a generator": ("    h = h * sum(1 for _ in iter(int, 1))  # here\n", "lines and calls"),
}
HEAD = "import numpy as np, symbptt as sb\nfrom symbptt import State, Param\n\n\n"


@pytest.mark.parametrize("body, limit", [pytest.param(*case, id=name, marks=[pytest.mark.long] * (name in ("values", "comprehension")))
                                         for name, case in ENDLESS.items()])  # fmt: skip
@pytest.mark.thinned(2, 2)
def test_a_cell_that_never_ends_is_refused_with_the_limit_and_the_line(body, limit, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MOST_EVENTS", 200_000 if limit.startswith("lines") else 10**9)
    text = HEAD + f'@sb.cell\ndef endless(h: State["n"], w: Param["n"]):\n{body}    return h\n'
    path = tmp_path / "endless.py"
    path.write_text(text)
    scope = {"__name__": "cells"}
    exec(compile(text, str(path), "exec"), scope)
    with pytest.raises(sb.CellError, match=limit) as caught:
        sb.derive(scope["endless"])
    line = 1 + next(i for i, line in enumerate(text.splitlines()) if "# here" in line)
    assert f"{path}:{line}, in " in str(caught.value) and "loops over time" in str(caught.value)
    assert sys.gettrace() is None or "symbptt" not in repr(sys.gettrace())


@pytest.mark.parametrize("body", ["while True: pass", "import time; time.sleep(600)"])
@pytest.mark.thinned(2)
def test_a_file_that_never_ends_is_told_of_and_stopped_cleanly(body, tmp_path):
    path = tmp_path / "cells.py"
    path.write_text(body)
    program = (
        "import signal, symbptt.commands.load_target as t, symbptt.commands.main as c\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background of a shell ignores Ctrl-C
        "t.PATIENCE = 0.1; c.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "derive", f"{path}:step"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert said == f"still importing {path} (Ctrl-C stops it)\n" and rest == "interrupted\n" and out == ""
    assert process.returncode == 130


PLACES = ["symbptt_cells", "codegen", "codegen_lab", "zoo", "symbptt/mine", "sympy_more", "site-packages/numpy_cells"]


@pytest.mark.parametrize("folder", PLACES)
def test_names_and_lines_are_those_of_the_user_wherever_the_file_lies(folder, tmp_path):
    place = tmp_path / folder
    place.mkdir(parents=True)
    text = HEAD + '@sb.cell\ndef mine(h: State["n"], w: Param["n"]):\n    gate = np.tanh(w * h)\n    return gate * h\n'
    scope = {"__name__": "cells"}
    exec(compile(text, str(place / "cells.py"), "exec"), scope)
    step = scope["mine"].step
    assert "gate" in step.graph.names.values()
    assert {node.place for node in step.graph if node.family == "map"} == {"cells.py:7", "cells.py:8"}


@pytest.mark.parametrize("beside", ["symbptt_cells", "codegen", "codegen_lab", "symbptt2"])
def test_a_folder_beside_the_package_is_the_users(beside):
    from symbptt.language import user_frames as location

    root = location._HERE.parent
    file = root / beside / "cells.py"
    ours = beside == "codegen" and (root / "codegen").is_dir()
    assert location.is_user_file(str(file)) is not ours
    assert not location.is_user_file(str(location._HERE / "trace.py"))
    assert location.is_user_file(str(location._HERE / "zoo" / "gated.py"))


def test_cells_without_a_file_keep_their_names():
    scope = {}
    exec(HEAD + '@sb.cell\ndef mine(h: State["n"], w: Param["n"]):\n    z = np.tanh(w * h)\n    return z * h\n', scope)
    assert "z_t = tanh(w ⊙ h_{t-1})" in sb.derive(scope["mine"]).text(style="loop")
