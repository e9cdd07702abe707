"""What a verification says of one module, as a few lines for its head and as JSON; nothing in it changes from run to run."""

from __future__ import annotations

import json
import platform
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sympy as sp

from symbptt.codegen.origin import read_origin
from symbptt.codegen.targets.python.header import digest_of_module
from symbptt.errors import counted
from symbptt.verification.proof.field import P
from symbptt.verification.proof.results import Proof
from symbptt.verification.report import Report, Row
from symbptt.verification.rounding.results import Rounding
from symbptt.version import VERSION

SHOWN = 4
WIDTH = 104
"""The characters of a line of a certificate."""


@dataclass(frozen=True)
class Level:
    """One level of a verification: whether it holds of every block, what was compared, on which paths, and what was not."""

    name: str
    passed: bool
    compared: int
    paths: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    said: str = ""


@dataclass(frozen=True)
class Certificate:
    """The result of a verification for the module with one text: `lines` stand in the head of that module, `to_json` has all of it.

    `text` is the digest of the module without the lines of a certificate, `made_of` what its head says of the cell: where it is and
    the digest of its traced step. `worst` has the largest error of each block.
    """

    name: str
    verified: bool
    text: str
    made_of: dict[str, Any]
    levels: tuple[Level, ...]
    worst: dict[str, dict[str, Any]]
    wrong: tuple[str, ...]
    seed: int
    given: tuple[str, ...]
    versions: dict[str, str]

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of a module's head, each of at most 104 characters behind its mark."""
        if not self.verified:
            missing = "; ".join(
                f"{level.name}: {', '.join(level.open[:SHOWN])}" for level in self.levels if not level.passed
            )
            what = f"wrong: {', '.join(self.wrong)}" if self.wrong else missing
            return (*_wrapped(f"not verified: {what}"),)
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        given = [f"checked where the caller said: {', '.join(self.given)}"] * bool(self.given)
        said = [f"verified with {versions}; seed {self.seed}", *given, *map(_line, self.levels)]
        return (*(line for text in said for line in _wrapped(text)), f"text {self.text}")

    def to_json(self) -> str:
        """Return the certificate as JSON: the same bytes for the same module and the same verification."""
        return json.dumps({"written_by": "symbptt", **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def certificate_of(report: Report) -> Certificate:
    """Return what a report says of the module that it compared."""
    origin = read_origin(report.text)
    levels = tuple(_levels(report))
    return Certificate(
        report.name,
        report.passed,
        digest_of_module(report.text),
        {} if origin is None else origin.told,
        levels,
        {block: _worst(rows) for block, rows in _by_block(report).items()},
        report.wrong,
        report.seed,
        report.given,
        {"symbptt": VERSION, "NumPy": np.__version__, "SymPy": sp.__version__, "Python": platform.python_version()},
    )


def _levels(report: Report) -> Iterator[Level]:
    made = [row for row in report.rows if not row.note]
    paths = tuple(dict.fromkeys(f"{row.regime}, {row.size}" for row in made))
    right = bool(made) and all(row.passed for row in made) and not report.uncompared
    yield Level("floats", right, len(made), paths, report.uncompared, "against a complex step of the user's function")
    if report.proof is not None:
        yield _field(report.proof)
        # How far the symbolic proof comes is a matter of time, and so no part of what does not change from run to run.
        yield Level("scalar rules", not report.proof.faults, 1, (), report.proof.faults, report.proof.rules)
    if report.rounding is not None:
        yield _rounding(report.rounding)
    elif report.proof is not None:
        # What is measured of real numbers alone is no level that complex ones have passed.
        yield Level("rounding", False, 0, (), report.remarks)


def _field(proof: Proof) -> Level:
    exact = [line for line in proof.lines if not line.note and not line.wrong]
    notes = [f"{line.subject}, {line.path}: {line.note}" for line in proof.lines if line.note]
    blocks = [f"{name} is proved nowhere" for name in proof.unproved]
    paths = tuple(f"{line.subject}: {line.path} ({line.sizes})" for line in exact)
    passed = bool(exact) and not proof.wrong and not proof.unproved
    return Level("field", passed, len(exact), paths, (*blocks, *notes), f"over the residues modulo {P}. {proof.chance}")


def _rounding(rounding: Rounding) -> Level:
    measured = [line for line in rounding.lines if line.worst is not None]
    open = tuple(f"{line.regime}, {line.dtype}: {line.note}" for line in rounding.lines if line.worst is None)
    open += tuple(f"an accurate form that decides nowhere that was tried: {name}" for name in rounding.idle)
    paths = tuple(f"{line.regime}, {line.dtype}, {line.size}" for line in measured)
    compared = sum(not block.note for line in measured for block in line.blocks)
    return Level(
        "rounding", not rounding.wrong, compared, paths, open, "against numbers of 50 digits, in units of rounding"
    )


def _line(level: Level) -> str:
    """Return a level in one line of a certificate."""
    if level.name == "floats":
        regimes = dict.fromkeys(path.partition(",")[0] for path in level.paths)
        return f"floats: {level.compared:,} comparisons with the user's function; {', '.join(regimes)}"
    if level.name == "field":
        open = f", {counted(len(level.open), 'remark')} in the JSON" if level.open else ""
        paths = dict.fromkeys(path.partition(": ")[2].rpartition(" (")[0] for path in level.paths)
        return f"field: exact on {counted(level.compared, 'path')}{open}; {'; '.join(paths)}"
    return f"{level.name}: {'passed' if level.passed else 'not passed' if level.compared else 'not verified'}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False)


def _by_block(report: Report) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in report.rows:
        found.setdefault(row.name, []).extend([] if row.note else [row])
    return found


def _worst(rows: list[Row]) -> dict[str, Any]:
    """Return the comparison of a block that is nearest to its tolerance, and how many there were; errors with three digits, which
    other orders of a sum leave alone."""
    if not rows:
        return {"comparisons": 0}
    row = max(rows, key=lambda row: row.share)
    error = f"{row.error:.2e}"
    return {
        "comparisons": len(rows),
        "error": error,
        "allowed": f"{row.tolerance:.0e}",
        "where": f"{row.regime}, {row.size}",
        "by": row.method,
    }
