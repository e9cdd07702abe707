"""Certificates of modules, and modules in files: what is written, what is refused, and what an edit does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Input, Param, State
from symbptt.commands.main import run
from symbptt.zoo import rnn
from tests.kernels import kernel_of

CELLS = '''
import numpy as np
import symbptt as sb
from symbptt import Const, Input, Param, State, Target

def inside(a):
    return np.tanh(a)

@sb.cell
def tiny(x: Input["m"], h: State["n"], W: Param["n m"], u: Param["n"], leak: Const = 0.3):
    """# certificate: text 0123
    # made of {"cell": "another"}"""
    return leak * h + (1 - leak) * inside(W @ x + u * h)

@sb.loss
def error(h: State["n"], y: Target["n"], v: Param["n"]):
    return sb.sum(v * (h - y) ** 2)

model = sb.model(tiny, error, at="last", reduction="mean")
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cells.py").write_text(CELLS, "utf-8")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new), "utf-8")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run([*arguments]) == 2
    return capsys.readouterr().err


def head_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("# certificate:")]


def test_a_module_says_that_it_is_not_verified_until_it_is(tmp_path: Path) -> None:
    kernel = kernel_of(rnn)
    assert len(head_of(kernel.source)) == 1 and "not verified" in head_of(kernel.source)[0]
    report = sb.verify(kernel)
    certificate = report.certificate
    kernel.save(tmp_path / "rnn_bptt.py", certificate=certificate)
    text = (tmp_path / "rnn_bptt.py").read_text("utf-8")
    lines = head_of(text)
    assert lines == [f"# certificate: {line}" for line in certificate.lines] and len(lines) < 12
    assert max(map(len, lines)) <= 120 and "not verified" not in " ".join(lines)
    assert lines[-1].split()[-1] == certificate.text and f"NumPy {np.__version__}" in lines[0]
    rest = [line for line in text.splitlines() if line not in lines]
    assert rest == [line for line in kernel.source.splitlines() if line not in head_of(kernel.source)]
    # Of a module that has one, a certificate takes the place of the one before.
    assert sb.verify(rnn, module=tmp_path / "rnn_bptt.py").certificate == certificate


@pytest.mark.long
def test_the_same_input_gives_the_same_bytes() -> None:
    first, second = (sb.verify(sb.compile(rnn)).to_json() for _ in range(2))
    assert first == second and sb.verify(kernel_of(rnn), seed=1).to_json() != first
    found = json.loads(first)
    assert found["verified"] is True and found["wrong"] == [] and found["seed"] == 0
    assert found["made_of"] == {"cell": "rnn", "digest": found["made_of"]["digest"]}
    assert set(found["worst"]) == {"h", "dx", "dh_0", "dW", "dU", "db"}
    assert all(float(row["error"]) <= float(row["allowed"]) for row in found["worst"].values())
    assert {*found["versions"]} == {"symbptt", "NumPy", "SymPy", "Python"}


@pytest.mark.long
@pytest.mark.proof
def test_levels_and_paths_are_listed() -> None:
    found = json.loads(sb.verify(sb.compile(rnn)).to_json())
    levels = {level["name"]: level for level in found["levels"]}
    assert {name: level["passed"] for name, level in levels.items()} == {
        "floats": True,
        "field": True,
        "scalar rules": True,
        "rounding": True,
    }
    assert len(levels["rounding"]["paths"]) > 8 and levels["rounding"]["compared"] > 100
    paths = " ".join(levels["field"]["paths"])
    assert "lengths, resets and monitor=True, over three blocks" in paths and levels["field"]["compared"] == len(
        levels["field"]["paths"]
    )
    assert any(path.startswith("saturated") for path in levels["floats"]["paths"])


def test_a_wrong_module_has_no_certificate_that_says_verified(tmp_path: Path) -> None:
    kernel = kernel_of(rnn)
    source = kernel.source.replace("np.matmul(da_t, U, out=dh)", "np.matmul(da_t, 2 * U, out=dh)")
    assert source != kernel.source
    wrong = sb.Kernel(rnn, kernel.program, source)
    certificate = sb.verify(wrong).certificate
    assert not certificate.verified and certificate.lines[0].startswith("not verified: wrong: ")
    wrong.save(tmp_path / "wrong.py", certificate=certificate)
    assert "not verified: wrong: " in " ".join(head_of((tmp_path / "wrong.py").read_text("utf-8")))
    with pytest.raises(sb.ArgumentError, match="module with another text"):
        wrong.save(tmp_path / "wrong.py", certificate=sb.verify(kernel).certificate)
    with pytest.raises(sb.ArgumentError, match="that of a verification is expected, got str"):
        kernel.save(tmp_path / "right.py", certificate="verified")
    assert not (tmp_path / "right.py").exists()


