"""The command `trace`: the cotangents of a cell step by step, and where they go wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from symbptt.commands.load_target import load, load_target
from symbptt.commands.terminal import FAILED, Force, say, stage
from symbptt.files import check_own


def _option(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, **more)


Target = Annotated[
    str,
    typer.Argument(show_default=False, metavar="TARGET", help="A cell of the zoo, or path/to/cells.py:name; no model."),
]
Data = Annotated[
    Path | None, _option(text="CSV whose columns are the inputs; random ones without.", show_default=False)
]
Hidden = Annotated[int, _option(text="Each size that the data do not say.", min=1)]
Steps = Annotated[int | None, _option(text="Of a run on random inputs: 100.", min=0, show_default=False)]
Seed = Annotated[int, _option(text="Of the parameters and the inputs.", min=0)]
Below = Annotated[float, _option(text="Part of the largest cotangent given, under which one counts as vanished.")]
Above = Annotated[float, _option(text="Multiple of it, over which one counts as exploded.")]
Output = Annotated[
    Path | None, _option("-o", "--output", text="File to write all numbers to, .json.", show_default=False)
]


def trace(
    target: Target, data: Data = None, hidden: Hidden = 32, steps: Steps = None, seed: Seed = 0, below: Below = 1e-8, above: Above = 1e8,
    output: Output = None, force: Force = False,
) -> int:  # fmt: skip
    """Trace the gradient of a loss at the last step back through time: where it vanishes, explodes or is no number, and by which path.

    The cotangent is 1 in every element of all states after the last step. Exit code 1 where a cotangent is NaN or infinite.
    """
    check_own([output] if output else [], force)
    cell = load_target(target)
    with stage() as tell:
        tell("tracing")
        table = load("data.csv_table").read_table(data) if data is not None else None
        found = load("commands.traced_run").traced_run(cell, table, hidden, steps, seed, below, above)
    print(found.text())
    if output is not None:
        load("files").write_text(
            output, json.dumps({"written_by": "symbptt", **found.numbers()}, ensure_ascii=False, indent=1) + "\n"
        )
        say(f"wrote {output}")
    return FAILED if any(event.kind in ("NaN", "infinite", "forward") for event in found.events) else 0
