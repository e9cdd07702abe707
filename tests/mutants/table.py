"""Prints what a run of mutants found, as tables of Markdown: `python -m tests.mutants.table FOLDER [--survivors]`."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def rows_of(folder: Path) -> tuple[list[Row], int]:
    """Return the mutants that were run, each with its subject, and how many there are."""
    found, total = [], 0
    for path in sorted(folder.glob("*.jsonl")):
        lines = path.read_text("utf-8").splitlines()
        if not lines:  # the run has just begun
            continue
        head, *rest = map(json.loads, lines)
        total += head["mutants"]
        found += [row | {"subject": head["subject"]} for row in rest]
    return found, total


def raises(row: Row) -> bool:
    return row["healthy"].startswith("raises")


def counts(row: Row) -> bool:
    """Answer whether a mutant changes a result, as a call or as a level says."""
    return bool(
        row["healthy"] or row["saturated"] or row["proof"] or row.get("numeric") or row.get("numeric saturated")
    )


def is_caught(row: Row) -> bool:
    return bool(row["proof"] or row.get("numeric") or row.get("numeric saturated"))


def share(name: str, caught: int, of: int) -> str:
    return f"| {name} | {caught} of {of} | {caught / max(of, 1):.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--survivors", action="store_true", help="list those that no level catches, and those that change nothing"
    )
    given = parser.parse_args()
    rows, total = rows_of(given.folder)
    running = [row for row in rows if not raises(row)]
    counted = [row for row in running if counts(row)]
    print(f"{len(rows)} mutants of {total}, of {len({row['subject'] for row in rows})} modules: {len(rows) - len(running)} raise an error, "
          f"{len(running) - len(counted)} change nothing, {len(counted)} count\n")  # fmt: skip
    print("| level | catches | |\n|---|---|---|")
    print(share("the proof alone", sum(bool(row["proof"]) for row in counted), len(counted)))
    healthy = [row for row in counted if row["healthy"] and "numeric" in row]
    print(
        share("the numeric levels alone, healthy weights", sum(bool(row["numeric"]) for row in healthy), len(healthy))
    )
    shut = [row for row in counted if row["saturated"] and "numeric saturated" in row]
    print(
        share(
            "the numeric levels alone, saturated weights",
            sum(bool(row["numeric saturated"]) for row in shut),
            len(shut),
        )
    )
    print(share("all", sum(map(is_caught, counted)), len(counted)))
    print("\n| kind | count | caught |\n|---|---|---|")
    for kind, many in Counter(row["kind"] for row in counted).most_common():
        print(f"| {kind} | {many} | {sum(is_caught(row) for row in counted if row['kind'] == kind)} |")
    if given.survivors:
        for row in [row for row in running if not is_caught(row)]:
            print(
                f"{row['subject']} | {row['function']}, line {row['line']} | {row['kind']} | `{row['before']}` -> `{row['after']}` | {row['healthy']} {row['saturated']}"
            )


if __name__ == "__main__":
    main()
