"""Files that are written: whole or not at all, and none replaced unasked that symbptt did not write."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from symbptt.errors import TargetError, three_lines

BEGINNINGS = (
    rb'"""Backpropagation through time for [^\n]*, written by symbptt \d',
    rb"/\* Backpropagation through time for [^\n]*, written by symbptt \d",
    rb"# [^\n]+: equations\r?\n\r?\nDerived by symbptt \d",
    rb"# [^\n]+\r?\n\r?\nBuilt by symbptt \d",
    rb"symbptt(?: \d\S*)?: (?:verification|stability|no stability) of ",
    rb'\{\s*"written_by": "symbptt"',
    rb"// written by symbptt\b",
    rb'Creator "symbptt\b',
    rb"% written by symbptt \d",
    rb"(?:<\?xml[^\n]*\?>|<!doctype html>|<!DOCTYPE html>)\r?\n<!-- written by symbptt\b",
    rb'cell,dtype,"T, B, sizes",ours \(ms\),',
    rb"call,verdict,confidence,lyapunov_1,error_1\b",
    rb"\x89PNG.{0,4000}?tEXtSoftware\0symbptt",
    rb"<\?xml.{0,4000}?<dc:creator>\s*<cc:Agent>\s*<dc:title>symbptt</dc:title>",
    rb"%PDF-.*/Creator \(symbptt\)",
    rb"%!PS-.{0,400}?%%Creator: symbptt\b",
)
"""How each kind of file that symbptt writes begins: modules, texts, numbers, tables, drawings."""
OURS = re.compile(b"|".join(b"(?:%b)" % text for text in BEGINNINGS), re.DOTALL)


def is_ours(content: bytes) -> bool:
    """Return whether the content of a file is nothing, or what symbptt writes."""
    return not content or OURS.match(content) is not None


def is_module(path: Path) -> bool:
    """Return whether a file begins as the Python modules that symbptt writes."""
    with path.open("rb") as file:
        begin = file.read(2**16)
    return begin.startswith(b'"""') and is_ours(begin)


def check_own(
    files: Iterable[Path], force: bool = False, cure: str = "replace it with --force, or choose another -o"
) -> None:
    """Refuse to replace what symbptt did not write, unless `force` is given; folders always.

    Raises: TargetError with the first such file, and for one that cannot be read.
    """
    for path in files:
        try:
            if path.is_dir():
                raise TargetError(f"cannot write {path}, which is a folder\n  move it, or choose another name")
            if path.is_file() and not force and not is_ours(path.read_bytes()):
                raise TargetError(three_lines(f"{path} was not written by symbptt", cure=cure))
        except OSError as error:
            raise TargetError(f"cannot write {path}: {error.strerror or error}") from None


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name, then rename it, so that a broken write leaves what was there.

    Raises: TargetError where that fails.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes as `write_text` writes text; through a link, and into a device or a pipe, which are never replaced.

    Raises: TargetError where that fails.
    """
    temporary = None
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            with open(path, "wb", buffering=0) as stream:
                _write_all(stream, content)
            return
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False, prefix=f".{path.name}.") as file:
            temporary = Path(file.name)
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise TargetError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _write_all(stream: Any, content: bytes) -> None:
    """Write bytes into a stream that may take a part of them at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[stream.write(rest) or 0 :]
