"""Bad input that no other file has: files, memory, numbers that are none, names alike; and one line on the command line.

What a cell may not be is in test_cell.py, what an array may not be in test_kernel.py, in tables test_report.py.
"""

import errno
import os
import pickle
import re
import textwrap
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Output, Param, State, Target, files
from symbptt.codegen import kernel
from symbptt.commands.main import run
from symbptt.drawing.graph import draw_unrolled
from symbptt.language.numpy_dispatch import call_ufunc
from symbptt.zoo import lstm, rnn
from tests import brute
from tests.cells import vanilla
from tests.kernels import kernel_of

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(arguments...) runs the command, and returns the one line on stderr of an exit with code 2."""

    def check(*arguments: Any) -> str:
        assert run([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and err.startswith("error: "), (out, err)
        return err

    return check


# Cells, on the command line: one line, with a place and a cure.

HEAD = (
    "import numpy as np\nimport symbptt as sb\nfrom symbptt import Const, Index, Input, Output, Param, State, Target\n"
)
CELLS: dict[str, tuple[str, str]] = {
    "a missing annotation": ("def step(x, h: State['n']):\n    return h", "no role.*annotate it"),
    "an unknown role": ("def step(x: Imput['m'], h: State['n']):\n    return h", "NameError.*Imput"),
    "a misspelt state": ("def step(hidden: State['n']):\n    return {'hiden': hidden}", "did you mean 'hiden'"),
    "a misspelt function": ("def step(h: State['n']):\n    return sb.sigmod(h)", "did you mean 'sigmoid'"),
    "too few states": ("def step(h: State['n'], c: State['n']):\n    return h", "returns 1 value for 2 states"),
    "another shape": ("def step(h: State['n']):\n    return h.sum()", r"shape \(\), the state has \(n,\)"),
    "a branch on a value": ("def step(h: State['n']):\n    return h if h[0] > 0 else -h", r"branch on a value.*sb\.where"),
    "an unknown NumPy function": ("def step(h: State['n']):\n    return np.spacing(h)", r"spacing is not known.*sb\.function"),
    "no derivative": ("def step(h: State['n']):\n    return h * np.unique(h)", "unique is not known"),
    "a dimension with two sizes": ("def step(h: State['3'], b: Param['4']):\n    return h + b", "3 is not 4"),
    "a product": ("def step(h: State['n'], W: Param['m n']):\n    return h @ W", "does not conform.*order of the dimensions"),
    "a larger bias": ("def step(h: State['n'], b: Param['k n']):\n    return h + b", "return an array of the state's shape"),
    "a dangerous dimension": ("def step(h: State['9**9**9']):\n    return h", r"'9\*\*9\*\*9'.*names or integers"),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_wrong_cell_is_one_line_with_a_place_and_a_cure(name: str, refused: Refused, tmp_path: Path) -> None:
    source, words = CELLS[name]
    path = tmp_path / "my cells.py"
    path.write_text(f"{HEAD}\n\n@sb.cell\n{textwrap.dedent(source)}\n", "utf-8")
    line = refused("derive", f"{path}:step")
    assert re.search(words, line), line
    assert re.search(r"my cells\.py(:\d+| raised \w+ at line \d+)", line), line


def step_with_outputs(*names: str) -> sb.Cell:
    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        return {"h": h + x, **dict.fromkeys(names, 2.0 * h)}

    return step


def test_names_that_are_equal_after_normalisation_are_refused() -> None:
    """Python takes both spellings of an argument for one name; outputs are text and may differ."""
    ligature = "\ufb01"  # ﬁ, which normalises to fi
    with pytest.raises(sb.CellError, match=r"two outputs .*'fi'(.|\n)*test_bad_input\.py:\d+"):
        assert step_with_outputs("fi", ligature).step


def test_output_that_normalises_to_an_argument_is_refused() -> None:
    @sb.cell
    def step(x: Input["n"], fi: State["n"]):
        return {"fi": fi + x, "\ufb01": fi}

    with pytest.raises(sb.CellError, match="name of an argument|two"):
        assert step.step


def test_argument_given_twice_in_two_spellings_is_refused(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "cells.py"
    path.write_text(f"{HEAD}@sb.cell\ndef step(\ufb01: Input['n'], fi: State['n']):\n    return fi\n", "utf-8")
    assert "duplicate argument 'fi'" in refused("derive", f"{path}:step")


@pytest.mark.parametrize(
    "names", [("lambda", "class"), ("np", "print"), ("T", "self"), ("einsum", "__name__")], ids=str
)
def test_output_may_be_called_like_a_keyword_or_what_a_module_has(names: tuple[str, ...]) -> None:
    kernel = sb.compile(step_with_outputs(*names))
    run = kernel.forward({}, {"x": np.ones((2, 1, 3))})
    assert set(run.outputs) == set(names)
    grads = kernel.backward(run, {name: np.ones((2, 1, 3)) for name in names})
    np.testing.assert_array_equal(grads.inputs["x"][:, 0, 0], [2.0 * len(names), 0.0])


# Numbers that are none: the name, the first step, the sample.

P, X, S = (getattr(brute.data_of(vanilla, 4, 2, {"m": 2, "n": 3}), group) for group in ("params", "inputs", "state"))


@cache
def model(at: str) -> sb.Kernel:
    @sb.loss
    def loss(h: State["n"], y: Target["n"]):
        return sb.sum((h - y) ** 2)

    return sb.compile(sb.model(vanilla, loss, at=at))


Y = {"y": np.ones((4, 2, 3))}
ONE = {"x": X["x"][0]}
BOTH = {f"{way}.{name}": value for way in ("forward", "backward") for name, value in P.items()}


@cache
def every() -> sb.Kernel:
    return model("every")


def stepped() -> Any:
    """A stepper that has made a step: the next one need not be checked as a first one is."""
    stepper = kernel_of(vanilla).stepper(P)
    stepper(ONE)
    return stepper


def spoilt(array: Any, *places: tuple[int, ...], bad: float) -> Any:
    array = array.copy()
    for place in places:
        array[place] = bad
    return array


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_number_that_is_none_is_reported_with_name_first_step_and_sample(bad: float) -> None:
    x, h = spoilt(X["x"], (2, 1, 0), (1, 1, 1), (3, 0, 0), bad=bad), spoilt(S["h"], (1, 2), bad=bad)
    with pytest.raises(
        sb.ArgumentError, match=rf"x: {bad} at step 1, sample 1 .*finite numbers(.|\n)*kernel of vanilla"
    ):
        kernel_of(vanilla).forward(P, {"x": x}, S)
    with pytest.raises(sb.ArgumentError, match=rf"h: {bad} at sample 1 "):
        kernel_of(vanilla).forward(P, X, {"h": h})
    with pytest.raises(sb.ArgumentError, match=rf"x: {bad} at step 1"):
        kernel_of(vanilla).forward(P, {"x": x[:, 1]}, {"h": S["h"][1]})
    for at, y in (("every", np.ones((4, 2, 3))), ("last", np.ones((2, 3)))):
        place = (3, 0, 2)[4 - 1 - y.ndim if at == "every" else 1 :]
        words = rf"y: {bad} at " + ("step 3, sample 0" if at == "every" else "sample 0")
        with pytest.raises(sb.ArgumentError, match=words):
            model(at).value_and_grad(P, X, {"y": spoilt(y, place, bad=bad)}, S)


@pytest.mark.parametrize("name", ["W", "U", "b"])
def test_parameter_that_is_no_number_is_reported_with_its_name(name: str) -> None:
    with pytest.raises(sb.ArgumentError, match=rf"{name}: nan at "):
        kernel_of(vanilla).forward(P | {name: spoilt(P[name], (1,), bad=np.nan)}, X, S)
    with pytest.raises(sb.ArgumentError, match=r"b: -inf at index \(2,\); finite numbers are expected"):
        model("last").value_and_grad(P | {"b": spoilt(P["b"], (2,), bad=-np.inf)}, X, {"y": np.ones((2, 3))}, S)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parameter_that_is_one_number_is_looked_at_too(bad: float) -> None:
    @sb.cell
    def scaled(x: Input["n"], h: State["n"], a: Param):
        return a * h + x

    for value in (bad, np.float64(bad), np.array(bad)):
        with pytest.raises(sb.ArgumentError, match=rf"a: {bad}; finite numbers"):
            kernel_of(scaled).forward({"a": value}, {"x": np.ones((2, 1, 3))})


def test_cotangent_that_is_no_number_is_reported_with_its_name_and_step() -> None:
    run = kernel_of(vanilla).forward(P, X, S)
    with pytest.raises(sb.ArgumentError, match=r"h: nan at step 2, sample 1"):
        kernel_of(vanilla).backward(run, {"h": spoilt(np.ones((4, 2, 3)), (2, 1, 0), bad=np.nan)})
    with pytest.raises(
        sb.ArgumentError, match=r"h: inf at sample 1 \(index \(1, 2\)\); finite(.|\n)*kernel of vanilla"
    ):
        kernel_of(vanilla).backward(run, {"h": spoilt(np.ones((2, 3)), (1, 2), bad=np.inf)})
    alone = kernel_of(vanilla).forward(P, {"x": X["x"][:, 0]})
    with pytest.raises(sb.ArgumentError, match=r"h: inf at step 1, sample 0"):
        kernel_of(vanilla).backward(alone, {"h": spoilt(np.ones((4, 3)), (1, 2), bad=np.inf)})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_are_numbers(dtype: Any) -> None:
    large = np.full((1, 2, 2), np.finfo(dtype).max, dtype)
    cell = step_with_outputs()
    run = sb.compile(cell).forward({}, {"x": large})
    np.testing.assert_array_equal(run.states["h"], large)


def test_number_that_is_none_after_the_end_of_a_sample_is_not_looked_at() -> None:
    x = spoilt(X["x"], (2, 1, 0), bad=np.nan)
    kernel_of(vanilla).forward(P, {"x": x}, S, lengths=[4, 2])
    with pytest.raises(sb.ArgumentError, match="x: nan at step 2, sample 1"):
        kernel_of(vanilla).forward(P, {"x": x}, S, lengths=[4, 3])


# Memory.


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> int:
    """A machine of one megabyte, asked from the first step on."""
    monkeypatch.setattr(kernel, "bytes_of_memory", lambda: 10**6)
    monkeypatch.setattr(kernel, "LARGE", 1)
    return 10**6


LONG = {"x": np.broadcast_to(0.5, (20000, 4, 2))}


def assert_refused_before_it_is_allocated(call: Callable[[], Any], limit: int) -> str:
    tracemalloc.start()
    try:
        with pytest.raises(sb.ArgumentError) as caught:
            call()
        assert tracemalloc.get_traced_memory()[1] < 2 * limit
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert re.search(r"20000 steps of 4 samples take [\d,]+ bytes, the machine has 1,000,000", message), message
    return message


def test_tape_larger_than_memory_is_refused_with_the_bytes_and_what_would_fit(small_machine: int) -> None:
    kernel = kernel_of(vanilla)
    kernel.plan, kernel.module  # noqa: B018 made before the count
    message = assert_refused_before_it_is_allocated(lambda: kernel.forward(P, LONG), small_machine)
    cure = re.search(r"truncation=sb\.(Chunked\((\d+), \2\)), which holds (\d+) steps", message)
    assert cure
    size = int(cure[2])
    fitting = sb.compile(model("every").target, truncation=sb.Chunked(size, size)).plan
    assert fitting.steps_held(20000) == int(cure[3])
    assert small_machine / 4 < fitting.bytes(20000, 4, m=2, n=3) <= small_machine


def test_training_on_a_tape_larger_than_memory_is_refused_and_the_cure_works(small_machine: int) -> None:
    kernel, y = model("every"), np.broadcast_to(0.0, (20000, 4, 3))
    kernel.plan, kernel.module  # noqa: B018 made before the count
    message = assert_refused_before_it_is_allocated(lambda: kernel.value_and_grad(P, LONG, {"y": y}), small_machine)
    size = int(re.search(r"Chunked\((\d+),", message)[1])  # type: ignore[index]
    chunked = sb.compile(kernel.target, truncation=sb.Chunked(size, size))
    value, _ = chunked.value_and_grad(P, {"x": LONG["x"][:2000]}, {"y": y[:2000]})
    assert np.isfinite(value)


def test_forward_of_a_truncated_kernel_is_refused_too(small_machine: int) -> None:
    kernel = sb.compile(vanilla, truncation=sb.Window(3))
    kernel.plan, kernel.module  # noqa: B018 made before the count
    assert_refused_before_it_is_allocated(lambda: kernel.forward(P, LONG), small_machine)


def test_forward_holds_all_steps_whatever_the_truncation() -> None:
    full, window = (sb.compile(vanilla, truncation=t).plan for t in (None, sb.Window(3)))
    assert window.steps_held(100) == 5 and window.of_all_steps.steps_held(100) == 100
    assert window.of_all_steps.bytes(100, 2, m=2, n=3) == full.bytes(100, 2, m=2, n=3)
    assert "forward and backward hold all" in str(window)


def test_window_larger_than_memory_is_refused_in_training(small_machine: int) -> None:
    kernel = sb.compile(model("every").target, truncation=sb.Window(15000))
    kernel.plan, kernel.module  # noqa: B018 made before the count
    y = np.broadcast_to(0.0, (20000, 4, 3))
    assert_refused_before_it_is_allocated(lambda: kernel.value_and_grad(P, LONG, {"y": y}), small_machine)


def test_what_fits_is_not_refused(small_machine: int) -> None:
    assert kernel_of(vanilla).forward(P, {"x": LONG["x"][:500]}).states["h"].shape == (500, 4, 3)


# Files.


OLD = '"""Backpropagation through time for the cell old, written by symbptt 0.0."""'


def test_module_replaces_the_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "rnn.py"
    path.write_text(OLD, "utf-8")
    kernel_of(rnn).save(path)
    assert path.read_text("utf-8") == kernel_of(rnn).source
    assert [p.name for p in tmp_path.iterdir()] == ["rnn.py"]


@pytest.mark.parametrize("command", [["generate", "rnn"], ["graph", "rnn"]])
@pytest.mark.parametrize("suffix", [".py", ".json", ".dot", ".svg", ".png"])
def test_folder_that_is_missing_is_one_line(command: list[str], suffix: str, refused: Refused, tmp_path: Path) -> None:
    if (command[0] == "generate") == (suffix == ".py"):
        path = tmp_path / "none" / f"out{suffix}"
        assert f"cannot write {path}: No such file or directory" in refused(*command, "-o", path)


@pytest.mark.parametrize("suffix", [".py", ".json", ".svg"])
def test_folder_where_a_file_is_due_is_one_line(suffix: str, refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    path.mkdir()
    command = ["generate", "rnn"] if suffix == ".py" else ["graph", "rnn"]
    assert "cannot write" in refused(*command, "-o", path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "nothing is left behind"


def full(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*args: Any, **kwargs: Any) -> Any:
    raise KeyboardInterrupt


class HalfWritten:
    """A file that takes a part of what is written, and then no more."""

    def __init__(self, file: Any, failure: Callable[..., Any]) -> None:
        self.file, self.failure, self.name = file, failure, file.name

    def __enter__(self) -> "HalfWritten":
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def write(self, text: str) -> None:
        self.file.write(text[: len(text) // 2])
        self.file.flush()
        self.failure()


def breaks_at_the_rename(monkeypatch: pytest.MonkeyPatch, failure: Callable[..., Any]) -> None:
    monkeypatch.setattr(os, "replace", failure)


def breaks_in_the_middle(monkeypatch: pytest.MonkeyPatch, failure: Callable[..., Any]) -> None:
    opened = files.tempfile.NamedTemporaryFile
    monkeypatch.setattr(files.tempfile, "NamedTemporaryFile", lambda *a, **k: HalfWritten(opened(*a, **k), failure))


@pytest.mark.parametrize("breaks", [breaks_at_the_rename, breaks_in_the_middle])
@pytest.mark.parametrize("before", [None, OLD])
def test_full_disk_leaves_what_was_there_and_says_so(breaks: Any, before: str | None, monkeypatch: pytest.MonkeyPatch,
                                                     refused: Refused, tmp_path: Path) -> None:  # fmt: skip
    path = tmp_path / "rnn.py"
    if before is not None:
        path.write_text(before, "utf-8")
    breaks(monkeypatch, full)
    with pytest.raises(sb.TargetError, match=f"cannot write {re.escape(str(path))}: No space left on device"):
        kernel_of(rnn).save(path)
    assert "No space left on device" in refused("generate", "rnn", "-o", path)
    assert {p.name: p.read_text("utf-8") for p in tmp_path.iterdir()} == ({} if before is None else {"rnn.py": before})


@pytest.mark.parametrize("breaks", [breaks_at_the_rename, breaks_in_the_middle])
def test_interrupted_write_leaves_what_was_there(breaks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "rnn.py"
    path.write_text(OLD, "utf-8")
    breaks(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        kernel_of(rnn).save(path)
    assert {p.name: p.read_text("utf-8") for p in tmp_path.iterdir()} == {"rnn.py": OLD}


@pytest.mark.parametrize("name", ["g.svg", "g.png"])
@pytest.mark.parametrize("failure", [full, interrupted], ids=["full", "interrupted"])
def test_broken_write_of_a_drawing_leaves_what_was_there(name: str, failure: Any, monkeypatch: pytest.MonkeyPatch,
                                                         tmp_path: Path) -> None:  # fmt: skip
    path, write = tmp_path / name, Path.write_bytes

    def half(self: Path, data: bytes) -> None:
        write(self, data[: len(data) // 2])
        failure()

    path.write_bytes(b"mine")
    monkeypatch.setattr(Path, "write_bytes", half)
    breaks_at_the_rename(monkeypatch, failure)
    with pytest.raises((sb.TargetError, KeyboardInterrupt)):
        draw_unrolled(sb.unroll(rnn, steps=1), path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {name: b"mine"}


@pytest.mark.parametrize("kind", ["npz", "truncated npz", "npy", "pickle"])
def test_data_that_are_no_text_are_refused_and_never_unpickled(kind: str, refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(str(tmp_path / "trap")), 0) + b"\n1\n")
    else:
        with path.open("wb") as file:
            (np.save if kind == "npy" else np.savez)(file, np.random.default_rng(0).standard_normal((50, 2)))
        if kind == "truncated npz":
            path.write_bytes(path.read_bytes()[:300])
    assert str(path) in refused("build", "rnn", "--data", path, "-o", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["data.csv"]


class Trap:
    """Opens a file where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


