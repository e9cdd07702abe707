"""The compiler of the machine: which one is taken, what it says where it fails, and the cache that processes share."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

import symbptt as sb
from symbptt.codegen import compiler
from symbptt.errors import TargetError
from symbptt.zoo import rnn
from tests.ccode import CC

needs_compiler = pytest.mark.skipif(not CC, reason="no C compiler, cc, on this machine")
SOURCE = "int answer(void) { return VALUE; }\n"


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiler._loaded.cache_clear()


def made(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "symbptt").iterdir())


@needs_compiler
def test_a_library_is_made_once_and_is_the_users_own(tmp_path: Path) -> None:
    assert compiler.library(SOURCE, ("-DVALUE=7",)).answer() == 7
    (only,) = made(tmp_path)
    assert stat.S_IMODE(only.parent.stat().st_mode) == 0o700
    written = only.stat().st_mtime_ns
    compiler._loaded.cache_clear()
    assert compiler.library(SOURCE, ("-DVALUE=7",)).answer() == 7
    assert made(tmp_path) == [only] and only.stat().st_mtime_ns == written


@needs_compiler
def test_other_text_flags_compiler_or_processor_is_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    used = compiler.compiler()
    keys = [compiler._key(text, macros, used) for text in ("a", "ab") for macros in ((), ("b",))]
    keys.append(compiler._key("a", (), compiler.Compiler(used.command, "another version")))
    monkeypatch.setattr(compiler, "WISHED", ())
    keys.append(compiler._key("a", (), used))
    monkeypatch.setattr(compiler, "_processor", lambda: "another processor")
    keys.append(compiler._key("a", (), used))
    assert len({*keys}) == len(keys)


@needs_compiler
def test_two_processes_share_the_cache(tmp_path: Path) -> None:
    code = (
        "import sys; from symbptt.codegen.compiler import library; "
        "sys.exit(library(sys.argv[1], ('-DVALUE=5',)).answer() != 5)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, SOURCE], env=os.environ) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(made(tmp_path)) == 1


@needs_compiler
def test_a_folder_that_cannot_be_written_is_replaced_by_one_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiler.library(SOURCE, ("-DVALUE=3",)).answer() == 3
    assert (tmp_path / "file").read_text() == "no folder"


@needs_compiler
def test_what_a_compiler_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"ended with status 1\n.*cell.c(.|\n)*set CC to another compiler"):
        compiler.library("int answer(void) { return nowhere; }\n")
    assert made(tmp_path) == []


@needs_compiler
def test_flags_that_a_compiler_does_not_know_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "WISHED", ("-O1", "-fno-such-flag-anywhere"))
    compiler._known.cache_clear()
    assert compiler.library(SOURCE, ("-DVALUE=2",)).answer() == 2
    assert compiler._known(compiler.compiler()) == ("-O1",)
    compiler._known.cache_clear()


def test_without_a_compiler_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    with pytest.raises(TargetError, match=r"needs a C compiler(.|\n)*\.\[c\](.|\n)*target=\"numpy\""):
        compiler._command({"PATH": ""})


def test_a_variable_that_names_no_compiler_is_refused() -> None:
    with pytest.raises(TargetError, match=r"CC names 'no-such-compiler'"):
        compiler._command({"PATH": "", "CC": "no-such-compiler -O2"})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("true", r"the compiler true ended with status 0, and wrote no library\n.*set CC to another compiler"),
        ('gcc "', r"the variable CC is 'gcc \"', which is no command: no closing quotation\n.*set CC to a compiler"),
        ("{tmp_path}/none", r"the compiler .*/none does not run: .*\n.*set CC to another compiler"),
    ],
)
def test_a_variable_that_names_no_working_compiler_is_told(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends with 0 and writes nothing, what is no command for a shell, and a file that is no program: auto takes NumPy then."""
    (tmp_path / "none").write_text("no program")
    (tmp_path / "none").chmod(0o700)
    monkeypatch.setenv("CC", name.format(tmp_path=tmp_path))
    with pytest.raises(TargetError, match=said):
        sb.compile(rnn, target="c")
    kernel = sb.compile(rnn, target="auto")
    assert kernel.backend == "numpy" and "CC" in kernel.reason and 'target="auto"' not in kernel.reason


def test_a_package_brings_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda name: object())
    assert compiler._command({"PATH": ""}) == (sys.executable, "-m", "ziglang", "cc")


@needs_compiler
def test_saved_file_of_auto_is_the_module_in_numpy_on_every_machine(tmp_path: Path) -> None:
    names: tuple[Literal["numpy", "auto"], ...] = ("numpy", "auto")
    for target in names:
        sb.compile(rnn, target=target).save(tmp_path / f"{target}.py")
    assert sb.compile(rnn, target="auto").backend == "c"
    assert (tmp_path / "auto.py").read_text() == (tmp_path / "numpy.py").read_text()
    with pytest.raises(TargetError, match="a file of it would be the module in NumPy"):
        sb.compile(rnn, target="c").save(tmp_path / "c.py")