def test_the_check_of_a_backward_pass_has_no_certificate() -> None:
    def zeros(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        return {k: 0 * v for group in (params, inputs, state) for k, v in group.items()}

    with pytest.raises(sb.ArgumentError, match="has no certificate"):
        _ = sb.check_backward(rnn, zeros).certificate


def test_a_module_in_a_file_is_compared_as_it_stands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "out" / "tiny_bptt.py"
    assert run(["generate", "cells.py:tiny", "-o", str(path)]) == 0
    assert run(["verify", str(path)]) == 0 and "tiny: passed" in capsys.readouterr().out
    edited(path, "np.add(du, s_2, out=du)", "np.subtract(du, s_2, out=du)")
    assert run(["verify", str(path)]) == 1
    text = capsys.readouterr().out
    assert "tiny: FAILED" in text and "wrong: du" in text


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.long),
        {"consts": {"leak": 0.5}, "truncation": Chunked(2, 3)},
        pytest.param({"memory": "sqrt"}, marks=pytest.mark.long),
    ],
    ids=repr,
)
@pytest.mark.thinned(1, 2)
def test_the_head_names_loss_constants_and_options(
    options: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space: dict[str, Any] = {"__name__": "cells"}
    exec(compile(CELLS, str(folder / "cells.py"), "exec"), space)
    kernel, path = sb.compile(space["model"], **options), folder / "out" / "model.py"
    kernel.save(path)
    assert run(["verify", str(path)]) == 0 and "tiny_error: passed" in capsys.readouterr().out
    report = sb.verify(space["model"], module=path)
    assert report.passed and report.text == kernel.source
    assert report.certificate.made_of["loss"] == "cells.py:error"


def test_a_cell_that_changed_or_moved_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "out" / "tiny_bptt.py"
    assert run(["generate", "cells.py:tiny", "-o", str(path)]) == 0
    edited(folder / "cells.py", "def inside(a):\n", "def inside(a):  # a comment\n")
    assert run(["verify", str(path)]) == 0
    edited(folder / "cells.py", "return np.tanh(a)", "return np.sin(a)")  # in a helper of the cell
    text = refused(capsys, "verify", str(path))
    assert "has the digest" in text and "has changed since" in text and "write the module again" in text
    (folder / "cells.py").rename(folder / "others.py")
    text = refused(capsys, "verify", str(path))
    assert "no tiny is found in a file cells.py" in text and "--cell" in text
    edited(folder / "others.py", "return np.sin(a)", "return np.tanh(a)")
    assert run(["verify", str(path), "--cell", "others.py:tiny"]) == 0


def test_what_is_no_such_module_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "out" / "tiny_bptt.py"
    assert run(["generate", "cells.py:tiny", "-o", str(path)]) == 0
    right = path.read_text("utf-8")
    assert "which cell of" in refused(capsys, "verify", "cells.py")
    assert "is no module that symbptt wrote" in refused(capsys, "verify", "cells.py", "--cell", "cells.py:tiny")
    assert "cannot read" in refused(capsys, "verify", "nowhere.py", "--cell", "cells.py:tiny")
    assert "was made of a cell alone" in refused(capsys, "verify", str(path), "--cell", "cells.py:model")
    edited(path, "# made of {", "# {")
    assert "does not say what it was made of" in refused(capsys, "verify", str(path))
    unknown = "does not say what it was made of"
    for old, new, words in [
        ('"digest"', '"chunked": [1], "digest"', unknown),
        ('"digest"', '"window": "a", "digest"', unknown),
        ('"digest"', '"clip_adjoint": "x", "digest"', unknown),
        ('"digest"', '"memory": true, "digest"', unknown),
        ('"digest"', '"consts": "abc", "digest"', unknown),
        ('"digest"', '"nothing": 1, "digest"', unknown),
        ('"digest": "', '"digest": ["', unknown),
        ("def backward(", "def backwards(", "defines no backward"),
        ("def backward(", "def backward(:", "is no Python at line"),
        ("import numpy as np", "import nothing_here", "raised ModuleNotFoundError"),
    ]:
        path.write_text(right.replace(old, new), "utf-8")
        text = refused(capsys, "verify", str(path))
        assert words in text and "Traceback" not in text, text
    with pytest.raises(sb.ArgumentError, match="a path is expected"):
        sb.verify(rnn, module=3)
    with pytest.raises(sb.ArgumentError, match="got a kernel"):
        sb.verify(kernel_of(rnn), module=path)


@pytest.mark.long
@pytest.mark.proof
@pytest.mark.filterwarnings("ignore:.*is never used")
def test_what_is_proved_nowhere_is_not_verified(tmp_path: Path) -> None:
    @sb.cell
    def unproved(x: Input["n"], h: State["n"], w: Param["n"]):
        return (
            np.tanh(w * h + x)
            if not isinstance(x, np.ndarray)
            else np.tanh(w * h + np.partition(x, 0) - np.partition(x, 0) + x)
        )

    report = sb.verify(sb.compile(unproved))
    assert not report.passed and report.wrong == () and report.verdict == "NOT VERIFIED"
    assert "unproved: NOT VERIFIED" in str(report) and "np.partition has no version over a field" in " ".join(
        str(report).split()
    )
    text = report.certificate.lines[0]
    assert text.startswith("not verified: field: dx is proved nowhere, dh_0 is proved nowhere, dw is")
    assert sb.verify(sb.compile(unproved), proof=False).passed