@pytest.mark.parametrize("suffix", [".svg", ".png", ".dot", ".json"])
def test_graphs_are_drawn_where_there_is_no_graphviz(
    suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["graph", "rnn", "--steps", "1", "-o", str(tmp_path / f"g{suffix}")]) == 0
    assert (tmp_path / f"g{suffix}").stat().st_size > 300


@pytest.mark.parametrize(
    "environment", [{"COLUMNS": "20"}, {"COLUMNS": "1"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str
)
@pytest.mark.parametrize("command", [["zoo"], ["graph", "rnn", "--steps", "1"], ["derive", "lstm"]], ids=" ".join)
def test_output_is_plain_text_without_a_terminal_however_narrow(command: list[str], environment: dict[str, str],
                                                                monkeypatch: pytest.MonkeyPatch,
                                                                capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert out.strip() and "\x1b" not in out and err == ""


@pytest.mark.parametrize("folder", ["with space", "ünï", "quote'", "a:b", "100%"])
def test_paths_may_hold_any_letter(folder: str, tmp_path: Path) -> None:
    place = tmp_path / folder
    place.mkdir()
    (place / "cells.py").write_text(f"{HEAD}@sb.cell\ndef tiny(h: State['n']):\n    return np.tanh(h)\n", "utf-8")
    assert run(["generate", f"{place / 'cells.py'}:tiny", "-o", str(place / "tiny.py")]) == 0
    scope: dict[str, Any] = {"__name__": "tiny"}
    exec(compile((place / "tiny.py").read_text("utf-8"), "tiny.py", "exec"), scope)
    assert scope["forward"]({}, steps=2, state={"h": np.ones(2)}).states["h"].shape == (2, 2)


# Arguments of the public functions that take no arrays.


@sb.cell
def reader(i: Index["v"], h: State["n"], E: Param["v n"]):
    return np.tanh(E[i] + h)


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "a size that lacks": (lambda: lstm.init({"m": 2}), "lstm.init needs the size 'n'"),
    "a size that is unknown": (lambda: lstm.init({"m": 2, "n": 2, "k": 2}), "lstm has no size 'k'"),
    "a size of zero": (lambda: lstm.init({"m": 0, "n": 2}), "'m' must be a positive integer, got 0"),
    "a size that is no integer": (lambda: lstm.init({"m": 2.0, "n": 2}),  # type: ignore[dict-item]
                                 "'m' must be a positive integer, got 2.0"),
    "a parameter that is unknown": (lambda: lstm.init({"m": 2, "n": 2}, Wx=1), "'Wx' is no parameter of lstm"),
    "sizes that are no dict": (lambda: lstm.init(3), "sizes|dims"),  # type: ignore[arg-type]
    "a constant that is unknown": (lambda: sb.compile(lstm, consts={"dt": 1}), "'dt' is no constant of lstm"),
    "constants that are no dict": (lambda: sb.compile(lstm, consts=3), "consts"),  # type: ignore[arg-type]
    "an option of truncation": (lambda: sb.compile(lstm, truncation=5), r"sb.Window\(k\) or sb.Chunked"),  # type: ignore[arg-type]
    "steps of an unrolled graph": (lambda: sb.unroll(lstm, steps=-1), "steps"),
    "steps that are no integer": (lambda: sb.unroll(lstm, steps=2.5), "steps"),  # type: ignore[arg-type]
    "a cell that is none": (lambda: sb.cell(3), "function"),  # type: ignore[arg-type]
    "a class": (lambda: sb.cell(dict), "function|role"),
    "a loss that is none": (lambda: sb.loss("mse"), "function"),  # type: ignore[arg-type]
    "a backward pass that returns nothing": (lambda: sb.check_backward(lstm, lambda *args: None), "dict"),
    "a backward pass without a name": (lambda: sb.check_backward(lstm, lambda *args: {}), "no gradient of x, h, c"),
    "a path that is none": (lambda: kernel_of(rnn).save(3), "path|write"),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_wrong_argument_is_refused_with_its_name(name: str) -> None:
    call, words = CALLS[name]
    with pytest.raises(sb.SymbpttError, match=words) as caught:
        call()
    assert len(str(caught.value).splitlines()) <= 4


class Odd:
    """Nothing that any function takes."""


WRONG: tuple[Any, ...] = (
    3,
    None,
    "a",
    [1],
    {},
    {"x": 3},
    {3: 3},
    dict,
    np.ones(2),
    Odd(),
    lambda: 0,
    1.5,
    np.nan,
    True,
)
ANY: dict[str, Callable[[Any], Any]] = {
    "cell": sb.cell, "loss": sb.loss, "compile": sb.compile, "c_source": sb.c_source,
    "torch_source": sb.torch_source, "jax_source": sb.jax_source, "torch": lambda v: sb.torch(v, {}), "jax": sb.jax,
    "backend": lambda v: sb.jax(rnn, backend=v), "consts of torch": lambda v: sb.torch_source(rnn, consts=v),
    "consts of C": lambda v: sb.c_source(rnn, consts=v), "save of C": lambda v: sb.c_source(rnn).save(v), "derive": sb.derive, "verify": sb.verify,
    "model": lambda v: sb.model(v, v), "model of a cell": lambda v: sb.model(rnn, v), "stack": lambda v: sb.stack(rnn, v),
    "stack of arrays": sb.stack, "unroll": lambda v: sb.unroll(v, steps=1), "unroll steps": lambda v: sb.unroll(rnn, steps=v),
    "at": lambda v: model_of(at=v), "reduction": lambda v: model_of(reduction=v), "Window": sb.Window,
    "Chunked": lambda v: sb.Chunked(v, v), "truncation": lambda v: sb.compile(rnn, truncation=v),
    "clip_adjoint": lambda v: sb.compile(rnn, clip_adjoint=v), "consts": lambda v: sb.compile(rnn, consts=v),
    "consts of a model": lambda v: sb.compile(model_of(), consts=v), "check_backward": lambda v: sb.check_backward(v, v),
    "a backward pass": lambda v: sb.check_backward(rnn, v), "seed": lambda v: rnn.init({"m": 2, "n": 3}, v),
    "seed of verify": lambda v: sb.check_backward(rnn, lambda *args: {}, seed=v), "sizes": rnn.init, "size": lambda v: rnn.init({"m": 2, "n": v}),
    "dtype": lambda v: rnn.init({"m": 2, "n": 3}, dtype=v), "override": lambda v: rnn.init({"m": 2, "n": 3}, W=v),
    "name": lambda v: sb.function(v, lambda u: u), "body": lambda v: sb.function("one", v),
    "derivative": lambda v: sb.function("one", lambda u: u, v), "clip_by_norm": lambda v: sb.clip_by_norm(v, 1.0),
    "clip_by_value": lambda v: sb.clip_by_value(v, 1.0), "an entry": lambda v: sb.clip_by_norm({"a": v}, 1.0),
    "limit": lambda v: sb.clip_by_norm({"a": np.ones(2)}, v), "params": lambda v: kernel_of(vanilla).forward(v, X),
    "inputs": lambda v: kernel_of(vanilla).forward(P, v), "state": lambda v: kernel_of(vanilla).forward(P, X, v),
    "an input": lambda v: kernel_of(vanilla).forward(P, {"x": v}), "a parameter": lambda v: kernel_of(vanilla).forward(P | {"W": v}, X),
    "steps": lambda v: kernel_of(vanilla).forward(P, X, steps=v), "lengths": lambda v: kernel_of(vanilla).forward(P, X, lengths=v),
    "reset": lambda v: kernel_of(vanilla).forward(P, X, reset=v), "run": lambda v: kernel_of(vanilla).backward(v, {}),
    "cotangents": lambda v: kernel_of(vanilla).backward(kernel_of(vanilla).forward(P, X), v),
    "a cotangent": lambda v: kernel_of(vanilla).backward(kernel_of(vanilla).forward(P, X), {"h": v}),
    "targets": lambda v: model("every").value_and_grad(P, X, v), "a target": lambda v: model("every").value_and_grad(P, X, {"y": v}),
    "T": lambda v: kernel_of(vanilla).plan.bytes(v, v, m=2, n=3), "n": lambda v: kernel_of(vanilla).plan.bytes(1, 1, m=2, n=v),
    "dtype of a plan": lambda v: kernel_of(vanilla).plan.bytes(1, 1, dtype=v, m=2, n=3), "Param": lambda v: Param[v],
    "recurrent_weights": sb.recurrent_weights, "with_gain": lambda v: sb.with_gain(v, v, 2),
    "params of with_gain": lambda v: sb.with_gain(rnn, v, 2), "gain": lambda v: sb.with_gain(rnn, rnn.init({"m": 2, "n": 3}), v),
    "certified_rate": lambda v: sb.certified_rate(v, {}, {}), "a box": lambda v: sb.certified_rate(rnn, rnn.init({"m": 2, "n": 3}), v),
    "an interval": lambda v: sb.certified_rate(rnn, rnn.init({"m": 2, "n": 3}), {"x": v}),
    "an end": lambda v: sb.certified_rate(rnn, rnn.init({"m": 2, "n": 3}), {"x": (v, v)}),
    "sizes of a horizon": lambda v: sb.init_for_horizon(rnn, 3, sizes=v), "params of a horizon": lambda v: sb.init_for_horizon(rnn, 3, v),
    "inputs of a horizon": lambda v: sb.init_for_horizon(rnn, 3, None, v), "grid": lambda v: sb.compare_designs([rnn], grid=v),
    "a jacobian": lambda v: sb.derive(vanilla).jacobian(v, v),
    "data of a jacobian": lambda v: sb.derive(vanilla).jacobian("h", "h").evaluate(v, v, v),
    "inputs of a jvp": lambda v: kernel_of(vanilla).jvp(P, v, S, {"U": P["U"]}), "state of a jvp": lambda v: kernel_of(vanilla).jvp(P, X, v, {"U": P["U"]}),
    "tangents": lambda v: kernel_of(vanilla).jvp(P, X, S, v), "a tangent": lambda v: kernel_of(vanilla).jvp(P, X, S, {"U": v}),
    "targets of an hvp": lambda v: every().hvp(P, X, v, S, {"U": P["U"]}), "direction": lambda v: every().hvp(P, X, Y, S, v),
    "params by sample": lambda v: every().grad_per_sample(v, X, Y), "inputs by sample": lambda v: every().grad_per_sample(P, v, Y),
    "targets by sample": lambda v: every().grad_per_sample(P, X, v), "state by sample": lambda v: every().grad_per_sample(P, X, Y, v),
    "params of a stepper": lambda v: kernel_of(vanilla).stepper(v), "inputs of a step": lambda v: stepped()(v), "state of a step": lambda v: stepped()(ONE, v),
    "targets in reverse": lambda v: every().value_and_grad(P, X, v, reverse=True), "state in reverse": lambda v: every().value(P, X, Y, v, reverse=True),
    "reverse": lambda v: every().value(P, X, Y, reverse=v), "mask": lambda v: every().value(P, X, Y, mask=v), "ignore_index": lambda v: every().value(P, X, Y, ignore_index=v),
    "wrt": lambda v: every().value_and_grad(P, X, Y, wrt=v), "wrt of compile": lambda v: sb.compile(vanilla, wrt=v),
    "inputs of an objective": lambda v: sb.flat(every(), {"m": 2, "n": 3}).objective(v, Y)(np.ones(18)),
    "cells of a net": lambda v: sb.bidirectional(v), "sizes of a net": lambda v: sb.bidirectional(vanilla).init(v),
    "params of a net": lambda v: sb.bidirectional(vanilla).forward(v, X), "inputs of a net": lambda v: sb.bidirectional(vanilla).forward(BOTH, v),
    "state of a net": lambda v: sb.bidirectional(vanilla).forward(BOTH, X, v), "run of a net": lambda v: sb.bidirectional(vanilla).backward(v, {}),
    "cotangents of a net": lambda v: sb.bidirectional(vanilla).backward(sb.bidirectional(vanilla).forward(BOTH, X), v),
    "an encoder": lambda v: sb.encoder_decoder(v, vanilla), "a decoder": lambda v: sb.encoder_decoder(vanilla, v),
    "states of a decoder": lambda v: sb.encoder_decoder(vanilla, vanilla, v), "sizes of two": lambda v: sb.encoder_decoder(vanilla, vanilla).init(v),
    "params of two": lambda v: sb.encoder_decoder(vanilla, vanilla).forward(v), "run of two": lambda v: sb.encoder_decoder(vanilla, vanilla).backward(v, {}),
}  # fmt: skip
"""Every public function that takes more than arrays; and a value that it takes may come among the wrong ones."""
FEW = {"T": 8, "stack of arrays": 4, "override": 9}  # some take several: a number, a list, nothing


def model_of(**options: Any) -> sb.Model:
    return sb.model(vanilla, model("every").target.loss, **options)


@pytest.mark.parametrize("name", ANY)
@pytest.mark.thinned(11, 5)
def test_whatever_a_public_function_is_given_it_says_what_it_takes(name: str, tmp_path: Path) -> None:
    refusals = 0
    for value in WRONG:
        try:
            ANY[name](value)
        except sb.SymbpttError as error:
            refusals += 1
            lines = str(error).splitlines()
            assert len(lines) <= 4 and all(len(line) < 200 for line in lines), lines
    assert refusals >= FEW.get(name, 9), f"{name} takes what it should refuse"


def test_name_of_a_type_that_numpy_gives_up_is_refused_without_its_warning(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(sb.ArgumentError, match="float32 or float64 is expected, got 'a'"):
        vanilla.init({"m": 2, "n": 3}, dtype="a")
    assert not recwarn.list


@pytest.mark.parametrize("value", ["a\0b", *(value for value in WRONG if not isinstance(value, str))],
                         ids=lambda value: repr(value).partition(" at 0x")[0])  # fmt: skip
def test_path_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(sb.ArgumentError, match="a path is expected"):
        kernel_of(vanilla).save(value)


def test_errors_are_few_and_one_may_catch_them_all() -> None:
    kinds = (sb.CellError, sb.ShapeError, sb.ArgumentError, sb.TargetError)
    assert all(issubclass(kind, sb.SymbpttError) for kind in kinds) and issubclass(sb.ArgumentError, ValueError)
    assert issubclass(sb.ShapeError, sb.CellError)


def test_role_without_its_annotation_in_a_loss_is_told() -> None:
    def loss(y: Output["n"], goal: Target["n"], i: Index["v"], E: Param["v n"], extra):
        return sb.sum((y - goal + E[i]) ** 2) + extra

    with pytest.raises(sb.CellError, match=r"argument 'extra' of loss has no role(.|\n)*test_bad_input\.py:\d+"):
        sb.loss(loss)


@pytest.mark.parametrize("divisor", [0, 0.0, np.float64(0), np.array([1.0, 0.0])], ids=repr)
def test_division_by_a_number_that_is_zero_is_refused_where_it_stands(divisor: Any) -> None:
    @sb.cell
    def broken(x: Input["2"], h: State["2"]):
        return (h + x) / divisor

    with pytest.raises(sb.CellError, match=r"a division by zero\n  at .*test_bad_input.py:\d+, in broken\n  divide by"):
        sb.derive(broken)


def test_nan_in_a_cell_is_refused_where_it_stands() -> None:
    @sb.cell
    def broken(x: Input["2"], h: State["2"]):
        return h * np.nan + x

    with pytest.raises(sb.CellError, match=r"nan is no number(.|\n)*in broken"):
        sb.compile(broken)


def test_gain_of_parameters_without_the_recurrent_ones_is_refused() -> None:
    with pytest.raises(sb.ArgumentError, match="recurrent weights U are missing"):
        sb.with_gain(rnn, {}, 2)


@sb.cell
def counting(h: State["2"], dt: Const = 0.5):
    return h + dt


TOLD: dict[str, tuple[Callable[[], Any], str]] = {
    "lengths": (lambda: kernel_of(vanilla).forward(P, X, lengths=[99] * 2), r"from 0 to \d+ are expected, got \[99"),
    "type of lengths": (lambda: kernel_of(vanilla).forward(P, X, lengths=[1.5] * 2), r"are expected, got \[1.5"),
    "reset": (lambda: kernel_of(vanilla).forward(P, X, reset=np.zeros((4, 2))), r"is expected, got float64 of shape \(\d+, \d+\)"),
    "no parameters": (lambda: kernel_of(vanilla).forward(None, X), "params: a dict by name is expected, got NoneType"),
    "sizes of a plan": (lambda: kernel_of(vanilla).plan.peak(3, 2), r"needs the size m, n\n  add m=..., n=... after T, B"),
    "monitor": (lambda: kernel_of(vanilla).backward(kernel_of(vanilla).forward(P, X), {}, monitor="yes"), "monitor is True or False, got 'yes'"),
    "steps that are true": (lambda: kernel_of(vanilla).forward(P, X, steps=True), "steps: a number of steps is expected, got True"),
    "steps of a cell without inputs": (lambda: sb.compile(counting).forward({}, steps=True), "steps: a number of steps is expected, got True"),
    "steps in words": (lambda: sb.compile(counting).forward({}, steps="ten"), "steps: a number of steps is expected, got 'ten'"),
    "no run": (lambda: kernel_of(vanilla).backward({}, {}), r"run: what forward of this module returns is expected, got dict; write run = forward"),
    "another run": (lambda: kernel_of(vanilla).backward(sb.compile(counting).forward({}, steps=2), {}), "run: .* got the run of another module"),
    "no batch axis of a state": (lambda: kernel_of(vanilla).forward(P, X, {"h": np.ones(3)}), r"h: shape \(3,\) does not go with x: .*"
                                 r"h: \(B, n\) is expected, got \(3,\); where it is the same for all samples write np.stack\(\[h\] \* 2, axis=0\)"),
    "no batch axis of inputs": (lambda: kernel_of(vanilla).forward(P, {"x": X["x"][:, 0]}, {"h": np.ones((2, 3))}), r"h: shape \(2, 3\) does not go "
                                r"with x: .* x: \(T, B, m\) is expected, got \(\d+, 2\); where it is the same for all samples write np.stack\(\[x\] \* 2, axis=1\)"),
    "a type of a plan": (lambda: kernel_of(vanilla).plan.table(3, 2, dtype=int, m=2, n=3), "float32 or float64 is expected, got int"),
    "monitor of a model": (lambda: model("every").value_and_grad(P, X, monitor=1), "monitor is True or False, got 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_refusal_says_what_came(name: str) -> None:
    call, message = TOLD[name]
    with pytest.raises(sb.ArgumentError, match=message):
        call()


@pytest.mark.parametrize("call", [sb.compile, sb.derive, sb.analyze, sb.torch_source, sb.c_source, sb.bidirectional,
                                  lambda v: sb.unroll(v, steps=1), lambda v: sb.check_backward(v, lambda *args: {}),
                                  lambda v: sb.sweep(v, {}, "a", [1.0])])  # fmt: skip
def test_what_goes_with_a_cell_is_told_to_be_no_function(call: Callable[[Any], Any]) -> None:
    """A kernel or a loss in the place of its cell is told what to write, a function to be decorated."""
    kernel = model("every")
    for wrong, words in (
        (kernel, "write kernel.cell, or kernel.target"),
        (kernel.target.loss, r"write the cell, or sb.model\(cell, loss\)"),
        (vanilla.function, "decorate the function with @sb.cell"),
    ):
        if wrong is not kernel or call is not sb.bidirectional:  # which takes kernels
            with pytest.raises(sb.ArgumentError, match=words):
                call(wrong)


@sb.loss
def weighed(h: State["2"], weight: Const = 1.0):
    return weight * sb.sum(h)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.float32(np.nan), None], ids=repr)
@pytest.mark.parametrize("target, name", [(counting, "dt"), (sb.model(counting, weighed), "dt"), (sb.model(counting, weighed), "weight")],
                         ids=["cell", "model", "loss"])  # fmt: skip
def test_constant_that_is_no_finite_number_is_named(target: Any, name: str, value: Any) -> None:
    with pytest.raises(sb.ArgumentError, match=f"constant '{name}' of {target.name} needs a finite number, got"):
        sb.compile(target, consts={name: value})


@pytest.mark.parametrize("value, cure", [(None, False), ("a", False), (np.ones((3, 2)) * 1j, False), (np.ones((3, 2), int), True),
                                         (np.ones((3, 2), np.float16), True)], ids=str)  # fmt: skip
def test_conversion_is_proposed_where_it_would_help(value: Any, cure: bool) -> None:
    with pytest.raises(sb.ArgumentError, match="W: float32 or float64 is expected, got") as caught:
        kernel_of(vanilla).forward(P | {"W": value}, X)
    assert ("astype" in str(caught.value)) == cure


@pytest.mark.parametrize("number", [-1, 5])
def test_index_out_of_range_is_named(number: int) -> None:
    @sb.cell
    def lookup(i: Index["v"], h: State["n"], E: Param["v n"]):
        return np.tanh(E[i] + h)

    place = rf"i: integers from 0 to 4 are expected, got {number} at step 1, sample 2 \(index \(1, 2\)\)"
    with pytest.raises(sb.ArgumentError, match=place):
        sb.compile(lookup).forward({"E": np.ones((5, 2))}, {"i": np.array([[1, 2, 3], [0, 4, number]])})
    with pytest.raises(sb.ArgumentError, match=rf"got {number} at step 7, sample 0"):  # pieces of steps count on
        sb.compile(lookup, memory="sqrt").forward(
            {"E": np.ones((5, 2))}, {"i": np.array([[0]] * 7 + [[number]] * 3)}, lengths=[10]
        )


def test_function_of_another_library_is_pointed_to_that_of_symbptt() -> None:
    scipy = SimpleNamespace(__name__="gelu")
    with pytest.raises(sb.CellError, match="gelu is not known to symbptt(.|\n)*write sb.gelu"):
        call_ufunc(scipy, "__call__", (), {})


def test_no_function_is_called_near_that_is_not() -> None:
    @sb.cell
    def inverse(h: State["n"], U: Param["n n"]):
        return np.linalg.pinv(U) @ h

    with pytest.raises(sb.CellError, match="pinv is not known to symbptt") as caught:
        sb.derive(inverse)
    assert "nearest" not in str(caught.value)


def test_gradients_and_runs_print_what_they_hold() -> None:
    run = kernel_of(vanilla).forward(P, X)
    shown = repr(kernel_of(vanilla).backward(run, {}))
    assert re.fullmatch(r"<gradients: params W \(3, 2\), .*; inputs x \(.*\); state h \(.*\)>", shown)
    assert re.fullmatch(r"<run: states h \(.*\)>", repr(run))


def test_shape_of_a_wrong_block_is_told() -> None:
    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        found = kernel_of(vanilla).backward(kernel_of(vanilla).forward(params, inputs, state), cotangents)
        return {**found.params, **found.inputs, **found.state, "U": found.params["U"][:0]}

    report = sb.check_backward(vanilla, backward)
    assert report.wrong == ("dU",) and re.search(r"dU: shape \(\d, \d\) is expected, got \(0, \d\)", str(report))


@pytest.mark.parametrize("role", [sb.Input, sb.State, sb.Param, sb.Const, sb.Index, sb.Target, sb.Output])
def test_role_that_is_called_says_where_dimensions_stand(role: Any) -> None:
    with pytest.raises(sb.CellError, match=rf'dimensions stand in square brackets\n  write {role.__name__}\["m"\]'):
        role("m")
    with pytest.raises(sb.CellError, match="in square brackets"):
        role()


SIZED: dict[str, tuple[Any, str]] = {
    "np.arange of a part": (lambda h: h * np.arange(0, h.shape[0], h.shape[0]), "integers and sizes"),
    "np.random": (lambda h: h * np.random.rand(*h.shape), "the noise an Input"),
    "a remainder": (lambda h: h * (5 % h.shape[0]), "np.floor"),
    "np.tril": (lambda h: np.tril(h) @ h, "takes a matrix"),
    "np.pad": (lambda h: np.pad(h, 1, mode="mean")[1:-1], "reflect"),
    "np.linalg.pinv": (lambda h: np.linalg.pinv(np.outer(h, h)) @ h, "np.linalg.solve"),
}


@pytest.mark.parametrize("name", SIZED)
def test_text_of_what_needs_a_number_or_is_not_known_does_not_mislead(name: str) -> None:
    body, words = SIZED[name]

    @sb.cell
    def step(h: State["n"]):
        return body(h)

    with pytest.raises(sb.CellError, match=words) as caught:
        assert step.step
    assert "a branch" not in str(caught.value) and "any other elementwise" not in str(caught.value)


class Tensor:
    """What torch's tensors do to NumPy where they have a gradient."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    def detach(self) -> None: ...


@pytest.mark.parametrize("call", [
    lambda k: k.forward(P | {"W": Tensor()}, X), lambda k: k.forward(P, {"x": Tensor()}),
    lambda k: k.forward(P, X, lengths=Tensor()), lambda k: k.forward(P, X, reset=Tensor()),
    lambda k: k.backward(k.forward(P, X), {"h": Tensor()}), lambda k: sb.analyze(vanilla, P | {"W": Tensor()}, X),
    lambda k: vanilla.init({"m": 2, "n": 3}, W=Tensor()),
])  # fmt: skip
def test_tensor_with_a_gradient_is_refused_in_words(call: Any) -> None:
    with pytest.raises(sb.ArgumentError, match="requires grad"):
        call(kernel_of(vanilla))


@pytest.mark.parametrize("name", ["LSTM", "Gru", "Rnn", "MinGRU"])
def test_name_in_other_letters_is_recognised(name: str, refused: Refused) -> None:
    assert "did you mean" in str(refused("derive", name))
