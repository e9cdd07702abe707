"""Libraries made of C sources with the compiler of the machine, kept in the user's cache folder."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from symbptt.errors import TargetError, three_lines

NAMES = ("cc", "gcc", "clang")
"""The compilers that are looked for where the variable CC names none, in this order."""
PACKAGE, EXTRA = "ziglang", "c"
"""The package that brings a compiler, and the extra of symbptt that installs it."""
NEEDED = ("-std=c99", "-shared", "-fPIC")
# Not -ffast-math: a library that is built with it switches numbers near zero off for the whole process. The flags about errors
# and traps let loops with functions become vectors; no result depends on these. Not -O3, which takes twice as long to compile
# and gives code of the same speed: what it has beside -O2 that counts here is that loops become vectors.
WISHED = (
    "-O2",
    "-ftree-vectorize",
    "-fvect-cost-model=dynamic",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp-simd",
)
"""The flags of which each is left out where the compiler does not know it."""
LINES = 8
"""The lines of a compiler's messages that an error shows."""


@dataclass(frozen=True)
class Compiler:
    """The command that calls a compiler, and what it says of its version."""

    command: tuple[str, ...]
    version: str

    @property
    def name(self) -> str:
        """The command as a user writes it."""
        return shlex.join(self.command)


def compiler() -> Compiler:
    """Return the compiler of `$CC`, else the first one of cc, gcc and clang, else that of the package ziglang.

    Raises: TargetError where there is none, or `$CC` names none.
    """
    command = _command(os.environ)
    return Compiler(command, _version(command))


def _command(environment: Mapping[str, str]) -> tuple[str, ...]:
    path = environment.get("PATH", os.defpath)
    named = _words(environment.get("CC", ""))
    if named:
        if shutil.which(named[0], path=path) is None:
            raise TargetError(
                three_lines(
                    f"the variable CC names {named[0]!r}, which is no command of this machine",
                    cure="set CC to a compiler, such as CC=gcc, or unset it",
                )
            )
        return tuple(named)
    found = next((name for name in NAMES if shutil.which(name, path=path) is not None), None)
    if found is not None:
        return (found,)
    if find_spec(PACKAGE) is not None:
        return sys.executable, "-m", PACKAGE, "cc"
    raise TargetError(
        three_lines(
            f'target="c" needs a C compiler: CC is not set, and there is no {", ".join(NAMES)}',
            cure=f"install one, or the package {PACKAGE}: in the checkout of symbptt: python -m pip install -e '.[{EXTRA}]'; "
            'or write target="numpy"',
        )
    )


def _words(command: str) -> list[str]:
    """Return the words of a command as a shell reads it."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise TargetError(
            three_lines(
                f"the variable CC is {command!r}, which is no command: {str(error).lower()}",
                cure="set CC to a compiler, such as CC=gcc, or unset it",
            )
        ) from None


@lru_cache(8)
def _version(command: tuple[str, ...]) -> str:
    return _run([*command, "--version"]).stdout


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    except OSError as error:  # a file that may be executed, and is no program
        raise TargetError(
            three_lines(
                f"the compiler {command[0]} does not run: {error.strerror}",
                cure='set CC to another compiler, or write target="numpy"',
            )
        ) from None


def library(source: str, macros: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Return a source as a loaded library, compiled where the cache has none of the same source, flags, compiler and processor.

    Raises: TargetError where there is no compiler, where it refuses the source, or where its library does not load.
    """
    return _loaded(source, macros, compiler())


@lru_cache(64)
def _loaded(source: str, macros: tuple[str, ...], used: Compiler) -> ctypes.CDLL:
    path = _cache() / f"{_key(source, macros, used)}.so"
    if not path.exists():
        _build(source, macros, used, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:  # a folder may be of a disk from which nothing runs
        raise TargetError(
            three_lines(
                f"the library {path} cannot be loaded: {error}",
                cure="set XDG_CACHE_HOME to a folder from which libraries may run",
            )
        ) from None


def _key(source: str, macros: tuple[str, ...], used: Compiler) -> str:
    parts = (source, *macros, *NEEDED, *WISHED, *used.command, used.version, _processor())
    # Each part with its length, so that no two lists of parts are the same text.
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "replace")).hexdigest()


@lru_cache(1)
def _processor() -> str:
    """Return what tells the processor: a library for one with more instructions would end in SIGILL on another that shares the
    home folder."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(errors="replace").splitlines() if told.exists() else []
    wanted = [line for line in lines if line.partition(":")[0].strip() in ("model name", "flags", "Features")]
    return "\n".join([platform.machine(), platform.processor(), *dict.fromkeys(wanted)])


def _cache() -> Path:
    """Return the folder of libraries, which nobody else may write: the user's, or where it cannot be written one of this process."""
    return _folder(os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"))


@lru_cache(8)
def _folder(base: str) -> Path:
    folder = Path(base) / "symbptt"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # a home that is none, or that is read-only
        return _own_folder()
    # A library is run as it stands there: nobody else may put one there.
    is_own = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
    if not (is_own and os.access(folder, os.W_OK)):
        return _own_folder()
    folder.chmod(0o700)
    return folder


@lru_cache(1)
def _own_folder() -> Path:
    """Return a folder of this process, which goes with it."""
    folder = tempfile.TemporaryDirectory(prefix="symbptt")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _build(source: str, macros: tuple[str, ...], used: Compiler, path: Path) -> None:
    """Write the library of a source to a path.

    Raises: TargetError where the compiler refuses the source.
    """
    # Made under another name and renamed: a process that runs beside this one finds the whole library, or none.
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        text, made = Path(place) / "cell.c", Path(place) / "cell.so"
        text.write_text(source, encoding="utf-8")
        done = _compiled(used, [*WISHED, *macros], text, made)
        if done.returncode:
            # Some flag may be unknown: each is tried alone, once for each compiler.
            done = _compiled(used, [*_known(used), *macros], text, made)
        if done.returncode or not made.exists():
            raise TargetError(_refusal(used, done))
        os.replace(made, path)


def _compiled(used: Compiler, flags: Sequence[str], text: Path, made: Path) -> subprocess.CompletedProcess[str]:
    return _run([*used.command, *NEEDED, *flags, "-o", str(made), str(text), "-lm"])


@lru_cache(8)
def _known(used: Compiler) -> tuple[str, ...]:
    """Return the flags that a compiler knows."""
    with tempfile.TemporaryDirectory() as place:
        text, made = Path(place) / "nothing.c", Path(place) / "nothing.so"
        text.write_text("int nothing;\n")
        return tuple(flag for flag in WISHED if not _compiled(used, [flag], text, made).returncode)


def _refusal(used: Compiler, done: subprocess.CompletedProcess[str]) -> str:
    said = [line for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip()][:LINES]
    return "\n  ".join(
        [
            f"the compiler {used.name} ended with status {done.returncode}"
            + ", and wrote no library" * (not done.returncode),
            *said,
            'set CC to another compiler, or write target="numpy"',
        ]
    )
