"""The output of the command line: lines on stderr, tables on stdout, exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

# 130 is 128 + SIGINT, as shells report a process that Ctrl-C has ended.
FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
"""Exit codes: a verification that did not pass; a mistake in what the user gave."""

Force = Annotated[bool, typer.Option("--force", help="Replace files that symbptt did not write.")]


def say(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr)


@contextlib.contextmanager
def stage() -> Iterator[Any]:
    """Show on a terminal what is being done; elsewhere nothing."""
    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(Text(text))


def console() -> Console:
    """Return where tables are printed: the terminal, or 120 columns where there is none."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    # rich takes 80 columns for a pipe, which would break tables.
    return Console(width=None if known else 120)
