"""Which files symbptt wrote: these are replaced unasked, all others never."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from symbptt.errors import TargetError, three_lines

BEGINNINGS = (
    rb'"""Backpropagation through time for [^\n]*, written by symbptt \d',
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
