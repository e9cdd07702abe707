"""Rows in one file, CSV or Parquet: read back to the last bit, merged under a lock, written whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from symbptt.comparison.row import KINDS, Row, order, own_key
from symbptt.errors import ArgumentError, TargetError, three_lines
from symbptt.extras import need
from symbptt.files import write_bytes

WAIT = 60
"""Seconds to wait for another process that writes the same file; a write takes much less than one."""


def read_rows(path: str | Path) -> tuple[Row, ...]:
    """Return the rows of a file of results; none where there is no file.

    Raises: ArgumentError for an ending that is neither .csv nor .parquet; TargetError for a file that cannot be read, was
    not written by symbptt, or was changed since.
    """
    path = Path(path)
    parse, _ = _format(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        rows = parse(content)
    except (
        ValueError,
        KeyError,
        TypeError,
        csv.Error,
        OSError,
    ) as error:  # what csv, float and pyarrow say of broken text
        raise _foreign(path, str(error).partition("\n")[0]) from None
    if len({row.key for row in rows}) < len(rows) or any(row.key != own_key(row) for row in rows):
        raise _foreign(path, "its rows are not as they were written")
    return rows


def merge_rows(path: str | Path, rows: Iterable[Row]) -> tuple[Row, ...]:
    """Add rows to those of a file, sorted, and return all; one process at a time does so, and a broken write leaves the old.

    Raises: as `read_rows`, and TargetError where the file cannot be written, or holds rows of other data, another version of
    symbptt, or another cell of the same name.
    """
    path, rows = Path(path), tuple(rows)
    _, render = _format(path)
    filelock = need("filelock", "sweep")
    if not path.parent.is_dir():  # the lock would make it
        raise TargetError(f"cannot write {path}: there is no folder {path.parent}")
    try:
        # The lock is a file of its own: the results are replaced as a whole, and a lock on the old file would lock nothing.
        with filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=WAIT):
            there = read_rows(path)
            known = {row.key: row for row in check_same(path, there, rows)}
            # Rows that were measured now replace known ones of the same key, such as failures.
            merged = tuple(sorted({**known, **{row.key: row for row in rows}}.values(), key=order))
            if merged != there or not path.exists():
                write_bytes(path, render(merged))
    except filelock.Timeout:
        raise TargetError(f"{path} has been locked by another process for {WAIT} seconds") from None
    except OSError as error:
        raise TargetError(f"cannot write {path}: {error.strerror or error}") from None
    return merged


def check_same(path: Path, known: Iterable[Row], rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the known rows that may stand beside others: all but failures of a cell that is another one by now.

    Raises: TargetError where rows differ in data, version, or in the cell that a name stands for, so that none are mixed.
    """
    new = {row.cell: row for row in rows}
    kept = [
        row for row in known if not (row.failure and row.cell in new and row.cell_digest != new[row.cell].cell_digest)
    ]
    for row in kept:
        for other in new.values():
            if row.version != other.version:
                raise _mixed(path, f"symbptt {row.version}")
            if row.data_digest != other.data_digest:
                raise _mixed(path, "other data")
        if row.cell in new and row.cell_digest != new[row.cell].cell_digest:
            raise _mixed(path, f"another cell called {row.cell!r}")
    return tuple(kept)


def _mixed(path: Path, what: str) -> TargetError:
    return TargetError(
        three_lines(f"{path} holds results of {what}", cure="choose another file for these, or remove that one")
    )


def _foreign(path: Path, why: str) -> TargetError:
    return TargetError(three_lines(f"{path} is no file of results, or was changed since symbptt wrote it", why,
                                   "choose another file, or remove that one"))  # fmt: skip


def _format(path: Path) -> tuple[Callable[[bytes], tuple[Row, ...]], Callable[[Iterable[Row]], bytes]]:
    match path.suffix.lower():
        case ".csv":
            return parse_csv, csv_of
        case ".parquet":
            need("pyarrow.parquet", "parquet")
            return parse_parquet, parquet_of
    raise ArgumentError(f"results are written as .csv or .parquet, got {path.name!r}")


def csv_of(rows: Iterable[Row]) -> bytes:
    """Return rows as CSV: numbers so that they are read back exactly, nothing for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(KINDS)
    # str of a float is the shortest text that reads back as the same float.
    writer.writerows(["" if value is None else str(value) for value in vars(row).values()] for row in rows)
    return text.getvalue().encode("utf-8")


def parse_csv(content: bytes) -> tuple[Row, ...]:
    """Return the rows of a CSV that `csv_of` wrote.

    Raises: ValueError, with the line, for any other text.
    """
    lines = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    if not lines or lines[0] != list(KINDS):
        raise ValueError("line 1 does not name the columns of results")
    rows = tuple(_parsed(number, cells) for number, cells in enumerate(lines[1:], 1))
    # Writing the parsed rows again must give the same bytes: any manual change, even of a digit or a line end, is found.
    if csv_of(rows) != content:
        raise ValueError("its text is not as it was written")
    return rows


def _parsed(number: int, cells: list[str]) -> Row:
    try:
        return Row(**{name: _value(kind, text) for (name, kind), text in zip(KINDS.items(), cells, strict=True)})
    except ValueError as error:
        raise ValueError(f"row {number}: {error}") from None


def _value(kind: str, text: str) -> Any:
    if kind == "str":
        return text
    read: Mapping[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "bool": {"True": True, "False": False}.__getitem__,
    }
    return read[kind](text) if text else None


def parquet_of(rows: Iterable[Row]) -> bytes:
    """Return rows as a Parquet file of one table."""
    arrow, parquet = need("pyarrow", "parquet"), need("pyarrow.parquet", "parquet")
    listed, file = list(rows), io.BytesIO()
    columns = {name: [getattr(row, name) for row in listed] for name in KINDS}
    parquet.write_table(arrow.table(columns, schema=_schema(arrow)), file)
    return file.getvalue()


def parse_parquet(content: bytes) -> tuple[Row, ...]:
    """Return the rows of a Parquet file that `parquet_of` wrote.

    Raises: ValueError or OSError for any other bytes.
    """
    arrow, parquet = need("pyarrow", "parquet"), need("pyarrow.parquet", "parquet")
    table = parquet.read_table(io.BytesIO(content))
    if not table.schema.equals(_schema(arrow)):
        raise ValueError("its columns are not those of results")
    return tuple(Row(**values) for values in table.to_pylist())


def _schema(arrow: Any) -> Any:
    types = {"str": arrow.string(), "int": arrow.int64(), "float": arrow.float64(), "bool": arrow.bool_()}
    return arrow.schema([(name, types[kind]) for name, kind in KINDS.items()])
